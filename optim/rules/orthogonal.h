#ifndef OPTIM_RULES_ORTHOGONAL_H
#define OPTIM_RULES_ORTHOGONAL_H

#include "optim/rules/batch.h"

/* Orthogonalises each matrix of u by the rule's --ns, --ns-steps, --ns-dtype and, if it has that, --ns-norm. u may have
 * another shape than the batch; `workspace` has orthogonal_floats for u's. */
void orthogonalise(const Batch *batch, Mats u, float *workspace);

/* The same for --ns-dtype bf16, without u being written: the result, in the workspace. */
Bf16s orthogonal_bf16(const Batch *batch, Mats u, float *workspace);

bool orthogonal_is_bf16(const OptimHyper *h);
size_t orthogonal_floats(const OptimHyper *h, size_t rows, size_t cols, size_t count);

/* Its FLOPs, as OptimRule.flops: of rules that are elementwise but for this. */
double orthogonal_flops(const OptimHyper *h, size_t rows, size_t cols);

#endif
