#ifndef BASE_EIGH_H
#define BASE_EIGH_H

#include <stddef.h>

/*
 * Eigenvectors of a symmetric matrix a (n,n), in double, in the calling thread. On return row i of a is the unit
 * eigenvector of values[i]; values ascend. Uses LAPACK's dsyevd if it is linked, otherwise cyclic Jacobi rotations
 * (Golub and Van Loan, Matrix Computations, section 8.5). `work` has eigh_work(n) doubles. Returns -1 if it does not
 * converge; a must be finite.
 */
int eigh(double *a, double *values, size_t n, double *work);
size_t eigh_work(size_t n);

/* The Jacobi method, eigh's fallback. */
int eigh_jacobi(double *a, double *values, size_t n, double *work);

#endif
