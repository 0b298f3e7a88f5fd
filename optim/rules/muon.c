/*
 * Muon (Jordan et al. 2024): momentum, orthogonalised matrix by matrix before it is subtracted from the weights,
 *   m = mu m + (1 - mu) g;  u = nesterov ? (1 - mu) g + mu m : m;  O = NS(u);  W = (1 - lr wd) W - lr scale O,
 * and its variants, all with the options of muon_step.c:
 *   spectral      without momentum
 *   muon2         u is divided by the root of the gradient's second moment before NS
 *   normuon       lines of O are divided by the root of their second moment, |O|_F kept (Li et al. 2025)
 *   contra-muon   normuon that takes a part of u off O, and makes short steps longer
 *   aurora        rows of O of a matrix that is not square are given equal lengths, twice orthogonalised
 *   cautious-muon elements of u are left out where m g <= 0 (Liang et al. 2024)
 *   muonh, normuonh   the step rotates W and keeps its norm
 */
#include "optim/rules/muon.h"
#include "optim/rules/orthogonal.h"

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

static size_t workspace_of_batch(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    return count * rows * cols + muon_rest(h, MUON_PLAIN, rows, cols, count);
}

static size_t aurora_workspace(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    return count * rows * cols + muon_rest(h, MUON_BALANCED, rows, cols, count);
}

/* Of a matrix that is not square it orthogonalises twice. */
static double aurora_flops(const OptimHyper *h, size_t rows, size_t cols)
{
    return (rows == cols ? 1 : 2) * orthogonal_flops(h, rows, cols);
}

static void muon_batch(const Batch *batch)
{
    const Mats u = muon_blend(batch);
    muon_finish(batch, MUON_PLAIN, u, mats_end(u));
}

static void normuon_batch(const Batch *batch)
{
    const Mats u = muon_blend(batch);
    muon_finish(batch, MUON_BY_LINES, u, mats_end(u));
}

static void aurora_batch(const Batch *batch)
{
    const Mats u = muon_blend(batch);
    muon_finish(batch, MUON_BALANCED, u, mats_end(u));
}

/* What is left of u grows in proportion, which only matters where it is so small that NS has a floor for it. */
static void cautious_muon_batch(const Batch *batch)
{
    const Mats u = muon_blend(batch);
    const size_t n = u.rows * u.cols;
    for (size_t i = 0, run; i < batch->count; i += run) {
        run = batch_run(batch, i);
        const Mats part = {u.data + i * n, u.rows, u.cols, run}, m = {batch->slots[i].state[0], u.rows, u.cols, run};
        verb_cautious(batch->on, part, m, batch->slots[i].grad, 0, 1e-3);
    }
    muon_finish(batch, MUON_PLAIN, u, mats_end(u));
}

static void muonh_batch(const Batch *batch)
{
    const Mats u = muon_blend(batch);
    muon_orthogonalise(batch, u, mats_end(u));
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
    muon_finish(batch, MUON_PLAIN, u, mats_end(u));
}

static void normuonh_batch(const Batch *batch)
{
    const Mats u = muon_blend(batch);
    muon_orthogonalise(batch, u, mats_end(u));
    muon_normalise_lines(batch, u, mats_end(u));
    batch_rotate(batch, u);
}

/* Their authors' code, and where track 3 is the source, its twelve iterations. The decay of muon and normuon was searched
 * for: dev/studies/README.md, "Defaults". */
#define MUON_RULE(flavour, ...)                   \
    .matrices_only = true, .settle = muon_settle, \
    .defaults.at = {ORTHOGONAL_DEFAULTS(flavour, NS_FROBENIUS), __VA_ARGS__}

const OptimRule optim_muon = {
    .name = "muon",
    .summary = "momentum, orthogonalised by Newton-Schulz",
    .source = "Jordan et al. 2024; torch.optim.Muon",
    MUON_RULE(NS_JORDAN, MOMENTUM_DEFAULTS(0.95), MUON_STEP_DEFAULTS(0.1, 0, 0, 0, 0), HYPER_AT(EQUAL_ROWS, 0),
              HYPER_AT(LR, 0.02)),
    .states = {{"m", shape_whole, .is_momentum = true}},
    .workspace = workspace_of_batch,
    .flops = orthogonal_flops,
    .step = muon_batch,
};

const OptimRule optim_spectral = {
    .name = "spectral",
    .summary = "orthogonalised gradient: Muon without momentum",
    .source = "Bernstein and Newhouse 2024",
    MUON_RULE(NS_JORDAN, MUON_STEP_DEFAULTS(0, 0, 0, 0, 0), HYPER_AT(EQUAL_ROWS, 0), HYPER_AT(LR, 0.02)),
    .workspace = workspace_of_batch,
    .flops = orthogonal_flops,
    .step = muon_batch,
};

/* A row of each matrix, or of its longer side. */
static OptimShape shape_second_moments(const OptimHyper *h, size_t rows, size_t cols)
{
    const bool by_rows = h->at[HYPER_NORMUON_FORM].set && hyper(h, HYPER_NORMUON_FORM) == NORMUON_LI;
    return by_rows ? (OptimShape){rows, 1} : shape_lines(h, rows, cols);
}

