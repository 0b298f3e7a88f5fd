#ifndef DATA_TOKENIZE_STREAM_H
#define DATA_TOKENIZE_STREAM_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/* A file's content from its beginning to its end, decompressed if its name ends with .gz or .zst. */
typedef struct Stream Stream;

/* The caller closes *out. Errors: a file that cannot be opened, a compression that this build lacks; they name the
 * file. */
int stream_open(const char *path, Stream **out, Error *e);
void stream_close(Stream *s); /* NULL is fine */

/* Reads 1 to `most` bytes; *got is 0 only at the end. Errors: a compressed file that is damaged or ends early. */
int stream_read(Stream *s, char *to, size_t most, size_t *got, Error *e);

/* Bytes of the file itself that have been read, and their XXH64. */
size_t stream_bytes(const Stream *s);
uint64_t stream_hash(const Stream *s);

/* Bytes of a file's name without .gz or .zst. */
size_t stream_plain_name(const char *path);

#endif
