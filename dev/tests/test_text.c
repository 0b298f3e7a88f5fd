/* What is printed of text from elsewhere, and which name a misspelt one is nearest to. */
#include "base/error.h"
#include "base/nearest.h"
#include "base/random.h"
#include "base/text.h"
#include "dev/tests/check.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

static void test_known(void)
{
    static const char *const cases[][2] = {
        {"", ""},
        {"plain \\ \"text\" \\x1b", "plain \\ \"text\" \\x1b"},
        {"\x1b[31mred\n", "\\x1b[31mred\\x0a"},
        {"\t\r\x7f", "\\x09\\x0d\\x7f"},
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"\xc2\x9b", "\\xc2\\x9b"}, /* C1: control sequence introducer */
        {"a\xe2\x80\xae"
         "b",
         "a\\xe2\\x80\\xae"
         "b"},                                                          /* right-to-left override */
        {"\xe2\x80\xa8\xe2\x80\xa9", "\\xe2\\x80\\xa8\\xe2\\x80\\xa9"}, /* line and paragraph separator */
        {"\xff\xfe!", "\\xff\\xfe!"},
        {"\xc3", "\\xc3"},
        {"\xc3(", "\\xc3("},
        {"\xe2\x82", "\\xe2\\x82"},
        {"\xc0\xaf", "\\xc0\\xaf"},                   /* overlong */
        {"\xed\xa0\x80", "\\xed\\xa0\\x80"},          /* a surrogate */
        {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"}, /* U+110000 */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[64];
        const size_t length = text_show(out, sizeof out, cases[i][0]);
        check(strcmp(out, cases[i][1]) == 0, "case %zu: got %s, want %s", i, out, cases[i][1]);
        check(length == strlen(cases[i][1]), "case %zu: length %zu", i, length);
    }
}

/* UTF-8 by its definition in RFC 3629, section 3. */
static void encode(uint32_t code, char out[5])
{
    if (code < 0x80)
        snprintf(out, 5, "%c", (int)code);
    else if (code < 0x800)
        snprintf(out, 5, "%c%c", 0xc0 | (int)(code >> 6), 0x80 | (int)(code & 63));
    else if (code < 0x10000)
        snprintf(out, 5, "%c%c%c", 0xe0 | (int)(code >> 12), 0x80 | (int)(code >> 6 & 63), 0x80 | (int)(code & 63));
    else
        snprintf(out, 5, "%c%c%c%c", 0xf0 | (int)(code >> 18), 0x80 | (int)(code >> 12 & 63),
                 0x80 | (int)(code >> 6 & 63), 0x80 | (int)(code & 63));
}

/* Every code point stays, but for the ranges listed here and surrogates; what does not, becomes plain ASCII. */
static void test_code_points(void)
{
    static const uint32_t hidden[][2] = {{0x01, 0x1f},     {0x7f, 0x9f},     {0x2028, 0x2029},
                                         {0x202a, 0x202e}, {0x2066, 0x2069}, {0xd800, 0xdfff}};
    for (uint32_t code = 1; code <= 0x10ffff; code++) {
        char text[5], out[32], want[32] = "";
        bool stays = true;
        for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++)
            stays = stays && !(code >= hidden[i][0] && code <= hidden[i][1]);
        encode(code, text);
        for (const char *c = text; *c && !stays; c++)
            snprintf(want + strlen(want), 5, "\\x%02x", (unsigned char)*c);
        text_show(out, sizeof out, text);
        check(strcmp(out, stays ? text : want) == 0, "U+%04X: %s", (unsigned)code, out);
    }
}

static void test_truncates(void)
{
    char out[16] = "untouched";
    check(text_show(out, 0, "a\nb") == 6 && strcmp(out, "untouched") == 0, "no room: %s", out);
    check(text_show(NULL, 0, "a\nb") == 6, "length alone");
    check(text_show(out, 1, "ab") == 2 && strcmp(out, "") == 0, "room for the NUL: %s", out);
    check(text_show(out, 6, "a\nb") == 6 && strcmp(out, "a\\x0a") == 0, "behind an escape: %s", out);
    check(text_show(out, 5, "a\nb") == 6 && strcmp(out, "a") == 0, "before an escape: %s", out);
    check(text_show(out, 4, "\xc3\xa9\xc3\xa9") == 4 && strcmp(out, "\xc3\xa9") == 0, "between characters: %s", out);
}

