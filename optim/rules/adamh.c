/* AdamH: Adam's direction, with a step that rotates each matrix and keeps its norm (modded-nanogpt track 3). */
#include "optim/rules/batch.h"

#include <math.h>

/* u = m / (sqrt(vhat) + eps); the first moment's correction would cancel in the step. */
static void adamh_batch(const Batch *batch)
{
    const Mats u = {batch->workspace, batch->rows, batch->cols, batch->count};
    const size_t n = batch->rows * batch->cols;
    const double beta2 = batch_hyper(batch, HYPER_BETA2), correction = 1 / (1 - pow(beta2, (double)batch->t));
    for (size_t i = 0, run; i < batch->count; i += run) {
        const OptimSlot *slot = &batch->slots[i];
        run = batch_run(batch, i);
        verb_adam_direction(batch->on, run * n, u.data + i * n, slot->state[0], slot->state[1], slot->grad,
                            batch_hyper(batch, HYPER_BETA1), beta2, correction, batch_hyper(batch, HYPER_EPS),
                            batch->grad_scale);
    }
    batch_rotate(batch, u);
}

const OptimRule optim_adamh = {
    .name = "adamh",
    .summary = "Adam that rotates each matrix and keeps its norm",
    .source = "modded-nanogpt track 3",
    .matrices_only = true,
    .keeps_norm = true,
    .defaults.at = {HYPER_AT(LR, 0.018), HYPER_AT(BETA1, 0.9), HYPER_AT(BETA2, 0.95), HYPER_AT(EPS, 1e-8),
                    HYPER_AT(SPLIT_QKV, 1)},
    .states = {{"m", shape_whole, .is_momentum = true}, {"v", shape_whole}},
    .workspace = batch_step_floats,
    .step = adamh_batch,
};
