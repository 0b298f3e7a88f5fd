#ifndef BASE_SGEMM_H
#define BASE_SGEMM_H

#include "base/matmul.h"

/*
 * C = alpha op(A) op(B) + beta C in the calling thread, row-major: C is m x n, op(A) m x k, op(B) k x n; a matrix
 * with `trans` is stored transposed. ld*: leading dimension, floats between stored rows.
 * With beta = 0, C is not read; with alpha = 0 or k = 0, A and B are not. C overlaps neither A nor B.
 * An element's bits depend only on its row of op(A), its column of op(B), k, alpha and beta, not on the tiling of C.
 * Packs into thread-local buffers (about 1.4 MB); allocates nothing.
 * The blocking is that of Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008.
 */
void sgemm_builtin(bool trans_a, bool trans_b, size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda,
                   const float *b, size_t ldb, float beta, float *c, size_t ldc);

/* The same for the lower triangle of an n x n C, in little more than half the time. Elements above the diagonal are
 * undefined afterwards; their old values do not matter. */
void sgemm_builtin_lower(bool trans_a, bool trans_b, size_t n, size_t k, float alpha, const float *a, size_t lda,
                         const float *b, size_t ldb, float beta, float *c, size_t ldc);

/* One product (batch is ignored) on all threads, with its epilogue, for nonzero alpha and k. B is packed once for all
 * of them, into a static buffer (4.7 MB): call it from one thread at a time, outside parallel regions. The bits are
 * those of sgemm_builtin, for any number of threads. With `lower`, for m = n, as sgemm_builtin_lower, and no
 * epilogue. */
void sgemm_builtin_shared(const Matmul *product, bool lower);

#endif
