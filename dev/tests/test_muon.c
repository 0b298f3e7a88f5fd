/* Muon: the shape's factor, the step, its blocks and batches. Newton-Schulz itself is tested in
 * test_newton_schulz.c. */
#include "base/threads.h"
#include "dev/tests/check.h"
#include "dev/tests/fixtures.h"
#include "optim/rules/muon.h"
#include "optim/rules/newton_schulz.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SET(id, x) HYPER_AT(id, x)

static const double U = 0x1p-24; /* rounding to fp32 */

static void test_scale_table(void)
{
    static const size_t shapes[4][2] = {{768, 768}, {3072, 768}, {768, 3072}, {2304, 768}};
    static const struct {
        MuonScale rule;
        double want[4], half_digit;
    } rules[] = {
        {MUON_SCALE_NONE, {1, 1, 1, 1}, 0},
        {MUON_SCALE_ORIGINAL, {1, 2, 1, 1.732}, 5e-4},
        {MUON_SCALE_MOONSHOT, {5.543, 11.085, 11.085, 9.6}, 5e-4},
        {MUON_SCALE_BERNSTEIN, {1, 2, .5, 1.732}, 5e-4},
        {MUON_SCALE_EARLY, {27.71, 55.43, 55.43, 48}, 5e-3}, /* fused: sqrt(2304) */
        {MUON_SCALE_RMS, {1, 1, 1, 1}, 0},
        {MUON_SCALE_GRADIENT, {1, 1, 1, 1}, 0},
        {MUON_SCALE_NUCLEAR, {1, 1, 1, 1}, 0},
    };
    for (size_t i = 0; i < MUON_SCALE_COUNT; i++)
        for (size_t k = 0; k < 4; k++)
            check_close(muon_scale(rules[i].rule, shapes[k][0], shapes[k][1]), rules[i].want[k], rules[i].half_digit,
                        muon_scale_names[rules[i].rule]);
}

/* --------------------------------------------------------------------------------------------------------------
 * The step again, plainly and in double
 */

/* to (r,c) = x (r,k) y (k,c) */
static void product(double *to, const double *x, const double *y, size_t r, size_t k, size_t c)
{
    for (size_t i = 0; i < r; i++)
        for (size_t j = 0; j < c; j++) {
            to[i * c + j] = 0;
            for (size_t l = 0; l < k; l++)
                to[i * c + j] += x[i * k + l] * y[l * c + j];
        }
}

static double norm(const double *x, size_t n)
{
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += x[i] * x[i];
    return sqrt(squares);
}

/* X <- a X + b (X X^T) X + c (X X^T)^2 X, always with the Gram matrix on the rows, from X / |X|. */
static void plain_orthogonalise(double *x, size_t r, size_t c, size_t steps)
{
    double *xt = make_doubles(r * c), *gram = make_doubles(r * r), *y = make_doubles(r * c), *z = make_doubles(r * c);
    const double length = norm(x, r * c);
    for (size_t i = 0; i < r * c; i++)
        x[i] /= length;
    for (size_t step = 0; step < steps; step++) {
        const NsTriple f = ns_triple(NS_JORDAN, step);
        for (size_t i = 0; i < r; i++)
            for (size_t j = 0; j < c; j++)
                xt[j * r + i] = x[i * c + j];
        product(gram, x, xt, r, c, r);
        product(y, gram, x, r, r, c);
        product(z, gram, y, r, r, c);
        for (size_t i = 0; i < r * c; i++)
            x[i] = f.a * x[i] + f.b * y[i] + f.c * z[i];
    }
    free(xt);
    free(gram);
    free(y);
    free(z);
}

static double option(const OptimConfig *config, HyperId id, double otherwise)
{
    return config->hyper.at[id].set ? config->hyper.at[id].value : otherwise;
}

typedef struct Plain {
    double *w, *m, *u;
} Plain;

static void plain_step(const OptimConfig *config, const Tensor *t, Plain p, const float *grad)
{
    const double mu = option(config, HYPER_MOMENTUM, .95), lr = option(config, HYPER_LR, .02);
    const size_t n = tensor_size(t), steps = (size_t)option(config, HYPER_NS_STEPS, 5);
    double factor = muon_scale((MuonScale)option(config, HYPER_MUON_SCALE, MUON_SCALE_ORIGINAL), t->rows, t->cols);
    for (size_t i = 0; i < n; i++) {
        const double g = (double)grad[i];
        p.m[i] = mu * p.m[i] + (1 - mu) * g;
        p.u[i] = option(config, HYPER_NESTEROV, 1) != 0 ? mu * p.m[i] + (1 - mu) * g : p.m[i];
    }
    plain_orthogonalise(p.u, t->rows, t->cols, steps);
    if (option(config, HYPER_MUON_SCALE, 0) == MUON_SCALE_GRADIENT)
        factor = norm_of(grad, n) / norm(p.u, n);
    for (size_t i = 0; i < n; i++)
        p.w[i] = (1 - lr * option(config, HYPER_WEIGHT_DECAY, .1)) * p.w[i] - lr * factor * p.u[i];
}

