/*
 * Adam-mini (Zhang et al. 2024): AdamW with one second moment for each row, the average of its mean square gradient.
 * The authors give a head of the query and key matrices one for all of its rows; here it has it with --split-heads, the
 * mean then being that of all rows and v as many times the same.
 *   m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) mean_rows(g^2);
 *   W = (1 - lr wd) W - lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)
 */
#include "optim/rules/batch.h"

#include <math.h>

enum { M, V };

/* The step; a mean square and the inverse of a divisor for each row. */
static size_t workspace_of_batch(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    (void)h;
    return count * rows * (cols + 2);
}

/* Whether slot i is a head of queries or keys; those of values are in the last block. */
static bool is_shared(const Batch *batch, size_t i)
{
    const OptimSlot *slot = &batch->slots[i];
    if (!batch->hyper->at[HYPER_SPLIT_HEADS].set || batch_hyper(batch, HYPER_SPLIT_HEADS) == 0)
        return false;
    const Tensor *t = slot->tensor;
    return t->heads > 0 && (t->blocks == 1 || slot->first < tensor_size(t) / t->blocks * (t->blocks - 1));
}

/* Gives all rows of such a head of u their common mean square; spare: a float for each slot. */
static void share_means(const Batch *batch, Mats u, float *means, float *spare)
{
    for (size_t i = 0, run; i < batch->count; i += run) {
        const bool shared = is_shared(batch, i);
        for (run = 1; i + run < batch->count && is_shared(batch, i + run) == shared;)
            run++;
        if (!shared)
            continue;
        const Mats flat = {u.data + i * u.rows * u.cols, 1, u.rows * u.cols, run};
        const Mats rows = {means + i * u.rows, u.rows, 1, run};
        verb_mean_squares(batch->on, flat, false, spare);
        verb_fill(batch->on, run * u.rows, rows.data, 1);
        verb_rescale(batch->on, rows, spare, NULL, 1, 0);
    }
}

static void adam_mini_batch(const Batch *batch)
{
    const Mats u = {batch->workspace, batch->rows, batch->cols, batch->count};
    const size_t n = mats_size(u);
    const double beta1 = batch_hyper(batch, HYPER_BETA1), beta2 = batch_hyper(batch, HYPER_BETA2);
    float *squares = mats_end(u), *inverse = squares + u.batch * u.rows;

    batch_gradients(batch, u);
    verb_mean_squares(batch->on, u, false, squares);
    share_means(batch, u, squares, inverse);
    batch_line_divisors(batch, u.batch * u.rows, squares, batch->slots->state[V],
                        1 / (1 - pow(beta2, (double)batch->t)), inverse);
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
