/*
 * The benchmark behind `make bench`: training steps, Muon's step, decoding and matrix products, beside PyTorch and
 * llm.c. All that is compared takes turns within one run, and a ratio is the median over the rounds of what it was in
 * one round: other load on the machine comes and goes. On two quiet cores it takes some ten minutes.
 *
 *   bench --help                       the options
 *   bench --serve MODEL|muon           this project's side of it, as bench_rivals.h describes
 */
#include "base/threads.h"
#include "dev/bench/bench_peak.h"
#include "dev/bench/bench_products.h"
#include "dev/bench/bench_rivals.h"
#include "dev/bench/bench_serve.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const BenchModel models[] = {
    {"nano", {.T = 256, .V = 256, .L = 5, .NH = 4, .C = 128}, 8},
    {"small", {.T = 256, .V = 1024, .L = 4, .NH = 4, .C = 256}, 8},
    {"gpt2", {.T = 256, .V = 50257, .L = 12, .NH = 12, .C = 768}, 4},
    {"wide", {.T = 256, .V = 50257, .L = 2, .NH = 2, .C = 96}, 4},
};
enum { MODELS = sizeof models / sizeof *models };

enum { OURS, EAGER, COMPILED, LLMC, RIVALS };
static const char *const rival_names[RIVALS] = {"train_gpt", "PyTorch", "torch.compile", "llm.c"};

typedef enum { STEPS, MUON, DECODING, NEIGHBOURS, PRODUCTS, TABLES } Table;
static const char *const table_names[TABLES] = {"steps", "muon", "decoding", "neighbours", "products"};

enum { THREADS_KINDS = 4, ROUNDS_MOST = 31, COMMAND_MOST = 1024 };

static struct {
    const char *self;
    bool model[MODELS], table[TABLES];
    size_t threads[THREADS_KINDS], threads_kinds, threads_present;
    size_t rounds, neighbours;
    double seconds;
} asked = {.rounds = 3, .neighbours = 2, .seconds = 0.5};

/* --------------------------------------------------------------------------------------------------------------
 * Figures
 */

static double rate(const Sample *s) { return s->count / s->wall; }
static double cpu_rate(const Sample *s) { return s->count / s->cpu; }
static double passes_rate(const Sample *s) { return s->count / s->passes; }

/* The median over the rounds of a figure of x or, where y is not NULL, of its ratio to a figure of y. */
static double median(const Sample *x, double (*of_x)(const Sample *), const Sample *y, double (*of_y)(const Sample *))
{
    double values[ROUNDS_MOST];
    for (size_t i = 0; i < asked.rounds; i++)
        if (isnan(values[i] = of_x(&x[i]) / (y != NULL ? of_y(&y[i]) : 1)))
            return (double)NAN; /* it ended in one of the rounds */
    return bench_median(values, asked.rounds);
}

/* " %*.*f", or a dash for what was not measured. */
static void cell(int width, int decimals, double x)
{
    if (isnan(x))
        printf(" %*s", width, "-");
    else
        printf(" %*.*f", width, decimals, x);
}

/* --------------------------------------------------------------------------------------------------------------
 * A model's rounds
 */

typedef Sample Series[RIVALS][THREADS_KINDS][ROUNDS_MOST];

static struct {
    Series steps, crowded, decoding;
    Sample peak[THREADS_KINDS][ROUNDS_MOST];
} results[MODELS];

/* Neighbours are met by models whose steps are short: there it is that threads wait most. */
static bool meets_neighbours(size_t m)
{
    return asked.table[NEIGHBOURS] && models[m].gpt.C <= 256 && models[m].gpt.V < 50257;
}

static void start_rivals(const BenchModel *model, Rival rivals[RIVALS])
{
    const char *torch = getenv("BENCH_TORCH"), *llmc = getenv("BENCH_LLMC");
    const GptConfig *c = &model->gpt;
    const size_t most = asked.threads[asked.threads_kinds - 1];
    char command[COMMAND_MOST];
    snprintf(command, sizeof command, "'%s' --serve %s", asked.self, model->name);
    rivals[OURS] = rival_start(rival_names[OURS], command, most);
    for (size_t i = EAGER; i < RIVALS; i++)
        rivals[i] = (Rival){.name = rival_names[i]};
    for (size_t i = EAGER; torch != NULL && i <= COMPILED; i++) {
        snprintf(command, sizeof command,
                 "%s --layers %zu --heads %zu --width %zu --vocab %zu --seq-len %zu --batch %zu%s", torch, c->L, c->NH,
                 c->C, c->V, c->T, model->B, i == COMPILED ? " --compile" : "");
        rivals[i] = rival_start(rival_names[i], command, most);
    }
    if (llmc != NULL) {
        snprintf(command, sizeof command, "'%s' %zu %zu %zu %zu %zu %zu", llmc, c->L, c->NH, c->C, c->V, c->T,
                 model->B);
        rivals[LLMC] = rival_start(rival_names[LLMC], command, most);
    }
}

