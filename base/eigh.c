#include "base/eigh.h"

#include <math.h>
#include <string.h>

enum { SWEEPS_MOST = 60 };

/* Rotates rows p and q, with `stride` between elements, by the angle with cosine c and sine s. */
static void rotate(double *p, double *q, size_t n, size_t stride, double c, double s)
{
    for (size_t i = 0; i < n * stride; i += stride) {
        const double a = p[i], b = q[i];
        p[i] = c * a - s * b;
        q[i] = s * a + c * b;
    }
}

/* One sweep over the off-diagonal elements of a above `negligible`; v's rows accumulate the rotations. Returns their
 * number. */
static size_t sweep(double *a, double *v, size_t n, double negligible)
{
    size_t rotations = 0;
    for (size_t p = 0; p + 1 < n; p++) {
        for (size_t q = p + 1; q < n; q++) {
            const double apq = a[p * n + q], app = a[p * n + p], aqq = a[q * n + q];
            if (fabs(apq) <= negligible || fabs(apq) <= 0x1p-53 * sqrt(fabs(app * aqq)))
                continue;
            const double theta = (aqq - app) / (2 * apq);
            const double t = (theta >= 0 ? 1 : -1) / (fabs(theta) + hypot(theta, 1));
            const double c = 1 / hypot(t, 1), s = t * c;
            rotate(a + p, a + q, n, n, c, s);
            rotate(a + p * n, a + q * n, n, 1, c, s);
            rotate(v + p * n, v + q * n, n, 1, c, s);
            rotations++;
        }
    }
    return rotations;
}

static void sort_pairs(double *values, double *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t least = i;
        for (size_t j = i + 1; j < n; j++)
            least = values[j] < values[least] ? j : least;
        const double value = values[i];
        values[i] = values[least];
        values[least] = value;
        for (size_t k = 0; least != i && k < n; k++) {
            const double x = v[i * n + k];
            v[i * n + k] = v[least * n + k];
            v[least * n + k] = x;
        }
    }
}

int eigh_jacobi(double *a, double *values, size_t n, double *work)
{
    double *v = work, squares = 0;
    memset(v, 0, n * n * sizeof *v);
    for (size_t i = 0; i < n; i++)
        v[i * n + i] = 1;
    for (size_t i = 0; i < n * n; i++)
        squares += a[i] * a[i];
    const double negligible =
        0x1p-53 * sqrt(squares); /* smaller elements are rounding errors, even in the null space */
    size_t sweeps = 0;
    while (sweeps < SWEEPS_MOST && sweep(a, v, n, negligible) > 0)
        sweeps++;
    for (size_t i = 0; i < n; i++)
        values[i] = a[i * n + i];
    sort_pairs(values, v, n);
    memcpy(a, v, n * n * sizeof *a);
    return sweeps < SWEEPS_MOST ? 0 : -1;
}

#ifdef HAVE_OPENBLAS

/* OpenBLAS's LAPACK is column-major, so its eigenvector columns are our rows. */
extern void dsyevd_(const char *jobz, const char *uplo, const int *n, double *a, const int *lda, double *w,
                    double *work, const int *lwork, int *iwork, const int *liwork, int *info);

/* dsyevd's: 1 + 6n + 2n^2 doubles, 3 + 5n integers. */
static size_t double_work(size_t n) { return 1 + 6 * n + 2 * n * n; }
static size_t integer_work(size_t n) { return 3 + 5 * n; }

size_t eigh_work(size_t n)
{
    return double_work(n) + (integer_work(n) * sizeof(int) + sizeof(double) - 1) / sizeof(double);
}

int eigh(double *a, double *values, size_t n, double *work)
{
    const int order = (int)n, doubles = (int)double_work(n), integers = (int)integer_work(n);
    int info;
    dsyevd_("V", "L", &order, a, &order, values, work, &doubles, (int *)(void *)(work + double_work(n)), &integers,
            &info);
    return info == 0 ? 0 : -1;
}

#else

size_t eigh_work(size_t n) { return n * n; }

int eigh(double *a, double *values, size_t n, double *work) { return eigh_jacobi(a, values, n, work); }

#endif
