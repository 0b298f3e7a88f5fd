/* Identities between the update rules, golden numbers, schedules, and the averages around them: what must hold whoever
 * wrote the formulas down. References are a few lines of double. */
#include "base/eigh.h"
#include "base/threads.h"
#include "dev/tests/check.h"
#include "dev/tests/fixtures.h"
#include "optim/hyper_schedule.h"
#include "optim/rules/muon.h"
#include "optim/rules/newton_schulz.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SET(id, x) [HYPER_##id] = HYPER_SET(x)
#define COUNT(list) (sizeof(list) / sizeof *(list))

/* Rounding to fp32. */
static const double U = 0x1p-24;

/* --------------------------------------------------------------------------------------------------------------
 * One matrix under one rule
 */

typedef struct Run {
    Params p;
    Optim *optim;
} Run;

/* The matrix "w" and its gradient begin at N(0,1). */
static void run_begin(Run *run, const OptimConfig *config, size_t rows, size_t cols, uint64_t seed)
{
    *run = (Run){0};
    params_add(&run->p, "w", ROLE_HIDDEN_MATRIX, rows, cols, 1);
    params_fill(&run->p, seed);
    run->optim = make_optim(config, &run->p);
}

static void run_end(Run *run)
{
    optim_free(run->optim);
    params_free(&run->p);
}

static void run_step(Run *run, double factor)
{
    optim_begin(run->optim, factor);
    optim_step(run->optim, 1);
}

/* A step with the gradient N(0,1) of that seed. */
static void run_random_step(Run *run, double factor, uint64_t seed)
{
    fill_normal(run->p.grads, run->p.floats, 1, seed);
    run_step(run, factor);
}

/* The state "w.<name>". */
static OptimState state_of(const Optim *optim, const char *name)
{
    char full[64];
    snprintf(full, sizeof full, "w.%s", name);
    for (size_t i = 0; i < optim_state_count(optim); i++)
        if (strcmp(optim_state(optim, i)->name, full) == 0)
            return *optim_state(optim, i);
    fprintf(stderr, "test: there is no state %s\n", full);
    exit(1);
}

/* Gradient of sum a_i (w_i - c_i)^2 / 2, with a_i from 0.1 to 1. */
static double slope(double w, size_t i) { return (0.1 + 0.15 * (double)(i % 7)) * (w - sin((double)i)); }

static void slopes(const Run *run)
{
    for (size_t i = 0; i < run->p.floats; i++)
        run->p.grads[i] = (float)slope((double)run->p.values[i], i);
}

static double largest_of(const float *x, size_t n)
{
    double largest = 0;
    for (size_t i = 0; i < n; i++)
        largest = fmax(largest, fabs((double)x[i]));
    return largest;
}

static double *doubles_of(const float *x, size_t n)
{
    double *copy = make_doubles(n);
    for (size_t i = 0; i < n; i++)
        copy[i] = (double)x[i];
    return copy;
}

static void check_close_to_doubles(const float *got, const double *want, size_t n, double bound, const char *what)
{
    for (size_t i = 0; i < n; i++)
        if (!check(fabs((double)got[i] - want[i]) <= bound, "%s: element %zu: got %.9g, want %.9g, bound %.3g", what, i,
                   (double)got[i], want[i], bound))
            return;
}

/* --------------------------------------------------------------------------------------------------------------
 * Small matrices in double
 */

/* to (r,c) = op(x) op(y), k their common side. */
static void product(double *to, const double *x, bool tx, const double *y, bool ty, size_t r, size_t k, size_t c)
{
    for (size_t i = 0; i < r; i++)
        for (size_t j = 0; j < c; j++) {
            double sum = 0;
            for (size_t l = 0; l < k; l++)
                sum += (tx ? x[l * r + i] : x[i * k + l]) * (ty ? y[j * k + l] : y[l * c + j]);
            to[i * c + j] = sum;
        }
}

/* The min(r,c) singular values of x, ascending. */
static double *singular_values(const float *x, size_t r, size_t c)
{
    const size_t n = r < c ? r : c;
    double *wide = doubles_of(x, r * c), *gram = make_doubles(n * n), *s = make_doubles(n),
           *work = make_doubles(eigh_work(n));
    product(gram, wide, r > c, wide, r <= c, n, r < c ? c : r, n);
    if (eigh(gram, s, n, work) != 0)
        check(false, "no eigenvalues");
    for (size_t i = 0; i < n; i++)
        s[i] = sqrt(fmax(s[i], 0));
    free(wide);
    free(gram);
    free(work);
    return s;
}

/* Minus the change, from a matrix of zeros, that one step of rate 1 with the gradient g makes. */
static float *update_of(OptimConfig config, const float *g, size_t rows, size_t cols)
{
    Run run;
    hyper_set(&config.hyper, HYPER_LR, 1);
    run_begin(&run, &config, rows, cols, 1);
    memset(run.p.values, 0, run.p.floats * sizeof *run.p.values);
    memcpy(run.p.grads, g, run.p.floats * sizeof *g);
    run_step(&run, 1);
    float *update = copy_floats(run.p.values, run.p.floats);
    for (size_t i = 0; i < run.p.floats; i++)
        update[i] = -update[i];
    run_end(&run);
    return update;
}

/* Wide, tall, square. */
static const size_t shapes[][2] = {{6, 11}, {12, 5}, {7, 7}};

/* --------------------------------------------------------------------------------------------------------------
 * Golden runs of one weight: W = 1, gradients 1, 2, -1, rate 0.1
 */

static void test_golden_runs(void)
{
    static const struct {
        const char *what;
        OptimConfig config;
        float want[3];
    } runs[] = {
        {"EMA", {.rule = "sgd", .hyper.at = {SET(MOMENTUM_FORM, MOMENTUM_EMA)}}, {.99f, .961f, .9449f}},
        {"EMA, Nesterov: a tenth of the sum's way",
         {.rule = "sgd", .hyper.at = {SET(MOMENTUM_FORM, MOMENTUM_EMA), SET(NESTEROV, 1)}},
         {.981f, .9349f, .93041f}},
        {"look-ahead", {.rule = "nesterov", .hyper.at = {SET(LR, .1)}}, {.99f, .961f, .9449f}},
        {"shifted",
         {.rule = "nesterov", .hyper.at = {SET(LR, .1), SET(NESTEROV_FORM, NESTEROV_SHIFTED)}},
         {.81f, .349f, .3041f}},
        {"no correction",
         {.rule = "adam", .hyper.at = {SET(LR, .1), SET(BETA1, .95), SET(BETA2, .95), SET(BIAS_CORRECTION, 0)}},
         {.9776393f, .9479907f, .9311124f}},
        {"no zero init",
         {.rule = "adam", .hyper.at = {SET(LR, .1), SET(BETA1, .95), SET(BETA2, .95), SET(ZERO_INIT_MOMENTS, 0)}},
         {.5527864f, .2392138f, .0044921f}},
        {"neither",
         {.rule = "adam",
          .hyper.at = {SET(LR, .1), SET(BETA1, .95), SET(BETA2, .95), SET(BIAS_CORRECTION, 0),
                       SET(ZERO_INIT_MOMENTS, 0)}},
         {.9f, .8020870f, .7134426f}},
        {"nested",
         {.rule = "nested-adam", .hyper.at = {SET(LR, .1), SET(BETA2, .999), SET(WEIGHT_DECAY, 0)}},
         {.9f, .7860673f, .7402687f}},
    };
    static const float gradients[3] = {1, 2, -1};
    for (size_t i = 0; i < COUNT(runs); i++) {
        Run run;
        float got[3];
        run_begin(&run, &runs[i].config, 1, 1, 1);
        run.p.values[0] = 1;
        for (size_t t = 0; t < 3; t++) {
            run.p.grads[0] = gradients[t];
            run_step(&run, 1);
            got[t] = run.p.values[0];
        }
        /* half a unit of the 7th digit, and in each step about 4 roundings of numbers near 1 */
        check_all_close(got, runs[i].want, 3, 5e-8 + 12 * U, runs[i].what);
        run_end(&run);
    }
}

/* What a first step multiplies the gradient's sign with, by its ablation. */
static void test_first_step(void)
{
    static const double betas[][2] = {{.95, .95}, {.9, .999}, {.5, .75}};
    for (size_t i = 0; i < COUNT(betas); i++) {
        const double b1 = betas[i][0], b2 = betas[i][1];
        const double want[2][2] = {{1, sqrt(1 - b2) / (1 - b1)}, {(1 - b1) / sqrt(1 - b2), 1}};
        for (int ablation = 0; ablation < 4; ablation++) {
            const int uncorrected = ablation / 2, seeded = ablation % 2;
            const OptimConfig config = {.rule = "adamw",
                                        .hyper.at = {SET(LR, 1), SET(WEIGHT_DECAY, 0), SET(BETA1, b1), SET(BETA2, b2),
                                                     SET(EPS, 0), SET(BIAS_CORRECTION, !uncorrected),
                                                     SET(ZERO_INIT_MOMENTS, !seeded)}};
            Run run;
            run_begin(&run, &config, 4, 5, 2);
            memset(run.p.values, 0, 20 * sizeof(float));
            run_step(&run, 1);
            const double factor = uncorrected && seeded ? 1 : want[uncorrected][seeded];
            for (size_t j = 0; j < 20; j++) /* 8 roundings: constants, moments, root, quotient, product */
                check_close((double)run.p.values[j], -copysign(factor, (double)run.p.grads[j]), 8 * U * factor,
                            "first step");
            run_end(&run);
        }
    }
    check_close((1 - .95) / sqrt(1 - .95), .2236, 5e-5, "zero init, no correction");
}

/* --------------------------------------------------------------------------------------------------------------
 * Two rules that are one
 */

enum { STEPS = 12 };

typedef void Gradients(const Run *run);

/* Both take STEPS steps from the same weights, with gradients that depend on them, or without any such function with
 * the same random ones; the schedule falls. Returns the largest difference ever; *largest is that of the weights. */
static double largest_difference(const OptimConfig *one, const OptimConfig *other, Gradients *gradients,
                                 double *largest)
{
    Run a, b;
    double worst = 0;
    *largest = 0;
    run_begin(&a, one, 6, 11, 3);
    run_begin(&b, other, 6, 11, 3);
    for (size_t t = 0; t < STEPS; t++) {
        Run *const both[2] = {&a, &b};
        for (size_t k = 0; k < 2; k++) {
            const double factor = gradients != NULL ? 1 : 1 - (double)t / 16;
            optim_begin(both[k]->optim, factor);
            if (gradients != NULL)
                gradients(both[k]);
            else
                fill_normal(both[k]->p.grads, both[k]->p.floats, 1, 30 + t);
            optim_step(both[k]->optim, 1);
        }
        *largest = fmax(*largest, largest_of(a.p.values, a.p.floats));
        for (size_t i = 0; i < a.p.floats; i++) {
            const double difference = fabs((double)a.p.values[i] - (double)b.p.values[i]);
            worst = difference <= worst ? worst : difference;
        }
    }
    run_end(&a);
    run_end(&b);
    return worst;
}

/* In a step both round about 4 times numbers no larger than the largest weight; what goes into a buffer counts up to
 * 1/(1-b) times. */
static void expect_same(const OptimConfig *one, const OptimConfig *other, Gradients *gradients, double b,
                        const char *what)
{
    double largest;
    const double worst = largest_difference(one, other, gradients, &largest),
                 bound = STEPS * 4 * U * largest * (1 + 1 / (1 - b));
    check(worst <= bound, "%s: differ by %.3g, bound %.3g", what, worst, bound);
}

static void expect_same_bits(const OptimConfig *one, const OptimConfig *other, const char *what)
{
    double largest;
    const double worst = largest_difference(one, other, NULL, &largest);
    check(worst == 0, "%s: differ by %.3g", what, worst);
}

static void test_momentum_forms(void)
{
    static const OptimConfig ema = {.rule = "sgd",
                                    .hyper.at = {SET(LR, .5), SET(MOMENTUM, .8), SET(MOMENTUM_FORM, MOMENTUM_EMA)}};
    static const OptimConfig sum = {.rule = "sgd", .hyper.at = {SET(LR, .5 * (1 - .8)), SET(MOMENTUM, .8)}};
    static const OptimConfig ema_nesterov = {
        .rule = "sgd",
        .hyper.at = {SET(LR, .5), SET(MOMENTUM, .8), SET(MOMENTUM_FORM, MOMENTUM_EMA), SET(NESTEROV, 1)}};
    static const OptimConfig sum_nesterov = {.rule = "sgd",
                                             .hyper.at = {SET(LR, .5 * (1 - .8)), SET(MOMENTUM, .8), SET(NESTEROV, 1)}};
    expect_same(&ema, &sum, NULL, .8, "average and sum");
    expect_same(&ema_nesterov, &sum_nesterov, NULL, .8, "average and sum, Nesterov");
    static const OptimConfig shifted = {
        .rule = "nesterov", .hyper.at = {SET(LR, .1), SET(MOMENTUM, .8), SET(NESTEROV_FORM, NESTEROV_SHIFTED)}};
    static const OptimConfig torch = {.rule = "sgd", .hyper.at = {SET(LR, .1), SET(MOMENTUM, .8), SET(NESTEROV, 1)}};
    expect_same(&shifted, &torch, slopes, .8, "shifted Nesterov and PyTorch's");
}

