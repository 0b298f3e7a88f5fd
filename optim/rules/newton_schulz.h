#ifndef OPTIM_RULES_NEWTON_SCHULZ_H
#define OPTIM_RULES_NEWTON_SCHULZ_H

#include "optim/hyper.h"
#include "optim/verbs/verbs.h"

#include <stddef.h>

/*
 * Orthogonalisation of matrices: all singular values are sent towards 1 by an odd polynomial of the matrix,
 *     X <- a X + b (X X^T) X + c (X X^T)^2 X,      s <- a s + b s^3 + c s^5 on singular values,
 * from X = U / max(factor |U|_F, eps). Flavours differ in the triples (a, b, c) of successive iterations.
 */

typedef struct NsTriple {
    double a, b, c;
} NsTriple;

typedef struct NsSpec {
    size_t default_steps;
    size_t triple_count;
    const NsTriple *triples;
    double norm_factor, norm_eps;
    const char *source;
} NsSpec;

const NsSpec *ns_spec(NsFlavour flavour);

/* The triple of iteration i (0-based): the i-th of the list; past its end the last one again. Not for NS_EXACT. */
NsTriple ns_triple(NsFlavour flavour, size_t i);

/* Steps to do: `asked`, or the flavour's own number when it is 0. */
size_t ns_steps(NsFlavour flavour, size_t asked);

/* Floats of workspace for `batch` matrices of rows x cols. */
size_t ns_workspace(NsFlavour flavour, size_t rows, size_t cols, size_t batch);

/*
 * Replaces each of the `batch` matrices in x (batch, rows, cols; without gaps) by its orthogonalised form. The Gram
 * matrix is formed on the smaller side. A zero matrix stays zero. NS_EXACT gives the polar factor U V^T, with 0 in
 * place of the directions whose singular value is below 2^-24 max(rows, cols) of the largest.
 */
void ns_orthogonalise(Verbs *on, NsFlavour flavour, size_t steps, float *x, size_t rows, size_t cols, size_t batch,
                      float *workspace);

/*
 * The same with everything between norm and result in bf16, products summed in fp32, as in Jordan et al. 2024; not for
 * NS_EXACT. Each iteration rounds three times, by 2^-8 at most: A = X X^T, P = b A + c A A, X = a X + P X.
 */
size_t ns_workspace_bf16(size_t rows, size_t cols, size_t batch);
void ns_orthogonalise_bf16(Verbs *on, NsFlavour flavour, size_t steps, float *x, size_t rows, size_t cols, size_t batch,
                           float *workspace);

#endif
