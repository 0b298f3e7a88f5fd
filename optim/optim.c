#include "optim/optim_private.h"

#include "base/clock.h"
#include "optim/hyper_schedule.h"
#include "optim/rules/batch.h"
#include "optim/rules/elements.h"
#include "optim/sensitivity.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --------------------------------------------------------------------------------------------------------------
 * State
 */

/* A unit's part of a state of `all` floats. */
static CommPiece part_of(const Unit *u, size_t all)
{
    const size_t n = tensor_size(u->tensor), blocks = n / u->n;
    if (all == n)
        return (CommPiece){u->first, u->n, u->rank};
    return (CommPiece){u->first / u->n * (all / blocks), all / blocks, u->rank};
}

float *optim_add_state(Optim *optim, bool place, const Tensor *tensor, const char *name, size_t rows, size_t cols)
{
    float *const data = place ? optim->state_arena + optim->state_floats : NULL;
    if (place) {
        OptimState *state = &optim->states[optim->state_count];
        *state = (OptimState){.rows = rows, .cols = cols, .data = data};
        snprintf(state->name, sizeof state->name, "%s.%s", tensor->name, name);
    }
    bool touches = false;
    for (const Unit *u = optim->units; u < optim->units + optim->unit_count; u++) {
        if (u->tensor != tensor)
            continue;
        const CommPiece piece = part_of(u, rows * cols);
        StatePart *last = touches && place ? &optim->parts[optim->part_count - 1] : NULL;
        const bool same = last != NULL && last->piece.rank == u->rank;
        if (same)
            last->piece.n += piece.n;
        else if (place)
            optim->parts[optim->part_count] =
                (StatePart){optim->state_count, piece, optim->state_arena + optim->state_floats};
        optim->part_count += !same;
        touches = true;
        optim->state_floats += u->rank == optim->ranks.rank ? piece.n : 0;
    }
    optim->state_count++;
    return data;
}

float *optim_add_arena(Optim *optim, bool place, const char *name, bool (*has)(const Optim *, const Tensor *))
{
    float *arena = place ? optim->state_arena + optim->state_floats : NULL;
    for (const Tensor *t = optim->tensors; t < optim->tensors + optim->tensor_count; t++)
        if (has == NULL || has(optim, t))
            optim_add_state(optim, place, t, name, t->rows, t->cols);
    return arena;
}

/* State k of all tensors of a group, contiguously, so that those of same-shaped slots form one batch; a tensor's state
 * stacks those of its slots. */
static void lay_out_group(Optim *optim, OptimGroup *g, bool place)
{
    const OptimStateSpec *specs = g->rule->states;
    for (size_t k = 0; k < OPTIM_STATES_MAX && specs[k].name != NULL; k++) {
        OptimSlot *slot = g->slots;
        for (size_t i = 0; i < g->tensor_count; i++) {
            const Tensor *t = g->tensors[i];
            const OptimShape shape = groups_state(g, t, &specs[k]);
            const size_t all = shape.rows * shape.cols;
            float *data = all > 0 ? optim_add_state(optim, place, t, specs[k].name, shape.rows, shape.cols) : NULL;
            for (; slot < g->slots + g->count && slot->tensor == t; slot++) {
                slot->state[k] = data;
                data += data != NULL ? slot->rows * slot->cols * all / tensor_size(t) : 0;
            }
        }
    }
}

static void lay_out_state(Optim *optim, bool place)
{
    optim->state_floats = optim->state_count = optim->part_count = 0;
    for (size_t i = 0; i < optim->group_count; i++)
        lay_out_group(optim, &optim->groups[i], place);
    if (optim_wants_previous(optim, 0))
        optim->previous_point = optim_add_arena(optim, place, "previous_point", NULL);
    averages_lay_out(optim, place);
}

/* Whether a step begins by moving the parameters. */
static bool looks_ahead(const Optim *optim)
{
    bool any = optim->averages.config.nesterov != 0;
    for (size_t i = 0; i < optim->group_count; i++)
        any = any || optim->groups[i].rule->look_ahead != NULL;
    return any;
}

/* Sizes of state and workspace, before allocation. */
static void measure_state(Optim *optim)
{
    lay_out_state(optim, false);
    for (size_t i = 0; i < optim->group_count; i++) {
        const size_t n = batch_workspace(&optim->groups[i]);
        optim->workspace_floats = n > optim->workspace_floats ? n : optim->workspace_floats;
    }
    if (looks_ahead(optim))
        optim->previous_floats = comm_share(optim->pieces, optim->piece_count, optim->ranks.rank);
}

