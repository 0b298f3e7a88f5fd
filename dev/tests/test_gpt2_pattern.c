/* The pattern against PCRE2, where it is installed, and against what must hold of any text. */
#include "base/random.h"
#include "data/gpt2_pattern.h"
#include "dev/tests/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef HAVE_PCRE2
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#endif

/* Characters of each class, all in Unicode since before version 14, which PCRE2 10.42 follows, without U+180E, which it
 * takes for white space; then no UTF-8. */
/* clang-format off */
static const char *const characters[] = {
    "'s", "'ll", "'ve", "'t", "'re", "a", "Z", "s", "t", "d", "m", "l", "v", "e", "r",
    "\xc3\xa9", "\xce\xa9", "\xd0\xb6", "\xe5\xa1\xa9", "\xf0\x9d\x94\xb8", "\xf0\xb0\x80\x80",
    "\xc2\xaa", "\xea\xb0\x80", "0", "9", "\xc2\xb2", "\xd9\xa3", "\xe2\x85\xa7",
    "\xf0\x9d\x9f\x98", "\xe0\xa5\xa7", "'", "'", "!", "-", "_", "\x7f", "\x01", "\x1c", "\xcc\x81", "\xe2\x80\x8b",
    "\xe2\x80\x8d", "\xef\xbb\xbf", "\xf0\x9f\x98\x80", "\xef\xbf\xbf", "\xf4\x8f\xbf\xbf", " ", " ", " ", "\n", "\t",
    "\r", "\v", "\f", "\xc2\x85", "\xc2\xa0", "\xe3\x80\x80", "\xe2\x80\x83", "\xe2\x80\xa8", "\xe1\x9a\x80", "\x80",
    "\xff", "\xc3", "\xe5\xa1", "\xed\xa0\x80", "\xc0\x80", "\xf4\x90\x80\x80",
};
/* clang-format on */
enum {
    CHARACTERS = sizeof characters / sizeof *characters,
    VALID = CHARACTERS - 7,
    MOST = 250 /* characters: several blocks of 64 bytes */
};

/* Up to `most` of the first `pool` characters, with runs; returns its bytes. */
static size_t make_text(Random *r, size_t pool, char out[4 * MOST])
{
    size_t size = 0, left = random_below(r, random_below(r, 4) == 0 ? MOST + 1 : 40);
    while (left > 0) {
        const char *character = characters[random_below(r, pool)];
        const size_t length = strlen(character);
        size_t times = random_below(r, 4) == 0 ? 1 + random_below(r, left) : 1;
        left -= times;
        for (; times > 0; times--, size += length)
            memcpy(out + size, character, length);
    }
    return size;
}

/* All pieces at once, on a copy of exactly its size, so that a sanitizer sees every byte read past it. */
static size_t split(const char *text, size_t size, size_t *ends)
{
    char *copy = malloc(size > 0 ? size : 1);
    memcpy(copy, text, size);
    const size_t n = gpt2_split(copy, size, 0, ends, 4 * MOST + 1);
    free(copy);
    return n;
}

static void test_pcre2(void)
{
#ifdef HAVE_PCRE2
    static const char pattern[] = "'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
    int fault;
    PCRE2_SIZE at;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern, sizeof pattern - 1, PCRE2_UTF | PCRE2_UCP, &fault, &at, NULL);
    if (!check(code != NULL, "PCRE2 does not take the pattern"))
        return;
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
    pcre2_match_data *match = pcre2_match_data_create_from_pattern(code, NULL);
    Random r = random_make(2, 0);
    for (size_t i = 0; i < 1000000; i++) {
        char text[4 * MOST];
        size_t ends[4 * MOST + 1], begin = 0;
        const size_t size = make_text(&r, VALID, text), n = split(text, size, ends);
        bool good = n == 0 ? size == 0 : ends[n - 1] == size;
        for (size_t j = 0; good && j < n; begin = ends[j++])
            good = pcre2_match(code, (PCRE2_SPTR)text, size, begin, PCRE2_NO_UTF_CHECK, match, NULL) > 0 &&
                   pcre2_get_ovector_pointer(match)[0] == begin && pcre2_get_ovector_pointer(match)[1] == ends[j];
        if (!check(good, "string %zu: the piece from byte %zu on is another", i, begin))
            break;
    }
    pcre2_match_data_free(match);
    pcre2_code_free(code);
