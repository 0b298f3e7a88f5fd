#ifndef BASE_MATMUL_H
#define BASE_MATMUL_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Matrix products on the CPU, bit-equal for any number of threads. A product is cut into tiles that depend on its shape
 * alone, and every tile is one single-threaded sgemm: OpenBLAS's bits depend on the cut. The built-in's do not, so
 * large products that go to it are cut as suits the threads.
 */

/* Called in the thread that has just finished a tile, while it is warm in that core's cache. The tile is rows
 * i0 .. i0+rows-1 and columns j0 .. j0+cols-1 of C of matrix `batch_index`. May only touch what belongs to the tile. */
typedef void (*MatmulEpilogue)(void *context, size_t batch_index, size_t i0, size_t j0, size_t rows, size_t cols);

/*
 * C = alpha op(A) op(B) + beta C, row-major, for `batch` independent products.
 * op(A) is m x k: A is stored m x k, or k x m when trans_a. op(B) is k x n: B is stored k x n, or n x k when trans_b.
 * ld*: floats from one stored row to the next. stride*: floats from one matrix of the batch to the next.
 * With beta = 0, C is not read (it may hold NaN). C overlaps neither A nor B.
 */
typedef struct Matmul {
    size_t m, n, k;
    bool trans_a, trans_b;
    float alpha, beta;
    const float *a;
    size_t lda, stride_a;
    const float *b;
    size_t ldb, stride_b;
    float *c;
    size_t ldc, stride_c;
    size_t batch;            /* 0 counts as 1 */
    MatmulEpilogue epilogue; /* or NULL */
    void *epilogue_context;
} Matmul;

/* All tiles of all products of the batch, shared among the threads. Call it outside parallel regions. */
void matmul(const Matmul *product);

/* The same when op(A) op(B) and C are known to be symmetric (m = n): computes the lower triangle and mirrors it,
 * about half the FLOPs. The upper triangle of C is not read. No epilogue. */
void matmul_symmetric(const Matmul *product);

/* One product in the calling thread, for use inside parallel regions. batch and epilogue are ignored. */
void matmul_here(const Matmul *product);

/* "OpenBLAS 0.3.21 SkylakeX", "built-in": for banners. Static storage. */
const char *matmul_backend(void);

/* To be called once before the first product: makes a threaded BLAS run single-threaded inside our tiles. */
void matmul_init(void);

#endif
