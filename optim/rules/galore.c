/*
 * GaLore (Zhao et al. 2024): Adam of gradients projected to their top singular vectors,
 *   P (smaller side x k): the top left singular vectors of G, or the right ones if r >= c, found anew every `refresh`
 *   steps;  x = P^T G, or G P;  W = (1 - lr wd) (W - lr 0.25 P Adam(x)), or with Adam(x) P^T,
 * with eps beside the uncorrected root. The moments are kept when P changes, so its new columns take the signs that
 * bring them nearer to the old ones: singular vectors have none of their own.
 */
#include "optim/rules/batch.h"
#include "optim/rules/flops.h"

#include <math.h>

/* Of the step, as in the authors' settings. */
static const double SCALE = 0.25;

enum { M, V, BASIS };

static bool is_right(size_t rows, size_t cols) { return rows >= cols; }

static OptimShape shape_of_moment(const OptimHyper *h, size_t rows, size_t cols)
{
    const size_t rank = shape_basis(h, rows, cols).cols;
    return is_right(rows, cols) ? (OptimShape){rows, rank} : (OptimShape){rank, cols};
}

/* The gradients; x and its step; a Gram matrix, its eigenvectors and the first of these, with signs and ones. */
static size_t workspace_of_batch(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    const OptimShape basis = shape_basis(h, rows, cols);
    const size_t n = basis.rows, rank = basis.cols, longer = rows > cols ? rows : cols;
    return count * (rows * cols + 2 * longer * rank + 2 * n * n + n * rank + 2 * rank) + verb_scratch(n, n, count);
}

/* Into the basis and out of it; the basis. */
static double flops_of_matrix(const OptimHyper *h, size_t rows, size_t cols)
{
    const OptimShape basis = shape_basis(h, rows, cols);
    const size_t n = basis.rows, longer = rows > cols ? rows : cols;
    return 2 * flops_of_product(rows, cols, basis.cols) +
           (flops_of_gram(n, longer) + flops_of_eigenvectors(n)) / hyper(h, HYPER_REFRESH);
}

static void renew_basis(const Batch *batch, Mats g, Mats basis, float *rest)
{
    const size_t n = basis.rows, signs_count = basis.batch * basis.cols;
    const bool right = is_right(g.rows, g.cols);
    const Mats gram = {rest, n, n, g.batch}, all = {mats_end(gram), n, n, g.batch};
    const Mats first = {mats_end(all), n, basis.cols, g.batch};
    float *signs = mats_end(first), *ones = signs + signs_count;
    verb_gram_average(batch->on, g, right, 0, 1, gram);
    verb_eigenbasis(batch->on, gram, all, ones + signs_count);
    verb_take_lines(batch->on, all, NULL, true, first);
    verb_line_dots(batch->on, first, basis, true, signs);
    verb_fill(batch->on, signs_count, ones, 1);
    verb_add(batch->on, signs_count, signs, ones, 1, 1e-30); /* 0 counts as positive */
    verb_sign(batch->on, signs_count, signs, signs);
    verb_scale_lines(batch->on, first, signs, true, basis);
}

static void galore_batch(const Batch *batch)
{
    const size_t r = batch->rows, c = batch->cols, count = batch->count;
    const OptimShape moment = shape_of_moment(batch->hyper, r, c), shape = shape_basis(batch->hyper, r, c);
    const bool right = is_right(r, c);
    const Mats g = {batch->workspace, r, c, count}, x = {mats_end(g), moment.rows, moment.cols, count};
    const Mats y = {mats_end(x), x.rows, x.cols, count};
    const Mats basis = batch_state(batch, BASIS, shape.rows, shape.cols);
    const double beta1 = batch_hyper(batch, HYPER_BETA1), beta2 = batch_hyper(batch, HYPER_BETA2);
    const double t = (double)batch->t, correction = sqrt(1 - pow(beta2, t)) / (1 - pow(beta1, t));

    batch_gradients(batch, g);
    if ((batch->t - 1) % (size_t)batch_hyper(batch, HYPER_REFRESH) == 0)
        renew_basis(batch, g, basis, mats_end(y));
    verb_product(batch->on, right ? g : basis, !right, right ? basis : g, false, 1, 0, x);
    verb_adam_direction(batch->on, mats_size(x), y.data, batch->slots->state[M], batch->slots->state[V], x.data, beta1,
                        beta2, 1, batch_hyper(batch, HYPER_EPS), 1);
    verb_product(batch->on, right ? y : basis, false, right ? basis : y, right, 1, 0, g);
    batch_subtract(batch, g, SCALE * correction);
    batch_decay(batch, g);
}

const OptimRule optim_galore = {
    .name = "galore",
    .summary = "Adam of gradients projected to their top singular vectors",
    .source = "Zhao et al. 2024; jiaweizzhao/GaLore",
    .matrices_only = true,
    .defaults.at = {HYPER_AT(LR, 1e-3), HYPER_AT(WEIGHT_DECAY, 0), HYPER_AT(BETA1, 0.9), HYPER_AT(BETA2, 0.999),
                    HYPER_AT(EPS, 1e-6), HYPER_AT(RANK, 128), HYPER_AT(REFRESH, 200), HYPER_AT(SPLIT_QKV, 1)},
    .states = {[M] = {"m", shape_of_moment, .is_momentum = true},
               [V] = {"v", shape_of_moment},
               [BASIS] = {"basis", shape_basis}},
    .workspace = workspace_of_batch,
    .flops = flops_of_matrix,
    .step = galore_batch,
};
