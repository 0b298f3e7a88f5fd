#include "files/safetensors.h"

#include "files/files.h"
#include "files/json.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors files are little-endian and are read and written without swapping bytes"
#endif

enum { PREFIX = 8 /* bytes of the header length */, CHUNK = 8192 /* elements converted at a time */ };

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    [DTYPE_BOOL] = {"BOOL", 1},       [DTYPE_U8] = {"U8", 1},           [DTYPE_I8] = {"I8", 1},
    [DTYPE_F8_E4M3] = {"F8_E4M3", 1}, [DTYPE_F8_E5M2] = {"F8_E5M2", 1}, [DTYPE_U16] = {"U16", 2},
    [DTYPE_I16] = {"I16", 2},         [DTYPE_F16] = {"F16", 2},         [DTYPE_BF16] = {"BF16", 2},
    [DTYPE_U32] = {"U32", 4},         [DTYPE_I32] = {"I32", 4},         [DTYPE_F32] = {"F32", 4},
    [DTYPE_U64] = {"U64", 8},         [DTYPE_I64] = {"I64", 8},         [DTYPE_F64] = {"F64", 8},
};
_Static_assert(sizeof dtypes / sizeof dtypes[0] == DTYPE_COUNT, "one row per dtype");

const char *dtype_name(Dtype dtype) { return dtypes[dtype].name; }

size_t dtype_size(Dtype dtype) { return dtypes[dtype].size; }

static bool find_dtype(const char *name, Dtype *dtype)
{
    for (size_t i = 0; i < DTYPE_COUNT; i++) {
        if (strcmp(name, dtypes[i].name) == 0) {
            *dtype = (Dtype)i;
            return true;
        }
    }
    return false;
}

/* Elements of a shape; false if they or their bytes overflow a size_t. */
static bool count_elements(Dtype dtype, size_t rank, const size_t *shape, size_t *count)
{
    size_t limit = SIZE_MAX / dtype_size(dtype);
    *count = 1;
    for (size_t i = 0; i < rank; i++) {
        if (shape[i] > 0 && *count > limit / shape[i])
            return false;
        *count *= shape[i];
    }
    return true;
}

/* --- the header --- */

typedef struct Header {
    const char *path;     /* borrowed, for messages */
    Json *json;           /* owns the entries' names */
    const Json *metadata; /* or NULL */
    SafetensorsEntry *entries;
    size_t count;
} Header;

static void header_free(Header *h)
{
    free(h->entries);
    json_free(h->json);
}

__attribute__((format(printf, 4, 5))) static int refuse(const Header *h, const char *tensor, Error *e,
                                                        const char *format, ...)
{
    Error fault;
    va_list args;
    va_start(args, format);
    vsnprintf(fault.text, sizeof fault.text, format, args);
    va_end(args);
    return error_set(e, "%s: tensor \"%.120s\" %s", h->path, tensor, fault.text);
}

static int check_metadata(const Header *h, Error *e)
{
    if (h->metadata == NULL)
        return 0;
    if (h->metadata->type != JSON_OBJECT)
        return error_set(e, "%s: __metadata__ is not an object", h->path);
    for (const Json *value = h->metadata->first; value; value = value->next) {
        if (value->type != JSON_STRING)
            return error_set(e, "%s: __metadata__ holds a value that is not a string", h->path);
    }
    return 0;
}

static int read_sizes(const Header *h, const Json *array, const char *what, SafetensorsEntry *entry, size_t *out,
                      Error *e)
{
    size_t i = 0;
    for (const Json *value = array->first; value; value = value->next, i++) {
        if (!json_size(value, &out[i]))
            return refuse(h, entry->name, e, "has %.40s in its %s, which must hold whole numbers below 2^64",
                          value->type == JSON_NUMBER ? value->text : "something else", what);
    }
    return 0;
}

static int read_shape(const Header *h, const Json *shape, SafetensorsEntry *entry, Error *e)
{
    if (shape == NULL || shape->type != JSON_ARRAY)
        return refuse(h, entry->name, e, "has no shape");
    if (shape->count > SAFETENSORS_MAX_RANK)
        return refuse(h, entry->name, e, "has %zu dimensions; %d are supported", shape->count, SAFETENSORS_MAX_RANK);
    entry->rank = shape->count;
    if (read_sizes(h, shape, "shape", entry, entry->shape, e) != 0)
        return -1;
    if (!count_elements(entry->dtype, entry->rank, entry->shape, &entry->count))
        return refuse(h, entry->name, e, "has a shape whose size overflows");
    return 0;
}

