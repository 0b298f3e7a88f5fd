/* The verbs that sum and factor, wherever they run, against plain loops in double: batches of several shapes, arrays
 * that are not aligned, NaN. Elementwise ones are in test_bit_equal.c.
 *
 * Sums are taken in double, in any order: n U64 of the sum of absolute values at most; what is stored is rounded once,
 * by U, and so is each factor on the way. */
#include "base/threads.h"
#include "dev/tests/check.h"
#include "dev/tests/fixtures.h"
#include "optim/verbs/verbs.h"
#include "optim/verbs/verbs_math.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double U = 0x1p-24, U64 = 0x1p-53;

/* Matrices where the verbs are, `skew` floats off an aligned address, and their copy on the host. */
typedef struct Pair {
    Mats mats;
    float *begin, *host;
    size_t n; /* of one matrix */
} Pair;

static Pair pair_make(size_t rows, size_t cols, size_t batch, size_t skew, uint64_t seed)
{
    const size_t all = rows * cols * batch;
    Pair p = {.begin = where_verbs_are(all + skew), .host = make_floats(all), .n = rows * cols};
    p.mats = (Mats){p.begin + skew, rows, cols, batch};
    fill_normal(p.host, all, 1, seed);
    verb_write(here(), all, p.mats.data, p.host);
    return p;
}

static float *pair_read(const Pair *p)
{
    float *x = make_floats(mats_size(p->mats));
    verb_read(here(), mats_size(p->mats), x, p->mats.data);
    return x;
}

static void pair_free(Pair *p)
{
    verb_free(here(), p->begin);
    free(p->host);
}

static double dot(const float *x, const float *y, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)y[i];
    return sum;
}

