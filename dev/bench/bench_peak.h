#ifndef DEV_BENCH_BENCH_PEAK_H
#define DEV_BENCH_BENCH_PEAK_H

#include <stddef.h>

/*
 * What the machine can do, measured: the denominators of a benchmark's efficiencies. Each call takes about a quarter
 * of a second on all OpenMP threads and returns the best of several runs, since other load only ever slows one down.
 */

/* FP32 GFLOP/s of fused multiply-adds that stay in registers, an FMA counted as two. Without FMA instructions (plain
 * SSE2) a multiplication and an addition stand for it. A second of the clock, and a CPU second of one thread, which
 * counts no time that others on the machine took. */
typedef struct BenchPeak {
    double gflops, gflops_per_cpu_second;
} BenchPeak;
BenchPeak bench_fma_peak(void);

/* CPU seconds that all threads of this process have spent. */
double bench_cpu_seconds(void);

/* Bytes/s of a[i] = b[i] + s * c[i] over arrays of 64 MiB each: two reads and one write counted, what a cache adds to
 * fetch the written lines left out (as in McCalpin's STREAM). 0 when there is no memory for the arrays. */
double bench_memory_bandwidth(void);

/* The upper median of n values, which are sorted on return. */
double bench_median(double *x, size_t n);

#endif
