/* Rules of modded-nanogpt's track 3: what the judges' cases, which have neither parts nor zeros, leave out. */
#include "base/threads.h"
#include "dev/tests/rules.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Three steps of muown from zeros, by the code of the track-3 entry in fp64, printed to 7 digits: rows get a length at
 * once. The singular values of O are off by at most 64 roundings, and so is a row's direction. */
static void test_muown_of_zeros(void)
{
    static const OptimConfig config = {
        .rule = "muown", .steps = 3, .hyper.at = {SET(LR, .1), SET(TARGET_NORM, 2.5), SET(EPS, 1e-8)}};
    static const float gradients[3][6] = {
        {1, -2, .5f, 1, -1, 1.5f}, {-.5f, 1, 1, -1, 2, .25f}, {2, .5f, -1, -.5f, 1, -2}};
    static const float want[3][6] = {{-.2853663f, .4985640f, -.4465883f, -.3613294f, .4458541f, -.3622350f},
                                     {-.2518032f, .4330777f, -.5205735f, -.3858048f, .3705367f, -.3371405f},
                                     {-.2469340f, .4105445f, -.4784611f, -.3514303f, .3033683f, -.2865817f}};
    Run run;
    run_begin(&run, &config, 3, 2, 1);
    memset(run.p.values, 0, sizeof *want);
    for (size_t t = 0; t < 3; t++) {
        memcpy(run.p.grads, gradients[t], sizeof *gradients);
        run_step(&run, 1);
        check_all_close(run.p.values, want[t], 6, 5e-8 + 3 * 64 * U, "muown from zeros");
    }
    run_end(&run);
}

/* Six steps of muown on two equal matrices, of which the second is the MLP's second one if asked. */
static void muown_of_parts(double target, TensorPart second, float *values)
{
    const OptimConfig config = {.rule = "muown", .steps = 6, .hyper.at = {SET(LR, .1), SET(TARGET_NORM, target)}};
    enum { N = 5 * 4 };
    Params p = {0};
    params_add(&p, "a", ROLE_HIDDEN_MATRIX, 5, 4, 1);
    params_add(&p, "b", ROLE_HIDDEN_MATRIX, 5, 4, 1);
    p.tensors[1].part = second;
    params_fill(&p, 1);
    memcpy(p.values + p.tensors[1].offset, p.values + p.tensors[0].offset, N * sizeof *values);
    Optim *optim = make_optim(&config, &p);
    for (size_t t = 0; t < 6; t++) {
        fill_normal(p.grads + p.tensors[0].offset, N, 1, 50 + t);
        memcpy(p.grads + p.tensors[1].offset, p.grads + p.tensors[0].offset, N * sizeof *values);
        optim_begin(optim, 1, 1);
        optim_step(optim, 1);
    }
    memcpy(values, p.values + p.tensors[0].offset, N * sizeof *values);
    memcpy(values + N, p.values + p.tensors[1].offset, N * sizeof *values);
    optim_free(optim);
    params_free(&p);
}

static void test_muown_by_part(void)
{
    enum { N = 5 * 4 };
    float plain[2 * N], parted[2 * N], larger[2 * N];
    muown_of_parts(2, PART_OTHER, plain);
    muown_of_parts(2, PART_MLP_OUT, parted);
    muown_of_parts(2 * 3.333, PART_OTHER, larger);
    check_same_bits(parted, plain, N * sizeof *plain, "another part beside the MLP's second matrix");
    check_same_bits(parted + N, larger, N * sizeof *plain, "the MLP's second matrix, with a larger target");
    check(memcmp(plain, larger, N * sizeof *plain) != 0, "the target is not used");
}

/* The factor changes in the steps that the counter of kron_torch lets through, which counts them from 0. */
static void test_kron_renewals(void)
{
    static const OptimConfig config = {.rule = "kron"};
    enum { LAST = 4500 };
    Run run;
    size_t passed = 0, renewals = 0, mistaken = 0;
    run_begin(&run, &config, 2, 2, 1);
    const OptimState factor = state_of(run.optim, "factor");
    for (size_t t = 1; t <= LAST; t++) {
        float before[4];
        memcpy(before, factor.data, sizeof before);
        run_random_step(&run, 1, t);
        passed++;
        const bool due = (double)passed >= 1 / fmax(0.03, fmin(1, exp(-0.001 * ((double)t - 501))));
        const bool renewed = memcmp(before, factor.data, sizeof before) != 0;
        mistaken += renewed != due;
        renewals += due;
        passed = due ? 0 : passed;
    }
    check(mistaken == 0, "%zu of %d steps are mistaken about the factor", mistaken, LAST);
    check(renewals > 900 && renewals < 2000, "%zu renewals", renewals);
    run_end(&run);
}

/* Without a power DynMuon is Muon: all that is between them is that its gradients are added up, not averaged. */
static void test_dynmuon_without_power(void)
{
    const OptimConfig muon = {.rule = "muon", .hyper.at = {SET(NS, NS_TRACK3), SET(WEIGHT_DECAY, .5), SET(LR, .1)}};
    const OptimConfig dynmuon = {
        .rule = "dynmuon", .hyper.at = {SET(POWER_START, 0), SET(POWER_END, 0), SET(WEIGHT_DECAY, .5), SET(LR, .1)}};
    expect_same(&muon, &dynmuon, NULL, .95, "dynmuon without a power, and muon");
}

/* A matrix that for long has no gradient stays, and so do its factors, for the day when it has one. */
static void test_psgd_without_gradients(void)
{
    static const char *const rules[] = {"psgdh", "kron"};
    for (size_t i = 0; i < COUNT(rules); i++) {
        const OptimConfig config = {.rule = rules[i], .hyper.at = {SET(FACTOR_LR, 1)}};
        Run run;
        run_begin(&run, &config, 4, 3, 1);
        memset(run.p.grads, 0, run.p.floats * sizeof(float));
        for (size_t t = 0; t < 300; t++)
            run_step(&run, 1);
        float *before = copy_floats(run.p.values, run.p.floats);
        run_random_step(&run, 1, 1);
        double moved = 0;
        for (size_t j = 0; j < run.p.floats; j++)
            moved += fabs((double)run.p.values[j] - (double)before[j]);
        check(isfinite(moved) && moved > 0, "%s: after 300 steps without gradients weights move by %g", rules[i],
              moved);
        free(before);
        run_end(&run);
    }
}

int main(void)
{
    threads_set(1); /* so small, others would only wait */
    check_run("dynmuon without a power is muon", test_dynmuon_without_power);
    check_run("muown gives rows of zeros a length", test_muown_of_zeros);
    check_run("muown's target by part", test_muown_by_part);
    check_run("kron's factor is renewed ever more rarely", test_kron_renewals);
    check_run("PSGD without gradients", test_psgd_without_gradients);
    return check_summary();
}
