/* Orthogonalisation: Newton-Schulz flavours, in fp32 and in bf16, and the exact polar factor, on matrices with
 * prescribed singular values. Matrices go where the verbs are, so that the program runs on the CUDA ones too. */
#include "base/threads.h"
#include "dev/tests/check.h"
#include "dev/tests/fixtures.h"
#include "optim/rules/newton_schulz.h"
#include "optim/verbs/verbs.h"
#include "optim/verbs/verbs_math.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double U = 0x1p-24; /* rounding to fp32 */
static const double H = 0x1p-8;  /* and to bf16, at most */

static NsDtype dtype; /* of the running test's products */

/* The triples again, from the publications; the last one repeats. `golden` is what diag(3, 4) becomes: 3/5 and 4/5
 * through the polynomials in fp64, printed to 7 digits. */
typedef struct Flavour {
    NsFlavour id;
    size_t steps, count;
    double factor;
    NsTriple triples[8];
    double golden[2];
} Flavour;

#define K(a, b, c)                            \
    {                                         \
        (a) / 1024., (b) / 1024., (c) / 1024. \
    }
static const Flavour flavours[] = {
    {NS_JORDAN, 5, 1, 1, {{3.4445, -4.7750, 2.0315}}, {.7228762, 1.1192039}},
    {NS_CUBIC, 15, 1, 1, {{1.5, -.5, 0}}, {1, 1}},
    {NS_MODULA,
     6,
     6,
     1,
     {K(3955, -8306, 5008), K(3735, -6681, 3463), K(3799, -6499, 3211), K(4019, -6385, 2906), K(2677, -3029, 1162),
      K(2172, -1833, 682)},
     {.9955990, .9968482}},
    {NS_VARIED,
     5,
     5,
     1,
     {{4.0848, -6.8946, 2.9270},
      {3.9505, -6.3029, 2.6377},
      {3.7418, -5.5913, 2.3037},
      {2.8769, -3.1427, 1.2046},
      {2.8366, -3.0525, 1.2012}},
     {1.0186287, 1.0056322}},
    {NS_POLAR_EXPRESS,
     5,
     5,
     1.02,
     {{8.156554524902461, -22.48329292557795, 15.878769915207462},
      {4.042929935166739, -2.808917465908714, .5000178451051316},
      {3.8916678022926607, -2.772484153217685, .5060648178503393},
      {3.285753657755655, -2.3681294933425376, .46449024233003106},
      {2.3465413258596377, -1.7097828382687081, .42323551169305323}},
     {.9467875, .8782865}},
    {NS_TRACK3, 12, 1, 1, {{2, -1.5, .5}}, {1, 1}},
    {NS_MUOWN,
     12,
     8,
     1,
     {{8.2051, -22.9019, 16.4607},
      {4.0664, -2.8612, .5184},
      {3.9096, -2.8234, .525},
      {3.2856, -2.4153, .4853},
      {2.2779, -1.6198, .3985},
      {1.8726, -1.2307, .3585},
      {1.8564, -1.2132, .3568},
      {1.875, -1.25, .375}},
     {1, 1}},
    {NS_NANOCHAT,
     5,
     5,
     1.01,
     {{8.156554524902461, -22.48329292557795, 15.878769915207462},
      {4.042929935166739, -2.808917465908714, .5000178451051316},
      {3.8916678022926607, -2.772484153217685, .5060648178503393},
      {3.285753657755655, -2.3681294933425376, .46449024233003106},
      {2.3465413258596377, -1.7097828382687081, .42323551169305323}},
     {1.1258860, 1.1158104}},
};
#undef K
enum { FLAVOURS = sizeof flavours / sizeof *flavours };

static NsTriple triple(const Flavour *f, size_t i) { return f->triples[i < f->count ? i : f->count - 1]; }

static double map(NsTriple f, double s) { return s * (f.a + s * s * (f.b + s * s * f.c)); }

/* How much the polynomial stretches an error in the place (i,j) between the i-th left and the j-th right singular
 * vector: a divided difference of f, for the symmetric or the antisymmetric part of the error (Daleckii and Krein). */
static double stretch(NsTriple f, double s, double r)
{
    const double slope = f.a + s * s * (3 * f.b + s * s * 5 * f.c);
    const double difference = fabs(s - r) > 1e-6 ? (map(f, s) - map(f, r)) / (s - r) : slope;
    return fmax(fabs(difference), s + r > 0 ? fabs(map(f, s) + map(f, r)) / (s + r) : fabs(slope));
}

/*
 * Sends the singular values s (k) of a k x m matrix, k <= m, through the flavour, and bounds the error of the iteration
 * in fp32, in Frobenius norm: squares[i (k+1) + j] is the squared error between left vector i and right vector j;
 * column k stands for the m - k right vectors of singular value 0. Each iteration stretches what there is and adds an
 * error e of its own, alike in every place. e: in a X, sums of up to m terms, one large term is there for half of the
 * additions and is rounded in each: a walk of sqrt(m/3) U, plus 2 U for X and a X themselves. The Gram matrix X X^T
 * carries an error of U |X|^2 (Frobenius norm) and enters b X X^T X twice and c (X X^T)^2 X four times, with s1 = max s
 * for each further factor:  e = U ((2 + sqrt(m/3)) a |X| + (2 |b| s1 + 4 |c| s1^3) |X|^2).
 * In bf16 only what is stored counts: A = X X^T, which enters b A X once and c A A X twice, P = b A + c A A and X' are
 * rounded once, an element by at most H, by H/sqrt(3) in the mean:
 *     e = H/sqrt(3) ((|b| + 2 |c| s1^2) s1 |A| + s1 |P| + |X'|).
 * Roundings are taken as random; the factor 3 at the end is for those that are not. `unit` is U, or H/sqrt(3).
 */
