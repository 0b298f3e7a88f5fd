/*
 * GPT-2 on a GPU, forward and backward: the CUDA twin of train_gpt.c, the same functions in the same order.
 *
 * What tensor cores read, and what only passes between kernels, is of type X: bf16, or float for comparisons.
 * Parameters, their gradients, the residual stream and its gradient, means, losses and all sums are fp32 (losses:
 * double) whatever X is; products read a copy of the parameters, rounded to bf16 after each update. bf16 would lose
 * most in the residual stream, to which each layer adds a little.
 *
 * Products are cuBLASLt's; everything else is our own kernels, on one stream. Results are bit-reproducible: every sum
 * has a fixed order.
 *
 * R = B*T rows of tokens; every other name as in train_gpt.c.
 */
extern "C" {
#include "base/matmul.h"
#include "gpt/gpt.h"
}

#include "base/cuda.cuh"
#include "base/cuda/lt.cuh"
#include "gpt/cuda/attention.cuh"
#include "gpt/cuda/flash.cuh"
#include "gpt/cuda/replay.cuh"
#include "gpt/cuda/score.cuh"
#include "gpt/cuda/staging.cuh"
#include "gpt/cuda/stopwatch.cuh"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <new>
#include <numeric>
#include <type_traits>
#include <vector>

typedef __nv_bfloat16 bf16;

namespace {

enum : size_t {
    PARTS_MOST = 512,           /* partial sums over rows ... */
    PART_ROWS = 8,              /* ... each over at least so many rows */
    CLASSIFIER_ROWS = 16384,    /* rows of logits at a time; GPT_RECOMPUTE_ROWS to save memory ... */
    CLASSIFIER_VOCAB = 1 << 16, /* ... fewer when the vocabulary is larger */
    LOSS_THREADS = 512,
    WORKSPACE_LEAST = 32 << 20, /* bytes, for cuBLASLt: what NVIDIA recommends for Hopper ... */
    WORKSPACE_MOST = 128 << 20, /* ... or, up to here, ... */
    WORKSPACE_SPLITS = 8,       /* ... the fp32 sums of a layer's largest matrix from so many parts of a product */
    THREADS = 256
};

enum { OLDEST_DEVICE = 7, OLDEST_TENSOR = 8 }; /* compute capability: Turing; Ampere, for tf32 and bf16 */

} // namespace

/* Calls f with `value`, one of 0 .. COUNT - 1, as a std::integral_constant. */
template <int COUNT, class F> static void with_constant(int value, F f)
{
    if (value == COUNT - 1)
        f(std::integral_constant<int, COUNT - 1>());
    else if constexpr (COUNT > 1)
        with_constant<COUNT - 1>(value, f);
}

/* --------------------------------------------------------------------------------------------------------------
 * Views of the arenas
 */

/* The parameters of one layer in fp32, their copy in X, or their gradients: the rows of GPT_PARAMETERS (gpt/gpt.h); wte
 * has Vp rows. NULL: absent. */
template <class X> struct Weights {
#define MEMBER(name, ...) X *name;
    GPT_PARAMETERS(MEMBER)
#undef MEMBER
};

/* What the forward pass of one layer keeps for the backward pass: the rows of GPT_ACTIVATION_BUFFERS. Gpt holds them
 * with X = void. */
template <class X> struct Activations {
#define MEMBER(name, type, ...) type *name;
    GPT_ACTIVATION_BUFFERS(MEMBER)
#undef MEMBER
};

struct Gpt {
    GptConfig config; /* resolved */
    GptSetup setup;   /* B and T: the maxima */
    GptTable table;
    size_t B, T; /* of the last gpt_forward */

    int device_major;             /* of its compute capability */
    size_t multiprocessor_shared; /* bytes of shared memory */
    cudaStream_t stream;
    Lt lt;
    Staging staging; /* of tokens in transit to the device */
    Replay replay;   /* of whole passes, as CUDA graphs */
    Stopwatch stopwatch;
    int32_t *host_tokens; /* (R) of the last gpt_forward */
    GptReady *ready;
    void *ready_context;
    GptDropout dropout;
    uint64_t *dropout_pass; /* (2) its key and first sequence, of the last gpt_forward */
    uint32_t *scores;       /* (L,NH) see gpt_scores, as keys (gpt/cuda/score.cuh); or NULL */

    int32_t *tokens, *targets; /* (R) */
    int32_t *row_order;        /* (R) rows by token, see embedding_backward */
    int32_t *runs, *long_runs; /* (runs_most, 2) (long_runs_most, 2) */
    double *losses;            /* (R) */
    double *loss_sums;         /* (2): of gpt_loss; over the gpt_backward calls since `first` */

    float *params, *grads;
    void *weights;            /* the parameters in X: params itself or a copy */
    uint64_t params_version;  /* incremented by each write to params */
    uint64_t weights_version; /* from which weights were made */

    Activations<void> acts; /* of layer 0; each buffer holds the layers in order, or they share it */
    float *embedded, *embedded_mean, *embedded_rstd; /* (R,C) (R) (R) the input of the embedding's norm */
    float *rotary;                                   /* (T,HS/2,2) see gpt_rotary_fill */
    float *residual_final;                           /* (R,C) */
    void *lnf;                                       /* (R,C) */
    float *lnf_mean, *lnf_rstd;
    void *logits;                      /* (classifier_rows, Vp) */
    float *row_logits, *decode_scores; /* (Vp) (NH,T) */
    void *narrow; /* (R,C): what a layer adds to the residual stream; gradients in the backward pass */

    /* backward only */
    float *dresidual;        /* (R,C) */
    void *dresidual_rounded; /* (R,C) the same in X, without what dropout has left out of the branch below */
    void *wide;              /* (R,S) and (R, F or 2F) gradients */
    float *att_scratch;      /* see attention_backward */
    float *partial_sums;     /* partial_floats */
};

template <class X> static X *place_of(const Gpt *g, GptParameter parameter, X *arena, size_t layer)
{
    const GptPlace &place = g->table.places[parameter];
    return place.present ? arena + place.offset + layer * place.stride : NULL;
}

template <class X> static Weights<X> weights_of(const Gpt *g, X *arena, size_t layer)
{
#define VIEW(member, ...) place_of(g, GPT_##member, arena, layer),
    return {GPT_PARAMETERS(VIEW)};
#undef VIEW
}

static Weights<float> params_of(const Gpt *g, size_t layer) { return weights_of(g, g->params, layer); }
static Weights<float> grads_of(const Gpt *g, size_t layer) { return weights_of(g, g->grads, layer); }

/* Layer `layer`'s activations from row `row` on. Buffers of what is recomputed hold one layer. */
template <class X> static Activations<X> activations_of(const Gpt *g, size_t layer, size_t row)
{
    const GptConfig *c = &g->config;
    const size_t kept = layer * g->setup.B * g->setup.T + row;
    const auto at = [&](GptRecompute again) { return g->setup.recompute >= again ? row : kept; };
#define VIEW(member, type, elements, again) (type *)g->acts.member + at(again) * (elements),
    Activations<X> view = {GPT_ACTIVATION_BUFFERS(VIEW)};
#undef VIEW
    /* a single sequence, which decoding may continue, always keeps every layer's keys and values */
    if (g->setup.recompute == GPT_RECOMPUTE_LAYERS && g->B == 1)
        view.qkv = (X *)g->acts.qkv + (layer * g->setup.T + row) * gpt_qkv_width(c);
    return view;
}

static size_t classifier_rows(const GptConfig *c, GptRecompute recompute)
{
    const size_t most = recompute == GPT_RECOMPUTE_NOTHING ? (size_t)CLASSIFIER_ROWS : (size_t)GPT_RECOMPUTE_ROWS;
    const size_t fit = most * CLASSIFIER_VOCAB / gpt_padded_vocab(c);
    return fit < 1 ? 1 : fit < most ? fit : most;
}

/* --------------------------------------------------------------------------------------------------------------
 * Dropout (gpt/dropout.h)
 */

/* A site whose rows are those of the batch. threshold 0: nothing is dropped, and pass is not read. */
struct DropoutSite {
    const uint64_t *pass;
    size_t layer, T;
    int site;
    uint32_t threshold;
    float scale;
};

static DropoutSite dropout_site(const Gpt *g, size_t layer, int site)
{
    return {g->dropout_pass, layer, g->T, site, dropout_threshold(g->dropout.p), dropout_scale(g->dropout.p)};
}

static DropoutSite no_dropout() { return {NULL, 0, 0, 0, 0, 1}; }

__device__ static Dropout dropout_of(const DropoutSite &s)
{
    return {dropout_site_key(s.pass[0], s.layer, s.site), (size_t)s.pass[1] * s.T, s.threshold, s.scale};
}

/* Calls f with whether the site drops anything, as a std::bool_constant. */
template <class F> static void with_dropout(const DropoutSite &s, F f)
{
    if (s.threshold > 0)
        f(std::true_type());
    else
        f(std::false_type());
}

/* x (gridDim.x, C) *= the factors */
__global__ static void drop_kernel(float *x, DropoutSite site, size_t C)
{
    const Dropout d = dropout_of(site);
    const uint64_t bits = dropout_row(&d, blockIdx.x);
    for (size_t i = threadIdx.x; i < C; i += blockDim.x)
        x[blockIdx.x * C + i] *= dropout_factor(&d, bits, (uint32_t)i);
}

static void drop_embedding(const Gpt *g, float *x)
{
    if (g->dropout.p > 0)
        cuda_launch(drop_kernel, (unsigned)(g->B * g->T), THREADS, 0, g->stream, x,
                    dropout_site(g, 0, DROPOUT_EMBEDDING), g->config.C);
}

/* --------------------------------------------------------------------------------------------------------------
 * Elements, several at a time. Threads take packs of N neighbours: 16 bytes of the widest type that a kernel streams if
 * the row length is a multiple of 8, otherwise one element. The packs of a warp's lanes lie side by side, so that one
 * load of a warp is of 512 bytes without gaps; a thread's second pack follows behind those of all lanes.
 */

template <class X, int N> struct alignas(N * sizeof(X) < 16 ? N * sizeof(X) : 16) Pack {
    X at[N];
};

enum { LANE_PACKS = 2 }; /* whose loads a lane has in flight at once */

template <int N, class X> __device__ static void load(float (&to)[N], const X *from)
{
    const Pack<X, N> pack = *reinterpret_cast<const Pack<X, N> *>(from);
#pragma unroll
    for (int i = 0; i < N; i++)
        to[i] = (float)pack.at[i];
}

template <int N, class X> __device__ static void store(X *to, const float (&from)[N])
{
    Pack<X, N> pack;
#pragma unroll
    for (int i = 0; i < N; i++)
        pack.at[i] = (X)from[i];
    *reinterpret_cast<Pack<X, N> *>(to) = pack;
}

/* Elements X of a pack. */
template <class X> constexpr int pack_of() { return 16 / (int)sizeof(X); }

/* Calls f with a std::integral_constant, pack_of<X>() or 1, as rows of n elements allow. */
template <class X, class F> static void with_pack(size_t n, F f)
{
    if (n % 8 == 0)
        f(std::integral_constant<int, pack_of<X>()>());
    else
        f(std::integral_constant<int, 1>());
}

/* A warp takes LANE_PACKS x 128 elements. */
template <class X> __global__ static void round_kernel(X *to, const float *from, size_t n)
{
    const size_t thread = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    const size_t first = thread / 32 * LANE_PACKS * 128 + thread % 32 * 4;
    float x[LANE_PACKS][4];
#pragma unroll
    for (int p = 0; p < LANE_PACKS; p++)
        if (first + p * 128 < n)
            load(x[p], from + first + p * 128);
#pragma unroll
    for (int p = 0; p < LANE_PACKS; p++)
        if (first + p * 128 < n)
            store(to + first + p * 128, x[p]);
}

/* Renews the copy of the parameters that products read, if it is stale. */
template <class X> static void round_weights(Gpt *g)
{
    const size_t n = g->table.arena_size; /* a multiple of 16 */
    if (g->weights_version != g->params_version && !std::is_same<X, float>::value)
        cuda_launch(round_kernel<X>, cuda_blocks(n, LANE_PACKS * 4 * THREADS), THREADS, 0, g->stream, (X *)g->weights,
                    g->params, n);
    g->weights_version = g->params_version;
}

/* --------------------------------------------------------------------------------------------------------------
 * Sums over rows, in parts that do not depend on the device
 */

static size_t parts_of(size_t rows)
{
    const size_t parts = (rows + PART_ROWS - 1) / PART_ROWS;
    return parts < PARTS_MOST ? parts : (size_t)PARTS_MOST;
}

/* Floats of partial_sums: PARTS_MOST parts of 4C columns; sums of more columns are made of fewer parts, at least
 * one. */
static size_t partial_floats(const GptConfig *c)
{
    return std::max({PARTS_MOST * 4 * c->C, gpt_padded_vocab(c), gpt_fc_width(c), gpt_qkv_width(c)});
}

/* The first row and the end of part blockIdx.y of gridDim.y. */
__device__ static size_t part_begin(size_t rows) { return rows * blockIdx.y / gridDim.y; }
__device__ static size_t part_end(size_t rows) { return rows * (blockIdx.y + 1) / gridDim.y; }

enum { SUMS_MOST = 3, PART_GROUPS = 32 };

struct Sums {
    float *to[SUMS_MOST]; /* (n) each; NULL: not wanted */
};

