#ifndef DATA_TOKENIZE_ENCODE_H
#define DATA_TOKENIZE_ENCODE_H

#include "data/tokenize_reader.h"
#include "data/tokenizer.h"

/* One thread's part in tokenizing a batch. Zeroed before worker_open; worker_close ends it. */
typedef struct Worker {
    Encoder *encoder;
    TokenList tokens; /* of the batch's parts that this thread has taken */
} Worker;

int worker_open(Worker *w, const Tokenizer *t, Error *e);
void worker_close(Worker *w);

/* What a part became: tokens begin .. begin+count-1 of a worker, of which the first `train` are to train on and the
 * others held out. */
typedef struct Encoded {
    size_t begin, count, train;
    size_t documents, empty, bytes; /* bytes: of text */
    size_t replaced;                /* escapes of no character, which became U+FFFD */
} Encoded;

/* Tokenizes a part of a batch; `field` has the text of a line's object, in which \u0000 and lone surrogates are U+FFFD.
 * Errors name the source, the line and the
 * fault: it is no JSON object, the field is missing or no string. */
int encode_part(Worker *w, const Batch *b, size_t part, const Sources *sources, const Split *split, const char *field,
                Encoded *out, Error *e);

#endif