#else
    check_skip("PCRE2 is not installed (Debian: apt-get install libpcre2-dev)");
#endif
}

/* A byte that is no UTF-8 splits as a character "other" does. */
static void test_no_utf8(void)
{
    static const char *const cases[][2] = {{"\xff", "#"},
                                           {"\x80\x80", "##"},
                                           {"\xc3", "#"},
                                           {"\xe5\xa1", "##"},
                                           {"\xed\xa0\x80", "###"},
                                           {"\xc0\x80", "##"},
                                           {"\xf4\x90\x80\x80", "####"},
                                           {"\xf8\x88\x80\x80\x80", "#####"}};
    static const char *const around[] = {"", "a", " ", "  ", "7", "'s", "\n", "\xc3\xa9"};
    enum { AROUND = sizeof around / sizeof *around };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t j = 0; j < AROUND * AROUND; j++) {
            char bytes[32], other[32];
            size_t ends[2][4 * MOST + 1];
            const int size = snprintf(bytes, 32, "%s%s%s", around[j / AROUND], cases[i][0], around[j % AROUND]);
            snprintf(other, 32, "%s%s%s", around[j / AROUND], cases[i][1], around[j % AROUND]);
            const size_t n = split(bytes, (size_t)size, ends[0]), m = split(other, (size_t)size, ends[1]);
            check(n == m && memcmp(ends[0], ends[1], n * sizeof *ends[0]) == 0, "case %zu, %zu: %zu pieces and %zu", i,
                  j, n, m);
        }
}

/* In any text: a cut leaves the pieces as they are, pieces come in batches of any size, and there is a cut wherever
 * there is white space behind something else. */
static void test_cuts(void)
{
    Random r = random_make(3, 0);
    size_t cuts = 0;
    for (size_t i = 0; i < 200000; i++) {
        char text[4 * MOST];
        size_t ends[4 * MOST + 1], parts[4 * MOST + 1], n = 0;
        const size_t size = make_text(&r, CHARACTERS, text), cut = gpt2_cut(text, size),
                     whole = split(text, size, ends);
        const size_t first = split(text, cut, parts), second = split(text + cut, size - cut, parts + first);
        for (size_t j = first; j < first + second; j++)
            parts[j] += cut;
        check(first + second == whole && memcmp(ends, parts, whole * sizeof *ends) == 0,
              "string %zu: a cut at %zu of %zu", i, cut, size);
        for (size_t begin = 0, got; begin < size; begin = parts[n - 1], check(got > 0, "no piece"))
            n += got = gpt2_split(text, size, begin, parts + n, 1 + i % 5);
        check(n == whole && memcmp(ends, parts, whole * sizeof *ends) == 0, "string %zu: piece by piece", i);
        for (size_t j = cut + 1; j < size; j++)
            check(text[j] != ' ' || strchr(" \n\t\r\v\f", text[j - 1]) != NULL || (unsigned char)text[j - 1] >= 0x80,
                  "string %zu: no cut at %zu", i, j);
        cuts += cut > 0;
    }
    check(cuts > 140000, "only %zu of 200000 strings have a cut", cuts);
}

int main(void)
{
    check_run("pieces agree with PCRE2's in a million strings", test_pcre2);
    check_run("a byte that is no UTF-8 is a character of its own", test_no_utf8);
    check_run("a text can be cut where white space follows", test_cuts);
    return check_summary();
}
