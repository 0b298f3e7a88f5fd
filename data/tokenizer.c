#include "base/hash.h"
#include "base/text.h"
#include "data/tokenizer_private.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* --- which files --- */

static const char ranks_suffix[] = ".tiktoken";

/* Names of a vocabulary and of its merges. */
static const char *const pairs[][2] = {{"encoder.json", "vocab.bpe"}, {"vocab.json", "merges.txt"}};
enum { PAIRS = sizeof pairs / sizeof *pairs };

/* The first `length` bytes of `begin`, and `end`; the caller frees it. */
static char *join(const char *begin, size_t length, const char *end, Error *e)
{
    const size_t size = length + strlen(end) + 1;
    char *path = malloc(size);
    if (path == NULL)
        error_set(e, "%s: out of memory", begin);
    else
        snprintf(path, size, "%.*s%s", (int)length, begin, end);
    return path;
}

/* The pair whose names stand behind the first `length` bytes of `path`. */
static int read_pair(Tokenizer *t, const char *path, size_t length, const char *const names[2], Error *e)
{
    char *vocabulary = join(path, length, names[0], e), *merges = join(path, length, names[1], e);
    const int status = vocabulary != NULL && merges != NULL ? tokenizer_read_pair(t, vocabulary, merges, e) : -1;
    free(vocabulary);
    free(merges);
    return status;
}

/* The name of the only file of the directory that ends with the suffix, or NULL; the caller frees it. */
static int find_ranks(const char *path, char **name, Error *e)
{
    DIR *dir = opendir(path);
    int status = 0;
    *name = NULL;
    if (dir == NULL)
        return error_set(e, "%s: cannot be opened: %s", path, strerror(errno));
    for (struct dirent *entry; status == 0 && (entry = readdir(dir)) != NULL;)
        if (entry->d_name[0] != '.' && text_ends_with(entry->d_name, ranks_suffix)) {
            if (*name != NULL)
                status = error_set(e, "%s: has several *%s files: give the one that is meant", path, ranks_suffix);
            else if ((*name = strdup(entry->d_name)) == NULL)
                status = error_set(e, "%s: out of memory", path);
        }
    closedir(dir);
    if (status != 0)
        free(*name);
    return status;
}

static bool is_there(const char *directory, size_t length, const char *name, Error *e)
{
    struct stat found;
    char *path = join(directory, length, name, e);
    const bool there = path != NULL && stat(path, &found) == 0;
    free(path);
    return there;
}

/* `path` is a directory's, with a slash at its end. */
static int read_directory(Tokenizer *t, const char *path, Error *e)
{
    const size_t length = strlen(path);
    char *name;
    for (size_t i = 0; i < PAIRS; i++)
        if (is_there(path, length, pairs[i][0], e))
            return read_pair(t, path, length, pairs[i], e);
    if (find_ranks(path, &name, e) != 0)
        return -1;
    if (name == NULL && is_there(path, length, "tokenizer.json", e))
        return error_set(e,
                         "%s: has only a tokenizer.json, which is not read: the same as vocab.json and merges.txt is "
                         "written by Python's tokenizers.Tokenizer.from_file(FILE).model.save(DIR)",
                         path);
    if (name == NULL)
        return error_set(e,
                         "%s: has no tokenizer: neither encoder.json with vocab.bpe, vocab.json with merges.txt, "
                         "nor a *%s file",
                         path, ranks_suffix);
    char *file = join(path, length, name, e);
    const int status = file != NULL ? tokenizer_read_ranks(t, file, e) : -1;
    free(name);
    free(file);
    return status;
}

static int read_file(Tokenizer *t, const char *path, Error *e)
{
    for (size_t i = 0; i < PAIRS; i++)
        for (size_t j = 0; j < 2; j++)
            if (text_ends_with(path, pairs[i][j]))
                return read_pair(t, path, strlen(path) - strlen(pairs[i][j]), pairs[i], e);
    if (text_ends_with(path, ranks_suffix))
        return tokenizer_read_ranks(t, path, e);
    return error_set(e,
                     "%s: is no tokenizer by its name: *encoder.json, *vocab.bpe, *vocab.json, *merges.txt, *%s or a "
                     "directory with such files",
                     path, ranks_suffix);
}

