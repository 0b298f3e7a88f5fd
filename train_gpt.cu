/*
 * GPT-2 on a GPU, forward and backward: the CUDA twin of train_gpt.c, the same functions in the same order, in fp32.
 * Products are cuBLAS's; all else are our own kernels on one stream. Two runs give the same bits: no atomics, every sum
 * in a fixed order.
 *
 * R = B*T rows of tokens; every other name as in train_gpt.c.
 */
extern "C" {
#include "base/matmul.h"
#include "train/gpt.h"
}

#include "base/cuda.cuh"

#include <cassert>
#include <cmath>
#include <cstring>
#include <vector>

namespace {

enum : size_t {
    PARTS = 64,               /* partial sums over rows */
    CLASSIFIER_ROWS = 1024,   /* rows of logits at a time ... */
    CLASSIFIER_FLOATS = 1 << 26, /* ... fewer when the vocabulary is large */
    LOGITS_ALIGNMENT = 16,
    WEIGHT_KINDS = 16,        /* members of Weights */
    THREADS = 256
};

enum { OLDEST_DEVICE = 8 }; /* compute capability: Ampere */

/* Attention: a block takes TILE queries (or keys) of one head against tiles of as many keys (or queries). Four threads
 * share a row; each owns a quarter of its scores and a quarter of its HEAD_MOST channels. */
enum {
    TILE = 32,
    ROW_THREADS = 4,
    HEAD_MOST = 128,
    OWN_SCORES = TILE / ROW_THREADS,
    OWN_CHANNELS = HEAD_MOST / ROW_THREADS
};

} // namespace

/* --------------------------------------------------------------------------------------------------------------
 * Views of the arenas
 */

/* Parameters, or their gradients. */
typedef struct Weights {
    float *wte, *wpe;           /* (V,C) (T,C) */
    float *ln1w, *ln1b;         /* (C) */
    float *qkvw, *qkvb;         /* (3C,C) (3C) */
    float *attprojw, *attprojb; /* (C,C) (C) */
    float *ln2w, *ln2b;         /* (C) */
    float *fcw, *fcb;           /* (4C,C) (4C) */
    float *fcprojw, *fcprojb;   /* (C,4C) (C) */
    float *lnfw, *lnfb;         /* (C) */
} Weights;

/* What the forward pass of one layer keeps for the backward pass. */
typedef struct Activations {
    float *residual;                  /* (R,C) the layer's input */
    float *ln1, *ln1_mean, *ln1_rstd; /* (R,C) (R) (R) */
    float *qkv;                       /* (R,3C) */
    float *att, *att_lse;             /* (R,C); (B,NH,T) log of the softmax's denominator */
    float *residual_mid;              /* (R,C) after attention */
    float *ln2, *ln2_mean, *ln2_rstd; /* (R,C) (R) (R) */
    float *fc, *gelu;                 /* (R,4C) before and after the nonlinearity */
} Activations;

/* Of one member of Weights: its place in the struct, in an arena, and from layer to layer. */
typedef struct Place {
    size_t member, offset, stride;
} Place;

struct Gpt {
    GptConfig config;
    GptTable table;
    Place places[WEIGHT_KINDS];
    GptMode mode;
    size_t max_B, max_T;
    size_t B, T; /* of the last gpt_forward */

    cudaStream_t stream;
    cublasHandle_t cublas;

    int32_t *host_tokens;        /* (R) of the last gpt_forward */
    int32_t *tokens, *targets;   /* (R) */
    int32_t *row_order;          /* (R) rows by token, see embedding_backward */
    int32_t *token_starts;       /* (R+1) where each distinct token's rows begin */
    double *losses;              /* (R) */
    std::vector<double> *host_losses;

    float *params, *grads;
    Activations acts; /* layer 0; the layers follow one another in each buffer */
    float *residual_final, *lnf, *lnf_mean, *lnf_rstd;
    float *logits; /* (classifier_rows, Vp) */

    /* backward only */
    float *dresidual, *dnorm, *datt; /* (R,C) */
    float *dqkv, *dfc;               /* (R,3C) (R,4C) */
    float *att_delta;                /* (B,NH,T) rowsum of datt att */
    float *partial_sums;             /* (PARTS, 4C) */
};

/* Where each member of Weights stands in the arenas, by its tensor's name in layer 0. */
static void find_places(Gpt *g)
{
    static const struct {
        const char *name;
        size_t member;
        bool each_layer;
    } members[WEIGHT_KINDS] = {
        {"wte.weight", offsetof(Weights, wte), false},
        {"wpe.weight", offsetof(Weights, wpe), false},
        {"h.0.ln_1.weight", offsetof(Weights, ln1w), true},
        {"h.0.ln_1.bias", offsetof(Weights, ln1b), true},
        {"h.0.attn.c_attn.weight", offsetof(Weights, qkvw), true},
        {"h.0.attn.c_attn.bias", offsetof(Weights, qkvb), true},
        {"h.0.attn.c_proj.weight", offsetof(Weights, attprojw), true},
        {"h.0.attn.c_proj.bias", offsetof(Weights, attprojb), true},
        {"h.0.ln_2.weight", offsetof(Weights, ln2w), true},
        {"h.0.ln_2.bias", offsetof(Weights, ln2b), true},
        {"h.0.mlp.c_fc.weight", offsetof(Weights, fcw), true},
        {"h.0.mlp.c_fc.bias", offsetof(Weights, fcb), true},
        {"h.0.mlp.c_proj.weight", offsetof(Weights, fcprojw), true},
        {"h.0.mlp.c_proj.bias", offsetof(Weights, fcprojb), true},
        {"ln_f.weight", offsetof(Weights, lnfw), false},
        {"ln_f.bias", offsetof(Weights, lnfb), false},
    };
    for (size_t i = 0; i < WEIGHT_KINDS; i++) {
        const Tensor *t = gpt_table_find(&g->table, members[i].name);
        g->places[i] = {members[i].member, t->offset, members[i].each_layer ? tensor_size(t) : 0};
    }
}

static Weights weights_of(const Gpt *g, float *arena, size_t layer)
{
    Weights w = {};
    for (const Place *place = g->places; place < g->places + WEIGHT_KINDS; place++) {
        float *at = arena + place->offset + layer * place->stride;
        memcpy((char *)&w + place->member, &at, sizeof at);
    }
    return w;
}

/* Layer `layer`'s activations from row `row` on (att_lse: whole). */
static Activations activations_of(const Gpt *g, size_t layer, size_t row)
{
    const size_t C = g->config.C, rows = g->max_B * g->max_T, at = layer * rows + row;
    const Activations *a = &g->acts;
    Activations view;
    view.residual = a->residual + at * C;
    view.ln1 = a->ln1 + at * C;
    view.ln1_mean = a->ln1_mean + at;
    view.ln1_rstd = a->ln1_rstd + at;
    view.qkv = a->qkv + at * 3 * C;
    view.att = a->att + at * C;
    view.att_lse = a->att_lse + layer * rows * g->config.NH;
    view.residual_mid = a->residual_mid + at * C;
    view.ln2 = a->ln2 + at * C;
    view.ln2_mean = a->ln2_mean + at;
    view.ln2_rstd = a->ln2_rstd + at;
    view.fc = a->fc + at * 4 * C;
    view.gelu = a->gelu + at * 4 * C;
    return view;
}

