/* AdaGrad and its descendants RMSProp and AdaDelta, which average. Weight decay is coupled L2, as in PyTorch. */
#include "optim/rules/elements.h"

#include <string.h>

/* AdaGrad sums, so it has no beta2. */
static void adagrad_scalars(const OptimStep *step, float *k)
{
    const OptimHyper *h = &step->hyper;
    const bool fades = h->at[HYPER_BETA2].set;
    const AdagradScalars s = {
        .grad_scale = (float)step->grad_scale,
        .lr = (float)hyper(h, HYPER_LR),
        .l2 = (float)hyper(h, HYPER_WEIGHT_DECAY),
        .eps = (float)hyper(h, HYPER_EPS),
        .keep = fades ? (float)hyper(h, HYPER_BETA2) : 1.0f,
        .share = fades ? (float)(1 - hyper(h, HYPER_BETA2)) : 1.0f,
        .momentum = h->at[HYPER_MOMENTUM].set ? (float)hyper(h, HYPER_MOMENTUM) : 0.0f,
    };
    memcpy(k, &s, sizeof s);
}

const OptimRule optim_adagrad = {
    .name = "adagrad",
    .summary = "gradient over the root of the sum of its squares",
    .source = "Duchi et al. 2011; torch.optim.Adagrad",
    .defaults.at = {HYPER_AT(LR, 1e-2), HYPER_AT(WEIGHT_DECAY, 0), HYPER_AT(EPS, 1e-10)},
    .states = {{"v", shape_whole}},
    .scalars = adagrad_scalars,
    .elements = {[1] = &adagrad_elements},
};

const OptimRule optim_rmsprop = {
    .name = "rmsprop",
    .summary = "gradient over the root of its mean square",
    .source = "Hinton 2012; torch.optim.RMSprop",
    .defaults.at = {HYPER_AT(LR, 1e-3), HYPER_AT(WEIGHT_DECAY, 0), HYPER_AT(MOMENTUM, 0), HYPER_AT(BETA2, 0.99),
                    HYPER_AT(EPS, 1e-8)},
    .states = {{"v", shape_whole}, {"momentum", shape_momentum, .is_momentum = true}},
    .scalars = adagrad_scalars,
    .elements = {[1] = &adagrad_elements, [2] = &rmsprop_momentum_elements},
};

const OptimRule optim_adadelta = {
    .name = "adadelta",
    .summary = "RMSProp in units of its own past steps",
    .source = "Zeiler 2012; torch.optim.Adadelta",
    .defaults.at = {HYPER_AT(LR, 1), HYPER_AT(WEIGHT_DECAY, 0), HYPER_AT(BETA2, 0.9), HYPER_AT(EPS, 1e-6)},
    .states = {{"v", shape_whole}, {"u", shape_whole}},
    .scalars = adagrad_scalars,
    .elements = {[2] = &adadelta_elements},
};
