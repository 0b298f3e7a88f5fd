#include "base/random.h"
#include "dev/tests/check.h"
#include "files/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Parses and writes again; NULL when the text was refused, with the reason in *e. The caller frees. The text is read
 * from a copy of exactly its size, so that a sanitizer sees every byte read past it. */
static char *rewrite(const char *text, size_t size, Error *e)
{
    Json *root;
    char *out = NULL, *copy = malloc(size > 0 ? size : 1);
    size_t out_size;
    memcpy(copy, text, size);
    const int status = json_parse(copy, size, &root, e);
    free(copy);
    if (status != 0)
        return NULL;
    FILE *to = open_memstream(&out, &out_size);
    json_write(to, root);
    fclose(to);
    json_free(root);
    return out;
}

static void test_accepts(void)
{
    static const char *const cases[][2] = {
        {"null", "null"},
        {" true\r\n", "true"},
        {"false", "false"},
        {"0", "0"},
        {"-0.5e+10", "-0.5e+10"},
        {"1E-400", "1E-400"},
        {"18446744073709551615", "18446744073709551615"},
        {"\"\"", "\"\""},
        {"\"a\\/b\\\"\\\\\\b\\f\\n\\r\\t\"", "\"a/b\\\"\\\\\\b\\f\\n\\r\\t\""},
        {"\"\\u0041\\u00e9\\u20AC\\ud83D\\uDE00\"", "\"A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""},
        {"\"\\u001f\x7f\"", "\"\\u001f\\u007f\""},
        {"[]", "[]"},
        {"[ ]", "[]"},
        {"{}", "{}"},
        {"\t{ \"b\" : [1 , [], {}] , \"a\" : null }\n", "{\"b\":[1,[],{}],\"a\":null}"},
        {"{\"\":{\"\":\"\"}}", "{\"\":{\"\":\"\"}}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Error e = {"accepted"};
        char *out = rewrite(cases[i][0], strlen(cases[i][0]), &e);
        check(out && strcmp(out, cases[i][1]) == 0, "%s: got %s, want %s (%s)", cases[i][0], out ? out : "a refusal",
              cases[i][1], e.text);
        free(out);
    }
}

static void test_refuses(void)
{
    static const char *const cases[][2] = {
        {"", "line 1, column 1: expected a value, found the end"},
        {" \n ", "line 2, column 2: expected a value, found the end"},
        {"nul", "expected a value"},
        {"NaN", "expected a value"},
        {"Infinity", "expected a value"},
        {"\xef\xbb\xbf{}", "expected a value"},
        {"// no\n1", "expected a value"},
        {"1 2", "column 3: something follows"},
        {"true1", "something follows"},
        {"01", "something follows"},
        {"-", "expected a value"},
        {"+1", "expected a value"},
        {".5", "expected a value"},
        {"1.", "expected a value"},
        {"1e", "expected a value"},
        {"1e+", "expected a value"},
        {"0x10", "something follows"},
        {"1e400", "too large for a double"},
        {"-1e400", "too large for a double"},
        {"[1,]", "column 4: expected a value"},
        {"[1 2]", "expected , or ]"},
        {"[1", "expected , or ]"},
        {"[", "found the end"},
        {"]", "expected a value"},
        {"{\"a\":1,}", "expected a string in double quotes"},
        {"{a:1}", "expected a string in double quotes"},
        {"{'a':1}", "expected a string in double quotes"},
        {"{\"a\" 1}", "expected : after a key"},
        {"{\"a\"}", "expected : after a key"},
        {"{\"a\":}", "expected a value"},
        {"{\"a\":1", "expected , or }"},
        {"{\"a\":1]", "expected , or }"},
        {"{\"a\":1,\"b\":2,\"a\":3}", "has the key \"a\" twice"},
        {"{\"a\":1,\"\\u0061\":2}", "has the key \"a\" twice"},
        {"[{\"x\":{\"k\\n\":1,\"k\\n\":1}}]", "has the key \"k\\x0a\" twice"},
        {"\"abc", "not closed"},
        {"\"abc\\", "not closed"},
        {"\"abc\\\"", "not closed"},
        {"\"\n\"", "control character"},
        {"\"\x1f\"", "control character"},
        {"\"\\x41\"", "unknown escape"},
        {"\"\\u12g4\"", "four hexadecimal digits"},
        {"\"\\u123", "four hexadecimal digits"},
        {"\"\\u0000\"", "\\u0000"},
        {"\"\\ud800\"", "surrogate"},
        {"\"\\ud800\\u0041\"", "surrogate"},
        {"\"\\ud800\\ud800\"", "surrogate"},
        {"\"\\udc00\"", "surrogate"},
        {"\"\x80\"", "not UTF-8"},
        {"\"\xc3\"", "not UTF-8"},
        {"\"\xc3", "not UTF-8"},
        {"\"\xc0\xaf\"", "not UTF-8"},         /* overlong */
        {"\"\xe0\x80\xaf\"", "not UTF-8"},     /* overlong */
        {"\"\xf0\x80\x80\xaf\"", "not UTF-8"}, /* overlong */
        {"\"\xed\xa0\x80\"", "not UTF-8"},     /* a surrogate */
        {"\"\xf4\x90\x80\x80\"", "not UTF-8"}, /* U+110000 */
        {"\"\xff\"", "not UTF-8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Error e = {"accepted"};
        char *out = rewrite(cases[i][0], strlen(cases[i][0]), &e);
        check(!out && strstr(e.text, cases[i][1]), "%s: got \"%s\", want \"... %s\"", cases[i][0], e.text, cases[i][1]);
        free(out);
    }
    Error e = {"accepted"};
    Json *root;
    check(json_parse("\"\xc3\xa9\"", 2, &root, &e) == -1 && strstr(e.text, "not UTF-8"), "half a character: %s",
          e.text);
    check(!rewrite("[1,\0 2]", 7, &e) && strstr(e.text, "expected a value"), "a NUL byte: got \"%s\"", e.text);
}

static void test_depth(void)
{
    for (size_t depth = JSON_MAX_DEPTH; depth <= JSON_MAX_DEPTH + 1; depth++) {
        char text[2 * (JSON_MAX_DEPTH + 1)];
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        Error e = {"accepted"};
        char *out = rewrite(text, 2 * depth, &e);
        check((out != NULL) == (depth <= JSON_MAX_DEPTH), "%zu deep: %s", depth, e.text);
        check(out || strstr(e.text, "nested too deeply"), "%zu deep: %s", depth, e.text);
        free(out);
    }
}

static const char numbers[] = "{\"max\":18446744073709551615,\"over\":18446744073709551616,"
                              "\"min\":-9223372036854775808,\"under\":-9223372036854775809,\"two53\":9007199254740993,"
                              "\"real\":0.1,\"round\":1.0,\"exp\":1e3,\"EXP\":1E3,\"no\":-0,"
                              "\"text\":\"7\",\"yes\":true}";

static void test_lookup(void)
{
    Error e;
    Json *root;
    uint64_t u = 5;
    size_t size = 5;
    double d = 5;
    bool b = false;
    if (!check(json_parse(numbers, strlen(numbers), &root, &e) == 0, "%s", e.text))
        return;
    check(root->count == 12, "got %zu members", root->count);
    check(json_u64(json_get(root, "max"), &u) && u == UINT64_MAX, "2^64-1");
    check(json_size(json_get(root, "two53"), &size) && size == 9007199254740993u, "2^53+1 as a size");
    check(json_number(json_get(root, "real"), &d) && d == 0.1, "0.1");
    check(json_number(json_get(root, "over"), &d) && d == 0x1p64, "2^64 as a double");
    check(json_bool(json_get(root, "yes"), &b) && b, "true");
    check(strcmp(json_string(json_get(root, "text")), "7") == 0, "a string");
    u = 5, size = 5;
    const char *const no_u64[] = {"over", "min", "real", "round", "exp", "EXP", "no", "text", "yes", "absent"};
    for (size_t k = 0; k < sizeof no_u64 / sizeof no_u64[0]; k++) {
        const Json *value = json_get(root, no_u64[k]);
        check(!json_u64(value, &u) && !json_size(value, &size) && u == 5 && size == 5, "%s as unsigned", no_u64[k]);
    }
    check(!json_number(json_get(root, "text"), &d) && !json_bool(json_get(root, "real"), &b), "wrong kinds");
    check(!json_string(json_get(root, "real")) && !json_string(NULL), "no string");
    check(!json_get(NULL, "a") && !json_get(json_get(root, "real"), "a"), "members of what is no object");
    json_free(root);
}

/* UTF-8 by its definition in RFC 3629, section 3. */
static size_t encode(uint32_t code, char *out)
{
    if (code < 0x80)
        return (size_t)sprintf(out, "%c", (int)code);
    if (code < 0x800)
        return (size_t)sprintf(out, "%c%c", 0xc0 | (int)(code >> 6), 0x80 | (int)(code & 63));
    if (code < 0x10000)
        return (size_t)sprintf(out, "%c%c%c", 0xe0 | (int)(code >> 12), 0x80 | (int)(code >> 6 & 63),
                               0x80 | (int)(code & 63));
    return (size_t)sprintf(out, "%c%c%c%c", 0xf0 | (int)(code >> 18), 0x80 | (int)(code >> 12 & 63),
                           0x80 | (int)(code >> 6 & 63), 0x80 | (int)(code & 63));
}

static size_t encode_escaped(uint32_t code, char *out)
{
    if (code < 0x10000)
        return (size_t)sprintf(out, "\\u%04x", (unsigned)code);
    return (size_t)sprintf(out, "\\u%04X\\u%04X", (unsigned)(0xd800 + ((code - 0x10000) >> 10)),
                           (unsigned)(0xdc00 + (code & 0x3ff)));
}

/* Every code point, in strings of 256: escaped in numbers, raw, and written by us, it reads as the same UTF-8. */
static void test_code_points(void)
{
    for (uint32_t first = 0; first <= 0x10ff00; first += 256) {
        char want[1025] = "", escaped[256 * 12 + 3] = "\"", *written = NULL;
        size_t want_size = 0, escaped_size = 1, written_size;
        if (first >= 0xd800 && first <= 0xdfff)
            continue;
        for (uint32_t code = first > 0 ? first : 1; code < first + 256; code++) {
            want_size += encode(code, want + want_size);
            escaped_size += encode_escaped(code, escaped + escaped_size);
        }
        escaped[escaped_size++] = '"';
        FILE *to = open_memstream(&written, &written_size);
        json_write_string(to, want);
        fclose(to);
        Json *a = NULL, *b = NULL;
        Error e = {""};
        if (check(json_parse(escaped, escaped_size, &a, &e) == 0, "U+%X: %s", (unsigned)first, e.text))
            check(strcmp(a->text, want) == 0, "U+%X and on, escaped", (unsigned)first);
        if (check(json_parse(written, written_size, &b, &e) == 0, "U+%X: %s", (unsigned)first, e.text))
            check(strcmp(b->text, want) == 0, "U+%X and on, written", (unsigned)first);
        json_free(a);
        json_free(b);
        free(written);
    }
}

static void test_not_utf8(void)
{
    char *text = NULL;
    size_t size;
    FILE *to = open_memstream(&text, &size);
    json_write_string(to, "\xc3!\n");
    fclose(to);
    check(strcmp(text, "\"\\ufffd!\\n\"") == 0, "not UTF-8: %s", text);
    free(text);
}

static void test_numbers_survive(void)
{
    Random random = random_make(1, 0);
    for (int i = 0; i < 10000; i++) {
        const uint64_t bits = random_u64(&random);
        double want, got = 0;
        char *text = NULL;
        size_t size;
        memcpy(&want, &bits, sizeof want);
        FILE *to = open_memstream(&text, &size);
        json_write_number(to, want);
        fclose(to);
        Json *root = NULL;
        Error e;
        if (check(json_parse(text, size, &root, &e) == 0, "%s: %s", text, e.text) && isfinite(want))
            check(json_number(root, &got) && memcmp(&got, &want, sizeof got) == 0, "%a became %a", want, got);
        else
            check(root->type == JSON_NULL, "%a became %s", want, text);
        json_free(root);
        free(text);
    }
}

static const char document[] = "{\"a\":[1,-2.5e3,\"x\\u00e9\\ud83d\\ude00\\n\",[],{}],\"b\":{\"c\":null,\"d\":true},"
                               "\"\xc3\xa9\":false,\"e\":[[[0]]]}";

/* Mutants of a document are refused, or read as a tree that can be written and read again. */
static void test_mutants(void)
{
    static const char alphabet[] = "{}[]\",:0123456789-+.eE\\u ntfadc8\xc3\xa9\xff";
    Random random = random_make(2, 0);
    size_t accepted = 0;
    for (int round = 0; round < 20000; round++) {
        char text[sizeof document];
        size_t size = sizeof document - 1;
        memcpy(text, document, size);
        for (uint64_t edits = 1 + random_below(&random, 4); edits > 0; edits--)
            text[random_below(&random, size)] = alphabet[random_below(&random, sizeof alphabet - 1)];
        if (round % 4 == 0)
            size = random_below(&random, size);
        Error e;
        char *once = rewrite(text, size, &e);
        if (!once)
            continue;
        char *twice = rewrite(once, strlen(once), &e);
        check(twice && strcmp(once, twice) == 0, "%s became %s", once, twice ? twice : e.text);
        accepted++;
        free(once);
        free(twice);
    }
    check(accepted > 100, "only %zu mutants were accepted: the test sees too little", accepted);
}

static void test_many_keys(void)
{
    char *text = NULL;
    size_t size;
    Error e = {"accepted"};
    FILE *to = open_memstream(&text, &size);
    for (int i = 0; i < 50000; i++)
        fprintf(to, "%c\"key %d\":%d", i > 0 ? ',' : '{', i, i);
    fputs(",\"key 31415\":0}", to);
    fclose(to);
    char *out = rewrite(text, size, &e);
    check(!out && strstr(e.text, "has the key \"key 31415\" twice"), "got \"%s\"", e.text);
    text[size - 6] = 'x'; /* of 31415 */
    out = rewrite(text, size, &e);
    check(out && strcmp(out, text) == 0, "50001 keys: %s", e.text);
    free(out);
    free(text);
}

/* What escapes of no character become, and how many they are; "!": refused also then. */
static void test_lenient(void)
{
    static const struct {
        const char *text, *want;
        size_t count;
    } cases[] = {
        {"\"\\u0000\"", "\xef\xbf\xbd", 1},
        {"\"\\ud800\"", "\xef\xbf\xbd", 1},
        {"\"\\udc00a\"",
         "\xef\xbf\xbd"
         "a",
         1},
        {"\"\\ud800\\u0041\"",
         "\xef\xbf\xbd"
         "A",
         1},
        {"\"\\ud800\\ud800\"", "\xef\xbf\xbd\xef\xbf\xbd", 2},
        {"\"\\ud800\\u0000\"", "\xef\xbf\xbd\xef\xbf\xbd", 2},
        {"\"\\ud800\\ud83d\\ude00\"", "\xef\xbf\xbd\xf0\x9f\x98\x80", 1},
        {"\"\\ufffd\\ud83d\\ude00\"", "\xef\xbf\xbd\xf0\x9f\x98\x80", 0},
        {"\"\\ud800\\u00\"", "!column 8: ", 0},
        {"\"\xed\xa0\x80\"", "!column 2: ", 0},
        {"[\"\\ud800\"", "!column 10: ", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Json *root = NULL;
        Error e = {"accepted"};
        const int status = json_parse_line(cases[i].text, strlen(cases[i].text), true, &root, &e);
        if (*cases[i].want == '!')
            check(status != 0 && strncmp(e.text, cases[i].want + 1, strlen(cases[i].want) - 1) == 0, "%s: %s",
                  cases[i].text, e.text);
        else if (check(status == 0, "%s: %s", cases[i].text, e.text))
            check(strcmp(root->text, cases[i].want) == 0 && root->count == cases[i].count, "%s: %s, %zu", cases[i].text,
                  root->text, root->count);
        if (status == 0)
            json_free(root);
    }
}

int main(void)
{
    check_run("accepts", test_accepts);
    check_run("refuses", test_refuses);
    check_run("escapes of no character", test_lenient);
    check_run("depth limit", test_depth);
    check_run("look-up and exact integers", test_lookup);
    check_run("every code point", test_code_points);
    check_run("bytes that are not UTF-8", test_not_utf8);
    check_run("doubles survive", test_numbers_survive);
    check_run("mutants", test_mutants);
    check_run("many keys", test_many_keys);
    return check_summary();
}
