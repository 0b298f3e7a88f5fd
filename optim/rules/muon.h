#ifndef OPTIM_RULES_MUON_H
#define OPTIM_RULES_MUON_H

#include "optim/rules/batch.h"

#include <stddef.h>

/* Muon's scale of the orthogonalised step; 1 for the scales that depend on data. */
double muon_scale(MuonScale rule, size_t rows, size_t cols);

/* Muon's u before orthogonalisation, at the start of the workspace: the momentum (state 0), with the Nesterov blend if
 * that is on, or the gradients if the rule has no momentum. */
Mats muon_blend(const Batch *batch);

/* How u is orthogonalised. */
typedef enum {
    MUON_PLAIN,
    MUON_BY_LINES, /* then lines are divided by the root of their second moments (state 1), the norm kept: NorMuon */
    MUON_BALANCED, /* of a matrix that is not square with lines of equal length on the longer side: Aurora */
} MuonForm;

/*
 * The rest of the step, with the options of MUON_STEP_DEFAULTS that the rule has: orthogonalises and scales u, shapes
 * the step, decays the parameters and subtracts it. `rest` has muon_rest floats.
 */
void muon_finish(const Batch *batch, MuonForm form, Mats u, float *rest);
size_t muon_rest(const OptimHyper *h, MuonForm form, size_t rows, size_t cols, size_t count);

/* Parts of it, for rules without its options: NS(u), and NorMuon's division of lines, which changes the norm. `rest` as
 * above. */
void muon_orthogonalise(const Batch *batch, Mats u, float *rest);
void muon_normalise_lines(const Batch *batch, Mats u, float *rest);

/* With --equal-rows, MuonEq's division of each row of u by its length. `lines` has a number a row. */
void muon_equalise_rows(const Batch *batch, Mats u, float *lines);

/* For rules that orthogonalise: rejects options that --ns exact lacks, --floor-by without a floor, and resolves
 * --ns-dtype auto. */
int muon_settle(OptimHyper *h, const char *prefix, Error *e);

/* Defaults of rules that orthogonalise, also with a choice of norm, that begin with muon_blend, and that end in
 * muon_finish. */
#define NS_DEFAULTS(flavour) \
    HYPER_AT(NS, flavour), HYPER_AT(NS_STEPS, 0), HYPER_AT(NS_DTYPE, NS_AUTO), HYPER_AT(SPLIT_QKV, 1)
#define ORTHOGONAL_DEFAULTS(flavour, norm) NS_DEFAULTS(flavour), HYPER_AT(NS_NORM, norm)
#define MOMENTUM_DEFAULTS(mu)                                                                                    \
    HYPER_AT(MOMENTUM, mu), HYPER_AT(NESTEROV, 1), HYPER_AT(MOMENTUM_WARMUP, 0), HYPER_AT(MOMENTUM_COOLDOWN, 0), \
        HYPER_AT(MOMENTUM_START, 0.85)
#define MUON_STEP_DEFAULTS(wd, contra, brake, floor, pin)                                         \
    HYPER_AT(WEIGHT_DECAY, wd), HYPER_AT(CAUTIOUS, 0), HYPER_AT(MUON_SCALE, MUON_SCALE_ORIGINAL), \
        HYPER_AT(CONTRA, contra), HYPER_AT(RADIAL_BRAKE, brake), HYPER_AT(STEP_FLOOR, floor),     \
        HYPER_AT(FLOOR_BY, FLOOR_MATRIX), HYPER_AT(PIN_RADIUS, pin)

#endif
