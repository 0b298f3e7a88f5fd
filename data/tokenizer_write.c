/* A tokenizer as files of Hugging Face. */
#include "data/tokenizer_private.h"
#include "files/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The character that stands for a byte there: the inverse of what tokenizer_files.c reads. */
static uint32_t character_of(unsigned char byte)
{
    if ((byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad))
        return byte;
    if (byte <= 0x20)
        return 0x100u + byte;
    return byte == 0xad ? 0x143u : 0x121u + byte - 0x7fu;
}

static void write_characters(FILE *to, const Tokenizer *t, size_t id, bool json)
{
    const Token *token = &t->tokens[id];
    for (size_t i = 0; i < token->size; i++) {
        const uint32_t code = character_of((unsigned char)t->bytes[token->begin + i]);
        if (json && (code == '"' || code == '\\'))
            fputc('\\', to);
        if (code < 0x80)
            fputc((int)code, to);
        else
            fprintf(to, "%c%c", (int)(0xc0 | code >> 6), (int)(0x80 | (code & 0x3f)));
    }
}

static void write_vocabulary(FILE *to, const void *tokenizer)
{
    const Tokenizer *t = tokenizer;
    for (size_t id = 0; id < t->V; id++) {
        fputs(id == 0 ? "{\"" : ", \"", to);
        write_characters(to, t, id, true);
        fprintf(to, "\": %zu", id);
    }
    fputs("}\n", to);
}

static void write_merges(FILE *to, const void *tokenizer)
{
    const Tokenizer *t = tokenizer;
    const BpeMerge *merges = bpe_merges(t->bpe);
    fputs("#version: 0.2\n", to);
    for (size_t rank = 0; rank < bpe_count(t->bpe); rank++) {
        write_characters(to, t, merges[rank].left, false);
        fputc(' ', to);
        write_characters(to, t, merges[rank].right, false);
        fputc('\n', to);
    }
}

static void write_config(FILE *to, const void *tokenizer)
{
    (void)tokenizer;
    static const char token[] = TOKENIZER_ENDOFTEXT;
    fprintf(to,
            "{\n"
            "  \"tokenizer_class\": \"GPT2Tokenizer\",\n"
            "  \"bos_token\": \"%s\",\n"
            "  \"eos_token\": \"%s\",\n"
            "  \"unk_token\": \"%s\",\n"
            "  \"add_prefix_space\": false\n"
            "}\n",
            token, token, token);
}

static int write_file(const Tokenizer *t, const char *directory, const char *name, void (*print)(FILE *, const void *),
                      Error *e)
{
    char path[4096];
    if ((size_t)snprintf(path, sizeof path, "%s/%s", directory, name) >= sizeof path)
        return error_set(e, "%s: the path is too long", directory);
    return files_print_atomic(path, print, t, e);
}

int tokenizer_write(const Tokenizer *t, const char *directory, Error *e)
{
    return write_file(t, directory, "vocab.json", write_vocabulary, e) != 0 ||
                   write_file(t, directory, "merges.txt", write_merges, e) != 0 ||
                   write_file(t, directory, "tokenizer_config.json", write_config, e) != 0
               ? -1
               : 0;
}
