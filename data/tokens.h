#ifndef DATA_TOKENS_H
#define DATA_TOKENS_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/*
 * A set of token documents: shards in files, part of a text file, or bytes in memory. It is immutable and keeps no file
 * open between reads, so files cost neither memory nor descriptors and any number of threads may read at once.
 *
 * Shard files have llm.c's format: a header of 256 little-endian int32 (20240520, version 1, number of tokens, zeros),
 * then the tokens as little-endian uint16.
 */
typedef struct Tokens Tokens;

enum { SHARD_MAGIC = 20240520, SHARD_VERSION = 1, SHARD_HEADER = 256 * 4 /* bytes */, SHARD_TOKEN = 2 /* bytes */ };

/*
 * All shards that match the glob, in the byte order of their names. Checks each one's header, its count against the
 * file size, and the ids of its first block; other ids are checked when they are read, so that even 20 GB of shards
 * open instantly. The caller closes *out. Errors: an empty pattern, no match, a file that cannot be read or is not a
 * valid shard (also if truncated or too long), an id that is not below V.
 */
int tokens_open(const char *pattern, size_t V, Tokens **out, Error *e);

/* n bytes as n tokens (V = 256) of one shard called `name`; copied. The caller closes *out. Error: n is 0. */
int tokens_from_bytes(const char *name, const unsigned char *bytes, size_t n, Tokens **out, Error *e);

/* n ids, likewise. Those of V and above are refused when they are read. */
int tokens_from_ids(const char *name, const uint16_t *ids, size_t n, size_t V, Tokens **out, Error *e);

/* Refuses a file that is no text to train on: one that cannot be read, is empty, has less than two held-out bytes, an
 * input and its target, or is a shard. */
int tokens_check_text(const char *path, size_t *size, Error *e);

/* A file of any size as byte tokens: floor(0.9 n) bytes to train on, the rest held out. The caller closes both. Errors:
 * those of tokens_check_text. */
int tokens_from_text(const char *path, Tokens **train, Tokens **val, Error *e);

void tokens_close(Tokens *t); /* NULL is fine */

size_t tokens_total(const Tokens *t);   /* tokens in all shards */
size_t tokens_targets(const Tokens *t); /* all but the first of each shard */
size_t tokens_shards(const Tokens *t);
size_t tokens_shard_size(const Tokens *t, size_t shard);      /* tokens; at least 1 */
const char *tokens_shard_name(const Tokens *t, size_t shard); /* path or name, owned by t */

/* Copies tokens begin .. begin+count-1 of a shard, which must lie inside it, to `out`. Errors: a file that is gone, has
 * another size than when it was opened or cannot be read, an id that is not below V. `out` is then undefined. */
int tokens_read(const Tokens *t, size_t shard, size_t begin, size_t count, int32_t *out, Error *e);

/*
 * What a shard's tokens are known by: the XXH64 of their bytes, one or two a token, without a header. Of more than
 * 4 MiB it takes only 64 blocks of 4 KiB, evenly spaced, the first and last among them, and then the number of bytes
 * (64 bits, little-endian), so that large files cost no time: an edit between those blocks is not seen. The same bytes
 * in memory and in a file have the same hash. Errors: those of reading the file.
 */
int tokens_shard_hash(const Tokens *t, size_t shard, uint64_t *hash, Error *e);

#endif
