/* Orthogonal steps: Muon, spectral descent, Shampoo and Dion. */
#include "base/eigh.h"
#include "base/threads.h"
#include "dev/tests/rules.h"
#include "optim/rules/muon.h"
#include "optim/rules/newton_schulz.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --------------------------------------------------------------------------------------------------------------
 * Muon and Shampoo
 */

/* The sum form, u = g + mu B, from which Newton-Schulz divides the factor 1/(1-mu) out. */
static void test_muon_sum(void)
{
    static const NsFlavour flavours[] = {NS_JORDAN, NS_EXACT};
    for (size_t f = 0; f < COUNT(flavours); f++) {
        const NsFlavour ns = flavours[f];
        const OptimConfig config = {.rule = "muon", .hyper.at = {SET(WEIGHT_DECAY, 0), SET(NS, ns), SET(MOMENTUM, .9)}};
        Run run;
        run_begin(&run, &config, 6, 11, 8);
        double *w = doubles_of(run.p.values, 66), b[66] = {0};
        float u[66], *workspace = make_floats(ns_workspace(ns, 6, 11, 1));
        for (size_t t = 0; t < STEPS; t++) {
            run_random_step(&run, 1, 70 + t);
            for (size_t i = 0; i < 66; i++) {
                b[i] = .9 * b[i] + (double)run.p.grads[i];
                u[i] = (float)((double)run.p.grads[i] + .9 * b[i]);
            }
            ns_orthogonalise(here(), ns, NS_FROBENIUS, ns_steps(ns, 0), (Mats){u, 6, 11, 1}, workspace);
            for (size_t i = 0; i < 66; i++)
                w[i] -= .02 * (double)u[i];
        }
        /* weights below 4 are rounded twice a step; u differs by some 8 roundings, which the small singular values,
         * above 0.05 of the norm, stretch */
        check_close_to_doubles(run.p.values, w, 66, STEPS * U * (2 * 4 + .02 * 8 / .05), ns_names[ns]);
        free(w);
        free(workspace);
        run_end(&run);
    }
}

/* <G, polar(G)> is the nuclear norm and |polar(G)|^2 the rank. The factor is rounded once, elements of G once. */
static void test_polar(void)
{
    static const double s[] = {.25, 1.5, 4};
    const double nuclear = 5.75, norm = sqrt(.0625 + 2.25 + 16);
    const OptimConfig spectral = {.rule = "spectral",
                                  .hyper.at = {SET(NS, NS_EXACT), SET(MUON_SCALE, MUON_SCALE_NONE)}};
    const OptimConfig steepest = {.rule = "spectral",
                                  .hyper.at = {SET(NS, NS_EXACT), SET(MUON_SCALE, MUON_SCALE_NUCLEAR)}};
    for (size_t k = 0; k < COUNT(shapes); k++) {
        const size_t n = shapes[k][0] * shapes[k][1];
        float *g = make_matrix_of(s, 3, shapes[k][0], shapes[k][1], 80 + k);
        float *o = update_of(spectral, g, shapes[k][0], shapes[k][1]),
              *dual = update_of(steepest, g, shapes[k][0], shapes[k][1]);
        double inner = 0;
        for (size_t i = 0; i < n; i++)
            inner += (double)g[i] * (double)o[i];
        check_close(inner, nuclear, 4 * U * norm * sqrt(3), "nuclear norm");
        /* a change dG of G turns the factor by up to 2 |dG| / the least singular value */
        check_close(norm_of(o, n) * norm_of(o, n), 3, 3 * 4 * U, "rank");
        check_close(norm_of(dual, n), nuclear * sqrt(3), 8 * U * nuclear * sqrt(3),
                    "steepest descent in the spectral norm");
        free(g);
        free(o);
        free(dual);
    }
}

/* Muon without momentum is spectral descent, to the bit, and Shampoo without memory. Singular values are from 1 to
 * 4, so eigenvalues from 1 to 16; their matrices are wrong by at most about 16 n U, which a root -1/4 passes on
 * times 1/4, a root -1/2 times 1/2, and the gradient, at most 4, makes 16 n U or 32 n U of it; two roots or one; and
 * the products' roundings of 4 n U each. */