/* A block takes 32 columns by PART_GROUPS groups of parts, of sum blockIdx.y. */
__global__ static void __launch_bounds__(32 * PART_GROUPS)
    add_parts_kernel(Sums sums, const float *partial, size_t stride, unsigned parts, size_t n, bool first)
{
    __shared__ float group_sums[PART_GROUPS][32];
    const unsigned lane = threadIdx.x % 32, group = threadIdx.x / 32;
    const size_t i = (size_t)blockIdx.x * 32 + lane;
    float *to = blockIdx.y == 0 ? sums.to[0] : blockIdx.y == 1 ? sums.to[1] : sums.to[2], sum = 0;
    partial += blockIdx.y * n + i;
    if (to == NULL)
        return;
    for (unsigned part = group; part < (i < n ? parts : 0); part += PART_GROUPS)
        sum += partial[part * stride];
    group_sums[group][lane] = sum;
    __syncthreads();
    if (group > 0 || i >= n)
        return;
    float total = first ? 0.0f : to[i];
    for (unsigned k = 0; k < PART_GROUPS; k++)
        total += group_sums[k][lane];
    to[i] = total;
}

/* Sum k (n) = columns k n .. of partial (parts, stride) summed over parts, added to what was there unless `first`. */
static void add_parts(const Gpt *g, const Sums &sums, const float *partial, size_t stride, size_t parts, size_t n,
                      bool first)
{
    const unsigned count = (unsigned)(stride / n);
    cuda_launch(add_parts_kernel, dim3(cuda_blocks(n, 32), count), 32 * PART_GROUPS, 0, g->stream, sums, partial,
                stride, (unsigned)parts, n, first);
}

/* A warp takes 32 N columns; the block's 8 warps share the rows of a part. */
template <int N, class X>
__global__ static void bias_backward_kernel(float *partial, const X *dout, size_t ld, size_t rows, size_t n)
{
    __shared__ float warp_sums[8][32 * N];
    const size_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, column = (size_t)blockIdx.x * 32 * N;
    const size_t i = column + lane * N;
    float sum[N] = {}, x[N];
    for (size_t r = part_begin(rows) + warp; r < part_end(rows) && i < n; r += 8) {
        load(x, dout + r * ld + i);
        for (int j = 0; j < N; j++)
            sum[j] += x[j];
    }
    for (int j = 0; j < N; j++)
        warp_sums[warp][lane * N + j] = sum[j];
    __syncthreads();
    if (threadIdx.x >= 32 * N || column + threadIdx.x >= n)
        return;
    float total = 0;
    for (size_t k = 0; k < 8; k++)
        total += warp_sums[k][threadIdx.x];
    partial[blockIdx.y * n + column + threadIdx.x] = total;
}

/* dbias (n) += column sums of dout (rows,n), at stride ld: the backward pass of adding a bias. */
template <class X>
static void bias_backward(const Gpt *g, float *dbias, const X *dout, size_t ld, size_t rows, size_t n, bool first)
{
    const size_t parts = std::min(parts_of(rows), partial_floats(&g->config) / n);
    with_pack<X>(std::gcd(n, ld), [&](auto N) {
        cuda_launch(bias_backward_kernel<N, X>, dim3(cuda_blocks(n, 32 * N), (unsigned)parts), 256, 0, g->stream,
                    g->partial_sums, dout, ld, rows, n);
    });
    add_parts(g, {{dbias}}, g->partial_sums, n, parts, n, first);
}

/* --------------------------------------------------------------------------------------------------------------
 * Embeddings: out = wte[token] + wpe[position], if positions are learned
 */

template <int N>
__global__ static void embedding_forward_kernel(float *out, const int32_t *tokens, const float *wte, const float *wpe,
                                                size_t T, size_t position, size_t C)
{
    const size_t r = blockIdx.x;
    const float *token = wte + (size_t)tokens[r] * C;
    for (size_t i = threadIdx.x * N; i < C; i += blockDim.x * N) {
        float x[N], y[N] = {};
        load(x, token + i);
        if (wpe != NULL)
            load(y, wpe + (position + r % T) * C + i);
        for (int j = 0; j < N; j++)
            x[j] += y[j];
        store(out + r * C + i, x);
    }
}

static void embedding_forward(const Gpt *g, float *out, const int32_t *tokens, const Weights<float> *w, size_t rows,
                              size_t T, size_t position, size_t C)
{
    with_pack<float>(C, [&](auto N) {
        const unsigned threads = std::min(32 * cuda_blocks(C, 32 * N), (unsigned)THREADS);
        cuda_launch(embedding_forward_kernel<N>, (unsigned)rows, threads, 0, g->stream, out, tokens, w->wte, w->wpe, T,
                    position, C);
    });
}

/* A block takes LANE_PACKS x 32 N columns of a run, the rows that hold one token: a begin and end in row_order. Its
 * warps share the rows. */
template <int N, int WARPS>
__global__ static void __launch_bounds__(32 * WARPS)
    wte_backward_kernel(float *dwte, const float *dout, const int32_t *tokens, const int32_t *row_order,
                        const int32_t *runs, size_t C)
{
    enum { COLUMNS = LANE_PACKS * 32 * N };
    __shared__ __align__(16) float warp_sums[WARPS][COLUMNS];
    const int32_t begin = runs[2 * blockIdx.x], end = runs[2 * blockIdx.x + 1];
    const size_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, column = (size_t)blockIdx.y * COLUMNS;
    float sum[LANE_PACKS][N] = {}, x[LANE_PACKS][N] = {};
    if (begin == end) /* there are fewer runs than blocks */
        return;
    for (int32_t k = begin + (int32_t)warp; k < end; k += WARPS) {
        const float *row = dout + (size_t)row_order[k] * C;
#pragma unroll
        for (int p = 0; p < LANE_PACKS; p++) {
            const size_t i = column + (p * 32 + lane) * N;
            if (i < C)
                load(x[p], row + i);
        }
#pragma unroll
        for (int p = 0; p < LANE_PACKS; p++)
            for (int j = 0; j < N; j++)
                sum[p][j] += x[p][j];
    }
#pragma unroll
    for (int p = 0; p < LANE_PACKS; p++)
        store(&warp_sums[warp][(p * 32 + lane) * N], sum[p]);
    __syncthreads();
    if (threadIdx.x >= COLUMNS || column + threadIdx.x >= C)
        return;
    float *to = dwte + (size_t)tokens[row_order[begin]] * C + column + threadIdx.x, total = *to;
    for (size_t k = 0; k < WARPS; k++)
        total += warp_sums[k][threadIdx.x];
    *to = total;
}

__global__ static void wpe_backward_kernel(float *dwpe, const float *dout, size_t B, size_t T, size_t C, bool first)
{
    const size_t t = blockIdx.x;
    for (size_t i = threadIdx.x; i < C; i += blockDim.x) {
        float sum = first ? 0.0f : dwpe[t * C + i];
        for (size_t b = 0; b < (t < T ? B : 0); b++)
            sum += dout[(b * T + t) * C + i];
        dwpe[t * C + i] = sum;
    }
}

enum : size_t { LONG_RUN = 64 /* rows; a frequent token's are shared by more warps */ };

/* Most runs of either kind: distinct tokens, and those in at least LONG_RUN rows. */
static size_t runs_most(const GptConfig *c, size_t rows) { return rows < c->V ? rows : c->V; }
static size_t long_runs_most(size_t rows) { return rows / LONG_RUN + 1; }

/* Sorts the batch's rows by token, on the host, which has the tokens, so that no two blocks add to one row of dwte. */
static void sort_tokens(Gpt *g)
{
    const size_t R = g->B * g->T, V = g->config.V, most = runs_most(&g->config, R), long_most = long_runs_most(R);
    std::vector<int32_t> next(V + 1, 0);
    int32_t *order = staging_take(&g->staging, g->row_order, R);
    int32_t *run = staging_take(&g->staging, g->runs, 2 * most), *const runs_end = run + 2 * most;
    int32_t *long_run = staging_take(&g->staging, g->long_runs, 2 * long_most);
    int32_t *const long_runs_end = long_run + 2 * long_most;
    for (size_t r = 0; r < R; r++)
        next[(size_t)g->host_tokens[r] + 1]++;
    for (size_t v = 0; v < V; v++) {
        const int32_t rows = next[v + 1], begin = next[v];
        int32_t *&to = rows >= (int32_t)LONG_RUN ? long_run : run;
        next[v + 1] += begin;
        if (rows > 0) {
            *to++ = begin;
            *to++ = begin + rows;
        }
    }
    std::fill(run, runs_end, 0);
    std::fill(long_run, long_runs_end, 0);
    for (size_t r = 0; r < R; r++)
        order[(size_t)next[(size_t)g->host_tokens[r]]++] = (int32_t)r;
}

/* dwte is accumulated (the classifier has written it already); dwpe is overwritten when `first`. */
static void embedding_backward(const Gpt *g, const Weights<float> *dw, const float *dout, const GptConfig *c, size_t B,
                               size_t T, bool first)
{
    const size_t R = B * T, C = c->C;
    with_pack<float>(C, [&](auto N) {
        const unsigned slices = cuda_blocks(C, LANE_PACKS * 32 * N);
        cuda_launch(wte_backward_kernel<N, 8>, dim3((unsigned)runs_most(c, R), slices), 8 * 32, 0, g->stream, dw->wte,
                    dout, g->tokens, g->row_order, g->runs, C);
        cuda_launch(wte_backward_kernel<N, 32>, dim3((unsigned)long_runs_most(R), slices), 32 * 32, 0, g->stream,
                    dw->wte, dout, g->tokens, g->row_order, g->long_runs, C);
    });
    if (dw->wpe != NULL)
        cuda_launch(wpe_backward_kernel, (unsigned)c->T, THREADS, 0, g->stream, dw->wpe, dout, B, T, C, first);
}

/* --------------------------------------------------------------------------------------------------------------
 * LayerNorm (Ba et al. 2016): out = (x - mean) rstd gain + bias, rstd = 1/sqrt(var + eps); RMSNorm (Zhang and Sennrich
 * 2019) is the same with 0 for the mean. Without a norm, out = x: mean 0 and rstd 1, which have no gradients. One warp
 * per row.
 */

struct Norm {
    const float *gain, *bias; /* (C) NULL: 1, 0 */
    bool centred;             /* LayerNorm */
    bool none;
    float eps;
};

static Norm norm_of(const Gpt *g, const float *gain, const float *bias)
{
    const GptConfig *c = &g->config;
    return {gain, bias, gpt_is_centred(c), c->norm == GPT_NORM_NONE, (float)c->norm_eps};
}

/* x (N) = from (N), or `otherwise` if there is none */
template <int N> __device__ static void load_or(float (&x)[N], const float *from, size_t at, float otherwise)
{
    if (from != NULL)
        load(x, from + at);
    for (int j = 0; j < N && from == NULL; j++)
        x[j] = otherwise;
}

/* Warps of a block, each with a row in shared memory: as many as fit in 48 KiB, at most 8. */
static unsigned norm_warps(size_t C)
{
    unsigned warps = 8;
    while (warps > 1 && warps * C * sizeof(float) > 48 << 10)
        warps /= 2;
    return warps;
}

template <int N, bool DROP, class X>
__global__ static void norm_forward_kernel(X *out, float *mean, float *rstd, float *sum, const float *x, const X *delta,
                                           float residual_scale, DropoutSite site, Norm norm, size_t rows, size_t C)
{
    const size_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, r = blockIdx.x * (size_t)(blockDim.x / 32) + warp;
    float *row = dynamic_shared<float>() + warp * C, total = 0, squares = 0, v[LANE_PACKS][N], w[LANE_PACKS][N];
    if (r >= rows)
        return;
    const Dropout drop = DROP ? dropout_of(site) : Dropout();
    const uint64_t bits = DROP ? dropout_row(&drop, r) : 0;
    for (size_t first = lane * N; first < C; first += LANE_PACKS * 32 * N) { /* a lane touches only its own elements */
#pragma unroll
        for (int p = 0; p < LANE_PACKS; p++) {
            const size_t i = first + p * 32 * N;
            if (i < C)
                load(v[p], x + r * C + i);
            if (i < C && delta != NULL)
                load(w[p], delta + r * C + i);
        }
#pragma unroll
        for (int p = 0; p < LANE_PACKS; p++) {
            const size_t i = first + p * 32 * N;
            if (i >= C)
                continue;
            if (delta != NULL) {
                for (int j = 0; j < N && DROP; j++)
                    w[p][j] *= dropout_factor(&drop, bits, (uint32_t)(i + j));
                for (int j = 0; j < N; j++)
                    v[p][j] = residual_scale * v[p][j] + w[p][j];
                store(sum + r * C + i, v[p]);
            }
            for (int j = 0; j < N; j++)
                total += v[p][j];
            store(row + i, v[p]);
        }
    }
    const float m = norm.centred ? warp_sum(total) / (float)C : 0.0f;
    for (size_t i = lane * N; i < C; i += 32 * N) {
        load(v[0], row + i);
        for (int j = 0; j < N; j++)
            squares += (v[0][j] - m) * (v[0][j] - m);
    }
    const float s = norm.none ? 1.0f : 1.0f / sqrtf(warp_sum(squares) / (float)C + norm.eps);
    for (size_t i = lane * N; i < C; i += 32 * N) {
        float gain[N], bias[N];
        load(v[0], row + i);
        load_or(gain, norm.gain, i, 1);
        load_or(bias, norm.bias, i, 0);
        for (int j = 0; j < N; j++)
            v[0][j] = (v[0][j] - m) * s * gain[j] + bias[j];
        store(out + r * C + i, v[0]);
    }
    if (lane == 0) {
        mean[r] = m;
        rstd[r] = s;
    }
}

/* Of x or, given a delta, of sum = residual_scale x + delta, which is also written; what `site` drops of delta is left
 * out. */
template <class X>
static void norm_forward(const Gpt *g, X *out, float *mean, float *rstd, float *sum, const float *x, const X *delta,
                         const DropoutSite &site, Norm norm, size_t rows, size_t C)
{
    const unsigned warps = norm_warps(C);
    const size_t shared = warps * C * sizeof(float);
    with_pack<float>(C, [&](auto N) {
        with_dropout(site, [&](auto DROP) {
            cuda_allow_shared(norm_forward_kernel<N, DROP, X>, shared);
            cuda_launch(norm_forward_kernel<N, DROP, X>, cuda_blocks(rows, warps), 32 * warps, shared, g->stream, out,
                        mean, rstd, sum, x, delta, (float)g->config.residual_scale, site, norm, rows, C);
        });
    });
}

