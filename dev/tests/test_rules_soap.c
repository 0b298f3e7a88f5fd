/* SOAP and its relatives: bases, factors, scales. */
#include "base/threads.h"
#include "dev/tests/rules.h"
#include "optim/rules/muon.h"
#include "optim/rules/newton_schulz.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --------------------------------------------------------------------------------------------------------------
 * Bases
 */

static const char *const soaps[] = {"soap", "soap-muon", "soap-h", "kl-soap"};

/* Elements of Q^T Q - I. Q is orthonormal in double; rounding each element to fp32 leaves 2 U. */
static void check_orthonormal(const OptimState *basis, const char *what)
{
    const size_t n = basis->rows;
    double *q = doubles_of(basis->data, n * n), *gram = make_doubles(n * n);
    product(gram, q, true, q, false, n, n, n);
    for (size_t i = 0; i < n * n; i++)
        check_close(gram[i], i % (n + 1) == 0, 3 * U, what);
    free(q);
    free(gram);
}

static void test_bases_orthonormal(void)
{
    for (size_t i = 0; i < COUNT(soaps) * COUNT(shapes); i++) {
        const size_t r = shapes[i % COUNT(shapes)][0], c = shapes[i % COUNT(shapes)][1];
        const char *rule = soaps[i / COUNT(shapes)];
        Run run;
        run_begin(&run, &(OptimConfig){.rule = rule, .hyper.at = {SET(REFRESH, 2)}}, r, c, 22);
        for (size_t t = 0; t < 20; t++) {
            run_random_step(&run, 1, 190 + t);
            const OptimState left = state_of(run.optim, "left_basis"), right = state_of(run.optim, "right_basis");
            check_orthonormal(&left, rule);
            check_orthonormal(&right, rule);
        }
        run_end(&run);
    }
}

/* After the first step Q^T L Q is diagonal and descends: rounding Q to fp32 leaves 2 U sqrt(n) of the largest. */
static void check_diagonal(const OptimState *factor, const OptimState *basis, const char *what)
{
    const size_t n = basis->rows;
    double *q = doubles_of(basis->data, n * n), *l = doubles_of(factor->data, n * n);
    double *lq = make_doubles(n * n), *d = make_doubles(n * n);
    product(lq, l, false, q, false, n, n, n);
    product(d, q, true, lq, false, n, n, n);
    const double bound = 3 * U * sqrt((double)n) * d[0];
    for (size_t i = 0; i < n * n; i++)
        check(i % (n + 1) == 0 || fabs(d[i]) <= bound, "%s: Q^T L Q has %g beside its diagonal", what, d[i]);
    for (size_t i = 1; i < n; i++)
        check(d[i * n + i] <= d[(i - 1) * n + i - 1] + bound, "%s: eigenvalues do not descend", what);
    check(d[0] > 0, "%s: no factor", what);
    free(q);
    free(l);
    free(lq);
    free(d);
}

static void test_first_bases(void)
{
    for (size_t i = 0; i < COUNT(soaps) * COUNT(shapes); i++) {
        const size_t r = shapes[i % COUNT(shapes)][0], c = shapes[i % COUNT(shapes)][1];
        const char *rule = soaps[i / COUNT(shapes)];
        Run run;
        run_begin(&run, &(OptimConfig){.rule = rule, .hyper.at = {SET(REFRESH, 2)}}, r, c, 23);
        float *before = copy_floats(run.p.values, r * c);
        run_step(&run, 1);
        const OptimState left = state_of(run.optim, "left"), right = state_of(run.optim, "right");
        const OptimState left_basis = state_of(run.optim, "left_basis"),
                         right_basis = state_of(run.optim, "right_basis");
        check_diagonal(&left, &left_basis, rule);
        check_diagonal(&right, &right_basis, rule);
        const bool moved = memcmp(before, run.p.values, r * c * sizeof(float)) != 0;
        check(moved == (strcmp(rule, "soap-muon") == 0 || strcmp(rule, "soap-h") == 0),
              "%s in its first step: moved %d", rule, moved);
        free(before);
        run_end(&run);
    }
}

/* Places of n numbers by descending value. */
static void order_of(const double *values, size_t n, size_t *order)
{
    for (size_t i = 0; i < n; i++) {
        size_t rank = 0;
        for (size_t j = 0; j < n; j++)
            rank += values[j] > values[i] || (values[j] == values[i] && j < i);
        order[rank] = i;
    }
}