static void test_shampoo_is_muon(void)
{
    static const double s[] = {1, 1.25, 1.75, 2.25, 2.5, 3.25, 4};
    for (size_t k = 0; k < COUNT(shapes); k++) {
        const size_t r = shapes[k][0], c = shapes[k][1], least = r < c ? r : c, n = r < c ? c : r;
        float *g = make_matrix_of(s, least, r, c, 90 + k);
        const OptimConfig muon = {
            .rule = "muon",
            .hyper.at = {SET(WEIGHT_DECAY, 0), SET(MOMENTUM, 0), SET(NS, NS_EXACT), SET(MUON_SCALE, MUON_SCALE_NONE)}};
        float *want = update_of(muon, g, r, c);
        for (int sides = SIDES_TWO; sides <= SIDES_ONE; sides++) {
            const OptimConfig shampoo = {.rule = "shampoo",
                                         .hyper.at = {SET(WEIGHT_DECAY, 0), SET(BETA1, 0), SET(BETA2, 0), SET(EPS, 0),
                                                      SET(BIAS_CORRECTION, 0), SET(SIDES, sides),
                                                      SET(GRAFT, GRAFT_NONE), SET(REFRESH, 1)}};
            float *got = update_of(shampoo, g, r, c);
            check_all_close(got, want, r * c, 44 * (double)n * U, sides == SIDES_TWO ? "two-sided" : "one-sided");
            free(got);
        }
        free(want);
        free(g);
    }
    for (int ns = 0; ns < NS_COUNT; ns++) {
        const OptimConfig muon = {.rule = "muon", .hyper.at = {SET(WEIGHT_DECAY, 0), SET(MOMENTUM, 0), SET(NS, ns)}};
        const OptimConfig spectral = {.rule = "spectral", .hyper.at = {SET(NS, ns)}};
        expect_same_bits(&muon, &spectral, "spectral descent");
    }
}

/* With damping the singular values s become s / sqrt(s^2 + eps), eps = 1/2: eigenvalues from 1/2 to 16.5 are wrong
 * by 16 n U; the roots' slopes are at most 0.6 (-1/4) and 1.42 (-1/2), and what they are multiplied with is at most
 * 2 or 4. */
static void test_damping(void)
{
    static const double s[] = {.1, .3, .8, 1.5, 2.25, 3, 4};
    for (size_t k = 0; k < COUNT(shapes); k++) {
        const size_t r = shapes[k][0], c = shapes[k][1], least = r < c ? r : c, n = r < c ? c : r;
        double damped[7];
        for (size_t i = 0; i < least; i++)
            damped[i] = s[i] / sqrt(s[i] * s[i] + .5);
        float *g = make_matrix_of(s, least, r, c, 100 + k), *want = make_matrix_of(damped, least, r, c, 100 + k);
        for (int sides = SIDES_TWO; sides <= SIDES_ONE; sides++) {
            const OptimConfig shampoo = {.rule = "shampoo",
                                         .hyper.at = {SET(WEIGHT_DECAY, 0), SET(BETA1, 0), SET(BETA2, 0), SET(EPS, .5),
                                                      SET(SIDES, sides), SET(GRAFT, GRAFT_NONE)}};
            float *got = update_of(shampoo, g, r, c);
            check_all_close(got, want, r * c, 100 * (double)n * U, sides == SIDES_TWO ? "two-sided" : "one-sided");
            free(got);
        }
        free(want);
        free(g);
    }
}

/* Grafting takes Adam's norm: 1 an element in the first step. The direction stays Shampoo's. */
static void test_graft(void)
{
    static const double s[] = {1, 1.5, 2, 2.5, 3, 3.5};
    float *g = make_matrix_of(s, 6, 6, 11, 110);
    const OptimConfig plain = {.rule = "shampoo", .hyper.at = {SET(WEIGHT_DECAY, 0), SET(GRAFT, GRAFT_NONE)}};
    const OptimConfig graft = {.rule = "shampoo",
                               .hyper.at = {SET(WEIGHT_DECAY, 0), SET(GRAFT, GRAFT_ADAM), SET(REFRESH, 1)}};
    float *direction = update_of(plain, g, 6, 11), *got = update_of(graft, g, 6, 11);
    const double length = norm_of(direction, 66);
    for (size_t i = 0; i < 66; i++)
        direction[i] = (float)((double)direction[i] * sqrt(66) / length);
    check_close(norm_of(got, 66), sqrt(66), 16 * U * sqrt(66), "Adam's norm");
    check_all_close(got, direction, 66, 16 * U * sqrt(66), "Shampoo's direction");
    free(g);
    free(direction);
    free(got);
}