static double fp32_error(NsTriple p, const double *s, size_t k, size_t m)
{
    double top = 0, x2 = 0;
    for (size_t i = 0; i < k; i++) {
        top = fmax(top, s[i]);
        x2 += s[i] * s[i];
    }
    const double walk = 2 + sqrt((double)m / 3);
    return walk * p.a * sqrt(x2) + (2 * fabs(p.b) * top + 4 * p.c * pow(top, 3)) * x2;
}

static double bf16_error(NsTriple p, const double *s, size_t k)
{
    double top = 0, gram = 0, polynomial = 0, next = 0;
    for (size_t i = 0; i < k; i++) {
        const double square = s[i] * s[i], value = square * (p.b + p.c * square);
        top = fmax(top, s[i]);
        gram += square * square;
        polynomial += value * value;
        next += map(p, s[i]) * map(p, s[i]);
    }
    return (fabs(p.b) + 2 * p.c * top * top) * top * sqrt(gram) + (p.c != 0 ? top * sqrt(polynomial) : 0) + sqrt(next);
}

/*
 * The second of two iterations on one Gram matrix, from the singular values s before the first. To its Gram matrix the
 * roundings of A, A P and P A P bring
 *     g = H/sqrt(3) (p1^2 |A| + p1 |A P| + |P A P|),    p1 = max P,
 * which enters like that of any Gram matrix; P and Q, random, reach X by |X|/sqrt(k), P through P' as well; P' b and c
 * and the result are rounded as always.
 */
static double second_error(NsTriple first, NsTriple second, const double *s, size_t k)
{
    double x2 = 0, top = 0, p1 = 0, q1 = 0, a = 0, ap = 0, pap = 0, p = 0, half = 0, q = 0, next = 0;
    for (size_t i = 0; i < k; i++) {
        const double s2 = s[i] * s[i], here = first.a + s2 * (first.b + s2 * first.c), r = s[i] * here, r2 = r * r;
        const double rest = r2 * (second.b + r2 * second.c), there = second.a + rest;
        x2 += s2;
        top = fmax(top, fabs(r));
        p1 = fmax(p1, fabs(here));
        q1 = fmax(q1, fabs(there));
        a += s2 * s2;
        ap += s2 * s2 * here * here;
        pap += r2 * r2;
        p += here * here;
        half += rest * rest;
        q += here * here * there * there;
        next += r2 * there * there;
    }
    const double gram = p1 * p1 * sqrt(a) + p1 * sqrt(ap) + sqrt(pap);
    return (fabs(second.b) + 2 * second.c * top * top) * top * gram + top * sqrt(half) +
           sqrt(x2 / (double)k) * (q1 * sqrt(p) + sqrt(q)) + sqrt(next);
}

/* Whether iteration i in bf16 is the first of two at once: see newton_schulz.h. */
static bool begins_pair(const Flavour *f, size_t steps, size_t i, size_t k, size_t m)
{
    const bool pairs = f->id == NS_JORDAN || f->id == NS_MODULA || f->id == NS_TRACK3;
    return dtype == NS_BF16 && pairs && m > 2 * k && i % 2 == 1 && i + 1 < steps;
}

static double iterate_by(double unit, const Flavour *f, size_t steps, double *s, size_t k, size_t m)
{
    double *squares = make_doubles(k * (k + 1)), *before = make_doubles(k), norm = 0, total = 0;
    for (size_t i = 0; i < k; i++)
        norm += s[i] * s[i];
    for (size_t i = 0; i < k; i++)
        s[i] /= f->factor * sqrt(norm);
    for (size_t i = 0; i < k * (k + 1); i++)
        squares[i] = unit * unit / (double)(k * m);
    for (size_t step = 0; step < steps; step++) {
        const NsTriple p = triple(f, step);
        const bool second = step > 0 && begins_pair(f, steps, step - 1, k, m);
        const double e = unit * (dtype != NS_BF16 ? fp32_error(p, s, k, m)
                                 : second         ? second_error(triple(f, step - 1), p, before, k)
                                                  : bf16_error(p, s, k));
        for (size_t i = 0; i < k; i++)
            for (size_t j = 0; j <= k; j++)
                squares[i * (k + 1) + j] =
                    pow(stretch(p, s[i], j < k ? s[j] : 0), 2) * squares[i * (k + 1) + j] + e * e / (double)(k * m);
        for (size_t i = 0; i < k; i++) {
            before[i] = s[i];
            s[i] = map(p, s[i]);
        }
    }
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j <= k; j++)
            total += squares[i * (k + 1) + j] * (double)(j < k ? 1 : m - k);
    free(squares);
    free(before);
    return 3 * sqrt(total);
}

static double iterate(const Flavour *f, size_t steps, double *s, size_t k, size_t m)
{
    return iterate_by(dtype == NS_BF16 ? H / sqrt(3) : U, f, steps, s, k, m);
}

/* --------------------------------------------------------------------------------------------------------------
 * Matrices
 */

/* Left and right singular vectors as rows: u (k,rows), v (k,cols), k = min(rows, cols). */
typedef struct Frame {
    size_t rows, cols, k;
    double *u, *v;
} Frame;

static Frame frame_make(size_t rows, size_t cols, uint64_t seed)
{
    const size_t k = rows < cols ? rows : cols;
    return (Frame){rows, cols, k, make_orthonormal(k, rows, seed), make_orthonormal(k, cols, seed + 1)};
}

static void frame_free(Frame *f)
{
    free(f->u);
    free(f->v);
}

/* to (rows,cols) = U diag(s) V^T */
static void compose(const Frame *f, const double *s, float *to)
{
    for (size_t i = 0; i < f->rows; i++) {
        for (size_t j = 0; j < f->cols; j++) {
            double sum = 0;
            for (size_t k = 0; k < f->k; k++)
                sum += s[k] * f->u[k * f->rows + i] * f->v[k * f->cols + j];
            to[i * f->cols + j] = (float)sum;
        }
    }
}

