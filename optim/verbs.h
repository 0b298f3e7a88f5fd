#ifndef OPTIM_VERBS_H
#define OPTIM_VERBS_H

#include <stddef.h>

/*
 * What matrix rules are written in: operations on batches of same-shaped matrices that stay where the data is. The CPU's
 * are in verbs_cpu.c. A verb that yields scalars leaves them in an array beside the data, one float a matrix, so that no
 * rule branches on data. Results do not depend on the number of threads.
 */
typedef struct Mats {
    float *data; /* (batch, rows, cols), without gaps */
    size_t rows, cols, batch;
} Mats;

/* Elementwise over n: m = mu m + (1 - mu) s g;  u = nesterov ? (1 - mu) s g + mu m : m.  s scales the gradient. */
void verb_momentum(size_t n, float *m, float *u, const float *g, double mu, int nesterov, double s);

/* Elementwise over n: p = decay p - step u. */
void verb_update(size_t n, float *p, const float *u, double decay, double step);

/* Elementwise over n: to = s x; to and x may be the same. */
void verb_scale(size_t n, float *to, const float *x, double s);

/* Sum of squares of n floats, in double, on the host: for gradient norms. */
double verb_sum_squares(size_t n, const float *x);

/* norms (batch): Frobenius norms, summed in double. */
void verb_norms(Mats x, float *norms);

/* Each x *= numerator / max(factor * denominator, floor), the scalars being one a matrix; numerator NULL counts as 1. */
void verb_rescale(Mats x, const float *numerator, const float *denominator, double factor, double floor);

/* gram (batch, n, n), n = min(rows, cols): x x^T when rows <= cols, otherwise x^T x. */
void verb_gram(Mats x, Mats gram);

/* to = a I + b gram + c gram^2, all symmetric (batch, n, n). */
void verb_polynomial(Mats gram, Mats to, double a, double b, double c);

/* to = p x when rows <= cols, otherwise x p; p symmetric (batch, n, n). */
void verb_apply(Mats p, Mats x, Mats to);

/* to = x */
void verb_copy(Mats x, Mats to);

/* Replaces x by its polar factor, computed in double; singular values below cutoff times the largest count as 0. */
void verb_polar(Mats x, double cutoff);

#endif
