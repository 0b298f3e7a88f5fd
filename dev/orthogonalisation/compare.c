/*
 * Orthogonalisation compared: what every Newton-Schulz flavour, and the exact polar factor, make of singular values.
 *
 *   orthogonalisation [--threads N | --maps] DIR      [1 thread] writes these tables to DIR, which exists; --maps: the first
 *                                                     two, in a moment
 *
 *   map.csv         singular values, as a part of the Frobenius norm, from s up to the next row's, and what each
 *                   flavour's own number of iterations makes of them at least and at most, in double
 *   ranges.csv      the map's slope at 0, its range, and how small a value may be that it still lifts above a half
 *   matrices.csv    the matrices that are measured
 *   deviation.csv   singular values of their fp32 orthogonalisations: how far from 1; products, FLOPs, CPU milliseconds
 */
#include "base/eigh.h"
#include "base/matmul.h"
#include "base/random.h"
#include "base/threads.h"
#include "gpt/gpt.h"
#include "optim/rules/newton_schulz.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

__attribute__((format(printf, 1, 2))) static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("orthogonalisation: ", stderr);
    vfprintf(stderr, format, arguments);
    fputs("\n", stderr);
    va_end(arguments);
    exit(1);
}

static void *allocate(size_t count, size_t size)
{
    void *p = calloc(count, size);
    if (p == NULL)
        fail("there is no memory for %zu times %zu bytes", count, size);
    return p;
}

static FILE *csv_open(const char *dir, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    if (file == NULL)
        fail("%s cannot be written", path);
    return file;
}

static void csv_close(FILE *file, const char *name)
{
    const int bad = ferror(file);
    if (fclose(file) != 0 || bad)
        fail("%s cannot be written", name);
}

/* --------------------------------------------------------------------------------------------------------------
 * The map of one singular value
 */

enum { DECADES = 4, PER_DECADE = 100, FINER = 100, PER_DECADE_FINE = FINER * PER_DECADE };

/* A singular value s of U / |U|_F after `steps` iterations. */
static double map(NsFlavour flavour, size_t steps, double s)
{
    s /= ns_spec(flavour)->norm_factor;
    for (size_t i = 0; i < steps; i++) {
        const NsTriple f = ns_triple(flavour, i);
        s *= f.a + s * s * (f.b + s * s * f.c);
    }
    return s;
}

/* Two products an iteration when c is 0, otherwise three. */
static size_t products(NsFlavour flavour, size_t steps)
{
    size_t n = 0;
    for (size_t i = 0; i < steps; i++)
        n += ns_triple(flavour, i).c == 0 ? 2 : 3;
    return n;
}

/* Points from 10^-DECADES to 1, evenly on a log axis. */
static double grid(size_t i) { return pow(10, (double)i / PER_DECADE_FINE - DECADES); }

/* least and most: the range of the map over the points of the fine grid from one to another. */
static void range(NsFlavour flavour, size_t steps, size_t from, size_t to, double *least, double *most)
{
    *least = (double)INFINITY;
    *most = -(double)INFINITY;
    for (size_t i = from; i <= to; i++) {
        const double y = map(flavour, steps, grid(i));
        *least = fmin(*least, y);
        *most = fmax(*most, y);
    }
}

static void write_map(const char *dir)
{
    FILE *file = csv_open(dir, "map.csv");
    fputs("s", file);
    for (int f = 0; f < NS_EXACT; f++)
        fprintf(file, ",%s least,%s most", ns_names[f], ns_names[f]);
    for (size_t i = 0; i < DECADES * PER_DECADE_FINE; i += FINER) {
        fprintf(file, "\n%.5g", grid(i));
        for (int f = 0; f < NS_EXACT; f++) {
            double least, most;
            range((NsFlavour)f, ns_steps((NsFlavour)f, 0), i, i + FINER, &least, &most);
            fprintf(file, ",%.4g,%.4g", least, most);
        }
    }
    fputs("\n", file);
    csv_close(file, "map.csv");
}

/* The singular value from which on the map is above a half. */
static double reach(NsFlavour flavour, size_t steps)
{
    size_t i = DECADES * PER_DECADE_FINE;
    while (i > 0 && map(flavour, steps, grid(i)) > 0.5)
        i--;
    return grid(i);
}

