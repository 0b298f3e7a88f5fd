/*
 * GFLOP/s of base/matmul.h on the shapes that training has: the product in tiles, the same as one call of a threaded
 * OpenBLAS, and in one thread the built-in sgemm against OpenBLAS's.
 * Usage: bench_matmul [substring of a shape's name]
 */
#include "base/clock.h"
#include "base/matmul.h"
#include "base/sgemm.h"
#include "dev/bench/bench_peak.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef HAVE_OPENBLAS
#include <cblas.h>
#endif
#ifdef _OPENMP
#include <omp.h>
#endif

typedef struct Shape {
    const char *name;
    size_t m, n, k, batch;
    bool trans_a, trans_b, symmetric;
    float beta;
} Shape;

static const Shape shapes[] = {
    {"qkv forward", 1024, 2304, 768, 1, false, true, false, 0.0f},
    {"proj forward", 1024, 768, 768, 1, false, true, false, 0.0f},
    {"fc forward", 1024, 3072, 768, 1, false, true, false, 0.0f},
    {"fcproj forward", 1024, 768, 3072, 1, false, true, false, 0.0f},
    {"qkv dX", 1024, 768, 2304, 1, false, false, false, 0.0f},
    {"fc dX", 1024, 768, 3072, 1, false, false, false, 0.0f},
    {"fcproj dX", 1024, 3072, 768, 1, false, false, false, 0.0f},
    {"qkv dW", 2304, 768, 1024, 1, true, false, false, 1.0f},
    {"proj dW", 768, 768, 1024, 1, true, false, false, 1.0f},
    {"fc dW", 3072, 768, 1024, 1, true, false, false, 1.0f},
    {"head forward", 256, 50257, 768, 1, false, true, false, 0.0f},
    {"head dX", 256, 768, 50257, 1, false, false, false, 0.0f},
    {"head dW", 50257, 768, 256, 1, true, false, false, 1.0f},
    {"nano qkv forward", 2048, 384, 128, 1, false, true, false, 0.0f},
    {"nano proj forward", 2048, 128, 128, 1, false, true, false, 0.0f},
    {"nano fc forward", 2048, 512, 128, 1, false, true, false, 0.0f},
    {"nano fc dW", 512, 128, 2048, 1, true, false, false, 1.0f},
    {"small qkv forward", 2048, 768, 256, 1, false, true, false, 0.0f},
    {"small proj forward", 2048, 256, 256, 1, false, true, false, 0.0f},
    {"small proj dX", 2048, 256, 256, 1, false, false, false, 0.0f},
    {"small fc dW", 1024, 256, 2048, 1, true, false, false, 1.0f},
    {"muon Gram", 768, 768, 3072, 1, false, true, true, 0.0f},
    {"muon square", 768, 768, 768, 1, false, true, true, 0.0f},
    {"muon Gram x12", 768, 768, 3072, 12, false, true, true, 0.0f},
    {"muon nano Gram x24", 128, 128, 512, 24, false, true, true, 0.0f},
    {"muon nano x24", 128, 128, 128, 24, false, true, true, 0.0f},
    {"muon nano full x24", 128, 512, 128, 24, false, false, false, 1.0f},
    {"scores", 64, 256, 64, 1, false, true, false, 0.0f},
    {"values", 64, 64, 256, 1, false, false, false, 0.0f},
};

typedef enum { TILED, THREADED_BLAS, ONE_BLAS, ONE_BUILTIN } Way;

#ifdef HAVE_OPENBLAS
static void blas(const Matmul *p, size_t which)
{
    cblas_sgemm(CblasRowMajor, p->trans_a ? CblasTrans : CblasNoTrans, p->trans_b ? CblasTrans : CblasNoTrans,
                (int)p->m, (int)p->n, (int)p->k, p->alpha, p->a + which * p->stride_a, (int)p->lda,
                p->b + which * p->stride_b, (int)p->ldb, p->beta, p->c + which * p->stride_c, (int)p->ldc);
}

static void set_blas_threads(Way way)
{
#ifdef _OPENMP
    openblas_set_num_threads(way == THREADED_BLAS ? omp_get_max_threads() : 1);
#else
    openblas_set_num_threads(1);
    (void)way;
#endif
}
#else
static void blas(const Matmul *p, size_t which)
{
    (void)p;
    (void)which;
}

