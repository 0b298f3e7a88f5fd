/* Cautious AdamW and Lion (Liang et al. 2024): elements of the step against which the gradient speaks are left out, and
 * the rest of the tensor's step grows in proportion. */
#include "optim/rules/batch.h"
#include "optim/rules/elements.h"

#include <math.h>
#include <string.h>

/* u = m / (sqrt(v) + eps), masked by m g > 0 and divided by the mask's mean, which counts as 0.001 at least;
 * p = (1 - lr wd) p - lr sqrt(1 - b2^t) / (1 - b1^t) u */
static void cautious_adamw_batch(const Batch *batch)
{
    const Mats u = {batch->workspace, batch->rows, batch->cols, batch->count};
    const size_t n = batch->rows * batch->cols;
    const double beta1 = batch_hyper(batch, HYPER_BETA1), beta2 = batch_hyper(batch, HYPER_BETA2);
    const double t = (double)batch->t;
    for (size_t i = 0, run; i < batch->count; i += run) {
        const OptimSlot *slot = &batch->slots[i];
        const Mats along = mats_part(u, i, run = batch_run(batch, i));
        verb_adam_direction(batch->on, run * n, along.data, slot->state[0], slot->state[1], slot->grad, beta1, beta2, 1,
                            batch_hyper(batch, HYPER_EPS), batch->grad_scale);
        verb_cautious(batch->on, along, along, slot->grad, 0, 1e-3);
    }
    batch_update(batch, u, sqrt(1 - pow(beta2, t)) / (1 - pow(beta1, t)));
}

/* u is Lion's step, masked by u g > 0 and multiplied by n / (count of the mask + 1). Lion's element function makes it,
 * as a parameter that starts from 0. */
static void cautious_lion_batch(const Batch *batch)
{
    const Mats u = {batch->workspace, batch->rows, batch->cols, batch->count};
    const double beta1 = batch_hyper(batch, HYPER_BETA1), beta2 = batch_hyper(batch, HYPER_BETA2);
    const LionScalars s = {
        .grad_scale = (float)batch->grad_scale,
        .lr = -1,
        .beta1 = (float)beta1,
        .one_minus_beta1 = (float)(1 - beta1),
        .beta2 = (float)beta2,
        .one_minus_beta2 = (float)(1 - beta2),
        .decay = {1, 1},
    };
    float k[OPTIM_SCALARS_MAX] = {0};
    memcpy(k, &s, sizeof s);
    verb_fill(batch->on, mats_size(u), u.data, 0);
    for (size_t i = 0, run; i < batch->count; i += run) {
        const Mats along = mats_part(u, i, run = batch_run(batch, i));
        OptimSlot all = batch->slots[i];
        all.param = along.data;
        all.rows *= run;
        elements_run(batch->on, &lion_elements, &all, 1, k);
        verb_cautious(batch->on, along, along, all.grad, 1, 0);
    }
    batch_update(batch, u, 1);
}

/* The defaults of the authors' code, kyleliang919/C-Optim, but for the decay, which is AdamW's here. */
const OptimRule optim_cautious_adamw = {
    .name = "cautious-adamw",
    .summary = "AdamW without the elements of the step that the gradient opposes",
    .source = "Liang et al. 2024; kyleliang919/C-Optim",
    .defaults.at = {HYPER_AT(LR, 1e-3), HYPER_AT(WEIGHT_DECAY, 0.1), HYPER_AT(BETA1, 0.9), HYPER_AT(BETA2, 0.999),
                    HYPER_AT(EPS, 1e-6), HYPER_AT(CAUTIOUS, 0)},
    .states = {{"m", shape_whole, .is_momentum = true}, {"v", shape_whole}},
    .workspace = batch_step_floats,
    .step = cautious_adamw_batch,
};

/* The betas of the paper; rate and decay are Lion's here. */
const OptimRule optim_cautious_lion = {
    .name = "cautious-lion",
    .summary = "Lion without the elements of the step that the gradient opposes",
    .source = "Liang et al. 2024; kyleliang919/C-Optim",
    .defaults.at = {HYPER_AT(LR, 1e-4), HYPER_AT(WEIGHT_DECAY, 1), HYPER_AT(BETA1, 0.95), HYPER_AT(BETA2, 0.98),
                    HYPER_AT(CAUTIOUS, 0)},
    .states = {{"m", shape_whole, .is_momentum = true}},
    .workspace = batch_step_floats,
    .step = cautious_lion_batch,
};
