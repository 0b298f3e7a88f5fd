/*
 * The benchmark behind `make bench`: what the machine can do, what the BLAS does on the model's shapes, and what
 * training steps reach of it, beside PyTorch's. Each measurement runs in a process of its own, so that its peak memory
 * is its own; all belong to one run on one machine, and ratios between them are what counts.
 *
 *   bench [--seconds S] [--only NAME]      everything, or one configuration; PyTorch through the command in
 *                                          $BENCH_TORCH, "python dev/bench/bench_torch.py", when it is set
 *   bench --part peak | sgemm NAME | step NAME OPTIMIZER      one measurement, as a line of JSON
 */
#include "base/clock.h"
#include "base/matmul.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/threads.h"
#include "data/loader.h"
#include "dev/bench/bench_peak.h"
#include "files/json.h"
#include "gpt/gpt.h"
#include "optim/optim.h"
#include "optim/rules/newton_schulz.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#ifdef HAVE_OPENBLAS
#include <cblas.h>
#endif

typedef struct Config {
    const char *name, *what;
    GptConfig gpt;
    size_t B;
} Config;

static const Config configs[] = {
    {"nano", "(a) nano", {.T = 256, .V = 256, .L = 5, .NH = 4, .C = 128}, 8},
    {"small", "(b) L=4 NH=4 C=256 V=1024", {.T = 256, .V = 1024, .L = 4, .NH = 4, .C = 256}, 8},
    {"gpt2", "(c) gpt2 124M", {.T = 256, .V = 50257, .L = 12, .NH = 12, .C = 768}, 4},
};

enum { CONFIG_COUNT = sizeof configs / sizeof *configs, STEPS_MOST = 4096, LINE_MOST = 4096 };

static const Config *find_config(const char *name)
{
    for (size_t i = 0; i < CONFIG_COUNT; i++)
        if (strcmp(configs[i].name, name) == 0)
            return &configs[i];
    fprintf(stderr, "bench: there is no configuration %s\n", name);
    exit(2);
}

static void fail(const Error *e)
{
    fprintf(stderr, "bench: %s\n", e->text);
    exit(1);
}

/* --------------------------------------------------------------------------------------------------------------
 * What the BLAS does with whole products of the model's shapes, on all threads
 */

typedef struct Shape {
    size_t m, n, k, count;
    bool trans_a, trans_b;
} Shape;

enum { SHAPES = 15 };

/* The products of a step: forward, input's gradient and weight's gradient of the five linear maps. */
static void list_shapes(const Config *config, Shape shapes[SHAPES])
{
    const GptConfig *c = &config->gpt;
    const size_t R = config->B * c->T, C = c->C;
    const struct {
        size_t rows, in, out, count;
    } layers[] = {{R, C, 3 * C, c->L},
                  {R, C, C, c->L},
                  {R, C, 4 * C, c->L},
                  {R, 4 * C, C, c->L},
                  {R < 512 ? R : 512, C, c->V, (R + 511) / 512}};
    for (size_t i = 0; i < SHAPES / 3; i++) {
        const size_t r = layers[i].rows, in = layers[i].in, out = layers[i].out, n = layers[i].count;
        shapes[3 * i] = (Shape){r, out, in, n, false, true};
        shapes[3 * i + 1] = (Shape){r, in, out, n, false, false};
        shapes[3 * i + 2] = (Shape){out, in, r, n, true, false};
    }
}

static void product(const Shape *s, const float *a, const float *b, float *c)
{
    const size_t lda = s->trans_a ? s->m : s->k, ldb = s->trans_b ? s->k : s->n;
#ifdef HAVE_OPENBLAS
    cblas_sgemm(CblasRowMajor, s->trans_a ? CblasTrans : CblasNoTrans, s->trans_b ? CblasTrans : CblasNoTrans,
                (int)s->m, (int)s->n, (int)s->k, 1, a, (int)lda, b, (int)ldb, 0, c, (int)s->n);
#else
    matmul(&(Matmul){.m = s->m,
                     .n = s->n,
                     .k = s->k,
                     .trans_a = s->trans_a,
                     .trans_b = s->trans_b,
                     .alpha = 1,
                     .a = a,
                     .lda = lda,
                     .b = b,
                     .ldb = ldb,
                     .c = c,
                     .ldc = s->n});
#endif
}

