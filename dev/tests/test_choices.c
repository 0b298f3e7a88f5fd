/* Multiple-choice items: JSON lines and llm.c's binary form, the same from both, and files that are wrong. */
#include "data/choices.h"
#include "dev/tests/check.h"
#include "dev/tests/folder.h"
#include "files/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char lines[] =
    "{\"ind\": 3, \"ctx\": \"ab\", \"endings\": [\"c\", \"de\"], \"label\": 1, \"split\": \"val\"}\n"
    "\n"
    "{\"label\": 0, \"endings\": [\"\", \"x\", \"yz\"], \"ctx\": \"a\"}\r\n";

static Tokenizer *bytes;

static void must(int status, const Error *e)
{
    if (status != 0) {
        fprintf(stderr, "%s\n", e->text);
        exit(1);
    }
}

static int read_text(const char *text, size_t size, size_t V, Choices *c, Error *e)
{
    char path[128];
    in_folder("items", path);
    must(files_write_atomic(path, text, size, e), e);
    return choices_read(path, bytes, V, c, e);
}

static void check_row(const Choices *c, size_t row, size_t context, const char *text)
{
    check(c->rows[row].context == context && c->rows[row].length == strlen(text), "row %zu: %zu of %zu tokens", row,
          c->rows[row].context, c->rows[row].length);
    for (size_t i = 0; i < strlen(text) && i < c->rows[row].length; i++)
        check(c->tokens[c->rows[row].begin + i] == text[i], "row %zu: token %zu is %d", row, i,
              c->tokens[c->rows[row].begin + i]);
}

static void check_items(const Choices *c)
{
    if (!check(c->count == 2 && c->row_count == 5 && c->longest == 5, "%zu items, %zu rows", c->count, c->row_count))
        return;
    check(c->items[0].first == 0 && c->items[0].count == 2 && c->items[0].label == 1, "item 0");
    check(c->items[1].first == 2 && c->items[1].count == 3 && c->items[1].label == 0, "item 1");
    check_row(c, 0, 2, "ab c");
    check_row(c, 1, 2, "ab de");
    check_row(c, 2, 1, "a ");
    check_row(c, 3, 1, "a x");
    check_row(c, 4, 1, "a yz");
}

static void test_lines(void)
{
    Choices c;
    Error e;
    must(read_text(lines, sizeof lines - 1, 256, &c, &e), &e);
    check_items(&c);
    choices_free(&c);
}

/* The same items by llm.c's description: 256 int32, of which the first are magic, version, items, most bytes of an
 * item; then 16-bit numbers, an item being 65535, its bytes, number, label, endings, and the context and each ending
 * behind their lengths. */
static size_t write_binary(unsigned char *to)
{
    static const int first[] = {65535, 30, 0, 1, 2, 2, 'a', 'b', 2, ' ', 'c', 3, ' ', 'd', 'e'};
    static const int second[] = {65535, 32, 1, 0, 3, 1, 'a', 1, ' ', 2, ' ', 'x', 3, ' ', 'y', 'z'};
    static const int header[] = {20240522, 1, 2, 32};
    size_t at = 1024;
    memset(to, 0, 1024);
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < 4; k++)
            to[4 * i + k] = (unsigned char)(header[i] >> 8 * k);
    for (size_t i = 0; i < sizeof first / sizeof *first; i++, at += 2) {
        to[at] = (unsigned char)first[i];
        to[at + 1] = (unsigned char)(first[i] >> 8);
    }
    for (size_t i = 0; i < sizeof second / sizeof *second; i++, at += 2) {
        to[at] = (unsigned char)second[i];
        to[at + 1] = (unsigned char)(second[i] >> 8);
    }
    return at;
}

static void test_binary(void)
{
    unsigned char file[2048];
    Choices c;
    Error e;
    const size_t size = write_binary(file);
    must(read_text((const char *)file, size, 256, &c, &e), &e);
    check_items(&c);
    choices_free(&c);
}

