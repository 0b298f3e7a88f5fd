#ifndef TRAIN_PROGRESS_H
#define TRAIN_PROGRESS_H

#include "train/metrics.h"

/*
 * A step's line on the screen. On a terminal each overwrites the last, except that lines with a validation loss stay,
 * and what matters least is left out where the line is too narrow. Elsewhere the first and the last step and every
 * validation get a line, and others when none was written for ten seconds; metrics.csv has every step.
 */
typedef struct Progress {
    FILE *to;
    bool terminal, open_line;
    size_t steps;
    double flops_per_token, peak_flops;
    double last_step, last_line;         /* clock */
    double window_steps, window_seconds; /* fading sums, for the time left */
} Progress;

/* peak_flops: the device's, to show the share of it that is used; 0: FLOP/s are shown instead. */
Progress progress_make(FILE *to, size_t steps, double flops_per_token, double peak_flops);

/* The share of peak_flops that a pace uses; NAN where that is not known. */
double progress_mfu(const Progress *p, double tokens_per_second);

/* The time left is that of the remaining steps at the pace, with all that happens between steps, of the last minute. */
void progress_step(Progress *p, const Metrics *m);

/* Ends a line that could still be overwritten; call before printing anything else. */
void progress_break(Progress *p);

/* Columns of the terminal that a stream writes to; 0: it is none, or does not say. */
size_t progress_columns(FILE *to);

#endif