/* The points where look-ahead Nesterov takes its gradients are those of the blend (1-b) g + b m. */
static void test_look_ahead(void)
{
    static const OptimConfig ahead = {.rule = "nesterov", .hyper.at = {SET(LR, .5), SET(MOMENTUM, .8)}};
    static const OptimConfig blend = {
        .rule = "sgd",
        .hyper.at = {SET(LR, .5), SET(MOMENTUM, .8), SET(MOMENTUM_FORM, MOMENTUM_EMA), SET(NESTEROV, 1)}};
    Run a, b;
    run_begin(&a, &ahead, 6, 11, 3);
    run_begin(&b, &blend, 6, 11, 3);
    for (size_t t = 0; t < STEPS; t++) {
        float *const before = copy_floats(a.p.values, a.p.floats);
        optim_begin(a.optim, 1);
        /* both round some 6 times a step numbers below 4; the buffer repeats it up to 1/(1-b) = 5 times */
        check_all_close(a.p.values, b.p.values, a.p.floats, STEPS * 6 * U * 4 * 6,
                        "point ahead and the blend's weights");
        if (t > 0)
            check(memcmp(a.p.values, before, a.p.floats * sizeof(float)) != 0, "step %zu does not look ahead", t);
        slopes(&a);
        slopes(&b);
        optim_step(a.optim, 1);
        run_step(&b, 1);
        free(before);
    }
    run_end(&a);
    run_end(&b);
}

static void test_adam_relatives(void)
{
    static const OptimConfig rmsprop = {.rule = "rmsprop", .hyper.at = {SET(LR, .01), SET(WEIGHT_DECAY, .3)}};
    static const OptimConfig no_first = {
        .rule = "adam",
        .hyper.at = {SET(LR, .01), SET(WEIGHT_DECAY, .3), SET(BETA1, 0), SET(BETA2, .99), SET(BIAS_CORRECTION, 0)}};
    expect_same(&rmsprop, &no_first, NULL, 0, "RMSProp and Adam without its first moment");
    for (int mode = EPS_OUTSIDE; mode <= EPS_INSIDE; mode++) {
        const OptimConfig adam = {.rule = "adam", .hyper.at = {SET(WEIGHT_DECAY, 0), SET(EPS_MODE, mode)}};
        const OptimConfig adamw = {.rule = "adamw", .hyper.at = {SET(WEIGHT_DECAY, 0), SET(EPS_MODE, mode)}};
        expect_same_bits(&adam, &adamw, "Adam and AdamW without decay");
    }
    static const OptimConfig nested = {.rule = "nested-adam", .hyper.at = {SET(LR, .01), SET(BETA1, 0), SET(EPS, .25)}};
    static const OptimConfig flat = {.rule = "adamw", .hyper.at = {SET(LR, .01), SET(BETA1, 0), SET(EPS, .25)}};
    expect_same_bits(&nested, &flat, "nested Adam and Adam without a first average");
    static const OptimConfig lion = {.rule = "lion", .hyper.at = {SET(BETA1, .8), SET(BETA2, .8)}};
    static const OptimConfig signum = {.rule = "signum", .hyper.at = {SET(MOMENTUM, .8)}};
    expect_same_bits(&lion, &signum, "Lion with one beta and Signum");
}

/* The momenta of Signum and Lion are averages, of which the sign alone would not tell. */
static void test_sign_momentum(void)
{
    static const OptimConfig configs[] = {
        {.rule = "signum", .hyper.at = {SET(MOMENTUM, .8)}},
        {.rule = "lion", .hyper.at = {SET(BETA1, .5), SET(BETA2, .8)}},
    };
    for (size_t k = 0; k < COUNT(configs); k++) {
        Run run;
        run_begin(&run, &configs[k], 6, 11, 3);
        double m[66] = {0};
        for (size_t t = 0; t < STEPS; t++) {
            run_random_step(&run, 1, 30 + t);
            for (size_t i = 0; i < 66; i++)
                m[i] = .8 * m[i] + (1 - .8) * (double)run.p.grads[i];
        }
        /* 3 roundings a step of numbers below 4, which fade: 5 steps' worth */
        check_close_to_doubles(state_of(run.optim, "m").data, m, 66, 5 * 3 * 4 * U, configs[k].rule);
        run_end(&run);
    }
}

/* eps far above sqrt(v), here 1e6 over at most 5: the step is eta/eps m, but for a share of 5e-6 of it. */
static void test_large_eps(void)
{
    static const OptimConfig adam = {
        .rule = "adam", .hyper.at = {SET(LR, 1e5), SET(BETA1, .8), SET(EPS, 1e6), SET(BIAS_CORRECTION, 0)}};
    static const OptimConfig sgd = {.rule = "sgd",
                                    .hyper.at = {SET(LR, .1), SET(MOMENTUM, .8), SET(MOMENTUM_FORM, MOMENTUM_EMA)}};
    double largest;
    const double path = STEPS * .1 * 5, worst = largest_difference(&adam, &sgd, NULL, &largest);
    check(worst <= 5e-6 * path + STEPS * 4 * U * largest, "differ by %.3g", worst);
}

/* The places of eps, with and without corrections, in double. The uncorrected one is the outside one with
 * eps / sqrt(1 - b2^t). */
static void test_eps_modes(void)
{
    enum { N = 66 };
    const double b1 = .8, b2 = .9, eps = .5, lr = .1;
    for (int ablation = 0; ablation < 6; ablation++) {
        const int mode = ablation / 2, corrected = ablation % 2;
        const OptimConfig config = {.rule = "adamw",
                                    .hyper.at = {SET(LR, lr), SET(WEIGHT_DECAY, 0), SET(BETA1, b1), SET(BETA2, b2),
                                                 SET(EPS, eps), SET(EPS_MODE, mode), SET(BIAS_CORRECTION, corrected)}};
        Run run;
        run_begin(&run, &config, 6, 11, 4);
        double *w = doubles_of(run.p.values, N), m[N] = {0}, v[N] = {0};
        for (size_t t = 1; t <= STEPS; t++) {
            run_random_step(&run, 1, t);
            const double c1 = corrected ? 1 - pow(b1, (double)t) : 1, c2 = corrected ? 1 - pow(b2, (double)t) : 1;
            for (size_t i = 0; i < N; i++) {
                const double g = (double)run.p.grads[i];
                m[i] = b1 * m[i] + (1 - b1) * g;
                v[i] = b2 * v[i] + (1 - b2) * g * g;
                const double outside = mode == EPS_UNCORRECTED ? eps / sqrt(c2) : mode == EPS_OUTSIDE ? eps : 0;
                w[i] -= lr * m[i] / c1 / (sqrt(v[i] / c2 + (mode == EPS_INSIDE ? eps : 0)) + outside);
            }
        }
        /* two roundings of a weight below 5 a step, 16 of a step below 0.4 */
        check_close_to_doubles(run.p.values, w, N, STEPS * U * (2 * 5 + 16 * .4), "eps modes");
        free(w);
        run_end(&run);
    }
}

/* w_k+1 = prod_i (1 - a eta_i) w_0 - sum_j eta_j prod_i>j (1 - a eta_i) s_j */
static void test_unrolled_decay(void)
{
    enum { N = 66 };
    const double b1 = .9, b2 = .95, lr = .2, decay = .5;
    const OptimConfig config = {.rule = "adamw", .hyper.at = {SET(LR, lr), SET(WEIGHT_DECAY, decay)}};
    Run run;
    run_begin(&run, &config, 6, 11, 5);
    double *start = doubles_of(run.p.values, N), s[STEPS][N], m[N] = {0}, v[N] = {0}, eta[STEPS], want[N];
    for (size_t j = 0; j < STEPS; j++) {
        const double t = (double)j + 1;
        eta[j] = lr * (1 - (double)j / 16);
        run_random_step(&run, 1 - (double)j / 16, 40 + j);
        for (size_t i = 0; i < N; i++) {
            const double g = (double)run.p.grads[i];
            m[i] = b1 * m[i] + (1 - b1) * g;
            v[i] = b2 * v[i] + (1 - b2) * g * g;
            s[j][i] = m[i] / (1 - pow(b1, t)) / (sqrt(v[i] / (1 - pow(b2, t))) + 1e-8);
        }
    }
    for (size_t i = 0; i < N; i++) {
        double kept = 1;
        want[i] = 0;
        for (size_t j = STEPS; j-- > 0;) {
            want[i] -= eta[j] * kept * s[j][i];
            kept *= 1 - decay * eta[j];
        }
        want[i] += kept * start[i];
    }
    /* as in double: weights below 4 are rounded twice a step, steps below 1 sixteen times */
    check_close_to_doubles(run.p.values, want, N, STEPS * U * (2 * 4 + 16 * lr * 2), "weights");
    free(start);
    run_end(&run);
}

/* --------------------------------------------------------------------------------------------------------------
 * What changes during a run
 */

static void test_momentum_schedule(void)
{
    static const struct {
        size_t warmup, cooldown, steps, s;
        double want;
    } cases[] = {
        {4, 5, 20, 0, .85},  {4, 5, 20, 2, .9},    {4, 5, 20, 3, .925}, {4, 5, 20, 4, .95},  {4, 5, 20, 10, .95},
        {4, 5, 20, 15, .95}, {4, 5, 20, 16, .93},  {4, 5, 20, 19, .87}, {10, 10, 12, 5, .9}, {10, 10, 12, 8, .89},
        {0, 0, 0, 7, .95},   {300, 0, 0, 150, .9}, {0, 4, 20, 0, .95},  {0, 4, 20, 18, .9},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        OptimHyper h = {.at = {SET(MOMENTUM, .95), SET(MOMENTUM_START, .85),
                               SET(MOMENTUM_WARMUP, (double)cases[i].warmup),
                               SET(MOMENTUM_COOLDOWN, (double)cases[i].cooldown)}};
        hyper_schedule(&h, cases[i].s, cases[i].steps);
        check(fabs(hyper(&h, HYPER_MOMENTUM) - cases[i].want) <= 1e-15, "case %zu: momentum %.17g", i,
              hyper(&h, HYPER_MOMENTUM));
    }
    OptimHyper plain = {.at = {SET(MOMENTUM, .5)}};
    hyper_schedule(&plain, 0, 10);
    check(hyper(&plain, HYPER_MOMENTUM) == .5, "a rule without a warmup has one");
}

/* The rules take it: a warmup of 2 from 0 to 0.9 in three steps, and a cooldown over the last two of four. */
static void test_momentum_schedule_used(void)
{
    static const char *const rules[] = {"muon", "normuon", "muonh", "normuonh", "muon2", "soap-muon"};
    static const double momentum[4] = {0, .45, .9, .45};
    for (size_t rule = 0; rule < COUNT(rules); rule++) {
        const OptimConfig config = {.rule = rules[rule],
                                    .steps = 4,
                                    .hyper.at = {SET(MOMENTUM, .9), SET(MOMENTUM_START, 0), SET(MOMENTUM_WARMUP, 2),
                                                 SET(MOMENTUM_COOLDOWN, 2)}};
        Run run;
        run_begin(&run, &config, 6, 11, 6);
        double m[66] = {0};
        for (size_t t = 0; t < 4; t++) {
            run_random_step(&run, 1, 50 + t);
            for (size_t i = 0; i < 66; i++)
                m[i] = momentum[t] * m[i] + (1 - momentum[t]) * (double)run.p.grads[i];
            /* 4 roundings of numbers below 4 a step */
            check_close_to_doubles(state_of(run.optim, "m").data, m, 66, 4 * 4 * 4 * U, rules[rule]);
        }
        run_end(&run);
    }
}

/* The eps schedule as it is written down: eps0, then A e^(k(s-wT)) + B, then the largest. */
static double eps_by_hand(double s, double steps, double least, double most, double k, double w, double end)
{
    const double span = steps * (end - w), done = s - w * steps;
    if (done < 0)
        return least;
    if (s >= end * steps)
        return most;
    if (k == 0)
        return least + (most - least) * done / span;
    const double a = (most - least) / expm1(k * span), b = least - a;
    return a * exp(k * done) + b;
}

static double scheduled_eps(size_t s, size_t steps, double k)
{
    OptimHyper h = {.at = {SET(EPS, 1e-8), SET(EPS_MAX, 2), SET(EPS_RATE, k), SET(EPS_START, .25), SET(EPS_END, .75)}};
    hyper_schedule(&h, s, steps);
    return hyper(&h, HYPER_EPS);
}

