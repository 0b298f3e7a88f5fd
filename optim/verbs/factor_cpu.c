/* The factorisations of verbs.h on the CPU, in double, one thread a matrix. */
#include "optim/verbs/verbs.h"

#include "base/eigh.h"
#include "base/qr.h"
#include "base/threads.h"
#include "optim/verbs/lines.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

/* Every verb is told where it works, which matters on a GPU only. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* --------------------------------------------------------------------------------------------------------------
 * The exact polar factor. With the eigenvectors u_i of the Gram matrix and b_i = u_i^T x = s_i v_i^T, the factor
 * is the sum of u_i b_i / |b_i|; taking s_i from |b_i| keeps small ones accurate.
 */

/* x as a wide matrix (n,m), with element (i,j) at x[i row + j col]. */
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

/* b (m) = u^T x, divided by its length, or 0 if that is at most `least`. Returns the length. */
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

/* Doubles per matrix: n is the smaller side, m the larger. In whole cache lines: LAPACK's rounding may depend on where
 * in one its arrays begin, and which thread has a matrix is luck. */
static size_t scratch_of_one(size_t n, size_t m)
{
    const size_t eigen = eigh_work(n), reflections = qr_work(m, n), line = LINE / sizeof(double);
    const size_t doubles = n * n + n + m + n * m + (eigen > reflections ? eigen : reflections);
    return (doubles + line - 1) / line * line;
}

size_t verb_scratch(size_t rows, size_t cols, size_t batch)
{
    const size_t n = rows < cols ? rows : cols, m = rows < cols ? cols : rows;
    const size_t threads = batch < threads_count() ? batch : threads_count();
    return threads * scratch_of_one(n, m) * (sizeof(double) / sizeof(float)) + LINE / sizeof(float);
}

/* The calling thread's part of the scratch, aligned to a cache line. */
static double *own_scratch(float *scratch, size_t n, size_t m)
{
    const uintptr_t begin = ((uintptr_t)scratch + LINE - 1) / LINE * LINE;
    return (double *)begin + threads_index() * scratch_of_one(n, m);
}

/* Threads for a batch: no more than there is scratch for. */
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

void verb_polar(Verbs *on, Mats x, double cutoff, float *scratch)
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

/* Eigenvectors of a (n,n) as rows of `vectors`, values ascending. False also if a is not finite. */
static bool eigen_double(const float *a, size_t n, double *vectors, double *values, double *work)
{
    for (size_t i = 0; i < n * n; i++) {
        vectors[i] = (double)a[i];
        if (!isfinite(a[i]))
            return false;
    }
    return eigh(vectors, values, n, work) == 0;
}

void verb_eigenbasis(Verbs *on, Mats a, Mats basis, float *scratch)
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

/* to = sum of values[k] v_k v_k^T, by blocks of rows, so that their sums stay in cache. */
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

void verb_root(Verbs *on, Mats a, double scale, double eps, double power, Mats root, float *scratch)
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

void verb_qr(Verbs *on, Mats x, float *scratch)
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

/* order: the indices of n values from largest to smallest; a stable sort. */
static void sort_descending(const double *values, size_t n, size_t *order)
{
    for (size_t i = 0; i < n; i++) {
        size_t at = i;
        for (; at > 0 && values[order[at - 1]] < values[i]; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
}

/* Line i becomes the former line order[i]. */
static void permute(float *x, const Lines *lines, const size_t *order, float *copy)
{
    for (size_t j = 0; j < lines->length; j++) {
        for (size_t i = 0; i < lines->count; i++)
            copy[i] = x[order[i] * lines->line + j * lines->step];
        for (size_t i = 0; i < lines->count; i++)
            x[i * lines->line + j * lines->step] = copy[i];
    }
}

void verb_sort_basis(Verbs *on, Mats basis, Mats image, Mats v, bool right, float *scratch)
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
