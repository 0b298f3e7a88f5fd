/*
 * The benchmark behind `make bench-gpu`: every kernel of a GPT-2 alone, with cold caches, beside what the GPU itself
 * reaches in this run; and whole training steps. Where no GPU answers it prints what it counts, bytes, FLOPs and the
 * least time they take on an H200, and times nothing. `bench --help` tells the rest.
 *
 * It is one program with the trainer's kernels: train_gpt.cu is included, and linked with all other objects.
 */
#include "train_gpt.cu"

extern "C" {
#include "base/clock.h"
#include "base/random.h"
#include "optim/optim.h"
#include "optim/rules/newton_schulz.h"
#include "train/peak.h"
}

#include <algorithm>
#include <functional>
#include <string>

namespace {

const char *const usage =
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

struct Options {
    bool kernels = false, step = false, counted = false;
    const char *model = "gpt2", *optimizer = NULL, *numbers = NULL;
    size_t T = 1024, B = 0, total = 524288, rounds = 15, steps = 7, copy_mib = 1024, gemm = 8192, flush_mib = 256;
    GptConfig config = {};
};

/* What the GPU can do: bytes/s of a copy, FLOP/s of bf16 products, FLOP/s in fp32 (0: unknown). */
struct Ceilings {
    double copy, gemm, fp32;
};

/* An H200's, measured on one. */
const Ceilings yardstick = {4.3e12, 790e12, 66.9e12};

FILE *numbers_file;

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

/* --------------------------------------------------------------------------------------------------------------
 * Tokens with the frequencies of a language: that of rank r is about 1/r (Zipf's law)
 */

std::vector<int32_t> draw_tokens(size_t n, size_t V, uint64_t seed)
{
    std::vector<int32_t> tokens(n);
    Random random = random_make(seed, 0);
    for (int32_t &token : tokens)
        token = (int32_t)std::min((double)(V - 1), std::exp(random_uniform(&random) * std::log((double)V + 1)) - 1);
    return tokens;
}

size_t count_distinct(std::vector<int32_t> tokens)
{
    std::sort(tokens.begin(), tokens.end());
    return (size_t)(std::unique(tokens.begin(), tokens.end()) - tokens.begin());
}

/* --------------------------------------------------------------------------------------------------------------
 * Timing
 */

struct Timer {
    cudaStream_t stream;
    void *flush;
    size_t flush_bytes, rounds;
    std::vector<cudaEvent_t> begin, end;
};

void *allocate(size_t bytes)
{
    void *p = NULL;
    CUDA_CHECK(cudaMalloc(&p, bytes));
    return p;
}

Timer make_timer(const Options &o, cudaStream_t stream)
{
    Timer t = {stream, allocate(o.flush_mib << 20), o.flush_mib << 20, o.rounds, {}, {}};
    t.begin.resize(o.rounds);
    t.end.resize(o.rounds);
    for (size_t i = 0; i < o.rounds; i++) {
        CUDA_CHECK(cudaEventCreate(&t.begin[i]));
        CUDA_CHECK(cudaEventCreate(&t.end[i]));
    }
    return t;
}

void free_timer(Timer *t)
{
    for (size_t i = 0; i < t->rounds; i++) {
        CUDA_CHECK(cudaEventDestroy(t->begin[i]));
        CUDA_CHECK(cudaEventDestroy(t->end[i]));
    }
    CUDA_CHECK(cudaFree(t->flush));
}

double median(std::vector<double> x)
{
    std::sort(x.begin(), x.end());
    return (x[(x.size() - 1) / 2] + x[x.size() / 2]) / 2;
}

/* Seconds that run() takes on the stream. The write before it also hides the launches. */
double time_of(Timer *t, const std::function<void()> &run)
{
    std::vector<double> seconds;
    run(); /* loads the kernel, chooses the product */
    for (size_t i = 0; i < t->rounds; i++) {
        CUDA_CHECK(cudaMemsetAsync(t->flush, (int)i, t->flush_bytes, t->stream));
        CUDA_CHECK(cudaEventRecord(t->begin[i], t->stream));
        run();
        CUDA_CHECK(cudaEventRecord(t->end[i], t->stream));
    }
    CUDA_CHECK(cudaDeviceSynchronize());
    for (size_t i = 0; i < t->rounds; i++) {
        float ms = 0;
        CUDA_CHECK(cudaEventElapsedTime(&ms, t->begin[i], t->end[i]));
        seconds.push_back(1e-3 * (double)ms);
    }
    return median(seconds);
}

/* --------------------------------------------------------------------------------------------------------------
 * The ceilings
 */

enum { COPIES = 4 }; /* of 16 bytes, a thread */

__global__ void copy_kernel(uint4 *to, const uint4 *from, size_t n)
{
    const size_t first = (size_t)blockIdx.x * COPIES * blockDim.x + threadIdx.x;
    uint4 x[COPIES];
#pragma unroll
    for (size_t i = 0; i < COPIES; i++)
        if (first + i * blockDim.x < n)
            x[i] = from[first + i * blockDim.x];
#pragma unroll
    for (size_t i = 0; i < COPIES; i++)
        if (first + i * blockDim.x < n)
            to[first + i * blockDim.x] = x[i];
}

/* Uniform on [-1, 1): products of zeros draw less power than those of data. */
template <class X> __global__ void fill_kernel(X *x, size_t n)
{
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    uint32_t h = (uint32_t)i * 0x9e3779b9u; /* scattered as splitmix does, in 32 bits */
    h = (h ^ h >> 16) * 0x85ebca6bu;
    h = (h ^ h >> 13) * 0xc2b2ae35u;
    if (i < n)
        x[i] = (X)((float)(h >> 8) * 0x1p-23f - 1.0f);
}

template <class X> X *allocate_filled(size_t n)
{
    X *x = (X *)allocate(n * sizeof(X));
    cuda_launch(fill_kernel<X>, cuda_blocks(n, THREADS), THREADS, 0, nullptr, x, n);
    return x;
}

/* The better of our copy and the runtime's. */
double measure_copy(Timer *t, size_t bytes)
{
    const size_t n = bytes / sizeof(uint4);
    uint4 *from = (uint4 *)allocate_filled<float>(bytes / sizeof(float)), *to = (uint4 *)allocate(bytes);
    const double ours = time_of(
        t, [&] { cuda_launch(copy_kernel, cuda_blocks(n, COPIES * THREADS), THREADS, 0, t->stream, to, from, n); });
    const double runtimes =
        time_of(t, [&] { CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, t->stream)); });
    printf("copy of %zu MiB: %.0f GB/s by a kernel, %.0f by cudaMemcpy, read and written\n", bytes >> 20,
           2e-9 * (double)bytes / ours, 2e-9 * (double)bytes / runtimes);
    CUDA_CHECK(cudaFree(from));
    CUDA_CHECK(cudaFree(to));
    return 2 * (double)bytes / std::min(ours, runtimes);
}

