/*
 * Muon (Jordan et al. 2024): momentum, orthogonalised matrix by matrix before it is subtracted from the weights,
 *   m = mu m + (1 - mu) g;  u = nesterov ? (1 - mu) g + mu m : m;  O = NS(u);  W = (1 - lr wd) W - lr scale O,
 * and its variants:
 *   spectral   without momentum
 *   muon2      u is divided by the root of the gradient's second moment before NS
 *   normuon    rows (columns of a wide matrix) of O are divided by the root of their second moment, |O|_F kept
 *              (Li et al. 2025)
 *   muonh, normuonh   the step rotates W and keeps its norm
 */
#include "optim/rules/muon.h"

#include "optim/rules/newton_schulz.h"

#include <math.h>

double muon_scale(MuonScale rule, size_t rows, size_t cols)
{
    const double r = (double)rows, c = (double)cols, longer = r > c ? r : c;
    switch (rule) {
    case MUON_SCALE_ORIGINAL:
        return r > c ? sqrt(r / c) : 1;
    case MUON_SCALE_MOONSHOT:
        return 0.2 * sqrt(longer);
    case MUON_SCALE_BERNSTEIN:
        return sqrt(r / c);
    case MUON_SCALE_EARLY:
        return sqrt(longer);
    default:
        return 1;
    }
}

/* Lower bound of norms that divide. */
static const double NORM_LEAST = 1e-30;

/* --------------------------------------------------------------------------------------------------------------
 * Parts of the step
 */

Mats muon_blend(const Batch *batch)
{
    const Mats u = {batch->workspace, batch->rows, batch->cols, batch->count};
    const size_t n = batch->rows * batch->cols;
    if (!batch->hyper->at[HYPER_MOMENTUM].set) {
        batch_gradients(batch, u);
        return u;
    }
    for (size_t i = 0, run; i < batch->count; i += run) {
        run = batch_run(batch, i);
        verb_momentum(batch->on, run * n, batch->slots[i].state[0], u.data + i * n, batch->slots[i].grad,
                      batch_hyper(batch, HYPER_MOMENTUM), batch_hyper(batch, HYPER_NESTEROV) != 0, batch->grad_scale);
    }
    return u;
}

static bool is_bf16(const OptimHyper *h) { return hyper(h, HYPER_NS_DTYPE) == NS_BF16; }

static size_t steps_of(const Batch *batch)
{
    return ns_steps((NsFlavour)batch_hyper(batch, HYPER_NS), (size_t)batch_hyper(batch, HYPER_NS_STEPS));
}

static void orthogonalise(const Batch *batch, Mats u, float *rest)
{
    const NsFlavour ns = (NsFlavour)batch_hyper(batch, HYPER_NS);
    const size_t steps = steps_of(batch);
    if (is_bf16(batch->hyper))
        ns_orthogonalise_bf16(batch->on, ns, steps, u.data, u.rows, u.cols, u.batch, rest);
    else
        ns_orthogonalise(batch->on, ns, steps, u.data, u.rows, u.cols, u.batch, rest);
}

static MuonScale scale_rule(const OptimHyper *h)
{
    return h->at[HYPER_MUON_SCALE].set ? (MuonScale)hyper(h, HYPER_MUON_SCALE) : MUON_SCALE_NONE;
}

/* Three scalars per matrix, padded to preserve alignment. */
static size_t scalars_of(size_t count) { return (3 * count + 15) / 16 * 16; }

/* The scalars, a copy of u or of the gradients if the scale needs one, and the iteration's workspace. */
size_t muon_rest(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    const MuonScale scale = scale_rule(h);
    const NsFlavour ns = (NsFlavour)hyper(h, HYPER_NS);
    const bool copies = scale == MUON_SCALE_GRADIENT || scale == MUON_SCALE_NUCLEAR;
    return scalars_of(count) + (copies ? count * rows * cols : 0) +
           (is_bf16(h) ? ns_workspace_bf16(rows, cols, count) : ns_workspace(ns, rows, cols, count));
}

/* NorMuon: divides every row, or column of a wide matrix, by the root of its second moment, state 1. */
static void normalise(const Batch *batch, Mats u)
{
    verb_normalise_lines(batch->on, u, batch->slots->state[1], batch_hyper(batch, HYPER_BETA2),
                         batch_hyper(batch, HYPER_EPS));
}

static void normalise_keeping_norm(const Batch *batch, Mats u, float *before, float *after)
{
    verb_norms(batch->on, u, before);
    normalise(batch, u);
    verb_norms(batch->on, u, after);
    verb_rescale(batch->on, u, before, after, 1, NORM_LEAST);
}