/* A turn that took long, as llm.c's on gpt2, is taken once. */
static void steps_of_round(Rival rivals[RIVALS], Series series, size_t round)
{
    const double long_turn = 10;
    for (size_t t = 0; t < asked.threads_kinds; t++)
        for (size_t i = 0; i < RIVALS; i++)
            series[i][t][round] = round > 0 && series[i][t][0].wall > long_turn + asked.seconds
                                      ? series[i][t][0]
                                      : rival_ask(&rivals[i], "step", asked.threads[t], asked.seconds);
}

static void one_round(size_t m, Rival rivals[RIVALS], size_t round)
{
    for (size_t t = 0; t < asked.threads_kinds; t++)
        results[m].peak[t][round] = rival_ask(&rivals[OURS], "peak", asked.threads[t], 0);
    if (asked.table[STEPS] || meets_neighbours(m))
        steps_of_round(rivals, results[m].steps, round);
    for (size_t t = 0; asked.table[DECODING] && t < asked.threads_kinds; t++)
        for (size_t i = OURS; i <= EAGER; i++)
            results[m].decoding[i][t][round] = rival_ask(&rivals[i], "decode", asked.threads[t], asked.seconds);
    if (meets_neighbours(m)) {
        pid_t pids[NEIGHBOURS_MOST];
        neighbours_start(pids, asked.neighbours);
        steps_of_round(rivals, results[m].crowded, round);
        neighbours_stop(pids, asked.neighbours);
    }
}

/* The first steps touch memory, make plans and compile; llm.c's are too slow to do without. */
static void run_model(size_t m)
{
    Rival rivals[RIVALS];
    start_rivals(&models[m], rivals);
    for (size_t i = 0; i < LLMC; i++)
        for (size_t t = 0; t < asked.threads_kinds && (asked.table[STEPS] || meets_neighbours(m)); t++)
            rival_ask(&rivals[i], "step", asked.threads[t], 0);
    for (size_t i = OURS; asked.table[DECODING] && i <= EAGER; i++)
        rival_ask(&rivals[i], "decode", 1, 0);
    for (size_t round = 0; round < asked.rounds; round++)
        one_round(m, rivals, round);
    for (size_t i = 0; i < RIVALS; i++)
        rival_stop(&rivals[i]);
}

/* --------------------------------------------------------------------------------------------------------------
 * The tables of models
 */

static void steps_header(void)
{
    printf("\nTraining steps with AdamW: tokens a second and a CPU second; ratio: train_gpt's\n"
           "to these; peak: of the FMA peak, forward and backward pass, in CPU time; memory\n");
    printf("%-6s %3s %-13s %9s %6s %9s %6s %6s %6s\n", "model", "thr", "", "tokens/s", "ratio", "/CPU s", "ratio",
           "peak", "MiB");
}

static void steps_rows(size_t m)
{
    const double gflop = 1e-9 * gpt_flops_per_token(&models[m].gpt, models[m].gpt.T);
    for (size_t t = 0; t < asked.threads_kinds; t++)
        for (size_t i = 0; i < RIVALS; i++) {
            const Sample *s = results[m].steps[i][t], *ours = results[m].steps[OURS][t];
            if (isnan(s->count))
                continue;
            printf("%-6s %3zu %-13s", models[m].name, asked.threads[t], rival_names[i]);
            cell(9, 0, median(s, rate, NULL, NULL));
            cell(6, 2, median(ours, rate, s, rate));
            cell(9, 0, median(s, cpu_rate, NULL, NULL));
            cell(6, 2, median(ours, cpu_rate, s, cpu_rate));
            cell(5, 1, 100 * gflop * median(s, passes_rate, results[m].peak[t], cpu_rate));
            printf("%%");
            cell(6, 0, s->rss / 0x1p20);
            printf("\n");
        }
    fflush(stdout);
}

