/*
 * The benchmark behind `make bench-gpu`: every kernel of a GPT-2 alone, with cold caches, beside what the GPU itself
 * reaches in this run; and whole training steps. Where no GPU answers it prints what it counts, bytes, FLOPs and the
 * least time they take on an H200, and times nothing. See `bench --help`.
 */
#include "dev/bench/cuda/bench.cuh"
#include "dev/bench/cuda/table.cuh"

extern "C" {
#include "base/matmul.h"
}

#include <cstdio>
#include <cstdlib>
#include <cstring>

static const char *const usage =
    "bench [kernels] [step] [options]       both parts unless one is named\n"
    "\n"
    "  --model NAME        a preset of train_gpt (gpt2)\n"
    "  --seq-len T         tokens of a sequence (1024)\n"
    "  --batch B           sequences of a micro-batch (kernels: 16, fewer where they do not fit; step: the largest\n"
    "                      power of two that fits)\n"
    "  --total N           tokens of a step (524288)\n"
    "  --optimizer NAME    the step's only one (adamw, then muon)\n"
    "  --rounds N          timings of a kernel, of which the median counts (15)\n"
    "  --steps N           steps timed, after three that are not (7)\n"
    "  --copy-mib N        size of the copy that measures the memory's bandwidth (1024)\n"
    "  --gemm N            size of the square product that measures the tensor cores (8192)\n"
    "  --flush-mib N       written between two timings, to leave the caches cold (256)\n"
    "  --numbers FILE      also appends every figure to FILE, a name and a value a line\n"
    "  --counted           times nothing, as where no GPU answers\n"
    "\n"
    "The kernels' table:\n"
    "  x           times a micro-batch's forward and backward pass needs it\n"
    "  MB, GFLOP   the least that must be moved and computed: every input read once, every output written once\n"
    "  floor       the longer of both at the ceilings\n"
    "  time        median of the rounds, by events, L2 cold\n"
    "  reached     bytes or FLOPs, whichever give the floor, over the time\n"
    "  of floor    floor / time; the ceilings are this run's copy and square product; fp32 attention: the data sheet\n"
    "  must        where the project asks for a share of the copy's bandwidth\n";

namespace bench {

static FILE *numbers_file;

void number(const std::string &name, double value)
{
    if (numbers_file != NULL)
        fprintf(numbers_file, "%s %.9g\n", name.c_str(), value);
}

[[noreturn]] void fail(const char *text)
{
    fprintf(stderr, "bench: %s\n", text);
    exit(1);
}

void check(int status, const Error *e)
{
    if (status != 0)
        fail(e->text);
}

} // namespace bench

using namespace bench;

static size_t parse_size(const char *text)
{
    char *end;
    const unsigned long long n = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || n == 0 || n > 1u << 30) {
        fprintf(stderr, "bench: '%s' is no number from 1 to 2^30\n", text);
        exit(2);
    }
    return (size_t)n;
}

/* The option called `name`, or false. */
static bool take_option(Options *o, const char *name, const char *value)
{
    const struct {
        const char *name;
        size_t *number;
        const char **text;
    } all[] = {
        {"--model", NULL, &o->model},
        {"--optimizer", NULL, &o->optimizer},
        {"--numbers", NULL, &o->numbers},
        {"--seq-len", &o->T, NULL},
        {"--batch", &o->B, NULL},
        {"--total", &o->total, NULL},
        {"--rounds", &o->rounds, NULL},
        {"--steps", &o->steps, NULL},
        {"--copy-mib", &o->copy_mib, NULL},
        {"--gemm", &o->gemm, NULL},
        {"--flush-mib", &o->flush_mib, NULL},
    };
    for (const auto &option : all) {
        if (strcmp(option.name, name) != 0)
            continue;
        if (option.number != NULL)
            *option.number = parse_size(value);
        else
            *option.text = value;
        return true;
    }
    return false;
}

static Options parse(int argc, char **argv)
{
    Options o;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            fputs(usage, stdout);
            exit(0);
        }
        if (strcmp(argv[i], "kernels") == 0)
            o.kernels = true;
        else if (strcmp(argv[i], "step") == 0)
            o.step = true;
        else if (strcmp(argv[i], "--counted") == 0)
            o.counted = true;
        else if (i + 1 < argc && take_option(&o, argv[i], argv[i + 1]))
            i++;
        else {
            fprintf(stderr, "bench: '%s' is no part and no option, or lacks its value; see --help\n", argv[i]);
            exit(2);
        }
    }
    if (!o.kernels && !o.step)
        o.kernels = o.step = true;
    if (gpt_preset(o.model, &o.config) != 0)
        fail("--model: there is no such preset");
    if (o.T > o.config.T)
        fail("--seq-len is longer than the model's");
    o.config.T = o.T;
    return o;
}

int main(int argc, char **argv)
{
    Options o = parse(argc, argv);
    Error e;
    matmul_init();
    if (o.numbers != NULL && (numbers_file = fopen(o.numbers, "a")) == NULL)
        fail("--numbers: the file cannot be written");
    const bool answers = gpt_probe(&e) == 0;
    if (!answers || o.counted)
        printf("Not timed, every kernel and every step: %s. Counted; floors at an H200's %.1f TB/s and %.0f TFLOP/s\n",
               answers ? "--counted" : e.text, 1e-12 * yardstick.copy, 1e-12 * yardstick.gemm);
    else
        printf("%s\n", gpt_device());
    o.counted = o.counted || !answers;
    if (o.kernels)
        part_kernels(o);
    if (o.step)
        part_step(o);
    if (numbers_file != NULL && fclose(numbers_file) != 0)
        fail("--numbers: the file cannot be written");
    return 0;
}
