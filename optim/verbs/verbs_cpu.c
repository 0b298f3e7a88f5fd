#include "base/matmul.h"
#include "base/memory.h"
#include "base/random.h"
#include "optim/verbs/lines.h"
#include "optim/verbs/verbs.h"
#include "optim/verbs/verbs_math.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Every verb takes a context, which only a GPU needs. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

struct Verbs {
    char nothing;
};

int verbs_create(void *stream, Verbs **on, Error *e)
{
    *on = malloc(sizeof **on);
    return *on != NULL ? 0 : error_set(e, "out of memory");
}

void verbs_free(Verbs *on) { free(on); }

/* Elementwise loops and sums use stretches of this many elements, whatever the number of threads. */
enum { STRETCH = 1 << 15 };

static size_t stretch_end(size_t begin, size_t n) { return n - begin < STRETCH ? n : begin + STRETCH; }

/* The statement that follows, for each i below n: threads share the stretches, each of which is vectorised. */
/* clang-format off */
#define EACH(i, n) \
    _Pragma("omp parallel for schedule(static)") \
    for (size_t begin = 0; begin < (n); begin += STRETCH) \
        _Pragma("omp simd") \
        for (size_t i = begin; i < stretch_end(begin, n); i++)
/* clang-format on */

void verb_momentum(Verbs *on, size_t n, float *restrict m, float *u, const float *g, double mu, bool nesterov, double s)
{
    const float keep = (float)mu, share = (float)((1 - mu) * s);
    EACH (i, n)
        u[i] = momentum_element(&m[i], g[i], keep, share, nesterov);
}

void verb_precondition(Verbs *on, size_t n, float *u, float *restrict v, const float *g, double beta, double correction,
                       double eps, double s)
{
    const float keep = (float)beta, share = (float)(1 - beta), scale = (float)s, factor = (float)correction;
    const float least = (float)eps;
    EACH (i, n)
        u[i] = precondition_element(u[i], &v[i], scale * g[i], keep, share, factor, least);
}

void verb_adam_direction(Verbs *on, size_t n, float *restrict u, float *restrict m, float *restrict v,
                         const float *restrict g, double beta1, double beta2, double correction, double eps, double s)
{
    const float keep1 = (float)beta1, share1 = (float)((1 - beta1) * s), keep2 = (float)beta2;
    const float share2 = (float)(1 - beta2), scale = (float)s, factor = (float)correction, least = (float)eps;
    EACH (i, n) {
        const float new_m = momentum_element(&m[i], g[i], keep1, share1, false);
        u[i] = precondition_element(new_m, &v[i], scale * g[i], keep2, share2, factor, least);
    }
}

void verb_whiten(Verbs *on, size_t n, float *restrict u, float *restrict v, double beta, double floor)
{
    const float keep = (float)beta, share = (float)(1 - beta), least = (float)floor;
    EACH (i, n)
        u[i] = whiten_element(u[i], &v[i], keep, share, least);
}

void verb_update(Verbs *on, size_t n, float *restrict p, const float *restrict u, Decay decay, double step)
{
    const float minus_step = (float)-step;
    EACH (i, n)
        p[i] = fmaf(minus_step, u[i], decay_keep(p[i], u[i], &decay) * p[i]);
}

void verb_read(Verbs *on, size_t n, float *host, const float *x) { memcpy(host, x, n * sizeof *host); }

void verb_scale(Verbs *on, size_t n, float *to, const float *x, double s)
{
    const float factor = (float)s;
    EACH (i, n)
        to[i] = factor * x[i];
}

void verb_swap(Verbs *on, size_t n, float *restrict x, float *restrict y)
{
    EACH (i, n) {
        const float kept = x[i];
        x[i] = y[i];
        y[i] = kept;
    }
}

void verb_add(Verbs *on, size_t n, float *restrict to, const float *restrict x, double a, double b)
{
    const float keep = (float)a, share = (float)b;
    EACH (i, n)
        to[i] = fmaf(share, x[i], keep * to[i]);
}

void verb_multiply(Verbs *on, size_t n, float *to, const float *x, const float *y)
{
    EACH (i, n)
        to[i] = x[i] * y[i];
}

void verb_divide(Verbs *on, size_t n, float *to, const float *x, const float *y)
{
    EACH (i, n)
        to[i] = quotient_element(x[i], y[i]);
}

