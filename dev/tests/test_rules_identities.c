/* Elementwise rules: golden runs, rules that are one under two names, and the places of eps. */
#include "base/threads.h"
#include "dev/tests/rules.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --------------------------------------------------------------------------------------------------------------
 * Golden runs of one weight: W = 1, gradients 1, 2, -1, rate 0.1
 */

static void test_golden_runs(void)
{
    static const struct {
        const char *what;
        OptimConfig config;
        float want[3];
    } runs[] = {
        {"EMA", {.rule = "sgd", .hyper.at = {SET(MOMENTUM_FORM, MOMENTUM_EMA)}}, {.99f, .961f, .9449f}},
        {"EMA, Nesterov: a tenth of the sum's way",
         {.rule = "sgd", .hyper.at = {SET(MOMENTUM_FORM, MOMENTUM_EMA), SET(NESTEROV, 1)}},
         {.981f, .9349f, .93041f}},
        {"look-ahead", {.rule = "nesterov", .hyper.at = {SET(LR, .1)}}, {.99f, .961f, .9449f}},
        {"shifted",
         {.rule = "nesterov", .hyper.at = {SET(LR, .1), SET(NESTEROV_FORM, NESTEROV_SHIFTED)}},
         {.81f, .349f, .3041f}},
        {"no correction",
         {.rule = "adam", .hyper.at = {SET(LR, .1), SET(BETA1, .95), SET(BETA2, .95), SET(BIAS_CORRECTION, 0)}},
         {.9776393f, .9479907f, .9311124f}},
        {"no zero init",
         {.rule = "adam", .hyper.at = {SET(LR, .1), SET(BETA1, .95), SET(BETA2, .95), SET(ZERO_INIT_MOMENTS, 0)}},
         {.5527864f, .2392138f, .0044921f}},
        {"neither",
         {.rule = "adam",
          .hyper.at = {SET(LR, .1), SET(BETA1, .95), SET(BETA2, .95), SET(BIAS_CORRECTION, 0),
                       SET(ZERO_INIT_MOMENTS, 0)}},
         {.9f, .8020870f, .7134426f}},
        {"nested",
         {.rule = "nested-adam", .hyper.at = {SET(LR, .1), SET(BETA2, .999), SET(WEIGHT_DECAY, 0)}},
         {.9f, .7860673f, .7402687f}},
    };
    static const float gradients[3] = {1, 2, -1};
    for (size_t i = 0; i < COUNT(runs); i++) {
        Run run;
        float got[3];
        run_begin(&run, &runs[i].config, 1, 1, 1);
        run.p.values[0] = 1;
        for (size_t t = 0; t < 3; t++) {
            run.p.grads[0] = gradients[t];
            run_step(&run, 1);
            got[t] = run.p.values[0];
        }
        /* half a unit of the 7th digit, and in each step about 4 roundings of numbers near 1 */
        check_all_close(got, runs[i].want, 3, 5e-8 + 12 * U, runs[i].what);
        run_end(&run);
    }
}

/* What a first step multiplies the gradient's sign with, by its ablation. */
static void test_first_step(void)
{
    static const double betas[][2] = {{.95, .95}, {.9, .999}, {.5, .75}};
    for (size_t i = 0; i < COUNT(betas); i++) {
        const double b1 = betas[i][0], b2 = betas[i][1];
        const double want[2][2] = {{1, sqrt(1 - b2) / (1 - b1)}, {(1 - b1) / sqrt(1 - b2), 1}};
        for (int ablation = 0; ablation < 4; ablation++) {
            const int uncorrected = ablation / 2, seeded = ablation % 2;
            const OptimConfig config = {.rule = "adamw",
                                        .hyper.at = {SET(LR, 1), SET(WEIGHT_DECAY, 0), SET(BETA1, b1), SET(BETA2, b2),
                                                     SET(EPS, 0), SET(BIAS_CORRECTION, !uncorrected),
                                                     SET(ZERO_INIT_MOMENTS, !seeded)}};
            Run run;
            run_begin(&run, &config, 4, 5, 2);
            memset(run.p.values, 0, 20 * sizeof(float));
            run_step(&run, 1);
            const double factor = uncorrected && seeded ? 1 : want[uncorrected][seeded];
            for (size_t j = 0; j < 20; j++) /* 8 roundings: constants, moments, root, quotient, product */
                check_close((double)run.p.values[j], -copysign(factor, (double)run.p.grads[j]), 8 * U * factor,
                            "first step");
            run_end(&run);
        }
    }
    check_close((1 - .95) / sqrt(1 - .95), .2236, 5e-5, "zero init, no correction");
}

