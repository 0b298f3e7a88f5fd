#include "base/eigh.h"
#include "base/matmul.h"
#include "base/qr.h"
#include "base/random.h"
#include "base/threads.h"
#include "optim/verbs.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

/* Elementwise loops and sums run over stretches of this many elements, whatever the number of threads. */
enum { STRETCH = 1 << 15 };

static size_t stretch_end(size_t begin, size_t n)
{
    return n - begin < STRETCH ? n : begin + STRETCH;
}

void verb_momentum(size_t n, float *restrict m, float *u, const float *g, double mu, bool nesterov, double s)
{
    const float keep = (float)mu, share = (float)((1 - mu) * s);
#pragma omp parallel for schedule(static)
    for (size_t begin = 0; begin < n; begin += STRETCH) {
        const size_t end = stretch_end(begin, n);
#pragma omp simd
        for (size_t i = begin; i < end; i++) {
            const float scaled = share * g[i], new_m = fmaf(keep, m[i], scaled);
            m[i] = new_m;
            u[i] = nesterov ? fmaf(keep, new_m, scaled) : new_m;
        }
    }
}

void verb_precondition(size_t n, float *u, float *restrict v, const float *g, double beta, double correction,
                       double eps, double s)
{
    const float keep = (float)beta, share = (float)(1 - beta), scale = (float)s, factor = (float)correction;
    const float least = (float)eps;
#pragma omp parallel for schedule(static)
    for (size_t begin = 0; begin < n; begin += STRETCH) {
        const size_t end = stretch_end(begin, n);
#pragma omp simd
        for (size_t i = begin; i < end; i++) {
            const float x = scale * g[i], new_v = fmaf(keep, v[i], share * x * x);
            v[i] = new_v;
            u[i] = u[i] / (sqrtf(new_v * factor) + least);
        }
    }
}

void verb_adamw(size_t n, float *restrict p, const float *restrict g, float *restrict m, float *restrict v,
                const AdamwScalars *k)
{
    const AdamwScalars scalars = *k;
#pragma omp parallel for schedule(static)
    for (size_t begin = 0; begin < n; begin += STRETCH) {
        const size_t end = stretch_end(begin, n);
#pragma omp simd
        for (size_t i = begin; i < end; i++)
            adamw_element(&p[i], g[i], &m[i], &v[i], &scalars);
    }
}

void verb_update(size_t n, float *restrict p, const float *restrict u, Decay decay, double step)
{
    const float minus_step = (float)-step;
#pragma omp parallel for schedule(static)
    for (size_t begin = 0; begin < n; begin += STRETCH) {
        const size_t end = stretch_end(begin, n);
#pragma omp simd
        for (size_t i = begin; i < end; i++)
            p[i] = fmaf(minus_step, u[i], decay_keep(p[i], u[i], &decay) * p[i]);
    }
}

void verb_read(size_t n, float *host, const float *x)
{
    memcpy(host, x, n * sizeof *host);
}

void verb_scale(size_t n, float *to, const float *x, double s)
{
    const float factor = (float)s;
#pragma omp parallel for schedule(static)
    for (size_t begin = 0; begin < n; begin += STRETCH) {
        const size_t end = stretch_end(begin, n);
#pragma omp simd
        for (size_t i = begin; i < end; i++)
            to[i] = factor * x[i];
    }
}

void verb_add(size_t n, float *restrict to, const float *restrict x, double a, double b)
{
    const float keep = (float)a, share = (float)b;
#pragma omp parallel for schedule(static)
    for (size_t begin = 0; begin < n; begin += STRETCH) {
        const size_t end = stretch_end(begin, n);
#pragma omp simd
        for (size_t i = begin; i < end; i++)
            to[i] = fmaf(share, x[i], keep * to[i]);
    }
}

void verb_fill(size_t n, float *to, double x)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (float)x;
}

void verb_normal(size_t n, float *to, size_t stream)
{
    Random random = random_make(0, stream);
    for (size_t i = 0; i < n; i++)
        to[i] = (float)random_normal(&random);
}

static double dot(const float *x, const float *y, size_t n)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)y[i];
    return sum;
}

/* x . y: sums of the stretches, at most PARTS at a time, added in order. */
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

double verb_sum_squares(size_t n, const float *x)
{
    return ordered_dot(n, x, x);
}

