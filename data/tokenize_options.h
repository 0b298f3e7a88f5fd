#ifndef DATA_TOKENIZE_OPTIONS_H
#define DATA_TOKENIZE_OPTIONS_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* The command line of data/tokenize. */
typedef struct TokenizeOptions {
    char **paths; /* (count) */
    size_t count;
    const char *tokenizer, *out, *field;
    size_t shard_tokens, threads; /* threads 0: all */
    double fraction;              /* that is held out: of documents, or */
    bool tail;                    /* of each document's characters, at its end */
    bool help;
} TokenizeOptions;

/* The strings are argv's; the caller frees `paths`. Errors name the option and the value. */
int tokenize_options_parse(TokenizeOptions *o, int argc, char **argv, Error *e);
void tokenize_options_help(FILE *to);

#endif