/* Any bytes become one printable line, which shows as itself. */
static void test_any_bytes(void)
{
    Random random = random_make(5, 0);
    for (size_t round = 0; round < 20000; round++) {
        char text[41], once[4 * sizeof text], twice[4 * sizeof text];
        for (size_t i = 0; i < sizeof text - 1; i++)
            text[i] = (char)(1 + random_below(&random, 255));
        text[sizeof text - 1] = '\0';
        text_show(once, sizeof once, text);
        text_show(twice, sizeof twice, once);
        check(strcmp(once, twice) == 0, "%s became %s", once, twice);
        for (const char *c = once; *c; c++)
            check((unsigned char)*c >= 0x20 && *c != 0x7f, "byte %02x is left", (unsigned char)*c);
    }
}

static void test_errors(void)
{
    Error e = {""};
    check(error_set(&e, "%s: line\n%d", "\x1b]0;x\a.bin", 2) == -1, "error_set");
    check(strcmp(e.text, "\\x1b]0;x\\x07.bin: line\\x0a2") == 0, "got %s", e.text);
    /* A sentence too long ends between characters, wherever the end comes. */
    for (int shift = 0; shift < 4; shift++) {
        char text[2 * sizeof e.text], *at = text + shift;
        memset(text, 'a', sizeof text);
        for (; at + 4 < text + sizeof text; at += 4)
            memcpy(at, "\xf0\x9f\x98\x80", 4);
        *at = '\0';
        error_set(&e, "%s", text);
        check(strlen(e.text) > sizeof e.text - 5 && strncmp(e.text, text, strlen(e.text)) == 0, "shifted by %d: %s",
              shift, e.text + sizeof e.text - 20);
    }
}

static void test_utf8(void)
{
    check(text_is_utf8("") && text_is_utf8("caf\xc3\xa9"), "UTF-8 is refused");
    check(!text_is_utf8("caf\xe9") && !text_is_utf8("\xe2\x82"), "what is none is accepted");
}

static void test_names(void)
{
    const char *const names[] = {"a", "B", "a.gz"};
    check(text_ends_with("a.gz", ".gz") && text_ends_with(".gz", ".gz") && text_ends_with("a", ""), "an end");
    check(!text_ends_with("gz", ".gz") && !text_ends_with("a.gz.", ".gz") && !text_ends_with("", "a"), "no end");
    check(text_folder("a/b/c") == 4 && text_folder("c") == 0 && text_folder("/c") == 1 && text_folder("a/") == 2,
          "a path's folder");
    check(text_compare(&names[1], &names[0]) < 0 && text_compare(&names[0], &names[2]) < 0, "the order of bytes");
}

static void test_nearest(void)
{
    static const char *const names[] = {"adam", "adamw", "adamh", "muon", "nested-adam"};
    static const char *const words[][2] = {
        {"adam-w", "adamw"}, {"moun", "muon"}, {"adamw", "adamw"}, {"sophia-g", ""}, {"nestedadam", "nested-adam"}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        Nearest nearest = nearest_to(words[i][0]);
        for (size_t k = 0; k < sizeof names / sizeof *names; k++)
            nearest_try(&nearest, names[k]);
        check(strcmp(nearest.best, words[i][1]) == 0, "%s: %s", words[i][0], nearest.best);
    }
}

int main(void)
{
    check_run("known cases", test_known);
    check_run("every code point", test_code_points);
    check_run("truncated between characters", test_truncates);
    check_run("any bytes", test_any_bytes);
    check_run("error sentences", test_errors);
    check_run("UTF-8 or not", test_utf8);
    check_run("ends, folders and order of names", test_names);
    check_run("nearest names", test_nearest);
    return check_summary();
}
