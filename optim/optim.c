#include "optim/optim.h"

#include "base/clock.h"
#include "optim/hyper_schedule.h"
#include "optim/rule.h"
#include "optim/rules/elements.h"
#include "optim/rules/newton_schulz.h"
#include "optim/sensitivity.h"
#include "optim/verbs/verbs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Every rule there is; --optimizer lists from here. */
static const OptimRule *const rules[] = {
    &optim_sgd,   &optim_nesterov,    &optim_adagrad,  &optim_rmsprop, &optim_adadelta,  &optim_adam,
    &optim_adamw, &optim_nested_adam, &optim_adam_cpr, &optim_signsgd, &optim_signum,    &optim_lion,
    &optim_muon,  &optim_spectral,    &optim_normuon,  &optim_muonh,   &optim_normuonh,  &optim_adamh,
    &optim_muon2, &optim_dion,        &optim_shampoo,  &optim_soap,    &optim_soap_muon, &optim_kl_soap,
};

enum { RULE_COUNT = sizeof rules / sizeof *rules };

/* What tensors are for, as groups see it. */
typedef enum { KIND_HIDDEN, KIND_EMBED, KIND_HEAD, KIND_VECTOR, KIND_COUNT } Kind;

static const char *const kind_names[KIND_COUNT] = {"hidden", "embed", "head", "vector"};

/* The averages' arenas, laid out as the parameters: state of the run, but for `previous`, which lives within a step. */
typedef struct Averages {
    OptimAveraging config;
    bool tail_begun;
    float *change, *previous, *tail, *point;
} Averages;

struct Optim {
    size_t group_count;
    OptimGroup *groups;
    size_t tensor_count;
    const Tensor *tensors;
    float *params;
    const float *grads;
    size_t state_count;
    OptimState *states;
    float *state_arena, *workspace;
    size_t state_floats, workspace_floats, previous_floats;
    Averages averages;
    size_t steps, steps_done;
    Floats *gradients; /* one a tensor, and their sums of squares */
    double *squares;
};

static const OptimRule *find_rule(const char *name, Error *e)
{
    char known[512] = "";
    for (size_t i = 0; i < RULE_COUNT; i++) {
        if (strcmp(rules[i]->name, name) == 0)
            return rules[i];
        strncat(known, i == 0 ? "" : ", ", sizeof known - strlen(known) - 1);
        strncat(known, rules[i]->name, sizeof known - strlen(known) - 1);
    }
    error_set(e, "there is no optimizer '%s'; there are %s", name, known);
    return NULL;
}

const OptimRule *optim_rule(size_t i) { return i < RULE_COUNT ? rules[i] : NULL; }
const char *optim_rule_name(size_t i) { return i < RULE_COUNT ? rules[i]->name : NULL; }
const char *optim_rule_summary(size_t i) { return i < RULE_COUNT ? rules[i]->summary : NULL; }

/* --------------------------------------------------------------------------------------------------------------
 * Which tensor goes to which group, and what its hyperparameters are
 */

static Kind kind_of(TensorRole role)
{
    switch (role) {
    case ROLE_HIDDEN_MATRIX:
        return KIND_HIDDEN;
    case ROLE_TOKEN_EMBEDDING:
    case ROLE_POSITION_EMBEDDING:
        return KIND_EMBED;
    case ROLE_HEAD:
        return KIND_HEAD;
    default:
        return KIND_VECTOR;
    }
}

/* The rule's defaults, overlaid by what `asked` sets; setting what the rule does not use is an error. */
static int overlay(const OptimRule *rule, OptimHyper *h, const OptimHyper *asked, const char *prefix, Error *e)
{
    for (size_t id = 0; id < HYPER_COUNT; id++) {
        if (!asked->at[id].set)
            continue;
        if (!rule->defaults.at[id].set)
            return error_set(e, "%s does not use --%s%s", rule->name, prefix, hyper_info[id].name);
        if (hyper_check((HyperId)id, asked->at[id].value, prefix, e) != 0)
            return -1;
        h->at[id] = asked->at[id];
    }
    return 0;
}

static bool is_any_set(const OptimHyper *h)
{
    bool any = false;
    for (size_t id = 0; id < HYPER_COUNT; id++)
        any = any || h->at[id].set;
    return any;
}

