#ifndef OPTIM_RULES_ADAGRAD_MATH_H
#define OPTIM_RULES_ADAGRAD_MATH_H

#include "base/hd.h"

#include <math.h>

/* Constants of AdaGrad, RMSProp and AdaDelta, which only scale the gradient by past ones. */
typedef struct AdagradScalars {
    float grad_scale, lr, l2, eps;
    float keep, share; /* of the second moment: v = keep v + share g^2 */
    float momentum;
} AdagradScalars;

/* The scaled gradient with coupled L2. */
static inline HD float adagrad_gradient(float p, float g, const AdagradScalars *k)
{
    return fmaf(k->l2, p, k->grad_scale * g);
}

/* v = keep v + share g^2;  p -= lr g / (sqrt(v) + eps).  keep = share = 1: Duchi et al. 2011 (torch.optim.Adagrad);
 * an average: RMSProp (Hinton 2012, torch.optim.RMSprop). */
static inline HD void adagrad_element(float *p, float g, float *v, const AdagradScalars *k)
{
    const float d = adagrad_gradient(*p, g, k);
    const float new_v = fmaf(k->keep, *v, k->share * d * d);
    *v = new_v;
    *p = fmaf(-k->lr, d / (sqrtf(new_v) + k->eps), *p);
}

/* RMSProp with PyTorch's momentum: b = mu b + g / (sqrt(v) + eps);  p -= lr b */
static inline HD void rmsprop_momentum_element(float *p, float g, float *v, float *b, const AdagradScalars *k)
{
    const float d = adagrad_gradient(*p, g, k);
    const float new_v = fmaf(k->keep, *v, k->share * d * d);
    const float new_b = fmaf(k->momentum, *b, d / (sqrtf(new_v) + k->eps));
    *v = new_v;
    *b = new_b;
    *p = fmaf(-k->lr, new_b, *p);
}

/* Zeiler 2012 (torch.optim.Adadelta): v as above;  d = sqrt(u + eps) / sqrt(v + eps) g with the old u;
 * u = keep u + share d^2;  p -= lr d */
static inline HD void adadelta_element(float *p, float g, float *v, float *u, const AdagradScalars *k)
{
    const float scaled = adagrad_gradient(*p, g, k);
    const float new_v = fmaf(k->keep, *v, k->share * scaled * scaled);
    const float d = sqrtf(*u + k->eps) / sqrtf(new_v + k->eps) * scaled;
    *v = new_v;
    *u = fmaf(k->keep, *u, k->share * d * d);
    *p = fmaf(-k->lr, d, *p);
}

#endif
