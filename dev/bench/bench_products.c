#include "dev/bench/bench_products.h"
#include "base/clock.h"
#include "base/matmul.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/sgemm.h"
#include "base/threads.h"
#include "dev/bench/bench_peak.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef HAVE_OPENBLAS
#include <cblas.h>
#endif

/* --------------------------------------------------------------------------------------------------------------
 * Recording: the linker puts __wrap_f in the place of f in all callers, and calls the real one __real_f (ld --wrap)
 */

typedef enum { ON_ALL, SYMMETRIC, IN_THREAD } Kind;

typedef struct Recorded {
    Matmul p; /* batch is at least 1; a, b and c are not used */
    Kind kind;
    size_t count;
} Recorded;

enum { RECORDS_MOST = 512 };

static Recorded records[RECORDS_MOST];
static size_t record_count;
static bool recording;

void __wrap_matmul(const Matmul *p);
void __wrap_matmul_symmetric(const Matmul *p);
void __wrap_matmul_here(const Matmul *p);

#ifdef BENCH_WRAPS
void __real_matmul(const Matmul *p);
void __real_matmul_symmetric(const Matmul *p);
void __real_matmul_here(const Matmul *p);
#else
#define __real_matmul matmul
#define __real_matmul_symmetric matmul_symmetric
#define __real_matmul_here matmul_here
#endif

static bool is_same(const Recorded *r, const Matmul *p, Kind kind)
{
    return r->kind == kind && r->p.m == p->m && r->p.n == p->n && r->p.k == p->k && r->p.trans_a == p->trans_a &&
           r->p.trans_b == p->trans_b && r->p.bf16 == p->bf16 && (r->p.beta == 0) == (p->beta == 0) &&
           r->p.lda == p->lda && r->p.ldb == p->ldb && r->p.ldc == p->ldc && r->p.batch == (p->batch ? p->batch : 1);
}

/* In place of the product: its shape is all that is wanted. */
static void record(const Matmul *p, Kind kind)
{
#pragma omp critical(bench_record)
    {
        size_t i = 0;
        while (i < record_count && !is_same(&records[i], p, kind))
            i++;
        if (i == RECORDS_MOST) {
            fprintf(stderr, "bench: a step has more than %d different products\n", RECORDS_MOST);
            exit(1);
        }
        if (i == record_count) {
            records[record_count++] = (Recorded){.p = *p, .kind = kind};
            records[i].p.batch = p->batch ? p->batch : 1;
            records[i].p.epilogue = NULL;
        }
        records[i].count++;
    }
}

void __wrap_matmul(const Matmul *p)
{
    if (recording)
        record(p, ON_ALL);
    else
        __real_matmul(p);
}

void __wrap_matmul_symmetric(const Matmul *p)
{
    if (recording)
        record(p, SYMMETRIC);
    else
        __real_matmul_symmetric(p);
}

void __wrap_matmul_here(const Matmul *p)
{
    if (recording)
        record(p, IN_THREAD);
    else
        __real_matmul_here(p);
}

/* --------------------------------------------------------------------------------------------------------------
 * One product, three ways
 */

typedef enum { PROGRAM, BUILTIN, BLAS } Way;
#ifdef HAVE_OPENBLAS
enum { HAS_BLAS = 1, WAYS = 3 };
#else
enum { HAS_BLAS = 0, WAYS = 2 };
#endif

static void blas(const Matmul *p)
{
#ifdef HAVE_OPENBLAS
    cblas_sgemm(CblasRowMajor, p->trans_a ? CblasTrans : CblasNoTrans, p->trans_b ? CblasTrans : CblasNoTrans,
                (int)p->m, (int)p->n, (int)p->k, p->alpha, p->a, (int)p->lda, p->b, (int)p->ldb, p->beta, p->c,
                (int)p->ldc);
#else
    (void)p;
#endif
}

static void set_blas_threads(size_t threads)
{
#ifdef HAVE_OPENBLAS
    openblas_set_num_threads((int)threads);
#else
    (void)threads;
#endif
}

/* A batch that fills the threads is divided among them, a product each; otherwise they share one after the other. */
static void compute_batch(const Recorded *r, Way way)
{
    const bool shares = r->p.batch < threads_count();
    set_blas_threads(shares ? threads_count() : 1);
#pragma omp parallel for schedule(dynamic, 1) if (!shares)
    for (size_t i = 0; i < r->p.batch; i++) {
        const Matmul one = matmul_one(&r->p, i);
        if (way == BLAS)
            blas(&one);
        else if (shares)
            sgemm_builtin_shared(&one, i, r->kind == SYMMETRIC);
        else
            sgemm_builtin(&one, r->kind == SYMMETRIC);
    }
}

/* A product of a thread of its own, in every thread. */
static void compute_in_threads(const Recorded *r, Way way)
{
    set_blas_threads(1);
#pragma omp parallel for schedule(static, 1)
    for (size_t i = 0; i < r->p.batch; i++) {
        const Matmul one = matmul_one(&r->p, i);
        if (way == PROGRAM)
            matmul_here(&one);
        else if (way == BUILTIN)
            sgemm_builtin(&one, false);
        else
            blas(&one);
    }
}

static void compute(const Recorded *r, Way way)
{
    if (way == PROGRAM)
        set_blas_threads(1); /* as matmul_init does */
    if (r->kind == IN_THREAD)
        compute_in_threads(r, way);
    else if (way != PROGRAM)
        compute_batch(r, way);
    else if (r->kind == SYMMETRIC)
        matmul_symmetric(&r->p);
    else
        matmul(&r->p);
}

