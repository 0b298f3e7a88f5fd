#include "data/tokenize_reader.h"

#include "base/hash.h"
#include "base/text.h"
#include "data/gpt2_pattern.h"
#include "data/tokenize_stream.h"

#include <stdlib.h>
#include <string.h>

enum {
    BATCH = 4 << 20,  /* bytes of text */
    CHUNK = 1 << 20,  /* bytes that are read at once */
    PART = 128 << 10, /* bytes of a text's part, if it can be cut there */
    HASHED = 1 << 20, /* bytes of a document that decide whether it is held out */
    MOST = 256 << 20  /* bytes of the longest part */
};

struct Reader {
    Sources *sources;
    const Split *split;
    Position at;         /* of the text in `pending`, or that follows */
    Stream *stream;      /* of source at.source; NULL: not open */
    size_t cut;          /* of a text with a tail: bytes before it; otherwise SIZE_MAX */
    size_t raw_finished; /* bytes of the sources that have been read to their end */
    char *pending;       /* read, and in no part yet */
    size_t pending_size, pending_capacity;
    size_t next_part; /* bytes at which a text is next tried to be cut */
    size_t searched;  /* bytes of an unfinished line that hold no newline */
};

/* --- documents that are held out --- */

bool split_holds_out(const Split *split, const char *text, size_t size)
{
    return (double)(hash_bytes(text, size < HASHED ? size : HASHED) >> 11) * 0x1p-53 < split->fraction;
}

static size_t kept_characters(const Split *split, size_t characters)
{
    return (size_t)((1 - split->fraction) * (double)characters);
}

size_t split_cut(const Split *split, const char *text, size_t size)
{
    size_t kept = kept_characters(split, text_count(text, size));
    return text_find(text, size, &kept);
}

/* Reads a whole source: without `kept` counts its characters, otherwise finds the byte where that many end. */
static int scan(const char *path, char *buffer, size_t *kept, size_t *found, Error *e)
{
    Stream *s = NULL;
    int status = stream_open(path, &s, e);
    size_t got = 1;
    for (*found = 0; status == 0 && got > 0;) {
        status = stream_read(s, buffer, CHUNK, &got, e);
        if (status != 0 || got == 0)
            break;
        const size_t step = kept == NULL ? text_count(buffer, got) : text_find(buffer, got, kept);
        *found += step;
        if (kept != NULL && step < got)
            break;
    }
    stream_close(s);
    return status;
}

/* Where a text's tail begins, for which it is read twice. */
static int find_cut(const Split *split, const char *path, size_t *cut, Error *e)
{
    char *buffer = malloc(CHUNK);
    size_t characters = 0;
    int status = buffer != NULL ? scan(path, buffer, NULL, &characters, e) : error_set(e, "%s: out of memory", path);
    if (status == 0) {
        size_t kept = kept_characters(split, characters);
        status = scan(path, buffer, &kept, cut, e);
    }
    free(buffer);
    return status;
}

/* --- batches --- */

void batch_free(Batch *b)
{
    free(b->text);
    free(b->parts);
    *b = (Batch){0};
}

static int grow(char **text, size_t *capacity, size_t size, const char *path, Error *e)
{
    if (size <= *capacity)
        return 0;
    const size_t larger = size > 2 * *capacity ? size : 2 * *capacity;
    char *memory = realloc(*text, larger);
    if (memory == NULL)
        return error_set(e, "%s: out of memory for %zu bytes of it", path, larger);
    *text = memory;
    *capacity = larger;
    return 0;
}

/* Takes the first n bytes that are in no part yet as a part. */
static int add_part(Reader *r, Batch *b, size_t *begin, size_t n, bool first, Error *e)
{
    if (b->count == b->parts_capacity) {
        const size_t capacity = b->parts_capacity > 0 ? 2 * b->parts_capacity : 256;
        Part *parts = realloc(b->parts, capacity * sizeof *parts);
        if (parts == NULL)
            return error_set(e, "%s: out of memory for its parts", r->sources->list[r->at.source].path);
        b->parts = parts;
        b->parts_capacity = capacity;
    }
    b->parts[b->count++] = (Part){.source = r->at.source,
                                  .line = r->at.line,
                                  .begin = *begin,
                                  .size = n,
                                  .first = first,
                                  .document = first && (r->at.line > 0 || r->at.offset == 0),
                                  .held_out = r->at.held_out};
    *begin += n;
    r->at.offset += n;
    return 0;
}

/* A byte order mark, with which some programs begin a text. */
static size_t mark_size(const char *text, size_t size)
{
    return size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

static bool is_blank(const char *line, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memchr(" \t\r\n", line[i], 4) == NULL)
            return false;
    return true;
}

/* The parts that lines make; `last`: the source ends here. */
static int take_lines(Reader *r, Batch *b, size_t *begin, bool last, Error *e)
{
    for (;;) {
        const char *line = b->text + *begin;
        const size_t left = b->size - *begin;
        const char *newline = left > r->searched ? memchr(line + r->searched, '\n', left - r->searched) : NULL;
        const size_t n = newline != NULL ? (size_t)(newline - line) + 1 : left;
        if (n == 0 || (newline == NULL && !last)) {
            r->searched = left;
            return 0;
        }
        r->searched = 0;
        const size_t mark = r->at.offset == 0 ? mark_size(line, n) : 0;
        if (mark > 0) {
            *begin += mark;
            r->at.offset += mark;
            continue;
        }
        r->at.line++;
        if (is_blank(line, n)) {
            *begin += n;
            r->at.offset += n;
        } else if (add_part(r, b, begin, n, true, e) != 0)
            return -1;
    }
}

/* The bytes of a text's next part, of `left` that there are; 0: not enough of them. `closes`: what comes after them
 * is of another document, or held out. */
