#include "data/tokens.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "base/text.h"
#include "files/files.h"

#include <assert.h>
#include <glob.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    FIRST_BLOCK = 4096, /* tokens checked when a shard is opened */
    TEXT_MIN = 11,      /* the shortest text whose held-out part has an input and a target */
    GPT2_VOCAB = 50257,
    HASHED_WHOLE = 1 << 22, /* bytes of the largest shard whose hash is of all of them */
    HASH_BLOCK = 4096,      /* bytes of each block of the others */
    HASH_BLOCKS = 64
};

/* `size` tokens of `width` bytes each, little-endian: in memory, or in the file `name`. */
typedef struct Shard {
    char *name;
    size_t size, width;
    unsigned char *bytes;      /* NULL: in the file, */
    size_t offset, file_bytes; /* from this byte on, of so many */
} Shard;

struct Tokens {
    size_t V;
    size_t total;
    size_t count;
    Shard *shards;
};

/* --- files --- */

/* Checks the first 12 bytes of a shard, and its count against the file size. */
static int check_header(const char *path, const unsigned char *header, size_t file_bytes, size_t *size, Error *e)
{
    const int32_t magic = bytes_int32(header), version = bytes_int32(header + 4), count = bytes_int32(header + 8);
    if (magic != SHARD_MAGIC)
        return error_set(e, "%s: is not a token shard: it begins with %d instead of %d", path, magic, SHARD_MAGIC);
    if (version != SHARD_VERSION)
        return error_set(e, "%s: is a token shard of version %d; only %d is known", path, version, SHARD_VERSION);
    if (count <= 0)
        return error_set(e, "%s: its header counts %d tokens; it takes at least 1", path, count);
    const size_t wanted = SHARD_HEADER + (size_t)count * SHARD_TOKEN;
    if (file_bytes != wanted)
        return error_set(e, "%s: is %s: its header counts %d tokens, which makes %zu bytes, but it has %zu", path,
                         file_bytes < wanted ? "truncated" : "too long", count, wanted, file_bytes);
    *size = (size_t)count;
    return 0;
}