/* Roots are renewed every third step, factors in each; without grafting the first step has roots, too. */
static void test_shampoo_refresh(void)
{
    for (int graft = GRAFT_NONE; graft <= GRAFT_ADAM; graft++) {
        const OptimConfig config = {.rule = "shampoo", .hyper.at = {SET(REFRESH, 3), SET(GRAFT, graft)}};
        Run run;
        run_begin(&run, &config, 6, 11, 12);
        for (size_t t = 1; t <= 7; t++) {
            const OptimState root = state_of(run.optim, "left_root"), factor = state_of(run.optim, "left");
            float *old_root = copy_floats(root.data, 36), *old_factor = copy_floats(factor.data, 36);
            run_random_step(&run, 1, 110 + t);
            const bool renewed = memcmp(root.data, old_root, 36 * sizeof(float)) != 0;
            check(renewed == (t % 3 == 0 || (t == 1 && graft == GRAFT_NONE)), "graft %d: roots in step %zu", graft, t);
            check(memcmp(factor.data, old_factor, 36 * sizeof(float)) != 0, "the factor stays in step %zu", t);
            free(old_root);
            free(old_factor);
        }
        run_end(&run);
    }
}

/* Until it has roots, a grafted step is Adam's. */
static void test_shampoo_begins_as_adam(void)
{
    const OptimConfig adam = {
        .rule = "adam",
        .hyper.at = {SET(LR, .01), SET(WEIGHT_DECAY, 0), SET(BETA1, .9), SET(BETA2, .95), SET(EPS, 1e-10)}};
    const OptimConfig shampoo = {.rule = "shampoo",
                                 .hyper.at = {SET(LR, .01), SET(WEIGHT_DECAY, 0), SET(BETA1, .9), SET(BETA2, .95),
                                              SET(REFRESH, 4), SET(GRAFT, GRAFT_ADAM)}};
    Run a, b;
    run_begin(&a, &adam, 6, 11, 13);
    run_begin(&b, &shampoo, 6, 11, 13);
    for (size_t t = 1; t <= 4; t++) {
        run_random_step(&a, 1, 120 + t);
        run_random_step(&b, 1, 120 + t);
        double most = 0;
        for (size_t i = 0; i < 66; i++)
            most = fmax(most, fabs((double)a.p.values[i] - (double)b.p.values[i]));
        check(t < 4 ? most <= 16 * U : most > 1e-3, "step %zu: %g from Adam's", t, most);
    }
    run_end(&a);
    run_end(&b);
}

/* With eps = 0 roots are pseudo-inverse: directions a factor has not seen do not move. The first gradient fills three
 * rows, the second, before the roots are renewed, the others. */
static void test_shampoo_pseudo_inverse(void)
{
    for (int sides = SIDES_TWO; sides <= SIDES_ONE; sides++) {
        const OptimConfig config = {.rule = "shampoo",
                                    .hyper.at = {SET(LR, 1), SET(WEIGHT_DECAY, 0), SET(BETA1, 0), SET(EPS, 0),
                                                 SET(SIDES, sides), SET(GRAFT, GRAFT_NONE)}};
        Run run;
        run_begin(&run, &config, 6, 11, 11);
        memset(run.p.grads + 33, 0, 33 * sizeof(float));
        run_step(&run, 1);
        float *before = copy_floats(run.p.values, 66);
        fill_normal(run.p.grads, 66, 1, 12);
        memset(run.p.grads, 0, 33 * sizeof(float));
        run_step(&run, 1);
        /* eigenvectors of the three rows have nothing but double's rounding in the others */
        check_all_close(run.p.values, before, 66, 8 * U, "directions without a past");
        free(before);
        run_end(&run);
    }
}

/* --------------------------------------------------------------------------------------------------------------
 * Dion
 */

