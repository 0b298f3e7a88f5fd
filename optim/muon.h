#ifndef OPTIM_MUON_H
#define OPTIM_MUON_H

#include <stddef.h>

/* Muon's factor of the orthogonalised step by the shape of the matrix, r = fan-out rows, c = fan-in cols. */
typedef enum {
    MUON_SCALE_NONE,      /* 1 */
    MUON_SCALE_ORIGINAL,  /* sqrt(max(1, r/c)): KellerJordan/Muon, torch.optim.Muon */
    MUON_SCALE_MOONSHOT,  /* 0.2 sqrt(max(r, c)): Liu et al. 2025; the update's RMS is 0.2 */
    MUON_SCALE_BERNSTEIN, /* sqrt(r/c): RMS-to-RMS operator norm 1 */
    MUON_SCALE_EARLY,     /* sqrt(max(r, c)): modded-nanogpt, October 2024; RMS 1 */
    MUON_SCALE_GRADIENT,  /* |gradient|_F / |O|_F: keeps the gradient's magnitude */
    MUON_SCALE_COUNT
} MuonScale;

extern const char *const muon_scale_names[MUON_SCALE_COUNT + 1]; /* ends with NULL */

/* The factor; 1 for MUON_SCALE_GRADIENT, whose factor depends on data. */
double muon_scale(MuonScale rule, size_t rows, size_t cols);

#endif
