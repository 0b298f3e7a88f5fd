#ifndef OPTIM_RULES_ADAMW_H
#define OPTIM_RULES_ADAMW_H

#include "optim/rule.h"
#include "optim/rules/adamw_math.h"

/* The constants of a step with coupled decay `l2` and decoupled decay `decay`. Options that the rule does not use (eps
 * mode, bias correction, initial moments) are as in PyTorch. */
AdamwScalars adamw_scalars_of(const OptimStep *step, double l2, Decay decay);

#endif
