#ifndef OPTIM_RULE_H
#define OPTIM_RULE_H

#include "optim/optim.h"
#include "optim/verbs/decay.h"
#include "optim/verbs/verbs.h"

/*
 * The contract between an update rule and the rest of optim/. A rule is one OptimRule, in a file of its own or of its
 * family, and one entry of OPTIM_RULES. It declares its state; shared code allocates, saves and restores it. There are
 * two kinds:
 *
 *   elementwise   `scalars` turns the hyperparameters into the float constants of one step, computed in double.
 *                 The mathematics of one element is a small inline function in <rule>_math.h; its row of
 *                 OPTIM_ELEMENTS (rules/elements.h) generates the CPU loop and the CUDA kernel.
 *   matrix        `step` updates one batch of same-shaped matrices (rules/batch.h) with the verbs of verbs/verbs.h.
 */

enum { OPTIM_STATES_MAX = 9, OPTIM_SCALARS_MAX = 16, OPTIM_ELEMENT_STATES = 4, OPTIM_SUMS = 2 };

/* Every rule, defined as optim_<name>; --optimizer lists them in this order. */
/* clang-format off */
#define OPTIM_RULES(R) \
    R(sgd) R(nesterov) R(adagrad) R(rmsprop) R(adadelta) R(adam) R(adamw) R(nested_adam) R(adam_cpr) R(ademamix) \
    R(nadamw) R(adopt) R(schedule_free) R(signsgd) R(signum) R(lion) R(mars) R(mars_lion) R(cautious_adamw) \
    R(cautious_lion) R(muon) R(spectral) R(normuon) R(contra_muon) R(aurora) R(cautious_muon) R(muonh) R(normuonh) R(adamh) \
    R(muon2) R(dion) R(shampoo) R(soap) R(soap_muon) R(soap_h) R(kl_soap) R(rownorm) R(dynmuon) R(pmuon) \
    R(sinksoap) R(muown) R(psgdh) R(kron) R(adamuon) R(splus) R(scion) R(scion_sign) R(adafactor) R(adam_mini) \
    R(prodigy) R(sophia) R(galore) R(dion2) R(nordion2) R(muon_plus) R(mars_shampoo)
/* clang-format on */

typedef struct OptimShape {
    size_t rows, cols; /* 0 rows: absent */
} OptimShape;

/* A state of a rule: a matrix of floats for each rows x cols matrix or vector that it updates. */
typedef struct OptimStateSpec {
    const char *name; /* "m"; NULL ends the list */
    OptimShape (*shape)(const OptimHyper *h, size_t rows, size_t cols);
    bool is_momentum; /* shown by --diagnose */
    bool is_previous; /* with HYPER_MARS_FORM exact, from the second step on: before a step it gets the gradient of the
                         step's inputs where the last step's was taken */
    bool is_weight;   /* the weights are made of it: it is scaled with them, row for row (optim_scale) */
} OptimStateSpec;

/* Common shapes. */
OptimShape shape_whole(const OptimHyper *h, size_t rows, size_t cols);    /* rows x cols */
OptimShape shape_momentum(const OptimHyper *h, size_t rows, size_t cols); /* the same; absent if the momentum is 0 */
OptimShape shape_left(const OptimHyper *h, size_t rows, size_t cols);     /* rows x rows */
OptimShape shape_right(const OptimHyper *h, size_t rows, size_t cols);    /* cols x cols */
OptimShape shape_rows(const OptimHyper *h, size_t rows, size_t cols);     /* 1 x rows */
OptimShape shape_cols(const OptimHyper *h, size_t rows, size_t cols);     /* 1 x cols */
OptimShape shape_lines(const OptimHyper *h, size_t rows, size_t cols);    /* rows x 1; 1 x cols for a wide matrix */
OptimShape shape_scalar(const OptimHyper *h, size_t rows, size_t cols);   /* 1 x 1 */
OptimShape shape_basis(const OptimHyper *h, size_t rows, size_t cols);    /* smaller side x --rank, of 0 all of it */

/* One matrix or vector as a rule sees it: a tensor, or one block of a split QKV; of several ranks each has its own
 * (optim_private.h), under an elementwise rule also a stretch of a tensor, as one row. */
typedef struct OptimSlot {
    const Tensor *tensor;
    size_t first;  /* float of the tensor */
    size_t number; /* of the tensor's block among all of the group's, whoever has them */
    size_t rows, cols;
    float *param;
    const float *grad;
    float *state[OPTIM_STATES_MAX]; /* in the order of the rule's list; NULL: absent */
} OptimSlot;