static int read_header(const char *path, size_t *size, size_t *file_bytes, Error *e)
{
    int fd;
    unsigned char header[12];
    if (files_open(path, &fd, file_bytes, e) != 0)
        return -1;
    int status;
    if (*file_bytes < SHARD_HEADER)
        status = error_set(e, "%s: has %zu bytes; the header of a token shard alone has %d", path, *file_bytes,
                           SHARD_HEADER);
    else
        status = files_read_at(fd, path, 0, header, sizeof header, e);
    close(fd);
    return status == 0 ? check_header(path, header, *file_bytes, size, e) : -1;
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

/* Appends a shard, for which there must be room, under a name that is copied, and takes ownership of its bytes. */
static int append(Tokens *t, const char *name, Shard shard, Error *e)
{
    shard.name = strdup(name);
    if (shard.name == NULL) {
        free(shard.bytes);
        return error_set(e, "%s: out of memory", name);
    }
    t->shards[t->count++] = shard;
    t->total += shard.size;
    return 0;
}

static int append_file(Tokens *t, const char *path, Error *e)
{
    Shard shard = {.width = SHARD_TOKEN, .offset = SHARD_HEADER};
    int32_t block[FIRST_BLOCK];
    if (read_header(path, &shard.size, &shard.file_bytes, e) != 0 || append(t, path, shard, e) != 0)
        return -1;
    return tokens_read(t, t->count - 1, 0, shard.size < FIRST_BLOCK ? shard.size : FIRST_BLOCK, block, e);
}

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
    qsort(found.gl_pathv, found.gl_pathc, sizeof *found.gl_pathv, text_compare);
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

/* A set of one shard, of whose bytes it takes ownership. */
static int make_one(const char *name, size_t V, Shard shard, Tokens **out, Error *e)
{
    Tokens *t = NULL;
    if (make_empty(V, 1, &t, e) != 0) {
        free(shard.bytes);
        return -1;
    }
    if (append(t, name, shard, e) != 0) {
        tokens_close(t);
        return -1;
    }
    *out = t;
    return 0;
}

static int make_bytes(const char *name, Shard shard, Tokens **out, Error *e)
{
    shard.width = 1;
    return make_one(name, 256, shard, out, e);
}

int tokens_from_ids(const char *name, const uint16_t *ids, size_t n, size_t V, Tokens **out, Error *e)
{
    if (n == 0)
        return error_set(e, "%s: is empty", name);
    unsigned char *bytes = malloc(n * SHARD_TOKEN);
    if (bytes == NULL)
        return error_set(e, "%s: out of memory for its %zu tokens", name, n);
    for (size_t i = 0; i < n; i++) {
        bytes[SHARD_TOKEN * i] = (unsigned char)ids[i];
        bytes[SHARD_TOKEN * i + 1] = (unsigned char)(ids[i] >> 8);
    }
    return make_one(name, V, (Shard){.size = n, .width = SHARD_TOKEN, .bytes = bytes}, out, e);
}

int tokens_from_bytes(const char *name, const unsigned char *bytes, size_t n, Tokens **out, Error *e)
{
    if (n == 0)
        return error_set(e, "%s: is empty", name);
    unsigned char *copy = malloc(n);
    if (copy == NULL)
        return error_set(e, "%s: out of memory for its %zu bytes", name, n);
    memcpy(copy, bytes, n);
    return make_bytes(name, (Shard){.size = n, .bytes = copy}, out, e);
}

/* floor(n numerator / denominator) without overflow. */
static size_t fraction(size_t n, size_t numerator, size_t denominator)
{
    return n / denominator * numerator + n % denominator * numerator / denominator;
}

static int split_text(const char *path, size_t n, Tokens **train, Tokens **val, Error *e)
{
    const size_t cut = fraction(n, 9, 10);
    if (make_bytes(path, (Shard){.size = cut, .file_bytes = n}, train, e) != 0)
        return -1;
    if (make_bytes(path, (Shard){.size = n - cut, .offset = cut, .file_bytes = n}, val, e) == 0)
        return 0;
    tokens_close(*train);
    return -1;
}

int tokens_check_text(const char *path, size_t *size, Error *e)
{
    int fd;
    unsigned char start[4];
    if (files_open(path, &fd, size, e) != 0)
        return -1;
    int status;
    if (*size == 0)
        status = error_set(e, "%s: is empty", path);
    else if (*size < TEXT_MIN)
        status = error_set(e, "%s: has %zu bytes; a text to train on takes at least %d", path, *size, TEXT_MIN);
    else
        status = files_read_at(fd, path, 0, start, sizeof start, e);
    close(fd);
    if (status == 0 && bytes_int32(start) == SHARD_MAGIC)
        status = error_set(e, "%s: is a file of token shards, not a text; give it with --train", path);
    return status;
}

int tokens_from_text(const char *path, Tokens **train, Tokens **val, Error *e)
{
    size_t n;
    return tokens_check_text(path, &n, e) != 0 ? -1 : split_text(path, n, train, val, e);
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

/* Opens the file of a shard, whose size must not have changed. *fd is -1 for one in memory. */
static int open_shard(const Shard *s, int *fd, Error *e)
{
    size_t file_bytes;
    *fd = -1;
    if (s->bytes != NULL)
        return 0;
    if (files_open(s->name, fd, &file_bytes, e) != 0)
        return -1;
    if (file_bytes == s->file_bytes)
        return 0;
    close(*fd);
    return error_set(e, "%s: had %zu bytes when it was opened and now has %zu", s->name, s->file_bytes, file_bytes);
}

/* `count` bytes of an open shard's tokens, from byte `begin` of them on. */
static int read_bytes(const Shard *s, int fd, size_t begin, size_t count, unsigned char *to, Error *e)
{
    if (s->bytes == NULL)
        return files_read_at(fd, s->name, s->offset + begin, to, count, e);
    memcpy(to, s->bytes + begin, count);
    return 0;
}

static void close_shard(int fd)
{
    if (fd >= 0)
        close(fd);
}

static int refuse_id(const Tokens *t, const Shard *s, size_t token, int32_t id, Error *e)
{
    return error_set(e, "%s: token %zu is %d, but the vocabulary ends at %zu%s", s->name, token, id, t->V - 1,
                     id < GPT2_VOCAB ? " (GPT-2's tokens need --vocab 50257 or --model gpt2)" : "");
}

int tokens_read(const Tokens *t, size_t shard, size_t begin, size_t count, int32_t *out, Error *e)
{
    assert(shard < t->count);
    const Shard *s = &t->shards[shard];
    const size_t width = s->width;
    assert(begin <= s->size && count <= s->size - begin);
    /* The tokens, `width` bytes each, are read into the end of `out` and widened from the front: writing token i ends
     * at byte 4i + 4, and the tokens after it start at (4 - width) count + width (i + 1), which is no less. */
    unsigned char *raw = (unsigned char *)out + count * (sizeof *out - width);
    int fd;
    if (open_shard(s, &fd, e) != 0)
        return -1;
    const int status = read_bytes(s, fd, begin * width, count * width, raw, e);
    close_shard(fd);
    for (size_t i = 0; i < count && status == 0; i++) {
        const int32_t id = width == 1 ? raw[i] : raw[2 * i] | raw[2 * i + 1] << 8;
        if ((size_t)id >= t->V)
            return refuse_id(t, s, begin + i, id, e);
        out[i] = id;
    }
    return status;
}

int tokens_shard_hash(const Tokens *t, size_t shard, uint64_t *hash, Error *e)
{
    assert(shard < t->count);
    const Shard *s = &t->shards[shard];
    const uint64_t bytes = s->size * s->width;
    const bool whole = bytes <= HASHED_WHOLE;
    const size_t blocks = whole ? (bytes + HASH_BLOCK - 1) / HASH_BLOCK : HASH_BLOCKS;
    Hash h = hash_begin();
    int fd, status = 0;
    if (open_shard(s, &fd, e) != 0)
        return -1;
    for (size_t i = 0; i < blocks && status == 0; i++) {
        unsigned char block[HASH_BLOCK];
        const size_t begin = whole ? i * HASH_BLOCK : fraction(bytes - HASH_BLOCK, i, HASH_BLOCKS - 1);
        const size_t count = bytes - begin < HASH_BLOCK ? bytes - begin : HASH_BLOCK;
        status = read_bytes(s, fd, begin, count, block, e);
        if (status == 0)
            hash_add(&h, block, count);
    }
    close_shard(fd);
    if (!whole)
        hash_add(&h, &bytes, sizeof bytes);
    *hash = hash_end(&h);
    return status;
}
