/* How optimizers' groups are resolved: which tensor gets which rule, hyperparameters and state, and what is refused. */
#include "dev/tests/check.h"
#include "dev/tests/fixtures.h"
#include "optim/rule.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SET(id, x) HYPER_AT(id, x)

/* Every role; `head` on its own, or tied when not. */
static Params make_params(bool head)
{
    Params p = {0};
    params_add(&p, "wte", ROLE_TOKEN_EMBEDDING, 11, 4, 1);
    params_add(&p, "wpe", ROLE_POSITION_EMBEDDING, 5, 4, 1);
    if (head)
        params_add(&p, "head", ROLE_HEAD, 11, 4, 1);
    params_add(&p, "qkv", ROLE_HIDDEN_MATRIX, 12, 4, 3);
    params_add(&p, "fc", ROLE_HIDDEN_MATRIX, 16, 4, 1);
    params_add(&p, "gain", ROLE_GAIN, 1, 4, 1);
    params_add(&p, "bias", ROLE_BIAS, 1, 12, 1);
    params_fill(&p, 1);
    return p;
}

static double value(const OptimGroupInfo *info, HyperId id) { return info->hyper.at[id].value; }

static OptimGroupInfo group(const Optim *optim, const char *name)
{
    for (size_t i = 0; i < optim_group_count(optim); i++)
        if (strcmp(optim_group_info(optim, i).name, name) == 0)
            return optim_group_info(optim, i);
    check(false, "there is no group %s", name);
    return (OptimGroupInfo){.name = name, .rule = "none"};
}

static void expect_rule(const Optim *optim, const char *name, const char *rule, double lr, double decay)
{
    const OptimGroupInfo info = group(optim, name);
    check(strcmp(info.rule, rule) == 0, "group %s went to %s, not %s", name, info.rule, rule);
    check(value(&info, HYPER_LR) == lr && value(&info, HYPER_WEIGHT_DECAY) == decay,
          "group %s has lr %g and decay %g, not %g and %g", name, value(&info, HYPER_LR),
          value(&info, HYPER_WEIGHT_DECAY), lr, decay);
}

static void expect_size(const Optim *optim, const char *name, size_t tensors, size_t parameters, size_t state)
{
    const OptimGroupInfo info = group(optim, name);
    check(info.tensors == tensors && info.parameters == parameters && info.state_floats == state,
          "group %s has %zu tensors, %zu parameters, %zu floats of state", name, info.tensors, info.parameters,
          info.state_floats);
}

static void test_defaults(void)
{
    Params p = make_params(true);
    Optim *optim = make_optim(&(OptimConfig){.rule = "muon"}, &p);
    check(optim_group_count(optim) == 4, "%zu groups", optim_group_count(optim));
    expect_rule(optim, "hidden", "muon", .02, .1);
    expect_rule(optim, "embed", "adamw", 2e-3, .1);
    expect_rule(optim, "head", "adamw", 2e-3, .1);
    expect_rule(optim, "vector", "adamw", 2e-3, 0);
    expect_size(optim, "hidden", 2, 112, 112);
    expect_size(optim, "embed", 2, 64, 128);
    expect_size(optim, "head", 1, 44, 88);
    expect_size(optim, "vector", 2, 16, 32);
    optim_free(optim);
    params_free(&p);
}

