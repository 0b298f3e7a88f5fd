/* Rows of length sqrt(columns): the steepest descent for an embedding whose rows are measured by their largest root
 * mean square (Bernstein and Newhouse 2024; Large et al. 2024). A row without a gradient stays. */
#include "optim/rules/batch.h"

/* Rows whose root mean square is less than 1 over this are not scaled up to 1. */
static const double MOST = 1e15;

/* The step; an inverse root for each row. */
static size_t workspace_of_batch(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    (void)h;
    return count * rows * (cols + 1);
}

static void rownorm_batch(const Batch *batch)
{
    const Mats u = {batch->workspace, batch->rows, batch->cols, batch->count};
    const size_t n = mats_size(u), lines = batch->count * batch->rows;
    float *inverse = mats_end(u);
    batch_gradients(batch, u);
    verb_momentum(batch->on, n, batch->slots->state[0], u.data, u.data, batch_hyper(batch, HYPER_MOMENTUM),
                  batch_hyper(batch, HYPER_NESTEROV) != 0, 1);
    verb_mean_squares(batch->on, u, false, inverse);
    verb_inverse_roots(batch->on, lines, inverse, inverse, 0, MOST);
    verb_scale_lines(batch->on, u, inverse, false, u);
    batch_update(batch, u, 1);
}

const OptimRule optim_rownorm = {
    .name = "rownorm",
    .summary = "momentum with each row scaled to a root mean square of 1",
    .source = "Bernstein and Newhouse 2024; modula",
    .matrices_only = true,
    .defaults.at = {HYPER_AT(LR, 0.02), HYPER_AT(WEIGHT_DECAY, 0), HYPER_AT(CAUTIOUS, 0), HYPER_AT(MOMENTUM, 0.95),
                    HYPER_AT(NESTEROV, 0), HYPER_AT(SPLIT_QKV, 1)},
    .states = {{"m", shape_whole, .is_momentum = true}},
    .workspace = workspace_of_batch,
    .step = rownorm_batch,
};