static void test_negative_count(void)
{
    unsigned char file[2048];
    Choices c;
    Error e = {.text = ""};
    const size_t size = write_binary(file);
    memcpy(file + 8, "\xfb\xff\xff\xff", 4);
    check(read_text((const char *)file, size, 256, &c, &e) == -1 && strstr(e.text, "item count is -5") != NULL, "%s",
          e.text);
}

/* Every shorter file, and every byte of the items changed, is refused or gives items within bounds. */
static void test_damaged(void)
{
    unsigned char file[2048] = {0}, damaged[2048];
    Choices c;
    Error e;
    const size_t size = write_binary(file);
    for (size_t n = 1024; n < size; n++)
        check(read_text((const char *)file, n, 256, &c, &e) == -1, "%zu of %zu bytes are read", n, size);
    check(read_text((const char *)file, size + 2, 256, &c, &e) == -1, "bytes after the last item are read over");
    for (size_t i = 1024; i < size; i++) {
        memcpy(damaged, file, size);
        damaged[i] ^= 0x81;
        if (read_text((const char *)damaged, size, 65535, &c, &e) == 0)
            for (size_t row = 0; row < c.row_count; row++)
                check(c.rows[row].context < c.rows[row].length, "an ending without tokens");
        choices_free(&c);
    }
}

static void test_refused(void)
{
    static const struct {
        const char *text, *words[2];
        size_t V;
    } cases[] = {
        {"{\"ctx\": \"a\", \"endings\": [\"b\", \"c\"], \"label\": 2}\n", {":1:", "\"label\" from 0 to 1"}, 256},
        {"\n{\"ctx\": \"a\", \"endings\": [\"b\", \"c\"], \"label\": \"0\"}", {":2:", "\"label\""}, 256},
        {"{\"ctx\": \"a\", \"endings\": [\"b\"], \"label\": 0}", {":1:", "\"endings\" of 2 to"}, 256},
        {"{\"ctx\": \"a\", \"endings\": \"bc\", \"label\": 0}", {":1:", "\"endings\""}, 256},
        {"{\"ctx\": \"a\", \"endings\": [\"b\", 3], \"label\": 0}", {":1:", "an ending is not a text"}, 256},
        {"{\"ctx\": \"\", \"endings\": [\"b\", \"c\"], \"label\": 0}", {":1:", "\"ctx\" is empty"}, 256},
        {"{\"context\": \"a\", \"endings\": [\"b\", \"c\"], \"label\": 0}", {":1:", "no text \"ctx\""}, 256},
        {"[1]", {":1:", "no text \"ctx\""}, 256},
        {"{\"ctx\"", {"items:1: not JSON: column 7: ", "expected :"}, 256},
        {"\n \n", {"items", "holds no items"}, 256},
        {"{\"ctx\": \"a\", \"endings\": [\"b\", \"c\"], \"label\": 0}", {"token", "another tokenizer"}, 98},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Choices c;
        Error e = {.text = ""};
        check(read_text(cases[i].text, strlen(cases[i].text), cases[i].V, &c, &e) == -1, "case %zu is read", i);
        for (size_t k = 0; k < 2; k++)
            check(strstr(e.text, cases[i].words[k]) != NULL, "case %zu: '%s' is not in: %s", i, cases[i].words[k],
                  e.text);
    }
}

static void test_no_tokenizer(void)
{
    char path[128];
    Choices c;
    Error e;
    in_folder("items", path);
    must(files_write_atomic(path, lines, sizeof lines - 1, &e), &e);
    check(choices_read(path, NULL, 256, &c, &e) == -1 && strstr(e.text, "--tokenizer") != NULL, "%s", e.text);
}

int main(void)
{
    Error e;
    must(tokenizer_of_bytes(&bytes, &e), &e);
    if (!folder_begin("choices"))
        return 1;
    check_run("JSON lines", test_lines);
    check_run("llm.c's form", test_binary);
    check_run("llm.c's form, fewer than no items", test_negative_count);
    check_run("llm.c's form, damaged", test_damaged);
    check_run("what is refused", test_refused);
    check_run("text without a tokenizer", test_no_tokenizer);
    folder_end();
    tokenizer_close(bytes);
    return check_summary();
}