/* Where layer `layer` puts its output: the input of the next. */
static float *residual_after(const Gpt *g, size_t layer, size_t row)
{
    return layer + 1 < g->config.L ? activations_of(g, layer + 1, row).residual : g->residual_final + row * g->config.C;
}

static size_t padded_vocab(const GptConfig *c)
{
    return (c->V + LOGITS_ALIGNMENT - 1) / LOGITS_ALIGNMENT * LOGITS_ALIGNMENT;
}

static size_t classifier_rows(const GptConfig *c)
{
    const size_t fit = CLASSIFIER_FLOATS / padded_vocab(c);
    return fit < 1 ? 1 : fit < CLASSIFIER_ROWS ? fit : CLASSIFIER_ROWS;
}

/* --------------------------------------------------------------------------------------------------------------
 * Sums over rows, in parts that do not depend on the device
 */

__device__ static size_t part_begin(size_t part, size_t rows)
{
    return rows * part / PARTS;
}

__global__ static void add_parts_kernel(float *sums, const float *partial, size_t n, bool first)
{
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n)
        return;
    float sum = first ? 0.0f : sums[i];
    for (size_t part = 0; part < PARTS; part++)
        sum += partial[part * n + i];
    sums[i] = sum;
}

/* sums (n) = the PARTS rows of partial (PARTS,n), plus what was there unless `first`. */
static void add_parts(const Gpt *g, float *sums, const float *partial, size_t n, bool first)
{
    cuda_launch(add_parts_kernel, cuda_blocks(n, THREADS), THREADS, 0, g->stream, sums, partial, n, first);
}

__global__ static void bias_backward_kernel(float *partial, const float *dout, size_t rows, size_t n)
{
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x, part = blockIdx.y;
    if (i >= n)
        return;
    float sum = 0;
    for (size_t r = part_begin(part, rows); r < part_begin(part + 1, rows); r++)
        sum += dout[r * n + i];
    partial[part * n + i] = sum;
}

/* dbias (n) += column sums of dout (rows,n): the backward pass of adding a bias. */
static void bias_backward(const Gpt *g, float *dbias, const float *dout, size_t rows, size_t n, bool first)
{
    cuda_launch(bias_backward_kernel, dim3(cuda_blocks(n, 128), PARTS), 128, 0, g->stream, g->partial_sums, dout, rows,
                n);
    add_parts(g, dbias, g->partial_sums, n, first);
}

/* --------------------------------------------------------------------------------------------------------------
 * Embeddings: out = wte[token] + wpe[position]
 */

__global__ static void embedding_forward_kernel(float *out, const int32_t *tokens, const float *wte, const float *wpe,
                                                size_t T, size_t position, size_t C)
{
    const size_t r = blockIdx.x;
    const float *token = wte + (size_t)tokens[r] * C, *place = wpe + (position + r % T) * C;
    for (size_t i = threadIdx.x; i < C; i += blockDim.x)
        out[r * C + i] = token[i] + place[i];
}

static void embedding_forward(const Gpt *g, float *out, const int32_t *tokens, const Weights *w, size_t rows, size_t T,
                              size_t position, size_t C)
{
    cuda_launch(embedding_forward_kernel, (unsigned)rows, THREADS, 0, g->stream, out, tokens, w->wte, w->wpe, T,
                position, C);
}

