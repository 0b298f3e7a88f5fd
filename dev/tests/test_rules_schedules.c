/* Hyperparameters that change during a run: momentum and eps. */
#include "base/threads.h"
#include "dev/tests/rules.h"
#include "optim/hyper_schedule.h"

#include <math.h>
#include <stdlib.h>

static void test_momentum_schedule(void)
{
    static const struct {
        size_t warmup, cooldown, steps, s;
        double want;
    } cases[] = {
        {4, 5, 20, 0, .85},  {4, 5, 20, 2, .9},    {4, 5, 20, 3, .925}, {4, 5, 20, 4, .95},  {4, 5, 20, 10, .95},
        {4, 5, 20, 15, .95}, {4, 5, 20, 16, .93},  {4, 5, 20, 19, .87}, {10, 10, 12, 5, .9}, {10, 10, 12, 8, .89},
        {0, 0, 0, 7, .95},   {300, 0, 0, 150, .9}, {0, 4, 20, 0, .95},  {0, 4, 20, 18, .9},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        OptimHyper h = {.at = {SET(MOMENTUM, .95), SET(MOMENTUM_START, .85),
                               SET(MOMENTUM_WARMUP, (double)cases[i].warmup),
                               SET(MOMENTUM_COOLDOWN, (double)cases[i].cooldown)}};
        hyper_schedule(&h, cases[i].s, cases[i].steps);
        check(fabs(hyper(&h, HYPER_MOMENTUM) - cases[i].want) <= 1e-15, "case %zu: momentum %.17g", i,
              hyper(&h, HYPER_MOMENTUM));
    }
    OptimHyper plain = {.at = {SET(MOMENTUM, .5)}};
    hyper_schedule(&plain, 0, 10);
    check(hyper(&plain, HYPER_MOMENTUM) == .5, "a rule without a warmup has one");
}

/* The rules take it: a warmup of 2 from 0 to 0.9 in three steps, and a cooldown over the last two of four. */
static void test_momentum_schedule_used(void)
{
    static const char *const rules[] = {"muon", "normuon", "muonh", "normuonh", "muon2", "soap-muon"};
    static const double momentum[4] = {0, .45, .9, .45};
    for (size_t rule = 0; rule < COUNT(rules); rule++) {
        const OptimConfig config = {.rule = rules[rule],
                                    .steps = 4,
                                    .hyper.at = {SET(MOMENTUM, .9), SET(MOMENTUM_START, 0), SET(MOMENTUM_WARMUP, 2),
                                                 SET(MOMENTUM_COOLDOWN, 2)}};
        Run run;
        run_begin(&run, &config, 6, 11, 6);
        double m[66] = {0};
        for (size_t t = 0; t < 4; t++) {
            run_random_step(&run, 1, 50 + t);
            for (size_t i = 0; i < 66; i++)
                m[i] = momentum[t] * m[i] + (1 - momentum[t]) * (double)run.p.grads[i];
            /* 4 roundings of numbers below 4 a step */
            check_close_to_doubles(state_of(run.optim, "m").data, m, 66, 4 * 4 * 4 * U, rules[rule]);
        }
        run_end(&run);
    }
}

/* The eps schedule as it is written down: eps0, then A e^(k(s-wT)) + B, then the largest. */
static double eps_by_hand(double s, double steps, double least, double most, double k, double w, double end)
{
    const double span = steps * (end - w), done = s - w * steps;
    if (done < 0)
        return least;
    if (s >= end * steps)
        return most;
    if (k == 0)
        return least + (most - least) * done / span;
    const double a = (most - least) / expm1(k * span), b = least - a;
    return a * exp(k * done) + b;
}

static double scheduled_eps(size_t s, size_t steps, double k)
{
    OptimHyper h = {.at = {SET(EPS, 1e-8), SET(EPS_MAX, 2), SET(EPS_RATE, k), SET(EPS_START, .25), SET(EPS_END, .75)}};
    hyper_schedule(&h, s, steps);
    return hyper(&h, HYPER_EPS);
}

static void test_eps_schedule(void)
{
    static const double rates[] = {0, .05, .3, 1};
    for (size_t i = 0; i < COUNT(rates); i++)
        for (size_t s = 0; s < 100; s++) /* 2 = A e^.. + B cancels at the start: roundings of the largest term */
            check_close(scheduled_eps(s, 100, rates[i]), eps_by_hand((double)s, 100, 1e-8, 2, rates[i], .25, .75),
                        1e-13, "eps");
    check(scheduled_eps(24, 100, .3) == 1e-8 && scheduled_eps(25, 100, .3) == 1e-8, "eps before it grows");
    check(scheduled_eps(75, 100, .3) == 2 && scheduled_eps(99, 100, .3) == 2, "eps after it has grown");
    check_close(scheduled_eps(50, 100, 0), 1 + .5e-8, 1e-15, "halfway on a line");
    check_close(scheduled_eps(50, 100, 1e-15), 1 + .5e-8, 1e-12, "halfway on almost a line");
    /* e^(k n) = e^5e4 is no double; close to the end it is e^-k of the largest */
    for (size_t s = 0; s < 200; s++) {
        const double here = scheduled_eps(s, 2000, 50), last = s > 0 ? scheduled_eps(s * 10 - 10, 2000, 50) : 0;
        check(here <= 2 && scheduled_eps(s * 10, 2000, 50) >= last, "a steep eps is %g in step %zu", here, s);
    }
    check_close(scheduled_eps(1499, 2000, 50), 1e-8 + 2 * exp(-50), 1e-20, "a steep eps");
    check_close(scheduled_eps(1499, 2000, 1), 1e-8 + 2 * exp(-1), 1e-8, "a less steep eps");
}