static void decoding_table(void)
{
    printf("\nDecoding one sequence: ms a token; PyTorch with a cache of keys and values\n");
    printf("%-6s %3s %9s %9s %6s %12s %12s %6s\n", "model", "thr", "ms", "PyTorch", "ratio", "CPU ms", "PyTorch",
           "ratio");
    for (size_t m = 0; m < MODELS; m++)
        for (size_t t = 0; asked.model[m] && t < asked.threads_kinds; t++) {
            const Sample *ours = results[m].decoding[OURS][t], *torch = results[m].decoding[EAGER][t];
            printf("%-6s %3zu", models[m].name, asked.threads[t]);
            cell(9, 2, 1e3 / median(ours, rate, NULL, NULL));
            cell(9, 2, 1e3 / median(torch, rate, NULL, NULL));
            cell(6, 2, median(ours, rate, torch, rate));
            cell(12, 2, 1e3 / median(ours, cpu_rate, NULL, NULL));
            cell(12, 2, 1e3 / median(torch, cpu_rate, NULL, NULL));
            cell(6, 2, median(ours, cpu_rate, torch, cpu_rate));
            printf("\n");
        }
    fflush(stdout);
}

/* Of `present` CPUs that t threads share with the neighbours, relative to what they have alone. */
static double fair_share(size_t t)
{
    const double present = (double)asked.threads_present, alone = fmin(present, (double)t);
    return fmin(alone, present * (double)t / (double)(t + asked.neighbours)) / alone;
}

static void neighbours_table(void)
{
    printf("\nTraining steps beside %zu busy processes on %zu CPUs; fair: of what threads would\n"
           "do that got their share of the CPUs and lost nothing else; ratio: as above\n",
           asked.neighbours, asked.threads_present);
    printf("%-6s %3s %-13s %10s %10s %8s %6s %6s\n", "model", "thr", "", "alone", "tokens/s", "of alone", "fair",
           "ratio");
    for (size_t m = 0; m < MODELS; m++)
        for (size_t t = 0; asked.model[m] && meets_neighbours(m) && t < asked.threads_kinds; t++)
            for (size_t i = 0; i < RIVALS; i++) {
                const Sample *alone = results[m].steps[i][t], *s = results[m].crowded[i][t];
                const double kept = median(s, rate, alone, rate);
                if (isnan(s->count))
                    continue;
                printf("%-6s %3zu %-13s", models[m].name, asked.threads[t], rival_names[i]);
                cell(10, 0, median(alone, rate, NULL, NULL));
                cell(10, 0, median(s, rate, NULL, NULL));
                cell(7, 0, 100 * kept);
                printf("%%");
                cell(5, 0, 100 * kept / fair_share(asked.threads[t]));
                printf("%%");
                cell(6, 2, median(results[m].crowded[OURS][t], rate, s, rate));
                printf("\n");
            }
    fflush(stdout);
}

/* --------------------------------------------------------------------------------------------------------------
 * Muon's step
 */

typedef struct Matrices {
    size_t rows, cols, count, layers;
} Matrices;

/* The hidden matrices of a layer of GPT-2 124M, q, k and v by themselves; and those of nano. */
static const Matrices matrices[] = {{768, 768, 4, 12}, {3072, 768, 1, 12}, {768, 3072, 1, 12},
                                    {128, 128, 20, 1}, {512, 128, 5, 1},   {128, 512, 5, 1}};
enum { SETS = sizeof matrices / sizeof *matrices, GPT2_SETS = 3 };
enum { MUON_OURS, MUON_BF16, MUON_FP32, MUON_RIVALS };

static void muon_row(const char *name, const double wall[MUON_RIVALS], const double cpu[MUON_RIVALS])
{
    printf("%-15s", name);
    for (size_t i = 0; i < MUON_RIVALS; i++) {
        cell(9, 1, 1e3 * wall[i]);
        if (i > 0)
            cell(5, 2, wall[i] / wall[MUON_OURS]);
    }
    for (size_t i = 0; i < MUON_RIVALS; i++)
        cell(i == 0 ? 9 : 5, i == 0 ? 1 : 2, i == 0 ? 1e3 * cpu[i] : cpu[i] / cpu[MUON_OURS]);
    printf("\n");
    fflush(stdout);
}

