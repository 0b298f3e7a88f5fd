/* Adam (Kingma and Ba 2015) with coupled L2, and AdamW with decoupled weight decay (Loshchilov and Hutter 2019). */
#include "optim/adamw_math.h"
#include "optim/rule.h"

#include <string.h>

_Static_assert(sizeof(AdamwScalars) <= OPTIM_SCALARS_MAX * sizeof(float), "AdamwScalars is handed over as floats");

static size_t adamw_states(const OptimHyper *h, size_t rows, size_t cols, OptimStateSpec *specs)
{
    (void)h;
    specs[0] = (OptimStateSpec){"m", rows, cols};
    specs[1] = (OptimStateSpec){"v", rows, cols};
    return 2;
}

/* The constants of a step with a coupled and a decoupled decay. */
static AdamwScalars scalars_of(const OptimStep *step, double l2, double weight_decay)
{
    const OptimHyper *h = &step->hyper;
    const double t = (double)step->t, beta1 = hyper(h, HYPER_BETA1), beta2 = hyper(h, HYPER_BETA2);
    const double lr = hyper(h, HYPER_LR);
    return (AdamwScalars){
        .grad_scale = (float)step->grad_scale,
        .l2 = (float)l2,
        .beta1 = (float)beta1,
        .one_minus_beta1 = (float)(1 - beta1),
        .beta2 = (float)beta2,
        .one_minus_beta2 = (float)(1 - beta2),
        .inverse_correction2 = (float)(1 / (1 - pow(beta2, t))),
        .eps = (float)hyper(h, HYPER_EPS),
        .decay = (float)(1 - lr * weight_decay),
        .step_size = (float)(lr / (1 - pow(beta1, t))),
    };
}

static void adamw_scalars(const OptimStep *step, float *k)
{
    const AdamwScalars s = scalars_of(step, 0, hyper(&step->hyper, HYPER_WEIGHT_DECAY));
    memcpy(k, &s, sizeof s);
}

static void adam_scalars(const OptimStep *step, float *k)
{
    const AdamwScalars s = scalars_of(step, hyper(&step->hyper, HYPER_WEIGHT_DECAY), 0);
    memcpy(k, &s, sizeof s);
}

static void adamw_elements(size_t n, float *restrict p, const float *restrict g, float *const *state, const float *k)
{
    float *restrict m = state[0], *restrict v = state[1];
    AdamwScalars s;
    memcpy(&s, k, sizeof s);
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        adamw_element(&p[i], g[i], &m[i], &v[i], &s);
}

const OptimRule optim_adamw = {
    .name = "adamw",
    .summary = "Adam with decoupled weight decay",
    .source = "Loshchilov and Hutter 2019; torch.optim.AdamW",
    .defaults.at = {[HYPER_LR] = HYPER_SET(1e-3),
                    [HYPER_WEIGHT_DECAY] = HYPER_SET(0.1),
                    [HYPER_BETA1] = HYPER_SET(0.9),
                    [HYPER_BETA2] = HYPER_SET(0.95),
                    [HYPER_EPS] = HYPER_SET(1e-8)},
    .states = adamw_states,
    .scalars = adamw_scalars,
    .elements = adamw_elements,
};

const OptimRule optim_adam = {
    .name = "adam",
    .summary = "Adam; weight decay is coupled L2",
    .source = "Kingma and Ba 2015; torch.optim.Adam",
    .defaults.at = {[HYPER_LR] = HYPER_SET(1e-3),
                    [HYPER_WEIGHT_DECAY] = HYPER_SET(0),
                    [HYPER_BETA1] = HYPER_SET(0.9),
                    [HYPER_BETA2] = HYPER_SET(0.95),
                    [HYPER_EPS] = HYPER_SET(1e-8)},
    .states = adamw_states,
    .scalars = adam_scalars,
    .elements = adamw_elements,
};
