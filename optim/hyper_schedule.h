#ifndef OPTIM_HYPER_SCHEDULE_H
#define OPTIM_HYPER_SCHEDULE_H

#include "optim/hyper.h"

/*
 * Hyperparameters, other than the learning rate, that change during a run. Replaces those in h by their values at step
 * s of S, counting from 0:
 *   momentum   start + (mu - start) s / N in the first N = momentum-warmup steps, start + (mu - start) (S - s) / M in
 *              the last M = momentum-cooldown ones; where both apply, whichever is nearer to start
 *   eps        with eps-max > 0: eps before step wS; A exp(k (s - wS)) + B from there to ES; then eps-max. w, E and k
 *              are eps-start, eps-end and eps-rate; A and B make it continuous; k = 0 is a straight line.
 */
void hyper_schedule(OptimHyper *h, size_t s, size_t steps);

#endif
