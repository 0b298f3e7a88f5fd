#include "base/sgemm.h"

#include "base/threads.h"
#include "base/transpose.h"

#include <stdint.h>
#include <string.h>

#ifdef __SSE__
#include <immintrin.h>
#endif

/*
 * The register tile: MR x NR of C in vector registers. One step of k loads NR / LANES vectors of B and broadcasts
 * MR elements of A, for MR x NR multiply-adds. MR x NR / LANES accumulators fill most of the register file and
 * exceed an FMA's latency x throughput (8 to 16).
 */
typedef float Quad __attribute__((vector_size(16)));
#if defined(__AVX512F__)
enum { LANES = 16, MR = 12, NR = 32 };
#ifdef __AVX512BF16__
#define HAVE_PAIRS 1
#endif
typedef __m512 Vec;
static inline Vec vec_fma(Vec x, Vec y, Vec z) { return _mm512_fmadd_ps(x, y, z); }
static inline Quad quad_fma(Quad x, Quad y, Quad z) { return _mm_fmadd_ps(x, y, z); }
#elif defined(__AVX2__) && defined(__FMA__)
enum { LANES = 8, MR = 6, NR = 16 };
typedef __m256 Vec;
static inline Vec vec_fma(Vec x, Vec y, Vec z) { return _mm256_fmadd_ps(x, y, z); }
static inline Quad quad_fma(Quad x, Quad y, Quad z) { return _mm_fmadd_ps(x, y, z); }
#elif defined(__ARM_NEON) && defined(__ARM_FEATURE_FMA)
#include <arm_neon.h>
enum { LANES = 4, MR = 8, NR = 12 };
typedef float32x4_t Vec;
static inline Vec vec_fma(Vec x, Vec y, Vec z) { return vfmaq_f32(z, x, y); }
static inline Quad quad_fma(Quad x, Quad y, Quad z) { return vfmaq_f32(z, x, y); }
#else
enum { LANES = 4, MR = 6, NR = 8 };
typedef float Vec __attribute__((vector_size(16)));
static inline Vec vec_fma(Vec x, Vec y, Vec z) { return x * y + z; }
static inline Quad quad_fma(Quad x, Quad y, Quad z) { return x * y + z; }
#endif

typedef Vec AnyVec __attribute__((aligned(4))); /* anywhere in memory */

/* Cache blocks: MC x KC of A and KC x PC of B stay in L2 cache (of 512 KiB with AVX2, 1 MiB with AVX-512), KC x NC of B in
 * the last level. MR rows of A are multiplied by all of PC before the next ones. MC, PC and NC are whole tiles. */
enum { NV = NR / LANES, KC = 384, MC = 96, PC = 8 * NR, NC = 768 };
_Static_assert(MC % MR == 0 && NC % NR == 0 && PC % NR == 0, "cache blocks are whole register tiles");

static inline size_t smaller(size_t x, size_t y) { return x < y ? x : y; }
static inline size_t ceil_div(size_t x, size_t y) { return x / y + (x % y != 0); }

/* Depth of the blocks that k is divided into: as even as KC allows, and a function of k alone. */
static size_t depth_of(size_t k) { return k == 0 ? 1 : ceil_div(k, ceil_div(k, KC)); }

/* The packed panels. A panel of B holds NR columns: element (p, j) at p * NR + j. A panel of A holds MR rows: element
 * (i, p) at i * KC + p, or at p * MR + i if A is stored transposed: either way copies are contiguous. Missing rows and
 * columns are zeros. */

static void pack_a_rows(const float *a, size_t lda, size_t rows, size_t depth, float *to)
{
    for (size_t i = 0; i < rows; i++)
        memcpy(to + i * KC, a + i * lda, depth * sizeof *a);
    for (size_t i = rows; i % MR; i++)
        memset(to + i * KC, 0, depth * sizeof *a);
}

/* Panels of `width` lines from lines that are adjacent in memory, panel_size floats apart. */
static inline void pack_side_by_side(const float *from, size_t ld, size_t lines, size_t depth, size_t width, float *to)
{
    for (size_t i = 0; i < lines; i += width, to += width * KC) {
        size_t count = smaller(width, lines - i);
        for (size_t p = 0; p < depth; p++) {
            if (count == width)
                memcpy(to + p * width, from + p * ld + i, width * sizeof *to);
            else
                for (size_t x = 0; x < width; x++)
                    to[p * width + x] = x < count ? from[p * ld + i + x] : 0.0f;
        }
    }
}

