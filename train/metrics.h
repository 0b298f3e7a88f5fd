#ifndef TRAIN_METRICS_H
#define TRAIN_METRICS_H

#include "base/error.h"
#include "files/tfevents.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* One step as logged. NAN: not measured, an empty cell. */
typedef struct Metrics {
    uint64_t step; /* updates done; 0 before the first */
    uint64_t tokens;
    double seconds; /* spent in training steps so far, without validation and checkpoints */
    double train_loss, val_loss, lr, grad_norm, tokens_per_second;
    double data_ms, forward_ms, backward_ms;
    double optimizer_ms;                 /* on a GPU, still busy when the row is written, the previous step's */
    double mfu;                          /* share of the devices' peak */
    double wait_ms;                      /* for other ranks, in all of these but the first two */
    double largest_score, clipped_heads; /* of QK-clip (qk_clip.h) */
} Metrics;

/* At this step, with nothing measured. */
Metrics metrics_none(uint64_t step, uint64_t tokens, double seconds);

/* metrics.csv: one row per step; and the same as events for TensorBoard, if they are wanted. */
typedef struct MetricsLog {
    FILE *file;
    char *path;
    long last; /* in a resumed log, where the row of its last step begins; -1: it has none */
    TfEvents events;
} MetricsLog;

/* A log of lines that each begin with `prefix`, their step and a comma, after `first_line`: drops the lines after step
 * `last_step`, which a resumed run writes again, and what follows a damaged line. *kept is the step of the last line
 * left, -1 if there is none: a crash may have taken lines that were never flushed to disk, even all of them. Errors: a
 * file that cannot be read or begins otherwise. */
int metrics_drop_later(const char *path, const char *first_line, const char *prefix, size_t last_step, long long *kept,
                       Error *e);

/* Opens `path`; a new file gets its header. On resume the rows after `last_step` are dropped, with *kept as above. */
int metrics_open(MetricsLog *log, const char *path, bool resume, size_t last_step, long long *kept, Error *e);

/* Writes each row from now on also as an event into a new file in `dir`. On resume TensorBoard forgets what it knows of
 * steps after `last_step`, as the rows are dropped. */
int metrics_open_events(MetricsLog *log, const char *dir, bool resume, size_t last_step, Error *e);
int metrics_write(MetricsLog *log, const Metrics *m, Error *e);

/* Gives the last row of a resumed log, if it has one, a validation loss. */
int metrics_amend(MetricsLog *log, double val_loss, Error *e);

/* Flushes the rows to disk. */
int metrics_sync(MetricsLog *log, Error *e);
int metrics_close(MetricsLog *log, Error *e);

#endif
