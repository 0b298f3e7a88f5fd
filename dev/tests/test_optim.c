/* Optimizers through their public interface: golden runs, identities, groups, state, threads. Muon's own mathematics is
 * tested in test_muon.c. */
#include "base/threads.h"
#include "dev/tests/check.h"
#include "dev/tests/fixtures.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SET(id, x) HYPER_AT(id, x)

/* Rounding to fp32. */
static const double U = 0x1p-24;

/* --------------------------------------------------------------------------------------------------------------
 * Golden runs of one weight: W = 1, gradients 1, 2, -1 whatever W is, rate 0.1; computed in fp64 and printed to 7
 * digits
 */

static void run_scalar(const OptimConfig *config, size_t steps, const float *gradients, float *weights)
{
    Params p = {0};
    params_add(&p, "w", ROLE_HIDDEN_MATRIX, 1, 1, 1);
    params_fill(&p, 1);
    Optim *optim = make_optim(config, &p);
    p.values[0] = 1;
    for (size_t t = 0; t < steps; t++) {
        p.grads[0] = gradients[t];
        optim_step(optim, 1);
        weights[t] = p.values[0];
    }
    optim_free(optim);
    params_free(&p);
}

static void test_golden_runs(void)
{
    static const struct {
        const char *what;
        OptimConfig config;
        float want[3];
    } runs[] = {
        {"SGD", {.rule = "sgd", .hyper.at = {SET(MOMENTUM, 0)}}, {.9f, .7f, .8f}},
        {"sum momentum", {.rule = "sgd"}, {.9f, .61f, .449f}},
        {"dampening 0.1", {.rule = "sgd", .hyper.at = {SET(DAMPENING, .1)}}, {.9f, .63f, .477f}},
        {"Nesterov", {.rule = "sgd", .hyper.at = {SET(NESTEROV, 1)}}, {.81f, .349f, .3041f}},
        {"L2 0.1", {.rule = "sgd", .hyper.at = {SET(WEIGHT_DECAY, .1)}}, {.89f, .5821f, .399169f}},
        {"Adam",
         {.rule = "adamw", .hyper.at = {SET(LR, .1), SET(WEIGHT_DECAY, 0), SET(BETA2, .999)}},
         {.9f, .8034818f, .7614729f}},
        {"AdamW", {.rule = "adamw", .hyper.at = {SET(LR, .1), SET(BETA2, .999)}}, {.89f, .7845818f, .7347271f}},
        {"Adam .95 .95",
         {.rule = "adamw", .hyper.at = {SET(LR, .1), SET(WEIGHT_DECAY, 0), SET(BETA1, .95), SET(BETA2, .95)}},
         {.9f, .8050484f, .7603564f}},
        {"Adam and L2 0.1",
         {.rule = "adam", .hyper.at = {SET(LR, .1), SET(WEIGHT_DECAY, .1), SET(BETA2, .999)}},
         {.9f, .8029473f, .7562371f}},
        {"AdaGrad", {.rule = "adagrad", .hyper.at = {SET(LR, .1)}}, {.9f, .8105573f, .8513821f}},
        {"RMSProp", {.rule = "rmsprop", .hyper.at = {SET(LR, .1)}}, {.0000001f, -.8953228f, -.4850213f}},
        {"AdaDelta", {.rule = "adadelta"}, {.9968377f, .9927971f, .9953525f}},
        {"Lion", {.rule = "lion", .hyper.at = {SET(LR, .1), SET(WEIGHT_DECAY, .1)}}, {.89f, .7811f, .873289f}},
        {"signSGD", {.rule = "signsgd", .hyper.at = {SET(LR, .1), SET(WEIGHT_DECAY, 0)}}, {.9f, .8f, .9f}},
        {"Signum", {.rule = "signum", .hyper.at = {SET(LR, .1), SET(WEIGHT_DECAY, 0)}}, {.9f, .8f, .7f}},
    };
    static const float gradients[3] = {1, 2, -1};
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        float got[3];
        run_scalar(&runs[i].config, 3, gradients, got);
        /* half a unit of the 7th digit, and about 4 roundings of numbers near 1 in each of 3 steps */
        check_all_close(got, runs[i].want, 3, 5e-8 + 12 * U, runs[i].what);
    }
}

