/*
 * libFuzzer entry for files/json_file.c: whatever text a seal is put behind, if the whole is accepted, then no longer
 * once one of its bits has changed; and the text without a seal is read or refused with a message that names the file.
 */
#include "base/hash.h"
#include "files/json_file.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool accepts(const char *text, size_t size)
{
    Error e = {""};
    Json *json;
    if (json_file_parse_sealed("a file", text, size, &json, &e) == 0) {
        json_free(json);
        return true;
    }
    if (strncmp(e.text, "a file: ", 8) != 0)
        abort();
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char digits[HASH_TEXT], *text = malloc(size + 64);
    const uint64_t hash = hash_bytes(data, size);
    hash_format(hash, digits);
    memcpy(text, data, size);
    accepts(text, size);
    size += (size_t)sprintf(text + size, ",\n  \"checksum\": \"%s\"\n}\n", digits);
    if (accepts(text, size)) {
        const size_t bit = hash % (8 * size);
        text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
        if (accepts(text, size))
            abort();
    }
    free(text);
    return 0;
}
