#ifndef OPTIM_RULES_SOPHIA_MATH_H
#define OPTIM_RULES_SOPHIA_MATH_H

#include "optim/verbs/decay.h"

#include <math.h>

typedef struct SophiaScalars {
    float grad_scale, lr;
    float beta1, one_minus_beta1;
    float beta2, share; /* decay of h, and what a square counts in it: (1 - beta2) times the tokens of its batch */
    float rho;
    Decay decay;
} SophiaScalars;

/* x, at least -1 and at most 1; a NaN stays one */
static inline HD float sophia_clip(float x) { return x > 1.0f ? 1.0f : x < -1.0f ? -1.0f : x; }

/* Liu et al. 2023, algorithm 3: m = b1 m + (1-b1) g;  p = (1 - lr wd) p - lr clip(m / (rho h), 1) */
static inline HD void sophia_element(float *p, float g, float *m, float *h, const SophiaScalars *k)
{
    const float new_m = fmaf(k->beta1, *m, k->one_minus_beta1 * (k->grad_scale * g));
    const float u = sophia_clip(new_m / (k->rho * *h + 1e-15f));
    *m = new_m;
    *p = fmaf(decay_keep(*p, u, &k->decay), *p, -k->lr * u);
}

/* Algorithm 2: h is an average of B g^2, g being the gradient of the mean loss of B labels that the model drew. */
static inline HD void sophia_drawn(float *p, float g, float *m, float *h, const SophiaScalars *k)
{
    const float scaled = k->grad_scale * g;
    (void)p, (void)m;
    *h = fmaf(k->beta2, *h, k->share * scaled * scaled);
}

#endif