/* A block for each distinct token: adds the rows where it stands, in their order. */
__global__ static void wte_backward_kernel(float *dwte, const float *dout, const int32_t *tokens,
                                           const int32_t *row_order, const int32_t *token_starts, size_t C)
{
    const int32_t begin = token_starts[blockIdx.x], end = token_starts[blockIdx.x + 1];
    float *token = dwte + (size_t)tokens[row_order[begin]] * C;
    for (size_t i = threadIdx.x; i < C; i += blockDim.x) {
        float sum = token[i];
        for (int32_t k = begin; k < end; k++)
            sum += dout[(size_t)row_order[k] * C + i];
        token[i] = sum;
    }
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

/* dwte is added to (the classifier has written it before); dwpe is written over when `first`. Rows are sorted by token
 * on the host, which has the tokens, so that no two blocks add to one row. */
static void embedding_backward(const Gpt *g, const Weights *dw, const float *dout, const GptConfig *c, size_t B,
                               size_t T, bool first)
{
    const size_t R = B * T;
    std::vector<int32_t> starts(c->V + 1, 0), order(R), distinct;
    for (size_t r = 0; r < R; r++)
        starts[(size_t)g->host_tokens[r] + 1]++;
    for (size_t v = 0; v < c->V; v++) {
        if (starts[v + 1] > 0)
            distinct.push_back(starts[v]);
        starts[v + 1] += starts[v];
    }
    distinct.push_back((int32_t)R);
    for (size_t r = 0; r < R; r++)
        order[(size_t)starts[(size_t)g->host_tokens[r]]++] = (int32_t)r;
    CUDA_CHECK(cudaMemcpyAsync(g->row_order, order.data(), R * sizeof(int32_t), cudaMemcpyHostToDevice, g->stream));
    CUDA_CHECK(cudaMemcpyAsync(g->token_starts, distinct.data(), distinct.size() * sizeof(int32_t),
                               cudaMemcpyHostToDevice, g->stream));
    cuda_launch(wte_backward_kernel, (unsigned)(distinct.size() - 1), THREADS, 0, g->stream, dw->wte, dout, g->tokens,
                g->row_order, g->token_starts, c->C);
    cuda_launch(wpe_backward_kernel, (unsigned)c->T, THREADS, 0, g->stream, dw->wpe, dout, B, T, c->C, first);
    CUDA_CHECK(cudaStreamSynchronize(g->stream)); /* the copies read this function's vectors */
}

/* --------------------------------------------------------------------------------------------------------------
 * LayerNorm (Ba et al. 2016): out = (x - mean) rstd gain + bias, rstd = 1/sqrt(var + 1e-5). One warp a row.
 */

__global__ static void layernorm_forward_kernel(float *out, float *mean, float *rstd, const float *x, const float *gain,
                                                const float *bias, size_t rows, size_t C)
{
    const size_t r = (size_t)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (r >= rows)
        return;
    const float *xr = x + r * C;
    float sum = 0, squares = 0;
    for (size_t i = lane; i < C; i += 32)
        sum += xr[i];
    const float m = warp_sum(sum) / (float)C;
    for (size_t i = lane; i < C; i += 32)
        squares += (xr[i] - m) * (xr[i] - m);
    const float s = 1.0f / sqrtf(warp_sum(squares) / (float)C + 1e-5f);
    for (size_t i = lane; i < C; i += 32)
        out[r * C + i] = (xr[i] - m) * s * gain[i] + bias[i];
    if (lane == 0) {
        mean[r] = m;
        rstd[r] = s;
    }
}

static void layernorm_forward(const Gpt *g, float *out, float *mean, float *rstd, const float *x, const float *gain,
                              const float *bias, size_t rows, size_t C)
{
    cuda_launch(layernorm_forward_kernel, cuda_blocks(rows, THREADS / 32), THREADS, 0, g->stream, out, mean, rstd, x,
                gain, bias, rows, C);
}

__global__ static void layernorm_backward_kernel(float *dx, const float *dout, const float *x, const float *mean,
                                                 const float *rstd, const float *gain, size_t rows, size_t C)
{
    const size_t r = (size_t)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (r >= rows)
        return;
    const float *xr = x + r * C, *dout_r = dout + r * C;
    const float m = mean[r], s = rstd[r];
    float sum_d = 0, sum_d_xhat = 0;
    for (size_t i = lane; i < C; i += 32) {
        const float d = dout_r[i] * gain[i];
        sum_d += d;
        sum_d_xhat += d * (xr[i] - m) * s;
    }
    const float mean_d = warp_sum(sum_d) / (float)C, mean_d_xhat = warp_sum(sum_d_xhat) / (float)C;
    for (size_t i = lane; i < C; i += 32) {
        const float xhat = (xr[i] - m) * s, d = dout_r[i] * gain[i];
        dx[r * C + i] += s * (d - mean_d - xhat * mean_d_xhat);
    }
}

__global__ static void layernorm_parts_kernel(float *gain_parts, float *bias_parts, const float *dout, const float *x,
                                              const float *mean, const float *rstd, size_t rows, size_t C)
{
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x, part = blockIdx.y;
    if (i >= C)
        return;
    float gain_sum = 0, bias_sum = 0;
    for (size_t r = part_begin(part, rows); r < part_begin(part + 1, rows); r++) {
        const float d = dout[r * C + i];
        gain_sum += d * (x[r * C + i] - mean[r]) * rstd[r];
        bias_sum += d;
    }
    gain_parts[part * C + i] = gain_sum;
    bias_parts[part * C + i] = bias_sum;
}

/* With xhat = (x - mean) rstd and d = dout gain:  dx += rstd (d - mean(d) - xhat mean(d xhat));
 * dgain += sum of dout xhat, dbias += sum of dout. */
static void layernorm_backward(const Gpt *g, float *dx, float *dgain, float *dbias, const float *dout, const float *x,
                               const float *mean, const float *rstd, const float *gain, size_t rows, size_t C,
                               bool first)
{
    float *gain_parts = g->partial_sums, *bias_parts = g->partial_sums + PARTS * C;
    cuda_launch(layernorm_backward_kernel, cuda_blocks(rows, THREADS / 32), THREADS, 0, g->stream, dx, dout, x, mean,
                rstd, gain, rows, C);
    cuda_launch(layernorm_parts_kernel, dim3(cuda_blocks(C, 128), PARTS), 128, 0, g->stream, gain_parts, bias_parts,
                dout, x, mean, rstd, rows, C);
    add_parts(g, dgain, gain_parts, C, first);
    add_parts(g, dbias, bias_parts, C, first);
}

/* --------------------------------------------------------------------------------------------------------------
 * GELU (Hendrycks and Gimpel 2016), the tanh form:  x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
 */

#define GELU_SCALE 0.7978845608028654f
#define GELU_CUBE 0.044715f

__device__ static float gelu(float x)
{
    return 0.5f * x * (1.0f + tanhf(GELU_SCALE * (x + GELU_CUBE * x * x * x)));
}

__device__ static float gelu_slope(float x)
{
    const float t = tanhf(GELU_SCALE * (x + GELU_CUBE * x * x * x));
    return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * GELU_SCALE * (1.0f + 3.0f * GELU_CUBE * x * x);
}

/* --------------------------------------------------------------------------------------------------------------
 * Linear layers, and what follows a product elementwise
 */

typedef struct LinearTail {
    const float *bias;     /* (OC) added, or NULL */
    const float *residual; /* (rows, OC) added, or NULL */
    float *gelu;           /* (rows, OC) gelu(out) is written there, or NULL */
    const float *fc;       /* (rows, OC) input of the GELU whose slope multiplies out, or NULL */
} LinearTail;

__global__ static void tail_kernel(float *out, LinearTail tail, size_t n, size_t OC)
{
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n)
        return;
    float value = out[i];
    if (tail.bias != NULL)
        value += tail.bias[i % OC];
    if (tail.residual != NULL)
        value = tail.residual[i] + value;
    if (tail.fc != NULL)
        value *= gelu_slope(tail.fc[i]);
    out[i] = value;
    if (tail.gelu != NULL)
        tail.gelu[i] = gelu(value);
}

static void apply_tail(const Gpt *g, float *out, const LinearTail &tail, size_t rows, size_t OC)
{
    if (tail.bias == NULL && tail.fc == NULL)
        return;
    cuda_launch(tail_kernel, cuda_blocks(rows * OC, THREADS), THREADS, 0, g->stream, out, tail, rows * OC, OC);
}

/* C (m,n) = op(A) op(B) + beta C, all row-major: cuBLAS, which is column-major, computes C^T = op(B)^T op(A)^T. */
static void product(const Gpt *g, bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, const float *a,
                    size_t lda, const float *b, size_t ldb, float beta, float *c, size_t ldc)
{
    const float alpha = 1;
    CUBLAS_CHECK(cublasSgemm(g->cublas, transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N,
                             transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N, (int)n, (int)m, (int)k, &alpha, b, (int)ldb, a,
                             (int)lda, &beta, c, (int)ldc));
}

/* out (rows,OC) = inp (rows,C) weight (OC,C)^T, then the tail. */
static void linear_forward(const Gpt *g, float *out, const float *inp, const float *weight, size_t rows, size_t C,
                           size_t OC, const LinearTail &tail)
{
    product(g, false, true, rows, OC, C, inp, C, weight, C, 0, out, OC);
    apply_tail(g, out, tail, rows, OC);
}

/* dinp (rows,C) = dout (rows,OC) weight (OC,C), then the tail. */
static void linear_backward_input(const Gpt *g, float *dinp, const float *dout, const float *weight, size_t rows,
                                  size_t C, size_t OC, const LinearTail &tail)
{
    product(g, false, false, rows, C, OC, dout, OC, weight, C, 0, dinp, C);
    apply_tail(g, dinp, tail, rows, C);
}

