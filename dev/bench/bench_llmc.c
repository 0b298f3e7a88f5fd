/*
 * llm.c's side of the benchmark: its functions on a model of the given sizes, random weights and tokens. train_gpt2.c
 * is llm.c's own, from the folder that `make bench LLMC=DIR` names, compiled with llm.c's flags.
 *
 *   bench_llmc LAYERS HEADS WIDTH VOCAB T B      then requests as in bench_rivals.h; the only task is "step"
 */
#define TESTING /* llm.c: no main */
#include "train_gpt2.c"

#include <sys/resource.h>

static double seconds_of(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* As gpt2_build_from_checkpoint, without a file. */
static void build(GPT2 *model, char **sizes)
{
    const int V = atoi(sizes[3]);
    *model = (GPT2){.config = {.num_layers = atoi(sizes[0]),
                               .num_heads = atoi(sizes[1]),
                               .channels = atoi(sizes[2]),
                               .vocab_size = V,
                               .padded_vocab_size = (V + 127) / 128 * 128,
                               .max_seq_len = atoi(sizes[4])}};
    fill_in_parameter_sizes(model->param_sizes, model->config);
    for (int i = 0; i < NUM_PARAMETER_TENSORS; i++)
        model->num_parameters += model->param_sizes[i];
    model->params_memory = malloc_and_point_parameters(&model->params, model->param_sizes);
    for (size_t i = 0; i < model->num_parameters; i++)
        model->params_memory[i] = 0.02f * ((float)rand() / (float)RAND_MAX - 0.5f);
}

/* Returns the CPU seconds of forward and backward pass. */
static double step(GPT2 *model, int *tokens, int B, int T, int number)
{
    for (int i = 0; i < B * T + 1; i++)
        tokens[i] = rand() % model->config.vocab_size;
    const double begin = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    gpt2_forward(model, tokens, tokens + 1, (size_t)B, (size_t)T);
    gpt2_zero_grad(model);
    gpt2_backward(model);
    const double passes = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - begin;
    gpt2_update(model, 3e-4f, 0.9f, 0.95f, 1e-8f, 0.1f, number);
    return passes;
}

int main(int argc, char **argv)
{
    char line[256];
    GPT2 model;
    int threads, number = 0;
    double seconds;
    if (argc != 7)
        return 2;
    const int T = atoi(argv[5]), B = atoi(argv[6]);
    build(&model, argv + 1);
    int *tokens = mallocCheck((size_t)(B * T + 1) * sizeof *tokens);
    while (fgets(line, sizeof line, stdin) != NULL && sscanf(line, "step %d %lf", &threads, &seconds) == 2) {
        const double begin = seconds_of(CLOCK_MONOTONIC), cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
        double passes = 0;
        size_t count = 0;
        omp_set_num_threads(threads);
        do {
            passes += step(&model, tokens, B, T, ++number);
            count += (size_t)(B * T);
        } while (seconds_of(CLOCK_MONOTONIC) < begin + seconds);
        struct rusage usage;
        getrusage(RUSAGE_SELF, &usage);
        printf("{\"count\": %zu, \"wall\": %.9f, \"cpu\": %.9f, \"passes\": %.9f, \"rss\": %.0f}\n", count,
               seconds_of(CLOCK_MONOTONIC) - begin, seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu, passes,
               (double)usage.ru_maxrss * 1024);
        fflush(stdout);
    }
    gpt2_free(&model);
    free(tokens);
    return 0;
}