/* Hyperparameters that change during the run need to know its length. */
static int check_steps(const OptimConfig *config, const OptimHyper *h, const char *prefix, Error *e)
{
    const bool eps_grows = h->at[HYPER_EPS_MAX].set && hyper(h, HYPER_EPS_MAX) > 0;
    const bool cools_down = h->at[HYPER_MOMENTUM_COOLDOWN].set && hyper(h, HYPER_MOMENTUM_COOLDOWN) > 0;
    if (config->steps == 0 && (eps_grows || cools_down))
        return error_set(e, "--%s%s needs to know the number of steps", prefix,
                         eps_grows ? "eps-max" : "momentum-cooldown");
    return 0;
}

/* Newton-Schulz's --ns-dtype auto becomes what it means here, to be shown and recorded. */
static void settle_ns_dtype(OptimHyper *h)
{
    if (h->at[HYPER_NS_DTYPE].set && hyper(h, HYPER_NS_DTYPE) == NS_AUTO)
        hyper_set(h, HYPER_NS_DTYPE, verb_prefers_halves() && hyper(h, HYPER_NS) != NS_EXACT ? NS_BF16 : NS_FP32);
}

static int resolve_group(const OptimConfig *config, Kind kind, double sensitivity, OptimGroup *g, Error *e)
{
    const OptimRule *matrix_rule = find_rule(config->rule, e), *rule = matrix_rule;
    if (rule == NULL)
        return -1;
    const bool aux = kind != KIND_HIDDEN;
    if (aux && config->aux_rule != NULL)
        rule = find_rule(config->aux_rule, e);
    else if (aux && matrix_rule->matrices_only)
        rule = &optim_adamw;
    if (rule == NULL)
        return -1;
    if (aux && rule->matrices_only)
        return error_set(e, "--aux-optimizer %s serves hidden matrices only", rule->name);
    if (sensitivity == 1)
        snprintf(g->name, sizeof g->name, "%s", kind_names[kind]);
    else
        snprintf(g->name, sizeof g->name, "%s/%g", kind_names[kind], sensitivity);
    g->rule = rule;
    g->sensitivity = sensitivity;
    g->hyper = rule->defaults;
    if (rule == matrix_rule && overlay(rule, &g->hyper, &config->hyper, "", e) != 0)
        return -1;
    if (aux && overlay(rule, &g->hyper, &config->aux_hyper, "aux-", e) != 0)
        return -1;
    if (kind == KIND_EMBED && overlay(rule, &g->hyper, &config->embed_hyper, "embed-", e) != 0)
        return -1;
    if (kind == KIND_HEAD && overlay(rule, &g->hyper, &config->head_hyper, "head-", e) != 0)
        return -1;
    if (kind == KIND_VECTOR && rule->defaults.at[HYPER_WEIGHT_DECAY].set)
        hyper_set(&g->hyper, HYPER_WEIGHT_DECAY, 0); /* gains and biases are not decayed */
    hyper_set(&g->hyper, HYPER_LR, hyper(&g->hyper, HYPER_LR) / sensitivity);
    Error range;
    if (hyper_check(HYPER_LR, hyper(&g->hyper, HYPER_LR), "", &range) != 0)
        return error_set(e,
                         "the group %s has the learning rate %g after division by its --sensitivity; it must be a "
                         "number from 0 to %g",
                         g->name, hyper(&g->hyper, HYPER_LR), hyper_info[HYPER_LR].most);
    const char *prefix = aux && (rule != matrix_rule || is_any_set(&config->aux_hyper)) ? "aux-" : "";
    if (check_steps(config, &g->hyper, prefix, e) != 0)
        return -1;
    if (rule->check != NULL && rule->check(&g->hyper, prefix, e) != 0)
        return -1;
    settle_ns_dtype(&g->hyper);
    return 0;
}

/* Blocks a tensor is cut into: those of a fused QKV when the rule splits it. */
static size_t blocks_of(const OptimGroup *g, const Tensor *t)
{
    return g->hyper.at[HYPER_SPLIT_QKV].set && hyper(&g->hyper, HYPER_SPLIT_QKV) != 0 ? t->blocks : 1;
}

