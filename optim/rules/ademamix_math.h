#ifndef OPTIM_RULES_ADEMAMIX_MATH_H
#define OPTIM_RULES_ADEMAMIX_MATH_H

#include "optim/verbs/decay.h"

#include <math.h>

/* Constants of one step. */
typedef struct AdemamixScalars {
    float grad_scale, lr;
    float beta1, one_minus_beta1, beta2, one_minus_beta2, beta3, one_minus_beta3;
    float correction1, correction2; /* 1 / (1 - beta^t) */
    float alpha, eps;
    Decay decay;
} AdemamixScalars;

/* Pagliardini et al. 2024, algorithm 1: m, v and slow are averages of g, g^2 and g;
 * p = (1 - lr wd) p - lr (mhat + alpha slow) / (sqrt(vhat) + eps), where slow is not corrected */
static inline HD void ademamix_element(float *p, float g, float *m, float *v, float *slow, const AdemamixScalars *k)
{
    const float scaled = k->grad_scale * g;
    const float new_m = fmaf(k->beta1, *m, k->one_minus_beta1 * scaled);
    const float new_v = fmaf(k->beta2, *v, k->one_minus_beta2 * scaled * scaled);
    const float new_slow = fmaf(k->beta3, *slow, k->one_minus_beta3 * scaled);
    const float u = fmaf(k->alpha, new_slow, k->correction1 * new_m) / (sqrtf(k->correction2 * new_v) + k->eps);
    *m = new_m;
    *v = new_v;
    *slow = new_slow;
    *p = fmaf(decay_keep(*p, u, &k->decay), *p, -k->lr * u);
}

#endif
