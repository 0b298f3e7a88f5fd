#include "optim/optim.h"

#include "base/memory.h"
#include "optim/rule.h"
#include "optim/verbs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Every rule there is; --optimizer lists from here. */
static const OptimRule *const rules[] = {&optim_sgd,   &optim_adagrad, &optim_rmsprop, &optim_adadelta, &optim_adam,
                                         &optim_adamw, &optim_signsgd, &optim_signum,  &optim_lion,     &optim_muon};

enum { RULE_COUNT = sizeof rules / sizeof *rules, GROUP_HIDDEN = 0, GROUP_EMBED, GROUP_HEAD, GROUP_VECTOR, GROUP_MOST };

static const char *const group_names[GROUP_MOST] = {"hidden", "embed", "head", "vector"};

struct Optim {
    size_t group_count;
    OptimGroup groups[GROUP_MOST];
    size_t tensor_count;
    const Tensor *tensors;
    const float *grads;
    size_t state_count;
    OptimState *states;
    float *state_arena, *workspace;
    size_t state_floats, workspace_floats;
    size_t steps_done;
};

static const OptimRule *find_rule(const char *name, Error *e)
{
    char known[256] = "";
    for (size_t i = 0; i < RULE_COUNT; i++) {
        if (strcmp(rules[i]->name, name) == 0)
            return rules[i];
        strncat(known, i == 0 ? "" : ", ", sizeof known - strlen(known) - 1);
        strncat(known, rules[i]->name, sizeof known - strlen(known) - 1);
    }
    error_set(e, "there is no optimizer '%s'; there are %s", name, known);
    return NULL;
}

const char *optim_rule_name(size_t i) { return i < RULE_COUNT ? rules[i]->name : NULL; }
const char *optim_rule_summary(size_t i) { return i < RULE_COUNT ? rules[i]->summary : NULL; }

/* --------------------------------------------------------------------------------------------------------------
 * Which tensor goes to which group, and what its hyperparameters are
 */