/* --------------------------------------------------------------------------------------------------------------
 * Identities
 */

/* A hidden matrix, a fused QKV and a bias: something for every rule. */
static Params make_params(uint64_t seed)
{
    Params p = {0};
    params_add(&p, "w", ROLE_HIDDEN_MATRIX, 6, 11, 1);
    params_add(&p, "qkv", ROLE_HIDDEN_MATRIX, 15, 5, 3);
    params_add(&p, "b", ROLE_BIAS, 1, 7, 1);
    params_fill(&p, seed);
    return p;
}

/* Every rule of the program, with its defaults. */
enum { RULES_MOST = 64 };
static OptimConfig every_rule[RULES_MOST];
static size_t rules;

static void list_rules(void)
{
    for (; optim_rule_name(rules) != NULL && rules < RULES_MOST; rules++)
        every_rule[rules] = (OptimConfig){.rule = optim_rule_name(rules)};
}

/* After a first, undamped step, dampening = momentum is an EMA: a sum momentum with the rate (1-b) lr that starts from
 * the buffer g1/(1-b). Both are the same sums, rounded about 3 times a step. */
static void test_dampening_is_ema(void)
{
    enum { STEPS = 10 };
    const double b = .9;
    const OptimConfig damped = {.rule = "sgd", .hyper.at = {SET(DAMPENING, .9)}};
    const OptimConfig sum = {.rule = "sgd", .hyper.at = {SET(LR, .1 * (1 - .9))}};
    Params p = make_params(1), q = make_params(1);
    Optim *ema = make_optim(&damped, &p), *heavy = make_optim(&sum, &q);
    take_steps(ema, &p, 0, 1, 5);
    take_steps(heavy, &q, 0, 1, 5);
    memcpy(q.values, p.values, p.floats * sizeof *p.values);
    for (size_t i = 0; i < optim_state_count(heavy); i++)
        for (size_t j = 0; j < optim_state(heavy, i)->rows * optim_state(heavy, i)->cols; j++)
            optim_state(heavy, i)->data[j] /= (float)(1 - b);
    take_steps(ema, &p, 1, STEPS, 5);
    take_steps(heavy, &q, 1, STEPS, 5);
    check_all_close(p.values, q.values, p.floats, STEPS * 3 * 4 * U, "weights, below 4");
    optim_free(ema);
    optim_free(heavy);
    params_free(&p);
    params_free(&q);
}

/* Adam without averages is signSGD, and to the bit: sqrt(g g) = |g| in IEEE arithmetic. With averages the first step
 * is, where corrections and averages cancel to a few roundings. */
static void test_adam_and_sign(void)
{
    const OptimConfig sign = {
        .rule = "adamw", .hyper.at = {SET(LR, 1e-3), SET(WEIGHT_DECAY, 0), SET(BETA1, 0), SET(BETA2, 0), SET(EPS, 0)}};
    const OptimConfig adam = {.rule = "adamw", .hyper.at = {SET(LR, 1e-3), SET(WEIGHT_DECAY, 0), SET(EPS, 0)}};
    Params p = make_params(2);
    float *want = copy_floats(p.values, p.floats);
    Optim *optim = make_optim(&sign, &p);
    for (size_t t = 0; t < 3; t++) {
        take_steps(optim, &p, t, 1, 9);
        for (size_t i = 0; i < p.floats; i++)
            want[i] -= copysignf(1e-3f, p.grads[i]);
        check_same_bits(p.values, want, p.floats * sizeof *want, "Adam(0,0,eps=0) and signSGD");
    }
    optim_free(optim);
    optim = make_optim(&adam, &p);
    take_steps(optim, &p, 0, 1, 10);
    for (size_t i = 0; i < p.floats; i++)
        want[i] -= copysignf(1e-3f, p.grads[i]);
    check_all_close(p.values, want, p.floats, 4 * U + 1e-3 * 8 * U, "Adam's first step");
    optim_free(optim);
    params_free(&p);
    free(want);
}

