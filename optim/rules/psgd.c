/*
 * PSGD with Kronecker factors (Li 2018): upper triangular factors of a preconditioner, learned so that it whitens
 * gradients, in the product with which random probes V, N(0, 1), are kept where they are. A factor Q on the right of a
 * and p, on whose left another factor may be,
 *   Q = Q - rate triu(a^T a - p^T p) Q / e(a^T a + p^T p),  a = .. u Q^T,  p = .. V Q^-1
 * e an estimate of the spectral norm: of the longest column w of S |S v| for v = S w / |S w|.
 *   psgdh   m averages gradients, u = m / (1 - b^t);  factors A and B begin as multiples of I;
 *           a = A (u + 1.2e-7 |u| N) B^T, N(0, 1) in N;  p = A^-T V B^-1;  the step rotates each matrix along
 *           A^T A u B^T B and keeps its norm (modded-nanogpt track 3, #33)
 *   kron    one factor, on the shorter side, begins as I and after 501 steps is renewed ever more rarely;  a = u Q^T,
 *           p = V Q^-1;  the step is d = u Q^T Q, its root mean square at most 1.1, with decoupled decay
 *           (evanatyourservice/kron_torch, one-sided)
 */
#include "optim/rules/batch.h"
#include "optim/rules/flops.h"

#include <math.h>

enum { M, FACTOR, RIGHT_FACTOR }; /* psgdh's first factor is the left one */

/* What divides may be 0 for lack of gradients. */
static const double LEAST = 1e-30;

/* Norms of factors' steps count so many times: a factor of one row that is far too large would become exactly 0. */
static const double ABOVE = 1 + 0x1p-22;

/* --------------------------------------------------------------------------------------------------------------
 * A batch's matrices by name
 */

typedef struct Psgd {
    Verbs *on;
    const Batch *batch;
    Mats m, u, a, p, between; /* of the parameters' shape; but for m, which is a state, workspace */
    float *squares[3];        /* (batch, n, n) each, n the longest side of a factor */
    float *rows[2];           /* (batch, n) each */
    float *learns;            /* (batch) */
    float *scalars[2];        /* (batch) each */
} Psgd;

/* The scalars come last: the rest stays aligned whatever the batch. */
static size_t floats_for(size_t rows, size_t cols, size_t n, size_t count)
{
    return count * (4 * rows * cols + 3 * n * n + 2 * n + 3);
}

static Psgd psgd_of(const Batch *batch, size_t n)
{
    const size_t r = batch->rows, c = batch->cols, count = batch->count, size = count * r * c, square = count * n * n;
    float *w = batch->workspace, *squares = w + 4 * size, *rows = squares + 3 * square, *scalars = rows + 2 * count * n;
    return (Psgd){.on = batch->on,
                  .batch = batch,
                  .m = batch_state(batch, M, r, c),
                  .u = {w, r, c, count},
                  .a = {w + size, r, c, count},
                  .p = {w + 2 * size, r, c, count},
                  .between = {w + 3 * size, r, c, count},
                  .squares = {squares, squares + square, squares + 2 * square},
                  .rows = {rows, rows + count * n},
                  .learns = scalars,
                  .scalars = {scalars + count, scalars + 2 * count}};
}

/* u = m / (1 - beta1^t); `learns` becomes 1, or 0 where u is 0: factors would grow and grow there. */
static void average_gradients(const Psgd *s)
{
    const double beta1 = batch_hyper(s->batch, HYPER_BETA1);
    batch_gradients(s->batch, s->u);
    verb_momentum(s->on, mats_size(s->u), s->m.data, s->u.data, s->u.data, beta1, false, 1);
    verb_scale(s->on, mats_size(s->u), s->u.data, s->u.data, 1 / (1 - pow(beta1, (double)s->batch->t)));
    verb_norms(s->on, s->u, s->learns);
    verb_sign(s->on, s->batch->count, s->learns, s->learns);
}

/* Each matrix has a random stream of its own in each step, and two where it needs two. */
static void draw(const Psgd *s, size_t which, Mats to)
{
    const size_t n = to.rows * to.cols;
    for (size_t i = 0; i < to.batch; i++)
        verb_probe(s->on, n, to.data + i * n, (s->batch->t << 24) + 2 * s->batch->slots[i].number + which);
}

/* norms = e(x); x becomes its multiple. */
static void estimate_norms(const Psgd *s, Mats x, float *norms)
{
    const Mats w = {s->rows[0], 1, x.cols, x.batch}, v = {s->rows[1], 1, x.cols, x.batch};
    float *largest = s->scalars[1];
    verb_largest(s->on, x, largest);
    verb_rescale(s->on, x, NULL, largest, 1, LEAST);
    verb_mean_squares(s->on, x, false, v.data);
    verb_pick_row(s->on, x, v.data, w.data);
    verb_product(s->on, w, false, x, false, 1, 0, v);
    verb_normalise(s->on, v, 1, LEAST, norms);
    verb_product(s->on, v, false, x, false, 1, 0, w);
    verb_norms(s->on, w, norms);
    verb_multiply(s->on, x.batch, norms, norms, largest);
}

