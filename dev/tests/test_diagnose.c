/* The instruments: spectra that are known, and what a step did. */
#include "dev/tests/check.h"
#include "dev/tests/fixtures.h"
#include "train/diagnose.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SET(id, x) HYPER_AT(id, x)

static const double U = 0x1p-24; /* rounding to fp32 */

static Diagnosis *make_diagnosis(const Optim *optim, const Params *p)
{
    Diagnosis *d = NULL;
    Error e;
    if (diagnose_create(optim, p->tensors, p->count, &(Arenas){.params = p->values, .grads = p->grads}, &d, &e) != 0) {
        printf("diagnose_create: %s\n", e.text);
        exit(1);
    }
    return d;
}

/* Gradient descent of rate 1: the update is the gradient. Rounding the matrix to fp32 moves singular values by at most
 * its norm: U sqrt(rows cols) s[0]; the subtraction of the weights likewise, whose elements are below 2. */
static void test_spectra(void)
{
    static const size_t shapes[][2] = {{6, 11}, {11, 6}, {7, 7}, {1, 5}};
    static const double s[] = {4, 2, 1, .5, .25, .125, .0625};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const size_t rows = shapes[i][0], cols = shapes[i][1], k = rows < cols ? rows : cols;
        Params p = {0};
        params_add(&p, "bias", ROLE_BIAS, 1, 3, 1);
        params_add(&p, "w", ROLE_HIDDEN_MATRIX, rows, cols, 1);
        params_fill(&p, 1);
        float *grad = p.grads + p.tensors[1].offset;
        float *prescribed = make_matrix_of(s, k, rows, cols, 10 + i);
        memcpy(grad, prescribed, rows * cols * sizeof *grad);
        free(prescribed);
        Optim *optim = make_optim(&(OptimConfig){.rule = "sgd", .hyper.at = {SET(LR, 1), SET(MOMENTUM, 0)}}, &p);
        Diagnosis *d = make_diagnosis(optim, &p);
        diagnose_before(d);
        optim_step(optim, 1);
        diagnose_after(d);
        check(diagnose_count(d) == 1, "%zu matrices", diagnose_count(d));
        const MatrixReport *r = diagnose_report(d, 0);
        const double bound = U * sqrt((double)(rows * cols)) * 8;
        double squares = 0, off = 0;
        check(r->momentum.k == 0 && r->gradient.k == k, "%zu and %zu values", r->momentum.k, r->gradient.k);
        for (size_t j = 0; j < k; j++) {
            check_close(r->gradient.s[j], s[j], bound, "singular value of the gradient");
            check_close(r->update.s[j], s[j], 2 * bound, "singular value of the update");
            squares += s[j] * s[j];
        }
        for (size_t j = 0; j < k; j++)
            off += pow(s[j] * s[j] * (double)k / squares - 1, 2);
        check_close(r->gradient.norm, sqrt(squares), bound, "norm");
        check_close(r->gradient.stable_rank, squares / 16, bound * squares, "stable rank");
        check_close(r->update_rms, sqrt(squares / (double)(rows * cols)), bound, "RMS");
        check_close(r->update_ratio * r->weight.norm, sqrt(squares), 2 * bound, "ratio");
        check_close(r->cosine, 1, bound, "cosine");
        check_close(r->deviation, sqrt(off / (double)k), 8 * bound * (double)k, "deviation");
        diagnose_free(d);
        optim_free(optim);
        params_free(&p);
    }
}

/* Muon with the exact factor: an orthogonal update of known size, its momentum, and a fused QKV as three matrices
 * whatever the rule takes it for. */
static void test_muon(void)
{
    for (int split = 0; split < 2; split++) {
        Params p = {0};
        params_add(&p, "qkv", ROLE_HIDDEN_MATRIX, 24, 8, 3);
        params_fill(&p, 2);
        memset(p.values, 0, p.floats * sizeof *p.values);
        const OptimConfig config = {
            .rule = "muon",
            .hyper.at = {SET(LR, .5), SET(NS, 6), SET(MUON_SCALE, 0), SET(SPLIT_QKV, split), SET(NESTEROV, 0)}};
        Optim *optim = make_optim(&config, &p);
        Diagnosis *d = make_diagnosis(optim, &p);
        diagnose_before(d);
        optim_step(optim, 1);
        diagnose_after(d);
        check(diagnose_count(d) == 3, "%zu matrices of a fused QKV", diagnose_count(d));
        for (size_t b = 0; b < 3; b++) {
            const MatrixReport *r = diagnose_report(d, b);
            check(r->block == b && r->rows == 8 && r->cols == 8, "block %zu is %zu x %zu", r->block, r->rows, r->cols);
            check_close(r->momentum.norm, .05 * r->gradient.norm, 4 * U * r->gradient.norm, "first momentum");
            if (split == 1)
                check_close(r->update.s[7], .5, 32 * U, "least singular value of an orthogonal update");
            check(split == 0 ? r->deviation > .1 : r->deviation < 64 * U, "deviation %g", r->deviation);
            check(r->cosine > .5 && r->cosine < 1, "cosine %g", r->cosine);
        }
        diagnose_free(d);
        optim_free(optim);
        params_free(&p);
    }
}

/* A zero update has no direction; NaN is written as null. */
static void test_degenerate(void)
{
    Params p = {0};
    char *text = NULL;
    size_t size;
    params_add(&p, "w", ROLE_HIDDEN_MATRIX, 4, 5, 1);
    params_fill(&p, 3);
    memset(p.grads, 0, p.floats * sizeof *p.grads);
    Optim *optim = make_optim(&(OptimConfig){.rule = "muon", .hyper.at = {SET(WEIGHT_DECAY, 0)}}, &p);
    Diagnosis *d = make_diagnosis(optim, &p);
    diagnose_before(d);
    optim_begin(optim, .25, .25);
    optim_step(optim, 1);
    diagnose_after(d);
    const MatrixReport *r = diagnose_report(d, 0);
    check(r->update.norm == 0 && r->cosine == 0 && r->deviation == 0 && r->gradient.stable_rank == 0, "a zero update");
    p.grads[7] = NAN;
    diagnose_after(d);
    FILE *to = open_memstream(&text, &size);
    diagnose_write(d, 5, to);
    fclose(to);
    check(strstr(text, "{\"step\": 5, \"rule\": \"muon\", \"lr\": 0.005") == text, "the line begins %.40s", text);
    check(strstr(text, "\"gradient\": {\"norm\": null") != NULL && strstr(text, "nan") == NULL, "NaN in %s", text);
    free(text);
    diagnose_free(d);
    optim_free(optim);
    params_free(&p);
}

int main(void)
{
    check_run("spectra of prescribed matrices", test_spectra);
    check_run("an orthogonal update, by block", test_muon);
    check_run("zero and NaN", test_degenerate);
    return check_summary();
}