double measure_gemm(Timer *t, Gpt *g, size_t n)
{
    bf16 *a = allocate_filled<bf16>(n * n), *b = allocate_filled<bf16>(n * n);
    bf16 *c = (bf16 *)allocate(n * n * sizeof(bf16));
    const double seconds = time_of(t, [&] { product(g, false, true, n, n, n, a, n, b, n, 0, c, n); });
    const double rate = 2 * (double)n * (double)n * (double)n / seconds;
    printf("product of %zu x %zu in bf16: %.1f TFLOP/s\n", n, n, 1e-12 * rate);
    for (bf16 *x : {a, b, c})
        CUDA_CHECK(cudaFree(x));
    return rate;
}

/* --------------------------------------------------------------------------------------------------------------
 * What a kernel has to do
 */

enum Unit { MEMORY, TENSOR_CORES, FP32_CORES };

const double COPY_SHARE = 0.8; /* of the copy's bandwidth: what elementwise kernels must reach */

struct Row {
    std::string name;
    double count; /* in a forward and backward pass */
    double bytes, flops;
    Unit unit;   /* that the FLOPs are done by; MEMORY: too few to count */
    double must; /* of the floor, or 0 */
    std::function<void()> run;
};

/* The sizes that bytes and FLOPs follow from, as doubles; D: distinct tokens of a micro-batch. */
struct Sizes {
    double B, T, R, C, L, NH, Vp, D, block, blocks, arena, parameters;
};

