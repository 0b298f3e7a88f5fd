#include "files/json_file.h"

#include "base/hash.h"
#include "files/files.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* What a sealed file ends with; the digits are those of its checksum. */
static const char seal_format[] = ",\n  \"checksum\": \"%s\"\n}\n";
enum { SEAL = sizeof seal_format - 1 - 2 + HASH_TEXT - 1 };

static void make_seal(const char *text, size_t size, char seal[SEAL + 1])
{
    char hash[HASH_TEXT];
    hash_format(hash_bytes(text, size), hash);
    snprintf(seal, SEAL + 1, seal_format, hash);
}

static int parse(const char *path, char *text, size_t size, Json **json, Error *e)
{
    Error fault;
    const int status = json_parse(text, size, json, &fault);
    free(text);
    return status == 0 ? 0 : error_set(e, "%s: %s", path, fault.text);
}

int json_file_read(const char *path, size_t limit, Json **json, Error *e)
{
    char *text;
    size_t size;
    return files_read_all(path, limit, &text, &size, e) == 0 ? parse(path, text, size, json, e) : -1;
}

int json_file_write_sealed(const char *path, const char *object, size_t size, Error *e)
{
    char seal[SEAL + 1];
    FilesWriter w;
    while (size > 0 && object[--size] != '}')
        ;
    while (size > 0 && strchr(" \n", object[size - 1]) != NULL)
        size--;
    make_seal(object, size, seal);
    if (files_writer_open(&w, path, e) != 0)
        return -1;
    if (files_writer_append(&w, object, size, e) != 0 || files_writer_append(&w, seal, SEAL, e) != 0) {
        files_writer_abandon(&w);
        return -1;
    }
    return files_writer_commit(&w, e);
}

/* Whether a file's end is or was a seal: a single flipped bit leaves most of it. */
static bool looks_sealed(const char *text, size_t size)
{
    char seal[SEAL + 1];
    size_t same = 0;
    if (size < SEAL)
        return false;
    make_seal(text, size - SEAL, seal);
    for (size_t i = 0; i < SEAL; i++)
        same += text[size - SEAL + i] == seal[i];
    return same + HASH_TEXT >= SEAL - 2;
}

int json_file_read_sealed(const char *path, size_t limit, Json **json, Error *e)
{
    char *text, seal[SEAL + 1];
    size_t size;
    if (files_read_all(path, limit, &text, &size, e) != 0)
        return -1;
    const bool is_sealed = looks_sealed(text, size);
    if (is_sealed)
        make_seal(text, size - SEAL, seal);
    if (is_sealed && memcmp(text + size - SEAL, seal, SEAL) != 0) {
        free(text);
        return error_set(
            e,
            "%s: was damaged or edited: its content does not match its checksum (after an edit of your own, "
            "remove the line \"checksum\" and the comma before it)",
            path);
    }
    if (parse(path, text, size, json, e) != 0)
        return -1;
    if (is_sealed || json_get(*json, "checksum") == NULL)
        return 0;
    json_free(*json);
    return error_set(e, "%s: was damaged or edited: its checksum is not its last line", path);
}