/* Singular values from 1 down to 1/100. */
static void spread(double *s, size_t k)
{
    for (size_t i = 0; i < k; i++)
        s[i] = pow(100, -(double)i / (double)(k > 1 ? k - 1 : 1));
}

static double distance(const float *x, const float *y, size_t n)
{
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
    return sqrt(squares);
}

static void orthogonalise(NsFlavour flavour, size_t steps, float *x, size_t rows, size_t cols, size_t batch)
{
    const bool bf16 = dtype == NS_BF16;
    const size_t n = batch * rows * cols;
    float *there = where_verbs_are(n);
    float *workspace =
        where_verbs_are(bf16 ? ns_workspace_bf16(rows, cols, batch) : ns_workspace(flavour, rows, cols, batch));
    verb_write(here(), n, there, x);
    if (bf16)
        ns_orthogonalise_bf16(here(), flavour, NS_FROBENIUS, steps, (Mats){there, rows, cols, batch}, workspace);
    else
        ns_orthogonalise(here(), flavour, NS_FROBENIUS, steps, (Mats){there, rows, cols, batch}, workspace);
    verb_read(here(), n, x, there);
    verb_free(here(), there);
    verb_free(here(), workspace);
}

/* Flavours that the running test is for: the exact factor is not computed in bf16. */
static int flavour_count(void) { return dtype == NS_BF16 ? NS_EXACT : NS_COUNT; }

/* --------------------------------------------------------------------------------------------------------------
 * Against the scalar map
 */

static void test_golden_diagonal(void)
{
    for (const Flavour *f = flavours; f < flavours + FLAVOURS; f++) {
        float x[6] = {3, 0, 0, 0, 4, 0};
        double s[2] = {3, 4};
        const double bound = iterate(f, f->steps, s, 2, 3) + 5e-8;
        check(ns_steps(f->id, 0) == f->steps, "%s takes %zu steps", ns_names[f->id], ns_steps(f->id, 0));
        orthogonalise(f->id, ns_steps(f->id, 0), x, 2, 3, 1);
        const float want[6] = {(float)f->golden[0], 0, 0, 0, (float)f->golden[1], 0};
        check_all_close(x, want, 6, bound, ns_names[f->id]);
    }
    if (dtype == NS_BF16)
        return;
    float x[6] = {3, 0, 0, 0, 4, 0};
    const float want[6] = {1, 0, 0, 0, 1, 0};
    orthogonalise(NS_EXACT, 0, x, 2, 3, 1);
    check_all_close(x, want, 6, U, "exact");
}

static void compare_with_map(const Flavour *f, size_t steps, const Frame *frame, void (*fill)(double *, size_t))
{
    const size_t n = frame->rows * frame->cols;
    double *s = make_doubles(frame->k);
    float *x = make_floats(n), *want = make_floats(n);
    fill(s, frame->k);
    compose(frame, s, x);
    const double bound = iterate(f, steps, s, frame->k, frame->rows + frame->cols - frame->k);
    compose(frame, s, want);
    orthogonalise(f->id, steps, x, frame->rows, frame->cols, 1);
    const double error = distance(x, want, n);
    check(error <= bound, "%s, %zu steps, %zu x %zu: off by %g, bound %g", ns_names[f->id], steps, frame->rows,
          frame->cols, error, bound);
    free(s);
    free(x);
    free(want);
}

