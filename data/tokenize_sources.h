#ifndef DATA_TOKENIZE_SOURCES_H
#define DATA_TOKENIZE_SOURCES_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A file to tokenize. */
typedef struct Source {
    char *path;
    size_t bytes;
    bool jsonl;      /* a document in each line; otherwise the file is one */
    uint64_t sample; /* the XXH64 of its bytes, of more than 1 MiB of blocks of them */
    uint64_t hash;   /* of all its bytes, once they have been read */
} Source;

typedef struct Sources {
    Source *list; /* (count), in the order in which they are read */
    size_t count, capacity;
    size_t others; /* files in directories that were left out, as their names say nothing */
    size_t bytes;
} Sources;

/* The files that `paths` name: themselves, and those in directories that --help names, sorted by their bytes. The
 * caller frees with sources_free, also after an error. Errors: a path that is not there or cannot be read, no file
 * at all. */
int sources_find(Sources *s, char *const *paths, size_t count, Error *e);
void sources_free(Sources *s);

#endif
