#include "data/gpt2_pattern.h"

#include "base/bytes.h"
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

/* The end of the characters of one class from `at` on. */
static const char *end_of_run(const char *at, const char *end, Class class)
{
    for (;;) {
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

/* --- 64 bytes at once --- */

enum { BLOCK = 64 };

/* Bit i is flag i, which is 0 or 1. Eight flags at a time: the factor moves flag j, at bit 8j of a product, to bit
 * 56 + j, and no two of its terms meet. */
static uint64_t pack(const uint8_t flags[BLOCK])
{
    uint64_t bits = 0;
    for (size_t i = 0; i < BLOCK; i += 8)
        bits |= (bytes_uint64(flags + i) * 0x0102040810204080) >> 56 << i;
    return bits;
}

/* Of 64 bytes and the one before and the one after them, all ASCII: the places where pieces begin, but for
 * contractions; apostrophes; and bytes above ASCII. The loops are ones that compilers vectorise. */
static void find_starts(const unsigned char *b, uint64_t *starts, uint64_t *apostrophes, uint64_t *wide)
{
    enum { L = 1, N = 2, S = 4 };
    uint8_t class[BLOCK + 2], start[BLOCK], apostrophe[BLOCK], above[BLOCK];
    for (size_t i = 0; i < BLOCK + 2; i++) {
        const uint8_t c = b[i - 1];
        class[i] = (uint8_t)(((uint8_t)((c | 0x20) - 'a') < 26 ? L : 0) | ((uint8_t)(c - '0') < 10 ? N : 0) |
                             (((c == ' ') | ((uint8_t)(c - '\t') < 5)) ? S : 0));
    }
    for (size_t i = 0; i < BLOCK; i++) {
        const uint8_t before = class[i], c = class[i + 1], after = class[i + 2];
        /* the first and the last of white space; what follows a character of another class that is no space */
        start[i] = ((c == S) & ((before != S) | (after != S))) | ((c != S) & (c != before) & (b[i - 1] != ' '));
    }
    for (size_t i = 0; i < BLOCK; i++) {
        apostrophe[i] = b[i] == '\'';
        above[i] = b[i] >> 7;
    }
    *starts = pack(start);
    *apostrophes = pack(apostrophe);
    *wide = pack(above);
}

/* Bits 0 to n - 1, n < 64. */
static uint64_t low_bits(size_t n) { return ((uint64_t)1 << n) - 1; }

enum { KNOWN = BLOCK - 4 /* places of a block in which a contraction that begins there also ends */ };

/* The places of a block where pieces begin, as bits, and how many of its places that decides: fewer where a byte
 * above ASCII stands. `fresh`: a piece begins at the first, which has no bit. */
static uint64_t starts_in_block(const char *at, const char *end, bool fresh, size_t *known, bool *ascii)
{
    uint64_t starts, apostrophes, wide;
    find_starts((const unsigned char *)at, &starts, &apostrophes, &wide);
    starts |= fresh;
    wide &= low_bits(KNOWN + 1); /* the class of the next character decides too */
    *ascii = wide == 0;
    *known = *ascii ? KNOWN : (size_t)__builtin_ctzll(wide);
    *known -= !*ascii && *known > 0;
    for (uint64_t left = starts & apostrophes & low_bits(*known); left != 0; left &= left - 1) {
        const size_t i = (size_t)__builtin_ctzll(left), n = contraction(at + i, end);
        if (n == 0)
            continue;
        starts = (starts & ~(low_bits(n - 1) << (i + 1))) | (uint64_t)1 << (i + n);
        *known = i + n < *known ? *known : i + n + 1;
    }
    return starts & low_bits(*known) & ~(uint64_t)fresh;
}

size_t gpt2_split(const char *text, size_t size, size_t begin, size_t *ends, size_t most)
{
    const char *piece = text + begin, *end = text + size; /* the piece that has begun, */
    const char *at = piece;                               /* and from where on its end may be */
    size_t n = 0;
    while (piece < end && n < most) {
        bool ascii = false;
        if (at > text && end - at > BLOCK && (unsigned char)*at < 0x80) {
            size_t known;
            uint64_t starts = starts_in_block(at, end, at == piece, &known, &ascii);
            for (; starts != 0 && n < most; starts &= starts - 1) {
                piece = at + __builtin_ctzll(starts);
                ends[n++] = (size_t)(piece - text);
            }
            at = piece + 1 == at + known ? piece : at + known; /* what stands there may be above ASCII */
        }
        if (!ascii && n < most) {
            at = piece = end_of_piece(piece, end);
            ends[n++] = (size_t)(piece - text);
        }
    }
    return n;
}

/* Whether the character that ends before `end`, at or after `begin`, is white space. A byte that leads a character
 * is no part of another, so the well-formed character that ends there is the one that reading forward meets. */
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
