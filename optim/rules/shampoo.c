/*
 * Shampoo (Gupta et al. 2018) with averages for sums:
 *   L = b2 L + (1 - b2) G G^T;  R = b2 R + (1 - b2) G^T G;  M = b1 M + (1 - b1) G
 *   W = (1 - lr wd) W - lr (L + eps I)^p M (R + eps I)^p
 * with p = -1/4 on both sides, or one side, the smaller, with p = -1/2. Roots are renewed every `refresh` steps, the
 * first time in the first step. Bias correction divides L and R by 1 - b2^t and M by 1 - b1^t. Grafting (Anil et al.
 * 2020) keeps the direction and takes the Frobenius norm of Adam's step.
 */
#include "optim/rules/batch.h"

#include <math.h>

/* Adam's eps when its norm is grafted: modded-nanogpt track 3. */
static const double GRAFT_EPS = 1e-10;

/* Which state is what; ABSENT where the options make it superfluous. */
enum { ABSENT = OPTIM_STATES_MAX };
typedef struct Layout {
    size_t m, left, left_root, right, right_root, v, count;
} Layout;

static size_t place(Layout *layout, bool present) { return present ? layout->count++ : ABSENT; }

static Layout layout_of(const OptimHyper *h, size_t rows, size_t cols)
{
    const bool two = hyper(h, HYPER_SIDES) == SIDES_TWO, left = two || rows <= cols, right = two || rows > cols;
    Layout layout = {0};
    layout.m = place(&layout, hyper(h, HYPER_BETA1) != 0);
    layout.left = place(&layout, left);
    layout.left_root = place(&layout, left);
    layout.right = place(&layout, right);
    layout.right_root = place(&layout, right);
    layout.v = place(&layout, hyper(h, HYPER_GRAFT) == GRAFT_ADAM);
    return layout;
}

static void specify(OptimStateSpec *specs, size_t k, const char *name, size_t rows, size_t cols)
{
    if (k != ABSENT)
        specs[k] = (OptimStateSpec){name, rows, cols};
}

static size_t shampoo_states(const OptimHyper *h, size_t rows, size_t cols, OptimStateSpec *specs)
{
    const Layout layout = layout_of(h, rows, cols);
    specify(specs, layout.m, "m", rows, cols);
    specify(specs, layout.left, "left", rows, rows);
    specify(specs, layout.left_root, "left_root", rows, rows);
    specify(specs, layout.right, "right", cols, cols);
    specify(specs, layout.right_root, "right_root", cols, cols);
    specify(specs, layout.v, "v", rows, cols);
    return layout.count;
}

/* The gradients, the step, a product on the way to it; a pair of norms a matrix. */
static size_t workspace_of_batch(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    const Layout layout = layout_of(h, rows, cols);
    const size_t left = layout.left != ABSENT ? verb_scratch(rows, rows, count) : 0;
    const size_t right = layout.right != ABSENT ? verb_scratch(cols, cols, count) : 0;
    return count * (3 * rows * cols + 2) + (left > right ? left : right);
}

static size_t shampoo_workspace(const OptimGroup *group) { return batch_workspace(group, workspace_of_batch); }

/* One side's factor and, where it is due, its root. */
static void update_side(const Batch *batch, Mats g, bool right, size_t factor_state, size_t root_state, float *scratch)
{
    const OptimHyper *h = batch->hyper;
    const size_t n = right ? batch->cols : batch->rows;
    const double beta2 = hyper(h, HYPER_BETA2);
    if (factor_state == ABSENT)
        return;
    const Mats factor = batch_state(batch, factor_state, n, n), root = batch_state(batch, root_state, n, n);
    verb_gram_average(g, right, beta2, 1 - beta2, factor);
    if ((batch->t - 1) % (size_t)hyper(h, HYPER_REFRESH) != 0)
        return;
    const double corrected = hyper(h, HYPER_BIAS_CORRECTION) != 0 ? 1 / (1 - pow(beta2, (double)batch->t)) : 1;
    verb_root(factor, corrected, hyper(h, HYPER_EPS), hyper(h, HYPER_SIDES) == SIDES_TWO ? -0.25 : -0.5, root, scratch);
}

