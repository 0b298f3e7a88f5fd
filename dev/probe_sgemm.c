/* The Makefile runs this once to learn which is to multiply, "openblas" or "builtin", each in one thread on this CPU:
 * the three kinds of products of a training step, as tiles of two sizes, each by its fastest of several interleaved
 * rounds, for other programs may be running. OpenBLAS has to be clearly faster, for the built-in also shares what it
 * packs among threads, skips half of symmetric products and does small ones without overhead. Then OpenBLAS's speed as
 * a multiple of the built-in's. */
#include "base/sgemm.h"

#include <cblas.h>
#include <stdio.h>
#include <time.h>

enum { MOST = 768, ROUNDS = 6, OURS = 0, OPENBLAS = 1 };

static const double CLEARLY = 1.1;
static float a[MOST * MOST], b[MOST * MOST], c[MOST * MOST];

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void multiply(const Matmul *p, int way)
{
    if (way == OURS)
        sgemm_builtin(p, false);
    else
        cblas_sgemm(CblasRowMajor, p->trans_a ? CblasTrans : CblasNoTrans, p->trans_b ? CblasTrans : CblasNoTrans,
                    (int)p->m, (int)p->n, (int)p->k, p->alpha, p->a, (int)p->lda, p->b, (int)p->ldb, p->beta, p->c,
                    (int)p->ldc);
}

int main(void)
{
    static const size_t side[] = {128, 512}, depth[] = {384, 768};
    static const int times[] = {32, 1};
    static const bool transposed[][2] = {{false, true}, {false, false}, {true, false}}; /* forward, dX, dW */
    double total[2] = {0, 0};
    for (size_t i = 0; i < MOST * MOST; i++)
        a[i] = b[i] = (float)(i % 7) - 3;
    openblas_set_num_threads(1);
    for (int size = 0; size < 2; size++)
        for (int form = 0; form < 3; form++) {
            const size_t n = side[size], k = depth[size];
            const bool ta = transposed[form][0], tb = transposed[form][1];
            const Matmul p = {.m = n,
                              .n = n,
                              .k = k,
                              .trans_a = ta,
                              .trans_b = tb,
                              .alpha = 1,
                              .a = a,
                              .b = b,
                              .c = c,
                              .lda = ta ? n : k,
                              .ldb = tb ? k : n,
                              .ldc = n};
            double best[2] = {1e9, 1e9};
            for (int round = 0; round < ROUNDS; round++)
                for (int way = 0; way < 2; way++) {
                    const double begin = seconds();
                    for (int i = 0; i < times[size]; i++)
                        multiply(&p, way);
                    const double took = seconds() - begin;
                    if (took < best[way])
                        best[way] = took;
                }
            total[OURS] += best[OURS];
            total[OPENBLAS] += best[OPENBLAS];
        }
    const double speed = total[OURS] / total[OPENBLAS];
    printf("%s %.2f\n", speed > CLEARLY ? "openblas" : "builtin", speed);
    return 0;
}
