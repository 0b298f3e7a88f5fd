/*
 * Adam-mini (Zhang et al. 2024): AdamW with one second moment for each row, the average of its mean square gradient.
 * The authors give a head of the query and key matrices one for all of its rows; here these have one each too.
 *   m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) mean_rows(g^2);
 *   W = (1 - lr wd) W - lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)
 */
#include "optim/rules/batch.h"

#include <math.h>

enum { M, V };

/* The step; a root mean square and the inverse of a denominator for each row. */
static size_t workspace_of_batch(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    (void)h;
    return count * rows * (cols + 2);
}

static void adam_mini_batch(const Batch *batch)
{
    const Mats u = {batch->workspace, batch->rows, batch->cols, batch->count};
    const size_t n = mats_size(u), lines = u.batch * u.rows;
    const double beta1 = batch_hyper(batch, HYPER_BETA1), beta2 = batch_hyper(batch, HYPER_BETA2);
    float *rms = u.data + n, *inverse = rms + lines;

    batch_gradients(batch, u);
    verb_mean_squares(batch->on, u, false, rms);
    verb_power(batch->on, lines, rms, rms, 0, 0.5);
    verb_fill(batch->on, lines, inverse, 1);
    verb_precondition(batch->on, lines, inverse, batch->slots->state[V], rms, beta2,
                      1 / (1 - pow(beta2, (double)batch->t)), batch_hyper(batch, HYPER_EPS), 1);
    verb_momentum(batch->on, n, batch->slots->state[M], u.data, u.data, beta1, false, 1);
    verb_scale_lines(batch->on, u, inverse, false, u);
    batch_update(batch, u, 1 / (1 - pow(beta1, (double)batch->t)));
}

const OptimRule optim_adam_mini = {
    .name = "adam-mini",
    .summary = "AdamW with one second moment for each row",
    .source = "Zhang et al. 2024; zyushun/Adam-mini",
    .matrices_only = true,
    .defaults.at = {HYPER_AT(LR, 1e-3), HYPER_AT(WEIGHT_DECAY, 0), HYPER_AT(CAUTIOUS, 0), HYPER_AT(BETA1, 0.9),
                    HYPER_AT(BETA2, 0.999), HYPER_AT(EPS, 1e-8), HYPER_AT(SPLIT_QKV, 1)},
    .states = {[M] = {"m", shape_whole, .is_momentum = true}, [V] = {"v", shape_rows}},
    .workspace = workspace_of_batch,
    .step = adam_mini_batch,
};