static int make_state(Optim *optim, Error *e)
{
    optim->states = calloc(optim->state_count + 1, sizeof *optim->states);
    optim->parts = calloc(optim->part_count + 1, sizeof *optim->parts);
    optim->gradients = calloc(optim->unit_count + 1, sizeof *optim->gradients);
    optim->squares = calloc(2 * optim->unit_count + 1, sizeof *optim->squares);
    if (optim->states == NULL || optim->parts == NULL || optim->gradients == NULL || optim->squares == NULL)
        return error_set(e, "out of memory for the optimizer's state");
    size_t own = 0;
    for (const Unit *u = optim->units; u < optim->units + optim->unit_count; u++)
        if (u->rank == optim->ranks.rank)
            optim->gradients[own++] = (Floats){optim->arenas.grads + u->tensor->offset + u->first, u->n};
    if (verb_alloc(optim->on, optim->state_floats, "the optimizer's state", &optim->state_arena, e) != 0 ||
        verb_alloc(optim->on, optim->workspace_floats, "the optimizer's workspace", &optim->workspace, e) != 0 ||
        verb_alloc(optim->on, optim->previous_floats, "the parameters before a step", &optim->previous, e) != 0 ||
        verb_alloc(optim->on, optim->rounding_floats, "rounded parameters", &optim->rounding, e) != 0)
        return -1;
    lay_out_state(optim, true);
    for (size_t i = 0; i < optim->group_count; i++) {
        OptimGroup *g = &optim->groups[i];
        g->workspace = optim->workspace;
        if (g->rule->init != NULL)
            g->rule->init(g);
    }
    return measure_make(optim, e);
}

int optim_create(const OptimConfig *config, const Tensor *tensors, size_t tensor_count, const Arenas *arenas,
                 Optim **out, Error *e)
{
    *out = NULL;
    if (sensitivity_check(config->sensitivity, tensors, tensor_count, e) != 0)
        return -1;
    Optim *optim = calloc(1, sizeof *optim);
    OptimGroup *groups = calloc(tensor_count + 1, sizeof *groups);
    if (optim == NULL || groups == NULL) {
        free(optim);
        free(groups);
        return error_set(e, "out of memory");
    }
    *optim = (Optim){.groups = groups,
                     .tensors = tensors,
                     .tensor_count = tensor_count,
                     .steps = config->planned > 0 ? config->planned : config->steps,
                     .comm = config->comm,
                     .ranks = comm_ranks(config->comm),
                     .averages.factor = 1,
                     .lr_factor = 1,
                     .aux_factor = 1};
    int status = 0;
    if (arenas != NULL) {
        optim->arenas = *arenas;
        status = verbs_create(arenas->stream, &optim->on, e);
    }
    if (status == 0)
        status = groups_make(optim, config, e);
    if (status == 0)
        status = averages_resolve(optim, config, e);
    if (status == 0)
        status = measure_check(optim, e);
    if (status == 0)
        status = shares_make(optim, config->rounds, e);
    if (status == 0)
        measure_state(optim);
    if (status == 0 && arenas != NULL)
        status = make_state(optim, e);
    if (status != 0) {
        optim_free(optim);
        return -1;
    }
    *out = optim;
    return 0;
}

void optim_free(Optim *optim)
{
    if (optim == NULL)
        return;
    groups_free(optim);
    measure_free(optim);
    free(optim->units);
    free(optim->pieces);
    free(optim->rounded);
    free(optim->stretches);
    free(optim->states);
    free(optim->parts);
    free(optim->gradients);
    free(optim->squares);
    verb_free(optim->on, optim->state_arena);
    verb_free(optim->on, optim->workspace);
    verb_free(optim->on, optim->previous);
    verb_free(optim->on, optim->rounding);
    verbs_free(optim->on);
    free(optim);
}

/* --------------------------------------------------------------------------------------------------------------
 * A step
 */

size_t optim_pieces(const Optim *optim, const CommPiece **pieces)
{
    *pieces = optim->pieces;
    return optim->piece_count;
}

