/* Averages around the rules: EMA-Nesterov and the tail average. */
#include "base/threads.h"
#include "dev/tests/rules.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Both, in double, around plain gradient descent whose gradients depend on the point. */
static void test_averages(void)
{
    enum { N = 66, FROM = 2, UNTIL = 7, TAIL = 4, TAIL_FROM = 3 };
    const double d = .9, strength = 2, share = .6;
    const OptimConfig config = {.rule = "sgd",
                                .hyper.at = {SET(LR, .25), SET(MOMENTUM, 0)},
                                .steps = 12,
                                .averaging = {.nesterov = strength,
                                              .nesterov_decay = d,
                                              .nesterov_from = FROM,
                                              .nesterov_until = UNTIL,
                                              .tail = TAIL,
                                              .tail_from = TAIL_FROM,
                                              .tail_share = share}};
    Run run;
    run_begin(&run, &config, 6, 11, 27);
    double *w = doubles_of(run.p.values, N), change[N] = {0}, tail[N] = {0}, point[N], shown[N], last = 1;
    for (size_t t = 0; t < 12; t++) {
        const double factor = 1 - (double)t / 16,
                     bound = (double)(t + 1) * 8 * U * 4; /* 8 roundings a step of numbers below 4 */
        for (size_t i = 0; i < N; i++)
            point[i] = w[i] + (t >= FROM && t < UNTIL ? strength * last * change[i] : 0);
        optim_begin(run.optim, factor, 1 - (double)t / 32);
        last = 1 - (double)t / 32;
        check_close_to_doubles(run.p.values, point, N, bound, "shifted point");
        slopes(&run);
        optim_step(run.optim, 1);
        for (size_t i = 0; i < N; i++) {
            const double next = point[i] - .25 * factor * slope(point[i], i);
            change[i] = d * change[i] + (1 - d) * (next - w[i]);
            w[i] = next;
            tail[i] = t + 1 > TAIL_FROM ? (1 - 1. / TAIL) * tail[i] + w[i] / TAIL : w[i];
            shown[i] = t + 1 < TAIL_FROM ? w[i] : (1 - share) * w[i] + share * tail[i];
        }
        check_close_to_doubles(run.p.values, w, N, bound, "weights");
        float *before = copy_floats(run.p.values, N);
        optim_show(run.optim);
        check_close_to_doubles(run.p.values, shown, N, bound, "what is shown");
        if (t + 1 < TAIL_FROM)
            check_same_bits(run.p.values, before, N * sizeof *before, "shown before the tail");
        check_same_bits(state_of(run.optim, "point").data, before, N * sizeof *before, "the point while it is shown");
        optim_hide(run.optim);
        check_same_bits(run.p.values, before, N * sizeof *before, "hidden again");
        free(before);
    }
    free(w);
    run_end(&run);
}

/* Around a rule that looks at no weight but to decay it, a step is that of the rule alone from the shifted point. */
static void averages_around(const char *rule)
{
    enum { N = 66 };
    const OptimConfig around = {.rule = rule,
                                .hyper.at = {SET(LR, .125)},
                                .steps = 10,
                                .averaging = {.nesterov = 1.5, .nesterov_decay = .75, .tail = 3, .tail_share = .5}};
    Run a, b;
    run_begin(&a, &around, 6, 11, 28);
    run_begin(&b, &(OptimConfig){.rule = rule, .hyper = around.hyper}, 6, 11, 28);
    double change[N] = {0};
    for (size_t t = 0; t < 10; t++) {
        float *before = copy_floats(a.p.values, N);
        for (size_t i = 0; i < N; i++)
            b.p.values[i] = (float)((double)before[i] + 1.5 * change[i]);
        Run *const both[2] = {&a, &b};
        for (size_t k = 0; k < 2; k++)
            run_random_step(both[k], 1, 270 + t);
        const double bound = 16 * U * fmax(1, largest_of(a.p.values, N)); /* one step's roundings, and the change's */
        check_all_close(a.p.values, b.p.values, N, bound, rule);
        for (size_t i = 0; i < N; i++)
            change[i] = .75 * change[i] + .25 * ((double)a.p.values[i] - (double)before[i]);
        free(before);
        before = copy_floats(a.p.values, N);
        optim_show(a.optim);
        /* the tail is one after the 4th step, 10 - 2 x 3; it differs from the weights from the 5th on */
        check((memcmp(a.p.values, before, N * sizeof *before) != 0) == (t + 1 > 4), "%s: shown after %zu steps", rule,
              t + 1);
        optim_hide(a.optim);
        check_same_bits(a.p.values, before, N * sizeof *before, "hidden again");
        free(before);
    }
    run_end(&a);
    run_end(&b);
}

