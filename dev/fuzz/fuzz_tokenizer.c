/*
 * A libFuzzer entry for the tokenizer's files: the input is a vocabulary, a line of dashes and a list of merges, or
 * else ranks. Whatever the bytes, opening them either fails with a sentence that names a file or gives a tokenizer
 * whose ids of the input itself decode to it.
 */
#include "data/tokenizer.h"
#include "files/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "fuzz_tokenizer: %s\n", what);
        abort();
    }
}

static void round_trip(const Tokenizer *t, const char *text, size_t size)
{
    Encoder *encoder;
    TokenList list = {0};
    Error e;
    size_t at = 0;
    require(encoder_create(t, &encoder, &e) == 0 && encoder_encode(encoder, text, size, true, &list, &e) == 0,
            "a text was refused");
    for (size_t i = 0; i < list.count; i++) {
        const char *bytes;
        size_t n;
        require(tokenizer_token(t, list.ids[i], &bytes, &n, &e) == 0, "an id has no bytes");
        require(n <= size - at && memcmp(text + at, bytes, n) == 0, "the ids decode to another text");
        at += n;
    }
    require(at == size, "the ids decode to a part of the text");
    free(list.ids);
    encoder_free(encoder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char dashes[] = "\n---\n";
    char folder[] = "/tmp/fuzz_tokenizer_XXXXXX", path[64];
    const char *text = (const char *)data;
    const size_t length = sizeof dashes - 1;
    size_t at = 0;
    Error e = {""};
    Tokenizer *t;
    require(mkdtemp(folder) != NULL, "no temporary folder");
    while (at + length <= size && memcmp(text + at, dashes, length) != 0)
        at++;
    const int is_pair = at + length <= size;
    snprintf(path, sizeof path, "%s/%s", folder, is_pair ? "merges.txt" : "x.tiktoken");
    require(files_write_atomic(path, is_pair ? text + at + length : text, is_pair ? size - at - length : size, &e) == 0,
            e.text);
    snprintf(path, sizeof path, "%s/vocab.json", folder);
    require(!is_pair || files_write_atomic(path, text, at, &e) == 0, e.text);
    if (tokenizer_open(folder, &t, &e) == 0) {
        round_trip(t, text, size);
        tokenizer_close(t);
    } else
        require(strncmp(e.text, folder, strlen(folder)) == 0, "the error does not name a file");
    require(files_remove_tree(folder, &e) == 0, e.text);
    return 0;
}