static void fill(float *x, size_t n)
{
    Random random = random_make(1, n);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)random_uniform(&random) - 0.5f;
}

static double best_seconds(const Shape *s)
{
    float *a, *b, *c;
    Error e;
    if (memory_floats(s->m * s->k, "a", &a, &e) != 0 || memory_floats(s->k * s->n, "b", &b, &e) != 0 ||
        memory_floats(s->m * s->n, "c", &c, &e) != 0)
        fail(&e);
    fill(a, s->m * s->k);
    fill(b, s->k * s->n);
    double best = INFINITY;
    const double end = clock_seconds() + 0.3;
    do {
        const double t = clock_seconds();
        product(s, a, b, c);
        const double took = clock_seconds() - t;
        best = took < best ? took : best;
    } while (clock_seconds() < end);
    memory_free(a);
    memory_free(b);
    memory_free(c);
    return best;
}

static void part_sgemm(const Config *config)
{
    Shape shapes[SHAPES];
    double flops = 0, seconds = 0;
#ifdef HAVE_OPENBLAS
    openblas_set_num_threads((int)threads_count());
#endif
    list_shapes(config, shapes);
    for (size_t i = 0; i < SHAPES; i++) {
        const Shape *s = &shapes[i];
        flops += 2.0 * (double)s->m * (double)s->n * (double)s->k * (double)s->count;
        seconds += best_seconds(s) * (double)s->count;
    }
    printf("{\"sgemm_gflops\": %.3f}\n", flops / seconds * 1e-9);
}

/* --------------------------------------------------------------------------------------------------------------
 * Training steps
 */

/* FLOPs of a Muon step over matrices r <= c, products with a symmetric result counted once: an iteration is
 * r^2 c for X X^T, r^3 for its square, 2 r^2 c for the product with X. */
static double muon_flops(const GptConfig *c)
{
    const double C = (double)c->C, L = (double)c->L, steps = (double)ns_steps(NS_JORDAN, 0);
    const double square = 4 * C * C * C, wide = 3 * C * C * 4 * C + C * C * C;
    return L * steps * (4 * square + 2 * wide);
}

typedef struct Step {
    double data, forward, backward, norm, update;
} Step;

typedef struct Trainer {
    const Config *config;
    Gpt *gpt;
    Optim *optim;
    Tokens *tokens;
    Loader *loader;
    int32_t *inputs, *targets;
} Trainer;

static Trainer make_trainer(const Config *config, const char *optimizer)
{
    enum { TEXT = 1 << 20 };
    Trainer t = {.config = config};
    Error e;
    const size_t B = config->B, T = config->gpt.T;
    const OptimConfig optim = {.rule = optimizer};
    unsigned char *text = malloc(TEXT);
    t.inputs = malloc(B * T * sizeof *t.inputs);
    t.targets = malloc(B * T * sizeof *t.targets);
    if (text == NULL || t.inputs == NULL || t.targets == NULL)
        exit(1);
    Random random = random_make(1, 0);
    for (size_t i = 0; i < TEXT; i++)
        text[i] = (unsigned char)random_below(&random, 256);
    const LoaderConfig order = {.T = T, .seed = 1, .rank = 0, .world = 1};
    if (gpt_create(&config->gpt, &(GptSetup){.B = B, .T = T, .mode = GPT_TRAINING}, &t.gpt, &e) != 0 ||
        gpt_init(t.gpt, 1, &e) != 0)
        fail(&e);
    const GptTable *table = gpt_table(t.gpt);
    const Arenas arenas = gpt_arenas(t.gpt);
    if (optim_create(&optim, table->tensors, table->count, &arenas, &t.optim, &e) != 0 ||
        tokens_from_bytes("random", text, TEXT, &t.tokens, &e) != 0 ||
        loader_create(t.tokens, &order, 0, B, &t.loader, &e) != 0)
        fail(&e);
    free(text);
    return t;
}

