#ifndef OPTIM_RULES_NEWTON_SCHULZ_H
#define OPTIM_RULES_NEWTON_SCHULZ_H

#include "optim/hyper.h"
#include "optim/verbs/verbs.h"

#include <stddef.h>

/*
 * Orthogonalisation: an odd polynomial of the matrix drives all singular values towards 1,
 *     X <- a X + b (X X^T) X + c (X X^T)^2 X,      s <- a s + b s^3 + c s^5 on singular values,
 * from X = U / max(factor |U|, eps) with the norm of hyper.h's NsNorm. Flavours differ in their triples (a, b, c), one
 * per iteration.
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

/* The triple of iteration i, counting from 0; the last one repeats past the end of the list. Not for NS_EXACT. */
NsTriple ns_triple(NsFlavour flavour, size_t i);

/* Iterations: `asked`, or the flavour's default if that is 0. */
size_t ns_steps(NsFlavour flavour, size_t asked);

/* norms (batch) of x; gram: n x n floats per matrix, n the smaller side, for NS_SCHATTEN4. */
void ns_norms(Verbs *on, NsNorm norm, Mats x, float *gram, float *norms);

/* Its FLOPs on one matrix, counted as in flops.h: those of the Gram matrix, where there is one. */
double ns_norm_flops(NsNorm norm, size_t rows, size_t cols);

/* Floats of workspace for `batch` matrices of rows x cols. */
size_t ns_workspace(NsFlavour flavour, size_t rows, size_t cols, size_t batch);

/* FLOPs of ns_orthogonalise on one matrix, counted alike, without the norm's; and of ns_orthogonalise_bf16. */
double ns_flops(NsFlavour flavour, size_t steps, size_t rows, size_t cols);
double ns_flops_bf16(NsFlavour flavour, size_t steps, size_t rows, size_t cols);

/*
 * Orthogonalises each matrix of x in place. The Gram matrix is formed on the smaller side; of a matrix that is far from
 * square it also takes the place of X in several iterations at a time. A zero matrix stays zero. NS_EXACT gives the
 * polar factor U V^T without the directions whose singular value is at most 2^-24 max(rows, cols) times the largest.
 */
void ns_orthogonalise(Verbs *on, NsFlavour flavour, NsNorm norm, size_t steps, Mats x, float *workspace);

/*
 * The same with everything between the norm and the result in bf16, with fp32 accumulation, as in Jordan et al. 2024;
 * not for NS_EXACT. Each iteration rounds three times, by 2^-8 at most: A = X X^T, P = b A + c A A, X = a X + P X. Of a
 * matrix more than twice as long as wide jordan, modula and track3 take all but the first iteration in twos, on its
 * Gram matrix (Zhang, Amsel, Chen and Dao 2026, "Gram Newton-Schulz", there in fp16), and round A, P - a I, A P, A' = P
 * A P, P, P' - a' I and Q = P' P; X = Q X. The error becomes 0.9 to 1.2 times as large at 768 x 3072, 2.1 times at most
 * in the mean of 4000 small matrices. More than two at once lose small singular values: A' gets negative ones.
 */
size_t ns_workspace_bf16(size_t rows, size_t cols, size_t batch);
void ns_orthogonalise_bf16(Verbs *on, NsFlavour flavour, NsNorm norm, size_t steps, Mats x, float *workspace);

/* The same, without x being written: what it would become is returned in bf16, in the workspace. */
Bf16s ns_orthogonal_bf16(Verbs *on, NsFlavour flavour, NsNorm norm, size_t steps, Mats x, float *workspace);

/* How many iterations, 1 or 2, ns_orthogonalise_bf16 takes together from iteration i of `steps` on. */
size_t ns_taken_bf16(NsFlavour flavour, size_t steps, size_t i, size_t rows, size_t cols);

#endif