static void test_eps_schedule(void)
{
    static const double rates[] = {0, .05, .3, 1};
    for (size_t i = 0; i < COUNT(rates); i++)
        for (size_t s = 0; s < 100; s++) /* 2 = A e^.. + B cancels at the start: roundings of the largest term */
            check_close(scheduled_eps(s, 100, rates[i]), eps_by_hand((double)s, 100, 1e-8, 2, rates[i], .25, .75),
                        1e-13, "eps");
    check(scheduled_eps(24, 100, .3) == 1e-8 && scheduled_eps(25, 100, .3) == 1e-8, "eps before it grows");
    check(scheduled_eps(75, 100, .3) == 2 && scheduled_eps(99, 100, .3) == 2, "eps after it has grown");
    check_close(scheduled_eps(50, 100, 0), 1 + .5e-8, 1e-15, "halfway on a line");
    check_close(scheduled_eps(50, 100, 1e-15), 1 + .5e-8, 1e-12, "halfway on almost a line");
    /* e^(k n) = e^5e4 is no double; close to the end it is e^-k of the largest */
    for (size_t s = 0; s < 200; s++) {
        const double here = scheduled_eps(s, 2000, 50), last = s > 0 ? scheduled_eps(s * 10 - 10, 2000, 50) : 0;
        check(here <= 2 && scheduled_eps(s * 10, 2000, 50) >= last, "a steep eps is %g in step %zu", here, s);
    }
    check_close(scheduled_eps(1499, 2000, 50), 1e-8 + 2 * exp(-50), 1e-20, "a steep eps");
    check_close(scheduled_eps(1499, 2000, 1), 1e-8 + 2 * exp(-1), 1e-8, "a less steep eps");
}

/* Growing eps is a falling rate, element by element: eta_k = eta (sqrt(vhat) + eps0) / (sqrt(vhat) + eps_k). */
static void test_eps_is_a_rate(void)
{
    enum { N = 66, T = 20 };
    static const double rates[] = {0, .3};
    const double b1 = .9, b2 = .95, lr = .25, eps0 = .0625;
    for (size_t k = 0; k < COUNT(rates); k++) {
        const OptimConfig config = {.rule = "adamw",
                                    .steps = T,
                                    .hyper.at = {SET(LR, lr), SET(WEIGHT_DECAY, 0), SET(EPS, eps0), SET(EPS_MAX, 4),
                                                 SET(EPS_RATE, rates[k]), SET(EPS_START, .25), SET(EPS_END, .75)}};
        Run run;
        run_begin(&run, &config, 6, 11, 7);
        double *w = doubles_of(run.p.values, N), m[N] = {0}, v[N] = {0};
        for (size_t s = 0; s < T; s++) {
            const double t = (double)s + 1, eps = eps_by_hand((double)s, T, eps0, 4, rates[k], .25, .75);
            run_random_step(&run, 1, 60 + s);
            for (size_t i = 0; i < N; i++) {
                const double g = (double)run.p.grads[i];
                m[i] = b1 * m[i] + (1 - b1) * g;
                v[i] = b2 * v[i] + (1 - b2) * g * g;
                const double root = sqrt(v[i] / (1 - pow(b2, t))), rate = lr * (root + eps0) / (root + eps);
                w[i] -= rate * m[i] / (1 - pow(b1, t)) / (root + eps0);
            }
        }
        /* two roundings of a weight below 5 a step, 16 of a step below 1.5 lr */
        check_close_to_doubles(run.p.values, w, N, T * U * (2 * 5 + 16 * 1.5 * lr), "weights");
        free(w);
        run_end(&run);
    }
}

/* --------------------------------------------------------------------------------------------------------------
 * Orthogonal steps
 */

/* The sum form, u = g + mu B, from which Newton-Schulz divides the factor 1/(1-mu) out. */
static void test_muon_sum(void)
{
    static const NsFlavour flavours[] = {NS_JORDAN, NS_EXACT};
    for (size_t f = 0; f < COUNT(flavours); f++) {
        const NsFlavour ns = flavours[f];
        const OptimConfig config = {.rule = "muon", .hyper.at = {SET(NS, ns), SET(MOMENTUM, .9)}};
        Run run;
        run_begin(&run, &config, 6, 11, 8);
        double *w = doubles_of(run.p.values, 66), b[66] = {0};
        float u[66], *workspace = make_floats(ns_workspace(ns, 6, 11, 1));
        for (size_t t = 0; t < STEPS; t++) {
            run_random_step(&run, 1, 70 + t);
            for (size_t i = 0; i < 66; i++) {
                b[i] = .9 * b[i] + (double)run.p.grads[i];
                u[i] = (float)((double)run.p.grads[i] + .9 * b[i]);
            }
            ns_orthogonalise(here(), ns, ns_steps(ns, 0), u, 6, 11, 1, workspace);
            for (size_t i = 0; i < 66; i++)
                w[i] -= .02 * (double)u[i];
        }
        /* weights below 4 are rounded twice a step; u differs by some 8 roundings, which the small singular values,
         * above 0.05 of the norm, stretch */
        check_close_to_doubles(run.p.values, w, 66, STEPS * U * (2 * 4 + .02 * 8 / .05), ns_names[ns]);
        free(w);
        free(workspace);
        run_end(&run);
    }
}

/* <G, polar(G)> is the nuclear norm and |polar(G)|^2 the rank. The factor is rounded once, elements of G once. */
static void test_polar(void)
{
    static const double s[] = {.25, 1.5, 4};
    const double nuclear = 5.75, norm = sqrt(.0625 + 2.25 + 16);
    const OptimConfig spectral = {.rule = "spectral",
                                  .hyper.at = {SET(NS, NS_EXACT), SET(MUON_SCALE, MUON_SCALE_NONE)}};
    const OptimConfig steepest = {.rule = "spectral",
                                  .hyper.at = {SET(NS, NS_EXACT), SET(MUON_SCALE, MUON_SCALE_NUCLEAR)}};
    for (size_t k = 0; k < COUNT(shapes); k++) {
        const size_t n = shapes[k][0] * shapes[k][1];
        float *g = make_matrix_of(s, 3, shapes[k][0], shapes[k][1], 80 + k);
        float *o = update_of(spectral, g, shapes[k][0], shapes[k][1]),
              *dual = update_of(steepest, g, shapes[k][0], shapes[k][1]);
        double inner = 0;
        for (size_t i = 0; i < n; i++)
            inner += (double)g[i] * (double)o[i];
        check_close(inner, nuclear, 4 * U * norm * sqrt(3), "nuclear norm");
        /* a change dG of G turns the factor by up to 2 |dG| / the least singular value */
        check_close(norm_of(o, n) * norm_of(o, n), 3, 3 * 4 * U, "rank");
        check_close(norm_of(dual, n), nuclear * sqrt(3), 8 * U * nuclear * sqrt(3),
                    "steepest descent in the spectral norm");
        free(g);
        free(o);
        free(dual);
    }
}

/* Muon without momentum is spectral descent, to the bit, and Shampoo without memory. Singular values are from 1 to
 * 4, so eigenvalues from 1 to 16; their matrices are wrong by at most about 16 n U, which a root -1/4 passes on
 * times 1/4, a root -1/2 times 1/2, and the gradient, at most 4, makes 16 n U or 32 n U of it; two roots or one; and
 * the products' roundings of 4 n U each. */
static void test_shampoo_is_muon(void)
{
    static const double s[] = {1, 1.25, 1.75, 2.25, 2.5, 3.25, 4};
    for (size_t k = 0; k < COUNT(shapes); k++) {
        const size_t r = shapes[k][0], c = shapes[k][1], least = r < c ? r : c, n = r < c ? c : r;
        float *g = make_matrix_of(s, least, r, c, 90 + k);
        const OptimConfig muon = {.rule = "muon",
                                  .hyper.at = {SET(MOMENTUM, 0), SET(NS, NS_EXACT), SET(MUON_SCALE, MUON_SCALE_NONE)}};
        float *want = update_of(muon, g, r, c);
        for (int sides = SIDES_TWO; sides <= SIDES_ONE; sides++) {
            const OptimConfig shampoo = {.rule = "shampoo",
                                         .hyper.at = {SET(WEIGHT_DECAY, 0), SET(BETA1, 0), SET(BETA2, 0), SET(EPS, 0),
                                                      SET(BIAS_CORRECTION, 0), SET(SIDES, sides),
                                                      SET(GRAFT, GRAFT_NONE), SET(REFRESH, 1)}};
            float *got = update_of(shampoo, g, r, c);
            check_all_close(got, want, r * c, 44 * (double)n * U, sides == SIDES_TWO ? "two-sided" : "one-sided");
            free(got);
        }
        free(want);
        free(g);
    }
    for (int ns = 0; ns < NS_COUNT; ns++) {
        const OptimConfig muon = {.rule = "muon", .hyper.at = {SET(MOMENTUM, 0), SET(NS, ns)}};
        const OptimConfig spectral = {.rule = "spectral", .hyper.at = {SET(NS, ns)}};
        expect_same_bits(&muon, &spectral, "spectral descent");
    }
}

/* With damping the singular values s become s / sqrt(s^2 + eps), eps = 1/2: eigenvalues from 1/2 to 16.5 are wrong
 * by 16 n U; the roots' slopes are at most 0.6 (-1/4) and 1.42 (-1/2), and what they are multiplied with is at most
 * 2 or 4. */
static void test_damping(void)
{
    static const double s[] = {.1, .3, .8, 1.5, 2.25, 3, 4};
    for (size_t k = 0; k < COUNT(shapes); k++) {
        const size_t r = shapes[k][0], c = shapes[k][1], least = r < c ? r : c, n = r < c ? c : r;
        double damped[7];
        for (size_t i = 0; i < least; i++)
            damped[i] = s[i] / sqrt(s[i] * s[i] + .5);
        float *g = make_matrix_of(s, least, r, c, 100 + k), *want = make_matrix_of(damped, least, r, c, 100 + k);
        for (int sides = SIDES_TWO; sides <= SIDES_ONE; sides++) {
            const OptimConfig shampoo = {.rule = "shampoo",
                                         .hyper.at = {SET(WEIGHT_DECAY, 0), SET(BETA1, 0), SET(BETA2, 0), SET(EPS, .5),
                                                      SET(SIDES, sides), SET(GRAFT, GRAFT_NONE)}};
            float *got = update_of(shampoo, g, r, c);
            check_all_close(got, want, r * c, 100 * (double)n * U, sides == SIDES_TWO ? "two-sided" : "one-sided");
            free(got);
        }
        free(want);
        free(g);
    }
}

/* Grafting takes Adam's norm: 1 an element in the first step. The direction stays Shampoo's. */
static void test_graft(void)
{
    static const double s[] = {1, 1.5, 2, 2.5, 3, 3.5};
    float *g = make_matrix_of(s, 6, 6, 11, 110);
    const OptimConfig plain = {.rule = "shampoo", .hyper.at = {SET(WEIGHT_DECAY, 0), SET(GRAFT, GRAFT_NONE)}};
    const OptimConfig graft = {.rule = "shampoo", .hyper.at = {SET(WEIGHT_DECAY, 0), SET(GRAFT, GRAFT_ADAM)}};
    float *direction = update_of(plain, g, 6, 11), *got = update_of(graft, g, 6, 11);
    const double length = norm_of(direction, 66);
    for (size_t i = 0; i < 66; i++)
        direction[i] = (float)((double)direction[i] * sqrt(66) / length);
    check_close(norm_of(got, 66), sqrt(66), 16 * U * sqrt(66), "Adam's norm");
    check_all_close(got, direction, 66, 16 * U * sqrt(66), "Shampoo's direction");
    free(g);
    free(direction);
    free(got);
}

/* Roots are renewed every third step, factors in each. */
static void test_shampoo_refresh(void)
{
    const OptimConfig config = {.rule = "shampoo", .hyper.at = {SET(REFRESH, 3)}};
    Run run;
    run_begin(&run, &config, 6, 11, 12);
    for (size_t t = 0; t < 7; t++) {
        const OptimState root = state_of(run.optim, "left_root"), factor = state_of(run.optim, "left");
        float *old_root = copy_floats(root.data, 36), *old_factor = copy_floats(factor.data, 36);
        run_random_step(&run, 1, 110 + t);
        check((memcmp(root.data, old_root, 36 * sizeof(float)) != 0) == (t % 3 == 0), "roots in step %zu", t);
        check(memcmp(factor.data, old_factor, 36 * sizeof(float)) != 0, "the factor stays in step %zu", t);
        free(old_root);
        free(old_factor);
    }
    run_end(&run);
}

/* With eps = 0 roots are pseudo-inverse: what a factor has not seen is not moved. The first gradient fills three
 * rows, the second, before the roots are renewed, the others. */