/* dweight (OC,C) += dout (rows,OC)^T inp (rows,C). lddout: floats from one row of dout to the next. */
static void linear_backward_weight(const Gpt *g, float *dweight, const float *dout, size_t lddout, const float *inp,
                                   size_t rows, size_t C, size_t OC, bool first)
{
    product(g, true, false, OC, C, rows, dout, lddout, inp, C, first ? 0.0f : 1.0f, dweight, C);
}

/* --------------------------------------------------------------------------------------------------------------
 * Causal attention (Vaswani et al. 2017), as FlashAttention (Dao et al. 2022) does it: no (T,T) array exists; the
 * backward pass makes the probabilities again from att_lse. q, k, v are parts of qkv's rows, 3C floats apart.
 */

/* One head as a block of the grid (B x NH, tiles) sees it. */
struct Head {
    const float *q, *k, *v; /* (T,HS) at stride 3C */
    size_t T, HS, C, at;    /* at: of the head in a (B,T,C) array */
    float scale;            /* 1/sqrt(HS) */
};

__device__ static Head head_of(const float *qkv, size_t T, size_t C, size_t NH)
{
    const size_t b = blockIdx.x / NH, h = blockIdx.x % NH, HS = C / NH;
    const float *q = qkv + b * T * 3 * C + h * HS;
    return {q, q + C, q + 2 * C, T, HS, C, b * T * C + h * HS, 1.0f / sqrtf((float)HS)};
}

/* A tile of rows first .. of x, `stride` floats apart, into shared memory (TILE, HS+1); zeros past the end. */
__device__ static void load_tile(float *tile, const float *x, size_t first, size_t T, size_t HS, size_t stride)
{
    for (size_t i = threadIdx.x; i < TILE * HS; i += blockDim.x) {
        const size_t row = i / HS, c = i % HS;
        tile[row * (HS + 1) + c] = first + row < T ? x[(first + row) * stride + c] : 0.0f;
    }
}

__device__ static float dot(const float *x, const float *y, size_t n)
{
    float sum = 0;
    for (size_t i = 0; i < n; i++)
        sum = fmaf(x[i], y[i], sum);
    return sum;
}

/* Sum and maximum over the four threads of a row. */
__device__ static float row_sum(float v)
{
    v += __shfl_xor_sync(0xffffffffu, v, 1);
    return v + __shfl_xor_sync(0xffffffffu, v, 2);
}

__device__ static float row_max(float v)
{
    v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, 1));
    return fmaxf(v, __shfl_xor_sync(0xffffffffu, v, 2));
}

/* acc (own channels) += sum over j of weights[j] rows[j] */
__device__ static void accumulate(float *acc, const float *weights, const float *rows, size_t HS)
{
    for (size_t j = 0; j < TILE; j++) {
        const float weight = weights[j];
        for (size_t own = 0, c = threadIdx.x % ROW_THREADS; c < HS; own++, c += ROW_THREADS)
            acc[own] = fmaf(weight, rows[j * (HS + 1) + c], acc[own]);
    }
}

/* to (T,HS) at `stride`: row `row` = factor acc */
__device__ static void store_row(float *to, size_t row, size_t stride, size_t HS, const float *acc, float factor)
{
    for (size_t own = 0, c = threadIdx.x % ROW_THREADS; c < HS; own++, c += ROW_THREADS)
        to[row * stride + c] = factor * acc[own];
}

enum { ATTENTION_THREADS = TILE * ROW_THREADS };

/* Bytes of `tiles` tiles of rows and `squares` of scores. */
static size_t attention_shared(size_t tiles, size_t squares, size_t HS)
{
    return (tiles * TILE * (HS + 1) + squares * TILE * (TILE + 1)) * sizeof(float);
}

__global__ static void __launch_bounds__(ATTENTION_THREADS)
    attention_forward_kernel(float *att, float *lse, const float *qkv, size_t T, size_t C, size_t NH)
{
    float *q = dynamic_shared<float>();
    const Head head = head_of(qkv, T, C, NH);
    const size_t HS = head.HS, tile = TILE * (HS + 1), first = (size_t)blockIdx.y * TILE;
    float *k = q + tile, *v = k + tile, *p = v + tile;
    const size_t row = threadIdx.x / ROW_THREADS, quarter = threadIdx.x % ROW_THREADS, query = first + row;
    float *p_row = p + row * (TILE + 1);
    float acc[OWN_CHANNELS] = {}, maximum = -INFINITY, sum = 0;
    load_tile(q, head.q, first, T, HS, 3 * C);
    for (size_t key = 0; key <= first; key += TILE) {
        __syncthreads(); /* the tiles of the round before are read */
        load_tile(k, head.k, key, T, HS, 3 * C);
        load_tile(v, head.v, key, T, HS, 3 * C);
        __syncthreads();
        float scores[OWN_SCORES], highest = -INFINITY;
        for (size_t own = 0; own < OWN_SCORES; own++) {
            const size_t j = quarter + own * ROW_THREADS;
            scores[own] = key + j <= query ? head.scale * dot(q + row * (HS + 1), k + j * (HS + 1), HS) : -INFINITY;
            highest = fmaxf(highest, scores[own]);
        }
        const float new_maximum = fmaxf(maximum, row_max(highest)), fade = expf(maximum - new_maximum);
        float added = 0;
        for (size_t own = 0; own < OWN_SCORES; own++) {
            const float weight = expf(scores[own] - new_maximum);
            p_row[quarter + own * ROW_THREADS] = weight;
            added += weight;
        }
        sum = sum * fade + row_sum(added);
        maximum = new_maximum;
        for (size_t own = 0; own < OWN_CHANNELS; own++)
            acc[own] *= fade;
        __syncwarp(); /* a row of p is written and read by four threads of one warp */
        accumulate(acc, p_row, v, HS);
    }
    if (query < T) {
        store_row(att + head.at, query, C, HS, acc, 1.0f / sum);
        if (quarter == 0)
            lse[(size_t)blockIdx.x * T + query] = maximum + logf(sum);
    }
}

/* The part of the shared memory that a kernel may ask for beyond the usual 48 KiB must be allowed once. */
template <class Kernel> static void allow_shared(Kernel *kernel, size_t bytes)
{
    CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
}

static void attention_forward(const Gpt *g, float *att, float *lse, const float *qkv, size_t B, size_t T)
{
    const size_t C = g->config.C, NH = g->config.NH, shared = attention_shared(3, 1, C / NH);
    allow_shared(attention_forward_kernel, shared);
    cuda_launch(attention_forward_kernel, dim3((unsigned)(B * NH), cuda_blocks(T, TILE)), ATTENTION_THREADS, shared,
                g->stream, att, lse, qkv, T, C, NH);
}