/* --------------------------------------------------------------------------------------------------------------
 * Norms
 */

void verb_norms(Mats x, float *norms)
{
    const size_t n = x.rows * x.cols;
    for (size_t b = 0; b < x.batch; b++)
        norms[b] = (float)sqrt(verb_sum_squares(n, x.data + b * n));
}

void verb_dots(Mats x, Mats y, float *dots)
{
    const size_t n = x.rows * x.cols;
    for (size_t b = 0; b < x.batch; b++)
        dots[b] = (float)ordered_dot(n, x.data + b * n, y.data + b * n);
}

void verb_rescale(Mats x, const float *numerator, const float *denominator, double factor, double floor)
{
    const size_t n = x.rows * x.cols;
    for (size_t b = 0; b < x.batch; b++) {
        const double d = factor * (denominator != NULL ? (double)denominator[b] : 1.0);
        const double s = (numerator != NULL ? (double)numerator[b] : 1.0) / (d < floor ? floor : d);
        verb_scale(n, x.data + b * n, x.data + b * n, s);
    }
}

/* Lines of a matrix: `count` of `length` elements, `line` and `step` floats from one to the next. */
typedef struct Lines {
    size_t count, length, line, step;
} Lines;

static Lines lines_of(Mats x, bool columns)
{
    return columns ? (Lines){x.cols, x.rows, 1, x.cols} : (Lines){x.rows, x.cols, x.cols, 1};
}

static double line_squares(const float *x, const Lines *lines)
{
    double sum = 0;
    for (size_t i = 0; i < lines->length; i++)
        sum += (double)x[i * lines->step] * (double)x[i * lines->step];
    return sum;
}

static void line_scale(float *to, const float *x, const Lines *lines, float s)
{
    for (size_t i = 0; i < lines->length; i++)
        to[i * lines->step] = s * x[i * lines->step];
}

void verb_normalise_lines(Mats x, float *v, double beta, double floor)
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

void verb_normalise_columns(Mats x, double eps)
{
    const Lines lines = lines_of(x, true);
    const size_t all = x.batch * lines.count;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < all; i++) {
        float *line = x.data + i / lines.count * x.rows * x.cols + i % lines.count;
        line_scale(line, line, &lines, (float)(1 / (sqrt(line_squares(line, &lines)) + eps)));
    }
}

void verb_rotate(size_t n, float *p, const float *u, double step, double floor)
{
    const double size = sqrt(verb_sum_squares(n, p)), length = sqrt(verb_sum_squares(n, u));
    verb_add(n, p, u, 1, -step * size / (length < floor ? floor : length));
    const double new_size = sqrt(verb_sum_squares(n, p));
    verb_scale(n, p, p, size / (new_size < floor ? floor : new_size));
}

void verb_penalise(size_t n, float *p, float *multiplier, float *bound, bool holding, bool active)
{
    const double mean = holding || active ? verb_sum_squares(n, p) / (double)n : 0;
    if (holding)
        *bound = (float)mean;
    if (!active)
        return;
    const double raised = (double)*multiplier + mean - (double)*bound;
    *multiplier = (float)(raised > 0 ? raised : 0);
    verb_scale(n, p, p, 1 - 2 * (double)*multiplier);
}

/* --------------------------------------------------------------------------------------------------------------
 * Products
 */

void verb_product(Mats a, bool transpose_a, Mats b, bool transpose_b, double alpha, double beta, Mats c)
{
    matmul(&(Matmul){.m = c.rows, .n = c.cols, .k = transpose_a ? a.rows : a.cols, .trans_a = transpose_a,
                     .trans_b = transpose_b, .alpha = (float)alpha, .beta = (float)beta, .a = a.data, .lda = a.cols,
                     .stride_a = a.rows * a.cols, .b = b.data, .ldb = b.cols, .stride_b = b.rows * b.cols, .c = c.data,
                     .ldc = c.cols, .stride_c = c.rows * c.cols, .batch = c.batch});
}

