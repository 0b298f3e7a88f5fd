#ifndef TRAIN_VOCABULARY_H
#define TRAIN_VOCABULARY_H

#include "data/tokenizer.h"
#include "train/options.h"

enum { BYTE_VOCAB = 256 };

/*
 * What text means to a model: the tokenizer that --tokenizer names, or else the one in `weights`, the directory of a
 * checkpoint (NULL: a new model), or else bytes, if it is a new model without shards or one of 256 tokens. *out is NULL
 * if none of these applies: its text is then not known. The caller closes *out. Errors: tables that cannot be read.
 */
int vocabulary_open(const Options *o, const char *weights, size_t V, Tokenizer **out, Error *e);

#endif
