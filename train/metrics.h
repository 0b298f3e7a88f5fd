#ifndef TRAIN_METRICS_H
#define TRAIN_METRICS_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* One step as it is logged. NAN: not measured, an empty cell. */
typedef struct Metrics {
    size_t step; /* updates done; 0 before the first */
    uint64_t tokens;
    double seconds; /* in training steps so far, validation and checkpoints left out */
    double train_loss, val_loss, lr, grad_norm, tokens_per_second;
    double data_ms, forward_ms, backward_ms;
    double optimizer_ms; /* on a GPU, which is still at it when the row is written, that of the step before */
} Metrics;

/* metrics.csv: one row a step. */
typedef struct MetricsLog {
    FILE *file;
    char *path;
} MetricsLog;

/* Drops from a log the lines after `last_step`, which a resumed run writes anew. It begins with `first_line`; each
 * other line with `prefix`, its step and a comma. */
int metrics_drop_later(const char *path, const char *first_line, const char *prefix, size_t last_step, Error *e);

/* Opens `path`; a new file gets its header. On resume the rows after `last_step` are dropped. */
int metrics_open(MetricsLog *log, const char *path, bool resume, size_t last_step, Error *e);
int metrics_write(MetricsLog *log, const Metrics *m, Error *e);
int metrics_close(MetricsLog *log, Error *e);

/* The line of a step on the screen. On a terminal each overwrites the last, except that rows with a validation loss
 * stay; elsewhere each is a line of its own. */
typedef struct Progress {
    FILE *to;
    bool terminal, open_line;
    size_t steps;
    double flops_per_token, peak_flops;
} Progress;

/* peak_flops: of the device, for the share of it that is used; 0: the rate of work is shown instead. */
Progress progress_make(FILE *to, size_t steps, double flops_per_token, double peak_flops);
void progress_step(Progress *p, const Metrics *m, double seconds_left);

/* Ends a line that could still be overwritten; call it before printing anything else. */
void progress_break(Progress *p);

#endif
