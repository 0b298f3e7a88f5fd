/*
 * SPlus (Frans, Levine and Abbeel 2025): the sign of the momentum in the eigenbasis of Shampoo's factors.
 *   M = b1 M + (1 - b1) G;  D = QL sign(QL^T M QR) QR^T;  W = W - e D,  e = lr 2 / (r + c);
 *   A = d A + (1 - d) W;  W = (1 - e wd) W;  L = b2 L + (1 - b2) G G^T;  R = b2 R + (1 - b2) G^T G
 * with bases from the eigenvectors of L and R after step 1 and every `refresh` steps; in step 1 they are I. What is
 * shown is the average, A / (1 - d^t).
 */
#include "optim/rules/batch.h"
#include "optim/rules/flops.h"

#include <math.h>

enum { M, LEFT, RIGHT, LEFT_BASIS, RIGHT_BASIS, AVERAGE };

/* The gradients, the step, an intermediate product. */
static size_t workspace_of_batch(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    const size_t n = rows > cols ? rows : cols;
    (void)h;
    return 3 * count * rows * cols + verb_scratch(n, n, count);
}

/* Factors, into the basis and out of it; the basis. */
static double flops_of_matrix(const OptimHyper *h, size_t rows, size_t cols)
{
    return flops_of_grams(rows, cols) + 2 * flops_of_sides(rows, cols) +
           (flops_of_eigenvectors(rows) + flops_of_eigenvectors(cols)) / hyper(h, HYPER_REFRESH);
}

/* u = QL sign(QL^T u QR) QR^T; `between` holds the products in between. */
static void sign_in_basis(const Batch *batch, Mats u, Mats between)
{
    const Mats left = batch_state(batch, LEFT_BASIS, u.rows, u.rows);
    const Mats right = batch_state(batch, RIGHT_BASIS, u.cols, u.cols);
    verb_product_on_both_sides(batch->on, left, true, u, right, false, between, u);
    verb_sign(batch->on, mats_size(u), u.data, u.data);
    verb_product_on_both_sides(batch->on, left, false, u, right, true, between, u);
}

static void update_side(const Batch *batch, Mats g, bool right, float *scratch)
{
    const size_t n = right ? g.cols : g.rows;
    const double beta2 = batch_hyper(batch, HYPER_BETA2);
    const Mats factor = batch_state(batch, right ? RIGHT : LEFT, n, n);
    verb_gram_average(batch->on, g, right, beta2, 1 - beta2, factor);
    if (batch->t == 1 || batch->t % (size_t)batch_hyper(batch, HYPER_REFRESH) == 0)
        verb_eigenbasis(batch->on, factor, batch_state(batch, right ? RIGHT_BASIS : LEFT_BASIS, n, n), scratch);
}

/* A = d A + (1 - d) W */
static void average_parameters(const Batch *batch)
{
    const size_t n = batch->rows * batch->cols;
    const double decay = batch_hyper(batch, HYPER_AVERAGE_DECAY);
    for (size_t i = 0, run; i < batch->count; i += run) {
        run = batch_run(batch, i);
        verb_add(batch->on, run * n, batch->slots[i].state[AVERAGE], batch->slots[i].param, decay, 1 - decay);
    }
}

static void splus_batch(const Batch *batch)
{
    const Mats g = {batch->workspace, batch->rows, batch->cols, batch->count};
    const Mats u = {mats_end(g), g.rows, g.cols, g.batch};
    const Mats between = {mats_end(u), g.rows, g.cols, g.batch};
    OptimHyper hyper;
    const double rate = batch_hyper(batch, HYPER_LR) * 2 / (double)(g.rows + g.cols);
    const Batch scaled = batch_at_rate(batch, rate, &hyper);

    batch_gradients(batch, g);
    verb_momentum(batch->on, mats_size(g), batch_state(batch, M, g.rows, g.cols).data, u.data, g.data,
                  batch_hyper(batch, HYPER_BETA1), false, 1);
    if (batch->t == 1)
        verb_sign(batch->on, mats_size(u), u.data, u.data);
    else
        sign_in_basis(batch, u, between);
    batch_subtract(&scaled, u, 1);
    average_parameters(batch);
    batch_decay(&scaled, u);
    update_side(batch, g, false, mats_end(between));
    update_side(batch, g, true, mats_end(between));
}

static void splus_shown(const OptimHyper *h, size_t done, double *of_param, double *of_state)
{
    *of_param = 0;
    *of_state = 1 / (1 - pow(hyper(h, HYPER_AVERAGE_DECAY), (double)done));
}

const OptimRule optim_splus = {
    .name = "splus",
    .summary = "sign of the momentum in the eigenbasis of Shampoo's factors; shows an average",
    .source = "Frans et al. 2025; kvfrans/splus",
    .matrices_only = true,
    .defaults.at = {HYPER_AT(LR, 0.1), HYPER_AT(WEIGHT_DECAY, 0.01), HYPER_AT(BETA1, 0.9), HYPER_AT(BETA2, 0.999),
                    HYPER_AT(REFRESH, 100), HYPER_AT(AVERAGE_DECAY, 0.999), HYPER_AT(SPLIT_QKV, 1)},
    .states = {[M] = {"m", shape_whole, .is_momentum = true},
               [LEFT] = {"left", shape_left},
               [RIGHT] = {"right", shape_right},
               [LEFT_BASIS] = {"left_basis", shape_left},
               [RIGHT_BASIS] = {"right_basis", shape_right},
               [AVERAGE] = {"average", shape_whole}},
    .shown = splus_shown,
    .shown_state = AVERAGE,
    .workspace = workspace_of_batch,
    .flops = flops_of_matrix,
    .step = splus_batch,
};
