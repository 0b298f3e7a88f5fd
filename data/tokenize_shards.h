#ifndef DATA_TOKENIZE_SHARDS_H
#define DATA_TOKENIZE_SHARDS_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/*
 * Writes one sequence of tokens as shards (data/tokens.h), PREFIX_NAME_000000.bin and so on, each of exactly as many
 * tokens but the last. A shard has the name <its name>.tmp until it is complete and shards_publish has been called, so
 * that the caller can note first, in a file of its own, what a later run is to go on from. A file that already has its
 * name is not replaced: an error.
 */
typedef struct Shards {
    const char *prefix, *name;
    size_t most;     /* tokens of a shard */
    size_t complete; /* shards, of which the first `published` have their names */
    size_t published;
    size_t tokens;    /* in the one that is being written */
    size_t total;     /* in all */
    uint64_t *hashes; /* (complete) XXH64 of the files */
    FILE *stream;
    unsigned char *buffer; /* tokens that are not written yet, */
    size_t buffered;       /* so many */
} Shards;

/* The strings must outlive it. */
Shards shards_make(const char *prefix, const char *name, size_t most);

/* Frees memory and closes the file; what has no name yet stays as it is. */
void shards_end(Shards *s);

/* Goes on where a Shards was whose tokens had been flushed: `was` has its complete, tokens, total and hashes.
 * Publishes the complete ones and cuts the other to what it had then. Errors: one of them is not there, or not what it
 * was. */
int shards_resume(Shards *s, const Shards *was, Error *e);

int shards_append(Shards *s, const uint16_t *ids, size_t count, Error *e);
int shards_flush(Shards *s, Error *e);  /* all that was appended, to the disk */
int shards_finish(Shards *s, Error *e); /* completes a last shard that has tokens */
int shards_publish(Shards *s, Error *e);

/* Bytes of a shard's file. */
size_t shards_bytes(size_t tokens);

/* The path of shard i; the caller frees it. NULL: out of memory. */
char *shards_path(const Shards *s, size_t i, const char *suffix);
size_t shards_size(const Shards *s, size_t i); /* tokens of a complete shard */

#endif
