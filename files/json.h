#ifndef FILES_JSON_H
#define FILES_JSON_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/*
 * A strict JSON reader (RFC 8259) into a tree, and the escaping that writing needs. Stricter than the standard where
 * it leaves room: duplicate keys, text that is not UTF-8, lone surrogates, \u0000, numbers beyond a double and
 * nesting deeper than JSON_MAX_DEPTH are refused. Every text is therefore a whole C string.
 */

enum { JSON_MAX_DEPTH = 64 }; /* containers inside one another; the reader recurses once for each */

typedef enum { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT } JsonType;

/* One value. Fields that do not belong to its type are zero. */
typedef struct Json {
    JsonType type;
    bool boolean;
    double number;
    const char *text;   /* a string's UTF-8, unescaped; a number as it was written (64-bit integers survive) */
    const char *key;    /* its name in the object that holds it, else NULL */
    size_t count;       /* members of an object, elements of an array */
    struct Json *first; /* the first of them, in the order of the text */
    struct Json *next;  /* the one that follows this value in its container, or NULL */
} Json;

/* Reads the one value that `text` (size bytes, no NUL needed) holds. The caller frees *root with json_free; nothing in
 * the tree points into `text`. The error names line, column (in bytes) and fault, but no file: the caller knows it. */
int json_parse(const char *text, size_t size, Json **root, Error *e);
void json_free(Json *root); /* only a root; NULL is fine */

/* The member called `key`, or NULL when there is none or `object` is NULL or no object. Takes linear time. */
const Json *json_get(const Json *object, const char *key);

/*
 * What a value holds. Each accepts NULL, so that json_u64(json_get(config, "n_layer"), &layers) is one expression, and
 * answers false (NULL) and leaves *out alone when the value is absent or of another kind. The integer readers go by
 * the text and are exact; they refuse a fraction or an exponent, even that of 1.0 or 1e3, and what does not fit.
 */
bool json_bool(const Json *value, bool *out);
bool json_number(const Json *value, double *out);
bool json_u64(const Json *value, uint64_t *out);
bool json_size(const Json *value, size_t *out);
const char *json_string(const Json *value); /* lives as long as the tree */

/* Escapes `text` for the inside of a JSON string, without the quotes: at most capacity - 1 bytes, cut between
 * characters, and a NUL (nothing when capacity is 0). Returns the length that the whole would have, as snprintf
 * does. Bytes that are not UTF-8 become U+FFFD. */
size_t json_escape(char *out, size_t capacity, const char *text);

/* Writes `text` as a JSON string with its quotes. The caller checks ferror(to). */
void json_write_string(FILE *to, const char *text);

/* Writes a tree without spaces, numbers as they were read: parsed again it is the same tree. */
void json_write(FILE *to, const Json *value);

/* Writes a number that reads back bit-equal (%.17g); JSON has no NaN or infinity: they become null. */
void json_write_number(FILE *to, double number);

#endif