/* What norm_backward reads and writes. */
template <class X> struct NormBackward {
    float *dx;     /* (rows,C) multiplied by `keep`, then accumulated */
    X *rounded;    /* (rows,C) the new dx in X, times the factors of `below`; NULL: not wanted */
    const X *dout; /* (rows,C) */
    const float *x, *mean, *rstd;
    Norm norm;
    float keep;        /* 0: dx is overwritten */
    DropoutSite below; /* of the branch that ends where dx is */
};

/* Most threads of a block of norm_backward_kernel, and packs of columns that each has, more in wide rows. */
enum { NORM_THREADS = 512, NORM_WIDE_THREADS = 256 };
template <int N> constexpr int norm_packs() { return N == 4 ? LANE_PACKS : 1; }
template <int N> constexpr int norm_wide_packs() { return N == 4 ? 8 : 16; }

/*
 * A block takes the rows of a part, two at a time unless they are wide; a thread takes PACKS packs of N columns and
 * keeps their sums of dgain, dbias and dx, which go to partial (parts, 3, C). Everything is read once.
 */
template <int N, int PACKS, bool DROP, class X>
__global__ static void __launch_bounds__(PACKS <= LANE_PACKS ? NORM_THREADS : NORM_WIDE_THREADS)
    norm_backward_kernel(NormBackward<X> l, float *partial, size_t rows, size_t C)
{
    enum { ROWS = PACKS <= LANE_PACKS ? 2 : 1 };
    __shared__ float warp_sums[2][ROWS][2][32]; /* alternating, so that one barrier per turn is enough */
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32;
    const size_t end = part_end(rows);
    const Dropout drop = DROP ? dropout_of(l.below) : Dropout();
    float gain[PACKS][N] = {}, gain_sum[PACKS][N] = {}, bias_sum[PACKS][N] = {}, dx_sum[PACKS][N] = {};
    const auto column = [&](int pack) { return ((size_t)pack * blockDim.x + threadIdx.x) * N; };
#pragma unroll
    for (int p = 0; p < PACKS; p++)
        if (column(p) < C)
            load_or(gain[p], l.norm.gain, column(p), 1);
    unsigned turn = 0;
    for (size_t first = part_begin(rows); first < end; first += ROWS, turn ^= 1) {
        float d[ROWS][PACKS][N] = {}, xhat[ROWS][PACKS][N] = {}, dx[ROWS][PACKS][N] = {}, rstd[ROWS] = {};
#pragma unroll
        for (int k = 0; k < ROWS; k++) {
            const size_t r = first + k;
            if (r >= end)
                continue;
            const float mean = l.mean[r];
            rstd[k] = l.rstd[r];
#pragma unroll
            for (int p = 0; p < PACKS; p++) {
                const size_t at = r * C + column(p);
                if (column(p) >= C)
                    continue;
                load(d[k][p], l.dout + at);
                load(xhat[k][p], l.x + at);
                if (l.keep != 0)
                    load(dx[k][p], l.dx + at);
#pragma unroll
                for (int j = 0; j < N; j++)
                    xhat[k][p][j] = (xhat[k][p][j] - mean) * rstd[k];
            }
        }
#pragma unroll
        for (int k = 0; k < ROWS; k++) {
            float sum_d = 0, sum_d_xhat = 0;
#pragma unroll
            for (int p = 0; p < PACKS; p++)
#pragma unroll
                for (int j = 0; j < N; j++) {
                    sum_d += d[k][p][j] * gain[p][j];
                    sum_d_xhat += d[k][p][j] * gain[p][j] * xhat[k][p][j];
                }
            sum_d = warp_sum(sum_d);
            sum_d_xhat = warp_sum(sum_d_xhat);
            if (lane == 0) {
                warp_sums[turn][k][0][warp] = sum_d;
                warp_sums[turn][k][1][warp] = sum_d_xhat;
            }
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < ROWS; k++) {
            const size_t r = first + k;
            const uint64_t bits = DROP ? dropout_row(&drop, r) : 0;
            float mean_d = 0, mean_d_xhat = 0;
            for (unsigned w = 0; w < warps; w++) {
                mean_d += warp_sums[turn][k][0][w];
                mean_d_xhat += warp_sums[turn][k][1][w];
            }
            mean_d = l.norm.centred ? mean_d / (float)C : 0.0f;
            mean_d_xhat = l.norm.none ? 0.0f : mean_d_xhat / (float)C;
#pragma unroll
            for (int p = 0; p < PACKS; p++) {
                if (r >= end || column(p) >= C)
                    continue;
#pragma unroll
                for (int j = 0; j < N; j++) {
                    const float x = xhat[k][p][j];
                    dx[k][p][j] *= l.keep;
                    dx[k][p][j] += rstd[k] * (d[k][p][j] * gain[p][j] - mean_d - x * mean_d_xhat);
                    gain_sum[p][j] += d[k][p][j] * x;
                    bias_sum[p][j] += d[k][p][j];
                }
                store(l.dx + r * C + column(p), dx[k][p]);
#pragma unroll
                for (int j = 0; j < N; j++) {
                    if (DROP)
                        dx[k][p][j] *= dropout_factor(&drop, bits, (uint32_t)(column(p) + j));
                    dx_sum[p][j] += dx[k][p][j];
                }
                if (l.rounded != NULL)
                    store(l.rounded + r * C + column(p), dx[k][p]);
            }
        }
    }
    partial += blockIdx.y * 3 * C;
#pragma unroll
    for (int p = 0; p < PACKS; p++) {
        if (column(p) >= C)
            continue;
        store(partial + column(p), gain_sum[p]);
        store(partial + C + column(p), bias_sum[p]);
        store(partial + 2 * C + column(p), dx_sum[p]);
    }
}

template <int N, bool DROP, class X>
static void launch_norm_backward(const Gpt *g, const NormBackward<X> &l, size_t parts, size_t rows, size_t C)
{
    constexpr int PACKS = norm_packs<N>(), WIDE = norm_wide_packs<N>();
    const unsigned packs = cuda_blocks(C, N), threads = 32 * cuda_blocks(packs, PACKS * 32);
    const dim3 grid(1, (unsigned)parts);
    if (threads <= NORM_THREADS)
        cuda_launch(norm_backward_kernel<N, PACKS, DROP, X>, grid, threads, 0, g->stream, l, g->partial_sums, rows, C);
    else
        cuda_launch(norm_backward_kernel<N, WIDE, DROP, X>, grid, 32 * cuda_blocks(packs, WIDE * 32), 0, g->stream, l,
                    g->partial_sums, rows, C);
}

/* With xhat = (x - mean) rstd and d = dout gain: dx = keep dx + rstd (d - mean(d) - xhat mean(d xhat)), where RMSNorm
 * has no mean(d); dgain += sum of dout xhat, dbias += sum of dout, unless NULL. dx is then the gradient of what the
 * layer below added to the residual stream, so dbias_below, of that layer's last bias, += sum of dx; NULL: there is
 * none. */
template <class X>
static void norm_backward(const Gpt *g, const NormBackward<X> &l, float *dgain, float *dbias, float *dbias_below,
                          size_t rows, size_t C, bool first)
{
    const size_t parts = parts_of(rows);
    with_pack<float>(C, [&](auto N) {
        with_dropout(l.below, [&](auto DROP) { launch_norm_backward<N, DROP>(g, l, parts, rows, C); });
    });
    add_parts(g, {{dgain, dbias, dbias_below}}, g->partial_sums, 3 * C, parts, C, first);
}

/* --------------------------------------------------------------------------------------------------------------
 * GELU (Hendrycks and Gimpel 2016), the tanh form:  x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
 */

/* 1/2 (1 + tanh(u)) = 1 / (1 + exp(-2u)), of the u above */
__device__ static float gelu_share(float x)
{
    const float u = x * fmaf(GPT_GELU_CUBE * x, x, 1.0f);
    return __fdividef(1.0f, 1.0f + exp2_approx(-2.0f * GPT_GELU_SCALE * LOG2E * u));
}

__device__ static float gelu(float x) { return x * gelu_share(x); }

__device__ static float gelu_slope(float x)
{
    const float s = gelu_share(x);
    return fmaf(x * s * (1.0f - s), 2.0f * GPT_GELU_SCALE * fmaf(3.0f * GPT_GELU_CUBE * x, x, 1.0f), s);
}

__device__ static float gelu_exact(float x) { return 0.5f * x * (1.0f + erff(GPT_SQRT_HALF * x)); }

__device__ static float gelu_exact_slope(float x)
{
    return fmaf(x, GPT_NORMAL_DENSITY * exp2_approx(-0.5f * LOG2E * x * x), 0.5f * (1.0f + erff(GPT_SQRT_HALF * x)));
}

__device__ static float relu2(float x) { return x < 0.0f ? 0.0f : x * x; }

__device__ static float relu2_slope(float x) { return x < 0.0f ? 0.0f : 2.0f * x; }

__device__ static float sigmoid(float x) { return __fdividef(1.0f, 1.0f + exp2_approx(-LOG2E * x)); }

__device__ static float silu(float x) { return x * sigmoid(x); }

__device__ static float silu_slope(float x)
{
    const float s = sigmoid(x);
    return s * fmaf(x, 1.0f - s, 1.0f);
}

/* --------------------------------------------------------------------------------------------------------------
 * The MLP's activation, one of GPT_ACTIVATIONS
 */

template <int F> __device__ static float activation(float x)
{
    switch (F) {
#define CASE(constant, value, key, alias, function, gated) \
    case constant:                                         \
        return function(x);
        GPT_ACTIVATIONS(CASE)
#undef CASE
    }
    return x;
}

template <int F> __device__ static float activation_slope(float x)
{
    switch (F) {
#define CASE(constant, value, key, alias, function, gated) \
    case constant:                                         \
        return function##_slope(x);
        GPT_ACTIVATIONS(CASE)
#undef CASE
    }
    return 1;
}

/* Calls f with the model's activation as a std::integral_constant. */
template <class F> static void with_activation(const Gpt *g, F f)
{
    with_constant<GPT_ACTIVATION_COUNT>(g->config.activation, f);
}

template <int F, int N, class X> __global__ static void activation_kernel(X *act, const X *fc, size_t n)
{
    const size_t i = N * ((size_t)blockIdx.x * blockDim.x + threadIdx.x);
    float value[N];
    if (i >= n)
        return;
    load(value, fc + i);
    for (int j = 0; j < N; j++)
        value[j] = activation<F>(value[j]);
    store(act + i, value);
}

/* fc (rows,2F) += bias (2F), unless NULL; act (rows,F) = activation(first half of fc) times its second half. */
template <int A, int N, class X>
__global__ static void gate_forward_kernel(X *act, X *fc, const float *bias, size_t n, size_t F)
{
    const size_t i = N * ((size_t)blockIdx.x * blockDim.x + threadIdx.x), r = i / F, column = i % F;
    X *from = fc + r * 2 * F + column;
    float gate[N], up[N], more[N];
    if (i >= n)
        return;
    load(gate, from);
    load(up, from + F);
    if (bias != NULL) {
        load(more, bias + column);
        for (int j = 0; j < N; j++)
            gate[j] += more[j];
        load(more, bias + F + column);
        for (int j = 0; j < N; j++)
            up[j] += more[j];
        store(from, gate);
        store(from + F, up);
    }
    for (int j = 0; j < N; j++)
        gate[j] = activation<A>(gate[j]) * up[j];
    store(act + i, gate);
}

/* The first half of d (rows,2F) holds the gradient of act; d becomes that of fc. */
template <int A, int N, class X> __global__ static void gate_backward_kernel(X *d, const X *fc, size_t n, size_t F)
{
    const size_t i = N * ((size_t)blockIdx.x * blockDim.x + threadIdx.x), at = i / F * 2 * F + i % F;
    float gate[N], up[N], dact[N], dup[N];
    if (i >= n)
        return;
    load(dact, d + at);
    load(gate, fc + at);
    load(up, fc + at + F);
    for (int j = 0; j < N; j++) {
        dup[j] = dact[j] * activation<A>(gate[j]);
        dact[j] *= up[j] * activation_slope<A>(gate[j]);
    }
    store(d + at, dact);
    store(d + at + F, dup);
}

template <class X> static void gate_forward(const Gpt *g, X *act, X *fc, const float *bias, size_t rows, size_t F)
{
    const size_t n = rows * F;
    with_activation(g, [&](auto A) {
        with_pack<X>(F, [&](auto N) {
            cuda_launch(gate_forward_kernel<A, N, X>, cuda_blocks(n / N, THREADS), THREADS, 0, g->stream, act, fc, bias,
                        n, F);
        });
    });
}

template <class X> static void gate_backward(const Gpt *g, X *d, const X *fc, size_t rows, size_t F)
{
    const size_t n = rows * F;
    with_activation(g, [&](auto A) {
        with_pack<X>(F, [&](auto N) {
            cuda_launch(gate_backward_kernel<A, N, X>, cuda_blocks(n / N, THREADS), THREADS, 0, g->stream, d, fc, n, F);
        });
    });
}

/* act (rows,F) from fc, recomputed for the backward pass. */
template <class X> static void activation_forward(const Gpt *g, X *act, X *fc, size_t rows, size_t F)
{
    const size_t n = rows * F;
    if (gpt_is_gated(&g->config)) {
        gate_forward(g, act, fc, NULL, rows, F);
        return;
    }
    with_activation(g, [&](auto A) {
        /* a layer's place in memory is a multiple of F */
        with_pack<X>(F, [&](auto N) {
            cuda_launch(activation_kernel<A, N, X>, cuda_blocks(n / N, THREADS), THREADS, 0, g->stream, act,
                        (const X *)fc, n);
        });
    });
}

/* --------------------------------------------------------------------------------------------------------------
 * Linear layers, and the elementwise epilogues of their products
 */

