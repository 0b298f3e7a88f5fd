#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the well-formed UTF-8 sequence at `at`, which ends before `end`; 0 if there is none. Overlong forms,
 * surrogates and code points past U+10FFFF are malformed (RFC 3629). */
size_t text_utf8(const char *at, const char *end);

/* The same; *code becomes the code point where there is one, and is undefined otherwise. */
size_t text_decode(const char *at, const char *end, uint32_t *code);

/* Whether all of `text` is. */
bool text_is_utf8(const char *text);

bool text_ends_with(const char *text, const char *end);

/* Bytes of a path's folder with the slash behind it; 0: the path has none. */
size_t text_folder(const char *path);

/* Orders the strings that two char * point to by their bytes: for qsort. */
int text_compare(const void *a, const void *b);

/* How many characters begin in the text: bytes that continue none. */
size_t text_count(const char *text, size_t size);

/* The byte where character *count begins, counted from 0, or `size`; *count is lowered by those before it. */
size_t text_find(const char *text, size_t size, size_t *count);

/* Bytes of the character at `at` if a terminal may be shown it: 0 for what text_show replaces. */
size_t text_printable(const char *at, const char *end);

/*
 * Makes text from a file or a user safe to print: no byte of it can move a terminal's cursor, start a line or turn the
 * direction of writing. Control characters (C0, DEL, C1), line and paragraph separators, bidirectional controls and
 * bytes that are not UTF-8 become \xNN, byte by byte; all else stays, backslashes too, so that shown text is shown
 * unchanged again. Writes at most capacity - 1 bytes, truncated between characters, and a NUL (nothing if capacity is
 * 0). Returns the length of the whole, as snprintf does.
 */
size_t text_show(char *out, size_t capacity, const char *text);

#endif
