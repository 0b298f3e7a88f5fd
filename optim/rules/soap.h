#ifndef OPTIM_RULES_SOAP_H
#define OPTIM_RULES_SOAP_H

#include "optim/rules/batch.h"

/*
 * What SOAP and its kin share (soap.c, soap_muon.c): averages L and R of G G^T and G^T G, and bases QL and QR of their
 * eigenvectors, updated by one step of orthogonal iteration, Q = qr(L Q).
 */
enum { SOAP_M, SOAP_V, SOAP_LEFT, SOAP_RIGHT, SOAP_LEFT_BASIS, SOAP_RIGHT_BASIS, SOAP_STATES };

#define SOAP_STATE_SPECS                                                               \
    [SOAP_M] = {"m", shape_whole, .is_momentum = true}, [SOAP_V] = {"v", shape_whole}, \
    [SOAP_LEFT] = {"left", shape_left}, [SOAP_RIGHT] = {"right", shape_right},         \
    [SOAP_LEFT_BASIS] = {"left_basis", shape_left}, [SOAP_RIGHT_BASIS] = {"right_basis", shape_right}

/* A batch's matrices by name. */
typedef struct Soap {
    Verbs *on;
    const Batch *batch;
    Mats m, v, factor[2], basis[2]; /* [0] left, [1] right */
    Mats u, g, x, between;          /* workspace, of the parameters' shape; u comes first, as in Muon */
    float *rest;                    /* Gram matrix or image of a basis, lines, scratch */
} Soap;

/* Scalars of a matrix in `rest`; never together with anything but a Gram matrix. */
enum { SOAP_SCALARS = 16 };

Soap soap_of(const Batch *batch);
size_t soap_workspace(const OptimHyper *h, size_t rows, size_t cols, size_t count);

/* FLOPs of both factors' averages, `products` products between bases, and the bases' share of a step. */
double soap_flops(const OptimHyper *h, size_t rows, size_t cols, double products);

/* to = QL^T x QR; to = QL x QR^T. x may be `to`. */
void soap_into_basis(const Soap *s, Mats x, Mats to);
void soap_out_of_basis(const Soap *s, Mats x, Mats to);

/* L = keep L + share x x^T;  R = keep R + share y^T y */
void soap_average_factors(const Soap *s, Mats x, Mats y, double keep, double left_share, double right_share);

/* Bases from the factors' eigenvectors. */
void soap_first_bases(const Soap *s);

/* Q = qr(factor Q) on both sides; if `sorted`, first sorts by eigenvalue, v's rows and columns too. */
void soap_renew_bases(const Soap *s, bool sorted);

/* Whether bases are renewed after step t. */
bool soap_refresh_due(const Batch *batch, size_t t);

#endif
