/* Every rule of the table: the size of its state, and gradients that are zero, tiny, huge or of low rank. */
#include "base/threads.h"
#include "dev/tests/rules.h"
#include "optim/rules/muon.h"
#include "optim/rules/newton_schulz.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Floats of state of an r x c matrix: so many of its shape, of r x r, c x c, of the smaller side squared, of r + c, of
 * max(r,c), of max(r,c) unless r = c, of r, of r + c or, if r = 1, c, of min(r,c) x k and max(r,c) x k, k =
 * min(rank,r,c), and numbers of their
 * own. */
typedef struct StateSize {
    OptimConfig config;
    size_t whole, left, right, smaller, sides, longer, unequal, rows, lines, thin, longer_thin, rank, numbers;
    bool beside; /* other parameters are kept beside it: it shows a point of its own, or has a second gradient */
} StateSize;

static const StateSize sizes[] = {
    {{.rule = "sgd"}, .whole = 1},
    {{.rule = "sgd", .hyper.at = {SET(MOMENTUM, 0)}}, .whole = 0},
    {{.rule = "sgd", .hyper.at = {SET(MOMENTUM_FORM, MOMENTUM_EMA), SET(NESTEROV, 1)}}, .whole = 1},
    {{.rule = "nesterov"}, .whole = 1},
    {{.rule = "nesterov", .hyper.at = {SET(NESTEROV_FORM, NESTEROV_SHIFTED)}}, .whole = 1},
    {{.rule = "adagrad"}, .whole = 1},
    {{.rule = "rmsprop"}, .whole = 1},
    {{.rule = "rmsprop", .hyper.at = {SET(MOMENTUM, .5)}}, .whole = 2},
    {{.rule = "adadelta"}, .whole = 2},
    {{.rule = "adam"}, .whole = 2},
    {{.rule = "adam", .hyper.at = {SET(EPS_MODE, EPS_UNCORRECTED)}}, .whole = 2},
    {{.rule = "adam", .hyper.at = {SET(EPS_MODE, EPS_INSIDE), SET(BIAS_CORRECTION, 0)}}, .whole = 2},
    {{.rule = "adamw"}, .whole = 2},
    {{.rule = "adamw", .hyper.at = {SET(ZERO_INIT_MOMENTS, 0), SET(CAUTIOUS, 1)}}, .whole = 2},
    {{.rule = "adamw", .steps = 8, .hyper.at = {SET(EPS_MAX, 1), SET(EPS_RATE, 1)}}, .whole = 2},
    {{.rule = "nested-adam"}, .whole = 2},
    {{.rule = "adam-cpr", .hyper.at = {SET(CPR_WARMUP, 2)}}, .whole = 2, .numbers = 2},
    {{.rule = "schedule-free"}, .whole = 2, .beside = true},
    {{.rule = "schedule-free", .hyper.at = {SET(RATE_WARMUP, 3)}}, .whole = 2, .beside = true},
    {{.rule = "ademamix"}, .whole = 3},
    {{.rule = "ademamix", .hyper.at = {SET(BETA1, 0), SET(BETA3_WARMUP, 3), SET(ALPHA_WARMUP, 9)}}, .whole = 3},
    {{.rule = "nadamw"}, .whole = 2},
    {{.rule = "nadamw", .hyper.at = {SET(BETA1, 0)}}, .whole = 2},
    {{.rule = "prodigy"}, .whole = 4},
    {{.rule = "prodigy", .hyper.at = {SET(D0, .1), SET(D_COEF, 3), SET(WEIGHT_DECAY, .5)}}, .whole = 4},
    {{.rule = "adopt"}, .whole = 2},
    {{.rule = "signsgd"}, .whole = 0},
    {{.rule = "signum"}, .whole = 1},
    {{.rule = "lion"}, .whole = 1},
    {{.rule = "sophia"}, .whole = 2},
    {{.rule = "mars"}, .whole = 3},
    {{.rule = "mars", .hyper.at = {SET(MARS_FORM, MARS_EXACT)}}, .whole = 3, .beside = true},
    {{.rule = "mars-lion"}, .whole = 2},
    {{.rule = "cautious-adamw"}, .whole = 2},
    {{.rule = "cautious-lion"}, .whole = 1},
    {{.rule = "muon"}, .whole = 1},
    {{.rule = "muon", .hyper.at = {SET(NS, NS_CUBIC), SET(MUON_SCALE, MUON_SCALE_GRADIENT)}}, .whole = 1},
    {{.rule = "muon", .hyper.at = {SET(NS, NS_MODULA), SET(MUON_SCALE, MUON_SCALE_NUCLEAR)}}, .whole = 1},
    {{.rule = "muon", .hyper.at = {SET(NS, NS_POLAR_EXPRESS), SET(MUON_SCALE, MUON_SCALE_MOONSHOT)}}, .whole = 1},
    {{.rule = "muon", .hyper.at = {SET(NS, NS_EXACT), SET(MUON_SCALE, MUON_SCALE_BERNSTEIN)}}, .whole = 1},
    {{.rule = "spectral"}, .whole = 0},
    {{.rule = "spectral", .hyper.at = {SET(NS, NS_TRACK3), SET(MUON_SCALE, MUON_SCALE_NUCLEAR)}}, .whole = 0},
    {{.rule = "normuon"}, .whole = 1, .longer = 1},
    {{.rule = "normuon", .hyper.at = {SET(NS, NS_VARIED), SET(MUON_SCALE, MUON_SCALE_GRADIENT)}},
     .whole = 1,
     .longer = 1},
    {{.rule = "normuon", .hyper.at = {SET(NORMUON_FORM, NORMUON_LI), SET(MUON_SCALE, MUON_SCALE_RMS)}},
     .whole = 1,
     .rows = 1},
    {{.rule = "contra-muon"}, .whole = 1, .longer = 1},
    {{.rule = "aurora"}, .whole = 1},
    {{.rule = "cautious-muon"}, .whole = 1},
    {{.rule = "muon",
      .hyper.at = {SET(RADIAL_BRAKE, 1), SET(STEP_FLOOR, 2), SET(FLOOR_BY, FLOOR_ROW), SET(PIN_RADIUS, 1),
                   SET(WEIGHT_DECAY, .1)}},
     .whole = 1},
    {{.rule = "muonh"}, .whole = 1},
    {{.rule = "normuonh"}, .whole = 1, .longer = 1},
    {{.rule = "adamh"}, .whole = 2},
    {{.rule = "muon2"}, .whole = 2},
    {{.rule = "dion"}, .whole = 1, .thin = 1, .rank = 1000},
    {{.rule = "dion", .hyper.at = {SET(RANK, 2)}}, .whole = 1, .thin = 1, .rank = 2},
    {{.rule = "shampoo", .hyper.at = {SET(GRAFT, GRAFT_NONE)}}, .whole = 1, .left = 2, .right = 2},
    {{.rule = "shampoo", .hyper.at = {SET(GRAFT, GRAFT_ADAM), SET(REFRESH, 1)}}, .whole = 2, .left = 2, .right = 2},
    {{.rule = "shampoo", .hyper.at = {SET(GRAFT, GRAFT_NONE), SET(SIDES, SIDES_ONE), SET(BETA1, 0)}}, .smaller = 2},
    {{.rule = "shampoo", .hyper.at = {SET(GRAFT, GRAFT_ADAM), SET(SIDES, SIDES_ONE), SET(EPS, 0)}},
     .whole = 2,
     .smaller = 2},
    {{.rule = "soap"}, .whole = 2, .left = 2, .right = 2},
    {{.rule = "soap", .hyper.at = {SET(REFRESH, 1)}}, .whole = 2, .left = 2, .right = 2},
    {{.rule = "soap-muon"}, .whole = 2, .left = 2, .right = 2},
    {{.rule = "soap-muon", .hyper.at = {SET(REFRESH, 1), SET(MUON_SCALE, MUON_SCALE_NUCLEAR)}},
     .whole = 2,
     .left = 2,
     .right = 2},
    {{.rule = "soap-muon", .hyper.at = {SET(NS_NORM, NS_FROBENIUS), SET(GATE, GATE_ALL)}},
     .whole = 2,
     .left = 2,
     .right = 2},
    {{.rule = "soap-h"}, .whole = 2, .left = 2, .right = 2},
    {{.rule = "rownorm"}, .whole = 1},
    {{.rule = "kl-soap"}, .whole = 2, .left = 2, .right = 2, .sides = 1},
    {{.rule = "adamuon"}, .whole = 2},
    {{.rule = "splus", .hyper.at = {SET(REFRESH, 2)}}, .whole = 2, .left = 2, .right = 2, .beside = true},
    {{.rule = "scion"}, .whole = 1},
    {{.rule = "scion", .hyper.at = {SET(NS, NS_EXACT), SET(WEIGHT_DECAY, 0)}}, .whole = 1},
    {{.rule = "scion-sign"}, .whole = 1},
    {{.rule = "adafactor"}, .lines = 1},
    {{.rule = "adam-mini"}, .whole = 1, .rows = 1},
    {{.rule = "dynmuon"}, .whole = 1},
    {{.rule = "dynmuon", .hyper.at = {SET(POWER_START, -1), SET(POWER_END, 1), SET(NS, NS_JORDAN)}}, .whole = 1},
    {{.rule = "pmuon"}, .whole = 1, .left = 2, .right = 2},
    {{.rule = "pmuon", .hyper.at = {SET(WHITENING, 1), SET(NS, NS_JORDAN)}}, .whole = 1, .left = 2, .right = 2},
    {{.rule = "sinksoap"}, .whole = 1, .left = 1, .right = 1, .unequal = 1},
    {{.rule = "sinksoap", .hyper.at = {SET(EPS, .1)}}, .whole = 1, .left = 1, .right = 1, .unequal = 1},
    {{.rule = "muown"}, .whole = 1, .rows = 4},
    {{.rule = "muown", .steps = 5, .hyper.at = {SET(TARGET_NORM, .1)}}, .whole = 1, .rows = 4},
    {{.rule = "psgdh"}, .whole = 1, .left = 1, .right = 1},
    {{.rule = "psgdh", .hyper.at = {SET(FACTOR_LR, 0)}}, .whole = 1, .left = 1, .right = 1},
    {{.rule = "kron"}, .whole = 1, .smaller = 1},
    {{.rule = "kron", .hyper.at = {SET(FACTOR_LR, 1)}}, .whole = 1, .smaller = 1},
    {{.rule = "galore", .hyper.at = {SET(RANK, 0), SET(REFRESH, 2)}}, .longer_thin = 2, .thin = 1, .rank = 1000},
    {{.rule = "galore", .hyper.at = {SET(RANK, 2)}}, .longer_thin = 2, .thin = 1, .rank = 2},
    {{.rule = "dion2"}, .whole = 1},
    {{.rule = "dion2", .hyper.at = {SET(FRACTION, 1), SET(NS, NS_EXACT)}}, .whole = 1},
    {{.rule = "muon-plus"}, .whole = 1, .longer = 1},
    {{.rule = "mars-shampoo"}, .whole = 2},
    {{.rule = "nordion2", .hyper.at = {SET(FRACTION, 1e-9)}}, .whole = 1, .rows = 1},
};

