#include "files/json_file.h"

#include "base/hash.h"
#include "files/files.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* What follows the content: the hash between two fixed texts. */
static const char before[] = ",\n  \"checksum\": \"", after[] = "\"\n}\n";
enum { BEFORE = sizeof before - 1, AFTER = sizeof after - 1, DIGITS = HASH_TEXT - 1, SEAL = BEFORE + DIGITS + AFTER };

static void make_seal(const char *content, size_t size, char seal[SEAL + 1])
{
    char digits[HASH_TEXT];
    hash_format(hash_bytes(content, size), digits);
    snprintf(seal, SEAL + 1, "%s%s%s", before, digits, after);
}

static bool is_sealed(const char *text, size_t size)
{
    char seal[SEAL + 1];
    if (size < SEAL)
        return false;
    make_seal(text, size - SEAL, seal);
    return memcmp(text + size - SEAL, seal, SEAL) == 0;
}

static bool is_hash(const char *text)
{
    return text && strlen(text) == DIGITS && strspn(text, "0123456789abcdef") == DIGITS;
}

/* A last member of 16 digits is what a changed bit in the key leaves of a seal; a changed bit between key and value, or
 * around them, leaves no JSON. */
static bool has_broken_seal(const Json *root)
{
    const Json *last = root->type == JSON_OBJECT ? root->first : NULL;
    while (last && last->next)
        last = last->next;
    return last && (json_get(root, "checksum") || is_hash(json_string(last)));
}

static int parse(const char *path, const char *text, size_t size, Json **json, Error *e)
{
    Error fault;
    return json_parse(text, size, json, &fault) == 0 ? 0 : error_set(e, "%s: %s", path, fault.text);
}

int json_file_parse_sealed(const char *path, const char *text, size_t size, Json **json, Error *e)
{
    if (parse(path, text, size, json, e) != 0)
        return -1;
    if (is_sealed(text, size) || !has_broken_seal(*json))
        return 0;
    json_free(*json);
    return error_set(e,
                     "%s: was damaged or edited: its content does not match its checksum (after an edit of your own, "
                     "delete \"checksum\" and the comma before it)",
                     path);
}

int json_file_read(const char *path, size_t limit, Json **json, Error *e)
{
    char *text;
    size_t size;
    if (files_read_all(path, limit, &text, &size, e) != 0)
        return -1;
    const int status = parse(path, text, size, json, e);
    free(text);
    return status;
}

int json_file_read_sealed(const char *path, size_t limit, Json **json, Error *e)
{
    char *text;
    size_t size;
    if (files_read_all(path, limit, &text, &size, e) != 0)
        return -1;
    const int status = json_file_parse_sealed(path, text, size, json, e);
    free(text);
    return status;
}

/* The bytes at the start of a text that are no white space at its end. */
static size_t trim(const char *text, size_t size)
{
    while (size > 0 && strchr(" \t\r\n", text[size - 1]))
        size--;
    return size;
}

int json_file_write_sealed(const char *path, const char *object, size_t size, Error *e)
{
    char seal[SEAL + 1];
    size = trim(object, size);
    assert(size > 2 && object[0] == '{' && object[size - 1] == '}');
    size = trim(object, size - 1);
    make_seal(object, size, seal);
    FilesWriter w;
    if (files_writer_open(&w, path, e) != 0)
        return -1;
    if (files_writer_append(&w, object, size, e) != 0 || files_writer_append(&w, seal, SEAL, e) != 0) {
        files_writer_abandon(&w);
        return -1;
    }
    return files_writer_commit(&w, e);
}