Sizes sizes_of(const GptConfig &c, size_t B, size_t T)
{
    const size_t R = B * T, block = std::min(R, classifier_rows(&c));
    Sizes s = {};
    GptTable table;
    Error e;
    check(gpt_table_make(&c, &table, &e), &e);
    s.B = (double)B, s.T = (double)T, s.R = (double)R, s.C = (double)c.C, s.L = (double)c.L, s.NH = (double)c.NH;
    s.Vp = (double)padded_vocab(&c), s.D = (double)count_distinct(draw_tokens(R, c.V, 1));
    s.block = (double)block, s.blocks = s.R / s.block;
    s.arena = (double)table.arena_size, s.parameters = (double)table.parameters;
    gpt_table_free(&table);
    return s;
}

/* What the rows' functions run on: NULL where nothing is run. */
struct Subject {
    Gpt *g;
    Optim *adamw;
    float *qkv, *att, *lse, *dqkv, *scratch; /* of the fp32 attention */
};

Activations<bf16> layer_of(const Gpt *g) { return activations_of<bf16>(g, 0, 0); }
Weights<bf16> weights_of_layer(const Gpt *g) { return weights_of(g, (bf16 *)g->weights, 0); }

void add_elementwise(std::vector<Row> *rows, const Sizes &s, const Subject *on)
{
    const double RC = s.R * s.C, must = COPY_SHARE;
    const auto add = [&](const char *name, double count, double bytes, std::function<void()> run) {
        rows->push_back({name, count, bytes, 0, MEMORY, must, run});
    };
    const auto R = [=] { return on->g->B * on->g->T; };
    const auto C = [=] { return on->g->config.C; };
    add("weights to bf16", 0, 6 * s.arena, [=] {
        on->g->weights_are_old = true;
        round_weights<bf16>(on->g);
    });
    add("embedding forward", 1, 4 * (s.D + s.T) * s.C + 4 * RC + 4 * s.R, [=] {
        const Weights<float> p = params_of(on->g, 0);
        embedding_forward(on->g, layer_of(on->g).residual, on->g->tokens, &p, R(), on->g->T, 0, C());
    });
    add("embedding backward", 1, 4 * RC + 8 * s.D * s.C + 4 * s.T * s.C + 8 * s.R, [=] {
        const Weights<float> dw = grads_of(on->g, 0);
        embedding_backward(on->g, &dw, on->g->dresidual, &on->g->config, on->g->B, on->g->T, true);
    });
    add("layernorm forward", 1, 6 * RC + 8 * s.R, [=] {
        const Activations<bf16> a = layer_of(on->g);
        const Weights<float> p = params_of(on->g, 0);
        layernorm_forward<bf16>(on->g, a.ln1, a.ln1_mean, a.ln1_rstd, NULL, a.residual, NULL, p.ln1w, p.ln1b, R(), C());
    });
    add("sum and layernorm forward", 2 * s.L, 12 * RC + 8 * s.R, [=] {
        const Activations<bf16> a = layer_of(on->g);
        const Weights<float> p = params_of(on->g, 0);
        layernorm_forward<bf16>(on->g, a.ln2, a.ln2_mean, a.ln2_rstd, a.residual_mid, a.residual,
                                (const bf16 *)on->g->narrow, p.ln2w, p.ln2b, R(), C());
    });
    add("layernorm backward", 2 * s.L + 1, 16 * RC + 8 * s.R, [=] {
        Gpt *g = on->g;
        const Activations<bf16> a = layer_of(g);
        const Weights<float> p = params_of(g, 0), dw = grads_of(g, 0);
        layernorm_backward<bf16>(g,
                                 {g->dresidual, (bf16 *)g->dresidual_rounded, (const bf16 *)g->narrow, a.residual_mid,
                                  a.ln2_mean, a.ln2_rstd, p.ln2w, false},
                                 dw.ln2w, dw.ln2b, dw.attprojb, R(), C(), true);
    });
    add("bias backward, 4C", s.L, 8 * RC,
        [=] { bias_backward(on->g, grads_of(on->g, 0).fcb, (const bf16 *)on->g->wide, R(), 4 * C(), true); });
    add("bias backward, 3C", s.L, 6 * RC,
        [=] { bias_backward(on->g, grads_of(on->g, 0).qkvb, (const bf16 *)on->g->wide, R(), 3 * C(), true); });
    add("gelu once more", 0, 16 * RC, [=] {
        const Activations<bf16> a = layer_of(on->g);
        gelu_forward(on->g, a.gelu, (const bf16 *)a.fc, R() * 4 * C());
    });
    add("bias and gelu apart", 0, 24 * RC, [=] {
        const Activations<bf16> a = layer_of(on->g);
        apply_tail(on->g, a.fc, params_of(on->g, 0).fcb, a.gelu, (const bf16 *)NULL, R(), 4 * C());
    });
    add("gelu slope apart", 0, 24 * RC, [=] {
        const Activations<bf16> a = layer_of(on->g);
        apply_tail(on->g, (bf16 *)on->g->wide, NULL, (bf16 *)NULL, (const bf16 *)a.fc, R(), 4 * C());
    });
    const auto entropy = [=](bool backward) {
        Gpt *g = on->g;
        cross_entropy(g, (bf16 *)g->logits, g->losses, g->targets, std::min(R(), classifier_rows(&g->config)),
                      &g->config, 1e-3f, backward);
    };
    add("cross-entropy alone", 0, 2 * s.block * s.Vp + 12 * s.block, [=] { entropy(false); });
    add("cross-entropy and gradient", s.blocks, 4 * s.block * s.Vp + 12 * s.block, [=] { entropy(true); });
    add("adamw, whole update", 0, 28 * s.parameters, [=] { optim_step(on->adamw, 1); });
    rows->push_back(
        {"gradient norm, to the host", 0, 4 * s.parameters, 0, MEMORY, 0, [=] { optim_grad_norm(on->adamw, NULL); }});
}