/* Puts the sums of squares of all units into optim->squares: each rank's, one after the other, then in order. */
static void sum_units(const Optim *optim)
{
    const size_t n = optim->unit_count;
    double *own = optim->squares + n;
    size_t count = 0;
    for (const Unit *u = optim->units; u < optim->units + n; u++)
        count += u->rank == optim->ranks.rank;
    verb_sums_of_squares(optim->on, count, optim->gradients, own);
    for (size_t i = 0; i < n; i++)
        optim->squares[i] = optim->units[i].rank == optim->ranks.rank ? *own++ : 0;
    comm_sum(optim->comm, optim->squares, n);
}

double optim_grad_norm(const Optim *optim, const Tensor **culprit)
{
    double total = 0;
    if (culprit != NULL)
        *culprit = NULL;
    sum_units(optim);
    for (size_t i = 0; i < optim->unit_count; i++) {
        if (!isfinite(optim->squares[i]) && culprit != NULL && *culprit == NULL)
            *culprit = optim->units[i].tensor;
        total += optim->squares[i];
    }
    return sqrt(total);
}

int optim_check_parameters(const Optim *optim, Error *e)
{
    for (const Unit *u = optim->units; u < optim->units + optim->unit_count; u++) {
        const OptimRule *rule = optim->groups[u->group].rule;
        if (rule->keeps_norm &&
            verb_sum_squares(optim->on, u->n, optim->arenas.params + u->tensor->offset + u->first) == 0)
            return error_set(e, "%s keeps the norm of each matrix, and %s is zero: it would stay zero", rule->name,
                             u->tensor->name);
    }
    return 0;
}

OptimStep optim_step_of(const Optim *optim, const OptimGroup *g, double grad_scale)
{
    OptimStep step = {.hyper = g->hyper, .grad_scale = grad_scale, .t = optim->steps_done + 1, .steps = optim->steps};
    if (!g->rule->own_schedule)
        hyper_set(&step.hyper, HYPER_LR, hyper(&g->hyper, HYPER_LR) * (g->aux ? optim->aux_factor : optim->lr_factor));
    hyper_schedule(&step.hyper, optim->steps_done, optim->steps);
    memcpy(step.before, optim->measure.before, sizeof step.before);
    memcpy(step.common, optim->measure.common, sizeof step.common);
    return step;
}

/* The hidden matrices, rounded: each rank's own stay what they are. */
static void gather_rounded(Optim *optim)
{
    float *params = optim->arenas.params;
    for (size_t i = 0; i < optim->hidden_count; i++) {
        const CommPiece *p = &optim->pieces[i];
        if (p->rank == optim->ranks.rank)
            verb_to_bf16(optim->on, (Mats){params + p->first, 1, p->n, 1}, NULL, 1, 0,
                         (Bf16s){optim->rounding + optim->rounded[i].first, 1, p->n, 1});
    }
    comm_all_gather(optim->comm, optim->rounding, optim->rounded, optim->hidden_count, optim->arenas.stream);
    for (size_t i = 0; i < optim->hidden_count; i++) {
        const CommPiece *p = &optim->pieces[i];
        if (p->rank != optim->ranks.rank)
            verb_from_bf16(optim->on, (Bf16s){optim->rounding + optim->rounded[i].first, 1, p->n, 1},
                           (Mats){params + p->first, 1, p->n, 1});
    }
}

void optim_gather(Optim *optim)
{
    if (optim->rounded != NULL)
        comm_all_gather(optim->comm, optim->arenas.params, optim->pieces, optim->hidden_count, optim->arenas.stream);
}

void optim_wrote(Optim *optim)
{
    const size_t sent = optim->rounded != NULL ? optim->hidden_count : 0;
    if (optim->rounded != NULL)
        gather_rounded(optim);
    comm_all_gather(optim->comm, optim->arenas.params, optim->pieces + sent, optim->piece_count - sent,
                    optim->arenas.stream);
    if (optim->arenas.version != NULL)
        ++*optim->arenas.version;
}

double optim_bytes_sent(const Optim *optim)
{
    const double world = (double)optim->ranks.world;
    size_t gradients = 0, parameters = 0;
    for (size_t i = 0; i < optim->piece_count; i++) {
        gradients += optim->pieces[i].n;
        parameters += optim->rounded != NULL && i < optim->hidden_count ? optim->rounded[i].n : optim->pieces[i].n;
    }
    const size_t floats =
        optim_wants_previous(optim, 0) ? 2 * gradients + 3 * parameters : gradients + parameters; /* swapped twice */
    return (world - 1) / world * (double)floats * sizeof(float);
}

