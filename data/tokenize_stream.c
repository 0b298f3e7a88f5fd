#include "data/tokenize_stream.h"

#include "base/hash.h"
#include "base/text.h"
#include "files/files.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef HAVE_ZLIB
#include <zlib.h>
#endif
#ifdef HAVE_ZSTD
#include <zstd.h>
#endif

enum { RAW = 1 << 18 /* bytes of a compressed file that are read at once */ };

typedef enum { PLAIN, GZIP, ZSTD } Kind;

struct Stream {
    char *path;
    int fd;
    Kind kind;
    size_t bytes;
    Hash hash;
    unsigned char *raw; /* compressed: those read and not yet decompressed, raw[begin .. end-1] */
    size_t begin, end;
    bool inside; /* a member or frame that has not ended */
    bool ended;  /* the file has been read */
#ifdef HAVE_ZLIB
    z_stream gzip;
#endif
#ifdef HAVE_ZSTD
    ZSTD_DStream *zstd;
#endif
};

static Kind kind_of(const char *path)
{
    return text_ends_with(path, ".gz") ? GZIP : text_ends_with(path, ".zst") ? ZSTD : PLAIN;
}

size_t stream_plain_name(const char *path)
{
    static const size_t suffix[] = {[PLAIN] = 0, [GZIP] = sizeof ".gz" - 1, [ZSTD] = sizeof ".zst" - 1};
    return strlen(path) - suffix[kind_of(path)];
}

/* Reads at most `most` bytes of the file itself; 0 at its end. */
static int read_raw(Stream *s, void *to, size_t most, size_t *got, Error *e)
{
    ssize_t n;
    do
        n = read(s->fd, to, most);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return error_set(e, "%s: cannot be read: %s", s->path, strerror(errno));
    hash_add(&s->hash, to, (size_t)n);
    s->bytes += (size_t)n;
    *got = (size_t)n;
    return 0;
}

/* --- compressed files --- */

#ifdef HAVE_ZLIB
static int begin_gzip(Stream *s, Error *e)
{
    return inflateInit2(&s->gzip, 16 + MAX_WBITS) == Z_OK ? 0 : error_set(e, "%s: out of memory for zlib", s->path);
}

static int decode_gzip(Stream *s, char *to, size_t most, size_t *got, Error *e)
{
    z_stream *z = &s->gzip;
    z->next_in = s->raw + s->begin;
    z->avail_in = (uInt)(s->end - s->begin);
    z->next_out = (Bytef *)to;
    z->avail_out = (uInt)(most < RAW ? most : RAW);
    const uInt room = z->avail_out;
    const int status = inflate(z, Z_NO_FLUSH);
    s->begin = s->end - z->avail_in;
    *got = room - z->avail_out;
    s->inside = status != Z_STREAM_END;
    if (status == Z_STREAM_END)
        inflateReset(z); /* another member may follow */
    else if (status != Z_OK && status != Z_BUF_ERROR)
        return error_set(e, "%s: is damaged, or no gzip file: %s", s->path, z->msg != NULL ? z->msg : zError(status));
    return 0;
}
#else
static int begin_gzip(Stream *s, Error *e)
{
    return error_set(e, "%s: this program was built without zlib (Debian: apt-get install zlib1g-dev, and make again)",
                     s->path);
}

static int decode_gzip(Stream *s, char *to, size_t most, size_t *got, Error *e)
{
    (void)to, (void)most, (void)got;
    return begin_gzip(s, e);
}
#endif

#ifdef HAVE_ZSTD
static int begin_zstd(Stream *s, Error *e)
{
    s->zstd = ZSTD_createDStream();
    return s->zstd != NULL ? 0 : error_set(e, "%s: out of memory for zstd", s->path);
}

static int decode_zstd(Stream *s, char *to, size_t most, size_t *got, Error *e)
{
    ZSTD_inBuffer in = {s->raw, s->end, s->begin};
    ZSTD_outBuffer out = {to, most, 0};
    const size_t status = ZSTD_decompressStream(s->zstd, &out, &in);
    if (ZSTD_isError(status))
        return error_set(e, "%s: is damaged, or no zstd file: %s", s->path, ZSTD_getErrorName(status));
    s->begin = in.pos;
    *got = out.pos;
    s->inside = status != 0;
    return 0;
}
#else
static int begin_zstd(Stream *s, Error *e)
{
    return error_set(e, "%s: this program was built without zstd (Debian: apt-get install libzstd-dev, and make again)",
                     s->path);
}

static int decode_zstd(Stream *s, char *to, size_t most, size_t *got, Error *e)
{
    (void)to, (void)most, (void)got;
    return begin_zstd(s, e);
}
#endif

/* Reads on until there is something, or the end. */
static int read_compressed(Stream *s, char *to, size_t most, size_t *got, Error *e)
{
    for (*got = 0; *got == 0;) {
        if (s->begin == s->end && !s->ended) {
            s->begin = 0;
            if (read_raw(s, s->raw, RAW, &s->end, e) != 0)
                return -1;
            s->ended = s->end == 0;
        }
        if (s->begin == s->end && !s->inside && s->bytes > 0)
            return 0;
        if (s->bytes > 0 && (s->kind == GZIP ? decode_gzip : decode_zstd)(s, to, most, got, e) != 0)
            return -1;
        if (*got == 0 && s->ended) /* there may have been output left, but there is none */
            return error_set(e, "%s: ends early: it is truncated", s->path);
    }
    return 0;
}

/* --- the stream --- */

int stream_open(const char *path, Stream **out, Error *e)
{
    size_t size;
    Stream *s = calloc(1, sizeof *s);
    if (s == NULL)
        return error_set(e, "%s: out of memory", path);
    *s = (Stream){.path = strdup(path), .fd = -1, .kind = kind_of(path), .hash = hash_begin()};
    s->raw = s->kind != PLAIN ? malloc(RAW) : NULL;
    int status = s->path != NULL && (s->raw != NULL || s->kind == PLAIN) ? 0 : error_set(e, "%s: out of memory", path);
    if (status == 0)
        status = files_open(path, &s->fd, &size, e);
    if (status == 0 && s->kind != PLAIN)
        status = (s->kind == GZIP ? begin_gzip : begin_zstd)(s, e);
    if (status != 0) {
        stream_close(s);
        return -1;
    }
    *out = s;
    return 0;
}

void stream_close(Stream *s)
{
    if (s == NULL)
        return;
    if (s->fd >= 0)
        close(s->fd);
#ifdef HAVE_ZLIB
    if (s->kind == GZIP)
        inflateEnd(&s->gzip);
#endif
#ifdef HAVE_ZSTD
    ZSTD_freeDStream(s->zstd);
#endif
    free(s->path);
    free(s->raw);
    free(s);
}

int stream_read(Stream *s, char *to, size_t most, size_t *got, Error *e)
{
    return s->kind == PLAIN ? read_raw(s, to, most, got, e) : read_compressed(s, to, most, got, e);
}

size_t stream_bytes(const Stream *s) { return s->bytes; }

uint64_t stream_hash(const Stream *s) { return hash_end(&s->hash); }
