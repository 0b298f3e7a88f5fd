#ifndef OPTIM_RULES_ADOPT_MATH_H
#define OPTIM_RULES_ADOPT_MATH_H

#include "optim/verbs/decay.h"

#include <math.h>

/* Constants of one step. */
typedef struct AdoptScalars {
    float grad_scale, lr;
    float beta1, one_minus_beta1, beta2, one_minus_beta2;
    float eps;
    float limit; /* of the normalised gradient */
    Decay decay;
} AdoptScalars;

/* Taniguchi et al. 2024, algorithm 2: n = g / max(sqrt(v), eps) with the v of earlier gradients, held within +-limit;
 * m = b1 m + (1-b1) n;  p = (1 - lr wd) p - lr m;  v = b2 v + (1-b2) g^2.  A NaN propagates. */
static inline HD void adopt_element(float *p, float g, float *m, float *v, const AdoptScalars *k)
{
    const float scaled = k->grad_scale * g, root = sqrtf(*v);
    const float n = scaled / (root < k->eps ? k->eps : root);
    const float held = n > k->limit ? k->limit : n < -k->limit ? -k->limit : n;
    const float new_m = fmaf(k->beta1, *m, k->one_minus_beta1 * held);
    *m = new_m;
    *v = fmaf(k->beta2, *v, k->one_minus_beta2 * scaled * scaled);
    *p = fmaf(decay_keep(*p, new_m, &k->decay), *p, -k->lr * new_m);
}

#endif
