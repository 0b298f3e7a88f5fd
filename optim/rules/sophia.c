/*
 * Sophia-G (Liu et al. 2023): momentum over an estimate of the Hessian's diagonal, each element at most 1. Every
 * `refresh` steps, after the step, the gradient of labels drawn from the model's own distribution renews the estimate:
 * its square is that of the Gauss-Newton matrix. Before the first one steps are signs.
 */
#include "optim/rules/elements.h"

#include <string.h>

static void sophia_scalars(const OptimStep *step, float *k)
{
    const OptimHyper *h = &step->hyper;
    const double beta1 = hyper(h, HYPER_BETA1), beta2 = hyper(h, HYPER_BETA2);
    const SophiaScalars s = {
        .grad_scale = (float)step->grad_scale,
        .lr = (float)hyper(h, HYPER_LR),
        .beta1 = (float)beta1,
        .one_minus_beta1 = (float)(1 - beta1),
        .beta2 = (float)beta2,
        .share = (float)((1 - beta2) * step->drawn),
        .rho = (float)hyper(h, HYPER_RHO),
        .decay = decay_of(h),
    };
    memcpy(k, &s, sizeof s);
}

/* The defaults of the authors' class, but for the decay of vectors. For GPT-2 124M they take the rate 6e-4, rho 0.05
 * and the decay 0.2. */
const OptimRule optim_sophia = {
    .name = "sophia",
    .summary = "momentum over an estimate of the Hessian's diagonal, clipped (Sophia-G)",
    .source = "Liu et al. 2023; Liuhong99/Sophia",
    .defaults.at = {HYPER_AT(LR, 1e-4), HYPER_AT(WEIGHT_DECAY, 0.1), HYPER_AT(BETA1, 0.965), HYPER_AT(BETA2, 0.99),
                    HYPER_AT(RHO, 0.04), HYPER_AT(REFRESH, 10), HYPER_AT(CAUTIOUS, 0)},
    .states = {{"m", shape_whole, .is_momentum = true}, {"h", shape_whole}},
    .scalars = sophia_scalars,
    .elements = {[2] = &sophia_elements},
    .drawn = &sophia_drawn_elements,
};
