#include "dev/bench/bench_serve.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/threads.h"
#include "dev/bench/bench_peak.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static void check(int status, const Error *e)
{
    if (status == 0)
        return;
    fprintf(stderr, "bench: %s\n", e->text);
    exit(1);
}

static void *allocate(size_t bytes)
{
    void *p = malloc(bytes);
    if (p == NULL)
        exit(1);
    return p;
}

/* --------------------------------------------------------------------------------------------------------------
 * Training
 */

BenchTrainer bench_trainer_make(const BenchModel *model, const char *rule)
{
    enum { TEXT = 1 << 20 };
    BenchTrainer t = {.model = model};
    Error e;
    const size_t B = model->B, T = model->gpt.T;
    unsigned char *text = allocate(TEXT);
    t.inputs = allocate(B * T * sizeof *t.inputs);
    t.targets = allocate(B * T * sizeof *t.targets);
    Random random = random_make(1, 0);
    for (size_t i = 0; i < TEXT; i++)
        text[i] = (unsigned char)random_below(&random, 256);
    check(gpt_create(&model->gpt, &(GptSetup){.B = B, .T = T, .mode = GPT_TRAINING}, &t.gpt, &e), &e);
    check(gpt_init(t.gpt, 1, &e), &e);
    const GptTable *table = gpt_table(t.gpt);
    const Arenas arenas = gpt_arenas(t.gpt);
    check(optim_create(&(OptimConfig){.rule = rule}, table->tensors, table->count, &arenas, &t.optim, &e), &e);
    check(tokens_from_bytes("random", text, TEXT, &t.tokens, &e), &e);
    check(loader_create(t.tokens, &(LoaderConfig){.T = T, .seed = 1, .rank = 0, .world = 1}, 0, B, &t.loader, &e), &e);
    free(text);
    return t;
}

void bench_trainer_free(BenchTrainer *t)
{
    loader_free(t->loader);
    tokens_close(t->tokens);
    optim_free(t->optim);
    gpt_free(t->gpt);
    free(t->inputs);
    free(t->targets);
}

double bench_trainer_step(BenchTrainer *t)
{
    const size_t B = t->model->B, T = t->model->gpt.T;
    Error e;
    check(loader_next(t->loader, B, t->inputs, t->targets, &e), &e);
    const double begin = bench_cpu_seconds();
    gpt_forward(t->gpt, t->inputs, B, T);
    gpt_backward(t->gpt, t->targets, 1.0 / (double)(B * T), true);
    const double passes = bench_cpu_seconds() - begin;
    optim_grad_norm(t->optim, NULL);
    optim_step(t->optim, 1);
    return passes;
}

/* --------------------------------------------------------------------------------------------------------------
 * Muon on matrices alone
 */

enum { MATRICES_MOST = 64, SETS_MOST = 16 };

typedef struct Matrices {
    size_t rows, cols, count;
    Tensor tensors[MATRICES_MOST];
    Optim *optim;
} Matrices;

static void fill(float *x, size_t n, float scale)
{
    Random random = random_make(1, n);
    for (size_t i = 0; i < n; i++)
        x[i] = scale * ((float)random_uniform(&random) - 0.5f);
}

static void make_matrices(Matrices *m, size_t rows, size_t cols, size_t count)
{
    const size_t floats = rows * cols * count;
    float *params, *grads;
    Error e;
    *m = (Matrices){.rows = rows, .cols = cols, .count = count};
    for (size_t i = 0; i < count; i++) {
        m->tensors[i] =
            (Tensor){.role = ROLE_HIDDEN_MATRIX, .rows = rows, .cols = cols, .blocks = 1, .offset = i * rows * cols};
        snprintf(m->tensors[i].name, sizeof m->tensors[i].name, "matrix.%zu", i);
    }
    check(memory_floats(floats, "parameters", &params, &e), &e);
    check(memory_floats(floats, "gradients", &grads, &e), &e);
    fill(params, floats, 0.02f);
    fill(grads, floats, 1);
    const Arenas arenas = {.params = params, .grads = grads};
    check(optim_create(&(OptimConfig){.rule = "muon"}, m->tensors, count, &arenas, &m->optim, &e), &e);
}

