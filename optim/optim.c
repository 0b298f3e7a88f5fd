#include "optim/optim_private.h"

#include "base/clock.h"
#include "optim/hyper_schedule.h"
#include "optim/rules/batch.h"
#include "optim/rules/elements.h"
#include "optim/sensitivity.h"

#include <math.h>
#include <stdlib.h>

/* --------------------------------------------------------------------------------------------------------------
 * State
 */

float *optim_add_state(Optim *optim, bool place, const char *tensor, const char *name, size_t rows, size_t cols)
{
    float *data = place ? optim->state_arena + optim->state_floats : NULL;
    if (place) {
        OptimState *state = &optim->states[optim->state_count];
        *state = (OptimState){.rows = rows, .cols = cols, .data = data};
        snprintf(state->name, sizeof state->name, "%s.%s", tensor, name);
    }
    optim->state_floats += rows * cols;
    optim->state_count++;
    return data;
}

/* State k of all tensors of a group, contiguously, so that those of same-shaped slots form one batch; a tensor's state
 * stacks those of its slots. */
static void lay_out_group(Optim *optim, OptimGroup *g, bool place)
{
    const OptimStateSpec *specs = g->rule->states;
    for (size_t k = 0; k < OPTIM_STATES_MAX && specs[k].name != NULL; k++) {
        OptimSlot *slot = g->slots;
        for (size_t i = 0; i < g->tensor_count; i++) {
            const size_t blocks = groups_blocks(g, g->tensors[i]);
            const OptimShape shape = specs[k].shape(&g->hyper, slot->rows, slot->cols);
            if (shape.rows > 0) {
                float *data =
                    optim_add_state(optim, place, g->tensors[i]->name, specs[k].name, blocks * shape.rows, shape.cols);
                for (size_t b = 0; b < blocks && place; b++)
                    slot[b].state[k] = data + b * shape.rows * shape.cols;
            }
            slot += blocks;
        }
    }
}

static void lay_out_state(Optim *optim, bool place)
{
    optim->state_floats = optim->state_count = 0;
    for (size_t i = 0; i < optim->group_count; i++)
        lay_out_group(optim, &optim->groups[i], place);
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
    for (size_t i = 0; i < optim->tensor_count && looks_ahead(optim); i++)
        optim->previous_floats += tensor_size(&optim->tensors[i]);
}

static int make_state(Optim *optim, Error *e)
{
    optim->states = calloc(optim->state_count + 1, sizeof *optim->states);
    optim->gradients = calloc(optim->tensor_count + 1, sizeof *optim->gradients);
    optim->squares = calloc(optim->tensor_count + 1, sizeof *optim->squares);
    if (optim->states == NULL || optim->gradients == NULL || optim->squares == NULL)
        return error_set(e, "out of memory for the optimizer's state");
    for (size_t i = 0; i < optim->tensor_count; i++)
        optim->gradients[i] = (Floats){optim->arenas.grads + optim->tensors[i].offset, tensor_size(&optim->tensors[i])};
    if (verb_alloc(optim->on, optim->state_floats, "the optimizer's state", &optim->state_arena, e) != 0 ||
        verb_alloc(optim->on, optim->workspace_floats, "the optimizer's workspace", &optim->workspace, e) != 0 ||
        verb_alloc(optim->on, optim->previous_floats, "the parameters before a step", &optim->previous, e) != 0)
        return -1;
    lay_out_state(optim, true);
    for (size_t i = 0; i < optim->group_count; i++) {
        OptimGroup *g = &optim->groups[i];
        g->workspace = optim->workspace;
        if (g->rule->init != NULL)
            g->rule->init(g);
    }
    return 0;
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
                     .steps = config->steps,
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
    free(optim->states);
    free(optim->gradients);
    free(optim->squares);
    verb_free(optim->on, optim->state_arena);
    verb_free(optim->on, optim->workspace);
    verb_free(optim->on, optim->previous);
    verbs_free(optim->on);
    free(optim);
}

/* --------------------------------------------------------------------------------------------------------------
 * A step
 */

double optim_grad_norm(const Optim *optim, const Tensor **culprit)
{
    double total = 0;
    if (culprit != NULL)
        *culprit = NULL;
    verb_sums_of_squares(optim->on, optim->tensor_count, optim->gradients, optim->squares);
    for (size_t i = 0; i < optim->tensor_count; i++) {
        if (!isfinite(optim->squares[i]) && culprit != NULL && *culprit == NULL)
            *culprit = &optim->tensors[i];
        total += optim->squares[i];
    }
    return sqrt(total);
}