void verb_sign(Verbs *on, size_t n, float *to, const float *x)
{
    EACH (i, n)
        to[i] = sign_element(x[i]);
}

void verb_power(Verbs *on, size_t n, float *to, const float *x, double floor, double power)
{
    for (size_t i = 0; i < n; i++)
        to[i] = power_element(x[i], floor, power);
}

void verb_fill(Verbs *on, size_t n, float *to, double x)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (float)x;
}

void verb_normal(Verbs *on, size_t n, float *to, size_t stream)
{
    Random random = random_make(0, stream);
    for (size_t i = 0; i < n; i++)
        to[i] = (float)random_normal(&random);
}

void verb_probe(Verbs *on, size_t n, float *to, size_t stream)
{
    EACH (i, n)
        to[i] = probe_element(stream, i);
}

static double dot(const float *x, const float *y, size_t n)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)y[i];
    return sum;
}

/* x . y: the stretches' sums, at most PARTS at a time, added in order. */
static double ordered_dot(size_t n, const float *x, const float *y)
{
    enum { PARTS = 256 };
    double total = 0;
    for (size_t block = 0; block < n; block += (size_t)PARTS * STRETCH) {
        double parts[PARTS] = {0};
        const size_t block_end = n - block < (size_t)PARTS * STRETCH ? n : block + (size_t)PARTS * STRETCH;
#pragma omp parallel for schedule(static)
        for (size_t begin = block; begin < block_end; begin += STRETCH)
            parts[(begin - block) / STRETCH] = dot(x + begin, y + begin, stretch_end(begin, n) - begin);
        for (size_t i = 0; i < PARTS; i++)
            total += parts[i];
    }
    return total;
}

double verb_sum_squares(Verbs *on, size_t n, const float *x) { return ordered_dot(n, x, x); }

/* Each small array by one thread, which adds its stretches in the order in which ordered_dot does. */
void verb_sums_of_squares(Verbs *on, size_t count, const Floats *arrays, double *sums)
{
    enum { SMALL = 4 * STRETCH };
#pragma omp parallel for schedule(dynamic, 4)
    for (size_t i = 0; i < count; i++) {
        sums[i] = 0;
        for (size_t begin = 0; begin < arrays[i].n && arrays[i].n <= SMALL; begin += STRETCH)
            sums[i] += dot(arrays[i].data + begin, arrays[i].data + begin, stretch_end(begin, arrays[i].n) - begin);
    }
    for (size_t i = 0; i < count; i++)
        if (arrays[i].n > SMALL)
            sums[i] = verb_sum_squares(on, arrays[i].n, arrays[i].data);
}

/* --------------------------------------------------------------------------------------------------------------
 * Norms
 */

void verb_norms(Verbs *on, Mats x, float *norms)
{
    const size_t n = x.rows * x.cols;
    for (size_t b = 0; b < x.batch; b++)
        norms[b] = (float)sqrt(verb_sum_squares(on, n, x.data + b * n));
}

void verb_dots(Verbs *on, Mats x, Mats y, float *dots)
{
    const size_t n = x.rows * x.cols;
    for (size_t b = 0; b < x.batch; b++)
        dots[b] = (float)ordered_dot(n, x.data + b * n, y.data + b * n);
}

void verb_largest(Verbs *on, Mats x, float *largest)
{
    const size_t n = x.rows * x.cols;
#pragma omp parallel for schedule(static)
    for (size_t b = 0; b < x.batch; b++) {
        float most = 0;
        for (size_t i = b * n; i < (b + 1) * n; i++)
            most = larger_magnitude(most, x.data[i]);
        largest[b] = most;
    }
}

void verb_rescale(Verbs *on, Mats x, const float *numerator, const float *denominator, double factor, double floor)
{
    const size_t n = x.rows * x.cols;
    for (size_t b = 0; b < x.batch; b++) {
        const double d = factor * (denominator != NULL ? (double)denominator[b] : 1.0);
        const double s = (numerator != NULL ? (double)numerator[b] : 1.0) / (d < floor ? floor : d);
        verb_scale(on, n, x.data + b * n, x.data + b * n, s);
    }
}

void verb_add_each(Verbs *on, Mats to, const float *s, Mats x)
{
    const size_t n = to.rows * to.cols;
    for (size_t b = 0; b < to.batch; b++)
        verb_add(on, n, to.data + b * n, x.data + b * n, 1, (double)s[b]);
}

