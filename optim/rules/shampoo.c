/*
 * Shampoo (Gupta et al. 2018) with averages in place of sums:
 *   L = b2 L + (1 - b2) G G^T;  R = b2 R + (1 - b2) G^T G;  M = b1 M + (1 - b1) G
 *   W = (1 - lr wd) W - lr (L + eps I)^p M (R + eps I)^p
 * with p = -1/4 on both sides, or p = -1/2 on the smaller side alone. Bias correction divides L and R by 1 - b2^t and M
 * by 1 - b1^t. Grafting (Anil et al. 2020) keeps the direction and takes the Frobenius norm of Adam's step. Roots are
 * computed in step `refresh` and its multiples. Until then a grafted step is Adam's own, as in Meta's code (Shi et al.
 * 2023), since roots of one gradient's factors say little of the next; without grafting roots begin in the first step.
 */
#include "optim/rules/batch.h"
#include "optim/rules/flops.h"

#include <math.h>

/* Adam's eps for grafting: modded-nanogpt track 3. */
static const double GRAFT_EPS = 1e-10;

enum { M, LEFT, LEFT_ROOT, RIGHT, RIGHT_ROOT, V };

static bool has_left(const OptimHyper *h, size_t rows, size_t cols)
{
    return hyper(h, HYPER_SIDES) == SIDES_TWO || rows <= cols;
}

static bool has_right(const OptimHyper *h, size_t rows, size_t cols)
{
    return hyper(h, HYPER_SIDES) == SIDES_TWO || rows > cols;
}

static OptimShape shape_of_m(const OptimHyper *h, size_t rows, size_t cols)
{
    return (OptimShape){hyper(h, HYPER_BETA1) != 0 ? rows : 0, cols};
}

static OptimShape shape_of_left(const OptimHyper *h, size_t rows, size_t cols)
{
    return (OptimShape){has_left(h, rows, cols) ? rows : 0, rows};
}

static OptimShape shape_of_right(const OptimHyper *h, size_t rows, size_t cols)
{
    return (OptimShape){has_right(h, rows, cols) ? cols : 0, cols};
}

static OptimShape shape_of_v(const OptimHyper *h, size_t rows, size_t cols)
{
    return (OptimShape){hyper(h, HYPER_GRAFT) == GRAFT_ADAM ? rows : 0, cols};
}

/* The gradients, the step, an intermediate product; two norms per matrix. */
static size_t workspace_of_batch(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    const size_t left = has_left(h, rows, cols) ? verb_scratch(rows, rows, count) : 0;
    const size_t right = has_right(h, rows, cols) ? verb_scratch(cols, cols, count) : 0;
    return count * (3 * rows * cols + 2) + (left > right ? left : right);
}

/* Of each side its factor and the product with its root; the root. */
static double flops_of_matrix(const OptimHyper *h, size_t rows, size_t cols)
{
    double flops = 0;
    for (size_t side = 0; side < 2; side++) {
        const size_t n = side == 0 ? rows : cols, other = side == 0 ? cols : rows;
        if ((side == 0 ? has_left : has_right)(h, rows, cols))
            flops +=
                flops_of_gram(n, other) + flops_of_product(rows, cols, n) + flops_of_power(n) / hyper(h, HYPER_REFRESH);
    }
    return flops;
}

static bool is_grafted(const Batch *batch) { return batch->slots->state[V] != NULL; }

static size_t refresh_of(const Batch *batch) { return (size_t)batch_hyper(batch, HYPER_REFRESH); }

static bool roots_due(const Batch *batch)
{
    return batch->t % refresh_of(batch) == 0 || (batch->t == 1 && !is_grafted(batch));
}

/* One side's factor and, when due, its root. */
static void update_side(const Batch *batch, Mats g, bool right, float *scratch)
{
    const OptimHyper *h = batch->hyper;
    const size_t n = right ? batch->cols : batch->rows;
    const double beta2 = hyper(h, HYPER_BETA2);
    const Mats factor = batch_state(batch, right ? RIGHT : LEFT, n, n);
    const Mats root = batch_state(batch, right ? RIGHT_ROOT : LEFT_ROOT, n, n);
    if (factor.data == NULL)
        return;
    verb_gram_average(batch->on, g, right, beta2, 1 - beta2, factor);
    if (!roots_due(batch))
        return;
    const double corrected = hyper(h, HYPER_BIAS_CORRECTION) != 0 ? 1 / (1 - pow(beta2, (double)batch->t)) : 1;
    verb_root(batch->on, factor, corrected, hyper(h, HYPER_EPS), hyper(h, HYPER_SIDES) == SIDES_TWO ? -0.25 : -0.5,
              root, scratch);
}

