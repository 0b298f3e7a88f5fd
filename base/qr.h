#ifndef BASE_QR_H
#define BASE_QR_H

#include <stddef.h>

/*
 * The orthonormal factor Q of a = Q R with a non-negative diagonal of R, unique if a has full rank. a is column-major,
 * with cols <= rows, and is overwritten with Q. In double, in the calling thread, by Householder reflections (Golub and
 * Van Loan, section 5.2): LAPACK's dgeqrf and dorgqr if linked. `work` has qr_work(rows, cols) doubles. Columns
 * that depend linearly on earlier ones are replaced by some orthonormal completion.
 */
void qr(double *a, size_t rows, size_t cols, double *work);
size_t qr_work(size_t rows, size_t cols);

/* Our own reflections, qr's fallback. */
void qr_householder(double *a, size_t rows, size_t cols, double *work);

#endif