static void test_overrides(void)
{
    const OptimConfig config = {
        .rule = "muon",
        .aux_rule = "adamw",
        .hyper.at = {SET(LR, .5), SET(WEIGHT_DECAY, .25), SET(MOMENTUM, .75), SET(NS_STEPS, 3), SET(NESTEROV, 0)},
        .aux_hyper.at = {SET(LR, .0625), SET(WEIGHT_DECAY, .125), SET(BETA1, .5)},
        .embed_hyper.at = {SET(LR, 2)},
        .head_hyper.at = {SET(LR, 4)},
    };
    Params p = make_params(true);
    Optim *optim = make_optim(&config, &p);
    expect_rule(optim, "hidden", "muon", .5, .25);
    expect_rule(optim, "embed", "adamw", 2, .125);
    expect_rule(optim, "head", "adamw", 4, .125);
    expect_rule(optim, "vector", "adamw", .0625, 0);
    const OptimGroupInfo hidden = group(optim, "hidden"), vector = group(optim, "vector");
    check(value(&hidden, HYPER_MOMENTUM) == .75 && value(&hidden, HYPER_NS_STEPS) == 3 &&
              value(&hidden, HYPER_NESTEROV) == 0,
          "what was asked of muon was not heard");
    check(value(&vector, HYPER_BETA1) == .5 && value(&vector, HYPER_BETA2) == .95, "betas of the vectors");
    optim_free(optim);
    params_free(&p);
}

/* A rule of a group's own: it inherits from --optimizer where that is the same rule, never from --aux-. */
static void test_own_rules(void)
{
    const OptimConfig config = {.rule = "muon",
                                .embed_rule = "rownorm",
                                .head_rule = "muon",
                                .hyper.at = {SET(MOMENTUM, .75)},
                                .aux_hyper.at = {SET(LR, .5), SET(BETA1, .25)},
                                .embed_hyper.at = {SET(LR, .125)},
                                .head_hyper.at = {SET(WEIGHT_DECAY, .25)}};
    Params p = make_params(true);
    Optim *optim = make_optim(&config, &p);
    expect_rule(optim, "embed", "rownorm", .125, 0);
    expect_rule(optim, "head", "muon", .02, .25);
    expect_rule(optim, "vector", "adamw", .5, 0);
    const OptimGroupInfo head = group(optim, "head"), embed = group(optim, "embed");
    check(value(&head, HYPER_MOMENTUM) == .75 && value(&embed, HYPER_MOMENTUM) == .95, "momentum of head and embed");
    optim_free(optim);
    params_free(&p);
}

/* Rates and decay of each group of the rest. */
static void test_group_hypers(void)
{
    const OptimConfig config = {.rule = "muon",
                                .aux_hyper.at = {SET(LR, .5), SET(WEIGHT_DECAY, .25)},
                                .embed_hyper.at = {SET(LR, .7), SET(WEIGHT_DECAY, .001)},
                                .head_hyper.at = {SET(LR, .004), SET(WEIGHT_DECAY, .002)},
                                .vector_hyper.at = {SET(LR, .015), SET(WEIGHT_DECAY, .003)}};
    OptimConfig fewer = {
        .rule = "muon", .aux_hyper.at = {SET(LR, .5), SET(WEIGHT_DECAY, .25)}, .vector_hyper.at = {SET(LR, .015)}};
    Params p = make_params(true);
    Optim *optim = make_optim(&config, &p);
    expect_rule(optim, "hidden", "muon", .02, .1);
    expect_rule(optim, "embed", "adamw", .7, .001);
    expect_rule(optim, "head", "adamw", .004, .002);
    expect_rule(optim, "vector", "adamw", .015, .003);
    optim_free(optim);
    optim = make_optim(&fewer, &p);
    expect_rule(optim, "embed", "adamw", .5, .25);
    expect_rule(optim, "head", "adamw", .5, .25);
    expect_rule(optim, "vector", "adamw", .015, 0);
    optim_free(optim);
    params_free(&p);
}