/* Of the whole record, once: of a symmetric product the lower triangle counts. */
static double flops_of(const Recorded *r)
{
    const double each = (double)r->p.m * (double)r->p.n * (double)r->p.k * (double)r->p.batch;
    return r->kind == SYMMETRIC ? each : 2 * each;
}

static float *operand(size_t rows, size_t ld, size_t *stride, size_t batch)
{
    float *x;
    Error e;
    *stride = (rows * ld + 15) / 16 * 16;
    if (memory_floats(*stride * batch, "a product", &x, &e) != 0) {
        fprintf(stderr, "bench: %s\n", e.text);
        exit(1);
    }
    Random random = random_make(1, rows);
    for (size_t i = 0; i < *stride * batch; i++)
        x[i] = (float)random_uniform(&random) - 0.5f;
    return x;
}

/* Seconds a call: of the clock, or CPU time where only one thread works. The pause lets threads that still wait for the
 * way before go to sleep. */
static double time_way(const Recorded *r, Way way, double seconds)
{
    double (*const now)(void) = threads_count() == 1 ? bench_cpu_seconds : clock_seconds;
    if (threads_count() > 1)
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    compute(r, way);
    const double begin = now();
    size_t count = 0;
    do {
        compute(r, way);
        count++;
    } while (now() < begin + seconds);
    return (now() - begin) / (double)count;
}

/* --------------------------------------------------------------------------------------------------------------
 * The table
 */

enum { ROUNDS = 3, ROWS_MOST = 20 };
static const double way_seconds = 0.01, least_share = 0.01; /* of all work, for a row */

/* The best of the rounds, in which the ways take turns: other load only slows one down. */
static void measure(Recorded *r, double best[WAYS])
{
    Matmul *p = &r->p;
    const size_t batch = p->batch;
    if (r->kind == IN_THREAD)
        p->batch = threads_count();
    float *a = operand(p->trans_a ? p->k : p->m, p->lda, &p->stride_a, p->batch);
    float *b = operand(p->trans_b ? p->n : p->k, p->ldb, &p->stride_b, p->batch);
    float *c = operand(p->m, p->ldc, &p->stride_c, p->batch);
    p->a = a;
    p->b = b;
    p->c = c;
    for (int way = 0; way < WAYS; way++)
        best[way] = (double)INFINITY;
    for (int round = 0; round < ROUNDS; round++)
        for (int way = 0; way < WAYS; way++)
            best[way] = fmin(best[way], time_way(r, (Way)way, way_seconds));
    for (int way = 0; way < WAYS; way++) /* the threads' shares of the calls that were recorded */
        best[way] /= r->kind == IN_THREAD ? (double)p->batch : 1;
    p->batch = batch;
    memory_free(a);
    memory_free(b);
    memory_free(c);
}

static int by_work(const void *a, const void *b)
{
    const Recorded *x = a, *y = b;
    const double p = flops_of(x) * (double)x->count, q = flops_of(y) * (double)y->count;
    return (p < q) - (p > q);
}

static void record_step(const BenchModel *model)
{
    BenchTrainer t = bench_trainer_make(model, "muon");
    record_count = 0;
    recording = true;
    bench_trainer_step(&t);
    recording = false;
    bench_trainer_free(&t);
    qsort(records, record_count, sizeof *records, by_work);
}

static void print_header(void)
{
    printf("%6s %6s %6s     %4s %-6s %6s %5s %7s %7s", "m", "n", "k", "bat.", "", "times", "work", "program",
           "builtin");
    printf("%s\n", HAS_BLAS ? " OpenBL. ratio" : "");
}

/* Of `gflop` in as many seconds each way; the ratio is the program's speed to OpenBLAS's. */
static void print_speeds(double gflop, const double seconds[WAYS])
{
    for (int way = 0; way < WAYS; way++)
        printf(" %7.1f", gflop / seconds[way]);
    if (HAS_BLAS)
        printf(" %5.2f", seconds[WAYS - 1] / seconds[PROGRAM]);
    printf("\n");
    fflush(stdout);
}

static void print_row(const Recorded *r, double share, const double best[WAYS])
{
    static const char *const kinds[] = {"", "sym.", "thread"};
    printf("%6zu %6zu %6zu %c%c%c %4zu %-6s %6zu %4.1f%%", r->p.m, r->p.n, r->p.k, r->p.trans_a ? 'T' : 'N',
           r->p.trans_b ? 'T' : 'N', r->p.beta == 0 ? ' ' : '+', r->p.batch, kinds[r->kind], r->count, 100 * share);
    print_speeds(1e-9 * flops_of(r), best);
}

void bench_products(const BenchModel *model, size_t threads)
{
    double work = 0, shown = 0, seconds[WAYS] = {0};
    matmul_init();
    record_step(model);
    threads_set(threads);
    printf("\nProducts of a step of %s with Muon, %zu thread%s; GFLOP/s\n", model->name, threads,
           threads == 1 ? ", by CPU time" : "s");
    if (record_count == 0) {
        printf("this linker cannot record them (it has no --wrap)\n");
        return;
    }
    print_header();
    for (size_t i = 0; i < record_count; i++)
        work += flops_of(&records[i]) * (double)records[i].count;
    for (size_t i = 0; i < record_count && i < ROWS_MOST; i++) {
        const double flops = flops_of(&records[i]) * (double)records[i].count;
        double best[WAYS];
        if (flops < least_share * work)
            break;
        measure(&records[i], best);
        print_row(&records[i], flops / work, best);
        shown += flops;
        for (int way = 0; way < WAYS; way++)
            seconds[way] += best[way] * (double)records[i].count;
    }
    printf("%-36s %6s %4.1f%%", "these", "", 100 * shown / work);
    print_speeds(1e-9 * shown, seconds);
}
