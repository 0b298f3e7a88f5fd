#ifndef TRAIN_METRICS_H
#define TRAIN_METRICS_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* One step as logged. NAN: not measured, an empty cell. */
typedef struct Metrics {
    size_t step; /* updates done; 0 before the first */
    uint64_t tokens;
    double seconds; /* spent in training steps so far, without validation and checkpoints */
    double train_loss, val_loss, lr, grad_norm, tokens_per_second;
    double data_ms, forward_ms, backward_ms;
    double optimizer_ms; /* on a GPU, still busy when the row is written, the previous step's */
} Metrics;

/* metrics.csv: one row per step. */
typedef struct MetricsLog {
    FILE *file;
    char *path;
} MetricsLog;

/* Drops the lines after `last_step` from a log; a resumed run writes them again. The log begins with `first_line`,
 * every other line with `prefix`, its step and a comma. */
int metrics_drop_later(const char *path, const char *first_line, const char *prefix, size_t last_step, Error *e);

/* Opens `path`; a new file gets its header. On resume the rows after `last_step` are dropped. */
int metrics_open(MetricsLog *log, const char *path, bool resume, size_t last_step, Error *e);
int metrics_write(MetricsLog *log, const Metrics *m, Error *e);
int metrics_close(MetricsLog *log, Error *e);

/* A step's line on the screen. On a terminal each overwrites the last, except that lines with a validation loss stay;
 * elsewhere every step gets its own line. */
typedef struct Progress {
    FILE *to;
    bool terminal, open_line;
    size_t steps;
    double flops_per_token, peak_flops;
} Progress;

/* peak_flops: the device's, to show the share of it that is used; 0: FLOP/s are shown instead. */
Progress progress_make(FILE *to, size_t steps, double flops_per_token, double peak_flops);
void progress_step(Progress *p, const Metrics *m, double seconds_left);

/* Ends a line that could still be overwritten; call before printing anything else. */
void progress_break(Progress *p);

#endif
