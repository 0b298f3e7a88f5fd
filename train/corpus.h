#ifndef TRAIN_CORPUS_H
#define TRAIN_CORPUS_H

#include "data/tokens.h"
#include "train/options.h"

enum { BYTE_VOCAB = 256 }; /* tokens of a text that is taken as bytes */

/* What a run reads: tokens to train and to validate on, and, for the built-in stories, the floor under the loss. */
typedef struct Corpus {
    Tokens *train, *val; /* NULL when there is none */
    const char *name;    /* for the banner; borrowed */
    size_t vocab;        /* that the tokens need: 256 for bytes, 0: whatever the model has */
    bool has_floor;
    double floor, floor_error; /* mean and standard error of -log p over the validation targets, nats a token */
} Corpus;

/* The vocabulary that the data options ask for, before a model is chosen: 256 for bytes, 0 for shards. */
size_t corpus_vocab(const Options *o);

/* Opens --train/--val, --text or the built-in stories for a model of V tokens. */
int corpus_open(const Options *o, size_t V, Corpus *corpus, Error *e);
void corpus_close(Corpus *corpus);

#endif
