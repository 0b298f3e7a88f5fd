#ifndef OPTIM_RULES_SIGNUM_MATH_H
#define OPTIM_RULES_SIGNUM_MATH_H

#include "optim/verbs/decay.h"

#include <math.h>

typedef struct SignumScalars {
    float grad_scale, lr;
    float momentum, one_minus_momentum;
    Decay decay;
} SignumScalars;

/* -1 or 1; 0 and NaN are returned unchanged */
static inline HD float signum_sign(float x) { return fabsf(x) > 0.0f ? copysignf(1.0f, x) : x; }

/* Bernstein et al. 2018, algorithm 1: p = (1 - lr wd) p - lr sign(g) */
static inline HD void signsgd_element(float *p, float g, const SignumScalars *k)
{
    const float u = signum_sign(k->grad_scale * g);
    *p = fmaf(decay_keep(*p, u, &k->decay), *p, -k->lr * u);
}

/* Bernstein et al. 2018, algorithm 2: m = b m + (1-b) g;  p = (1 - lr wd) p - lr sign(m) */
static inline HD void signum_element(float *p, float g, float *m, const SignumScalars *k)
{
    const float new_m = fmaf(k->momentum, *m, k->one_minus_momentum * (k->grad_scale * g));
    const float u = signum_sign(new_m);
    *m = new_m;
    *p = fmaf(decay_keep(*p, u, &k->decay), *p, -k->lr * u);
}

#endif
