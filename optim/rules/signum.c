/* signSGD and Signum, its form with momentum (Bernstein et al. 2018). */
#include "optim/rule.h"
#include "optim/rules/signum_math.h"

#include <string.h>

_Static_assert(sizeof(SignumScalars) <= OPTIM_SCALARS_MAX * sizeof(float), "SignumScalars is handed over as floats");

static size_t signsgd_states(const OptimHyper *h, size_t rows, size_t cols, OptimStateSpec *specs)
{
    (void)h, (void)rows, (void)cols, (void)specs;
    return 0;
}

static size_t signum_states(const OptimHyper *h, size_t rows, size_t cols, OptimStateSpec *specs)
{
    (void)h;
    specs[0] = (OptimStateSpec){"m", rows, cols};
    return 1;
}

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

static void signsgd_elements(size_t n, float *restrict p, const float *restrict g, float *const *state, const float *k)
{
    SignumScalars s;
    (void)state;
    memcpy(&s, k, sizeof s);
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        signsgd_element(&p[i], g[i], &s);
}

static void signum_elements(size_t n, float *restrict p, const float *restrict g, float *const *state, const float *k)
{
    float *restrict m = state[0];
    SignumScalars s;
    memcpy(&s, k, sizeof s);
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        signum_element(&p[i], g[i], &m[i], &s);
}

const OptimRule optim_signsgd = {
    .name = "signsgd",
    .summary = "sign of the gradient",
    .source = "Bernstein et al. 2018",
    .defaults
        .at = {[HYPER_LR] = HYPER_SET(3e-4), [HYPER_WEIGHT_DECAY] = HYPER_SET(0.1), [HYPER_CAUTIOUS] = HYPER_SET(0)},
    .states = signsgd_states,
    .scalars = signum_scalars,
    .elements = signsgd_elements,
};

const OptimRule optim_signum = {
    .name = "signum",
    .summary = "sign of the momentum",
    .source = "Bernstein et al. 2018",
    .defaults.at = {[HYPER_LR] = HYPER_SET(3e-4),
                    [HYPER_WEIGHT_DECAY] = HYPER_SET(0.1),
                    [HYPER_MOMENTUM] = HYPER_SET(0.9),
                    [HYPER_CAUTIOUS] = HYPER_SET(0)},
    .states = signum_states,
    .scalars = signum_scalars,
    .elements = signum_elements,
};
