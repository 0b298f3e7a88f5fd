#ifndef TRAIN_SCHEDULE_H
#define TRAIN_SCHEDULE_H

#include <stddef.h>

typedef enum { SCHEDULE_CONSTANT, SCHEDULE_COSINE, SCHEDULE_LINEAR, SCHEDULE_WSD, SCHEDULE_COUNT } ScheduleKind;

extern const char *const schedule_names[SCHEDULE_COUNT + 1]; /* ends with NULL */

typedef struct Schedule {
    ScheduleKind kind;
    size_t steps, warmup;
    double cooldown; /* fraction of the steps in wsd's final decay */
    double final;    /* fraction of the rate left at the end */
    double power;    /* of wsd's decay; 0 means 1: linear */
    size_t planned;  /* steps that the schedule is made for, if the run stops before its end; 0: steps */
} Schedule;

/*
 * The factor on the learning rate in step t = 0 .. steps-1. Warmup: (t+1)/warmup while t < warmup. After it, with
 * r = (t - warmup)/(steps - warmup): constant 1; linear 1 - r (1 - final); cosine final + (1 + cos(pi r))/2 (1 -
 * final); wsd (warmup, stable, decay): 1, then final + (1 - final) l^power over the last cooldown x steps, of which the
 * share l is left. With `planned`, that takes the place of steps.
 */
double schedule_factor(const Schedule *s, size_t t);

#endif
