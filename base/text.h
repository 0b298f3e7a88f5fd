#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Text from files and users, made safe to print. */

/* The length in bytes of the valid UTF-8 character at `text`, of which `size` bytes are there; 0: none begins there. */
size_t text_character(const char *text, size_t size);

bool text_is_utf8(const char *text);

/* Copies `text`, but control characters, those that change the direction of writing, line and paragraph separators, and
 * bytes that are not UTF-8 as \xNN: what is printed is one line, and no terminal takes it for a command. At most
 * capacity - 1 bytes, cut between characters, and a NUL (nothing if capacity is 0). Returns the length of the whole. */
size_t text_show(char *out, size_t capacity, const char *text);

#endif
