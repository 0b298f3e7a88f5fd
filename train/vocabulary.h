#ifndef TRAIN_VOCABULARY_H
#define TRAIN_VOCABULARY_H

#include "data/tokenizer.h"
#include "train/notes.h"
#include "train/options.h"

enum { BYTE_VOCAB = 256 };

/*
 * What text means to a model: the tokenizer in `weights`, the directory of a checkpoint (NULL: a new model), or else
 * the one that --tokenizer names, or else bytes, if it is a new model without shards or one of 256 tokens. *out is NULL
 * if none of these applies: its text is then not known; a note says so of tables in `weights` that are not read. The
 * caller closes *out. Errors: tables that cannot be read, --tokenizer beside other tables in `weights`.
 */
int vocabulary_open(const Options *o, const char *weights, size_t V, Tokenizer **out, Notes *notes, Error *e);

#endif
