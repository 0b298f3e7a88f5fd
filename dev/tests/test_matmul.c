#include "base/matmul.h"
#include "base/random.h"
#include "base/sgemm.h"
#include "dev/tests/check.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#endif

typedef enum { TILED, SYMMETRIC, HERE, BUILTIN, WAYS } Way;

static const char *const way_names[WAYS] = {"matmul", "matmul_symmetric", "matmul_here", "sgemm_builtin"};

/* A product with random contents. Rows are `pad` floats longer than the matrix, matrices 2 pad floats further apart;
 * the floats between, in C, hold a canary. B is A when `gram`: then op(A) op(B) is symmetric. */
typedef struct Case {
    Matmul p;
    size_t a_size, b_size, c_size;
    float *a, *b, *c, *before;
} Case;

static const uint32_t canary_bits = 0x7fc12345; /* a NaN */

static float canary(void)
{
    float x;
    memcpy(&x, &canary_bits, sizeof x);
    return x;
}

static float *random_array(size_t size, Random *r)
{
    float *x = malloc((size + 1) * sizeof *x);
    if (!x)
        abort();
    for (size_t i = 0; i < size; i++)
        x[i] = (float)(random_u64(r) >> 40) * 0x1p-23f - 1.0f;
    return x;
}

static bool inside(const Matmul *p, size_t index)
{
    size_t within = index % p->stride_c;
    return index / p->stride_c < p->batch && within / p->ldc < p->m && within % p->ldc < p->n;
}

static bool above_diagonal(const Matmul *p, size_t index)
{
    size_t within = index % p->stride_c;
    return within % p->ldc > within / p->ldc;
}

/* What must not be read is NaN: all of C when beta = 0, and the upper triangle for a symmetric product. */
static void fill_c(Case *t, Way way, Random *r)
{
    t->c = random_array(t->c_size, r);
    t->before = malloc(t->c_size * sizeof *t->before);
    if (!t->before)
        abort();
    for (size_t i = 0; i < t->c_size; i++)
        if (!inside(&t->p, i))
            t->c[i] = canary();
        else if (t->p.beta == 0.0f || (way == SYMMETRIC && above_diagonal(&t->p, i)))
            t->c[i] = NAN;
    memcpy(t->before, t->c, t->c_size * sizeof *t->c);
}

/* Cuts numbers down to what bf16 holds. */
static void shorten(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0xffff0000u;
        memcpy(&x[i], &bits, sizeof bits);
    }
}

static Case case_make(Matmul shape, Way way, size_t pad, uint64_t seed)
{
    Random r = random_make(seed, 1);
    Case t = {.p = shape};
    Matmul *p = &t.p;
    size_t a_rows = p->trans_a ? p->k : p->m, b_rows = p->trans_b ? p->n : p->k;
    p->lda = (p->trans_a ? p->m : p->k) + pad;
    p->ldb = (p->trans_b ? p->k : p->n) + pad;
    p->ldc = p->n + pad;
    p->stride_a = a_rows * p->lda + 2 * pad;
    p->stride_b = b_rows * p->ldb + 2 * pad;
    p->stride_c = p->m * p->ldc + 2 * pad;
    t.a_size = p->batch * p->stride_a;
    t.b_size = p->batch * p->stride_b;
    t.c_size = p->batch * p->stride_c + 64;
    t.a = random_array(t.a_size, &r);
    t.b = random_array(t.b_size, &r);
    if (p->bf16) {
        shorten(t.a, t.a_size);
        shorten(t.b, t.b_size);
    }
    fill_c(&t, way, &r);
    p->a = t.a;
    p->b = way == SYMMETRIC ? t.a : t.b;
    p->c = t.c;
    return t;
}

static void case_free(Case *t)
{
    free(t->a);
    free(t->b);
    free(t->c);
    free(t->before);
}

static void compute(const Matmul *p, Way way)
{
    if (way == TILED)
        matmul(p);
    else if (way == SYMMETRIC)
        matmul_symmetric(p);
    else if (way == HERE)
        matmul_here(p);
    else
        sgemm_builtin(p, false);
}

