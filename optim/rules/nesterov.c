/* Nesterov's accelerated gradient (1983): momentum with the gradient evaluated where the momentum leads. Either the
 * parameters move there for the gradient and back, or they stay there (the shifted form; Sutskever 2013). */
#include "optim/rules/elements.h"

#include <string.h>

static bool is_shifted(const OptimHyper *h) { return hyper(h, HYPER_NESTEROV_FORM) == NESTEROV_SHIFTED; }

static OptimShape shape_of_m(const OptimHyper *h, size_t rows, size_t cols)
{
    return is_shifted(h) ? (OptimShape){0, 0} : (OptimShape){rows, cols};
}

static OptimShape shape_of_v(const OptimHyper *h, size_t rows, size_t cols)
{
    return is_shifted(h) ? (OptimShape){rows, cols} : (OptimShape){0, 0};
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
        .shifted = is_shifted(&step->hyper) ? 1.0f : 0.0f,
    };
    memcpy(k, &s, sizeof s);
}

const OptimRule optim_nesterov = {
    .name = "nesterov",
    .summary = "momentum with the gradient evaluated where it leads",
    .source = "Nesterov 1983; Sutskever et al. 2013",
    .defaults.at = {HYPER_AT(LR, 1), HYPER_AT(MOMENTUM, 0.9), HYPER_AT(NESTEROV_FORM, NESTEROV_LOOK_AHEAD)},
    .states = {{"m", shape_of_m, .is_momentum = true}, {"v", shape_of_v, .is_momentum = true}},
    .scalars = nesterov_scalars,
    .elements = {[1] = &nesterov_elements},
    .look_ahead = &nesterov_ahead_elements,
};
