#ifndef DATA_TOKENIZE_RUN_H
#define DATA_TOKENIZE_RUN_H

#include "data/tokenize_options.h"
#include "data/tokenize_reader.h"
#include "data/tokenize_shards.h"
#include "data/tokenizer.h"

#include <signal.h>

enum { TRAIN, HELD_OUT, SETS };

/* What has been tokenized: everything before `at`. */
typedef struct TokenizeRun {
    const TokenizeOptions *options;
    const Tokenizer *tokenizer;
    Sources sources;
    Split split;
    Position at;
    size_t documents, empty, bytes; /* bytes: of text */
    size_t replaced;                /* escapes of no character, which became U+FFFD */
    Shards sets[SETS];
} TokenizeRun;

/* Tokenizes the sources from run->at on and writes the shards and their manifest. Progress and a report go to stdout.
 * Once *stop is not 0, which a signal's handler may see to, it notes how far it has come and ends: an error. */
int tokenize_run(TokenizeRun *run, const volatile sig_atomic_t *stop, Error *e);

#endif