static void test_shampoo_pseudo_inverse(void)
{
    for (int sides = SIDES_TWO; sides <= SIDES_ONE; sides++) {
        const OptimConfig config = {.rule = "shampoo",
                                    .hyper.at = {SET(LR, 1), SET(WEIGHT_DECAY, 0), SET(BETA1, 0), SET(EPS, 0),
                                                 SET(SIDES, sides), SET(GRAFT, GRAFT_NONE)}};
        Run run;
        run_begin(&run, &config, 6, 11, 11);
        memset(run.p.grads + 33, 0, 33 * sizeof(float));
        run_step(&run, 1);
        float *before = copy_floats(run.p.values, 66);
        fill_normal(run.p.grads, 66, 1, 12);
        memset(run.p.grads, 0, 33 * sizeof(float));
        run_step(&run, 1);
        /* eigenvectors of the three rows have nothing but double's rounding in the others */
        check_all_close(run.p.values, before, 66, 8 * U, "directions without a past");
        free(before);
        run_end(&run);
    }
}

/* --------------------------------------------------------------------------------------------------------------
 * Norms that are kept
 */

/* In each step every element is rounded once and so is the factor: relative errors of at most 2 U; twice as much where
 * EMA-Nesterov has shifted the weights, and the norm is set once more. */
static void test_hyperball_around(double shift)
{
    static const char *const rules[] = {"muonh", "normuonh", "adamh", "kl-soap"};
    for (size_t rule = 0; rule < COUNT(rules); rule++) {
        for (size_t k = 0; k < COUNT(shapes); k++) {
            const size_t n = shapes[k][0] * shapes[k][1];
            const OptimConfig config = {.rule = rules[rule],
                                        .hyper.at = {SET(LR, .25)},
                                        .averaging = {.nesterov = shift, .nesterov_decay = .75}};
            Run run;
            run_begin(&run, &config, shapes[k][0], shapes[k][1], 13);
            float *start = copy_floats(run.p.values, n);
            const double norm = norm_of(start, n);
            for (size_t t = 0; t < 50; t++)
                run_random_step(&run, 1, 120 + t);
            check_close(norm_of(run.p.values, n), norm, 50 * 4 * U * norm, rules[rule]);
            check(memcmp(start, run.p.values, n * sizeof *start) != 0, "%s does not move", rules[rule]);
            free(start);
            run_end(&run);
        }
    }
}

static void test_hyperball(void)
{
    test_hyperball_around(0);
    test_hyperball_around(.5);
}

/* Gradients eight times as large change no bit where no eps is in the way. */
static void test_hyperball_scale(void)
{
    static const OptimConfig configs[] = {
        {.rule = "muonh"}, {.rule = "normuonh"}, {.rule = "adamh", .hyper.at = {SET(EPS, 0)}}};
    for (size_t i = 0; i < COUNT(configs); i++) {
        Run a, b;
        run_begin(&a, &configs[i], 6, 11, 14);
        run_begin(&b, &configs[i], 6, 11, 14);
        for (size_t t = 0; t < 4; t++) {
            run_random_step(&a, 1, 130 + t);
            fill_normal(b.p.grads, 66, 8, 130 + t);
            run_step(&b, 1);
        }
        check_same_bits(a.p.values, b.p.values, 66 * sizeof(float), configs[i].rule);
        run_end(&a);
        run_end(&b);
    }
}

/* A step at right angles turns by atan(lr): W of ones, u of as many 1 as -1. */
static void test_hyperball_angle(void)
{
    const OptimConfig config = {.rule = "adamh", .hyper.at = {SET(LR, .75), SET(EPS, 0)}};
    Run run;
    run_begin(&run, &config, 4, 6, 15);
    for (size_t i = 0; i < 24; i++) {
        run.p.values[i] = 1;
        run.p.grads[i] = i % 2 == 0 ? 3 : -3;
    }
    run_step(&run, 1);
    for (size_t i = 0; i < 24; i++) /* cos 0.8, sin 0.6; some 8 roundings */
        check_close((double)run.p.values[i], i % 2 == 0 ? .8 - .6 : .8 + .6, 8 * 1.4 * U, "a turned weight");
    run_end(&run);
}

/* AdamH in double: Adam's direction, W' = W - lr |W| u/|u|, scaled back to |W|. Weights, below 4, are rounded some four
 * times a step, and steps, below 4 lr, sixteen times. */
static void test_adamh(void)
{
    enum { N = 66 };
    const double b1 = .9, b2 = .95, lr = .125;
    const OptimConfig config = {.rule = "adamh", .hyper.at = {SET(LR, lr), SET(EPS, .25)}};
    Run run;
    run_begin(&run, &config, 6, 11, 37);
    double *w = doubles_of(run.p.values, N), m[N] = {0}, v[N] = {0}, u[N];
    const double norm = norm_of(run.p.values, N);
    for (size_t t = 1; t <= STEPS; t++) {
        double length = 0, moved = 0;
        run_random_step(&run, 1, 350 + t);
        for (size_t i = 0; i < N; i++) {
            const double g = (double)run.p.grads[i];
            m[i] = b1 * m[i] + (1 - b1) * g;
            v[i] = b2 * v[i] + (1 - b2) * g * g;
            u[i] = m[i] / (sqrt(v[i] / (1 - pow(b2, (double)t))) + .25);
            length += u[i] * u[i];
        }
        for (size_t i = 0; i < N; i++) {
            w[i] -= lr * norm * u[i] / sqrt(length);
            moved += w[i] * w[i];
        }
        for (size_t i = 0; i < N; i++)
            w[i] *= norm / sqrt(moved);
    }
    check_close_to_doubles(run.p.values, w, N, STEPS * U * (4 * 4 + 16 * 4 * lr), "weights");
    free(w);
    run_end(&run);
}

static void test_zero_refused(void)
{
    for (size_t rule = 0; optim_rule_name(rule) != NULL; rule++) {
        const char *name = optim_rule_name(rule);
        const bool keeps = strcmp(name, "muonh") == 0 || strcmp(name, "normuonh") == 0 || strcmp(name, "adamh") == 0 ||
                           strcmp(name, "kl-soap") == 0;
        Params p = {0};
        Error e = {.text = ""};
        params_add(&p, "first", ROLE_HIDDEN_MATRIX, 4, 6, 1);
        params_add(&p, "fused", ROLE_HIDDEN_MATRIX, 12, 4, 3);
        params_add(&p, "last", ROLE_HIDDEN_MATRIX, 4, 6, 1);
        params_add(&p, "bias", ROLE_BIAS, 1, 4, 1);
        params_fill(&p, 16);
        memset(p.values + p.tensors[3].offset, 0, 4 * sizeof(float)); /* a vector may be zero */
        Optim *optim = make_optim(&(OptimConfig){.rule = name}, &p);
        check(optim_check_parameters(optim, &e) == 0, "%s refuses matrices that are not zero: %s", name, e.text);
        memset(p.values + p.tensors[1].offset + 16, 0, 16 * sizeof(float)); /* the second block */
        check(optim_check_parameters(optim, &e) == (keeps ? -1 : 0), "%s and a block of zeros", name);
        check(!keeps || (strstr(e.text, "fused") != NULL && strstr(e.text, name) != NULL), "names neither: %s", e.text);
        fill_normal(p.values + p.tensors[1].offset, 48, 1, 1);
        memset(p.values + p.tensors[2].offset, 0, 24 * sizeof(float));
        check(optim_check_parameters(optim, &e) == (keeps ? -1 : 0), "%s and a zero matrix", name);
        check(!keeps || strstr(e.text, "last") != NULL, "does not name the matrix: %s", e.text);
        optim_free(optim);
        params_free(&p);
    }
}

/* Squared lengths of the lines that NorMuon evens out: rows where r >= c, otherwise columns. */
static double line_norm(const float *x, size_t r, size_t c, size_t line)
{
    double squares = 0;
    for (size_t i = 0; i < (r >= c ? c : r); i++) {
        const double value = (double)(r >= c ? x[line * c + i] : x[i * c + line]);
        squares += value * value;
    }
    return sqrt(squares);
}

/* |O| of an exact factor is the root of the smaller side, and stays so; in the first step the lines are of one
 * length. */
static void test_normuon(void)
{
    const OptimConfig config = {.rule = "normuon",
                                .hyper.at = {SET(LR, 1), SET(NS, NS_EXACT), SET(MUON_SCALE, MUON_SCALE_NONE)}};
    for (size_t k = 0; k < COUNT(shapes); k++) {
        const size_t r = shapes[k][0], c = shapes[k][1], n = r * c, least = r < c ? r : c, most = r < c ? c : r;
        const double want = sqrt((double)least);
        Run run;
        run_begin(&run, &config, r, c, 17);
        const OptimState v = state_of(run.optim, "v");
        check(v.rows == (r >= c ? r : 1) && v.cols == (r >= c ? 1 : c), "v of %zu x %zu is %zu x %zu", r, c, v.rows,
              v.cols);
        for (size_t t = 0; t < 6; t++) {
            memset(run.p.values, 0, n * sizeof(float));
            run_random_step(&run, 1, 140 + t);
            /* the factor, its lines and its scale are rounded */
            check_close(norm_of(run.p.values, n), want, 8 * U * want, "|O|");
            for (size_t line = 0; line < most && t == 0; line++)
                check_close(line_norm(run.p.values, r, c, line), want / sqrt((double)most), 8 * U * want, "a line");
        }
        run_end(&run);
    }
}

/* --------------------------------------------------------------------------------------------------------------
 * Adam with constrained parameter regularisation
 */

/* One step in double from where the run stands. */
static void cpr_by_hand(const Run *run, size_t t, size_t warmup, double *w, double *multiplier, double *bound)
{
    const double b1 = .9, b2 = .95, n = (double)run->p.floats;
    const float *m = state_of(run->optim, "m").data, *v = state_of(run->optim, "v").data;
    double squares = 0;
    for (size_t i = 0; i < run->p.floats; i++) {
        const double g = (double)run->p.grads[i], mi = b1 * (double)m[i] + (1 - b1) * g,
                     vi = b2 * (double)v[i] + (1 - b2) * g * g;
        const double step = mi / (1 - pow(b1, (double)t)) / (sqrt(vi / (1 - pow(b2, (double)t))) + 1e-8);
        w[i] = (double)run->p.values[i] - .01 * step;
        squares += w[i] * w[i];
    }
    *multiplier = (double)state_of(run->optim, "lambda").data[0];
    *bound = t == warmup ? squares / n : (double)state_of(run->optim, "kappa").data[0];
    if (t > warmup)
        *multiplier = fmax(0, *multiplier + squares / n - *bound);
    for (size_t i = 0; i < run->p.floats && t > warmup; i++)
        w[i] -= 2 * *multiplier * w[i];
}

/* Gradients that always push outwards. Each step is compared, from where it starts, to one in double; rates are
 * 0.01, mean squares about 0.09, weights below 1.5. */
static void test_cpr(void)
{
    enum { N = 66, WARMUP = 5 };
    const OptimConfig config = {.rule = "adam-cpr", .hyper.at = {SET(LR, .01), SET(CPR_WARMUP, WARMUP)}};
    Run run;
    run_begin(&run, &config, 6, 11, 18);
    fill_normal(run.p.values, N, .3, 18);
    double w[N], multiplier, bound, raised = 0;
    for (size_t t = 1; t <= 300; t++) {
        for (size_t i = 0; i < N; i++)
            run.p.grads[i] = -copysignf(1, run.p.values[i]);
        cpr_by_hand(&run, t, WARMUP, w, &multiplier, &bound);
        run_step(&run, 1);
        const double lambda = (double)state_of(run.optim, "lambda").data[0],
                     kappa = (double)state_of(run.optim, "kappa").data[0];
        const double mean = norm_of(run.p.values, N) * norm_of(run.p.values, N) / N;
        /* 2 U of a weight is 4 U of its square; so much is the multiplier off, and its own rounding; the weight
         * twice that */
        check_close(kappa, bound, 5 * U * bound, "kappa");
        check_close(lambda, multiplier, 4 * U * 0.2 + U * multiplier, "lambda");
        check_close_to_doubles(run.p.values, w, N, U * 1.5 * 8, "weights");
        /* mean - kappa and lambda swing about a rest point like position and speed; from 0 their amplitude is
         * lr mean|W| / sqrt(kappa), at most lr */
        check(t <= WARMUP || mean <= kappa + 2 * .01, "step %zu: the mean square is %g and was to be %g", t, mean,
              kappa);
        raised = fmax(raised, lambda);
        check(t > WARMUP || lambda == 0, "a multiplier in the warmup");
    }
    /* unbound, 300 steps of 0.01 would make weights of 3, mean squares of 9 */
    check(raised > 0, "the multiplier never rose");
    run_end(&run);
}

/* --------------------------------------------------------------------------------------------------------------
 * Cautious decay
 */

/* The weights after a second step of rate 1/4 from `start`. */
static float *second_step(const char *rule, bool cautious, double decay, const float *start)
{
    const OptimConfig config = {.rule = rule,
                                .hyper.at = {SET(LR, .25), SET(WEIGHT_DECAY, decay), SET(CAUTIOUS, cautious)}};
    Run run;
    run_begin(&run, &config, 6, 11, 19);
    run_random_step(&run, 1, 150);
    memcpy(run.p.values, start, 66 * sizeof *start);
    run_random_step(&run, 1, 151);
    float *values = copy_floats(run.p.values, 66);
    run_end(&run);
    return values;
}