template <int F, int N, class X>
__global__ static void epilogue_kernel(X *out, size_t ld, const float *bias, X *act, const X *slope_of, size_t n,
                                       size_t OC)
{
    const size_t i = N * ((size_t)blockIdx.x * blockDim.x + threadIdx.x);
    float value[N], other[N];
    if (i >= n)
        return;
    out += i / OC * ld + i % OC;
    load(value, out);
    if (bias != NULL) {
        load(other, bias + i % OC);
        for (int j = 0; j < N; j++)
            value[j] += other[j];
    }
    if (slope_of != NULL) {
        load(other, slope_of + i);
        for (int j = 0; j < N; j++)
            value[j] *= activation_slope<F>(other[j]);
    }
    store(out, value);
    for (int j = 0; j < N && act != NULL; j++)
        value[j] = activation<F>(value[j]);
    if (act != NULL)
        store(act + i, value);
}

/* out (rows,OC), at stride ld, += bias (OC), then times the activation's slope at slope_of (rows,OC), then act =
 * activation(out); NULL steps are skipped. */
template <class X>
static void apply_epilogue(const Gpt *g, X *out, size_t ld, const float *bias, X *act, const X *slope_of, size_t rows,
                           size_t OC)
{
    const size_t n = rows * OC;
    with_activation(g, [&](auto F) {
        with_pack<X>(std::gcd(OC, ld), [&](auto N) {
            cuda_launch(epilogue_kernel<F, N, X>, cuda_blocks(n / N, THREADS), THREADS, 0, g->stream, out, ld, bias,
                        act, slope_of, n, OC);
        });
    });
}

template <class X> constexpr cudaDataType_t type_of()
{
    return std::is_same<X, float>::value ? CUDA_R_32F : CUDA_R_16BF;
}

/* c (m,n) = op(a) op(b) + beta c, in fp32, or rounded to Y. False if cuBLASLt lacks the epilogue. */
template <class Y, class X>
static bool product(Gpt *g, bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, const X *a, size_t lda,
                    const X *b, size_t ldb, float beta, Y *c, size_t ldc, LtEpilogue epilogue = LT_PLAIN,
                    const void *bias = NULL, const void *aux = NULL)
{
    const LtShape shape = {m,
                           n,
                           k,
                           transpose_a,
                           transpose_b,
                           lda,
                           ldb,
                           ldc,
                           type_of<X>(),
                           type_of<Y>(),
                           g->setup.dtype == GPT_TF32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F,
                           epilogue,
                           1};
    const bool done = lt_product(&g->lt, g->stream, shape, 1, a, b, beta, c, c, bias, aux);
    if (!done && epilogue == LT_PLAIN)
        lt_fail(shape);
    return done;
}

/* Whether to use cuBLASLt's GELU: if its result is rounded to bf16 anyway, on devices that fuse it into the product
 * (before compute capability 9 the library runs a separate kernel for it, slower than ours). */
template <class X> static bool fuses_gelu(const Gpt *g)
{
    return std::is_same<X, bf16>::value && g->config.activation == GPT_GELU && g->device_major >= 9 &&
           g->device_major <= 10;
}

/* The weights of a linear layer: the matrix in X, the bias in X and in fp32. NULL: no bias. */
template <class X> struct Linear {
    const X *weight, *bias; /* (OC,C) (OC) */
    const float *bias_fp32; /* (OC) */
};

/* out (rows,OC), at stride ld, = inp (rows,C) weight (OC,C)^T + bias;  act (rows,OC) = activation(out) unless NULL. */
template <class X>
static void linear_forward(Gpt *g, X *out, size_t ld, X *act, const X *inp, const Linear<X> &l, size_t rows, size_t C,
                           size_t OC)
{
    const bool biased = l.bias != NULL;
    if (biased && act == NULL && product(g, false, true, rows, OC, C, inp, C, l.weight, C, 0, out, ld, LT_BIAS, l.bias))
        return;
    if (biased && act != NULL && fuses_gelu<X>(g) &&
        product(g, false, true, rows, OC, C, inp, C, l.weight, C, 0, act, OC, LT_BIAS_GELU, l.bias, out))
        return;
    product(g, false, true, rows, OC, C, inp, C, l.weight, C, 0, out, ld);
    if (biased || act != NULL)
        apply_epilogue(g, out, ld, l.bias_fp32, act, (const X *)NULL, rows, OC);
}

/* dinp (rows,C) += dout (rows,OC), at stride lddout, weight (OC,C). */
template <class X>
static void linear_backward_input(Gpt *g, X *dinp, const X *dout, size_t lddout, const X *weight, size_t rows, size_t C,
                                  size_t OC, bool first)
{
    product(g, false, false, rows, C, OC, dout, lddout, weight, C, first ? 0.0f : 1.0f, dinp, C);
}

/* dweight (OC,C) += dout (rows,OC)^T, at stride lddout, inp (rows,C); dbias (OC) += the column sums of dout, unless
 * NULL. The product, which reads dout anyway, gives these sums too where the library can. */
template <class X>
static void linear_backward_weight(Gpt *g, float *dweight, float *dbias, const X *dout, size_t lddout, const X *inp,
                                   size_t rows, size_t C, size_t OC, bool first)
{
    const float beta = first ? 0.0f : 1.0f;
    float *sums = first ? dbias : g->partial_sums;
    if (dbias != NULL &&
        product(g, true, false, OC, C, rows, dout, lddout, inp, C, beta, dweight, C, LT_ROW_SUMS, sums)) {
        if (!first)
            add_parts(g, {{dbias}}, sums, OC, 1, OC, false);
        return;
    }
    product(g, true, false, OC, C, rows, dout, lddout, inp, C, beta, dweight, C);
    if (dbias != NULL)
        bias_backward(g, dbias, dout, lddout, rows, OC, first);
}

/* --------------------------------------------------------------------------------------------------------------
 * Queries and keys: RMSNorm of each head (Dehghani et al. 2023), then rotary positions (Su et al. 2021). A row of qkv
 * has NH heads of queries, then KVH of keys, then KVH of values, which may have a factor. A warp takes a head of a row;
 * a lane takes N neighbours i, and N at i + half, with half = HS/2 rounded up. It is one pass over queries and keys, in
 * place. */

enum { HEAD_PAIRS_MOST = 64, HEAD_WARPS = 8 }; /* HS is at most 128 */

struct Heads {
    size_t T, position; /* row r stands at position + r % T */
    unsigned NH, KVH, HS;
    bool norm;
    float eps, value_scale;
    const float *rotary;        /* (T,HS/2,2) NULL: nothing is turned */
    const float *qgain, *kgain; /* (HS) NULL: no gains */
    float *rstd;                /* (R,NH+KVH) */
    void *hat;                  /* (R,NH+KVH,HS) in X: before the gain, where there is one */
};

template <class X>
static Heads heads_of(const Gpt *g, const Activations<X> &a, const Weights<float> &w, size_t T, size_t position)
{
    const GptConfig *c = &g->config;
    return {T,
            position,
            (unsigned)c->NH,
            (unsigned)c->KVH,
            (unsigned)gpt_head_size(c),
            c->qk_norm != GPT_QK_NORM_OFF,
            (float)c->norm_eps,
            (float)c->value_scale,
            gpt_is_rotary(c) ? g->rotary : NULL,
            w.qgain,
            w.kgain,
            a.qk_rstd,
            a.qk_hat};
}

/* A lane's share of a head: of both halves. Channels past the end are 0. */
template <int N> struct HeadPart {
    enum { TURNS = HEAD_PAIRS_MOST / 32 / N };
    float at[TURNS][2][N];
};

template <int N, class X> __device__ static void load_head(HeadPart<N> &part, const X *x, unsigned HS)
{
    const unsigned half = (HS + 1) / 2, lane = threadIdx.x % 32;
#pragma unroll
    for (int turn = 0; turn < HeadPart<N>::TURNS; turn++)
#pragma unroll
        for (int side = 0; side < 2; side++) {
            const unsigned i = (turn * 32 + lane) * N, at = i + side * half;
            for (int j = 0; j < N; j++)
                part.at[turn][side][j] = 0;
            if (i < half && at < HS)
                load(part.at[turn][side], x + at);
        }
}

template <int N, class X> __device__ static void store_head(X *x, const HeadPart<N> &part, unsigned HS)
{
    const unsigned half = (HS + 1) / 2, lane = threadIdx.x % 32;
#pragma unroll
    for (int turn = 0; turn < HeadPart<N>::TURNS; turn++)
#pragma unroll
        for (int side = 0; side < 2; side++) {
            const unsigned i = (turn * 32 + lane) * N, at = i + side * half;
            if (i < half && at < HS)
                store(x + at, part.at[turn][side]);
        }
}

/* Turns the pairs by the angles of a position, or back. */
template <int N> __device__ static void rotate(HeadPart<N> &part, const float *rotary, unsigned HS, float sense)
{
#pragma unroll
    for (int turn = 0; turn < HeadPart<N>::TURNS; turn++) {
        const unsigned i = (turn * 32 + threadIdx.x % 32) * N;
        float angles[2 * N];
        if (i >= HS / 2)
            continue;
        load(angles, rotary + 2 * i);
        for (int j = 0; j < N; j++) {
            const float cosine = angles[2 * j], sine = sense * angles[2 * j + 1];
            const float x1 = part.at[turn][0][j], x2 = part.at[turn][1][j];
            part.at[turn][0][j] = x1 * cosine - x2 * sine;
            part.at[turn][1][j] = x2 * cosine + x1 * sine;
        }
    }
}

template <int N> __device__ static float head_dot(const HeadPart<N> &x, const HeadPart<N> &y)
{
    float sum = 0;
#pragma unroll
    for (int turn = 0; turn < HeadPart<N>::TURNS; turn++)
        for (int side = 0; side < 2; side++)
            for (int j = 0; j < N; j++)
                sum += x.at[turn][side][j] * y.at[turn][side][j];
    return warp_sum(sum);
}

/* x = f(x, y), channel by channel */
template <int N, class F> __device__ static void combine(HeadPart<N> &x, const HeadPart<N> &y, F f)
{
#pragma unroll
    for (int turn = 0; turn < HeadPart<N>::TURNS; turn++)
        for (int side = 0; side < 2; side++)
            for (int j = 0; j < N; j++)
                x.at[turn][side][j] = f(x.at[turn][side][j], y.at[turn][side][j]);
}

/* A block takes head blockIdx.x of the rows of a part. */
template <int N, class X>
__global__ static void __launch_bounds__(32 * HEAD_WARPS) heads_forward_kernel(X *qkv, Heads heads, size_t rows)
{
    const unsigned h = blockIdx.x, HS = heads.HS, normed = heads.NH + heads.KVH;
    const size_t S = (size_t)(normed + heads.KVH) * HS;
    for (size_t r = part_begin(rows) + threadIdx.x / 32; r < part_end(rows); r += HEAD_WARPS) {
        HeadPart<N> x, gain;
        X *at = qkv + r * S + (size_t)h * HS;
        load_head(x, at, HS);
        if (h >= normed) {
            combine(x, x, [&](float v, float) { return v * heads.value_scale; });
            store_head(at, x, HS);
            continue;
        }
        if (heads.norm) {
            const float s = 1.0f / sqrtf(head_dot(x, x) / (float)HS + heads.eps);
            combine(x, x, [&](float v, float) { return v * s; });
            if (threadIdx.x % 32 == 0)
                heads.rstd[r * normed + h] = s;
        }
        if (heads.norm && heads.qgain != NULL) {
            store_head((X *)heads.hat + (r * normed + h) * HS, x, HS);
            load_head(gain, h < heads.NH ? heads.qgain : heads.kgain, HS);
            combine(x, gain, [](float v, float w) { return v * w; });
        }
        if (heads.rotary != NULL)
            rotate(x, heads.rotary + (heads.position + r % heads.T) * HS, HS, 1);
        store_head(at, x, HS);
    }
}

/* dqkv in place, from the gradients of what attention read to those of the products: with d = dx gain, rstd (d - hat
 * mean(d hat)). partial (heads, parts, HS): sums of dx hat. A normalised head without gain is found by turning what
 * attention read back. */
template <int N, class X>
__global__ static void __launch_bounds__(32 * HEAD_WARPS)
    heads_backward_kernel(X *dqkv, const X *qkv, float *partial, Heads heads, size_t rows)
{
    alignas(16) __shared__ float warp_sums[HEAD_WARPS][2 * HEAD_PAIRS_MOST];
    const unsigned h = blockIdx.x, HS = heads.HS, normed = heads.NH + heads.KVH, warp = threadIdx.x / 32;
    const size_t S = (size_t)(normed + heads.KVH) * HS;
    const bool gains = heads.norm && heads.qgain != NULL && h < normed;
    HeadPart<N> gain, gain_sum = {};
    if (gains)
        load_head(gain, h < heads.NH ? heads.qgain : heads.kgain, HS);
    for (size_t r = part_begin(rows) + warp; r < part_end(rows); r += HEAD_WARPS) {
        HeadPart<N> dx, hat;
        X *at = dqkv + r * S + (size_t)h * HS;
        const float *rotary = heads.rotary != NULL ? heads.rotary + r % heads.T * HS : NULL;
        load_head(dx, at, HS);
        if (h >= normed)
            combine(dx, dx, [&](float v, float) { return v * heads.value_scale; });
        else if (rotary != NULL)
            rotate(dx, rotary, HS, -1);
        if (h < normed && heads.norm) {
            if (gains) {
                load_head(hat, (const X *)heads.hat + (r * normed + h) * HS, HS);
                HeadPart<N> product = dx;
                combine(product, hat, [](float v, float w) { return v * w; });
                combine(gain_sum, product, [](float v, float w) { return v + w; });
                combine(dx, gain, [](float v, float w) { return v * w; });
            } else {
                load_head(hat, qkv + r * S + (size_t)h * HS, HS);
                if (rotary != NULL)
                    rotate(hat, rotary, HS, -1);
            }
            const float mean = head_dot(dx, hat) / (float)HS, s = heads.rstd[r * normed + h];
            combine(dx, hat, [&](float v, float w) { return s * (v - w * mean); });
        }
        store_head(at, dx, HS);
    }
    if (!gains)
        return;
    store_head(warp_sums[warp], gain_sum, HS);
    __syncthreads();
    float total = 0;
    for (unsigned k = 0; k < HEAD_WARPS && threadIdx.x < HS; k++)
        total += warp_sums[k][threadIdx.x];
    if (threadIdx.x < HS)
        partial[((size_t)h * gridDim.y + blockIdx.y) * HS + threadIdx.x] = total;
}