int optim_check_parameters(const Optim *optim, Error *e)
{
    for (const OptimGroup *g = optim->groups; g < optim->groups + optim->group_count; g++) {
        const OptimSlot *slot = g->slots;
        for (size_t i = 0; i < g->tensor_count && g->rule->keeps_norm; i++) {
            for (size_t b = groups_blocks(g, g->tensors[i]); b > 0; b--, slot++)
                if (verb_sum_squares(optim->on, slot->rows * slot->cols, slot->param) == 0)
                    return error_set(e, "%s keeps the norm of each matrix, and %s is zero: it would stay zero",
                                     g->rule->name, g->tensors[i]->name);
        }
    }
    return 0;
}

/* The coming step, with the group's scheduled hyperparameters. */
static OptimStep step_of(const Optim *optim, const OptimGroup *g, double grad_scale)
{
    OptimStep step = {.hyper = g->hyper, .grad_scale = grad_scale, .t = optim->steps_done + 1};
    hyper_set(&step.hyper, HYPER_LR, hyper(&g->hyper, HYPER_LR) * (g->aux ? optim->aux_factor : optim->lr_factor));
    hyper_schedule(&step.hyper, optim->steps_done, optim->steps);
    return step;
}

void optim_wrote(Optim *optim)
{
    if (optim->arenas.version != NULL)
        ++*optim->arenas.version;
}

/* Copies the parameters to optim->previous, or back. */
static void copy_parameters(Optim *optim, bool back)
{
    float *previous = optim->previous;
    for (const Tensor *t = optim->tensors; optim->previous_floats > 0 && t < optim->tensors + optim->tensor_count;
         t++) {
        float *params = optim->arenas.params + t->offset;
        verb_scale(optim->on, tensor_size(t), back ? params : previous, back ? previous : params, 1);
        previous += tensor_size(t);
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
    copy_parameters(optim, false);
    if (optim->averages.config.nesterov != 0)
        averages_shift(optim);
    for (size_t i = 0; i < optim->group_count; i++) {
        const OptimGroup *g = &optim->groups[i];
        if (g->rule->look_ahead == NULL)
            continue;
        const OptimStep step = step_of(optim, g, 1);
        elements_step(g, &step, true);
        optim_wrote(optim);
    }
}

void optim_step(Optim *optim, double grad_scale)
{
    for (size_t i = 0; i < optim->group_count; i++) {
        OptimGroup *g = &optim->groups[i];
        const double begin = clock_seconds();
        const OptimStep step = step_of(optim, g, grad_scale);
        if (g->rule->scalars != NULL)
            elements_step(g, &step, false);
        else
            batch_step(g, &step);
        if (g->rule->keeps_norm && optim->averages.config.nesterov != 0)
            averages_pin_norms(optim, g);
        g->seconds = clock_seconds() - begin;
    }
    optim->steps_done++;
    optim_wrote(optim);
    averages_update(optim);
}

/* --------------------------------------------------------------------------------------------------------------
 * Access
 */

double optim_lr_factor(const Optim *optim) { return optim->lr_factor; }
Verbs *optim_verbs(const Optim *optim) { return optim->on; }
size_t optim_steps_done(const Optim *optim) { return optim->steps_done; }

const char *const optim_scalar_names[OPTIM_SCALARS] = {"steps_done", "tail_began"};

OptimScalars optim_scalars(const Optim *optim)
{
    return (OptimScalars){.steps_done = (double)optim->steps_done, .tail_began = (double)optim->averages.tail_began};
}

void optim_set_scalars(Optim *optim, OptimScalars scalars)
{
    optim->steps_done = (size_t)scalars.steps_done;
    optim->averages.tail_began = isnan(scalars.tail_began) ? averages_guess_tail(optim) : (size_t)scalars.tail_began;
    if (optim->steps_done < optim->averages.config.tail_from) /* more steps have moved the tail */
        optim->averages.tail_began = 0;
}

size_t optim_state_count(const Optim *optim) { return optim->state_count; }
const OptimState *optim_state(const Optim *optim, size_t i) { return &optim->states[i]; }

void optim_state_read(const Optim *optim, size_t i, float *host)
{
    const OptimState *state = &optim->states[i];
    verb_read(optim->on, state->rows * state->cols, host, state->data);
}

void optim_state_write(Optim *optim, size_t i, const float *host)
{
    const OptimState *state = &optim->states[i];
    verb_write(optim->on, state->rows * state->cols, state->data, host);
}

size_t optim_memory(const Optim *optim)
{
    return (optim->state_floats + optim->workspace_floats + optim->previous_floats) * sizeof(float);
}
