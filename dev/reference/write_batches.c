/*
 * write_batches FILE TRAIN VOCABULARY SEED LENGTH BATCH COUNT: the first COUNT micro-batches that a run of one process
 * with --train TRAIN, or --text TRAIN if the vocabulary is 256, --seed SEED, --seq-len LENGTH and --batch-size BATCH
 * sees, as "tokens" and "targets" of COUNT x BATCH x LENGTH, for dev/reference/curves.py to train PyTorch on.
 */
#include "data/loader.h"
#include "data/tokens.h"
#include "files/safetensors.h"

#include <stdio.h>
#include <stdlib.h>

enum { BYTES = 256 };

static void check(int status, const Error *e)
{
    if (status == 0)
        return;
    fprintf(stderr, "write_batches: %s\n", e->text);
    exit(1);
}

static int32_t *allocate(size_t n)
{
    int32_t *p = calloc(n, sizeof *p);
    if (p == NULL) {
        fprintf(stderr, "write_batches: out of memory\n");
        exit(1);
    }
    return p;
}

/* A whole number from 1 to 2^20, or 0. */
static size_t read_size(const char *text)
{
    char *end = NULL;
    const unsigned long n = strtoul(text, &end, 10);
    return *end == '\0' && n <= 1 << 20 ? n : 0;
}

static Tokens *open_tokens(const char *name, size_t V)
{
    Tokens *train = NULL, *val = NULL;
    Error e;
    check(V == BYTES ? tokens_from_text(name, &train, &val, &e) : tokens_open(name, V, &train, &e), &e);
    tokens_close(val);
    return train;
}

static void read_batches(const Tokens *tokens, const LoaderConfig *config, size_t B, size_t count, int32_t *inputs,
                         int32_t *targets)
{
    Loader *loader;
    Error e;
    check(loader_create(tokens, config, 0, B, &loader, &e), &e);
    for (size_t i = 0; i < count; i++)
        check(loader_next(loader, B, inputs + i * B * config->T, targets + i * B * config->T, &e), &e);
    loader_free(loader);
}

static void write_file(const char *path, size_t count, size_t B, size_t T, const int32_t *inputs,
                       const int32_t *targets)
{
    const SafetensorsSpec specs[] = {{.name = "tokens", .dtype = DTYPE_I32, .rank = 3, .shape = {count, B, T}},
                                     {.name = "targets", .dtype = DTYPE_I32, .rank = 3, .shape = {count, B, T}}};
    const size_t bytes = count * B * T * sizeof *inputs;
    SafetensorsWriter *writer;
    Error e;
    check(safetensors_create(path, specs, 2, NULL, 0, &writer, &e), &e);
    check(safetensors_append(writer, inputs, bytes, &e), &e);
    check(safetensors_append(writer, targets, bytes, &e), &e);
    check(safetensors_finish(writer, NULL, &e), &e);
}

int main(int argc, char **argv)
{
    size_t n[5] = {0}; /* vocabulary, seed, length, batch, count */
    for (int i = 0; i < 5 && argc == 8; i++)
        n[i] = read_size(argv[3 + i]);
    if (n[0] == 0 || n[2] == 0 || n[3] == 0 || n[4] == 0) {
        fprintf(stderr, "usage: %s FILE TRAIN VOCABULARY SEED LENGTH BATCH COUNT\n", argv[0]);
        return 2;
    }
    const LoaderConfig config = {.T = n[2], .seed = n[1], .rank = 0, .world = 1};
    const size_t B = n[3], count = n[4];
    int32_t *inputs = allocate(count * B * config.T), *targets = allocate(count * B * config.T);
    Tokens *tokens = open_tokens(argv[2], n[0]);
    read_batches(tokens, &config, B, count, inputs, targets);
    write_file(argv[1], count, B, config.T, inputs, targets);
    tokens_close(tokens);
    free(inputs);
    free(targets);
    return 0;
}
