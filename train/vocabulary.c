#include "train/vocabulary.h"

#include "files/json_file.h"

#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATH_MOST = 4096, CONFIG_MOST = 1 << 24 };

static bool is_there(const char *directory, const char *pattern)
{
    char path[PATH_MOST];
    glob_t found;
    if ((size_t)snprintf(path, sizeof path, "%s/%s", directory, pattern) >= sizeof path)
        return false;
    const bool there = glob(path, GLOB_NOSORT, NULL, &found) == 0;
    globfree(&found);
    return there;
}

/* Whether a checkpoint's directory has tables of a kind that can be read. Those of other models split text otherwise,
 * under the same names: tokenizer_config.json says so. */
static bool has_tables(const char *directory, Notes *notes)
{
    char path[PATH_MOST];
    Json *config;
    Error ignored;
    if (!is_there(directory, "vocab.json") && !is_there(directory, "encoder.json") &&
        !is_there(directory, "*.tiktoken"))
        return false;
    if ((size_t)snprintf(path, sizeof path, "%s/tokenizer_config.json", directory) >= sizeof path ||
        access(path, F_OK) != 0 || json_file_read(path, CONFIG_MOST, &config, &ignored) != 0)
        return true;
    const char *class = json_string(json_get(config, "tokenizer_class"));
    const bool known = class == NULL || strncmp(class, "GPT2Tokenizer", strlen("GPT2Tokenizer")) == 0;
    if (!known)
        notes_add(notes, "the tokenizer of %s, a %s, is not read: its text is not known", directory, class);
    json_free(config);
    return known;
}

static int open_named(const char *name, Tokenizer **out, Error *e)
{
    return strcmp(name, "bytes") == 0 ? tokenizer_of_bytes(out, e) : tokenizer_open(name, out, e);
}

/* Refuses --tokenizer where it is another than the checkpoint's own. */
static int check_same(const char *name, const char *weights, const Tokenizer *own, Error *e)
{
    Tokenizer *named;
    if (open_named(name, &named, e) != 0)
        return -1;
    const bool same = tokenizer_hash(named) == tokenizer_hash(own);
    tokenizer_close(named);
    return same ? 0
                : error_set(e, "--tokenizer %s is another than that of %s: its tokens mean other texts", name, weights);
}

int vocabulary_open(const Options *o, const char *weights, size_t V, Tokenizer **out, Notes *notes, Error *e)
{
    const bool shards = o->train != NULL || o->val != NULL;
    *out = NULL;
    if (weights != NULL && has_tables(weights, notes)) {
        if (tokenizer_open(weights, out, e) != 0)
            return -1;
        const bool asked = o->tokenizer != NULL && (!o->resume || options_gave(o, "tokenizer"));
        return asked ? check_same(o->tokenizer, weights, *out, e) : 0;
    }
    if (o->tokenizer != NULL)
        return open_named(o->tokenizer, out, e);
    if (V == BYTE_VOCAB || (!shards && (weights == NULL || o->resume)))
        return tokenizer_of_bytes(out, e);
    return 0;
}