static double line_dot(const float *x, const float *y, const Lines *lines)
{
    double sum = 0;
    for (size_t i = 0; i < lines->length; i++)
        sum += (double)x[i * lines->step] * (double)y[i * lines->step];
    return sum;
}

static double line_squares(const float *x, const Lines *lines) { return line_dot(x, x, lines); }

static void line_scale(float *to, const float *x, const Lines *lines, float s)
{
    for (size_t i = 0; i < lines->length; i++)
        to[i * lines->step] = s * x[i * lines->step];
}

void verb_normalise_lines(Verbs *on, Mats x, float *v, double beta, double floor)
{
    const Lines lines = lines_of(x, x.rows < x.cols);
    const size_t all = x.batch * lines.count;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < all; i++) {
        float *line = x.data + i / lines.count * x.rows * x.cols + i % lines.count * lines.line;
        const double mean = line_squares(line, &lines) / (double)lines.length;
        v[i] = (float)(beta * (double)v[i] + (1 - beta) * mean);
        line_scale(line, line, &lines, (float)(1 / sqrt((double)v[i] < floor ? floor : (double)v[i])));
    }
}

void verb_normalise_columns(Verbs *on, Mats x, double eps)
{
    const Lines lines = lines_of(x, true);
    const size_t all = x.batch * lines.count;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < all; i++) {
        float *line = x.data + i / lines.count * x.rows * x.cols + i % lines.count;
        line_scale(line, line, &lines, (float)(1 / (sqrt(line_squares(line, &lines)) + eps)));
    }
}

typedef struct Products {
    double pp, pu, uu;
} Products;

/* p.p, p.u and u.u in one pass over memory, in the order of ordered_dot. */
static Products three_dots(size_t n, const float *p, const float *u)
{
    enum { PARTS = 256 };
    Products total = {0};
    for (size_t block = 0; block < n; block += (size_t)PARTS * STRETCH) {
        Products parts[PARTS] = {0};
        const size_t block_end = n - block < (size_t)PARTS * STRETCH ? n : block + (size_t)PARTS * STRETCH;
#pragma omp parallel for schedule(static)
        for (size_t begin = block; begin < block_end; begin += STRETCH) {
            double pp = 0, pu = 0, uu = 0;
#pragma omp simd reduction(+ : pp, pu, uu)
            for (size_t i = begin; i < stretch_end(begin, n); i++) {
                const double x = (double)p[i], y = (double)u[i];
                pp += x * x;
                pu += x * y;
                uu += y * y;
            }
            parts[(begin - block) / STRETCH] = (Products){pp, pu, uu};
        }
        for (size_t i = 0; i < PARTS; i++) {
            total.pp += parts[i].pp;
            total.pu += parts[i].pu;
            total.uu += parts[i].uu;
        }
    }
    return total;
}

void verb_rotate(Verbs *on, Mats p, Mats u, double step, double floor)
{
    const size_t n = p.rows * p.cols;
    for (size_t b = 0; b < p.batch; b++) {
        float *matrix = p.data + b * n;
        const float *along = u.data + b * n;
        const Products dots = three_dots(n, matrix, along);
        const Rotation rotation = rotation_of(dots.pp, dots.pu, dots.uu, step, floor);
        verb_add(on, n, matrix, along, rotation.scale, -rotation.scale * rotation.a);
    }
}

void verb_step_pinned(Verbs *on, Mats p, Mats u, double step, double floor, Decay decay)
{
    const size_t n = p.rows * p.cols;
    for (size_t b = 0; b < p.batch; b++) {
        float *matrix = p.data + b * n;
        const float *along = u.data + b * n;
        const Products dots = three_dots(n, matrix, along);
        const Rotation pinned = pinned_of(dots.pp, dots.pu, dots.uu, step, floor);
        const float share = (float)pinned.scale, length = (float)(pinned.scale * pinned.a);
        EACH (i, n)
            matrix[i] = pinned_element(matrix[i], along[i], share, length, &decay);
    }
}

