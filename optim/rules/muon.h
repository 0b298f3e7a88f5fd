#ifndef OPTIM_RULES_MUON_H
#define OPTIM_RULES_MUON_H

#include "optim/rules/batch.h"

#include <stddef.h>

/* Muon's factor of the orthogonalised step by the shape of the matrix, r = fan-out rows, c = fan-in cols. */
typedef enum {
    MUON_SCALE_NONE,      /* 1 */
    MUON_SCALE_ORIGINAL,  /* sqrt(max(1, r/c)): KellerJordan/Muon, torch.optim.Muon */
    MUON_SCALE_MOONSHOT,  /* 0.2 sqrt(max(r, c)): Liu et al. 2025; the update's RMS is 0.2 */
    MUON_SCALE_BERNSTEIN, /* sqrt(r/c): RMS-to-RMS operator norm 1 */
    MUON_SCALE_EARLY,     /* sqrt(max(r, c)): modded-nanogpt, October 2024; RMS 1 */
    MUON_SCALE_GRADIENT,  /* |gradient|_F / |O|_F: keeps the gradient's magnitude */
    MUON_SCALE_NUCLEAR, /* <u, O>, the dual norm: steepest descent in the spectral norm (Bernstein and Newhouse 2024) */
    MUON_SCALE_COUNT
} MuonScale;

extern const char *const muon_scale_names[MUON_SCALE_COUNT + 1]; /* ends with NULL */

/* The factor; 1 for the two whose factor depends on data. */
double muon_scale(MuonScale rule, size_t rows, size_t cols);

/* What Muon makes of a batch's gradients: u, a Mats at the start of the workspace, has the momentum (state 0 with the
 * Nesterov blend as told) or without a momentum the gradients. */
Mats muon_blend(const Batch *batch);

/* The second half of the step: u is orthogonalised, scaled and taken off the parameters, decayed as told. `rest` is of
 * muon_rest floats. */
void muon_finish(const Batch *batch, Mats u, float *rest);
size_t muon_rest(const OptimHyper *h, size_t rows, size_t cols, size_t count);

#endif
