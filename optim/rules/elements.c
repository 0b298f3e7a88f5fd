#include "optim/rules/elements.h"

size_t elements_states(const OptimSlot *slot, float *states[OPTIM_ELEMENT_STATES])
{
    size_t count = 0;
    for (size_t k = 0; k < OPTIM_STATES_MAX && count < OPTIM_ELEMENT_STATES; k++)
        if (slot->state[k] != NULL)
            states[count++] = slot->state[k];
    return count;
}

void elements_step(const OptimGroup *group, const OptimStep *step, bool ahead)
{
    const OptimRule *rule = group->rule;
    float k[OPTIM_SCALARS_MAX] = {0}, *states[OPTIM_ELEMENT_STATES];
    if (group->count == 0) /* other ranks have its tensors */
        return;
    rule->scalars(step, k);
    elements_run(group->on, ahead ? rule->look_ahead : rule->elements[elements_states(group->slots, states)],
                 group->slots, group->count, k);
}