/*
 * One element against sums in double. A sum of k products rounded in any order, fused or not, is within
 * k u sum|a b| of the exact one (Higham, Accuracy and Stability, 3.1; u = 2^-24, terms in u^2 left out); alpha, beta
 * and their sum round three times more; the last u of k + 4 pays for the terms left out, as k u << 1.
 */
static bool element_is_right(const Case *t, size_t which, size_t i, size_t j)
{
    const Matmul *p = &t->p;
    const float *a = p->a + which * p->stride_a, *b = p->b + which * p->stride_b;
    size_t at = which * p->stride_c + i * p->ldc + j, mirrored = which * p->stride_c + j * p->ldc + i;
    double sum = 0.0, size = 0.0, c = 0.0;
    for (size_t l = 0; l < p->k && p->alpha != 0.0f; l++) {
        double x = (double)a[p->trans_a ? l * p->lda + i : i * p->lda + l];
        double y = (double)b[p->trans_b ? j * p->ldb + l : l * p->ldb + j];
        sum += x * y;
        size += fabs(x * y);
    }
    if (p->beta != 0.0f)
        c = (double)p->beta * (double)(isnan(t->before[at]) ? t->before[mirrored] : t->before[at]);
    double alpha = (double)p->alpha, bound = ((double)p->k + 4.0) * 0x1p-24 * (fabs(alpha) * size + fabs(c));
    return fabs((double)t->c[at] - (alpha * sum + c)) <= bound;
}

/* At most `most` elements of a matrix are recomputed; the step is odd, and so meets every row and column in time. */
static void check_case(const Case *t, Way way, size_t most)
{
    const Matmul *p = &t->p;
    size_t step = (p->m * p->n / most) | 1;
    bool right = true;
    for (size_t which = 0; which < p->batch; which++)
        for (size_t e = 0; e < p->m * p->n && right; e += step) {
            right = element_is_right(t, which, e / p->n, e % p->n);
            check(right, "%s: %zu x %zu x %zu %c%c%s alpha %g beta %g: element (%zu, %zu) of matrix %zu is wrong",
                  way_names[way], p->m, p->n, p->k, p->trans_a ? 'T' : 'N', p->trans_b ? 'T' : 'N',
                  p->bf16 ? " bf16" : "", (double)p->alpha, (double)p->beta, e / p->n, e % p->n, which);
        }
    for (size_t i = 0; i < t->c_size; i++)
        if (!inside(p, i) &&
            !check(memcmp(&t->c[i], &canary_bits, sizeof t->c[i]) == 0,
                   "%s: wrote outside of C, %zu x %zu x %zu, float %zu", way_names[way], p->m, p->n, p->k, i))
            break;
}

static void try_case(Matmul shape, Way way, size_t pad, uint64_t seed)
{
    Case t = case_make(shape, way, pad, seed);
    compute(&t.p, way);
    check_case(&t, way, 4000);
    case_free(&t);
}

/* Sizes of 0 and 1, primes, sizes around register tiles, cache blocks and tiles. */
static const size_t sizes[][3] = {{1, 1, 1},     {1, 7, 5},      {7, 1, 3},      {2, 3, 0},      {12, 32, 16},
                                  {13, 33, 17},  {31, 29, 37},   {64, 64, 64},   {65, 63, 1},    {97, 101, 385},
                                  {5, 769, 383}, {257, 257, 29}, {193, 385, 67}, {513, 769, 31}, {1, 1537, 11}};

static const float factors[][2] = {{1.0f, 0.0f},   {1.0f, 1.0f}, {-0.37f, 0.0f},
                                   {0.71f, -1.3f}, {0.0f, 0.5f}, {0.0f, 0.0f}};

enum { SIZES = sizeof sizes / sizeof *sizes, FACTORS = sizeof factors / sizeof *factors };

static void try_size(Way way, size_t batch, const size_t size[3])
{
    for (size_t f = 0; f < FACTORS; f++)
        for (int kind = 0; kind < 8; kind++) {
            Matmul shape = {.m = size[0],
                            .n = size[1],
                            .k = size[2],
                            .trans_a = kind & 1,
                            .trans_b = kind & 2,
                            .bf16 = kind & 4,
                            .alpha = factors[f][0],
                            .beta = factors[f][1],
                            .batch = batch};
            if (way == SYMMETRIC) {
                shape.n = shape.m;
                shape.trans_b = !shape.trans_a;
            }
            try_case(shape, way, kind == 0 ? 0 : 3, size[0] + 10 * f + (uint64_t)kind);
        }
}