static void write_range(FILE *file, NsFlavour flavour, size_t steps)
{
    double least[2], most[2];
    for (size_t k = 0; k < 2; k++) /* from 10^-3, from 10^-2 */
        range(flavour, steps, (DECADES - 3 + k) * PER_DECADE_FINE, DECADES * PER_DECADE_FINE, &least[k], &most[k]);
    fprintf(file, "%s,%zu,%d,%zu,%.1f,%.6f,%.4f,%.4f,%.4f,%.4f\n", ns_names[flavour], steps,
            steps == ns_steps(flavour, 0), products(flavour, steps), map(flavour, steps, 1e-12) * 1e12,
            reach(flavour, steps), least[0], most[0], least[1], most[1]);
}

/* Each flavour with its own number of iterations; jordan cut to three, and repeated a hundred times; polar-express
 * without its last iteration. */
static void write_ranges(const char *dir)
{
    FILE *file = csv_open(dir, "ranges.csv");
    fputs("flavour,steps,own,products,slope,half_from,", file);
    fputs("least_from_0.001,most_from_0.001,least_from_0.01,most_from_0.01\n", file);
    for (int f = 0; f < NS_EXACT; f++)
        write_range(file, (NsFlavour)f, ns_steps((NsFlavour)f, 0));
    write_range(file, NS_JORDAN, 3);
    write_range(file, NS_JORDAN, 100);
    write_range(file, NS_POLAR_EXPRESS, 4);
    csv_close(file, "ranges.csv");
}

/* --------------------------------------------------------------------------------------------------------------
 * Matrices
 */

typedef struct Matrix {
    const char *name;
    size_t rows, cols;
    void (*fill)(float *x, size_t rows, size_t cols, Random *random);
} Matrix;

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* q (k,n): k orthonormal rows in random directions. Gram-Schmidt, twice, as once leaves what rounding has made. */
static void orthonormal(double *q, size_t k, size_t n, Random *random)
{
    for (size_t i = 0; i < k; i++) {
        double *row = q + i * n;
        for (size_t j = 0; j < n; j++)
            row[j] = random_normal(random);
        for (size_t other = 0; other < 2 * i; other++) {
            const double *q_other = q + other % i * n, share = dot(row, q_other, n);
            for (size_t j = 0; j < n; j++)
                row[j] -= share * q_other[j];
        }
        const double length = sqrt(dot(row, row, n));
        for (size_t j = 0; j < n; j++)
            row[j] /= length;
    }
}

/* x (rows,cols) += U diag(s) V^T with random singular vectors for the k values s. */
static void add_spectrum(float *x, size_t rows, size_t cols, const double *s, size_t k, Random *random)
{
    double *u = allocate(k * rows, sizeof *u), *v = allocate(k * cols, sizeof *v), *row = allocate(cols, sizeof *row);
    orthonormal(u, k, rows, random);
    orthonormal(v, k, cols, random);
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < cols; j++)
            row[j] = (double)x[i * cols + j];
        for (size_t r = 0; r < k; r++)
            for (size_t j = 0; j < cols; j++)
                row[j] += u[r * rows + i] * s[r] * v[r * cols + j];
        for (size_t j = 0; j < cols; j++)
            x[i * cols + j] = (float)row[j];
    }
    free(u);
    free(v);
    free(row);
}

static void fill_gaussian(float *x, size_t rows, size_t cols, Random *random)
{
    for (size_t i = 0; i < rows * cols; i++)
        x[i] = (float)random_normal(random);
}

/* Singular values from 1 to 1/1000, evenly on a log axis. */
static void fill_log_spaced(float *x, size_t rows, size_t cols, Random *random)
{
    const size_t k = smaller(rows, cols);
    double *s = allocate(k, sizeof *s);
    for (size_t i = 0; i < k; i++)
        s[i] = pow(1000, -(double)i / (double)(k - 1));
    memset(x, 0, rows * cols * sizeof *x);
    add_spectrum(x, rows, cols, s, k, random);
    free(s);
}

/* What a gradient looks like from afar: a few directions that matter, here 16 from 1 down to 0.035, and noise in all of
 * them, whose largest singular value is sigma (sqrt(rows) + sqrt(cols)) = 0.02. */
static void fill_gradient_like(float *x, size_t rows, size_t cols, Random *random)
{
    enum { RANK = 16 };
    const double sigma = 0.02 / (sqrt((double)rows) + sqrt((double)cols));
    double s[RANK];
    for (size_t i = 0; i < RANK; i++)
        s[i] = pow(0.8, (double)i);
    for (size_t i = 0; i < rows * cols; i++)
        x[i] = (float)(sigma * random_normal(random));
    add_spectrum(x, rows, cols, s, RANK, random);
}

