#ifndef TRAIN_NOTES_H
#define TRAIN_NOTES_H

#include "base/error.h"

#include <stddef.h>

enum { NOTES_MOST = 16 };

/* What a user should know although the run goes on: printed below the banner. Zeroed: none. */
typedef struct Notes {
    size_t count;
    Error lines[NOTES_MOST];
} Notes;

/* Adds a sentence; beyond NOTES_MOST it takes the place of the last. */
void notes_add(Notes *notes, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
