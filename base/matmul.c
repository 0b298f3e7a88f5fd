#include "base/matmul.h"

#include "base/sgemm.h"
#include "base/threads.h"
#include "base/transpose.h"

#ifdef HAVE_OPENBLAS
#include <cblas.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#endif

/*
 * Every tile packs its own rows of A and columns of B, which costs about 20 (1 / rows + 1 / cols) of its time (measured
 * with AVX-512): large square tiles are efficient, many tiles keep many cores busy. ENOUGH tiles divide evenly among
 * 2, 4, 8 and 16 threads.
 */
enum {
    ENOUGH = 16,
    LARGEST = 512, /* rows or columns: a tile of C is still in a core's cache for its epilogue */
    SMALLEST = 64,
    ALIGN = 16 /* tiles start at multiples of it, and so do mirrored blocks */
};

/* Rows i0 .. i0+rows-1 and columns j0 .. j0+cols-1 of C of one product of the batch. */
typedef struct Tile {
    size_t batch_index, i0, j0, rows, cols;
} Tile;

/*
 * Products are OpenBLAS's where it was clearly faster than the built-in sgemm when the program was built
 * (dev/probe_sgemm.c), or was asked for. The built-in computes large ones on all threads, with B packed once.
 */
#ifdef OPENBLAS_MULTIPLIES
enum { BUILTIN_MULTIPLIES = 0 };
#else
enum { BUILTIN_MULTIPLIES = 1 };
#endif
enum { LARGE_ROWS = 32, LARGE_PRODUCT = 1 << 22, HUGE_PRODUCT = 1 << 27 /* multiply-adds */ };
enum { LITTLE_WORK = 1 << 17 /* multiply-adds, over before another thread has begun */ };

/* Whether all threads share one product of the batch at a time. */
static bool is_large(const Matmul *p)
{
    const double work = (double)p->m * (double)p->n * (double)p->k;
    const bool fills_threads = p->batch >= threads_count();
    return BUILTIN_MULTIPLIES && p->alpha != 0.0f && p->k > 0 && p->m >= LARGE_ROWS && work >= LARGE_PRODUCT &&
           (p->batch <= 1 || !fills_threads || work >= HUGE_PRODUCT);
}

static size_t smaller(size_t x, size_t y) { return x < y ? x : y; }

static size_t ceil_div(size_t x, size_t y) { return x / y + (x % y != 0); }

static size_t part(size_t size, size_t parts)
{
    size_t extent = ceil_div(size, parts);
    return extent + (ALIGN - extent % ALIGN) % ALIGN;
}

/* Halves the longer side of the tiles of m x n matrices until there are enough of them. */
static void choose_tiles(size_t m, size_t n, size_t batch, size_t *rows, size_t *cols)
{
    *rows = m;
    *cols = n;
    for (size_t tiles = batch;; tiles *= 2) {
        size_t *longer = *rows >= *cols ? rows : cols;
        if (*longer <= SMALLEST || (*longer <= LARGEST && tiles >= ENOUGH))
            return;
        *longer = part(*longer, 2);
    }
}

/* The side of the square tiles of an n x n lower triangle, including those on the diagonal. */
static size_t choose_side(size_t n, size_t batch)
{
    size_t across = ceil_div(n, LARGEST);
    while (batch * across * (across + 1) / 2 < ENOUGH && part(n, across) > SMALLEST)
        across++;
    return part(n, across);
}

static void multiply(const Matmul *p)
{
#ifdef HAVE_OPENBLAS
    const bool fits = !BUILTIN_MULTIPLIES && p->m > 1 && p->m <= INT_MAX && p->n <= INT_MAX && p->k <= INT_MAX &&
                      p->lda <= INT_MAX && p->ldb <= INT_MAX && p->ldc <= INT_MAX;
    if (fits && p->k > 0 && p->alpha != 0.0f) {
        cblas_sgemm(CblasRowMajor, p->trans_a ? CblasTrans : CblasNoTrans, p->trans_b ? CblasTrans : CblasNoTrans,
                    (int)p->m, (int)p->n, (int)p->k, p->alpha, p->a, (int)p->lda, p->b, (int)p->ldb, p->beta, p->c,
                    (int)p->ldc);
        return;
    }
#endif
    sgemm_builtin(p, false);
}

/* The product whose C is the tile. */
static Matmul product_of(const Matmul *p, Tile t)
{
    Matmul one = matmul_one(p, t.batch_index);
    one.a += t.i0 * (p->trans_a ? 1 : p->lda);
    one.b += t.j0 * (p->trans_b ? p->ldb : 1);
    one.c += t.i0 * p->ldc + t.j0;
    one.m = t.rows;
    one.n = t.cols;
    return one;
}

static void compute_tile(const Matmul *p, Tile t)
{
    const Matmul one = product_of(p, t);
    multiply(&one);
}

static void finish_tile(const Matmul *p, Tile t)
{
    if (p->epilogue != NULL)
        p->epilogue(p->epilogue_context, t.batch_index, t.i0, t.j0, t.rows, t.cols);
}

