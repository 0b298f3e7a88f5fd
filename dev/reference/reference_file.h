#ifndef DEV_REFERENCE_REFERENCE_FILE_H
#define DEV_REFERENCE_REFERENCE_FILE_H

#include "dev/reference/llmc_state.h"
#include "files/safetensors.h"
#include "gpt/gpt.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What a reference file holds and a model of its configuration, with the file's parameters loaded before every
 * comparison. Instead of one file there may be two of llm.c's, which hold less. `got`, `want` and `file_layout` are
 * scratch for the largest tensor; `kept` is one for a whole arena.
 */
typedef struct Reference {
    Safetensors *file; /* NULL: llm.c's */
    LlmcModel llmc_model;
    LlmcState llmc_state;
    GptConfig config;
    GptDtype dtype;
    GptRecompute recompute; /* of models without gradients */
    size_t B, T, steps;
    bool step_gradients;
    GptDropout dropout; /* of the forward and the backward pass */
    Gpt *gpt;
    const GptTable *table;
    int32_t *tokens, *targets; /* (B,T) */
    size_t counted;            /* targets that are not left out */
    float *got, *want, *file_layout, *kept;
} Reference;

/* Of every file with dropout. */
enum { REFERENCE_DROPOUT_KEY = 12345 };

/* Opens a file that reference.py or write_reference made and creates the model; ref->dtype is the caller's, all else
 * zero. The caller calls reference_close, also after a failure. */
int reference_open(const char *path, Reference *ref, Error *e);

/* The same of a model file of llm.c and the debug state of that model, which have no residual stream and no steps. */
int reference_open_llmc(const char *model, const char *state, Reference *ref, Error *e);
void reference_close(Reference *ref);

/* The tokens and targets of a batch: those named "<prefix>tokens" and "<prefix>targets". */
int reference_read_batch(Reference *ref, const char *prefix, Error *e);

/* n floats, whatever their shape. */
int reference_read_floats(Reference *ref, const char *name, size_t n, float *to, Error *e);

/* "<prefix><name of t>" in memory layout. */
int reference_read_tensor(Reference *ref, const char *prefix, const Tensor *t, float *to, Error *e);

/* Every "<prefix><name>" into an arena of the model; ref->want is overwritten. */
int reference_load_arena(Reference *ref, Gpt *gpt, GptArena arena, const char *prefix, Error *e);

/* A number among the metadata; llm.c's files have none. */
int reference_number(Reference *ref, const char *key, double *value, Error *e);

#endif
