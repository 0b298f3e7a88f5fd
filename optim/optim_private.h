#ifndef OPTIM_OPTIM_PRIVATE_H
#define OPTIM_OPTIM_PRIVATE_H

#include "optim/optim.h"
#include "optim/rule.h"
#include "optim/verbs/verbs.h"

/*
 * Internals of optim/: groups.c assigns tensors to rules, shares.c what rules update to ranks, measure.c sums over all
 * tensors, averages.c holds the wrappers around all rules, scaling.c changes parameters from outside, optim.c has state
 * and steps.
 */

/* The averages' arenas, of this rank's stretches. */
typedef struct Averages {
    OptimAveraging config;
    size_t tail_began; /* the update after which the tail average started; 0: not yet */
    double factor;     /* of EMA-Nesterov: that of the step before; NaN: unknown, as that of this step */
    float *change, *tail, *point, *snapshot, *outer;
} Averages;

/*
 * The least that a rank can have: a whole matrix where the rule is a matrix rule, otherwise a stretch of a tensor.
 * Units do not depend on the number of ranks, so neither does what is summed unit by unit.
 */
typedef struct Unit {
    const Tensor *tensor;
    size_t first, n; /* floats of the tensor */
    size_t group;
    size_t rank;
} Unit;

/* Adjacent floats of a tensor that are this rank's. */
typedef struct Stretch {
    const Tensor *tensor;
    size_t n;
    size_t offset; /* in the arenas */
} Stretch;

/* What a rank has of a state: floats of the whole, from and how many; and where, if it is this rank. */
typedef struct StatePart {
    size_t state;
    CommPiece piece;
    float *data;
} StatePart;

/* Units of the rule that measures, each as a slot of its own. */
typedef struct Measure {
    OptimSlot *slots;                                  /* this rank's, group by group */
    double (*sums)[OPTIM_SUMS];                        /* of all units, in order, then of this rank's in one group */
    double before[OPTIM_COMMON], common[OPTIM_COMMON]; /* as in OptimStep */
} Measure;

struct Optim {
    size_t group_count;
    OptimGroup *groups;
    size_t tensor_count;
    const Tensor *tensors;
    Arenas arenas;
    Verbs *on;  /* NULL in a plan */
    Comm *comm; /* NULL: one rank */
    Ranks ranks;
    size_t unit_count, piece_count, stretch_count;
    Unit *units;         /* of all ranks, in order of the arena */
    CommPiece *pieces;   /* the same, those of one rank that touch as one: of hidden matrices, then all others */
    size_t hidden_count; /* of the pieces */
    CommPiece *rounded;  /* where `rounding` has the hidden ones in bf16; NULL: they are not rounded */
    float *rounding;
    size_t rounding_floats;
    Stretch *stretches; /* of this rank, tensor by tensor */
    size_t state_count, part_count;
    OptimState *states;
    StatePart *parts; /* state by state */
    float *state_arena, *workspace;
    float *previous;       /* this rank's stretches before a step */
    float *previous_point; /* and where the last step's gradient was taken, a state; NULL: no rule wants it */
    size_t state_floats, workspace_floats, previous_floats;
    Averages averages;
    Measure measure;
    size_t steps, steps_done;     /* planned for, and taken */
    double lr_factor, aux_factor; /* of the current step */
    const OptimScaling *scalings; /* that it ends with */
    size_t scaling_count;
    Floats *gradients;            /* of this rank's units, and the sums of squares of all units */
    double *squares;
};

/* --- groups.c --- */

/* Divides the tensors into groups and resolves the rule and the hyperparameters of each. */
int groups_make(Optim *optim, const OptimConfig *config, Error *e);
void groups_free(Optim *optim);

/* The group that a tensor is in. */
size_t groups_of(const Optim *optim, const Tensor *t);

/* Slots that a tensor is split into: blocks of a fused QKV if the rule splits it, the heads of each, otherwise 1. */
size_t groups_blocks(const OptimGroup *g, const Tensor *t);

/* A state of a whole tensor: those of its blocks, one below the other. */
OptimShape groups_state(const OptimGroup *g, const Tensor *t, const OptimStateSpec *spec);

/* --- shares.c --- */

/* Deals the tensors of all groups out to the ranks, and makes this rank's slots. rounds: as in OptimConfig. */
int shares_make(Optim *optim, bool rounds, Error *e);

/* --- measure.c --- */

/* Refuses groups of a rule that cannot have its numbers in common. */
int measure_check(const Optim *optim, Error *e);

int measure_make(Optim *optim, Error *e);
void measure_free(Optim *optim);

/* Collective, before an update: measures all gradients where a rule asks for it, and updates what its groups have in
 * common. */
void measure_step(Optim *optim, double grad_scale);

/* --- scaling.c --- */

/* Does what optim_scale asked for, on this rank's parameters. */
void scaling_apply(Optim *optim);

/* --- optim.c --- */

/* The coming step, with the group's scheduled hyperparameters. */
OptimStep optim_step_of(const Optim *optim, const OptimGroup *g, double grad_scale);

/* Appends a state of a tensor, rows x cols floats named "<tensor>.<name>", of which a rank has as large a part as of
 * the tensor; only counts it unless `place`. Returns what this rank has. */
float *optim_add_state(Optim *optim, bool place, const Tensor *tensor, const char *name, size_t rows, size_t cols);

/* Adds such a state of every tensor, or of those that have it: this rank's stretches of them, one after the other, which
 * it returns; NULL: only counted. */
float *optim_add_arena(Optim *optim, bool place, const char *name, bool (*has)(const Optim *, const Tensor *));

/* Collective, after every write of the parameters: all ranks get what each has written. */
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

/* MuLoCo: takes the first snapshot, before the first step; its own step, after each of the rules. */
void averages_snapshot(Optim *optim);
void averages_outer_step(Optim *optim);

/* Updates the averages after a step. */
void averages_update(Optim *optim);

#endif