/* One rule for all inherits what is set for the matrices; the aux options come over it. */
static void test_one_rule(void)
{
    const OptimConfig config = {.rule = "adamw",
                                .hyper.at = {SET(LR, .5), SET(BETA1, .25), SET(WEIGHT_DECAY, .75)},
                                .aux_hyper.at = {SET(BETA1, .625)},
                                .embed_hyper.at = {SET(LR, 2)}};
    Params p = make_params(false);
    Optim *optim = make_optim(&config, &p);
    check(optim_group_count(optim) == 3, "%zu groups for a tied head", optim_group_count(optim));
    expect_rule(optim, "hidden", "adamw", .5, .75);
    expect_rule(optim, "embed", "adamw", 2, .75);
    expect_rule(optim, "vector", "adamw", .5, 0);
    const OptimGroupInfo hidden = group(optim, "hidden"), embed = group(optim, "embed");
    check(value(&hidden, HYPER_BETA1) == .25 && value(&embed, HYPER_BETA1) == .625, "beta1 of hidden and embed");
    optim_free(optim);

    const OptimConfig two = {.rule = "adamw", .aux_rule = "sgd", .hyper.at = {SET(LR, .5)}};
    optim = make_optim(&two, &p);
    expect_rule(optim, "hidden", "adamw", .5, .1);
    expect_rule(optim, "embed", "sgd", .1, 0); /* another rule inherits nothing */
    optim_free(optim);
    params_free(&p);
}

static void test_refused(void)
{
    static const struct {
        OptimConfig config;
        const char *words[2];
    } cases[] = {
        {{.rule = "adan"}, {"'adan'", "sgd, nesterov, adagrad"}},
        {{.rule = "muon", .aux_rule = "adan"}, {"'adan'", "sgd, nesterov, adagrad"}},
        {{.rule = "muon", .aux_rule = "muon"}, {"--aux-optimizer muon", "hidden matrices only"}},
        {{.rule = "adamw", .hyper.at = {SET(MOMENTUM, .9)}}, {"adamw does not use --momentum", ""}},
        {{.rule = "sgd", .hyper.at = {SET(BETA1, .9)}}, {"sgd does not use --beta1", ""}},
        {{.rule = "muon", .aux_hyper.at = {SET(NS_STEPS, 3)}}, {"adamw does not use --aux-ns-steps", ""}},
        {{.rule = "muon", .hyper.at = {SET(LR, (double)NAN)}}, {"--lr is", "nan"}},
        {{.rule = "muon", .hyper.at = {SET(LR, -.1)}}, {"--lr is -0.1", "from 0"}},
        {{.rule = "muon", .hyper.at = {SET(LR, (double)INFINITY)}}, {"--lr is inf", "from 0"}},
        {{.rule = "muon", .hyper.at = {SET(MOMENTUM, 1)}}, {"--momentum is 1", "below 1"}},
        {{.rule = "adamw", .hyper.at = {SET(BETA1, 1)}}, {"--beta1 is 1", "below 1"}},
        {{.rule = "adamw", .hyper.at = {SET(BETA2, 1.5)}}, {"--beta2 is 1.5", "below 1"}},
        {{.rule = "adamw", .hyper.at = {SET(WEIGHT_DECAY, -1)}}, {"--weight-decay is -1", ""}},
        {{.rule = "muon", .aux_hyper.at = {SET(EPS, (double)NAN)}}, {"--aux-eps is", "nan"}},
        {{.rule = "muon", .embed_hyper.at = {SET(LR, -2)}}, {"--embed-lr is -2", ""}},
        {{.rule = "muon", .hyper.at = {SET(NS, 99)}}, {"--ns is 99", ""}},
        {{.rule = "muon", .head_hyper.at = {SET(LR, .1)}}, {"--head-lr", "tied"}},
        {{.rule = "muon", .head_rule = "muon"}, {"--head-optimizer", "tied"}},
        {{.rule = "muon", .embed_rule = "adan"}, {"'adan'", "sgd, nesterov, adagrad"}},
        {{.rule = "muon", .embed_rule = "rownorm", .aux_hyper.at = {SET(MOMENTUM, .5)}},
         {"adamw does not use --aux-momentum", ""}},
        {{.rule = "sgd", .hyper.at = {SET(NESTEROV, 1), SET(MOMENTUM, 0)}}, {"--nesterov", "--momentum"}},
        {{.rule = "sgd", .hyper.at = {SET(NESTEROV, 1), SET(DAMPENING, .1)}}, {"--nesterov", "dampening"}},
        {{.rule = "ademamix", .hyper.at = {SET(BETA3, .5), SET(BETA3_WARMUP, 9)}},
         {"--beta3-warmup raises beta3", "--beta3 0.5 is below --beta1 0.9"}},
        {{.rule = "ademamix", .hyper.at = {SET(ALPHA_WARMUP, 1.5)}}, {"--alpha-warmup is 1.5", "whole"}},
        {{.rule = "prodigy", .hyper.at = {SET(D0, 0)}}, {"--d0 is 0", "1e-30"}},
        {{.rule = "prodigy", .aux_hyper.at = {SET(D0, .1)}},
         {"one distance", "--d0 must be the same for all, not 1e-06 and 0.1"}},
        {{.rule = "prodigy", .aux_hyper.at = {SET(BETA2, .9)}}, {"one distance", "--beta2 must be the same"}},
        {{.rule = "prodigy", .aux_hyper.at = {SET(D_COEF, 2)}}, {"one distance", "--d-coef must be the same"}},
        {{.rule = "pmuon", .hyper.at = {SET(EPS, 0)}}, {"--eps 0", "pmuon"}},
        {{.rule = "sinksoap", .hyper.at = {SET(EPS, 0)}}, {"--eps 0", "sinksoap"}},
        {{.rule = "dion2", .hyper.at = {SET(FRACTION, 0)}}, {"--fraction is 0", "above 0"}},
        {{.rule = "dion2", .hyper.at = {SET(FRACTION, 1.1)}}, {"--fraction is 1.1", "to 1"}},
        {{.rule = "nordion2", .hyper.at = {SET(MUON_SCALE, MUON_SCALE_GRADIENT)}}, {"--muon-scale gradient", "lines"}},
        {{.rule = "adamw", .hyper.at = {SET(SPLIT_HEADS, 1)}}, {"adamw does not use --split-heads", ""}},
        {{.rule = "muon", .hyper.at = {SET(SPLIT_QKV, 0), SET(SPLIT_HEADS, 1)}},
         {"--split-heads splits", "--no-split-qkv leaves as one"}},
        {{.rule = "muon", .hyper.at = {SET(SPLIT_HEADS, 2)}}, {"--split-heads is 2", ""}},
    };
    Params p = make_params(false);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Optim *optim = NULL;
        Error e = {.text = ""};
        const int status = optim_create(&cases[i].config, p.tensors, p.count,
                                        &(Arenas){.params = p.values, .grads = p.grads}, &optim, &e);
        check(status == -1 && optim == NULL, "case %zu (%s) was not refused", i, cases[i].config.rule);
        for (size_t k = 0; k < 2; k++)
            check(strstr(e.text, cases[i].words[k]) != NULL, "case %zu: '%s' is not in: %s", i, cases[i].words[k],
                  e.text);
        optim_free(optim);
    }
    params_free(&p);
}