/* FLOPs of causal attention: the half of the (T,T) products that is needed; 2 forward, 5 backward. */
void add_attention(std::vector<Row> *rows, const Sizes &s, const Subject *on)
{
    const double RC = s.R * s.C, product = s.R * s.T * s.C, lse = 4 * s.R * s.NH;
    rows->push_back({"flash forward", s.L, 8 * RC + lse, 2 * product, TENSOR_CORES, 0, [=] {
                         const Activations<bf16> a = layer_of(on->g);
                         attention_forward(on->g, a.att, a.att_lse, (const bf16 *)a.qkv);
                     }});
    rows->push_back({"flash backward", s.L, 16 * RC + lse, 5 * product, TENSOR_CORES, 0, [=] {
                         const Activations<bf16> a = layer_of(on->g);
                         attention_backward(on->g, (bf16 *)on->g->wide, (const bf16 *)on->g->narrow, &a);
                     }});
    rows->push_back({"fp32 attention forward", 0, 16 * RC + lse, 2 * product, FP32_CORES, 0,
                     [=] { attention_forward(on->g, on->att, on->lse, (const float *)on->qkv); }});
    rows->push_back({"fp32 attention backward", 0, 32 * RC + lse, 5 * product, FP32_CORES, 0, [=] {
                         const Gpt *g = on->g;
                         attention_fp32_backward(g->stream, on->dqkv, on->att, on->qkv, on->att, on->lse, on->scratch,
                                                 g->B, g->T, g->config.C, g->config.NH);
                     }});
}