/* Orthogonalises u, normalises it by lines if asked, scales it, decays the parameters and subtracts u. */
static void finish(const Batch *batch, Mats u, bool by_lines, float *rest)
{
    const MuonScale scale = scale_rule(batch->hyper);
    const bool copies = scale == MUON_SCALE_GRADIENT || scale == MUON_SCALE_NUCLEAR;
    float *dual = rest, *first = dual + u.batch, *second = first + u.batch;
    const Mats copy = {rest + scalars_of(u.batch), u.rows, u.cols, u.batch};
    if (is_bf16(batch->hyper) && !by_lines && !copies) {
        const NsFlavour ns = (NsFlavour)batch_hyper(batch, HYPER_NS);
        batch_update_bf16(batch, ns_orthogonal_bf16(batch->on, ns, steps_of(batch), u, copy.data),
                          muon_scale(scale, u.rows, u.cols));
        return;
    }
    if (scale == MUON_SCALE_GRADIENT) {
        batch_gradients(batch, copy);
        verb_norms(batch->on, copy, dual);
    } else if (scale == MUON_SCALE_NUCLEAR) {
        verb_copy(batch->on, u, copy);
    }
    orthogonalise(batch, u, copies ? copy.data + mats_size(copy) : copy.data);
    if (by_lines)
        normalise_keeping_norm(batch, u, first, second);
    if (scale == MUON_SCALE_GRADIENT) {
        verb_norms(batch->on, u, first);
        verb_rescale(batch->on, u, dual, first, 1, NORM_LEAST);
    } else if (scale == MUON_SCALE_NUCLEAR) {
        verb_dots(batch->on, copy, u, dual);
        verb_rescale(batch->on, u, dual, NULL, 1, 1);
    }
    batch_update(batch, u, muon_scale(scale, u.rows, u.cols));
}

void muon_finish(const Batch *batch, Mats u, float *rest) { finish(batch, u, false, rest); }

/* --------------------------------------------------------------------------------------------------------------
 * The rules
 */

static size_t workspace_of_batch(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    return count * rows * cols + muon_rest(h, rows, cols, count);
}

static void muon_batch(const Batch *batch)
{
    const Mats u = muon_blend(batch);
    muon_finish(batch, u, u.data + mats_size(u));
}

static void muonh_batch(const Batch *batch)
{
    const Mats u = muon_blend(batch);
    orthogonalise(batch, u, u.data + mats_size(u));
    batch_rotate(batch, u);
}

static void muon2_batch(const Batch *batch)
{
    const Mats u = muon_blend(batch);
    const size_t n = u.rows * u.cols;
    for (size_t i = 0, run; i < batch->count; i += run) {
        run = batch_run(batch, i);
        verb_precondition(batch->on, run * n, u.data + i * n, batch->slots[i].state[1], batch->slots[i].grad,
                          batch_hyper(batch, HYPER_BETA2), 1, batch_hyper(batch, HYPER_EPS), batch->grad_scale);
    }
    muon_finish(batch, u, u.data + mats_size(u));
}

static void normuon_batch(const Batch *batch)
{
    const Mats u = muon_blend(batch);
    finish(batch, u, true, u.data + mats_size(u));
}

static void normuonh_batch(const Batch *batch)
{
    const Mats u = muon_blend(batch);
    orthogonalise(batch, u, u.data + mats_size(u));
    normalise(batch, u);
    batch_rotate(batch, u);
}

int muon_settle(OptimHyper *h, const char *prefix, Error *e)
{
    if (hyper(h, HYPER_NS) == NS_EXACT && hyper(h, HYPER_NS_STEPS) != 0)
        return error_set(e, "--%sns-steps %g: the exact factor of --%sns exact has no iterations", prefix,
                         hyper(h, HYPER_NS_STEPS), prefix);
    if (hyper(h, HYPER_NS) == NS_EXACT && hyper(h, HYPER_NS_DTYPE) == NS_BF16)
        return error_set(e, "--%sns-dtype bf16: the exact factor of --%sns exact is computed in fp64", prefix, prefix);
    if (hyper(h, HYPER_NS_DTYPE) == NS_AUTO)
        hyper_set(h, HYPER_NS_DTYPE, verb_prefers_bf16() && hyper(h, HYPER_NS) != NS_EXACT ? NS_BF16 : NS_FP32);
    return 0;
}

