/*
 * Prodigy (Mishchenko and Defazio 2024): Adam whose rate is an estimate d of the distance from the initial parameters
 * p0 to a solution, common to all tensors. A step's gradient g counts d^2 / d0 lr, the steps before less and less. d is
 * the largest quotient so far of the sum of g . (p0 - p) over steps and the l1 norm of the sum of g.
 */
#include "optim/rules/elements.h"

#include <string.h>

enum { DISTANCE, NUMERATOR }; /* what the groups have in common */

/* 0: nothing was measured yet. */
static double distance_of(const OptimHyper *h, const double *common)
{
    return common[DISTANCE] > 0 ? common[DISTANCE] : hyper(h, HYPER_D0);
}

static void prodigy_scalars(const OptimStep *step, float *k)
{
    OptimHyper h = step->hyper;
    const double t = (double)step->t, beta1 = hyper(&h, HYPER_BETA1), beta2 = hyper(&h, HYPER_BETA2);
    const double correction = hyper(&h, HYPER_BIAS_CORRECTION) != 0 ? sqrt(1 - pow(beta2, t)) / (1 - pow(beta1, t)) : 1;
    const double d = distance_of(&h, step->before), rate = d * hyper(&h, HYPER_LR) * correction;
    hyper_set(&h, HYPER_LR, rate);
    const ProdigyScalars s = {
        .grad_scale = (float)step->grad_scale,
        .beta3 = (float)sqrt(beta2),
        .weight = (float)(d / hyper(&h, HYPER_D0) * rate),
        .distance = (float)d,
        .beta1 = (float)beta1,
        .one_minus_beta1 = (float)(1 - beta1),
        .beta2 = (float)beta2,
        .one_minus_beta2 = (float)(1 - beta2),
        .eps = (float)(distance_of(&h, step->common) * hyper(&h, HYPER_EPS)),
        .rate = (float)rate,
        .first = step->t == 1,
        .decay = decay_of(&h),
    };
    memcpy(k, &s, sizeof s);
}

/* A quotient that is no number, of gradients that are all zero or are none, leaves d as it was. */
static void prodigy_conclude(const OptimStep *step, const double *sums, double *common)
{
    const OptimHyper *h = &step->hyper;
    const double d = distance_of(h, step->before);
    const double numerator = sqrt(hyper(h, HYPER_BETA2)) * step->before[NUMERATOR] + sums[0];
    const double estimate = hyper(h, HYPER_D_COEF) * numerator / sums[1];
    common[DISTANCE] = estimate > d ? estimate : d;
    common[NUMERATOR] = numerator;
}

static int prodigy_agree(const OptimHyper *a, const OptimHyper *b, Error *e)
{
    static const HyperId same[] = {HYPER_BETA2, HYPER_D0, HYPER_D_COEF};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        if (hyper(a, same[i]) != hyper(b, same[i]))
            return error_set(
                e, "prodigy estimates one distance for all tensors: --%s must be the same for all, not %g and %g",
                hyper_info[same[i]].name, hyper(a, same[i]), hyper(b, same[i]));
    return 0;
}

/* The defaults of the authors' code. */
const OptimRule optim_prodigy = {
    .name = "prodigy",
    .summary = "Adam that estimates its learning rate; --lr is a factor, usually 1",
    .source = "Mishchenko and Defazio 2024; konstmish/prodigy",
    .defaults.at = {HYPER_AT(LR, 1), HYPER_AT(WEIGHT_DECAY, 0), HYPER_AT(BETA1, 0.9), HYPER_AT(BETA2, 0.999),
                    HYPER_AT(EPS, 1e-8), HYPER_AT(BIAS_CORRECTION, 0), HYPER_AT(CAUTIOUS, 0), HYPER_AT(D0, 1e-6),
                    HYPER_AT(D_COEF, 1)},
    .states = {{"s", shape_whole}, {"start", shape_whole}, {"m", shape_whole, .is_momentum = true}, {"v", shape_whole}},
    .scalars = prodigy_scalars,
    .elements = {[4] = &prodigy_elements},
    .measure = &prodigy_measure,
    .conclude = prodigy_conclude,
    .agree = prodigy_agree,
};
