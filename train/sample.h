#ifndef TRAIN_SAMPLE_H
#define TRAIN_SAMPLE_H

#include "data/tokenizer.h"
#include "gpt/gpt.h"

#include <stdio.h>

typedef struct SampleConfig {
    const Tokenizer *tokenizer;
    const char *prompt; /* if empty: <|endoftext|>, which begins a document, or a line feed where there is none */
    size_t tokens;      /* to generate */
    double temperature; /* 0: the likeliest token each time */
    size_t top_k;       /* 0: all */
    uint64_t seed, stream;
} SampleConfig;

/* Samples text (V at least the tokenizer's size; ids beyond are never drawn) and writes prompt and continuation;
 * control characters and invalid UTF-8 are shown as '?'. A signal (train/stop.h) cuts it short. T: positions that the
 * activations hold. */
int sample_print(Gpt *gpt, size_t T, const SampleConfig *config, FILE *to, Error *e);

#endif