static void test_averages_around_rules(void)
{
    static const char *const rules[] = {"adamw", "muon", "soap", "soap-muon", "dion", "sgd"};
    for (size_t i = 0; i < COUNT(rules); i++)
        averages_around(rules[i]);
}

static void test_averages_around_nesterov(void) { averages_around("nesterov"); }

/* A run resumed after the step where its tail average should have begun starts one at once; a run whose average had
 * already begun continues it. */
static void test_tail_begins_late(void)
{
    for (int k = 0; k < 4; k++) {
        const bool had_begun = k % 2 == 1, is_old = k / 2 == 1; /* a checkpoint from before tail_began was recorded */
        OptimConfig config = {.rule = "sgd", .steps = 20, .averaging = {.tail = 4, .tail_share = .5}};
        config.averaging.tail_from = had_begun ? 2 : 12;
        Run a, b;
        run_begin(&a, &config, 2, 3, 41);
        for (size_t t = 0; t < 5; t++)
            run_random_step(&a, 1, 410 + t);
        config.averaging.tail_from = 3; /* as a shorter --steps would have it */
        run_begin(&b, &config, 2, 3, 41);
        memcpy(b.p.values, a.p.values, 6 * sizeof *a.p.values);
        for (size_t i = 0; i < optim_state_count(a.optim); i++)
            memcpy(optim_state(b.optim, i)->data, optim_state(a.optim, i)->data,
                   optim_state(a.optim, i)->rows * optim_state(a.optim, i)->cols * sizeof(float));
        optim_set_scalars(b.optim, optim_scalars(a.optim));
        check(optim_scalars(b.optim).tail_began == (had_begun ? 2 : 0) && optim_steps_done(b.optim) == 5, "scalars");
        if (is_old)
            optim_set_scalars(b.optim, (OptimScalars){.steps_done = 5, .tail_began = NAN, .factor = NAN});
        float *tail = copy_floats(state_of(b.optim, "tail").data, 6);
        run_random_step(&b, 1, 420);
        for (size_t i = 0; i < 6; i++) {
            const double w = (double)b.p.values[i], want = had_begun ? .75 * (double)tail[i] + .25 * w : w;
            check_close((double)state_of(b.optim, "tail").data[i], want, 4 * U * (fabs(w) + fabs((double)tail[i])),
                        had_begun ? "a tail that goes on" : "a tail that begins late");
        }
        free(tail);
        run_end(&a);
        run_end(&b);
    }
}

/* A tail that more steps have put off begins anew. */
static void test_tail_put_off(void)
{
    const OptimConfig config = {.rule = "sgd", .steps = 40, .averaging = {.tail = 5, .tail_share = .6}};
    static const struct {
        double done, began, want;
    } cases[] = {{20, 10, 0}, {29, 10, 0}, {30, 30, 30}, {35, 31, 31}};
    Run run;
    run_begin(&run, &config, 6, 11, 27);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        optim_set_scalars(run.optim, (OptimScalars){.steps_done = cases[i].done, .tail_began = cases[i].began});
        check(optim_scalars(run.optim).tail_began == cases[i].want, "after %g steps a tail begun at %g begins at %g",
              cases[i].done, cases[i].began, optim_scalars(run.optim).tail_began);
    }
    run_end(&run);
}

/* The golden run of one weight, by the code of modded-nanogpt's entry 46: the gradient's points, and the weights. The
 * shift of a step has the factor of the step before. */
static void test_golden(void)
{
    static const double rates[] = {.1, .1, .05, .05, .05}, gradients[] = {1, 2, -1, 1, 2};
    static const double points[] = {1, .895, .68025, .72449375, .67449375},
                        weights[] = {.9, .695, .73025, .67449375, .57449375};
    const OptimConfig config = {
        .rule = "sgd",
        .hyper.at = {SET(LR, .1), SET(MOMENTUM, 0)},
        .steps = 5,
        .averaging = {.nesterov = .5, .nesterov_decay = .9, .nesterov_from = 1, .nesterov_until = 4}};
    Run run;
    run_begin(&run, &config, 1, 1, 1);
    run.p.values[0] = 1;
    for (size_t t = 0; t < 5; t++) {
        optim_begin(run.optim, rates[t] / .1, rates[t] / .1);
        check_close((double)run.p.values[0], points[t], 1e-6, "a shifted weight");
        run.p.grads[0] = (float)gradients[t];
        optim_step(run.optim, 1);
        check_close((double)run.p.values[0], weights[t], 1e-6, "a weight");
    }
    run_end(&run);
}

/* MuLoCo's golden run of one weight, by the code of modded-nanogpt's entry 13; with the rate 1 and no momentum it
 * changes no bit. */