static const size_t shapes[][2] = {{1, 1},   {1, 5},     {5, 1},     {2, 3},   {37, 53},  {53, 37},
                                   {64, 64}, {128, 128}, {200, 130}, {10, 37}, {40, 160}, {150, 40}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void test_scalar_map(void)
{
    for (size_t i = 0; i < SHAPES; i++) {
        Frame frame = frame_make(shapes[i][0], shapes[i][1], i);
        for (const Flavour *f = flavours; f < flavours + FLAVOURS; f++) {
            compare_with_map(f, f->steps, &frame, spread);
            compare_with_map(f, 1, &frame, spread);
            compare_with_map(f, 8, &frame, spread); /* past the list's end its last triple */
        }
        frame_free(&frame);
    }
}

/* Singular values down to 1e-6 of the largest, and eight large ones before many of 1e-4: their squares are below fp32's
 * rounding of a Gram matrix. */
static void fall(double *s, size_t k)
{
    for (size_t i = 0; i < k; i++)
        s[i] = pow(1e-6, (double)i / (double)k);
}

static void drop(double *s, size_t k)
{
    for (size_t i = 0; i < k; i++)
        s[i] = i < 8 ? 1 : 1e-4;
}

static void test_small_singular_values(void)
{
    Frame frame = frame_make(64, 256, 60);
    for (const Flavour *f = flavours; f < flavours + FLAVOURS; f++) {
        compare_with_map(f, f->steps, &frame, fall);
        compare_with_map(f, f->steps, &frame, drop);
    }
    frame_free(&frame);
}

/* --------------------------------------------------------------------------------------------------------------
 * The exact polar factor
 */

/* The rounding of G to fp32, U |G|, turns the factor by at most that over the smallest singular value. */
static void test_exact(void)
{
    for (size_t i = 0; i < SHAPES; i++) {
        Frame frame = frame_make(shapes[i][0], shapes[i][1], 20 + i);
        const size_t n = frame.rows * frame.cols;
        double *s = make_doubles(frame.k), nuclear = 0, product = 0;
        float *g = make_floats(n), *want = make_floats(n);
        spread(s, frame.k);
        compose(&frame, s, g);
        for (size_t k = 0; k < frame.k; k++) {
            nuclear += s[k];
            s[k] = 1;
        }
        compose(&frame, s, want);
        float *x = copy_floats(g, n);
        orthogonalise(NS_EXACT, 0, x, frame.rows, frame.cols, 1);
        const double bound = U * (norm_of(g, n) * 100 + sqrt((double)frame.k)), error = distance(x, want, n);
        check(error <= bound, "%zu x %zu: off by %g, bound %g", frame.rows, frame.cols, error, bound);
        for (size_t k = 0; k < n; k++)
            product += (double)g[k] * (double)x[k];
        check_close(product, nuclear, 2 * U * sqrt((double)frame.k) * norm_of(g, n), "<G, polar G> and sum of s");
        frame_free(&frame);
        free(s);
        free(g);
        free(want);
        free(x);
    }
}

/* By hand, of n x m in n^3 multiply-adds with r = m/n: an iteration on X takes r/2 for the Gram matrix, 1/2 for its
 * square, r for the product with X. One on the Gram matrix takes 1/2 for its square and three symmetric products, 3/2;
 * but the first after X was formed only the square, r/2 before it and r after the last. */
static void test_flops(void)
{
    static const struct {
        NsFlavour flavour;
        size_t steps, rows, cols;
        double n3; /* multiply-adds */
    } cases[] = {
        {NS_JORDAN, 5, 64, 64, 5 * 2},                             /* square: on X */
        {NS_JORDAN, 5, 64, 96, 5 * 2.75},                          /* and where halves alone would gain */
        {NS_JORDAN, 5, 64, 256, 2 * 6 + 5 * 0.5 + 3 * 1.5},        /* 3 + 2 iterations */
        {NS_JORDAN, 5, 192, 64, 2 * 4.5 + 5 * 0.5 + 3 * 1.5},      /* the transpose's, too */
        {NS_CUBIC, 15, 64, 256, 3 * 6 + 12 * 1.5},                 /* no square; 7 + 7 + 1 */
        {NS_POLAR_EXPRESS, 5, 64, 256, 3 * 6 + 5 * 0.5 + 2 * 1.5}, /* 2 + 2 + 1 */
        {NS_TRACK3, 12, 64, 256, 3 * 6 + 12 * 0.5 + 9 * 1.5},      /* 4 + 4 + 4 */
        {NS_JORDAN, 1, 64, 256, 6.5},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_close(ns_flops(cases[i].flavour, cases[i].steps, cases[i].rows, cases[i].cols) / (2 * 64. * 64 * 64),
                    cases[i].n3, 1e-12, "FLOPs");
}

/* Rank 0 < r < k: the factor is a partial isometry, U_r V_r^T, whose squared norm is the rank. */
static void test_exact_rank(void)
{
    static const size_t cases[][3] = {{6, 9, 1}, {9, 6, 3}, {53, 37, 20}, {64, 64, 63}};
    for (size_t i = 0; i < 4; i++) {
        Frame frame = frame_make(cases[i][0], cases[i][1], 40 + i);
        const size_t n = frame.rows * frame.cols, rank = cases[i][2];
        double *s = make_doubles(frame.k);
        float *x = make_floats(n), *want = make_floats(n);
        for (size_t k = 0; k < rank; k++)
            s[k] = 1 + (double)k;
        compose(&frame, s, x);
        const double bound = U * (norm_of(x, n) + sqrt((double)rank)); /* the smallest singular value is 1 */
        for (size_t k = 0; k < rank; k++)
            s[k] = 1;
        compose(&frame, s, want);
        orthogonalise(NS_EXACT, 0, x, frame.rows, frame.cols, 1);
        const double error = distance(x, want, n), norm = norm_of(x, n);
        check(error <= bound, "%zu x %zu of rank %zu: off by %g, bound %g", frame.rows, frame.cols, rank, error, bound);
        check_close(norm * norm, (double)rank, 2 * bound * sqrt((double)rank), "squared norm and rank");
        frame_free(&frame);
        free(s);
        free(x);
        free(want);
    }
}

/* --------------------------------------------------------------------------------------------------------------
 * Symmetries, for every flavour and the exact factor
 */

/* Two ways of rounding the same numbers, of norm at most 1, differ by twice the iteration's error. */
static double error_bound(NsFlavour id, size_t k, size_t m)
{
    if (id == NS_EXACT)
        return 2 * U * 100 * sqrt((double)k);
    double *s = make_doubles(k);
    spread(s, k);
    const double bound = 2 * iterate(&flavours[id], flavours[id].steps, s, k, m);
    free(s);
    return bound;
}

static float *spread_matrix(size_t rows, size_t cols, uint64_t seed)
{
    Frame frame = frame_make(rows, cols, seed);
    double *s = make_doubles(frame.k);
    float *x = make_floats(rows * cols);
    spread(s, frame.k);
    compose(&frame, s, x);
    frame_free(&frame);
    free(s);
    return x;
}

static float *transposed(const float *x, size_t rows, size_t cols)
{
    float *to = make_floats(rows * cols);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++)
            to[j * rows + i] = x[i * cols + j];
    return to;
}

static void test_symmetries(void)
{
    enum { R = 37, C = 53, N = R * C };
    for (int id = 0; id < flavour_count(); id++) {
        const NsFlavour flavour = (NsFlavour)id;
        const size_t steps = ns_steps(flavour, 0);
        const double bound = error_bound(flavour, R, C);
        float *g = spread_matrix(R, C, 60), *tall = transposed(g, R, C), *minus = copy_floats(g, N);
        float *x = copy_floats(g, N);
        for (size_t i = 0; i < N; i++)
            minus[i] = -g[i];
        orthogonalise(flavour, steps, x, R, C, 1);
        orthogonalise(flavour, steps, minus, R, C, 1);
        orthogonalise(flavour, steps, tall, C, R, 1);
        float *back = transposed(tall, C, R);
        check(distance(back, x, N) <= bound, "%s: the transpose is off by %g", ns_names[id], distance(back, x, N));
        for (size_t i = 0; i < N; i++)
            minus[i] = -minus[i];
        check(distance(minus, x, N) == 0, "%s is not odd, by %g", ns_names[id], distance(minus, x, N));
        free(g);
        free(tall);
        free(minus);
        free(x);
        free(back);
    }
}

/* NS(aG) = NS(G), to the bit when a is a power of two and no eps is met. */
static void test_scale_free(void)
{
    enum { R = 37, C = 53, N = R * C };
    static const double sizes[] = {1e-3, 1, 1e6, 1e18};
    for (int id = 0; id < flavour_count(); id++) {
        const NsFlavour flavour = (NsFlavour)id;
        const size_t steps = ns_steps(flavour, 0);
        const double bound = error_bound(flavour, R, C);
        float *g = spread_matrix(R, C, 61), *want = copy_floats(g, N);
        const double norm = norm_of(g, N);
        orthogonalise(flavour, steps, want, R, C, 1);
        for (size_t k = 0; k < 4; k++) {
            float *x = copy_floats(g, N), *power = copy_floats(g, N);
            for (size_t i = 0; i < N; i++) {
                x[i] = (float)((double)g[i] / norm * sizes[k]);
                power[i] = ldexpf(g[i], ilogb(sizes[k]));
            }
            orthogonalise(flavour, steps, x, R, C, 1);
            orthogonalise(flavour, steps, power, R, C, 1);
            check(distance(x, want, N) <= bound, "%s of norm %g: off by %g, bound %g", ns_names[id], sizes[k],
                  distance(x, want, N), bound);
            if (flavour != NS_EXACT)
                check_same_bits(power, want, N * sizeof *want, ns_names[id]);
            free(x);
            free(power);
        }
        free(g);
        free(want);
    }
}

/* A batch, with a zero matrix and one that is not a number in it, is each matrix alone, for 1, 2, 3 threads. */
static void test_batches(void)
{
    enum { BATCH = 5, ZERO = 2, BAD = 3 };
    static const size_t sizes[][2] = {{37, 53}, {53, 37}, {260, 20}, {1, 7}};
    const size_t before = threads_count();
    for (int id = 0; id < flavour_count(); id++) {
        for (size_t i = 0; i < 4; i++) {
            const size_t rows = sizes[i][0], cols = sizes[i][1], n = rows * cols, steps = ns_steps((NsFlavour)id, 0);
            float *g = make_floats(BATCH * n);
            fill_normal(g, BATCH * n, 1, 62);
            memset(g + ZERO * n, 0, n * sizeof *g);
            g[BAD * n + n / 2] = NAN;
            float *alone = copy_floats(g, BATCH * n);
            threads_set(1);
            for (size_t b = 0; b < BATCH; b++)
                orthogonalise((NsFlavour)id, steps, alone + b * n, rows, cols, 1);
            for (size_t threads = 1; threads <= 3; threads++) {
                float *x = copy_floats(g, BATCH * n);
                threads_set(threads);
                orthogonalise((NsFlavour)id, steps, x, rows, cols, BATCH);
                for (size_t b = 0; b < BATCH; b++)
                    if (b != BAD)
                        check_same_bits(x + b * n, alone + b * n, n * sizeof *x, ns_names[id]);
                check(norm_of(x + ZERO * n, n) == 0, "%s: a zero matrix becomes another", ns_names[id]);
                free(x);
            }
            free(g);
            free(alone);
        }
    }
    threads_set(before);
}

/* One number that is none makes the whole matrix so, on both sides of order 25, where LAPACK changes its method. */
static void test_not_a_number(void)
{
    static const size_t sizes[][2] = {{1, 3}, {2, 2}, {5, 4}, {37, 53}, {64, 30}};
    static const float bad[] = {NAN, INFINITY};
    for (size_t i = 0; i < (size_t)flavour_count() * 5 * 2; i++) {
        const size_t id = i / 10, rows = sizes[i / 2 % 5][0], cols = sizes[i / 2 % 5][1];
        float *x = make_floats(rows * cols);
        fill_normal(x, rows * cols, 1, 63);
        x[rows * cols / 2] = bad[i % 2];
        orthogonalise((NsFlavour)id, ns_steps((NsFlavour)id, 0), x, rows, cols, 1);
        size_t hidden = 0;
        for (size_t k = 0; k < rows * cols; k++)
            hidden += isnan(x[k]) ? 0 : 1;
        check(hidden == 0, "%s, %zu x %zu: %zu numbers hide a gradient of %g", ns_names[id], rows, cols, hidden,
              (double)bad[i % 2]);
        free(x);
    }
}

/* --------------------------------------------------------------------------------------------------------------
 * bf16, step by step
 */

/* to (rows,cols) = a x + alpha p q with p (rows,inner), each element rounded to bf16; x may be NULL. */
static void rounded_product(double *to, double a, const double *x, double alpha, const double *p, const double *q,
                            bool transpose_q, size_t rows, size_t inner, size_t cols)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++) {
            double sum = 0;
            for (size_t l = 0; l < inner; l++)
                sum += p[i * inner + l] * q[transpose_q ? j * inner + l : l * cols + j];
            to[i * cols + j] = (double)bf16_element((float)(alpha * sum + (x != NULL ? a * x[i * cols + j] : 0)));
        }
}