/* Copies this rank's parameters to optim->previous, or back. */
static void copy_parameters(Optim *optim, bool back)
{
    float *previous = optim->previous;
    for (const Stretch *s = optim->stretches; optim->previous_floats > 0 && s < optim->stretches + optim->stretch_count;
         s++) {
        float *params = optim->arenas.params + s->offset;
        verb_scale(optim->on, s->n, back ? params : previous, back ? previous : params, 1);
        previous += s->n;
    }
}

/* Copies this rank's parameters, where the gradient was taken, for the next step; or swaps them with those kept. */
static void keep_point(Optim *optim, bool swap)
{
    float *kept = optim->previous_point;
    for (const Stretch *s = optim->stretches; kept != NULL && s < optim->stretches + optim->stretch_count; s++) {
        float *params = optim->arenas.params + s->offset;
        if (swap)
            verb_swap(optim->on, s->n, params, kept);
        else
            verb_scale(optim->on, s->n, kept, params, 1);
        kept += s->n;
    }
}

void optim_abandon(Optim *optim)
{
    copy_parameters(optim, true);
    optim_wrote(optim);
}

void optim_begin(Optim *optim, double lr_factor, double aux_factor)
{
    optim->lr_factor = lr_factor;
    optim->aux_factor = aux_factor;
    averages_snapshot(optim);
    copy_parameters(optim, false);
    if (optim->averages.config.nesterov != 0)
        averages_shift(optim);
    for (size_t i = 0; i < optim->group_count; i++) {
        const OptimGroup *g = &optim->groups[i];
        if (g->rule->look_ahead == NULL)
            continue;
        const OptimStep step = optim_step_of(optim, g, 1);
        elements_step(g, &step, true);
    }
    if (looks_ahead(optim))
        optim_wrote(optim);
}

void optim_step(Optim *optim, double grad_scale)
{
    keep_point(optim, false);
    measure_step(optim, grad_scale);
    for (size_t i = 0; i < optim->group_count; i++) {
        OptimGroup *g = &optim->groups[i];
        const double begin = clock_seconds();
        const OptimStep step = optim_step_of(optim, g, grad_scale);
        if (g->rule->scalars != NULL)
            elements_step(g, &step, false);
        else
            batch_step(g, &step);
        if (g->rule->keeps_norm && optim->averages.config.nesterov != 0)
            averages_pin_norms(optim, g);
        g->seconds = clock_seconds() - begin;
    }
    optim->steps_done++;
    averages_outer_step(optim);
    scaling_apply(optim);
    optim_wrote(optim);
    averages_update(optim);
}

static bool wants_drawn(const OptimGroup *g, size_t step)
{
    return g->rule->drawn != NULL && step % (size_t)hyper(&g->hyper, HYPER_REFRESH) == 0;
}

bool optim_wants_drawn(const Optim *optim, size_t step)
{
    bool any = false;
    for (size_t i = 0; i < optim->group_count; i++)
        any = any || wants_drawn(&optim->groups[i], step);
    return any;
}

void optim_take_drawn(Optim *optim, double grad_scale, size_t labels)
{
    for (size_t i = 0; i < optim->group_count; i++) {
        const OptimGroup *g = &optim->groups[i];
        float k[OPTIM_SCALARS_MAX] = {0};
        if (!wants_drawn(g, optim->steps_done))
            continue;
        OptimStep step = optim_step_of(optim, g, grad_scale);
        step.drawn = (double)labels;
        g->rule->scalars(&step, k);
        elements_run(g->on, g->rule->drawn, g->slots, g->count, k);
    }
}

static bool wants_previous(const OptimGroup *g)
{
    return g->rule->defaults.at[HYPER_MARS_FORM].set && hyper(&g->hyper, HYPER_MARS_FORM) == MARS_EXACT;
}

bool optim_wants_previous(const Optim *optim, size_t step)
{
    bool any = false;
    for (size_t i = 0; i < optim->group_count; i++)
        any = any || wants_previous(&optim->groups[i]);
    return any && step != 1;
}

void optim_swap_previous(Optim *optim)
{
    keep_point(optim, true);
    optim_wrote(optim);
}

