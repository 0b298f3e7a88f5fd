#ifndef TRAIN_CORPUS_H
#define TRAIN_CORPUS_H

#include "data/tokenizer.h"
#include "data/tokens.h"
#include "files/json.h"
#include "train/notes.h"
#include "train/options.h"

/* What a run reads: training and validation tokens and, for the built-in stories, the lower bound of the loss. */
typedef struct Corpus {
    Tokens *train, *val; /* NULL when there is none */
    const char *name;    /* for the banner; borrowed */
    bool has_floor;
    double floor, floor_error; /* mean and standard error of -log p over the validation targets, nats per token */
} Corpus;

/*
 * Opens --train/--val, --text or the built-in stories for a model of V tokens. Text becomes tokens by `tokenizer`, NULL
 * if it is not known; the stories are for bytes alone, and without `training` they are left out where they do not fit.
 */
int corpus_open(const Options *o, const Tokenizer *tokenizer, size_t V, bool training, Corpus *corpus, Error *e);
void corpus_close(Corpus *corpus);

/*
 * What the data are, for checkpoints: a position counts in them. A JSON object {"train": [{"name": "a.bin", "tokens":
 * 9, "hash": "..."}, ...], "val": [...]}, a row per shard in order; the hashes are tokens_shard_hash's. The caller
 * frees *json.
 */
int corpus_identity(const Corpus *corpus, char **json, Error *e);

/* Whether data whose identity is `identity_now` are those of `identity`, which may have had other names: a note then
 * names the new place. The error names the first difference. With notes NULL, only compares. */
int corpus_compare(const char *identity_now, const Json *identity, Notes *notes, Error *e);

#endif
