#ifndef TRAIN_CHECKPOINT_H
#define TRAIN_CHECKPOINT_H

#include "data/tokenizer.h"
#include "files/json.h"
#include "gpt/gpt.h"
#include "optim/optim.h"

/*
 * Checkpoints. A directory of config.json and model.safetensors is a Hugging Face GPT-2 directory, with its names and
 * layouts. A run's checkpoint also has optimizer.safetensors (the state tensors) and state.json: the rest, the identity
 * of the data, and a checksum of each file, itself included.
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
    double best_loss; /* the lowest val_loss of a checkpoint (NAN: none), and its step */
    size_t best_step;
    size_t evaluated; /* 1 + the step of the last evaluation (--eval); 0: none */
} CheckpointState;

/* Collective: on the rank that writes, whose `run` is not NULL, writes <run>/step_NNNNNN atomically and points
 * <run>/latest at it. `tokenizer`: its tables go with the weights, unless it is NULL or bytes. `data`: the identity of
 * the data, a JSON object (train/corpus.h). Notes in the state whether it is the best so far. */
int checkpoint_write(const char *run, const Gpt *gpt, const Optim *optim, const Tokenizer *tokenizer,
                     CheckpointState *state, const char *data, Error *e);

/* Removes unfinished checkpoints and all but the best and the `keep` newest (0: keeps all). */
int checkpoint_prune(const char *run, const CheckpointState *state, size_t keep, Error *e);

/* The newest checkpoint of a run that is intact: the one that <run>/latest names unless it is damaged, then those
 * before it (all, if `latest` names none). *damage says what was wrong with the first, "" if nothing was. */
int checkpoint_find(const char *run, char *path, size_t size, Error *damage, Error *e);

/* Checks the model's files in a directory against the checksums in its state.json, if it has one. */
int checkpoint_check_model(const char *dir, Error *e);

/* The content of state.json. The caller frees *state. */
int checkpoint_read_json(const char *dir, Json **state, Error *e);

/* Reads config.json; refuses what this program does not compute. */
int checkpoint_read_config(const char *dir, GptConfig *config, Error *e);

/* Reads model.safetensors or, where there is none, the files that model.safetensors.index.json names: see
 * train/weights.h. */
int checkpoint_read_model(const char *dir, Gpt *gpt, Error *e);

/* Writes config.json and model.safetensors into a directory, which is made if it is not there. */
int checkpoint_write_model(const char *dir, const Gpt *gpt, Error *e);

/* Reads optimizer.safetensors and state.json, which must agree with each other and with the directory's name. */
int checkpoint_read_state(const char *dir, Optim *optim, CheckpointState *state, Error *e);

#endif