/* Heads that are not left alone. */
static unsigned changed_heads(const GptConfig *c) { return (unsigned)(c->NH + (c->value_scale != 1 ? 2 : 1) * c->KVH); }

/* Calls f with 2 or 1 as a std::integral_constant, as half a head allows. */
template <class F> static void with_head_pack(const GptConfig *c, F f)
{
    if (gpt_head_size(c) % 4 == 0)
        f(std::integral_constant<int, 2>());
    else
        f(std::integral_constant<int, 1>());
}

template <class X>
static void heads_forward(const Gpt *g, const Activations<X> &a, const Weights<float> &w, size_t rows, size_t T,
                          size_t position)
{
    const GptConfig *c = &g->config;
    if (!gpt_changes_qkv(c))
        return;
    with_head_pack(c, [&](auto N) {
        cuda_launch(heads_forward_kernel<N, X>, dim3(changed_heads(c), (unsigned)parts_of(rows)), 32 * HEAD_WARPS, 0,
                    g->stream, a.qkv, heads_of(g, a, w, T, position), rows);
    });
}

template <class X>
static void heads_backward(const Gpt *g, X *dqkv, const Activations<X> &a, const Weights<float> &w,
                           const Weights<float> &dw, bool first)
{
    const GptConfig *c = &g->config;
    const size_t R = g->B * g->T, parts = parts_of(R), HS = gpt_head_size(c);
    if (!gpt_changes_qkv(c))
        return;
    with_head_pack(c, [&](auto N) {
        cuda_launch(heads_backward_kernel<N, X>, dim3(changed_heads(c), (unsigned)parts), 32 * HEAD_WARPS, 0, g->stream,
                    dqkv, (const X *)a.qkv, g->partial_sums, heads_of(g, a, w, g->T, 0), R);
    });
    if (w.qgain == NULL)
        return;
    add_parts(g, {{dw.qgain}}, g->partial_sums, HS, c->NH * parts, HS, first);
    add_parts(g, {{dw.kgain}}, g->partial_sums + c->NH * parts * HS, HS, c->KVH * parts, HS, first);
}

/* --------------------------------------------------------------------------------------------------------------
 * Causal attention (Vaswani et al. 2017) without a (T,T) array: in fp32 by gpt/cuda/attention.cuh, in bf16, on tensor
 * cores, by gpt/cuda/flash.cuh.
 */

static AttentionShape attention_shape(const GptConfig *c, size_t B, size_t T)
{
    return {B, T, c->NH, c->KVH, gpt_head_size(c), (float)c->attention_scale};
}

static AttentionDropout attention_drop(const Gpt *g, size_t layer)
{
    return {g->dropout_pass, layer, dropout_threshold(g->dropout.p), dropout_scale(g->dropout.p)};
}

static uint32_t *layer_scores(const Gpt *g, size_t layer)
{
    return g->scores != NULL ? g->scores + layer * g->config.NH : NULL;
}

static void attention_forward(const Gpt *g, size_t layer, float *att, float *lse, const float *qkv)
{
    attention_fp32_forward(g->stream, att, lse, layer_scores(g, layer), qkv, attention_shape(&g->config, g->B, g->T),
                           attention_drop(g, layer));
}

static void attention_forward(const Gpt *g, size_t layer, bf16 *att, float *lse, const bf16 *qkv)
{
    flash_forward(g->stream, att, lse, layer_scores(g, layer), qkv, attention_shape(&g->config, g->B, g->T),
                  attention_drop(g, layer));
}

static void attention_backward(const Gpt *g, size_t layer, float *dqkv, const float *datt, const Activations<float> *a)
{
    attention_fp32_backward(g->stream, dqkv, datt, a->qkv, a->att, a->att_lse, g->att_scratch,
                            attention_shape(&g->config, g->B, g->T), attention_drop(g, layer));
}

static void attention_backward(const Gpt *g, size_t layer, bf16 *dqkv, const bf16 *datt, const Activations<bf16> *a)
{
    flash_backward(g->stream, dqkv, datt, a->qkv, a->att, a->att_lse, g->att_scratch,
                   attention_shape(&g->config, g->B, g->T), attention_drop(g, layer));
}

/* Floats of att_scratch. */
static double attention_scratch(const GptConfig *c, const GptSetup *s)
{
    return (double)(s->dtype == GPT_BF16 ? flash_scratch : attention_fp32_scratch)(attention_shape(c, s->B, s->T));
}

/* A block per head: the scores of all keys, in the head's row of scores (NH, keys), then the weighted sum of values. */
template <class X>
__global__ static void __launch_bounds__(THREADS)
    attention_decode_kernel(X *att, float *scores, const X *qkv, size_t keys, AttentionShape s)
{
    const size_t h = blockIdx.x, HS = s.HS, S = attention_row(s), key_head = s.NH + h / (s.NH / s.KVH);
    const X *q = qkv + (keys - 1) * S + h * HS, *k = qkv + key_head * HS, *v = k + s.KVH * HS;
    float highest = -INFINITY, sum = 0;
    scores += h * keys;
    for (size_t j = threadIdx.x; j < keys; j += blockDim.x) {
        float score = 0;
        for (size_t c = 0; c < HS; c++)
            score = fmaf((float)q[c], (float)k[j * S + c], score);
        scores[j] = s.scale * score;
        highest = fmaxf(highest, scores[j]);
    }
    const float maximum = block_max(highest);
    for (size_t j = threadIdx.x; j < keys; j += blockDim.x) {
        scores[j] = expf(scores[j] - maximum);
        sum += scores[j];
    }
    const float inverse_sum = 1.0f / block_sum(sum); /* its barriers make all scores visible */
    for (size_t c = threadIdx.x; c < HS; c += blockDim.x) {
        float out = 0;
        for (size_t j = 0; j < keys; j++)
            out = fmaf(scores[j], (float)v[j * S + c], out);
        att[h * HS + c] = (X)(out * inverse_sum);
    }
}

/* One new query at `position` of a single sequence; qkv (position+1, S) holds the keys and values so far. */
template <class X> static void attention_decode(const Gpt *g, X *att, const X *qkv, size_t position)
{
    cuda_launch(attention_decode_kernel<X>, (unsigned)g->config.NH, THREADS, 0, g->stream, att, g->decode_scores, qkv,
                position + 1, attention_shape(&g->config, 1, position + 1));
}

/* --------------------------------------------------------------------------------------------------------------
 * Classifier: logits = softcap(lnf W^T + bias), W the head's own matrix or wte, and cross-entropy, a block of rows at a
 * time
 */

/* The bound on a logit, and its derivative. */
template <int CAP> __device__ static float softcap(float z, float limit)
{
    if (CAP == GPT_SOFTCAP_TANH)
        return limit * tanhf(z / limit);
    return CAP == GPT_SOFTCAP_SQRT ? z / sqrtf(1.0f + z / limit * (z / limit)) : z;
}

template <int CAP> __device__ static float softcap_slope(float z, float limit)
{
    const float u = z / limit;
    if (CAP == GPT_SOFTCAP_TANH)
        return 1.0f - tanhf(u) * tanhf(u);
    const float share = 1.0f / (1.0f + u * u);
    return CAP == GPT_SOFTCAP_SQRT ? share * sqrtf(share) : 1.0f;
}

/* Calls f with the model's softcap as a std::integral_constant. */
template <class F> static void with_softcap(const Gpt *g, F f)
{
    with_constant<GPT_SOFTCAP_COUNT>(g->config.softcap, f);
}

/* A block per row, 16 bytes of logits per thread at a time; Vp is a multiple of 8. Exponentials are computed as powers
 * of 2. KEPT: the row is read from memory once, and is in shared memory from then on; otherwise the second pass reads
 * it again, and runs backwards, to begin with what was cached last. */
template <int CAP, bool KEPT, class X>
__global__ static void __launch_bounds__(LOSS_THREADS)
    cross_entropy_kernel(X *logits, double *losses, const int32_t *targets, unsigned V, unsigned Vp, float limit,
                         float scale, bool backward)
{
    enum { N = 16 / sizeof(X) };
    const int32_t target = targets[blockIdx.x];
    const unsigned step = N * blockDim.x, first = N * threadIdx.x;
    X *row = logits + (size_t)blockIdx.x * Vp, *from = row;
    float highest = -INFINITY, sum = 0;
    if (target < 0) {
        const float zeros[N] = {};
        for (unsigned i = first; i < Vp; i += step)
            store(row + i, zeros);
        if (threadIdx.x == 0)
            losses[blockIdx.x] = 0;
        return;
    }
    const float target_logit = softcap<CAP>((float)row[target], limit);
    if (KEPT) {
        from = dynamic_shared<X>();
        for (unsigned i = first; i < V; i += step)
            cp_async16(from + i, row + i);
        cp_async_commit();
        cp_async_wait<0>(); /* a thread first reads what it has copied itself */
    }
    for (unsigned i = first; i < V; i += step) { /* the sum is kept relative to the maximum so far */
        float most = highest, added = 0, x[N];
        load(x, from + i);
        for (int j = 0; j < N; j++)
            x[j] = softcap<CAP>(x[j], limit);
        for (unsigned j = 0; j < N && i + N > V; j++)
            x[j] = i + j < V ? x[j] : -INFINITY;
        for (int j = 0; j < N; j++)
            most = fmaxf(most, x[j]);
        const float shift = -most * LOG2E;
        for (int j = 0; j < N; j++)
            added += exp2_approx(fmaf(x[j], LOG2E, shift));
        sum = fmaf(sum, exp2_approx((highest - most) * LOG2E), added);
        highest = most;
    }
    /* all have read target_logit, and copied their share */
    const float maximum = block_max(highest), shift = -maximum * LOG2E;
    sum = block_sum(sum * exp2_approx((highest - maximum) * LOG2E));
    if (threadIdx.x == 0)
        losses[blockIdx.x] = (double)maximum + log((double)sum) - (double)target_logit;
    const float factor = scale / sum;
    for (unsigned before = first; before < Vp && backward; before += step) {
        const unsigned i = Vp - N - before, at = (unsigned)target - i;
        float slope[N], x[N] = {};
        if (i < V)
            load(x, from + i);
        for (int j = 0; j < N; j++) {
            slope[j] = softcap_slope<CAP>(x[j], limit);
            x[j] = exp2_approx(fmaf(softcap<CAP>(x[j], limit), LOG2E, shift)) * factor;
        }
        for (unsigned j = 0; j < N && (at < N || i + N > V); j++)
            x[j] = i + j < V ? x[j] - (j == at ? scale : 0.0f) : 0.0f;
        for (int j = 0; j < N && CAP != GPT_SOFTCAP_NONE; j++)
            x[j] *= slope[j];
        store(row + i, x);
    }
}

/* Bytes of shared memory in which cross_entropy_kernel keeps a row; 0: it does not, where one multiprocessor cannot
 * hold two, of which one is read while the other is computed. */
template <class X> static size_t kept_row(const Gpt *g)
{
    const size_t bytes = gpt_padded_vocab(&g->config) * sizeof(X), own = 2048; /* per block: static, and the system's */
    return g->device_major >= OLDEST_TENSOR && 2 * (bytes + own) <= g->multiprocessor_shared ? bytes : 0;
}

/* Rows of logits (rows, Vp), before their cap -> losses (rows); with `backward` the logits become their gradients,
 * scale (softmax - onehot(target)) times the cap's slope, and those of the vocabulary's padding 0. A negative target
 * has loss 0 and gradient 0. */
template <class X>
static void cross_entropy(const Gpt *g, X *logits, double *losses, const int32_t *targets, size_t rows,
                          const GptConfig *c, float scale, bool backward)
{
    const size_t kept = backward ? kept_row<X>(g) : 0;
    with_softcap(g, [&](auto CAP) {
        const auto kernel = kept > 0 ? cross_entropy_kernel<CAP, true, X> : cross_entropy_kernel<CAP, false, X>;
        cuda_allow_shared(kernel, kept);
        cuda_launch(kernel, (unsigned)rows, LOSS_THREADS, kept, g->stream, logits, losses, targets, c->V,
                    gpt_padded_vocab(c), (float)c->softcap_limit, scale, backward);
    });
}

__global__ static void __launch_bounds__(LOSS_THREADS)
    sum_losses_kernel(double *sum, const double *losses, size_t rows, bool first)
{
    __shared__ double parts[LOSS_THREADS];
    double total = 0;
    for (size_t r = threadIdx.x; r < rows; r += LOSS_THREADS)
        total += losses[r];
    parts[threadIdx.x] = total;
    for (unsigned half = LOSS_THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half)
            parts[threadIdx.x] += parts[threadIdx.x + half];
    }
    if (threadIdx.x == 0)
        *sum = (first ? 0 : *sum) + parts[0];
}

enum { LOSS_ALONE, LOSS_OF_BACKWARD }; /* of loss_sums */

/* The classifier's matrix (Vp,C): of the parameters, their copy or their gradients. */
template <class X> static X *head_weight(const Weights<X> &w) { return w.headw != NULL ? w.headw : w.wte; }

/* loss_sums[which] = the sum of the losses, added unless `first`; with `backward` also narrow (R,C), the gradient of
 * lnf, and those of the head, overwritten when `first`. */
