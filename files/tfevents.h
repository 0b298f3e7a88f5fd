#ifndef FILES_TFEVENTS_H
#define FILES_TFEVENTS_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/*
 * Event files as TensorBoard reads them: scalars by tag and step, each step an event with its wall-clock time. An event
 * is a protocol buffer (Event in tensorflow/core/util/event.proto) in the frame of a TFRecord, and is in the file,
 * though not yet flushed to disk, when a function returns; readers ignore the last one where a crash has cut it.
 */

/* An open file. Zeroed: none; the functions then do nothing. */
typedef struct TfEvents {
    FILE *file;
    char *path;
} TfEvents;

enum { TFEVENTS_SCALARS_MOST = 32, TFEVENTS_TAG_MOST = 64 };

typedef struct TfScalar {
    const char *tag; /* TensorBoard groups by what stands before its "/"; at most TFEVENTS_TAG_MOST bytes */
    double value;    /* stored as fp32 */
} TfScalar;

/* Creates events.out.tfevents.<time>.<host> in `dir`. TensorBoard reads the files of a directory in the order of their
 * names: the time is now, in seconds, or where an earlier file has that or a later one, the first after it. */
int tfevents_open(TfEvents *t, const char *dir, Error *e);

/* Lets readers forget what this file and earlier ones have of `step` and all steps after it. */
int tfevents_restart(TfEvents *t, uint64_t step, Error *e);

/* Appends an event of at most TFEVENTS_SCALARS_MOST scalars. */
int tfevents_write(TfEvents *t, uint64_t step, const TfScalar *scalars, size_t count, Error *e);

/* Flushes the file to disk. */
int tfevents_sync(TfEvents *t, Error *e);
int tfevents_close(TfEvents *t, Error *e);

#endif
