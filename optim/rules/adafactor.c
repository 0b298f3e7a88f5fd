/*
 * Adafactor (Shazeer and Stern 2018) as in torch.optim.Adafactor: a second moment of rows and columns in place of one
 * for each element, and steps in proportion to the parameter's root mean square.
 *   a = t^-0.8;  R = (1 - a) R + a mean_rows(G^2);  C likewise;  V = R C / max(mean R, eps);
 *   U = G / max(sqrt(V), eps);  U = U / max(1, RMS U);
 *   W = (1 - lr wd) W - max(0.001, RMS W) min(lr, 1 / sqrt(t)) U
 * A vector, a matrix of one row, has V = C.
 */
#include "optim/rules/batch.h"

#include <math.h>

static const double DECAY_POWER = -0.8, RMS_LEAST = 1e-3;

enum { ROW, COLUMN };

static OptimShape shape_of_row(const OptimHyper *h, size_t rows, size_t cols)
{
    (void)h, (void)cols;
    return (OptimShape){rows > 1, rows};
}

/* The step and V; two numbers per tensor; a line of means, or two of rows and another number. */
static size_t workspace_of_batch(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    const size_t lines = 2 * rows + 1 > cols ? 2 * rows + 1 : cols;
    (void)h;
    return count * (2 * rows * cols + 2 + lines);
}

/* One side's average of mean squares; `line` holds the new ones. */
static void average_lines(const Batch *batch, Mats g, bool right, double share, float *line)
{
    const size_t n = g.batch * (right ? g.cols : g.rows);
    verb_mean_squares(batch->on, g, right, line);
    verb_add(batch->on, n, batch->slots->state[right ? COLUMN : ROW], line, 1 - share, share);
}

/* v = the second moment; R is divided by its mean first, since in fp32 the product of two small means could be 0. */
static void second_moment(const Batch *batch, Mats g, Mats v, float *line)
{
    const double share = pow((double)batch->t, DECAY_POWER);
    const Mats column = batch_state(batch, COLUMN, 1, g.cols), row = batch_state(batch, ROW, 1, g.rows);
    const Mats ratio = {line, 1, g.rows, g.batch}, ones = {line + mats_size(ratio), 1, g.rows, g.batch};
    float *mean = mats_end(ones);
    average_lines(batch, g, true, share, line);
    if (row.data == NULL) {
        verb_copy(batch->on, column, v);
        return;
    }
    average_lines(batch, g, false, share, line);
    verb_copy(batch->on, row, ratio);
    verb_fill(batch->on, mats_size(ones), ones.data, 1 / (double)g.rows);
    verb_dots(batch->on, row, ones, mean);
    verb_rescale(batch->on, ratio, NULL, mean, 1, batch_hyper(batch, HYPER_EPS));
    verb_product(batch->on, (Mats){line, g.rows, 1, g.batch}, false, column, false, 1, 0, v);
}

static void adafactor_batch(const Batch *batch)
{
    const size_t r = batch->rows, c = batch->cols, count = batch->count;
    const Mats u = {batch->workspace, r, c, count}, v = {mats_end(u), r, c, count};
    float *weights = mats_end(v), *steps = weights + count, *line = steps + count;
    const double lr = batch_hyper(batch, HYPER_LR), size = sqrt((double)(r * c));

    batch_gradients(batch, u);
    second_moment(batch, u, v, line);
    verb_whiten(batch->on, mats_size(u), u.data, v.data, 1, batch_hyper(batch, HYPER_EPS));
    for (size_t i = 0, run; i < count; i += run) {
        run = batch_run(batch, i);
        verb_norms(batch->on, batch_params(batch, i, run), weights + i);
    }
    verb_power(batch->on, count, weights, weights, RMS_LEAST * size, 1);
    verb_norms(batch->on, u, steps);
    verb_rescale(batch->on, u, weights, steps, 1, size);
    batch_update(batch, u, fmin(1, 1 / (lr * sqrt((double)batch->t))));
}

const OptimRule optim_adafactor = {
    .name = "adafactor",
    .summary = "second moments of rows and columns alone; steps relative to the parameters' size",
    .source = "Shazeer and Stern 2018; torch.optim.Adafactor",
    .defaults.at = {HYPER_AT(LR, 0.01), HYPER_AT(WEIGHT_DECAY, 0), HYPER_AT(CAUTIOUS, 0), HYPER_AT(EPS, 0x1p-23),
                    HYPER_AT(SPLIT_QKV, 1)},
    .states = {[ROW] = {"row", shape_of_row}, [COLUMN] = {"column", shape_cols}},
    .workspace = workspace_of_batch,
    .step = adafactor_batch,
};
