#ifndef OPTIM_RULES_FLOPS_H
#define OPTIM_RULES_FLOPS_H

#include <stddef.h>

/*
 * FLOPs of what matrix rules are made of, for OptimRule.flops: a multiplication and an addition are two, and of a
 * product that is known to be symmetric half is counted. Of factorisations the terms of third order (Golub and Van
 * Loan, Matrix Computations, 5.2 and 8.3).
 */

/* (m,k) times (k,n) */
static inline double flops_of_product(size_t m, size_t n, size_t k) { return 2 * (double)m * (double)n * (double)k; }

/* The same of a symmetric result, (n,k) times (k,n). */
static inline double flops_of_gram(size_t n, size_t k) { return flops_of_product(n, n, k) / 2; }

/* x x^T and x^T x of x (rows,cols): Shampoo's factors. */
static inline double flops_of_grams(size_t rows, size_t cols)
{
    return flops_of_gram(rows, cols) + flops_of_gram(cols, rows);
}

/* A product with a square matrix on each side of x (rows,cols). */
static inline double flops_of_sides(size_t rows, size_t cols)
{
    return flops_of_product(rows, cols, rows) + flops_of_product(rows, cols, cols);
}

/* QR of (m,n), m >= n, with Q formed. */
static inline double flops_of_qr(size_t m, size_t n)
{
    return 4 * (double)m * (double)n * (double)n - 4. / 3 * (double)n * (double)n * (double)n;
}

/* Eigenvectors of a symmetric (n,n): tridiagonal form; its vectors by divide and conquer, whose merges are at most two
 * products of (n/2,n/2) and (n/2,n), a quarter of that a level below, and so on; their way back through n reflections. */
static inline double flops_of_eigenvectors(size_t n)
{
    return (4. / 3 + 4. / 3 + 2) * (double)n * (double)n * (double)n;
}

/* A power of a symmetric (n,n), by its eigenvectors. */
static inline double flops_of_power(size_t n) { return flops_of_eigenvectors(n) + flops_of_gram(n, n); }

#endif