/* Rows, columns, matrices: less and more than a quad, a warp, a block, a part. */
static const size_t shapes[][3] = {{1, 1, 1},   {1, 3, 5},    {2, 6, 3},    {7, 5, 4},     {33, 70, 3},
                                   {70, 33, 3}, {130, 64, 2}, {64, 130, 2}, {150, 257, 2}, {2, 3, 1100}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void each_shape(void (*test)(size_t rows, size_t cols, size_t batch, size_t skew))
{
    for (size_t i = 0; i < SHAPES; i++)
        for (size_t skew = 0; skew < 4; skew += 3)
            test(shapes[i][0], shapes[i][1], shapes[i][2], skew);
}

/* --------------------------------------------------------------------------------------------------------------
 * Sums of arrays
 */

/* More arrays than one launch takes and one copy brings, of every length around the quads and parts. */
static void test_sums_of_squares(void)
{
    enum { COUNT = 1300, LARGE = 40000 };
    const size_t floats = 60 * COUNT + 3 * LARGE;
    float *x = where_verbs_are(floats), *host = make_floats(floats);
    Floats *arrays = calloc(COUNT, sizeof *arrays);
    double *sums = make_doubles(COUNT);
    fill_normal(host, floats, 1, 1);
    verb_write(here(), floats, x, host);
    size_t at = 0;
    for (size_t i = 0; i < COUNT; i++) {
        const size_t n = i % 500 == 7 ? LARGE + i : i % 59;
        arrays[i] = (Floats){x + at, n};
        at += n;
    }
    check(at <= floats, "%zu floats in %zu", at, floats);
    verb_sums_of_squares(here(), COUNT, arrays, sums);
    for (size_t i = 0; i < COUNT; i++) {
        const float *own = host + (arrays[i].data - x);
        const double want = dot(own, own, arrays[i].n);
        check_close(sums[i], want, (double)arrays[i].n * U64 * want, "a sum of squares");
    }
    const double last = verb_sum_squares(here(), arrays[7].n, arrays[7].data);
    check_close(last, sums[7], (double)arrays[7].n * U64 * sums[7], "one array alone");
    free(arrays);
    free(sums);
    free(host);
    verb_free(here(), x);
}

/* The culprit is the first tensor with a NaN or Inf; without one the norm is that of all gradients. */
static void test_grad_norm(void)
{
    enum { TENSORS = 5 };
    static const char *const names[TENSORS] = {"a", "b", "c", "d", "e"};
    Params p = {0};
    for (size_t i = 0; i < TENSORS; i++)
        params_add(&p, names[i], ROLE_BIAS, 1, 100 * i + 3, 1);
    params_fill(&p, 4);
    float *values = where_verbs_are(p.floats), *grads = where_verbs_are(p.floats);
    Optim *optim;
    Error e;
    if (!check(optim_create(&(OptimConfig){.rule = "sgd"}, p.tensors, TENSORS,
                            &(Arenas){.params = values, .grads = grads}, &optim, &e) == 0,
               "%s", e.text))
        return;
    for (size_t bad = 0; bad <= TENSORS; bad++) { /* from tensor `bad` on */
        const Tensor *culprit = &p.tensors[0];
        verb_write(here(), p.floats, grads, p.grads);
        for (size_t i = bad; i < TENSORS; i++) {
            const float values_bad[2] = {NAN, INFINITY};
            verb_write(here(), 1, grads + p.tensors[i].offset + 2, &values_bad[i % 2]);
        }
        const double norm = optim_grad_norm(optim, &culprit), want = norm_of(p.grads, p.floats);
        check(culprit == (bad < TENSORS ? &p.tensors[bad] : NULL), "not the tensor %zu is found", bad);
        if (bad == TENSORS)
            check_close(norm, want, (double)p.floats * U64 * want, "norm of the gradients");
        else
            check(!isfinite(norm), "a norm of %g hides tensor %zu", norm, bad);
    }
    optim_free(optim);
    verb_free(here(), values);
    verb_free(here(), grads);
    params_free(&p);
}

/* --------------------------------------------------------------------------------------------------------------
 * Norms
 */

static void norms(size_t rows, size_t cols, size_t batch, size_t skew)
{
    Pair x = pair_make(rows, cols, batch, skew, 1), y = pair_make(rows, cols, batch, 0, 2);
    float *there = where_verbs_are(2 * batch), *got = make_floats(2 * batch);
    verb_norms(here(), x.mats, there);
    verb_dots(here(), x.mats, y.mats, there + batch);
    verb_read(here(), 2 * batch, got, there);
    for (size_t b = 0; b < batch; b++) {
        const float *u = x.host + b * x.n, *v = y.host + b * x.n;
        const double norm = sqrt(dot(u, u, x.n)), size = norm * sqrt(dot(v, v, x.n));
        check_close((double)got[b], norm, U * norm + (double)x.n * U64 * norm, "a norm");
        check_close((double)got[batch + b], dot(u, v, x.n), (U + (double)x.n * U64) * size, "a dot product");
    }
    verb_rescale(here(), x.mats, there + batch, there, 2, 1e-3);
    float *scaled = pair_read(&x);
    for (size_t i = 0; i < mats_size(x.mats); i++) {
        const size_t b = i / x.n;
        const double want = (double)got[batch + b] / fmax(2 * (double)got[b], 1e-3) * (double)x.host[i];
        check_close((double)scaled[i], want, 2 * U * fabs(want), "a rescaled element");
    }
    pair_free(&x);
    pair_free(&y);
    verb_free(here(), there);
    free(got);
    free(scaled);
}

static void test_norms(void) { each_shape(norms); }

/* p' = p - step |p| u / |u|, scaled to |p|: 8 roundings of p's and the step's size. */
static void rotate(size_t rows, size_t cols, size_t batch, size_t skew)
{
    const double step = 0.3;
    Pair p = pair_make(rows, cols, batch, skew, 3), u = pair_make(rows, cols, batch, 0, 4);
    verb_rotate(here(), p.mats, u.mats, step, 1e-10);
    float *got = pair_read(&p);
    for (size_t b = 0; b < batch; b++) {
        const float *x = p.host + b * p.n, *v = u.host + b * p.n;
        const double size = sqrt(dot(x, x, p.n)), length = sqrt(dot(v, v, p.n));
        double squares = 0;
        for (size_t i = 0; i < p.n; i++)
            squares += pow((double)x[i] - step * size / length * (double)v[i], 2);
        const double scale = size / sqrt(squares);
        for (size_t i = 0; i < p.n; i++) {
            const double turned = scale * step * size / length * (double)v[i], want = scale * (double)x[i] - turned;
            check_close((double)got[b * p.n + i], want, 4 * U * (fabs(scale * (double)x[i]) + fabs(turned)),
                        "a turned element");
        }
    }
    pair_free(&p);
    pair_free(&u);
    free(got);
}

static void test_rotate(void) { each_shape(rotate); }

/* The step's part along p alone gives the new norm; what shrinks is then decayed. */
static void pinned(size_t rows, size_t cols, size_t batch, size_t skew)
{
    const double step = 0.3, keep = 0.9;
    Pair p = pair_make(rows, cols, batch, skew, 3), u = pair_make(rows, cols, batch, 0, 4);
    verb_step_pinned(here(), p.mats, u.mats, step, 1e-8, (Decay){(float)keep, 1});
    float *got = pair_read(&p);
    for (size_t b = 0; b < batch; b++) {
        const float *x = p.host + b * p.n, *v = u.host + b * p.n;
        const double size = sqrt(dot(x, x, p.n)), along = size - step * dot(x, v, p.n) / size;
        double squares = 0;
        for (size_t i = 0; i < p.n; i++)
            squares += pow((double)x[i] - step * (double)v[i], 2);
        const double scale = fmax(along, 1e-8) / sqrt(squares);
        for (size_t i = 0; i < p.n; i++) {
            const double moved = scale * ((double)x[i] - step * (double)v[i]);
            const double want = x[i] * v[i] > 0 ? keep * moved : moved;
            check_close((double)got[b * p.n + i], want,
                        5 * U * scale * (fabs((double)x[i]) + step * fabs((double)v[i])),
                        "an element of a pinned step");
        }
    }
    pair_free(&p);
    pair_free(&u);
    free(got);
}

/* A matrix of zeros gets the least norm, not none, in the direction of -u; and one NaN spoils its own matrix alone. */
static void test_pinned(void)
{
    each_shape(pinned);
    Pair p = pair_make(3, 4, 3, 0, 5), u = pair_make(3, 4, 3, 0, 6);
    const float zeros[12] = {0}, bad = NAN;
    verb_write(here(), 12, p.mats.data, zeros);
    verb_write(here(), 1, p.mats.data + 13, &bad);
    verb_step_pinned(here(), p.mats, u.mats, 0.1, 1e-8, (Decay){0.5f, 1});
    float *got = pair_read(&p);
    const double length = sqrt(dot(u.host, u.host, 12));
    for (size_t i = 0; i < 12; i++) {
        check_close((double)got[i], -1e-8 * (double)u.host[i] / length, 4 * U * 1e-8, "an element that was zero");
        check(isnan(got[12 + i]) && isfinite(got[24 + i]), "a NaN is hidden, or in another matrix");
    }
    pair_free(&p);
    pair_free(&u);
    free(got);
}

static void add_each(size_t rows, size_t cols, size_t batch, size_t skew)
{
    Pair to = pair_make(rows, cols, batch, skew, 7), x = pair_make(rows, cols, batch, 0, 8),
         s = pair_make(1, 1, batch, 0, 9);
    verb_add_each(here(), to.mats, s.mats.data, x.mats);
    float *got = pair_read(&to);
    for (size_t i = 0; i < mats_size(to.mats); i++) {
        const double added = (double)s.host[i / to.n] * (double)x.host[i], want = (double)to.host[i] + added;
        check_close((double)got[i], want, 2 * U * (fabs((double)to.host[i]) + fabs(added)), "an element of a sum");
    }
    pair_free(&to);
    pair_free(&x);
    pair_free(&s);
    free(got);
}

static void test_add_each(void) { each_shape(add_each); }

static void test_power(void)
{
    static const float values[] = {0, 1e-30f, 0.25f, 3, 1e20f, -2, NAN};
    enum { COUNT = sizeof values / sizeof *values };
    float *there = where_verbs_are(COUNT), got[COUNT];
    verb_write(here(), COUNT, there, values);
    verb_power(here(), COUNT, there, there, 1e-10, -0.5);
    verb_read(here(), COUNT, got, there);
    for (size_t i = 0; i + 1 < COUNT; i++) {
        const double want = 1 / sqrt(fmax((double)values[i], 1e-10));
        check_close((double)got[i], want, U * want, "a power");
    }
    check(isnan(got[COUNT - 1]), "a NaN's power is %g", (double)got[COUNT - 1]);
    verb_free(here(), there);
}

/* Rows of given lengths in the direction of keep p - step u; sizes before the scale. */
static void directed(size_t rows, size_t cols, size_t batch, size_t skew)
{
    const double step = 0.3;
    Pair p = pair_make(rows, cols, batch, skew, 3), u = pair_make(rows, cols, batch, 0, 4);
    Pair keep = pair_make(1, rows, batch, 0, 5), length = pair_make(1, rows, batch, 0, 6);
    verb_direct_rows(here(), p.mats, u.mats, keep.mats.data, length.mats.data, step);
    float *got = pair_read(&p);
    for (size_t i = 0; i < batch * rows; i++) {
        const float *x = p.host + i * cols, *v = u.host + i * cols;
        const double k = (double)keep.host[i];
        double squares = 0;
        for (size_t j = 0; j < cols; j++)
            squares += pow(k * (double)x[j] - step * (double)v[j], 2);
        const double scale = (double)length.host[i] / sqrt(squares);
        const double sizes = k * k * dot(x, x, cols) + step * step * dot(v, v, cols);
        const double cancelled = 4 * (double)cols * U64 * sizes / squares; /* of the scale */
        for (size_t j = 0; j < cols; j++) {
            const double kept = scale * k * (double)x[j], turned = scale * step * (double)v[j];
            check_close((double)got[i * cols + j], kept - turned, (3 * U + cancelled) * (fabs(kept) + fabs(turned)),
                        "an element of a directed row");
        }
    }
    pair_free(&p);
    pair_free(&u);
    pair_free(&keep);
    pair_free(&length);
    free(got);
}

/* A row without a direction is 0; a NaN spoils its own row alone. */
static void test_directed(void)
{
    each_shape(directed);
    enum { COLS = 40 };
    Pair p = pair_make(3, COLS, 1, 0, 5), u = pair_make(3, COLS, 1, 0, 6), ones = pair_make(1, 3, 1, 0, 7);
    const float bad = NAN, all[3] = {1, 1, 1};
    verb_write(here(), COLS, p.mats.data, u.host);
    verb_write(here(), 1, p.mats.data + COLS + 3, &bad);
    verb_write(here(), 3, ones.mats.data, all);
    verb_direct_rows(here(), p.mats, u.mats, ones.mats.data, ones.mats.data, 1);
    float *got = pair_read(&p);
    for (size_t j = 0; j < COLS; j++) {
        check(got[j] == 0, "a row without a direction has an element %g", (double)got[j]);
        check(isnan(got[COLS + j]) && isfinite(got[2 * COLS + j]), "a NaN is hidden, or in another row");
    }
    pair_free(&p);
    pair_free(&u);
    pair_free(&ones);
    free(got);
}

static void test_divide(void)
{
    static const float x[] = {3, 1, -2, 0, NAN, NAN}, y[] = {-2, 0, -0.0f, 0, 0, 2};
    enum { COUNT = sizeof x / sizeof *x };
    float *there = where_verbs_are(2 * COUNT), got[COUNT];
    verb_write(here(), COUNT, there, x);
    verb_write(here(), COUNT, there + COUNT, y);
    verb_divide(here(), COUNT, there, there, there + COUNT);
    verb_read(here(), COUNT, got, there);
    check(got[0] == -1.5f && got[1] == 0 && got[2] == 0 && got[3] == 0, "quotients %g, %g, %g, %g", (double)got[0],
          (double)got[1], (double)got[2], (double)got[3]);
    check(isnan(got[4]) && isnan(got[5]), "quotients hide a NaN");
    verb_free(here(), there);
}

static void penalise(size_t rows, size_t cols, size_t batch, size_t skew)
{
    Pair p = pair_make(rows, cols, batch, skew, 5);
    float *there = where_verbs_are(2 * batch), *multipliers = make_floats(batch), *bounds = make_floats(batch);
    verb_penalise(here(), p.mats, there, there + batch, false, false);
    verb_penalise(here(), p.mats, there, there + batch, true, false);
    verb_read(here(), batch, bounds, there + batch);
    for (size_t b = 0; b < batch; b++) {
        const double mean = dot(p.host + b * p.n, p.host + b * p.n, p.n) / (double)p.n;
        check_close((double)bounds[b], mean, (U + (double)p.n * U64) * mean, "a bound");
        bounds[b] *= 0.9f;
    }
    verb_write(here(), batch, there + batch, bounds);
    verb_penalise(here(), p.mats, there, there + batch, false, true);
    verb_read(here(), batch, multipliers, there);
    float *got = pair_read(&p);
    for (size_t i = 0; i < mats_size(p.mats); i++) {
        const double mean = (double)bounds[i / p.n] / 0.9, raised = mean - (double)bounds[i / p.n];
        const double factor = 1 - 2 * (double)multipliers[i / p.n], want = factor * (double)p.host[i];
        check_close((double)multipliers[i / p.n], raised, 4 * U * mean, "a multiplier");
        check_close((double)got[i], want, 2 * U * fabs(want), "a penalised element");
    }
    pair_free(&p);
    verb_free(here(), there);
    free(multipliers);
    free(bounds);
    free(got);
}

static void test_penalise(void) { each_shape(penalise); }

/* Two numbers whose product underflows, zeros on either side, a NaN. */
static void make_odd(Pair *u, Pair *g)
{
    const float odd[][2] = {{1e-30f, 2e-30f}, {0, 1}, {1, 0}, {NAN, 1}};
    for (size_t i = 0; i < 4 && i < mats_size(u->mats); i++) {
        u->host[i] = odd[i][0];
        g->host[i] = odd[i][1];
    }
    verb_write(here(), mats_size(u->mats), u->mats.data, u->host);
    verb_write(here(), mats_size(g->mats), g->mats.data, g->host);
}

static void cautious(size_t rows, size_t cols, size_t batch, size_t skew)
{
    static const double more[] = {0, 1, 0}, floors[] = {1e-3, 0, .6};
    for (size_t k = 0; k < 3; k++) {
        Pair u = pair_make(rows, cols, batch, skew, 5), g = pair_make(rows, cols, batch, 0, 6),
             m = pair_make(rows, cols, batch, skew, 7), *by = k < 2 ? &u : &m;
        make_odd(by, &g);
        verb_cautious(here(), u.mats, by->mats, g.mats.data, more[k], floors[k]);
        float *got = pair_read(&u);
        for (size_t b = 0; b < batch; b++) {
            const float *x = u.host + b * u.n, *z = by->host + b * u.n, *y = g.host + b * u.n, *stepped = got + b * u.n;
            double count = 0;
            for (size_t i = 0; i < u.n; i++)
                count += !((double)z[i] * (double)y[i] <= 0);
            const double factor = (double)u.n / fmax(count + more[k], floors[k] * (double)u.n);
            for (size_t i = 0; i < u.n; i++) {
                const double want = (double)z[i] * (double)y[i] <= 0 ? 0 : factor * (double)x[i];
                if (isnan(x[i]))
                    check(isnan(stepped[i]), "a NaN became %g", (double)stepped[i]);
                else
                    check_close((double)stepped[i], want, 2 * U * fabs(want), "an element of a cautious step");
            }
        }
        pair_free(&u);
        pair_free(&g);
        pair_free(&m);
        free(got);
    }
}

static void test_cautious(void) { each_shape(cautious); }

/* --------------------------------------------------------------------------------------------------------------
 * Lines
 */

/* Mean square of line i of all matrices. */
static double line_mean(const Pair *x, bool columns, size_t i)
{
    const size_t count = columns ? x->mats.cols : x->mats.rows, length = x->n / count;
    const float *line = x->host + i / count * x->n + i % count * (columns ? 1 : length);
    double sum = 0;
    for (size_t k = 0; k < length; k++)
        sum += pow((double)line[k * (columns ? count : 1)], 2);
    return sum / (double)length;
}

static size_t line_of(const Pair *x, bool columns, size_t element)
{
    const size_t b = element / x->n, row = element % x->n / x->mats.cols, col = element % x->mats.cols;
    return columns ? b * x->mats.cols + col : b * x->mats.rows + row;
}

static void lines(size_t rows, size_t cols, size_t batch, size_t skew)
{
    const size_t most = batch * (rows + cols);
    float *there = where_verbs_are(most), *got = make_floats(most), *ones = make_floats(most);
    for (int columns = 0; columns < 2; columns++) {
        Pair x = pair_make(rows, cols, batch, skew, 6);
        const size_t count = batch * (columns ? cols : rows);
        verb_mean_squares(here(), x.mats, columns != 0, there);
        verb_read(here(), count, got, there);
        for (size_t i = 0; i < count; i++)
            check_close((double)got[i], line_mean(&x, columns != 0, i), 2 * U * line_mean(&x, columns != 0, i),
                        "a mean square");
        Pair y = pair_make(rows, cols, batch, 0, 8);
        float *dots = where_verbs_are(count), *products = make_floats(count);
        verb_line_dots(here(), x.mats, y.mats, columns != 0, dots);
        verb_read(here(), count, products, dots);
        for (size_t i = 0; i < count; i++) {
            double sum = 0, sizes = 0;
            for (size_t k = 0; k < mats_size(x.mats); k++) {
                const double product = line_of(&x, columns != 0, k) == i ? (double)x.host[k] * (double)y.host[k] : 0;
                sum += product;
                sizes += fabs(product);
            }
            check_close((double)products[i], sum, U * fabs(sum) + (double)x.n * U64 * sizes, "a line's product");
        }
        pair_free(&y);
        verb_free(here(), dots);
        free(products);
        verb_scale_lines(here(), x.mats, there, columns != 0, x.mats);
        float *scaled = pair_read(&x);
        for (size_t i = 0; i < mats_size(x.mats); i++) {
            const double want = (double)got[line_of(&x, columns != 0, i)] * (double)x.host[i];
            check_close((double)scaled[i], want, U * fabs(want), "an element of a scaled line");
        }
        free(scaled);
        pair_free(&x);
    }
    for (size_t i = 0; i < most; i++)
        ones[i] = 1;
    Pair x = pair_make(rows, cols, batch, skew, 7), y = pair_make(rows, cols, batch, skew, 7);
    const bool columns = rows < cols;
    verb_write(here(), most, there, ones);
    verb_normalise_lines(here(), x.mats, there, 0.75, 1e-10);
    verb_normalise_columns(here(), y.mats, 0.5);
    float *normal = pair_read(&x), *unit = pair_read(&y);
    for (size_t i = 0; i < mats_size(x.mats); i++) {
        const double v = 0.75 + 0.25 * line_mean(&x, columns, line_of(&x, columns, i));
        const double length = sqrt((double)rows * line_mean(&x, true, line_of(&x, true, i)));
        const double value = (double)x.host[i], size = fabs(value) / (length + 0.5);
        check_close((double)normal[i], value / sqrt(v), 4 * U * fabs(value), "a normalised line");
        check_close((double)unit[i], value / (length + 0.5), 2 * U * size, "a normalised column");
    }
    pair_free(&x);
    pair_free(&y);
    verb_free(here(), there);
    free(got);
    free(ones);
    free(normal);
    free(unit);
}

/* Every second line, from the last on, out of a matrix and back, scaled. */
static void some_lines(size_t rows, size_t cols, size_t batch, size_t skew)
{
    for (int columns = 0; columns < 2; columns++) {
        const size_t n = columns ? cols : rows, k = (n + 1) / 2;
        Pair x = pair_make(rows, cols, batch, skew, 10), to = pair_make(rows, cols, batch, skew, 11);
        Pair few = pair_make(columns ? rows : k, columns ? k : cols, batch, 0, 12);
        float *which = where_verbs_are(batch * k), *numbers = make_floats(batch * k);
        for (size_t i = 0; i < batch * k; i++)
            numbers[i] = (float)(n - 1 - 2 * (i % k));
        verb_write(here(), batch * k, which, numbers);
        verb_take_lines(here(), x.mats, which, columns != 0, few.mats);
        verb_put_lines(here(), few.mats, which, columns != 0, 0.5, to.mats);
        float *got = pair_read(&to);
        for (size_t i = 0; i < mats_size(to.mats); i++) {
            const size_t line = columns ? i % cols : i / cols % rows;
            check(got[i] == ((n - 1 - line) % 2 == 0 ? 0.5f * x.host[i] : to.host[i]), "an element of line %zu", line);
        }
        verb_take_lines(here(), x.mats, NULL, columns != 0, few.mats);
        float *first = pair_read(&few);
        for (size_t i = 0; i < mats_size(few.mats); i++) {
            const size_t b = i / few.n, row = i % few.n / few.mats.cols, col = i % few.mats.cols;
            check(first[i] == x.host[b * x.n + row * cols + col], "an element of the first lines");
        }
        free(first);
        free(got);
        free(numbers);
        verb_free(here(), which);
        pair_free(&few);
        pair_free(&to);
        pair_free(&x);
    }
}

static void test_some_lines(void) { each_shape(some_lines); }

/* Against a selection that keeps the order of equals: among ten numbers, among all different ones, and with NaN. */
static void test_top(void)
{
    enum { N = 300, COUNT = 3, K = 120 };
    float *there = where_verbs_are(COUNT * (N + K)), host[COUNT * N], got[COUNT * K];
    for (size_t i = 0; i < COUNT * N; i++)
        host[i] = i < N ? (float)(i * 7 % 10) : i < 2 * N ? (float)(i * 77 % N) : i % 97 == 0 ? NAN : (float)(i % 13);
    verb_write(here(), COUNT * N, there, host);
    verb_top(here(), N, COUNT, there, K, there + COUNT * N);
    verb_read(here(), COUNT * K, got, there + COUNT * N);
    for (size_t b = 0; b < COUNT; b++) {
        bool taken[N] = {false};
        for (size_t j = 0; j < K; j++) {
            const float *x = host + b * N;
            size_t best = N;
            for (size_t i = 0; i < N; i++)
                if (!taken[i] && (best == N || (isnan(x[i]) && !isnan(x[best])) || x[i] > x[best]))
                    best = i;
            taken[best] = true;
            check(got[b * K + j] == (float)best, "number %zu of the largest is %g, not %zu", j, (double)got[b * K + j],
                  best);
        }
    }
    verb_free(here(), there);
}

static void test_lines(void) { each_shape(lines); }

/* The largest magnitude of each matrix, and the row that a list of numbers picks; a NaN is not lost. */
static void largest(size_t rows, size_t cols, size_t batch, size_t skew)
{
    Pair x = pair_make(rows, cols, batch, skew, 21), sizes = pair_make(1, rows, batch, 0, 22);
    float *there = where_verbs_are(batch * (cols + 1)), *got = make_floats(batch * (cols + 1));
    for (size_t i = 0; i < batch * rows; i++) /* with equal ones */
        sizes.host[i] = (float)((int)(4 * sizes.host[i]));
    verb_write(here(), batch * rows, sizes.mats.data, sizes.host);
    verb_largest(here(), x.mats, there);
    verb_pick_row(here(), x.mats, sizes.mats.data, there + batch);
    verb_read(here(), batch * (cols + 1), got, there);
    for (size_t b = 0; b < batch; b++) {
        const float *own = sizes.host + b * rows;
        float most = 0;
        size_t at = 0;
        for (size_t i = 0; i < x.n; i++)
            most = fmaxf(most, fabsf(x.host[b * x.n + i]));
        for (size_t i = 1; i < rows; i++)
            at = own[i] > own[at] ? i : at;
        check(got[b] == most, "%g is not the largest magnitude, %g", (double)got[b], (double)most);
        check_same_bits(got + batch + b * cols, x.host + b * x.n + at * cols, cols * sizeof *got, "the picked row");
    }
    const float bad = NAN;
    verb_write(here(), 1, x.mats.data + x.n / 2, &bad);
    verb_largest(here(), x.mats, there);
    verb_read(here(), batch, got, there);
    check(isnan(got[0]) && (batch == 1 || isfinite(got[1])), "a NaN is lost, or in another matrix");
    pair_free(&x);
    pair_free(&sizes);
    verb_free(here(), there);
    free(got);
}

static void test_largest(void) { each_shape(largest); }

/* Moments of N(0, 1) within 4 standard deviations of their estimates, and the same bits as the shared function on the
 * host; other streams, and neighbours, are other numbers. */
static void test_probe(void)
{
    enum { COUNT = 40003 };
    float *there = where_verbs_are(2 * COUNT), *x = make_floats(2 * COUNT);
    double sums[5] = {0}, products[2] = {0};
    verb_probe(here(), COUNT, there, 7);
    verb_probe(here(), COUNT, there + COUNT, 8);
    verb_read(here(), 2 * COUNT, x, there);
    for (size_t i = 0; i < COUNT; i++) {
        const float want = probe_element(7, i);
        check_same_bits(&x[i], &want, sizeof want, "a probe");
        for (int k = 1; k < 5; k++)
            sums[k] += pow((double)x[i], k) / COUNT;
        products[0] += (double)x[i] * (double)x[COUNT + i] / COUNT;
        products[1] += (double)x[i] * (double)x[i > 0 ? i - 1 : COUNT] / COUNT;
    }
    const double unit = 4 / sqrt(COUNT); /* variances: 1, 2, 15, 96, 1 */
    check_close(sums[1], 0, unit, "the mean");
    check_close(sums[2], 1, unit * sqrt(2), "the variance");
    check_close(sums[3], 0, unit * sqrt(15), "the third moment");
    check_close(sums[4], 3, unit * sqrt(96), "the fourth moment");
    check_close(products[0], 0, unit, "two streams");
    check_close(products[1], 0, unit, "neighbours");
    for (size_t i = 1; i < 1000; i++) {
        const double u = (double)i / 1000;
        check_close(log_unit(u), log(u), 1e-13, "a logarithm");
        check_close(cos_turns(u), cos(2 * acos(-1) * u), 1e-13, "a cosine");
    }
    check(log_unit(1) == 0 && cos_turns(0) == 1, "the ends");
    check_close(log_unit(0x1p-53), -53 * log(2), 1e-13, "the least logarithm");
    verb_free(here(), there);
    free(x);
}

/* y U or U^T y gives x back: the residual is n U of the sizes of its terms at most (Higham 2002, theorem 8.5). */
static void solved(size_t rows, size_t cols, size_t batch, size_t skew)
{
    for (int right = 0; right < 2; right++) {
        const size_t n = right ? cols : rows;
        Pair x = pair_make(rows, cols, batch, skew, 23), u = pair_make(n, n, batch, 0, 24);
        for (size_t i = 0; i < mats_size(u.mats); i++) { /* below the diagonal is nothing that may be read */
            const size_t row = i / n % n, col = i % n;
            u.host[i] = row > col ? NAN : row == col ? 2 : u.host[i] / (float)n;
        }
        verb_write(here(), mats_size(u.mats), u.mats.data, u.host);
        verb_solve_upper(here(), u.mats, right != 0, x.mats);
        float *y = pair_read(&x);
        for (size_t b = 0; b < batch; b++)
            for (size_t i = 0; i < x.n; i++) {
                const size_t unknown = right ? i % cols : i / cols;
                double sum = 0, sizes = 0;
                for (size_t k = 0; k <= unknown; k++) {
                    const double known = (double)y[b * x.n + (right ? i / cols * cols + k : k * cols + i % cols)];
                    sum += known * (double)u.host[b * n * n + k * n + unknown];
                    sizes += fabs(known * (double)u.host[b * n * n + k * n + unknown]);
                }
                check_close(sum, (double)x.host[b * x.n + i], 1.1 * (double)(n + 1) * U * sizes, "a residual");
            }
        verb_upper(here(), u.mats);
        float *upper = pair_read(&u);
        for (size_t i = 0; i < mats_size(u.mats); i++)
            check(upper[i] == (i / n % n > i % n ? 0 : u.host[i]), "an element of an upper triangle");
        pair_free(&x);
        pair_free(&u);
        free(y);
        free(upper);
    }
}

static void test_solve(void) { each_shape(solved); }

/* Sinkhorn's scales of one matrix, in double. */
static void scales_of(const float *a, size_t rows, size_t cols, size_t times, double eps, double *x, double *y)
{
    for (size_t j = 0; j < cols; j++)
        y[j] = 1;
    for (size_t half = 0; half < 2 * times; half++) {
        const bool columns = half % 2 != 0;
        const size_t lines = columns ? cols : rows, length = columns ? rows : cols;
        for (size_t i = 0; i < lines; i++) {
            double sum = eps;
            for (size_t k = 0; k < length; k++)
                sum += (pow((double)a[columns ? k * cols + i : i * cols + k], 2) + eps) * (columns ? x : y)[k];
            (columns ? y : x)[i] = 1 / ((double)lines * sum);
        }
    }
}

/* All terms are positive: a half adds the rounding of its result to the largest relative error of the other side. */
static void sinkhorn(size_t rows, size_t cols, size_t batch, size_t skew)
{
    enum { TIMES = 3 };
    const double eps = 0.1;
    Pair a = pair_make(rows, cols, batch, skew, 10);
    float *there = where_verbs_are(batch * (rows + cols)), *got = make_floats(batch * (rows + cols));
    double *x = make_doubles(rows), *y = make_doubles(cols);
    verb_sinkhorn(here(), a.mats, there, there + batch * rows, TIMES, eps);
    verb_read(here(), batch * (rows + cols), got, there);
    for (size_t b = 0; b < batch; b++) {
        scales_of(a.host + b * a.n, rows, cols, TIMES, eps, x, y);
        for (size_t i = 0; i < rows; i++)
            check_close((double)got[b * rows + i], x[i], 2 * TIMES * U * x[i], "the scale of a row");
        for (size_t j = 0; j < cols; j++)
            check_close((double)got[batch * rows + b * cols + j], y[j], 2 * TIMES * U * y[j], "the scale of a column");
    }
    pair_free(&a);
    verb_free(here(), there);
    free(got);
    free(x);
    free(y);
}

static void test_sinkhorn(void) { each_shape(sinkhorn); }

/* --------------------------------------------------------------------------------------------------------------
 * Factorisations of batches in which one matrix is not a number: it alone becomes NaN
 */

enum { BATCH = 4, BAD = 2 };

static void spoil(Pair *p)
{
    const float bad = NAN;
    verb_write(here(), 1, p->mats.data + BAD * p->n + p->n / 2, &bad);
}

static bool is_spoilt(const float *x, size_t n)
{
    size_t numbers = 0;
    for (size_t i = BAD * n; i < (BAD + 1) * n; i++)
        numbers += isnan(x[i]) ? 0 : 1;
    return check(numbers == 0, "%zu elements of %zu hide a NaN", numbers, n);
}

/* |x^T x - I| over all elements, x (rows, cols) with cols <= rows. */
static double off_orthonormal(const float *x, size_t rows, size_t cols)
{
    double most = 0;
    for (size_t i = 0; i < cols; i++)
        for (size_t j = 0; j < cols; j++) {
            double sum = i == j ? -1 : 0;
            for (size_t k = 0; k < rows; k++)
                sum += (double)x[k * cols + i] * (double)x[k * cols + j];
            most = fmax(most, fabs(sum));
        }
    return most;
}

static const size_t tall[][2] = {{1, 1}, {5, 5}, {40, 24}, {33, 33}};

/* Q is orthonormal, and R = Q^T x is upper triangular with a diagonal that is not negative. Elements of Q are rounded
 * by U of at most 1, sums of `rows` products by sqrt(rows) U |column|, times 4 for errors that are not random. */
static void test_qr(void)
{
    for (size_t s = 0; s < 4; s++) {
        const size_t rows = tall[s][0], cols = tall[s][1];
        Pair x = pair_make(rows, cols, BATCH, s % 2, 8);
        float *scratch = where_verbs_are(verb_scratch(rows, cols, BATCH));
        spoil(&x);
        verb_qr(here(), x.mats, scratch);
        float *q = pair_read(&x);
        is_spoilt(q, x.n);
        for (size_t b = 0; b < BATCH; b++) {
            const float *own = q + b * x.n, *from = x.host + b * x.n;
            const double bound = 4 * U * sqrt((double)rows), size = sqrt(dot(from, from, x.n));
            if (b == BAD)
                continue;
            check(off_orthonormal(own, rows, cols) <= bound, "Q of %zu x %zu is off orthonormal", rows, cols);
            for (size_t i = 0; i < cols; i++)
                for (size_t j = 0; j <= i; j++) {
                    double r = 0;
                    for (size_t k = 0; k < rows; k++)
                        r += (double)own[k * cols + i] * (double)from[k * cols + j];
                    check(i == j ? r >= -bound * size : fabs(r) <= bound * size, "R[%zu][%zu] is %g", i, j, r);
                }
        }
        verb_free(here(), scratch);
        pair_free(&x);
        free(q);
    }
}

/* Symmetric matrices with eigenvalues 1, 2, .. n in random directions, whose gaps of 1 hold an eigenvector to the
 * rounding of the matrix, n U, and 2 U of its own. */
static Pair symmetric_pair(size_t n, double **vectors)
{
    Pair a = pair_make(n, n, BATCH, 1, 9);
    double *values = make_doubles(n);
    for (size_t i = 0; i < n; i++)
        values[i] = (double)(i + 1);
    for (size_t b = 0; b < BATCH; b++) {
        vectors[b] = make_orthonormal(n, n, 20 + b);
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n; j++) {
                double sum = 0;
                for (size_t k = 0; k < n; k++)
                    sum += values[k] * vectors[b][k * n + i] * vectors[b][k * n + j];
                a.host[b * n * n + i * n + j] = (float)sum;
            }
    }
    verb_write(here(), mats_size(a.mats), a.mats.data, a.host);
    spoil(&a);
    free(values);
    return a;
}

