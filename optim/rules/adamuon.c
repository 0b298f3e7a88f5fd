/*
 * AdaMuon (Si et al. 2025): Muon of the momentum's signs, with a second moment of the orthogonalised step, which gives
 * each matrix a step of one root mean square whatever its shape.
 *   m and u as in Muon;  O = NS(sign u);  v = b2 v + (1 - b2) O^2;  O = O / (sqrt(v) + eps);
 *   W = (1 - lr wd) W - lr 0.2 sqrt(rc) O / |O|_F
 */
#include "optim/rules/muon.h"
#include "optim/rules/orthogonal.h"

#include <math.h>

/* Root mean square of the step, as in Liu et al. 2025; lower bound of the norm that divides. */
static const double RMS = 0.2, NORM_LEAST = 1e-8;

/* u, the iteration's workspace, a norm. */
static size_t workspace_of_batch(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    return count * rows * cols + orthogonal_floats(h, rows, cols, count) + count;
}

static void adamuon_batch(const Batch *batch)
{
    const Mats u = muon_blend(batch);
    const size_t n = mats_size(u);
    float *rest = mats_end(u), *norms = rest + orthogonal_floats(batch->hyper, u.rows, u.cols, u.batch);
    verb_sign(batch->on, n, u.data, u.data);
    orthogonalise(batch, u, rest);
    verb_precondition(batch->on, n, u.data, batch->slots->state[1], u.data, batch_hyper(batch, HYPER_BETA2), 1,
                      batch_hyper(batch, HYPER_EPS), 1);
    verb_normalise(batch->on, u, 1, NORM_LEAST, norms);
    batch_update(batch, u, RMS * sqrt((double)(u.rows * u.cols)));
}

const OptimRule optim_adamuon = {
    .name = "adamuon",
    .summary = "Muon of signs, divided by the root of the step's own second moment",
    .source = "Si et al. 2025; Chongjie-Si/AdaMuon",
    .matrices_only = true,
    .defaults.at = {HYPER_AT(LR, 6e-4), HYPER_AT(WEIGHT_DECAY, 0.1), HYPER_AT(CAUTIOUS, 0), MOMENTUM_DEFAULTS(0.95),
                    HYPER_AT(BETA2, 0.95), HYPER_AT(EPS, 1e-8), NS_DEFAULTS(NS_JORDAN)},
    .settle = muon_settle,
    .states = {{"m", shape_whole, .is_momentum = true}, {"v", shape_whole}},
    .workspace = workspace_of_batch,
    .flops = orthogonal_flops,
    .step = adamuon_batch,
};