/* Whether tensor i belongs to the kind, and to the sensitivity among the config's. */
static bool belongs(const Optim *optim, const OptimConfig *config, size_t i, Kind kind, double sensitivity)
{
    const Tensor *t = &optim->tensors[i];
    return kind_of(t->role) == kind && sensitivity_of(config->sensitivity, t->name) == sensitivity;
}

static void add_slots(const Optim *optim, OptimGroup *g, const Tensor *t)
{
    const size_t blocks = blocks_of(g, t), rows = t->rows / blocks;
    for (size_t b = 0; b < blocks; b++) {
        const size_t at = t->offset + b * rows * t->cols;
        OptimSlot *slot = &g->slots[g->count++];
        *slot = (OptimSlot){.rows = rows, .cols = t->cols};
        if (optim->params != NULL) {
            slot->param = optim->params + at;
            slot->grad = optim->grads + at;
        }
    }
}

static int make_group(Optim *optim, const OptimConfig *config, Kind kind, double sensitivity, Error *e)
{
    size_t tensors = 0, slots = 0;
    for (size_t i = 0; i < optim->tensor_count; i++) {
        if (belongs(optim, config, i, kind, sensitivity)) {
            tensors++;
            slots += optim->tensors[i].blocks;
        }
    }
    OptimGroup *g = &optim->groups[optim->group_count++];
    if (resolve_group(config, kind, sensitivity, g, e) != 0)
        return -1;
    g->tensors = malloc(tensors * sizeof *g->tensors);
    g->slots = calloc(slots, sizeof *g->slots);
    if (g->tensors == NULL || g->slots == NULL)
        return error_set(e, "out of memory for the group %s", g->name);
    for (size_t i = 0; i < optim->tensor_count; i++) {
        if (belongs(optim, config, i, kind, sensitivity)) {
            g->tensors[g->tensor_count++] = &optim->tensors[i];
            add_slots(optim, g, &optim->tensors[i]);
        }
    }
    return 0;
}

/* One group for each kind and each of its sensitivities, in the order in which the tensors bring them up. */
static int make_groups(Optim *optim, const OptimConfig *config, Error *e)
{
    bool has_head = false;
    for (Kind kind = 0; kind < KIND_COUNT; kind++) {
        for (size_t i = 0; i < optim->tensor_count; i++) {
            const double sensitivity = sensitivity_of(config->sensitivity, optim->tensors[i].name);
            bool first = belongs(optim, config, i, kind, sensitivity);
            for (size_t j = 0; j < i && first; j++)
                first = !belongs(optim, config, j, kind, sensitivity);
            if (first && make_group(optim, config, kind, sensitivity, e) != 0)
                return -1;
            has_head = has_head || (first && kind == KIND_HEAD);
        }
    }
    if (!has_head && config->head_hyper.at[HYPER_LR].set)
        return error_set(e, "--head-lr: the head is tied to the token embedding, whose rate is --embed-lr");
    return 0;
}

/* --------------------------------------------------------------------------------------------------------------
 * State
 */

static size_t specify(const OptimGroup *g, const OptimSlot *slot, OptimStateSpec *specs)
{
    return g->rule->states(&g->hyper, slot->rows, slot->cols, specs);
}

/* The next state: rows x cols floats under the name "<tensor>.<name>". With `place` unset it is only counted. */
static float *add_state(Optim *optim, bool place, const char *tensor, const char *name, size_t rows, size_t cols)
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

/* State k of all tensors of a group, one after the other, so that same-shaped slots' make one batch; a tensor's holds
 * its slots' one below the other. */
static void lay_out_group(Optim *optim, OptimGroup *g, bool place)
{
    for (size_t k = 0; k < OPTIM_STATES_MAX; k++) {
        OptimSlot *slot = g->slots;
        for (size_t i = 0; i < g->tensor_count; i++) {
            const size_t blocks = blocks_of(g, g->tensors[i]);
            OptimStateSpec specs[OPTIM_STATES_MAX];
            if (k < specify(g, slot, specs)) {
                float *data =
                    add_state(optim, place, g->tensors[i]->name, specs[k].name, blocks * specs[k].rows, specs[k].cols);
                for (size_t b = 0; b < blocks && place; b++)
                    slot[b].state[k] = data + b * specs[k].rows * specs[k].cols;
            }
            slot += blocks;
        }
    }
}