static void compare_with_plain(const OptimConfig *config, const char *what)
{
    enum { STEPS = 10 };
    Params p = {0};
    params_add(&p, "wide", ROLE_HIDDEN_MATRIX, 12, 31, 1);
    params_add(&p, "tall", ROLE_HIDDEN_MATRIX, 23, 7, 1);
    params_add(&p, "wide too", ROLE_HIDDEN_MATRIX, 12, 31, 1);
    params_fill(&p, 1);
    double *w = make_doubles(p.floats), *m = make_doubles(p.floats), *u = make_doubles(p.floats);
    for (size_t i = 0; i < p.floats; i++)
        w[i] = (double)p.values[i];
    float *start = copy_floats(p.values, p.floats), *want = make_floats(p.floats);
    Optim *optim = make_optim(config, &p);
    for (size_t t = 0; t < STEPS; t++) {
        take_steps(optim, &p, t, 1, 20);
        for (const Tensor *tensor = p.tensors; tensor < p.tensors + p.count; tensor++) {
            const Plain at = {w + tensor->offset, m + tensor->offset, u + tensor->offset};
            plain_step(config, tensor, at, p.grads + tensor->offset);
        }
    }
    double largest = 0, path = 0;
    for (size_t i = 0; i < p.floats; i++) {
        want[i] = (float)w[i];
        largest = fmax(largest, fabs(w[i]));
        path = fmax(path, fabs(w[i] - (double)start[i]));
    }
    /* Weights are rounded twice a step. A random matrix is well conditioned: its singular values start above 0.05, and
     * so a relative error of the direction of some 8 U (momentum, norm, products) is stretched at most about 1/0.05
     * times. */
    check_all_close(p.values, want, p.floats, STEPS * U * (2 * largest + 8 / 0.05 * path), what);
    optim_free(optim);
    params_free(&p);
    free(w);
    free(m);
    free(u);
    free(start);
    free(want);
}

static void test_plain(void)
{
    static const OptimConfig defaults = {.rule = "muon"};
    static const OptimConfig heavy = {.rule = "muon", .hyper.at = {SET(NESTEROV, 0), SET(MOMENTUM, .8), SET(LR, .1)}};
    static const OptimConfig decay = {
        .rule = "muon", .hyper.at = {SET(WEIGHT_DECAY, .5), SET(MUON_SCALE, MUON_SCALE_MOONSHOT), SET(NS_STEPS, 3)}};
    static const OptimConfig spectral = {.rule = "muon",
                                         .hyper.at = {SET(MOMENTUM, 0), SET(MUON_SCALE, MUON_SCALE_BERNSTEIN)}};
    static const OptimConfig gradient = {.rule = "muon", .hyper.at = {SET(MUON_SCALE, MUON_SCALE_GRADIENT)}};
    compare_with_plain(&defaults, "as it comes");
    compare_with_plain(&heavy, "without Nesterov");
    compare_with_plain(&decay, "decay, moonshot, three iterations");
    compare_with_plain(&spectral, "without momentum, bernstein");
    compare_with_plain(&gradient, "scaled to the gradient");
}

/* --------------------------------------------------------------------------------------------------------------
 * Sizes of updates
 */

/* Minus the change of the weights, from 0, that one step of rate 1 makes. */
static Params one_update(OptimHyper h, size_t rows, size_t cols, size_t blocks)
{
    Params p = {0};
    params_add(&p, "w", ROLE_HIDDEN_MATRIX, rows, cols, blocks);
    params_fill(&p, 3);
    memset(p.values, 0, p.floats * sizeof *p.values);
    hyper_set(&h, HYPER_LR, 1);
    Optim *optim = make_optim(&(OptimConfig){.rule = "muon", .hyper = h}, &p);
    optim_step(optim, 1);
    for (size_t i = 0; i < p.floats; i++)
        p.values[i] = -p.values[i];
    optim_free(optim);
    return p;
}

