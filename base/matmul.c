#include "base/matmul.h"

#include "base/sgemm.h"

#ifdef HAVE_OPENBLAS
#include <cblas.h>
#include <limits.h>
#include <stdio.h>
#endif

enum {
    TILE_ROWS = 256, /* largest tile */
    TILE_COLS = 256,
    TILE_ALIGN = 16, /* tiles begin at multiples of it */
    DIAGONAL = 64    /* rows of a strip of a tile on the diagonal */
};

/* Rows i0 .. i0+rows-1 and columns j0 .. j0+cols-1 of C of one product of the batch. */
typedef struct Tile {
    size_t batch_index, i0, j0, rows, cols;
} Tile;

static size_t smaller(size_t x, size_t y) { return x < y ? x : y; }

static size_t ceil_div(size_t x, size_t y) { return x / y + (x % y != 0); }

/* The extent of tiles that cut `size` into as few about equal parts as `largest` allows. */
static size_t even_extent(size_t size, size_t largest)
{
    size_t extent = ceil_div(size, ceil_div(size, largest));
    return ceil_div(extent, TILE_ALIGN) * TILE_ALIGN;
}

#ifdef HAVE_OPENBLAS
static void sgemm(const Matmul *p, const float *a, const float *b, float *c, size_t rows, size_t cols)
{
    bool fits = rows <= INT_MAX && cols <= INT_MAX && p->k <= INT_MAX && p->lda <= INT_MAX && p->ldb <= INT_MAX &&
                p->ldc <= INT_MAX;
    if (fits && p->k > 0 && p->alpha != 0.0f)
        cblas_sgemm(CblasRowMajor, p->trans_a ? CblasTrans : CblasNoTrans, p->trans_b ? CblasTrans : CblasNoTrans,
                    (int)rows, (int)cols, (int)p->k, p->alpha, a, (int)p->lda, b, (int)p->ldb, p->beta, c,
                    (int)p->ldc);
    else
        sgemm_builtin(p->trans_a, p->trans_b, rows, cols, p->k, p->alpha, a, p->lda, b, p->ldb, p->beta, c, p->ldc);
}
#else
static void sgemm(const Matmul *p, const float *a, const float *b, float *c, size_t rows, size_t cols)
{
    sgemm_builtin(p->trans_a, p->trans_b, rows, cols, p->k, p->alpha, a, p->lda, b, p->ldb, p->beta, c, p->ldc);
}
#endif

static void compute_tile(const Matmul *p, Tile t)
{
    const float *a = p->a + t.batch_index * p->stride_a + t.i0 * (p->trans_a ? 1 : p->lda);
    const float *b = p->b + t.batch_index * p->stride_b + t.j0 * (p->trans_b ? p->ldb : 1);
    sgemm(p, a, b, p->c + t.batch_index * p->stride_c + t.i0 * p->ldc + t.j0, t.rows, t.cols);
}

void matmul(const Matmul *p)
{
    if (p->m == 0 || p->n == 0)
        return;
    size_t rows = even_extent(p->m, TILE_ROWS), cols = even_extent(p->n, TILE_COLS);
    size_t down = ceil_div(p->m, rows), across = ceil_div(p->n, cols);
    size_t tiles = (p->batch ? p->batch : 1) * down * across;
#pragma omp parallel for schedule(dynamic, 1)
    for (size_t index = 0; index < tiles; index++) {
        size_t i0 = index / across % down * rows, j0 = index % across * cols;
        Tile t = {index / across / down, i0, j0, smaller(rows, p->m - i0), smaller(cols, p->n - j0)};
        compute_tile(p, t);
        if (p->epilogue)
            p->epilogue(p->epilogue_context, t.batch_index, t.i0, t.j0, t.rows, t.cols);
    }
}

void matmul_here(const Matmul *p)
{
    if (p->m > 0 && p->n > 0)
        compute_tile(p, (Tile){0, 0, 0, p->m, p->n});
}

/* Copies the part of a tile that lies below the diagonal to its mirror image above. */
static void mirror_tile(const Matmul *p, Tile t)
{
    float *c = p->c + t.batch_index * p->stride_c;
    for (size_t i = t.i0; i < t.i0 + t.rows; i++)
        for (size_t j = t.j0; j < smaller(i, t.j0 + t.cols); j++)
            c[j * p->ldc + i] = c[i * p->ldc + j];
}

static void compute_and_mirror(const Matmul *p, Tile t)
{
    compute_tile(p, t);
    mirror_tile(p, t);
}

void matmul_symmetric(const Matmul *p)
{
    if (p->m == 0)
        return;
    size_t extent = even_extent(p->m, TILE_ROWS), across = ceil_div(p->m, extent);
    size_t tiles = (p->batch ? p->batch : 1) * across * across;
#pragma omp parallel for schedule(dynamic, 1)
    for (size_t index = 0; index < tiles; index++) {
        size_t i0 = index / across % across * extent, j0 = index % across * extent, end = smaller(p->m, i0 + extent);
        if (j0 < i0)
            compute_and_mirror(p, (Tile){index / across / across, i0, j0, end - i0, extent});
        else if (j0 == i0)
            for (size_t i = i0; i < end; i += DIAGONAL) {
                size_t rows = smaller(DIAGONAL, end - i);
                compute_and_mirror(p, (Tile){index / across / across, i, i0, rows, i + rows - i0});
            }
    }
}

const char *matmul_backend(void)
{
#ifdef HAVE_OPENBLAS
    static char text[128];
    char version[32] = "";
    sscanf(openblas_get_config(), "OpenBLAS %31s", version); /* "OpenBLAS 0.3.21 NO_AFFINITY ..." */
    snprintf(text, sizeof text, "OpenBLAS %s (%s), 1 thread a tile", version, openblas_get_corename());
    return text;
#else
    return "built-in sgemm";
#endif
}

void matmul_init(void)
{
#ifdef HAVE_OPENBLAS
    openblas_set_num_threads(1);
#endif
}