/* Q_new^T L Q_old is R: upper triangular, its diagonal not negative. For soap and soap-muon Q_old's columns are sorted
 * by Q^T L Q. The product L Q is wrong by n U of the largest eigenvalue in fp32, Q_new's elements by U. */
static void check_refreshed(const char *rule, const OptimState *factor, const float *old_basis, const OptimState *basis)
{
    enum { MOST = 12 };
    const size_t n = basis->rows;
    double *q = doubles_of(basis->data, n * n), *old = doubles_of(old_basis, n * n),
           *l = doubles_of(factor->data, n * n);
    double *lq = make_doubles(n * n), *upper = make_doubles(n * n), values[MOST], trace = 0;
    size_t order[MOST];
    const bool sorts = strcmp(rule, "soap") == 0 || strcmp(rule, "soap-muon") == 0;
    product(lq, l, false, old, false, n, n, n);
    product(upper, old, true, lq, false, n, n, n);
    for (size_t i = 0; i < n; i++) {
        values[i] = sorts ? upper[i * n + i] : -(double)i;
        trace += l[i * n + i];
    }
    order_of(values, n, order);
    product(upper, q, true, lq, false, n, n, n);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            check(fabs(upper[i * n + order[j]]) <= 2 * (double)n * U * trace, "%s: R has %g below its diagonal", rule,
                  upper[i * n + order[j]]);
    for (size_t i = 0; i < n; i++)
        check(upper[i * n + order[i]] >= -2 * (double)n * U * trace, "%s: R's diagonal has %g", rule,
              upper[i * n + order[i]]);
    free(q);
    free(old);
    free(l);
    free(lq);
    free(upper);
}

/* Steps, counted from 0, after which bases are renewed: every second call after the first; soap-h counts all
 * calls. */
static bool refreshes(const char *rule, size_t t)
{
    const bool counts_all = strcmp(rule, "soap-h") == 0;
    return counts_all ? (t + 1) % 2 == 0 : t > 0 && t % 2 == 0;
}

static void test_refresh(void)
{
    for (size_t i = 0; i < COUNT(soaps) * 2; i++) {
        const size_t r = shapes[i % 2][0], c = shapes[i % 2][1];
        const char *rule = soaps[i / 2];
        Run run;
        run_begin(&run, &(OptimConfig){.rule = rule, .hyper.at = {SET(REFRESH, 2)}}, r, c, 24);
        run_random_step(&run, 1, 210);
        const OptimState left = state_of(run.optim, "left"), right = state_of(run.optim, "right");
        const OptimState left_basis = state_of(run.optim, "left_basis"),
                         right_basis = state_of(run.optim, "right_basis");
        for (size_t t = 1; t < 8; t++) {
            float *old_left = copy_floats(left_basis.data, r * r), *old_right = copy_floats(right_basis.data, c * c);
            run_random_step(&run, 1, 210 + t);
            if (refreshes(rule, t)) {
                check_refreshed(rule, &left, old_left, &left_basis);
                check_refreshed(rule, &right, old_right, &right_basis);
            } else {
                check_same_bits(left_basis.data, old_left, r * r * sizeof(float), rule);
                check_same_bits(right_basis.data, old_right, c * c * sizeof(float), rule);
            }
            free(old_left);
            free(old_right);
        }
        run_end(&run);
    }
}

/* --------------------------------------------------------------------------------------------------------------
 * Factors and scales
 */

/* to (n,n) = keep to + share x x^T, or x^T x of the (r,c) x where it is the right one. */
static void average_gram(double *to, const double *x, bool right, size_t r, size_t c, double keep, double share)
{
    const size_t n = right ? c : r;
    double *gram = make_doubles(n * n);
    product(gram, x, right, x, !right, n, right ? r : c, n);
    for (size_t i = 0; i < n * n; i++)
        to[i] = keep * to[i] + share * gram[i];
    free(gram);
}

/* Factors of soap, soap-muon, soap-h and Shampoo: averages from zero. Sums of at most 11 products are wrong by 11 U of
 * at most |g|^2, below 150, and the averages by some more. */
