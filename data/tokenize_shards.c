#include "data/tokenize_shards.h"

#include "data/tokens.h"
#include "files/files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER = 1 << 18 /* tokens */ };

static const char temporary[] = ".tmp";

Shards shards_make(const char *prefix, const char *name, size_t most)
{
    return (Shards){.prefix = prefix, .name = name, .most = most};
}

void shards_end(Shards *s)
{
    if (s->stream != NULL)
        fclose(s->stream);
    free(s->hashes);
    free(s->buffer);
    *s = (Shards){0};
}

char *shards_path(const Shards *s, size_t i, const char *suffix)
{
    const size_t size = strlen(s->prefix) + strlen(s->name) + strlen(suffix) + 32;
    char *path = malloc(size);
    if (path != NULL)
        snprintf(path, size, "%s_%s_%06zu.bin%s", s->prefix, s->name, i, suffix);
    return path;
}

size_t shards_size(const Shards *s, size_t i)
{
    const size_t left = s->total - i * s->most;
    return left < s->most ? left : s->most;
}

size_t shards_bytes(size_t tokens) { return SHARD_HEADER + tokens * SHARD_TOKEN; }

/* Says what went wrong with the shard that is being written. Returns -1. */
static int fail(const Shards *s, const char *what, Error *e)
{
    const int reason = errno;
    char *path = shards_path(s, s->complete, temporary);
    error_set(e, "%s: cannot be %s: %s", path != NULL ? path : s->prefix, what, strerror(reason));
    free(path);
    return -1;
}

static void put_header(unsigned char header[SHARD_HEADER], size_t tokens)
{
    const size_t numbers[] = {SHARD_MAGIC, SHARD_VERSION, tokens};
    memset(header, 0, SHARD_HEADER);
    for (size_t i = 0; i < 12; i++)
        header[i] = (unsigned char)(numbers[i / 4] >> 8 * (i % 4));
}

static int begin_shard(Shards *s, Error *e)
{
    unsigned char header[SHARD_HEADER];
    char *path = shards_path(s, s->complete, temporary);
    if (path == NULL)
        return error_set(e, "%s: out of memory", s->prefix);
    unlink(path); /* a link is not followed */
    s->stream = fopen(path, "wb");
    free(path);
    if (s->stream == NULL)
        return fail(s, "created", e);
    put_header(header, s->most);
    s->tokens = s->buffered = 0;
    return fwrite(header, 1, SHARD_HEADER, s->stream) == SHARD_HEADER ? 0 : fail(s, "written", e);
}

static int write_buffer(Shards *s, Error *e)
{
    const size_t n = s->buffered;
    s->buffered = 0;
    return n == 0 || fwrite(s->buffer, SHARD_TOKEN, n, s->stream) == n ? 0 : fail(s, "written", e);
}

int shards_flush(Shards *s, Error *e)
{
    if (s->stream == NULL)
        return 0;
    if (write_buffer(s, e) != 0)
        return -1;
    return fflush(s->stream) == 0 && !ferror(s->stream) && fsync(fileno(s->stream)) == 0 ? 0 : fail(s, "written", e);
}

static int note_hash(Shards *s, Error *e)
{
    uint64_t *hashes = realloc(s->hashes, (s->complete + 1) * sizeof *hashes);
    char *path = shards_path(s, s->complete, temporary);
    int status;
    if (hashes != NULL)
        s->hashes = hashes;
    if (hashes == NULL || path == NULL)
        status = error_set(e, "%s: out of memory", s->prefix);
    else
        status = files_hash(path, &s->hashes[s->complete], e);
    free(path);
    return status;
}

static int complete_shard(Shards *s, Error *e)
{
    unsigned char header[SHARD_HEADER];
    put_header(header, s->tokens);
    if (write_buffer(s, e) != 0)
        return -1;
    if (fseek(s->stream, 0, SEEK_SET) != 0 || fwrite(header, 1, SHARD_HEADER, s->stream) != SHARD_HEADER)
        return fail(s, "written", e);
    if (shards_flush(s, e) != 0)
        return -1;
    FILE *stream = s->stream;
    s->stream = NULL;
    if (fclose(stream) != 0)
        return fail(s, "written", e);
    if (note_hash(s, e) != 0)
        return -1;
    s->complete++;
    s->tokens = 0;
    return 0;
}