void verb_gram_average(Mats x, bool right, double keep, double share, Mats gram)
{
    matmul_symmetric(&(Matmul){.m = gram.rows,
                               .n = gram.rows,
                               .k = right ? x.rows : x.cols,
                               .trans_a = right,
                               .trans_b = !right,
                               .alpha = (float)share,
                               .beta = (float)keep,
                               .a = x.data,
                               .lda = x.cols,
                               .stride_a = x.rows * x.cols,
                               .b = x.data,
                               .ldb = x.cols,
                               .stride_b = x.rows * x.cols,
                               .c = gram.data,
                               .ldc = gram.rows,
                               .stride_c = gram.rows * gram.rows,
                               .batch = x.batch});
}

void verb_gram(Mats x, Mats gram)
{
    verb_gram_average(x, x.rows > x.cols, 0, 1, gram);
}

void verb_polynomial(Mats gram, Mats to, double a, double b, double c)
{
    const size_t n = gram.rows;
    verb_scale(mats_size(gram), to.data, gram.data, b);
    if (c != 0)
        matmul_symmetric(&(Matmul){.m = n, .n = n, .k = n, .alpha = (float)c, .beta = 1, .a = gram.data, .lda = n,
                                   .stride_a = n * n, .b = gram.data, .ldb = n, .stride_b = n * n, .c = to.data,
                                   .ldc = n, .stride_c = n * n, .batch = gram.batch});
    for (size_t i = 0; i < gram.batch; i++)
        for (size_t j = 0; j < n; j++)
            to.data[(i * n + j) * n + j] += (float)a;
}

void verb_apply(Mats p, Mats x, Mats to)
{
    const bool wide = x.rows <= x.cols;
    verb_product(wide ? p : x, false, wide ? x : p, false, 1, 0, to);
}

void verb_copy(Mats x, Mats to)
{
    memcpy(to.data, x.data, x.batch * x.rows * x.cols * sizeof *x.data);
}

/* --------------------------------------------------------------------------------------------------------------
 * The exact polar factor. With the eigenvectors u_i of the Gram matrix and b_i = u_i^T x, which is s_i v_i^T, the
 * factor is the sum of u_i b_i / |b_i|; s_i is taken from |b_i|, which keeps small ones accurate.
 */

/* x as the wide matrix (n,m), element (i,j) at x[i row + j col]. */
typedef struct Wide {
    const float *x;
    size_t n, m, row, col;
} Wide;

/* Returns its trace. */
static double gram_double(const Wide *w, double *gram)
{
    double trace = 0;
    for (size_t i = 0; i < w->n; i++) {
        for (size_t j = 0; j <= i; j++) {
            const float *a = w->x + i * w->row, *b = w->x + j * w->row;
            double sum = 0;
            for (size_t k = 0; k < w->m; k++)
                sum += (double)a[k * w->col] * (double)b[k * w->col];
            gram[i * w->n + j] = gram[j * w->n + i] = sum;
        }
        trace += gram[i * w->n + i];
    }
    return trace;
}

/* b (m) = u^T x, divided by its length, or 0 when that is at most `least`. Returns the length. */
static double right_vector(const Wide *w, const double *u, double least, double *b)
{
    double squares = 0;
    memset(b, 0, w->m * sizeof *b);
    for (size_t i = 0; i < w->n; i++)
        for (size_t k = 0; k < w->m; k++)
            b[k] += u[i] * (double)w->x[i * w->row + k * w->col];
    for (size_t k = 0; k < w->m; k++)
        squares += b[k] * b[k];
    const double length = sqrt(squares), inverse = length > least ? 1 / length : 0;
    for (size_t k = 0; k < w->m; k++)
        b[k] *= inverse;
    return length;
}

static void fill_nan(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = NAN;
}

enum { LINE = 64 };

/* Doubles that one matrix needs: n is the smaller side, m the larger. */
static size_t scratch_of_one(size_t n, size_t m)
{
    const size_t eigen = eigh_work(n), reflections = qr_work(m, n);
    return n * n + n + m + n * m + (eigen > reflections ? eigen : reflections);
}

size_t verb_scratch(size_t rows, size_t cols, size_t batch)
{
    const size_t n = rows < cols ? rows : cols, m = rows < cols ? cols : rows;
    const size_t threads = batch < threads_count() ? batch : threads_count();
    return threads * scratch_of_one(n, m) * (sizeof(double) / sizeof(float)) + LINE / sizeof(float);
}