static void try_all(Way way, size_t batch)
{
    for (size_t s = 0; s < SIZES; s++)
        try_size(way, batch, sizes[s]);
}

/* More than a block of rows, of columns and of depth of what threads share. */
static void test_large(void)
{
    static const size_t size[3] = {98, 3105, 401};
    try_size(TILED, 1, size);
}

static void test_tiled(void) { try_all(TILED, 1); }

static void test_batches(void) { try_all(TILED, 3); }

static void test_here(void) { try_all(HERE, 1); }

static void test_builtin(void) { try_all(BUILTIN, 1); }

static void test_symmetric(void)
{
    try_all(SYMMETRIC, 1);
    try_all(SYMMETRIC, 3);
}

static void test_symmetric_is_exact(void)
{
    const size_t n[] = {1, 63, 64, 65, 128, 257, 600};
    for (size_t s = 0; s < sizeof n / sizeof *n; s++) {
        Matmul shape = {.m = n[s], .n = n[s], .k = 50, .trans_b = true, .alpha = 1.0f, .beta = 0.5f, .batch = 2};
        Case t = case_make(shape, SYMMETRIC, 1, s);
        matmul_symmetric(&t.p);
        bool same = true;
        for (size_t which = 0; which < 2; which++)
            for (size_t i = 0; i < n[s]; i++)
                for (size_t j = 0; j < i; j++) {
                    const float *c = t.c + which * t.p.stride_c;
                    same = same && c[i * t.p.ldc + j] == c[j * t.p.ldc + i];
                }
        check(same, "matmul_symmetric of %zu x %zu is not symmetric", n[s], n[s]);
        case_free(&t);
    }
}

/* Past one cache block of columns, where matmul_symmetric's own tiles do not reach. */
static void test_builtin_lower(void)
{
    Matmul shape = {.m = 801, .n = 801, .k = 390, .trans_b = true, .alpha = 1.0f, .beta = 0.5f, .batch = 1};
    Case t = case_make(shape, SYMMETRIC, 3, 5), whole = case_make(shape, BUILTIN, 3, 5);
    const Matmul *p = &t.p;
    whole.p.b = whole.p.a;
    compute(&whole.p, BUILTIN);
    sgemm_builtin(p, true);
    for (size_t i = 0; i < p->n; i++)
        if (!check_same_bits(t.c + i * p->ldc, whole.c + i * p->ldc, (i + 1) * sizeof *t.c, "a row to its diagonal"))
            break;
    case_free(&t);
    case_free(&whole);
}

/* sgemm_builtin promises that an element's bits do not depend on how C was cut. */
static void compare_cuts(size_t rows, size_t cols)
{
    for (int kind = 0; kind < 8; kind++) {
        Matmul shape = {.m = 131,
                        .n = 210,
                        .k = 801,
                        .trans_a = kind & 1,
                        .trans_b = kind & 2,
                        .bf16 = kind & 4,
                        .alpha = 0.7f,
                        .beta = 0.5f,
                        .batch = 1};
        Case whole = case_make(shape, BUILTIN, 1, 6), cut = case_make(shape, BUILTIN, 1, 6);
        compute(&whole.p, BUILTIN);
        for (size_t i = 0; i < shape.m; i += rows)
            for (size_t j = 0; j < shape.n; j += cols) {
                Matmul p = cut.p;
                p.m = shape.m - i < rows ? shape.m - i : rows;
                p.n = shape.n - j < cols ? shape.n - j : cols;
                p.a += i * (p.trans_a ? 1 : p.lda);
                p.b += j * (p.trans_b ? p.ldb : 1);
                p.c += i * p.ldc + j;
                compute(&p, BUILTIN);
            }
        check_same_bits(cut.c, whole.c, whole.c_size * sizeof *whole.c, "C in pieces and C whole");
        case_free(&whole);
        case_free(&cut);
    }
}

static void test_builtin_cuts(void)
{
    compare_cuts(37, 41);
    compare_cuts(1, 101); /* a single row has a loop of its own */
}