/* Layer 0's linear maps, IC -> OC channels. */
struct Map {
    const char *name;
    size_t IC, OC;
    bf16 *inp = NULL, *out = NULL, *gelu = NULL, *weight = NULL;
    const bf16 *bias = NULL, *slope_of = NULL; /* slope_of: of the GELU before inp */
    const float *bias_fp32 = NULL;
    float *dweight = NULL;
};

std::vector<Map> list_maps(const GptConfig &c, const Gpt *g)
{
    const size_t C = c.C;
    if (g == NULL)
        return {{"qkv", C, 3 * C}, {"attproj", C, C}, {"fc", C, 4 * C}, {"fcproj", 4 * C, C}};
    const Activations<bf16> a = layer_of(g);
    const Weights<bf16> w = weights_of_layer(g);
    const Weights<float> p = params_of(g, 0), dw = grads_of(g, 0);
    bf16 *narrow = (bf16 *)g->narrow;
    return {{"qkv", C, 3 * C, a.ln1, a.qkv, NULL, w.qkvw, w.qkvb, NULL, p.qkvb, dw.qkvw},
            {"attproj", C, C, a.att, narrow, NULL, w.attprojw, w.attprojb, NULL, p.attprojb, dw.attprojw},
            {"fc", C, 4 * C, a.ln2, a.fc, a.gelu, w.fcw, w.fcb, NULL, p.fcb, dw.fcw},
            {"fcproj", 4 * C, C, a.gelu, narrow, NULL, w.fcprojw, w.fcprojb, a.fc, p.fcprojb, dw.fcprojw}};
}

void add_map(std::vector<Row> *rows, const Sizes &s, const Map &map, Gpt *g)
{
    const double IC = (double)map.IC, OC = (double)map.OC, flops = 2 * s.R * IC * OC;
    const bool is_fc = strcmp(map.name, "fc") == 0, is_fcproj = strcmp(map.name, "fcproj") == 0;
    const double moved = 2 * (s.R * IC + s.R * OC);
    const std::string name = map.name;
    rows->push_back({name + (is_fc ? " + bias, gelu" : " + bias"), s.L,
                     moved + 2 * IC * OC + (is_fc ? 2 * s.R * OC : 0), flops, TENSOR_CORES, 0, [=] {
                         linear_forward<bf16>(g, map.out, map.gelu, map.inp, {map.weight, map.bias, map.bias_fp32},
                                              g->B * g->T, map.IC, map.OC);
                     }});
    /* gradients of the wide side lie in wide, of the narrow side in dresidual_rounded or narrow */
    rows->push_back({name + (is_fcproj ? " input's gradient, gelu" : " input's gradient"), s.L,
                     moved + 2 * IC * OC + (is_fcproj ? 2 * s.R * IC : 0), flops, TENSOR_CORES, 0, [=] {
                         bf16 *dres = (bf16 *)g->dresidual_rounded, *wide = (bf16 *)g->wide;
                         linear_backward_input(g, is_fcproj ? wide : (bf16 *)g->narrow,
                                               (const bf16 *)(map.OC > g->config.C ? wide : dres),
                                               (const bf16 *)map.weight, map.slope_of, g->B * g->T, map.IC, map.OC);
                     }});
    rows->push_back({name + " weight's gradient", s.L, moved + 8 * IC * OC, flops, TENSOR_CORES, 0, [=] {
                         const bf16 *dout = (const bf16 *)(map.OC > g->config.C ? g->wide : g->dresidual_rounded);
                         linear_backward_weight(g, map.dweight, dout, (const bf16 *)map.inp, g->B * g->T, map.IC,
                                                map.OC, false);
                     }});
}

