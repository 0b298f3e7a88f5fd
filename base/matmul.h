#ifndef BASE_MATMUL_H
#define BASE_MATMUL_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Matrix products on the CPU, bit-equal for any number of threads. OpenBLAS's bits depend on the tiling, so a product
 * is divided into tiles by its shape alone, each one single-threaded sgemm. The built-in sgemm's do not, so large
 * products that it computes are divided to suit the threads.
 */

/* Called by the thread that has just finished a tile, while it is still in cache. The tile is rows i0 .. i0+rows-1 and
 * columns j0 .. j0+cols-1 of C of matrix `batch_index`. Must not touch anything outside the tile. */
typedef void (*MatmulEpilogue)(void *context, size_t batch_index, size_t i0, size_t j0, size_t rows, size_t cols);

/*
 * C = alpha op(A) op(B) + beta C, row-major, for `batch` independent products.
 * op(A) is m x k: A is stored m x k, or k x m if trans_a. op(B) is k x n: B is stored k x n, or n x k if trans_b.
 * ld*: leading dimension, floats between stored rows. stride*: floats between matrices of the batch.
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
    size_t batch;            /* 0 means 1 */
    bool bf16;               /* A and B hold numbers that are the same in bf16: instructions for it may multiply them */
    MatmulEpilogue epilogue; /* or NULL */
    void *epilogue_context;
} Matmul;

/* All products of the batch, on all threads. Call it outside parallel regions. */
void matmul(const Matmul *product);

/* The same if op(A) op(B) and C are known to be symmetric (m = n): computes the lower triangle and mirrors it,
 * about half the FLOPs. The upper triangle of C is not read. The epilogue comes before the mirror, and may see what is
 * undefined above the diagonal. */
void matmul_symmetric(const Matmul *product);

/* Product `index` of the batch on its own. */
Matmul matmul_one(const Matmul *product, size_t index);

/* One product in the calling thread, for use inside parallel regions. Ignores batch and epilogue. */
void matmul_here(const Matmul *product);

/* For banners: "OpenBLAS 0.3.21 (SkylakeX)" or "built-in sgemm". Static storage. */
const char *matmul_backend(void);

/* What OPENBLAS_CORETYPE should say for kernels of this CPU, where OpenBLAS, older than it, has chosen those that every
 * x86-64 CPU can run, twice as slow in factorisations; otherwise NULL. OpenBLAS reads it before main. Static storage. */
const char *matmul_missed_core(void);

/* Call once before the first product: makes a threaded BLAS run single-threaded within our tiles. */
void matmul_init(void);

#endif
