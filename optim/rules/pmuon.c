/*
 * PMuon (modded-nanogpt track 3, #18): Muon of a momentum that powers of its own covariances whiten on both sides,
 *   u = Muon's blend;  C = b C + u^T u,  A = b A + u u^T;  O = NS(P_A u P_C),
 *   X = u^T u + b C + eps I;  Q = qr(X Q);  l = max(diag(Q^T X Q), eps)^-g;  P_C = Q diag(l) Q^T sqrt(c) / |l|
 * and P_A likewise. Q begins as a random rotation and follows X's eigenvectors, one step of orthogonal iteration at a
 * time; of this step's u^T u X holds 1 + b. Its eps stands beside squares of gradients.
 */
#include "optim/rules/flops.h"
#include "optim/rules/muon.h"
#include "optim/rules/orthogonal.h"

#include <math.h>

enum { M, RIGHT, RIGHT_BASIS, LEFT, LEFT_BASIS };

static size_t longer(size_t rows, size_t cols) { return rows > cols ? rows : cols; }

/* Inverse roots and their norms, padded to preserve alignment. */
static size_t lines_of_batch(size_t rows, size_t cols, size_t count)
{
    return (count * (longer(rows, cols) + 1) + 15) / 16 * 16;
}

static size_t workspace_of_batch(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    const size_t n = longer(rows, cols), scratch = verb_scratch(n, n, count);
    const size_t finish = orthogonal_floats(h, rows, cols, count);
    return count * (2 * rows * cols + 2 * n * n) + lines_of_batch(rows, cols, count) +
           (scratch > finish ? scratch : finish);
}

/* For each side two covariances, X Q, its QR, X Q again, Q diag(l) Q^T and that times u. */
static double flops_of_matrix(const OptimHyper *h, size_t rows, size_t cols)
{
    double flops = orthogonal_flops(h, rows, cols) + 2 * flops_of_grams(rows, cols) + flops_of_sides(rows, cols);
    for (size_t side = 0; side < 2; side++) {
        const size_t n = side == 0 ? rows : cols;
        flops += 3 * flops_of_product(n, n, n) + flops_of_qr(n, n);
    }
    return flops;
}

static void pmuon_init(const OptimGroup *group)
{
    for (size_t i = 0; i < group->count; i++) {
        const OptimSlot *slot = &group->slots[i];
        for (size_t side = 0; side < 2; side++) {
            const size_t n = side == 0 ? slot->rows : slot->cols;
            const Mats basis = {slot->state[side == 0 ? LEFT_BASIS : RIGHT_BASIS], n, n, 1};
            verb_normal(group->on, n * n, basis.data, 2 * slot->number + side);
            verb_qr(group->on, basis, group->workspace);
        }
    }
}

/* to = x P_C or, if not `right`, P_A x, once the side's covariance of u, and its basis, have been renewed. */
static void whiten(const Batch *batch, Mats u, bool right, Mats x, Mats to)
{
    const size_t n = right ? batch->cols : batch->rows, count = batch->count, most = longer(batch->rows, batch->cols);
    const double beta = batch_hyper(batch, HYPER_BETA2), eps = batch_hyper(batch, HYPER_EPS);
    const Mats covariance = batch_state(batch, right ? RIGHT : LEFT, n, n);
    const Mats basis = batch_state(batch, right ? RIGHT_BASIS : LEFT_BASIS, n, n);
    const Mats sum = {batch->workspace + 2 * mats_size(u), n, n, count};
    const Mats image = {sum.data + count * most * most, n, n, count};
    const Mats powers = {image.data + count * most * most, 1, n, count};
    float *norms = powers.data + count * n, *scratch = powers.data + lines_of_batch(batch->rows, batch->cols, count);

    verb_gram_average(batch->on, u, right, beta, 1, covariance);
    verb_polynomial(batch->on, covariance, sum, eps, beta, 0);
    verb_gram_average(batch->on, u, right, 1, 1, sum);
    verb_product(batch->on, sum, false, basis, false, 1, 0, image);
    verb_qr(batch->on, image, scratch);
    verb_copy(batch->on, image, basis);
    verb_product(batch->on, sum, false, basis, false, 1, 0, image);
    verb_line_dots(batch->on, basis, image, true, powers.data);
    verb_power(batch->on, count * n, powers.data, powers.data, eps, -batch_hyper(batch, HYPER_WHITENING));
    verb_normalise(batch->on, powers, 1 / sqrt((double)n), 0, norms);
    verb_scale_lines(batch->on, basis, powers.data, true, image);
    verb_product(batch->on, image, false, basis, true, 1, 0, sum);
    verb_product(batch->on, right ? x : sum, false, right ? sum : x, false, 1, 0, to);
}

static void pmuon_batch(const Batch *batch)
{
    const Mats u = muon_blend(batch), x = {mats_end(u), u.rows, u.cols, u.batch};
    const size_t most = longer(batch->rows, batch->cols);
    float *lines = mats_end(x) + 2 * batch->count * most * most;
    whiten(batch, u, true, u, x);
    whiten(batch, u, false, x, u);
    orthogonalise(batch, u, lines + lines_of_batch(batch->rows, batch->cols, batch->count));
    batch_update(batch, u, muon_scale(MUON_SCALE_ORIGINAL, batch->rows, batch->cols));
}

static int pmuon_settle(OptimHyper *h, const char *prefix, Error *e)
{
    if (hyper(h, HYPER_EPS) == 0)
        return error_set(e, "--%seps 0: pmuon divides by powers of covariances, which begin singular", prefix);
    return muon_settle(h, prefix, e);
}

/* The entry's eps is 1e-6, beside squares of gradients that are sums over 524,288 tokens, not means. */
const OptimRule optim_pmuon = {
    .name = "pmuon",
    .summary = "Muon of a momentum whitened by powers of its covariances",
    .source = "modded-nanogpt track 3, #18",
    .matrices_only = true,
    .defaults.at = {HYPER_AT(LR, 0.035), HYPER_AT(WEIGHT_DECAY, 0.025), HYPER_AT(CAUTIOUS, 0), MOMENTUM_DEFAULTS(0.95),
                    HYPER_AT(BETA2, 0.95), HYPER_AT(WHITENING, 0.3), HYPER_AT(EPS, 3.6e-18), NS_DEFAULTS(NS_TRACK3)},
    .settle = pmuon_settle,
    .states = {[M] = {"m", shape_whole, .is_momentum = true},
               [RIGHT] = {"right", shape_right},
               [RIGHT_BASIS] = {"right_basis", shape_right},
               [LEFT] = {"left", shape_left},
               [LEFT_BASIS] = {"left_basis", shape_left}},
    .init = pmuon_init,
    .workspace = workspace_of_batch,
    .flops = flops_of_matrix,
    .step = pmuon_batch,
};