/* The min(r,c) singular values of x, ascending. */
static double *singular_values(const float *x, size_t r, size_t c)
{
    const size_t n = r < c ? r : c;
    double *wide = doubles_of(x, r * c), *gram = make_doubles(n * n), *s = make_doubles(n),
           *work = make_doubles(eigh_work(n));
    product(gram, wide, r > c, wide, r <= c, n, r < c ? c : r, n);
    if (eigh(gram, s, n, work) != 0)
        check(false, "no eigenvalues");
    for (size_t i = 0; i < n; i++)
        s[i] = sqrt(fmax(s[i], 0));
    free(wide);
    free(gram);
    free(work);
    return s;
}

/* The step is sqrt(r/c) P Q^T, or for a wide matrix sqrt(r/c) Q P^T, with orthonormal P and columns of Q of length 1:
 * its Gram matrix on the shorter side is r/c Q Q^T, its rank k, its norm sqrt(k r/c), its largest singular value at
 * most that. */
static void test_dion_step(void)
{
    static const struct {
        size_t rank, k[3];
    } ranks[] = {{1, {1, 1, 1}}, {3, {3, 3, 3}}, {0, {6, 5, 7}}, {100, {6, 5, 7}}};
    for (size_t i = 0; i < COUNT(ranks) * COUNT(shapes); i++) {
        const size_t shape = i % COUNT(shapes), r = shapes[shape][0], c = shapes[shape][1],
                     k = ranks[i / COUNT(shapes)].k[shape];
        const double scale = (double)r / (double)c, rank = (double)k;
        const OptimConfig config = {.rule = "dion",
                                    .hyper.at = {SET(LR, 1), SET(RANK, (double)ranks[i / COUNT(shapes)].rank)}};
        Run run;
        run_begin(&run, &config, r, c, 20);
        for (size_t t = 0; t < 4; t++) {
            memset(run.p.values, 0, r * c * sizeof(float));
            run_random_step(&run, 1, 160 + t);
        }
        const OptimState q = state_of(run.optim, "q");
        const size_t n = r < c ? r : c;
        check(q.rows == n && q.cols == k, "q is %zu x %zu", q.rows, q.cols);
        double *u = doubles_of(run.p.values, r * c), *short_side = doubles_of(q.data, n * k),
               *got = make_doubles(n * n);
        double *want = make_doubles(n * n), *s = singular_values(run.p.values, r, c);
        product(got, u, r >= c, u, r < c, n, r < c ? c : r, n);
        product(want, short_side, false, short_side, true, n, k, n);
        /* an element of P Q^T is wrong by (k+3) U at most, being a sum of k terms below 1; columns are at most
         * sqrt(k) long */
        for (size_t j = 0; j < n * n; j++)
            check_close(got[j] / scale, want[j], 4 * (rank + 3) * U * rank, "Gram matrix of the step");
        check_close(norm_of(run.p.values, r * c), sqrt(rank * scale), 8 * U * rank * sqrt(rank * scale),
                    "norm of the step");
        for (size_t j = 0; j < n; j++)
            check(s[j] <= sqrt(rank * scale) * (1 + 1e-6) && (j + k >= n || s[j] <= 1e-5), "singular value %g", s[j]);
        free(u);
        free(short_side);
        free(got);
        free(want);
        free(s);
        run_end(&run);
    }
}

/* A gradient of rank k with equal singular values: power iteration is exact, and the step is the polar factor. The
 * condition of V^T Q, at worst some 50 here, stretches the 16 roundings on the way. */
static void test_dion_polar(void)
{
    static const double twos[] = {2, 2, 2}, ones[] = {1, 1, 1};
    for (size_t shape = 0; shape < COUNT(shapes); shape++) {
        const size_t r = shapes[shape][0], c = shapes[shape][1];
        float *g = make_matrix_of(twos, 3, r, c, 170), *want = make_matrix_of(ones, 3, r, c, 170);
        const OptimConfig config = {.rule = "dion", .hyper.at = {SET(RANK, 3)}};
        float *got = update_of(config, g, r, c);
        for (size_t i = 0; i < r * c; i++)
            want[i] *= (float)sqrt((double)r / (double)c);
        check_all_close(got, want, r * c, 50 * 16 * U, "step");
        free(g);
        free(want);
        free(got);
    }
}

