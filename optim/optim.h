#ifndef OPTIM_OPTIM_H
#define OPTIM_OPTIM_H

#include "base/error.h"
#include "base/tensor.h"
#include "comm/comm.h"
#include "optim/averages.h"
#include "optim/hyper.h"

#include <stdio.h>

/*
 * Optimizers. The parameters are split into groups (hidden matrices, embeddings, head, gains and biases); each group
 * is updated by one of the OPTIM_RULES (rule.h) with its own hyperparameters. Rules know matrices and vectors, not
 * layers. README.md tells how to add one.
 *
 * Of several ranks each updates its share of the parameters and has state for these alone (ZeRO's first stage,
 * Rajbhandari et al. 2020): whole matrices where the rule needs them, dealt out largest first, otherwise equal
 * stretches of the arena. Functions marked collective are called by all ranks.
 */

typedef struct OptimConfig {
    const char *rule;                   /* for the hidden matrices */
    const char *aux_rule;               /* for the rest; NULL: the same rule if it takes any tensor, otherwise adamw */
    const char *embed_rule, *head_rule; /* for embeddings and for an untied head; NULL: as for the rest */
    OptimHyper hyper;                   /* unset values take the rule's defaults */
    OptimHyper
        aux_hyper; /* likewise, but where one rule serves all, `hyper` comes first; not for embed_rule, head_rule */
    OptimHyper embed_hyper, head_hyper, vector_hyper; /* these override aux_hyper's */
    const char *sensitivity;                          /* a list as in sensitivity.h, or NULL */
    OptimAveraging averaging;
    size_t steps;   /* of the whole run, for averages */
    size_t planned; /* that momentum, eps and rules are scheduled for; 0: the same */
    Comm *comm;     /* borrowed; NULL: one rank */
    bool rounds;    /* the model computes with hidden matrices in bf16, so ranks send each other these: optim_gather */
} OptimConfig;

typedef struct Optim Optim;

/*
 * Resolves the groups, then allocates and initialises all state. Tensors and arenas are borrowed and must outlive the
 * Optim. Errors: unknown rule, a hyperparameter out of range or NaN, --head-lr with a tied head, averages and schedules
 * that do not fit the steps, bad sensitivities, out of memory. With arenas NULL nothing is allocated: a plan, of which
 * only groups and memory can be queried.
 */
int optim_create(const OptimConfig *config, const Tensor *tensors, size_t tensor_count, const Arenas *arenas,
                 Optim **optim, Error *e);
void optim_free(Optim *optim);

/* To be called once the parameters are initialised, before the first step: rejects, by name, a zero matrix under a rule
 * that keeps its norm. */
int optim_check_parameters(const Optim *optim, Error *e);

/* What each rank updates: the same list on all ranks. */
size_t optim_pieces(const Optim *optim, const CommPiece **pieces);

/* Bytes that a rank sends in a step, on average over the ranks: gradients to those whose they are, and parameters from
 * there to all. */
double optim_bytes_sent(const Optim *optim);

/* Collective: with `rounds`, a rank has the hidden matrices of others only rounded; this brings what they are. To be
 * called before parameters are read, until the next step. */
void optim_gather(Optim *optim);

/* Collective: Euclidean norm of all gradients, of which each rank's own pieces count, summed in double. If it is not
 * finite, *culprit is the first tensor whose gradient holds a NaN or Inf (otherwise NULL). culprit may be NULL. */
double optim_grad_norm(const Optim *optim, const Tensor **culprit);

/* Collective. A step has two parts. optim_begin moves the parameters to where the gradient is evaluated, for rules and
 * wrappers that look ahead; lr_factor, the schedule's factor of the hidden matrices' learning rates, and aux_factor,
 * that of all others, hold for the whole step. optim_step updates all groups from there, with gradients times
 * grad_scale (clipping); the parameters are then its result. */
void optim_begin(Optim *optim, double lr_factor, double aux_factor);
void optim_step(Optim *optim, double grad_scale);

/*
 * To be called before optim_step, on all ranks alike: the step then ends, after the rules and MuLoCo, by multiplying
 * floats of the parameter arena, `n` from `first` on, by a factor; of matrices whole rows. States that the rule makes
 * weights of are scaled with them, momenta are not. The list is borrowed until then.
 */
typedef struct OptimScaling {
    size_t first, n;
    double factor;
} OptimScaling;
void optim_scale(Optim *optim, const OptimScaling *list, size_t count);

/*
 * For rules that estimate curvature from labels that the model itself draws (Sophia). Whether one wants their gradient
 * after update number `step` (with 0: after any); and takes it, of the mean loss of `labels` of them, times grad_scale.
 * The parameters stay.
 */
bool optim_wants_drawn(const Optim *optim, size_t step);
void optim_take_drawn(Optim *optim, double grad_scale, size_t labels);

