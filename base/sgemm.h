#ifndef BASE_SGEMM_H
#define BASE_SGEMM_H

#include "base/matmul.h"

/*
 * One product (batch and epilogue are ignored) in the calling thread. With alpha = 0 or k = 0, A and B are not read.
 * An element's bits depend only on its row of op(A), its column of op(B), k, alpha and beta, not on the tiling of C.
 * With `lower`, for m = n, the lower triangle alone, in little more than half the time: elements above the diagonal are
 * undefined afterwards; their old values do not matter.
 * Packs into thread-local buffers (about 1.4 MB); allocates nothing.
 * The blocking is that of Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008.
 */
void sgemm_builtin(const Matmul *product, bool lower);

/* One product (batch is ignored) on all threads, for nonzero alpha and k, with its epilogue, which is told batch_index.
 * B is packed once for all of them, into a static buffer (4.7 MB): call it from one thread at a time, outside parallel
 * regions. The bits are those of sgemm_builtin, for any number of threads. With `lower`, for m = n, the epilogue sees
 * tiles that reach above the diagonal. */
void sgemm_builtin_shared(const Matmul *product, size_t batch_index, bool lower);

#endif
