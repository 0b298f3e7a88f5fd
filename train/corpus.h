#ifndef TRAIN_CORPUS_H
#define TRAIN_CORPUS_H

#include "data/tokens.h"
#include "files/json.h"
#include "train/notes.h"
#include "train/options.h"

enum { BYTE_VOCAB = 256 }; /* token ids of a text read as bytes */

/* What a run reads: training and validation tokens and, for the built-in stories, the lower bound of the loss. */
typedef struct Corpus {
    Tokens *train, *val; /* NULL when there is none */
    const char *name;    /* for the banner; borrowed */
    size_t vocab;        /* required by the tokens: 256 for bytes; 0: the model's */
    bool has_floor;
    double floor, floor_error; /* mean and standard error of -log p over the validation targets, nats per token */
} Corpus;

/* The vocabulary that the data options imply, before a model is chosen: 256 for bytes, 0 for shards. */
size_t corpus_vocab(const Options *o);

/* Opens --train/--val, --text or the built-in stories for a model of V tokens. */
int corpus_open(const Options *o, size_t V, Corpus *corpus, Error *e);
void corpus_close(Corpus *corpus);

/*
 * What the data are, for checkpoints: a position counts in them. A JSON object {"train": [{"name": "a.bin", "tokens": 9,
 * "hash": "..."}, ...], "val": [...]}, a row per shard in order; the hashes are tokens_shard_hash's. The caller frees *json.
 */
int corpus_identity(const Corpus *corpus, char **json, Error *e);

/* Whether data whose identity is `identity_now` are those of `identity`, which may have had other names: a note then names
 * the new place. The error names the first difference. With notes NULL, only compares. */
int corpus_compare(const char *identity_now, const Json *identity, Notes *notes, Error *e);

#endif
