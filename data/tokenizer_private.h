#ifndef DATA_TOKENIZER_PRIVATE_H
#define DATA_TOKENIZER_PRIVATE_H

#include "data/bpe.h"
#include "data/tokenizer.h"

/* What tokenizer.c, the readers of its files and the encoder share. */

typedef struct Token {
    uint32_t begin, size; /* in Tokenizer.bytes */
    uint32_t line;        /* of the file, where it has lines */
} Token;

struct Tokenizer {
    size_t V;
    Token *tokens; /* (V) */
    char *bytes;
    int32_t byte_ids[256];
    int32_t endoftext;
    Bpe *bpe;
    uint64_t hash;
};

/* tokenizer_files.c: read tables into a zeroed tokenizer, all but its hash. The caller frees what is in it, also after
 * an error. */
int tokenizer_read_pair(Tokenizer *t, const char *vocabulary, const char *merges, Error *e);
int tokenizer_read_ranks(Tokenizer *t, const char *path, Error *e);

#endif
