/* signSGD and its variant with momentum, Signum (Bernstein et al. 2018). */
#include "optim/rules/elements.h"

#include <string.h>

static void signum_scalars(const OptimStep *step, float *k)
{
    const OptimHyper *h = &step->hyper;
    const double lr = hyper(h, HYPER_LR), momentum = h->at[HYPER_MOMENTUM].set ? hyper(h, HYPER_MOMENTUM) : 0;
    const SignumScalars s = {
        .grad_scale = (float)step->grad_scale,
        .lr = (float)lr,
        .momentum = (float)momentum,
        .one_minus_momentum = (float)(1 - momentum),
        .decay = decay_of(h),
    };
    memcpy(k, &s, sizeof s);
}

const OptimRule optim_signsgd = {
    .name = "signsgd",
    .summary = "sign of the gradient",
    .source = "Bernstein et al. 2018",
    .defaults.at = {HYPER_AT(LR, 3e-4), HYPER_AT(WEIGHT_DECAY, 0.1), HYPER_AT(CAUTIOUS, 0)},
    .scalars = signum_scalars,
    .elements = {&signsgd_elements},
};

const OptimRule optim_signum = {
    .name = "signum",
    .summary = "sign of the momentum",
    .source = "Bernstein et al. 2018",
    .defaults.at = {HYPER_AT(LR, 3e-4), HYPER_AT(WEIGHT_DECAY, 0.1), HYPER_AT(MOMENTUM, 0.9), HYPER_AT(CAUTIOUS, 0)},
    .states = {{"m", shape_whole, .is_momentum = true}},
    .scalars = signum_scalars,
    .elements = {[1] = &signum_elements},
};
