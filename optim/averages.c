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

/* Whether something else than the tensor's parameters is shown. */
static bool has_point(const Optim *optim, const Tensor *tensor)
{
    const bool tail = optim->averages.config.tail != 0 && has_tail(optim, tensor);
    return tail || optim->groups[groups_of(optim, tensor)].rule->shown != NULL;
}

void averages_lay_out(Optim *optim, bool place)
{
    Averages *a = &optim->averages;
    if (a->config.nesterov != 0)
        a->change = optim_add_arena(optim, place, "change", NULL);
    if (a->config.tail != 0)
        a->tail = optim_add_arena(optim, place, "tail", has_tail);
    a->point = optim_add_arena(optim, place, "point", has_point);
    if (a->config.muloco != 0) {
        a->snapshot = optim_add_arena(optim, place, "snapshot", NULL);
        a->outer = optim_add_arena(optim, place, "outer", NULL);
    }
}

int averages_resolve(Optim *optim, const OptimConfig *config, Error *e)
{
    OptimAveraging *a = &optim->averages.config;
    *a = config->averaging;
    const char *around = a->tail > 0 ? "tail-ema" : a->muloco > 0 ? "muloco" : a->nesterov != 0 ? "ema-nesterov" : NULL;
    for (size_t i = 0; i < optim->group_count; i++)
        if (around != NULL && optim->groups[i].rule->shown != NULL)
            return error_set(e, "--%s: %s shows an average of its own, which that would shift", around,
                             optim->groups[i].rule->name);
    if (a->nesterov == 0 && (a->nesterov_from > 0 || a->nesterov_until > 0))
        return error_set(e, "--ema-nesterov-from and --ema-nesterov-until need --ema-nesterov");
    if (a->nesterov != 0 && a->nesterov_decay >= 1)
        return error_set(e, "--ema-nesterov-decay %g would never take a change in; it must be below 1",
                         a->nesterov_decay);
    if (a->nesterov_until > 0 && a->nesterov_from >= a->nesterov_until)
        return error_set(e, "--ema-nesterov-from %zu must be below --ema-nesterov-until %zu", a->nesterov_from,
                         a->nesterov_until);
    if (a->muloco > 0 && a->muloco_momentum >= 1)
        return error_set(e, "--muloco-momentum %g: it must be below 1", a->muloco_momentum);
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

void averages_snapshot(Optim *optim)
{
    size_t at = 0;
    if (optim->averages.config.muloco == 0 || optim->steps_done > 0)
        return;
    for (const Stretch *s = optim->stretches; s < optim->stretches + optim->stretch_count; s++) {
        verb_scale(optim->on, s->n, optim->averages.snapshot + at, optim->arenas.params + s->offset, 1);
        at += s->n;
    }
}

void averages_outer_step(Optim *optim)
{
    const Averages *a = &optim->averages;
    const double rate = a->config.muloco_rate, momentum = a->config.muloco_momentum;
    size_t at = 0;
    if (a->config.muloco == 0 || optim->steps_done % a->config.muloco != 0)
        return;
    for (const Stretch *s = optim->stretches; s < optim->stretches + optim->stretch_count; s++) {
        float *param = optim->arenas.params + s->offset, *snapshot = a->snapshot + at, *outer = a->outer + at;
        verb_add(optim->on, s->n, outer, snapshot, momentum, rate);
        verb_add(optim->on, s->n, outer, param, 1, -rate);
        verb_add(optim->on, s->n, param, snapshot, rate, 1 - rate);
        verb_add(optim->on, s->n, param, outer, 1, -momentum);
        verb_scale(optim->on, s->n, snapshot, param, 1);
        at += s->n;
    }
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

static bool has_any_point(const Optim *optim)
{
    bool any = false;
    for (const Tensor *t = optim->tensors; t < optim->tensors + optim->tensor_count; t++)
        any = any || has_point(optim, t);
    return any;
}

/* The points that the group's rule shows. */
static void show_points(const Optim *optim, const OptimGroup *g)
{
    double of_param, of_state;
    g->rule->shown(&g->hyper, optim->steps_done, &of_param, &of_state);
    for (const OptimSlot *slot = g->slots; slot < g->slots + g->count; slot++)
        verb_add(optim->on, slot->rows * slot->cols, slot->param, slot->state[g->rule->shown_state], of_param,
                 of_state);
}

void optim_show(Optim *optim)
{
    const Averages *a = &optim->averages;
    const bool tail = a->config.tail != 0 && a->tail_began > 0;
    size_t at = 0, tail_at = 0;
    if (!has_any_point(optim))
        return;
    for (const Stretch *s = optim->stretches; s < optim->stretches + optim->stretch_count; s++) {
        float *param = optim->arenas.params + s->offset;
        if (!has_point(optim, s->tensor))
            continue;
        verb_scale(optim->on, s->n, a->point + at, param, 1);
        at += s->n;
        if (!tail || !has_tail(optim, s->tensor))
            continue;
        verb_add(optim->on, s->n, param, a->tail + tail_at, 1 - a->config.tail_share, a->config.tail_share);
        tail_at += s->n;
    }
    for (size_t i = 0; i < optim->group_count && optim->steps_done > 0; i++)
        if (optim->groups[i].rule->shown != NULL)
            show_points(optim, &optim->groups[i]);
    optim_wrote(optim);
}

void optim_hide(Optim *optim)
{
    size_t at = 0;
    if (!has_any_point(optim))
        return;
    for (const Stretch *s = optim->stretches; s < optim->stretches + optim->stretch_count; s++) {
        if (!has_point(optim, s->tensor))
            continue;
        verb_scale(optim->on, s->n, optim->arenas.params + s->offset, optim->averages.point + at, 1);
        at += s->n;
    }
    optim_wrote(optim);
}
