/*
 * Whole training steps, with AdamW and with Muon.
 */
#include "base/cuda.cuh"
#include "dev/bench/cuda/bench.cuh"
#include "dev/bench/cuda/table.cuh"

extern "C" {
#include "base/clock.h"
#include "optim/rules/newton_schulz.h"
#include "train/peak.h"
}

#include <cmath>
#include <cstdio>
#include <cstring>

namespace bench {

/* The products of r x c, r <= c, orthogonalised as the program does it in bf16, symmetric ones in full: 2 r^2 c for
 * X X^T and for the product with X; 2 r^3 for a product of square ones, of which one iteration has one and two at once
 * have five. */
static double orthogonal_flops(size_t r, size_t c)
{
    const double with_x = 4 * (double)r * (double)r * (double)c, square = 2 * (double)r * (double)r * (double)r;
    const size_t steps = ns_steps(NS_JORDAN, 0);
    double flops = 0;
    for (size_t i = 0, taken; i < steps; i += taken) {
        taken = ns_taken_bf16(NS_JORDAN, steps, i, r, c);
        flops += with_x + (taken == 2 ? 5 : 1) * square;
    }
    return flops;
}

/* Of a Muon step. */
static double muon_flops(const GptConfig &c)
{
    return (double)c.L * (4 * orthogonal_flops(c.C, c.C) + 2 * orthogonal_flops(c.C, 4 * c.C));
}

static size_t step_batch(const Options &o, const char *rule)
{
    const size_t sequences = o.total / o.T;
    size_t best = 0;
    for (size_t B = 1; sequences % B == 0 && memory_of(o, B, rule) <= 0.92 * (double)gpt_memory_present(); B *= 2)
        best = B;
    if (best == 0)
        fail("out of memory: not even one sequence fits");
    return best;
}

struct StepTimes {
    double forward, backward, norm, update, whole; /* seconds */
};

struct Trainer {
    Gpt *g;
    Optim *optim;
    size_t B, T, micro_batches;
    std::vector<int32_t> tokens, targets; /* of a step */
};

/* A step as train/run.c takes it, without loader; the device is waited for where a phase ends. */
static StepTimes one_step(Trainer *t, double *loss)
{
    const size_t micro = t->B * t->T;
    const double total = (double)(micro * t->micro_batches), begin = clock_seconds();
    gpt_times(t->g);
    optim_begin(t->optim, 0.1, 0.1);
    for (size_t i = 0; i < t->micro_batches; i++) {
        gpt_forward(t->g, t->tokens.data() + i * micro, t->B, t->T);
        gpt_backward(t->g, t->targets.data() + i * micro, 1 / total, i == 0);
    }
    *loss = gpt_loss_sum(t->g) / total;
    const GptTimes passes = gpt_times(t->g);
    const double before_norm = clock_seconds();
    const double norm = optim_grad_norm(t->optim, NULL);
    const double before_update = clock_seconds();
    optim_step(t->optim, norm > 1 ? 1 / norm : 1);
    CUDA_CHECK(cudaDeviceSynchronize());
    const double end = clock_seconds();
    return {passes.forward, passes.backward, before_update - before_norm, end - before_update, end - begin};
}

static double median_of(const std::vector<StepTimes> &steps, double StepTimes::*phase)
{
    std::vector<double> x;
    for (const StepTimes &step : steps)
        x.push_back(step.*phase);
    return median(x);
}

static void report_step(const Options &o, const char *rule, const Trainer &t, const std::vector<StepTimes> &steps,
                        double bytes)
{
    const double whole = median_of(steps, &StepTimes::whole), rate = (double)o.total / whole;
    const double norm = median_of(steps, &StepTimes::norm), update = median_of(steps, &StepTimes::update);
    const double peak = peak_flops(gpt_device_name(), GPT_BF16), flops = gpt_flops_per_token(&o.config, o.T);
    const std::string name = rule;
    char mfu[32] = "-";
    if (peak > 0)
        snprintf(mfu, sizeof mfu, "%.1f%%", 100 * rate * flops / peak);
    printf("%-8s %5zu %10.0f %7s %8.1f %8.1f %8.1f %8.2f %8.2f %7.2f%% %8.2f %8.2f\n", rule, t.B, rate, mfu,
           1e3 * whole, 1e3 * median_of(steps, &StepTimes::forward), 1e3 * median_of(steps, &StepTimes::backward),
           1e3 * norm, 1e3 * update, 100 * (norm + update) / whole, bytes / 0x1p30, memory_of(o, t.B, rule) / 0x1p30);
    number(name + "/batch", (double)t.B);
    number(name + "/tokens_per_second", rate);
    if (peak > 0)
        number(name + "/mfu", rate * flops / peak);
    number(name + "/update_ms", 1e3 * update);
    number(name + "/update_share", update / whole);
    number(name + "/bytes", bytes);
    if (name == "muon")
        printf("muon's update is %.2f%% of the step; its products are %.2f TFLOP, %.1f TFLOP/s were they all\n",
               100 * update / whole, 1e-12 * muon_flops(o.config), 1e-12 * muon_flops(o.config) / update);
}

static void measure_step(const Options &o, const char *rule)
{
    enum { WARMUP = 3 }; /* launched, recorded, replayed once */
    const double present = (double)gpt_memory_present();
    Trainer t = {};
    std::vector<StepTimes> steps;
    double loss = 0;
    t.B = o.B > 0 ? o.B : step_batch(o, rule);
    t.T = o.T;
    t.micro_batches = o.total / (t.B * t.T);
    if (t.micro_batches * t.B * t.T != o.total)
        fail("--total is no multiple of a micro-batch");
    t.g = make_gpt(o, t.B);
    const Arenas arenas = gpt_arenas(t.g);
    t.optim = make_optim(rule, gpt_table(t.g), &arenas);
    t.tokens = draw_tokens(o.total, o.config.V, 3);
    t.targets = draw_tokens(o.total, o.config.V, 4);
    for (size_t i = 0; i < WARMUP + o.steps; i++) {
        const StepTimes step = one_step(&t, &loss);
        if (i >= WARMUP)
            steps.push_back(step);
    }
    if (!std::isfinite(loss))
        fail("the loss is not finite");
    report_step(o, rule, t, steps, present - (double)gpt_memory_present());
    fflush(stdout);
    optim_free(t.optim);
    gpt_free(t.g);
}

/* What can be said without a GPU. */
static void count_step(const Options &o)
{
    const double flops = gpt_flops_per_token(&o.config, o.T) * (double)o.total, muon = muon_flops(o.config);
    const double least = flops / yardstick.gemm;
    for (size_t B = 1; B <= o.total / o.T && (o.B == 0 || B == o.B); B *= 2)
        printf("  B=%-4zu takes %7.2f GiB with adamw, %7.2f with muon\n", B, memory_of(o, B, "adamw") / 0x1p30,
               memory_of(o, B, "muon") / 0x1p30);
    printf("  the formula's %.0f TFLOP take %.0f ms at %.0f TFLOP/s\n", 1e-12 * flops, 1e3 * least,
           1e-12 * yardstick.gemm);
    printf("  muon's products, %.2f TFLOP, take %.1f ms in bf16, %.1f%% of that; in fp32 (--ns-dtype fp32), at %.1f "
           "TFLOP/s, %.1f ms, %.1f%%\n",
           1e-12 * muon, 1e3 * muon / yardstick.gemm, 100 * muon / yardstick.gemm / least, 1e-12 * yardstick.fp32,
           1e3 * muon / yardstick.fp32, 100 * muon / yardstick.fp32 / least);
}

void part_step(const Options &o)
{
    printf("\nTraining steps of %s, T=%zu, %zu tokens\n", o.model, o.T, o.total);
    if (o.counted) {
        count_step(o);
        return;
    }
    printf("%-8s %5s %10s %7s %8s %8s %8s %8s %8s %8s %8s %8s\n", "", "B", "tokens/s", "MFU", "step ms", "forward",
           "backward", "norm", "update", "of step", "GiB", "counted");
    for (const char *rule : {"adamw", "muon"})
        if (o.optimizer == NULL || strcmp(o.optimizer, rule) == 0)
            measure_step(o, rule);
    printf("norm + update is the optimizer; GiB: taken of the device, libraries included; counted: arrays\n");
}

} // namespace bench