/* Panels of B from columns that are contiguous in memory. */
static void pack_b_transposed(const float *b, size_t ldb, size_t cols, size_t depth, float *to)
{
    for (size_t j0 = 0; j0 < cols; j0 += NR, b += NR * ldb, to += NR * KC) {
        size_t count = smaller(NR, cols - j0), p = 0;
        if (count == NR)
            for (; p + 4 <= depth; p += 4)
                for (size_t j = 0; j < NR; j += 4)
                    transpose_4x4(b + j * ldb + p, ldb, to + p * NR + j, NR);
        for (; p < depth; p++)
            for (size_t j = 0; j < NR; j++)
                to[p * NR + j] = j < count ? b[j * ldb + p] : 0.0f;
    }
}

/*
 * Panels of bf16 numbers, where one instruction multiplies two and adds both products: a place of a panel holds
 * elements p and p + 1 of k, the first in its lower half, and a panel is half as deep.
 */
#ifdef HAVE_PAIRS
static inline Vec vec_pairs(Vec x, Vec y, Vec z) { return _mm512_dpbf16_ps(z, (__m512bh)x, (__m512bh)y); }

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* x and y, of which bf16 holds every bit, as a pair. */
static float pair_of(float x, float y)
{
    const uint32_t bits = bits_of(x) >> 16 | (bits_of(y) & 0xffff0000u);
    float pair;
    memcpy(&pair, &bits, sizeof pair);
    return pair;
}

/* pack_a_rows as pairs; what is missing is 0. */
static void pack_a_pairs(const float *restrict a, size_t lda, size_t rows, size_t depth, float *restrict to)
{
    for (size_t i = 0; i < rows || i % MR; i++, a += lda, to += KC) {
        if (i >= rows) {
            memset(to, 0, (depth + 1) / 2 * sizeof *to);
            continue;
        }
        for (size_t p = 0; p < depth / 2; p++)
            to[p] = pair_of(a[2 * p], a[2 * p + 1]);
        if (depth % 2 == 1)
            to[depth / 2] = pair_of(a[depth - 1], 0);
    }
}

/* A packed panel of `width` lines side by side becomes one of pairs, in place. */
static void pair_rows(float *panel, size_t width, size_t depth)
{
    for (size_t p = 0; p < depth; p += 2)
        for (size_t i = 0; i < width; i++)
            panel[p / 2 * width + i] = pair_of(panel[p * width + i], p + 1 < depth ? panel[(p + 1) * width + i] : 0.0f);
}
#else
enum { HAVE_PAIRS = 0 };
static inline Vec vec_pairs(Vec x, Vec y, Vec z) { return vec_fma(x, y, z); }
#define pack_a_pairs pack_a_rows
static void pair_rows(float *panel, size_t width, size_t depth) { (void)panel, (void)width, (void)depth; }
#endif

/* Whether panels of s hold pairs. */
static bool takes_pairs(const Matmul *s) { return HAVE_PAIRS && s->bf16; }

/* Rows i0 .. i0+rows-1 and columns p0 .. p0+depth-1 of op(A). */
static void pack_a(const Matmul *s, size_t i0, size_t rows, size_t p0, size_t depth, float *to)
{
    const float *from = s->a + (s->trans_a ? p0 * s->lda + i0 : i0 * s->lda + p0);
    if (s->trans_a)
        pack_side_by_side(from, s->lda, rows, depth, MR, to);
    else
        (takes_pairs(s) ? pack_a_pairs : pack_a_rows)(from, s->lda, rows, depth, to);
    for (size_t i = 0; takes_pairs(s) && s->trans_a && i < rows; i += MR)
        pair_rows(to + i * KC, MR, depth);
}

/* Columns j0 .. j0+cols-1 and rows p0 .. p0+depth-1 of op(B). */
static void pack_b(const Matmul *s, size_t j0, size_t cols, size_t p0, size_t depth, float *to)
{
    if (s->trans_b)
        pack_b_transposed(s->b + j0 * s->ldb + p0, s->ldb, cols, depth, to);
    else
        pack_side_by_side(s->b + p0 * s->ldb + j0, s->ldb, cols, depth, NR, to);
    for (size_t j = 0; takes_pairs(s) && j < cols; j += NR)
        pair_rows(to + j * KC, NR, depth);
}

