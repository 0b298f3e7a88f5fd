#include "optim/rules/elements.h"

/* All slots' elements, cut into stretches of fixed length that the threads share: `elements` of the rule or, when
 * ahead, its `look_ahead`. */
void elements_step(const OptimGroup *g, const OptimStep *step, bool ahead)
{
    enum { STRETCH = 1 << 15 };
    float k[OPTIM_SCALARS_MAX];
    g->rule->scalars(step, k);
#pragma omp parallel
    for (const OptimSlot *slot = g->slots; slot < g->slots + g->count; slot++) {
        const size_t n = slot->rows * slot->cols;
#pragma omp for schedule(static) nowait
        for (size_t begin = 0; begin < n; begin += STRETCH) {
            const size_t stretch = n - begin < STRETCH ? n - begin : STRETCH;
            float *state[OPTIM_STATES_MAX];
            for (size_t s = 0; s < OPTIM_STATES_MAX; s++)
                state[s] = slot->state[s] != NULL ? slot->state[s] + begin : NULL;
            if (ahead)
                g->rule->look_ahead(stretch, slot->param + begin, state, k);
            else
                g->rule->elements(stretch, slot->param + begin, slot->grad + begin, state, k);
        }
    }
}
