#include "base/eigh.h"
#include "base/matmul.h"
#include "optim/verbs.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Elementwise loops and sums run over stretches of this many elements, whatever the number of threads. */
enum { STRETCH = 1 << 15 };

static size_t stretch_end(size_t begin, size_t n)
{
    return n - begin < STRETCH ? n : begin + STRETCH;
}

void verb_momentum(size_t n, float *restrict m, float *restrict u, const float *restrict g, double mu, int nesterov, double s)
{
    const float keep = (float)mu, share = (float)((1 - mu) * s);
#pragma omp parallel for schedule(static)
    for (size_t begin = 0; begin < n; begin += STRETCH) {
        const size_t end = stretch_end(begin, n);
#pragma omp simd
        for (size_t i = begin; i < end; i++) {
            const float new_m = fmaf(keep, m[i], share * g[i]);
            m[i] = new_m;
            u[i] = nesterov ? fmaf(keep, new_m, share * g[i]) : new_m;
        }
    }
}

void verb_update(size_t n, float *restrict p, const float *restrict u, double decay, double step)
{
    const float keep = (float)decay, minus_step = (float)-step;
#pragma omp parallel for schedule(static)
    for (size_t begin = 0; begin < n; begin += STRETCH) {
        const size_t end = stretch_end(begin, n);
#pragma omp simd
        for (size_t i = begin; i < end; i++)
            p[i] = fmaf(minus_step, u[i], keep * p[i]);
    }
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

static double sum_squares(const float *x, size_t n)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

/* Sums of the stretches, at most PARTS at a time, added in order. */
double verb_sum_squares(size_t n, const float *x)
{
    enum { PARTS = 256 };
    double total = 0;
    for (size_t block = 0; block < n; block += (size_t)PARTS * STRETCH) {
        double parts[PARTS] = {0};
        const size_t block_end = n - block < (size_t)PARTS * STRETCH ? n : block + (size_t)PARTS * STRETCH;
#pragma omp parallel for schedule(static)
        for (size_t begin = block; begin < block_end; begin += STRETCH)
            parts[(begin - block) / STRETCH] = sum_squares(x + begin, stretch_end(begin, n) - begin);
        for (size_t i = 0; i < PARTS; i++)
            total += parts[i];
    }
    return total;
}

void verb_norms(Mats x, float *norms)
{
    const size_t n = x.rows * x.cols;
    for (size_t b = 0; b < x.batch; b++)
        norms[b] = (float)sqrt(verb_sum_squares(n, x.data + b * n));
}

void verb_rescale(Mats x, const float *numerator, const float *denominator, double factor, double floor)
{
    const size_t n = x.rows * x.cols;
    for (size_t b = 0; b < x.batch; b++) {
        const double d = factor * (double)denominator[b];
        const double s = (numerator != NULL ? (double)numerator[b] : 1.0) / (d < floor ? floor : d);
        verb_scale(n, x.data + b * n, x.data + b * n, s);
    }
}

void verb_copy(Mats x, Mats to)
{
    memcpy(to.data, x.data, x.batch * x.rows * x.cols * sizeof *x.data);
}

void verb_gram(Mats x, Mats gram)
{
    const bool wide = x.rows <= x.cols;
    matmul_symmetric(&(Matmul){.m = gram.rows, .n = gram.rows, .k = wide ? x.cols : x.rows, .trans_a = !wide,
                               .trans_b = wide, .alpha = 1, .a = x.data, .lda = x.cols, .stride_a = x.rows * x.cols,
                               .b = x.data, .ldb = x.cols, .stride_b = x.rows * x.cols, .c = gram.data,
                               .ldc = gram.rows, .stride_c = gram.rows * gram.rows, .batch = x.batch});
}

void verb_polynomial(Mats gram, Mats to, double a, double b, double c)
{
    const size_t n = gram.rows;
    verb_scale(gram.batch * n * n, to.data, gram.data, b);
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
    const Mats left = wide ? p : x, right = wide ? x : p;
    matmul(&(Matmul){.m = x.rows, .n = x.cols, .k = left.cols, .alpha = 1, .a = left.data, .lda = left.cols,
                     .stride_a = left.rows * left.cols, .b = right.data, .ldb = right.cols,
                     .stride_b = right.rows * right.cols, .c = to.data, .ldc = x.cols, .stride_c = x.rows * x.cols,
                     .batch = x.batch});
}

/* --------------------------------------------------------------------------------------------------------------
 * The exact polar factor. With the eigenvectors u_i of the Gram matrix and b_i = u_i^T x, which is s_i v_i^T, the factor
 * is the sum of u_i b_i / |b_i|; s_i is taken from |b_i|, which keeps small ones accurate.
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

/* scratch: n n + n + m + n m doubles */
static void polar_one(const Wide *w, float *x, double cutoff, double *scratch)
{
    const size_t n = w->n, m = w->m;
    double *u = scratch, *values = u + n * n, *b = values + n, *factor = b + m;
    if (!isfinite(gram_double(w, u)) || eigh(u, values, n) != 0) { /* a NaN must stay visible */
        for (size_t i = 0; i < n * m; i++)
            x[i] = NAN;
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

void verb_polar(Mats x, double cutoff)
{
    const bool wide = x.rows <= x.cols;
    const size_t n = wide ? x.rows : x.cols, m = wide ? x.cols : x.rows;
#pragma omp parallel for schedule(dynamic, 1)
    for (size_t i = 0; i < x.batch; i++) {
        float *data = x.data + i * n * m;
        const Wide w = {.x = data, .n = n, .m = m, .row = wide ? m : 1, .col = wide ? 1 : n};
        double *scratch = malloc((n * n + n + m + n * m) * sizeof *scratch);
        if (scratch == NULL) {
            for (size_t j = 0; j < n * m; j++)
                data[j] = NAN;
            continue;
        }
        polar_one(&w, data, cutoff, scratch);
        free(scratch);
    }
}
