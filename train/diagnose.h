#ifndef TRAIN_DIAGNOSE_H
#define TRAIN_DIAGNOSE_H

#include "optim/optim.h"

#include <stdio.h>

/*
 * Diagnostics: what a step did to each hidden matrix. A fused QKV counts as its blocks, however the rule treats it.
 */

/* The k = min(rows, cols) singular values s of a matrix, descending: from the eigenvalues of its Gram matrix in double,
 * so s is accurate to about 1e-8 of the largest. */
typedef struct Spectrum {
    size_t k;
    double *s;
    double norm;        /* Frobenius: root of the sum of s^2 */
    double stable_rank; /* norm^2 / s[0]^2; 0 for a zero matrix */
} Spectrum;

typedef struct MatrixReport {
    const Tensor *tensor;
    size_t block; /* of tensor->blocks */
    size_t rows, cols;
    Spectrum weight, gradient, momentum, update; /* momentum.k = 0: the rule keeps none of this shape */
    double update_rms;
    double update_ratio; /* |update|_F / |weight|_F, the weight before the step */
    double cosine;       /* of the angle between gradient and update; 0 if either is zero */
    double deviation;    /* |O O^T - I|_F / sqrt(k) for O = update sqrt(k) / |update|_F: 0 if orthogonal */
} MatrixReport;

typedef struct Diagnosis Diagnosis;

/* Allocates for all hidden matrices. The arguments are borrowed; the arenas are the Optim's. */
int diagnose_create(const Optim *optim, const Tensor *tensors, size_t tensor_count, const Arenas *arenas, Diagnosis **d,
                    Error *e);
void diagnose_free(Diagnosis *d);

/* Around a step: diagnose_before, ahead of optim_begin, saves the weights; diagnose_after, after optim_step while the
 * gradients exist, fills the reports; collective, and only rank 0's are right. The update is what the step subtracted,
 * including decay and look-ahead. */
void diagnose_before(Diagnosis *d);
void diagnose_after(Diagnosis *d);

size_t diagnose_count(const Diagnosis *d);
const MatrixReport *diagnose_report(const Diagnosis *d, size_t i);

/* One JSON line per matrix, for dev/speedrun/plot_diagnose.py. Its "lr" is the tensor's rate in the last step. */
void diagnose_write(const Diagnosis *d, size_t step, FILE *to);

#endif