void add_products(std::vector<Row> *rows, const Sizes &s, const GptConfig &c, Gpt *g)
{
    for (const Map &map : list_maps(c, g))
        add_map(rows, s, map, g);
    const double flops = 2 * s.block * s.C * s.Vp, lnf = 2 * s.block * s.C, wte = 2 * s.Vp * s.C;
    const double logits = 2 * s.block * s.Vp;
    const size_t C = c.C, Vp = padded_vocab(&c), block = (size_t)s.block;
    const auto wte_of = [=] { return (const bf16 *)weights_of_layer(g).wte; };
    rows->push_back({"logits", s.blocks, lnf + wte + logits, flops, TENSOR_CORES, 0, [=] {
                         product(g, false, true, block, Vp, C, (const bf16 *)g->lnf, C, wte_of(), C, 0,
                                 (bf16 *)g->logits, Vp);
                     }});
    rows->push_back({"lnf's gradient", s.blocks, lnf + wte + logits, flops, TENSOR_CORES, 0, [=] {
                         product(g, false, false, block, C, Vp, (const bf16 *)g->logits, Vp, wte_of(), C, 0,
                                 (bf16 *)g->narrow, C);
                     }});
    rows->push_back({"wte's gradient", s.blocks, lnf + 4 * wte + logits, flops, TENSOR_CORES, 0, [=] {
                         product(g, true, false, Vp, C, block, (const bf16 *)g->logits, Vp, (const bf16 *)g->lnf, C, 1,
                                 grads_of(g, 0).wte, C);
                     }});
}

/* --------------------------------------------------------------------------------------------------------------
 * The kernels' table
 */

/* Seconds. */
double floor_of(const Row &row, const Ceilings &c)
{
    const double rate = row.unit == FP32_CORES ? c.fp32 : c.gemm, moving = row.bytes / c.copy;
    return row.unit == MEMORY || rate == 0 ? moving : std::max(moving, row.flops / rate);
}

bool is_bound_by_memory(const Row &row, const Ceilings &c) { return floor_of(row, c) == row.bytes / c.copy; }

/* "layernorm forward" -> "layernorm_forward" */
std::string as_word(std::string name)
{
    name.erase(std::remove_if(name.begin(), name.end(), [](char c) { return strchr(",'+", c) != NULL; }), name.end());
    name.erase(std::unique(name.begin(), name.end(), [](char a, char b) { return a == ' ' && b == ' '; }), name.end());
    std::replace(name.begin(), name.end(), ' ', '_');
    return name;
}

/* timer NULL: nothing is run. Returns the seconds, or 0. */
double report_row(const Row &row, const Ceilings &c, Timer *timer)
{
    const double floor = floor_of(row, c);
    printf("%-32s %4.0f %9.1f %9.2f %9.1f", row.name.c_str(), row.count, 1e-6 * row.bytes, 1e-9 * row.flops,
           1e6 * floor);
    if (timer == NULL) {
        printf(row.must > 0 ? " %9s %14s %9s %3.0f%%\n" : " %9s %14s %9s\n", "-", "-", "-", 100 * row.must);
        return 0;
    }
    const double seconds = time_of(timer, row.run), share = floor / seconds;
    const bool memory = is_bound_by_memory(row, c);
    char reached[32];
    snprintf(reached, sizeof reached, "%.1f %s", memory ? 1e-9 * row.bytes / seconds : 1e-12 * row.flops / seconds,
             memory ? "GB/s" : "TFLOP/s");
    printf(" %9.1f %14s %8.0f%%", 1e6 * seconds, reached, 100 * share);
    if (row.must > 0)
        printf(" %3.0f%% %s", 100 * row.must, share >= row.must ? "ok" : "MISSED");
    putchar('\n');
    fflush(stdout);
    number("us/" + as_word(row.name), 1e6 * seconds);
    number((row.must > 0 ? "of_copy/" : "of_floor/") + as_word(row.name), share);
    return seconds;
}