template <class X> static void classifier(Gpt *g, float scale, bool backward, bool first)
{
    const GptConfig *c = &g->config;
    const size_t C = c->C, Vp = gpt_padded_vocab(c), R = g->B * g->T;
    const size_t most = classifier_rows(c, g->setup.recompute);
    const Weights<X> w = weights_of(g, (X *)g->weights, 0);
    const Weights<float> dw = backward ? grads_of(g, 0) : Weights<float>();
    X *logits = (X *)g->logits, *none = NULL;
    for (size_t r0 = 0; r0 < R; r0 += most) {
        const size_t rows = R - r0 < most ? R - r0 : most;
        const X *lnf = (const X *)g->lnf + r0 * C;
        const bool overwrite = first && r0 == 0;
        linear_forward<X>(g, logits, Vp, none, lnf, {head_weight(w), w.headb, params_of(g, 0).headb}, rows, C, Vp);
        cross_entropy(g, logits, g->losses + r0, g->targets + r0, rows, c, scale, backward);
        if (!backward)
            continue;
        linear_backward_input<X>(g, (X *)g->narrow + r0 * C, logits, Vp, head_weight(w), rows, C, Vp, true);
        linear_backward_weight<X>(g, head_weight(dw), dw.headb, logits, Vp, lnf, rows, C, Vp, overwrite);
    }
    cuda_launch(sum_losses_kernel, 1, LOSS_THREADS, 0, g->stream,
                g->loss_sums + (backward ? LOSS_OF_BACKWARD : LOSS_ALONE), g->losses, R, first);
}

/* A block per row of logits (rows, Vp), before their cap: targets (rows) as in gpt_draw. Each thread sums a stretch of
 * the row; the first finds the stretch and in it the label. */
template <int CAP, class X>
__global__ static void __launch_bounds__(LOSS_THREADS)
    draw_kernel(int32_t *targets, const X *logits, unsigned V, unsigned Vp, float limit, uint64_t key, uint64_t first)
{
    __shared__ double parts[LOSS_THREADS];
    const X *row = logits + (size_t)blockIdx.x * Vp;
    const unsigned stretch = (V + LOSS_THREADS - 1) / LOSS_THREADS, begin = min(threadIdx.x * stretch, V),
                   end = min(begin + stretch, V);
    float highest = -INFINITY;
    for (unsigned i = begin; i < end; i++)
        highest = fmaxf(highest, softcap<CAP>((float)row[i], limit));
    const float maximum = block_max(highest);
    double sum = 0;
    for (unsigned i = begin; i < end; i++)
        sum += (double)expf(softcap<CAP>((float)row[i], limit) - maximum);
    parts[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x > 0)
        return;
    double total = 0;
    unsigned last = 0, label = 0; /* the last stretch with a weight */
    for (unsigned t = 0; t < LOSS_THREADS; t++) {
        total += parts[t];
        last = parts[t] > 0 ? t : last;
    }
    double left = gpt_draw_share(key, first + blockIdx.x) * total;
    unsigned t = 0;
    while (t < last && left >= parts[t])
        left -= parts[t++];
    for (unsigned i = t * stretch; i < V && left >= 0; i++) {
        const float weight = expf(softcap<CAP>((float)row[i], limit) - maximum);
        label = weight > 0 ? i : label;
        left -= (double)weight;
    }
    targets[blockIdx.x] = (int32_t)label;
}

/* g->targets = labels drawn from the logits. */
template <class X> static void draw_targets(Gpt *g, uint64_t key, uint64_t first)
{
    const GptConfig *c = &g->config;
    const size_t Vp = gpt_padded_vocab(c), R = g->B * g->T, most = classifier_rows(c, g->setup.recompute);
    const Weights<X> w = weights_of(g, (X *)g->weights, 0);
    X *logits = (X *)g->logits, *none = NULL;
    for (size_t r0 = 0; r0 < R; r0 += most) {
        const size_t rows = R - r0 < most ? R - r0 : most;
        linear_forward<X>(g, logits, Vp, none, (const X *)g->lnf + r0 * c->C,
                          {head_weight(w), w.headb, params_of(g, 0).headb}, rows, c->C, Vp);
        with_softcap(g, [&](auto CAP) {
            cuda_launch(draw_kernel<CAP, X>, (unsigned)rows, LOSS_THREADS, 0, g->stream, g->targets + r0,
                        (const X *)logits, c->V, Vp, (float)c->softcap_limit, key, first + r0);
        });
    }
}

/* logits (V) = softcap(logits + bias, unless NULL) */
template <int CAP> __global__ static void finish_logits_kernel(float *logits, const float *bias, size_t V, float limit)
{
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < V)
        logits[i] = softcap<CAP>(logits[i] + (bias != NULL ? bias[i] : 0.0f), limit);
}

template <class X> static void logits_of_row(Gpt *g, size_t row, float *logits)
{
    const GptConfig *c = &g->config;
    const size_t C = c->C, V = c->V, Vp = gpt_padded_vocab(c);
    const float *bias = params_of(g, 0).headb;
    product(g, false, true, 1, Vp, C, (const X *)g->lnf + row * C, C, head_weight(weights_of(g, (X *)g->weights, 0)), C,
            0, g->row_logits, Vp);
    if (bias != NULL || c->softcap != GPT_SOFTCAP_NONE)
        with_softcap(g, [&](auto CAP) {
            cuda_launch(finish_logits_kernel<CAP>, cuda_blocks(V, THREADS), THREADS, 0, g->stream, g->row_logits, bias,
                        V, (float)c->softcap_limit);
        });
    CUDA_CHECK(cudaMemcpyAsync(logits, g->row_logits, V * sizeof *logits, cudaMemcpyDeviceToHost, g->stream));
    CUDA_CHECK(cudaStreamSynchronize(g->stream));
}

/* --------------------------------------------------------------------------------------------------------------
 * The whole model
 */

/* The outputs and parameters of the norm that reads the stream after layer `layer`: the next layer's, or the final
 * one. */
template <class X> struct NextNorm {
    X *out;
    float *mean, *rstd, *residual;
    Norm norm;
};

template <class X> static NextNorm<X> norm_after(const Gpt *g, size_t layer, size_t row)
{
    const size_t next = layer + 1;
    if (next == g->config.L) {
        const Weights<float> p = params_of(g, 0);
        return {(X *)g->lnf + row * g->config.C, g->lnf_mean + row, g->lnf_rstd + row,
                g->residual_final + row * g->config.C, norm_of(g, p.lnfw, p.lnfb)};
    }
    const Activations<X> a = activations_of<X>(g, next, row);
    const Weights<float> p = params_of(g, next);
    return {a.ln1, a.ln1_mean, a.ln1_rstd, a.residual, norm_of(g, p.ln1w, p.ln1b)};
}

/* n further into an array, if there is one. */
template <class X> static X *beyond(X *x, size_t n) { return x != NULL ? x + n : NULL; }

/* qkv (rows,S) = ln1 (rows,C) times the one matrix or the two that give queries, keys and values, + bias */
template <class X>
static void qkv_forward(Gpt *g, X *qkv, const X *ln1, const Weights<X> &w, const Weights<float> &p, size_t rows)
{
    const size_t C = g->config.C, S = gpt_qkv_width(&g->config);
    X *none = NULL;
    if (w.qkvw != NULL) {
        linear_forward<X>(g, qkv, S, none, ln1, {w.qkvw, w.qkvb, p.qkvb}, rows, C, S);
        return;
    }
    linear_forward<X>(g, qkv, S, none, ln1, {w.qw, w.qkvb, p.qkvb}, rows, C, C);
    linear_forward<X>(g, qkv + C, S, none, ln1, {w.kvw, beyond(w.qkvb, C), beyond(p.qkvb, C)}, rows, C, S - C);
}

template <class X>
static void qkv_backward(Gpt *g, X *dln1, const X *dqkv, const X *ln1, const Weights<X> &w, const Weights<float> &dw,
                         size_t rows, bool first)
{
    const size_t C = g->config.C, S = gpt_qkv_width(&g->config);
    if (w.qkvw != NULL) {
        linear_backward_input(g, dln1, dqkv, S, w.qkvw, rows, C, S, true);
        linear_backward_weight(g, dw.qkvw, dw.qkvb, dqkv, S, ln1, rows, C, S, first);
    } else {
        linear_backward_input(g, dln1, dqkv, S, w.qw, rows, C, C, true);
        linear_backward_input(g, dln1, dqkv + C, S, w.kvw, rows, C, S - C, false);
        linear_backward_weight(g, dw.qw, dw.qkvb, dqkv, S, ln1, rows, C, C, first);
        linear_backward_weight(g, dw.kvw, beyond(dw.qkvb, C), dqkv + C, S, ln1, rows, C, S - C, first);
    }
}

/* fc (rows, F or 2F) and act (rows,F) from ln2 (rows,C) */
template <class X>
static void fc_forward(Gpt *g, const Activations<X> &a, const Weights<X> &w, const Weights<float> &p, size_t rows)
{
    const size_t C = g->config.C, F = g->config.F, width = gpt_fc_width(&g->config);
    if (!gpt_is_gated(&g->config)) {
        linear_forward<X>(g, a.fc, F, a.act, a.ln2, {w.fcw, w.fcb, p.fcb}, rows, C, F);
        return;
    }
    product(g, false, true, rows, width, C, (const X *)a.ln2, C, (const X *)w.fcw, C, 0, a.fc, width);
    gate_forward(g, a.act, a.fc, p.fcb, rows, F);
}

/* dfc (rows, F or 2F), the gradient of fc, from dout (rows,C), that of the MLP's output */
template <class X>
static void fc_backward(Gpt *g, X *dfc, const X *dout, const Activations<X> &a, const Weights<X> &w, size_t rows)
{
    const size_t C = g->config.C, F = g->config.F, width = gpt_fc_width(&g->config);
    const X *weight = w.fcprojw;
    if (fuses_gelu<X>(g) &&
        product(g, false, false, rows, F, C, dout, C, weight, F, 0, dfc, F, LT_GELU_SLOPE, NULL, a.fc))
        return;
    product(g, false, false, rows, F, C, dout, C, weight, F, 0, dfc, width);
    if (gpt_is_gated(&g->config))
        gate_backward(g, dfc, (const X *)a.fc, rows, F);
    else
        apply_epilogue(g, dfc, F, NULL, (X *)NULL, (const X *)a.fc, rows, F);
}

/* Layer `layer` on `rows` rows from `row` on: the whole batch or, when decoding, one row, its position. Its residual
 * and ln1 are given; it writes those of the next layer, unless it runs `again` to recompute what lies between. */
template <class X> static void block_forward(Gpt *g, size_t layer, size_t row, size_t rows, bool decode, bool again)
{
    const size_t C = g->config.C;
    const Weights<float> p = params_of(g, layer);
    const Weights<X> w = weights_of(g, (X *)g->weights, layer);
    const Activations<X> a = activations_of<X>(g, layer, row);
    X *delta = (X *)g->narrow, *none = NULL;
    qkv_forward(g, a.qkv, (const X *)a.ln1, w, p, rows);
    heads_forward(g, a, p, rows, decode ? 1 : g->T, row);
    if (decode)
        attention_decode(g, a.att, activations_of<X>(g, layer, 0).qkv, row);
    else
        attention_forward(g, layer, a.att, a.att_lse, a.qkv);
    linear_forward<X>(g, delta, C, none, a.att, {w.attprojw, w.attprojb, p.attprojb}, rows, C, C);
    norm_forward<X>(g, a.ln2, a.ln2_mean, a.ln2_rstd, a.residual_mid, a.residual, delta,
                    decode ? no_dropout() : dropout_site(g, layer, DROPOUT_ATTPROJ), norm_of(g, p.ln2w, p.ln2b), rows,
                    C);
    fc_forward(g, a, w, p, rows);
    if (again)
        return;
    const NextNorm<X> next = norm_after<X>(g, layer, row);
    linear_forward<X>(g, delta, C, none, a.act, {w.fcprojw, w.fcprojb, p.fcprojb}, rows, g->config.F, C);
    norm_forward<X>(g, next.out, next.mean, next.rstd, next.residual, a.residual_mid, delta,
                    decode ? no_dropout() : dropout_site(g, layer, DROPOUT_MLP), next.norm, rows, C);
}

/* Tokens on the device -> residual stream, ln1 of layer 0. */
template <class X> static void stem_forward(Gpt *g, size_t row, size_t rows, size_t T, bool decode)
{
    const size_t C = g->config.C;
    const Weights<float> p = params_of(g, 0);
    const Activations<X> a = activations_of<X>(g, 0, row);
    if (g->config.embed_norm == GPT_EMBED_NORM_ON) {
        float *embedded = g->embedded + row * C;
        embedding_forward(g, embedded, g->tokens, &p, rows, T, row, C);
        norm_forward<float>(g, a.residual, g->embedded_mean + row, g->embedded_rstd + row, NULL, embedded, NULL,
                            no_dropout(), norm_of(g, p.embedw, p.embedb), rows, C);
    } else {
        embedding_forward(g, a.residual, g->tokens, &p, rows, T, row, C);
    }
    if (!decode)
        drop_embedding(g, a.residual);
    norm_forward<X>(g, a.ln1, a.ln1_mean, a.ln1_rstd, NULL, a.residual, NULL, no_dropout(), norm_of(g, p.ln1w, p.ln1b),
                    rows, C);
}

/* Recomputes what the forward pass has not kept of layer `layer`. */
template <class X> static void recompute(Gpt *g, size_t layer)
{
    const size_t C = g->config.C, R = g->B * g->T;
    const Weights<float> p = params_of(g, layer);
    const Activations<X> a = activations_of<X>(g, layer, 0);
    if (g->setup.recompute == GPT_RECOMPUTE_NOTHING || layer + 1 == g->config.L) /* the last layer's are still there */
        return;
    norm_forward<X>(g, a.ln1, a.ln1_mean, a.ln1_rstd, NULL, a.residual, NULL, no_dropout(), norm_of(g, p.ln1w, p.ln1b),
                    R, C);
    if (g->setup.recompute == GPT_RECOMPUTE_LAYERS) {
        block_forward<X>(g, layer, 0, R, false, true);
        return;
    }
    norm_forward<X>(g, a.ln2, a.ln2_mean, a.ln2_rstd, NULL, a.residual_mid, NULL, no_dropout(),
                    norm_of(g, p.ln2w, p.ln2b), R, C);
    activation_forward<X>(g, a.act, a.fc, R, g->config.F);
}