/* Where panels are: line i (a row of A or a column of B) begins at `at` + i * next; element p of the panel's line l is
 * l * across + p * along further. Columns of B are adjacent: across is 1. */
typedef struct Panels {
    const float *at;
    size_t next, across, along;
} Panels;

/* product (MR x NR) = a panel of A, from element a on, times a panel of B, from b on. An element's sum runs over p in
 * order, whatever else is in the tile: its bits do not depend on the tiling of C. */
__attribute__((always_inline)) static inline void multiply_panels(bool pairs, size_t depth, const float *a, size_t row,
                                                                  size_t col, const float *b, size_t ldb,
                                                                  float *product)
{
    Vec acc[MR][NV];
    for (size_t i = 0; i < MR; i++)
        for (size_t v = 0; v < NV; v++)
            acc[i][v] = (Vec){0};
    /* every third row: MR pointers do not fit in the registers, and x86 multiplies by 2 in an address */
    const float *rows[(MR + 2) / 3];
    for (size_t i = 0; i < MR; i += 3)
        rows[i / 3] = a + i * row;
    for (size_t p = 0; p < depth; p++, b += ldb) {
        /* Clang unrolls only where it is told, and is four times slower where it does not */
#pragma GCC unroll 16
        for (size_t i = 0; i < MR; i++) {
            Vec x = rows[i / 3][i % 3 * row] - (Vec){0}; /* broadcast: x - 0 is x for every x */
#pragma GCC unroll 4
            for (size_t v = 0; v < NV; v++)
                acc[i][v] = (pairs ? vec_pairs : vec_fma)(x, *(const AnyVec *)(b + v * LANES), acc[i][v]);
        }
#pragma GCC unroll 8
        for (size_t r = 0; r < (MR + 2) / 3; r++)
            rows[r] += col;
    }
    memcpy(product, acc, sizeof acc);
}

/* C = alpha acc + beta C for the rows x cols corner that exists. */
static void store(const float *acc, size_t rows, size_t cols, float alpha, float beta, float *c, size_t ldc)
{
    for (size_t i = 0; i < rows; i++, c += ldc, acc += NR) {
        if (beta == 0.0f)
            for (size_t j = 0; j < cols; j++)
                c[j] = alpha * acc[j];
        else
            for (size_t j = 0; j < cols; j++)
                c[j] = __builtin_fmaf(alpha, acc[j], beta * c[j]);
    }
}

static void scale(size_t m, size_t n, float beta, float *c, size_t ldc)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++)
            c[i * ldc + j] = beta == 0.0f ? 0.0f : beta * c[i * ldc + j];
}

/* Rows of A, columns of B and the depth of one block of the product. */
typedef struct Block {
    size_t i0, rows, j0, cols, p0, depth;
} Block;

static Panels packed_a(const Matmul *s, const float *block)
{
    return s->trans_a ? (Panels){block, KC, 1, MR} : (Panels){block, KC, KC, 1};
}

static Panels packed_b(const float *block) { return (Panels){block, KC, 1, NR}; }

/* Packs a block of A; where few columns need them, whole register tiles stay where they are, and only the rows after
 * those are packed. Not so where A is transposed and wide: each step along k is on another line and soon on another page
 * then, and where lda is a large power of two all share a few sets of the cache. Returns where whole tiles are. */
static Panels prepare_a(const Matmul *s, const Block *at, float *block)
{
    enum { FEW = 512, WIDE = 512 };
    const bool in_place = at->cols <= FEW && (!s->trans_a || s->lda <= WIDE) && !takes_pairs(s);
    const size_t whole = in_place ? at->rows / MR * MR : 0;
    if (whole < at->rows)
        pack_a(s, at->i0 + whole, at->rows - whole, at->p0, at->depth, block + whole * KC);
    if (whole == 0)
        return packed_a(s, block);
    return s->trans_a ? (Panels){s->a + at->p0 * s->lda + at->i0, 1, 1, s->lda}
                      : (Panels){s->a + at->i0 * s->lda + at->p0, s->lda, s->lda, 1};
}

/* The cache has C's tile by the time that it is multiplied. */
static void prefetch(float *c, size_t ldc, size_t rows, size_t cols)
{
    enum { LINE = 16 };
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j += LINE)
            __builtin_prefetch(c + i * ldc + j, 1);
}

