#include "data/tokens.h"

#include "base/hash.h"
#include "files/files.h"

#include <assert.h>
#include <errno.h>
#include <glob.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    SHARD_MAGIC = 20240520,
    SHARD_VERSION = 1,
    HEADER_BYTES = 256 * 4,
    GPT2_VOCAB = 50257,
    TOKEN_BYTES = 2,
    FIRST_BLOCK = 4096, /* tokens checked when a shard is opened */
    TEXT_MIN = 11,      /* the shortest text whose held-out part has an input and a target */
    HASHED_WHOLE = 4 << 20,
    HASHED_BLOCKS = 64,
    HASHED_BLOCK = 4096 /* bytes */
};

typedef struct Shard {
    char *name;
    size_t size;          /* tokens */
    unsigned char *bytes; /* the tokens, one byte each; NULL: they are in the file `name` */
    size_t file_bytes;    /* all of that file's */
    size_t offset;        /* of the first token in it */
    size_t token_bytes;
} Shard;

struct Tokens {
    size_t V;
    size_t total;
    size_t count;
    Shard *shards;
};

/* --- files --- */

/* Reads exactly `bytes` bytes from `offset` on. */
static int read_file(int fd, const char *path, size_t offset, size_t bytes, unsigned char *to, Error *e)
{
    for (size_t done = 0; done < bytes;) {
        const ssize_t got = pread(fd, to + done, bytes - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_set(e, "%s: cannot be read: %s", path, strerror(errno));
        if (got == 0)
            return error_set(e, "%s: ends at byte %zu, before the end of what is read", path, offset + done);
        done += (size_t)got;
    }
    return 0;
}

static int32_t get_int32(const unsigned char *p)
{
    return (int32_t)((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
}

/* Checks the first 12 bytes of a shard, and its count against the file size. */
static int check_header(const char *path, const unsigned char *header, size_t file_bytes, size_t *size, Error *e)
{
    const int32_t magic = get_int32(header), version = get_int32(header + 4), count = get_int32(header + 8);
    if (magic != SHARD_MAGIC)
        return error_set(e, "%s: is not a token shard: it begins with %d instead of %d", path, magic, SHARD_MAGIC);
    if (version != SHARD_VERSION)
        return error_set(e, "%s: is a token shard of version %d; only %d is known", path, version, SHARD_VERSION);
    if (count <= 0)
        return error_set(e, "%s: its header counts %d tokens; it takes at least 1", path, count);
    const size_t wanted = HEADER_BYTES + (size_t)count * TOKEN_BYTES;
    if (file_bytes != wanted)
        return error_set(e, "%s: is %s: its header counts %d tokens, which makes %zu bytes, but it has %zu", path,
                         file_bytes < wanted ? "truncated" : "too long", count, wanted, file_bytes);
    *size = (size_t)count;
    return 0;
}

static int read_header(const char *path, size_t *size, Error *e)
{
    int fd;
    size_t file_bytes;
    unsigned char header[12];
    if (files_open(path, &fd, &file_bytes, e) != 0)
        return -1;
    int status;
    if (file_bytes < HEADER_BYTES)
        status =
            error_set(e, "%s: has %zu bytes; the header of a token shard alone has %d", path, file_bytes, HEADER_BYTES);
    else
        status = read_file(fd, path, 0, sizeof header, header, e);
    close(fd);
    return status == 0 ? check_header(path, header, file_bytes, size, e) : -1;
}

/* --- making a set --- */

/* An empty set with room for `capacity` shards. */
static int make_empty(size_t V, size_t capacity, Tokens **out, Error *e)
{
    Tokens *t = calloc(1, sizeof *t);
    Shard *shards = calloc(capacity, sizeof *shards);
    if (t == NULL || shards == NULL) {
        free(t);
        free(shards);
        return error_set(e, "out of memory for a list of %zu token shards", capacity);
    }
    *t = (Tokens){.V = V, .shards = shards};
    *out = t;
    return 0;
}

/* Appends a shard, for which there must be room; takes ownership of its bytes and copies its name. */
static int append(Tokens *t, Shard shard, Error *e)
{
    const char *name = shard.name;
    shard.name = strdup(name);
    if (shard.name == NULL) {
        free(shard.bytes);
        return error_set(e, "%s: out of memory", name);
    }
    t->shards[t->count++] = shard;
    t->total += shard.size;
    return 0;
}

static int append_file(Tokens *t, char *path, Error *e)
{
    size_t size = 0;
    int32_t block[FIRST_BLOCK];
    if (read_header(path, &size, e) != 0)
        return -1;
    const Shard shard = {.name = path,
                         .size = size,
                         .file_bytes = HEADER_BYTES + size * TOKEN_BYTES,
                         .offset = HEADER_BYTES,
                         .token_bytes = TOKEN_BYTES};
    if (append(t, shard, e) != 0)
        return -1;
    return tokens_read(t, t->count - 1, 0, size < FIRST_BLOCK ? size : FIRST_BLOCK, block, e);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

int tokens_open(const char *pattern, size_t V, Tokens **out, Error *e)
{
    assert(V > 0);
    if (pattern[0] == '\0')
        return error_set(e, "the pattern for token shards is empty");
    glob_t found;
    const int outcome = glob(pattern, GLOB_NOSORT, NULL, &found);
    if (outcome == GLOB_NOMATCH)
        return error_set(e, "no file matches '%s'", pattern);
    if (outcome != 0)
        return error_set(e, "'%s': cannot list the files that match", pattern);
    /* Sorted here, because glob() sorts by locale and the order of training must not depend on it. */
    qsort(found.gl_pathv, found.gl_pathc, sizeof *found.gl_pathv, by_name);
    Tokens *t = NULL;
    int status = make_empty(V, found.gl_pathc, &t, e);
    for (size_t i = 0; status == 0 && i < found.gl_pathc; i++)
        status = append_file(t, found.gl_pathv[i], e);
    globfree(&found);
    if (status != 0) {
        tokens_close(t);
        return -1;
    }
    *out = t;
    return 0;
}

int tokens_from_bytes(const char *name, const unsigned char *bytes, size_t n, Tokens **out, Error *e)
{
    if (n == 0)
        return error_set(e, "%s: is empty", name);
    Tokens *t = NULL;
    if (make_empty(256, 1, &t, e) != 0)
        return -1;
    unsigned char *copy = malloc(n);
    if (copy == NULL) {
        tokens_close(t);
        return error_set(e, "%s: out of memory for its %zu bytes", name, n);
    }
    memcpy(copy, bytes, n);
    if (append(t, (Shard){.name = (char *)name, .size = n, .bytes = copy}, e) != 0) {
        tokens_close(t);
        return -1;
    }
    *out = t;
    return 0;
}

/* Bytes begin .. end-1 of a text of n bytes. */
static int part_of_text(const char *path, size_t n, size_t begin, size_t end, Tokens **out, Error *e)
{
    const Shard part = {.name = (char *)path, .size = end - begin, .file_bytes = n, .offset = begin, .token_bytes = 1};
    if (make_empty(256, 1, out, e) != 0)
        return -1;
    if (append(*out, part, e) == 0)
        return 0;
    tokens_close(*out);
    return -1;
}

static int split_text(const char *path, size_t n, Tokens **train, Tokens **val, Error *e)
{
    const size_t cut = n / 10 * 9 + n % 10 * 9 / 10; /* floor(0.9 n) without overflow */
    if (part_of_text(path, n, 0, cut, train, e) != 0)
        return -1;
    if (part_of_text(path, n, cut, n, val, e) == 0)
        return 0;
    tokens_close(*train);
    return -1;
}

int tokens_from_text(const char *path, Tokens **train, Tokens **val, Error *e)
{
    int fd;
    size_t n;
    unsigned char first[4];
    if (files_open(path, &fd, &n, e) != 0)
        return -1;
    int status;
    if (n == 0)
        status = error_set(e, "%s: is empty", path);
    else if (n < TEXT_MIN)
        status = error_set(e, "%s: has %zu bytes; a text to train on takes at least %d", path, n, TEXT_MIN);
    else
        status = read_file(fd, path, 0, sizeof first, first, e);
    close(fd);
    if (status == 0 && get_int32(first) == SHARD_MAGIC)
        status = error_set(e, "%s: is a token shard, not a text; it goes to --train or --val", path);
    return status == 0 ? split_text(path, n, train, val, e) : -1;
}

void tokens_close(Tokens *t)
{
    if (t == NULL)
        return;
    for (size_t i = 0; i < t->count; i++) {
        free(t->shards[i].name);
        free(t->shards[i].bytes);
    }
    free(t->shards);
    free(t);
}

/* --- using it --- */

size_t tokens_total(const Tokens *t) { return t->total; }

size_t tokens_targets(const Tokens *t) { return t->total - t->count; }

size_t tokens_shards(const Tokens *t) { return t->count; }

size_t tokens_shard_size(const Tokens *t, size_t shard)
{
    assert(shard < t->count);
    return t->shards[shard].size;
}

const char *tokens_shard_name(const Tokens *t, size_t shard)
{
    assert(shard < t->count);
    return t->shards[shard].name;
}

/* Bytes begin .. begin+count-1 of a shard's content. A file must not have changed its size. */
static int read_content(const Shard *s, size_t begin, size_t count, unsigned char *to, Error *e)
{
    int fd, status;
    size_t file_bytes;
    if (s->bytes != NULL) {
        memcpy(to, s->bytes + begin, count);
        return 0;
    }
    if (files_open(s->name, &fd, &file_bytes, e) != 0)
        return -1;
    if (file_bytes != s->file_bytes)
        status =
            error_set(e, "%s: had %zu bytes when it was opened and now has %zu", s->name, s->file_bytes, file_bytes);
    else
        status = read_file(fd, s->name, s->offset + begin, count, to, e);
    close(fd);
    return status;
}

int tokens_shard_hash(const Tokens *t, size_t shard, uint64_t *hash, Error *e)
{
    assert(shard < t->count);
    const Shard *s = &t->shards[shard];
    const size_t content = s->size * (s->bytes != NULL ? 1 : s->token_bytes);
    const bool whole = content <= HASHED_WHOLE;
    const size_t blocks = whole ? (content + HASHED_BLOCK - 1) / HASHED_BLOCK : HASHED_BLOCKS;
    unsigned char block[HASHED_BLOCK];
    Hash h = hash_begin();
    hash_add(&h, &s->size, sizeof s->size);
    for (size_t i = 0; i < blocks; i++) {
        const size_t last = content - HASHED_BLOCK; /* the place of the last block of many */
        const size_t at = whole ? i * HASHED_BLOCK
                                : last / (HASHED_BLOCKS - 1) * i + last % (HASHED_BLOCKS - 1) * i / (HASHED_BLOCKS - 1);
        const size_t bytes = content - at < HASHED_BLOCK ? content - at : HASHED_BLOCK;
        if (read_content(s, at, bytes, block, e) != 0)
            return -1;
        hash_add(&h, block, bytes);
    }
    *hash = hash_end(&h);
    return 0;
}

int tokens_read(const Tokens *t, size_t shard, size_t begin, size_t count, int32_t *out, Error *e)
{
    assert(shard < t->count);
    const Shard *s = &t->shards[shard];
    assert(begin <= s->size && count <= s->size - begin);
    /* Tokens of w bytes, 1 or 2, are read into the end of `out` and widened from the front: writing token i ends at byte
     * 4i + 4, and the tokens after it start at (4 - w) count + w (i + 1), which is no less. */
    const size_t w = s->bytes != NULL ? 1 : s->token_bytes;
    unsigned char *raw = (unsigned char *)out + count * (sizeof *out - w);
    if (read_content(s, begin * w, count * w, raw, e) != 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        const int32_t id = w == 1 ? raw[i] : raw[2 * i] | raw[2 * i + 1] << 8;
        if ((size_t)id >= t->V)
            return error_set(e, "%s: token %zu is %d, but the vocabulary ends at %zu%s", s->name, begin + i, id,
                             t->V - 1,
                             id < GPT2_VOCAB && t->V < GPT2_VOCAB ? " (GPT-2's tokens take --vocab 50257)" : "");
        out[i] = id;
    }
    return 0;
}