/* Names, shapes and sizes of the state; a plan without arenas reports the same. */
static void test_state(void)
{
    static const struct {
        OptimConfig config;
        size_t count, floats;
        const char *first;
    } cases[] = {
        {{.rule = "adamw"}, 12, 2 * 192, "qkv.m"},
        {{.rule = "sgd"}, 6, 192, "qkv.momentum"},
        {{.rule = "sgd", .hyper.at = {SET(MOMENTUM, 0)}}, 0, 0, ""},
        {{.rule = "muon", .aux_rule = "sgd", .aux_hyper.at = {SET(MOMENTUM, 0)}}, 2, 112, "qkv.m"},
        {{.rule = "muon", .hyper.at = {SET(SPLIT_QKV, 0)}}, 10, 112 + 2 * 80, "qkv.m"},
    };
    Params p = make_params(false);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Optim *optim = make_optim(&cases[i].config, &p), *plan;
        Error e;
        size_t floats = 0, in_groups = 0;
        check(optim_state_count(optim) == cases[i].count, "case %zu: %zu states", i, optim_state_count(optim));
        for (size_t k = 0; k < optim_state_count(optim); k++) {
            const OptimState *s = optim_state(optim, k);
            floats += s->rows * s->cols;
            for (size_t j = 0; j < s->rows * s->cols; j++)
                check(s->data[j] == 0, "state %s is not zeroed", s->name);
        }
        if (optim_state_count(optim) > 0) {
            const OptimState *s = optim_state(optim, 0);
            check(strcmp(s->name, cases[i].first) == 0 && s->rows == 12 && s->cols == 4,
                  "case %zu: the first is %s %zu x %zu", i, s->name, s->rows, s->cols);
        }
        for (size_t k = 0; k < optim_group_count(optim); k++)
            in_groups += optim_group_info(optim, k).state_floats;
        check(floats == cases[i].floats && in_groups == floats, "case %zu: %zu floats of state, %zu in the groups", i,
              floats, in_groups);
        check(optim_create(&cases[i].config, p.tensors, p.count, NULL, &plan, &e) == 0, "case %zu: no plan", i);
        check(optim_memory(plan) == optim_memory(optim) && optim_memory(optim) >= floats * sizeof(float),
              "case %zu: memory of %zu planned, %zu taken", i, optim_memory(plan), optim_memory(optim));
        if (strcmp(cases[i].config.rule, "muon") != 0)
            check(optim_memory(optim) == floats * sizeof(float), "case %zu: more memory than state", i);
        optim_free(plan);
        optim_free(optim);
    }
    params_free(&p);
}