/* Powers of two scale without rounding, so the comparison is of bits. */
static void test_grad_scale(void)
{
    for (size_t rule = 0; rule < rules; rule++) {
        Params p = make_params(3), q = make_params(3);
        Optim *a = make_optim(&every_rule[rule], &p), *b = make_optim(&every_rule[rule], &q);
        for (size_t t = 0; t < 3; t++) {
            fill_normal(p.grads, p.floats, 1, t);
            fill_normal(q.grads, q.floats, .25, t);
            optim_step(a, .25);
            optim_step(b, 1);
        }
        check_same_bits(p.values, q.values, p.floats * sizeof *p.values, every_rule[rule].rule);
        optim_free(a);
        optim_free(b);
        params_free(&p);
        params_free(&q);
    }
}

static void test_no_rate_no_change(void)
{
    for (size_t rule = 0; rule < rules; rule++) {
        Params p = make_params(4);
        float *before = copy_floats(p.values, p.floats);
        Optim *optim = make_optim(&every_rule[rule], &p);
        optim_begin(optim, 0, 0);
        optim_step(optim, 1);
        if (optim_group_info(optim, 0).own_schedule)
            check(memcmp(p.values, before, p.floats * sizeof *before) != 0, "%s follows the run's schedule",
                  every_rule[rule].rule);
        else
            check_same_bits(p.values, before, p.floats * sizeof *before, every_rule[rule].rule);
        optim_free(optim);
        free(before);
        params_free(&p);
    }
}

/* The schedule of the hidden matrices is not that of the rest. */
static void test_factors(void)
{
    static const OptimConfig config = {.rule = "muon"};
    for (int aux = 0; aux < 2; aux++) {
        Params p = make_params(4);
        float *before = copy_floats(p.values, p.floats);
        Optim *optim = make_optim(&config, &p);
        optim_begin(optim, aux ? 0 : 1, aux ? 1 : 0);
        optim_step(optim, 1);
        for (size_t i = 0; i < p.count; i++) {
            const Tensor *t = &p.tensors[i];
            const bool same = memcmp(p.values + t->offset, before + t->offset, tensor_size(t) * sizeof *before) == 0;
            check(same == ((t->role == ROLE_HIDDEN_MATRIX) == aux), "factor of %s alone: %s",
                  aux ? "the rest" : "hidden", t->name);
        }
        optim_free(optim);
        free(before);
        params_free(&p);
    }
}

/* Without gradients decoupled decay is one product, rounded once; a bias is not decayed. */
static void test_decay_alone(void)
{
    static const OptimConfig configs[] = {
        {.rule = "adamw", .hyper.at = {SET(LR, .125), SET(WEIGHT_DECAY, .3)}},
        {.rule = "muon", .hyper.at = {SET(LR, .125), SET(WEIGHT_DECAY, .3)}},
    };
    for (size_t i = 0; i < 2; i++) {
        Params p = make_params(5);
        float *want = copy_floats(p.values, p.floats);
        const size_t matrices = p.tensors[2].offset;
        Optim *optim = make_optim(&configs[i], &p);
        memset(p.grads, 0, p.floats * sizeof *p.grads);
        for (size_t t = 0; t < 3; t++) {
            optim_begin(optim, .5, .5);
            optim_step(optim, 1);
            for (size_t j = 0; j < matrices; j++)
                want[j] *= (float)(1 - .5 * .125 * .3);
        }
        check_same_bits(p.values, want, p.floats * sizeof *want, configs[i].rule);
        optim_free(optim);
        free(want);
        params_free(&p);
    }
}

/* --------------------------------------------------------------------------------------------------------------
 * The rules again, plainly and in double, over groups of odd sizes
 */

static double plain_value(const OptimHyper *h, HyperId id) { return h->at[id].value; }

