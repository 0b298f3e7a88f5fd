/* A tokenizer's tables written as Hugging Face's are read again as the same, and bytes as a tokenizer. */
#include "dev/tests/check.h"
#include "dev/tests/folder.h"
#include "dev/tests/tokenizer_files.h"
#include "files/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check_written(const char *path)
{
    Error e;
    Tokenizer *t = open_tokenizer(path), *again;
    if (t == NULL || !check(tokenizer_write(t, folder, &e) == 0, "%s", e.text))
        return;
    again = open_tokenizer(folder);
    if (again != NULL)
        check(tokenizer_hash(again) == tokenizer_hash(t), "%s is another tokenizer when written", path);
    tokenizer_close(t);
    tokenizer_close(again);
}

static void test_tiny(void)
{
    check_written(TINY "vocab.json");
    check_written(TINY);
}

/* Of GPT-2's the merges are the published file, byte for byte. */
static void test_gpt2(void)
{
    char path[128], *own = NULL, *published = NULL;
    size_t size = 0, published_size = 1;
    Error e;
    const char *vocabulary = data_path("gpt2_encoder.json");
    if (vocabulary == NULL)
        return;
    check_written(vocabulary);
    check(files_read_all(in_folder("merges.txt", path), 1 << 24, &own, &size, &e) == 0, "%s", e.text);
    check(files_read_all(data_path("gpt2_vocab.bpe"), 1 << 24, &published, &published_size, &e) == 0, "%s", e.text);
    check(size == published_size && memcmp(own, published, size) == 0, "other merges");
    free(own);
    free(published);
}

static void test_bytes(void)
{
    Tokenizer *t;
    Encoder *encoder;
    TokenList list = {0};
    Error e;
    char text[512];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(i * 37);
    if (!check(tokenizer_of_bytes(&t, &e) == 0, "%s", e.text))
        return;
    check(tokenizer_is_bytes(t) && tokenizer_size(t) == 256 && tokenizer_endoftext(t) == -1, "not bytes");
    check(encoder_create(t, &encoder, &e) == 0 && encoder_encode(encoder, text, sizeof text, true, &list, &e) == 0,
          "%s", e.text);
    check(list.count == sizeof text, "%zu ids", list.count);
    for (size_t i = 0; i < list.count; i++)
        check(list.ids[i] == (unsigned char)text[i], "id %zu is %d", i, list.ids[i]);
    free(list.ids);
    encoder_free(encoder);
    tokenizer_close(t);
}

int main(void)
{
    if (!folder_begin("tokenizer_write"))
        return 1;
    check_run("a tiny vocabulary, written and read", test_tiny);
    check_run("GPT-2's vocabulary, written and read", test_gpt2);
    check_run("bytes", test_bytes);
    folder_end();
    return check_summary();
}
