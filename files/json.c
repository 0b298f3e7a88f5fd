#include "files/json.h"

#include "base/text.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A backslash and letter i of the first list stand for byte i of the second. */
static const char escape_letters[] = "\"\\/bfnrt";
static const char escape_bytes[] = "\"\\/\b\f\n\r\t";

/*
 * The whole tree is one allocation: nodes, then space to sort keys, then characters. The text bounds all three: each
 * value but the root follows a bracket or comma of its own, and a string or number, unescaped and with its NUL, is no
 * longer than its source with the quote or separator after it (a root number has none: one byte more).
 */
typedef struct Parser {
    const char *start, *at, *end; /* the text */
    Json *nodes;                  /* the next free ones */
    char *chars;
    const char **keys; /* scratch of find_duplicate */
    Error *error;
    bool one_line, lenient; /* see json_parse_line */
    size_t replaced;        /* escapes */
} Parser;

static int fail(const Parser *p, const char *fault)
{
    if (p->one_line)
        return error_set(p->error, "column %zu: %s", (size_t)(p->at - p->start) + 1, fault);
    size_t line = 1;
    const char *line_start = p->start;
    for (const char *c = p->start; c < p->at; c++) {
        if (*c == '\n') {
            line++;
            line_start = c + 1;
        }
    }
    return error_set(p->error, "line %zu, column %zu: %s", line, (size_t)(p->at - line_start) + 1, fault);
}

static bool accept(Parser *p, char c)
{
    const bool here = p->at < p->end && *p->at == c;
    p->at += here;
    return here;
}

static void skip_space(Parser *p)
{
    while (accept(p, ' ') || accept(p, '\n') || accept(p, '\r') || accept(p, '\t'))
        ;
}

/* --- strings --- */

static void put_utf8(Parser *p, uint32_t code)
{
    const size_t length = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const uint32_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = length - 1; i > 0; i--) {
        p->chars[i] = (char)(0x80 | (code & 0x3f));
        code >>= 6;
    }
    p->chars[0] = (char)(lead[length] | code);
    p->chars += length;
}

/* Reads the six characters \uXXXX. */
static bool accept_hex(Parser *p, uint32_t *code)
{
    if (p->end - p->at < 6 || p->at[0] != '\\' || p->at[1] != 'u')
        return false;
    *code = 0;
    for (size_t i = 2; i < 6; i++) {
        const char c = p->at[i];
        const bool decimal = c >= '0' && c <= '9';
        const char lower = (char)(c | 0x20);
        if (!decimal && !(lower >= 'a' && lower <= 'f'))
            return false;
        *code = *code << 4 | (uint32_t)(decimal ? c - '0' : lower - 'a' + 10);
    }
    p->at += 6;
    return true;
}

/* An escape that stands for no character. */
static int replace(Parser *p, const char *fault)
{
    if (!p->lenient)
        return fail(p, fault);
    put_utf8(p, 0xfffd);
    p->replaced++;
    return 0;
}

