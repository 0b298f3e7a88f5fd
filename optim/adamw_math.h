#ifndef OPTIM_ADAMW_MATH_H
#define OPTIM_ADAMW_MATH_H

#include "base/hd.h"

#include <math.h>

/* The constants of one step, formed in double: Loshchilov and Hutter 2019, algorithm 2, as torch.optim.AdamW. */
typedef struct AdamwScalars {
    float grad_scale;
    float l2; /* coupled: added to the gradient */
    float beta1, one_minus_beta1, beta2, one_minus_beta2;
    float inverse_correction2; /* 1 / (1 - beta2^t) */
    float eps;
    float decay;     /* 1 - lr weight_decay */
    float step_size; /* lr / (1 - beta1^t) */
} AdamwScalars;

/* g += l2 p;  m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2;  p = (1 - lr wd) p - lr mhat / (sqrt(vhat) + eps) */
static inline HD void adamw_element(float *p, float g, float *m, float *v, const AdamwScalars *k)
{
    const float scaled = fmaf(k->l2, *p, k->grad_scale * g);
    const float new_m = fmaf(k->beta1, *m, k->one_minus_beta1 * scaled);
    const float new_v = fmaf(k->beta2, *v, k->one_minus_beta2 * scaled * scaled);
    const float denominator = sqrtf(new_v * k->inverse_correction2) + k->eps;
    *m = new_m;
    *v = new_v;
    *p = fmaf(k->decay, *p, -k->step_size * (new_m / denominator));
}

#endif
