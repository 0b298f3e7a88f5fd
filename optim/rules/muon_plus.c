/*
 * Muon as in nanochat: NorMuon between an equalisation of the rows that are orthogonalised (MuonEq) and of the norm
 * that comes out (Muon+).
 *   m and u as in Muon;  each row of u is divided by its length;  O = NS(u);  O = sqrt(min(r,c)) O / |O|_F;
 *   NorMuon's second moments of lines, |O|_F kept;  W = (1 - e wd) W - e O,  e = lr sqrt(max(1, r/c)),
 * with the decay only where the step shrinks W, unless told. The authors then give all rows the length |u|_F / sqrt(r),
 * which NS takes out again.
 */
#include "optim/rules/muon.h"
#include "optim/rules/orthogonal.h"

#include <math.h>

/* Lower bound of lengths that divide. */
static const double NORM_LEAST = 1e-10;

/* u, a number for each row, a norm; the iteration's workspace. */
static size_t workspace_of_batch(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    return count * (rows * cols + rows + 1) + orthogonal_floats(h, rows, cols, count);
}

/* Gives each matrix the norm of one with singular values of 1. */
static void equalise_norm(const Batch *batch, Mats u, float *norms)
{
    const double singular_values = (double)(u.rows < u.cols ? u.rows : u.cols);
    verb_normalise(batch->on, u, 1 / sqrt(singular_values), NORM_LEAST, norms);
}

static void muon_plus_batch(const Batch *batch)
{
    const Mats u = muon_blend(batch);
    float *lines = mats_end(u), *norms = lines + u.batch * u.rows;
    const double rate = batch_hyper(batch, HYPER_LR) * muon_scale(MUON_SCALE_ORIGINAL, u.rows, u.cols);
    OptimHyper hyper;
    const Batch scaled = batch_at_rate(batch, rate, &hyper);

    muon_equalise_rows(batch, u, lines);
    orthogonalise(batch, u, norms + u.batch);
    equalise_norm(batch, u, norms);
    verb_normalise_lines(batch->on, u, batch->slots->state[1], batch_hyper(batch, HYPER_BETA2),
                         batch_hyper(batch, HYPER_EPS));
    equalise_norm(batch, u, norms);
    batch_update(&scaled, u, 1);
}

const OptimRule optim_muon_plus = {
    .name = "muon-plus",
    .summary = "NorMuon of rows of equal length, with a step of constant norm",
    .source = "karpathy/nanochat",
    .matrices_only = true,
    .defaults.at = {HYPER_AT(LR, 0.02), HYPER_AT(WEIGHT_DECAY, 0.28), HYPER_AT(CAUTIOUS, 1), MOMENTUM_DEFAULTS(0.95),
                    HYPER_AT(BETA2, 0.9), HYPER_AT(EPS, 1e-10), HYPER_AT(EQUAL_ROWS, 1), NS_DEFAULTS(NS_NANOCHAT)},
    .settle = muon_settle,
    .states = {{"m", shape_whole, .is_momentum = true}, {"v", shape_lines}},
    .workspace = workspace_of_batch,
    .flops = orthogonal_flops,
    .step = muon_plus_batch,
};
