#ifndef BASE_QR_H
#define BASE_QR_H

#include <stddef.h>

/*
 * The orthonormal factor Q of a = Q R with the diagonal of R not negative, which makes it unique where a has full rank.
 * a is given by columns: column j is the `rows` doubles from a + j rows, cols <= rows of them; they are replaced by
 * those of Q. In double, in the calling thread, by Householder reflections (Golub and Van Loan, section 5.2): LAPACK's
 * dgeqrf and dorgqr where they were linked. `work` is of qr_work(rows, cols) doubles. Columns that depend on those
 * before them are replaced by some orthonormal completion.
 */
void qr(double *a, size_t rows, size_t cols, double *work);
size_t qr_work(size_t rows, size_t cols);

/* Our own reflections, which qr falls back on. */
void qr_householder(double *a, size_t rows, size_t cols, double *work);

#endif
