#include "optim/optim_private.h"

void optim_scale(Optim *optim, const OptimScaling *list, size_t count)
{
    optim->scalings = list;
    optim->scaling_count = count;
}

/* The part of a slot that a scaling has, and the same rows of its states. */
static void scale_slot(const OptimGroup *g, const OptimSlot *slot, const OptimScaling *scaling)
{
    const size_t at = slot->tensor->offset + slot->first, size = slot->rows * slot->cols;
    const size_t begin = scaling->first > at ? scaling->first : at;
    const size_t end = scaling->first + scaling->n < at + size ? scaling->first + scaling->n : at + size;
    if (begin >= end)
        return;
    verb_scale(g->on, end - begin, slot->param + (begin - at), slot->param + (begin - at), scaling->factor);
    for (size_t k = 0; k < OPTIM_STATES_MAX; k++) {
        const OptimStateSpec *spec = &g->rule->states[k];
        if (!spec->is_weight || slot->state[k] == NULL)
            continue;
        const OptimShape shape = spec->shape(&g->hyper, slot->rows, slot->cols);
        const size_t per = size / (shape.rows * shape.cols); /* parameters that share a float */
        float *state = slot->state[k] + (begin - at) / per;
        verb_scale(g->on, (end - begin) / per, state, state, scaling->factor);
    }
}

void scaling_apply(Optim *optim)
{
    for (const OptimGroup *g = optim->groups; g < optim->groups + optim->group_count; g++)
        for (const OptimSlot *slot = g->slots; slot < g->slots + g->count; slot++)
            for (size_t i = 0; i < optim->scaling_count; i++)
                scale_slot(g, slot, &optim->scalings[i]);
    optim->scaling_count = 0;
}