static Step one_step(Trainer *t)
{
    const size_t B = t->config->B, T = t->config->gpt.T;
    Error e;
    double at[6];
    at[0] = clock_seconds();
    if (loader_next(t->loader, B, t->inputs, t->targets, &e) != 0)
        fail(&e);
    at[1] = clock_seconds();
    gpt_forward(t->gpt, t->inputs, B, T);
    at[2] = clock_seconds();
    gpt_backward(t->gpt, t->targets, 1.0 / (double)(B * T), true);
    at[3] = clock_seconds();
    optim_grad_norm(t->optim, NULL);
    at[4] = clock_seconds();
    optim_step(t->optim, 1);
    at[5] = clock_seconds();
    return (Step){at[1] - at[0], at[2] - at[1], at[3] - at[2], at[4] - at[3], at[5] - at[4]};
}

/* The median of one of the five phases, or of their sums. */
static double median_phase(const Step *steps, size_t n, int phase)
{
    static double x[STEPS_MOST];
    for (size_t i = 0; i < n; i++) {
        const double phases[] = {steps[i].data, steps[i].forward, steps[i].backward, steps[i].norm, steps[i].update};
        x[i] = 0;
        for (int p = 0; p < 5; p++)
            x[i] += phase == 5 || phase == p ? phases[p] : 0;
    }
    return bench_median(x, n);
}

static void part_step(const Config *config, const char *optimizer, double seconds)
{
    static Step steps[STEPS_MOST];
    Trainer t = make_trainer(config, optimizer);
    struct rusage usage;
    size_t n = 0;
    one_step(&t); /* touches all memory once */
    const double end = clock_seconds() + seconds;
    while (n < STEPS_MOST && (n < 2 || clock_seconds() < end))
        steps[n++] = one_step(&t);
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"steps\": %zu, \"data\": %.9f, \"forward\": %.9f, \"backward\": %.9f, \"norm\": %.9f, \"update\": %.9f, "
           "\"step\": %.9f, \"tokens\": %zu, \"parameters\": %zu, \"flops_per_token\": %.0f, \"muon_flops\": %.0f, "
           "\"rss\": %.0f}\n",
           n, median_phase(steps, n, 0), median_phase(steps, n, 1), median_phase(steps, n, 2),
           median_phase(steps, n, 3), median_phase(steps, n, 4), median_phase(steps, n, 5), config->B * config->gpt.T,
           gpt_table(t.gpt)->parameters, gpt_flops_per_token(&config->gpt, config->gpt.T), muon_flops(&config->gpt),
           (double)usage.ru_maxrss * 1024);
    loader_free(t.loader);
    tokens_close(t.tokens);
    optim_free(t.optim);
    gpt_free(t.gpt);
    free(t.inputs);
    free(t.targets);
}

static void part_peak(void)
{
    printf("{\"fma_gflops\": %.3f, \"bandwidth\": %.0f}\n", bench_fma_peak(), bench_memory_bandwidth());
}

/* --------------------------------------------------------------------------------------------------------------
 * The report
 */

/* Runs a command and reads the last line it prints as JSON; NULL when it fails. */
static Json *run_json(const char *command)
{
    char line[LINE_MOST], last[LINE_MOST] = "";
    Json *json = NULL;
    Error e;
    FILE *pipe = popen(command, "r");
    if (pipe == NULL)
        return NULL;
    while (fgets(line, sizeof line, pipe) != NULL)
        memcpy(last, line, sizeof last);
    if (pclose(pipe) != 0 || json_parse(last, strlen(last), &json, &e) != 0)
        return NULL;
    return json;
}

static double number(const Json *json, const char *key)
{
    double x = NAN;
    json_number(json_get(json, key), &x);
    return x;
}

static Json *run_part(const char *self, const char *part, double seconds)
{
    char command[LINE_MOST];
    snprintf(command, sizeof command, "'%s' --seconds %g --part %s", self, seconds, part);
    Json *json = run_json(command);
    if (json == NULL) {
        fprintf(stderr, "bench: the part '%s' failed\n", part);
        exit(1);
    }
    return json;
}