int shards_append(Shards *s, const uint16_t *ids, size_t count, Error *e)
{
    if (s->buffer == NULL && (s->buffer = malloc(BUFFER * SHARD_TOKEN)) == NULL)
        return error_set(e, "%s: out of memory", s->prefix);
    for (size_t done = 0, n; done < count; done += n) {
        if (s->stream == NULL && begin_shard(s, e) != 0)
            return -1;
        n = count - done < BUFFER - s->buffered ? count - done : BUFFER - s->buffered;
        n = s->most - s->tokens < n ? s->most - s->tokens : n;
        unsigned char *to = s->buffer + s->buffered * SHARD_TOKEN;
        for (size_t i = 0; i < n; i++) {
            to[2 * i] = (unsigned char)ids[done + i];
            to[2 * i + 1] = (unsigned char)(ids[done + i] >> 8);
        }
        s->buffered += n;
        s->tokens += n;
        s->total += n;
        if (s->buffered == BUFFER && write_buffer(s, e) != 0)
            return -1;
        if (s->tokens == s->most && complete_shard(s, e) != 0)
            return -1;
    }
    return 0;
}

int shards_finish(Shards *s, Error *e) { return s->stream != NULL ? complete_shard(s, e) : 0; }

static int publish_one(Shards *s, Error *e)
{
    const off_t size = (off_t)shards_bytes(shards_size(s, s->published));
    char *from = shards_path(s, s->published, temporary), *to = shards_path(s, s->published, "");
    struct stat found;
    int status = 0;
    if (from == NULL || to == NULL)
        status = error_set(e, "%s: out of memory", s->prefix);
    else if (lstat(from, &found) == 0 || lstat(to, &found) != 0)
        status = files_rename_new(from, to, e);
    else if (found.st_size != size) /* it was renamed before the program was stopped */
        status =
            error_set(e, "%s: has %lld bytes, not %lld: it has changed", to, (long long)found.st_size, (long long)size);
    free(from);
    free(to);
    s->published += status == 0;
    return status;
}

int shards_publish(Shards *s, Error *e)
{
    if (s->published == s->complete)
        return 0;
    while (s->published < s->complete)
        if (publish_one(s, e) != 0)
            return -1;
    return files_sync_parent(s->prefix, e);
}

/* The shard that was being written, without what was appended after the flush. */
static int reopen(Shards *s, size_t tokens, Error *e)
{
    struct stat found;
    const off_t size = (off_t)shards_bytes(tokens);
    char *path = shards_path(s, s->complete, temporary);
    int status = 0;
    if (path == NULL)
        return error_set(e, "%s: out of memory", s->prefix);
    if (stat(path, &found) != 0)
        status = error_set(e, "%s: cannot be opened: %s", path, strerror(errno));
    else if (found.st_size < size)
        status = error_set(e, "%s: has %lld bytes, and had %lld when it was left", path, (long long)found.st_size,
                           (long long)size);
    else if (truncate(path, size) != 0 || (s->stream = fopen(path, "r+b")) == NULL ||
             fseek(s->stream, 0, SEEK_END) != 0)
        status = error_set(e, "%s: cannot be written: %s", path, strerror(errno));
    free(path);
    s->tokens = tokens;
    return status;
}

int shards_resume(Shards *s, const Shards *was, Error *e)
{
    s->hashes = malloc((was->complete + 1) * sizeof *s->hashes);
    if (s->hashes == NULL)
        return error_set(e, "%s: out of memory", s->prefix);
    for (size_t i = 0; i < was->complete; i++)
        s->hashes[i] = was->hashes[i];
    s->complete = was->complete;
    s->total = was->total;
    if (shards_publish(s, e) != 0)
        return -1;
    return was->tokens > 0 ? reopen(s, was->tokens, e) : 0;
}