static void test_factors(void)
{
    static const char *const rules[] = {"soap", "soap-muon", "soap-h", "shampoo"};
    for (size_t k = 0; k < COUNT(rules); k++) {
        Run run;
        run_begin(&run, &(OptimConfig){.rule = rules[k], .hyper.at = {SET(BETA2, .75)}}, 6, 11, 34);
        double left[36] = {0}, right[121] = {0};
        for (size_t t = 0; t < 6; t++) {
            run_random_step(&run, 1, 330 + t);
            double *g = doubles_of(run.p.grads, 66);
            average_gram(left, g, false, 6, 11, .75, .25);
            average_gram(right, g, true, 6, 11, .75, .25);
            check_close_to_doubles(state_of(run.optim, "left").data, left, 36, 16 * U * 150, rules[k]);
            check_close_to_doubles(state_of(run.optim, "right").data, right, 121, 16 * U * 150, rules[k]);
            free(g);
        }
        run_end(&run);
    }
}

/* One step of kl-soap's factors and scales in double, from where the run stands:
 *   X = G QR diag(sR), Y = diag(sL) QL^T G;  L = b L + (1-b) X X^T / c, R = b R + (1-b) Y^T Y / r;
 *   1/sL^2 = b/sL^2 + (1-b) mean of the rows of (G' diag(sR))^2, sR from the columns of diag(sL) G' */
typedef struct KlFactors {
    double left[36], right[121], left_scale[6], right_scale[11];
} KlFactors;

static void kl_by_hand(const Run *run, double beta, KlFactors *f)
{
    enum { R = 6, C = 11 };
    const float *old_left = state_of(run->optim, "left").data, *old_right = state_of(run->optim, "right").data;
    const float *sl = state_of(run->optim, "left_scale").data, *sr = state_of(run->optim, "right_scale").data;
    double *g = doubles_of(run->p.grads, R * C), *ql = doubles_of(state_of(run->optim, "left_basis").data, R * R);
    double *qr = doubles_of(state_of(run->optim, "right_basis").data, C * C);
    double x[R * C], y[R * C], both[R * C], rows[R] = {0}, columns[C] = {0};
    product(x, g, false, qr, false, R, C, C);
    product(y, ql, true, g, false, R, R, C);
    product(both, ql, true, x, false, R, R, C);
    for (size_t i = 0; i < R; i++)
        for (size_t j = 0; j < C; j++) {
            const double scaled = both[i * C + j] * (double)sr[j], other = both[i * C + j] * (double)sl[i];
            x[i * C + j] *= (double)sr[j];
            y[i * C + j] *= (double)sl[i];
            rows[i] += scaled * scaled / C;
            columns[j] += other * other / R;
        }
    for (size_t i = 0; i < R * R; i++)
        f->left[i] = (double)old_left[i];
    for (size_t i = 0; i < C * C; i++)
        f->right[i] = (double)old_right[i];
    average_gram(f->left, x, false, R, C, beta, (1 - beta) / C);
    average_gram(f->right, y, true, R, C, beta, (1 - beta) / R);
    for (size_t i = 0; i < R; i++)
        f->left_scale[i] = 1 / sqrt(beta / ((double)sl[i] * (double)sl[i]) + (1 - beta) * rows[i]);
    for (size_t j = 0; j < C; j++)
        f->right_scale[j] = 1 / sqrt(beta / ((double)sr[j] * (double)sr[j]) + (1 - beta) * columns[j]);
    free(g);
    free(ql);
    free(qr);
}

/* A product of fp32 is wrong by up to 11 U of the lengths of its lines, and so, some three products on, is a factor
 * of its trace, and are the scales: they are below sqrt(10). */
