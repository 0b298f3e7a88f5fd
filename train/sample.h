#ifndef TRAIN_SAMPLE_H
#define TRAIN_SAMPLE_H

#include "gpt/gpt.h"

#include <stdio.h>

typedef struct SampleConfig {
    const char *prompt; /* bytes; if empty, a line feed */
    size_t tokens;      /* to generate */
    double temperature; /* 0: the likeliest token each time */
    size_t top_k;       /* 0: all */
    uint64_t seed, stream;
} SampleConfig;

/* Samples text from a byte model (V at least 256; ids above 255 are never drawn) and writes prompt and continuation;
 * control characters and invalid UTF-8 are shown as '?'. A signal (train/stop.h) cuts it short. T: positions that the
 * activations hold. */
int sample_print(Gpt *gpt, size_t T, const SampleConfig *config, FILE *to, Error *e);

#endif
