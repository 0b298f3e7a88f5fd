/*
 * MARS-Shampoo (Yuan et al. 2024): Muon without Nesterov's blend, on gradients whose variance the last ones reduce.
 *   C = G + gamma b1 / (1 - b1) (G - G_last);  C = C / max(1, |C|_F);  M = b1 M + (1 - b1) C;
 *   W = (1 - lr wd) W - lr scale NS(M)
 * G_last, which begins at 0, is the last step's gradient: this is the approximate form, whose exact one would evaluate
 * the last parameters on this step's tokens. With --muon-scale moonshot it is MARS-M.
 */
#include "optim/rules/muon.h"

enum { M, LAST };

static size_t workspace_of_batch(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    return count * (rows * cols + 1) + muon_rest(h, MUON_PLAIN, rows, cols, count);
}

static void mars_shampoo_batch(const Batch *batch)
{
    const Mats u = {batch->workspace, batch->rows, batch->cols, batch->count};
    const Mats last = batch_state(batch, LAST, u.rows, u.cols);
    const size_t n = mats_size(u);
    const double beta1 = batch_hyper(batch, HYPER_BETA1);
    const double share = batch_hyper(batch, HYPER_MARS_GAMMA) * beta1 / (1 - beta1);
    float *rest = u.data + n, *norms = rest + muon_rest(batch->hyper, MUON_PLAIN, u.rows, u.cols, u.batch);

    batch_gradients(batch, u);
    verb_add(batch->on, n, u.data, last.data, 1 + share, -share);
    batch_gradients(batch, last);
    verb_norms(batch->on, u, norms);
    verb_rescale(batch->on, u, NULL, norms, 1, 1);
    verb_momentum(batch->on, n, batch_state(batch, M, u.rows, u.cols).data, u.data, u.data, beta1, false, 1);
    muon_finish(batch, MUON_PLAIN, u, rest);
}

const OptimRule optim_mars_shampoo = {
    .name = "mars-shampoo",
    .summary = "Muon of gradients corrected by the last ones",
    .source = "Yuan et al. 2024; AGI-Arena/MARS",
    .matrices_only = true,
    .defaults.at = {HYPER_AT(LR, 3e-3), HYPER_AT(WEIGHT_DECAY, 0.01), HYPER_AT(CAUTIOUS, 0), HYPER_AT(BETA1, 0.95),
                    HYPER_AT(MARS_GAMMA, 0.025), HYPER_AT(NS, NS_JORDAN), HYPER_AT(NS_STEPS, 0),
                    HYPER_AT(NS_DTYPE, NS_AUTO), HYPER_AT(MUON_SCALE, MUON_SCALE_ORIGINAL), HYPER_AT(SPLIT_QKV, 1)},
    .settle = muon_settle,
    .states = {[M] = {"m", shape_whole, .is_momentum = true}, [LAST] = {"last", shape_whole}},
    .workspace = workspace_of_batch,
    .step = mars_shampoo_batch,
};
