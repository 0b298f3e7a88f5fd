#ifndef OPTIM_RULES_MUON_H
#define OPTIM_RULES_MUON_H

#include "optim/rules/batch.h"

#include <stddef.h>

/* Muon's scale of the orthogonalised step; 1 for the two scales that depend on data. */
double muon_scale(MuonScale rule, size_t rows, size_t cols);

/* Muon's u before orthogonalisation, at the start of the workspace: the momentum (state 0), with the Nesterov blend if
 * that is on, or the gradients if the rule has no momentum. */
Mats muon_blend(const Batch *batch);

/* The rest of the step: orthogonalises and scales u, decays the parameters and subtracts u. `rest` has muon_rest
 * floats. */
void muon_finish(const Batch *batch, Mats u, float *rest);
size_t muon_rest(const OptimHyper *h, size_t rows, size_t cols, size_t count);

/* For rules that orthogonalise: rejects options that --ns exact lacks and resolves --ns-dtype auto. */
int muon_settle(OptimHyper *h, const char *prefix, Error *e);

#endif