static size_t floats_of(const StateSize *s, size_t r, size_t c)
{
    const size_t least = r < c ? r : c, most = r < c ? c : r, k = s->rank < least ? s->rank : least;
    return s->whole * r * c + s->left * r * r + s->right * c * c + s->smaller * least * least + s->sides * (r + c) +
           s->longer * most + (r != c ? s->unequal * most : 0) + s->rows * r + s->lines * (r > 1 ? r + c : c) +
           (s->thin * least + s->longer_thin * most) * k + s->numbers;
}

static const size_t every_shape[][2] = {{6, 11}, {12, 5}, {7, 7}, {1, 1}, {1, 9}, {9, 1}};

static void test_state_sizes(void)
{
    for (size_t rule = 0; optim_rule_name(rule) != NULL; rule++) {
        bool listed = false;
        for (size_t i = 0; i < COUNT(sizes); i++)
            listed = listed || strcmp(sizes[i].config.rule, optim_rule_name(rule)) == 0;
        check(listed, "%s has no line in `sizes` (dev/tests/test_rules_all.c)", optim_rule_name(rule));
    }
    for (size_t i = 0; i < COUNT(sizes) * COUNT(every_shape); i++) {
        const StateSize *s = &sizes[i / COUNT(every_shape)];
        const size_t *shape = every_shape[i % COUNT(every_shape)];
        Run run;
        size_t held = 0;
        run_begin(&run, &s->config, shape[0], shape[1], 31);
        for (size_t k = 0; k < optim_state_count(run.optim); k++)
            held += optim_state(run.optim, k)->rows * optim_state(run.optim, k)->cols;
        const size_t told = optim_group_info(run.optim, 0).state_floats;
        const size_t point = s->beside ? shape[0] * shape[1] : 0;
        check(told == floats_of(s, shape[0], shape[1]) && held == told + point,
              "%s of %zu x %zu: %zu floats told, %zu held, %zu by the book", s->config.rule, shape[0], shape[1], told,
              held, floats_of(s, shape[0], shape[1]));
        run_end(&run);
    }
}