/* Where the step u makes the weight smaller, the bits of plain decay; elsewhere those of none. soap looks at the weight
 * after its step. Then with weights that all have the sign of u. */
static void cautious_rule(const char *rule)
{
    float start[66];
    fill_normal(start, 66, 1, 152);
    for (int aligned = 0; aligned < 2; aligned++) {
        float *on = second_step(rule, true, .5, start), *off = second_step(rule, false, .5, start);
        float *none = second_step(rule, false, 0, start);
        size_t decayed = 0, spared = 0;
        for (size_t i = 0; i < 66; i++) {
            const float u = start[i] - none[i], w = strcmp(rule, "soap") == 0 ? none[i] : start[i];
            if (u == 0)
                continue; /* lost in rounding */
            decayed += u * w > 0;
            spared += u * w < 0;
            check_same_bits(&on[i], u * w > 0 ? &off[i] : &none[i], sizeof *on, rule);
            start[i] = copysignf(8 + fabsf(start[i]), u);
        }
        check(decayed > 10 && (aligned ? spared == 0 : spared > 10), "%s: %zu decayed, %zu spared", rule, decayed,
              spared);
        check(!aligned || decayed < 66 || memcmp(on, off, sizeof start) == 0, "%s: aligned weights decay otherwise",
              rule);
        free(on);
        free(off);
        free(none);
    }
}

static void test_cautious(void)
{
    static const char *const rules[] = {"adamw",   "nested-adam", "signsgd", "signum",  "lion", "muon",     "spectral",
                                        "normuon", "muon2",       "dion",    "shampoo", "soap", "soap-muon"};
    for (size_t i = 0; i < COUNT(rules); i++)
        cautious_rule(rules[i]);
}

/* --------------------------------------------------------------------------------------------------------------
 * Dion
 */

/* The step is sqrt(r/c) P Q^T with orthonormal P and columns of Q of length 1: its Gram matrix is r/c Q Q^T, its
 * rank k, its norm sqrt(k r/c), its largest singular value at most that. */
static void test_dion_step(void)
{
    static const struct {
        size_t rank, k[3];
    } ranks[] = {{1, {1, 1, 1}}, {3, {3, 3, 3}}, {0, {6, 5, 7}}, {100, {6, 5, 7}}};
    for (size_t i = 0; i < COUNT(ranks) * COUNT(shapes); i++) {
        const size_t shape = i % COUNT(shapes), r = shapes[shape][0], c = shapes[shape][1],
                     k = ranks[i / COUNT(shapes)].k[shape];
        const double scale = (double)r / (double)c, rank = (double)k;
        const OptimConfig config = {.rule = "dion",
                                    .hyper.at = {SET(LR, 1), SET(RANK, (double)ranks[i / COUNT(shapes)].rank)}};
        Run run;
        run_begin(&run, &config, r, c, 20);
        for (size_t t = 0; t < 4; t++) {
            memset(run.p.values, 0, r * c * sizeof(float));
            run_random_step(&run, 1, 160 + t);
        }
        const OptimState q = state_of(run.optim, "q");
        check(q.rows == c && q.cols == k, "q is %zu x %zu", q.rows, q.cols);
        double *u = doubles_of(run.p.values, r * c), *right = doubles_of(q.data, c * k), *got = make_doubles(c * c);
        double *want = make_doubles(c * c), *s = singular_values(run.p.values, r, c);
        product(got, u, true, u, false, c, r, c);
        product(want, right, false, right, true, c, k, c);
        /* an element of P Q^T is wrong by (k+3) U at most, being a sum of k terms below 1; columns are at most
         * sqrt(k) long */
        for (size_t j = 0; j < c * c; j++)
            check_close(got[j] / scale, want[j], 4 * (rank + 3) * U * rank, "Gram matrix of the step");
        check_close(norm_of(run.p.values, r * c), sqrt(rank * scale), 8 * U * rank * sqrt(rank * scale),
                    "norm of the step");
        for (size_t j = 0; j < (r < c ? r : c); j++)
            check(s[j] <= sqrt(rank * scale) * (1 + 1e-6) && (j + k >= (r < c ? r : c) || s[j] <= 1e-5),
                  "singular value %g", s[j]);
        free(u);
        free(right);
        free(got);
        free(want);
        free(s);
        run_end(&run);
    }
}

/* A gradient of rank k with equal singular values: power iteration is exact, and the step is the polar factor. The
 * condition of V^T Q, at worst some 50 here, stretches the 16 roundings on the way. */
static void test_dion_polar(void)
{
    static const double twos[] = {2, 2, 2}, ones[] = {1, 1, 1};
    for (size_t shape = 0; shape < COUNT(shapes); shape++) {
        const size_t r = shapes[shape][0], c = shapes[shape][1];
        float *g = make_matrix_of(twos, 3, r, c, 170), *want = make_matrix_of(ones, 3, r, c, 170);
        const OptimConfig config = {.rule = "dion", .hyper.at = {SET(RANK, 3)}};
        float *got = update_of(config, g, r, c);
        for (size_t i = 0; i < r * c; i++)
            want[i] *= (float)sqrt((double)r / (double)c);
        check_all_close(got, want, r * c, 50 * 16 * U, "step");
        free(g);
        free(want);
        free(got);
    }
}

/* P (r,k) = orthonormal columns of x (r,k), Gram-Schmidt twice. Returns the least length that was left of a column. */
static double orthonormalise(double *x, size_t r, size_t k)
{
    double least = HUGE_VAL;
    for (size_t j = 0; j < k; j++) {
        for (size_t pass = 0; pass < 2; pass++)
            for (size_t l = 0; l < j; l++) {
                double along = 0;
                for (size_t i = 0; i < r; i++)
                    along += x[i * k + j] * x[i * k + l];
                for (size_t i = 0; i < r; i++)
                    x[i * k + j] -= along * x[i * k + l];
            }
        double squares = 0;
        for (size_t i = 0; i < r; i++)
            squares += x[i * k + j] * x[i * k + j];
        least = fmin(least, sqrt(squares));
        for (size_t i = 0; i < r; i++)
            x[i * k + j] /= sqrt(squares);
    }
    return least;
}

/* B_before + g = B_after + (1-mu) P R^T with R = (B_before + g)^T P. */
static void test_dion_feedback(void)
{
    enum { R = 9, C = 14, K = 3 };
    const double mu = .5;
    const OptimConfig config = {.rule = "dion", .hyper.at = {SET(MOMENTUM, mu), SET(RANK, K)}};
    Run run;
    run_begin(&run, &config, R, C, 21);
    for (size_t t = 0; t < 6; t++) {
        fill_normal(run.p.grads, R * C, 1, 180 + t);
        double *b = doubles_of(state_of(run.optim, "b").data, R * C),
               *q = doubles_of(state_of(run.optim, "q").data, C * K);
        double p[R * K], rest[C * K], low[R * C], b_norm = 0, q_norm = 0;
        for (size_t i = 0; i < R * C; i++) {
            b[i] += (double)run.p.grads[i];
            b_norm += b[i] * b[i];
        }
        for (size_t i = 0; i < C * K; i++)
            q_norm += q[i] * q[i];
        product(p, b, false, q, false, R, C, K);
        const double least = orthonormalise(p, R, K), condition = sqrt(b_norm * q_norm) / least;
        product(rest, b, true, p, false, C, R, K);
        product(low, p, false, rest, true, R, K, C);
        for (size_t i = 0; i < R * C; i++)
            b[i] -= (1 - mu) * low[i];
        run_step(&run, 1);
        /* B Q is wrong by c U |B| |Q|, P by the condition times that, P R^T by |B| times twice that */
        check_close_to_doubles(state_of(run.optim, "b").data, b, R * C,
                               U * sqrt(b_norm) * (4 + 2 * (1 - mu) * C * condition), "b");
        free(b);
        free(q);
    }
    run_end(&run);
}

/* --------------------------------------------------------------------------------------------------------------
 * SOAP and its relatives
 */

static const char *const soaps[] = {"soap", "soap-muon", "kl-soap"};

/* Elements of Q^T Q - I. Q is orthonormal in double; rounding each element to fp32 leaves 2 U. */
static void check_orthonormal(const OptimState *basis, const char *what)
{
    const size_t n = basis->rows;
    double *q = doubles_of(basis->data, n * n), *gram = make_doubles(n * n);
    product(gram, q, true, q, false, n, n, n);
    for (size_t i = 0; i < n * n; i++)
        check_close(gram[i], i % (n + 1) == 0, 3 * U, what);
    free(q);
    free(gram);
}

static void test_bases_orthonormal(void)
{
    for (size_t i = 0; i < COUNT(soaps) * COUNT(shapes); i++) {
        const size_t r = shapes[i % COUNT(shapes)][0], c = shapes[i % COUNT(shapes)][1];
        const char *rule = soaps[i / COUNT(shapes)];
        Run run;
        run_begin(&run, &(OptimConfig){.rule = rule, .hyper.at = {SET(REFRESH, 2)}}, r, c, 22);
        for (size_t t = 0; t < 20; t++) {
            run_random_step(&run, 1, 190 + t);
            const OptimState left = state_of(run.optim, "left_basis"), right = state_of(run.optim, "right_basis");
            check_orthonormal(&left, rule);
            check_orthonormal(&right, rule);
        }
        run_end(&run);
    }
}

/* After the first step Q^T L Q is diagonal and descends: rounding Q to fp32 leaves 2 U sqrt(n) of the largest. */
static void check_diagonal(const OptimState *factor, const OptimState *basis, const char *what)
{
    const size_t n = basis->rows;
    double *q = doubles_of(basis->data, n * n), *l = doubles_of(factor->data, n * n);
    double *lq = make_doubles(n * n), *d = make_doubles(n * n);
    product(lq, l, false, q, false, n, n, n);
    product(d, q, true, lq, false, n, n, n);
    const double bound = 3 * U * sqrt((double)n) * d[0];
    for (size_t i = 0; i < n * n; i++)
        check(i % (n + 1) == 0 || fabs(d[i]) <= bound, "%s: Q^T L Q has %g beside its diagonal", what, d[i]);
    for (size_t i = 1; i < n; i++)
        check(d[i * n + i] <= d[(i - 1) * n + i - 1] + bound, "%s: eigenvalues do not descend", what);
    check(d[0] > 0, "%s: no factor", what);
    free(q);
    free(l);
    free(lq);
    free(d);
}

static void test_first_bases(void)
{
    for (size_t i = 0; i < COUNT(soaps) * COUNT(shapes); i++) {
        const size_t r = shapes[i % COUNT(shapes)][0], c = shapes[i % COUNT(shapes)][1];
        const char *rule = soaps[i / COUNT(shapes)];
        Run run;
        run_begin(&run, &(OptimConfig){.rule = rule, .hyper.at = {SET(REFRESH, 2)}}, r, c, 23);
        float *before = copy_floats(run.p.values, r * c);
        run_step(&run, 1);
        const OptimState left = state_of(run.optim, "left"), right = state_of(run.optim, "right");
        const OptimState left_basis = state_of(run.optim, "left_basis"),
                         right_basis = state_of(run.optim, "right_basis");
        check_diagonal(&left, &left_basis, rule);
        check_diagonal(&right, &right_basis, rule);
        const bool moved = memcmp(before, run.p.values, r * c * sizeof(float)) != 0;
        check(moved == (strcmp(rule, "soap-muon") == 0), "%s in its first step: moved %d", rule, moved);
        free(before);
        run_end(&run);
    }
}

/* Places of n numbers by descending value. */
static void order_of(const double *values, size_t n, size_t *order)
{
    for (size_t i = 0; i < n; i++) {
        size_t rank = 0;
        for (size_t j = 0; j < n; j++)
            rank += values[j] > values[i] || (values[j] == values[i] && j < i);
        order[rank] = i;
    }
}

/* Q_new^T L Q_old is R: upper triangular, its diagonal not negative. For soap Q_old's columns are sorted by Q^T L Q.
 * The product L Q is wrong by n U of the largest eigenvalue in fp32, Q_new's elements by U. */
static void check_refreshed(const char *rule, const OptimState *factor, const float *old_basis, const OptimState *basis)
{
    enum { MOST = 12 };
    const size_t n = basis->rows;
    double *q = doubles_of(basis->data, n * n), *old = doubles_of(old_basis, n * n),
           *l = doubles_of(factor->data, n * n);
    double *lq = make_doubles(n * n), *upper = make_doubles(n * n), values[MOST], trace = 0;
    size_t order[MOST];
    product(lq, l, false, old, false, n, n, n);
    product(upper, old, true, lq, false, n, n, n);
    for (size_t i = 0; i < n; i++) {
        values[i] = strcmp(rule, "soap") == 0 ? upper[i * n + i] : -(double)i;
        trace += l[i * n + i];
    }
    order_of(values, n, order);
    product(upper, q, true, lq, false, n, n, n);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            check(fabs(upper[i * n + order[j]]) <= 2 * (double)n * U * trace, "%s: R has %g below its diagonal", rule,
                  upper[i * n + order[j]]);
    for (size_t i = 0; i < n; i++)
        check(upper[i * n + order[i]] >= -2 * (double)n * U * trace, "%s: R's diagonal has %g", rule,
              upper[i * n + order[i]]);
    free(q);
    free(old);
    free(l);
    free(lq);
    free(upper);
}

