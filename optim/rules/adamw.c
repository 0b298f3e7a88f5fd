/* Adam (Kingma and Ba 2015) with coupled L2, AdamW with decoupled weight decay (Loshchilov and Hutter 2019), and Adam
 * with nested averages. */
#include "optim/rules/adamw.h"
#include "optim/rules/elements.h"

#include <string.h>

static double setting(const OptimHyper *h, HyperId id, double otherwise)
{
    return h->at[id].set ? h->at[id].value : otherwise;
}

AdamwScalars adamw_scalars_of(const OptimStep *step, double l2, Decay decay)
{
    const OptimHyper *h = &step->hyper;
    const double t = (double)step->t, lr = hyper(h, HYPER_LR), eps = hyper(h, HYPER_EPS);
    const bool corrected = setting(h, HYPER_BIAS_CORRECTION, 1) != 0;
    const double correction1 = corrected ? 1 / (1 - pow(hyper(h, HYPER_BETA1), t)) : 1;
    const double correction2 = corrected ? 1 / (1 - pow(hyper(h, HYPER_BETA2), t)) : 1;
    const EpsMode mode = (EpsMode)setting(h, HYPER_EPS_MODE, EPS_OUTSIDE);
    /* moments that start at the first gradient equal it after the first step */
    const bool seeds = step->t == 1 && setting(h, HYPER_ZERO_INIT_MOMENTS, 1) == 0;
    const double beta1 = seeds ? 0 : hyper(h, HYPER_BETA1), beta2 = seeds ? 0 : hyper(h, HYPER_BETA2);
    return (AdamwScalars){
        .grad_scale = (float)step->grad_scale,
        .l2 = (float)l2,
        .beta1 = (float)beta1,
        .one_minus_beta1 = (float)(1 - beta1),
        .beta2 = (float)beta2,
        .one_minus_beta2 = (float)(1 - beta2),
        .correction2 = mode == EPS_UNCORRECTED ? 1.0f : (float)correction2,
        .eps_inside = mode == EPS_INSIDE ? (float)eps : 0.0f,
        .eps_outside = mode == EPS_INSIDE ? 0.0f : (float)eps,
        .step_size = (float)(lr * correction1 / (mode == EPS_UNCORRECTED ? sqrt(correction2) : 1)),
        .decay = decay,
    };
}

static void adamw_scalars(const OptimStep *step, float *k)
{
    const AdamwScalars s = adamw_scalars_of(step, 0, decay_of(&step->hyper));
    memcpy(k, &s, sizeof s);
}

static void adam_scalars(const OptimStep *step, float *k)
{
    const AdamwScalars s = adamw_scalars_of(step, hyper(&step->hyper, HYPER_WEIGHT_DECAY), (Decay){1, 1});
    memcpy(k, &s, sizeof s);
}

static int adamw_settle(OptimHyper *h, const char *prefix, Error *e)
{
    const double start = hyper(h, HYPER_EPS_START), end = hyper(h, HYPER_EPS_END), most = hyper(h, HYPER_EPS_MAX);
    if (most == 0 && (hyper(h, HYPER_EPS_RATE) != 0 || start != 0 || end != 1))
        return error_set(e, "--%seps-rate, --%seps-start and --%seps-end need --%seps-max", prefix, prefix, prefix,
                         prefix);
    if (most > 0 && start >= end)
        return error_set(e, "--%seps-start %g must be below --%seps-end %g", prefix, start, prefix, end);
    if (most > 0 && most < hyper(h, HYPER_EPS))
        return error_set(e, "--%seps-max %g is below --%seps %g; eps can only grow", prefix, most, prefix,
                         hyper(h, HYPER_EPS));
    return 0;
}

/* The options of Adam's ablations. */
#define ADAM_DEFAULTS                                                                                  \
    HYPER_AT(BETA1, 0.9), HYPER_AT(BETA2, 0.95), HYPER_AT(EPS, 1e-8), HYPER_AT(EPS_MODE, EPS_OUTSIDE), \
        HYPER_AT(EPS_MAX, 0), HYPER_AT(EPS_RATE, 0), HYPER_AT(EPS_START, 0), HYPER_AT(EPS_END, 1),     \
        HYPER_AT(BIAS_CORRECTION, 1), HYPER_AT(ZERO_INIT_MOMENTS, 1)

const OptimRule optim_adamw = {
    .name = "adamw",
    .summary = "Adam with decoupled weight decay",
    .source = "Loshchilov and Hutter 2019; torch.optim.AdamW",
    /* Why this rate: dev/studies/README.md, "Defaults". */
    .defaults.at = {ADAM_DEFAULTS, HYPER_AT(LR, 2e-3), HYPER_AT(WEIGHT_DECAY, 0.1), HYPER_AT(CAUTIOUS, 0)},
    .settle = adamw_settle,
    .states = {{"m", shape_whole, .is_momentum = true}, {"v", shape_whole}},
    .scalars = adamw_scalars,
    .elements = {[2] = &adamw_elements},
};

const OptimRule optim_adam = {
    .name = "adam",
    .summary = "Adam; weight decay is coupled L2",
    .source = "Kingma and Ba 2015; torch.optim.Adam",
    .defaults.at = {ADAM_DEFAULTS, HYPER_AT(LR, 1e-3), HYPER_AT(WEIGHT_DECAY, 0)},
    .settle = adamw_settle,
    .states = {{"m", shape_whole, .is_momentum = true}, {"v", shape_whole}},
    .scalars = adam_scalars,
    .elements = {[2] = &adamw_elements},
};

const OptimRule optim_nested_adam = {
    .name = "nested-adam",
    .summary = "average of the normalised gradients, not of the gradients",
    .source = "an idea from this project's notes; no paper",
    .defaults.at = {HYPER_AT(LR, 1e-3), HYPER_AT(WEIGHT_DECAY, 0.1), HYPER_AT(BETA1, 0.9), HYPER_AT(BETA2, 0.95),
                    HYPER_AT(EPS, 1e-8), HYPER_AT(CAUTIOUS, 0)},
    .states = {{"v", shape_whole}, {"k", shape_whole, .is_momentum = true}},
    .scalars = adamw_scalars,
    .elements = {[2] = &nested_adam_elements},
};