static bool plain_is_sign(const char *rule)
{
    return strcmp(rule, "lion") == 0 || strcmp(rule, "signsgd") == 0 || strcmp(rule, "signum") == 0 ||
           strcmp(rule, "cautious-lion") == 0;
}

static bool takes_signs(const char *rule)
{
    return plain_is_sign(rule) || strcmp(rule, "adamuon") == 0 || strcmp(rule, "scion-sign") == 0 ||
           strcmp(rule, "sophia") == 0;
}

/* The direction of signSGD, Signum and Lion. Where a sum nearly cancels, rounding to fp32 may decide its sign: that is
 * doubtful. */
static double plain_sign(const OptimGroupInfo *info, double *m, double g, bool *doubtful)
{
    const OptimHyper *h = &info->hyper;
    double u = g;
    if (strcmp(info->rule, "signum") == 0)
        u = *m = plain_value(h, HYPER_MOMENTUM) * *m + (1 - plain_value(h, HYPER_MOMENTUM)) * g;
    if (strcmp(info->rule, "lion") == 0) {
        u = plain_value(h, HYPER_BETA1) * *m + (1 - plain_value(h, HYPER_BETA1)) * g;
        *m = plain_value(h, HYPER_BETA2) * *m + (1 - plain_value(h, HYPER_BETA2)) * g;
    }
    *doubtful = *doubtful || fabs(u) <= 4 * U;
    return u > 0 ? 1 : u < 0 ? -1 : 0;
}

/* The direction of AdaGrad, RMSProp (momentum in m) and AdaDelta (past steps in m). */
static double plain_adagrad(const OptimGroupInfo *info, double *m, double *v, double g)
{
    const OptimHyper *h = &info->hyper;
    const double eps = plain_value(h, HYPER_EPS), rho = plain_value(h, HYPER_BETA2);
    if (strcmp(info->rule, "adagrad") == 0) {
        *v += g * g;
        return g / (sqrt(*v) + eps);
    }
    *v = rho * *v + (1 - rho) * g * g;
    if (strcmp(info->rule, "adadelta") == 0) {
        const double d = sqrt(*m + eps) / sqrt(*v + eps) * g;
        *m = rho * *m + (1 - rho) * d * d;
        return d;
    }
    *m = plain_value(h, HYPER_MOMENTUM) * *m + g / (sqrt(*v) + eps);
    return *m;
}

static void plain_step(const OptimGroupInfo *info, size_t t, double *w, double *m, double *v, double g, bool *doubtful)
{
    const OptimHyper *h = &info->hyper;
    const double lr = plain_value(h, HYPER_LR), decay = plain_value(h, HYPER_WEIGHT_DECAY);
    const bool decoupled = strcmp(info->rule, "adamw") == 0 || plain_is_sign(info->rule);
    if (!decoupled)
        g += decay * *w;
    else
        *w -= lr * decay * *w;
    if (plain_is_sign(info->rule)) {
        *w -= lr * plain_sign(info, m, g, doubtful);
        return;
    }
    if (strncmp(info->rule, "adam", 4) == 0) {
        const double b1 = plain_value(h, HYPER_BETA1), b2 = plain_value(h, HYPER_BETA2);
        *m = b1 * *m + (1 - b1) * g;
        *v = b2 * *v + (1 - b2) * g * g;
        const double mhat = *m / (1 - pow(b1, (double)t)), vhat = *v / (1 - pow(b2, (double)t));
        *w -= lr * mhat / (sqrt(vhat) + plain_value(h, HYPER_EPS));
        return;
    }
    if (strcmp(info->rule, "sgd") != 0) {
        *w -= lr * plain_adagrad(info, m, v, g);
        return;
    }
    const double mu = plain_value(h, HYPER_MOMENTUM);
    *m = t == 1 ? g : mu * *m + (1 - plain_value(h, HYPER_DAMPENING)) * g;
    *w -= lr * (mu == 0 ? g : plain_value(h, HYPER_NESTEROV) != 0 ? g + mu * *m : *m);
}