/* Learns a factor on the right of a and p or, if not `right`, on their left, where rows take the place of columns. */
static void learn(const Psgd *s, Mats factor, bool right)
{
    const size_t n = mats_size(factor);
    const Mats sum = {s->squares[0], factor.rows, factor.rows, factor.batch};
    const Mats difference = {s->squares[1], factor.rows, factor.rows, factor.batch};
    const Mats step = {s->squares[2], factor.rows, factor.rows, factor.batch};
    float *norms = s->scalars[0];
    verb_gram_average(s->on, s->a, right, 0, 1, sum);
    verb_gram_average(s->on, s->p, right, 0, 1, step);
    verb_copy(s->on, sum, difference);
    verb_add(s->on, n, difference.data, step.data, 1, -1);
    verb_add(s->on, n, sum.data, step.data, 1, 1);
    verb_upper(s->on, difference);
    verb_product(s->on, difference, false, factor, false, 1, 0, step);
    estimate_norms(s, sum, norms);
    verb_rescale(s->on, step, s->learns, norms, ABOVE, LEAST);
    verb_add(s->on, n, factor.data, step.data, 1, -batch_hyper(s->batch, HYPER_FACTOR_LR));
}

/* What a factor on a side of n learns from: both Gram matrices, and their difference times it. */
static double flops_of_learning(size_t n, size_t other)
{
    return 2 * flops_of_gram(n, other) + flops_of_product(n, n, n);
}

/* --------------------------------------------------------------------------------------------------------------
 * psgdh
 */

static size_t psgdh_of_batch(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    (void)h;
    return floats_for(rows, cols, rows > cols ? rows : cols, count);
}

/* u and the probe between factors, of which the probe's are triangular, and u between A^T A and B^T B. */
static double flops_of_psgdh(const OptimHyper *h, size_t rows, size_t cols)
{
    (void)h;
    return 3.5 * flops_of_sides(rows, cols) + flops_of_learning(rows, cols) + flops_of_learning(cols, rows);
}

/* Lower bound of the root mean square of g^2. In the entry it is sqrt(1e-24), for gradients that are sums over 524,288
 * tokens, not means. */
static const double FIRST_SQUARE_LEAST = 3.6e-24;

/* I times (mean of g^4)^(-1/32) */
static void first_factors(const Psgd *s, const Mats factor[2])
{
    const size_t count = s->batch->count;
    float *scales = s->scalars[0];
    batch_gradients(s->batch, s->p);
    verb_multiply(s->on, mats_size(s->p), s->p.data, s->p.data, s->p.data);
    verb_norms(s->on, s->p, scales);
    verb_scale(s->on, count, scales, scales, 1 / sqrt((double)(s->p.rows * s->p.cols)));
    verb_power(s->on, count, scales, scales, FIRST_SQUARE_LEAST, -1. / 16);
    for (size_t side = 0; side < 2; side++) {
        verb_polynomial(s->on, factor[side], factor[side], 1, 0, 0);
        verb_rescale(s->on, factor[side], scales, NULL, 1, 1);
    }
}

/* Gives both factors the same largest element; their product stays what it is. */
static void balance(const Psgd *s, const Mats factor[2])
{
    float *left = s->scalars[0], *right = s->scalars[1];
    verb_largest(s->on, factor[0], left);
    verb_largest(s->on, factor[1], right);
    verb_divide(s->on, s->batch->count, left, right, left);
    verb_power(s->on, s->batch->count, left, left, 0, 0.5);
    verb_rescale(s->on, factor[0], left, NULL, 1, 1);
    verb_rescale(s->on, factor[1], NULL, left, 1, 0);
}

static void psgdh_batch(const Batch *batch)
{
    const size_t r = batch->rows, c = batch->cols;
    const Psgd s = psgd_of(batch, r > c ? r : c);
    const Mats factor[2] = {batch_state(batch, FACTOR, r, r), batch_state(batch, RIGHT_FACTOR, c, c)};
    average_gradients(&s);
    if (batch->t == 1)
        first_factors(&s, factor);
    balance(&s, factor);

    verb_norms(s.on, s.u, s.scalars[0]);
    verb_scale(s.on, batch->count, s.scalars[0], s.scalars[0], 1.2e-7);
    draw(&s, 0, s.a);
    verb_copy(s.on, s.u, s.p);
    verb_add_each(s.on, s.p, s.scalars[0], s.a);
    verb_product_on_both_sides(s.on, factor[0], false, s.p, factor[1], true, s.between, s.a);
    draw(&s, 1, s.p);
    verb_solve_upper(s.on, factor[0], false, s.p);
    verb_solve_upper(s.on, factor[1], true, s.p);
    learn(&s, factor[0], false);
    learn(&s, factor[1], true);

    verb_product(s.on, factor[0], false, s.u, false, 1, 0, s.a);
    verb_product(s.on, factor[0], true, s.a, false, 1, 0, s.p);
    verb_product(s.on, s.p, false, factor[1], true, 1, 0, s.a);
    verb_product(s.on, s.a, false, factor[1], false, 1, 0, s.u);
    batch_rotate(batch, s.u);
}