static int read_offsets(const Header *h, const Json *offsets, SafetensorsEntry *entry, Error *e)
{
    size_t range[2];
    if (offsets == NULL || offsets->type != JSON_ARRAY || offsets->count != 2)
        return refuse(h, entry->name, e, "has no pair of data_offsets");
    if (read_sizes(h, offsets, "data_offsets", entry, range, e) != 0)
        return -1;
    if (range[0] > range[1])
        return refuse(h, entry->name, e, "ends at %zu before it begins at %zu", range[1], range[0]);
    const size_t bytes = entry->count * dtype_size(entry->dtype);
    if (range[1] - range[0] != bytes)
        return refuse(h, entry->name, e, "has %zu bytes of data, but its shape and dtype %s need %zu",
                      range[1] - range[0], dtype_name(entry->dtype), bytes);
    entry->begin = range[0];
    entry->end = range[1];
    return 0;
}

static int read_entry(const Header *h, const Json *tensor, SafetensorsEntry *entry, Error *e)
{
    *entry = (SafetensorsEntry){.name = tensor->key};
    if (tensor->type != JSON_OBJECT)
        return refuse(h, entry->name, e, "is not described by an object");
    const char *dtype = json_string(json_get(tensor, "dtype"));
    if (dtype == NULL)
        return refuse(h, entry->name, e, "has no dtype");
    if (!find_dtype(dtype, &entry->dtype))
        return refuse(h, entry->name, e, "has the unknown dtype \"%.30s\"", dtype);
    if (read_shape(h, json_get(tensor, "shape"), entry, e) != 0)
        return -1;
    return read_offsets(h, json_get(tensor, "data_offsets"), entry, e);
}

