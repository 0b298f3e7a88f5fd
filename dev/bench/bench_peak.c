#include "dev/bench/bench_peak.h"
#include "base/clock.h"

#include <stddef.h>
#include <stdlib.h>
#include <time.h>

/* CHAINS independent accumulators hide the FMA latency: 4 cycles x 2 a cycle = 8 on today's x86, up to 16 on ARM. */
#if defined(__AVX512F__)
#include <immintrin.h>
enum { LANES = 16, CHAINS = 16 };
typedef __m512 Vec;
static inline Vec vec_fma(Vec x, Vec y, Vec z) { return _mm512_fmadd_ps(x, y, z); }
#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
enum { LANES = 8, CHAINS = 12 };
typedef __m256 Vec;
static inline Vec vec_fma(Vec x, Vec y, Vec z) { return _mm256_fmadd_ps(x, y, z); }
#elif defined(__ARM_NEON) && defined(__ARM_FEATURE_FMA)
#include <arm_neon.h>
enum { LANES = 4, CHAINS = 16 };
typedef float32x4_t Vec;
static inline Vec vec_fma(Vec x, Vec y, Vec z) { return vfmaq_f32(z, x, y); }
#else
enum { LANES = 4, CHAINS = 12 };
typedef float Vec __attribute__((vector_size(16)));
static inline Vec vec_fma(Vec x, Vec y, Vec z) { return x * y + z; }
#endif

enum { RUNS = 10, FMA_STEPS = 1000000 };
static const size_t triad_floats = (size_t)16 << 20;

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *x, size_t n)
{
    qsort(x, n, sizeof *x, compare);
    return x[n / 2];
}

/* FMA_STEPS times x = x y + z in every chain; the result is returned so that nothing is optimised away. */
static float run_chains(float start)
{
    Vec acc[CHAINS], y = (Vec){0} + 0.5f, z = (Vec){0} + start;
    for (size_t i = 0; i < CHAINS; i++)
        acc[i] = z * (float)i;
    for (size_t step = 0; step < FMA_STEPS; step++)
        for (size_t i = 0; i < CHAINS; i++)
            acc[i] = vec_fma(acc[i], y, z);
    for (size_t i = 1; i < CHAINS; i++)
        acc[0] += acc[i];
    return acc[0][0];
}

static double seconds_of(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double bench_cpu_seconds(void) { return seconds_of(CLOCK_PROCESS_CPUTIME_ID); }

BenchPeak bench_fma_peak(void)
{
    const double flops = 2.0 * FMA_STEPS * LANES * CHAINS;
    BenchPeak best = {0};
    volatile float sink = 0.0f;
    for (int run = 0; run < RUNS; run++) {
        double threads = 0.0, start = clock_seconds(), cpu = 0.0;
        float sum = 0.0f;
#pragma omp parallel reduction(+ : threads, cpu, sum)
        {
            /* of each thread: the process's clock may lag behind its other threads by more than a run takes */
            const double begin = seconds_of(CLOCK_THREAD_CPUTIME_ID);
            threads = 1.0;
            sum = run_chains((float)run);
            cpu = seconds_of(CLOCK_THREAD_CPUTIME_ID) - begin;
        }
        const double gflop = threads * flops * 1e-9;
        const BenchPeak now = {gflop / (clock_seconds() - start), gflop / cpu};
        sink = sink + sum;
        best.gflops = now.gflops > best.gflops ? now.gflops : best.gflops;
        if (now.gflops_per_cpu_second > best.gflops_per_cpu_second)
            best.gflops_per_cpu_second = now.gflops_per_cpu_second;
    }
    return best;
}

static void triad(float *a, const float *b, const float *c, float s)
{
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < triad_floats; i++)
        a[i] = b[i] + s * c[i];
}

double bench_memory_bandwidth(void)
{
    float *a = malloc(3 * triad_floats * sizeof *a);
    if (!a)
        return 0.0;
    float *b = a + triad_floats, *c = b + triad_floats;
#pragma omp parallel for schedule(static) /* each thread touches its pages first */
    for (size_t i = 0; i < triad_floats; i++)
        a[i] = b[i] = c[i] = (float)i;
    double best = 0.0;
    for (int run = 0; run < RUNS; run++) {
        double start = clock_seconds();
        triad(a, b, c, (float)run);
        double rate = (double)(3 * triad_floats * sizeof *a) / (clock_seconds() - start);
        best = rate > best ? rate : best;
    }
    free(a);
    return best;
}