/* With the exact factor, all of whose k singular values are 1: |O| = sqrt(k), so its RMS is 1/sqrt(max(r,c)). */
static void test_update_size(void)
{
    static const size_t shapes[][2] = {{16, 16}, {64, 16}, {16, 64}, {1, 9}};
    for (size_t i = 0; i < 4; i++) {
        const double r = (double)shapes[i][0], c = (double)shapes[i][1], longer = fmax(r, c);
        const double want[MUON_SCALE_COUNT] = {1 / sqrt(longer), 1 / sqrt(c), .2, sqrt(r / c / longer), 1, .2};
        for (int scale = 0; scale < MUON_SCALE_COUNT; scale++) {
            const OptimHyper h = {.at = {SET(NS, NS_EXACT), SET(MUON_SCALE, scale)}};
            Params p = one_update(h, shapes[i][0], shapes[i][1], 1);
            const double rms = norm_of(p.values, p.floats) / sqrt(r * c);
            const double gradient_rms = norm_of(p.grads, p.floats) / sqrt(r * c);
            double expected = want[scale], inner = 0;
            if (scale == MUON_SCALE_GRADIENT)
                expected = gradient_rms;
            for (size_t j = 0; j < p.floats && scale == MUON_SCALE_NUCLEAR; j++)
                inner += (1 - .95 * .95) * (double)p.grads[j] * (double)p.values[j];
            if (scale ==
                MUON_SCALE_NUCLEAR) /* the step is s O with s = <u, O>, so <u, s O> = s^2 and |s O|^2 = s^2 k */
                expected = sqrt(inner * fmin(r, c)) / sqrt(r * c);
            check_close(rms, expected, 8 * U * expected, muon_scale_names[scale]);
            params_free(&p);
        }
    }
}

/* The factor |g|/|O| is that of the gradient as it is clipped; a zero gradient moves nothing. */
static void test_gradient_scale(void)
{
    const OptimConfig config = {.rule = "muon", .hyper.at = {SET(LR, 1), SET(MUON_SCALE, MUON_SCALE_GRADIENT)}};
    Params p = {0};
    params_add(&p, "w", ROLE_HIDDEN_MATRIX, 8, 24, 1);
    params_add(&p, "zero", ROLE_HIDDEN_MATRIX, 8, 24, 1);
    params_fill(&p, 4);
    memset(p.values, 0, p.floats * sizeof *p.values);
    memset(p.grads + p.tensors[1].offset, 0, tensor_size(&p.tensors[1]) * sizeof *p.grads);
    const double want = .125 * norm_of(p.grads, p.floats);
    Optim *optim = make_optim(&config, &p);
    optim_step(optim, .125);
    check_close(norm_of(p.values, tensor_size(&p.tensors[0])), want, 4 * U * want, "|O| and |g|");
    check(norm_of(p.values + p.tensors[1].offset, tensor_size(&p.tensors[1])) == 0, "a zero gradient moved its matrix");
    optim_free(optim);
    params_free(&p);
}

/* --------------------------------------------------------------------------------------------------------------
 * Blocks, batches, threads
 */

/* Weights after three steps over `count` matrices of rows x cols in `blocks` blocks each. */
static float *steps_over(OptimConfig config, size_t count, size_t rows, size_t cols, size_t blocks)
{
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i"};
    Params p = {0};
    for (size_t i = 0; i < count; i++)
        params_add(&p, names[i], ROLE_HIDDEN_MATRIX, rows, cols, blocks);
    params_fill(&p, 5);
    Optim *optim = make_optim(&config, &p);
    take_steps(optim, &p, 0, 3, 50);
    float *values = copy_floats(p.values, p.floats);
    optim_free(optim);
    params_free(&p);
    return values;
}

static void test_split_qkv(void)
{
    enum { N = 9 * 20 * 33 };
    for (int ns = 0; ns < NS_COUNT; ns++) {
        const OptimConfig split = {.rule = "muon", .hyper.at = {SET(NS, ns)}};
        const OptimConfig fused = {.rule = "muon", .hyper.at = {SET(NS, ns), SET(SPLIT_QKV, 0)}};
        float *three = steps_over(split, 3, 60, 33, 3), *apart = steps_over(split, 9, 20, 33, 1);
        float *whole = steps_over(fused, 3, 60, 33, 3), *plain = steps_over(split, 3, 60, 33, 1);
        check_same_bits(three, apart, N * sizeof *three, "split, and three matrices");
        check_same_bits(whole, plain, N * sizeof *whole, "fused, and one matrix");
        check(memcmp(three, whole, N * sizeof *three) != 0, "split and fused are the same");
        free(three);
        free(apart);
        free(whole);
        free(plain);
    }
}