static void test_eigenbasis(void)
{
    enum { N = 30 };
    double *vectors[BATCH];
    Pair a = symmetric_pair(N, vectors), basis = pair_make(N, N, BATCH, 0, 10);
    float *scratch = where_verbs_are(verb_scratch(N, N, BATCH));
    verb_eigenbasis(here(), a.mats, basis.mats, scratch);
    float *got = pair_read(&basis);
    is_spoilt(got, N * N);
    for (size_t b = 0; b < BATCH; b++) {
        for (size_t j = 0; j < N && b != BAD; j++) { /* the largest first */
            const double *want = vectors[b] + (N - 1 - j) * N;
            double product = 0;
            for (size_t i = 0; i < N; i++)
                product += want[i] * (double)got[b * N * N + i * N + j];
            check_close(fabs(product), 1, 2 * N * U, "a column and the eigenvector");
        }
        free(vectors[b]);
    }
    verb_free(here(), scratch);
    pair_free(&a);
    pair_free(&basis);
    free(got);
}

/* Copies of a matrix have the same eigenvectors to the bit, whichever threads they come to. It is of low rank, and
 * large: others hide where in a cache line a thread's scratch begins. */
static void test_threads(void)
{
    enum { N = 256, RANK = 64, COPIES = 8 };
    threads_set(3);
    Pair a = pair_make(N, N, COPIES, 0, 12), basis = pair_make(N, N, COPIES, 0, 13);
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j <= i; j++)
            a.host[i * N + j] = a.host[j * N + i] = (float)dot(basis.host + i * N, basis.host + j * N, RANK);
    for (size_t b = 1; b < COPIES; b++)
        memcpy(a.host + b * N * N, a.host, N * N * sizeof *a.host);
    verb_write(here(), mats_size(a.mats), a.mats.data, a.host);
    float *scratch = where_verbs_are(verb_scratch(N, N, COPIES));
    verb_eigenbasis(here(), a.mats, basis.mats, scratch);
    float *got = pair_read(&basis);
    for (size_t b = 1; b < COPIES; b++)
        check_same_bits(got + b * N * N, got, N * N * sizeof *got, "eigenvectors of equal matrices");
    free(got);
    verb_free(here(), scratch);
    pair_free(&a);
    pair_free(&basis);
    threads_set(1);
}

