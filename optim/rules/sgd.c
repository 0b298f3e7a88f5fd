/* Stochastic gradient descent with momentum, a sum as PyTorch has it or an average, and coupled L2. */
#include "optim/rule.h"
#include "optim/rules/sgd_math.h"

#include <string.h>

_Static_assert(sizeof(SgdScalars) <= OPTIM_SCALARS_MAX * sizeof(float), "SgdScalars is handed over as floats");

static int sgd_check(const OptimHyper *h, const char *prefix, Error *e)
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

static size_t sgd_states(const OptimHyper *h, size_t rows, size_t cols, OptimStateSpec *specs)
{
    specs[0] = (OptimStateSpec){"momentum", rows, cols};
    return hyper(h, HYPER_MOMENTUM) != 0;
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

static void sgd_elements(size_t n, float *restrict p, const float *restrict g, float *const *state, const float *k)
{
    float *restrict b = state[0];
    SgdScalars s;
    memcpy(&s, k, sizeof s);
    if (b == NULL) {
#pragma omp simd
        for (size_t i = 0; i < n; i++)
            sgd_element(&p[i], g[i], &s);
    } else {
#pragma omp simd
        for (size_t i = 0; i < n; i++)
            sgd_momentum_element(&p[i], g[i], &b[i], &s);
    }
}

const OptimRule optim_sgd = {
    .name = "sgd",
    .summary = "gradient descent with momentum and coupled L2",
    .source = "torch.optim.SGD",
    .defaults.at = {[HYPER_LR] = HYPER_SET(0.1),
                    [HYPER_WEIGHT_DECAY] = HYPER_SET(0),
                    [HYPER_MOMENTUM] = HYPER_SET(0.9),
                    [HYPER_MOMENTUM_FORM] = HYPER_SET(MOMENTUM_SUM),
                    [HYPER_DAMPENING] = HYPER_SET(0),
                    [HYPER_NESTEROV] = HYPER_SET(0)},
    .check = sgd_check,
    .states = sgd_states,
    .scalars = sgd_scalars,
    .elements = sgd_elements,
};
