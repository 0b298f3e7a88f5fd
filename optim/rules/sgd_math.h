#ifndef OPTIM_RULES_SGD_MATH_H
#define OPTIM_RULES_SGD_MATH_H

#include "base/hd.h"

#include <math.h>

typedef struct SgdScalars {
    float grad_scale, lr, weight_decay;
    float momentum;
    float gradient_share; /* of the gradient in the momentum: 1 - dampening (1 in the first step), or 1 - momentum */
    float nesterov;       /* weight of the gradient added to momentum x buffer; 0: the buffer alone */
} SgdScalars;

/* torch.optim.SGD without momentum: p -= lr (g + wd p) */
static inline HD void sgd_element(float *p, float g, const SgdScalars *k)
{
    const float d = fmaf(k->weight_decay, *p, k->grad_scale * g);
    *p = fmaf(-k->lr, d, *p);
}

/*
 * With momentum: d = g + wd p, and
 *   sum, as torch.optim.SGD     b = mu b + (1 - dampening) d, undamped in the first step;
 *                               p -= lr (nesterov ? d + mu b : b)
 *   average                     b = mu b + (1 - mu) d;  p -= lr (nesterov ? (1 - mu) d + mu b : b)
 */
static inline HD void sgd_momentum_element(float *p, float g, float *b, const SgdScalars *k)
{
    const float d = fmaf(k->weight_decay, *p, k->grad_scale * g);
    const float new_b = fmaf(k->momentum, *b, k->gradient_share * d);
    const float step = k->nesterov != 0.0f ? fmaf(k->momentum, new_b, k->nesterov * d) : new_b;
    *b = new_b;
    *p = fmaf(-k->lr, step, *p);
}

#endif