/* The set of that shape and size, which stays until the program ends. */
static Matrices *find_matrices(size_t rows, size_t cols, size_t count)
{
    static Matrices sets[SETS_MOST];
    Matrices *m = sets;
    for (; m < sets + SETS_MOST && m->count != 0; m++)
        if (m->rows == rows && m->cols == cols && m->count == count)
            return m;
    if (m == sets + SETS_MOST || count == 0 || count > MATRICES_MOST)
        exit(2);
    make_matrices(m, rows, cols, count);
    return m;
}

/* --------------------------------------------------------------------------------------------------------------
 * Turns
 */

typedef struct Turn {
    BenchTrainer *trainer; /* or NULL */
    Matrices *matrices;
    size_t position;
    float *logits;
    double passes;
} Turn;

/* What a task repeats; returns how much it did. */
typedef double Work(Turn *turn);

static double do_step(Turn *turn)
{
    turn->passes += bench_trainer_step(turn->trainer);
    return (double)(turn->trainer->model->B * turn->trainer->model->gpt.T);
}

static double do_decode(Turn *turn)
{
    gpt_decode(turn->trainer->gpt, (int32_t)(turn->position % 256), turn->position, turn->logits);
    turn->position = (turn->position + 1) % turn->trainer->model->gpt.T;
    return 1;
}

static double do_muon(Turn *turn)
{
    optim_step(turn->matrices->optim, 1);
    return 1;
}

static void answer(double count, double wall, double cpu, double passes)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"count\": %g, \"wall\": %.9f, \"cpu\": %.9f, \"passes\": %.9f, \"rss\": %.0f}\n", count, wall, cpu,
           passes, (double)usage.ru_maxrss * 1024);
    fflush(stdout);
}

static void repeat(Work *work, Turn *turn, double seconds)
{
    const double begin = clock_seconds(), cpu = bench_cpu_seconds();
    double count = 0;
    do
        count += work(turn);
    while (clock_seconds() < begin + seconds);
    answer(count, clock_seconds() - begin, bench_cpu_seconds() - cpu, turn->passes);
}

static void serve_line(const char *line, BenchTrainer *trainer, float *logits)
{
    Turn turn = {.trainer = trainer, .logits = logits};
    size_t rows, cols, count, threads;
    double seconds;
    if (sscanf(line, "muon %zu %zu %zu %zu %lf", &rows, &cols, &count, &threads, &seconds) == 5) {
        threads_set(threads);
        turn.matrices = find_matrices(rows, cols, count);
        repeat(do_muon, &turn, seconds);
    } else if (sscanf(line, "peak %zu %lf", &threads, &seconds) == 2) {
        threads_set(threads);
        const BenchPeak peak = bench_fma_peak();
        answer(1, 1 / peak.gflops, 1 / peak.gflops_per_cpu_second, 0);
    } else if (trainer != NULL && sscanf(line, "step %zu %lf", &threads, &seconds) == 2) {
        threads_set(threads);
        repeat(do_step, &turn, seconds);
    } else if (trainer != NULL && sscanf(line, "decode %zu %lf", &threads, &seconds) == 2) {
        threads_set(threads);
        repeat(do_decode, &turn, seconds);
    } else {
        fprintf(stderr, "bench: there is no task '%s'\n", line);
        exit(2);
    }
}

void bench_serve(const BenchModel *model)
{
    char line[256];
    BenchTrainer trainer, *t = NULL;
    float *logits = NULL;
    if (model != NULL) {
        trainer = bench_trainer_make(model, "adamw");
        t = &trainer;
        logits = allocate(model->gpt.V * sizeof *logits);
    }
    while (fgets(line, sizeof line, stdin) != NULL)
        serve_line(line, t, logits);
    free(logits);
    if (t != NULL)
        bench_trainer_free(t);
}