typedef struct OptimGroup {
    char name[32];
    const struct OptimRule *rule;
    OptimHyper hyper;   /* resolved: all that the rule uses is set */
    double sensitivity; /* the learning rate was divided by it */
    bool aux;           /* not of hidden matrices */
    size_t count;
    OptimSlot *slots;       /* this rank's; same-shaped ones are adjacent, and so are their states of one kind */
    Verbs *on;              /* the tensors' device; NULL in a plan */
    float *workspace;       /* the most that any batch asks for, shared by the groups */
    const Tensor **tensors; /* that all ranks' slots belong to */
    size_t tensor_count;
    double seconds; /* of the last step */
} OptimGroup;

typedef struct OptimStep {
    OptimHyper hyper;  /* the group's at this step, the learning rate times its schedule */
    double grad_scale; /* every gradient is multiplied by it */
    size_t t;          /* 1 in the first step */
    size_t steps;      /* that the run is planned for; 0: unknown */

    /* What the groups of a rule with `measure` have in common, without this step's gradients and with them; while
     * these are measured, both are without. 0: no step was taken yet. */
    double before[OPTIM_COMMON], common[OPTIM_COMMON];

    double drawn; /* how many labels the model drew, where the gradient is theirs */
} OptimStep;

struct Batch;

typedef struct OptimRule {
    const char *name, *summary, *source;
    bool matrices_only;
    bool by_part;        /* a batch holds matrices of one TensorPart, whose rule depends on it */
    bool own_schedule;   /* the learning rate is the rule's alone: the run's schedule does not apply */
    bool keeps_norm;     /* of each matrix, which must then be nonzero */
    OptimHyper defaults; /* unset: the rule does not use it, and setting it is an error */
    OptimStateSpec states[OPTIM_STATES_MAX];

    /* Rejects senseless combinations of the options --<prefix>... and resolves "auto"; NULL: nothing to do. */
    int (*settle)(OptimHyper *h, const char *prefix, Error *e);

    /* Initialises state that does not start at zero; NULL: there is none. */
    void (*init)(const OptimGroup *group);

    /* What is validated, sampled and saved in place of the parameter, after `done` steps: of_param times it plus
     * of_state times its state `shown_state`. NULL: the parameter. */
    void (*shown)(const OptimHyper *h, size_t done, double *of_param, double *of_state);
    size_t shown_state;

    /* elementwise rules */
    void (*scalars)(const OptimStep *step, float *k);
    const struct OptimElements *elements[OPTIM_ELEMENT_STATES + 1]; /* by the number of states present */
    const struct OptimElements *look_ahead; /* moves parameters to where the gradient is evaluated; or NULL */

    /* Every HYPER_REFRESH steps, after the update, takes the gradient of labels that the model itself has drawn into
     * the states; or NULL. `drawn` of its OptimStep is set. */
    const struct OptimElements *drawn;

    /* Elementwise rules whose groups have numbers in common: before an update, `measure` (a row of OPTIM_MEASURES) sums
     * over all of their elements, and `conclude` turns the sums into new numbers. `agree` refuses groups that cannot
     * have them in common. NULL: there are none. */
    const struct OptimMeasure *measure;
    void (*conclude)(const OptimStep *step, const double sums[OPTIM_SUMS], double common[OPTIM_COMMON]);
    int (*agree)(const OptimHyper *a, const OptimHyper *b, Error *e);

    /* matrix rules; `workspace` counts the floats for a batch of `count`; NULL: none */
    void (*step)(const struct Batch *batch);
    size_t (*workspace)(const OptimHyper *h, size_t rows, size_t cols, size_t count);

    /* FLOPs of products and factorisations in one update of a matrix (rules/flops.h), of those that are made every
     * `refresh` steps that share, kron's as in its first 501 steps; NULL: there are none */
    double (*flops)(const OptimHyper *h, size_t rows, size_t cols);
} OptimRule;

#define OPTIM_DECLARE(name) extern const OptimRule optim_##name;
OPTIM_RULES(OPTIM_DECLARE)
#undef OPTIM_DECLARE

/* Rule i of the list; NULL past the end. */
const OptimRule *optim_rule(size_t i);

/* The decoupled weight decay of a step with these hyperparameters. */
Decay decay_of(const OptimHyper *h);

#endif