static Json *run_torch(const Config *config, double seconds)
{
    const char *torch = getenv("BENCH_TORCH");
    const GptConfig *c = &config->gpt;
    char command[LINE_MOST];
    if (torch == NULL || torch[0] == '\0')
        return NULL;
    snprintf(command, sizeof command,
             "%s --layers %zu --heads %zu --width %zu --vocab %zu --seq-len %zu --batch %zu --threads %zu --seconds %g "
             "--optimizer adamw",
             torch, c->L, c->NH, c->C, c->V, c->T, config->B, threads_count(), seconds);
    return run_json(command);
}

/* The parts are measured in turn, ROUNDS times, and every figure is the median over the rounds of what it was within
 * one round: other load on the machine comes and goes, and what was measured together is compared. */
enum { ROUNDS = 3 };

typedef struct Round {
    Json *peak, *sgemm, *adamw, *muon, *torch;
} Round;

static double gflops(const Json *step)
{
    const double both = number(step, "forward") + number(step, "backward");
    return number(step, "tokens") * number(step, "flops_per_token") / both * 1e-9;
}

static double tokens_per_second(const Json *step) { return number(step, "tokens") / number(step, "step"); }

static double of_peak(const Round *r) { return gflops(r->adamw) / number(r->peak, "fma_gflops"); }
static double of_sgemm(const Round *r) { return gflops(r->adamw) / number(r->sgemm, "sgemm_gflops"); }
static double muon_of_sgemm(const Round *r) { return gflops(r->muon) / number(r->sgemm, "sgemm_gflops"); }
static double sgemm_gflops(const Round *r) { return number(r->sgemm, "sgemm_gflops"); }
static double sgemm_of_peak(const Round *r) { return sgemm_gflops(r) / number(r->peak, "fma_gflops"); }
static double peak_gflops(const Round *r) { return number(r->peak, "fma_gflops"); }
static double bandwidth(const Round *r) { return number(r->peak, "bandwidth") * 1e-9; }
static double adamw_rate(const Round *r) { return tokens_per_second(r->adamw); }
static double muon_rate(const Round *r) { return tokens_per_second(r->muon); }
static double adamw_gflops(const Round *r) { return gflops(r->adamw); }
static double muon_gflops(const Round *r) { return gflops(r->muon); }
static double torch_rate(const Round *r) { return number(r->torch, "tokens_per_second"); }
static double torch_ratio(const Round *r) { return adamw_rate(r) / torch_rate(r); }
static double torch_memory(const Round *r) { return number(r->adamw, "rss") / number(r->torch, "peak_rss_bytes"); }

/* The update moves 28 bytes a parameter: it reads p, g, m, v and writes p, m, v. */
static double adamw_over_floor(const Round *r)
{
    return number(r->adamw, "update") * number(r->peak, "bandwidth") / (28 * number(r->adamw, "parameters"));
}

static double muon_over_floor(const Round *r)
{
    return number(r->muon, "update") * number(r->sgemm, "sgemm_gflops") * 1e9 / number(r->muon, "muon_flops");
}

static double over_rounds(const Round *rounds, double (*figure)(const Round *))
{
    double x[ROUNDS];
    for (size_t i = 0; i < ROUNDS; i++)
        x[i] = figure(&rounds[i]);
    return bench_median(x, ROUNDS);
}

/* Times by phase are those of the last round. */
static void report_phases(const Json *step)
{
    printf("  %-8s forward %.1f ms, backward %.1f, gradient norm %.2f, update %.2f, data %.3f; peak memory %.0f MiB\n",
           "", 1e3 * number(step, "forward"), 1e3 * number(step, "backward"), 1e3 * number(step, "norm"),
           1e3 * number(step, "update"), 1e3 * number(step, "data"), number(step, "rss") / 0x1p20);
}

