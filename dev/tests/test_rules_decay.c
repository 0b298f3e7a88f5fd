/* Weight decay: unrolled, constrained (Adam with constrained parameter regularisation) and cautious. */
#include "base/threads.h"
#include "dev/tests/rules.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --------------------------------------------------------------------------------------------------------------
 * Decoupled decay
 */

/* w_k+1 = prod_i (1 - a eta_i) w_0 - sum_j eta_j prod_i>j (1 - a eta_i) s_j */
static void test_unrolled_decay(void)
{
    enum { N = 66 };
    const double b1 = .9, b2 = .95, lr = .2, decay = .5;
    const OptimConfig config = {.rule = "adamw", .hyper.at = {SET(LR, lr), SET(WEIGHT_DECAY, decay)}};
    Run run;
    run_begin(&run, &config, 6, 11, 5);
    double *start = doubles_of(run.p.values, N), s[STEPS][N], m[N] = {0}, v[N] = {0}, eta[STEPS], want[N];
    for (size_t j = 0; j < STEPS; j++) {
        const double t = (double)j + 1;
        eta[j] = lr * (1 - (double)j / 16);
        run_random_step(&run, 1 - (double)j / 16, 40 + j);
        for (size_t i = 0; i < N; i++) {
            const double g = (double)run.p.grads[i];
            m[i] = b1 * m[i] + (1 - b1) * g;
            v[i] = b2 * v[i] + (1 - b2) * g * g;
            s[j][i] = m[i] / (1 - pow(b1, t)) / (sqrt(v[i] / (1 - pow(b2, t))) + 1e-8);
        }
    }
    for (size_t i = 0; i < N; i++) {
        double kept = 1;
        want[i] = 0;
        for (size_t j = STEPS; j-- > 0;) {
            want[i] -= eta[j] * kept * s[j][i];
            kept *= 1 - decay * eta[j];
        }
        want[i] += kept * start[i];
    }
    /* as in double: weights below 4 are rounded twice a step, steps below 1 sixteen times */
    check_close_to_doubles(run.p.values, want, N, STEPS * U * (2 * 4 + 16 * lr * 2), "weights");
    free(start);
    run_end(&run);
}

/* --------------------------------------------------------------------------------------------------------------
 * Adam with constrained parameter regularisation
 */

/* One step in double from where the run stands. */
static void cpr_by_hand(const Run *run, size_t t, size_t warmup, double *w, double *multiplier, double *bound)
{
    const double b1 = .9, b2 = .95, n = (double)run->p.floats;
    const float *m = state_of(run->optim, "m").data, *v = state_of(run->optim, "v").data;
    double squares = 0;
    for (size_t i = 0; i < run->p.floats; i++) {
        const double g = (double)run->p.grads[i], mi = b1 * (double)m[i] + (1 - b1) * g,
                     vi = b2 * (double)v[i] + (1 - b2) * g * g;
        const double step = mi / (1 - pow(b1, (double)t)) / (sqrt(vi / (1 - pow(b2, (double)t))) + 1e-8);
        w[i] = (double)run->p.values[i] - .01 * step;
        squares += w[i] * w[i];
    }
    *multiplier = (double)state_of(run->optim, "lambda").data[0];
    *bound = t == warmup ? squares / n : (double)state_of(run->optim, "kappa").data[0];
    if (t > warmup)
        *multiplier = fmax(0, *multiplier + squares / n - *bound);
    for (size_t i = 0; i < run->p.floats && t > warmup; i++)
        w[i] -= 2 * *multiplier * w[i];
}

/* Gradients that always push outwards. Each step is compared, from where it starts, to one in double; rates are
 * 0.01, mean squares about 0.09, weights below 1.5. */