/* (2 a + 1)^-1/2 */
static void test_root(void)
{
    enum { N = 30 };
    double *vectors[BATCH];
    Pair a = symmetric_pair(N, vectors), root = pair_make(N, N, BATCH, 0, 11);
    float *scratch = where_verbs_are(verb_scratch(N, N, BATCH));
    verb_root(here(), a.mats, 2, 1, -0.5, root.mats, scratch);
    float *got = pair_read(&root);
    is_spoilt(got, N * N);
    for (size_t b = 0; b < BATCH; b++) {
        for (size_t i = 0; i < N * N && b != BAD; i++) {
            double want = 0;
            for (size_t k = 0; k < N; k++)
                want += pow(2 * (double)(k + 1) + 1, -0.5) * vectors[b][k * N + i / N] * vectors[b][k * N + i % N];
            check_close((double)got[b * N * N + i], want, 2 * N * U, "an element of a root");
            check(got[b * N * N + i] == got[b * N * N + i % N * N + i / N], "a root is not symmetric");
        }
        free(vectors[b]);
    }
    verb_free(here(), scratch);
    pair_free(&a);
    pair_free(&root);
    free(got);
}

static void test_polar(void)
{
    static const size_t polar_shapes[][2] = {{1, 4}, {24, 40}, {40, 24}};
    for (size_t s = 0; s < 3; s++) {
        const size_t rows = polar_shapes[s][0], cols = polar_shapes[s][1], n = rows < cols ? rows : cols;
        Pair x = pair_make(rows, cols, BATCH, s, 12);
        double *ones = make_doubles(n);
        for (size_t b = 0; b < BATCH; b++) { /* orthonormal, times 3: its own factor, but for the scale */
            for (size_t i = 0; i < n; i++)
                ones[i] = 3;
            float *matrix = make_matrix_of(ones, n, rows, cols, 30 + b);
            memcpy(x.host + b * x.n, matrix, x.n * sizeof *matrix);
            free(matrix);
        }
        verb_write(here(), mats_size(x.mats), x.mats.data, x.host);
        spoil(&x);
        float *scratch = where_verbs_are(verb_scratch(rows, cols, BATCH));
        verb_polar(here(), x.mats, 1e-6, scratch);
        float *got = pair_read(&x);
        is_spoilt(got, x.n);
        for (size_t i = 0; i < mats_size(x.mats); i++)
            if (i / x.n != BAD)
                check_close((double)got[i], (double)x.host[i] / 3, 2 * U * sqrt((double)n), "an element of the factor");
        verb_free(here(), scratch);
        pair_free(&x);
        free(ones);
        free(got);
    }
}

