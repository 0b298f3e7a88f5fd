/*
 * What architectures cost: forward and backward pass of the records' models beside classic GPT-2 of the same size, in
 * FLOPs of products and attention per second. Rounds alternate, so that all meet the same machine; medians and their
 * ratio to classic's.
 *
 *   bench_models [--rounds N] [SIZE]      SIZE: nano or gpt2; otherwise both
 */
#include "base/clock.h"
#include "base/random.h"
#include "gpt/gpt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS_MOST = 101, WARMUP = 2 };

static const struct {
    const char *name;
    GptConfig sizes;
    size_t B;
} sizes[] = {
    {"nano", {.T = 256, .V = 256, .L = 5, .NH = 4, .C = 128}, 8},
    {"gpt2", {.T = 256, .V = 50304, .L = 12, .NH = 6, .C = 768}, 2},
};

#define NO_BIASES .attention_bias = GPT_ATTENTION_BIAS_NONE, .mlp_bias = GPT_MLP_BIAS_OFF

static const struct {
    const char *name;
    GptConfig choices;
} models[] = {
    {"classic", {0}},
    {"record-2",
     {.positions = GPT_ROTARY,
      .norm = GPT_RMSNORM_NO_GAIN,
      .value_scale = 0.2,
      .activation = GPT_GELU_EXACT,
      NO_BIASES}},
    {"record-5",
     {.positions = GPT_ROTARY,
      .norm = GPT_RMSNORM_NO_GAIN,
      .qk_norm = GPT_QK_NORM_ON,
      .activation = GPT_RELU2,
      NO_BIASES}},
    {"track 3",
     {.positions = GPT_ROTARY_HALF,
      .norm = GPT_RMSNORM,
      .embed_norm = GPT_EMBED_NORM_ON,
      .qk_norm = GPT_QK_NORM_ON,
      .attention_scale = 0.12,
      .activation = GPT_RELU2,
      .head = GPT_UNTIED_BIAS,
      .softcap = GPT_SOFTCAP_SQRT}},
    {"llama", {.positions = GPT_ROTARY, .norm = GPT_RMSNORM, .activation = GPT_SWIGLU, .head = GPT_UNTIED, NO_BIASES}},
};

enum { SIZES = sizeof sizes / sizeof *sizes, MODELS = sizeof models / sizeof *models };

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, size_t n)
{
    qsort(x, n, sizeof *x, by_value);
    return x[n / 2];
}

static Gpt *make_model(size_t size, size_t model)
{
    GptConfig c = models[model].choices;
    Gpt *gpt;
    Error e;
    c.T = sizes[size].sizes.T;
    c.V = sizes[size].sizes.V;
    c.L = sizes[size].sizes.L;
    c.NH = sizes[size].sizes.NH;
    c.C = sizes[size].sizes.C;
    if (gpt_create(&c, &(GptSetup){.B = sizes[size].B, .T = c.T, .mode = GPT_TRAINING}, &gpt, &e) != 0 ||
        gpt_init(gpt, 1, &e) != 0) {
        fprintf(stderr, "bench_models: %s\n", e.text);
        exit(1);
    }
    return gpt;
}

/* Seconds of a forward and a backward pass. */
static double time_pass(Gpt *gpt, const int32_t *tokens, size_t B, size_t T)
{
    const double begin = clock_seconds();
    gpt_forward(gpt, tokens, B, T);
    gpt_backward(gpt, tokens, 1.0 / (double)(B * T), true);
    return clock_seconds() - begin;
}

static void run_size(size_t size, size_t rounds)
{
    const size_t B = sizes[size].B, T = sizes[size].sizes.T;
    static double seconds[MODELS][ROUNDS_MOST], ratios[MODELS][ROUNDS_MOST], rates[MODELS][ROUNDS_MOST];
    int32_t *tokens = malloc(B * T * sizeof *tokens);
    Gpt *gpts[MODELS];
    Random random = random_make(1, 1);
    if (tokens == NULL)
        exit(1);
    for (size_t i = 0; i < B * T; i++)
        tokens[i] = (int32_t)random_below(&random, sizes[size].sizes.V);
    for (size_t m = 0; m < MODELS; m++)
        gpts[m] = make_model(size, m);
    for (size_t round = 0; round < rounds + WARMUP; round++)
        for (size_t m = 0; m < MODELS; m++)
            seconds[m][round < WARMUP ? 0 : round - WARMUP] = time_pass(gpts[m], tokens, B, T);
    printf("%s, B=%zu T=%zu, %zu rounds\n%-10s %9s %12s %10s %12s\n", sizes[size].name, B, T, rounds, "", "tokens/s",
           "GFLOP/token", "GFLOP/s", "of classic's");
    for (size_t m = 0; m < MODELS; m++) {
        const double flops = gpt_flops_per_token(gpt_config(gpts[m]), T);
        const double classic = gpt_flops_per_token(gpt_config(gpts[0]), T);
        for (size_t i = 0; i < rounds; i++) {
            rates[m][i] = (double)(B * T) / seconds[m][i];
            ratios[m][i] = flops / seconds[m][i] / (classic / seconds[0][i]);
        }
        const double rate = median(rates[m], rounds);
        printf("%-10s %9.0f %12.4f %10.1f %12.3f\n", models[m].name, rate, 1e-9 * flops, 1e-9 * flops * rate,
               median(ratios[m], rounds));
    }
    for (size_t m = 0; m < MODELS; m++)
        gpt_free(gpts[m]);
    free(tokens);
}

int main(int argc, char **argv)
{
    size_t rounds = 11;
    const char *only = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc)
            rounds = strtoul(argv[++i], NULL, 10);
        else
            only = argv[i];
    }
    if (rounds < 1 || rounds > ROUNDS_MOST)
        return fprintf(stderr, "bench_models: usage: bench_models [--rounds 1 .. %d] [nano|gpt2]\n", ROUNDS_MOST), 2;
    printf("%s\n", gpt_device());
    for (size_t size = 0; size < SIZES; size++)
        if (only == NULL || strcmp(only, sizes[size].name) == 0)
            run_size(size, rounds);
    return 0;
}