void verb_direct_rows(Verbs *on, Mats p, Mats u, const float *keep, const float *length, double step)
{
    const size_t all = p.batch * p.rows, n = p.cols;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < all; i++) {
        float *row = p.data + i * n;
        const float *along = u.data + i * n;
        const Rotation r = directed_of(dot(row, row, n), dot(row, along, n), dot(along, along, n), (double)keep[i],
                                       step, (double)length[i]);
        const float share = (float)r.scale, minus_step = (float)-r.a;
        for (size_t j = 0; j < n; j++)
            row[j] = fmaf(minus_step, along[j], share * row[j]);
    }
}

void verb_penalise(Verbs *on, Mats p, float *multiplier, float *bound, bool holding, bool active)
{
    const size_t n = p.rows * p.cols;
    for (size_t b = 0; b < p.batch && (holding || active); b++) {
        float *matrix = p.data + b * n;
        const double mean = verb_sum_squares(on, n, matrix) / (double)n;
        if (holding)
            bound[b] = (float)mean;
        if (!active)
            continue;
        multiplier[b] = raised_multiplier(multiplier[b], mean, bound[b]);
        verb_scale(on, n, matrix, matrix, 1 - 2 * (double)multiplier[b]);
    }
}

/* How many elements of m have g's sign. */
static size_t count_followers(size_t n, const float *m, const float *g)
{
    size_t count = 0;
#pragma omp parallel for schedule(static) reduction(+ : count)
    for (size_t begin = 0; begin < n; begin += STRETCH) {
        unsigned part = 0;
#pragma omp simd reduction(+ : part)
        for (size_t i = begin; i < stretch_end(begin, n); i++)
            part += !is_opposed(m[i], g[i]);
        count += part;
    }
    return count;
}

void verb_cautious(Verbs *on, Mats u, Mats m, const float *g, double more, double floor)
{
    const size_t n = u.rows * u.cols;
    for (size_t b = 0; b < u.batch; b++) {
        float *matrix = u.data + b * n;
        const float *by = m.data + b * n, *along = g + b * n;
        const float factor = cautious_factor((double)count_followers(n, by, along), (double)n, more, floor);
        EACH (i, n)
            matrix[i] = is_opposed(by[i], along[i]) ? 0.0f : factor * matrix[i];
    }
}

/* --------------------------------------------------------------------------------------------------------------
 * Products
 */

static Matmul matmul_of(Mats a, bool transpose_a, Mats b, bool transpose_b, double alpha, double beta, Mats c)
{
    return (Matmul){.m = c.rows,
                    .n = c.cols,
                    .k = transpose_a ? a.rows : a.cols,
                    .trans_a = transpose_a,
                    .trans_b = transpose_b,
                    .alpha = (float)alpha,
                    .beta = (float)beta,
                    .a = a.data,
                    .lda = a.cols,
                    .stride_a = a.rows * a.cols,
                    .b = b.data,
                    .ldb = b.cols,
                    .stride_b = b.rows * b.cols,
                    .c = c.data,
                    .ldc = c.cols,
                    .stride_c = c.rows * c.cols,
                    .batch = c.batch};
}

void verb_product(Verbs *on, Mats a, bool transpose_a, Mats b, bool transpose_b, double alpha, double beta, Mats c)
{
    const Matmul product = matmul_of(a, transpose_a, b, transpose_b, alpha, beta, c);
    matmul(&product);
}

void verb_gram_average(Verbs *on, Mats x, bool right, double keep, double share, Mats gram)
{
    const Matmul product = matmul_of(x, right, x, !right, share, keep, gram);
    matmul_symmetric(&product);
}

void verb_gram(Verbs *on, Mats x, Mats gram) { verb_gram_average(on, x, x.rows > x.cols, 0, 1, gram); }

/* What a polynomial adds to its square. */
typedef struct LowerTerms {
    Mats gram, to;
    float a, b;
} LowerTerms;

/* A tile of `to` becomes a I + b gram + what it was. */
static void add_lower_terms(void *terms, size_t batch_index, size_t i0, size_t j0, size_t rows, size_t cols)
{
    const LowerTerms *t = terms;
    const size_t n = t->to.rows;
    for (size_t i = i0; i < i0 + rows; i++) {
        const float *gram = t->gram.data + (batch_index * n + i) * n;
        float *to = t->to.data + (batch_index * n + i) * n;
        for (size_t j = j0; j < j0 + cols; j++)
            to[j] = fmaf(t->b, gram[j], to[j]);
        if (j0 <= i && i < j0 + cols)
            to[i] += t->a;
    }
}