/* With image = basis diag(estimates) columns of both, and rows or columns of v, follow the estimates downwards; equal
 * ones keep their order. */
static void test_sort(void)
{
    enum { N = 37, OTHER = 12 };
    for (int right = 0; right < 2; right++) {
        Pair basis = pair_make(N, N, BATCH, 0, 13), image = pair_make(N, N, BATCH, 0, 14);
        Pair v = pair_make(right ? OTHER : N, right ? N : OTHER, BATCH, 0, 15);
        for (size_t b = 0; b < BATCH; b++)
            for (size_t i = 0; i < N; i++)
                for (size_t j = 0; j < N; j++) { /* the unit matrix, and estimates 3 j mod N / 2 */
                    basis.host[(b * N + i) * N + j] = i == j;
                    image.host[(b * N + i) * N + j] = i == j ? (float)((3 * j + b) % N / 2) : (float)(i + N * j);
                }
        verb_write(here(), mats_size(basis.mats), basis.mats.data, basis.host);
        verb_write(here(), mats_size(image.mats), image.mats.data, image.host);
        float *scratch = where_verbs_are(verb_scratch(N, N, BATCH));
        verb_sort_basis(here(), basis.mats, image.mats, v.mats, right != 0, scratch);
        float *q = pair_read(&basis), *a = pair_read(&image), *moments = pair_read(&v);
        for (size_t b = 0; b < BATCH; b++) {
            double before = (double)INFINITY;
            size_t earlier = 0;
            for (size_t j = 0; j < N; j++) {
                size_t from = 0;
                while (from < N - 1 && q[(b * N + from) * N + j] != 1)
                    from++;
                const double estimate = (double)((3 * from + b) % N / 2);
                check(estimate < before || (estimate == before && from > earlier), "column %zu: not in order", j);
                for (size_t k = 0; k < N; k++)
                    check(a[(b * N + k) * N + j] == image.host[(b * N + k) * N + from],
                          "column %zu of the image did not go along", j);
                for (size_t k = 0; k < OTHER; k++) {
                    const size_t now = right ? k * N + j : j * OTHER + k, was = right ? k * N + from : from * OTHER + k;
                    check(moments[b * v.n + now] == v.host[b * v.n + was], "line %zu of v did not go along", j);
                }
                before = estimate;
                earlier = from;
            }
        }
        verb_free(here(), scratch);
        pair_free(&basis);
        pair_free(&image);
        pair_free(&v);
        free(q);
        free(a);
        free(moments);
    }
}

int main(void)
{
    threads_set(1);
    check_run("sums of squares of many arrays", test_sums_of_squares);
    check_run("the gradients' norm and its culprit", test_grad_norm);
    check_run("norms, dot products, rescaling", test_norms);
    check_run("rotation", test_rotate);
    check_run("steps that pin the norm", test_pinned);
    check_run("rows of given lengths", test_directed);
    check_run("matrices added by a factor each", test_add_each);
    check_run("quotients", test_divide);
    check_run("powers", test_power);
    check_run("the penalty", test_penalise);
    check_run("a cautious step", test_cautious);
    check_run("lines", test_lines);
    check_run("largest magnitudes and picked rows", test_largest);
    check_run("random probes", test_probe);
    check_run("triangular systems", test_solve);
    check_run("Sinkhorn's iteration", test_sinkhorn);
    check_run("some lines", test_some_lines);
    check_run("the largest numbers", test_top);
    check_run("QR", test_qr);
    check_run("eigenbasis", test_eigenbasis);
    check_run("eigenbases by several threads", test_threads);
    check_run("root", test_root);
    check_run("polar factor", test_polar);
    check_run("a sorted basis", test_sort);
    return check_summary();
}
