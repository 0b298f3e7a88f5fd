#include "train/vocabulary.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Whether a checkpoint's directory has a tokenizer. */
static bool has_tables(const char *directory)
{
    static const char *const names[] = {"vocab.json", "encoder.json"};
    char path[4096];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if ((size_t)snprintf(path, sizeof path, "%s/%s", directory, names[i]) < sizeof path && access(path, F_OK) == 0)
            return true;
    return false;
}

static int open_named(const char *name, Tokenizer **out, Error *e)
{
    if (strcmp(name, "bytes") == 0)
        return tokenizer_of_bytes(out, e);
    return tokenizer_open(name, out, e);
}

int vocabulary_open(const Options *o, const char *weights, size_t V, Tokenizer **out, Error *e)
{
    const bool shards = o->train != NULL || o->val != NULL;
    *out = NULL;
    if (weights != NULL && has_tables(weights) && (o->tokenizer == NULL || o->resume))
        return tokenizer_open(weights, out, e);
    if (o->tokenizer != NULL)
        return open_named(o->tokenizer, out, e);
    if (V == BYTE_VOCAB || (!shards && (weights == NULL || o->resume)))
        return tokenizer_of_bytes(out, e);
    return 0;
}