static void set_blas_threads(Way way) { (void)way; }
#endif

static void compute(const Matmul *p, bool symmetric, Way way)
{
    if (way == TILED && symmetric)
        matmul_symmetric(p);
    else if (way == TILED)
        matmul(p);
    else
        for (size_t i = 0; i < p->batch; i++)
            if (way == ONE_BUILTIN) {
                Matmul one = *p;
                one.a += i * p->stride_a;
                one.b += i * p->stride_b;
                one.c += i * p->stride_c;
                sgemm_builtin(&one, false);
            } else
                blas(p, i);
}

/* Seconds of one product: the mean of as many as take 20 ms. The pause lets the threads of the way before go to
 * sleep: they spin for a while. */
static double time_once(const Matmul *p, bool symmetric, Way way)
{
    set_blas_threads(way);
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    compute(p, symmetric, way);
    double start = clock_seconds(), now;
    size_t count = 0;
    do {
        compute(p, symmetric, way);
        count++;
        now = clock_seconds();
    } while (now - start < 0.02);
    return (now - start) / (double)count;
}

static float *random_floats(size_t n)
{
    float *x = aligned_alloc(64, (n * sizeof *x + 63) / 64 * 64);
    if (!x) {
        fprintf(stderr, "bench_matmul: no memory for %zu floats\n", n);
        exit(1);
    }
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(i * 2654435761u % 2048) / 1024.0f - 1.0f;
    return x;
}

/* One line: GFLOP/s the four ways, the rounds interleaved, since the machine may slow down meanwhile. The FLOPs of a
 * symmetric product are counted as half (m n k) for the tiles, as whole (2 m n k) for the others. */
static void bench_shape(const Shape *s)
{
    float *a = random_floats(s->batch * s->m * s->k), *b = random_floats(s->batch * s->k * s->n);
    float *c = random_floats(s->batch * s->m * s->n);
    Matmul p = {.m = s->m,
                .n = s->n,
                .k = s->k,
                .trans_a = s->trans_a,
                .trans_b = s->trans_b,
                .alpha = 1.0f,
                .beta = s->beta,
                .a = a,
                .lda = s->trans_a ? s->m : s->k,
                .stride_a = s->m * s->k,
                .b = b,
                .ldb = s->trans_b ? s->k : s->n,
                .stride_b = s->k * s->n,
                .c = c,
                .ldc = s->n,
                .stride_c = s->m * s->n,
                .batch = s->batch};
    double best[4] = {1e9, 1e9, 1e9, 1e9};
    for (int round = 0; round < 5; round++)
        for (int way = 0; way < 4; way++) {
            double t = time_once(&p, s->symmetric, (Way)way);
            best[way] = t < best[way] ? t : best[way];
        }
    double flops = 2.0 * (double)s->m * (double)s->n * (double)s->k * (double)s->batch;
    double rate[4];
    for (int way = 0; way < 4; way++)
        rate[way] = flops * (way == TILED && s->symmetric ? 0.5 : 1.0) / best[way] * 1e-9;
#ifndef HAVE_OPENBLAS
    rate[THREADED_BLAS] = rate[ONE_BLAS] = 0.0;
#endif
    printf("%-20s %6zu %6zu %6zu %c%c %9.1f %9.1f %7.3f %9.1f %9.1f %7.3f\n", s->name, s->m, s->n, s->k,
           s->trans_a ? 'T' : 'N', s->trans_b ? 'T' : 'N', rate[TILED], rate[THREADED_BLAS],
           rate[TILED] / rate[THREADED_BLAS], rate[ONE_BUILTIN], rate[ONE_BLAS], rate[ONE_BUILTIN] / rate[ONE_BLAS]);
    fflush(stdout);
    free(a);
    free(b);
    free(c);
}

int main(int argc, char **argv)
{
    matmul_init();
    printf("%s; FMA peak %.1f GFLOP/s, memory %.1f GB/s, all threads\n", matmul_backend(), bench_fma_peak(),
           bench_memory_bandwidth() * 1e-9);
    printf("%-20s %6s %6s %6s    %9s %9s %7s %9s %9s %7s\n", "GFLOP/s", "m", "n", "k", "tiles", "BLAS", "ratio",
           "built-in1", "BLAS1", "ratio");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (argc < 2 || strstr(shapes[i].name, argv[1]))
            bench_shape(&shapes[i]);
    return 0;
}