static void test_kl_factors(void)
{
    const OptimConfig config = {.rule = "kl-soap", .hyper.at = {SET(BETA2, .75)}};
    Run run;
    KlFactors want = {.left = {0}};
    run_begin(&run, &config, 6, 11, 35);
    run_random_step(&run, 1, 340);
    double *g = doubles_of(run.p.grads, 66);
    average_gram(want.left, g, false, 6, 11, 0, 1. / 11);
    average_gram(want.right, g, true, 6, 11, 0, 1. / 6);
    check_close_to_doubles(state_of(run.optim, "left").data, want.left, 36, 16 * U * 150 / 11, "first left factor");
    check_close_to_doubles(state_of(run.optim, "right").data, want.right, 121, 16 * U * 150 / 6, "first right factor");
    free(g);
    for (size_t t = 1; t < 6; t++) {
        fill_normal(run.p.grads, 66, 1, 340 + t);
        kl_by_hand(&run, .75, &want);
        run_step(&run, 1);
        double left = 0, right = 0;
        for (size_t i = 0; i < 6; i++)
            left += want.left[i * 7];
        for (size_t i = 0; i < 11; i++)
            right += want.right[i * 12];
        check_close_to_doubles(state_of(run.optim, "left").data, want.left, 36, 3 * 11 * U * left, "left factor");
        check_close_to_doubles(state_of(run.optim, "right").data, want.right, 121, 3 * 11 * U * right, "right factor");
        const float *sl = state_of(run.optim, "left_scale").data, *sr = state_of(run.optim, "right_scale").data;
        check_close_to_doubles(sl, want.left_scale, 6, 3 * 11 * U * sqrt(10), "left scale");
        check_close_to_doubles(sr, want.right_scale, 11, 3 * 11 * U * sqrt(10), "right scale");
    }
    run_end(&run);
}

/* Without gradients the eigenvalues, 0.1 at first, fade, and their inverse roots rise to 4000. A rounding of the
 * root a step. */
static void test_kl_scales(void)
{
    Run run;
    run_begin(&run, &(OptimConfig){.rule = "kl-soap"}, 6, 11, 36);
    memset(run.p.grads, 0, 66 * sizeof(float));
    for (size_t t = 0; t < 200; t++) {
        const double root = 1 / sqrt(.1 * pow(.9, (double)t)), want = root < 4000 ? root : 4000;
        run_step(&run, 1);
        const double bound = (double)(t + 1) * U * want;
        check_close((double)state_of(run.optim, "left_scale").data[5], want, bound, "left scale");
        check_close((double)state_of(run.optim, "right_scale").data[10], want, bound, "right scale");
    }
    run_end(&run);
}

/* --------------------------------------------------------------------------------------------------------------
 * Relatives
 */

static void set_identity(const OptimState *basis)
{
    for (size_t i = 0; i < basis->rows * basis->cols; i++)
        basis->data[i] = i % (basis->cols + 1) == 0;
}

/* g (n,n): one number in each row and each column, so that g g^T and g^T g are diagonal. */
static void fill_scattered(float *g, size_t n, size_t t)
{
    float *values = make_floats(n);
    fill_normal(values, n, 1, 230 + t);
    memset(g, 0, n * n * sizeof *g);
    for (size_t i = 0; i < n; i++)
        g[i * n + (2 * i + t) % n] = values[i];
    free(values);
}

/* With the identity for bases, which refreshing may only sort, soap is Adam in eps mode "uncorrected" from its
 * second call on, and decays after the step. Adam's moments round alike; signs and places of the basis change no bit
 * of a product with zeros; the weights, below 4, are rounded three times a step and steps below 1 some 16 times. */
static void test_soap_is_adam(void)
{
    enum { N = 5 };
    for (size_t refresh = 1; refresh <= 3; refresh++) {
        const OptimConfig config = {.rule = "soap",
                                    .hyper.at = {SET(LR, .125), SET(WEIGHT_DECAY, .5), SET(BETA1, .9), SET(EPS, .25),
                                                 SET(REFRESH, (double)refresh)}};
        const OptimConfig adam = {.rule = "adam",
                                  .hyper.at = {SET(LR, .125), SET(EPS, .25), SET(EPS_MODE, EPS_UNCORRECTED)}};
        Run a, b;
        run_begin(&a, &config, N, N, 25);
        run_begin(&b, &adam, N, N, 25);
        fill_scattered(a.p.grads, N, 0);
        run_step(&a, 1);
        check_same_bits(a.p.values, b.p.values, N * N * sizeof(float), "soap's first call");
        const OptimState left = state_of(a.optim, "left_basis"), right = state_of(a.optim, "right_basis");
        set_identity(&left);
        set_identity(&right);
        for (size_t t = 1; t <= 20; t++) {
            fill_scattered(a.p.grads, N, t);
            fill_scattered(b.p.grads, N, t);
            run_step(&a, 1);
            run_step(&b, 1);
            for (size_t i = 0; i < N * N; i++)
                b.p.values[i] *= 1 - .125f * .5f;
            check_all_close(a.p.values, b.p.values, N * N, (double)t * U * (3 * 4 + 16), "soap and Adam");
        }
        run_end(&a);
        run_end(&b);
    }
}

