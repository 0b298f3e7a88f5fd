/* Sensitivities, which divide the rates of some tensors. */
#include "base/threads.h"
#include "dev/tests/rules.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static Params make_model(void)
{
    Params p = {0};
    params_add(&p, "wte", ROLE_TOKEN_EMBEDDING, 5, 4, 1);
    params_add(&p, "wpe", ROLE_POSITION_EMBEDDING, 3, 4, 1);
    params_add(&p, "0.c_fc", ROLE_HIDDEN_MATRIX, 8, 4, 1);
    params_add(&p, "0.c_proj", ROLE_HIDDEN_MATRIX, 4, 8, 1);
    params_add(&p, "1.c_fc", ROLE_HIDDEN_MATRIX, 8, 4, 1);
    params_add(&p, "1.c_proj", ROLE_HIDDEN_MATRIX, 4, 8, 1);
    params_add(&p, "bias", ROLE_BIAS, 1, 4, 1);
    params_fill(&p, 30);
    return p;
}

static void test_sensitivity(void)
{
    static const struct {
        const char *name;
        double lr;
        size_t tensors;
    } groups[] = {{"hidden", .5, 1},   {"hidden/2", .25, 2}, {"hidden/4", .125, 1},
                  {"embed/0.5", 4, 1}, {"embed", 2, 1},      {"vector", .5, 1}};
    static const double rates[] = {4, 2, .5, .125, .25, .25, .5}; /* of the tensors */
    const OptimConfig config = {.rule = "sgd",
                                .hyper.at = {SET(LR, .5), SET(MOMENTUM, 0)},
                                .embed_hyper.at = {SET(LR, 2)},
                                .sensitivity = "c_proj=3,wte=0.5,c_proj=2,1.=2,1.c_proj=2,0.c_proj=4,1.c_fc=2"};
    Params p = make_model();
    Optim *optim = make_optim(&config, &p);
    float *want = copy_floats(p.values, p.floats);
    check(optim_group_count(optim) == COUNT(groups), "%zu groups", optim_group_count(optim));
    for (size_t i = 0; i < COUNT(groups); i++) {
        bool found = false;
        for (size_t k = 0; k < optim_group_count(optim); k++) {
            const OptimGroupInfo info = optim_group_info(optim, k);
            found = found || (strcmp(info.name, groups[i].name) == 0 && hyper(&info.hyper, HYPER_LR) == groups[i].lr &&
                              info.tensors == groups[i].tensors);
        }
        check(found, "no group %s of %zu tensors with the rate %g", groups[i].name, groups[i].tensors, groups[i].lr);
    }
    for (size_t k = 0; k < p.count; k++)
        for (size_t i = 0; i < tensor_size(&p.tensors[k]); i++) {
            const size_t at = p.tensors[k].offset + i;
            want[at] = fmaf(-(float)rates[k], p.grads[at], want[at]);
        }
    optim_step(optim, 1);
    check_same_bits(p.values, want, p.floats * sizeof *want, "steps");
    free(want);
    optim_free(optim);
    params_free(&p);
}

static void test_sensitivity_refused(void)
{
    static const struct {
        const char *list, *word;
    } cases[] = {
        {"", "NAME=X"},          {"wte", "'wte'"},       {"=2", "'=2'"},
        {"wte=", "'wte='"},      {"wte=0", "'wte=0'"},   {"wte=-1", "'wte=-1'"},
        {"wte=nan", "above 0"},  {"wte=inf", "above 0"}, {"wte=1e999", "above 0"},
        {"wte=2x", "'wte=2x'"},  {"wte=2,", "NAME=X"},   {",wte=2", "NAME=X"},
        {"c_fc=2,wte", "'wte'"}, {"head=2", "'head'"},   {"wte=2 wpe=3", "above 0"},
    };
    Params p = make_model();
    for (size_t i = 0; i < COUNT(cases); i++) {
        Optim *optim = NULL;
        Error e = {.text = ""};
        const OptimConfig config = {.rule = "adamw", .sensitivity = cases[i].list};
        check(optim_create(&config, p.tensors, p.count, &(Arenas){.params = p.values, .grads = p.grads}, &optim, &e) ==
                      -1 &&
                  optim == NULL,
              "'%s' was not refused", cases[i].list);
        check(strstr(e.text, "--sensitivity") != NULL && strstr(e.text, cases[i].word) != NULL, "'%s': %s",
              cases[i].list, e.text);
        optim_free(optim);
    }
    params_free(&p);
}

/* A tiny one would make a rate infinite: the range of a rate holds after the division too. */
static void test_sensitivity_range(void)
{
    Params p = make_model();
    Optim *optim = NULL;
    Error e = {.text = ""};
    const OptimConfig config = {.rule = "adamw", .sensitivity = "wte=1e-310"};
    const int status =
        optim_create(&config, p.tensors, p.count, &(Arenas){.params = p.values, .grads = p.grads}, &optim, &e);
    check(status == -1, "a rate of %g was accepted", status == 0 ? 1e-3 / 1e-310 : 0);
    optim_free(optim);
    params_free(&p);
}

int main(void)
{
    threads_set(1); /* so small, others would only wait */
    check_run("sensitivities", test_sensitivity);
    check_run("sensitivities refused", test_sensitivity_refused);
    check_run("sensitivities that leave a rate's range", test_sensitivity_range);
    return check_summary();
}
