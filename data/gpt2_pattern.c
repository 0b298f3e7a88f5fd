#include "data/gpt2_pattern.h"

#include "base/text.h"
#include "data/unicode_classes.h"

#include <stdbool.h>
#include <string.h>

typedef enum { OTHER, LETTER, NUMBER, SPACE, WIDE /* a byte above ASCII, whose character must be decoded */ } Class;

/* clang-format off */
#define FOUR(c) c, c, c, c
#define SIXTEEN(c) FOUR(c), FOUR(c), FOUR(c), FOUR(c)
static const uint8_t byte_classes[256] = {
    ['\t'] = SPACE, SPACE, SPACE, SPACE, SPACE, [' '] = SPACE,
    ['0'] = FOUR(NUMBER), FOUR(NUMBER), NUMBER, NUMBER,
    ['A'] = SIXTEEN(LETTER), FOUR(LETTER), FOUR(LETTER), LETTER, LETTER,
    ['a'] = SIXTEEN(LETTER), FOUR(LETTER), FOUR(LETTER), LETTER, LETTER,
    [128] = SIXTEEN(WIDE), SIXTEEN(WIDE), SIXTEEN(WIDE), SIXTEEN(WIDE),
            SIXTEEN(WIDE), SIXTEEN(WIDE), SIXTEEN(WIDE), SIXTEEN(WIDE),
};
#undef FOUR
#undef SIXTEEN
/* clang-format on */

/* The class of the character at `at` and its bytes. */
static Class class_at(const char *at, const char *end, size_t *bytes)
{
    const Class class = byte_classes[(unsigned char)*at];
    uint32_t code;
    *bytes = 1;
    if (class != WIDE)
        return class;
    const size_t length = text_decode(at, end, &code);
    if (length == 0)
        return OTHER;
    *bytes = length;
    if (code >= UNICODE_CLASSES_END)
        return OTHER;
    return unicode_class_blocks[unicode_class_numbers[code / 256]][code % 256 / 4] >> 2 * (code % 4) & 3;
}

/* Eight bytes, the first in the lowest bits. */
static uint64_t load(const char *from)
{
    const unsigned char *b = (const unsigned char *)from;
    return (uint64_t)b[0] | (uint64_t)b[1] << 8 | (uint64_t)b[2] << 16 | (uint64_t)b[3] << 24 | (uint64_t)b[4] << 32 |
           (uint64_t)b[5] << 40 | (uint64_t)b[6] << 48 | (uint64_t)b[7] << 56;
}

/* How many of eight bytes, from the first on, are ASCII letters. Each byte is examined in its own eight bits: with its
 * case bit set and its highest bit clear, adding 0x80 - 'a' sets the highest bit from 'a' on, 0x7f - 'z' past 'z'. */
static size_t letters_of(uint64_t bytes)
{
    const uint64_t ones = 0x0101010101010101, high = 0x80 * ones;
    const uint64_t lower = (bytes | 0x20 * ones) & ~high;
    const uint64_t is_letter = (lower + (0x80 - 'a') * ones) & ~(lower + (0x7f - 'z') * ones) & ~bytes & high;
    return is_letter == high ? 8 : (size_t)__builtin_ctzll(is_letter ^ high) / 8;
}

static const char *end_of_letters(const char *at, const char *end)
{
    size_t n = 8;
    for (; end - at >= 8 && n == 8; at += n)
        n = letters_of(load(at));
    return at;
}

/* The end of the characters of one class from `at` on. */
static const char *end_of_run(const char *at, const char *end, Class class)
{
    for (;;) {
        if (class == LETTER)
            at = end_of_letters(at, end);
        while (at < end && byte_classes[(unsigned char)*at] == class)
            at++;
        size_t bytes;
        if (at == end || (unsigned char)*at < 0x80 || class_at(at, end, &bytes) != class)
            return at;
        at += bytes;
    }
}

/* \s+(?!\S)|\s+ where white space is at `at`: all of it at the end of the text, otherwise all but its last character,
 * and that alone only where it is the only one. */
static const char *end_of_space(const char *at, const char *end)
{
    const char *last = at, *next = at;
    size_t bytes;
    for (; next < end && class_at(next, end, &bytes) == SPACE; next += bytes)
        last = next;
    return next == end || last == at ? next : last;
}

/* Bytes of the contraction after the apostrophe at `at`; 0: there is none. */
static size_t contraction(const char *at, const char *end)
{
    static const char pairs[][2] = {"ll", "ve", "re"};
    if (end - at >= 2 && memchr("sdmt", at[1], 4) != NULL)
        return 2;
    for (size_t i = 0; end - at >= 3 && i < 3; i++)
        if (memcmp(at + 1, pairs[i], 2) == 0)
            return 3;
    return 0;
}

static const char *end_of_piece(const char *at, const char *end)
{
    const char *start = at + (*at == ' ' && at + 1 < end); /* of what a space may stand before */
    size_t bytes = 0;
    if (*at == '\'' && (bytes = contraction(at, end)) > 0)
        return at + bytes;
    const Class class = class_at(start, end, &bytes);
    return class == SPACE ? end_of_space(at, end) : end_of_run(start, end, class);
}

size_t gpt2_split(const char *text, size_t size, size_t begin, size_t *ends, size_t most)
{
    const char *at = text + begin, *end = text + size;
    size_t n = 0;
    for (; at < end && n < most; n++) {
        at = end_of_piece(at, end);
        ends[n] = (size_t)(at - text);
    }
    return n;
}

/* Whether the character that ends before `end`, at or after `begin`, is white space. A byte that leads a character is no
 * part of another, so the well-formed character that ends there is the one that reading forward meets. */
static bool ends_in_space(const char *begin, const char *end)
{
    for (size_t n = 1; n <= 4 && n <= (size_t)(end - begin); n++) {
        size_t bytes;
        if (class_at(end - n, end, &bytes) == SPACE && bytes == n)
            return true;
    }
    return false;
}

size_t gpt2_cut(const char *text, size_t size)
{
    const char *end = text + size;
    size_t bytes;
    for (size_t at = size; at-- > 1;)
        if (class_at(text + at, end, &bytes) == SPACE && !ends_in_space(text, text + at))
            return at;
    return 0;
}