/* x = the corrected first moment; the gradient itself if there is no momentum. */
static void first_moment(const Batch *batch, Mats g, Mats x)
{
    const double beta1 = batch_hyper(batch, HYPER_BETA1);
    const bool corrected = batch_hyper(batch, HYPER_BIAS_CORRECTION) != 0;
    const Mats m = batch_state(batch, M, g.rows, g.cols);
    if (m.data == NULL) {
        verb_copy(batch->on, g, x);
        return;
    }
    verb_momentum(batch->on, mats_size(g), m.data, x.data, g.data, beta1, false, 1);
    if (corrected)
        verb_scale(batch->on, mats_size(x), x.data, x.data, 1 / (1 - pow(beta1, (double)batch->t)));
}

/* Adam's step from its numerator x, which it replaces. */
static void adam_step(const Batch *batch, Mats g, Mats x)
{
    const double beta2 = batch_hyper(batch, HYPER_BETA2);
    const double correction =
        batch_hyper(batch, HYPER_BIAS_CORRECTION) != 0 ? 1 / (1 - pow(beta2, (double)batch->t)) : 1;
    verb_precondition(batch->on, mats_size(x), x.data, batch_state(batch, V, g.rows, g.cols).data, g.data, beta2,
                      correction, GRAFT_EPS, 1);
}

/* u = left_root x right_root, one of which may be absent; `between` holds the product in between. */
static void precondition(const Batch *batch, Mats x, Mats between, Mats u)
{
    const Mats left = batch_state(batch, LEFT_ROOT, x.rows, x.rows);
    const Mats right = batch_state(batch, RIGHT_ROOT, x.cols, x.cols);
    if (left.data != NULL)
        verb_product(batch->on, left, false, x, false, 1, 0, right.data != NULL ? between : u);
    if (right.data != NULL)
        verb_product(batch->on, left.data != NULL ? between : x, false, right, false, 1, 0, u);
}

static void shampoo_batch(const Batch *batch)
{
    const Mats g = {batch->workspace, batch->rows, batch->cols, batch->count};
    const Mats x = {mats_end(g), g.rows, g.cols, g.batch};
    const Mats u = {mats_end(x), g.rows, g.cols, g.batch};
    float *adam = mats_end(u), *own = adam + g.batch, *scratch = own + g.batch;

    batch_gradients(batch, g);
    update_side(batch, g, false, scratch);
    update_side(batch, g, true, scratch);
    first_moment(batch, g, x);
    if (is_grafted(batch)) {
        verb_copy(batch->on, x, u);
        adam_step(batch, g, u);
        verb_norms(batch->on, u, adam);
    }
    if (!is_grafted(batch) || batch->t >= refresh_of(batch))
        precondition(batch, x, g, u);
    if (is_grafted(batch))
        verb_set_norms(batch->on, u, adam, own);
    batch_update(batch, u, 1);
}

const OptimRule optim_shampoo = {
    .name = "shampoo",
    .summary = "gradients between inverse roots of their row and column second moments",
    .source = "Gupta et al. 2018; Anil et al. 2020",
    .matrices_only = true,
    .defaults.at = {HYPER_AT(LR, 1e-3), HYPER_AT(WEIGHT_DECAY, 0.1), HYPER_AT(CAUTIOUS, 0), HYPER_AT(BETA1, 0.9),
                    HYPER_AT(BETA2, 0.95), HYPER_AT(EPS, 1e-12), HYPER_AT(BIAS_CORRECTION, 1),
                    HYPER_AT(SIDES, SIDES_TWO), HYPER_AT(REFRESH, 10), HYPER_AT(GRAFT, GRAFT_ADAM),
                    HYPER_AT(SPLIT_QKV, 1)},
    .states = {[M] = {"m", shape_of_m, .is_momentum = true},
               [LEFT] = {"left", shape_of_left},
               [LEFT_ROOT] = {"left_root", shape_of_left},
               [RIGHT] = {"right", shape_of_right},
               [RIGHT_ROOT] = {"right_root", shape_of_right},
               [V] = {"v", shape_of_v}},
    .workspace = workspace_of_batch,
    .flops = flops_of_matrix,
    .step = shampoo_batch,
};