/* Medians over the rounds of a set's seconds a step; those of PyTorch are ours times the median ratio. */
static void muon_set(Rival *ours, Rival *torch, const Matrices *m, double wall[MUON_RIVALS], double cpu[MUON_RIVALS])
{
    static Sample samples[MUON_RIVALS][ROUNDS_MOST];
    static const char *const tasks[] = {"muon", "muon", "muon-fp32"};
    const size_t threads = asked.threads[asked.threads_kinds - 1];
    for (size_t round = 0; round <= asked.rounds; round++)
        for (size_t i = 0; i < MUON_RIVALS; i++) {
            char task[64];
            snprintf(task, sizeof task, "%s %zu %zu %zu", tasks[i], m->rows, m->cols, m->count);
            const Sample s = rival_ask(i == MUON_OURS ? ours : torch, task, threads, round == 0 ? 0 : asked.seconds);
            if (round > 0)
                samples[i][round - 1] = s;
        }
    for (size_t i = 0; i < MUON_RIVALS; i++) {
        wall[i] = median(samples[MUON_OURS], rate, samples[i], rate) / median(samples[MUON_OURS], rate, NULL, NULL);
        cpu[i] = median(samples[MUON_OURS], cpu_rate, samples[i], cpu_rate) /
                 median(samples[MUON_OURS], cpu_rate, NULL, NULL);
    }
}

static void muon_table(void)
{
    const char *python = getenv("BENCH_TORCH");
    const size_t threads = asked.threads[asked.threads_kinds - 1];
    char command[COMMAND_MOST];
    double whole_wall[MUON_RIVALS] = {0}, whole_cpu[MUON_RIVALS] = {0};
    snprintf(command, sizeof command, "'%s' --serve muon", asked.self);
    Rival ours = rival_start(rival_names[OURS], command, threads), torch = {.name = "torch.optim.Muon"};
    if (python != NULL) {
        snprintf(command, sizeof command, "%s --muon", python);
        torch = rival_start(torch.name, command, threads);
    }
    printf("\nMuon's step, %zu thread%s: ms; torch.optim.Muon's as shipped (bf16) and in fp32,\n"
           "and how many times train_gpt's they are; at the right the same in CPU time\n",
           threads, threads == 1 ? "" : "s");
    printf("%-15s %9s %9s %5s %9s %5s %9s %5s %5s\n", "matrices", "ms", "bf16", "x", "fp32", "x", "CPU ms", "bf16",
           "fp32");
    for (size_t set = 0; set < SETS; set++) {
        const Matrices *m = &matrices[set];
        char name[32];
        double wall[MUON_RIVALS], cpu[MUON_RIVALS];
        snprintf(name, sizeof name, "%zu: %zu x %zu", m->count, m->rows, m->cols);
        muon_set(&ours, &torch, m, wall, cpu);
        muon_row(name, wall, cpu);
        for (size_t i = 0; i < MUON_RIVALS; i++) {
            whole_wall[i] += wall[i] * (double)m->layers;
            whole_cpu[i] += cpu[i] * (double)m->layers;
        }
        if (set + 1 == GPT2_SETS)
            muon_row("gpt2, 12 layers", whole_wall, whole_cpu);
    }
    rival_stop(&ours);
    rival_stop(&torch);
}

/* --------------------------------------------------------------------------------------------------------------
 * Options
 */

static void usage(FILE *to)
{
    fprintf(to, "bench [options]     tables of speed on this machine, beside PyTorch and llm.c where they are\n"
                "  --tables LIST     steps,muon,decoding,neighbours,products        (all)\n"
                "  --models LIST     nano,small,gpt2,wide                           (all)\n"
                "                    small: L=4 NH=4 C=256 V=1024; gpt2: 124M; wide: L=2 C=96 V=50257\n"
                "  --threads LIST    counts, the largest last                       (1 and the CPUs)\n"
                "  --rounds N        in which all take turns                        (3)\n"
                "  --seconds S       of each turn, a step at least                  (0.5)\n"
                "  --neighbours N    busy processes, for their table                (2)\n"
                "PyTorch is found as $PYTHON, python3 or the environment that `make reference` creates.\n"
                "llm.c is measured where its sources are, which need no build of their own:\n"
                "  git clone https://github.com/karpathy/llm.c ../llm.c && make bench LLMC=../llm.c\n"
                "Options by way of make: make bench BENCH='--models nano --tables steps'\n");
}

static int refuse(const char *option, const char *value)
{
    fprintf(stderr, "bench: %s%s%s is not understood; see --help\n", option, *value != '\0' ? " " : "", value);
    return 2;
}

/* Marks the names of a list that ends with the string; false: one is none of them. */
static bool choose(const char *list, const char *(*name)(size_t), size_t names, bool *chosen)
{
    memset(chosen, 0, names * sizeof *chosen);
    while (*list != '\0') {
        const size_t length = strcspn(list, ",");
        size_t i = 0;
        while (i < names && (strlen(name(i)) != length || strncmp(name(i), list, length) != 0))
            i++;
        if (i == names)
            return false;
        chosen[i] = true;
        list += length + (list[length] == ',');
    }
    return true;
}

