#ifndef OPTIM_RULES_ORTHOGONALISE_H
#define OPTIM_RULES_ORTHOGONALISE_H

#include "optim/rules/batch.h"

/* Orthogonalises each matrix of u (batch, rows, cols; contiguous) in place, as --ns, --ns-steps and --ns-dtype say. */
void batch_orthogonalise(const Batch *batch, Mats u, float *workspace);

/* Floats of its workspace. */
size_t orthogonalise_floats(const OptimHyper *h, size_t rows, size_t cols, size_t count);

#endif