/* What is in double of a wide matrix (r,c), rounded to bf16 where newton_schulz.h says. */
typedef struct Rounded {
    size_t r, c;
    double *x, *next, *gram, *polynomial, *third;
} Rounded;

static void rounded_one(Rounded *n, NsTriple p)
{
    const size_t r = n->r, c = n->c;
    rounded_product(n->gram, 0, NULL, 1, n->x, n->x, true, r, c, r);
    if (p.c != 0)
        rounded_product(n->polynomial, p.b, n->gram, p.c, n->gram, n->gram, false, r, r, r);
    rounded_product(n->next, p.a, n->x, p.c != 0 ? 1 : p.b, p.c != 0 ? n->polynomial : n->gram, n->x, false, r, r, c);
}

static void rounded_pair(Rounded *n, NsTriple p, NsTriple q)
{
    const size_t r = n->r, c = n->c;
    rounded_product(n->gram, 0, NULL, 1, n->x, n->x, true, r, c, r);
    rounded_product(n->polynomial, p.b, n->gram, p.c, n->gram, n->gram, false, r, r, r);
    rounded_product(n->third, p.a, n->gram, 1, n->gram, n->polynomial, false, r, r, r);
    rounded_product(n->gram, p.a, n->third, 1, n->polynomial, n->third, false, r, r, r);
    for (size_t i = 0; i < r; i++)
        n->polynomial[i * (r + 1)] = (double)bf16_element((float)(n->polynomial[i * (r + 1)] + p.a));
    rounded_product(n->third, q.b, n->gram, q.c, n->gram, n->gram, false, r, r, r);
    rounded_product(n->gram, q.a, n->polynomial, 1, n->third, n->polynomial, false, r, r, r);
    rounded_product(n->next, 0, NULL, 1, n->gram, n->x, false, r, r, c);
}