static const Matrix matrices[] = {
    {"gaussian", 256, 256, fill_gaussian},
    {"log-spaced", 1024, 256, fill_log_spaced},
    {"gradient-like", 1024, 256, fill_gradient_like},
};
enum { MATRICES = sizeof matrices / sizeof *matrices };

/* s: the min(rows, cols) singular values of x, ascending: roots of the Gram matrix's eigenvalues, in double. */
static void singular_values(const float *x, size_t rows, size_t cols, double *s)
{
    const size_t n = smaller(rows, cols), m = rows + cols - n, step = rows <= cols ? cols : 1,
                 along = rows <= cols ? 1 : cols;
    double *gram = allocate(n * n, sizeof *gram), *column = allocate(n, sizeof *column);
    double *work = allocate(eigh_work(n), sizeof *work);
    for (size_t k = 0; k < m; k++) {
        for (size_t i = 0; i < n; i++)
            column[i] = (double)x[i * step + k * along];
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n; j++)
                gram[i * n + j] += column[i] * column[j];
    }
    if (eigh(gram, s, n, work) != 0)
        fail("the eigenvalues of a Gram matrix were not found");
    for (size_t i = 0; i < n; i++)
        s[i] = sqrt(s[i] > 0 ? s[i] : 0);
    free(gram);
    free(column);
    free(work);
}

/* --------------------------------------------------------------------------------------------------------------
 * Measurement
 */

/* Every number of iterations up to these is measured: past the flavour's own list its last triple repeats. */
static const size_t most_steps[NS_EXACT] = {
    [NS_JORDAN] = 10,       [NS_CUBIC] = 20,  [NS_MODULA] = 9, [NS_VARIED] = 8,
    [NS_POLAR_EXPRESS] = 8, [NS_TRACK3] = 14, [NS_MUOWN] = 14, [NS_NANOCHAT] = 8};
enum { POINTS_MOST = 128, SEEDS = 6 };

typedef struct Point {
    NsFlavour flavour;
    size_t steps;
    /* Of the matrix of each seed: max |s - 1|, root of the mean of (s - 1)^2, mean of s, over its singular values s. */
    double worst[SEEDS], rms[SEEDS], mean[SEEDS];
    double ms[SEEDS];
} Point;

static size_t list_points(Point *points)
{
    size_t n = 0;
    for (int f = 0; f < NS_EXACT; f++)
        for (size_t k = 1; k <= most_steps[f]; k++)
            points[n++] = (Point){.flavour = (NsFlavour)f, .steps = k};
    points[n++] = (Point){.flavour = NS_EXACT};
    return n;
}

/* CPU time of this process, which other load on the machine stretches less than time. */
static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static void note_deviation(Point *p, size_t seed, const float *x, const Matrix *m)
{
    const size_t n = smaller(m->rows, m->cols);
    double *s = allocate(n, sizeof *s), squares = 0, sum = 0;
    singular_values(x, m->rows, m->cols, s);
    for (size_t i = 0; i < n; i++) {
        p->worst[seed] = fmax(p->worst[seed], fabs(s[i] - 1));
        squares += (s[i] - 1) * (s[i] - 1);
        sum += s[i];
    }
    p->rms[seed] = sqrt(squares / (double)n);
    p->mean[seed] = sum / (double)n;
    if (!isfinite(p->rms[seed]))
        fail("%s, %zu iterations: the result is not finite", ns_names[p->flavour], p->steps);
    free(s);
}

/* Floats of workspace that serve every flavour. */
static size_t workspace_most(const Matrix *m)
{
    size_t most = 0;
    for (int f = 0; f < NS_COUNT; f++) {
        const size_t n = ns_workspace((NsFlavour)f, m->rows, m->cols, 1);
        most = n > most ? n : most;
    }
    return most;
}