/* The weights after three steps over p, which it fills and frees. */
static float *stepped(const OptimConfig *config, Params *p)
{
    params_fill(p, 2);
    Optim *optim = make_optim(config, p);
    take_steps(optim, p, 0, 3, 20);
    float *values = copy_floats(p->values, p->floats);
    optim_free(optim);
    params_free(p);
    return values;
}

/* Heads are as so many matrices under every rule that splits a fused QKV, but adam-mini: two each of queries, keys and
 * values in one tensor, or four of queries in one and one each of keys and values in another. */
static void test_heads(void)
{
    enum { ROWS = 3, COLS = 5, HEADS = 6 };
    static const char *const names[] = {"a", "b", "c", "d", "e", "f"};
    for (size_t i = 0; optim_rule(i) != NULL; i++) {
        if (!optim_rule(i)->defaults.at[HYPER_SPLIT_QKV].set || strcmp(optim_rule_name(i), "adam-mini") == 0)
            continue;
        const OptimConfig config = {.rule = optim_rule_name(i), .steps = 9, .hyper.at = {SET(SPLIT_HEADS, 1)}};
        const OptimConfig whole = {.rule = optim_rule_name(i), .steps = 9};
        Params apart = {0}, fused = {0}, grouped = {0}, blocks = {0};
        for (size_t k = 0; k < HEADS; k++)
            params_add(&apart, names[k], ROLE_HIDDEN_MATRIX, ROWS, COLS, 1);
        params_add(&fused, "qkv", ROLE_HIDDEN_MATRIX, HEADS * ROWS, COLS, 3);
        fused.tensors[0].heads = 2;
        blocks = fused;
        params_add(&grouped, "q", ROLE_HIDDEN_MATRIX, 4 * ROWS, COLS, 1);
        params_add(&grouped, "kv", ROLE_HIDDEN_MATRIX, 2 * ROWS, COLS, 2);
        grouped.tensors[0].heads = 4;
        grouped.tensors[1].heads = 1;
        Params *const all[] = {&apart, &fused, &grouped, &blocks};
        for (size_t k = 0; k < 4; k++)
            params_add(all[k], "out", ROLE_HIDDEN_MATRIX, COLS, COLS, 1);
        const size_t size = apart.floats * sizeof(float);
        float *want = stepped(&config, &apart), *got = stepped(&config, &fused),
              *of_groups = stepped(&config, &grouped), *unsplit = stepped(&whole, &blocks);
        check_same_bits(got, want, size, config.rule);
        check_same_bits(of_groups, want, size, config.rule);
        if (strcmp(config.rule, "muon") == 0)
            check(memcmp(unsplit, want, size) != 0, "%s is the same without --split-heads", config.rule);
        free(want);
        free(got);
        free(of_groups);
        free(unsplit);
    }
}