static void test_batch_of_zero(void)
{
    Matmul shape = {.m = 9, .n = 8, .k = 7, .alpha = 1.0f, .batch = 1};
    Case t = case_make(shape, TILED, 2, 1);
    t.p.batch = 0;
    matmul(&t.p);
    t.p.batch = 1;
    check_case(&t, TILED, 1000);
    case_free(&t);
}

typedef struct Visits {
    const Matmul *product;
    unsigned char *counts; /* one an element */
    float *seen;           /* what C held when the epilogue came */
} Visits;

static void visit(void *context, size_t batch_index, size_t i0, size_t j0, size_t rows, size_t cols)
{
    Visits *v = context;
    const Matmul *p = v->product;
    for (size_t i = i0; i < i0 + rows; i++)
        for (size_t j = j0; j < j0 + cols; j++) {
            size_t at = batch_index * p->stride_c + i * p->ldc + j;
            v->counts[at]++;
            v->seen[at] = p->c[at];
        }
}

static void check_epilogue(Way way, size_t m, size_t n, size_t k, size_t batch)
{
    Matmul shape = {.m = m, .n = n, .k = k, .trans_b = way == SYMMETRIC, .alpha = 1.0f, .beta = 0.5f, .batch = batch};
    Case t = case_make(shape, way, 3, 7);
    Visits v = {&t.p, calloc(t.c_size, 1), calloc(t.c_size, sizeof(float))};
    t.p.epilogue = visit;
    t.p.epilogue_context = &v;
    compute(&t.p, way);
    bool once = true, finished = true;
    for (size_t i = 0; i < t.c_size; i++) {
        if (way == SYMMETRIC && inside(&t.p, i) && above_diagonal(&t.p, i))
            continue; /* it may be called for these, too */
        once = once && v.counts[i] == (inside(&t.p, i) ? 1 : 0);
        finished = finished && (!inside(&t.p, i) || v.seen[i] == t.c[i]);
    }
    check(once, "%s, %zu x %zu x %zu: an element's epilogue was not called once", way_names[way], m, n, k);
    check(finished, "%s, %zu x %zu x %zu: an epilogue came before its tile was finished", way_names[way], m, n, k);
    free(v.counts);
    free(v.seen);
    case_free(&t);
}

static void test_epilogue(void)
{
    for (size_t s = 0; s < SIZES; s++)
        check_epilogue(TILED, sizes[s][0], sizes[s][1], sizes[s][2], 2);
    check_epilogue(TILED, 1030, 790, 3, 2);
    check_epilogue(TILED, 98, 3105, 401, 1);
    check_epilogue(TILED, 1030, 790, 203, 2); /* large ones share all threads, one after the other */
    check_epilogue(SYMMETRIC, 77, 77, 5, 3);
    check_epilogue(SYMMETRIC, 530, 530, 401, 2);
}

static void test_empty(void)
{
    for (int way = 0; way < WAYS; way++)
        for (size_t m = 0; m < 10; m += 9) {
            Matmul shape = {.m = m, .n = way == SYMMETRIC ? m : 9 - m, .k = 4, .alpha = 1.0f, .batch = 1};
            if (way == SYMMETRIC && m > 0)
                continue;
            Case t = case_make(shape, (Way)way, 2, 3);
            compute(&t.p, (Way)way);
            check_same_bits(t.c, t.before, t.c_size * sizeof *t.c, way_names[way]);
            case_free(&t);
        }
}

/* With alpha = 0, A and B are not read: their NaN does not reach C. */
static void test_alpha_zero(void)
{
    for (int way = 0; way < WAYS; way++) {
        Matmul shape = {.m = 20, .n = 20, .k = 4, .trans_b = true, .beta = 2.0f, .batch = 1};
        Case t = case_make(shape, (Way)way, 2, 3);
        for (size_t i = 0; i < t.a_size; i++)
            t.a[i] = NAN;
        compute(&t.p, (Way)way);
        check_case(&t, (Way)way, 1000);
        case_free(&t);
    }
}