/* Steps, counted from 0, after which bases are renewed: every second call after the first; soap-muon counts all
 * calls. */
static bool refreshes(const char *rule, size_t t)
{
    return strcmp(rule, "soap-muon") == 0 ? (t + 1) % 2 == 0 : t > 0 && t % 2 == 0;
}

static void test_refresh(void)
{
    for (size_t i = 0; i < COUNT(soaps) * 2; i++) {
        const size_t r = shapes[i % 2][0], c = shapes[i % 2][1];
        const char *rule = soaps[i / 2];
        Run run;
        run_begin(&run, &(OptimConfig){.rule = rule, .hyper.at = {SET(REFRESH, 2)}}, r, c, 24);
        run_random_step(&run, 1, 210);
        const OptimState left = state_of(run.optim, "left"), right = state_of(run.optim, "right");
        const OptimState left_basis = state_of(run.optim, "left_basis"),
                         right_basis = state_of(run.optim, "right_basis");
        for (size_t t = 1; t < 8; t++) {
            float *old_left = copy_floats(left_basis.data, r * r), *old_right = copy_floats(right_basis.data, c * c);
            run_random_step(&run, 1, 210 + t);
            if (refreshes(rule, t)) {
                check_refreshed(rule, &left, old_left, &left_basis);
                check_refreshed(rule, &right, old_right, &right_basis);
            } else {
                check_same_bits(left_basis.data, old_left, r * r * sizeof(float), rule);
                check_same_bits(right_basis.data, old_right, c * c * sizeof(float), rule);
            }
            free(old_left);
            free(old_right);
        }
        run_end(&run);
    }
}

/* to (n,n) = keep to + share x x^T, or x^T x of the (r,c) x where it is the right one. */
static void average_gram(double *to, const double *x, bool right, size_t r, size_t c, double keep, double share)
{
    const size_t n = right ? c : r;
    double *gram = make_doubles(n * n);
    product(gram, x, right, x, !right, n, right ? r : c, n);
    for (size_t i = 0; i < n * n; i++)
        to[i] = keep * to[i] + share * gram[i];
    free(gram);
}

/* Factors of soap, soap-muon and Shampoo: averages from zero. Sums of at most 11 products are wrong by 11 U of at most
 * |g|^2, below 150, and the averages by some more. */
static void test_factors(void)
{
    static const char *const rules[] = {"soap", "soap-muon", "shampoo"};
    for (size_t k = 0; k < COUNT(rules); k++) {
        Run run;
        run_begin(&run, &(OptimConfig){.rule = rules[k], .hyper.at = {SET(BETA2, .75)}}, 6, 11, 34);
        double left[36] = {0}, right[121] = {0};
        for (size_t t = 0; t < 6; t++) {
            run_random_step(&run, 1, 330 + t);
            double *g = doubles_of(run.p.grads, 66);
            average_gram(left, g, false, 6, 11, .75, .25);
            average_gram(right, g, true, 6, 11, .75, .25);
            check_close_to_doubles(state_of(run.optim, "left").data, left, 36, 16 * U * 150, rules[k]);
            check_close_to_doubles(state_of(run.optim, "right").data, right, 121, 16 * U * 150, rules[k]);
            free(g);
        }
        run_end(&run);
    }
}

/* One step of kl-soap's factors and scales in double, from where the run stands:
 *   X = G QR diag(sR), Y = diag(sL) QL^T G;  L = b L + (1-b) X X^T / c, R = b R + (1-b) Y^T Y / r;
 *   1/sL^2 = b/sL^2 + (1-b) mean of the rows of (G' diag(sR))^2, sR from the columns of diag(sL) G' */
typedef struct KlFactors {
    double left[36], right[121], left_scale[6], right_scale[11];
} KlFactors;

static void kl_by_hand(const Run *run, double beta, KlFactors *f)
{
    enum { R = 6, C = 11 };
    const float *old_left = state_of(run->optim, "left").data, *old_right = state_of(run->optim, "right").data;
    const float *sl = state_of(run->optim, "left_scale").data, *sr = state_of(run->optim, "right_scale").data;
    double *g = doubles_of(run->p.grads, R * C), *ql = doubles_of(state_of(run->optim, "left_basis").data, R * R);
    double *qr = doubles_of(state_of(run->optim, "right_basis").data, C * C);
    double x[R * C], y[R * C], both[R * C], rows[R] = {0}, columns[C] = {0};
    product(x, g, false, qr, false, R, C, C);
    product(y, ql, true, g, false, R, R, C);
    product(both, ql, true, x, false, R, R, C);
    for (size_t i = 0; i < R; i++)
        for (size_t j = 0; j < C; j++) {
            const double scaled = both[i * C + j] * (double)sr[j], other = both[i * C + j] * (double)sl[i];
            x[i * C + j] *= (double)sr[j];
            y[i * C + j] *= (double)sl[i];
            rows[i] += scaled * scaled / C;
            columns[j] += other * other / R;
        }
    for (size_t i = 0; i < R * R; i++)
        f->left[i] = (double)old_left[i];
    for (size_t i = 0; i < C * C; i++)
        f->right[i] = (double)old_right[i];
    average_gram(f->left, x, false, R, C, beta, (1 - beta) / C);
    average_gram(f->right, y, true, R, C, beta, (1 - beta) / R);
    for (size_t i = 0; i < R; i++)
        f->left_scale[i] = 1 / sqrt(beta / ((double)sl[i] * (double)sl[i]) + (1 - beta) * rows[i]);
    for (size_t j = 0; j < C; j++)
        f->right_scale[j] = 1 / sqrt(beta / ((double)sr[j] * (double)sr[j]) + (1 - beta) * columns[j]);
    free(g);
    free(ql);
    free(qr);
}

/* A product of fp32 is wrong by up to 11 U of the lengths of its lines, and so, some three products on, is a factor
 * of its trace, and are the scales: they are below sqrt(10). */
static void test_kl_factors(void)
{
    const OptimConfig config = {.rule = "kl-soap", .hyper.at = {SET(BETA2, .75)}};
    Run run;
    KlFactors want = {.left = {0}};
    run_begin(&run, &config, 6, 11, 35);
    run_random_step(&run, 1, 340);
    double *g = doubles_of(run.p.grads, 66);
    average_gram(want.left, g, false, 6, 11, 0, 1. / 11);
    average_gram(want.right, g, true, 6, 11, 0, 1. / 6);
    check_close_to_doubles(state_of(run.optim, "left").data, want.left, 36, 16 * U * 150 / 11, "first left factor");
    check_close_to_doubles(state_of(run.optim, "right").data, want.right, 121, 16 * U * 150 / 6, "first right factor");
    free(g);
    for (size_t t = 1; t < 6; t++) {
        fill_normal(run.p.grads, 66, 1, 340 + t);
        kl_by_hand(&run, .75, &want);
        run_step(&run, 1);
        double left = 0, right = 0;
        for (size_t i = 0; i < 6; i++)
            left += want.left[i * 7];
        for (size_t i = 0; i < 11; i++)
            right += want.right[i * 12];
        check_close_to_doubles(state_of(run.optim, "left").data, want.left, 36, 3 * 11 * U * left, "left factor");
        check_close_to_doubles(state_of(run.optim, "right").data, want.right, 121, 3 * 11 * U * right, "right factor");
        const float *sl = state_of(run.optim, "left_scale").data, *sr = state_of(run.optim, "right_scale").data;
        check_close_to_doubles(sl, want.left_scale, 6, 3 * 11 * U * sqrt(10), "left scale");
        check_close_to_doubles(sr, want.right_scale, 11, 3 * 11 * U * sqrt(10), "right scale");
    }
    run_end(&run);
}

/* Without gradients the eigenvalues, 0.1 at first, fade, and their inverse roots rise to 4000. A rounding of the
 * root a step. */
static void test_kl_scales(void)
{
    Run run;
    run_begin(&run, &(OptimConfig){.rule = "kl-soap"}, 6, 11, 36);
    memset(run.p.grads, 0, 66 * sizeof(float));
    for (size_t t = 0; t < 200; t++) {
        const double root = 1 / sqrt(.1 * pow(.9, (double)t)), want = root < 4000 ? root : 4000;
        run_step(&run, 1);
        const double bound = (double)(t + 1) * U * want;
        check_close((double)state_of(run.optim, "left_scale").data[5], want, bound, "left scale");
        check_close((double)state_of(run.optim, "right_scale").data[10], want, bound, "right scale");
    }
    run_end(&run);
}

static void set_identity(const OptimState *basis)
{
    for (size_t i = 0; i < basis->rows * basis->cols; i++)
        basis->data[i] = i % (basis->cols + 1) == 0;
}

/* g (n,n): one number in each row and each column, so that g g^T and g^T g are diagonal. */
static void fill_scattered(float *g, size_t n, size_t t)
{
    float *values = make_floats(n);
    fill_normal(values, n, 1, 230 + t);
    memset(g, 0, n * n * sizeof *g);
    for (size_t i = 0; i < n; i++)
        g[i * n + (2 * i + t) % n] = values[i];
    free(values);
}

/* With the identity for bases, which refreshing may only sort, soap is Adam in eps mode "uncorrected" from its
 * second call on, and decays after the step. Adam's moments round alike; signs and places of the basis change no bit
 * of a product with zeros; the weights, below 4, are rounded three times a step and steps below 1 some 16 times. */
static void test_soap_is_adam(void)
{
    enum { N = 5 };
    for (size_t refresh = 1; refresh <= 3; refresh++) {
        const OptimConfig config = {.rule = "soap",
                                    .hyper.at = {SET(LR, .125), SET(WEIGHT_DECAY, .5), SET(BETA1, .9), SET(EPS, .25),
                                                 SET(REFRESH, (double)refresh)}};
        const OptimConfig adam = {.rule = "adam",
                                  .hyper.at = {SET(LR, .125), SET(EPS, .25), SET(EPS_MODE, EPS_UNCORRECTED)}};
        Run a, b;
        run_begin(&a, &config, N, N, 25);
        run_begin(&b, &adam, N, N, 25);
        fill_scattered(a.p.grads, N, 0);
        run_step(&a, 1);
        check_same_bits(a.p.values, b.p.values, N * N * sizeof(float), "soap's first call");
        const OptimState left = state_of(a.optim, "left_basis"), right = state_of(a.optim, "right_basis");
        set_identity(&left);
        set_identity(&right);
        for (size_t t = 1; t <= 20; t++) {
            fill_scattered(a.p.grads, N, t);
            fill_scattered(b.p.grads, N, t);
            run_step(&a, 1);
            run_step(&b, 1);
            for (size_t i = 0; i < N * N; i++)
                b.p.values[i] *= 1 - .125f * .5f;
            check_all_close(a.p.values, b.p.values, N * N, (double)t * U * (3 * 4 + 16), "soap and Adam");
        }
        run_end(&a);
        run_end(&b);
    }
}

/* In one row or column the nuclear norm is the Frobenius norm, and steepest descent shows |u|, which soap-muon
 * keeps. */
static void test_soap_muon_norm(void)
{
    static const size_t lines[][2] = {{1, 9}, {9, 1}};
    for (size_t k = 0; k < 2; k++) {
        const OptimConfig config = {
            .rule = "soap-muon",
            .hyper.at = {SET(LR, 1), SET(NS, NS_EXACT), SET(MOMENTUM, .75), SET(MUON_SCALE, MUON_SCALE_NUCLEAR)}};
        Run run;
        run_begin(&run, &config, lines[k][0], lines[k][1], 26);
        for (size_t t = 0; t < 6; t++) {
            memset(run.p.values, 0, 9 * sizeof(float));
            run_random_step(&run, 1, 250 + t);
            double squares = 0;
            for (size_t i = 0; i < 9; i++) {
                const double m = (double)state_of(run.optim, "m").data[i], u = .25 * (double)run.p.grads[i] + .75 * m;
                squares += u * u;
            }
            check_close(norm_of(run.p.values, 9), sqrt(squares), 16 * U * sqrt(squares), "|u|"); /* some roundings */
        }
        run_end(&run);
    }
}

/* --------------------------------------------------------------------------------------------------------------
 * Averages around the rules
 */