void matmul(const Matmul *p)
{
    if (p->m == 0 || p->n == 0)
        return;
    size_t batch = p->batch ? p->batch : 1, rows, cols;
    if (is_large(p)) {
        for (size_t index = 0; index < batch; index++) {
            Matmul one = matmul_one(p, index);
            sgemm_builtin_shared(&one, index, false);
        }
        return;
    }
    choose_tiles(p->m, p->n, batch, &rows, &cols);
    const bool little = (double)p->m * (double)p->n * (double)p->k * (double)batch < LITTLE_WORK;
    size_t down = ceil_div(p->m, rows), across = ceil_div(p->n, cols), tiles = batch * down * across;
#pragma omp parallel for schedule(dynamic, 1) if (!little)
    for (size_t index = 0; index < tiles; index++) {
        size_t i0 = index / across % down * rows, j0 = index % across * cols;
        Tile t = {index / across / down, i0, j0, smaller(rows, p->m - i0), smaller(cols, p->n - j0)};
        compute_tile(p, t);
        finish_tile(p, t);
    }
}

Matmul matmul_one(const Matmul *p, size_t index)
{
    Matmul one = *p;
    one.a += index * p->stride_a;
    one.b += index * p->stride_b;
    one.c += index * p->stride_c;
    one.batch = 1;
    return one;
}

void matmul_here(const Matmul *p)
{
    if (p->m > 0 && p->n > 0)
        multiply(p);
}

/* Mirrors the part of a tile below the diagonal, by blocks that stay in L1 cache. */
static void mirror_tile(const Matmul *p, Tile t)
{
    float *c = p->c + t.batch_index * p->stride_c;
    const size_t i_end = t.i0 + t.rows, j_end = t.j0 + t.cols, ld = p->ldc;
    for (size_t i0 = t.i0; i0 < i_end; i0 += ALIGN)
        for (size_t j0 = t.j0; j0 < smaller(i0 + ALIGN, j_end); j0 += ALIGN) {
            const size_t i_most = smaller(i0 + ALIGN, i_end), j_most = smaller(j0 + ALIGN, j_end);
            if (j_most <= i0 && i_most - i0 == ALIGN && j_most - j0 == ALIGN) {
                for (size_t j = j0; j < j_most; j += 4)
                    for (size_t i = i0; i < i_most; i += 4)
                        transpose_4x4(c + i * ld + j, ld, c + j * ld + i, ld);
                continue;
            }
            for (size_t j = j0; j < j_most; j++)
                for (size_t i = i0 > j ? i0 : j + 1; i < i_most; i++)
                    c[j * ld + i] = c[i * ld + j];
        }
}

/* The lower triangle of a square tile on the diagonal: always by the built-in, which skips the rest. */
static void compute_diagonal(const Matmul *p, Tile t)
{
    const Matmul one = product_of(p, t);
    sgemm_builtin(&one, true);
}

/* Computes the lower triangle of all products of the batch, in square tiles, unless `computed`, and mirrors it. */
static void symmetric_tiles(const Matmul *p, bool computed)
{
    const size_t batch = p->batch ? p->batch : 1, side = choose_side(p->m, batch), across = ceil_div(p->m, side);
    const size_t tiles = batch * across * across;
#pragma omp parallel for schedule(dynamic, 1)
    for (size_t index = 0; index < tiles; index++) {
        size_t batch_index = index / across / across, i0 = index / across % across * side, j0 = index % across * side;
        Tile t = {batch_index, i0, j0, smaller(side, p->m - i0), smaller(side, p->m - j0)};
        if (j0 > i0)
            continue;
        if (!computed && j0 == i0)
            compute_diagonal(p, t);
        else if (!computed)
            compute_tile(p, t);
        if (!computed)
            finish_tile(p, t);
        mirror_tile(p, t);
    }
}

void matmul_symmetric(const Matmul *p)
{
    if (p->m == 0)
        return;
    const bool shared = is_large(p);
    for (size_t index = 0; shared && index < (p->batch ? p->batch : 1); index++) {
        Matmul one = matmul_one(p, index);
        sgemm_builtin_shared(&one, index, true);
    }
    symmetric_tiles(p, shared);
}

const char *matmul_backend(void)
{
#ifdef HAVE_OPENBLAS
    static char text[128];
    char version[32] = "";
    sscanf(openblas_get_config(), "OpenBLAS %31s", version); /* "OpenBLAS 0.3.21 NO_AFFINITY ..." */
    snprintf(text, sizeof text, "OpenBLAS %s (%s)%s", version, openblas_get_corename(),
             BUILTIN_MULTIPLIES ? " for LAPACK, built-in sgemm" : "");
    return text;
#else
    return "built-in sgemm";
#endif
}

const char *matmul_missed_core(void)
{
#if defined(HAVE_OPENBLAS) && defined(__AVX2__) && defined(__FMA__)
    if (strcmp(openblas_get_corename(), "Prescott") != 0)
        return NULL;
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
    return "SkylakeX";
#else
    return "Haswell";
#endif
#else
    return NULL;
#endif
}

void matmul_init(void)
{
#ifdef HAVE_OPENBLAS
    openblas_set_num_threads(1);
#endif
}
