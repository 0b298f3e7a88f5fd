/* What is printed of text from elsewhere, and how far apart two names are. */
#include "base/error.h"
#include "base/nearest.h"
#include "base/text.h"
#include "dev/tests/check.h"

#include <string.h>

static void test_shown(void)
{
    static const char *const cases[][2] = {
        {"plain, \\ \"quoted\"", "plain, \\ \"quoted\""},
        {"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"a\x1b[31mred\nline\ttab\r", "a\\x1b[31mred\\x0aline\\x09tab\\x0d"},
        {"\x7f", "\\x7f"},
        {"\xc2\x9b"
         "31m",
         "\\xc2\\x9b31m"}, /* CSI as one character */
        {"\xe2\x80\xae"
         "txt",
         "\\xe2\\x80\\xaetxt"}, /* right to left */
        {"\xe2\x81\xa6"
         "x\xe2\x80\xa8y",
         "\\xe2\\x81\\xa6x\\xe2\\x80\\xa8y"}, /* isolate, line separator */
        {"caf\xe9", "caf\\xe9"},
        {"\xc0\xaf\xed\xa0\x80\xf4\x90\x80\x80", "\\xc0\\xaf\\xed\\xa0\\x80\\xf4\\x90\\x80\\x80"},
        {"cut \xe2\x82", "cut \\xe2\\x82"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[128], small[8];
        const size_t length = text_show(out, sizeof out, cases[i][0]);
        check(strcmp(out, cases[i][1]) == 0 && length == strlen(out), "case %zu: %s", i, out);
        check(text_show(small, sizeof small, cases[i][0]) == length && strlen(small) < sizeof small, "case %zu, cut",
              i);
        check(strncmp(small, cases[i][1], strlen(small)) == 0 && text_is_utf8(small), "case %zu, cut: %s", i, small);
        text_show(NULL, 0, cases[i][0]);
    }
    check(text_is_utf8("caf\xc3\xa9") && !text_is_utf8("caf\xe9") && !text_is_utf8("\xe2\x82"), "UTF-8");
}

static void test_errors(void)
{
    Error e;
    error_set(&e, "%s: is no file", "a\033[2J\nb");
    check(strcmp(e.text, "a\\x1b[2J\\x0ab: is no file") == 0, "%s", e.text);
    error_set(&e, "said: %s", e.text); /* of itself */
    check(strcmp(e.text, "said: a\\x1b[2J\\x0ab: is no file") == 0, "%s", e.text);
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
    check_run("shown", test_shown);
    check_run("errors", test_errors);
    check_run("nearest", test_nearest);
    return check_summary();
}