static void compare_with_plain(const OptimConfig *config, const char *what)
{
    enum { STEPS = 20 };
    Params p = {0};
    params_add(&p, "one", ROLE_HIDDEN_MATRIX, 1, 1, 1);
    params_add(&p, "seven", ROLE_HIDDEN_MATRIX, 7, 1, 1);
    params_add(&p, "many", ROLE_HIDDEN_MATRIX, 3, 10923, 1);
    params_add(&p, "vector", ROLE_GAIN, 1, 32769, 1);
    params_fill(&p, 6);
    double *w = make_doubles(p.floats), *m = make_doubles(p.floats), *v = make_doubles(p.floats), largest = 0, path = 0;
    for (size_t i = 0; i < p.floats; i++)
        w[i] = (double)p.values[i];
    bool *doubtful = calloc(p.floats, sizeof *doubtful);
    size_t doubts = 0;
    Optim *optim = make_optim(config, &p);
    const OptimGroupInfo hidden = optim_group_info(optim, 0), vector = optim_group_info(optim, 1);
    for (size_t t = 1; t <= STEPS; t++) {
        double longest = 0;
        take_steps(optim, &p, t - 1, 1, 60);
        for (size_t i = 0; i < p.floats; i++) {
            const double before = w[i];
            plain_step(i < p.tensors[3].offset ? &hidden : &vector, t, &w[i], &m[i], &v[i], (double)p.grads[i],
                       &doubtful[i]);
            largest = fmax(largest, fabs(w[i]));
            longest = fmax(longest, fabs(w[i] - before));
        }
        path += longest;
    }
    float *want = make_floats(p.floats);
    for (size_t i = 0; i < p.floats; i++)
        want[i] = doubtful[i] ? p.values[i] : (float)w[i];
    for (size_t i = 0; i < p.floats; i++)
        doubts += doubtful[i];
    check(doubts <= 10, "%s: %zu of %zu elements are doubtful", what, doubts, p.floats);
    /* a step rounds the weight twice; the update carries at most 16 roundings (those of its averages, that fade, its
     * constants and its own) */
    check_all_close(p.values, want, p.floats, U * (2 * STEPS * largest + 16 * path), what);
    optim_free(optim);
    params_free(&p);
    free(doubtful);
    free(want);
    free(w);
    free(m);
    free(v);
}

