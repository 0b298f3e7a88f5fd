/* AdaGrad and its descendants with a fading memory, RMSProp and AdaDelta. Weight decay is coupled L2, as in PyTorch. */
#include "optim/rule.h"
#include "optim/rules/adagrad_math.h"

#include <string.h>

_Static_assert(sizeof(AdagradScalars) <= OPTIM_SCALARS_MAX * sizeof(float), "AdagradScalars is handed over as floats");

static size_t adagrad_states(const OptimHyper *h, size_t rows, size_t cols, OptimStateSpec *specs)
{
    (void)h;
    specs[0] = (OptimStateSpec){"v", rows, cols};
    return 1;
}

static size_t rmsprop_states(const OptimHyper *h, size_t rows, size_t cols, OptimStateSpec *specs)
{
    specs[0] = (OptimStateSpec){"v", rows, cols};
    specs[1] = (OptimStateSpec){"momentum", rows, cols};
    return hyper(h, HYPER_MOMENTUM) != 0 ? 2 : 1;
}

static size_t adadelta_states(const OptimHyper *h, size_t rows, size_t cols, OptimStateSpec *specs)
{
    (void)h;
    specs[0] = (OptimStateSpec){"v", rows, cols};
    specs[1] = (OptimStateSpec){"u", rows, cols};
    return 2;
}

/* AdaGrad has no beta2: it sums. */
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

static void adagrad_elements(size_t n, float *restrict p, const float *restrict g, float *const *state, const float *k)
{
    float *restrict v = state[0];
    AdagradScalars s;
    memcpy(&s, k, sizeof s);
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        adagrad_element(&p[i], g[i], &v[i], &s);
}

static void rmsprop_elements(size_t n, float *restrict p, const float *restrict g, float *const *state, const float *k)
{
    float *restrict v = state[0], *restrict b = state[1];
    AdagradScalars s;
    if (b == NULL) {
        adagrad_elements(n, p, g, state, k);
        return;
    }
    memcpy(&s, k, sizeof s);
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        rmsprop_momentum_element(&p[i], g[i], &v[i], &b[i], &s);
}

static void adadelta_elements(size_t n, float *restrict p, const float *restrict g, float *const *state, const float *k)
{
    float *restrict v = state[0], *restrict u = state[1];
    AdagradScalars s;
    memcpy(&s, k, sizeof s);
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        adadelta_element(&p[i], g[i], &v[i], &u[i], &s);
}

const OptimRule optim_adagrad = {
    .name = "adagrad",
    .summary = "steps shrink with the sum of squared gradients",
    .source = "Duchi et al. 2011; torch.optim.Adagrad",
    .defaults.at = {[HYPER_LR] = HYPER_SET(1e-2), [HYPER_WEIGHT_DECAY] = HYPER_SET(0), [HYPER_EPS] = HYPER_SET(1e-10)},
    .states = adagrad_states,
    .scalars = adagrad_scalars,
    .elements = adagrad_elements,
};

const OptimRule optim_rmsprop = {
    .name = "rmsprop",
    .summary = "gradient over the root of its mean square",
    .source = "Hinton 2012; torch.optim.RMSprop",
    .defaults.at = {[HYPER_LR] = HYPER_SET(1e-3),
                    [HYPER_WEIGHT_DECAY] = HYPER_SET(0),
                    [HYPER_MOMENTUM] = HYPER_SET(0),
                    [HYPER_BETA2] = HYPER_SET(0.99),
                    [HYPER_EPS] = HYPER_SET(1e-8)},
    .states = rmsprop_states,
    .scalars = adagrad_scalars,
    .elements = rmsprop_elements,
};

const OptimRule optim_adadelta = {
    .name = "adadelta",
    .summary = "RMSProp in units of its own past steps",
    .source = "Zeiler 2012; torch.optim.Adadelta",
    .defaults.at = {[HYPER_LR] = HYPER_SET(1),
                    [HYPER_WEIGHT_DECAY] = HYPER_SET(0),
                    [HYPER_BETA2] = HYPER_SET(0.9),
                    [HYPER_EPS] = HYPER_SET(1e-6)},
    .states = adadelta_states,
    .scalars = adagrad_scalars,
    .elements = adadelta_elements,
};
