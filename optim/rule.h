#ifndef OPTIM_RULE_H
#define OPTIM_RULE_H

#include "optim/optim.h"

/*
 * The contract between an update rule and the rest of optim/. A rule is one OptimRule in a file of its own, or of its
 * family, and one row of the table in optim.c. It declares its state; shared code allocates, saves and restores it.
 * There are two kinds:
 *
 *   elementwise   `scalars` turns hyperparameters and step into the float constants of one step, computed in double;
 *                 `elements` updates a stretch of n elements. The mathematics of one element is a small inline function
 *                 in <rule>_math.h, which a CUDA kernel can call as well.
 *   matrix        `step` updates a whole group, batching same-shaped matrices (batch.h), over the verbs of verbs.h.
 */

enum { OPTIM_STATES_MAX = 8, OPTIM_SCALARS_MAX = 16 };

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
    char name[32];
    const struct OptimRule *rule;
    OptimHyper hyper;   /* resolved: what the rule uses is set */
    double sensitivity; /* that its rate was divided by */
    size_t count;
    OptimSlot *slots;       /* same-shaped ones follow one another, and so do their states of one kind */
    float *workspace;       /* of rule->workspace floats, shared by the groups */
    const Tensor **tensors; /* the tensors the slots were cut from */
    size_t tensor_count;
    double seconds; /* of the last step */
} OptimGroup;

typedef struct OptimStep {
    OptimHyper hyper;  /* the group's, as of this step: the learning rate is times the schedule */
    double grad_scale; /* every gradient is multiplied by it */
    size_t t;          /* 1 in the first step */
} OptimStep;

typedef struct OptimRule {
    const char *name, *summary, *source;
    bool matrices_only;
    bool keeps_norm;     /* of each matrix, which must not be zero then */
    OptimHyper defaults; /* unset: the rule does not use it, and setting it is an error */

    /* Refuses combinations that make no sense, of the options --<prefix>...; NULL when there are none. */
    int (*check)(const OptimHyper *h, const char *prefix, Error *e);

    /* State of one slot of rows x cols. Returns how many specs it wrote. */
    size_t (*states)(const OptimHyper *h, size_t rows, size_t cols, OptimStateSpec *specs);

    /* First values of a state that does not begin at zero; NULL when there is none. */
    void (*init)(const OptimGroup *group);

    /* elementwise rules */
    void (*scalars)(const OptimStep *step, float *k);
    void (*elements)(size_t n, float *p, const float *g, float *const *state, const float *k);
    /* Moves parameters to where their gradient is to be taken; NULL: they stay where they are. */
    void (*look_ahead)(size_t n, float *p, float *const *state, const float *k);

    /* matrix rules */
    size_t (*workspace)(const OptimGroup *group); /* floats */
    void (*step)(const OptimGroup *group, const OptimStep *step);
} OptimRule;

/* Rule i of the table; NULL past the end. */
const OptimRule *optim_rule(size_t i);

extern const OptimRule optim_sgd, optim_nesterov, optim_adagrad, optim_rmsprop, optim_adadelta, optim_adam, optim_adamw,
    optim_nested_adam, optim_adam_cpr, optim_signsgd, optim_signum, optim_lion, optim_muon, optim_spectral,
    optim_normuon, optim_muonh, optim_normuonh, optim_adamh, optim_muon2, optim_dion, optim_shampoo, optim_soap,
    optim_soap_muon, optim_kl_soap;

#endif