#define ORTHOGONAL_DEFAULTS \
    HYPER_AT(NS, NS_JORDAN), HYPER_AT(NS_STEPS, 0), HYPER_AT(NS_DTYPE, NS_AUTO), HYPER_AT(SPLIT_QKV, 1)
#define MOMENTUM_DEFAULTS                                                                                          \
    HYPER_AT(MOMENTUM, 0.95), HYPER_AT(NESTEROV, 1), HYPER_AT(MOMENTUM_WARMUP, 0), HYPER_AT(MOMENTUM_COOLDOWN, 0), \
        HYPER_AT(MOMENTUM_START, 0.85)
#define DECAY_DEFAULTS(wd) HYPER_AT(WEIGHT_DECAY, wd), HYPER_AT(CAUTIOUS, 0), HYPER_AT(MUON_SCALE, MUON_SCALE_ORIGINAL)

const OptimRule optim_muon = {
    .name = "muon",
    .summary = "momentum, orthogonalised by Newton-Schulz",
    .source = "Jordan et al. 2024; torch.optim.Muon",
    .matrices_only = true,
    .defaults.at = {ORTHOGONAL_DEFAULTS, MOMENTUM_DEFAULTS, DECAY_DEFAULTS(0), HYPER_AT(LR, 0.02)},
    .settle = muon_settle,
    .states = {{"m", shape_whole, .is_momentum = true}},
    .workspace = workspace_of_batch,
    .step = muon_batch,
};

const OptimRule optim_spectral = {
    .name = "spectral",
    .summary = "orthogonalised gradient: Muon without momentum",
    .source = "Bernstein and Newhouse 2024",
    .matrices_only = true,
    .defaults.at = {ORTHOGONAL_DEFAULTS, DECAY_DEFAULTS(0), HYPER_AT(LR, 0.02)},
    .settle = muon_settle,
    .workspace = workspace_of_batch,
    .step = muon_batch,
};

const OptimRule optim_normuon = {
    .name = "normuon",
    .summary = "Muon with steps of equal size for all neurons",
    .source = "Li et al. 2025; modded-nanogpt",
    .matrices_only = true,
    .defaults.at = {ORTHOGONAL_DEFAULTS, MOMENTUM_DEFAULTS, DECAY_DEFAULTS(0), HYPER_AT(LR, 0.02),
                    HYPER_AT(BETA2, 0.95), HYPER_AT(EPS, 1e-10)},
    .settle = muon_settle,
    .states = {{"m", shape_whole, .is_momentum = true}, {"v", shape_lines}},
    .workspace = workspace_of_batch,
    .step = normuon_batch,
};

const OptimRule optim_muonh = {
    .name = "muonh",
    .summary = "Muon that rotates each matrix and keeps its norm",
    .source = "modded-nanogpt track 3",
    .matrices_only = true,
    .keeps_norm = true,
    .defaults.at = {ORTHOGONAL_DEFAULTS, MOMENTUM_DEFAULTS, HYPER_AT(LR, 0.018)},
    .settle = muon_settle,
    .states = {{"m", shape_whole, .is_momentum = true}},
    .workspace = workspace_of_batch,
    .step = muonh_batch,
};

const OptimRule optim_normuonh = {
    .name = "normuonh",
    .summary = "NorMuon that rotates each matrix and keeps its norm",
    .source = "modded-nanogpt track 3",
    .matrices_only = true,
    .keeps_norm = true,
    .defaults.at = {ORTHOGONAL_DEFAULTS, MOMENTUM_DEFAULTS, HYPER_AT(LR, 0.018), HYPER_AT(BETA2, 0.95),
                    HYPER_AT(EPS, 1e-10)},
    .settle = muon_settle,
    .states = {{"m", shape_whole, .is_momentum = true}, {"v", shape_lines}},
    .workspace = workspace_of_batch,
    .step = normuonh_batch,
};

const OptimRule optim_muon2 = {
    .name = "muon2",
    .summary = "Muon of the momentum divided by the root of the second moment",
    .source = "modded-nanogpt track 3",
    .matrices_only = true,
    .defaults.at = {ORTHOGONAL_DEFAULTS, MOMENTUM_DEFAULTS, DECAY_DEFAULTS(0), HYPER_AT(LR, 0.02),
                    HYPER_AT(BETA2, 0.95), HYPER_AT(EPS, 1e-10)},
    .settle = muon_settle,
    .states = {{"m", shape_whole, .is_momentum = true}, {"v", shape_whole}},
    .workspace = workspace_of_batch,
    .step = muon2_batch,
};