/* One register tile of the product: rows i and columns j of the block, of those that exist. */
__attribute__((always_inline)) static inline void multiply_tile(const Matmul *s, const Block *at, size_t i, size_t j,
                                                                const Panels *a, const Panels *b)
{
    _Alignas(64) float product[MR * NR];
    const size_t steps = takes_pairs(s) ? (at->depth + 1) / 2 : at->depth;
    const size_t rows = smaller(MR, at->rows - i), cols = smaller(NR, at->cols - j);
    const float *from_a = a->at + i * a->next, *from_b = b->at + j * b->next;
    float *c = s->c + (at->i0 + i) * s->ldc + at->j0 + j;
    prefetch(c, s->ldc, rows, cols);
    if (takes_pairs(s) && s->trans_a)
        multiply_panels(true, steps, from_a, 1, a->along, from_b, b->along, product);
    else if (takes_pairs(s))
        multiply_panels(true, steps, from_a, a->across, 1, from_b, b->along, product);
    else if (s->trans_a)
        multiply_panels(false, steps, from_a, 1, a->along, from_b, b->along, product);
    else
        multiply_panels(false, steps, from_a, a->across, 1, from_b, b->along, product);
    store(product, rows, cols, s->alpha, at->p0 == 0 ? s->beta : 1.0f, c, s->ldc);
}

/* One block of the product. a: whole register tiles of A; rest: the rows after them. */
static void multiply_block(const Matmul *s, bool lower, const Block *at, Panels a, Panels rest, Panels b)
{
    for (size_t j0 = 0; j0 < at->cols; j0 += PC)
        for (size_t i = 0; i < at->rows; i += MR)
            for (size_t j = j0; j < smaller(j0 + PC, at->cols); j += NR)
                if (!lower || at->i0 + i + MR > at->j0 + j) /* not all above the diagonal */
                    multiply_tile(s, at, i, j, at->rows - i >= MR ? &a : &rest, &b);
}

/* x (4 x 4) = the elements p .. p+3 of four columns of B that are contiguous in memory, transposed. */
static inline void transposed_quads(const float *const column[4], size_t p, Quad x[4])
{
#ifdef __SSE__
    for (size_t j = 0; j < 4; j++)
        x[j] = _mm_loadu_ps(column[j] + p);
    _MM_TRANSPOSE4_PS(x[0], x[1], x[2], x[3]);
#else
    for (size_t i = 0; i < 4; i++)
        x[i] = (Quad){column[0][p + i], column[1][p + i], column[2][p + i], column[3][p + i]};
#endif
}

/* product (NR) = elements p0 .. p0+depth-1 of a row of A, at their step, times those of columns of B that are
 * contiguous in memory. */
static void multiply_columns(size_t depth, const float *a, size_t step, const float *const column[NR], float *product)
{
    Quad acc[NR / 4] = {(Quad){0}};
    size_t p = 0;
    for (; p + 4 <= depth; p += 4)
        for (size_t j = 0; j < NR / 4; j++) {
            Quad x[4];
            transposed_quads(column + 4 * j, p, x);
            for (size_t i = 0; i < 4; i++)
                acc[j] = quad_fma(a[(p + i) * step] - (Quad){0}, x[i], acc[j]);
        }
    for (; p < depth; p++)
        for (size_t j = 0; j < NR / 4; j++) {
            const float *const *c = column + 4 * j;
            acc[j] = quad_fma(a[p * step] - (Quad){0}, (Quad){c[0][p], c[1][p], c[2][p], c[3][p]}, acc[j]);
        }
    memcpy(product, acc, sizeof acc);
}

/* One row of C: every element of B is used once, so none is packed. The bits are those of multiply_panels. */
static void multiply_row(const Matmul *s)
{
    _Alignas(64) float product[NR];
    const size_t most_depth = depth_of(s->k), step = s->trans_a ? s->lda : 1;
    for (size_t j = 0; j < s->n; j += NR)
        for (size_t p0 = 0; p0 < s->k; p0 += most_depth) {
            const size_t cols = smaller(NR, s->n - j), depth = smaller(most_depth, s->k - p0);
            const float *column[NR];
            for (size_t i = 0; i < NR; i++) /* the last one stands for those that are missing */
                column[i] = s->b + (j + smaller(i, cols - 1)) * s->ldb + p0;
            multiply_columns(depth, s->a + p0 * step, step, column, product);
            store(product, 1, cols, s->alpha, p0 == 0 ? s->beta : 1.0f, s->c + j, s->ldc);
        }
}

