#ifndef OPTIM_OPTIM_PRIVATE_H
#define OPTIM_OPTIM_PRIVATE_H

#include "optim/optim.h"
#include "optim/rule.h"
#include "optim/verbs/verbs.h"

/*
 * Inside optim/: groups.c decides which tensor gets which rule, averages.c holds the two wrappers around all rules,
 * optim.c has state and steps.
 */

/* The averages' arenas, tensor after tensor: state of the run, but for `previous`, which lives within a step. */
typedef struct Averages {
    OptimAveraging config;
    size_t tail_began; /* the update after which the tail was begun; 0: it was not */
    float *change, *previous, *tail, *point;
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
    size_t state_floats, workspace_floats, previous_floats;
    Averages averages;
    size_t steps, steps_done;
    double lr_factor;  /* of the step that has begun */
    Floats *gradients; /* one a tensor, and their sums of squares */
    double *squares;
};

/* --- groups.c --- */

/* Cuts the tensors into groups and resolves the rule and the hyperparameters of each. */
int groups_make(Optim *optim, const OptimConfig *config, Error *e);
void groups_free(Optim *optim);

/* Slots that a tensor is cut into: the blocks of a fused QKV when the rule splits it, else 1. */
size_t groups_blocks(const OptimGroup *g, const Tensor *t);

/* --- optim.c --- */

/* The next state: rows x cols floats under the name "<tensor>.<name>". With `place` unset it is only counted. */
float *optim_add_state(Optim *optim, bool place, const char *tensor, const char *name, size_t rows, size_t cols);

/* To be called after every write of the parameters. */
void optim_wrote(Optim *optim);

/* --- averages.c --- */

/* Checks the averages that are asked for and resolves when the tail begins. */
int averages_resolve(Optim *optim, const OptimConfig *config, Error *e);

/* Their state, as optim_add_state. */
void averages_lay_out(Optim *optim, bool place);

/* EMA-Nesterov, before a step: remembers the parameters and shifts them along their average change. */
void averages_shift(Optim *optim);

/* EMA-Nesterov shifts parameters whose norm a rule keeps: each matrix gets the one back that it had at rest. */
void averages_pin_norms(const Optim *optim, const OptimGroup *g);

/* tail_began of a state from before it was kept: a tail that had not begun is zero. */
size_t averages_guess_tail(const Optim *optim);

/* After a step: the averages take it in. */
void averages_update(Optim *optim);

#endif