/* P (r,k) = orthonormal columns of x (r,k), Gram-Schmidt twice. Returns the least length that was left of a column. */
static double orthonormalise(double *x, size_t r, size_t k)
{
    double least = HUGE_VAL;
    for (size_t j = 0; j < k; j++) {
        for (size_t pass = 0; pass < 2; pass++)
            for (size_t l = 0; l < j; l++) {
                double along = 0;
                for (size_t i = 0; i < r; i++)
                    along += x[i * k + j] * x[i * k + l];
                for (size_t i = 0; i < r; i++)
                    x[i * k + j] -= along * x[i * k + l];
            }
        double squares = 0;
        for (size_t i = 0; i < r; i++)
            squares += x[i * k + j] * x[i * k + j];
        least = fmin(least, sqrt(squares));
        for (size_t i = 0; i < r; i++)
            x[i * k + j] /= sqrt(squares);
    }
    return least;
}

/* B_before + g = B_after + (1-mu) P R^T with R = (B_before + g)^T P. */
static void test_dion_feedback(void)
{
    enum { R = 14, C = 9, K = 3 };
    const double mu = .5;
    const OptimConfig config = {.rule = "dion", .hyper.at = {SET(MOMENTUM, mu), SET(RANK, K)}};
    Run run;
    run_begin(&run, &config, R, C, 21);
    for (size_t t = 0; t < 6; t++) {
        fill_normal(run.p.grads, R * C, 1, 180 + t);
        double *b = doubles_of(state_of(run.optim, "b").data, R * C),
               *q = doubles_of(state_of(run.optim, "q").data, C * K);
        double p[R * K], rest[C * K], low[R * C], b_norm = 0, q_norm = 0;
        for (size_t i = 0; i < R * C; i++) {
            b[i] += (double)run.p.grads[i];
            b_norm += b[i] * b[i];
        }
        for (size_t i = 0; i < C * K; i++)
            q_norm += q[i] * q[i];
        product(p, b, false, q, false, R, C, K);
        const double least = orthonormalise(p, R, K), condition = sqrt(b_norm * q_norm) / least;
        product(rest, b, true, p, false, C, R, K);
        product(low, p, false, rest, true, R, K, C);
        for (size_t i = 0; i < R * C; i++)
            b[i] -= (1 - mu) * low[i];
        run_step(&run, 1);
        /* B Q is wrong by c U |B| |Q|, P by the condition times that, P R^T by |B| times twice that */
        check_close_to_doubles(state_of(run.optim, "b").data, b, R * C,
                               U * sqrt(b_norm) * (4 + 2 * (1 - mu) * C * condition), "b");
        free(b);
        free(q);
    }
    run_end(&run);
}

/* Gradients of zeros leave Q as it began, and change no weight but by the decay. */
static void test_dion_zeros(void)
{
    const OptimConfig config = {.rule = "dion", .hyper.at = {SET(RANK, 2), SET(WEIGHT_DECAY, 0)}};
    for (size_t shape = 0; shape < COUNT(shapes); shape++) {
        const size_t r = shapes[shape][0], c = shapes[shape][1];
        Run run;
        run_begin(&run, &config, r, c, 21);
        const OptimState q = state_of(run.optim, "q");
        float *before = copy_floats(run.p.values, r * c), *first = copy_floats(q.data, q.rows * q.cols);
        memset(run.p.grads, 0, r * c * sizeof(float));
        run_step(&run, 1);
        check_same_bits(q.data, first, q.rows * q.cols * sizeof(float), "q after a gradient of zeros");
        check_same_bits(run.p.values, before, r * c * sizeof(float), "weights after a gradient of zeros");
        free(before);
        free(first);
        run_end(&run);
    }
}

int main(void)
{
    threads_set(1); /* so small, others would only wait */
    check_run("Muon's sum form", test_muon_sum);
    check_run("nuclear norm and rank", test_polar);
    check_run("Shampoo without memory is Muon", test_shampoo_is_muon);
    check_run("Shampoo's damping", test_damping);
    check_run("Shampoo's grafting", test_graft);
    check_run("Shampoo's roots", test_shampoo_refresh);
    check_run("Shampoo begins as Adam", test_shampoo_begins_as_adam);
    check_run("Shampoo's pseudo-inverse", test_shampoo_pseudo_inverse);
    check_run("Dion's step", test_dion_step);
    check_run("Dion's step is polar", test_dion_polar);
    check_run("Dion's feedback", test_dion_feedback);
    check_run("Dion and gradients of zeros", test_dion_zeros);
    return check_summary();
}