static void test_muloco(void)
{
    static const double gradients[] = {1, 2, -1, 1, 2, .5}, weights[] = {.9, .685, .785, .6325, .4325, .34375};
    for (int nothing = 0; nothing < 2; nothing++) {
        OptimConfig config = {.rule = "sgd", .hyper.at = {SET(LR, .1), SET(MOMENTUM, 0)}, .steps = 6};
        Run run, plain;
        run_begin(&plain, &config, 1, 1, 1);
        config.averaging =
            (OptimAveraging){.muloco = 2, .muloco_rate = nothing ? 1 : .7, .muloco_momentum = nothing ? 0 : .5};
        run_begin(&run, &config, 1, 1, 1);
        run.p.values[0] = plain.p.values[0] = 1;
        for (size_t t = 0; t < 6; t++) {
            Run *const both[2] = {&run, &plain};
            for (size_t k = 0; k < 2; k++) {
                optim_begin(both[k]->optim, 1, 1);
                both[k]->p.grads[0] = (float)gradients[t];
                optim_step(both[k]->optim, 1);
            }
            if (nothing)
                check_same_bits(run.p.values, plain.p.values, sizeof(float), "MuLoCo of rate 1 without momentum");
            else
                check_close((double)run.p.values[0], weights[t], 1e-6, "a weight");
        }
        run_end(&run);
        run_end(&plain);
    }
}

/* Schedule-Free's golden run of a matrix, by its authors' code: the parameters, and the average that is shown, in units
 * of 1e-7. */
static void test_schedule_free(void)
{
    static const double start[6] = {1, -.5, .25, .75, -1, .5};
    static const double gradients[3][6] = {{1, -2, .5, 1, -1, 1.5}, {-.5, 1, 1, -1, 2, .25}, {2, .5, -1, -.5, 1, -2}};
    static const double trained[3][6] = {{8900000, -3950000, 1475000, 6425000, -8900000, 3950000},
                                         {9198953, -4276178, 771291, 6939663, -9546647, 3800372},
                                         {8639119, -4499270, 1038088, 7283245, -9967661, 4295792}};
    static const double shown[3][6] = {{8900000, -3950000, 1475000, 6425000, -8900000, 3950000},
                                       {9171775, -4246525, 835264, 6892875, -9487861, 3813975},
                                       {8727895, -4457146, 1004284, 7218183, -9887694, 4215489}};
    const OptimConfig config = {.rule = "schedule-free", .hyper.at = {SET(LR, .1), SET(WEIGHT_DECAY, .1)}};
    Run run;
    run_begin(&run, &config, 3, 2, 1);
    for (size_t i = 0; i < 6; i++)
        run.p.values[i] = (float)start[i];
    optim_show(run.optim);
    check_close((double)run.p.values[1], start[1], 0, "what is shown before a step");
    optim_hide(run.optim);
    for (size_t t = 0; t < 3; t++) {
        optim_begin(run.optim, .3, .3); /* a schedule that is not the rule's */
        for (size_t i = 0; i < 6; i++)
            run.p.grads[i] = (float)gradients[t][i];
        optim_step(run.optim, 1);
        for (size_t i = 0; i < 6; i++)
            check_close((double)run.p.values[i], 1e-7 * trained[t][i], 4e-7, "a weight");
        float *before = copy_floats(run.p.values, 6);
        optim_show(run.optim);
        for (size_t i = 0; i < 6; i++)
            check_close((double)run.p.values[i], 1e-7 * shown[t][i], 1e-6, "a weight that is shown");
        optim_hide(run.optim);
        check_same_bits(run.p.values, before, 6 * sizeof *before, "hidden again");
        free(before);
    }
    run_end(&run);
    const OptimConfig tail = {.rule = "schedule-free", .steps = 9, .averaging = {.tail = 2}};
    Params p = {0};
    Optim *optim;
    Error e = {.text = ""};
    params_add(&p, "w", ROLE_HIDDEN_MATRIX, 2, 3, 1);
    params_fill(&p, 29);
    check(optim_create(&tail, p.tensors, p.count, &(Arenas){.params = p.values, .grads = p.grads}, &optim, &e) != 0 &&
              strstr(e.text, "--tail-ema: schedule-free shows an average of its own") != NULL,
          "a tail beside schedule-free: %s", e.text);
    params_free(&p);
}

/* What SPlus shows is the average of its weights before they are decayed, corrected for its start from zero. */
static void test_splus(void)
{
    enum { N = 30 };
    const double rate = .1 * 2 / (6 + 5), decay = .75, keep = 1 - rate * .5;
    const OptimConfig config = {.rule = "splus",
                                .hyper.at = {SET(LR, .1), SET(WEIGHT_DECAY, .5), SET(AVERAGE_DECAY, decay)}};
    Run run;
    run_begin(&run, &config, 6, 5, 31);
    double average[N] = {0};
    for (size_t t = 1; t <= 4; t++) {
        run_random_step(&run, 1, 310 + t);
        float *before = copy_floats(run.p.values, N);
        optim_show(run.optim);
        for (size_t i = 0; i < N; i++) {
            average[i] = decay * average[i] + (1 - decay) * (double)before[i] / keep;
            check_close((double)run.p.values[i], average[i] / (1 - pow(decay, (double)t)), 32 * U, "a shown weight");
        }
        optim_hide(run.optim);
        check_same_bits(run.p.values, before, N * sizeof *before, "hidden again");
        free(before);
    }
    run_end(&run);
}

