/*
 * A libFuzzer entry for token shards: whatever the bytes, opening them as a shard either fails with a sentence or gives
 * tokens that can all be read, as sequences and as windows.
 */
#include "data/loader.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { V = 50257, T = 7, B = 3 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "fuzz_shard: %s\n", what);
        abort();
    }
}

/* Reading may fail (an id beyond the first block), but only with a sentence. */
static void read_all(const Tokens *tokens)
{
    int32_t inputs[B * T], targets[B * T];
    Error e = {""};
    const size_t count = windows_count(tokens, T, tokens_targets(tokens));
    for (size_t w = 0; w < count; w += B)
        if (windows_read(tokens, T, tokens_targets(tokens), w, B, inputs, targets, &e) != 0) {
            require(e.text[0] != '\0', "a read failed without a sentence");
            return;
        }
    const LoaderConfig config = {.T = T, .seed = 1, .rank = 0, .world = 1};
    Loader *loader;
    if (loader_create(tokens, &config, 0, B, &loader, &e) != 0) {
        require(tokens_total(tokens) <= T, "a long enough shard was refused");
        return;
    }
    require(loader_next(loader, B, inputs, targets, &e) == 0, "windows could be read, sequences not");
    loader_free(loader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* The header's last 1012 bytes are never read: the input leaves them out, so that it is mostly what matters. */
    static const unsigned char rest_of_header[1024 - 12];
    char path[] = "/tmp/fuzz_shard_XXXXXX";
    const int fd = mkstemp(path);
    require(fd >= 0, "no temporary file");
    FILE *file = fdopen(fd, "wb");
    require(file != NULL, "no temporary file");
    const size_t head = size < 12 ? size : 12;
    fwrite(data, 1, head, file);
    if (size > head)
        fwrite(rest_of_header, 1, sizeof rest_of_header, file);
    fwrite(data + head, 1, size - head, file);
    fclose(file);

    Tokens *tokens;
    Error e = {""};
    if (tokens_open(path, V, &tokens, &e) == 0) {
        read_all(tokens);
        tokens_close(tokens);
    } else {
        require(strncmp(e.text, path, strlen(path)) == 0, "the error does not name the file");
    }
    unlink(path);
    return 0;
}