void verb_polynomial(Verbs *on, Mats gram, Mats to, double a, double b, double c)
{
    LowerTerms terms = {gram, to, (float)a, (float)b};
    if (c != 0) {
        Matmul square = matmul_of(gram, false, gram, false, c, 0, to);
        square.epilogue = add_lower_terms;
        square.epilogue_context = &terms;
        matmul_symmetric(&square);
        return;
    }
    const size_t n = gram.rows;
    verb_scale(on, mats_size(gram), to.data, gram.data, b);
    for (size_t i = 0; i < gram.batch * n; i++)
        to.data[i * n + i % n] += (float)a;
}

/* Zeroes what is tiny in a tile of C. Near convergence all off the diagonal falls to where products of two elements are
 * below FLT_MIN, which cost a CPU ten times the rest. */
static void drop_tiny(void *c, size_t batch_index, size_t i0, size_t j0, size_t rows, size_t cols)
{
    const Mats *to = c;
    for (size_t i = i0; i < i0 + rows; i++) {
        float *row = to->data + (batch_index * to->rows + i) * to->cols;
        for (size_t j = j0; j < j0 + cols; j++)
            row[j] = fabsf(row[j]) < 0x1p-60f ? 0 : row[j];
    }
}

void verb_commuting_product(Verbs *on, Mats x, Mats y, Mats to)
{
    Matmul product = matmul_of(x, false, y, false, 1, 0, to);
    product.epilogue = drop_tiny;
    product.epilogue_context = &to;
    matmul_symmetric(&product);
}

void verb_apply(Verbs *on, Mats p, Mats x, Mats to)
{
    const bool wide = x.rows <= x.cols;
    verb_product(on, wide ? p : x, false, wide ? x : p, false, 1, 0, to);
}

/* Unknowns that are solved for together, after one product with those that are known, and lines at a time. */
enum { SOLVED = 64, ABREAST = 16 };

/* Of one matrix: x[begin..end) from the known x[0..begin), rows of x or, if `right`, columns. */
static void subtract_known(Mats u, bool right, Mats x, size_t begin, size_t end)
{
    const size_t n = u.rows;
    const Matmul product = {.m = right ? x.rows : end - begin,
                            .n = right ? end - begin : x.cols,
                            .k = begin,
                            .trans_a = !right,
                            .alpha = -1,
                            .beta = 1,
                            .a = right ? x.data : u.data + begin,
                            .lda = right ? x.cols : n,
                            .stride_a = right ? x.rows * x.cols : n * n,
                            .b = right ? u.data + begin : x.data,
                            .ldb = right ? n : x.cols,
                            .stride_b = right ? n * n : x.rows * x.cols,
                            .c = x.data + (right ? begin : begin * x.cols),
                            .ldc = x.cols,
                            .stride_c = x.rows * x.cols,
                            .batch = x.batch};
    matmul(&product);
}

/* `count` lines of `n` unknowns from x on: elements of a line are `step` apart, lines `between`. u is a triangle of a
 * matrix with rows of `ld`. */
static void solve_lines(const float *u, size_t ld, size_t n, float *x, size_t count, size_t step, size_t between)
{
    float lines[SOLVED][ABREAST] = {{0}};
    for (size_t i = 0; i < n; i++)
        for (size_t l = 0; l < count; l++)
            lines[i][l] = x[i * step + l * between];
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < i; k++) {
            const float minus = -u[k * ld + i];
#pragma omp simd
            for (size_t l = 0; l < ABREAST; l++)
                lines[i][l] = fmaf(minus, lines[k][l], lines[i][l]);
        }
        for (size_t l = 0; l < count; l++)
            x[i * step + l * between] = lines[i][l] /= u[i * ld + i];
    }
}

void verb_solve_upper(Verbs *on, Mats u, bool right, Mats x)
{
    const size_t n = u.rows, lines = right ? x.rows : x.cols, step = right ? 1 : x.cols, between = right ? x.cols : 1;
    const size_t groups = (lines + ABREAST - 1) / ABREAST, all = x.batch * groups;
    for (size_t begin = 0; begin < n; begin += SOLVED) {
        const size_t end = n - begin < SOLVED ? n : begin + SOLVED;
        if (begin > 0)
            subtract_known(u, right, x, begin, end);
#pragma omp parallel for schedule(static)
        for (size_t i = 0; i < all; i++) {
            const size_t b = i / groups, first = i % groups * ABREAST;
            const size_t count = lines - first < ABREAST ? lines - first : ABREAST;
            solve_lines(u.data + b * n * n + begin * (n + 1), n, end - begin,
                        x.data + b * x.rows * x.cols + begin * step + first * between, count, step, between);
        }
    }
}