/* Growing eps is a falling rate, element by element: eta_k = eta (sqrt(vhat) + eps0) / (sqrt(vhat) + eps_k). */
static void test_eps_is_a_rate(void)
{
    enum { N = 66, T = 20 };
    static const double rates[] = {0, .3};
    const double b1 = .9, b2 = .95, lr = .25, eps0 = .0625;
    for (size_t k = 0; k < COUNT(rates); k++) {
        const OptimConfig config = {.rule = "adamw",
                                    .steps = T,
                                    .hyper.at = {SET(LR, lr), SET(WEIGHT_DECAY, 0), SET(EPS, eps0), SET(EPS_MAX, 4),
                                                 SET(EPS_RATE, rates[k]), SET(EPS_START, .25), SET(EPS_END, .75)}};
        Run run;
        run_begin(&run, &config, 6, 11, 7);
        double *w = doubles_of(run.p.values, N), m[N] = {0}, v[N] = {0};
        for (size_t s = 0; s < T; s++) {
            const double t = (double)s + 1, eps = eps_by_hand((double)s, T, eps0, 4, rates[k], .25, .75);
            run_random_step(&run, 1, 60 + s);
            for (size_t i = 0; i < N; i++) {
                const double g = (double)run.p.grads[i];
                m[i] = b1 * m[i] + (1 - b1) * g;
                v[i] = b2 * v[i] + (1 - b2) * g * g;
                const double root = sqrt(v[i] / (1 - pow(b2, t))), rate = lr * (root + eps0) / (root + eps);
                w[i] -= rate * m[i] / (1 - pow(b1, t)) / (root + eps0);
            }
        }
        /* two roundings of a weight below 5 a step, 16 of a step below 1.5 lr */
        check_close_to_doubles(run.p.values, w, N, T * U * (2 * 5 + 16 * 1.5 * lr), "weights");
        free(w);
        run_end(&run);
    }
}

/* NAdamW's product of momenta, which the program has in closed form, factor by factor: a step from empty moments. */
static void test_nadamw_product(void)
{
    static const double betas[] = {0, .5, .9, .9999};
    static const size_t steps[] = {1, 2, 100, 5000, 100000};
    const double b2 = .95, lr = .25;
    for (size_t k = 0; k < COUNT(betas) * COUNT(steps); k++) {
        const double b1 = betas[k / COUNT(steps)];
        const size_t t = steps[k % COUNT(steps)];
        const OptimConfig config = {
            .rule = "nadamw",
            .hyper.at = {SET(LR, lr), SET(WEIGHT_DECAY, 0), SET(BETA1, b1), SET(BETA2, b2), SET(EPS, 0)}};
        double product = 1, now = 0;
        for (size_t i = 1; i <= t; i++)
            product *= now = b1 * (1 - .5 * pow(.96, .004 * (double)i));
        const double coming = b1 * (1 - .5 * pow(.96, .004 * (double)(t + 1)));
        const double share = (1 - now) / (1 - product) + coming / (1 - product * coming) * (1 - b1);
        Run run;
        run_begin(&run, &config, 6, 11, 8);
        double *want = doubles_of(run.p.values, 66), size = lr * share * sqrt((1 - pow(b2, (double)t)) / (1 - b2));
        optim_set_scalars(run.optim, (OptimScalars){.steps_done = (double)t - 1, .tail_began = NAN});
        run_random_step(&run, 1, 70 + k);
        for (size_t i = 0; i < 66; i++)
            want[i] -= copysign(size, (double)run.p.grads[i]);
        /* 16 roundings of the step, two of a weight below 4 and the step */
        check_close_to_doubles(run.p.values, want, 66, U * (16 * size + 2 * (4 + size)), "nadamw");
        free(want);
        run_end(&run);
    }
}

int main(void)
{
    threads_set(1); /* so small, others would only wait */
    check_run("momentum's warmup and cooldown", test_momentum_schedule);
    check_run("momentum's warmup and cooldown in the rules", test_momentum_schedule_used);
    check_run("eps grows", test_eps_schedule);
    check_run("eps that grows is a rate that falls", test_eps_is_a_rate);
    check_run("NAdamW's product of momenta", test_nadamw_product);
    return check_summary();
}
