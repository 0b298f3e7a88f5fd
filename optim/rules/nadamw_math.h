#ifndef OPTIM_RULES_NADAMW_MATH_H
#define OPTIM_RULES_NADAMW_MATH_H

#include "optim/verbs/decay.h"

#include <math.h>

/* Constants of one step. */
typedef struct NadamwScalars {
    float grad_scale, lr;
    float beta1, one_minus_beta1, beta2, one_minus_beta2;
    float correction2, eps;
    float gradient_share, momentum_share; /* of the step, both corrected */
    Decay decay;
} NadamwScalars;

/* torch.optim.NAdam with decoupled decay: m and v as in Adam;
 * p = (1 - lr wd) p - lr (gradient_share g + momentum_share m) / (sqrt(vhat) + eps) */
static inline HD void nadamw_element(float *p, float g, float *m, float *v, const NadamwScalars *k)
{
    const float scaled = k->grad_scale * g;
    const float new_m = fmaf(k->beta1, *m, k->one_minus_beta1 * scaled);
    const float new_v = fmaf(k->beta2, *v, k->one_minus_beta2 * scaled * scaled);
    const float blend = fmaf(k->momentum_share, new_m, k->gradient_share * scaled);
    const float u = blend / (sqrtf(k->correction2 * new_v) + k->eps);
    *m = new_m;
    *v = new_v;
    *p = fmaf(decay_keep(*p, u, &k->decay), *p, -k->lr * u);
}

#endif