/* By position in the file, empty tensors before the one that starts there; ties by name. */
static int compare_entries(const void *a, const void *b)
{
    const SafetensorsEntry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* The sorted entries must cover data_size bytes without holes or overlaps. */
static int check_cover(const Header *h, size_t data_size, Error *e)
{
    size_t covered = 0;
    for (size_t i = 0; i < h->count; i++) {
        const SafetensorsEntry *entry = &h->entries[i];
        if (entry->begin < covered)
            return refuse(h, entry->name, e, "begins at %zu and overlaps the one before, which ends at %zu",
                          entry->begin, covered);
        if (entry->begin > covered)
            return refuse(h, entry->name, e, "begins at %zu and leaves a hole after %zu", entry->begin, covered);
        if (entry->end > data_size)
            return refuse(h, entry->name, e, "ends at %zu, past the end of the data, %zu bytes", entry->end, data_size);
        covered = entry->end;
    }
    if (covered < data_size)
        return error_set(e, "%s: %zu bytes after the last tensor belong to none", h->path, data_size - covered);
    return 0;
}

static int read_entries(Header *h, size_t data_size, Error *e)
{
    h->metadata = json_get(h->json, "__metadata__");
    if (check_metadata(h, e) != 0)
        return -1;
    h->entries = calloc(h->json->count + 1, sizeof *h->entries); /* + 1: not NULL for an empty file */
    if (h->entries == NULL)
        return error_set(e, "%s: out of memory for %zu tensors", h->path, h->json->count);
    for (const Json *tensor = h->json->first; tensor; tensor = tensor->next) {
        if (tensor != h->metadata && read_entry(h, tensor, &h->entries[h->count++], e) != 0)
            return -1;
    }
    qsort(h->entries, h->count, sizeof *h->entries, compare_entries);
    return check_cover(h, data_size, e);
}

/* Parses `size` bytes of header text before data_size bytes of data; entries' offsets are still relative to the data.
 * Needs header_free even on failure. */
static int header_parse(Header *h, const char *path, const char *text, size_t size, size_t data_size, Error *e)
{
    Error fault;
    *h = (Header){.path = path};
    if (size == 0 || text[0] != '{')
        return error_set(e, "%s: the header does not begin with {, so this is not a safetensors file", path);
    if (json_parse(text, size, &h->json, &fault) != 0)
        return error_set(e, "%s: the header is not valid JSON: %s", path, fault.text);
    return read_entries(h, data_size, e);
}

/* --- reading --- */

struct Safetensors {
    Header header;
    char *path;
    int fd;
};

/* Plain reads, not a mapping: a file that shrinks is an error, not a SIGBUS. */
static int read_at(const Safetensors *file, void *to, size_t size, size_t offset, Error *e)
{
    return files_read_at(file->fd, file->path, offset, to, size, e);
}

/* Reads the header's length in bytes from a file of `size` bytes. */
static int read_prefix(const Safetensors *file, size_t size, size_t *header, Error *e)
{
    uint64_t length = 0;
    if (size < PREFIX)
        return error_set(e, "%s: has %zu bytes, too short for a safetensors file", file->path, size);
    if (read_at(file, &length, PREFIX, 0, e) != 0)
        return -1;
    if (length > SAFETENSORS_MAX_HEADER)
        return error_set(e, "%s: announces a header of %" PRIu64 " bytes, more than the limit of %d here", file->path,
                         length, SAFETENSORS_MAX_HEADER);
    if (length > size - PREFIX)
        return error_set(e, "%s: announces a header of %" PRIu64 " bytes, beyond the end of the file, %zu bytes",
                         file->path, length, size);
    *header = (size_t)length;
    return 0;
}

static int read_header(Safetensors *file, size_t size, Error *e)
{
    size_t header = 0;
    if (read_prefix(file, size, &header, e) != 0)
        return -1;
    char *text = malloc(header + 1); /* + 1: not NULL for an empty one */
    if (text == NULL)
        return error_set(e, "%s: out of memory for its header of %zu bytes", file->path, header);
    const size_t data_start = PREFIX + header;
    int status = read_at(file, text, header, PREFIX, e);
    if (status == 0)
        status = header_parse(&file->header, file->path, text, header, size - data_start, e);
    free(text);
    for (size_t i = 0; i < file->header.count; i++) {
        file->header.entries[i].begin += data_start;
        file->header.entries[i].end += data_start;
    }
    return status;
}

int safetensors_open(const char *path, Safetensors **file, Error *e)
{
    Safetensors *s = calloc(1, sizeof *s);
    if (s == NULL || (s->path = strdup(path)) == NULL) {
        free(s);
        return error_set(e, "%s: out of memory while opening it", path);
    }
    size_t size;
    if (files_open(path, &s->fd, &size, e) != 0 || read_header(s, size, e) != 0) {
        safetensors_close(s);
        return -1;
    }
    *file = s;
    return 0;
}

void safetensors_close(Safetensors *file)
{
    if (file == NULL)
        return;
    header_free(&file->header);
    if (file->fd >= 0)
        close(file->fd);
    free(file->path);
    free(file);
}

const char *safetensors_path(const Safetensors *file) { return file->path; }

size_t safetensors_count(const Safetensors *file) { return file->header.count; }

const SafetensorsEntry *safetensors_entry(const Safetensors *file, size_t i) { return &file->header.entries[i]; }

const SafetensorsEntry *safetensors_find(const Safetensors *file, const char *name)
{
    for (size_t i = 0; i < file->header.count; i++) {
        if (strcmp(file->header.entries[i].name, name) == 0)
            return &file->header.entries[i];
    }
    return NULL;
}

const char *safetensors_metadata(const Safetensors *file, const char *key)
{
    return json_string(json_get(file->header.metadata, key));
}

/* The bits of the float equal to an F16 (IEEE 754 binary16). */
static uint32_t widen_f16(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    const uint32_t exponent = (half >> 10) & 0x1f, mantissa = half & 0x3ff;
    if (exponent == 31) /* infinity, NaN */
        return sign | 0x7f800000 | mantissa << 13;
    if (exponent > 0)
        return sign | (exponent + 127 - 15) << 23 | mantissa << 13;
    const float subnormal = (float)mantissa * 0x1p-24f; /* exact, also for 0 */
    uint32_t bits;
    memcpy(&bits, &subnormal, sizeof bits);
    return sign | bits;
}

/* Converts `count` elements at `from` to floats. */
static void convert_f32(Dtype dtype, const unsigned char *from, size_t count, float *out)
{
    if (dtype == DTYPE_F32) {
        memcpy(out, from, count * sizeof *out);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        uint16_t half;
        memcpy(&half, from + i * sizeof half, sizeof half);
        const uint32_t bits = dtype == DTYPE_F16 ? widen_f16(half) : (uint32_t)half << 16; /* BF16: the upper half */
        memcpy(&out[i], &bits, sizeof bits);
    }
}

int safetensors_read_f32_part(Safetensors *file, const SafetensorsEntry *entry, size_t first, size_t count, float *out,
                              Error *e)
{
    unsigned char raw[CHUNK * sizeof(float)];
    const size_t size = dtype_size(entry->dtype);
    if (entry->dtype != DTYPE_F32 && entry->dtype != DTYPE_F16 && entry->dtype != DTYPE_BF16)
        return refuse(&file->header, entry->name, e, "has dtype %s; F32, F16 or BF16 is needed",
                      dtype_name(entry->dtype));
    if (first > entry->count || count > entry->count - first)
        return refuse(&file->header, entry->name, e, "has %zu elements; %zu from number %zu on are asked for",
                      entry->count, count, first);
    for (size_t done = 0, n; done < count; done += n) {
        n = count - done < CHUNK ? count - done : CHUNK;
        if (read_at(file, raw, n * size, entry->begin + (first + done) * size, e) != 0)
            return -1;
        convert_f32(entry->dtype, raw, n, out + done);
    }
    return 0;
}

int safetensors_read_f32(Safetensors *file, const SafetensorsEntry *entry, float *out, Error *e)
{
    return safetensors_read_f32_part(file, entry, 0, entry->count, out, e);
}

static int64_t widen_integer(Dtype dtype, const unsigned char *from)
{
    uint16_t u16;
    int32_t i32;
    int64_t i64;
    switch (dtype) {
    case DTYPE_U16:
        memcpy(&u16, from, sizeof u16);
        return u16;
    case DTYPE_I32:
        memcpy(&i32, from, sizeof i32);
        return i32;
    default:
        memcpy(&i64, from, sizeof i64);
        return i64;
    }
}

int safetensors_read_i32(Safetensors *file, const SafetensorsEntry *entry, int32_t *out, Error *e)
{
    unsigned char raw[CHUNK * sizeof(int64_t)];
    const size_t size = dtype_size(entry->dtype);
    if (entry->dtype != DTYPE_I32 && entry->dtype != DTYPE_U16 && entry->dtype != DTYPE_I64)
        return refuse(&file->header, entry->name, e, "has dtype %s; I32, U16 or I64 is needed",
                      dtype_name(entry->dtype));
    for (size_t i = 0; i < entry->count; i++) {
        const size_t left = entry->count - i, n = left < CHUNK ? left : CHUNK;
        if (i % CHUNK == 0 && read_at(file, raw, n * size, entry->begin + i * size, e) != 0)
            return -1;
        const int64_t value = widen_integer(entry->dtype, raw + i % CHUNK * size);
        if (value < INT32_MIN || value > INT32_MAX)
            return refuse(&file->header, entry->name, e, "holds %" PRId64 ", which does not fit in 32 bits", value);
        out[i] = (int32_t)value;
    }
    return 0;
}

/* --- writing --- */

struct SafetensorsWriter {
    FilesWriter file;
    char *path;
    size_t data_size, written; /* bytes of tensors: in total, so far */
};

/* The arguments of safetensors_create. */
typedef struct Contents {
    const char *path;
    const SafetensorsSpec *specs;
    size_t count;
    const char *const (*metadata)[2];
    size_t metadata_count;
} Contents;

static void write_metadata(FILE *to, const Contents *c)
{
    fputs("\"__metadata__\":{", to);
    for (size_t i = 0; i < c->metadata_count; i++) {
        fputs(i > 0 ? "," : "", to);
        json_write_string(to, c->metadata[i][0]);
        fputc(':', to);
        json_write_string(to, c->metadata[i][1]);
    }
    fputc('}', to);
}

/* Describes one tensor; its data starts at *offset, which moves to its end. */
static int write_spec(FILE *to, const SafetensorsSpec *spec, size_t *offset, const char *path, Error *e)
{
    const Header h = {.path = path};
    size_t count;
    if (spec->rank > SAFETENSORS_MAX_RANK)
        return refuse(&h, spec->name, e, "has %zu dimensions; %d are supported", spec->rank, SAFETENSORS_MAX_RANK);
    if (!count_elements(spec->dtype, spec->rank, spec->shape, &count) ||
        count * dtype_size(spec->dtype) > SIZE_MAX - *offset)
        return refuse(&h, spec->name, e, "has a shape whose size overflows");
    const size_t end = *offset + count * dtype_size(spec->dtype);
    json_write_string(to, spec->name);
    fprintf(to, ":{\"dtype\":\"%s\",\"shape\":[", dtype_name(spec->dtype));
    for (size_t i = 0; i < spec->rank; i++)
        fprintf(to, i > 0 ? ",%zu" : "%zu", spec->shape[i]);
    fprintf(to, "],\"data_offsets\":[%zu,%zu]}", *offset, end);
    *offset = end;
    return 0;
}

static int write_header(FILE *to, const Contents *c, size_t *data_size, Error *e)
{
    *data_size = 0;
    fputc('{', to);
    if (c->metadata_count > 0)
        write_metadata(to, c);
    for (size_t i = 0; i < c->count; i++) {
        fputs(i > 0 || c->metadata_count > 0 ? "," : "", to);
        if (write_spec(to, &c->specs[i], data_size, c->path, e) != 0)
            return -1;
    }
    fputc('}', to);
    const off_t size = ftello(to);
    fprintf(to, "%*s", (int)((8 - size % 8) % 8), ""); /* aligns the data: the prefix has 8 bytes too */
    return 0;
}

/* The header's text, and the bytes of data after it. The caller frees *text, even on failure. */
static int make_header(const Contents *c, char **text, size_t *size, size_t *data_size, Error *e)
{
    FILE *to = open_memstream(text, size);
    if (to == NULL)
        return error_set(e, "%s: out of memory for its header", c->path);
    const int status = write_header(to, c, data_size, e);
    const bool complete = !ferror(to);
    if (fclose(to) != 0 || !complete)
        return error_set(e, "%s: out of memory for its header", c->path);
    return status;
}

/* The finished header must pass the reader's checks. */
static int check_header(const char *path, const char *text, size_t size, size_t data_size, Error *e)
{
    Header h;
    if (size > SAFETENSORS_MAX_HEADER)
        return error_set(e, "%s: would get a header of %zu bytes, more than the limit of %d", path, size,
                         SAFETENSORS_MAX_HEADER);
    const int status = header_parse(&h, path, text, size, data_size, e);
    header_free(&h);
    return status;
}

static int start_file(SafetensorsWriter *w, const Contents *c, Error *e)
{
    char *header = NULL;
    size_t size = 0;
    int status = make_header(c, &header, &size, &w->data_size, e);
    const uint64_t length = size;
    if (status == 0)
        status = check_header(c->path, header, size, w->data_size, e);
    if (status == 0)
        status = files_writer_open(&w->file, c->path, e);
    if (status == 0)
        status = files_writer_append(&w->file, &length, PREFIX, e);
    if (status == 0)
        status = files_writer_append(&w->file, header, size, e);
    free(header);
    return status;
}

int safetensors_create(const char *path, const SafetensorsSpec *specs, size_t count, const char *const (*metadata)[2],
                       size_t metadata_count, SafetensorsWriter **writer, Error *e)
{
    const Contents contents = {path, specs, count, metadata, metadata_count};
    SafetensorsWriter *w = calloc(1, sizeof *w);
    if (w == NULL || (w->path = strdup(path)) == NULL) {
        free(w);
        return error_set(e, "%s: out of memory while writing it", path);
    }
    if (start_file(w, &contents, e) != 0) {
        safetensors_abandon(w);
        return -1;
    }
    *writer = w;
    return 0;
}

int safetensors_append(SafetensorsWriter *writer, const void *data, size_t bytes, Error *e)
{
    if (bytes > writer->data_size - writer->written)
        return error_set(e, "%s: got more data than its tensors hold, %zu bytes", writer->path, writer->data_size);
    writer->written += bytes;
    return files_writer_append(&writer->file, data, bytes, e);
}

int safetensors_finish(SafetensorsWriter *writer, uint64_t *hash, Error *e)
{
    int status = 0;
    if (hash != NULL)
        *hash = hash_end(&writer->file.hash);
    if (writer->written != writer->data_size)
        status = error_set(e, "%s: got %zu bytes of data, but its tensors hold %zu", writer->path, writer->written,
                           writer->data_size);
    else
        status = files_writer_commit(&writer->file, e);
    safetensors_abandon(writer); /* a no-op after a commit */
    return status;
}

void safetensors_abandon(SafetensorsWriter *writer)
{
    if (writer == NULL)
        return;
    files_writer_abandon(&writer->file);
    free(writer->path);
    free(writer);
}
