#include "optim/optim_private.h"

#include <math.h>

/* Whether the tail average has the tensor: all but a token embedding that is not also the head. */
static bool has_tail(const Optim *optim, const Tensor *tensor)
{
    bool head = false;
    for (const Tensor *t = optim->tensors; t < optim->tensors + optim->tensor_count; t++)
        head = head || t->role == ROLE_HEAD;
    return tensor->role != ROLE_TOKEN_EMBEDDING || !head;
}

/* Adds one arena, stretch after stretch, of all tensors or of those that the tail average has. */
static float *lay_out_average(Optim *optim, const char *name, bool all, bool place)
{
    float *arena = place ? optim->state_arena + optim->state_floats : NULL;
    for (const Tensor *t = optim->tensors; t < optim->tensors + optim->tensor_count; t++)
        if (all || has_tail(optim, t))
            optim_add_state(optim, place, t, name, t->rows, t->cols);
    return arena;
}

void averages_lay_out(Optim *optim, bool place)
{
    Averages *a = &optim->averages;
    if (a->config.nesterov != 0)
        a->change = lay_out_average(optim, "change", true, place);
    if (a->config.tail != 0) {
        a->tail = lay_out_average(optim, "tail", false, place);
        a->point = lay_out_average(optim, "point", false, place);
    }
}

int averages_resolve(Optim *optim, const OptimConfig *config, Error *e)
{
    OptimAveraging *a = &optim->averages.config;
    *a = config->averaging;
    if (a->nesterov == 0 && (a->nesterov_from > 0 || a->nesterov_until > 0))
        return error_set(e, "--ema-nesterov-from and --ema-nesterov-until need --ema-nesterov");
    if (a->nesterov != 0 && a->nesterov_decay >= 1)
        return error_set(e, "--ema-nesterov-decay %g would never take a change in; it must be below 1",
                         a->nesterov_decay);
    if (a->nesterov_until > 0 && a->nesterov_from >= a->nesterov_until)
        return error_set(e, "--ema-nesterov-from %zu must be below --ema-nesterov-until %zu", a->nesterov_from,
                         a->nesterov_until);
    if (a->tail == 0 && a->tail_from > 0)
        return error_set(e, "--tail-ema-from %zu needs --tail-ema", a->tail_from);
    if (a->tail_from > 0 && config->steps > 0 && a->tail_from > config->steps)
        return error_set(e, "--tail-ema-from %zu is after the last of %zu steps", a->tail_from, config->steps);
    if (a->tail == 0 || a->tail_from > 0)
        return 0;
    if (config->steps <= 2 * a->tail)
        return error_set(e,
                         "--tail-ema %zu begins two such lengths before the end, and the run has only %zu steps; give "
                         "--tail-ema-from",
                         a->tail, config->steps);
    a->tail_from = config->steps - 2 * a->tail;
    return 0;
}

void averages_shift(Optim *optim)
{
    const Averages *a = &optim->averages;
    const size_t done = optim->steps_done, until = a->config.nesterov_until;
    const bool inside = done >= a->config.nesterov_from && (until == 0 || done < until);
    const double factor = isnan(a->factor) ? optim->aux_factor : a->factor;
    size_t at = 0;
    for (const Stretch *s = optim->stretches; s < optim->stretches + optim->stretch_count; s++) {
        if (inside)
            verb_add(optim->on, s->n, optim->arenas.params + s->offset, a->change + at, 1, a->config.nesterov * factor);
        at += s->n;
    }
}

/* What a slot of this rank was before the step. */
static const float *previous_of(const Optim *optim, const OptimSlot *slot)
{
    const size_t offset = slot->tensor->offset + slot->first;
    const float *previous = optim->previous;
    const Stretch *s = optim->stretches;
    for (; s->offset > offset || offset - s->offset >= s->n; s++)
        previous += s->n;
    return previous + (offset - s->offset);
}

void averages_pin_norms(const Optim *optim, const OptimGroup *g)
{
    for (const OptimSlot *slot = g->slots; slot < g->slots + g->count; slot++) {
        const size_t n = slot->rows * slot->cols;
        const double want = verb_sum_squares(optim->on, n, previous_of(optim, slot)),
                     have = verb_sum_squares(optim->on, n, slot->param);
        if (have > 0)
            verb_scale(optim->on, n, slot->param, slot->param, sqrt(want / have));
    }
}

size_t averages_guess_tail(const Optim *optim)
{
    const Averages *a = &optim->averages;
    size_t n = 0;
    for (const Stretch *s = optim->stretches; s < optim->stretches + optim->stretch_count; s++)
        n += has_tail(optim, s->tensor) ? s->n : 0;
    return a->config.tail != 0 && verb_sum_squares(optim->on, n, a->tail) > 0 ? optim->steps_done : 0;
}

void averages_update(Optim *optim)
{
    Averages *a = &optim->averages;
    const double decay = a->config.nesterov_decay, kept = 1 - 1 / (double)a->config.tail;
    const bool tail = a->config.tail != 0 && optim->steps_done >= a->config.tail_from;
    size_t at = 0, tail_at = 0;
    for (const Stretch *s = optim->stretches; s < optim->stretches + optim->stretch_count; s++) {
        const size_t n = s->n;
        const float *param = optim->arenas.params + s->offset;
        if (a->config.nesterov != 0) {
            verb_add(optim->on, n, optim->previous + at, param, -1, 1);
            verb_add(optim->on, n, a->change + at, optim->previous + at, decay, 1 - decay);
        }
        at += n;
        if (!tail || !has_tail(optim, s->tensor))
            continue;
        if (a->tail_began == 0)
            verb_scale(optim->on, n, a->tail + tail_at, param, 1);
        else
            verb_add(optim->on, n, a->tail + tail_at, param, kept, 1 - kept);
        tail_at += n;
    }
    a->factor = optim->aux_factor;
    if (tail && a->tail_began == 0)
        a->tail_began = optim->steps_done;
}

void optim_show(Optim *optim)
{
    const Averages *a = &optim->averages;
    size_t at = 0;
    if (a->config.tail == 0)
        return;
    for (const Stretch *s = optim->stretches; s < optim->stretches + optim->stretch_count; s++) {
        float *param = optim->arenas.params + s->offset;
        if (!has_tail(optim, s->tensor))
            continue;
        verb_scale(optim->on, s->n, a->point + at, param, 1);
        if (a->tail_began > 0)
            verb_add(optim->on, s->n, param, a->tail + at, 1 - a->config.tail_share, a->config.tail_share);
        at += s->n;
    }
    optim_wrote(optim);
}

void optim_hide(Optim *optim)
{
    const Averages *a = &optim->averages;
    size_t at = 0;
    if (a->config.tail == 0)
        return;
    for (const Stretch *s = optim->stretches; s < optim->stretches + optim->stretch_count; s++) {
        if (!has_tail(optim, s->tensor))
            continue;
        verb_scale(optim->on, s->n, optim->arenas.params + s->offset, a->point + at, 1);
        at += s->n;
    }
    optim_wrote(optim);
}