/* One arena of an average, tensor after tensor. */
static float *lay_out_average(Optim *optim, const char *name, bool place)
{
    float *arena = place ? optim->state_arena + optim->state_floats : NULL;
    for (size_t i = 0; i < optim->tensor_count; i++)
        add_state(optim, place, optim->tensors[i].name, name, optim->tensors[i].rows, optim->tensors[i].cols);
    return arena;
}

static void lay_out_state(Optim *optim, bool place)
{
    Averages *a = &optim->averages;
    optim->state_floats = optim->state_count = 0;
    for (size_t i = 0; i < optim->group_count; i++)
        lay_out_group(optim, &optim->groups[i], place);
    if (a->config.nesterov != 0)
        a->change = lay_out_average(optim, "change", place);
    if (a->config.tail != 0) {
        a->tail = lay_out_average(optim, "tail", place);
        a->point = lay_out_average(optim, "point", place);
    }
}

/* Sizes of state and workspace, before any of it exists. */
static void measure_state(Optim *optim)
{
    lay_out_state(optim, false);
    for (size_t i = 0; i < optim->group_count; i++) {
        const OptimGroup *g = &optim->groups[i];
        const size_t n = g->rule->workspace != NULL ? g->rule->workspace(g) : 0;
        optim->workspace_floats = n > optim->workspace_floats ? n : optim->workspace_floats;
    }
    for (size_t i = 0; i < optim->tensor_count && optim->averages.config.nesterov != 0; i++)
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
        optim->gradients[i] = (Floats){optim->grads + optim->tensors[i].offset, tensor_size(&optim->tensors[i])};
    if (verb_alloc(optim->state_floats, "the optimizer's state", &optim->state_arena, e) != 0 ||
        verb_alloc(optim->workspace_floats, "the optimizer's workspace", &optim->workspace, e) != 0 ||
        verb_alloc(optim->previous_floats, "the parameters before a step", &optim->averages.previous, e) != 0)
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

/* Checks the averages and resolves when the tail begins. */
static int resolve_averaging(Optim *optim, const OptimConfig *config, Error *e)
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

int optim_create(const OptimConfig *config, const Tensor *tensors, size_t tensor_count, float *params,
                 const float *grads, Optim **out, Error *e)
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
                     .params = params,
                     .grads = grads,
                     .steps = config->steps};
    int status = make_groups(optim, config, e);
    if (status == 0)
        status = resolve_averaging(optim, config, e);
    if (status == 0)
        measure_state(optim);
    if (status == 0 && params != NULL)
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
    for (size_t i = 0; i < optim->group_count; i++) {
        free(optim->groups[i].slots);
        free(optim->groups[i].tensors);
    }
    free(optim->groups);
    free(optim->states);
    free(optim->gradients);
    free(optim->squares);
    verb_free(optim->state_arena);
    verb_free(optim->workspace);
    verb_free(optim->averages.previous);
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
    verb_sums_of_squares(optim->tensor_count, optim->gradients, optim->squares);
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
            for (size_t b = blocks_of(g, g->tensors[i]); b > 0; b--, slot++)
                if (verb_sum_squares(slot->rows * slot->cols, slot->param) == 0)
                    return error_set(e, "%s keeps the norm of each matrix, and %s is zero: it would stay so",
                                     g->rule->name, g->tensors[i]->name);
        }
    }
    return 0;
}

/* A group's hyperparameters as of the step that is coming. */
static OptimStep step_of(const Optim *optim, const OptimGroup *g, double lr_factor, double grad_scale)
{
    OptimStep step = {.hyper = g->hyper, .grad_scale = grad_scale, .t = optim->steps_done + 1};
    hyper_set(&step.hyper, HYPER_LR, hyper(&g->hyper, HYPER_LR) * lr_factor);
    hyper_schedule(&step.hyper, optim->steps_done, optim->steps);
    return step;
}