static void test_plain(void)
{
    static const OptimConfig adam = {.rule = "adamw", .hyper.at = {SET(LR, 1e-2)}};
    static const OptimConfig adam_eps = {.rule = "adamw", .hyper.at = {SET(LR, 1e-2), SET(EPS, .5), SET(BETA2, .999)}};
    static const OptimConfig sgd = {.rule = "sgd", .hyper.at = {SET(LR, 1e-2), SET(MOMENTUM, 0)}};
    static const OptimConfig nesterov = {.rule = "sgd",
                                         .hyper.at = {SET(LR, 1e-2), SET(NESTEROV, 1), SET(WEIGHT_DECAY, .3)}};
    static const OptimConfig damped = {
        .rule = "sgd", .hyper.at = {SET(LR, 1e-2), SET(WEIGHT_DECAY, .1), SET(DAMPENING, .3), SET(MOMENTUM, .7)}};
    compare_with_plain(&adam, "adamw");
    compare_with_plain(&adam_eps, "adamw with a large eps");
    compare_with_plain(&sgd, "sgd without momentum");
    compare_with_plain(&nesterov, "sgd, Nesterov and L2");
    compare_with_plain(&damped, "sgd, dampening and L2");
    static const OptimConfig others[] = {
        {.rule = "adam", .hyper.at = {SET(LR, 1e-2), SET(WEIGHT_DECAY, .3)}},
        {.rule = "adagrad", .hyper.at = {SET(WEIGHT_DECAY, .3)}},
        {.rule = "rmsprop", .hyper.at = {SET(LR, 1e-2), SET(WEIGHT_DECAY, .3)}},
        {.rule = "rmsprop", .hyper.at = {SET(LR, 1e-2), SET(MOMENTUM, .8)}},
        {.rule = "adadelta", .hyper.at = {SET(WEIGHT_DECAY, .3)}},
        {.rule = "signsgd", .hyper.at = {SET(LR, 1e-2)}},
        {.rule = "signum", .hyper.at = {SET(LR, 1e-2)}},
        {.rule = "lion", .hyper.at = {SET(LR, 1e-2)}},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        compare_with_plain(&others[i], others[i].rule);
}

/* --------------------------------------------------------------------------------------------------------------
 * Prodigy's distance, in double and over tensors of three groups and rates, one of several units
 */

typedef struct PlainProdigy {
    double d0, d, numerator;
    double *start, *s, *m, *v;
} PlainProdigy;

/* One step of all tensors from the parameters p: the change of each. */
static void plain_prodigy(PlainProdigy *a, const Optim *optim, const Params *p, double *change)
{
    const double b1 = .9, b2 = .99, b3 = sqrt(b2), eps = .01, d = a->d;
    double sum = 0;
    a->numerator *= b3;
    for (const Tensor *t = p->tensors; t < p->tensors + p->count; t++) {
        const double rate = d * optim_rate_of(optim, t);
        for (size_t i = t->offset; i < t->offset + tensor_size(t); i++) {
            const double g = (double)p->grads[i];
            a->numerator += d / a->d0 * rate * g * (a->start[i] - (double)p->values[i]);
            a->s[i] = b3 * a->s[i] + d / a->d0 * rate * g;
            a->m[i] = b1 * a->m[i] + (1 - b1) * d * g;
            a->v[i] = b2 * a->v[i] + (1 - b2) * d * d * g * g;
            sum += fabs(a->s[i]);
        }
    }
    a->d = fmax(d, a->numerator / sum);
    for (const Tensor *t = p->tensors; t < p->tensors + p->count; t++)
        for (size_t i = t->offset; i < t->offset + tensor_size(t); i++)
            change[i] = -d * optim_rate_of(optim, t) * a->m[i] / (sqrt(a->v[i]) + a->d * eps);
}

/* Each step begins with the program's own parameters, so that its error is that of d and of the averages: a float's
 * roundings, a few for each step so far. */
static void test_common_distance(void)
{
    enum { STEPS = 12 };
    const OptimConfig config = {.rule = "prodigy",
                                .hyper.at = {SET(BETA2, .99), SET(EPS, .01), SET(D0, .01)},
                                .aux_hyper.at = {SET(LR, .5)},
                                .vector_hyper.at = {SET(LR, .25)}};
    Params p = {0};
    params_add(&p, "large", ROLE_TOKEN_EMBEDDING, 100003, 1, 1);
    params_add(&p, "wide", ROLE_HIDDEN_MATRIX, 40, 150, 1);
    params_add(&p, "small", ROLE_BIAS, 1, 17, 1);
    params_fill(&p, 12);
    PlainProdigy plain = {.d0 = .01,
                          .d = .01,
                          .start = make_doubles(p.floats),
                          .s = make_doubles(p.floats),
                          .m = make_doubles(p.floats),
                          .v = make_doubles(p.floats)};
    double *change = make_doubles(p.floats);
    float *want = make_floats(p.floats);
    Optim *optim = make_optim(&config, &p);
    for (size_t i = 0; i < p.floats; i++)
        plain.start[i] = (double)p.values[i];
    for (size_t t = 0; t < STEPS; t++) {
        double largest = 0, longest = 0;
        for (size_t i = 0; i < p.floats; i++) /* downhill is towards 0 */
            p.grads[i] = p.values[i] * (float)(1 + i % 3);
        plain_prodigy(&plain, optim, &p, change);
        for (size_t i = 0; i < p.floats; i++) {
            want[i] = (float)((double)p.values[i] + change[i]);
            largest = fmax(largest, fabs((double)p.values[i]));
            longest = fmax(longest, fabs(change[i]));
        }
        optim_set_scalars(optim, optim_scalars(optim)); /* as a checkpoint does */
        optim_step(optim, 1);
        check_all_close(p.values, want, p.floats, U * (2 * largest + 16 * STEPS * longest), "prodigy's parameters");
        check_close(optim_scalars(optim).common[0], plain.d, U * 16 * STEPS * plain.d, "prodigy's distance");
    }
    check(plain.d > .05, "the distance stayed at %g", plain.d);
    optim_free(optim);
    params_free(&p);
    free(plain.start);
    free(plain.s);
    free(plain.m);
    free(plain.v);
    free(change);
    free(want);
}

/* --------------------------------------------------------------------------------------------------------------
 * State, threads, NaN and Inf
 */

static void test_resume(void)
{
    for (size_t rule = 0; rule < rules; rule++) {
        Params p = make_params(7), q = make_params(8);
        Optim *first = make_optim(&every_rule[rule], &p), *second = make_optim(&every_rule[rule], &q);
        take_steps(first, &p, 0, 5, 70);
        check(optim_steps_done(first) == 5, "%zu steps were counted", optim_steps_done(first));
        memcpy(q.values, p.values, p.floats * sizeof *p.values);
        for (size_t i = 0; i < optim_state_count(first); i++) {
            const OptimState *from = optim_state(first, i), *to = optim_state(second, i);
            check(strcmp(from->name, to->name) == 0, "state %s became %s", from->name, to->name);
            memcpy(to->data, from->data, from->rows * from->cols * sizeof *from->data);
        }
        optim_set_scalars(second, optim_scalars(first));
        take_steps(first, &p, 5, 5, 70);
        take_steps(second, &q, 5, 5, 70);
        check_same_bits(q.values, p.values, p.floats * sizeof *p.values, every_rule[rule].rule);
        optim_free(first);
        optim_free(second);
        params_free(&p);
        params_free(&q);
    }
}

static void test_threads(void)
{
    const size_t before = threads_count();
    for (size_t rule = 0; rule < rules; rule++) {
        float *want = NULL;
        for (size_t threads = 1; threads <= 3; threads++) {
            threads_set(threads);
            Params p = {0};
            params_add(&p, "large", ROLE_TOKEN_EMBEDDING, 100003, 1, 1);
            params_add(&p, "wide", ROLE_HIDDEN_MATRIX, 40, 150, 1);
            params_add(&p, "wide too", ROLE_HIDDEN_MATRIX, 40, 150, 1);
            params_add(&p, "small", ROLE_BIAS, 1, 17, 1);
            params_fill(&p, 9);
            Optim *optim = make_optim(&every_rule[rule], &p);
            take_steps(optim, &p, 0, 3, 90);
            p.values[0] = (float)optim_grad_norm(optim, NULL);
            if (want == NULL)
                want = copy_floats(p.values, p.floats);
            check_same_bits(p.values, want, p.floats * sizeof *want, every_rule[rule].rule);
            optim_free(optim);
            params_free(&p);
        }
        free(want);
    }
    threads_set(before);
}

static void test_not_a_number(void)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t rule = 0; rule < rules; rule++) {
        for (size_t k = 0; k < 3; k++) {
            if (takes_signs(every_rule[rule].rule) && !isnan(bad[k]))
                continue; /* the sign of an infinity is a number */
            Params p = make_params(10);
            Optim *optim = make_optim(&every_rule[rule], &p);
            p.grads[3] = bad[k];
            p.grads[p.tensors[1].offset + 8] = bad[k];
            optim_step(optim, 1);
            optim_step(optim, 1); /* some rules only look at their first gradient */
            check(!isfinite(p.values[3]) && !isfinite(p.values[p.tensors[1].offset + 8]), "%s hides a gradient of %g",
                  every_rule[rule].rule, (double)bad[k]);
            check(isfinite(p.values[p.tensors[2].offset]), "%s spreads it to other tensors", every_rule[rule].rule);
            optim_free(optim);
            params_free(&p);
        }
    }
}

