#include "data/tokens.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SHARD_MAGIC = 20240520,
    SHARD_VERSION = 1,
    HEADER_BYTES = 256 * 4,
    TOKEN_BYTES = 2,
    FIRST_BLOCK = 4096, /* tokens checked when a shard is opened */
    TEXT_MIN = 11       /* the shortest text whose held-out part has an input and a target */
};

typedef struct Shard {
    char *name;
    size_t size;          /* tokens */
    unsigned char *bytes; /* the tokens, one byte each; NULL: they are in the file `name` */
} Shard;

struct Tokens {
    size_t V;
    size_t total;
    size_t count;
    Shard *shards;
};

/* --- files --- */

/* Opens a regular file and gets its size. O_NONBLOCK, so that a pipe is rejected rather than waited for. */
static int open_file(const char *path, int *fd, size_t *bytes, Error *e)
{
    *fd = open(path, O_RDONLY | O_NONBLOCK);
    if (*fd < 0)
        return error_set(e, "%s: cannot be opened: %s", path, strerror(errno));
    struct stat info;
    if (fstat(*fd, &info) == 0 && S_ISREG(info.st_mode)) {
        *bytes = (size_t)info.st_size;
        return 0;
    }
    close(*fd);
    return error_set(e, "%s: is not a regular file", path);
}

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
    if (open_file(path, &fd, &file_bytes, e) != 0)
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

/* Appends a shard, for which there must be room, and takes ownership of `bytes`. */
static int append(Tokens *t, const char *name, size_t size, unsigned char *bytes, Error *e)
{
    char *copy = strdup(name);
    if (copy == NULL) {
        free(bytes);
        return error_set(e, "%s: out of memory", name);
    }
    t->shards[t->count++] = (Shard){.name = copy, .size = size, .bytes = bytes};
    t->total += size;
    return 0;
}

static int append_file(Tokens *t, const char *path, Error *e)
{
    size_t size = 0;
    int32_t block[FIRST_BLOCK];
    if (read_header(path, &size, e) != 0 || append(t, path, size, NULL, e) != 0)
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
    if (append(t, name, n, copy, e) != 0) {
        tokens_close(t);
        return -1;
    }
    *out = t;
    return 0;
}

static int split_text(const char *path, const unsigned char *text, size_t n, Tokens **train, Tokens **val, Error *e)
{
    const size_t cut = n / 10 * 9 + n % 10 * 9 / 10; /* floor(0.9 n) without overflow */
    if (tokens_from_bytes(path, text, cut, train, e) != 0)
        return -1;
    if (tokens_from_bytes(path, text + cut, n - cut, val, e) == 0)
        return 0;
    tokens_close(*train);
    return -1;
}

int tokens_from_text(const char *path, Tokens **train, Tokens **val, Error *e)
{
    int fd;
    size_t n;
    if (open_file(path, &fd, &n, e) != 0)
        return -1;
    unsigned char *text = NULL;
    int status;
    if (n == 0)
        status = error_set(e, "%s: is empty", path);
    else if (n < TEXT_MIN)
        status = error_set(e, "%s: has %zu bytes; a text to train on takes at least %d", path, n, TEXT_MIN);
    else if ((text = malloc(n)) == NULL)
        status = error_set(e, "%s: out of memory for its %zu bytes", path, n);
    else
        status = read_file(fd, path, 0, n, text, e);
    close(fd);
    if (status == 0)
        status = split_text(path, text, n, train, val, e);
    free(text);
    return status;
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

/* The bytes of tokens begin .. begin+count-1 of a shard in a file, whose size must not have changed. */
static int read_shard_file(const Shard *s, size_t begin, size_t count, unsigned char *to, Error *e)
{
    int fd;
    size_t file_bytes;
    if (open_file(s->name, &fd, &file_bytes, e) != 0)
        return -1;
    const size_t wanted = HEADER_BYTES + s->size * TOKEN_BYTES;
    int status;
    if (file_bytes != wanted)
        status = error_set(e, "%s: had %zu bytes when it was opened and now has %zu", s->name, wanted, file_bytes);
    else
        status = read_file(fd, s->name, HEADER_BYTES + begin * TOKEN_BYTES, count * TOKEN_BYTES, to, e);
    close(fd);
    return status;
}

int tokens_read(const Tokens *t, size_t shard, size_t begin, size_t count, int32_t *out, Error *e)
{
    assert(shard < t->count);
    const Shard *s = &t->shards[shard];
    assert(begin <= s->size && count <= s->size - begin);
    if (s->bytes != NULL) {
        for (size_t i = 0; i < count; i++)
            out[i] = s->bytes[begin + i];
        return 0;
    }
    /* The file's tokens, two bytes each, are read into the second half of `out` and widened from the front: writing
     * token i ends at byte 4i + 4, and the tokens after it start at 2 count + 2i + 2, which is no less. */
    unsigned char *raw = (unsigned char *)out + count * TOKEN_BYTES;
    if (read_shard_file(s, begin, count, raw, e) != 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        const int32_t id = raw[2 * i] | raw[2 * i + 1] << 8;
        if ((size_t)id >= t->V)
            return error_set(e, "%s: token %zu is %d, but the vocabulary ends at %zu", s->name, begin + i, id,
                             t->V - 1);
        out[i] = id;
    }
    return 0;
}
