#ifndef OPTIM_VERBS_DECAY_H
#define OPTIM_VERBS_DECAY_H

#include "base/hd.h"

/*
 * Decoupled weight decay: p = keep p - step u with the old p. Cautious decay (Chen et al. 2025) skips elements that
 * the step moves away from zero: keep is 1 where u p < 0.
 */
typedef struct Decay {
    float keep;      /* 1 - lr weight_decay */
    float keep_away; /* where the step makes the element larger */
} Decay;

static inline HD float decay_keep(float p, float u, const Decay *decay)
{
    const float keep = decay->keep, keep_away = decay->keep_away; /* reading both avoids a branch */
    return u * p >= 0.0f ? keep : keep_away;
}

#endif
