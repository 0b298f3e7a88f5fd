#ifndef OPTIM_RULE_H
#define OPTIM_RULE_H

#include "optim/optim.h"

/*
 * The contract between an update rule and the rest of optim/. A rule is one OptimRule in a file of its own and one row
 * of the table in optim.c. It declares its state; shared code allocates, saves and restores it. There are two kinds:
 *
 *   elementwise   `scalars` turns hyperparameters and step into the float constants of one step, computed in double;
 *                 `elements` updates a stretch of n elements. The mathematics of one element is a small inline function
 *                 in <rule>_math.h, which a CUDA kernel can call as well.
 *   matrix        `step` updates a whole group, batching same-shaped matrices, over the verbs of verbs.h.
 */

enum { OPTIM_STATES_MAX = 4, OPTIM_SCALARS_MAX = 12 };

typedef struct OptimStateSpec {
    const char *name; /* "m" */
    size_t rows, cols;
} OptimStateSpec;

/* One matrix or vector as a rule sees it: a tensor, or one block of a split QKV. */
typedef struct OptimSlot {
    size_t rows, cols;
    float *param;
    const float *grad;
    float *state[OPTIM_STATES_MAX];
} OptimSlot;

typedef struct OptimGroup {
    const char *name;
    const struct OptimRule *rule;
    OptimHyper hyper; /* resolved: what the rule uses is set */
    size_t count;
    OptimSlot *slots;       /* same-shaped ones follow one another */
    float *workspace;       /* of rule->workspace floats, shared by the groups */
    const Tensor **tensors; /* the tensors the slots were cut from */
    size_t tensor_count;
} OptimGroup;

typedef struct OptimStep {
    OptimHyper hyper;  /* the group's, as of this step: the learning rate is times the schedule */
    double grad_scale; /* every gradient is multiplied by it */
    size_t t;          /* 1 in the first step */
} OptimStep;

typedef struct OptimRule {
    const char *name, *summary, *source;
    bool matrices_only;
    OptimHyper defaults; /* unset: the rule does not use it, and setting it is an error */

    /* Refuses combinations that make no sense; NULL when there are none. */
    int (*check)(const OptimHyper *h, Error *e);

    /* State of one slot of rows x cols. Returns how many specs it wrote. */
    size_t (*states)(const OptimHyper *h, size_t rows, size_t cols, OptimStateSpec *specs);

    /* elementwise rules */
    void (*scalars)(const OptimStep *step, float *k);
    void (*elements)(size_t n, float *p, const float *g, float *const *state, const float *k);

    /* matrix rules */
    size_t (*workspace)(const OptimGroup *group); /* floats */
    void (*step)(const OptimGroup *group, const OptimStep *step);
} OptimRule;

extern const OptimRule optim_sgd, optim_adagrad, optim_rmsprop, optim_adadelta, optim_adam, optim_adamw, optim_signsgd,
    optim_signum, optim_lion, optim_muon;

#endif