static const char *model_name(size_t i) { return models[i].name; }
static const char *table_name(size_t i) { return table_names[i]; }

/* A whole number between two; false: it is none. */
static bool read_count(const char *text, size_t least, size_t most, size_t *to)
{
    char *end;
    const unsigned long x = strtoul(text, &end, 10);
    *to = x;
    return end != text && *end == '\0' && text[0] != '-' && x >= least && x <= most;
}

static bool read_threads(const char *list)
{
    for (asked.threads_kinds = 0; *list != '\0'; asked.threads_kinds++) {
        char number[16];
        const size_t length = strcspn(list, ",");
        if (asked.threads_kinds == THREADS_KINDS || length >= sizeof number)
            return false;
        snprintf(number, sizeof number, "%.*s", (int)length, list);
        if (!read_count(number, 1, THREADS_MOST, &asked.threads[asked.threads_kinds]) ||
            (asked.threads_kinds > 0 && asked.threads[asked.threads_kinds] <= asked.threads[asked.threads_kinds - 1]))
            return false;
        list += length + (list[length] == ',');
    }
    return asked.threads_kinds > 0;
}

static bool set_option(const char *option, const char *value)
{
    char *end;
    if (strcmp(option, "--models") == 0)
        return choose(value, model_name, MODELS, asked.model);
    if (strcmp(option, "--tables") == 0)
        return choose(value, table_name, TABLES, asked.table);
    if (strcmp(option, "--threads") == 0)
        return read_threads(value);
    if (strcmp(option, "--rounds") == 0)
        return read_count(value, 1, ROUNDS_MOST, &asked.rounds);
    if (strcmp(option, "--neighbours") == 0)
        return read_count(value, 1, NEIGHBOURS_MOST, &asked.neighbours);
    if (strcmp(option, "--seconds") != 0)
        return false;
    asked.seconds = strtod(value, &end);
    return end != value && *end == '\0' && asked.seconds >= 0 && asked.seconds <= 3600;
}

static const BenchModel *find_model(const char *name)
{
    for (size_t m = 0; m < MODELS; m++)
        if (strcmp(models[m].name, name) == 0)
            return &models[m];
    return NULL; /* "muon" needs none */
}

static void product_tables(void)
{
    for (size_t m = 0; m < MODELS; m++)
        for (size_t t = 0; asked.model[m] && t < asked.threads_kinds; t++)
            bench_products(&models[m], asked.threads[t]);
}

static void report(void)
{
    printf("%s\nmedians of %zu rounds\n", gpt_device(), asked.rounds);
    if (strstr(gpt_device(), "OpenBLAS") != NULL && getenv("OPENBLAS_CORETYPE") != NULL)
        printf("OPENBLAS_CORETYPE=%s is set: OpenBLAS may know faster kernels for this CPU\n",
               getenv("OPENBLAS_CORETYPE"));
    if (getenv("BENCH_TORCH") == NULL)
        printf("not measured: PyTorch, for there is no Python with torch\n");
    if (getenv("BENCH_LLMC") == NULL)
        printf("not measured: llm.c, for LLMC=DIR does not name its sources; see --help\n");
    const bool needs_models = asked.table[STEPS] || asked.table[DECODING] || asked.table[NEIGHBOURS];
    if (asked.table[STEPS])
        steps_header();
    for (size_t m = 0; needs_models && m < MODELS; m++) {
        if (!asked.model[m])
            continue;
        fflush(stdout);
        run_model(m);
        if (asked.table[STEPS])
            steps_rows(m);
    }
    if (asked.table[DECODING])
        decoding_table();
    if (asked.table[NEIGHBOURS])
        neighbours_table();
    if (asked.table[MUON])
        muon_table();
    if (asked.table[PRODUCTS])
        product_tables();
}

int main(int argc, char **argv)
{
    asked.self = argv[0];
    memset(asked.model, true, sizeof asked.model);
    memset(asked.table, true, sizeof asked.table);
    threads_choose(1);
    asked.threads_present = threads_count();
    asked.threads[0] = 1;
    asked.threads[1] = asked.threads_present;
    asked.threads_kinds = asked.threads_present > 1 ? 2 : 1;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0)
            return usage(stdout), 0;
        if (i + 1 == argc)
            return refuse(argv[i], "");
        if (strcmp(argv[i], "--serve") == 0)
            return bench_serve(find_model(argv[i + 1])), 0;
        if (!set_option(argv[i], argv[i + 1]))
            return refuse(argv[i], argv[i + 1]);
        i++;
    }
    report();
    return 0;
}