static void test_grad_norm(void)
{
    Params p = {0};
    params_add(&p, "w", ROLE_HIDDEN_MATRIX, 100, 1000, 1);
    params_add(&p, "b", ROLE_BIAS, 1, 7, 1);
    params_fill(&p, 11);
    Optim *optim = make_optim(&(OptimConfig){.rule = "adamw"}, &p);
    const Tensor *culprit = p.tensors;
    const double want = norm_of(p.grads, p.floats);
    check_close(optim_grad_norm(optim, &culprit), want, 1e-12 * want, "norm");
    check(culprit == NULL, "a culprit among finite gradients");
    p.grads[p.tensors[1].offset + 6] = INFINITY;
    check(isinf(optim_grad_norm(optim, &culprit)) && culprit == &p.tensors[1], "an Inf in the bias was not found");
    p.grads[99999] = NAN;
    check(isnan(optim_grad_norm(optim, &culprit)) && culprit == &p.tensors[0], "a NaN in the matrix was not found");
    for (size_t i = 0; i < p.floats; i++)
        p.grads[i] = 1e30f; /* squares beyond fp32 are no Inf */
    check_close(optim_grad_norm(optim, &culprit) / (1e30 * sqrt(100007)), 1, 2 * U, "norm of large gradients");
    optim_free(optim);
    params_free(&p);
}

