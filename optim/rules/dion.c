/*
 * Dion in its simple form (Ahn et al. 2025): an orthonormal low-rank update by one step of power iteration on the
 * momentum, with error feedback.
 *   B += g;  P = orthonormal factor of B Q;  R = B^T P;  B -= (1 - mu) P R^T;  Q = R with unit columns;
 *   W = (1 - lr wd) W - lr sqrt(r/c) P Q^T
 */
#include "optim/rules/batch.h"

#include <math.h>

enum { B, Q };

static size_t rank_of(const OptimHyper *h, size_t rows, size_t cols)
{
    const size_t asked = (size_t)hyper(h, HYPER_RANK), most = rows < cols ? rows : cols;
    return asked > 0 && asked < most ? asked : most;
}

static OptimShape shape_of_q(const OptimHyper *h, size_t rows, size_t cols)
{
    return (OptimShape){cols, rank_of(h, rows, cols)};
}

static void dion_init(const OptimGroup *group)
{
    for (size_t i = 0; i < group->count; i++) {
        const OptimSlot *slot = &group->slots[i];
        verb_normal(group->on, slot->cols * rank_of(&group->hyper, slot->rows, slot->cols), slot->state[Q],
                    slot->number);
    }
}

static size_t workspace_of_batch(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    const size_t rank = rank_of(h, rows, cols);
    return count * (rows * rank + cols * rank + rows * cols) + verb_scratch(rows, rank, count);
}

static void dion_batch(const Batch *batch)
{
    const size_t r = batch->rows, c = batch->cols, rank = rank_of(batch->hyper, r, c), count = batch->count;
    const Mats b = batch_state(batch, B, r, c), q = batch_state(batch, Q, c, rank);
    const Mats left = {batch->workspace, r, rank, count};
    const Mats right = {left.data + mats_size(left), c, rank, count};
    const Mats u = {right.data + mats_size(right), r, c, count};

    for (size_t i = 0, run; i < count; i += run) {
        run = batch_run(batch, i);
        verb_add(batch->on, run * r * c, b.data + i * r * c, batch->slots[i].grad, 1, batch->grad_scale);
    }
    verb_product(batch->on, b, false, q, false, 1, 0, left);
    verb_qr(batch->on, left, u.data + mats_size(u));
    verb_product(batch->on, b, true, left, false, 1, 0, right);
    verb_product(batch->on, left, false, right, true, -(1 - batch_hyper(batch, HYPER_MOMENTUM)), 1, b);
    verb_copy(batch->on, right, q);
    verb_normalise_columns(batch->on, q, 1e-8);
    verb_product(batch->on, left, false, q, true, 1, 0, u);
    batch_update(batch, u, sqrt((double)r / (double)c));
}

const OptimRule optim_dion = {
    .name = "dion",
    .summary = "orthonormal low-rank updates by power iteration",
    .source = "Ahn et al. 2025; microsoft/dion",
    .matrices_only = true,
    .defaults.at = {HYPER_AT(LR, 0.02), HYPER_AT(WEIGHT_DECAY, 0.01), HYPER_AT(CAUTIOUS, 0), HYPER_AT(MOMENTUM, 0.95),
                    HYPER_AT(RANK, 0), HYPER_AT(SPLIT_QKV, 1)},
    .states = {[B] = {"b", shape_whole, .is_momentum = true}, [Q] = {"q", shape_of_q}},
    .init = dion_init,
    .workspace = workspace_of_batch,
    .step = dion_batch,
};