/* Every point on the matrix of one seed. */
static void measure(Verbs *on, const Matrix *m, const float *matrix, Point *points, size_t count, size_t seed)
{
    const size_t n = m->rows * m->cols;
    float *x = allocate(n, sizeof *x), *workspace = allocate(workspace_most(m), sizeof *workspace);
    for (Point *p = points; p < points + count; p++) {
        memcpy(x, matrix, n * sizeof *x);
        const double begin = now_ms();
        ns_orthogonalise(on, p->flavour, NS_FROBENIUS, p->steps, (Mats){x, m->rows, m->cols, 1}, workspace);
        p->ms[seed] = now_ms() - begin;
        note_deviation(p, seed, x, m);
    }
    free(x);
    free(workspace);
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* ",median,least,most" over the seeds. */
static void write_spread(FILE *file, double values[SEEDS])
{
    qsort(values, SEEDS, sizeof *values, compare);
    fprintf(file, ",%.4g,%.4g,%.4g", (values[(SEEDS - 1) / 2] + values[SEEDS / 2]) / 2, values[0], values[SEEDS - 1]);
}

static void write_points(FILE *file, const Matrix *m, Point *points, size_t count)
{
    for (Point *p = points; p < points + count; p++) {
        fprintf(file, "%s,%zu,%zu,%s,%zu,%d,%zu,%.1f", m->name, m->rows, m->cols, ns_names[p->flavour], p->steps,
                p->steps == ns_steps(p->flavour, 0), products(p->flavour, p->steps),
                1e-6 * ns_flops(p->flavour, p->steps, m->rows, m->cols));
        write_spread(file, p->worst);
        write_spread(file, p->rms);
        write_spread(file, p->mean);
        write_spread(file, p->ms);
        fputs("\n", file);
    }
}

static void write_matrix(FILE *file, const Matrix *m, size_t seed, const float *x)
{
    const size_t n = smaller(m->rows, m->cols);
    double *s = allocate(n, sizeof *s);
    singular_values(x, m->rows, m->cols, s);
    const double norm = sqrt(dot(s, s, n));
    fprintf(file, "%s,%zu,%zu,%zu,%.4g,%.4g,%.4g,%.1f\n", m->name, m->rows, m->cols, seed + 1, s[n - 1] / norm,
            s[n / 2] / norm, s[0] / norm, s[n - 1] / s[0]);
    free(s);
}

/* Each seed goes through everything, so that other load on the machine meets every point alike. */
static void write_measurements(const char *dir)
{
    FILE *table = csv_open(dir, "matrices.csv"), *file = csv_open(dir, "deviation.csv");
    fputs("matrix,rows,cols,seed,largest,median,smallest,condition\n", table);
    fprintf(file, "# %s; median, least and most of the matrices of %d seeds\n", gpt_device(), SEEDS);
    fputs("matrix,rows,cols,flavour,steps,own,products,mflop,worst,worst_least,worst_most,rms,rms_least,rms_most,",
          file);
    fputs("mean,mean_least,mean_most,ms,ms_least,ms_most\n", file);
    static Point points[MATRICES][POINTS_MOST];
    size_t count = 0;
    Verbs *on;
    Error e;
    if (verbs_create(NULL, &on, &e) != 0)
        fail("%s", e.text);
    for (size_t i = 0; i < MATRICES; i++)
        count = list_points(points[i]);
    for (size_t seed = 0; seed < SEEDS; seed++)
        for (size_t i = 0; i < MATRICES; i++) {
            const Matrix *m = &matrices[i];
            Random random = random_make(seed + 1, i);
            float *x = allocate(m->rows * m->cols, sizeof *x);
            m->fill(x, m->rows, m->cols, &random);
            write_matrix(table, m, seed, x);
            measure(on, m, x, points[i], count, seed);
            free(x);
        }
    verbs_free(on);
    for (size_t i = 0; i < MATRICES; i++)
        write_points(file, &matrices[i], points[i], count);
    csv_close(table, "matrices.csv");
    csv_close(file, "deviation.csv");
}

int main(int argc, char **argv)
{
    size_t threads = 1;
    int i = 1;
    if (argc == 4 && strcmp(argv[1], "--threads") == 0 && atoi(argv[2]) > 0) {
        threads = (size_t)atoi(argv[2]);
        i = 3;
    }
    const bool only_maps = argc == 3 && strcmp(argv[1], "--maps") == 0;
    i += only_maps;
    if (argc != i + 1 || argv[i][0] == '-')
        return fprintf(stderr, "usage: orthogonalisation [--threads N | --maps] DIR\n"), 2;
    threads_set(threads);
    matmul_init();
    write_map(argv[i]);
    write_ranges(argv[i]);
    if (!only_maps)
        write_measurements(argv[i]);
    return 0;
}