/* delta (B,NH,T) = rowsum(datt att). One warp a row of a head. */
__global__ static void attention_delta_kernel(float *delta, const float *datt, const float *att, size_t T, size_t C,
                                              size_t NH)
{
    const size_t t = (size_t)blockIdx.y * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    const size_t b = blockIdx.x / NH, h = blockIdx.x % NH, HS = C / NH;
    if (t >= T)
        return;
    const size_t at = (b * T + t) * C + h * HS;
    float sum = 0;
    for (size_t c = lane; c < HS; c += 32)
        sum += datt[at + c] * att[at + c];
    sum = warp_sum(sum);
    if (lane == 0)
        delta[(size_t)blockIdx.x * T + t] = sum;
}

/* A block of queries against all keys before them: dQ = scale dS K. */
__global__ static void __launch_bounds__(ATTENTION_THREADS)
    attention_dq_kernel(float *dqkv, const float *datt, const float *qkv, const float *lse, const float *delta,
                        size_t T, size_t C, size_t NH)
{
    float *q = dynamic_shared<float>();
    const Head head = head_of(qkv, T, C, NH);
    const size_t HS = head.HS, tile = TILE * (HS + 1), first = (size_t)blockIdx.y * TILE;
    float *dout = q + tile, *k = dout + tile, *v = k + tile, *ds = v + tile;
    const size_t row = threadIdx.x / ROW_THREADS, quarter = threadIdx.x % ROW_THREADS, query = first + row;
    const float lse_row = query < T ? lse[(size_t)blockIdx.x * T + query] : 0.0f;
    const float delta_row = query < T ? delta[(size_t)blockIdx.x * T + query] : 0.0f;
    float *ds_row = ds + row * (TILE + 1), acc[OWN_CHANNELS] = {};
    load_tile(q, head.q, first, T, HS, 3 * C);
    load_tile(dout, datt + head.at, first, T, HS, C);
    for (size_t key = 0; key <= first; key += TILE) {
        __syncthreads();
        load_tile(k, head.k, key, T, HS, 3 * C);
        load_tile(v, head.v, key, T, HS, 3 * C);
        __syncthreads();
        for (size_t own = 0; own < OWN_SCORES; own++) {
            const size_t j = quarter + own * ROW_THREADS;
            const float score = head.scale * dot(q + row * (HS + 1), k + j * (HS + 1), HS);
            const float p = key + j <= query && query < T ? expf(score - lse_row) : 0.0f;
            ds_row[j] = p * (dot(dout + row * (HS + 1), v + j * (HS + 1), HS) - delta_row);
        }
        __syncwarp();
        accumulate(acc, ds_row, k, HS);
    }
    if (query < T)
        store_row(dqkv + (head.q - qkv), query, 3 * C, HS, acc, head.scale);
}

/* A block of keys against all queries from them on: dV = P^T datt, dK = scale dS^T Q. */
__global__ static void __launch_bounds__(ATTENTION_THREADS)
    attention_dkv_kernel(float *dqkv, const float *datt, const float *qkv, const float *lse, const float *delta,
                         size_t T, size_t C, size_t NH)
{
    float *k = dynamic_shared<float>();
    const Head head = head_of(qkv, T, C, NH);
    const size_t HS = head.HS, tile = TILE * (HS + 1), first = (size_t)blockIdx.y * TILE;
    float *v = k + tile, *q = v + tile, *dout = q + tile, *p = dout + tile, *ds = p + TILE * (TILE + 1);
    const size_t row = threadIdx.x / ROW_THREADS, quarter = threadIdx.x % ROW_THREADS, key = first + row;
    float *p_row = p + row * (TILE + 1), *ds_row = ds + row * (TILE + 1);
    float dk[OWN_CHANNELS] = {}, dv[OWN_CHANNELS] = {};
    load_tile(k, head.k, first, T, HS, 3 * C);
    load_tile(v, head.v, first, T, HS, 3 * C);
    for (size_t query = first; query < T; query += TILE) {
        __syncthreads();
        load_tile(q, head.q, query, T, HS, 3 * C);
        load_tile(dout, datt + head.at, query, T, HS, C);
        __syncthreads();
        for (size_t own = 0; own < OWN_SCORES; own++) {
            const size_t i = quarter + own * ROW_THREADS, at = query + i;
            const bool visible = key <= at && at < T;
            const float score = head.scale * dot(q + i * (HS + 1), k + row * (HS + 1), HS);
            p_row[i] = visible ? expf(score - lse[(size_t)blockIdx.x * T + at]) : 0.0f;
            const float dp = dot(dout + i * (HS + 1), v + row * (HS + 1), HS);
            ds_row[i] = visible ? p_row[i] * (dp - delta[(size_t)blockIdx.x * T + at]) : 0.0f;
        }
        __syncwarp();
        accumulate(dv, p_row, dout, HS);
        accumulate(dk, ds_row, q, HS);
    }
    if (key < T) {
        store_row(dqkv + (head.k - qkv), key, 3 * C, HS, dk, head.scale);
        store_row(dqkv + (head.v - qkv), key, 3 * C, HS, dv, 1);
    }
}

/* With P the probabilities and S the scaled scores:  dV = P^T datt,  dP = datt V^T,  dS = P (dP - rowsum(datt att)),
 * dQ = scale dS K,  dK = scale dS^T Q. */
static void attention_backward(const Gpt *g, float *dqkv, const float *datt, const Activations *a)
{
    const size_t B = g->B, T = g->T, C = g->config.C, NH = g->config.NH, HS = C / NH;
    const dim3 grid((unsigned)(B * NH), cuda_blocks(T, TILE));
    const size_t dq_shared = attention_shared(4, 1, HS), dkv_shared = attention_shared(4, 2, HS);
    allow_shared(attention_dq_kernel, dq_shared);
    allow_shared(attention_dkv_kernel, dkv_shared);
    cuda_launch(attention_delta_kernel, dim3((unsigned)(B * NH), cuda_blocks(T, THREADS / 32)), THREADS, 0, g->stream,
                g->att_delta, datt, a->att, T, C, NH);
    cuda_launch(attention_dq_kernel, grid, ATTENTION_THREADS, dq_shared, g->stream, dqkv, datt, a->qkv, a->att_lse,
                g->att_delta, T, C, NH);
    cuda_launch(attention_dkv_kernel, grid, ATTENTION_THREADS, dkv_shared, g->stream, dqkv, datt, a->qkv, a->att_lse,
                g->att_delta, T, C, NH);
}

/* A block a head: the scores of all keys in shared memory, then the weighted sum of the values. */
__global__ static void attention_decode_kernel(float *att, const float *qkv, size_t keys, size_t C, size_t HS)
{
    float *scores = dynamic_shared<float>();
    const size_t h = blockIdx.x;
    const float *q = qkv + (keys - 1) * 3 * C + h * HS, *k = qkv + C + h * HS, *v = qkv + 2 * C + h * HS;
    const float scale = 1.0f / sqrtf((float)HS);
    float highest = -INFINITY, sum = 0;
    for (size_t j = threadIdx.x; j < keys; j += blockDim.x) {
        scores[j] = scale * dot(q, k + j * 3 * C, HS);
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
            out = fmaf(scores[j], v[j * 3 * C + c], out);
        att[h * HS + c] = out * inverse_sum;
    }
}