/* Both, in double, around plain gradient descent whose gradients depend on the point. */
static void test_averages(void)
{
    enum { N = 66, FROM = 2, UNTIL = 7, TAIL = 4, TAIL_FROM = 3 };
    const double d = .9, strength = 2, share = .6;
    const OptimConfig config = {.rule = "sgd",
                                .hyper.at = {SET(LR, .25), SET(MOMENTUM, 0)},
                                .steps = 12,
                                .averaging = {.nesterov = strength,
                                              .nesterov_decay = d,
                                              .nesterov_from = FROM,
                                              .nesterov_until = UNTIL,
                                              .tail = TAIL,
                                              .tail_from = TAIL_FROM,
                                              .tail_share = share}};
    Run run;
    run_begin(&run, &config, 6, 11, 27);
    double *w = doubles_of(run.p.values, N), change[N] = {0}, tail[N] = {0}, point[N], shown[N];
    for (size_t t = 0; t < 12; t++) {
        const double factor = 1 - (double)t / 16,
                     bound = (double)(t + 1) * 8 * U * 4; /* 8 roundings a step of numbers below 4 */
        for (size_t i = 0; i < N; i++)
            point[i] = w[i] + (t >= FROM && t < UNTIL ? strength * factor * change[i] : 0);
        optim_begin(run.optim, factor);
        check_close_to_doubles(run.p.values, point, N, bound, "shifted point");
        slopes(&run);
        optim_step(run.optim, 1);
        for (size_t i = 0; i < N; i++) {
            const double next = point[i] - .25 * factor * slope(point[i], i);
            change[i] = d * change[i] + (1 - d) * (next - w[i]);
            w[i] = next;
            tail[i] = t + 1 > TAIL_FROM ? (1 - 1. / TAIL) * tail[i] + w[i] / TAIL : w[i];
            shown[i] = t + 1 < TAIL_FROM ? w[i] : (1 - share) * w[i] + share * tail[i];
        }
        check_close_to_doubles(run.p.values, w, N, bound, "weights");
        float *before = copy_floats(run.p.values, N);
        optim_show(run.optim);
        check_close_to_doubles(run.p.values, shown, N, bound, "what is shown");
        if (t + 1 < TAIL_FROM)
            check_same_bits(run.p.values, before, N * sizeof *before, "shown before the tail");
        check_same_bits(state_of(run.optim, "point").data, before, N * sizeof *before, "the point while it is shown");
        optim_hide(run.optim);
        check_same_bits(run.p.values, before, N * sizeof *before, "hidden again");
        free(before);
    }
    free(w);
    run_end(&run);
}

/* Around a rule that looks at no weight but to decay it, a step is that of the rule alone from the shifted point. */
static void averages_around(const char *rule)
{
    enum { N = 66 };
    const OptimConfig around = {.rule = rule,
                                .hyper.at = {SET(LR, .125)},
                                .steps = 10,
                                .averaging = {.nesterov = 1.5, .nesterov_decay = .75, .tail = 3, .tail_share = .5}};
    Run a, b;
    run_begin(&a, &around, 6, 11, 28);
    run_begin(&b, &(OptimConfig){.rule = rule, .hyper = around.hyper}, 6, 11, 28);
    double change[N] = {0};
    for (size_t t = 0; t < 10; t++) {
        float *before = copy_floats(a.p.values, N);
        for (size_t i = 0; i < N; i++)
            b.p.values[i] = (float)((double)before[i] + 1.5 * change[i]);
        Run *const both[2] = {&a, &b};
        for (size_t k = 0; k < 2; k++)
            run_random_step(both[k], 1, 270 + t);
        const double bound = 16 * U * fmax(1, largest_of(a.p.values, N)); /* one step's roundings, and the change's */
        check_all_close(a.p.values, b.p.values, N, bound, rule);
        for (size_t i = 0; i < N; i++)
            change[i] = .75 * change[i] + .25 * ((double)a.p.values[i] - (double)before[i]);
        free(before);
        before = copy_floats(a.p.values, N);
        optim_show(a.optim);
        /* the tail is one after the 4th step, 10 - 2 x 3; it differs from the weights from the 5th on */
        check((memcmp(a.p.values, before, N * sizeof *before) != 0) == (t + 1 > 4), "%s: shown after %zu steps", rule,
              t + 1);
        optim_hide(a.optim);
        check_same_bits(a.p.values, before, N * sizeof *before, "hidden again");
        free(before);
    }
    run_end(&a);
    run_end(&b);
}

static void test_averages_around_rules(void)
{
    static const char *const rules[] = {"adamw", "muon", "soap", "soap-muon", "dion", "sgd"};
    for (size_t i = 0; i < COUNT(rules); i++)
        averages_around(rules[i]);
}

static void test_averages_around_nesterov(void) { averages_around("nesterov"); }

/* A run that is resumed past the step where its tail should have begun begins it at once, and one whose tail had begun
 * goes on with it. */
static void test_tail_begins_late(void)
{
    for (int had_begun = 0; had_begun < 2; had_begun++) {
        OptimConfig config = {.rule = "sgd", .steps = 20, .averaging = {.tail = 4, .tail_share = .5}};
        config.averaging.tail_from = had_begun ? 2 : 12;
        Run a, b;
        run_begin(&a, &config, 2, 3, 41);
        for (size_t t = 0; t < 5; t++)
            run_random_step(&a, 1, 410 + t);
        config.averaging.tail_from = 3; /* as a shorter --steps would have it */
        run_begin(&b, &config, 2, 3, 41);
        memcpy(b.p.values, a.p.values, 6 * sizeof *a.p.values);
        for (size_t i = 0; i < optim_state_count(a.optim); i++)
            memcpy(optim_state(b.optim, i)->data, optim_state(a.optim, i)->data,
                   optim_state(a.optim, i)->rows * optim_state(a.optim, i)->cols * sizeof(float));
        optim_set_steps_done(b.optim, 5);
        float *tail = copy_floats(state_of(b.optim, "tail").data, 6);
        run_random_step(&b, 1, 420);
        for (size_t i = 0; i < 6; i++) {
            const double w = (double)b.p.values[i], want = had_begun ? .75 * (double)tail[i] + .25 * w : w;
            check_close((double)state_of(b.optim, "tail").data[i], want, 4 * U * (fabs(w) + fabs((double)tail[i])),
                        had_begun ? "a tail that goes on" : "a tail that begins late");
        }
        free(tail);
        run_end(&a);
        run_end(&b);
    }
}

static void test_averages_refused(void)
{
    Params p = {0};
    Optim *optim;
    Error e = {.text = ""};
    params_add(&p, "w", ROLE_HIDDEN_MATRIX, 2, 3, 1);
    params_fill(&p, 29);
    const OptimConfig config = {.rule = "sgd", .steps = 8, .averaging = {.tail = 4, .tail_share = .5}};
    check(optim_create(&config, p.tensors, p.count, &(Arenas){.params = p.values, .grads = p.grads}, &optim, &e) != 0,
          "a tail that begins before the run");
    check(strstr(e.text, "--tail-ema 4") != NULL && strstr(e.text, "8 steps") != NULL, "says only: %s", e.text);
    params_free(&p);
}

/* --------------------------------------------------------------------------------------------------------------
 * Sensitivities
 */

static Params make_model(void)
{
    Params p = {0};
    params_add(&p, "wte", ROLE_TOKEN_EMBEDDING, 5, 4, 1);
    params_add(&p, "wpe", ROLE_POSITION_EMBEDDING, 3, 4, 1);
    params_add(&p, "0.c_fc", ROLE_HIDDEN_MATRIX, 8, 4, 1);
    params_add(&p, "0.c_proj", ROLE_HIDDEN_MATRIX, 4, 8, 1);
    params_add(&p, "1.c_fc", ROLE_HIDDEN_MATRIX, 8, 4, 1);
    params_add(&p, "1.c_proj", ROLE_HIDDEN_MATRIX, 4, 8, 1);
    params_add(&p, "bias", ROLE_BIAS, 1, 4, 1);
    params_fill(&p, 30);
    return p;
}

static void test_sensitivity(void)
{
    static const struct {
        const char *name;
        double lr;
        size_t tensors;
    } groups[] = {{"hidden", .5, 1},   {"hidden/2", .25, 2}, {"hidden/4", .125, 1},
                  {"embed/0.5", 4, 1}, {"embed", 2, 1},      {"vector", .5, 1}};
    static const double rates[] = {4, 2, .5, .125, .25, .25, .5}; /* of the tensors */
    const OptimConfig config = {.rule = "sgd",
                                .hyper.at = {SET(LR, .5), SET(MOMENTUM, 0)},
                                .embed_hyper.at = {SET(LR, 2)},
                                .sensitivity = "c_proj=3,wte=0.5,c_proj=2,1.=2,1.c_proj=2,0.c_proj=4,1.c_fc=2"};
    Params p = make_model();
    Optim *optim = make_optim(&config, &p);
    float *want = copy_floats(p.values, p.floats);
    check(optim_group_count(optim) == COUNT(groups), "%zu groups", optim_group_count(optim));
    for (size_t i = 0; i < COUNT(groups); i++) {
        bool found = false;
        for (size_t k = 0; k < optim_group_count(optim); k++) {
            const OptimGroupInfo info = optim_group_info(optim, k);
            found = found || (strcmp(info.name, groups[i].name) == 0 && hyper(&info.hyper, HYPER_LR) == groups[i].lr &&
                              info.tensors == groups[i].tensors);
        }
        check(found, "no group %s of %zu tensors with the rate %g", groups[i].name, groups[i].tensors, groups[i].lr);
    }
    for (size_t k = 0; k < p.count; k++)
        for (size_t i = 0; i < tensor_size(&p.tensors[k]); i++) {
            const size_t at = p.tensors[k].offset + i;
            want[at] = fmaf(-(float)rates[k], p.grads[at], want[at]);
        }
    optim_step(optim, 1);
    check_same_bits(p.values, want, p.floats * sizeof *want, "steps");
    free(want);
    optim_free(optim);
    params_free(&p);
}

static void test_sensitivity_refused(void)
{
    static const struct {
        const char *list, *word;
    } cases[] = {
        {"", "NAME=X"},          {"wte", "'wte'"},       {"=2", "'=2'"},
        {"wte=", "'wte='"},      {"wte=0", "'wte=0'"},   {"wte=-1", "'wte=-1'"},
        {"wte=nan", "above 0"},  {"wte=inf", "above 0"}, {"wte=1e999", "above 0"},
        {"wte=2x", "'wte=2x'"},  {"wte=2,", "NAME=X"},   {",wte=2", "NAME=X"},
        {"c_fc=2,wte", "'wte'"}, {"head=2", "'head'"},   {"wte=2 wpe=3", "above 0"},
    };
    Params p = make_model();
    for (size_t i = 0; i < COUNT(cases); i++) {
        Optim *optim = NULL;
        Error e = {.text = ""};
        const OptimConfig config = {.rule = "adamw", .sensitivity = cases[i].list};
        check(optim_create(&config, p.tensors, p.count, &(Arenas){.params = p.values, .grads = p.grads}, &optim, &e) ==
                      -1 &&
                  optim == NULL,
              "'%s' was not refused", cases[i].list);
        check(strstr(e.text, "--sensitivity") != NULL && strstr(e.text, cases[i].word) != NULL, "'%s': %s",
              cases[i].list, e.text);
        optim_free(optim);
    }
    params_free(&p);
}

/* A tiny one would make a rate infinite: the range of a rate holds after the division too. */
static void test_sensitivity_range(void)
{
    Params p = make_model();
    Optim *optim = NULL;
    Error e = {.text = ""};
    const OptimConfig config = {.rule = "adamw", .sensitivity = "wte=1e-310"};
    const int status =
        optim_create(&config, p.tensors, p.count, &(Arenas){.params = p.values, .grads = p.grads}, &optim, &e);
    check(status == -1, "a rate of %g was accepted", status == 0 ? 1e-3 / 1e-310 : 0);
    optim_free(optim);
    params_free(&p);
}

/* --------------------------------------------------------------------------------------------------------------
 * Every rule of the table
 */

/* Floats of state of an r x c matrix: so many of its shape, of r x r, c x c, of the smaller side squared, of r + c, of
 * max(r,c), of c x k, k = min(rank,r,c), and numbers of their own. */
typedef struct StateSize {
    OptimConfig config;
    size_t whole, left, right, smaller, sides, longer, thin, rank, numbers;
} StateSize;

