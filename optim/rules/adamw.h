#ifndef OPTIM_RULES_ADAMW_H
#define OPTIM_RULES_ADAMW_H

#include "optim/rule.h"
#include "optim/rules/adamw_math.h"

/* The constants of a step with a coupled decay `l2` and a decoupled one. Options that the rule does not use (eps modes,
 * bias correction, the moments' first values) count as PyTorch has them. */
AdamwScalars adamw_scalars_of(const OptimStep *step, double l2, Decay decay);

#endif