/* One new query at `position` of a single sequence; qkv (position+1, 3C) holds the keys and values so far. */
static void attention_decode(const Gpt *g, float *att, const float *qkv, size_t position)
{
    const size_t C = g->config.C, NH = g->config.NH, keys = position + 1, shared = keys * sizeof(float);
    allow_shared(attention_decode_kernel, shared);
    cuda_launch(attention_decode_kernel, (unsigned)NH, THREADS, shared, g->stream, att, qkv, keys, C, C / NH);
}

/* --------------------------------------------------------------------------------------------------------------
 * Classifier: logits = lnf wte^T and cross-entropy, for a block of rows at a time
 */

__global__ static void cross_entropy_kernel(float *logits, double *losses, const int32_t *targets, size_t V, size_t Vp,
                                            float scale, bool backward)
{
    const size_t r = blockIdx.x;
    const int32_t target = targets[r];
    float *row = logits + r * Vp, highest = -INFINITY, sum = 0;
    if (target < 0) {
        for (size_t i = threadIdx.x; i < Vp; i += blockDim.x)
            row[i] = 0;
        if (threadIdx.x == 0)
            losses[r] = 0;
        return;
    }
    const float target_logit = row[target];
    for (size_t i = threadIdx.x; i < V; i += blockDim.x)
        highest = fmaxf(highest, row[i]);
    const float maximum = block_max(highest); /* its barriers: every thread has read target_logit */
    for (size_t i = threadIdx.x; i < V; i += blockDim.x) {
        row[i] = expf(row[i] - maximum);
        sum += row[i];
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        losses[r] = (double)maximum + log((double)sum) - (double)target_logit;
    const float factor = scale / sum;
    for (size_t i = threadIdx.x; i < V && backward; i += blockDim.x)
        row[i] = row[i] * factor - (i == (size_t)target ? scale : 0.0f);
}

/* Rows of logits (rows, Vp) -> losses (rows); with `backward` the logits become scale (softmax - onehot(target)).
 * A negative target has loss 0 and gradient 0. */
static void cross_entropy(const Gpt *g, float *logits, double *losses, const int32_t *targets, size_t rows,
                          const GptConfig *c, float scale, bool backward)
{
    cuda_launch(cross_entropy_kernel, (unsigned)rows, THREADS, 0, g->stream, logits, losses, targets, c->V,
                padded_vocab(c), scale, backward);
}

/* Sum of the losses; with `backward` also dnorm (R,C), the gradient of lnf, and dwte, written over when `first`. */
static double classifier(Gpt *g, const int32_t *targets, float scale, bool backward, bool first)
{
    const GptConfig *c = &g->config;
    const size_t C = c->C, V = c->V, Vp = padded_vocab(c), R = g->B * g->T, most = classifier_rows(c);
    const float *wte = weights_of(g, g->params, 0).wte;
    CUDA_CHECK(cudaMemcpyAsync(g->targets, targets, R * sizeof *targets, cudaMemcpyHostToDevice, g->stream));
    for (size_t r0 = 0; r0 < R; r0 += most) {
        const size_t rows = R - r0 < most ? R - r0 : most;
        const float *lnf = g->lnf + r0 * C;
        product(g, false, true, rows, V, C, lnf, C, wte, C, 0, g->logits, Vp);
        cross_entropy(g, g->logits, g->losses + r0, g->targets + r0, rows, c, scale, backward);
        if (!backward)
            continue;
        product(g, false, false, rows, C, V, g->logits, Vp, wte, C, 0, g->dnorm + r0 * C, C);
        linear_backward_weight(g, weights_of(g, g->grads, 0).wte, g->logits, Vp, lnf, rows, C, V, first && r0 == 0);
    }
    double *losses = g->host_losses->data();
    CUDA_CHECK(cudaMemcpyAsync(losses, g->losses, R * sizeof *losses, cudaMemcpyDeviceToHost, g->stream));
    CUDA_CHECK(cudaStreamSynchronize(g->stream));
    double sum = 0;
    for (size_t r = 0; r < R; r++)
        sum += losses[r];
    return sum;
}

static void logits_of_row(const Gpt *g, size_t row, float *logits)
{
    const size_t C = g->config.C, V = g->config.V;
    product(g, false, true, 1, V, C, g->lnf + row * C, C, weights_of(g, g->params, 0).wte, C, 0, g->logits, V);
    CUDA_CHECK(cudaMemcpyAsync(logits, g->logits, V * sizeof *logits, cudaMemcpyDeviceToHost, g->stream));
    CUDA_CHECK(cudaStreamSynchronize(g->stream));
}

/* --------------------------------------------------------------------------------------------------------------
 * The whole model
 */

/* Layer `layer` over `rows` rows from `row` on: all of a batch, or in decoding one row, whose position it is. */
static void block_forward(Gpt *g, size_t layer, size_t row, size_t rows, bool decode)
{
    const size_t C = g->config.C;
    const Weights w = weights_of(g, g->params, layer);
    const Activations a = activations_of(g, layer, row);
    float *out = residual_after(g, layer, row);
    layernorm_forward(g, a.ln1, a.ln1_mean, a.ln1_rstd, a.residual, w.ln1w, w.ln1b, rows, C);
    linear_forward(g, a.qkv, a.ln1, w.qkvw, rows, C, 3 * C, {w.qkvb, NULL, NULL, NULL});
    if (decode)
        attention_decode(g, a.att, activations_of(g, layer, 0).qkv, row);
    else
        attention_forward(g, a.att, a.att_lse, a.qkv, g->B, g->T);
    linear_forward(g, a.residual_mid, a.att, w.attprojw, rows, C, C, {w.attprojb, a.residual, NULL, NULL});
    layernorm_forward(g, a.ln2, a.ln2_mean, a.ln2_rstd, a.residual_mid, w.ln2w, w.ln2b, rows, C);
    linear_forward(g, a.fc, a.ln2, w.fcw, rows, C, 4 * C, {w.fcb, NULL, a.gelu, NULL});
    linear_forward(g, out, a.gelu, w.fcprojw, rows, 4 * C, C, {w.fcprojb, a.residual_mid, NULL, NULL});
}

/* dresidual, the gradient of the layer's output, becomes that of its input. */
static void block_backward(Gpt *g, size_t layer, bool first)
{
    const size_t C = g->config.C, R = g->B * g->T;
    const Weights w = weights_of(g, g->params, layer), dw = weights_of(g, g->grads, layer);
    const Activations a = activations_of(g, layer, 0);
    float *dres = g->dresidual, *dnorm = g->dnorm;

    linear_backward_input(g, g->dfc, dres, w.fcprojw, R, 4 * C, C, {NULL, NULL, NULL, a.fc});
    linear_backward_weight(g, dw.fcprojw, dres, C, a.gelu, R, 4 * C, C, first);
    bias_backward(g, dw.fcprojb, dres, R, C, first);

    linear_backward_input(g, dnorm, g->dfc, w.fcw, R, C, 4 * C, {});
    linear_backward_weight(g, dw.fcw, g->dfc, 4 * C, a.ln2, R, C, 4 * C, first);
    bias_backward(g, dw.fcb, g->dfc, R, 4 * C, first);
    layernorm_backward(g, dres, dw.ln2w, dw.ln2b, dnorm, a.residual_mid, a.ln2_mean, a.ln2_rstd, w.ln2w, R, C, first);

    linear_backward_input(g, g->datt, dres, w.attprojw, R, C, C, {});
    linear_backward_weight(g, dw.attprojw, dres, C, a.att, R, C, C, first);
    bias_backward(g, dw.attprojb, dres, R, C, first);

    attention_backward(g, g->dqkv, g->datt, &a);

    linear_backward_input(g, dnorm, g->dqkv, w.qkvw, R, C, 3 * C, {});
    linear_backward_weight(g, dw.qkvw, g->dqkv, 3 * C, a.ln1, R, C, 3 * C, first);
    bias_backward(g, dw.qkvb, g->dqkv, R, 3 * C, first);
    layernorm_backward(g, dres, dw.ln1w, dw.ln1b, dnorm, a.residual, a.ln1_mean, a.ln1_rstd, w.ln1w, R, C, first);
}

void gpt_forward(Gpt *g, const int32_t *tokens, size_t B, size_t T)
{
    assert(B >= 1 && B <= g->max_B && T >= 1 && T <= g->max_T);
    const size_t C = g->config.C, R = B * T;
    const Weights w = weights_of(g, g->params, 0);
    g->B = B;
    g->T = T;
    memcpy(g->host_tokens, tokens, R * sizeof *tokens);
    CUDA_CHECK(cudaMemcpyAsync(g->tokens, g->host_tokens, R * sizeof *tokens, cudaMemcpyHostToDevice, g->stream));
    embedding_forward(g, g->acts.residual, g->tokens, &w, R, T, 0, C);
    for (size_t layer = 0; layer < g->config.L; layer++)
        block_forward(g, layer, 0, R, false);
    layernorm_forward(g, g->lnf, g->lnf_mean, g->lnf_rstd, g->residual_final, w.lnfw, w.lnfb, R, C);
}

double gpt_loss(Gpt *g, const int32_t *targets)
{
    return classifier(g, targets, 0, false, false);
}

double gpt_backward(Gpt *g, const int32_t *targets, double scale, bool first)
{
    assert(g->mode == GPT_TRAINING);
    const size_t C = g->config.C, R = g->B * g->T;
    const Weights w = weights_of(g, g->params, 0), dw = weights_of(g, g->grads, 0);
    const double loss = classifier(g, targets, (float)scale, true, first);
    CUDA_CHECK(cudaMemsetAsync(g->dresidual, 0, R * C * sizeof *g->dresidual, g->stream));
    layernorm_backward(g, g->dresidual, dw.lnfw, dw.lnfb, g->dnorm, g->residual_final, g->lnf_mean, g->lnf_rstd, w.lnfw,
                       R, C, first);
    for (size_t layer = g->config.L; layer-- > 0;)
        block_backward(g, layer, first);
    embedding_backward(g, &dw, g->dresidual, &g->config, g->B, g->T, first);
    return loss;
}

void gpt_decode(Gpt *g, int32_t token, size_t position, float *logits)
{
    assert(position < g->max_T);
    const size_t C = g->config.C;
    const Weights w = weights_of(g, g->params, 0);
    g->host_tokens[0] = token;
    CUDA_CHECK(cudaMemcpyAsync(g->tokens, g->host_tokens, sizeof token, cudaMemcpyHostToDevice, g->stream));
    embedding_forward(g, activations_of(g, 0, position).residual, g->tokens, &w, 1, 1, position, C);
    for (size_t layer = 0; layer < g->config.L; layer++)
        block_forward(g, layer, position, 1, true);
    layernorm_forward(g, g->lnf + position * C, g->lnf_mean + position, g->lnf_rstd + position,
                      g->residual_final + position * C, w.lnfw, w.lnfb, 1, C);
    logits_of_row(g, position, logits);
}

void gpt_logits(Gpt *g, size_t row, float *logits)
{
    assert(row < g->B * g->T);
    logits_of_row(g, row, logits);
}

void gpt_residual(const Gpt *g, size_t layer, float *to)
{
    const float *from = layer == 0 ? g->acts.residual : residual_after(g, layer - 1, 0);
    CUDA_CHECK(cudaStreamSynchronize(g->stream));
    CUDA_CHECK(cudaMemcpy(to, from, g->B * g->T * g->config.C * sizeof *to, cudaMemcpyDeviceToHost));
}

/* --------------------------------------------------------------------------------------------------------------
 * Memory
 */

typedef struct Buffer {
    void **place;
    double bytes; /* a double, so that absurd sizes do not wrap around before they are refused */
    const char *what;
} Buffer;

/* Every array on the device of a Gpt whose config, table, mode, max_B and max_T are set. */
static std::vector<Buffer> list_buffers(Gpt *g)
{
    const GptConfig *c = &g->config;
    const double C = (double)c->C, R = (double)g->max_B * (double)g->max_T, LR = (double)c->L * R, NH = (double)c->NH;
    const double most_rows = (double)classifier_rows(c), arena = (double)g->table.arena_size;
    Activations *a = &g->acts;
    std::vector<Buffer> list;
    const auto floats = [&](float **place, double n, const char *what) {
        list.push_back({(void **)place, n * sizeof(float), what});
    };
    floats(&g->params, arena, "the parameters");
    floats(&a->residual, LR * C, "activations");
    floats(&a->ln1, LR * C, "activations");
    floats(&a->ln1_mean, LR, "activations");
    floats(&a->ln1_rstd, LR, "activations");
    floats(&a->qkv, LR * 3 * C, "activations");
    floats(&a->att, LR * C, "activations");
    floats(&a->att_lse, LR * NH, "activations");
    floats(&a->residual_mid, LR * C, "activations");
    floats(&a->ln2, LR * C, "activations");
    floats(&a->ln2_mean, LR, "activations");
    floats(&a->ln2_rstd, LR, "activations");
    floats(&a->fc, LR * 4 * C, "activations");
    floats(&a->gelu, LR * 4 * C, "activations");
    floats(&g->residual_final, R * C, "activations");
    floats(&g->lnf, R * C, "activations");
    floats(&g->lnf_mean, R, "activations");
    floats(&g->lnf_rstd, R, "activations");
    floats(&g->logits, (R < most_rows ? R : most_rows) * (double)padded_vocab(c), "a block of logits");
    list.push_back({(void **)&g->tokens, R * sizeof(int32_t), "tokens"});
    list.push_back({(void **)&g->targets, R * sizeof(int32_t), "tokens"});
    list.push_back({(void **)&g->losses, R * sizeof(double), "losses"});
    if (g->mode != GPT_TRAINING)
        return list;
    floats(&g->grads, arena, "the gradients");
    floats(&g->dresidual, R * C, "gradients of activations");
    floats(&g->dnorm, R * C, "gradients of activations");
    floats(&g->datt, R * C, "gradients of activations");
    floats(&g->dqkv, R * 3 * C, "gradients of activations");
    floats(&g->dfc, R * 4 * C, "gradients of activations");
    floats(&g->att_delta, R * NH, "gradients of activations");
    floats(&g->partial_sums, (double)PARTS * 4 * C, "partial sums");
    list.push_back({(void **)&g->row_order, R * sizeof(int32_t), "tokens"});
    list.push_back({(void **)&g->token_starts, (R + 1) * sizeof(int32_t), "tokens"});
    return list;
}

size_t gpt_memory_needed(const GptConfig *config, size_t B, size_t T, GptMode mode)
{
    Gpt g = {};
    Error ignored;
    g.config = *config;
    g.mode = mode;
    g.max_B = B;
    g.max_T = T;
    if (gpt_table_make(config, &g.table, &ignored) != 0)
        return SIZE_MAX;
    double bytes = 0;
    for (const Buffer &buffer : list_buffers(&g))
        bytes += buffer.bytes;
    gpt_table_free(&g.table);
    return bytes < 0x1p62 ? (size_t)bytes : SIZE_MAX;
}

/* Decoding holds the scores of all keys in a block's shared memory; grids have at most 65,535 tiles along a sequence.
 */
static int check_sequence(size_t T, Error *e)
{
    cudaDeviceProp properties;
    CUDA_CHECK(cudaGetDeviceProperties(&properties, 0));
    const size_t most = properties.sharedMemPerBlockOptin / sizeof(float) - 64; /* beside the kernel's own */
    return T <= most ? 0
                     : error_set(e, "sequences of %zu tokens: this GPU decodes at most %zu; lower --seq-len", T, most);
}

static int make_buffers(Gpt *g, Error *e)
{
    const size_t R = g->max_B * g->max_T;
    for (const Buffer &buffer : list_buffers(g)) {
        if (cudaMalloc(buffer.place, (size_t)buffer.bytes) != cudaSuccess) {
            *buffer.place = NULL;
            cudaGetLastError();
            return error_set(e, "out of GPU memory: %.0f MiB for %s; lower --batch-size, --seq-len or the model",
                             buffer.bytes / 0x1p20, buffer.what);
        }
    }
    g->host_losses = new std::vector<double>(R);
    g->host_tokens = (int32_t *)malloc(R * sizeof *g->host_tokens);
    return g->host_tokens != NULL ? 0 : error_set(e, "out of memory for %zu tokens", R);
}

int gpt_create(const GptConfig *config, size_t B, size_t T, GptMode mode, Gpt **out, Error *e)
{
    *out = NULL;
    if (gpt_config_check(config, e) != 0)
        return -1;
    if (config->C / config->NH > HEAD_MOST)
        return error_set(e, "heads of %zu channels: the GPU's attention takes at most %d", config->C / config->NH,
                         (int)HEAD_MOST);
    if (T == 0 || T > config->T)
        return error_set(e, "sequences of %zu tokens do not fit a model of at most %zu", T, config->T);
    if (B == 0 || B > SIZE_MAX / 64 / T / (4 * config->C) / config->L || B * T > INT32_MAX)
        return error_set(e, "a micro-batch of %zu sequences is out of range", B);
    if (gpt_probe(e) != 0 || check_sequence(T, e) != 0)
        return -1;
    Gpt *g = (Gpt *)calloc(1, sizeof *g);
    if (g == NULL)
        return error_set(e, "out of memory");
    g->config = *config;
    g->mode = mode;
    g->max_B = B;
    g->max_T = T;
    matmul_init(); /* optimizers factorise on the host */
    CUDA_CHECK(cudaStreamCreate(&g->stream));
    CUBLAS_CHECK(cublasCreate(&g->cublas));
    CUBLAS_CHECK(cublasSetStream(g->cublas, g->stream));
    int status = gpt_table_make(config, &g->table, e);
    if (status == 0) {
        find_places(g);
        status = make_buffers(g, e);
    }
    if (status != 0) {
        gpt_free(g);
        return -1;
    }
    *out = g;
    return 0;
}

void gpt_free(Gpt *g)
{
    if (g == NULL)
        return;
    for (const Buffer &buffer : list_buffers(g))
        CUDA_CHECK(cudaFree(*buffer.place));
    CUBLAS_CHECK(cublasDestroy(g->cublas));
    CUDA_CHECK(cudaStreamDestroy(g->stream));
    delete g->host_losses;
    free(g->host_tokens);
    gpt_table_free(&g->table);
    free(g);
}

/* --------------------------------------------------------------------------------------------------------------
 * Access
 */

const GptConfig *gpt_config(const Gpt *g) { return &g->config; }
const GptTable *gpt_table(const Gpt *g) { return &g->table; }
float *gpt_params(Gpt *g) { return g->params; }
float *gpt_grads(Gpt *g) { return g->grads; }

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
}