/*
 * For rules that compare gradients of the same inputs (MARS's exact form). Whether one wants that of update number
 * `step` (with 0: of any) also where the last step's was taken: between optim_begin and optim_step, optim_swap_previous
 * (collective) puts these parameters in place of the present ones, which it keeps, and brings them back when called
 * again; optim_take_previous takes the gradient, times grad_scale.
 */
bool optim_wants_previous(const Optim *optim, size_t step);
void optim_swap_previous(Optim *optim);
void optim_take_previous(Optim *optim, double grad_scale);

/* Collective, in optim_step's place: the parameters are again what they were before optim_begin, to the bit. */
void optim_abandon(Optim *optim);

/* The device its tensors are on, NULL in a plan; and its ranks. */
struct Verbs *optim_verbs(const Optim *optim);
Comm *optim_comm(const Optim *optim);

/*
 * Collective. With a tail EMA, or a rule that has its own point to show (OptimRule.shown), optim_show puts what is
 * shown into the parameter arena and optim_hide restores the parameters, bit for bit: around validation, samples and
 * checkpoints, whose state then holds the parameters as "<tensor>.point". Call optim_hide after reading a checkpoint,
 * too. Otherwise they do nothing.
 */
void optim_show(Optim *optim);
void optim_hide(Optim *optim);

/* Updates so far: t of the bias corrections. */
size_t optim_steps_done(const Optim *optim);

enum { OPTIM_COMMON = 2 }; /* numbers, kept from step to step */

/* What a checkpoint keeps besides the state tensors; the names are those of the members, in order. */
typedef struct OptimScalars {
    double steps_done;
    double tail_began;           /* the update after which the tail average started; 0: not yet */
    double factor;               /* of EMA-Nesterov */
    double common[OPTIM_COMMON]; /* as in OptimStep (rule.h), of the last step */
} OptimScalars;
enum { OPTIM_SCALARS = sizeof(OptimScalars) / sizeof(double) };
enum { OPTIM_COUNTS = OPTIM_SCALARS - OPTIM_COMMON }; /* which are not negative */
extern const char *const optim_scalar_names[OPTIM_SCALARS];
OptimScalars optim_scalars(const Optim *optim);

/* On resume, after the state. A NaN, from a checkpoint older than that scalar, is replaced by what it would have been,
 * or nearly; steps_done must be given. */
void optim_set_scalars(Optim *optim, OptimScalars scalars);

/* The state tensors, for checkpoints: F32, rows x cols, named "<tensor>.<state>". */
typedef struct OptimState {
    char name[64];
    size_t rows, cols;
    float *data; /* what this rank has of it, on the parameters' device: the host must not touch a GPU's */
} OptimState;
size_t optim_state_count(const Optim *optim);
const OptimState *optim_state(const Optim *optim, size_t i);

/* Collective: `host` becomes the whole state on rank 0, on others nothing of use. */
void optim_state_read(const Optim *optim, size_t i, float *host);

/* The same of a tensor's gradient. */
void optim_gradient_read(const Optim *optim, const Tensor *tensor, float *host);

/* Of the whole state each rank takes what is its own. */
void optim_state_write(Optim *optim, size_t i, const float *host);

/* The resolved groups, of all ranks together. */
typedef struct OptimGroupInfo {
    const char *name; /* "hidden", "embed", "head", "vector"; "hidden/2" where a sensitivity is 2 */
    const char *rule;
    OptimHyper hyper;
    size_t tensors, parameters, state_floats;
    double flops;       /* of an update: products and factorisations alone (OptimRule.flops), 0 for elementwise rules */
    double sensitivity; /* the learning rate was divided by it */
    double seconds;     /* of the last step; on a GPU, to launch it */
    bool own_schedule;  /* the run's does not apply */
} OptimGroupInfo;
size_t optim_group_count(const Optim *optim);
OptimGroupInfo optim_group_info(const Optim *optim, size_t i);

/* The learning rate of a tensor's group in the current or last step. */
double optim_rate_of(const Optim *optim, const Tensor *tensor);

/* Which state a tensor's rule marks as momentum, of the tensor's shape; optim_state_count: none. */
size_t optim_momentum(const Optim *optim, const Tensor *tensor);

/* Bytes of this rank's state and workspace. */
size_t optim_memory(const Optim *optim);

/* --list-groups: a line per group with its resolved hyperparameters, a line per tensor with its state. */
void optim_list_groups(const Optim *optim, FILE *to);

/* For --help and messages: name and one-line summary of rule i; NULL past the end. */
const char *optim_rule_name(size_t i);
const char *optim_rule_summary(size_t i);

/* Whether some rule that takes any tensor uses the hyperparameter, so that it can be set for the aux groups. */
bool optim_aux_uses(HyperId id);

#endif
