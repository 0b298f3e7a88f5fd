#ifndef OPTIM_RULES_PRODIGY_MATH_H
#define OPTIM_RULES_PRODIGY_MATH_H

#include "optim/verbs/decay.h"

#include <math.h>

/* Constants of one step. */
typedef struct ProdigyScalars {
    float grad_scale;
    float beta3, weight; /* decay of s, and what a gradient counts in it: d^2 / d0 times the rate */
    float distance;      /* d, before this step's gradients were measured */
    float beta1, one_minus_beta1, beta2, one_minus_beta2;
    float eps;   /* times d after that */
    float rate;  /* times d before it */
    float first; /* 1 in the first step, which begins where the distance is measured from */
    Decay decay;
} ProdigyScalars;

static inline HD float prodigy_weighted(float s, float g, const ProdigyScalars *k)
{
    return fmaf(k->beta3, s, k->weight * (k->grad_scale * g));
}

/* What an element adds to the numerator, weight g (p0 - p), and to the denominator of the estimate of d, |s|. */
static inline HD void prodigy_terms(float p, float g, float s, float start, const ProdigyScalars *k, double *numerator,
                                    double *denominator)
{
    const double moved = k->first != 0.0f ? 0 : (double)start - (double)p;
    *numerator += (double)k->weight * (double)(k->grad_scale * g) * moved;
    *denominator += (double)fabsf(prodigy_weighted(s, g, k));
}

/* Mishchenko and Defazio 2024, algorithm 4: Adam's averages of d g and (d g)^2, p = (1 - d lr wd) p - d lr m /
 * (sqrt(v) + d eps) */
static inline HD void prodigy_element(float *p, float g, float *s, float *start, float *m, float *v,
                                      const ProdigyScalars *k)
{
    const float old = *p, scaled = k->distance * (k->grad_scale * g);
    const float new_m = fmaf(k->beta1, *m, k->one_minus_beta1 * scaled);
    const float new_v = fmaf(k->beta2, *v, k->one_minus_beta2 * scaled * scaled);
    const float u = new_m / (sqrtf(new_v) + k->eps);
    *start = k->first != 0.0f ? old : *start;
    *s = prodigy_weighted(*s, g, k);
    *m = new_m;
    *v = new_v;
    *p = fmaf(decay_keep(old, u, &k->decay), old, -k->rate * u);
}

#endif