/* The calling thread's part of the scratch, which begins at the first cache line. */
static double *own_scratch(float *scratch, size_t n, size_t m)
{
    const uintptr_t begin = ((uintptr_t)scratch + LINE - 1) / LINE * LINE;
    return (double *)begin + threads_index() * scratch_of_one(n, m);
}

/* Threads for a batch: no more than have scratch. */
static int threads_for(size_t batch)
{
    const size_t threads = batch < threads_count() ? batch : threads_count();
    return (int)(threads > 0 ? threads : 1);
}

static void polar_one(const Wide *w, float *x, double cutoff, double *scratch)
{
    const size_t n = w->n, m = w->m;
    double *u = scratch, *values = u + n * n, *b = values + n, *factor = b + m, *work = factor + n * m;
    if (!isfinite(gram_double(w, u)) || eigh(u, values, n, work) != 0) { /* a NaN must stay visible */
        fill_nan(x, n * m);
        return;
    }
    memset(factor, 0, n * m * sizeof *factor);
    double least = 0;
    for (size_t i = n; i-- > 0;) {
        const double length = right_vector(w, u + i * n, least, b);
        if (i == n - 1)
            least = cutoff * length;
        for (size_t j = 0; j < n && length > least; j++)
            for (size_t k = 0; k < m; k++)
                factor[j * m + k] += u[i * n + j] * b[k];
    }
    for (size_t j = 0; j < n; j++)
        for (size_t k = 0; k < m; k++)
            x[j * w->row + k * w->col] = (float)factor[j * m + k];
}

void verb_polar(Mats x, double cutoff, float *scratch)
{
    const bool wide = x.rows <= x.cols;
    const size_t n = wide ? x.rows : x.cols, m = wide ? x.cols : x.rows;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads_for(x.batch))
    for (size_t i = 0; i < x.batch; i++) {
        float *data = x.data + i * n * m;
        const Wide w = {.x = data, .n = n, .m = m, .row = wide ? m : 1, .col = wide ? 1 : n};
        polar_one(&w, data, cutoff, own_scratch(scratch, n, m));
    }
}

/* --------------------------------------------------------------------------------------------------------------
 * Other factorisations
 */

/* Eigenvectors of a (n,n) as rows of `vectors`, values ascending. False, too, where a is not finite. */
static bool eigen_double(const float *a, size_t n, double *vectors, double *values, double *work)
{
    for (size_t i = 0; i < n * n; i++) {
        vectors[i] = (double)a[i];
        if (!isfinite(a[i]))
            return false;
    }
    return eigh(vectors, values, n, work) == 0;
}

void verb_eigenbasis(Mats a, Mats basis, float *scratch)
{
    const size_t n = a.rows;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads_for(a.batch))
    for (size_t b = 0; b < a.batch; b++) {
        double *vectors = own_scratch(scratch, n, n), *values = vectors + n * n, *work = values + n;
        float *to = basis.data + b * n * n;
        if (!eigen_double(a.data + b * n * n, n, vectors, values, work)) {
            fill_nan(to, n * n);
            continue;
        }
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n; j++)
                to[i * n + j] = (float)vectors[(n - 1 - j) * n + i];
    }
}

/* to = sum of values[k] v_k v_k^T, a block of rows after the other, so that their sums stay in the cache. */
static void compose(const double *vectors, const double *values, size_t n, float *to, double *sums)
{
    enum { BLOCK = 32 };
    memset(sums, 0, n * n * sizeof *sums);
    for (size_t begin = 0; begin < n; begin += BLOCK) {
        const size_t end = n - begin < BLOCK ? n : begin + BLOCK;
        for (size_t k = 0; k < n; k++) {
            const double *v = vectors + k * n;
            for (size_t i = begin; i < end && values[k] != 0; i++)
                for (size_t j = 0; j <= i; j++)
                    sums[i * n + j] += values[k] * v[i] * v[j];
        }
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++)
            to[i * n + j] = to[j * n + i] = (float)sums[i * n + j];
}

