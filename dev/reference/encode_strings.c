/* encode_strings TOKENIZER: for each string on stdin, its bytes in 32 bits (little-endian) and then them, writes its
 * ids to stdout: their number and each in 32 bits. */
#include "data/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>

static void put(uint32_t number)
{
    for (size_t i = 0; i < 4; i++)
        putchar((int)(number >> 8 * i & 0xff));
}

/* The number of bytes of the next string; false at the end. */
static bool get(size_t *number)
{
    unsigned char bytes[4];
    if (fread(bytes, 1, sizeof bytes, stdin) < sizeof bytes)
        return false;
    *number = (size_t)bytes[0] | (size_t)bytes[1] << 8 | (size_t)bytes[2] << 16 | (size_t)bytes[3] << 24;
    return true;
}

int main(int argc, char **argv)
{
    Tokenizer *t = NULL;
    Encoder *encoder = NULL;
    TokenList list = {0};
    Error e = {"usage: encode_strings TOKENIZER < strings > ids"};
    int status = argc == 2 && tokenizer_open(argv[1], &t, &e) == 0 && encoder_create(t, &encoder, &e) == 0 ? 0 : -1;
    char *text = NULL;
    for (size_t size; status == 0 && get(&size); list.count = 0) {
        free(text);
        text = malloc(size + 1);
        if (text == NULL || fread(text, 1, size, stdin) < size)
            status = error_set(&e, "a string of %zu bytes is cut short or too long", size);
        else
            status = encoder_encode(encoder, text, size, false, &list, &e);
        for (size_t i = 0; status == 0 && i <= list.count; i++)
            put(i == 0 ? (uint32_t)list.count : (uint32_t)list.ids[i - 1]);
    }
    if (status != 0)
        fprintf(stderr, "encode_strings: %s\n", e.text);
    free(text);
    free(list.ids);
    encoder_free(encoder);
    tokenizer_close(t);
    return status != 0 || fflush(stdout) != 0;
}
