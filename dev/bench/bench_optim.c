/*
 * The benchmark behind `make bench-optim`: one step of every rule over the hidden matrices of GPT-2 124M (84.9M
 * parameters), against AdamW's step and against the least that the machine could need: the bytes an elementwise rule
 * moves at memory bandwidth, or the FLOPs of a matrix rule at the rate of this program's sgemm. All in one run.
 *
 *   bench_optim [--only RULE] [--markdown]     --markdown: the table of optim/README.md
 *   bench_optim --least                        nothing is timed: those bytes and FLOPs of every rule, as CSV
 *
 * Rules whose roots or bases are renewed at intervals are timed on one block of the twelve, with and without that, and
 * reported for twelve blocks with the renewal spread over its interval; so are, as they are, others that take long.
 */
#include "base/clock.h"
#include "base/matmul.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/threads.h"
#include "dev/bench/bench_peak.h"
#include "gpt/gpt.h"
#include "optim/optim.h"
#include "optim/rule.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 12, REPEATS = 5, REPEATS_MOST = 32, TENSORS_MOST = 4 * BLOCKS };
static const double LONG_ENOUGH = 6; /* seconds of measured steps */

static void fail(const char *sentence)
{
    fprintf(stderr, "bench_optim: %s\n", sentence);
    exit(1);
}

/* --------------------------------------------------------------------------------------------------------------
 * Measuring
 */

typedef struct Arena {
    Tensor tensors[TENSORS_MOST];
    size_t count, floats;
    float *params, *grads;
} Arena;

/* The hidden matrices of `blocks` blocks, by kind. */
static Arena make_arena(size_t blocks)
{
    static const size_t shapes[][3] = {{2304, 768, 3}, {768, 768, 1}, {3072, 768, 1}, {768, 3072, 1}};
    Arena a = {.count = 0};
    Error e;
    for (size_t kind = 0; kind < 4; kind++) {
        for (size_t b = 0; b < blocks; b++) {
            Tensor *t = &a.tensors[a.count++];
            *t = (Tensor){.role = ROLE_HIDDEN_MATRIX,
                          .rows = shapes[kind][0],
                          .cols = shapes[kind][1],
                          .blocks = shapes[kind][2],
                          .offset = a.floats};
            snprintf(t->name, sizeof t->name, "h.%zu.%zu", b, kind);
            a.floats += tensor_size(t);
        }
    }
    if (memory_floats(a.floats, "parameters", &a.params, &e) != 0 ||
        memory_floats(a.floats, "gradients", &a.grads, &e) != 0)
        fail(e.text);
    Random random = random_make(1, 0);
    for (size_t i = 0; i < a.floats; i++) {
        a.params[i] = 0.02f * ((float)random_uniform(&random) - 0.5f);
        a.grads[i] = (float)random_uniform(&random) - 0.5f;
    }
    return a;
}

static void free_arena(Arena *a)
{
    memory_free(a->params);
    memory_free(a->grads);
}

typedef struct Result {
    double seconds;
    double state; /* floats a parameter */
    double workspace_mib;
} Result;

/* The median of a few steps after a first, fewer if they are long; `refresh` is set where the rule has it. */
static Result measure(const char *rule, const Arena *a, size_t refresh, size_t repeats)
{
    OptimConfig config = {.rule = rule, .steps = 100};
    Optim *optim;
    Error e;
    double seconds[REPEATS_MOST];
    if (refresh > 0)
        hyper_set(&config.hyper, HYPER_REFRESH, (double)refresh);
    if (strcmp(rule, "adam-cpr") == 0) /* its penalty begins after the warmup */
        hyper_set(&config.hyper, HYPER_CPR_WARMUP, 1);
    if (optim_create(&config, a->tensors, a->count, &(Arenas){.params = a->params, .grads = a->grads}, &optim, &e) != 0)
        fail(e.text);
    size_t measured = 0;
    double spent = 0;
    for (bool first = true; measured < repeats && spent < LONG_ENOUGH; first = false) {
        optim_begin(optim, 1e-6, 1e-6);
        const double begin = clock_seconds();
        optim_step(optim, 1);
        if (!first)
            spent += seconds[measured++] = clock_seconds() - begin;
    }
    const OptimGroupInfo info = optim_group_info(optim, 0);
    const Result result = {
        .seconds = bench_median(seconds, measured),
        .state = (double)info.state_floats / (double)info.parameters,
        .workspace_mib = ((double)optim_memory(optim) - 4 * (double)info.state_floats) / 0x1p20,
    };
    optim_free(optim);
    return result;
}

