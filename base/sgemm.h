#ifndef BASE_SGEMM_H
#define BASE_SGEMM_H

#include "base/matmul.h"

/*
 * C = alpha op(A) op(B) + beta C in the calling thread, row-major: C is m x n, op(A) m x k, op(B) k x n; a matrix
 * with `trans` is stored transposed. ld*: floats from one stored row to the next.
 * With beta = 0, C is not read; with alpha = 0 or k = 0, A and B are not. C overlaps neither A nor B.
 * An element's bits depend on its row of op(A), its column of op(B), k, alpha and beta alone: not on how C is cut.
 * Packs into buffers of the thread (about 1.4 MB of thread-local storage); allocates nothing.
 * The blocking is that of Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008.
 */
void sgemm_builtin(bool trans_a, bool trans_b, size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda,
                   const float *b, size_t ldb, float beta, float *c, size_t ldc);

/* The same for n x n, on and below the diagonal, in little more than half the time. Above, C holds nothing of use
 * afterwards; what it held before does not matter. */
void sgemm_builtin_lower(bool trans_a, bool trans_b, size_t n, size_t k, float alpha, const float *a, size_t lda,
                         const float *b, size_t ldb, float beta, float *c, size_t ldc);

/* One product (batch is ignored) on all threads, with its epilogue, for alpha and k other than 0. B is packed once for
 * all of them, into a buffer of the process (4.7 MB): call it from one thread at a time, outside parallel regions. The
 * bits are those of sgemm_builtin, for any number of threads. With `lower`, for m = n, as sgemm_builtin_lower, and no
 * epilogue. */
void sgemm_builtin_shared(const Matmul *product, bool lower);

#endif