static size_t group_of(TensorRole role)
{
    switch (role) {
    case ROLE_HIDDEN_MATRIX:
        return GROUP_HIDDEN;
    case ROLE_TOKEN_EMBEDDING:
    case ROLE_POSITION_EMBEDDING:
        return GROUP_EMBED;
    case ROLE_HEAD:
        return GROUP_HEAD;
    default:
        return GROUP_VECTOR;
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

static int resolve_group(const OptimConfig *config, size_t group, OptimGroup *g, Error *e)
{
    const OptimRule *matrix_rule = find_rule(config->rule, e), *rule = matrix_rule;
    if (rule == NULL)
        return -1;
    const bool aux = group != GROUP_HIDDEN;
    if (aux && config->aux_rule != NULL)
        rule = find_rule(config->aux_rule, e);
    else if (aux && matrix_rule->matrices_only)
        rule = &optim_adamw;
    if (rule == NULL)
        return -1;
    if (aux && rule->matrices_only)
        return error_set(e, "--aux-optimizer %s serves hidden matrices only", rule->name);
    g->name = group_names[group];
    g->rule = rule;
    g->hyper = rule->defaults;
    if (rule == matrix_rule && overlay(rule, &g->hyper, &config->hyper, "", e) != 0)
        return -1;
    if (aux && overlay(rule, &g->hyper, &config->aux_hyper, "aux-", e) != 0)
        return -1;
    if (group == GROUP_EMBED && overlay(rule, &g->hyper, &config->embed_hyper, "embed-", e) != 0)
        return -1;
    if (group == GROUP_HEAD && overlay(rule, &g->hyper, &config->head_hyper, "head-", e) != 0)
        return -1;
    if (group == GROUP_VECTOR && rule->defaults.at[HYPER_WEIGHT_DECAY].set)
        hyper_set(&g->hyper, HYPER_WEIGHT_DECAY, 0); /* gains and biases are not decayed */
    return rule->check == NULL ? 0 : rule->check(&g->hyper, e);
}

/* Blocks a tensor is cut into: those of a fused QKV when the rule splits it. */
static size_t blocks_of(const OptimGroup *g, const Tensor *t)
{
    return g->hyper.at[HYPER_SPLIT_QKV].set && hyper(&g->hyper, HYPER_SPLIT_QKV) != 0 ? t->blocks : 1;
}

static int make_group(Optim *optim, const OptimConfig *config, size_t group, float *params, Error *e)
{
    size_t tensors = 0, slots = 0;
    for (size_t i = 0; i < optim->tensor_count; i++) {
        if (group_of(optim->tensors[i].role) == group) {
            tensors++;
            slots += optim->tensors[i].blocks;
        }
    }
    if (tensors == 0)
        return group == GROUP_HEAD && config->head_hyper.at[HYPER_LR].set
                   ? error_set(e, "--head-lr: the head is tied to the token embedding, whose rate is --embed-lr")
                   : 0;
    OptimGroup *g = &optim->groups[optim->group_count];
    if (resolve_group(config, group, g, e) != 0)
        return -1;
    optim->group_count++;
    g->tensors = malloc(tensors * sizeof *g->tensors);
    g->slots = calloc(slots, sizeof *g->slots);
    if (g->tensors == NULL || g->slots == NULL)
        return error_set(e, "out of memory for the group %s", g->name);
    for (size_t i = 0; i < optim->tensor_count; i++) {
        const Tensor *t = &optim->tensors[i];
        if (group_of(t->role) != group)
            continue;
        g->tensors[g->tensor_count++] = t;
        const size_t blocks = blocks_of(g, t), rows = t->rows / blocks;
        for (size_t b = 0; b < blocks; b++) {
            const size_t at = t->offset + b * rows * t->cols;
            OptimSlot *slot = &g->slots[g->count++];
            *slot = (OptimSlot){.rows = rows, .cols = t->cols};
            if (params != NULL) {
                slot->param = params + at;
                slot->grad = optim->grads + at;
            }
        }
    }
    return 0;
}

/* --------------------------------------------------------------------------------------------------------------
 * State
 */

/* State k of a tensor holds its slots' one below the other. With `place` unset only counts floats and tensors. */
static void lay_out_state(Optim *optim, bool place)
{
    size_t floats = 0, count = 0;
    for (OptimGroup *g = optim->groups; g < optim->groups + optim->group_count; g++) {
        OptimSlot *slot = g->slots;
        for (size_t i = 0; i < g->tensor_count; i++) {
            const Tensor *t = g->tensors[i];
            const size_t blocks = blocks_of(g, t);
            OptimStateSpec specs[OPTIM_STATES_MAX];
            const size_t n = g->rule->states(&g->hyper, slot->rows, slot->cols, specs);
            for (size_t k = 0; k < n; k++) {
                const size_t size = specs[k].rows * specs[k].cols;
                if (place) {
                    OptimState *state = &optim->states[count];
                    snprintf(state->name, sizeof state->name, "%s.%s", t->name, specs[k].name);
                    state->rows = blocks * specs[k].rows;
                    state->cols = specs[k].cols;
                    state->data = optim->state_arena + floats;
                    for (size_t b = 0; b < blocks; b++)
                        slot[b].state[k] = state->data + b * size;
                }
                floats += blocks * size;
                count++;
            }
            slot += blocks;
        }
    }
    optim->state_floats = floats;
    optim->state_count = count;
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
}

static int make_state(Optim *optim, Error *e)
{
    optim->states = calloc(optim->state_count + 1, sizeof *optim->states);
    if (optim->states == NULL)
        return error_set(e, "out of memory for the optimizer's state");
    if (memory_floats(optim->state_floats, "the optimizer's state", &optim->state_arena, e) != 0)
        return -1;
    lay_out_state(optim, true);
    if (memory_floats(optim->workspace_floats, "the optimizer's workspace", &optim->workspace, e) != 0)
        return -1;
    for (size_t i = 0; i < optim->group_count; i++)
        optim->groups[i].workspace = optim->workspace;
    return 0;
}

int optim_create(const OptimConfig *config, const Tensor *tensors, size_t tensor_count, float *params,
                 const float *grads, Optim **out, Error *e)
{
    *out = NULL;
    Optim *optim = calloc(1, sizeof *optim);
    if (optim == NULL)
        return error_set(e, "out of memory");
    optim->tensors = tensors;
    optim->tensor_count = tensor_count;
    optim->grads = grads;
    int status = 0;
    for (size_t group = 0; group < GROUP_MOST && status == 0; group++)
        status = make_group(optim, config, group, params, e);
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
    for (size_t i = 0; i < GROUP_MOST; i++) {
        free(optim->groups[i].slots);
        free(optim->groups[i].tensors);
    }
    free(optim->states);
    memory_free(optim->state_arena);
    memory_free(optim->workspace);
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
    for (size_t i = 0; i < optim->tensor_count; i++) {
        const Tensor *t = &optim->tensors[i];
        const double sum = verb_sum_squares(tensor_size(t), optim->grads + t->offset);
        if (!isfinite(sum) && culprit != NULL && *culprit == NULL)
            *culprit = t;
        total += sum;
    }
    return sqrt(total);
}

/* All slots' elements, cut into stretches of fixed length that the threads share. */
static void step_elements(const OptimGroup *g, const OptimStep *step)
{
    enum { STRETCH = 1 << 15 };
    float k[OPTIM_SCALARS_MAX];
    g->rule->scalars(step, k);
#pragma omp parallel
    for (const OptimSlot *slot = g->slots; slot < g->slots + g->count; slot++) {
        const size_t n = slot->rows * slot->cols;
#pragma omp for schedule(static) nowait
        for (size_t begin = 0; begin < n; begin += STRETCH) {
            float *state[OPTIM_STATES_MAX];
            for (size_t s = 0; s < OPTIM_STATES_MAX; s++)
                state[s] = slot->state[s] != NULL ? slot->state[s] + begin : NULL;
            g->rule->elements(n - begin < STRETCH ? n - begin : STRETCH, slot->param + begin, slot->grad + begin, state, k);
        }
    }
}

void optim_step(Optim *optim, double lr_factor, double grad_scale)
{
    optim->steps_done++;
    for (size_t i = 0; i < optim->group_count; i++) {
        const OptimGroup *g = &optim->groups[i];
        OptimStep step = {.hyper = g->hyper, .grad_scale = grad_scale, .t = optim->steps_done};
        hyper_set(&step.hyper, HYPER_LR, hyper(&g->hyper, HYPER_LR) * lr_factor);
        if (g->rule->elements != NULL)
            step_elements(g, &step);
        else
            g->rule->step(g, &step);
    }
}

/* --------------------------------------------------------------------------------------------------------------
 * Access
 */

size_t optim_steps_done(const Optim *optim) { return optim->steps_done; }
void optim_set_steps_done(Optim *optim, size_t steps) { optim->steps_done = steps; }
size_t optim_state_count(const Optim *optim) { return optim->state_count; }
const OptimState *optim_state(const Optim *optim, size_t i) { return &optim->states[i]; }
size_t optim_group_count(const Optim *optim) { return optim->group_count; }

size_t optim_memory(const Optim *optim)
{
    return (optim->state_floats + optim->workspace_floats) * sizeof(float);
}

OptimGroupInfo optim_group_info(const Optim *optim, size_t i)
{
    const OptimGroup *g = &optim->groups[i];
    OptimGroupInfo info = {.name = g->name, .rule = g->rule->name, .hyper = g->hyper, .tensors = g->tensor_count};
    for (size_t s = 0; s < g->count; s++) {
        const OptimSlot *slot = &g->slots[s];
        OptimStateSpec specs[OPTIM_STATES_MAX];
        const size_t n = g->rule->states(&g->hyper, slot->rows, slot->cols, specs);
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
            const size_t blocks = blocks_of(g, t), n = g->rule->states(&g->hyper, slot->rows, slot->cols, specs);
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