void verb_upper(Verbs *on, Mats x)
{
    for (size_t i = 0; i < x.batch * x.rows; i++)
        for (size_t j = 0; j < i % x.rows && j < x.cols; j++)
            x.data[i * x.cols + j] = 0;
}

void verb_copy(Verbs *on, Mats x, Mats to) { memcpy(to.data, x.data, x.batch * x.rows * x.cols * sizeof *x.data); }

/* --------------------------------------------------------------------------------------------------------------
 * Products in bf16, stored as rounded floats: as a GPU would compute, and with AVX512_BF16 faster than in fp32. But not
 * by default: what a run computes would depend on the CPU.
 */

bool verb_prefers_bf16(void) { return false; }
size_t verb_bf16_floats(size_t n) { return n; }

static Mats as_floats(Bf16s x) { return (Mats){x.data, x.rows, x.cols, x.batch}; }

static void round_to_bf16(size_t n, float *x)
{
    EACH (i, n)
        x[i] = bf16_element(x[i]);
}

void verb_to_bf16(Verbs *on, Mats x, const float *denominator, double factor, double floor, Bf16s to)
{
    const Mats copy = as_floats(to);
    verb_copy(on, x, copy);
    verb_rescale(on, copy, NULL, denominator, factor, floor);
    round_to_bf16(mats_size(copy), copy.data);
}

void verb_from_bf16(Verbs *on, Bf16s x, Mats to) { verb_copy(on, as_floats(x), to); }

/* An epilogue: rounds a tile of the product whose C the context is. */
static void round_tile(void *context, size_t batch_index, size_t i0, size_t j0, size_t rows, size_t cols)
{
    const Mats *c = context;
    float *tile = c->data + (batch_index * c->rows + i0) * c->cols + j0;
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++)
            tile[i * c->cols + j] = bf16_element(tile[i * c->cols + j]);
}

static void bf16_product(Verbs *on, Bf16s a, bool transpose_a, Bf16s b, bool transpose_b, bool symmetric, double alpha,
                         double beta, Bf16s plus, Bf16s to)
{
    Mats c = as_floats(to);
    Matmul product = matmul_of(as_floats(a), transpose_a, as_floats(b), transpose_b, alpha, beta, c);
    product.bf16 = true;
    product.epilogue = round_tile;
    product.epilogue_context = &c;
    if (beta != 0 && plus.data != to.data)
        verb_copy(on, as_floats(plus), c);
    (symmetric ? matmul_symmetric : matmul)(&product);
}

void verb_bf16_product(Verbs *on, Bf16s a, bool transpose_a, Bf16s b, bool transpose_b, double alpha, double beta,
                       Bf16s plus, Bf16s to)
{
    bf16_product(on, a, transpose_a, b, transpose_b, false, alpha, beta, plus, to);
}

void verb_bf16_gram(Verbs *on, Bf16s x, Bf16s gram)
{
    const bool wide = x.rows <= x.cols;
    bf16_product(on, x, !wide, x, wide, true, 1, 0, gram, gram);
}

void verb_bf16_commuting_product(Verbs *on, Bf16s x, Bf16s y, double alpha, double beta, Bf16s plus, Bf16s to)
{
    bf16_product(on, x, false, y, false, true, alpha, beta, plus, to);
}

void verb_update_bf16(Verbs *on, size_t n, float *p, Bf16s u, size_t first, Decay decay, double step)
{
    verb_update(on, n, p, as_floats(u).data + first, decay, step);
}

void verb_bf16_add_diagonal(Verbs *on, Bf16s x, double a)
{
    const size_t n = x.rows;
    float *data = x.data;
    (void)on;
    EACH (i, x.batch * n) {
        float *to = data + i / n * n * n + i % n * (n + 1);
        *to = bf16_element(*to + (float)a);
    }
}

/* --------------------------------------------------------------------------------------------------------------
 * Lines
 */