/* --------------------------------------------------------------------------------------------------------------
 * Two rules that are one
 */

static void test_momentum_forms(void)
{
    static const OptimConfig ema = {.rule = "sgd",
                                    .hyper.at = {SET(LR, .5), SET(MOMENTUM, .8), SET(MOMENTUM_FORM, MOMENTUM_EMA)}};
    static const OptimConfig sum = {.rule = "sgd", .hyper.at = {SET(LR, .5 * (1 - .8)), SET(MOMENTUM, .8)}};
    static const OptimConfig ema_nesterov = {
        .rule = "sgd",
        .hyper.at = {SET(LR, .5), SET(MOMENTUM, .8), SET(MOMENTUM_FORM, MOMENTUM_EMA), SET(NESTEROV, 1)}};
    static const OptimConfig sum_nesterov = {.rule = "sgd",
                                             .hyper.at = {SET(LR, .5 * (1 - .8)), SET(MOMENTUM, .8), SET(NESTEROV, 1)}};
    expect_same(&ema, &sum, NULL, .8, "average and sum");
    expect_same(&ema_nesterov, &sum_nesterov, NULL, .8, "average and sum, Nesterov");
    static const OptimConfig shifted = {
        .rule = "nesterov", .hyper.at = {SET(LR, .1), SET(MOMENTUM, .8), SET(NESTEROV_FORM, NESTEROV_SHIFTED)}};
    static const OptimConfig torch = {.rule = "sgd", .hyper.at = {SET(LR, .1), SET(MOMENTUM, .8), SET(NESTEROV, 1)}};
    expect_same(&shifted, &torch, slopes, .8, "shifted Nesterov and PyTorch's");
}

/* The points where look-ahead Nesterov takes its gradients are those of the blend (1-b) g + b m. */
static void test_look_ahead(void)
{
    static const OptimConfig ahead = {.rule = "nesterov", .hyper.at = {SET(LR, .5), SET(MOMENTUM, .8)}};
    static const OptimConfig blend = {
        .rule = "sgd",
        .hyper.at = {SET(LR, .5), SET(MOMENTUM, .8), SET(MOMENTUM_FORM, MOMENTUM_EMA), SET(NESTEROV, 1)}};
    Run a, b;
    run_begin(&a, &ahead, 6, 11, 3);
    run_begin(&b, &blend, 6, 11, 3);
    for (size_t t = 0; t < STEPS; t++) {
        float *const before = copy_floats(a.p.values, a.p.floats);
        optim_begin(a.optim, 1, 1);
        /* both round some 6 times a step numbers below 4; the buffer repeats it up to 1/(1-b) = 5 times */
        check_all_close(a.p.values, b.p.values, a.p.floats, STEPS * 6 * U * 4 * 6,
                        "point ahead and the blend's weights");
        if (t > 0)
            check(memcmp(a.p.values, before, a.p.floats * sizeof(float)) != 0, "step %zu does not look ahead", t);
        slopes(&a);
        slopes(&b);
        optim_step(a.optim, 1);
        run_step(&b, 1);
        free(before);
    }
    run_end(&a);
    run_end(&b);
}

static void test_adam_relatives(void)
{
    static const OptimConfig rmsprop = {.rule = "rmsprop", .hyper.at = {SET(LR, .01), SET(WEIGHT_DECAY, .3)}};
    static const OptimConfig no_first = {
        .rule = "adam",
        .hyper.at = {SET(LR, .01), SET(WEIGHT_DECAY, .3), SET(BETA1, 0), SET(BETA2, .99), SET(BIAS_CORRECTION, 0)}};
    expect_same(&rmsprop, &no_first, NULL, 0, "RMSProp and Adam without its first moment");
    for (int mode = EPS_OUTSIDE; mode <= EPS_INSIDE; mode++) {
        const OptimConfig adam = {.rule = "adam",
                                  .hyper.at = {SET(LR, .01), SET(WEIGHT_DECAY, 0), SET(EPS_MODE, mode)}};
        const OptimConfig adamw = {.rule = "adamw",
                                   .hyper.at = {SET(LR, .01), SET(WEIGHT_DECAY, 0), SET(EPS_MODE, mode)}};
        expect_same_bits(&adam, &adamw, "Adam and AdamW without decay");
    }
    static const OptimConfig nested = {.rule = "nested-adam", .hyper.at = {SET(LR, .01), SET(BETA1, 0), SET(EPS, .25)}};
    static const OptimConfig flat = {.rule = "adamw", .hyper.at = {SET(LR, .01), SET(BETA1, 0), SET(EPS, .25)}};
    expect_same_bits(&nested, &flat, "nested Adam and Adam without a first average");
    static const OptimConfig lion = {.rule = "lion",
                                     .hyper.at = {SET(LR, .01), SET(WEIGHT_DECAY, .1), SET(BETA1, .8), SET(BETA2, .8)}};
    static const OptimConfig signum = {.rule = "signum",
                                       .hyper.at = {SET(LR, .01), SET(WEIGHT_DECAY, .1), SET(MOMENTUM, .8)}};
    expect_same_bits(&lion, &signum, "Lion with one beta and Signum");
}