/* EMA-Nesterov: remembers the parameters and shifts them along their average change. */
static void shift_along_change(Optim *optim, double lr_factor)
{
    const Averages *a = &optim->averages;
    const size_t done = optim->steps_done, until = a->config.nesterov_until;
    const bool inside = done >= a->config.nesterov_from && (until == 0 || done < until);
    size_t at = 0;
    for (const Tensor *t = optim->tensors; t < optim->tensors + optim->tensor_count; t++) {
        const size_t n = tensor_size(t);
        verb_scale(n, a->previous + at, optim->params + t->offset, 1);
        if (inside)
            verb_add(n, optim->params + t->offset, a->change + at, 1, a->config.nesterov * lr_factor);
        at += n;
    }
}

void optim_begin(Optim *optim, double lr_factor)
{
    if (optim->averages.config.nesterov != 0)
        shift_along_change(optim, lr_factor);
    for (size_t i = 0; i < optim->group_count; i++) {
        const OptimGroup *g = &optim->groups[i];
        if (g->rule->look_ahead == NULL)
            continue;
        const OptimStep step = step_of(optim, g, lr_factor, 1);
        elements_step(g, &step, true);
    }
}

/* After an update: the averages take it in. */
static void update_averages(Optim *optim)
{
    Averages *a = &optim->averages;
    const double decay = a->config.nesterov_decay, kept = 1 - 1 / (double)a->config.tail;
    const bool tail = a->config.tail != 0 && optim->steps_done >= a->config.tail_from;
    size_t at = 0;
    for (const Tensor *t = optim->tensors; t < optim->tensors + optim->tensor_count; t++) {
        const size_t n = tensor_size(t);
        const float *param = optim->params + t->offset;
        if (a->config.nesterov != 0) {
            verb_add(n, a->previous + at, param, -1, 1);
            verb_add(n, a->change + at, a->previous + at, decay, 1 - decay);
        }
        if (tail && !a->tail_begun)
            verb_scale(n, a->tail + at, param, 1);
        else if (tail)
            verb_add(n, a->tail + at, param, kept, 1 - kept);
        at += n;
    }
    a->tail_begun = a->tail_begun || tail;
}

/* Whether the tail that was read from a checkpoint had begun: it is zero before. */
static bool tail_has_begun(const Optim *optim)
{
    size_t n = 0;
    for (size_t i = 0; i < optim->tensor_count; i++)
        n += tensor_size(&optim->tensors[i]);
    return optim->averages.config.tail != 0 && verb_sum_squares(n, optim->averages.tail) > 0;
}

/* EMA-Nesterov shifts parameters whose norm is to be kept: each matrix gets the one back that it had at rest. */
static void pin_norms(const Optim *optim, const OptimGroup *g)
{
    const OptimSlot *slot = g->slots;
    for (size_t i = 0; i < g->tensor_count; i++) {
        const float *previous = optim->averages.previous;
        for (const Tensor *t = optim->tensors; t < g->tensors[i]; t++)
            previous += tensor_size(t);
        for (size_t b = blocks_of(g, g->tensors[i]); b > 0; b--, slot++) {
            const size_t n = slot->rows * slot->cols;
            const double want = verb_sum_squares(n, previous), have = verb_sum_squares(n, slot->param);
            if (have > 0)
                verb_scale(n, slot->param, slot->param, sqrt(want / have));
            previous += n;
        }
    }
}

void optim_step(Optim *optim, double lr_factor, double grad_scale)
{
    for (size_t i = 0; i < optim->group_count; i++) {
        OptimGroup *g = &optim->groups[i];
        const double begin = clock_seconds();
        const OptimStep step = step_of(optim, g, lr_factor, grad_scale);
        if (g->rule->elements != NULL)
            elements_step(g, &step, false);
        else
            g->rule->step(g, &step);
        if (g->rule->keeps_norm && optim->averages.config.nesterov != 0)
            pin_norms(optim, g);
        g->seconds = clock_seconds() - begin;
    }
    optim->steps_done++;
    update_averages(optim);
}

void optim_show(Optim *optim)
{
    const Averages *a = &optim->averages;
    size_t at = 0;
    for (const Tensor *t = optim->tensors; t < optim->tensors + optim->tensor_count && a->config.tail != 0; t++) {
        const size_t n = tensor_size(t);
        verb_scale(n, a->point + at, optim->params + t->offset, 1);
        if (a->tail_begun)
            verb_add(n, optim->params + t->offset, a->tail + at, 1 - a->config.tail_share, a->config.tail_share);
        at += n;
    }
}