static size_t part_of(Reader *r, const char *text, size_t left, bool closes)
{
    const size_t needed = r->at.inside ? 0 : HASHED; /* so that they say whether the document is held out */
    while (left >= r->next_part && left >= needed) {
        const size_t n = gpt2_cut(text, r->next_part);
        if (n > 0) {
            r->next_part = PART;
            return n;
        }
        r->next_part *= 2;
    }
    if (!closes)
        return 0;
    r->next_part = PART;
    return left;
}

/* The parts that a text makes; `last`: it ends here. */
static int take_text(Reader *r, Batch *b, size_t *begin, bool last, Error *e)
{
    while (*begin < b->size) {
        const char *text = b->text + *begin;
        size_t left = b->size - *begin;
        const bool reaches_cut = r->at.offset < r->cut && r->cut - r->at.offset <= left;
        if (reaches_cut)
            left = r->cut - r->at.offset;
        const size_t n = part_of(r, text, left, last || reaches_cut);
        if (n == 0)
            return 0;
        if (!r->at.inside)
            r->at.held_out = r->split->tail ? r->at.offset >= r->cut : split_holds_out(r->split, text, left);
        if (add_part(r, b, begin, n, !r->at.inside, e) != 0)
            return -1;
        r->at.inside = r->at.offset != r->cut;
    }
    return 0;
}

/* --- sources --- */

static int open_source(Reader *r, Error *e)
{
    const Source *source = &r->sources->list[r->at.source];
    r->cut = SIZE_MAX;
    r->next_part = PART;
    r->searched = 0;
    if (r->split->tail && !source->jsonl && find_cut(r->split, source->path, &r->cut, e) != 0)
        return -1;
    return stream_open(source->path, &r->stream, e);
}

static int close_source(Reader *r, Batch *b, Error *e)
{
    Source *source = &r->sources->list[r->at.source];
    const size_t bytes = stream_bytes(r->stream);
    source->hash = stream_hash(r->stream);
    stream_close(r->stream);
    r->stream = NULL;
    if (bytes != source->bytes)
        return error_set(e, "%s: had %zu bytes and now has %zu: it has changed meanwhile", source->path, source->bytes,
                         bytes);
    r->raw_finished += bytes;
    b->empty += !source->jsonl && r->at.offset == 0;
    r->at = (Position){.source = r->at.source + 1};
    return 0;
}

/* Reads on, and takes what parts that makes. */
static int read_more(Reader *r, Batch *b, size_t *begin, Error *e)
{
    const Source *source = &r->sources->list[r->at.source];
    size_t got;
    if (b->size - *begin > MOST)
        return source->jsonl
                   ? error_set(e, "%s: line %zu: has more than %d MiB", source->path, r->at.line + 1, MOST >> 20)
                   : error_set(e,
                               "%s: has more than %d MiB without a place where white space follows "
                               "something else, which is too long to tokenize",
                               source->path, MOST >> 20);
    if (grow(&b->text, &b->capacity, b->size + CHUNK, source->path, e) != 0 ||
        stream_read(r->stream, b->text + b->size, CHUNK, &got, e) != 0)
        return -1;
    b->size += got;
    if ((source->jsonl ? take_lines : take_text)(r, b, begin, got == 0, e) != 0)
        return -1;
    return got == 0 ? close_source(r, b, e) : 0;
}

int reader_next(Reader *r, Batch *b, Error *e)
{
    size_t begin = 0;
    b->count = b->empty = 0;
    if (grow(&b->text, &b->capacity, r->pending_size, "the text", e) != 0)
        return -1;
    if (r->pending_size > 0)
        memcpy(b->text, r->pending, r->pending_size);
    b->size = r->pending_size;
    while (begin < BATCH && r->at.source < r->sources->count) {
        if (r->stream == NULL && open_source(r, e) != 0)
            return -1;
        if (read_more(r, b, &begin, e) != 0)
            return -1;
    }
    r->pending_size = b->size - begin;
    if (grow(&r->pending, &r->pending_capacity, r->pending_size, "the text", e) != 0)
        return -1;
    if (r->pending_size > 0)
        memcpy(r->pending, b->text + begin, r->pending_size);
    b->end = r->at;
    b->raw_read = r->raw_finished + (r->stream != NULL ? stream_bytes(r->stream) : 0);
    return 0;
}

/* --- the reader --- */

/* Reads on to an offset in the source that has been opened. */
static int skip(Reader *r, size_t offset, Error *e)
{
    char *buffer = malloc(CHUNK);
    const char *path = r->sources->list[r->at.source].path;
    int status = buffer != NULL ? 0 : error_set(e, "%s: out of memory", path);
    for (size_t got; status == 0 && offset > 0; offset -= got) {
        status = stream_read(r->stream, buffer, offset < CHUNK ? offset : CHUNK, &got, e);
        if (status == 0 && got == 0)
            status = error_set(e, "%s: ends before the place where it was left", path);
    }
    free(buffer);
    return status;
}

int reader_open(Sources *sources, const Split *split, const Position *begin, Reader **out, Error *e)
{
    Reader *r = calloc(1, sizeof *r);
    if (r == NULL)
        return error_set(e, "out of memory");
    *r = (Reader){.sources = sources, .split = split, .at = *begin};
    for (size_t i = 0; i < begin->source; i++)
        r->raw_finished += sources->list[i].bytes;
    if (begin->offset > 0 && (open_source(r, e) != 0 || skip(r, begin->offset, e) != 0)) {
        reader_close(r);
        return -1;
    }
    *out = r;
    return 0;
}

void reader_close(Reader *r)
{
    if (r == NULL)
        return;
    stream_close(r->stream);
    free(r->pending);
    free(r);
}