/* The rate of this program's products on the shapes of Newton-Schulz, by the median. */
static double sgemm_rate(void)
{
    static const size_t shapes[][3] = {{768, 768, 768}, {768, 3072, 768}, {768, 768, 3072}};
    double flops = 0, seconds = 0;
    for (size_t i = 0; i < 3; i++) {
        const size_t m = shapes[i][0], n = shapes[i][1], k = shapes[i][2];
        float *a, *b, *c;
        Error e;
        if (memory_floats(m * k, "a", &a, &e) != 0 || memory_floats(k * n, "b", &b, &e) != 0 ||
            memory_floats(m * n, "c", &c, &e) != 0)
            fail(e.text);
        for (size_t j = 0; j < m * k; j++)
            a[j] = 0.5f;
        for (size_t j = 0; j < k * n; j++)
            b[j] = 0.25f;
        double times[REPEATS_MOST];
        for (size_t repeat = 0; repeat < REPEATS_MOST; repeat++) {
            const double begin = clock_seconds();
            matmul(&(Matmul){.m = m, .n = n, .k = k, .alpha = 1, .a = a, .lda = k, .b = b, .ldb = n, .c = c, .ldc = n});
            times[repeat] = clock_seconds() - begin;
        }
        flops += 2 * (double)m * (double)n * (double)k;
        seconds += bench_median(times, REPEATS_MOST);
        memory_free(a);
        memory_free(b);
        memory_free(c);
    }
    return flops / seconds;
}

/* --------------------------------------------------------------------------------------------------------------
 * The table
 */

/* What a step cannot do without: bytes of an elementwise rule, FLOPs of others; the other is 0. */
typedef struct Least {
    double bytes, flops;
} Least;

static Least least_of(const OptimRule *rule, const Arena *all)
{
    Optim *plan;
    Error e;
    if (optim_create(&(OptimConfig){.rule = rule->name, .steps = 100}, all->tensors, all->count, NULL, &plan, &e) != 0)
        fail(e.text);
    const OptimGroupInfo hidden = optim_group_info(plan, 0);
    optim_free(plan);
    if (hidden.flops > 0)
        return (Least){.flops = hidden.flops};
    /* p and each state are read and written, g is read; where the norm of all must be known before the end, the step is
     * written and read again with p, or p is read, and read and written again; where a norm of what is to be averaged
     * must, or how much of a step is left, that is written and read again */
    const bool twice = rule->keeps_norm || rule->defaults.at[HYPER_CPR_WARMUP].set;
    const bool waits = rule->defaults.at[HYPER_MARS_GAMMA].set || (rule->step != NULL && !rule->matrices_only);
    const double again = twice ? 12 : waits ? 8 : 0;
    return (Least){.bytes = (12 + again) * (double)hidden.parameters + 8 * (double)hidden.state_floats};
}

static void print_least(const Arena *all)
{
    printf("rule,bytes,flops\n");
    for (size_t i = 0; optim_rule(i) != NULL; i++) {
        const Least least = least_of(optim_rule(i), all);
        printf("%s,%.4g,%.4g\n", optim_rule_name(i), least.bytes, least.flops);
    }
}

typedef struct Row {
    const OptimRule *rule;
    Result result;
    double floor; /* seconds */
    double flops; /* 0: elementwise */
} Row;