static int parse_unicode(Parser *p)
{
    uint32_t code, low;
    if (!accept_hex(p, &code))
        return fail(p, "\\u needs four hexadecimal digits");
    if (code == 0)
        return replace(p, "\\u0000 in a string is not supported");
    if (code >= 0xd800 && code <= 0xdfff) {
        const char *second = p->at;
        if (code > 0xdbff || !accept_hex(p, &low) || low < 0xdc00 || low > 0xdfff) {
            p->at = second; /* what follows may be a character of its own */
            return replace(p, "a surrogate without its other half");
        }
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    put_utf8(p, code);
    return 0;
}

static int parse_escape(Parser *p)
{
    if (p->end - p->at < 2)
        return fail(p, "a string is not closed");
    const char letter = p->at[1];
    if (letter == 'u')
        return parse_unicode(p);
    const char *hit = memchr(escape_letters, letter, sizeof escape_letters - 1);
    if (hit == NULL)
        return fail(p, "an unknown escape in a string");
    *p->chars++ = escape_bytes[hit - escape_letters];
    p->at += 2;
    return 0;
}

static int parse_character(Parser *p)
{
    if (*p->at == '\\')
        return parse_escape(p);
    if ((unsigned char)*p->at < 0x20)
        return fail(p, "an unescaped control character in a string");
    const size_t length = text_utf8(p->at, p->end);
    if (length == 0)
        return fail(p, "a string is not UTF-8");
    memcpy(p->chars, p->at, length);
    p->chars += length;
    p->at += length;
    return 0;
}

static int parse_string(Parser *p, const char **text)
{
    *text = p->chars;
    if (!accept(p, '"'))
        return fail(p, "expected a string in double quotes");
    while (!accept(p, '"')) {
        if (p->at == p->end)
            return fail(p, "a string is not closed");
        if (parse_character(p) != 0)
            return -1;
    }
    *p->chars++ = '\0';
    return 0;
}

/* --- the other values --- */

static size_t skip_digits(Parser *p)
{
    const char *start = p->at;
    while (p->at < p->end && *p->at >= '0' && *p->at <= '9')
        p->at++;
    return (size_t)(p->at - start);
}

static bool skip_number(Parser *p)
{
    accept(p, '-');
    if (!accept(p, '0') && skip_digits(p) == 0) /* no digit may follow a leading 0 */
        return false;
    if (accept(p, '.') && skip_digits(p) == 0)
        return false;
    if (!accept(p, 'e') && !accept(p, 'E'))
        return true;
    if (!accept(p, '+'))
        accept(p, '-');
    return skip_digits(p) > 0;
}

static int parse_number(Parser *p, Json *v)
{
    const char *start = p->at;
    if (!skip_number(p))
        return fail(p, "expected a value");
    const size_t length = (size_t)(p->at - start);
    memcpy(p->chars, start, length);
    p->chars[length] = '\0';
    v->type = JSON_NUMBER;
    v->text = p->chars;
    v->number = strtod(v->text, NULL);
    p->chars += length + 1;
    return isfinite(v->number) ? 0 : fail(p, "a number is too large for a double");
}

static bool accept_word(Parser *p, const char *word)
{
    const size_t length = strlen(word);
    if ((size_t)(p->end - p->at) < length || memcmp(p->at, word, length) != 0)
        return false;
    p->at += length;
    return true;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int refuse_duplicates(Parser *p, const Json *object)
{
    size_t n = 0;
    for (const Json *member = object->first; member; member = member->next)
        p->keys[n++] = member->key;
    qsort(p->keys, n, sizeof *p->keys, compare_keys);
    for (size_t i = 1; i < n; i++) {
        if (strcmp(p->keys[i - 1], p->keys[i]) == 0) {
            char fault[128];
            snprintf(fault, sizeof fault, "the object that ends here has the key \"%.60s\" twice", p->keys[i]);
            return fail(p, fault);
        }
    }
    return 0;
}

static int parse_value(Parser *p, size_t depth, Json *v);

static int parse_member(Parser *p, size_t depth, bool named, Json *v)
{
    skip_space(p);
    *v = (Json){0};
    if (named) {
        if (parse_string(p, &v->key) != 0)
            return -1;
        skip_space(p);
        if (!accept(p, ':'))
            return fail(p, "expected : after a key");
    }
    return parse_value(p, depth, v);
}

static int parse_container(Parser *p, size_t depth, char close, Json *v)
{
    v->type = close == '}' ? JSON_OBJECT : JSON_ARRAY;
    if (depth == JSON_MAX_DEPTH)
        return fail(p, "nested too deeply");
    skip_space(p);
    if (accept(p, close))
        return 0;
    Json **link = &v->first;
    do {
        *link = p->nodes++;
        if (parse_member(p, depth + 1, v->type == JSON_OBJECT, *link) != 0)
            return -1;
        link = &(*link)->next;
        v->count++;
        skip_space(p);
    } while (accept(p, ','));
    if (!accept(p, close))
        return fail(p, v->type == JSON_OBJECT ? "expected , or }" : "expected , or ]");
    return v->type == JSON_OBJECT ? refuse_duplicates(p, v) : 0;
}

static int parse_value(Parser *p, size_t depth, Json *v)
{
    skip_space(p);
    if (p->at == p->end)
        return fail(p, "expected a value, found the end");
    if (accept(p, '{'))
        return parse_container(p, depth, '}', v);
    if (accept(p, '['))
        return parse_container(p, depth, ']', v);
    if (*p->at == '"') {
        v->type = JSON_STRING;
        const size_t before = p->replaced;
        const int status = parse_string(p, &v->text);
        v->count = p->replaced - before;
        return status;
    }
    if (accept_word(p, "null"))
        return 0;
    v->boolean = accept_word(p, "true");
    if (v->boolean || accept_word(p, "false")) {
        v->type = JSON_BOOL;
        return 0;
    }
    return parse_number(p, v);
}

static int parse_root(Parser *p, Json *root)
{
    if (parse_member(p, 0, false, root) != 0)
        return -1;
    skip_space(p);
    return p->at == p->end ? 0 : fail(p, "something follows the value");
}

/* `p` has only its options and where the error goes. */
static int parse(Parser p, const char *text, size_t size, Json **root)
{
    size_t nodes = 1;
    for (size_t i = 0; i < size; i++)
        nodes += text[i] == ',' || text[i] == '[' || text[i] == '{';
    const size_t node_bytes = sizeof(Json) + sizeof(char *);
    Json *block =
        size < SIZE_MAX && nodes <= (SIZE_MAX - size - 1) / node_bytes ? malloc(nodes * node_bytes + size + 1) : NULL;
    if (block == NULL)
        return error_set(p.error, "out of memory for %zu bytes of JSON", size);
    const char **keys = (const char **)(block + nodes);
    p.start = p.at = text;
    p.end = text + size;
    p.nodes = block + 1;
    p.chars = (char *)(keys + nodes);
    p.keys = keys;
    if (parse_root(&p, block) != 0) {
        json_free(block);
        return -1;
    }
    *root = block;
    return 0;
}

int json_parse(const char *text, size_t size, Json **root, Error *e)
{
    return parse((Parser){.error = e}, text, size, root);
}

int json_parse_line(const char *text, size_t size, bool lenient, Json **root, Error *e)
{
    return parse((Parser){.error = e, .one_line = true, .lenient = lenient}, text, size, root);
}

void json_free(Json *root) { free(root); }

/* --- looking values up --- */

const Json *json_get(const Json *object, const char *key)
{
    if (object == NULL || object->type != JSON_OBJECT)
        return NULL;
    const Json *member = object->first;
    while (member && strcmp(member->key, key) != 0)
        member = member->next;
    return member;
}

bool json_bool(const Json *value, bool *out)
{
    if (value == NULL || value->type != JSON_BOOL)
        return false;
    *out = value->boolean;
    return true;
}

bool json_number(const Json *value, double *out)
{
    if (value == NULL || value->type != JSON_NUMBER)
        return false;
    *out = value->number;
    return true;
}

static bool is_integer(const Json *value)
{
    return value && value->type == JSON_NUMBER && !strpbrk(value->text, ".eE");
}

bool json_u64(const Json *value, uint64_t *out)
{
    if (!is_integer(value) || value->text[0] == '-')
        return false;
    errno = 0;
    const unsigned long long parsed = strtoull(value->text, NULL, 10);
    if (errno != 0)
        return false;
    *out = parsed;
    return true;
}

bool json_size(const Json *value, size_t *out)
{
    uint64_t wide;
    if (!json_u64(value, &wide) || wide > SIZE_MAX)
        return false;
    *out = (size_t)wide;
    return true;
}

const char *json_string(const Json *value) { return value && value->type == JSON_STRING ? value->text : NULL; }

/* --- writing --- */

/* Escapes the character at *at and advances past it. Returns the bytes put into `out`. */
static size_t escape_character(const char **at, const char *end, char out[8])
{
    const char *from = *at;
    const size_t length = text_utf8(from, end);
    *at += length > 0 ? length : 1;
    if (length == 0)
        return (size_t)snprintf(out, 8, "\\ufffd");
    const char *hit = memchr(escape_bytes, *from, sizeof escape_bytes - 1);
    if (hit && *from != '/')
        return (size_t)snprintf(out, 8, "\\%c", escape_letters[hit - escape_bytes]);
    if ((unsigned char)*from < 0x20 || *from == 0x7f)
        return (size_t)snprintf(out, 8, "\\u%04x", (unsigned)*from);
    memcpy(out, from, length);
    return length;
}

void json_write_string(FILE *to, const char *text)
{
    const char *end = text + strlen(text);
    char piece[8];
    fputc('"', to);
    while (text < end)
        fwrite(piece, 1, escape_character(&text, end, piece), to);
    fputc('"', to);
}

void json_write(FILE *to, const Json *value)
{
    const bool object = value->type == JSON_OBJECT;
    switch (value->type) {
    case JSON_NULL:
        fputs("null", to);
        break;
    case JSON_BOOL:
        fputs(value->boolean ? "true" : "false", to);
        break;
    case JSON_NUMBER:
        fputs(value->text, to);
        break;
    case JSON_STRING:
        json_write_string(to, value->text);
        break;
    case JSON_ARRAY:
    case JSON_OBJECT:
        fputc(object ? '{' : '[', to);
        for (const Json *child = value->first; child; child = child->next) {
            if (object) {
                json_write_string(to, child->key);
                fputc(':', to);
            }
            json_write(to, child);
            fputs(child->next ? "," : "", to);
        }
        fputc(object ? '}' : ']', to);
    }
}

void json_write_number(FILE *to, double number)
{
    if (isfinite(number))
        fprintf(to, "%.17g", number);
    else
        fputs("null", to);
}
