/* Nesterov's accelerated gradient (1983): momentum whose gradient is taken where the momentum leads. Either the
 * parameters are moved there for the gradient and back, or they are kept there (the shifted form; Sutskever 2013). */
#include "optim/rule.h"
#include "optim/rules/nesterov_math.h"

#include <string.h>

_Static_assert(sizeof(NesterovScalars) + sizeof(float) <= OPTIM_SCALARS_MAX * sizeof(float),
               "NesterovScalars and the form are handed over as floats");

enum { FORM = OPTIM_SCALARS_MAX - 1 };

static size_t nesterov_states(const OptimHyper *h, size_t rows, size_t cols, OptimStateSpec *specs)
{
    specs[0] = (OptimStateSpec){hyper(h, HYPER_NESTEROV_FORM) == NESTEROV_SHIFTED ? "v" : "m", rows, cols};
    return 1;
}

static void nesterov_scalars(const OptimStep *step, float *k)
{
    const double lr = hyper(&step->hyper, HYPER_LR), b = hyper(&step->hyper, HYPER_MOMENTUM);
    const NesterovScalars s = {
        .grad_scale = (float)step->grad_scale,
        .lr = (float)lr,
        .momentum = (float)b,
        .one_minus_momentum = (float)(1 - b),
        .one_plus_momentum = (float)(1 + b),
        .ahead = (float)(lr * b),
    };
    memcpy(k, &s, sizeof s);
    k[FORM] = (float)hyper(&step->hyper, HYPER_NESTEROV_FORM);
}

static void nesterov_look_ahead(size_t n, float *restrict p, float *const *state, const float *k)
{
    const float *restrict m = state[0];
    NesterovScalars s;
    memcpy(&s, k, sizeof s);
    if (k[FORM] != NESTEROV_LOOK_AHEAD)
        return;
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        p[i] = nesterov_ahead(p[i], m[i], &s);
}

static void nesterov_elements(size_t n, float *restrict p, const float *restrict g, float *const *state, const float *k)
{
    float *restrict m = state[0];
    NesterovScalars s;
    memcpy(&s, k, sizeof s);
    if (k[FORM] == NESTEROV_LOOK_AHEAD) {
#pragma omp simd
        for (size_t i = 0; i < n; i++)
            nesterov_element(&p[i], g[i], &m[i], &s);
    } else {
#pragma omp simd
        for (size_t i = 0; i < n; i++)
            nesterov_shifted_element(&p[i], g[i], &m[i], &s);
    }
}

const OptimRule optim_nesterov = {
    .name = "nesterov",
    .summary = "momentum that takes its gradient where it leads",
    .source = "Nesterov 1983; Sutskever et al. 2013",
    .defaults.at = {[HYPER_LR] = HYPER_SET(1),
                    [HYPER_MOMENTUM] = HYPER_SET(0.9),
                    [HYPER_NESTEROV_FORM] = HYPER_SET(NESTEROV_LOOK_AHEAD)},
    .states = nesterov_states,
    .scalars = nesterov_scalars,
    .elements = nesterov_elements,
    .look_ahead = nesterov_look_ahead,
};
