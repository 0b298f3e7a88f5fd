/*
 * libFuzzer entry for files/json.c: any bytes are refused with a message, or read as a tree that, written and read
 * again, is written the same way. What is read strictly is read leniently too.
 */
#include "files/json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *write_tree(const Json *root, size_t *size)
{
    char *text = NULL;
    FILE *to = open_memstream(&text, size);
    json_write(to, root);
    fclose(to);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Error e = {""};
    Json *root, *again;
    size_t once_size, twice_size;
    const bool lenient = json_parse_line((const char *)data, size, true, &root, &e) == 0;
    if (lenient)
        json_free(root);
    if (json_parse((const char *)data, size, &root, &e) != 0) {
        if (e.text[0] == '\0')
            abort();
        return 0;
    }
    if (!lenient)
        abort();
    char *once = write_tree(root, &once_size);
    json_free(root);
    if (json_parse(once, once_size, &again, &e) != 0)
        abort();
    char *twice = write_tree(again, &twice_size);
    json_free(again);
    if (strcmp(once, twice) != 0)
        abort();
    free(once);
    free(twice);
    return 0;
}
