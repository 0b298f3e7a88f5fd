#ifndef OPTIM_RULES_LION_MATH_H
#define OPTIM_RULES_LION_MATH_H

#include "optim/rules/signum_math.h"

typedef struct LionScalars {
    float grad_scale, lr;
    float beta1, one_minus_beta1, beta2, one_minus_beta2;
    Decay decay;
} LionScalars;

/* Chen et al. 2023, algorithm 2: p = (1 - lr wd) p - lr sign(b1 m + (1-b1) g), sign(0) = 0; then m = b2 m + (1-b2) g */
static inline HD void lion_element(float *p, float g, float *m, const LionScalars *k)
{
    const float scaled = k->grad_scale * g;
    const float u = signum_sign(fmaf(k->beta1, *m, k->one_minus_beta1 * scaled));
    *m = fmaf(k->beta2, *m, k->one_minus_beta2 * scaled);
    *p = fmaf(decay_keep(*p, u, &k->decay), *p, -k->lr * u);
}

#endif