static void test_cpr(void)
{
    enum { N = 66, WARMUP = 5 };
    const OptimConfig config = {.rule = "adam-cpr", .hyper.at = {SET(LR, .01), SET(CPR_WARMUP, WARMUP)}};
    Run run;
    run_begin(&run, &config, 6, 11, 18);
    fill_normal(run.p.values, N, .3, 18);
    double w[N], multiplier, bound, raised = 0;
    for (size_t t = 1; t <= 300; t++) {
        for (size_t i = 0; i < N; i++)
            run.p.grads[i] = -copysignf(1, run.p.values[i]);
        cpr_by_hand(&run, t, WARMUP, w, &multiplier, &bound);
        run_step(&run, 1);
        const double lambda = (double)state_of(run.optim, "lambda").data[0],
                     kappa = (double)state_of(run.optim, "kappa").data[0];
        const double mean = norm_of(run.p.values, N) * norm_of(run.p.values, N) / N;
        /* 2 U of a weight is 4 U of its square; so much is the multiplier off, and its own rounding; the weight
         * twice that */
        check_close(kappa, bound, 5 * U * bound, "kappa");
        check_close(lambda, multiplier, 4 * U * 0.2 + U * multiplier, "lambda");
        check_close_to_doubles(run.p.values, w, N, U * 1.5 * 8, "weights");
        /* mean - kappa and lambda swing about a rest point like position and speed; from 0 their amplitude is
         * lr mean|W| / sqrt(kappa), at most lr */
        check(t <= WARMUP || mean <= kappa + 2 * .01, "step %zu: the mean square is %g and was to be %g", t, mean,
              kappa);
        raised = fmax(raised, lambda);
        check(t > WARMUP || lambda == 0, "a multiplier in the warmup");
    }
    /* unbound, 300 steps of 0.01 would make weights of 3, mean squares of 9 */
    check(raised > 0, "the multiplier never rose");
    run_end(&run);
}

/* --------------------------------------------------------------------------------------------------------------
 * Cautious decay
 */

/* The weights after a second step of rate 1/4 from `start`. */
static float *second_step(const char *rule, bool cautious, double decay, const float *start)
{
    const OptimConfig config = {.rule = rule,
                                .hyper.at = {SET(LR, .25), SET(WEIGHT_DECAY, decay), SET(CAUTIOUS, cautious)}};
    Run run;
    run_begin(&run, &config, 6, 11, 19);
    run_random_step(&run, 1, 150);
    memcpy(run.p.values, start, 66 * sizeof *start);
    run_random_step(&run, 1, 151);
    float *values = copy_floats(run.p.values, 66);
    run_end(&run);
    return values;
}

/* Where the step u makes the weight smaller, the bits of plain decay; elsewhere those of none. soap looks at the weight
 * after its step. Then with weights that all have the sign of u. */
static void cautious_rule(const char *rule)
{
    float start[66];
    fill_normal(start, 66, 1, 152);
    for (int aligned = 0; aligned < 2; aligned++) {
        float *on = second_step(rule, true, .5, start), *off = second_step(rule, false, .5, start);
        float *none = second_step(rule, false, 0, start);
        size_t decayed = 0, spared = 0;
        for (size_t i = 0; i < 66; i++) {
            const float u = start[i] - none[i], w = strcmp(rule, "soap") == 0 ? none[i] : start[i];
            if (u == 0)
                continue; /* lost in rounding */
            decayed += u * w > 0;
            spared += u * w < 0;
            check_same_bits(&on[i], u * w > 0 ? &off[i] : &none[i], sizeof *on, rule);
            start[i] = copysignf(8 + fabsf(start[i]), u);
        }
        check(decayed > 10 && (aligned ? spared == 0 : spared > 10), "%s: %zu decayed, %zu spared", rule, decayed,
              spared);
        check(!aligned || decayed < 66 || memcmp(on, off, sizeof start) == 0, "%s: aligned weights decay otherwise",
              rule);
        free(on);
        free(off);
        free(none);
    }
}

static void test_cautious(void)
{
    static const char *const rules[] = {"adamw",         "nested-adam", "signsgd", "signum",    "lion",
                                        "muon",          "spectral",    "normuon", "muon2",     "dion",
                                        "rownorm",       "shampoo",     "soap",    "soap-muon", "ademamix",
                                        "nadamw",        "adopt",       "mars",    "mars-lion", "cautious-adamw",
                                        "cautious-lion", "dynmuon",     "pmuon",   "sinksoap",  "kron"};
    for (size_t i = 0; i < COUNT(rules); i++)
        cautious_rule(rules[i]);
}

int main(void)
{
    threads_set(1); /* so small, others would only wait */
    check_run("decay unrolled", test_unrolled_decay);
    check_run("constrained parameter regularisation", test_cpr);
    check_run("cautious decay", test_cautious);
    return check_summary();
}
