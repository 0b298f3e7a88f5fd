#ifndef OPTIM_RULES_NESTEROV_MATH_H
#define OPTIM_RULES_NESTEROV_MATH_H

#include "base/hd.h"

#include <math.h>

typedef struct NesterovScalars {
    float grad_scale, lr;
    float momentum, one_minus_momentum, one_plus_momentum;
    float ahead;   /* lr momentum */
    float shifted; /* 1: parameters stay at the look-ahead point; 0: they move there for the gradient and back */
} NesterovScalars;

/* Moves to W - lr b m, where the gradient is evaluated. */
static inline HD void nesterov_ahead(float *p, float m, const NesterovScalars *k)
{
    *p = k->shifted != 0.0f ? *p : fmaf(-k->ahead, m, *p);
}

/* From that point: m' = b m + (1-b) g;  W' = W - lr m', W being p + lr b m.
 * Shifted: p itself is the look-ahead point.  v' = b v - lr g;  p += (1+b) v' - b v */
static inline HD void nesterov_element(float *p, float g, float *m, const NesterovScalars *k)
{
    const float scaled = k->grad_scale * g;
    const float new_m = fmaf(k->momentum, *m, k->one_minus_momentum * scaled);
    const float new_v = fmaf(k->momentum, *m, -k->lr * scaled);
    const float back = fmaf(-k->lr, new_m, fmaf(k->ahead, *m, *p));
    const float on = *p + fmaf(k->one_plus_momentum, new_v, -k->momentum * *m);
    *p = k->shifted != 0.0f ? on : back;
    *m = k->shifted != 0.0f ? new_v : new_m;
}

#endif