/* Rows that a step has scaled by 1/2 are half of what they are without, to the bit; and so it stays in a step of hardly
 * any rate, and a gradient of 0, whatever else of the weights the rule keeps. That step rounds a few times. */
static void test_scaling(void)
{
    for (size_t rule = 0; rule < rules; rule++) {
        Params p = make_params(13), q = make_params(13);
        const size_t qkv = p.tensors[1].offset, b = p.tensors[2].offset;
        const OptimScaling list[] = {{qkv + 5, 10, 0.5}, {qkv + 35, 5, 0.5}, {b + 2, 3, 0.5}};
        Optim *plain = make_optim(&every_rule[rule], &p), *scaled = make_optim(&every_rule[rule], &q);
        optim_scale(scaled, list, 3);
        take_steps(plain, &p, 0, 1, 40);
        take_steps(scaled, &q, 0, 1, 40);
        for (int after = 0; after < 2; after++) {
            for (size_t i = 0; i < p.floats; i++) {
                const bool inside =
                    (i >= qkv + 5 && i < qkv + 15) || (i >= qkv + 35 && i < qkv + 40) || (i >= b + 2 && i < b + 5);
                const double want = (inside ? 0.5 : 1) * (double)p.values[i];
                if (!check_close((double)q.values[i], want, after * (8 * U * fabs(want) + 1e-8), every_rule[rule].rule))
                    break;
            }
            memset(p.grads, 0, p.floats * sizeof *p.grads);
            memset(q.grads, 0, q.floats * sizeof *q.grads);
            optim_begin(plain, 1e-9, 1e-9);
            optim_step(plain, 1);
            optim_begin(scaled, 1e-9, 1e-9);
            optim_step(scaled, 1);
        }
        optim_free(plain);
        optim_free(scaled);
        params_free(&p);
        params_free(&q);
    }
}

int main(void)
{
    list_rules();
    threads_set(1); /* so small, others would only wait */
    check_run("golden runs of one weight", test_golden_runs);
    check_run("dampening is an average", test_dampening_is_ema);
    check_run("Adam and the sign", test_adam_and_sign);
    check_run("gradients scaled on the way", test_grad_scale);
    check_run("a rate of 0 changes nothing", test_no_rate_no_change);
    check_run("factors of hidden matrices and of the rest", test_factors);
    check_run("decay alone is exact", test_decay_alone);
    check_run("scaled rows stay scaled", test_scaling);
    check_run("the rules in double, odd sizes", test_plain);
    check_run("prodigy's distance is common to all tensors", test_common_distance);
    check_run("state saved and restored", test_resume);
    check_run("1, 2, 3 threads", test_threads);
    check_run("NaN and Inf stay visible", test_not_a_number);
    check_run("gradient norm and culprit", test_grad_norm);
    return check_summary();
}