/* The momenta of Signum and Lion are averages, which the sign alone would not show. */
static void test_sign_momentum(void)
{
    static const OptimConfig configs[] = {
        {.rule = "signum", .hyper.at = {SET(MOMENTUM, .8)}},
        {.rule = "lion", .hyper.at = {SET(BETA1, .5), SET(BETA2, .8)}},
    };
    for (size_t k = 0; k < COUNT(configs); k++) {
        Run run;
        run_begin(&run, &configs[k], 6, 11, 3);
        double m[66] = {0};
        for (size_t t = 0; t < STEPS; t++) {
            run_random_step(&run, 1, 30 + t);
            for (size_t i = 0; i < 66; i++)
                m[i] = .8 * m[i] + (1 - .8) * (double)run.p.grads[i];
        }
        /* 3 roundings a step of numbers below 4, which fade: 5 steps' worth */
        check_close_to_doubles(state_of(run.optim, "m").data, m, 66, 5 * 3 * 4 * U, configs[k].rule);
        run_end(&run);
    }
}

/* eps far above sqrt(v), here 1e6 over at most 5: the step is eta/eps m, but for a share of 5e-6 of it. */
static void test_large_eps(void)
{
    static const OptimConfig adam = {
        .rule = "adam", .hyper.at = {SET(LR, 1e5), SET(BETA1, .8), SET(EPS, 1e6), SET(BIAS_CORRECTION, 0)}};
    static const OptimConfig sgd = {.rule = "sgd",
                                    .hyper.at = {SET(LR, .1), SET(MOMENTUM, .8), SET(MOMENTUM_FORM, MOMENTUM_EMA)}};
    double largest;
    const double path = STEPS * .1 * 5, worst = largest_difference(&adam, &sgd, NULL, &largest);
    check(worst <= 5e-6 * path + STEPS * 4 * U * largest, "differ by %.3g", worst);
}

/* The places of eps, with and without corrections, in double. The uncorrected one is the outside one with
 * eps / sqrt(1 - b2^t). */
static void test_eps_modes(void)
{
    enum { N = 66 };
    const double b1 = .8, b2 = .9, eps = .5, lr = .1;
    for (int ablation = 0; ablation < 6; ablation++) {
        const int mode = ablation / 2, corrected = ablation % 2;
        const OptimConfig config = {.rule = "adamw",
                                    .hyper.at = {SET(LR, lr), SET(WEIGHT_DECAY, 0), SET(BETA1, b1), SET(BETA2, b2),
                                                 SET(EPS, eps), SET(EPS_MODE, mode), SET(BIAS_CORRECTION, corrected)}};
        Run run;
        run_begin(&run, &config, 6, 11, 4);
        double *w = doubles_of(run.p.values, N), m[N] = {0}, v[N] = {0};
        for (size_t t = 1; t <= STEPS; t++) {
            run_random_step(&run, 1, t);
            const double c1 = corrected ? 1 - pow(b1, (double)t) : 1, c2 = corrected ? 1 - pow(b2, (double)t) : 1;
            for (size_t i = 0; i < N; i++) {
                const double g = (double)run.p.grads[i];
                m[i] = b1 * m[i] + (1 - b1) * g;
                v[i] = b2 * v[i] + (1 - b2) * g * g;
                const double outside = mode == EPS_UNCORRECTED ? eps / sqrt(c2) : mode == EPS_OUTSIDE ? eps : 0;
                w[i] -= lr * m[i] / c1 / (sqrt(v[i] / c2 + (mode == EPS_INSIDE ? eps : 0)) + outside);
            }
        }
        /* two roundings of a weight below 5 a step, 16 of a step below 0.4 */
        check_close_to_doubles(run.p.values, w, N, STEPS * U * (2 * 5 + 16 * .4), "eps modes");
        free(w);
        run_end(&run);
    }
}

