/*
 * Scion (Pethick et al. 2025): a step towards the point of a norm's ball that is farthest along the momentum,
 *   m = mu m + (1 - mu) g;  W = (1 - lr wd) W - lr radius lmo(m),
 * which with wd = 1 keeps W in the ball of that radius; wd = 0 is the unconstrained form.
 *   scion       the RMS-to-RMS operator norm, for hidden matrices: lmo(m) = sqrt(r/c) NS(m)
 *   scion-sign  the largest element, times c, for embeddings and the head: lmo(m) = sign(m) / c
 */
#include "optim/rules/muon.h"
#include "optim/rules/orthogonal.h"

#include <math.h>

static size_t spectral_of_batch(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    return count * rows * cols + orthogonal_floats(h, rows, cols, count);
}

static Mats momentum_of(const Batch *batch)
{
    const Mats u = {batch->workspace, batch->rows, batch->cols, batch->count};
    batch_gradients(batch, u);
    verb_momentum(batch->on, mats_size(u), batch->slots->state[0], u.data, u.data, batch_hyper(batch, HYPER_MOMENTUM),
                  false, 1);
    return u;
}

static void scion_batch(const Batch *batch)
{
    const Mats u = momentum_of(batch);
    orthogonalise(batch, u, mats_end(u));
    batch_update(batch, u, batch_hyper(batch, HYPER_RADIUS) * sqrt((double)u.rows / (double)u.cols));
}

static void scion_sign_batch(const Batch *batch)
{
    const Mats u = momentum_of(batch);
    verb_sign(batch->on, mats_size(u), u.data, u.data);
    batch_update(batch, u, batch_hyper(batch, HYPER_RADIUS) / (double)u.cols);
}

const OptimRule optim_scion = {
    .name = "scion",
    .summary = "orthogonalised momentum, the weights held in a ball of the spectral norm",
    .source = "Pethick et al. 2025; LIONS-EPFL/scion",
    .matrices_only = true,
    .defaults.at = {HYPER_AT(LR, 0x1p-12), HYPER_AT(WEIGHT_DECAY, 1), HYPER_AT(MOMENTUM, 0.9), HYPER_AT(RADIUS, 50),
                    NS_DEFAULTS(NS_JORDAN)},
    .settle = muon_settle,
    .states = {{"m", shape_whole, .is_momentum = true}},
    .workspace = spectral_of_batch,
    .flops = orthogonal_flops,
    .step = scion_batch,
};

const OptimRule optim_scion_sign = {
    .name = "scion-sign",
    .summary = "sign of the momentum, the weights held in a ball of the largest element; for embeddings and head",
    .source = "Pethick et al. 2025; LIONS-EPFL/scion",
    .matrices_only = true,
    .defaults.at = {HYPER_AT(LR, 0x1p-12), HYPER_AT(WEIGHT_DECAY, 1), HYPER_AT(MOMENTUM, 0.9), HYPER_AT(RADIUS, 3000),
                    HYPER_AT(SPLIT_QKV, 1)},
    .states = {{"m", shape_whole, .is_momentum = true}},
    .workspace = batch_step_floats,
    .step = scion_sign_batch,
};