void report_rows(const std::vector<Row> &rows, const Ceilings &c, const GptConfig &config, const Sizes &s, Timer *timer)
{
    double floor = 0, took = 0, memory = 0;
    printf("\n%-32s %4s %9s %9s %9s %9s %14s %9s %s\n", "", "x", "MB", "GFLOP", "floor us", "time us", "reached",
           "of floor", "must");
    for (const Row &row : rows) {
        const double at_least = row.count * floor_of(row, c);
        took += row.count * report_row(row, c, timer);
        floor += at_least;
        memory += row.unit == MEMORY ? at_least : 0;
    }
    const double flops = s.R * gpt_flops_per_token(&config, (size_t)s.T);
    printf("\nforward and backward of %.0f tokens, x times each: floor %.2f ms, %.0f%% of it elementwise, which is "
           "%.0f tokens/s and %.0f TFLOP/s\n",
           s.R, 1e3 * floor, 100 * memory / floor, s.R / floor, 1e-12 * flops / floor);
    number("floor_tokens_per_second", s.R / floor);
    if (timer == NULL)
        return;
    printf("%-59s time  %.2f ms, which is %.0f tokens/s and %.0f TFLOP/s\n", "", 1e3 * took, s.R / took,
           1e-12 * flops / took);
}

/* --------------------------------------------------------------------------------------------------------------
 * The kernels, timed on the buffers of a model after a pass over drawn tokens
 */

GptSetup setup_of(const Options &o, size_t B) { return {B, o.T, GPT_TRAINING, GPT_BF16, GPT_RECOMPUTE_NOTHING}; }

Optim *make_optim(const char *rule, const GptTable *table, float *params, const float *grads)
{
    OptimConfig config = {};
    Optim *optim;
    Error e;
    config.rule = rule;
    config.steps = 100;
    check(optim_create(&config, table->tensors, table->count, &(Arenas){.params = params, .grads = grads}, &optim, &e), &e);
    return optim;
}

/* Bytes that training with the rule takes. */
double memory_of(const Options &o, size_t B, const char *rule)
{
    const GptSetup setup = setup_of(o, B);
    GptTable table;
    Error e;
    check(gpt_table_make(&o.config, &table, &e), &e);
    Optim *plan = make_optim(rule, &table, NULL, NULL);
    const double bytes = (double)gpt_memory_needed(&o.config, &setup) + (double)optim_memory(plan);
    optim_free(plan);
    gpt_table_free(&table);
    return bytes;
}

Gpt *make_gpt(const Options &o, size_t B)
{
    const GptSetup setup = setup_of(o, B);
    Gpt *g;
    Error e;
    check(gpt_create(&o.config, &setup, &g, &e), &e);
    gpt_init(g, 1);
    return g;
}

Subject make_subject(const Options &o, size_t B)
{
    const size_t R = B * o.T, C = o.config.C;
    const std::vector<int32_t> tokens = draw_tokens(R, o.config.V, 1), targets = draw_tokens(R, o.config.V, 2);
    Subject s = {};
    s.g = make_gpt(o, B);
    s.adamw = make_optim("adamw", gpt_table(s.g), gpt_arenas(s.g).params, gpt_arenas(s.g).grads);
    gpt_forward(s.g, tokens.data(), B, o.T);
    gpt_backward(s.g, targets.data(), 1.0 / (double)R, true);
    gpt_loss_sum(s.g);
    s.qkv = allocate_filled<float>(3 * R * C);
    s.att = (float *)allocate(R * C * sizeof(float));
    s.lse = (float *)allocate(R * o.config.NH * sizeof(float));
    s.dqkv = (float *)allocate(3 * R * C * sizeof(float));
    s.scratch = (float *)allocate(attention_fp32_scratch(B, o.T, C, o.config.NH) * sizeof(float));
    return s;
}

void free_subject(Subject *s)
{
    for (float *x : {s->qkv, s->att, s->lse, s->dqkv, s->scratch})
        CUDA_CHECK(cudaFree(x));
    optim_free(s->adamw);
    gpt_free(s->g);
}

