/* Stochastic gradient descent with momentum, a sum as in PyTorch or an average, and coupled L2. */
#include "optim/rules/elements.h"

#include <string.h>

static int sgd_settle(OptimHyper *h, const char *prefix, Error *e)
{
    const double momentum = hyper(h, HYPER_MOMENTUM), dampening = hyper(h, HYPER_DAMPENING);
    if (hyper(h, HYPER_MOMENTUM_FORM) == MOMENTUM_EMA && dampening != 0)
        return error_set(e, "sgd: --%sdampening %g belongs to --%smomentum-form sum; an average has 1 - momentum",
                         prefix, dampening, prefix);
    if (hyper(h, HYPER_NESTEROV) != 0 && (momentum == 0 || dampening != 0))
        return error_set(e, "sgd: --%snesterov needs --%smomentum above 0 and no dampening (they are %g and %g)",
                         prefix, prefix, momentum, dampening);
    return 0;
}

static void sgd_scalars(const OptimStep *step, float *k)
{
    const OptimHyper *h = &step->hyper;
    const bool average = hyper(h, HYPER_MOMENTUM_FORM) == MOMENTUM_EMA;
    const double momentum = hyper(h, HYPER_MOMENTUM), damped = step->t == 1 ? 1 : 1 - hyper(h, HYPER_DAMPENING);
    const SgdScalars s = {
        .grad_scale = (float)step->grad_scale,
        .lr = (float)hyper(h, HYPER_LR),
        .weight_decay = (float)hyper(h, HYPER_WEIGHT_DECAY),
        .momentum = (float)momentum,
        .gradient_share = (float)(average ? 1 - momentum : damped),
        .nesterov = (float)(hyper(h, HYPER_NESTEROV) == 0 ? 0
                            : average                     ? 1 - momentum
                                                          : 1),
    };
    memcpy(k, &s, sizeof s);
}

const OptimRule optim_sgd = {
    .name = "sgd",
    .summary = "gradient descent with momentum and coupled L2",
    .source = "torch.optim.SGD",
    .defaults.at = {HYPER_AT(LR, 0.1), HYPER_AT(WEIGHT_DECAY, 0), HYPER_AT(MOMENTUM, 0.9),
                    HYPER_AT(MOMENTUM_FORM, MOMENTUM_SUM), HYPER_AT(DAMPENING, 0), HYPER_AT(NESTEROV, 0)},
    .settle = sgd_settle,
    .states = {{"momentum", shape_momentum, .is_momentum = true}},
    .scalars = sgd_scalars,
    .elements = {&sgd_elements, &sgd_momentum_elements},
};
