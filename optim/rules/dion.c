/*
 * Dion (Ahn et al. 2025): an orthonormal low-rank update by one step of power iteration on the momentum, with error
 * feedback.
 *   B += g;  P = orthonormal factor of B Q;  R = B^T P;  B -= (1 - mu) P R^T;  Q = R with unit columns;
 *   W = (1 - lr wd) W - lr sqrt(r/c) P Q^T
 * and the same with transposed matrices where r < c, as in its authors' code, so that P has the longer side. Where B is
 * zero, as it is until a projection after it has left zero, Q stays.
 */
#include "optim/rules/batch.h"
#include "optim/rules/flops.h"

#include <math.h>

enum { B, Q };

static void dion_init(const OptimGroup *group)
{
    for (size_t i = 0; i < group->count; i++) {
        const OptimSlot *slot = &group->slots[i];
        const OptimShape q = shape_basis(&group->hyper, slot->rows, slot->cols);
        verb_normal(group->on, q.rows * q.cols, slot->state[Q], slot->number);
    }
}

static size_t workspace_of_batch(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    const size_t rank = shape_basis(h, rows, cols).cols, longer = rows > cols ? rows : cols;
    return count * ((rows + cols) * rank + rows * cols + 2) + verb_scratch(longer, rank, count);
}

/* B Q and its QR, B^T P, P R^T, P Q^T */
static double flops_of_matrix(const OptimHyper *h, size_t rows, size_t cols)
{
    const size_t rank = shape_basis(h, rows, cols).cols, longer = rows > cols ? rows : cols;
    return 4 * flops_of_product(rows, cols, rank) + flops_of_qr(longer, rank);
}

/* zero (batch): 1 where b is zero, otherwise 0; `size` is scratch of that length. */
static void mark_zeros(Verbs *on, Mats b, float *zero, float *size)
{
    verb_norms(on, b, size);
    verb_sign(on, b.batch, size, size);
    verb_fill(on, b.batch, zero, 1);
    verb_add(on, b.batch, zero, size, 1, -1);
}

static void dion_batch(const Batch *batch)
{
    const size_t r = batch->rows, c = batch->cols, count = batch->count, rank = shape_basis(batch->hyper, r, c).cols;
    const bool wide = r < c;
    const Mats b = batch_state(batch, B, r, c), q = batch_state(batch, Q, wide ? r : c, rank);
    const Mats longer = {batch->workspace, wide ? c : r, rank, count};
    const Mats shorter = {mats_end(longer), q.rows, rank, count};
    const Mats u = {mats_end(shorter), r, c, count};
    const double kept = batch_hyper(batch, HYPER_MOMENTUM);
    float *zero = mats_end(u);

    batch_add_gradients(batch, b);
    verb_product(batch->on, b, wide, q, false, 1, 0, longer);
    verb_qr(batch->on, longer, zero + 2 * count);
    verb_product(batch->on, b, !wide, longer, false, 1, 0, shorter);
    mark_zeros(batch->on, b, zero, zero + count);
    verb_product(batch->on, wide ? shorter : longer, false, wide ? longer : shorter, true, kept - 1, 1, b);
    verb_normalise_columns(batch->on, shorter, 1e-8);
    verb_product(batch->on, wide ? shorter : longer, false, wide ? longer : shorter, true, 1, 0, u);
    verb_add_each(batch->on, shorter, zero, q);
    verb_copy(batch->on, shorter, q);
    batch_update(batch, u, sqrt((double)r / (double)c));
}

const OptimRule optim_dion = {
    .name = "dion",
    .summary = "orthonormal low-rank updates by power iteration",
    .source = "Ahn et al. 2025; microsoft/dion",
    .matrices_only = true,
    /* Rate and decay were searched for: dev/studies/README.md, "Defaults". */
    .defaults.at = {HYPER_AT(LR, 0.02), HYPER_AT(WEIGHT_DECAY, 0.1), HYPER_AT(CAUTIOUS, 0), HYPER_AT(MOMENTUM, 0.95),
                    HYPER_AT(RANK, 0), HYPER_AT(SPLIT_QKV, 1)},
    .states = {[B] = {"b", shape_whole, .is_momentum = true}, [Q] = {"q", shape_basis}},
    .init = dion_init,
    .workspace = workspace_of_batch,
    .flops = flops_of_matrix,
    .step = dion_batch,
};