static const StateSize sizes[] = {
    {{.rule = "sgd"}, .whole = 1},
    {{.rule = "sgd", .hyper.at = {SET(MOMENTUM, 0)}}, .whole = 0},
    {{.rule = "sgd", .hyper.at = {SET(MOMENTUM_FORM, MOMENTUM_EMA), SET(NESTEROV, 1)}}, .whole = 1},
    {{.rule = "nesterov"}, .whole = 1},
    {{.rule = "nesterov", .hyper.at = {SET(NESTEROV_FORM, NESTEROV_SHIFTED)}}, .whole = 1},
    {{.rule = "adagrad"}, .whole = 1},
    {{.rule = "rmsprop"}, .whole = 1},
    {{.rule = "rmsprop", .hyper.at = {SET(MOMENTUM, .5)}}, .whole = 2},
    {{.rule = "adadelta"}, .whole = 2},
    {{.rule = "adam"}, .whole = 2},
    {{.rule = "adam", .hyper.at = {SET(EPS_MODE, EPS_UNCORRECTED)}}, .whole = 2},
    {{.rule = "adam", .hyper.at = {SET(EPS_MODE, EPS_INSIDE), SET(BIAS_CORRECTION, 0)}}, .whole = 2},
    {{.rule = "adamw"}, .whole = 2},
    {{.rule = "adamw", .hyper.at = {SET(ZERO_INIT_MOMENTS, 0), SET(CAUTIOUS, 1)}}, .whole = 2},
    {{.rule = "adamw", .steps = 8, .hyper.at = {SET(EPS_MAX, 1), SET(EPS_RATE, 1)}}, .whole = 2},
    {{.rule = "nested-adam"}, .whole = 2},
    {{.rule = "adam-cpr", .hyper.at = {SET(CPR_WARMUP, 2)}}, .whole = 2, .numbers = 2},
    {{.rule = "signsgd"}, .whole = 0},
    {{.rule = "signum"}, .whole = 1},
    {{.rule = "lion"}, .whole = 1},
    {{.rule = "muon"}, .whole = 1},
    {{.rule = "muon", .hyper.at = {SET(NS, NS_CUBIC), SET(MUON_SCALE, MUON_SCALE_GRADIENT)}}, .whole = 1},
    {{.rule = "muon", .hyper.at = {SET(NS, NS_MODULA), SET(MUON_SCALE, MUON_SCALE_NUCLEAR)}}, .whole = 1},
    {{.rule = "muon", .hyper.at = {SET(NS, NS_POLAR_EXPRESS), SET(MUON_SCALE, MUON_SCALE_MOONSHOT)}}, .whole = 1},
    {{.rule = "muon", .hyper.at = {SET(NS, NS_EXACT), SET(MUON_SCALE, MUON_SCALE_BERNSTEIN)}}, .whole = 1},
    {{.rule = "spectral"}, .whole = 0},
    {{.rule = "spectral", .hyper.at = {SET(NS, NS_TRACK3), SET(MUON_SCALE, MUON_SCALE_NUCLEAR)}}, .whole = 0},
    {{.rule = "normuon"}, .whole = 1, .longer = 1},
    {{.rule = "normuon", .hyper.at = {SET(NS, NS_VARIED), SET(MUON_SCALE, MUON_SCALE_GRADIENT)}},
     .whole = 1,
     .longer = 1},
    {{.rule = "muonh"}, .whole = 1},
    {{.rule = "normuonh"}, .whole = 1, .longer = 1},
    {{.rule = "adamh"}, .whole = 2},
    {{.rule = "muon2"}, .whole = 2},
    {{.rule = "dion"}, .whole = 1, .thin = 1, .rank = 1000},
    {{.rule = "dion", .hyper.at = {SET(RANK, 2)}}, .whole = 1, .thin = 1, .rank = 2},
    {{.rule = "shampoo", .hyper.at = {SET(GRAFT, GRAFT_NONE)}}, .whole = 1, .left = 2, .right = 2},
    {{.rule = "shampoo", .hyper.at = {SET(GRAFT, GRAFT_ADAM), SET(REFRESH, 1)}}, .whole = 2, .left = 2, .right = 2},
    {{.rule = "shampoo", .hyper.at = {SET(GRAFT, GRAFT_NONE), SET(SIDES, SIDES_ONE), SET(BETA1, 0)}}, .smaller = 2},
    {{.rule = "shampoo", .hyper.at = {SET(GRAFT, GRAFT_ADAM), SET(SIDES, SIDES_ONE), SET(EPS, 0)}},
     .whole = 2,
     .smaller = 2},
    {{.rule = "soap"}, .whole = 2, .left = 2, .right = 2},
    {{.rule = "soap", .hyper.at = {SET(REFRESH, 1)}}, .whole = 2, .left = 2, .right = 2},
    {{.rule = "soap-muon"}, .whole = 2, .left = 2, .right = 2},
    {{.rule = "soap-muon", .hyper.at = {SET(REFRESH, 1), SET(MUON_SCALE, MUON_SCALE_NUCLEAR)}},
     .whole = 2,
     .left = 2,
     .right = 2},
    {{.rule = "kl-soap"}, .whole = 2, .left = 2, .right = 2, .sides = 1},
};

static size_t floats_of(const StateSize *s, size_t r, size_t c)
{
    const size_t least = r < c ? r : c, most = r < c ? c : r, k = s->rank < least ? s->rank : least;
    return s->whole * r * c + s->left * r * r + s->right * c * c + s->smaller * least * least + s->sides * (r + c) +
           s->longer * most + s->thin * c * k + s->numbers;
}

static const size_t every_shape[][2] = {{6, 11}, {12, 5}, {7, 7}, {1, 1}, {1, 9}, {9, 1}};

static void test_state_sizes(void)
{
    for (size_t rule = 0; optim_rule_name(rule) != NULL; rule++) {
        bool listed = false;
        for (size_t i = 0; i < COUNT(sizes); i++)
            listed = listed || strcmp(sizes[i].config.rule, optim_rule_name(rule)) == 0;
        check(listed, "%s has no line in `sizes` (dev/tests/test_rules.c)", optim_rule_name(rule));
    }
    for (size_t i = 0; i < COUNT(sizes) * COUNT(every_shape); i++) {
        const StateSize *s = &sizes[i / COUNT(every_shape)];
        const size_t *shape = every_shape[i % COUNT(every_shape)];
        Run run;
        size_t held = 0;
        run_begin(&run, &s->config, shape[0], shape[1], 31);
        for (size_t k = 0; k < optim_state_count(run.optim); k++)
            held += optim_state(run.optim, k)->rows * optim_state(run.optim, k)->cols;
        const size_t told = optim_group_info(run.optim, 0).state_floats;
        check(told == floats_of(s, shape[0], shape[1]) && held == told,
              "%s of %zu x %zu: %zu floats told, %zu held, %zu by the book", s->config.rule, shape[0], shape[1], told,
              held, floats_of(s, shape[0], shape[1]));
        run_end(&run);
    }
}

typedef enum {
    GRADIENT_ZERO,
    GRADIENT_RANK_ONE,
    GRADIENT_TINY,
    GRADIENT_SMALL,
    GRADIENT_HUGE,
    GRADIENT_COUNT
} GradientKind;

static void fill_gradient(const Run *run, GradientKind kind, uint64_t seed)
{
    static const double size[GRADIENT_COUNT] = {0, 1, 1e-30, 1e-3, 1e18};
    const Tensor *t = run->p.tensors;
    fill_normal(run->p.grads, run->p.floats, size[kind], seed);
    for (size_t i = 0; i < run->p.floats && kind == GRADIENT_RANK_ONE; i++)
        run->p.grads[i] = (float)(sin(1 + (double)(i / t->cols)) * cos((double)(i % t->cols) * (1 + (double)seed)));
}

static bool all_finite(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

static void test_finite(void)
{
    for (size_t i = 0; i < COUNT(sizes) * COUNT(every_shape) * GRADIENT_COUNT * 2; i++) {
        const StateSize *s = &sizes[i % COUNT(sizes)];
        const size_t *shape = every_shape[i / COUNT(sizes) % COUNT(every_shape)],
                     zero = i / COUNT(sizes) / COUNT(every_shape) % 2;
        const GradientKind kind = (GradientKind)(i / COUNT(sizes) / COUNT(every_shape) / 2);
        Run run;
        Error e;
        run_begin(&run, &s->config, shape[0], shape[1], 32);
        if (zero)
            memset(run.p.values, 0, run.p.floats * sizeof(float));
        const bool refused = optim_check_parameters(run.optim, &e) != 0;
        for (size_t t = 0; t < 5 && !refused; t++) {
            fill_gradient(&run, kind, 300 + t);
            run_step(&run, 1);
            check(all_finite(run.p.values, run.p.floats), "%s (%zu), %zu x %zu%s, gradient %d: weights in step %zu",
                  s->config.rule, i % COUNT(sizes), shape[0], shape[1], zero ? " of zeros" : "", (int)kind, t);
        }
        for (size_t k = 0; k < optim_state_count(run.optim); k++)
            check(all_finite(optim_state(run.optim, k)->data,
                             optim_state(run.optim, k)->rows * optim_state(run.optim, k)->cols),
                  "%s, %zu x %zu, gradient %d: %s", s->config.rule, shape[0], shape[1], (int)kind,
                  optim_state(run.optim, k)->name);
        run_end(&run);
    }
}

/* Zero gradients leave nothing but the decay, a rounding a step; soap does not decay in its first call. */
static void test_zero_gradients(void)
{
    for (size_t i = 0; i < COUNT(sizes) * COUNT(shapes); i++) {
        const StateSize *s = &sizes[i / COUNT(shapes)];
        const size_t *shape = shapes[i % COUNT(shapes)];
        Run run;
        run_begin(&run, &s->config, shape[0], shape[1], 33);
        double *want = doubles_of(run.p.values, run.p.floats);
        memset(run.p.grads, 0, run.p.floats * sizeof(float));
        const OptimHyper h = optim_group_info(run.optim, 0).hyper;
        const double decay = h.at[HYPER_WEIGHT_DECAY].set ? hyper(&h, HYPER_WEIGHT_DECAY) : 0;
        for (size_t t = 0; t < 5; t++) {
            run_step(&run, 1);
            for (size_t k = 0; k < run.p.floats && (t > 0 || strcmp(s->config.rule, "soap") != 0); k++)
                want[k] *= 1 - hyper(&h, HYPER_LR) * decay;
        }
        check_close_to_doubles(run.p.values, want, run.p.floats, 5 * 2 * U * 4, s->config.rule);
        free(want);
        run_end(&run);
    }
}

int main(void)
{
    threads_set(1); /* so small, others would only wait */
    check_run("golden runs of one weight", test_golden_runs);
    check_run("first steps of Adam's ablations", test_first_step);
    check_run("momentum as average and sum; Nesterov's forms", test_momentum_forms);
    check_run("looking ahead and the blend", test_look_ahead);
    check_run("Adam's relatives", test_adam_relatives);
    check_run("momenta of Signum and Lion", test_sign_momentum);
    check_run("a large eps makes Adam momentum", test_large_eps);
    check_run("places of eps", test_eps_modes);
    check_run("decay unrolled", test_unrolled_decay);
    check_run("momentum's warmup and cooldown", test_momentum_schedule);
    check_run("momentum's warmup and cooldown in the rules", test_momentum_schedule_used);
    check_run("eps grows", test_eps_schedule);
    check_run("eps that grows is a rate that falls", test_eps_is_a_rate);
    check_run("Muon's sum form", test_muon_sum);
    check_run("nuclear norm and rank", test_polar);
    check_run("Shampoo without memory is Muon", test_shampoo_is_muon);
    check_run("Shampoo's damping", test_damping);
    check_run("Shampoo's grafting", test_graft);
    check_run("Shampoo's roots", test_shampoo_refresh);
    check_run("Shampoo's pseudo-inverse", test_shampoo_pseudo_inverse);
    check_run("the hyperball keeps the norm", test_hyperball);
    check_run("the hyperball sees no scale", test_hyperball_scale);
    check_run("the hyperball's angle", test_hyperball_angle);
    check_run("AdamH in double", test_adamh);
    check_run("zero matrices are refused", test_zero_refused);
    check_run("NorMuon's lines", test_normuon);
    check_run("constrained parameter regularisation", test_cpr);
    check_run("cautious decay", test_cautious);
    check_run("Dion's step", test_dion_step);
    check_run("Dion's step is polar", test_dion_polar);
    check_run("Dion's feedback", test_dion_feedback);
    check_run("SOAP's bases are orthonormal", test_bases_orthonormal);
    check_run("SOAP's first step", test_first_bases);
    check_run("SOAP's bases are renewed", test_refresh);
    check_run("factors of SOAP and Shampoo", test_factors);
    check_run("factors of KL-SOAP", test_kl_factors);
    check_run("scales of KL-SOAP without gradients", test_kl_scales);
    check_run("SOAP in the identity is Adam", test_soap_is_adam);
    check_run("SOAP-Muon keeps a norm", test_soap_muon_norm);
    check_run("averages in double", test_averages);
    check_run("averages around rules", test_averages_around_rules);
    check_run("averages around Nesterov", test_averages_around_nesterov);
    check_run("a tail after a resume", test_tail_begins_late);
    check_run("averages refused", test_averages_refused);
    check_run("sensitivities", test_sensitivity);
    check_run("sensitivities refused", test_sensitivity_refused);
    check_run("sensitivities that leave a rate's range", test_sensitivity_range);
    check_run("sizes of states", test_state_sizes);
    check_run("always finite", test_finite);
    check_run("zero gradients", test_zero_gradients);
    return check_summary();
}