const OptimRule optim_psgdh = {
    .name = "psgdh",
    .summary = "PSGD with Kronecker factors; keeps each matrix's norm",
    .source = "Li 2018; modded-nanogpt track 3, #33",
    .matrices_only = true,
    .keeps_norm = true,
    .defaults.at = {HYPER_AT(LR, 0.025), HYPER_AT(BETA1, 0.95), HYPER_AT(FACTOR_LR, 1), HYPER_AT(SPLIT_QKV, 1)},
    .states = {[M] = {"m", shape_whole, .is_momentum = true},
               [FACTOR] = {"left_factor", shape_left},
               [RIGHT_FACTOR] = {"right_factor", shape_right}},
    .workspace = psgdh_of_batch,
    .flops = flops_of_psgdh,
    .step = psgdh_batch,
};

/* --------------------------------------------------------------------------------------------------------------
 * kron
 */

static OptimShape shape_smaller(const OptimHyper *h, size_t rows, size_t cols)
{
    return rows < cols ? shape_left(h, rows, cols) : shape_right(h, rows, cols);
}

static size_t kron_of_batch(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    (void)h;
    return floats_for(rows, cols, rows < cols ? rows : cols, count);
}

static void kron_init(const OptimGroup *group)
{
    for (size_t i = 0; i < group->count; i++) {
        const OptimSlot *slot = &group->slots[i];
        const size_t n = slot->rows < slot->cols ? slot->rows : slot->cols;
        const Mats factor = {slot->state[FACTOR], n, n, 1};
        verb_polynomial(group->on, factor, factor, 1, 0, 0);
    }
}

/* Whether step t renews factors: 1 / max(0.03, min(1, e^(-0.001 (t - 501)))) steps or more after the last that did. */
static bool is_renewed(size_t t)
{
    const size_t all_until = 501, rarest = 34; /* steps, once the probability is the least, as it then stays */
    const double least = 0.03;
    size_t last = t < all_until ? t : all_until;
    for (size_t i = last + 1; i <= t; i++) {
        const double probability = fmax(least, exp(-0.001 * (double)(i - all_until)));
        if ((double)(i - last) * probability < 1)
            continue;
        if (probability == least)
            return (t - i) % rarest == 0;
        last = i;
    }
    return last == t;
}

/* Of a step that renews the factor: u Q^T and, by triangular solution, the probe's; then u Q^T Q. */
static double flops_of_kron(const OptimHyper *h, size_t rows, size_t cols)
{
    const size_t n = rows < cols ? rows : cols, longer = rows + cols - n;
    (void)h;
    return 3.5 * flops_of_product(longer, n, n) + flops_of_learning(n, longer);
}

static void kron_batch(const Batch *batch)
{
    const size_t r = batch->rows, c = batch->cols, n = r < c ? r : c;
    const bool right = r >= c;
    const Psgd s = psgd_of(batch, n);
    const Mats q = batch_state(batch, FACTOR, n, n);
    average_gradients(&s);
    if (is_renewed(batch->t)) {
        verb_product(s.on, right ? s.u : q, false, right ? q : s.u, right, 1, 0, s.a);
        draw(&s, 1, s.p);
        verb_solve_upper(s.on, q, right, s.p);
        learn(&s, q, right);
    }
    verb_product(s.on, right ? s.u : q, false, right ? q : s.u, right, 1, 0, s.a);
    verb_product(s.on, right ? s.a : q, !right, right ? q : s.a, false, 1, 0, s.u);
    verb_normalise(s.on, s.u, 1 / (1.1 * sqrt((double)(r * c))), 1, s.scalars[0]);
    batch_update(batch, s.u, 1);
}

const OptimRule optim_kron = {
    .name = "kron",
    .summary = "PSGD with one factor, on the shorter side",
    .source = "evanatyourservice/kron_torch, one-sided",
    .matrices_only = true,
    .defaults.at = {HYPER_AT(LR, 3e-4), HYPER_AT(WEIGHT_DECAY, 0), HYPER_AT(CAUTIOUS, 0), HYPER_AT(BETA1, 0.9),
                    HYPER_AT(FACTOR_LR, 0.1), HYPER_AT(SPLIT_QKV, 1)},
    .states = {[M] = {"m", shape_whole, .is_momentum = true}, [FACTOR] = {"factor", shape_smaller}},
    .init = kron_init,
    .workspace = kron_of_batch,
    .flops = flops_of_kron,
    .step = kron_batch,
};
