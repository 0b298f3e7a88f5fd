/* AdEMAMix (Pagliardini et al. 2024): AdamW with a second, slow average of the gradients added to the first. */
#include "optim/rules/elements.h"

#include <string.h>

/* The share of a warmup that is done after step t; 1: there is none. */
static double warmed(const OptimStep *step, HyperId warmup)
{
    const double steps = hyper(&step->hyper, warmup), t = (double)step->t;
    return t < steps ? t / steps : 1;
}

/* The paper's beta3(t): the half-life, which is -ln 2 / ln beta, grows linearly from beta1's to beta3's. */
static double scheduled_beta3(const OptimStep *step, double beta1, double beta3)
{
    const double share = warmed(step, HYPER_BETA3_WARMUP);
    return share < 1 ? exp(1 / ((1 - share) / log(beta1) + share / log(beta3))) : beta3;
}

static void ademamix_scalars(const OptimStep *step, float *k)
{
    const OptimHyper *h = &step->hyper;
    const double t = (double)step->t, beta1 = hyper(h, HYPER_BETA1), beta2 = hyper(h, HYPER_BETA2);
    const double beta3 = scheduled_beta3(step, beta1, hyper(h, HYPER_BETA3));
    const AdemamixScalars s = {
        .grad_scale = (float)step->grad_scale,
        .lr = (float)hyper(h, HYPER_LR),
        .beta1 = (float)beta1,
        .one_minus_beta1 = (float)(1 - beta1),
        .beta2 = (float)beta2,
        .one_minus_beta2 = (float)(1 - beta2),
        .beta3 = (float)beta3,
        .one_minus_beta3 = (float)(1 - beta3),
        .correction1 = (float)(1 / (1 - pow(beta1, t))),
        .correction2 = (float)(1 / (1 - pow(beta2, t))),
        .alpha = (float)(hyper(h, HYPER_ALPHA) * warmed(step, HYPER_ALPHA_WARMUP)),
        .eps = (float)hyper(h, HYPER_EPS),
        .decay = decay_of(h),
    };
    memcpy(k, &s, sizeof s);
}

static int ademamix_settle(OptimHyper *h, const char *prefix, Error *e)
{
    const double beta1 = hyper(h, HYPER_BETA1), beta3 = hyper(h, HYPER_BETA3);
    if (hyper(h, HYPER_BETA3_WARMUP) > 0 && beta3 < beta1)
        return error_set(e,
                         "ademamix: --%sbeta3-warmup raises beta3 from beta1, but --%sbeta3 %g is below --%sbeta1 %g",
                         prefix, prefix, beta3, prefix, beta1);
    return 0;
}

/* The defaults of the authors' code, apple/ml-ademamix, but for the decay, which is AdamW's here. The paper lets both
 * warmups last as long as the run. */
const OptimRule optim_ademamix = {
    .name = "ademamix",
    .summary = "AdamW with a slow average of the gradients beside the fast one",
    .source = "Pagliardini et al. 2024; apple/ml-ademamix",
    .defaults.at = {HYPER_AT(LR, 1e-3), HYPER_AT(WEIGHT_DECAY, 0.1), HYPER_AT(BETA1, 0.9), HYPER_AT(BETA2, 0.999),
                    HYPER_AT(BETA3, 0.9999), HYPER_AT(BETA3_WARMUP, 0), HYPER_AT(ALPHA, 2), HYPER_AT(ALPHA_WARMUP, 0),
                    HYPER_AT(EPS, 1e-8), HYPER_AT(CAUTIOUS, 0)},
    .settle = ademamix_settle,
    .states = {{"m", shape_whole, .is_momentum = true}, {"v", shape_whole}, {"slow", shape_whole}},
    .scalars = ademamix_scalars,
    .elements = {[3] = &ademamix_elements},
};
