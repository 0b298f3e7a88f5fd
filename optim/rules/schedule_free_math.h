#ifndef OPTIM_RULES_SCHEDULE_FREE_MATH_H
#define OPTIM_RULES_SCHEDULE_FREE_MATH_H

#include "base/hd.h"

#include <math.h>

typedef struct ScheduleFreeScalars {
    float grad_scale;
    float beta2, one_minus_beta2;
    float correction; /* 1 / (1 - beta2^t) */
    float eps, weight_decay;
    float rate;
    float share;   /* c, of this step's z in the average x */
    float of_step; /* rate (beta1 (1 - c) - 1): what y moves along the step beside c (z - y) */
    float first;   /* 1 in the first step, where z is y */
} ScheduleFreeScalars;

static inline HD void schedule_free_element(float *y, float g, float *z, float *v, const ScheduleFreeScalars *k)
{
    const float scaled = k->grad_scale * g, old_y = *y, old_z = k->first != 0.0f ? old_y : *z;
    const float new_v = fmaf(k->beta2, *v, k->one_minus_beta2 * scaled * scaled);
    const float step = fmaf(k->weight_decay, old_y, scaled / (sqrtf(new_v * k->correction) + k->eps));
    *v = new_v;
    *z = fmaf(-k->rate, step, old_z);
    *y = fmaf(k->of_step, step, fmaf(k->share, old_z - old_y, old_y));
}

#endif
