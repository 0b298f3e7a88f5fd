#ifndef DATA_TOKENIZE_READER_H
#define DATA_TOKENIZE_READER_H

#include "data/tokenize_sources.h"

/*
 * The sources as a sequence of batches of parts, which threads can tokenize each by itself: a line of JSON, or as much
 * of a text as has the same tokens alone as in its place (gpt2_cut). Which parts there are depends on the sources
 * alone.
 */

/* How documents are held out. */
typedef struct Split {
    double fraction;
    bool tail; /* of each document's characters, at its end; otherwise of documents */
} Split;

/* Whether a document is held out: by the XXH64 of its first mebibyte, whose upper 53 bits are a number in [0, 1). */
bool split_holds_out(const Split *split, const char *text, size_t size);

/* The bytes of a document before the part that is held out: its first floor((1 - fraction) characters). A character
 * is a byte with the continuation bytes of UTF-8 (10xxxxxx) behind it. */
size_t split_cut(const Split *split, const char *text, size_t size);

typedef struct Part {
    size_t source, line; /* line: of a source with one document a line, counted from 1; otherwise 0 */
    size_t begin, size;  /* in the batch's text */
    bool first;          /* of its document, or of the document's held-out part */
    bool document;       /* one begins here */
    bool held_out;       /* not of a line, where only its text says */
} Part;

/* Where in the sources the next part begins. */
typedef struct Position {
    size_t source, offset, line; /* offset: in the decompressed source; line: lines before it */
    bool inside, held_out;       /* inside a text's document, or its held-out part */
} Position;

/* Zeroed before its first use; batch_free ends it. */
typedef struct Batch {
    char *text;
    size_t size, capacity;
    Part *parts;
    size_t count, parts_capacity;
    Position end;    /* of the next batch's first part */
    size_t empty;    /* documents without a byte, which have no part */
    size_t raw_read; /* bytes of the sources themselves that were read until then */
} Batch;

void batch_free(Batch *b);

typedef struct Reader Reader;

/* `begin`: zeroed, or some batch's end. The sources, which get their hashes while they are read, and the split must
 * outlive *out, which the caller closes. */
int reader_open(Sources *sources, const Split *split, const Position *begin, Reader **out, Error *e);
void reader_close(Reader *r); /* NULL is fine */

/* Fills a batch with the next parts; none are left when it has none. Errors name the source and where it has lines the
 * line: it cannot be read, has changed, has a line or a stretch without white space of more than 256 MiB. */
int reader_next(Reader *r, Batch *b, Error *e);

#endif
