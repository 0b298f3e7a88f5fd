#ifndef OPTIM_RULES_ADAMW_MATH_H
#define OPTIM_RULES_ADAMW_MATH_H

#include "optim/verbs/decay.h"

#include <math.h>

/*
 * Constants of one step of Adam and its relatives, computed in double: Kingma and Ba 2015, algorithm 1; Loshchilov and
 * Hutter 2019, algorithm 2; torch.optim.Adam and AdamW. The three places where eps can be added:
 *   outside      mhat / (sqrt(vhat) + eps)
 *   uncorrected  m / (sqrt(v) + eps), with the corrections in the step size
 *   inside       mhat / sqrt(vhat + eps)
 */
typedef struct AdamwScalars {
    float grad_scale;
    float l2; /* coupled: added to the gradient */
    float beta1, one_minus_beta1, beta2, one_minus_beta2;
    float correction2; /* factor of v under the root */
    float eps_inside, eps_outside;
    float step_size; /* the learning rate times the corrections outside the root */
    Decay decay;
} AdamwScalars;

/* The scaled gradient with coupled L2. */
static inline HD float adamw_gradient(float p, float g, const AdamwScalars *k)
{
    return fmaf(k->l2, p, k->grad_scale * g);
}

static inline HD float adamw_denominator(float v, const AdamwScalars *k)
{
    return sqrtf(fmaf(v, k->correction2, k->eps_inside)) + k->eps_outside;
}

/* g += l2 p;  m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2;  p = (1 - lr wd) p - lr mhat / (sqrt(vhat) + eps) */
static inline HD void adamw_element(float *p, float g, float *m, float *v, const AdamwScalars *k)
{
    const float scaled = adamw_gradient(*p, g, k);
    const float new_m = fmaf(k->beta1, *m, k->one_minus_beta1 * scaled);
    const float new_v = fmaf(k->beta2, *v, k->one_minus_beta2 * scaled * scaled);
    const float u = new_m / adamw_denominator(new_v, k);
    *m = new_m;
    *v = new_v;
    *p = fmaf(decay_keep(*p, u, &k->decay), *p, -k->step_size * u);
}

/* Nested averages: v as above;  k = b1 k + (1-b1) g / (sqrt(vhat) + eps);  p = (1 - lr wd) p - lr khat */
static inline HD void nested_adam_element(float *p, float g, float *v, float *average, const AdamwScalars *k)
{
    const float scaled = adamw_gradient(*p, g, k);
    const float new_v = fmaf(k->beta2, *v, k->one_minus_beta2 * scaled * scaled);
    const float u = fmaf(k->beta1, *average, k->one_minus_beta1 * (scaled / adamw_denominator(new_v, k)));
    *v = new_v;
    *average = u;
    *p = fmaf(decay_keep(*p, u, &k->decay), *p, -k->step_size * u);
}

#endif