/* A token embedding beside a head is shown as it is, one that is also the head as its average. */
static void test_embedding(void)
{
    for (int tied = 0; tied < 2; tied++) {
        const OptimConfig config = {
            .rule = "sgd", .steps = 9, .averaging = {.tail = 3, .tail_from = 1, .tail_share = .5}};
        Params p = {0};
        params_add(&p, "wte", ROLE_TOKEN_EMBEDDING, 4, 3, 1);
        params_add(&p, "w", ROLE_HIDDEN_MATRIX, 3, 3, 1);
        if (!tied)
            params_add(&p, "head", ROLE_HEAD, 4, 3, 1);
        params_fill(&p, 5);
        Optim *optim = make_optim(&config, &p);
        for (size_t t = 0; t < 3; t++) {
            optim_begin(optim, 1, 1);
            optim_step(optim, 1);
        }
        float *before = copy_floats(p.values, p.floats);
        optim_show(optim);
        for (size_t i = 0; i < p.count; i++) {
            const size_t at = p.tensors[i].offset, n = tensor_size(&p.tensors[i]);
            check((memcmp(p.values + at, before + at, n * sizeof *before) != 0) == (tied || i > 0),
                  "%s is shown as it is, or not, with%s a head", p.tensors[i].name, tied ? "out" : "");
        }
        optim_hide(optim);
        check_same_bits(p.values, before, p.floats * sizeof *before, "hidden again");
        free(before);
        optim_free(optim);
        params_free(&p);
    }
}

static void test_averages_refused(void)
{
    Params p = {0};
    Optim *optim;
    Error e = {.text = ""};
    params_add(&p, "w", ROLE_HIDDEN_MATRIX, 2, 3, 1);
    params_fill(&p, 29);
    const OptimConfig config = {.rule = "sgd", .steps = 8, .averaging = {.tail = 4, .tail_share = .5}};
    check(optim_create(&config, p.tensors, p.count, &(Arenas){.params = p.values, .grads = p.grads}, &optim, &e) != 0,
          "a tail that begins before the run");
    check(strstr(e.text, "--tail-ema 4") != NULL && strstr(e.text, "8 steps") != NULL, "says only: %s", e.text);
    params_free(&p);
}

/* An abandoned step leaves the weights as they were, and the run goes on as if it had never begun. */
static void abandoned(const char *rule, double strength)
{
    const OptimConfig config = {
        .rule = rule, .steps = 9, .averaging = {.nesterov = strength, .nesterov_decay = .9, .tail_share = .6}};
    Run plain, other, *both[] = {&plain, &other};
    run_begin(&plain, &config, 6, 11, 27);
    run_begin(&other, &config, 6, 11, 27);
    for (size_t t = 0; t < 6; t++) {
        float *before = copy_floats(other.p.values, 66);
        optim_begin(other.optim, .7, .7);
        if (t > 1)
            check(memcmp(other.p.values, before, 66 * sizeof *before) != 0, "%s does not look ahead", rule);
        optim_abandon(other.optim);
        check_same_bits(other.p.values, before, 66 * sizeof *before, "weights of an abandoned step");
        free(before);
        for (size_t i = 0; i < 2; i++) {
            optim_begin(both[i]->optim, 1, 1);
            slopes(both[i]);
            optim_step(both[i]->optim, 1);
        }
        check_same_bits(other.p.values, plain.p.values, 66 * sizeof(float), "weights after the step that followed");
    }
    run_end(&plain);
    run_end(&other);
}

static void test_abandoned(void)
{
    abandoned("nesterov", 0);
    abandoned("sgd", 2);
}

int main(void)
{
    threads_set(1); /* so small, others would only wait */
    check_run("averages in double", test_averages);
    check_run("averages around rules", test_averages_around_rules);
    check_run("averages around Nesterov", test_averages_around_nesterov);
    check_run("a tail after a resume", test_tail_begins_late);
    check_run("a tail that is put off", test_tail_put_off);
    check_run("EMA-Nesterov's golden run", test_golden);
    check_run("MuLoCo", test_muloco);
    check_run("what schedule-free shows", test_schedule_free);
    check_run("what SPlus shows", test_splus);
    check_run("the tail average and the token embedding", test_embedding);
    check_run("averages refused", test_averages_refused);
    check_run("an abandoned step", test_abandoned);
    return check_summary();
}
