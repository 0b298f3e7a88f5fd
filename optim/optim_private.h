#ifndef OPTIM_OPTIM_PRIVATE_H
#define OPTIM_OPTIM_PRIVATE_H

#include "optim/optim.h"
#include "optim/rule.h"
#include "optim/verbs/verbs.h"

/*
 * Internals of optim/: groups.c assigns tensors to rules, averages.c holds the two wrappers around all rules, optim.c
 * state and steps.
 */

/* The averages' arenas, tensor after tensor. */
typedef struct Averages {
    OptimAveraging config;
    size_t tail_began; /* the update after which the tail average started; 0: not yet */
    float *change, *tail, *point;
} Averages;

struct Optim {
    size_t group_count;
    OptimGroup *groups;
    size_t tensor_count;
    const Tensor *tensors;
    Arenas arenas;
    Verbs *on; /* NULL in a plan */
    size_t state_count;
    OptimState *states;
    float *state_arena, *workspace;
    float *previous; /* the parameters before a step, tensor after tensor */
    size_t state_floats, workspace_floats, previous_floats;
    Averages averages;
    size_t steps, steps_done;
    double lr_factor, aux_factor; /* of the current step */
    Floats *gradients;            /* one per tensor, and their sums of squares */
    double *squares;
};

/* --- groups.c --- */

/* Divides the tensors into groups and resolves the rule and the hyperparameters of each. */
int groups_make(Optim *optim, const OptimConfig *config, Error *e);
void groups_free(Optim *optim);

/* Slots that a tensor is split into: the blocks of a fused QKV if the rule splits it, otherwise 1. */
size_t groups_blocks(const OptimGroup *g, const Tensor *t);

/* --- optim.c --- */

/* Appends a state, rows x cols floats named "<tensor>.<name>"; only counts it unless `place`. */
float *optim_add_state(Optim *optim, bool place, const char *tensor, const char *name, size_t rows, size_t cols);

/* To be called after every write of the parameters. */
void optim_wrote(Optim *optim);

/* --- averages.c --- */

/* Checks the averages asked for and resolves where the tail starts. */
int averages_resolve(Optim *optim, const OptimConfig *config, Error *e);

/* Adds their state, with `place` as in optim_add_state. */
void averages_lay_out(Optim *optim, bool place);

/* EMA-Nesterov, before a step: shifts the parameters along their average change. */
void averages_shift(Optim *optim);

/* For rules that keep norms: restores the norm that each matrix had before EMA-Nesterov's shift. */
void averages_pin_norms(const Optim *optim, const OptimGroup *g);

/* tail_began for a state saved before it was recorded: a tail that had not started is zero. */
size_t averages_guess_tail(const Optim *optim);

/* Updates the averages after a step. */
void averages_update(Optim *optim);

#endif
