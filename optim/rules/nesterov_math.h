#ifndef OPTIM_RULES_NESTEROV_MATH_H
#define OPTIM_RULES_NESTEROV_MATH_H

#include "base/hd.h"

#include <math.h>

typedef struct NesterovScalars {
    float grad_scale, lr;
    float momentum, one_minus_momentum, one_plus_momentum;
    float ahead; /* lr momentum */
} NesterovScalars;

/* To the point W - lr b m, where the gradient is taken. */
static inline HD float nesterov_ahead(float p, float m, const NesterovScalars *k) { return fmaf(-k->ahead, m, p); }

/* From that point: m' = b m + (1-b) g;  W' = W - lr m', W being p + lr b m. */
static inline HD void nesterov_element(float *p, float g, float *m, const NesterovScalars *k)
{
    const float new_m = fmaf(k->momentum, *m, k->one_minus_momentum * (k->grad_scale * g));
    *p = fmaf(-k->lr, new_m, fmaf(k->ahead, *m, *p));
    *m = new_m;
}

/* Shifted: p itself is the point ahead.  v' = b v - lr g;  p += (1+b) v' - b v */
static inline HD void nesterov_shifted_element(float *p, float g, float *v, const NesterovScalars *k)
{
    const float new_v = fmaf(k->momentum, *v, -k->lr * (k->grad_scale * g));
    *p += fmaf(k->one_plus_momentum, new_v, -k->momentum * *v);
    *v = new_v;
}

#endif