/* M of the step, corrected, into x; the gradient itself where there is no momentum. */
static void first_moment(const Batch *batch, const Layout *layout, Mats g, Mats x)
{
    const double beta1 = batch_hyper(batch, HYPER_BETA1);
    const bool corrected = batch_hyper(batch, HYPER_BIAS_CORRECTION) != 0;
    if (layout->m == ABSENT) {
        verb_copy(g, x);
        return;
    }
    verb_momentum(mats_size(g), batch_state(batch, layout->m, g.rows, g.cols).data, x.data, g.data, beta1, false, 1);
    if (corrected)
        verb_scale(mats_size(x), x.data, x.data, 1 / (1 - pow(beta1, (double)batch->t)));
}

/* norms (count) of Adam's step, of which x is the numerator. x is spent. */
static void adam_norms(const Batch *batch, const Layout *layout, Mats g, Mats x, float *norms)
{
    const double beta2 = batch_hyper(batch, HYPER_BETA2);
    const double correction =
        batch_hyper(batch, HYPER_BIAS_CORRECTION) != 0 ? 1 / (1 - pow(beta2, (double)batch->t)) : 1;
    verb_precondition(mats_size(x), x.data, batch_state(batch, layout->v, g.rows, g.cols).data, g.data, beta2,
                      correction, GRAFT_EPS, 1);
    verb_norms(x, norms);
}

/* u = left_root x right_root, of which one may be absent; `between` has room for a product. */
static void precondition(const Batch *batch, const Layout *layout, Mats x, Mats between, Mats u)
{
    const bool left = layout->left != ABSENT, right = layout->right != ABSENT;
    if (left)
        verb_product(batch_state(batch, layout->left_root, x.rows, x.rows), false, x, false, 1, 0, right ? between : u);
    if (right)
        verb_product(left ? between : x, false, batch_state(batch, layout->right_root, x.cols, x.cols), false, 1, 0, u);
}

static void shampoo_batch(const Batch *batch)
{
    const Layout layout = layout_of(batch->hyper, batch->rows, batch->cols);
    const Mats g = {batch->workspace, batch->rows, batch->cols, batch->count};
    const Mats x = {g.data + mats_size(g), g.rows, g.cols, g.batch};
    const Mats u = {x.data + mats_size(g), g.rows, g.cols, g.batch};
    float *adam = u.data + mats_size(g), *own = adam + g.batch, *scratch = own + g.batch;

    batch_gradients(batch, g);
    update_side(batch, g, false, layout.left, layout.left_root, scratch);
    update_side(batch, g, true, layout.right, layout.right_root, scratch);
    first_moment(batch, &layout, g, x);
    if (layout.v == ABSENT) {
        precondition(batch, &layout, x, g, u);
    } else {
        verb_copy(x, u);
        adam_norms(batch, &layout, g, u, adam);
        precondition(batch, &layout, x, g, u);
        verb_norms(u, own);
        verb_rescale(u, adam, own, 1, 1e-30);
    }
    batch_update(batch, u, 1);
}

static void shampoo_step(const OptimGroup *group, const OptimStep *step) { batch_each(group, step, shampoo_batch); }

const OptimRule optim_shampoo = {
    .name = "shampoo",
    .summary = "gradients between the inverse roots of their second moments by row and by column",
    .source = "Gupta et al. 2018; Anil et al. 2020",
    .matrices_only = true,
    .defaults.at = {[HYPER_LR] = HYPER_SET(1e-3),
                    [HYPER_WEIGHT_DECAY] = HYPER_SET(0.1),
                    [HYPER_CAUTIOUS] = HYPER_SET(0),
                    [HYPER_BETA1] = HYPER_SET(0.9),
                    [HYPER_BETA2] = HYPER_SET(0.95),
                    [HYPER_EPS] = HYPER_SET(1e-12),
                    [HYPER_BIAS_CORRECTION] = HYPER_SET(1),
                    [HYPER_SIDES] = HYPER_SET(SIDES_TWO),
                    [HYPER_REFRESH] = HYPER_SET(10),
                    [HYPER_GRAFT] = HYPER_SET(GRAFT_ADAM),
                    [HYPER_SPLIT_QKV] = HYPER_SET(1)},
    .states = shampoo_states,
    .workspace = shampoo_workspace,
    .step = shampoo_step,
};