void gpt_init(Gpt *g, uint64_t seed)
{
    for (size_t i = 0; i < g->table.count; i++) {
        const Tensor *t = &g->table.tensors[i];
        std::vector<float> p(tensor_size(t));
        gpt_table_draw(&g->table, i, seed, p.data());
        gpt_write(g, GPT_PARAMS, t, p.data());
    }
}

const char *gpt_device(void)
{
    static char text[320];
    cudaDeviceProp properties;
    CUDA_CHECK(cudaGetDeviceProperties(&properties, 0));
    snprintf(text, sizeof text, "%s, cuBLAS, fp32", properties.name);
    return text;
}

GptKind gpt_kind(void) { return GPT_ON_GPU; }

int gpt_probe(Error *e)
{
    int count = 0;
    cudaDeviceProp properties;
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status != cudaSuccess || count == 0)
        return error_set(e, "no GPU answers: %s", status != cudaSuccess ? cudaGetErrorString(status) : "there is none");
    CUDA_CHECK(cudaGetDeviceProperties(&properties, 0));
    if (properties.major < OLDEST_DEVICE)
        return error_set(
            e, "%s is of compute capability %d.%d; this program needs %d.0 or newer (--device cpu runs without)",
            properties.name, properties.major, properties.minor, (int)OLDEST_DEVICE);
    return 0;
}

size_t gpt_memory_present(void)
{
    size_t available, total;
    CUDA_CHECK(cudaMemGetInfo(&available, &total));
    return available;
}