/* Adam-mini's heads of queries and keys have one second moment each, as rows as long would; values one a row. */
static void test_adam_mini(void)
{
    enum { ROWS = 3, COLS = 5, HEAD = ROWS * COLS };
    const OptimConfig config = {.rule = "adam-mini", .steps = 9, .hyper.at = {SET(SPLIT_HEADS, 1)}};
    Params flat = {0}, fused = {0}, grouped = {0};
    params_add(&flat, "qk", ROLE_HIDDEN_MATRIX, 4, HEAD, 1);
    params_add(&flat, "v", ROLE_HIDDEN_MATRIX, 2 * ROWS, COLS, 1);
    params_add(&fused, "qkv", ROLE_HIDDEN_MATRIX, 6 * ROWS, COLS, 3);
    fused.tensors[0].heads = 2;
    params_add(&grouped, "q", ROLE_HIDDEN_MATRIX, 2 * ROWS, COLS, 1);
    params_add(&grouped, "kv", ROLE_HIDDEN_MATRIX, 4 * ROWS, COLS, 2);
    grouped.tensors[0].heads = grouped.tensors[1].heads = 2;
    float *want = stepped(&config, &flat), *got = stepped(&config, &fused), *of_groups = stepped(&config, &grouped);
    check_same_bits(got, want, 6 * HEAD * sizeof *want, "heads of a fused QKV, and long rows");
    check_same_bits(of_groups, want, 6 * HEAD * sizeof *want, "heads of two tensors, and long rows");
    free(want);
    free(got);
    free(of_groups);
}

/* --list-groups names every tensor once, with its rule's hyperparameters. */
static void test_list_of(int split_heads)
{
    Params p = make_params(false);
    for (size_t i = 0; i < p.count; i++)
        p.tensors[i].heads = p.tensors[i].blocks == 3 ? 2 : 0;
    Optim *optim = make_optim(&(OptimConfig){.rule = "muon", .hyper.at = {SET(SPLIT_HEADS, split_heads)}}, &p);
    char text[4096] = "";
    FILE *f = tmpfile();
    if (check(f != NULL, "no temporary file")) {
        optim_list_groups(optim, f);
        rewind(f);
        const size_t n = fread(text, 1, sizeof text - 1, f);
        text[n] = '\0';
        fclose(f);
        for (size_t i = 0; i < p.count; i++) {
            char line[64];
            snprintf(line, sizeof line, "\n  %s ", p.tensors[i].name);
            const char *found = strstr(text, line);
            check(found != NULL && strstr(found + 1, line) == NULL, "tensor %s is not listed once", p.tensors[i].name);
        }
        check(strstr(text, "group hidden: muon") != NULL && strstr(text, "ns=jordan") != NULL &&
                  strstr(text, split_heads ? "6 x 2 x 4  m[2,4]" : "3 x 4 x 4  m[4,4]") != NULL &&
                  strstr(text, split_heads ? "split-heads=on" : "split-heads=off") != NULL,
              "muon's line or its split QKV is missing:\n%s", text);
    }
    optim_free(optim);
    params_free(&p);
}

static void test_list(void)
{
    test_list_of(0);
    test_list_of(1);
}

int main(void)
{
    check_run("defaults", test_defaults);
    check_run("overrides", test_overrides);
    check_run("rates and decay of groups", test_group_hypers);
    check_run("rules of embedding and head", test_own_rules);
    check_run("one rule for all", test_one_rule);
    check_run("what is refused", test_refused);
    check_run("state: names, shapes, sizes", test_state);
    check_run("heads as matrices", test_heads);
    check_run("heads of adam-mini", test_adam_mini);
    check_run("the list of groups", test_list);
    return check_summary();
}
