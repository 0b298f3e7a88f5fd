/* bench_tokenizer TOKENIZER TEXT...: how fast the tokenizer is on each text, on one core, in seconds of CPU time:
 * with an empty cache (cold), and with what the pass before left in it (warm). The best of ROUNDS; the checksum of
 * the ids is the sum of (i + 1) id_i. */
#include "data/tokenizer.h"
#include "files/files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROUNDS = 5, TEXT_MOST = 1 << 30 };

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Encodes once; *best becomes the least seconds so far. */
static int pass(Encoder *encoder, const char *text, size_t size, TokenList *list, double *best, Error *e)
{
    const double begin = cpu_seconds();
    list->count = 0;
    const int status = encoder_encode(encoder, text, size, false, list, e);
    *best = fmin(*best, cpu_seconds() - begin);
    return status;
}

static int bench(const Tokenizer *t, const char *path, Error *e)
{
    char *text;
    size_t size;
    TokenList list = {0};
    double cold = HUGE_VAL, warm = HUGE_VAL;
    int status = files_read_all(path, TEXT_MOST, &text, &size, e);
    for (size_t i = 0; status == 0 && i < ROUNDS; i++) {
        Encoder *encoder = NULL;
        status = encoder_create(t, &encoder, e);
        if (status == 0)
            status = pass(encoder, text, size, &list, &cold, e);
        if (status == 0)
            status = pass(encoder, text, size, &list, &warm, e);
        encoder_free(encoder);
    }
    uint64_t sum = 0;
    for (size_t i = 0; i < list.count; i++)
        sum += (i + 1) * (uint64_t)list.ids[i];
    if (status == 0)
        printf("%s: %zu bytes, %zu tokens, checksum %016llx, cold %.1f MB/s, warm %.1f MB/s\n", path, size, list.count,
               (unsigned long long)sum, 1e-6 * (double)size / cold, 1e-6 * (double)size / warm);
    free(list.ids);
    free(text);
    return status;
}

int main(int argc, char **argv)
{
    Tokenizer *t = NULL;
    Error e = {"usage: bench_tokenizer TOKENIZER TEXT..."};
    int status = argc > 2 ? tokenizer_open(argv[1], &t, &e) : -1;
    for (int i = 2; status == 0 && i < argc; i++)
        status = bench(t, argv[i], &e);
    tokenizer_close(t);
    if (status != 0)
        fprintf(stderr, "bench_tokenizer: %s\n", e.text);
    return status != 0;
}
