#include "base/hash.h"
#include "dev/tests/check.h"
#include "dev/tests/folder.h"
#include "files/files.h"
#include "files/json_file.h"

#include <stdlib.h>
#include <string.h>

static char path[128];

static const char object[] =
    "{\n  \"name\": \"\xc3\xa9 \\\"x\\\"\",\n  \"deep\": {\"list\": [1, -2.5e3, true, null, {}]},\n"
    "  \"steps\": 10\n}\n";

/* Whether a text is accepted as sealed; if not, the reason is in *e. It is read from a copy of its size, so that a
 * sanitizer sees a byte read past it. */
static bool accepts(const char *text, size_t size, Json **json, Error *e)
{
    char *copy = malloc(size + 1);
    memcpy(copy + 1, text, size);
    const int status = json_file_parse_sealed(path, copy + 1, size, json, e);
    free(copy);
    return status == 0;
}

static void check_refused(const char *text, size_t size, const char *words)
{
    Error e = {"accepted"};
    Json *json = NULL;
    const bool accepted = accepts(text, size, &json, &e);
    check(!accepted && strstr(e.text, words), "%.*s\n      got \"%s\", want \"%s\"", (int)size, text, e.text, words);
    check(accepted || strncmp(e.text, path, strlen(path)) == 0, "\"%s\" does not name the file", e.text);
    if (accepted)
        json_free(json);
}

/* Seals `object` and hands out the file; the caller frees. */
static char *sealed(size_t *size)
{
    char *text = NULL;
    Error e = {""};
    check(json_file_write_sealed(path, object, strlen(object), &e) == 0, "%s", e.text);
    check(files_read_all(path, 1000, &text, size, &e) == 0, "%s", e.text);
    return text;
}

static void test_read(void)
{
    Json *json = NULL;
    Error e = {""};
    check(files_write_atomic(path, object, strlen(object), &e) == 0, "%s", e.text);
    if (check(json_file_read(path, 1000, &json, &e) == 0, "%s", e.text))
        check(json->count == 3 && json_get(json, "steps"), "%zu members", json->count);
    json_free(json);
    check(json_file_read(path, 10, &json, &e) == -1 && strstr(e.text, path) && strstr(e.text, "larger than the 10"),
          "%s", e.text);
    check(files_write_atomic(path, "{\n1", 3, &e) == 0, "%s", e.text);
    check(json_file_read(path, 10, &json, &e) == -1 && strstr(e.text, ": line 2, column 1: "), "%s", e.text);
    check(strncmp(e.text, path, strlen(path)) == 0, "\"%s\" does not name the file", e.text);
    check(json_file_read("/no/such", 10, &json, &e) == -1 && strstr(e.text, "/no/such: cannot be opened"), "%s",
          e.text);
}

/* The file, byte for byte: the object without its end, then the seal. */
static void test_form(void)
{
    static const char *const ends[] = {"}", "\n}", " \t}\r\n \n", "}\n"};
    static const char content[] = "{\"a\": 1";
    char want[128], digits[HASH_TEXT];
    hash_format(hash_bytes(content, strlen(content)), digits);
    snprintf(want, sizeof want, "{\"a\": 1,\n  \"checksum\": \"%s\"\n}\n", digits);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        char text[64], *got = NULL;
        size_t size;
        Json *json = NULL;
        Error e = {""};
        snprintf(text, sizeof text, "%s%s", content, ends[i]);
        check(json_file_write_sealed(path, text, strlen(text), &e) == 0, "%s", e.text);
        check(files_read_all(path, 1000, &got, &size, &e) == 0, "%s", e.text);
        check(strcmp(got, want) == 0, "got %s, want %s", got, want);
        if (check(json_file_read_sealed(path, 1000, &json, &e) == 0, "%s", e.text))
            check(json->count == 2 && strcmp(json_string(json->first->next), digits) == 0, "its members");
        json_free(json);
        got[2] = 'b';
        check(files_write_atomic(path, got, size, &e) == 0, "%s", e.text);
        check(json_file_read_sealed(path, 1000, &json, &e) == -1 && strstr(e.text, "was damaged"), "%s", e.text);
        check(json_file_read_sealed(path, 9, &json, &e) == -1 && strstr(e.text, "larger than the 9"), "%s", e.text);
        free(got);
    }
}

static void test_every_bit(void)
{
    size_t size;
    char *text = sealed(&size);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        Json *json = NULL;
        Error e = {""};
        text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
        const bool accepted = accepts(text, size, &json, &e);
        check(!accepted, "bit %zu of byte %zu, '%c': accepted", bit % 8, bit / 8, text[bit / 8]);
        check(strncmp(e.text, path, strlen(path)) == 0, "\"%s\" does not name the file", e.text);
        if (accepted)
            json_free(json);
        text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
    }
    free(text);
}

/* Cut anywhere, all but the last newline, it is no JSON; without that, its seal has another form. */
static void test_every_cut(void)
{
    size_t size;
    char *text = sealed(&size);
    for (size_t cut = 0; cut < size; cut++)
        check_refused(text, cut, cut == size - 1 ? "was damaged or edited" : "line ");
    free(text);
}

static void test_edits(void)
{
    static const char *const refused[] = {
        "{\"a\": 1,\n  \"checksum\": \"0123456789abcdef\"\n}\n", /* of other content */
        "{\"a\": 1,\n  \"checksum\": \"0123456789ABCDEF\"\n}\n", "{\"a\": 1, \"checksum\": \"0123456789abcdef\"}",
        "{\"checksum\": \"0123456789abcdef\", \"a\": 1}",        "{\"checksum\": null}",
        "{\"a\": 1,\n  \"check\": \"0123456789abcdef\"\n}\n",    "{\"a\": \"0123456789abcdef\"}",
    };
    static const char *const accepted[] = {
        "{\"a\": 1}",
        "{}",
        "[1]",
        "null",
        "[\"0123456789abcdef\"]",
        "{\"a\": \"0123456789abcdef\", \"b\": 1}",
        "{\"a\": \"0123456789abcdeg\"}",
        "{\"a\": \"0123456789abcde\"}",
        "{\"a\": {\"checksum\": \"0123456789abcdef\"}}",
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        check_refused(refused[i], strlen(refused[i]), "was damaged or edited");
    for (size_t i = 0; i < sizeof accepted / sizeof *accepted; i++) {
        Json *json = NULL;
        Error e = {""};
        check(accepts(accepted[i], strlen(accepted[i]), &json, &e), "%s: %s", accepted[i], e.text);
        json_free(json);
    }
}

int main(void)
{
    if (!folder_begin("test_json_file"))
        return 1;
    in_folder("x.json", path);
    check_run("reading", test_read);
    check_run("the form of a sealed file", test_form);
    check_run("every flipped bit of a sealed file", test_every_bit);
    check_run("a sealed file cut anywhere", test_every_cut);
    check_run("edits", test_edits);
    folder_end();
    return check_summary();
}