/* Where dresidual is rounded to, and loses what dropout left out; NULL if neither is needed. */
template <class X> static X *rounded_apart(const Gpt *g)
{
    return g->dresidual_rounded == g->dresidual ? NULL : (X *)g->dresidual_rounded;
}

/* The dropout of the branch that was added to the stream before layer `layer`'s first norm reads it. */
static DropoutSite branch_before(const Gpt *g, size_t layer)
{
    return layer > 0 ? dropout_site(g, layer - 1, DROPOUT_MLP) : no_dropout();
}

/* dresidual, the gradient of the layer's output, becomes that of its input. */
template <class X> static void block_backward(Gpt *g, size_t layer, bool first)
{
    const size_t C = g->config.C, F = g->config.F, fc_width = gpt_fc_width(&g->config), R = g->B * g->T;
    const Weights<float> p = params_of(g, layer), dw = grads_of(g, layer);
    const Weights<X> w = weights_of(g, (X *)g->weights, layer);
    const Activations<X> a = activations_of<X>(g, layer, 0);
    const X *dres = (const X *)g->dresidual_rounded;
    const float residual_scale = (float)g->config.residual_scale;
    X *narrow = (X *)g->narrow, *wide = (X *)g->wide;
    recompute<X>(g, layer);

    fc_backward(g, wide, dres, a, w, R);
    linear_backward_weight<X>(g, dw.fcprojw, NULL, dres, C, a.act, R, F, C, first);

    linear_backward_input<X>(g, narrow, wide, fc_width, w.fcw, R, C, fc_width, true);
    linear_backward_weight<X>(g, dw.fcw, dw.fcb, wide, fc_width, a.ln2, R, C, fc_width, first);
    norm_backward<X>(g,
                     {g->dresidual, rounded_apart<X>(g), narrow, a.residual_mid, a.ln2_mean, a.ln2_rstd,
                      norm_of(g, p.ln2w, p.ln2b), residual_scale, dropout_site(g, layer, DROPOUT_ATTPROJ)},
                     dw.ln2w, dw.ln2b, dw.attprojb, R, C, first);

    linear_backward_input<X>(g, narrow, dres, C, w.attprojw, R, C, C, true);
    linear_backward_weight<X>(g, dw.attprojw, NULL, dres, C, a.att, R, C, C, first);

    attention_backward(g, layer, wide, narrow, &a);
    heads_backward(g, wide, a, p, dw, first);

    qkv_backward(g, narrow, (const X *)wide, (const X *)a.ln1, w, dw, R, first);
    norm_backward<X>(g,
                     {g->dresidual, rounded_apart<X>(g), narrow, a.residual, a.ln1_mean, a.ln1_rstd,
                      norm_of(g, p.ln1w, p.ln1b), residual_scale, branch_before(g, layer)},
                     dw.ln1w, dw.ln1b, layer > 0 ? grads_of(g, layer - 1).fcprojb : NULL, R, C, first);
}

/* From dresidual, the gradient of the stem's output, which becomes that of the embeddings' sum. */
static void stem_backward(Gpt *g, bool first)
{
    const GptConfig *c = &g->config;
    const size_t C = c->C, R = g->B * g->T;
    const Weights<float> p = params_of(g, 0), dw = grads_of(g, 0);
    drop_embedding(g, g->dresidual);
    if (c->embed_norm == GPT_EMBED_NORM_ON)
        norm_backward<float>(g,
                             {g->dresidual, NULL, g->dresidual, g->embedded, g->embedded_mean, g->embedded_rstd,
                              norm_of(g, p.embedw, p.embedb), 0, no_dropout()},
                             dw.embedw, dw.embedb, NULL, R, C, first);
    if (first && c->head != GPT_TIED)
        CUDA_CHECK(cudaMemsetAsync(dw.wte, 0, c->V * C * sizeof *dw.wte, g->stream));
    embedding_backward(g, &dw, g->dresidual, c, g->B, g->T, first);
}

template <class X> static void forward(Gpt *g)
{
    const size_t R = g->B * g->T;
    stem_forward<X>(g, 0, R, g->T, false);
    for (size_t layer = 0; layer < g->config.L; layer++)
        block_forward<X>(g, layer, 0, R, false, false);
}

template <class X> static void backward(Gpt *g, float scale, bool first)
{
    const size_t C = g->config.C, L = g->config.L, R = g->B * g->T;
    const Weights<float> p = params_of(g, 0), dw = grads_of(g, 0);
    classifier<X>(g, scale, true, first);
    norm_backward<X>(g,
                     {g->dresidual, rounded_apart<X>(g), (const X *)g->narrow, g->residual_final, g->lnf_mean,
                      g->lnf_rstd, norm_of(g, p.lnfw, p.lnfb), 0, branch_before(g, L)},
                     dw.lnfw, dw.lnfb, grads_of(g, L - 1).fcprojb, R, C, first);
    for (size_t layer = L; layer-- > 0;) {
        block_backward<X>(g, layer, first);
        if (g->ready != NULL)
            g->ready(g->ready_context, layer);
    }
    stem_backward(g, first);
}

/* One of three passes, replayed if its shape has been seen before. */
enum Pass { FORWARD, LOSS, BACKWARD };

template <class X> static void run_pass(Gpt *g, Pass pass, float scale, bool first)
{
    uint32_t scale_bits;
    memcpy(&scale_bits, &scale, sizeof scale_bits);
    stopwatch_begin(&g->stopwatch, g->stream, pass);
    if (pass == BACKWARD && g->ready != NULL) { /* a graph would not call it */
        backward<X>(g, scale, first);
        stopwatch_end(&g->stopwatch, g->stream);
        return;
    }
    replay(&g->replay, g->stream,
           ReplayKey{(size_t)pass, g->B, g->T, scale_bits, first ? 1u : 0u, dropout_threshold(g->dropout.p)}, [&] {
               if (pass == FORWARD)
                   forward<X>(g);
               else if (pass == LOSS)
                   classifier<X>(g, 0, false, true);
               else
                   backward<X>(g, scale, first);
           });
    stopwatch_end(&g->stopwatch, g->stream);
}

/* Calls f with a float or a bf16, whichever X is. */
template <class F> static void with_type(const Gpt *g, F f)
{
    if (g->setup.dtype == GPT_BF16)
        f(bf16());
    else
        f(float());
}

void gpt_forward(Gpt *g, const int32_t *tokens, size_t B, size_t T)
{
    assert(B >= 1 && B <= g->setup.B && T >= 1 && T <= g->setup.T);
    g->B = B;
    g->T = T;
    memcpy(g->host_tokens, tokens, B * T * sizeof *tokens);
    staging_open(&g->staging);
    memcpy(staging_take(&g->staging, g->tokens, B * T), tokens, B * T * sizeof *tokens);
    const uint64_t pass[2] = {g->dropout.key, g->dropout.first_sequence};
    memcpy(staging_take(&g->staging, (int32_t *)g->dropout_pass, 4), pass, sizeof pass);
    staging_send(&g->staging, g->stream);
    with_type(g, [&](auto x) {
        round_weights<decltype(x)>(g);
        run_pass<decltype(x)>(g, FORWARD, 0, false);
    });
}

void gpt_dropout(Gpt *g, GptDropout dropout)
{
    assert(dropout.p == 0 || (g->setup.dropout && dropout.p > 0 && dropout.p < 1));
    g->dropout = dropout;
}

void gpt_scores_begin(Gpt *g)
{
    assert(g->setup.scores);
    CUDA_CHECK(cudaMemsetAsync(g->scores, 0, g->config.L * g->config.NH * sizeof *g->scores, g->stream));
}

void gpt_scores(const Gpt *g, float *to)
{
    assert(g->setup.scores);
    std::vector<uint32_t> keys(g->config.L * g->config.NH);
    CUDA_CHECK(
        cudaMemcpyAsync(keys.data(), g->scores, keys.size() * sizeof *g->scores, cudaMemcpyDeviceToHost, g->stream));
    CUDA_CHECK(cudaStreamSynchronize(g->stream));
    std::transform(keys.begin(), keys.end(), to, score_of);
}

static void stage_targets(Gpt *g, const int32_t *targets)
{
    memcpy(staging_take(&g->staging, g->targets, g->B * g->T), targets, g->B * g->T * sizeof *targets);
}

static double read_loss(const Gpt *g, size_t which)
{
    double sum = 0;
    CUDA_CHECK(cudaMemcpyAsync(&sum, g->loss_sums + which, sizeof sum, cudaMemcpyDeviceToHost, g->stream));
    CUDA_CHECK(cudaStreamSynchronize(g->stream));
    return sum;
}

void gpt_on_layer(Gpt *g, GptReady *ready, void *context)
{
    g->ready = ready;
    g->ready_context = context;
}

double gpt_loss(Gpt *g, const int32_t *targets)
{
    stopwatch_forget(&g->stopwatch);
    staging_open(&g->staging);
    stage_targets(g, targets);
    staging_send(&g->staging, g->stream);
    with_type(g, [&](auto x) { run_pass<decltype(x)>(g, LOSS, 0, true); });
    stopwatch_forget(&g->stopwatch);
    return read_loss(g, LOSS_ALONE);
}

void gpt_draw(Gpt *g, uint64_t key, uint64_t first, int32_t *targets)
{
    stopwatch_forget(&g->stopwatch);
    with_type(g, [&](auto x) { draw_targets<decltype(x)>(g, key, first); });
    CUDA_CHECK(cudaMemcpyAsync(targets, g->targets, g->B * g->T * sizeof *targets, cudaMemcpyDeviceToHost, g->stream));
    CUDA_CHECK(cudaStreamSynchronize(g->stream));
}

void gpt_backward(Gpt *g, const int32_t *targets, double scale, bool first)
{
    assert(g->setup.mode == GPT_TRAINING);
    staging_open(&g->staging);
    stage_targets(g, targets);
    sort_tokens(g);
    staging_send(&g->staging, g->stream);
    with_type(g, [&](auto x) { run_pass<decltype(x)>(g, BACKWARD, (float)scale, first); });
}

void gpt_losses(const Gpt *g, double *to)
{
    CUDA_CHECK(cudaMemcpyAsync(to, g->losses, g->B * g->T * sizeof *to, cudaMemcpyDeviceToHost, g->stream));
    CUDA_CHECK(cudaStreamSynchronize(g->stream));
}

double gpt_loss_sum(const Gpt *g) { return read_loss(g, LOSS_OF_BACKWARD); }

GptTimes gpt_times(Gpt *g)
{
    const GptTimes times = {stopwatch_sum(&g->stopwatch, FORWARD), stopwatch_sum(&g->stopwatch, BACKWARD),
                            stopwatch_gap(&g->stopwatch)};
    stopwatch_reset(&g->stopwatch);
    return times;
}

void gpt_wait(Gpt *g)
{
    (void)g;
    CUDA_CHECK(cudaDeviceSynchronize());
}

void gpt_decode(Gpt *g, int32_t token, size_t position, float *logits)
{
    assert(position < g->setup.T);
    stopwatch_forget(&g->stopwatch);
    g->B = 1;
    g->T = position + 1;
    staging_open(&g->staging);
    *staging_take(&g->staging, g->tokens, 1) = token;
    staging_send(&g->staging, g->stream);
    with_type(g, [&](auto x) {
        typedef decltype(x) X;
        round_weights<X>(g);
        stem_forward<X>(g, position, 1, 1, true);
        for (size_t layer = 0; layer < g->config.L; layer++)
            block_forward<X>(g, layer, position, 1, true, false);
        logits_of_row<X>(g, position, logits);
    });
}

void gpt_logits(Gpt *g, size_t row, float *logits)
{
    assert(row < g->B * g->T);
    stopwatch_forget(&g->stopwatch);
    with_type(g, [&](auto x) { logits_of_row<decltype(x)>(g, row, logits); });
}

void gpt_residual(const Gpt *g, size_t layer, float *to)
{
    const float *from = layer == g->config.L ? g->residual_final : activations_of<float>(g, layer, 0).residual;
    CUDA_CHECK(cudaStreamSynchronize(g->stream));
    CUDA_CHECK(cudaMemcpy(to, from, g->B * g->T * g->config.C * sizeof *to, cudaMemcpyDeviceToHost));
}

/* --------------------------------------------------------------------------------------------------------------
 * Memory
 */

typedef struct Buffer {
    void **place;
    double bytes; /* a double, so that absurd sizes do not overflow before they are refused */
    const char *what;
} Buffer;

/* Integers in transit at once: targets, row_order, runs of both kinds; or tokens and dropout's pass. */
static size_t staging_capacity(const GptConfig *c, size_t rows)
{
    return 2 * rows + 2 * runs_most(c, rows) + 2 * long_runs_most(rows) + 4;
}

/* Bytes of cuBLASLt's workspace. They have a say in its choice of algorithms, and so follow from the model alone. */
static size_t product_workspace(const GptConfig *c)
{
    const size_t widest = std::max(gpt_fc_width(c), gpt_qkv_width(c));
    const double wanted = (double)WORKSPACE_SPLITS * sizeof(float) * (double)widest * (double)c->C;
    return wanted < WORKSPACE_MOST ? std::max((size_t)wanted, (size_t)WORKSPACE_LEAST) : (size_t)WORKSPACE_MOST;
}

