#ifndef FILES_SAFETENSORS_H
#define FILES_SAFETENSORS_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Safetensors files (github.com/huggingface/safetensors): 8 bytes of header length, little-endian; the header, a JSON
 * object {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...} with an optional
 * "__metadata__" object of strings; then the tensors' bytes, row-major, little-endian, covering the rest of the file
 * without holes or overlaps. Errors name the file, the tensor and the fault.
 */

/* Bytes of header. The reference reader takes 100 MB, which are seconds of parsing; a header of GPT-2 has 0.1 MB. */
enum { SAFETENSORS_MAX_RANK = 8, SAFETENSORS_MAX_HEADER = 1 << 24 };

typedef enum {
    DTYPE_BOOL,
    DTYPE_U8,
    DTYPE_I8,
    DTYPE_F8_E4M3,
    DTYPE_F8_E5M2,
    DTYPE_U16,
    DTYPE_I16,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_U32,
    DTYPE_I32,
    DTYPE_F32,
    DTYPE_U64,
    DTYPE_I64,
    DTYPE_F64,
    DTYPE_COUNT
} Dtype;

const char *dtype_name(Dtype dtype); /* as in files: "F32" */
size_t dtype_size(Dtype dtype);      /* bytes per element */

/* --- reading --- */

typedef struct Safetensors Safetensors;

typedef struct SafetensorsEntry {
    const char *name; /* lives until safetensors_close */
    Dtype dtype;
    size_t rank; /* 0 for a scalar */
    size_t shape[SAFETENSORS_MAX_RANK];
    size_t count;      /* elements: the product of the shape */
    size_t begin, end; /* bytes from the start of the file */
} SafetensorsEntry;

/* Opens a file and checks its whole header against its size: every tensor of an open file is well-formed. The caller
 * closes *file with safetensors_close (NULL is fine). */
int safetensors_open(const char *path, Safetensors **file, Error *e);
void safetensors_close(Safetensors *file);

/* As it was opened; lives until safetensors_close. */
const char *safetensors_path(const Safetensors *file);

/* The tensors, in the order of their bytes in the file. */
size_t safetensors_count(const Safetensors *file);
const SafetensorsEntry *safetensors_entry(const Safetensors *file, size_t i);

/* The tensor called exactly `name`, or NULL. */
const SafetensorsEntry *safetensors_find(const Safetensors *file, const char *name);

/* The value of a key of "__metadata__", or NULL. Lives until safetensors_close. */
const char *safetensors_metadata(const Safetensors *file, const char *key);

/* Reads all entry->count elements. F16 and BF16 become the floats of the same value (NaNs keep sign and payload);
 * dtypes other than these and F32 are rejected, and so is a file that has shrunk since it was opened. */
int safetensors_read_f32(Safetensors *file, const SafetensorsEntry *entry, float *out, Error *e);

/* The same for elements first .. first+count-1 alone, so that a huge tensor can be read in pieces. */
int safetensors_read_f32_part(Safetensors *file, const SafetensorsEntry *entry, size_t first, size_t count, float *out,
                              Error *e);

/* Reads all elements of an I32, U16 or I64 tensor; values that do not fit in 32 bits are rejected. */
int safetensors_read_i32(Safetensors *file, const SafetensorsEntry *entry, int32_t *out, Error *e);

/* --- writing --- */

typedef struct SafetensorsWriter SafetensorsWriter;

/* A tensor to be written. */
typedef struct SafetensorsSpec {
    const char *name;
    Dtype dtype;
    size_t rank;
    size_t shape[SAFETENSORS_MAX_RANK];
} SafetensorsSpec;

/*
 * Starts replacing `path` (see files/files.h) and writes the header: `count` tensors and metadata pairs {key, value},
 * padded with spaces so that the data starts at a multiple of 8 bytes. What the reader would reject (duplicate names, a
 * rank or header too large) is rejected here. Nothing is borrowed after the call.
 */
int safetensors_create(const char *path, const SafetensorsSpec *specs, size_t count, const char *const (*metadata)[2],
                       size_t metadata_count, SafetensorsWriter **writer, Error *e);

/* Appends the next bytes of the tensors, in the order of specs; a tensor may come in pieces. After an error, abandon
 * the writer. */
int safetensors_append(SafetensorsWriter *writer, const void *data, size_t bytes, Error *e);

/* Checks that all bytes were appended and makes the file permanent; *hash, unless NULL, is then the XXH64 of the whole
 * file. Frees the writer, even on failure, which leaves the old file in place. */
int safetensors_finish(SafetensorsWriter *writer, uint64_t *hash, Error *e);

/* Discards what was written and frees the writer; the old file stays. NULL is fine. */
void safetensors_abandon(SafetensorsWriter *writer);

#endif