const OptimRule optim_normuon = {
    .name = "normuon",
    .summary = "Muon with steps of equal size for all neurons",
    .source = "Li et al. 2025; modded-nanogpt",
    MUON_RULE(NS_JORDAN, MOMENTUM_DEFAULTS(0.95), MUON_STEP_DEFAULTS(0.1, 0, 0, 0, 0), HYPER_AT(EQUAL_ROWS, 0),
              HYPER_AT(LR, 0.02), HYPER_AT(BETA2, 0.95), HYPER_AT(EPS, 1e-10), HYPER_AT(NORMUON_FORM, NORMUON_MODDED)),
    .states = {{"m", shape_whole, .is_momentum = true}, {"v", shape_second_moments}},
    .workspace = workspace_of_batch,
    .flops = orthogonal_flops,
    .step = normuon_batch,
};

const OptimRule optim_contra_muon = {
    .name = "contra-muon",
    .summary = "NorMuon less a part of the momentum, never a short step",
    .source = "modded-nanogpt track 3, entry 11",
    MUON_RULE(NS_TRACK3, MOMENTUM_DEFAULTS(0.95), MUON_STEP_DEFAULTS(0, 0.2, 0, 0.35, 0), HYPER_AT(EQUAL_ROWS, 0),
              HYPER_AT(LR, 0.0375), HYPER_AT(BETA2, 0.95), HYPER_AT(EPS, 1e-10),
              HYPER_AT(NORMUON_FORM, NORMUON_MODDED)),
    .states = {{"m", shape_whole, .is_momentum = true}, {"v", shape_second_moments}},
    .workspace = workspace_of_batch,
    .flops = orthogonal_flops,
    .step = normuon_batch,
};

const OptimRule optim_aurora = {
    .name = "aurora",
    .summary = "Muon with rows of equal length, orthogonalised twice",
    .source = "modded-nanogpt track 3, entry 17",
    MUON_RULE(NS_TRACK3, MOMENTUM_DEFAULTS(0.95), MUON_STEP_DEFAULTS(0, 0.2, 0, 0.35, 0), HYPER_AT(LR, 0.0375)),
    .states = {{"m", shape_whole, .is_momentum = true}},
    .workspace = aurora_workspace,
    .flops = aurora_flops,
    .step = aurora_batch,
};

const OptimRule optim_cautious_muon = {
    .name = "cautious-muon",
    .summary = "Muon without the elements of the momentum that the gradient opposes",
    .source = "Liang et al. 2024; kyleliang919/C-Optim",
    MUON_RULE(NS_JORDAN, MOMENTUM_DEFAULTS(0.95), MUON_STEP_DEFAULTS(0, 0, 0, 0, 0), HYPER_AT(EQUAL_ROWS, 0),
              HYPER_AT(LR, 0.02)),
    .states = {{"m", shape_whole, .is_momentum = true}},
    .workspace = workspace_of_batch,
    .flops = orthogonal_flops,
    .step = cautious_muon_batch,
};

const OptimRule optim_muonh = {
    .name = "muonh",
    .summary = "Muon that rotates each matrix and keeps its norm",
    .source = "modded-nanogpt track 3",
    .keeps_norm = true,
    MUON_RULE(NS_TRACK3, MOMENTUM_DEFAULTS(0.95), HYPER_AT(LR, 0.018)),
    .states = {{"m", shape_whole, .is_momentum = true}},
    .workspace = workspace_of_batch,
    .flops = orthogonal_flops,
    .step = muonh_batch,
};

const OptimRule optim_normuonh = {
    .name = "normuonh",
    .summary = "NorMuon that rotates each matrix and keeps its norm",
    .source = "modded-nanogpt track 3",
    .keeps_norm = true,
    MUON_RULE(NS_TRACK3, MOMENTUM_DEFAULTS(0.95), HYPER_AT(LR, 0.018), HYPER_AT(BETA2, 0.95), HYPER_AT(EPS, 1e-10)),
    .states = {{"m", shape_whole, .is_momentum = true}, {"v", shape_lines}},
    .workspace = workspace_of_batch,
    .flops = orthogonal_flops,
    .step = normuonh_batch,
};

const OptimRule optim_muon2 = {
    .name = "muon2",
    .summary = "Muon of the momentum divided by the root of the second moment",
    .source = "modded-nanogpt track 3, entry 7",
    MUON_RULE(NS_TRACK3, MOMENTUM_DEFAULTS(0.95), MUON_STEP_DEFAULTS(0.0125, 0, 0, 0, 0), HYPER_AT(EQUAL_ROWS, 0),
              HYPER_AT(LR, 0.1), HYPER_AT(BETA2, 0.95),
              HYPER_AT(EPS, 1.9e-16) /* 1e-10 over its sums' 524,288 tokens */),
    .states = {{"m", shape_whole, .is_momentum = true}, {"v", shape_whole}},
    .workspace = workspace_of_batch,
    .flops = orthogonal_flops,
    .step = muon2_batch,
};
