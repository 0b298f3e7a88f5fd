/*
 * Adam with constrained parameter regularisation (Franke et al. 2023) in place of weight decay: the mean square of each
 * matrix is held at what it was at the end of a warmup, by a Lagrange multiplier of its own.
 *   after Adam's step, with n elements:  lambda = max(0, lambda + |W|_F^2 / n - kappa);  W -= 2 lambda W
 */
#include "optim/rules/adamw.h"
#include "optim/rules/batch.h"

enum { M, V, LAMBDA, KAPPA, STATES };

static size_t adam_cpr_states(const OptimHyper *h, size_t rows, size_t cols, OptimStateSpec *specs)
{
    adamw_states(h, rows, cols, specs);
    specs[LAMBDA] = (OptimStateSpec){"lambda", 1, 1};
    specs[KAPPA] = (OptimStateSpec){"kappa", 1, 1};
    return STATES;
}

static void adam_cpr_batch(const Batch *batch)
{
    const OptimStep step = {*batch->hyper, batch->grad_scale, batch->t};
    const AdamwScalars k = adamw_scalars_of(&step, 0, (Decay){1, 1});
    const size_t warmup = (size_t)batch_hyper(batch, HYPER_CPR_WARMUP), n = batch->rows * batch->cols;
    for (size_t i = 0, run; i < batch->count; i += run) {
        const OptimSlot *slot = &batch->slots[i];
        run = batch_run(batch, i);
        verb_adamw(run * n, slot->param, slot->grad, slot->state[M], slot->state[V], &k);
        verb_penalise((Mats){slot->param, batch->rows, batch->cols, run}, slot->state[LAMBDA], slot->state[KAPPA],
                      batch->t == warmup, batch->t > warmup);
    }
}

static void adam_cpr_step(const OptimGroup *group, const OptimStep *step) { batch_each(group, step, adam_cpr_batch); }

const OptimRule optim_adam_cpr = {
    .name = "adam-cpr",
    .summary = "Adam that holds each matrix's mean square where a warmup left it",
    .source = "Franke et al. 2023",
    .matrices_only = true,
    .defaults.at = {[HYPER_LR] = HYPER_SET(1e-3),
                    [HYPER_BETA1] = HYPER_SET(0.9),
                    [HYPER_BETA2] = HYPER_SET(0.95),
                    [HYPER_EPS] = HYPER_SET(1e-8),
                    [HYPER_CPR_WARMUP] = HYPER_SET(100)},
    .states = adam_cpr_states,
    .step = adam_cpr_step,
};
