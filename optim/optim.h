#ifndef OPTIM_OPTIM_H
#define OPTIM_OPTIM_H

#include "base/error.h"
#include "base/tensor.h"
#include "optim/averages.h"
#include "optim/hyper.h"

#include <stdio.h>

/*
 * Optimizers. The parameters are cut into groups (hidden matrices, embeddings, head, gains and biases); each group
 * goes to one rule of the table in optim.c with its own hyperparameters. A rule knows tensors with a name, a role,
 * rows and cols, and nothing of layers. Adding one = its file + one row of the table: docs in rule.h.
 */

typedef struct OptimConfig {
    const char *rule;     /* for the hidden matrices */
    const char *aux_rule; /* for all the rest; NULL: the same rule if it takes any tensor, otherwise adamw */
    OptimHyper hyper;     /* what is unset takes the rule's default */
    OptimHyper aux_hyper; /* likewise; where one rule serves all, first what `hyper` sets */
    OptimHyper embed_hyper, head_hyper; /* only HYPER_LR may be set: over the aux one */
    const char *sensitivity;            /* list for sensitivity.h, or NULL */
    OptimAveraging averaging;
    size_t steps; /* of the whole run, for what changes during it */
} OptimConfig;

typedef struct Optim Optim;

/*
 * Resolves the groups and allocates all state, at its first values. Tensors and arenas are borrowed and must outlive the
 * Optim. Errors: unknown rule, a hyperparameter out of range or NaN, --head-lr without a head of its own, averages and
 * schedules that do not fit the steps, bad sensitivities, out of memory. With arenas NULL nothing is allocated; only
 * groups and memory can be queried.
 */
int optim_create(const OptimConfig *config, const Tensor *tensors, size_t tensor_count, const Arenas *arenas,
                 Optim **optim, Error *e);
void optim_free(Optim *optim);

/* To be called when the parameters have their values, before the first step: refuses, by name, a matrix that is zero
 * under a rule that keeps its norm. */
int optim_check_parameters(const Optim *optim, Error *e);

/* Euclidean norm of all gradients, summed in double. When it is not finite, *culprit is the first tensor whose
 * gradient holds a NaN or Inf (otherwise NULL). culprit may be NULL. */
double optim_grad_norm(const Optim *optim, const Tensor **culprit);

/* A step has two halves. optim_begin moves the parameters to where their gradient is to be taken, for rules and wrappers
 * that look ahead; lr_factor, the schedule's factor of every learning rate, holds for the whole step. optim_step updates
 * every group from there, gradients times grad_scale (clipping). Between steps the parameters are the result. */
void optim_begin(Optim *optim, double lr_factor);
void optim_step(Optim *optim, double grad_scale);

/* The factor of the step that was begun last; 1 before the first. */
double optim_lr_factor(const Optim *optim);

/* Where its tensors are; NULL in a plan. */
struct Verbs *optim_verbs(const Optim *optim);

/*
 * Where an average is to be shown in place of the parameters (tail EMA), optim_show puts it into the parameter arena
 * and optim_hide puts the parameters back, bit for bit: around validation, samples, and checkpoints, whose state then
 * holds the parameters as "<tensor>.point". After a checkpoint was read, optim_hide too. Otherwise they do nothing.
 */
void optim_show(Optim *optim);
void optim_hide(Optim *optim);

/* Updates done so far: t of the bias corrections. */
size_t optim_steps_done(const Optim *optim);

/* What a checkpoint keeps by name besides the state tensors, for this struct's members in their order. */
typedef struct OptimScalars {
    double steps_done;
    double tail_began; /* the update after which the tail average began; 0: it has not */
} OptimScalars;
enum { OPTIM_SCALARS = sizeof(OptimScalars) / sizeof(double) };
extern const char *const optim_scalar_names[OPTIM_SCALARS];
OptimScalars optim_scalars(const Optim *optim);

/* On resume, after the state. A NaN, of a checkpoint that is older than the number, is replaced by what it would have
 * been; steps_done must be given. */
void optim_set_scalars(Optim *optim, OptimScalars scalars);

/* The state tensors, for checkpoints: F32, rows x cols, named "<tensor>.<state>". */
typedef struct OptimState {
    char name[64];
    size_t rows, cols;
    float *data; /* where the parameters are; on a GPU not for the host to touch */
} OptimState;
size_t optim_state_count(const Optim *optim);
const OptimState *optim_state(const Optim *optim, size_t i);
void optim_state_read(const Optim *optim, size_t i, float *host);
void optim_state_write(Optim *optim, size_t i, const float *host);

/* What the groups were resolved to. */
typedef struct OptimGroupInfo {
    const char *name; /* "hidden", "embed", "head", "vector"; "hidden/2" where a sensitivity is 2 */
    const char *rule;
    OptimHyper hyper;
    size_t tensors, parameters, state_floats;
    double sensitivity; /* that its rate was divided by */
    double seconds;     /* that the last step took; on a GPU, to hand it over */
} OptimGroupInfo;
size_t optim_group_count(const Optim *optim);
OptimGroupInfo optim_group_info(const Optim *optim, size_t i);

/* The learning rate of a tensor's group, without the schedule. */
double optim_rate_of(const Optim *optim, const Tensor *tensor);

/* What a tensor's rule calls its momentum, of the tensor's shape and where the parameters are; NULL: it has none. */
const float *optim_momentum(const Optim *optim, const Tensor *tensor);

/* Bytes of state and of workspace. */
size_t optim_memory(const Optim *optim);

/* --list-groups: one line a group with its resolved hyperparameters, one line a tensor with its state. */
void optim_list_groups(const Optim *optim, FILE *to);

/* The table of rules, for --help and messages: name and one-line summary of rule i; NULL past the end. */
const char *optim_rule_name(size_t i);
const char *optim_rule_summary(size_t i);

/* Whether a hyperparameter is used by a rule that takes any tensor, and so can be set for the aux groups. */
bool optim_aux_uses(HyperId id);

#endif