void optim_hide(Optim *optim)
{
    size_t at = 0;
    for (const Tensor *t = optim->tensors; t < optim->tensors + optim->tensor_count && optim->averages.config.tail != 0;
         t++) {
        verb_scale(tensor_size(t), optim->params + t->offset, optim->averages.point + at, 1);
        at += tensor_size(t);
    }
}

/* --------------------------------------------------------------------------------------------------------------
 * Access
 */

size_t optim_steps_done(const Optim *optim) { return optim->steps_done; }

void optim_set_steps_done(Optim *optim, size_t steps)
{
    optim->steps_done = steps;
    optim->averages.tail_begun = tail_has_begun(optim);
}

size_t optim_state_count(const Optim *optim) { return optim->state_count; }
const OptimState *optim_state(const Optim *optim, size_t i) { return &optim->states[i]; }

void optim_state_read(const Optim *optim, size_t i, float *host)
{
    const OptimState *state = &optim->states[i];
    verb_read(state->rows * state->cols, host, state->data);
}

void optim_state_write(Optim *optim, size_t i, const float *host)
{
    const OptimState *state = &optim->states[i];
    verb_write(state->rows * state->cols, state->data, host);
}

size_t optim_group_count(const Optim *optim) { return optim->group_count; }

double optim_rate_of(const Optim *optim, const Tensor *tensor)
{
    for (const OptimGroup *g = optim->groups; g < optim->groups + optim->group_count; g++)
        for (size_t i = 0; i < g->tensor_count; i++)
            if (g->tensors[i] == tensor)
                return hyper(&g->hyper, HYPER_LR);
    return 0;
}

size_t optim_memory(const Optim *optim)
{
    return (optim->state_floats + optim->workspace_floats + optim->previous_floats) * sizeof(float);
}

OptimGroupInfo optim_group_info(const Optim *optim, size_t i)
{
    const OptimGroup *g = &optim->groups[i];
    OptimGroupInfo info = {.name = g->name,
                           .rule = g->rule->name,
                           .hyper = g->hyper,
                           .tensors = g->tensor_count,
                           .sensitivity = g->sensitivity,
                           .seconds = g->seconds};
    for (size_t s = 0; s < g->count; s++) {
        const OptimSlot *slot = &g->slots[s];
        OptimStateSpec specs[OPTIM_STATES_MAX];
        const size_t n = specify(g, slot, specs);
        info.parameters += slot->rows * slot->cols;
        for (size_t k = 0; k < n; k++)
            info.state_floats += specs[k].rows * specs[k].cols;
    }
    return info;
}

void optim_list_groups(const Optim *optim, FILE *to)
{
    for (size_t i = 0; i < optim->group_count; i++) {
        const OptimGroup *g = &optim->groups[i];
        const OptimGroupInfo info = optim_group_info(optim, i);
        fprintf(to, "group %s: %s, %zu parameters in %zu tensors, %zu floats of state\n ", g->name, info.rule,
                info.parameters, info.tensors, info.state_floats);
        for (size_t id = 0; id < HYPER_COUNT; id++) {
            char value[32];
            if (!g->hyper.at[id].set)
                continue;
            hyper_format((HyperId)id, g->hyper.at[id].value, value, sizeof value);
            fprintf(to, " %s=%s", hyper_info[id].name, value);
        }
        fprintf(to, "\n");
        const OptimSlot *slot = g->slots;
        for (size_t k = 0; k < g->tensor_count; k++) {
            const Tensor *t = g->tensors[k];
            OptimStateSpec specs[OPTIM_STATES_MAX];
            const size_t blocks = blocks_of(g, t), n = specify(g, slot, specs);
            fprintf(to, "  %-24s", t->name);
            if (blocks > 1)
                fprintf(to, " %zu x", blocks);
            fprintf(to, " %zu x %zu ", slot->rows, slot->cols);
            for (size_t s = 0; s < n; s++)
                fprintf(to, " %s[%zu,%zu]", specs[s].name, specs[s].rows, specs[s].cols);
            fprintf(to, "\n");
            slot += blocks;
        }
    }
}