static void rounded_iteration(const Flavour *f, float *g, size_t r, size_t c)
{
    Rounded n = {
        r, c, make_doubles(r * c), make_doubles(r * c), make_doubles(r * r), make_doubles(r * r), make_doubles(r * r)};
    const double length = f->factor * (double)(float)norm_of(g, r * c);
    for (size_t i = 0; i < r * c; i++)
        n.x[i] = (double)bf16_element((float)(1 / length) * g[i]);
    for (size_t step = 0; step < f->steps; step++) {
        if (begins_pair(f, f->steps, step, r, c)) {
            rounded_pair(&n, triple(f, step), triple(f, step + 1));
            step++;
        } else {
            rounded_one(&n, triple(f, step));
        }
        memcpy(n.x, n.next, r * c * sizeof *n.x);
    }
    for (size_t i = 0; i < r * c; i++)
        g[i] = (float)n.x[i];
    free(n.x);
    free(n.next);
    free(n.gram);
    free(n.polynomial);
    free(n.third);
}

/*
 * Against the same roundings of sums in double. An fp32 sum of m terms, whose additions may cut off what is below, is
 * off by up to m U of its scale, and so m U / H of the elements round to the neighbour, 2 H away: in the mean of
 * squares a rounding of unit 2 H sqrt(m U / H). A rounding too many, too few or of something else is 4 to 10 times
 * that.
 */
static void test_bf16_steps(void)
{
    static const size_t sizes[][2] = {{5, 9}, {20, 31}, {37, 53}, {64, 64}, {5, 13}, {20, 80}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const size_t r = sizes[i][0], c = sizes[i][1];
        Frame frame = frame_make(r, c, 80 + i);
        float *g = make_floats(r * c);
        double *s = make_doubles(r);
        for (const Flavour *f = flavours; f < flavours + FLAVOURS; f++) {
            spread(s, r);
            compose(&frame, s, g);
            float *want = copy_floats(g, r * c);
            rounded_iteration(f, want, r, c);
            orthogonalise(f->id, f->steps, g, r, c, 1);
            const double bound = iterate_by(2 * H * sqrt((double)c * U / H), f, f->steps, s, r, c);
            const double error = distance(g, want, r * c);
            check(error <= bound, "%s, %zu x %zu: off by %g, bound %g", ns_names[f->id], r, c, error, bound);
            free(want);
        }
        frame_free(&frame);
        free(g);
        free(s);
    }
}