typedef enum {
    GRADIENT_ZERO,
    GRADIENT_RANK_ONE,
    GRADIENT_TINY,
    GRADIENT_SMALL,
    GRADIENT_HUGE,
    GRADIENT_COUNT
} GradientKind;

static void fill_gradient(const Run *run, GradientKind kind, uint64_t seed)
{
    static const double size[GRADIENT_COUNT] = {0, 1, 1e-30, 1e-3, 1e18};
    const Tensor *t = run->p.tensors;
    fill_normal(run->p.grads, run->p.floats, size[kind], seed);
    for (size_t i = 0; i < run->p.floats && kind == GRADIENT_RANK_ONE; i++)
        run->p.grads[i] = (float)(sin(1 + (double)(i / t->cols)) * cos((double)(i % t->cols) * (1 + (double)seed)));
}

static bool all_finite(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

static void test_finite(void)
{
    for (size_t i = 0; i < COUNT(sizes) * COUNT(every_shape) * GRADIENT_COUNT * 2; i++) {
        const StateSize *s = &sizes[i % COUNT(sizes)];
        const size_t *shape = every_shape[i / COUNT(sizes) % COUNT(every_shape)],
                     zero = i / COUNT(sizes) / COUNT(every_shape) % 2;
        const GradientKind kind = (GradientKind)(i / COUNT(sizes) / COUNT(every_shape) / 2);
        Run run;
        Error e;
        run_begin(&run, &s->config, shape[0], shape[1], 32);
        if (zero)
            memset(run.p.values, 0, run.p.floats * sizeof(float));
        const bool refused = optim_check_parameters(run.optim, &e) != 0;
        for (size_t t = 0; t < 5 && !refused; t++) {
            fill_gradient(&run, kind, 300 + t);
            run_step(&run, 1);
            check(all_finite(run.p.values, run.p.floats), "%s (%zu), %zu x %zu%s, gradient %d: weights in step %zu",
                  s->config.rule, i % COUNT(sizes), shape[0], shape[1], zero ? " of zeros" : "", (int)kind, t);
        }
        for (size_t k = 0; k < optim_state_count(run.optim); k++)
            check(all_finite(optim_state(run.optim, k)->data,
                             optim_state(run.optim, k)->rows * optim_state(run.optim, k)->cols),
                  "%s, %zu x %zu, gradient %d: %s", s->config.rule, shape[0], shape[1], (int)kind,
                  optim_state(run.optim, k)->name);
        run_end(&run);
    }
}

/* What a rule's rate of decay is divided by, beside lr x weight decay. */
static double rate_divisor(const char *rule, const OptimHyper *h, size_t rows, size_t cols)
{
    if (strcmp(rule, "prodigy") == 0)
        return 1 / hyper(h, HYPER_D0);
    if (strcmp(rule, "splus") == 0)
        return (double)(rows + cols) / 2;
    return strcmp(rule, "muon-plus") == 0 && rows > cols ? sqrt((double)cols / (double)rows) : 1;
}

/* Zero gradients leave nothing but the decay, a rounding a step; soap and adopt do not decay in their first call. */
static void test_zero_gradients(void)
{
    for (size_t i = 0; i < COUNT(sizes) * COUNT(shapes); i++) {
        const StateSize *s = &sizes[i / COUNT(shapes)];
        const size_t *shape = shapes[i % COUNT(shapes)];
        Run run;
        const bool waits = strcmp(s->config.rule, "soap") == 0 || strcmp(s->config.rule, "adopt") == 0;
        run_begin(&run, &s->config, shape[0], shape[1], 33);
        double *want = doubles_of(run.p.values, run.p.floats);
        memset(run.p.grads, 0, run.p.floats * sizeof(float));
        const OptimHyper h = optim_group_info(run.optim, 0).hyper;
        const double divisor = rate_divisor(s->config.rule, &h, shape[0], shape[1]);
        const double decay = h.at[HYPER_WEIGHT_DECAY].set ? hyper(&h, HYPER_WEIGHT_DECAY) : 0;
        for (size_t t = 0; t < 5; t++) {
            run_step(&run, 1);
            for (size_t k = 0; k < run.p.floats && !(t == 0 && waits); k++)
                want[k] *= 1 - hyper(&h, HYPER_LR) / divisor * decay;
        }
        check_close_to_doubles(run.p.values, want, run.p.floats, 5 * 2 * U * 4, s->config.rule);
        free(want);
        run_end(&run);
    }
}

int main(void)
{
    threads_set(1); /* so small, others would only wait */
    check_run("sizes of states", test_state_sizes);
    check_run("always finite", test_finite);
    check_run("zero gradients", test_zero_gradients);
    return check_summary();
}
