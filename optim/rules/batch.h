#ifndef OPTIM_RULES_BATCH_H
#define OPTIM_RULES_BATCH_H

#include "optim/rule.h"
#include "optim/verbs/verbs.h"

/*
 * What matrix rules share: same-shaped slots of a group, taken as one batch. Their states of one kind stand one after
 * the other in memory, so that a batch of them is a Mats without a copy.
 */
typedef struct Batch {
    Verbs *on;
    const OptimHyper *hyper; /* as of this step */
    double grad_scale;
    size_t t;
    const OptimSlot *slots; /* `count` of them, rows x cols each */
    size_t count, rows, cols;
    float *workspace;
} Batch;

/* One step of the group's rule, batch after batch. A batch is as many same-shaped slots as have verb_batch_floats elements, at
 * least one: many small matrices fill the device together; a large one does so alone, and more only cost memory. */
void batch_step(const OptimGroup *group, const OptimStep *step);

/* The most workspace that the group's rule asks for any batch. */
size_t batch_workspace(const OptimGroup *group);

/* State k of the batch, rows x cols a slot; its data is NULL where there is none. */
Mats batch_state(const Batch *batch, size_t k, size_t rows, size_t cols);

/* How many slots from the first-th on have their parameters, and their gradients, one after the other without gaps, as
 * their states have: an elementwise verb takes them at once. */
size_t batch_run(const Batch *batch, size_t first);

/* g = the gradients times grad_scale; g.data is given. */
void batch_gradients(const Batch *batch, Mats g);

/* Every parameter: decoupled weight decay as the hyperparameters tell, then minus lr x scale x u. */
void batch_update(const Batch *batch, Mats u, double scale);

/* Every parameter: a step of length lr times its norm in the direction of u, its norm kept (the hyperball). */
void batch_rotate(const Batch *batch, Mats u);

/* Hyperparameter of the batch. */
static inline double batch_hyper(const Batch *batch, HyperId id) { return hyper(batch->hyper, id); }

#endif
