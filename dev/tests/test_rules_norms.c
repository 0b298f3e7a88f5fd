/* Rules that keep a norm: the hyperball, and NorMuon. */
#include "base/threads.h"
#include "dev/tests/rules.h"
#include "optim/rules/muon.h"
#include "optim/rules/newton_schulz.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* In each step every element is rounded once and so is the factor: relative errors of at most 2 U; twice as much where
 * EMA-Nesterov has shifted the weights, and the norm is set once more. */
static void test_hyperball_around(double shift)
{
    static const char *const rules[] = {"muonh", "normuonh", "adamh", "soap-h", "kl-soap", "psgdh"};
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
                           strcmp(name, "soap-h") == 0 || strcmp(name, "kl-soap") == 0 || strcmp(name, "psgdh") == 0;
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

int main(void)
{
    threads_set(1); /* so small, others would only wait */
    check_run("the hyperball keeps the norm", test_hyperball);
    check_run("the hyperball sees no scale", test_hyperball_scale);
    check_run("the hyperball's angle", test_hyperball_angle);
    check_run("AdamH in double", test_adamh);
    check_run("zero matrices are refused", test_zero_refused);
    check_run("NorMuon's lines", test_normuon);
    return check_summary();
}
