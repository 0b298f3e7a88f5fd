#ifndef TRAIN_CHECKPOINT_H
#define TRAIN_CHECKPOINT_H

#include "gpt/gpt.h"
#include "optim/optim.h"

/*
 * Checkpoints. A directory of config.json and model.safetensors is a Hugging Face GPT-2 directory, with its names and
 * layouts. A run's checkpoint also has optimizer.safetensors (the state tensors) and state.json (the rest).
 */

/* What a resumed run needs besides tensors. Data order and random numbers are functions of seed and position. */
typedef struct CheckpointState {
    size_t step;
    uint64_t loader_position; /* sequences */
    uint64_t tokens;
    double seconds;  /* spent in training steps */
    double val_loss; /* the last one measured (NAN: none), and where */
    size_t val_step;
    double val_seconds;
} CheckpointState;

/* Writes <run>/step_NNNNNN atomically, points <run>/latest at it, and removes all but the `keep` newest checkpoints
 * (0: keeps all). */
int checkpoint_write(const char *run, const Gpt *gpt, const Optim *optim, const CheckpointState *state, size_t keep,
                     Error *e);

/* The directory that <run>/latest names. */
int checkpoint_latest(const char *run, char *path, size_t size, Error *e);

/* Reads config.json; refuses models other than classic GPT-2. */
int checkpoint_read_config(const char *dir, GptConfig *config, Error *e);

/* Reads model.safetensors (F32, F16, BF16; names with or without "transformer."; attention masks are skipped). */
int checkpoint_read_model(const char *dir, Gpt *gpt, Error *e);

/* Reads optimizer.safetensors and state.json. */
int checkpoint_read_state(const char *dir, Optim *optim, CheckpointState *state, Error *e);

#endif