/* bf16 rounds to nearest, ties to even, and keeps NaN and Inf. */
static void test_bf16_element(void)
{
    static const float cases[][2] = {{1, 1},
                                     {1 + 0x1p-8f, 1},
                                     {1 + 0x1.8p-7f, 1 + 0x1p-6f},
                                     {1 + 0x1.02p-8f, 1 + 0x1p-7f},
                                     {-1 - 0x1.02p-8f, -1 - 0x1p-7f},
                                     {3.4e38f, INFINITY},
                                     {0x1p-133f, 0x1p-133f},
                                     {-INFINITY, -INFINITY}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check(bf16_element(cases[i][0]) == cases[i][1], "%a becomes %a, not %a", (double)cases[i][0],
              (double)bf16_element(cases[i][0]), (double)cases[i][1]);
    check(isnan(bf16_element(NAN)), "a NaN becomes a number");
}

/* Numbers come back from bf16 correctly rounded, for every length and every offset from an aligned address. */
static void test_bf16_conversion(void)
{
    enum { ROWS = 3, MOST = 41 };
    for (size_t cols = 1; cols <= MOST; cols += 4) {
        for (size_t skew = 0; skew < 4; skew++) {
            const size_t n = 2 * ROWS * cols;
            float *host = make_floats(n), *got = make_floats(n);
            fill_normal(host, n, 3, 70 + cols);
            host[n / 2] = NAN;
            float *x = where_verbs_are(n + 3), *half = where_verbs_are(verb_bf16_floats(n));
            float *norms = where_verbs_are(2);
            const float factors[2] = {0.5f, 0};
            const Mats mats = {x + skew, ROWS, cols, 2};
            const Bf16s halves = {half, ROWS, cols, 2};
            verb_write(here(), n, mats.data, host);
            verb_write(here(), 2, norms, factors);
            verb_to_bf16(here(), mats, norms, 0.5, 2, halves); /* both below the floor */
            verb_from_bf16(here(), halves, mats);
            verb_read(here(), n, got, mats.data);
            for (size_t i = 0; i < n; i++) {
                const float want = bf16_element(0.5f * host[i]);
                check(isnan(want) ? isnan(got[i]) : got[i] == want, "%zu columns, skew %zu: [%zu] is %g, not %g", cols,
                      skew, i, (double)got[i], (double)want);
            }
            verb_free(here(), x);
            verb_free(here(), half);
            verb_free(here(), norms);
            free(host);
            free(got);
        }
    }
}

/* More matrices than the verbs have scalars for at a time, each divided by its own norm or by the floor. */
static void test_bf16_norms(void)
{
    enum { MATRICES = 1100, N = 6, ALL = MATRICES * N };
    float *host = make_floats(ALL), *norms = make_floats(MATRICES);
    float *x = where_verbs_are(ALL), *half = where_verbs_are(verb_bf16_floats(ALL)), *there = where_verbs_are(MATRICES);
    fill_normal(host, ALL, 3, 80);
    for (size_t b = 0; b < MATRICES; b++)
        norms[b] = (float)b / 64;
    verb_write(here(), ALL, x, host);
    verb_write(here(), MATRICES, there, norms);
    verb_to_bf16(here(), (Mats){x, 2, 3, MATRICES}, there, 1.02, 1, (Bf16s){half, 2, 3, MATRICES});
    verb_from_bf16(here(), (Bf16s){half, 2, 3, MATRICES}, (Mats){x, 2, 3, MATRICES});
    float *got = make_floats(ALL);
    verb_read(here(), ALL, got, x);
    for (size_t i = 0; i < ALL; i++) {
        const float scale = (float)(1 / fmax(1.02 * (double)norms[i / N], 1));
        check(got[i] == bf16_element(scale * host[i]), "element %zu of matrix %zu is %g", i % N, i / N, (double)got[i]);
    }
    verb_free(here(), x);
    verb_free(here(), half);
    verb_free(here(), there);
    free(host);
    free(norms);
    free(got);
}

/* An update by elements of bf16 from anywhere on is the one by the same numbers in fp32, to the bit. */
static void test_bf16_update(void)
{
    enum { ALL = 60 };
    const Decay decay = {0.9f, 0.75f};
    float *host = make_floats(ALL), *want = make_floats(ALL), *got = make_floats(ALL);
    float *u = where_verbs_are(ALL), *half = where_verbs_are(verb_bf16_floats(ALL));
    float *p = where_verbs_are(ALL), *q = where_verbs_are(ALL);
    const Bf16s halves = {half, 1, ALL, 1};
    fill_normal(host, ALL, 1, 81);
    verb_write(here(), ALL, u, host);
    verb_to_bf16(here(), (Mats){u, 1, ALL, 1}, NULL, 1, 0, halves);
    verb_from_bf16(here(), halves, (Mats){u, 1, ALL, 1});
    fill_normal(host, ALL, 1, 82);
    for (size_t first = 0; first <= 16; first++)
        for (size_t n = 1; first + n <= ALL; n += 3) {
            verb_write(here(), ALL, p, host);
            verb_write(here(), ALL, q, host);
            verb_update(here(), n, p + first % 8, u + first, decay, 0.3);
            verb_update_bf16(here(), n, q + first % 8, halves, first, decay, 0.3);
            verb_read(here(), ALL, want, p);
            verb_read(here(), ALL, got, q);
            check_same_bits(got, want, ALL * sizeof *got, "an update by bf16");
        }
    verb_free(here(), u);
    verb_free(here(), half);
    verb_free(here(), p);
    verb_free(here(), q);
    free(host);
    free(want);
    free(got);
}

static double resolved_dtype(const Optim *optim)
{
    const OptimGroupInfo info = optim_group_info(optim, 0);
    return hyper(&info.hyper, HYPER_NS_DTYPE);
}

/* The option does something, and the exact factor refuses it. */
static void test_bf16_option(void)
{
    float *results[2];
    Error e;
    for (size_t i = 0; i < 2; i++) {
        Params p = {0};
        params_add(&p, "w", ROLE_HIDDEN_MATRIX, 12, 20, 1);
        params_fill(&p, 1);
        const size_t n = p.floats;
        float *values = where_verbs_are(n), *grads = where_verbs_are(n);
        verb_write(here(), n, values, p.values);
        verb_write(here(), n, grads, p.grads);
        OptimConfig config = {.rule = "muon"};
        hyper_set(&config.hyper, HYPER_NS_DTYPE, i == 0 ? NS_FP32 : NS_BF16);
        Optim *optim;
        if (check(optim_create(&config, p.tensors, 1, &(Arenas){.params = values, .grads = grads}, &optim, &e) == 0,
                  "%s", e.text))
            optim_step(optim, 1);
        results[i] = make_floats(n);
        verb_read(here(), n, results[i], values);
        optim_free(optim);
        verb_free(here(), values);
        verb_free(here(), grads);
        params_free(&p);
    }
    const double apart = distance(results[0], results[1], 12 * 20);
    check(apart > 1e-6 && apart < 0.02, "fp32 and bf16 are %g apart", apart); /* steps of rate 0.02, |O| about 3.5 */
    free(results[0]);
    free(results[1]);
    Params p = {0};
    params_add(&p, "w", ROLE_HIDDEN_MATRIX, 2, 2, 1);
    Optim *optim;
    OptimConfig config = {.rule = "muon", .hyper.at = {HYPER_AT(NS, NS_EXACT)}};
    check(optim_create(&config, p.tensors, 1, NULL, &optim, &e) == 0, "%s", e.text);
    check(resolved_dtype(optim) == NS_FP32, "the exact factor is not in fp32");
    optim_free(optim);
    hyper_set(&config.hyper, HYPER_NS_DTYPE, NS_BF16);
    e.text[0] = '\0';
    check(optim_create(&config, p.tensors, 1, NULL, &optim, &e) != 0 && strstr(e.text, "--ns-dtype bf16") != NULL,
          "--ns exact --ns-dtype bf16: %s", e.text);
    config = (OptimConfig){.rule = "muon"};
    check(optim_create(&config, p.tensors, 1, NULL, &optim, &e) == 0, "%s", e.text);
    check(resolved_dtype(optim) == (verb_prefers_bf16() ? NS_BF16 : NS_FP32), "auto is not what is faster here");
    optim_free(optim);
}

/* A step in bf16 moves each matrix of a batch by its own factor, wherever it lies. */
static void test_bf16_matrices(void)
{
    enum { R = 6, C = 15 };
    Params p = {0};
    Error e;
    params_add(&p, "a", ROLE_HIDDEN_MATRIX, R, C, 1);
    params_add(&p, "between", ROLE_BIAS, 1, 7, 1);
    params_add(&p, "b", ROLE_HIDDEN_MATRIX, R, C, 1);
    params_add(&p, "c", ROLE_HIDDEN_MATRIX, R, C, 1);
    params_fill(&p, 2);
    float *values = where_verbs_are(p.floats), *grads = where_verbs_are(p.floats), *got = make_floats(p.floats);
    verb_write(here(), p.floats, values, p.values);
    verb_write(here(), p.floats, grads, p.grads);
    const OptimConfig config = {
        .rule = "spectral", .hyper.at = {HYPER_AT(NS_DTYPE, NS_BF16), HYPER_AT(LR, 0.1), HYPER_AT(WEIGHT_DECAY, 0.5)}};
    Optim *optim;
    if (check(optim_create(&config, p.tensors, p.count, &(Arenas){.params = values, .grads = grads}, &optim, &e) == 0,
              "%s", e.text))
        optim_step(optim, 1);
    verb_read(here(), p.floats, got, values);
    for (const Tensor *t = p.tensors; t < p.tensors + p.count; t++) {
        if (t->role != ROLE_HIDDEN_MATRIX)
            continue;
        orthogonalise(NS_JORDAN, 5, p.grads + t->offset, t->rows, t->cols, 1);
        for (size_t i = t->offset; i < t->offset + t->rows * t->cols; i++) {
            const double want = 0.95 * (double)p.values[i] - 0.1 * (double)p.grads[i];
            check_close((double)got[i], want, 4 * U * (fabs((double)p.values[i]) + 0.1), t->name);
        }
    }
    optim_free(optim);
    verb_free(here(), values);
    verb_free(here(), grads);
    free(got);
    params_free(&p);
}

/* Elements whose products would be below FLT_MIN, which a CPU is slow at, are zeros; a GPU, which holds bf16 numbers two to
 * a float, keeps them. */
static void test_tiny_elements(void)
{
    static const size_t sizes[] = {17, 192}; /* the second by all threads together */
    const bool keeps = verb_bf16_floats(64) < 64;
    for (size_t s = 0; s < 2; s++) {
        const size_t n = sizes[s];
        float *host = make_floats(n * n), *x = where_verbs_are(n * n), *product = where_verbs_are(n * n);
        for (size_t i = 0; i < n * n; i++)
            host[i] = i % (n + 1) == 0 ? 1 : i % 3 == 0 ? 1e-25f : 1e-12f;
        verb_write(here(), n * n, x, host);
        verb_commuting_product(here(), (Mats){x, n, n, 1}, (Mats){x, n, n, 1}, (Mats){product, n, n, 1});
        verb_read(here(), n * n, host, product);
        for (size_t i = 0; i < n; i++) {
            for (size_t j = 0; j < i; j++) { /* x is not symmetric; the lower triangle counts */
                const double got = (double)host[i * n + j], want = (i * n + j) % 3 == 0 ? 2e-25 : 2e-12;
                check(want > 1e-20 ? fabs(got / want - 1) < 1e-6 : keeps || got == 0, "%zu: %zu,%zu is %g", n, i, j,
                      got);
            }
        }
        free(host);
        verb_free(here(), x);
        verb_free(here(), product);
    }
}

int main(void)
{
    threads_set(1); /* so small, others would only wait */
    for (dtype = NS_FP32; dtype <= NS_BF16; dtype++) {
        const bool bf16 = dtype == NS_BF16;
        check_run(bf16 ? "golden diagonal, bf16" : "golden diagonal", test_golden_diagonal);
        check_run(bf16 ? "singular values follow the scalar map, bf16" : "singular values follow the scalar map",
                  test_scalar_map);
        check_run(bf16 ? "odd, and the transpose's transpose, bf16" : "odd, and the transpose's transpose",
                  test_symmetries);
        check_run(bf16 ? "free of scale, bf16" : "free of scale", test_scale_free);
        check_run(bf16 ? "batches, zeros, threads, bf16" : "batches, zeros, threads", test_batches);
        check_run(bf16 ? "NaN and Inf stay visible, bf16" : "NaN and Inf stay visible", test_not_a_number);
    }
    dtype = NS_FP32;
    check_run("small singular values, in fp32", test_small_singular_values);
    check_run("tiny elements of products", test_tiny_elements);
    check_run("FLOPs", test_flops);
    check_run("the exact polar factor", test_exact);
    check_run("the exact factor of low rank", test_exact_rank);
    check_run("rounding to bf16", test_bf16_element);
    check_run("to bf16 and back", test_bf16_conversion);
    check_run("to bf16, by each matrix's norm", test_bf16_norms);
    check_run("an update by bf16", test_bf16_update);
    dtype = NS_BF16;
    check_run("bf16, rounding by rounding", test_bf16_steps);
    check_run("--ns-dtype", test_bf16_option);
    check_run("a step of several matrices in bf16", test_bf16_matrices);
    return check_summary();
}