static void report_rounds(const Round *r)
{
    const Round *last = &r[ROUNDS - 1];
    printf("  machine  FMA peak %.0f GFLOP/s, memory %.1f GB/s; sgemm on the step's products %.1f GFLOP/s = %.0f%% of "
           "peak\n",
           over_rounds(r, peak_gflops), over_rounds(r, bandwidth), over_rounds(r, sgemm_gflops),
           100 * over_rounds(r, sgemm_of_peak));
    printf("  adamw    %.0f tokens/s; forward+backward %.1f GFLOP/s = %.0f%% of peak, %.0f%% of sgemm\n",
           over_rounds(r, adamw_rate), over_rounds(r, adamw_gflops), 100 * over_rounds(r, of_peak),
           100 * over_rounds(r, of_sgemm));
    report_phases(last->adamw);
    printf("  %-8s the update takes %.2f times as long as moving its 28 bytes a parameter\n", "",
           over_rounds(r, adamw_over_floor));
    printf("  muon     %.0f tokens/s; forward+backward %.1f GFLOP/s = %.0f%% of sgemm\n", over_rounds(r, muon_rate),
           over_rounds(r, muon_gflops), 100 * over_rounds(r, muon_of_sgemm));
    report_phases(last->muon);
    printf("  %-8s the update takes %.2f times as long as its %.1f GFLOP of Newton-Schulz at the sgemm rate\n", "",
           over_rounds(r, muon_over_floor), number(last->muon, "muon_flops") * 1e-9);
    if (last->torch == NULL) {
        printf("  PyTorch  not measured: no Python with torch\n");
        return;
    }
    printf("  PyTorch  %.0f tokens/s with AdamW (torch %s): forward %.1f ms, backward %.1f, update %.2f; peak memory "
           "%.0f MiB\n",
           over_rounds(r, torch_rate), json_string(json_get(last->torch, "torch")), number(last->torch, "forward_ms"),
           number(last->torch, "backward_ms"), number(last->torch, "optimizer_ms"),
           number(last->torch, "peak_rss_bytes") / 0x1p20);
    printf("  ratio    adamw does %.2f times PyTorch's tokens/s with %.2f of its memory\n", over_rounds(r, torch_ratio),
           over_rounds(r, torch_memory));
}

static void report(const char *self, const Config *config, double seconds)
{
    Round rounds[ROUNDS];
    char sgemm[64], adamw[64], muon[64];
    printf("\n%s, B=%zu T=%zu\n", config->what, config->B, config->gpt.T);
    fflush(stdout);
    snprintf(sgemm, sizeof sgemm, "sgemm %s", config->name);
    snprintf(adamw, sizeof adamw, "step %s adamw", config->name);
    snprintf(muon, sizeof muon, "step %s muon", config->name);
    for (size_t i = 0; i < ROUNDS; i++)
        rounds[i] = (Round){.peak = run_part(self, "peak", seconds),
                            .sgemm = run_part(self, sgemm, seconds),
                            .adamw = run_part(self, adamw, seconds),
                            .muon = run_part(self, muon, seconds),
                            .torch = run_torch(config, seconds)};
    report_rounds(rounds);
    fflush(stdout);
    for (size_t i = 0; i < ROUNDS; i++) {
        json_free(rounds[i].peak);
        json_free(rounds[i].sgemm);
        json_free(rounds[i].adamw);
        json_free(rounds[i].muon);
        json_free(rounds[i].torch);
    }
}

int main(int argc, char **argv)
{
    double seconds = 5;
    const char *only = NULL;
    matmul_init();
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc)
            seconds = atof(argv[++i]);
        else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
            only = find_config(argv[++i])->name;
        else if (strcmp(argv[i], "--part") == 0 && i + 1 < argc && strcmp(argv[i + 1], "peak") == 0)
            return part_peak(), 0;
        else if (strcmp(argv[i], "--part") == 0 && i + 2 < argc && strcmp(argv[i + 1], "sgemm") == 0)
            return part_sgemm(find_config(argv[i + 2])), 0;
        else if (strcmp(argv[i], "--part") == 0 && i + 3 < argc && strcmp(argv[i + 1], "step") == 0)
            return part_step(find_config(argv[i + 2]), argv[i + 3], seconds), 0;
        else
            return fprintf(stderr, "bench: usage: bench [--seconds S] [--only nano|small|gpt2]\n"), 2;
    }
    printf("%s; medians of %d rounds\n", gpt_device(), ROUNDS);
    for (size_t i = 0; i < CONFIG_COUNT; i++)
        if (only == NULL || strcmp(only, configs[i].name) == 0)
            report(argv[0], &configs[i], seconds);
    return 0;
}
