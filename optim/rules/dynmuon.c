/*
 * DynMuon (modded-nanogpt track 3, #28): Muon whose singular values keep a power p of themselves, which falls from one
 * value to another early in the run,
 *   m = mu m + g;  u = nesterov ? g + mu m : m;  X = u / (|u|_F + 1e-7);  O = NS(X) (X X^T)^(p/2) (|u|_F + 1e-7)^p,
 *   W = (1 - lr wd) W - lr sqrt(max(1, r/c)) O
 *   p = end + (start - end) / (1 + e^((t/T - middle) / width)),  t of T steps done
 * The power of A = X X^T is its series about I to the second order, with d = p/2: I + d (A - I) + d (d-1)/2 (A - I)^2.
 */
#include "optim/rules/flops.h"
#include "optim/rules/muon.h"
#include "optim/rules/orthogonal.h"

#include <math.h>

static const double NORM_LEAST = 1e-7; /* added to |u|_F */

static double power_of(const Batch *batch)
{
    const double share = batch->steps > 0 ? (double)(batch->t - 1) / (double)batch->steps : 0;
    const double along = (share - batch_hyper(batch, HYPER_POWER_MIDDLE)) / batch_hyper(batch, HYPER_POWER_WIDTH);
    const double start = batch_hyper(batch, HYPER_POWER_START), end = batch_hyper(batch, HYPER_POWER_END);
    return end + (start - end) / (1 + exp(along));
}

/* Two scalars per matrix, padded to preserve alignment. */
static size_t scalars_of(size_t count) { return (2 * count + 15) / 16 * 16; }

static size_t workspace_of_batch(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    const size_t n = rows < cols ? rows : cols;
    return count * (2 * rows * cols + 2 * n * n) + scalars_of(count) + orthogonal_floats(h, rows, cols, count);
}

/* X X^T, its polynomial, and that times O */
static double flops_of_matrix(const OptimHyper *h, size_t rows, size_t cols)
{
    const size_t n = rows < cols ? rows : cols, longer = rows + cols - n;
    return orthogonal_flops(h, rows, cols) + flops_of_gram(n, longer) + flops_of_gram(n, n) +
           flops_of_product(n, longer, n);
}

static void dynmuon_batch(const Batch *batch)
{
    const size_t r = batch->rows, c = batch->cols, count = batch->count, n = r < c ? r : c;
    const double p = power_of(batch), d = p / 2, second = d * (d - 1) / 2;
    Batch summed = *batch; /* Muon's blend averages gradients; so scaled, it adds them up */
    summed.grad_scale /= 1 - batch_hyper(batch, HYPER_MOMENTUM);
    const Mats u = muon_blend(&summed), x = {mats_end(u), r, c, count};
    const Mats gram = {mats_end(x), n, n, count}, power = {mats_end(gram), n, n, count};
    float *norms = mats_end(power), *least = norms + count, *rest = norms + scalars_of(count);

    verb_norms(batch->on, u, norms);
    verb_fill(batch->on, count, least, NORM_LEAST);
    verb_add(batch->on, count, norms, least, 1, 1);
    verb_rescale(batch->on, u, NULL, norms, 1, 0);
    verb_gram(batch->on, u, gram);
    verb_polynomial(batch->on, gram, power, 1 - d + second, d - 2 * second, second);
    orthogonalise(batch, u, rest);
    verb_apply(batch->on, power, u, x);
    verb_power(batch->on, count, norms, norms, 0, p);
    verb_rescale(batch->on, x, norms, NULL, 1, 0);
    batch_update(batch, x, muon_scale(MUON_SCALE_ORIGINAL, r, c));
}

const OptimRule optim_dynmuon = {
    .name = "dynmuon",
    .summary = "Muon whose singular values keep a power, which changes early in the run",
    .source = "modded-nanogpt track 3, #28",
    .matrices_only = true,
    .defaults.at = {HYPER_AT(LR, 0.02), HYPER_AT(WEIGHT_DECAY, 0.025), HYPER_AT(CAUTIOUS, 0), HYPER_AT(MOMENTUM, 0.95),
                    HYPER_AT(NESTEROV, 1), HYPER_AT(POWER_START, 0.25), HYPER_AT(POWER_END, -0.25),
                    HYPER_AT(POWER_MIDDLE, 0.04), HYPER_AT(POWER_WIDTH, 0.04), NS_DEFAULTS(NS_TRACK3)},
    .settle = muon_settle,
    .states = {{"m", shape_whole, .is_momentum = true}},
    .workspace = workspace_of_batch,
    .flops = flops_of_matrix,
    .step = dynmuon_batch,
};