/* A NaN or an Inf in A must show in its row of C and only there. */
static void test_nan_shows(void)
{
    for (int way = 0; way < WAYS; way++) {
        if (way == SYMMETRIC)
            continue;
        Matmul shape = {.m = 70, .n = 50, .k = 40, .alpha = 1.0f, .batch = 1};
        Case t = case_make(shape, (Way)way, 2, 3);
        t.a[33 * t.p.lda + 17] = NAN;
        compute(&t.p, (Way)way);
        for (size_t i = 0; i < shape.m; i++)
            for (size_t j = 0; j < shape.n; j++)
                check(isnan(t.c[i * t.p.ldc + j]) == (i == 33), "%s: NaN of row 33, C(%zu, %zu)", way_names[way], i, j);
        case_free(&t);
    }
}

#ifdef _OPENMP
static void check_threads(Matmul shape, Way way)
{
    const int counts[] = {1, 2, 3, 16};
    int before = omp_get_max_threads();
    Case reference = case_make(shape, way, 1, 11);
    for (int i = 0; i < 4; i++) {
        Case t = case_make(shape, way, 1, 11);
        omp_set_num_threads(counts[i]);
        for (int repeat = 0; repeat < 5; repeat++) { /* beta = 0: C is written afresh */
            compute(&t.p, way);
            if (i == 0 && repeat == 0)
                memcpy(reference.c, t.c, t.c_size * sizeof *t.c);
            check_same_bits(t.c, reference.c, t.c_size * sizeof *t.c, "C, for another number of threads");
        }
        case_free(&t);
    }
    case_free(&reference);
    omp_set_num_threads(before);
}

static void test_threads(void)
{
    check_threads((Matmul){.m = 700, .n = 900, .k = 300, .trans_b = true, .alpha = 1.0f, .batch = 1}, TILED);
    check_threads((Matmul){.m = 65, .n = 70, .k = 80, .alpha = 1.0f, .batch = 9}, TILED);
    check_threads((Matmul){.m = 500, .n = 500, .k = 90, .trans_b = true, .alpha = 1.0f, .batch = 2}, SYMMETRIC);
}

/* What a head of attention does: products inside a parallel region, of one shape and at the same time. */
static void test_here_in_parallel(void)
{
    Matmul shape = {.m = 64, .n = 200, .k = 64, .trans_b = true, .alpha = 0.125f, .batch = 40};
    Case t = case_make(shape, HERE, 5, 2);
#pragma omp parallel for num_threads(4) schedule(dynamic, 1)
    for (size_t which = 0; which < 40; which++) {
        Matmul one = t.p;
        one.a += which * one.stride_a;
        one.b += which * one.stride_b;
        one.c += which * one.stride_c;
        matmul_here(&one);
    }
    check_case(&t, HERE, 1000);
    case_free(&t);
}
#else
static void test_threads(void) { check_skip("built without OpenMP"); }

static void test_here_in_parallel(void) { check_skip("built without OpenMP"); }
#endif

static void test_backend_name(void)
{
    const char *name = matmul_backend();
    check(strncmp(name, "built-in", 8) == 0 || (strncmp(name, "OpenBLAS ", 9) == 0 && name[9] >= '0' && name[9] <= '9'),
          "matmul_backend() is \"%s\"", name);
}

int main(void)
{
    matmul_init();
    check_run("matmul", test_tiled);
    check_run("matmul: more than a block each way", test_large);
    check_run("matmul: batches", test_batches);
    check_run("matmul: a batch of 0 is one product", test_batch_of_zero);
    check_run("matmul_symmetric", test_symmetric);
    check_run("matmul_symmetric: exactly symmetric", test_symmetric_is_exact);
    check_run("matmul_here", test_here);
    check_run("matmul_here: in a parallel region", test_here_in_parallel);
    check_run("sgemm_builtin", test_builtin);
    check_run("sgemm_builtin: the lower triangle", test_builtin_lower);
    check_run("sgemm_builtin: the same bits however C is cut", test_builtin_cuts);
    check_run("epilogues", test_epilogue);
    check_run("empty products", test_empty);
    check_run("alpha = 0", test_alpha_zero);
    check_run("NaN shows", test_nan_shows);
    check_run("same bits for any number of threads", test_threads);
    check_run("backend's name", test_backend_name);
    return check_summary();
}
