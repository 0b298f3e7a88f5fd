#ifndef OPTIM_RULES_ELEMENTS_H
#define OPTIM_RULES_ELEMENTS_H

#include "optim/rule.h"

/* Updates all elements of a group by its elementwise rule; or, when ahead, moves them to where its gradient is to be
 * taken. The result does not depend on how the elements are dealt out. */
void elements_step(const OptimGroup *group, const OptimStep *step, bool ahead);

#endif