/* Where data/get puts GPT-2's tables. */
static const char gpt2_name[] = "gpt2", gpt2_tables[] = "data/tokenizer";

static int read_path(Tokenizer *t, const char *path, Error *e)
{
    struct stat found;
    if (strcmp(path, gpt2_name) == 0 && stat(path = gpt2_tables, &found) != 0)
        return error_set(e, "--tokenizer %s: its tables are not in %s; data/get tokenizer brings them", gpt2_name,
                         gpt2_tables);
    if (stat(path, &found) != 0)
        return error_set(e, "%s: cannot be opened: %s", path, strerror(errno));
    if (!S_ISDIR(found.st_mode))
        return read_file(t, path, e);
    char *directory = join(path, strlen(path), text_ends_with(path, "/") ? "" : "/", e);
    const int status = directory != NULL ? read_directory(t, directory, e) : -1;
    free(directory);
    return status;
}

/* --- the tokenizer --- */

static void add_number(Hash *h, size_t number)
{
    unsigned char bytes[4];
    for (size_t i = 0; i < 4; i++)
        bytes[i] = (unsigned char)(number >> 8 * i);
    hash_add(h, bytes, sizeof bytes);
}

/* Of the tokens in the order of their ids, then of the merges in the order of their ranks. */
static uint64_t hash_of(const Tokenizer *t)
{
    Hash h = hash_begin();
    add_number(&h, t->V);
    add_number(&h, (size_t)t->endoftext);
    for (size_t id = 0; id < t->V; id++) {
        add_number(&h, t->tokens[id].size);
        hash_add(&h, t->bytes + t->tokens[id].begin, t->tokens[id].size);
    }
    const BpeMerge *merges = bpe_merges(t->bpe);
    for (size_t rank = 0; rank < bpe_count(t->bpe); rank++) {
        add_number(&h, merges[rank].left);
        add_number(&h, merges[rank].right);
    }
    return hash_end(&h);
}

int tokenizer_open(const char *path, Tokenizer **out, Error *e)
{
    Tokenizer *t = calloc(1, sizeof *t);
    if (t == NULL)
        return error_set(e, "%s: out of memory", path);
    if (read_path(t, path, e) != 0) {
        tokenizer_close(t);
        return -1;
    }
    t->hash = hash_of(t);
    *out = t;
    return 0;
}

int tokenizer_of_bytes(Tokenizer **out, Error *e)
{
    enum { BYTES = 256 };
    Tokenizer *t = calloc(1, sizeof *t);
    if (t == NULL || (t->tokens = calloc(BYTES, sizeof *t->tokens)) == NULL || (t->bytes = malloc(BYTES)) == NULL ||
        bpe_create(1, &t->bpe, e) != 0) {
        tokenizer_close(t);
        return error_set(e, "out of memory for a tokenizer");
    }
    t->V = BYTES;
    t->endoftext = -1;
    for (uint32_t i = 0; i < BYTES; i++) {
        t->tokens[i] = (Token){.begin = i, .size = 1};
        t->bytes[i] = (char)i;
        t->byte_ids[i] = (int32_t)i;
    }
    t->hash = hash_of(t);
    *out = t;
    return 0;
}

void tokenizer_close(Tokenizer *t)
{
    if (t == NULL)
        return;
    free(t->tokens);
    free(t->bytes);
    bpe_free(t->bpe);
    free(t);
}

bool tokenizer_is_bytes(const Tokenizer *t) { return t->endoftext < 0; }

size_t tokenizer_size(const Tokenizer *t) { return t->V; }

int32_t tokenizer_endoftext(const Tokenizer *t) { return t->endoftext; }

uint64_t tokenizer_hash(const Tokenizer *t) { return t->hash; }

int tokenizer_token(const Tokenizer *t, int32_t id, const char **bytes, size_t *size, Error *e)
{
    if (id < 0 || (size_t)id >= t->V)
        return error_set(e, "there is no token %d: the tokenizer's ids end at %zu", id, t->V - 1);
    *bytes = t->bytes + t->tokens[id].begin;
    *size = t->tokens[id].size;
    return 0;
}