void sgemm_builtin(const Matmul *s, bool lower)
{
    static _Thread_local _Alignas(64) float a_block[MC * KC], b_block[KC * NC];
    if (s->k == 0 || s->alpha == 0.0f) {
        scale(s->m, s->n, s->beta, s->c, s->ldc);
        return;
    }
    if (s->m == 1 && s->trans_b && !takes_pairs(s)) {
        multiply_row(s);
        return;
    }
    const size_t most_depth = depth_of(s->k);
    const bool in_place =
        s->m <= MC && s->n % NR == 0 && !s->trans_b && !takes_pairs(s); /* B, read only once or twice */
    const Panels rest = packed_a(s, a_block);
    for (size_t j0 = 0; j0 < s->n; j0 += NC)
        for (size_t p0 = 0; p0 < s->k; p0 += most_depth) {
            Block at = {.j0 = j0, .cols = smaller(NC, s->n - j0), .p0 = p0, .depth = smaller(most_depth, s->k - p0)};
            if (!in_place)
                pack_b(s, j0, at.cols, p0, at.depth, b_block);
            const Panels b = in_place ? (Panels){s->b + p0 * s->ldb + j0, 1, 1, s->ldb} : packed_b(b_block);
            for (at.i0 = lower ? j0 / MC * MC : 0; at.i0 < s->m; at.i0 += MC) {
                at.rows = smaller(MC, s->m - at.i0);
                multiply_block(s, lower, &at, prepare_a(s, &at, a_block), rest, b);
            }
        }
}

/* --- one large product on all threads --- */

/* Columns of a block of B packed once for all threads; tasks per thread, to balance the load. */
enum { SHARED_NC = 3072, TASKS_A_THREAD = 8 };
_Static_assert(SHARED_NC % NR == 0, "a shared block is whole panels");

/* How a block of columns of C is divided into tasks. */
typedef struct Grid {
    size_t rows_each, cols_each, down, across;
} Grid;

static Grid make_grid(size_t m, size_t cols)
{
    const size_t wanted = TASKS_A_THREAD * threads_count();
    Grid g = {.rows_each = ceil_div(ceil_div(m, ceil_div(m, MC)), MR) * MR};
    g.down = ceil_div(m, g.rows_each);
    const size_t panels = ceil_div(cols, NR), pieces = smaller(panels, ceil_div(wanted, g.down));
    g.cols_each = ceil_div(panels, pieces) * NR;
    g.across = ceil_div(cols, g.cols_each);
    return g;
}

/* Task `index` of a block of all rows, `all`. */
static void multiply_task(const Matmul *s, size_t batch_index, bool lower, const Block *all, const Grid *g, Panels b,
                          size_t index)
{
    static _Thread_local _Alignas(64) float a_block[MC * KC];
    const Panels rest = packed_a(s, a_block);
    const size_t i = index / g->across * g->rows_each, j = index % g->across * g->cols_each;
    const Block at = {
        i, smaller(g->rows_each, s->m - i), all->j0 + j, smaller(g->cols_each, all->cols - j), all->p0, all->depth};
    if (lower && i + at.rows <= at.j0)
        return; /* all above the diagonal */
    b.at += j * b.next;
    multiply_block(s, lower, &at, prepare_a(s, &at, a_block), rest, b);
    if (s->epilogue != NULL && at.p0 + at.depth == s->k)
        s->epilogue(s->epilogue_context, batch_index, i, at.j0, at.rows, at.cols);
}

void sgemm_builtin_shared(const Matmul *s, size_t batch_index, bool lower)
{
    static _Alignas(64) float b_block[KC * SHARED_NC];
    const size_t most_depth = depth_of(s->k);
#pragma omp parallel
    for (size_t j0 = 0; j0 < s->n; j0 += SHARED_NC)
        for (size_t p0 = 0; p0 < s->k; p0 += most_depth) {
            const Block all = {0, s->m, j0, smaller(SHARED_NC, s->n - j0), p0, smaller(most_depth, s->k - p0)};
            const Grid g = make_grid(s->m, all.cols);
#pragma omp for schedule(static)
            for (size_t j = 0; j < all.cols; j += NR)
                pack_b(s, j0 + j, smaller(NR, all.cols - j), p0, all.depth, b_block + j * KC);
#pragma omp for schedule(dynamic, 1)
            for (size_t index = 0; index < g.down * g.across; index++)
                multiply_task(s, batch_index, lower, &all, &g, packed_b(b_block), index);
        }
}
