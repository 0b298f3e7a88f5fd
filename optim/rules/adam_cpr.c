/*
 * Adam with constrained parameter regularisation (Franke et al. 2023) in place of weight decay: a Lagrange multiplier
 * per matrix holds its mean square at the value reached at the end of a warmup.
 *   after Adam's step, with n elements:  lambda = max(0, lambda + |W|_F^2 / n - kappa);  W -= 2 lambda W
 */
#include "optim/rules/adamw.h"
#include "optim/rules/batch.h"
#include "optim/rules/elements.h"

#include <string.h>

enum { M, V, LAMBDA, KAPPA };

static void adam_cpr_batch(const Batch *batch)
{
    const OptimStep step = {*batch->hyper, batch->grad_scale, batch->t};
    const AdamwScalars k = adamw_scalars_of(&step, 0, (Decay){1, 1});
    const size_t warmup = (size_t)batch_hyper(batch, HYPER_CPR_WARMUP);
    float constants[OPTIM_SCALARS_MAX] = {0};
    memcpy(constants, &k, sizeof k);
    for (size_t i = 0, run; i < batch->count; i += run) {
        const OptimSlot *slot = &batch->slots[i];
        run = batch_run(batch, i);
        elements_run(batch->on, &adamw_elements, slot, run, constants);
        verb_penalise(batch->on, batch_params(batch, i, run), slot->state[LAMBDA], slot->state[KAPPA],
                      batch->t == warmup, batch->t > warmup);
    }
}

const OptimRule optim_adam_cpr = {
    .name = "adam-cpr",
    .summary = "Adam that holds each matrix's mean square at its value after a warmup",
    .source = "Franke et al. 2023",
    .matrices_only = true,
    .defaults.at = {HYPER_AT(LR, 1e-3), HYPER_AT(BETA1, 0.9), HYPER_AT(BETA2, 0.95), HYPER_AT(EPS, 1e-8),
                    HYPER_AT(CPR_WARMUP, 100)},
    .states = {[M] = {"m", shape_whole, .is_momentum = true},
               [V] = {"v", shape_whole},
               [LAMBDA] = {"lambda", shape_scalar},
               [KAPPA] = {"kappa", shape_scalar}},
    .step = adam_cpr_batch,
};
