#ifndef DEV_LAB_RUN_H
#define DEV_LAB_RUN_H

#include "base/random.h"
#include "dev/lab/problem.h"
#include "optim/optim.h"

/*
 * An optimizer on the regression, and the rows of its CSV. The self-check looks inside.
 */

static const double DIVERGED = 1e12; /* times the first excess loss */

typedef struct Run {
    const Options *o;
    const Problem *p;
    Optim *optim;
    Tensor tensor; /* with w and g, what the optimizer reads and writes */
    float w[D][C], g[D][C];
    Matrix gap; /* W - W_OLS before the step */
    Matrix gradient, update;
    Random batches;
    size_t order[N], next; /* the rows, in the order of this epoch, and how many were used */
} Run;

/* The first weights and an optimizer for them. o and p are borrowed; free with run_free, also after a failure. Returns
 * 0, or -1 with a message. */
int run_make(const Options *o, const Problem *p, Run **out, Error *e);

void run_free(Run *run);

/* The next rows of data: every epoch goes through all of them in a new order; what is left of it is dropped. */
const size_t *run_next_rows(Run *run);

/* W in double. */
Matrix run_weights(const Run *run);

/* W - W_OLS. */
Matrix run_gap(const Run *run);

/* One step, noting the gap before it, its gradient, and its update a unit of learning rate. */
void run_step(Run *run, size_t step);

/* What is known of the problem, and the names of the columns, to stdout. */
void run_print_header(const Options *o, const Problem *p);

/* The steps, with their rows; *diverged is set when a row's loss is no longer finite or has grown beyond measure. */
void run_all(Run *run, bool *diverged);

#endif
