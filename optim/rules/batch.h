#ifndef OPTIM_RULES_BATCH_H
#define OPTIM_RULES_BATCH_H

#include "optim/rule.h"
#include "optim/verbs/verbs.h"

/*
 * What matrix rules share: same-shaped slots of a group, taken as one batch. Their states of one kind are contiguous in
 * memory, so that a batch of them is a Mats without a copy.
 */
typedef struct Batch {
    Verbs *on;
    const OptimHyper *hyper; /* at this step */
    double grad_scale;
    size_t t, steps;        /* as in OptimStep */
    const OptimSlot *slots; /* `count` of them, rows x cols each */
    size_t count, rows, cols;
    float *workspace;
} Batch;

/* One step of the group's rule, batch by batch. A batch holds as many same-shaped slots as fit in verb_batch_floats
 * elements, at least one: small matrices fill the device together; beyond that a batch only costs memory. */
void batch_step(const OptimGroup *group, const OptimStep *step);

/* The largest workspace that the group's rule asks for, over all batches. */
size_t batch_workspace(const OptimGroup *group);

/* State k of the batch, rows x cols per slot; data is NULL if it is absent. */
Mats batch_state(const Batch *batch, size_t k, size_t rows, size_t cols);

/* The batch at another learning rate; `hyper` holds its hyperparameters. */
Batch batch_at_rate(const Batch *batch, double lr, OptimHyper *hyper);

/* The floats of a step, the whole workspace of some rules. */
size_t batch_step_floats(const OptimHyper *h, size_t rows, size_t cols, size_t count);

/* How many slots, from `first` on, have contiguous parameters and contiguous gradients, as their states always are: an
 * elementwise verb handles them in one call. */
size_t batch_run(const Batch *batch, size_t first);

/* The parameters of `run` such slots. */
Mats batch_params(const Batch *batch, size_t first, size_t run);

/* g = the gradients times grad_scale, or that more. */
void batch_gradients(const Batch *batch, Mats g);
void batch_add_gradients(const Batch *batch, Mats g);

/* Parameters: decoupled weight decay according to the hyperparameters, then minus lr x scale x u. */
void batch_update(const Batch *batch, Mats u, double scale);
void batch_update_bf16(const Batch *batch, Bf16s u, double scale);

/* The two halves of an update, for rules that decay after the step: parameters minus lr x scale x u, and their decay,
 * which if cautious skips elements that u moved away from zero. */
void batch_subtract(const Batch *batch, Mats u, double scale);
void batch_decay(const Batch *batch, Mats u);

/* Parameters: a step of length lr times their norm in the direction of -u, norm preserved (the hyperball). */
void batch_rotate(const Batch *batch, Mats u);

/* From mean squares of n lines Adam's divisors, by --beta2 and --eps: v (n) = b2 v + (1 - b2) squares;
 * inverse (n) = 1 / (sqrt(v correction) + eps). The squares become their roots. */
void batch_line_divisors(const Batch *batch, size_t n, float *squares, float *v, double correction, float *inverse);

static inline double batch_hyper(const Batch *batch, HyperId id) { return hyper(batch->hyper, id); }

#endif