/* Every device array of a Gpt whose config, setup and table are set. */
static std::vector<Buffer> list_buffers(Gpt *g)
{
    const GptConfig *c = &g->config;
    const GptSetup *s = &g->setup;
    const bool is_bf16 = s->dtype == GPT_BF16;
    const double C = (double)c->C, R = (double)s->B * (double)s->T, LR = (double)c->L * R, NH = (double)c->NH;
    const double most_rows = (double)classifier_rows(c, s->recompute), Vp = (double)gpt_padded_vocab(c);
    const double arena = (double)g->table.arena_size, embedded = c->embed_norm == GPT_EMBED_NORM_ON ? R : 0;
    Activations<void> *a = &g->acts;
    std::vector<Buffer> list;
    const auto floats = [&](float **place, double n, const char *what) {
        if (n > 0)
            list.push_back({(void **)place, n * sizeof(float), what});
    };
    const auto elements = [&](void **place, double n, const char *what) {
        list.push_back({place, n * (is_bf16 ? sizeof(bf16) : sizeof(float)), what});
    };
    const auto integers = [&](int32_t **place, double n) {
        list.push_back({(void **)place, n * sizeof(int32_t), "tokens"});
    };
    list.push_back({&g->lt.workspace, (double)product_workspace(c), "cuBLASLt's workspace"});
    floats(&g->params, arena, "the parameters");
    if (is_bf16)
        elements(&g->weights, arena, "the parameters in bf16");
    const auto keep = [&](void *place, bool in_fp32, double n, GptRecompute again) {
        const double rows = s->recompute >= again ? R : LR, bytes = in_fp32 || !is_bf16 ? sizeof(float) : sizeof(bf16);
        const double least = place == &a->qkv ? (double)c->L * (double)s->T : 0; /* of a sequence, see activations_of */
        if (n > 0)
            list.push_back({(void **)place, std::max(rows, least) * n * bytes, "activations"});
    };
    typedef void X;
#define BUFFER(member, type, n, again) keep(&a->member, std::is_same<type, float>::value, (double)(n), again);
    GPT_ACTIVATION_BUFFERS(BUFFER)
#undef BUFFER
    floats(&g->embedded, embedded * C, "activations");
    floats(&g->embedded_mean, embedded, "activations");
    floats(&g->embedded_rstd, embedded, "activations");
    floats(&g->rotary, (double)gpt_rotary_size(c, s->T), "rotary positions");
    floats(&g->residual_final, R * C, "activations");
    elements(&g->lnf, R * C, "activations");
    floats(&g->lnf_mean, R, "activations");
    floats(&g->lnf_rstd, R, "activations");
    elements(&g->logits, (R < most_rows ? R : most_rows) * Vp, "a block of logits");
    floats(&g->row_logits, Vp, "a row of logits");
    floats(&g->decode_scores, NH * (double)s->T, "scores");
    elements(&g->narrow, R * C, "activations");
    integers(&g->staging.landing, Staging::SLOTS * (double)staging_capacity(c, s->B * s->T));
    integers(&g->tokens, R);
    integers(&g->targets, R);
    list.push_back({(void **)&g->losses, R * sizeof(double), "losses"});
    list.push_back({(void **)&g->dropout_pass, 2 * sizeof(uint64_t), "dropout"});
    list.push_back({(void **)&g->loss_sums, 2 * sizeof(double), "losses"});
    if (s->scores)
        list.push_back({(void **)&g->scores, (double)c->L * NH * sizeof(uint32_t), "attention scores"});
    if (s->mode != GPT_TRAINING)
        return list;
    floats(&g->grads, arena, "the gradients");
    floats(&g->dresidual, R * C, "gradients of activations");
    if (is_bf16 || s->dropout)
        elements(&g->dresidual_rounded, R * C, "gradients of activations");
    elements(&g->wide, R * (double)std::max(gpt_qkv_width(c), gpt_fc_width(c)), "gradients of activations");
    floats(&g->att_scratch, attention_scratch(c, s), "gradients of attention");
    floats(&g->partial_sums, (double)partial_floats(c), "partial sums");
    integers(&g->row_order, R);
    integers(&g->runs, 2 * (double)runs_most(c, s->B * s->T));
    integers(&g->long_runs, 2 * (double)long_runs_most(s->B * s->T));
    return list;
}

size_t gpt_memory_needed(const GptConfig *config, const GptSetup *setup)
{
    Gpt g = {};
    Error ignored;
    g.config = gpt_resolve(config);
    g.setup = *setup;
    if (gpt_table_make(config, &g.table, &ignored) != 0)
        return SIZE_MAX;
    double bytes = 0;
    for (const Buffer &buffer : list_buffers(&g))
        bytes += buffer.bytes;
    gpt_table_free(&g.table);
    return bytes < 0x1p62 ? (size_t)bytes : SIZE_MAX;
}

static cudaDeviceProp device_properties()
{
    cudaDeviceProp properties;
    int device;
    CUDA_CHECK(cudaGetDevice(&device)); /* the rank's: comm_choose_device */
    CUDA_CHECK(cudaGetDeviceProperties(&properties, device));
    return properties;
}

/* What a block must hold: in registers, and in shared memory besides `own` bytes used by the kernels themselves. */
static int check_widths(const GptConfig *c, GptDtype dtype, Error *e)
{
    const size_t C = c->C, HS = C / c->NH, own = 1024, shared = device_properties().sharedMemPerBlockOptin - own;
    const size_t by_8 = NORM_WIDE_THREADS * 4 * norm_wide_packs<4>();
    const size_t others = NORM_WIDE_THREADS * norm_wide_packs<1>();
    if (C > (C % 8 == 0 ? by_8 : others))
        return error_set(e, "a width of %zu: the GPU's norm takes at most %zu in multiples of 8, else %zu", C, by_8,
                         others);
    if (dtype != GPT_BF16 && (!attention_fp32_takes(HS) || attention_fp32_shared(HS) > shared))
        return error_set(e, "heads of %zu channels: this GPU's attention takes fewer in %s", HS,
                         gpt_dtype_names[dtype]);
    if (dtype == GPT_BF16 && !flash_takes(HS))
        return error_set(e, "heads of %zu channels: bf16 takes multiples of 8, at most 128%s", HS,
                         attention_fp32_takes(HS) ? "; use --dtype fp32" : "");
    return 0;
}

static int check_setup(const GptConfig *c, const GptSetup *s, Error *e)
{
    if (gpt_setup_check(c, s, e) != 0 || gpt_probe(e) != 0)
        return -1;
    const cudaDeviceProp device = device_properties();
    if (s->dtype != GPT_FP32 && device.major < OLDEST_TENSOR)
        return error_set(e, "%s has compute capability %d.%d; %s needs %d.0 or newer: use --dtype fp32", device.name,
                         device.major, device.minor, gpt_dtype_names[s->dtype], (int)OLDEST_TENSOR);
    return check_widths(c, s->dtype, e);
}

static int make_buffers(Gpt *g, Error *e)
{
    const size_t R = g->setup.B * g->setup.T, arena = g->table.arena_size * sizeof(float);
    for (const Buffer &buffer : list_buffers(g)) {
        if (cudaMalloc(buffer.place, (size_t)buffer.bytes) != cudaSuccess) {
            *buffer.place = NULL;
            cudaGetLastError();
            return error_set(e,
                             "out of GPU memory: %.0f MiB for %s; lower --batch-size (or set it to auto) or --seq-len, "
                             "choose a smaller model or use --recompute layers",
                             buffer.bytes / 0x1p20, buffer.what);
        }
    }
    if (g->setup.dtype != GPT_BF16) {
        g->weights = g->params;
        if (!g->setup.dropout)
            g->dresidual_rounded = g->dresidual;
    }
    CUDA_CHECK(cudaMemsetAsync(g->params, 0, arena, g->stream)); /* the vocabulary's padding stays 0 */
    if (g->grads != NULL)
        CUDA_CHECK(cudaMemsetAsync(g->grads, 0, arena, g->stream));
    std::vector<float> rotary(gpt_rotary_size(&g->config, g->setup.T));
    gpt_rotary_fill(&g->config, g->setup.T, rotary.data());
    if (!rotary.empty())
        CUDA_CHECK(cudaMemcpy(g->rotary, rotary.data(), rotary.size() * sizeof(float), cudaMemcpyHostToDevice));
    g->host_tokens = (int32_t *)malloc(R * sizeof *g->host_tokens);
    return g->host_tokens != NULL && staging_create(&g->staging, staging_capacity(&g->config, R))
               ? 0
               : error_set(e, "out of memory for %zu tokens", R);
}

int gpt_create(const GptConfig *config, const GptSetup *setup, Gpt **out, Error *e)
{
    *out = NULL;
    if (gpt_config_check(config, e) != 0 || check_setup(config, setup, e) != 0)
        return -1;
    Gpt *g = new (std::nothrow) Gpt();
    if (g == NULL)
        return error_set(e, "out of memory");
    g->config = gpt_resolve(config);
    g->setup = *setup;
    g->params_version = 1; /* nothing has been rounded yet */
    const cudaDeviceProp device = device_properties();
    g->device_major = device.major;
    g->multiprocessor_shared = device.sharedMemPerMultiprocessor;
    matmul_init(); /* optimizers factorise on the host */
    CUDA_CHECK(cudaStreamCreate(&g->stream));
    lt_create(&g->lt, product_workspace(&g->config));
    int status = gpt_table_make(config, &g->table, e);
    if (status == 0)
        status = make_buffers(g, e);
    if (status != 0) {
        gpt_free(g);
        return -1;
    }
    if (g->setup.scores)
        gpt_scores_begin(g);
    *out = g;
    return 0;
}

void gpt_free(Gpt *g)
{
    if (g == NULL)
        return;
    CUDA_CHECK(cudaStreamSynchronize(g->stream));
    for (const Buffer &buffer : list_buffers(g))
        CUDA_CHECK(cudaFree(*buffer.place));
    staging_free(&g->staging);
    replay_free(&g->replay);
    stopwatch_free(&g->stopwatch);
    lt_free(&g->lt);
    CUDA_CHECK(cudaStreamDestroy(g->stream));
    free(g->host_tokens);
    gpt_table_free(&g->table);
    delete g;
}

/* --------------------------------------------------------------------------------------------------------------
 * Access
 */

const GptConfig *gpt_config(const Gpt *g) { return &g->config; }
const GptTable *gpt_table(const Gpt *g) { return &g->table; }
Arenas gpt_arenas(Gpt *g) { return {g->params, g->grads, &g->params_version, g->stream}; }

void gpt_read(const Gpt *g, GptArena arena, const Tensor *t, float *to)
{
    const float *from = (arena == GPT_PARAMS ? g->params : g->grads) + t->offset;
    CUDA_CHECK(cudaStreamSynchronize(g->stream));
    CUDA_CHECK(cudaMemcpy(to, from, tensor_size(t) * sizeof *to, cudaMemcpyDeviceToHost));
}

void gpt_write(Gpt *g, GptArena arena, const Tensor *t, const float *from)
{
    float *to = (arena == GPT_PARAMS ? g->params : g->grads) + t->offset;
    CUDA_CHECK(cudaStreamSynchronize(g->stream));
    CUDA_CHECK(cudaMemcpy(to, from, tensor_size(t) * sizeof *to, cudaMemcpyHostToDevice));
    g->params_version++;
}

int gpt_init(Gpt *g, uint64_t seed, Error *e)
{
    for (size_t i = 0; i < g->table.count; i++) {
        const Tensor *t = &g->table.tensors[i];
        std::vector<float> p(tensor_size(t));
        if (gpt_table_draw(&g->table, i, seed, p.data(), e) != 0)
            return -1;
        gpt_write(g, GPT_PARAMS, t, p.data());
    }
    return 0;
}

const char *gpt_device_name(void)
{
    static cudaDeviceProp device;
    device = device_properties();
    return device.name;
}

const char *gpt_device(void)
{
    static char text[400];
    const size_t version = cublasLtGetVersion(); /* 120804: 12.8.4 */
    snprintf(text, sizeof text, "%s, cuBLASLt %zu.%zu.%zu", gpt_device_name(), version / 10000, version / 100 % 100,
             version % 100);
    return text;
}

GptKind gpt_kind(void) { return GPT_ON_GPU; }

GptDtype gpt_default_dtype(const GptConfig *c)
{
    return device_properties().major >= OLDEST_TENSOR && flash_takes(c->C / c->NH) ? GPT_BF16 : GPT_FP32;
}

int gpt_probe(Error *e)
{
    int count = 0, driver = 0, runtime = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status == cudaErrorInsufficientDriver) {
        CUDA_CHECK(cudaDriverGetVersion(&driver)); /* 0: there is none */
        CUDA_CHECK(cudaRuntimeGetVersion(&runtime));
        if (driver == 0)
            return -error_set(e, "no GPU answers: the driver is not installed");
        return error_set(e, "the GPU's driver supports CUDA %d.%d, this program needs %d.%d: update the driver",
                         driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    }
    if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0))
        return -error_set(e, "no GPU answers: there is none");
    if (status != cudaSuccess)
        return error_set(e, "no GPU answers: %s", cudaGetErrorString(status));
    const cudaDeviceProp device = device_properties();
    if (device.major < OLDEST_DEVICE || (device.major == OLDEST_DEVICE && device.minor < 5))
        return error_set(e, "%s has compute capability %d.%d; this program needs 7.5 or newer (or use --device cpu)",
                         device.name, device.major, device.minor);
    cudaFuncAttributes any;
    const cudaError_t image = cudaFuncGetAttributes(&any, drop_kernel);
    if (image == cudaErrorNoKernelImageForDevice) {
        cudaGetLastError();
        return error_set(e, "this program was not compiled for %s, of compute capability %d.%d: make CUDA_ARCH=%d%d",
                         device.name, device.major, device.minor, device.major, device.minor);
    }
    if (image != cudaSuccess)
        return error_set(e, "no GPU answers: %s", cudaGetErrorString(image));
    return 0;
}

/* Minus a reserve for what libraries allocate later. */
size_t gpt_memory_present(void)
{
    const size_t libraries = 192 << 20;
    size_t available, total;
    CUDA_CHECK(cudaMemGetInfo(&available, &total));
    return available - std::min(libraries, available / 20);
}