/* 16 sequences, or what fits beside the fp32 attention's buffers, the copy's and the product's. */
size_t kernels_batch(const Options &o)
{
    const double others = 2 * (double)(o.copy_mib << 20) + 6 * (double)o.gemm * (double)o.gemm;
    const double row = 40 * (double)o.config.C;
    size_t B = o.B > 0 ? o.B : 16;
    if (o.counted)
        return B;
    const double room = 0.92 * (double)gpt_memory_present() - others;
    while (B > 1 && memory_of(o, B, "adamw") + row * (double)(B * o.T) > room)
        B /= 2;
    return B;
}

void part_kernels(const Options &o)
{
    const size_t B = kernels_batch(o);
    const Sizes s = sizes_of(o.config, B, o.T);
    Ceilings ceilings = yardstick;
    Subject subject = {};
    Timer timer = {};
    std::vector<Row> rows;
    printf("\nKernels of %s, B=%zu T=%zu: %zu rows, %.0f distinct tokens\n", o.model, B, o.T, B * o.T, s.D);
    if (!o.counted) {
        subject = make_subject(o, B);
        timer = make_timer(o, subject.g->stream);
        ceilings = {measure_copy(&timer, o.copy_mib << 20), measure_gemm(&timer, subject.g, o.gemm),
                    peak_flops(gpt_device_name(), GPT_FP32)};
        number("kernels_batch", (double)B);
        number("copy_bytes_per_second", ceilings.copy);
        number("gemm_flops", ceilings.gemm);
    }
    add_elementwise(&rows, s, &subject);
    add_attention(&rows, s, &subject);
    add_products(&rows, s, o.config, subject.g);
    report_rows(rows, ceilings, o.config, s, o.counted ? NULL : &timer);
    if (o.counted)
        return;
    for (const auto &entry : subject.g->lt.plans)
        if (!entry.second.found)
            printf("cuBLASLt has not a product of %zu x %zu x %zu with its tail %zu: taken apart\n", entry.first[0],
                   entry.first[1], entry.first[2], entry.first[9]);
    free_timer(&timer);
    free_subject(&subject);
}

/* --------------------------------------------------------------------------------------------------------------
 * Training steps
 */

/* The products of a Muon step as the program does them, symmetric ones in full: an iteration over r x c, r <= c, is
 * 2 r^2 c for X X^T, 2 r^3 for its square, 2 r^2 c for the product with X. */
double muon_flops(const GptConfig &c)
{
    const double C = (double)c.C, square = 6 * C * C * C, wide = 4 * C * C * 4 * C + 2 * C * C * C;
    return (double)c.L * (double)ns_steps(NS_JORDAN, 0) * (4 * square + 2 * wide);
}

size_t step_batch(const Options &o, const char *rule)
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
StepTimes one_step(Trainer *t, double *loss)
{
    const size_t micro = t->B * t->T;
    const double total = (double)(micro * t->micro_batches), begin = clock_seconds();
    gpt_times(t->g);
    optim_begin(t->optim, 0.1);
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

double median_of(const std::vector<StepTimes> &steps, double StepTimes::*phase)
{
    std::vector<double> x;
    for (const StepTimes &step : steps)
        x.push_back(step.*phase);
    return median(x);
}

void report_step(const Options &o, const char *rule, const Trainer &t, const std::vector<StepTimes> &steps,
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

void measure_step(const Options &o, const char *rule)
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
    t.optim = make_optim(rule, gpt_table(t.g), gpt_arenas(t.g).params, gpt_arenas(t.g).grads);
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
void count_step(const Options &o)
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

/* --------------------------------------------------------------------------------------------------------------
 * The command
 */

size_t parse_size(const char *text)
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
bool take_option(Options *o, const char *name, const char *value)
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

Options parse(int argc, char **argv)
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

} // namespace

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
