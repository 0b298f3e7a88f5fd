/* Eigenvectors of symmetric matrices: LAPACK's (where linked) and our Jacobi method. */
#include "base/eigh.h"
#include "base/random.h"
#include "dev/tests/check.h"
#include "dev/tests/fixtures.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int (*Eigh)(double *a, double *values, size_t n, double *work);

static const struct {
    const char *name;
    Eigh eigh;
} methods[] = {{"eigh", eigh}, {"eigh_jacobi", eigh_jacobi}};

static double norm(const double *x, size_t n)
{
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += x[i] * x[i];
    return sqrt(squares);
}

/* |A v - lambda v| for row `row` of v. */
static double residual(const double *a, const double *v, double value, size_t n)
{
    double squares = 0;
    for (size_t i = 0; i < n; i++) {
        double sum = -value * v[i];
        for (size_t k = 0; k < n; k++)
            sum += a[i * n + k] * v[k];
        squares += sum * sum;
    }
    return sqrt(squares);
}

/* Both methods are backward stable: eigenvalues and residuals are good to a small multiple of n 2^-53 |A|, and the
 * vectors orthogonal to n 2^-53; the multiple is 8 here. `want` (ascending) may be NULL. */
static void check_matrix(const char *what, const double *a, size_t n, const double *want)
{
    const double size = norm(a, n * n), precision = 8 * (double)n * 0x1p-53;
    for (size_t m = 0; m < 2; m++) {
        double *v = make_doubles(n * n), *values = make_doubles(n), *work = make_doubles(eigh_work(n) + n * n);
        memcpy(v, a, n * n * sizeof *v);
        check(methods[m].eigh(v, values, n, work) == 0, "%s: %s of %zu did not converge", methods[m].name, what, n);
        for (size_t i = 0; i < n; i++) {
            const double off = residual(a, v + i * n, values[i], n);
            check(off <= precision * size, "%s: %s of %zu: residual %zu is %g", methods[m].name, what, n, i, off);
            check(i == 0 || values[i - 1] <= values[i], "%s: %s of %zu: value %zu descends", methods[m].name, what, n,
                  i);
            for (size_t j = 0; j <= i; j++) {
                double product = 0;
                for (size_t k = 0; k < n; k++)
                    product += v[i * n + k] * v[j * n + k];
                check(fabs(product - (i == j)) <= precision, "%s: %s of %zu: vectors %zu and %zu have product %g",
                      methods[m].name, what, n, i, j, product);
            }
            if (want != NULL)
                check_close(values[i], want[i], precision * size, what);
        }
        free(v);
        free(values);
        free(work);
    }
}

static const size_t orders[] = {1, 2, 3, 17, 64};
enum { ORDERS = sizeof orders / sizeof *orders };

static void test_random(void)
{
    for (size_t k = 0; k < ORDERS; k++) {
        const size_t n = orders[k];
        Random random = random_make(n, 3);
        double *a = make_doubles(n * n);
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j <= i; j++)
                a[i * n + j] = a[j * n + i] = random_normal(&random);
        check_matrix("a random matrix", a, n, NULL);
        for (size_t i = 0; i < n * n; i++)
            a[i] *= 1e-150; /* squares underflow */
        check_matrix("a tiny matrix", a, n, NULL);
        free(a);
    }
}

/* Q^T diag(want) Q with rows of Q orthonormal */
static double *compose(const double *q, const double *values, size_t n)
{
    double *a = make_doubles(n * n);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++) {
            for (size_t k = 0; k < n; k++)
                a[i * n + j] += values[k] * q[k * n + i] * q[k * n + j];
            a[j * n + i] = a[i * n + j];
        }
    return a;
}

/* Values 0, 0, .., 1, 1, .., 2, 2, ..: three of them, each many times, as a Gram matrix of low rank has. */
static void test_repeated(void)
{
    for (size_t k = 0; k < ORDERS; k++) {
        const size_t n = orders[k];
        double *q = make_orthonormal(n, n, n), *values = make_doubles(n);
        for (size_t i = 0; i < n; i++)
            values[i] = (double)(3 * i / n);
        double *a = compose(q, values, n);
        check_matrix("repeated values", a, n, values);
        free(a);
        free(q);
        free(values);
    }
}

static void test_diagonal(void)
{
    for (size_t k = 0; k < ORDERS; k++) {
        const size_t n = orders[k];
        double *a = make_doubles(n * n), *want = make_doubles(n);
        check_matrix("the zero matrix", a, n, want);
        for (size_t i = 0; i < n; i++) {
            a[i * n + i] = (double)(n - 1 - i) - 1;
            want[i] = (double)i - 1;
        }
        check_matrix("a descending diagonal", a, n, want);
        free(a);
        free(want);
    }
}

/* Known by hand: [[2,1],[1,2]] has 1 and 3; [[0,1],[1,0]], whose diagonal is equal, -1 and 1. */
static void test_by_hand(void)
{
    static const double a[] = {2, 1, 1, 2}, a_values[] = {1, 3}, b[] = {0, 1, 1, 0}, b_values[] = {-1, 1};
    check_matrix("[[2,1],[1,2]]", a, 2, a_values);
    check_matrix("[[0,1],[1,0]]", b, 2, b_values);
}

int main(void)
{
    check_run("random matrices", test_random);
    check_run("repeated eigenvalues", test_repeated);
    check_run("zero and diagonal matrices", test_diagonal);
    check_run("by hand", test_by_hand);
    return check_summary();
}
