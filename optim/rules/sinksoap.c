/*
 * SinkSOAP (modded-nanogpt track 3, #26): Muon's momentum in the eigenbasis of Shampoo's factors, scaled there by rows
 * and columns until the squares of its elements sum up alike in all of them, in the place of Newton-Schulz,
 *   u = Muon's blend;  L = b L + (1 - b) G G^T,  R = b R + (1 - b) G^T G;  U, V their eigenvectors;  A = U^T u V;
 *   x, y = Sinkhorn(A^2 + eps);  D = U diag(sqrt x) A diag(sqrt y) V^T;  |D|_F = sqrt(min(r, c) max(1, r/c)),
 * and if r and c differ NorMuon's even lines, |D|_F kept;  W = (1 - lr wd) W - lr D. b is NorMuon's decay too.
 */
#include "optim/rules/flops.h"
#include "optim/rules/muon.h"

#include <math.h>

enum { M, LEFT, RIGHT, V };

enum { SINKHORN_TIMES = 10 };
static const double LINE_LEAST = 1e-20, NORM_LEAST = 1e-30; /* of mean squares, and of norms over the step's */

static OptimShape shape_unless_square(const OptimHyper *h, size_t rows, size_t cols)
{
    return rows != cols ? shape_lines(h, rows, cols) : (OptimShape){0};
}

/* Sinkhorn's scales and one scalar a matrix, padded to preserve alignment. */
static size_t lines_of_batch(size_t rows, size_t cols, size_t count)
{
    return (count * (rows + cols + 1) + 15) / 16 * 16;
}

static size_t workspace_of_batch(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    const size_t n = rows > cols ? rows : cols;
    (void)h;
    return count * (2 * rows * cols + rows * rows + cols * cols) + lines_of_batch(rows, cols, count) +
           verb_scratch(n, n, count);
}

/* Factors and their eigenvectors, into the basis and out of it. */
static double flops_of_matrix(const OptimHyper *h, size_t rows, size_t cols)
{
    (void)h;
    return flops_of_grams(rows, cols) + flops_of_eigenvectors(rows) + flops_of_eigenvectors(cols) +
           2 * flops_of_sides(rows, cols);
}

static void sinksoap_batch(const Batch *batch)
{
    const size_t r = batch->rows, c = batch->cols, count = batch->count;
    const double beta = batch_hyper(batch, HYPER_BETA2);
    const double norm = sqrt((double)(r < c ? r : c)) * muon_scale(MUON_SCALE_ORIGINAL, r, c);
    const Mats left = batch_state(batch, LEFT, r, r), right = batch_state(batch, RIGHT, c, c);
    const Mats u = {batch->workspace, r, c, count}, x = {mats_end(u), r, c, count};
    const Mats row_basis = {mats_end(x), r, r, count};
    const Mats column_basis = {mats_end(row_basis), c, c, count};
    float *rows = mats_end(column_basis), *columns = rows + count * r;
    float *norms = columns + count * c, *scratch = rows + lines_of_batch(r, c, count);

    batch_gradients(batch, x);
    verb_gram_average(batch->on, x, false, beta, 1 - beta, left);
    verb_gram_average(batch->on, x, true, beta, 1 - beta, right);
    verb_eigenbasis(batch->on, left, row_basis, scratch);
    verb_eigenbasis(batch->on, right, column_basis, scratch);
    muon_blend(batch);
    verb_product_on_both_sides(batch->on, row_basis, true, u, column_basis, false, x, u);
    verb_sinkhorn(batch->on, u, rows, columns, SINKHORN_TIMES, batch_hyper(batch, HYPER_EPS));
    verb_power(batch->on, count * (r + c), rows, rows, 0, 0.5);
    verb_scale_lines(batch->on, u, rows, false, u);
    verb_scale_lines(batch->on, u, columns, true, u);
    verb_product_on_both_sides(batch->on, row_basis, false, u, column_basis, true, x, u);
    verb_normalise(batch->on, u, 1 / norm, NORM_LEAST, norms);
    if (r != c) {
        verb_normalise_lines(batch->on, u, batch->slots->state[V], beta, LINE_LEAST);
        verb_normalise(batch->on, u, 1 / norm, NORM_LEAST, norms);
    }
    batch_update(batch, u, 1);
}

static int sinksoap_settle(OptimHyper *h, const char *prefix, Error *e)
{
    return hyper(h, HYPER_EPS) > 0 ? 0 : error_set(e, "--%seps 0: sinksoap would divide by rows of zeros", prefix);
}

/* The entry's eps is 1e-8, beside squares of gradients that are sums over 524,288 tokens, not means. */
const OptimRule optim_sinksoap = {
    .name = "sinksoap",
    .summary = "momentum in SOAP's basis, evened out by Sinkhorn's iteration",
    .source = "modded-nanogpt track 3, #26",
    .matrices_only = true,
    .defaults.at = {HYPER_AT(LR, 0.04), HYPER_AT(WEIGHT_DECAY, 0.025), HYPER_AT(CAUTIOUS, 0), MOMENTUM_DEFAULTS(0.95),
                    HYPER_AT(BETA2, 0.95), HYPER_AT(EPS, 3.6e-20), HYPER_AT(SPLIT_QKV, 1)},
    .settle = sinksoap_settle,
    .states = {[M] = {"m", shape_whole, .is_momentum = true},
               [LEFT] = {"left", shape_left},
               [RIGHT] = {"right", shape_right},
               [V] = {"v", shape_unless_square}},
    .workspace = workspace_of_batch,
    .flops = flops_of_matrix,
    .step = sinksoap_batch,
};
