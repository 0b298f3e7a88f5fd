#ifndef OPTIM_RULES_MUON_H
#define OPTIM_RULES_MUON_H

#include "optim/rules/batch.h"

#include <stddef.h>

/* Muon's factor of the orthogonalised step; 1 for the two scales that depend on data. */
double muon_scale(MuonScale rule, size_t rows, size_t cols);

/* What Muon makes of a batch's gradients: u, a Mats at the start of the workspace, has the momentum (state 0 with the
 * Nesterov blend as told) or without a momentum the gradients. */
Mats muon_blend(const Batch *batch);

/* The second half of the step: u is orthogonalised, scaled and taken off the parameters, decayed as told. `rest` is of
 * muon_rest floats. */
void muon_finish(const Batch *batch, Mats u, float *rest);
size_t muon_rest(const OptimHyper *h, size_t rows, size_t cols, size_t count);

/* Of rules that orthogonalise: refuses what --ns exact does not have, and decides what --ns-dtype auto means. */
int muon_settle(OptimHyper *h, const char *prefix, Error *e);

#endif
