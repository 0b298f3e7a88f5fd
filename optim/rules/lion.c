/* Lion: the sign of a momentum that already includes the new gradient (Chen et al. 2023). One buffer. */
#include "optim/rules/elements.h"

#include <string.h>

static void lion_scalars(const OptimStep *step, float *k)
{
    const OptimHyper *h = &step->hyper;
    const double lr = hyper(h, HYPER_LR), beta1 = hyper(h, HYPER_BETA1), beta2 = hyper(h, HYPER_BETA2);
    const LionScalars s = {
        .grad_scale = (float)step->grad_scale,
        .lr = (float)lr,
        .beta1 = (float)beta1,
        .one_minus_beta1 = (float)(1 - beta1),
        .beta2 = (float)beta2,
        .one_minus_beta2 = (float)(1 - beta2),
        .decay = decay_of(h),
    };
    memcpy(k, &s, sizeof s);
}

/* The paper advises a rate 3 to 10 times below AdamW's and a decay 3 to 10 times above, so that their product stays:
 * here a tenth of AdamW's 2e-3 and ten times its 0.1. */
const OptimRule optim_lion = {
    .name = "lion",
    .summary = "sign of the momentum blended with the gradient",
    .source = "Chen et al. 2023",
    .defaults.at = {HYPER_AT(LR, 2e-4), HYPER_AT(WEIGHT_DECAY, 1), HYPER_AT(BETA1, 0.9), HYPER_AT(BETA2, 0.99),
                    HYPER_AT(CAUTIOUS, 0)},
    .states = {{"m", shape_whole, .is_momentum = true}},
    .scalars = lion_scalars,
    .elements = {[1] = &lion_elements},
};