/* In one row or column the nuclear norm is the Frobenius norm, and steepest descent shows |u|, which soap-muon
 * keeps. */
static void test_soap_muon_norm(void)
{
    static const size_t lines[][2] = {{1, 9}, {9, 1}};
    for (size_t k = 0; k < 2; k++) {
        const OptimConfig config = {.rule = "soap-muon",
                                    .hyper.at = {SET(LR, 1), SET(NS, NS_EXACT), SET(MOMENTUM, .75),
                                                 SET(MUON_SCALE, MUON_SCALE_NUCLEAR), SET(RADIAL_BRAKE, 0),
                                                 SET(STEP_FLOOR, 0), SET(PIN_RADIUS, 0)}};
        Run run;
        run_begin(&run, &config, lines[k][0], lines[k][1], 26);
        for (size_t t = 0; t < 6; t++) {
            memset(run.p.values, 0, 9 * sizeof(float));
            run_random_step(&run, 1, 250 + t);
            double squares = 0;
            for (size_t i = 0; i < 9; i++) {
                const double m = (double)state_of(run.optim, "m").data[i], u = .25 * (double)run.p.grads[i] + .75 * m;
                squares += u * u;
            }
            check_close(norm_of(run.p.values, 9), sqrt(squares), 16 * U * sqrt(squares), "|u|"); /* some roundings */
        }
        run_end(&run);
    }
}

/* --gate attention-out: the projection after attention steps as with all, another matrix of its shape as with none. */
static void test_gate(void)
{
    enum { MATRICES = 2, N = 30, STEPS_TAKEN = 4 };
    static const Gate gates[] = {GATE_ATTENTION_OUT, GATE_ALL, GATE_NONE};
    float *values[COUNT(gates)];
    for (size_t i = 0; i < COUNT(gates); i++) {
        const OptimConfig config = {.rule = "soap-muon", .steps = 8, .hyper.at = {SET(GATE, gates[i])}};
        Params p = {0};
        params_add(&p, "attn.c_proj", ROLE_HIDDEN_MATRIX, 6, 5, 1);
        params_add(&p, "mlp.c_fc", ROLE_HIDDEN_MATRIX, 6, 5, 1);
        p.tensors[0].part = PART_ATTENTION_OUT;
        p.tensors[1].part = PART_MLP_IN;
        params_fill(&p, 3);
        Optim *optim = make_optim(&config, &p);
        for (size_t t = 0; t < STEPS_TAKEN; t++) {
            fill_normal(p.grads, p.floats, 1, 70 + t);
            optim_begin(optim, 1, 1);
            optim_step(optim, 1);
        }
        values[i] = make_floats(MATRICES * N);
        for (size_t k = 0; k < MATRICES; k++)
            memcpy(values[i] + k * N, p.values + p.tensors[k].offset, N * sizeof(float));
        optim_free(optim);
        params_free(&p);
    }
    check_same_bits(values[0], values[1], N * sizeof(float), "the projection after attention");
    check_same_bits(values[0] + N, values[2] + N, N * sizeof(float), "another matrix");
    check(memcmp(values[1], values[2], N * sizeof(float)) != 0, "the gate changes nothing");
    for (size_t i = 0; i < COUNT(gates); i++)
        free(values[i]);
}

int main(void)
{
    threads_set(1); /* so small, others would only wait */
    check_run("SOAP's bases are orthonormal", test_bases_orthonormal);
    check_run("SOAP's first step", test_first_bases);
    check_run("SOAP's bases are renewed", test_refresh);
    check_run("factors of SOAP and Shampoo", test_factors);
    check_run("factors of KL-SOAP", test_kl_factors);
    check_run("scales of KL-SOAP without gradients", test_kl_scales);
    check_run("SOAP in the identity is Adam", test_soap_is_adam);
    check_run("SOAP-Muon keeps a norm", test_soap_muon_norm);
    check_run("SOAP-Muon's gate", test_gate);
    return check_summary();
}
