#include "dev/tests/shards.h"

#include "dev/tests/check.h"
#include "dev/tests/folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const size_t shard_sizes[SHARDS] = {101, 64, 257, 9, 17, 16};

Path path_of(const char *name)
{
    Path path;
    snprintf(path.text, sizeof path.text, "%s/%s", folder, name);
    return path;
}

void write_bytes(const char *path, const unsigned char *bytes, size_t n)
{
    FILE *file = fopen(path, "wb");
    if (check(file != NULL, "%s: cannot be written", path)) {
        check(fwrite(bytes, 1, n, file) == n, "%s: cannot be written whole", path);
        fclose(file);
    }
}

void put_int32(unsigned char *p, int32_t value)
{
    for (int i = 0; i < 4; i++)
        p[i] = (unsigned char)((uint32_t)value >> 8 * i);
}

unsigned char *shard_bytes(const uint16_t *ids, size_t n)
{
    unsigned char *bytes = calloc(HEADER_BYTES + 2 * n, 1);
    put_int32(bytes, 20240520);
    put_int32(bytes + 4, 1);
    put_int32(bytes + 8, (int32_t)n);
    for (size_t i = 0; i < n; i++) {
        bytes[HEADER_BYTES + 2 * i] = (unsigned char)(ids[i] & 255);
        bytes[HEADER_BYTES + 2 * i + 1] = (unsigned char)(ids[i] >> 8);
    }
    return bytes;
}

void write_shard(const char *path, const uint16_t *ids, size_t n)
{
    unsigned char *bytes = shard_bytes(ids, n);
    write_bytes(path, bytes, HEADER_BYTES + 2 * n);
    free(bytes);
}

uint16_t id_of(size_t i) { return (uint16_t)((i + 1) * 31337 % V); }

size_t shard_start(size_t shard)
{
    size_t start = 0;
    for (size_t s = 0; s < shard; s++)
        start += shard_sizes[s];
    return start;
}

static void write_set(void)
{
    for (size_t s = 0; s < SHARDS; s++) {
        uint16_t ids[ALL];
        char name[32];
        for (size_t i = 0; i < shard_sizes[s]; i++)
            ids[i] = id_of(shard_start(s) + i);
        snprintf(name, sizeof name, "set_%zu.bin", s);
        write_shard(path_of(name).text, ids, shard_sizes[s]);
    }
}

Tokens *open_tokens(const char *name, size_t vocabulary)
{
    Tokens *tokens = NULL;
    Error e = {""};
    check(tokens_open(path_of(name).text, vocabulary, &tokens, &e) == 0, "%s", e.text);
    return tokens;
}

void check_sentence(const Error *e, const char *path, const char *sentence)
{
    char want[512];
    snprintf(want, sizeof want, "%s: %s", path, sentence);
    check(strcmp(e->text, want) == 0, "got  '%s'\n      want '%s'", e->text, want);
}

bool shards_begin(void)
{
    if (!folder_begin("test_shards"))
        return false;
    write_set();
    return true;
}