static Row measure_row(const OptimRule *rule, const Arena *all, const Arena *block, double bandwidth, double rate)
{
    Row row = {.rule = rule};
    if (!rule->defaults.at[HYPER_REFRESH].set) {
        row.result = measure(rule->name, block, 0, 1);
        const bool is_long = BLOCKS * row.result.seconds > 2 * LONG_ENOUGH;
        row.result = measure(rule->name, is_long ? block : all, 0, REPEATS);
        row.result.seconds *= is_long ? BLOCKS : 1;
    } else {
        const double interval = hyper(&rule->defaults, HYPER_REFRESH);
        const Result plain = measure(rule->name, block, 1000000, REPEATS), renewing = measure(rule->name, block, 1, 1);
        row.result = plain;
        row.result.seconds = BLOCKS * (plain.seconds + (renewing.seconds - plain.seconds) / interval);
    }
    const Least least = least_of(rule, all);
    row.flops = least.flops;
    row.floor = least.bytes / bandwidth + least.flops / rate;
    return row;
}

static void print_row(const Row *row, double adamw, bool markdown)
{
    const double milliseconds = 1e3 * row->result.seconds, over = row->result.seconds / row->floor;
    char flops[32] = "";
    if (row->flops > 0)
        snprintf(flops, sizeof flops, "%.0f", row->flops * 1e-9);
    printf(markdown ? "| `%s` | %s | %.2f | %.0f | %.0f | %.1f | %s | %.2f |\n"
                    : "%-14s %-45.45s %6.2f %9.0f %10.0f %8.1f %9s %7.2f\n",
           row->rule->name, row->rule->source, row->result.state, row->result.workspace_mib, milliseconds,
           row->result.seconds / adamw, flops, over);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    const char *only = NULL;
    bool markdown = false, only_least = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--markdown") == 0)
            markdown = true;
        else if (strcmp(argv[i], "--least") == 0)
            only_least = true;
        else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
            only = argv[++i];
        else {
            fprintf(stderr, "bench_optim: '%s' is none of --markdown, --least and --only RULE\n", argv[i]);
            return 2;
        }
    }
    matmul_init();
    Arena all = make_arena(BLOCKS), block = make_arena(1);
    if (only_least) {
        print_least(&all);
        free_arena(&all);
        free_arena(&block);
        return 0;
    }
    const double bandwidth = bench_memory_bandwidth(), rate = sgemm_rate();
    printf("%zu threads, memory %.1f GB/s, products %.1f GFLOP/s, %s; one step over %zu hidden parameters\n\n",
           threads_count(), bandwidth * 1e-9, rate * 1e-9, matmul_backend(), all.floats);
    if (matmul_missed_core() != NULL)
        printf("train_gpt would run with OPENBLAS_CORETYPE=%s here: OpenBLAS does not know this CPU\n\n",
               matmul_missed_core());
    const Row adamw = measure_row(&optim_adamw, &all, &block, bandwidth, rate);
    printf(markdown ? "| %s | %s | %s | %s | %s | %s | %s | %s |\n" : "%-14s %-45s %6s %9s %10s %8s %9s %7s\n", "rule",
           "source", "state", "work MiB", "ms", "x AdamW", "GFLOP", "x floor");
    printf(markdown ? "|---|---|---:|---:|---:|---:|---:|---:|\n" : "");
    for (size_t i = 0; optim_rule(i) != NULL; i++) {
        if (only != NULL && strcmp(only, optim_rule(i)->name) != 0)
            continue;
        const Row row = measure_row(optim_rule(i), &all, &block, bandwidth, rate);
        print_row(&row, adamw.result.seconds, markdown);
    }
    printf("\nstate: floats a parameter. floor: bytes at the memory's bandwidth or, where GFLOP stands, those at the "
           "rate of the "
           "products\n");
    free_arena(&all);
    free_arena(&block);
    return 0;
}
