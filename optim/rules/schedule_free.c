/*
 * Schedule-Free AdamW (Defazio et al. 2024): z takes AdamW's steps without a first moment, x is the average of all z,
 * and gradients are taken, and weights decayed, at y = (1 - beta1) z + beta1 x, which is what the parameters hold. x
 * takes the place of a decayed learning rate: it is what is shown. Its share of a new z is the square of the rate over
 * the sum of these; a warmup is part of the rule, for that sum needs the rates of all steps.
 */
#include "optim/rules/elements.h"

#include <string.h>

/* The rate of step t (from 1) over the full one, and the sum of its squares up to there. */
static double warmed(double t, double warmup) { return t < warmup ? t / warmup : 1; }
static double sum_of_squares(double t, double warmup)
{
    const double n = t < warmup ? t : warmup;
    return (warmup > 0 ? n * (n + 1) * (2 * n + 1) / (6 * warmup * warmup) : 0) + (t - n);
}

static void schedule_free_scalars(const OptimStep *step, float *k)
{
    const OptimHyper *h = &step->hyper;
    const double t = (double)step->t, warmup = hyper(h, HYPER_RATE_WARMUP), beta1 = hyper(h, HYPER_BETA1);
    const double warm = warmed(t, warmup), rate = hyper(h, HYPER_LR) * warm;
    const double share = warm * warm / sum_of_squares(t, warmup), beta2 = hyper(h, HYPER_BETA2);
    const ScheduleFreeScalars s = {
        .grad_scale = (float)step->grad_scale,
        .beta2 = (float)beta2,
        .one_minus_beta2 = (float)(1 - beta2),
        .correction = (float)(1 / (1 - pow(beta2, t))),
        .eps = (float)hyper(h, HYPER_EPS),
        .weight_decay = (float)hyper(h, HYPER_WEIGHT_DECAY),
        .rate = (float)rate,
        .share = (float)share,
        .of_step = (float)(rate * (beta1 * (1 - share) - 1)),
        .first = step->t == 1,
    };
    memcpy(k, &s, sizeof s);
}

/* x = (y - (1 - beta1) z) / beta1 */
static void schedule_free_shown(const OptimHyper *h, size_t done, double *of_param, double *of_state)
{
    const double beta1 = hyper(h, HYPER_BETA1);
    (void)done;
    *of_param = 1 / beta1;
    *of_state = -(1 - beta1) / beta1;
}

static int schedule_free_settle(OptimHyper *h, const char *prefix, Error *e)
{
    if (hyper(h, HYPER_BETA1) == 0)
        return error_set(e, "--%sbeta1 0: without it schedule-free's parameters do not hold the average", prefix);
    return 0;
}

const OptimRule optim_schedule_free = {
    .name = "schedule-free",
    .summary = "AdamW that averages its path in place of a schedule",
    .source = "Defazio et al. 2024; facebookresearch/schedule_free",
    .own_schedule = true,
    .defaults.at = {HYPER_AT(LR, 2.5e-3), HYPER_AT(WEIGHT_DECAY, 0), HYPER_AT(BETA1, 0.9), HYPER_AT(BETA2, 0.999),
                    HYPER_AT(EPS, 1e-8), HYPER_AT(RATE_WARMUP, 0)},
    .settle = schedule_free_settle,
    .states = {{"z", shape_whole, .is_weight = true}, {"v", shape_whole}},
    .shown = schedule_free_shown,
    .shown_state = 0,
    .scalars = schedule_free_scalars,
    .elements = {[2] = &schedule_free_elements},
};