void verb_scale_lines(Verbs *on, Mats x, const float *s, bool right, Mats to)
{
    const size_t all = x.batch * x.rows;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < all; i++) {
        const float *columns = s + i / x.rows * x.cols;
        for (size_t j = 0; j < x.cols; j++)
            to.data[i * x.cols + j] = (right ? columns[j] : s[i]) * x.data[i * x.cols + j];
    }
}

void verb_mean_squares(Verbs *on, Mats x, bool right, float *mean)
{
    const Lines lines = lines_of(x, right);
    const size_t all = x.batch * lines.count;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < all; i++) {
        const float *line = x.data + i / lines.count * x.rows * x.cols + i % lines.count * lines.line;
        mean[i] = (float)(line_squares(line, &lines) / (double)lines.length);
    }
}

void verb_line_dots(Verbs *on, Mats x, Mats y, bool right, float *dots)
{
    const Lines lines = lines_of(x, right);
    const size_t all = x.batch * lines.count;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < all; i++) {
        const size_t at = i / lines.count * x.rows * x.cols + i % lines.count * lines.line;
        dots[i] = (float)line_dot(x.data + at, y.data + at, &lines);
    }
}

void verb_trust(Verbs *on, size_t n, float *gate, const float *dots, double least, double most)
{
    for (size_t i = 0; i < n; i++)
        gate[i] = trust_element((double)dots[i], (double)dots[n + i], (double)dots[2 * n + i], (double)dots[3 * n + i],
                                (double)dots[4 * n + i], (double)dots[5 * n + i], least, most);
}

void verb_pick_row(Verbs *on, Mats x, const float *sizes, float *to)
{
    for (size_t b = 0; b < x.batch; b++) {
        size_t at = 0;
        for (size_t i = 1; i < x.rows; i++)
            at = sizes[b * x.rows + i] > sizes[b * x.rows + at] ? i : at;
        memcpy(to + b * x.cols, x.data + (b * x.rows + at) * x.cols, x.cols * sizeof *to);
    }
}

/* x = 1 / (lines (b y + eps)), b = a^2 + eps, a line an element of x. */
static void sinkhorn_half(Mats a, bool columns, const float *y, float *x, double eps)
{
    const Lines lines = lines_of(a, columns);
    const size_t all = a.batch * lines.count;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < all; i++) {
        const float *line = a.data + i / lines.count * a.rows * a.cols + i % lines.count * lines.line;
        const float *across = y + i / lines.count * lines.length;
        double sum = 0;
        for (size_t k = 0; k < lines.length; k++)
            sum += sinkhorn_term(line[k * lines.step], across[k], eps);
        x[i] = sinkhorn_scale(sum, lines.count, eps);
    }
}

void verb_sinkhorn(Verbs *on, Mats a, float *x, float *y, size_t times, double eps)
{
    verb_fill(on, a.batch * a.cols, y, 1);
    for (size_t i = 0; i < times; i++) {
        sinkhorn_half(a, false, y, x, eps);
        sinkhorn_half(a, true, x, y, eps);
    }
}

void verb_top(Verbs *on, size_t n, size_t batch, const float *x, size_t k, float *which)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < batch * n; i++) {
        const size_t b = i / n, rank = rank_among(x + b * n, n, i % n);
        if (rank < k)
            which[b * k + rank] = (float)(i % n);
    }
}

void verb_take_lines(Verbs *on, Mats x, const float *which, bool right, Mats to)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < mats_size(to); i++)
        to.data[i] = x.data[place_of(i, to, x, which, right)];
}

void verb_put_lines(Verbs *on, Mats x, const float *which, bool right, double s, Mats to)
{
    const float factor = (float)s;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < mats_size(x); i++)
        to.data[place_of(i, x, to, which, right)] = factor * x.data[i];
}

void verb_inverse_roots(Verbs *on, size_t n, float *s, const float *x, double beta, double most)
{
    for (size_t i = 0; i < n; i++)
        s[i] = inverse_root_element(s[i], x[i], beta, most);
}

/* --------------------------------------------------------------------------------------------------------------
 * Memory, which is the host's
 */

int verb_alloc(Verbs *on, size_t n, const char *what, float **out, Error *e) { return memory_floats(n, what, out, e); }
size_t verb_batch_floats(void) { return (size_t)1 << 22; }
void verb_free(Verbs *on, float *x) { memory_free(x); }

void verb_write(Verbs *on, size_t n, float *x, const float *host) { memcpy(x, host, n * sizeof *x); }
