/* Sums over all tensors of a rule (OptimRule.measure): of each unit by the rank that has it, then in the units' order,
 * so that they do not depend on the number of ranks. */
#include "optim/optim_private.h"

#include "optim/rules/elements.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static bool measures(const OptimGroup *g) { return g->rule->measure != NULL; }

int measure_check(const Optim *optim, Error *e)
{
    const OptimGroup *first = NULL;
    for (const OptimGroup *g = optim->groups; g < optim->groups + optim->group_count; g++) {
        if (!measures(g))
            continue;
        if (first == NULL)
            first = g;
        assert(g->rule == first->rule); /* the numbers that groups have in common are those of one rule */
        if (g->rule->agree(&first->hyper, &g->hyper, e) != 0)
            return -1;
    }
    return 0;
}

/* The unit as a slot of its own. */
static OptimSlot slot_of(const OptimGroup *g, const Unit *u)
{
    const OptimSlot *in = g->slots;
    while (in->tensor != u->tensor || u->first < in->first || u->first >= in->first + in->cols)
        in++;
    const size_t shift = u->first - in->first;
    OptimSlot slot = *in;
    slot.first = u->first;
    slot.cols = u->n;
    slot.param += shift;
    slot.grad += shift;
    for (size_t k = 0; k < OPTIM_STATES_MAX; k++)
        slot.state[k] = slot.state[k] != NULL ? slot.state[k] + shift : NULL;
    return slot;
}

static bool is_own(const Optim *optim, const Unit *u) { return u->rank == optim->ranks.rank; }

int measure_make(Optim *optim, Error *e)
{
    Measure *m = &optim->measure;
    size_t count = 0;
    m->slots = calloc(optim->unit_count + 1, sizeof *m->slots);
    m->sums = calloc(2 * (optim->unit_count + 1), sizeof *m->sums);
    if (m->slots == NULL || m->sums == NULL)
        return error_set(e, "out of memory for the optimizer's sums");
    for (size_t i = 0; i < optim->group_count; i++) {
        const OptimGroup *g = &optim->groups[i];
        for (const Unit *u = optim->units; u < optim->units + optim->unit_count && measures(g); u++)
            if (u->group == i && is_own(optim, u))
                m->slots[count++] = slot_of(g, u);
    }
    return 0;
}

void measure_free(Optim *optim)
{
    free(optim->measure.slots);
    free(optim->measure.sums);
}

/* The sums of this rank's units, in order of all units; those of other ranks, and of other rules, are 0. */
static void sum_own(Optim *optim, double grad_scale)
{
    const Measure *m = &optim->measure;
    double(*own)[OPTIM_SUMS] = m->sums + optim->unit_count;
    const OptimSlot *slots = m->slots;
    memset(m->sums, 0, optim->unit_count * sizeof *m->sums);
    for (size_t i = 0; i < optim->group_count; i++) {
        const OptimGroup *g = &optim->groups[i];
        float k[OPTIM_SCALARS_MAX] = {0};
        size_t count = 0;
        if (!measures(g))
            continue;
        for (const Unit *u = optim->units; u < optim->units + optim->unit_count; u++)
            count += u->group == i && is_own(optim, u);
        const OptimStep step = optim_step_of(optim, g, grad_scale);
        g->rule->scalars(&step, k);
        elements_measure(g->on, g->rule->measure, slots, count, k, own);
        slots += count;
        for (size_t n = 0, at = 0; n < optim->unit_count; n++)
            if (optim->units[n].group == i && is_own(optim, &optim->units[n]))
                memcpy(m->sums[n], own[at++], sizeof *own);
    }
}

void measure_step(Optim *optim, double grad_scale)
{
    Measure *m = &optim->measure;
    double total[OPTIM_SUMS] = {0};
    const OptimGroup *g = optim->groups;
    while (g < optim->groups + optim->group_count && !measures(g))
        g++;
    if (g == optim->groups + optim->group_count)
        return;
    memcpy(m->before, m->common, sizeof m->before);
    sum_own(optim, grad_scale);
    comm_sum(optim->comm, m->sums[0], OPTIM_SUMS * optim->unit_count);
    for (size_t n = 0; n < optim->unit_count; n++)
        for (size_t i = 0; i < OPTIM_SUMS; i++)
            total[i] += m->sums[n][i];
    const OptimStep step = optim_step_of(optim, g, grad_scale); /* any group's: what matters is the same in all */
    g->rule->conclude(&step, total, m->common);
}
