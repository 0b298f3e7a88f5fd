#ifndef FILES_JSON_H
#define FILES_JSON_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/*
 * A strict JSON parser (RFC 8259) that builds a tree, and what writing needs. It rejects what the standard leaves open:
 * duplicate keys, text that is not UTF-8, lone surrogates, \u0000, numbers beyond a double and nesting deeper than
 * JSON_MAX_DEPTH. Every text is therefore a complete C string.
 */

enum { JSON_MAX_DEPTH = 64 }; /* nested containers; the parser recurses once for each */

typedef enum { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT } JsonType;

/* One value. Fields of other types are zero. */
typedef struct Json {
    JsonType type;
    bool boolean;
    double number;
    const char *text;   /* a string's UTF-8, unescaped; a number as written (64-bit integers stay exact) */
    const char *key;    /* its name in the object that holds it, otherwise NULL */
    size_t count;       /* members of an object, elements of an array; in a string: see json_parse_line */
    struct Json *first; /* the first of them, in source order */
    struct Json *next;  /* the next value in its container, or NULL */
} Json;

/* Parses the one value in `text` (size bytes, no NUL needed). The caller frees *root with json_free; nothing in the
 * tree points into `text`. The error names line, column (in bytes) and fault, but not the file. */
int json_parse(const char *text, size_t size, Json **root, Error *e);

/* The same for a line of JSON lines, whose number the caller knows: the error names only column and fault. `lenient`:
 * \u0000 and lone surrogates become U+FFFD; a string's `count` says how many of them were in it. */
int json_parse_line(const char *text, size_t size, bool lenient, Json **root, Error *e);
void json_free(Json *root); /* only a root; NULL is fine */

/* The member called `key`; NULL if there is none or `object` is NULL or not an object. Takes linear time. */
const Json *json_get(const Json *object, const char *key);

/*
 * Content of a value. Each accepts NULL, so that json_u64(json_get(config, "n_layer"), &layers) is one expression, and
 * returns false (NULL) and leaves *out alone if the value is absent or of another type. Integers are read exactly, from
 * the text; fractions and exponents (even 1.0 and 1e3) and numbers out of range are rejected.
 */
bool json_bool(const Json *value, bool *out);
bool json_number(const Json *value, double *out);
bool json_u64(const Json *value, uint64_t *out);
bool json_size(const Json *value, size_t *out);
const char *json_string(const Json *value); /* lives as long as the tree */

/* Writes `text` as a JSON string with its quotes; bytes that are not UTF-8 become U+FFFD. The caller checks
 * ferror(to). */
void json_write_string(FILE *to, const char *text);

/* Writes a tree without spaces, with numbers as read: parsing it again gives the same tree. */
void json_write(FILE *to, const Json *value);

/* Writes a number that reads back bit-equal (%.17g); JSON lacks NaN and infinity: they become null. */
void json_write_number(FILE *to, double number);

#endif
