#include "optim/optim_private.h"

#include "base/nearest.h"
#include "optim/sensitivity.h"

#include <stdlib.h>
#include <string.h>

/* What a tensor is for, as far as groups go. */
typedef enum { KIND_HIDDEN, KIND_EMBED, KIND_HEAD, KIND_VECTOR, KIND_COUNT } Kind;

static const char *const kind_names[KIND_COUNT] = {"hidden", "embed", "head", "vector"};

static const OptimRule *find_rule(const char *name, Error *e)
{
    char known[sizeof e->text - 128] = "";
    Nearest nearest = nearest_to(name);
    for (size_t i = 0; optim_rule(i) != NULL; i++) {
        nearest_try(&nearest, optim_rule(i)->name);
        if (strcmp(optim_rule(i)->name, name) == 0)
            return optim_rule(i);
        strncat(known, i == 0 ? "" : ", ", sizeof known - strlen(known) - 1);
        strncat(known, optim_rule(i)->name, sizeof known - strlen(known) - 1);
    }
    if (nearest.best[0] != '\0')
        error_set(e, "there is no optimizer '%s'; did you mean %s? There are %s", name, nearest.best, known);
    else
        error_set(e, "there is no optimizer '%s'; there are %s", name, known);
    return NULL;
}

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

/* Overlays h with what `asked` sets; setting what the rule does not use is an error. */
static int overlay(const OptimRule *rule, OptimHyper *h, const OptimHyper *asked, const char *prefix, Error *e)
{
    for (size_t id = 0; id < HYPER_COUNT; id++) {
        if (!asked->at[id].set)
            continue;
        if (!h->at[id].set)
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

static bool is_on(const OptimHyper *h, HyperId id) { return h->at[id].set && hyper(h, id) != 0; }

/* Heads are rows of the matrices that a fused QKV is split into. */
static int check_split(const OptimHyper *h, Error *e)
{
    if (is_on(h, HYPER_SPLIT_HEADS) && !is_on(h, HYPER_SPLIT_QKV))
        return error_set(
            e, "--split-heads splits the matrices that --split-qkv makes, which --no-split-qkv leaves as one");
    return 0;
}

/* Schedules that depend on the length of the run need to know it. */
static int check_steps(const OptimConfig *config, const OptimHyper *h, const char *prefix, Error *e)
{
    const bool eps_grows = h->at[HYPER_EPS_MAX].set && hyper(h, HYPER_EPS_MAX) > 0;
    const bool cools_down = h->at[HYPER_MOMENTUM_COOLDOWN].set && hyper(h, HYPER_MOMENTUM_COOLDOWN) > 0;
    if (config->steps == 0 && (eps_grows || cools_down))
        return error_set(e, "--%s%s needs to know the number of steps", prefix,
                         eps_grows ? "eps-max" : "momentum-cooldown");
    return 0;
}

/* The rule that --embed-optimizer or --head-optimizer names for this kind alone, or NULL. */
static const char *own_rule(const OptimConfig *config, Kind kind)
{
    return kind == KIND_EMBED ? config->embed_rule : kind == KIND_HEAD ? config->head_rule : NULL;
}

static int resolve_group(const OptimConfig *config, Kind kind, double sensitivity, OptimGroup *g, Error *e)
{
    const OptimRule *matrix_rule = find_rule(config->rule, e), *rule = matrix_rule;
    if (rule == NULL)
        return -1;
    const bool aux = kind != KIND_HIDDEN, own = own_rule(config, kind) != NULL;
    if (own)
        rule = find_rule(own_rule(config, kind), e);
    else if (aux && config->aux_rule != NULL)
        rule = find_rule(config->aux_rule, e);
    else if (aux && matrix_rule->matrices_only)
        rule = &optim_adamw;
    if (rule == NULL)
        return -1;
    if (aux && !own && rule->matrices_only)
        return error_set(e, "--aux-optimizer %s serves hidden matrices only", rule->name);
    if (sensitivity == 1)
        snprintf(g->name, sizeof g->name, "%s", kind_names[kind]);
    else
        snprintf(g->name, sizeof g->name, "%s/%g", kind_names[kind], sensitivity);
    g->rule = rule;
    g->sensitivity = sensitivity;
    g->aux = aux;
    g->hyper = rule->defaults;
    if (rule->defaults.at[HYPER_SPLIT_QKV].set)
        hyper_set(&g->hyper, HYPER_SPLIT_HEADS, 0);
    if (rule == matrix_rule && overlay(rule, &g->hyper, &config->hyper, "", e) != 0)
        return -1;
    if (aux && !own && overlay(rule, &g->hyper, &config->aux_hyper, "aux-", e) != 0)
        return -1;
    if (kind == KIND_EMBED && overlay(rule, &g->hyper, &config->embed_hyper, "embed-", e) != 0)
        return -1;
    if (kind == KIND_HEAD && overlay(rule, &g->hyper, &config->head_hyper, "head-", e) != 0)
        return -1;
    if (kind == KIND_VECTOR && rule->defaults.at[HYPER_WEIGHT_DECAY].set)
        hyper_set(&g->hyper, HYPER_WEIGHT_DECAY, 0); /* gains and biases are not decayed unless asked for */
    if (kind == KIND_VECTOR && overlay(rule, &g->hyper, &config->vector_hyper, "vector-", e) != 0)
        return -1;
    hyper_set(&g->hyper, HYPER_LR, hyper(&g->hyper, HYPER_LR) / sensitivity);
    Error range;
    if (hyper_check(HYPER_LR, hyper(&g->hyper, HYPER_LR), "", &range) != 0)
        return error_set(e,
                         "the group %s has the learning rate %g after division by its --sensitivity; it must be a "
                         "number from 0 to %g",
                         g->name, hyper(&g->hyper, HYPER_LR), hyper_info[HYPER_LR].most);
    const char *prefix = aux && !own && (rule != matrix_rule || is_any_set(&config->aux_hyper)) ? "aux-" : "";
    if ((!aux && check_split(&g->hyper, e) != 0) || check_steps(config, &g->hyper, prefix, e) != 0)
        return -1;
    return rule->settle != NULL ? rule->settle(&g->hyper, prefix, e) : 0;
}

size_t groups_of(const Optim *optim, const Tensor *t)
{
    for (size_t i = 0; i < optim->group_count; i++)
        for (size_t k = 0; k < optim->groups[i].tensor_count; k++)
            if (optim->groups[i].tensors[k] == t)
                return i;
    return 0; /* each is in one */
}

size_t groups_blocks(const OptimGroup *g, const Tensor *t)
{
    const size_t heads = is_on(&g->hyper, HYPER_SPLIT_HEADS) && t->heads > 0 ? t->heads : 1;
    return is_on(&g->hyper, HYPER_SPLIT_QKV) ? heads * t->blocks : 1;
}

OptimShape groups_state(const OptimGroup *g, const Tensor *t, const OptimStateSpec *spec)
{
    const size_t blocks = groups_blocks(g, t);
    const OptimShape shape = spec->shape(&g->hyper, t->rows / blocks, t->cols);
    return (OptimShape){blocks * shape.rows, shape.cols};
}

/* Whether tensor i is of this kind and has this sensitivity. */
static bool belongs(const Optim *optim, const OptimConfig *config, size_t i, Kind kind, double sensitivity)
{
    const Tensor *t = &optim->tensors[i];
    return kind_of(t->role) == kind && sensitivity_of(config->sensitivity, t->name) == sensitivity;
}

static int make_group(Optim *optim, const OptimConfig *config, Kind kind, double sensitivity, Error *e)
{
    size_t tensors = 0;
    for (size_t i = 0; i < optim->tensor_count; i++)
        tensors += belongs(optim, config, i, kind, sensitivity);
    OptimGroup *g = &optim->groups[optim->group_count++];
    if (resolve_group(config, kind, sensitivity, g, e) != 0)
        return -1;
    g->on = optim->on;
    g->tensors = malloc(tensors * sizeof *g->tensors);
    if (g->tensors == NULL)
        return error_set(e, "out of memory for the group %s", g->name);
    for (size_t i = 0; i < optim->tensor_count; i++)
        if (belongs(optim, config, i, kind, sensitivity))
            g->tensors[g->tensor_count++] = &optim->tensors[i];
    return 0;
}

/* The first that is set. */
static const char *name_of_any(const OptimHyper *h)
{
    size_t id = 0;
    while (!h->at[id].set)
        id++;
    return hyper_info[id].name;
}

/* One group for each kind and each of its sensitivities, in order of first appearance. */
int groups_make(Optim *optim, const OptimConfig *config, Error *e)
{
    bool present[KIND_COUNT] = {false};
    for (Kind kind = 0; kind < KIND_COUNT; kind++) {
        for (size_t i = 0; i < optim->tensor_count; i++) {
            const double sensitivity = sensitivity_of(config->sensitivity, optim->tensors[i].name);
            bool first = belongs(optim, config, i, kind, sensitivity);
            for (size_t j = 0; j < i && first; j++)
                first = !belongs(optim, config, j, kind, sensitivity);
            if (first && make_group(optim, config, kind, sensitivity, e) != 0)
                return -1;
            present[kind] = present[kind] || first;
        }
    }
    if (!present[KIND_HEAD] && (config->head_rule != NULL || is_any_set(&config->head_hyper)))
        return error_set(e, "--head-%s: the head is tied to the token embedding, whose options begin with --embed-",
                         config->head_rule != NULL ? "optimizer" : name_of_any(&config->head_hyper));
    if (!present[KIND_VECTOR] && is_any_set(&config->vector_hyper))
        return error_set(e, "--vector-%s: the model has neither gains nor biases", name_of_any(&config->vector_hyper));
    return 0;
}

void groups_free(Optim *optim)
{
    for (size_t i = 0; i < optim->group_count; i++) {
        free(optim->groups[i].slots);
        free(optim->groups[i].tensors);
    }
    free(optim->groups);
}

/* --------------------------------------------------------------------------------------------------------------
 * Resolved groups
 */

size_t optim_group_count(const Optim *optim) { return optim->group_count; }

OptimGroupInfo optim_group_info(const Optim *optim, size_t i)
{
    const OptimGroup *g = &optim->groups[i];
    OptimGroupInfo info = {.name = g->name,
                           .rule = g->rule->name,
                           .hyper = g->hyper,
                           .tensors = g->tensor_count,
                           .sensitivity = g->sensitivity,
                           .seconds = g->seconds,
                           .own_schedule = g->rule->own_schedule};
    for (size_t k = 0; k < g->tensor_count; k++) {
        const Tensor *t = g->tensors[k];
        const size_t blocks = groups_blocks(g, t);
        info.parameters += tensor_size(t);
        if (g->rule->flops != NULL)
            info.flops += (double)blocks * g->rule->flops(&g->hyper, t->rows / blocks, t->cols);
        for (const OptimStateSpec *spec = g->rule->states; spec->name != NULL; spec++) {
            const OptimShape shape = groups_state(g, t, spec);
            info.state_floats += shape.rows * shape.cols;
        }
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
        for (size_t k = 0; k < g->tensor_count; k++) {
            const Tensor *t = g->tensors[k];
            const size_t blocks = groups_blocks(g, t);
            fprintf(to, "  %-24s", t->name);
            if (blocks > 1)
                fprintf(to, " %zu x", blocks);
            fprintf(to, " %zu x %zu ", t->rows / blocks, t->cols);
            for (const OptimStateSpec *spec = g->rule->states; spec->name != NULL; spec++) {
                const OptimShape shape = groups_state(g, t, spec);
                if (shape.rows > 0)
                    fprintf(to, " %s[%zu,%zu]", spec->name, shape.rows / blocks, shape.cols);
            }
            fprintf(to, "\n");
        }
    }
}