/* Five matrices of 2^20 floats are more than one batch (2^22): each is as it would be alone. */
static void test_many_batches(void)
{
    enum { MATRICES = 5, N = 1 << 20 };
    Params p = {0};
    const OptimConfig config = {.rule = "muon", .hyper.at = {SET(NS_STEPS, 1)}};
    static const char *const names[MATRICES] = {"a", "b", "c", "d", "e"};
    for (size_t i = 0; i < MATRICES; i++)
        params_add(&p, names[i], ROLE_HIDDEN_MATRIX, 2, N / 2, 1);
    params_fill(&p, 6);
    float *start = copy_floats(p.values, p.floats);
    Optim *optim = make_optim(&config, &p);
    optim_step(optim, 1);
    for (size_t i = 0; i < MATRICES; i++) {
        Params one = {0};
        params_add(&one, names[i], ROLE_HIDDEN_MATRIX, 2, N / 2, 1);
        one.values = start + i * N;
        one.grads = p.grads + i * N;
        Optim *alone = make_optim(&config, &one);
        optim_step(alone, 1);
        check_same_bits(p.values + i * N, one.values, N * sizeof *start, names[i]);
        optim_free(alone);
    }
    optim_free(optim);
    params_free(&p);
    free(start);
}

static void test_threads(void)
{
    enum { COUNT = 2, ROWS = 270, COLS = 141, N = COUNT * ROWS * COLS };
    const size_t before = threads_count();
    for (int ns = NS_JORDAN; ns <= NS_EXACT; ns += NS_EXACT - NS_JORDAN) {
        const OptimConfig config = {.rule = "muon", .hyper.at = {SET(NS, ns), SET(MUON_SCALE, MUON_SCALE_GRADIENT)}};
        threads_set(1);
        float *want = steps_over(config, COUNT, ROWS, COLS, 1);
        for (size_t threads = 2; threads <= 3; threads++) {
            threads_set(threads);
            float *got = steps_over(config, COUNT, ROWS, COLS, 1);
            check_same_bits(got, want, N * sizeof *want, ns_names[ns]);
            free(got);
        }
        free(want);
    }
    threads_set(before);
}

/* A NaN anywhere in a matrix's gradient shows in the matrix, whatever orthogonalises it, and in no other. */
static void test_not_a_number(void)
{
    for (int ns = 0; ns < NS_COUNT; ns++) {
        for (size_t rows = 4; rows <= 64; rows *= 4) {
            Params p = {0};
            params_add(&p, "bad", ROLE_HIDDEN_MATRIX, rows, 80, 1);
            params_add(&p, "good", ROLE_HIDDEN_MATRIX, rows, 80, 1);
            params_fill(&p, 7);
            p.grads[rows * 80 - 1] = NAN;
            Optim *optim = make_optim(&(OptimConfig){.rule = "muon", .hyper.at = {SET(NS, ns)}}, &p);
            optim_step(optim, 1);
            check(isnan(norm_of(p.values, rows * 80)), "%s hides a NaN in a gradient of %zu x 80", ns_names[ns], rows);
            check(isfinite(norm_of(p.values + rows * 80, rows * 80)), "%s spreads a NaN", ns_names[ns]);
            optim_free(optim);
            params_free(&p);
        }
    }
}

/* How long the rows of a gradient are beside each other is nothing to --equal-rows. Powers of two scale without rounding,
 * so the comparison is of bits. */
static void test_equal_rows(void)
{
    enum { ROWS = 6, COLS = 11 };
    for (int dtype = NS_FP32; dtype <= NS_BF16; dtype++)
        for (int equal = 0; equal <= 1; equal++) {
            const OptimConfig config = {.rule = "muon", .hyper.at = {SET(EQUAL_ROWS, equal), SET(NS_DTYPE, dtype)}};
            float *stepped[2];
            for (int scaled = 0; scaled <= 1; scaled++) {
                Params p = {0};
                params_add(&p, "w", ROLE_HIDDEN_MATRIX, ROWS, COLS, 1);
                params_fill(&p, 3);
                for (size_t i = 0; i < ROWS * COLS && scaled; i++)
                    p.grads[i] *= exp2f((float)(i / COLS) - 2);
                Optim *optim = make_optim(&config, &p);
                optim_step(optim, 1);
                stepped[scaled] = copy_floats(p.values, p.floats);
                optim_free(optim);
                params_free(&p);
            }
            const bool same = memcmp(stepped[0], stepped[1], ROWS * COLS * sizeof(float)) == 0;
            check(same == (equal == 1), "scaled rows, %s, equal-rows %d: the same step is %d",
                  dtype == NS_BF16 ? "bf16" : "fp32", equal, same);
            free(stepped[0]);
            free(stepped[1]);
        }
}

int main(void)
{
    threads_set(1); /* so small, others would only wait */
    check_run("the shape's factor", test_scale_table);
    check_run("the step in double", test_plain);
    check_run("sizes of updates", test_update_size);
    check_run("scaled to the gradient", test_gradient_scale);
    check_run("split QKV", test_split_qkv);
    check_run("equal rows", test_equal_rows);
    check_run("more matrices than a batch", test_many_batches);
    check_run("1, 2, 3 threads", test_threads);
    check_run("NaN stays visible", test_not_a_number);
    return check_summary();
}
