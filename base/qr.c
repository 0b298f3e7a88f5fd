#include "base/qr.h"

#include <math.h>

static double dot(const double *x, const double *y, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i] * y[i];
    return sum;
}

/* x -= factor (x . v) v */
static void reflect(double *x, const double *v, size_t n, double factor)
{
    const double share = factor * dot(x, v, n);
    for (size_t i = 0; i < n; i++)
        x[i] -= share * v[i];
}

/*
 * Replaces x by the vector v of the reflection I - factor v v^T that maps x to (d, 0, ..); v[0] is 1. Returns the
 * factor, 0 if no reflection is needed; *diagonal is d.
 */
static double reflector(double *x, size_t n, double *diagonal)
{
    const double tail = dot(x + 1, x + 1, n - 1), head = x[0];
    *diagonal = head;
    if (tail == 0)
        return 0;
    const double length = sqrt(head * head + tail);
    *diagonal = head > 0 ? -length : length; /* the sign that avoids cancellation */
    const double first = head - *diagonal;
    for (size_t i = 1; i < n; i++)
        x[i] /= first;
    x[0] = 1;
    return -first / *diagonal;
}

static void flip_column(double *a, size_t rows)
{
    for (size_t i = 0; i < rows; i++)
        a[i] = -a[i];
}

/* work: cols factors, cols diagonals of R */
void qr_householder(double *a, size_t rows, size_t cols, double *work)
{
    double *factors = work, *diagonals = work + cols;
    for (size_t j = 0; j < cols; j++) {
        double *v = a + j * rows + j;
        factors[j] = reflector(v, rows - j, &diagonals[j]);
        for (size_t k = j + 1; k < cols && factors[j] != 0; k++)
            reflect(a + k * rows + j, v, rows - j, factors[j]);
    }
    /* Q's columns from last to first: reflections j .. applied to unit vector j */
    for (size_t j = cols; j-- > 0;) {
        double *v = a + j * rows + j;
        for (size_t k = j + 1; k < cols && factors[j] != 0; k++)
            reflect(a + k * rows + j, v, rows - j, factors[j]);
        for (size_t i = 0; i < j; i++)
            a[j * rows + i] = 0;
        const double factor = factors[j];
        for (size_t i = 1; i < rows - j; i++)
            v[i] = factor != 0 ? -factor * v[i] : 0;
        v[0] = 1 - factor;
    }
    for (size_t j = 0; j < cols; j++)
        if (diagonals[j] < 0)
            flip_column(a + j * rows, rows);
}

#ifdef HAVE_OPENBLAS

extern void dgeqrf_(const int *m, const int *n, double *a, const int *lda, double *tau, double *work, const int *lwork,
                    int *info);
extern void dorgqr_(const int *m, const int *n, const int *k, double *a, const int *lda, const double *tau,
                    double *work, const int *lwork, int *info);

enum { BLOCK = 64 };

/* The factors tau, the diagonal of R, and LAPACK's workspace. */
size_t qr_work(size_t rows, size_t cols)
{
    (void)rows;
    return (2 + BLOCK) * cols;
}

void qr(double *a, size_t rows, size_t cols, double *work)
{
    const int m = (int)rows, n = (int)cols, length = (int)(BLOCK * cols);
    double *tau = work, *diagonals = work + cols, *blocks = work + 2 * cols;
    int info;
    dgeqrf_(&m, &n, a, &m, tau, blocks, &length, &info);
    for (size_t j = 0; j < cols; j++)
        diagonals[j] = a[j * rows + j];
    dorgqr_(&m, &n, &n, a, &m, tau, blocks, &length, &info);
    for (size_t j = 0; j < cols; j++)
        if (diagonals[j] < 0)
            flip_column(a + j * rows, rows);
}

#else

size_t qr_work(size_t rows, size_t cols)
{
    (void)rows;
    return 2 * cols;
}

void qr(double *a, size_t rows, size_t cols, double *work) { qr_householder(a, rows, cols, work); }

#endif