/* --------------------------------------------------------------------------------------------------------------
 * MARS's exact form on quadratics, each step its own: in double, from the program's own parameters
 */

enum { MARS_N = 66 };

static double slope_in(double w, size_t i, size_t t) { return slope(w, i + 5 * t); }

static void slopes_in(const Run *run, size_t t)
{
    for (size_t i = 0; i < MARS_N; i++)
        run->p.grads[i] = (float)slope_in((double)run->p.values[i], i, t);
}

/* Step t of the averages m and v, with clipped gradients at the parameters `now` and `last`, where the step before took
 * its own: w becomes the parameters after it. */
static void plain_mars(size_t t, const float *now, const float *last, double *m, double *v, double *w)
{
    const double lr = .05, wd = .1, b1 = .8, b2 = .9, eps = .1, share = .3 * b1 / (1 - b1);
    double c[MARS_N], squares = 0;
    for (size_t i = 0; i < MARS_N; i++) {
        const double g = .25 * slope_in((double)now[i], i, t),
                     previous = t > 1 ? .125 * slope_in((double)last[i], i, t) : 0;
        c[i] = g + share * (g - previous);
        squares += c[i] * c[i];
    }
    for (size_t i = 0; i < MARS_N; i++) {
        const double clipped = c[i] / fmax(1, sqrt(squares));
        m[i] = b1 * m[i] + (1 - b1) * clipped;
        v[i] = b2 * v[i] + (1 - b2) * clipped * clipped;
        const double u = m[i] / (1 - pow(b1, (double)t)) / (sqrt(v[i] / (1 - pow(b2, (double)t))) + eps);
        w[i] = (double)now[i] - lr * (u + wd * (double)now[i]);
    }
}

static void exact_mars(double look_ahead)
{
    const OptimConfig config = {.rule = "mars",
                                .hyper.at = {SET(LR, .05), SET(WEIGHT_DECAY, .1), SET(BETA1, .8), SET(BETA2, .9),
                                             SET(EPS, .1), SET(MARS_GAMMA, .3), SET(MARS_FORM, MARS_EXACT)},
                                .averaging = {.nesterov = look_ahead, .nesterov_decay = .9}};
    Run run;
    float now[MARS_N], last[MARS_N] = {0};
    double m[MARS_N] = {0}, v[MARS_N] = {0}, want[MARS_N];
    run_begin(&run, &config, 6, 11, 4);
    for (size_t t = 1; t <= STEPS; t++) {
        optim_begin(run.optim, 1, 1);
        memcpy(now, run.p.values, sizeof now);
        check(optim_wants_previous(run.optim, t) == (t > 1), "a second gradient in step %zu", t);
        if (t > 1) {
            optim_swap_previous(run.optim);
            check_same_bits(run.p.values, last, sizeof last, "where the last gradient was taken");
            slopes_in(&run, t);
            optim_take_previous(run.optim, .125);
            optim_swap_previous(run.optim);
            check_same_bits(run.p.values, now, sizeof now, "where this one is taken");
        }
        slopes_in(&run, t);
        optim_step(run.optim, .25);
        plain_mars(t, now, last, m, v, want);
        /* two roundings of a weight below 5; 16 of m, below 1, times lr / eps, and of v's root, as much */
        check_close_to_doubles(run.p.values, want, MARS_N, U * (2 * 5 + 2 * 16 * .05 / .1), "exact MARS");
        memcpy(last, now, sizeof last);
    }
    run_end(&run);
}

static void test_exact_mars(void)
{
    exact_mars(0);
    exact_mars(.5);
}

int main(void)
{
    threads_set(1); /* so small, others would only wait */
    check_run("golden runs of one weight", test_golden_runs);
    check_run("first steps of Adam's ablations", test_first_step);
    check_run("momentum as average and sum; Nesterov's forms", test_momentum_forms);
    check_run("looking ahead and the blend", test_look_ahead);
    check_run("Adam's relatives", test_adam_relatives);
    check_run("momenta of Signum and Lion", test_sign_momentum);
    check_run("a large eps makes Adam momentum", test_large_eps);
    check_run("places of eps", test_eps_modes);
    check_run("MARS with a second gradient", test_exact_mars);
    return check_summary();
}
