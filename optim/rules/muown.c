/*
 * Muown (modded-nanogpt track 3, #23): weight normalisation, W_i = g_i V_i / |V_i| for each row i, under Muon for V and
 * Adam for g. V is kept as the direction e = W / g times a length n, which only scales down its turn:
 *   dg = sum of G e by rows;  dV = (g/n) (G - e dg);  m = mu m + dV;  u = nesterov ? dV + mu m : m
 *   g = Adam(dg);  V = n e - lr 0.2 sqrt(max(r, c)) NS(u);  W = g V / |V|
 * At first g and n are |W_i|, but sqrt(0.33) for a row of zeros, which so gets a direction and length at once; of T
 * steps n has by step t gone ((t - 2) / (T - 1))^1.2 of its way to a target.
 */
#include "optim/rules/muon.h"
#include "optim/rules/orthogonal.h"

#include <math.h>

enum { M, GAIN, FIRST_GAIN, GAIN_M, GAIN_V };

static const double LENGTH_POWER = 1.2, MLP_OUT_FACTOR = 3.333; /* of the target, for the MLP's second matrix */

/* Four numbers for each row, padded to preserve alignment. */
static size_t lines_of_batch(size_t rows, size_t count) { return (4 * count * rows + 15) / 16 * 16; }

static size_t workspace_of_batch(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    return 2 * count * rows * cols + lines_of_batch(rows, count) + orthogonal_floats(h, rows, cols, count);
}

static void gather_parameters(const Batch *batch, Mats to)
{
    const size_t n = batch->rows * batch->cols;
    for (size_t i = 0, run; i < batch->count; i += run) {
        run = batch_run(batch, i);
        verb_scale(batch->on, run * n, to.data + i * n, batch->slots[i].param, 1);
    }
}

/* Both gains = |w_i|, or sqrt(0.33); `spare` holds as many numbers. */
static void first_gains(const Batch *batch, Mats w, float *gain, float *first_gain, float *spare)
{
    const size_t n = batch->count * batch->rows;
    verb_line_dots(batch->on, w, w, false, gain);
    verb_power(batch->on, n, gain, gain, 0, 0.5);
    verb_sign(batch->on, n, spare, gain);
    verb_fill(batch->on, n, first_gain, sqrt(0.33));
    verb_scale(batch->on, n, spare, spare, -sqrt(0.33));
    verb_add(batch->on, n, spare, first_gain, 1, 1); /* 0, or sqrt(0.33) where the gain is 0 */
    verb_add(batch->on, n, gain, spare, 1, 1);
    verb_scale(batch->on, n, first_gain, gain, 1);
}

/* n of this step */
static void lengths_of(const Batch *batch, const float *first_gain, float *length)
{
    const double done = (double)batch->t - 2, all = (double)batch->steps - 1;
    const double share = batch->t < 2 || batch->steps < 2 ? 0 : done < all ? pow(done / all, LENGTH_POWER) : 1;
    const double factor = batch->slots->tensor->part == PART_MLP_OUT ? MLP_OUT_FACTOR : 1;
    verb_fill(batch->on, batch->count * batch->rows, length, factor * batch_hyper(batch, HYPER_TARGET_NORM));
    verb_add(batch->on, batch->count * batch->rows, length, first_gain, share, 1 - share);
}

/* The gains' Adam step along dg; `spare` holds as many numbers. */
static void move_gains(const Batch *batch, float *gain, const float *dg, float *spare)
{
    const double beta1 = batch_hyper(batch, HYPER_BETA1), beta2 = batch_hyper(batch, HYPER_BETA2), t = (double)batch->t;
    verb_adam_direction(batch->on, batch->count * batch->rows, spare, batch->slots->state[GAIN_M],
                        batch->slots->state[GAIN_V], dg, beta1, beta2, 1 / (1 - pow(beta2, t)),
                        batch_hyper(batch, HYPER_EPS), 1);
    verb_add(batch->on, batch->count * batch->rows, gain, spare, 1,
             -batch_hyper(batch, HYPER_LR) / (1 - pow(beta1, t)));
}

static void muown_batch(const Batch *batch)
{
    const size_t r = batch->rows, c = batch->cols, count = batch->count, lines = count * r;
    const double mu = batch_hyper(batch, HYPER_MOMENTUM), lr = batch_hyper(batch, HYPER_LR);
    const Mats u = {batch->workspace, r, c, count}, w = {mats_end(u), r, c, count};
    float *gain = batch->slots->state[GAIN], *first_gain = batch->slots->state[FIRST_GAIN];
    float *length = mats_end(w), *dg = length + lines, *keep = dg + lines, *spare = keep + lines;

    batch_gradients(batch, u);
    gather_parameters(batch, w);
    if (batch->t == 1)
        first_gains(batch, w, gain, first_gain, spare);
    lengths_of(batch, first_gain, length);
    verb_line_dots(batch->on, w, u, false, dg);
    verb_divide(batch->on, lines, dg, dg, gain);
    verb_divide(batch->on, lines, spare, gain, length);
    verb_scale_lines(batch->on, u, spare, false, u);
    verb_divide(batch->on, lines, spare, dg, length);
    verb_scale_lines(batch->on, w, spare, false, w);
    verb_add(batch->on, mats_size(u), u.data, w.data, 1, -1); /* dV */
    verb_momentum(batch->on, mats_size(u), batch->slots->state[M], u.data, u.data, mu,
                  batch_hyper(batch, HYPER_NESTEROV) != 0, 1 / (1 - mu)); /* so scaled, a sum */
    orthogonalise(batch, u, length + lines_of_batch(r, count));
    verb_divide(batch->on, lines, keep, length, gain);
    move_gains(batch, gain, dg, spare);
    for (size_t i = 0, run; i < count && lr != 0; i += run) { /* at a rate of 0 only rounding would move W */
        run = batch_run(batch, i);
        verb_direct_rows(batch->on, batch_params(batch, i, run), mats_part(u, i, run), keep + i * r, gain + i * r,
                         lr * muon_scale(MUON_SCALE_MOONSHOT, r, c));
    }
}

/* The entry's eps is 1e-8, beside sums of gradients over 524,288 tokens, not their means. */
const OptimRule optim_muown = {
    .name = "muown",
    .summary = "weight normalisation, with Muon for directions and Adam for lengths",
    .source = "modded-nanogpt track 3, #23",
    .matrices_only = true,
    .by_part = true,
    .defaults.at = {HYPER_AT(LR, 0.00325), HYPER_AT(MOMENTUM, 0.95), HYPER_AT(NESTEROV, 1), HYPER_AT(BETA1, 0.9),
                    HYPER_AT(BETA2, 0.95), HYPER_AT(EPS, 1.9e-14), HYPER_AT(TARGET_NORM, 2.496), NS_DEFAULTS(NS_MUOWN)},
    .settle = muon_settle,
    .states = {[M] = {"m", shape_whole, .is_momentum = true},
               [GAIN] = {"gain", shape_rows, .is_weight = true},
               [FIRST_GAIN] = {"first_gain", shape_rows},
               [GAIN_M] = {"gain_m", shape_rows},
               [GAIN_V] = {"gain_v", shape_rows}},
    .workspace = workspace_of_batch,
    .flops = orthogonal_flops,
    .step = muown_batch,
};