void verb_root(Mats a, double scale, double eps, double power, Mats root, float *scratch)
{
    const size_t n = a.rows;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads_for(a.batch))
    for (size_t b = 0; b < a.batch; b++) {
        double *vectors = own_scratch(scratch, n, n), *values = vectors + n * n, *work = values + n;
        if (!eigen_double(a.data + b * n * n, n, vectors, values, work)) {
            fill_nan(root.data + b * n * n, n * n);
            continue;
        }
        const double rounding = (double)n * 0x1p-24 * values[n - 1];
        for (size_t i = 0; i < n; i++) {
            const double value = scale * (values[i] > 0 ? values[i] : 0) + eps;
            const bool counts = eps > 0 || (values[i] > 0 && values[i] > rounding);
            values[i] = counts ? pow(value, power) : 0;
        }
        compose(vectors, values, n, root.data + b * n * n, work);
    }
}

void verb_qr(Mats x, float *scratch)
{
    const size_t m = x.rows, n = x.cols;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads_for(x.batch))
    for (size_t b = 0; b < x.batch; b++) {
        float *data = x.data + b * m * n;
        double *columns = own_scratch(scratch, n, m), *work = columns + n * m;
        bool finite = true;
        for (size_t i = 0; i < m; i++)
            for (size_t j = 0; j < n; j++) {
                columns[j * m + i] = (double)data[i * n + j];
                finite = finite && isfinite(data[i * n + j]);
            }
        if (!finite) {
            fill_nan(data, m * n);
            continue;
        }
        qr(columns, m, n, work);
        for (size_t i = 0; i < m; i++)
            for (size_t j = 0; j < n; j++)
                data[i * n + j] = (float)columns[j * m + i];
    }
}

/* order: the places of n values from the largest to the smallest; equal ones keep their order. */
static void sort_descending(const double *values, size_t n, size_t *order)
{
    for (size_t i = 0; i < n; i++) {
        size_t at = i;
        for (; at > 0 && values[order[at - 1]] < values[i]; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
}

/* Line i becomes the line that stood at order[i]. */
static void permute(float *x, const Lines *lines, const size_t *order, float *copy)
{
    for (size_t j = 0; j < lines->length; j++) {
        for (size_t i = 0; i < lines->count; i++)
            copy[i] = x[order[i] * lines->line + j * lines->step];
        for (size_t i = 0; i < lines->count; i++)
            x[i * lines->line + j * lines->step] = copy[i];
    }
}

void verb_sort_basis(Mats basis, Mats image, Mats v, bool right, float *scratch)
{
    const size_t n = basis.rows;
    const Lines columns = lines_of(basis, true), lines = lines_of(v, right);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads_for(basis.batch))
    for (size_t b = 0; b < basis.batch; b++) {
        double *estimates = own_scratch(scratch, n, n);
        size_t *order = (size_t *)(void *)(estimates + n);
        float *copy = (float *)(void *)(order + n), *q = basis.data + b * n * n, *a = image.data + b * n * n;
        memset(estimates, 0, n * sizeof *estimates);
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n; j++)
                estimates[j] += (double)q[i * n + j] * (double)a[i * n + j];
        sort_descending(estimates, n, order);
        permute(q, &columns, order, copy);
        permute(a, &columns, order, copy);
        permute(v.data + b * v.rows * v.cols, &lines, order, copy);
    }
}

/* --------------------------------------------------------------------------------------------------------------
 * Lines
 */

void verb_scale_lines(Mats x, const float *s, bool right, Mats to)
{
    const size_t all = x.batch * x.rows;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < all; i++) {
        const float *columns = s + i / x.rows * x.cols;
        for (size_t j = 0; j < x.cols; j++)
            to.data[i * x.cols + j] = (right ? columns[j] : s[i]) * x.data[i * x.cols + j];
    }
}

void verb_mean_squares(Mats x, bool right, float *mean)
{
    const Lines lines = lines_of(x, right);
    const size_t all = x.batch * lines.count;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < all; i++) {
        const float *line = x.data + i / lines.count * x.rows * x.cols + i % lines.count * lines.line;
        mean[i] = (float)(line_squares(line, &lines) / (double)lines.length);
    }
}

void verb_inverse_roots(size_t n, float *s, const float *x, double beta, double most)
{
    for (size_t i = 0; i < n; i++) {
        const double inverse = 1 / ((double)s[i] * (double)s[i]), old = isfinite(inverse) ? inverse : 0;
        const double value = beta * old + (1 - beta) * (double)x[i], root = 1 / sqrt(value < 1e-30 ? 1e-30 : value);
        s[i] = (float)(root > most ? most : root);
    }
}
