/* ADOPT (Taniguchi et al. 2024): Adam that normalises a gradient before it is averaged, by the squares of earlier ones
 * alone. The first step only begins those. */
#include "optim/rules/elements.h"

#include <string.h>

static void adopt_scalars(const OptimStep *step, float *k)
{
    const OptimHyper *h = &step->hyper;
    const bool begins = step->t == 1;
    const double beta1 = hyper(h, HYPER_BETA1), beta2 = begins ? 0 : hyper(h, HYPER_BETA2);
    const AdoptScalars s = {
        .grad_scale = (float)step->grad_scale,
        .lr = (float)hyper(h, HYPER_LR),
        .beta1 = (float)beta1,
        .one_minus_beta1 = (float)(1 - beta1),
        .beta2 = (float)beta2,
        .one_minus_beta2 = (float)(1 - beta2),
        .eps = (float)hyper(h, HYPER_EPS),
        .limit = (float)pow((double)step->t - 1, 0.25), /* 0 in the first step: m stays 0 */
        .decay = begins ? (Decay){1, 1} : decay_of(h),
    };
    memcpy(k, &s, sizeof s);
}

/* The defaults of the authors' code, iShohei220/adopt, but for the decay, which is decoupled and AdamW's here. */
const OptimRule optim_adopt = {
    .name = "adopt",
    .summary = "Adam that normalises gradients by earlier ones before it averages them",
    .source = "Taniguchi et al. 2024",
    .defaults.at = {HYPER_AT(LR, 1e-3), HYPER_AT(WEIGHT_DECAY, 0.1), HYPER_AT(BETA1, 0.9), HYPER_AT(BETA2, 0.9999),
                    HYPER_AT(EPS, 1e-6), HYPER_AT(CAUTIOUS, 0)},
    .states = {{"m", shape_whole, .is_momentum = true}, {"v", shape_whole}},
    .scalars = adopt_scalars,
    .elements = {[2] = &adopt_elements},
};