void optim_take_previous(Optim *optim, double grad_scale)
{
    for (size_t i = 0; i < optim->group_count; i++) {
        const OptimGroup *g = &optim->groups[i];
        for (size_t k = 0; k < OPTIM_STATES_MAX && wants_previous(g); k++)
            for (const OptimSlot *slot = g->slots; slot < g->slots + g->count && g->rule->states[k].is_previous; slot++)
                verb_scale(optim->on, slot->rows * slot->cols, slot->state[k], slot->grad, grad_scale);
    }
}

/* --------------------------------------------------------------------------------------------------------------
 * Access
 */

double optim_rate_of(const Optim *optim, const Tensor *tensor)
{
    const OptimStep step = optim_step_of(optim, &optim->groups[groups_of(optim, tensor)], 1);
    return hyper(&step.hyper, HYPER_LR);
}

Verbs *optim_verbs(const Optim *optim) { return optim->on; }
Comm *optim_comm(const Optim *optim) { return optim->comm; }
size_t optim_steps_done(const Optim *optim) { return optim->steps_done; }

const char *const optim_scalar_names[OPTIM_SCALARS] = {"steps_done", "tail_began", "nesterov_factor", "common_0",
                                                       "common_1"};

OptimScalars optim_scalars(const Optim *optim)
{
    return (OptimScalars){.steps_done = (double)optim->steps_done,
                          .tail_began = (double)optim->averages.tail_began,
                          .factor = isnan(optim->averages.factor) ? optim->aux_factor : optim->averages.factor,
                          .common = {optim->measure.common[0], optim->measure.common[1]}};
}

void optim_set_scalars(Optim *optim, OptimScalars scalars)
{
    optim->steps_done = (size_t)scalars.steps_done;
    optim->averages.factor = scalars.factor;
    for (size_t i = 0; i < OPTIM_COMMON; i++)
        optim->measure.common[i] = isnan(scalars.common[i]) ? 0 : scalars.common[i];
    optim->averages.tail_began = isnan(scalars.tail_began) ? averages_guess_tail(optim) : (size_t)scalars.tail_began;
    if (optim->steps_done < optim->averages.config.tail_from) /* more steps have moved the tail */
        optim->averages.tail_began = 0;
}

size_t optim_state_count(const Optim *optim) { return optim->state_count; }
const OptimState *optim_state(const Optim *optim, size_t i) { return &optim->states[i]; }

void optim_state_read(const Optim *optim, size_t i, float *host)
{
    for (const StatePart *p = optim->parts; p < optim->parts + optim->part_count; p++) {
        if (p->state != i)
            continue;
        if (p->piece.rank == optim->ranks.rank)
            verb_read(optim->on, p->piece.n, host + p->piece.first, p->data);
        comm_collect(optim->comm, host, &p->piece, 1);
    }
}

void optim_gradient_read(const Optim *optim, const Tensor *tensor, float *host)
{
    for (const Unit *u = optim->units; u < optim->units + optim->unit_count; u++) {
        const CommPiece piece = {u->first, u->n, u->rank};
        if (u->tensor != tensor)
            continue;
        if (u->rank == optim->ranks.rank)
            verb_read(optim->on, u->n, host + u->first, optim->arenas.grads + tensor->offset + u->first);
        comm_collect(optim->comm, host, &piece, 1);
    }
}

void optim_state_write(Optim *optim, size_t i, const float *host)
{
    for (const StatePart *p = optim->parts; p < optim->parts + optim->part_count; p++)
        if (p->state == i && p->piece.rank == optim->ranks.rank)
            verb_write(optim->on, p->piece.n, p->data, host + p->piece.first);
}

/* The state of a tensor called `name`. */
static size_t find_state(const Optim *optim, const Tensor *tensor, const char *name)
{
    char full[sizeof optim->states->name];
    snprintf(full, sizeof full, "%s.%s", tensor->name, name);
    size_t i = 0;
    while (i < optim->state_count && strcmp(optim->states[i].name, full) != 0)
        i++;
    return i;
}

size_t optim_momentum(const Optim *optim, const Tensor *tensor)
{
    const OptimGroup *g = &optim->groups[groups_of(optim, tensor)];
    for (const OptimStateSpec *spec = g->rule->states; spec->name != NULL; spec++)
        if (spec->is_momentum)
            return find_state(optim, tensor, spec->name);
    return optim->state_count;
}

size_t optim_memory(const Optim *optim)
{
    return (optim->state_floats + optim->workspace_floats + optim->previous_floats + optim->rounding_floats) *
           sizeof(float);
}
