/*
 * GPT-2 on the CPU: forward and backward of every layer, in fp32, with OpenMP and one matrix product (base/matmul.h).
 *
 * Sizes, throughout: B sequences of T tokens, R = B*T rows; L layers, NH heads of size HS = C/NH, width C,
 * vocabulary V. Matrices are row-major; a linear layer of OC outputs has weights (OC, C): out = inp weight^T + bias.
 * The gradient of x is called dx.
 *
 * Results do not depend on the number of threads: every loop below either writes each element in one iteration or
 * sums over PARTS fixed parts of the rows, which are added in order.
 */
#include "base/clock.h"
#include "base/matmul.h"
#include "base/memory.h"
#include "base/threads.h"
#include "gpt/gpt.h"
#include "gpt/vmath.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PARTS = 32,                  /* parts of the rows in sums over rows */
    QUERIES = 64,                /* queries of a head processed at once */
    CLASSIFIER_ROWS = 512,       /* rows of logits at a time, at most ... */
    CLASSIFIER_FLOATS = 1 << 25, /* ... fewer when the vocabulary is large: 128 MiB of logits */
};

/* --------------------------------------------------------------------------------------------------------------
 * Views of the arenas
 */

/* The parameters of one layer, or their gradients: the rows of GPT_PARAMETERS (gpt/gpt.h). NULL: absent. */
typedef struct Weights {
#define MEMBER(name, ...) float *name;
    GPT_PARAMETERS(MEMBER)
} Weights;

/* What the forward pass of one layer keeps for the backward pass: the rows of GPT_ACTIVATION_BUFFERS. */
typedef struct Activations {
    GPT_ACTIVATION_BUFFERS(MEMBER)
#undef MEMBER
} Activations;

struct Gpt {
    GptConfig config;
    GptTable table;
    GptSetup setup; /* B and T: the maxima */
    size_t threads;
    size_t B, T;     /* of the last gpt_forward */
    int32_t *tokens; /* (R) of the last gpt_forward */
    double loss_sum; /* over the gpt_backward calls since `first` */
    GptTimes times;

    float *params, *grads;
    Activations acts; /* of layer 0; each buffer holds the layers in order */
    float *residual_final, *lnf, *lnf_mean, *lnf_rstd;
    float *logits;            /* (classifier_rows, Vp) */
    double *losses;           /* (R) */
    float *attention_scratch; /* (threads, 2, QUERIES, T) */

    /* backward only */
    float *dresidual, *dnorm, *datt; /* (R,C) */
    float *dqkv, *dfc;               /* (R,3C) (R,4C) */
    float *partial_sums;             /* (PARTS, 4C) */
};

static float *place_of(const Gpt *g, GptParameter parameter, float *arena, size_t layer)
{
    const GptPlace *place = &g->table.places[parameter];
    return place->present ? arena + place->offset + layer * place->stride : NULL;
}

static Weights weights_of(const Gpt *g, float *arena, size_t layer)
{
#define VIEW(member, ...) place_of(g, GPT_##member, arena, layer),
    return (Weights){GPT_PARAMETERS(VIEW)};
#undef VIEW
}

/* Layer `layer`'s activations from row `row` on. */
static Activations activations_of(const Gpt *g, size_t layer, size_t row)
{
    const GptConfig *c = &g->config;
    const size_t at = layer * g->setup.B * g->setup.T + row;
#define VIEW(member, type, elements, recomputed) g->acts.member + at *(elements),
    return (Activations){GPT_ACTIVATION_BUFFERS(VIEW)};
#undef VIEW
}

/* Where layer `layer` puts its output: the input of the next. */
static float *residual_after(const Gpt *g, size_t layer, size_t row)
{
    return layer + 1 < g->config.L ? activations_of(g, layer + 1, row).residual : g->residual_final + row * g->config.C;
}

static size_t classifier_rows(const GptConfig *c)
{
    const size_t fit = CLASSIFIER_FLOATS / gpt_padded_vocab(c);
    return fit < 1 ? 1 : fit < CLASSIFIER_ROWS ? fit : CLASSIFIER_ROWS;
}

/* --------------------------------------------------------------------------------------------------------------
 * Sums over rows, in parts that do not depend on the number of threads
 */

static size_t part_begin(size_t part, size_t rows) { return rows * part / PARTS; }

/* sums (n) = the PARTS rows of partial (PARTS,n), added to what was there unless `first`. */
static void add_parts(float *sums, const float *partial, size_t n, bool first)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++) {
        float sum = first ? 0.0f : sums[i];
        for (size_t part = 0; part < PARTS; part++)
            sum += partial[part * n + i];
        sums[i] = sum;
    }
}

/* dbias (n) += column sums of dout (rows,n): the backward pass of adding a bias. */
static void bias_backward(float *dbias, const float *dout, size_t rows, size_t n, bool first, float *partial)
{
#pragma omp parallel for schedule(static)
    for (size_t part = 0; part < PARTS; part++) {
        float *sum = partial + part * n;
        memset(sum, 0, n * sizeof *sum);
        for (size_t r = part_begin(part, rows); r < part_begin(part + 1, rows); r++)
            for (size_t i = 0; i < n; i++)
                sum[i] += dout[r * n + i];
    }
    add_parts(dbias, partial, n, first);
}

/* --------------------------------------------------------------------------------------------------------------
 * Matrix products
 */

/* A matrix whose rows are stored ld floats apart, or its transpose. */
typedef struct Operand {
    const float *x;
    size_t ld;
    bool transposed;
} Operand;

static Operand stored(const float *x, size_t ld) { return (Operand){x, ld, false}; }
static Operand transposed(const float *x, size_t ld) { return (Operand){x, ld, true}; }

/* Describes c (m,n) = alpha a (m,k) b (k,n) + beta c, for all threads or, inside a parallel region, the calling one. */
static Matmul product(size_t m, size_t n, size_t k, float alpha, Operand a, Operand b, float beta, float *c, size_t ldc)
{
    return (Matmul){.m = m,
                    .n = n,
                    .k = k,
                    .trans_a = a.transposed,
                    .trans_b = b.transposed,
                    .alpha = alpha,
                    .beta = beta,
                    .a = a.x,
                    .lda = a.ld,
                    .b = b.x,
                    .ldb = b.ld,
                    .c = c,
                    .ldc = ldc};
}

static void multiply(Matmul product) { matmul(&product); }
static void multiply_here(Matmul product) { matmul_here(&product); }

/* --------------------------------------------------------------------------------------------------------------
 * Embeddings: out = wte[token] + wpe[position]
 */

static void embedding_forward(float *out, const int32_t *tokens, const Weights *w, size_t rows, size_t T,
                              size_t position, size_t C)
{
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < rows; r++) {
        const float *token = w->wte + (size_t)tokens[r] * C;
        const float *place = w->wpe + (position + r % T) * C;
        for (size_t i = 0; i < C; i++)
            out[r * C + i] = token[i] + place[i];
    }
}

/* dwte is accumulated (the classifier has written it already); dwpe is overwritten when `first`. A token may occur many
 * times, so the columns are distributed over the threads, not the rows. */
static void embedding_backward(const Weights *dw, const float *dout, const int32_t *tokens, const GptConfig *c,
                               size_t B, size_t T, bool first)
{
    enum { COLUMNS = 64 };
    const size_t C = c->C;
#pragma omp parallel for schedule(static)
    for (size_t i0 = 0; i0 < C; i0 += COLUMNS) {
        const size_t n = C - i0 < COLUMNS ? C - i0 : COLUMNS;
        for (size_t r = 0; r < B * T; r++) {
            float *token = dw->wte + (size_t)tokens[r] * C + i0;
            for (size_t i = 0; i < n; i++)
                token[i] += dout[r * C + i0 + i];
        }
    }
#pragma omp parallel for schedule(static)
    for (size_t t = 0; t < c->T; t++) {
        float *place = dw->wpe + t * C;
        if (first)
            memset(place, 0, C * sizeof *place);
        for (size_t b = 0; b < (t < T ? B : 0); b++)
            for (size_t i = 0; i < C; i++)
                place[i] += dout[(b * T + t) * C + i];
    }
}

/* --------------------------------------------------------------------------------------------------------------
 * LayerNorm (Ba et al. 2016): out = (x - mean) rstd gain + bias, rstd = 1/sqrt(var + 1e-5)
 */

static void layernorm_forward(float *out, float *mean, float *rstd, const float *x, const float *gain,
                              const float *bias, size_t rows, size_t C)
{
    const float inverse_C = 1.0f / (float)C;
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < rows; r++) {
        const float *xr = x + r * C;
        float *out_r = out + r * C;
        float sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
        for (size_t i = 0; i < C; i++)
            sum += xr[i];
        const float m = sum * inverse_C;
#pragma omp simd reduction(+ : squares)
        for (size_t i = 0; i < C; i++)
            squares += (xr[i] - m) * (xr[i] - m);
        const float s = 1.0f / sqrtf(squares * inverse_C + GPT_LAYERNORM_EPS);
        for (size_t i = 0; i < C; i++)
            out_r[i] = (xr[i] - m) * s * gain[i] + bias[i];
        mean[r] = m;
        rstd[r] = s;
    }
}

/* With xhat = (x - mean) rstd and d = dout gain:  dx += rstd (d - mean(d) - xhat mean(d xhat));
 * dgain += sum of dout xhat, dbias += sum of dout. */
static void layernorm_backward(float *dx, float *dgain, float *dbias, const float *dout, const float *x,
                               const float *mean, const float *rstd, const float *gain, size_t rows, size_t C,
                               bool first, float *partial)
{
    float *gain_parts = partial, *bias_parts = partial + PARTS * C;
    const float inverse_C = 1.0f / (float)C;
#pragma omp parallel for schedule(static)
    for (size_t part = 0; part < PARTS; part++) {
        float *gain_sum = gain_parts + part * C, *bias_sum = bias_parts + part * C;
        memset(gain_sum, 0, C * sizeof *gain_sum);
        memset(bias_sum, 0, C * sizeof *bias_sum);
        for (size_t r = part_begin(part, rows); r < part_begin(part + 1, rows); r++) {
            const float *dout_r = dout + r * C, *xr = x + r * C;
            const float m = mean[r], s = rstd[r];
            float *dxr = dx + r * C;
            float sum_d = 0, sum_d_xhat = 0;
#pragma omp simd reduction(+ : sum_d, sum_d_xhat)
            for (size_t i = 0; i < C; i++) {
                const float xhat = (xr[i] - m) * s, d = dout_r[i] * gain[i];
                sum_d += d;
                sum_d_xhat += d * xhat;
                gain_sum[i] += dout_r[i] * xhat;
                bias_sum[i] += dout_r[i];
            }
            const float mean_d = sum_d * inverse_C, mean_d_xhat = sum_d_xhat * inverse_C;
            for (size_t i = 0; i < C; i++) {
                const float xhat = (xr[i] - m) * s, d = dout_r[i] * gain[i];
                dxr[i] += s * (d - mean_d - xhat * mean_d_xhat);
            }
        }
    }
    add_parts(dgain, gain_parts, C, first);
    add_parts(dbias, bias_parts, C, first);
}

/* --------------------------------------------------------------------------------------------------------------
 * GELU (Hendrycks and Gimpel 2016), the tanh form:  x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
 */

static inline float gelu(float x)
{
    return 0.5f * x * (1.0f + vtanhf(GPT_GELU_SCALE * (x + GPT_GELU_CUBE * x * x * x)));
}

static inline float gelu_slope(float x)
{
    const float t = vtanhf(GPT_GELU_SCALE * (x + GPT_GELU_CUBE * x * x * x));
    return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * GPT_GELU_SCALE * (1.0f + 3.0f * GPT_GELU_CUBE * x * x);
}

/* The exact form:  x Phi(x), with the normal distribution's Phi = (1 + erf(x / sqrt 2)) / 2 */
static inline float gelu_exact(float x) { return 0.5f * x * (1.0f + verff(GPT_SQRT_HALF * x)); }

static inline float gelu_exact_slope(float x)
{
    return 0.5f * (1.0f + verff(GPT_SQRT_HALF * x)) + x * (GPT_NORMAL_DENSITY * vexpf(-0.5f * x * x));
}

/* max(x, 0)^2; a NaN stays one */
static inline float relu2(float x) { return x < 0.0f ? 0.0f : x * x; }

static inline float relu2_slope(float x) { return x < 0.0f ? 0.0f : 2.0f * x; }

/* x sigma(x), with sigma(x) = 1 / (1 + e^-x) */
static inline float silu(float x) { return x / (1.0f + vexpf(-x)); }

static inline float silu_slope(float x)
{
    const float s = 1.0f / (1.0f + vexpf(-x));
    return s * (1.0f + x * (1.0f - s));
}

/* --------------------------------------------------------------------------------------------------------------
 * The MLP's activation, one of GPT_ACTIVATIONS
 */

/* act (n) = activation(fc (n)) */
static void activation_forward(GptActivation activation, float *act, const float *fc, size_t n)
{
    switch (activation) {
#define FORWARD(constant, function, ...)                                             \
    case constant:                                                                   \
        _Pragma("omp simd") for (size_t i = 0; i < n; i++) act[i] = function(fc[i]); \
        break;
        GPT_ACTIVATIONS(FORWARD)
#undef FORWARD
    case GPT_ACTIVATION_COUNT:
        break;
    }
}

/* d (n) *= the activation's slope at fc (n) */
static void activation_backward(GptActivation activation, float *d, const float *fc, size_t n)
{
    switch (activation) {
#define BACKWARD(constant, function, ...)                                                   \
    case constant:                                                                          \
        _Pragma("omp simd") for (size_t i = 0; i < n; i++) d[i] *= function##_slope(fc[i]); \
        break;
        GPT_ACTIVATIONS(BACKWARD)
#undef BACKWARD
    case GPT_ACTIVATION_COUNT:
        break;
    }
}

/* --------------------------------------------------------------------------------------------------------------
 * Linear layers. The elementwise epilogue of a product is applied tile by tile, while the tile is in cache.
 */

typedef struct Epilogue {
    float *out; /* (rows, OC) the product */
    size_t OC;
    const float *bias;     /* (OC) */
    const float *residual; /* (rows, OC) added */
    GptActivation activation;
    float *act;      /* (rows, OC) activation(out) */
    const float *fc; /* (rows, OC) input of the activation whose slope multiplies out */
} Epilogue;

static void epilogue_bias(void *context, size_t batch, size_t r0, size_t o0, size_t rows, size_t cols)
{
    const Epilogue *ep = context;
    (void)batch;
    for (size_t r = r0; r < r0 + rows; r++) {
        float *out = ep->out + r * ep->OC;
        for (size_t o = o0; o < o0 + cols; o++)
            out[o] += ep->bias[o];
    }
}

static void epilogue_bias_residual(void *context, size_t batch, size_t r0, size_t o0, size_t rows, size_t cols)
{
    const Epilogue *ep = context;
    (void)batch;
    for (size_t r = r0; r < r0 + rows; r++) {
        float *out = ep->out + r * ep->OC;
        const float *residual = ep->residual + r * ep->OC;
        for (size_t o = o0; o < o0 + cols; o++)
            out[o] = residual[o] + (out[o] + ep->bias[o]);
    }
}

static void epilogue_bias_activation(void *context, size_t batch, size_t r0, size_t o0, size_t rows, size_t cols)
{
    const Epilogue *ep = context;
    (void)batch;
    for (size_t r = r0; r < r0 + rows; r++) {
        float *out = ep->out + r * ep->OC + o0, *act = ep->act + r * ep->OC + o0;
        for (size_t o = 0; o < cols; o++)
            out[o] += ep->bias[o0 + o];
        activation_forward(ep->activation, act, out, cols);
    }
}

static void epilogue_activation_backward(void *context, size_t batch, size_t r0, size_t o0, size_t rows, size_t cols)
{
    const Epilogue *ep = context;
    (void)batch;
    for (size_t r = r0; r < r0 + rows; r++)
        activation_backward(ep->activation, ep->out + r * ep->OC + o0, ep->fc + r * ep->OC + o0, cols);
}

/* out (rows,OC) = inp (rows,C) weight (OC,C)^T, then the epilogue. */
static void linear_forward(float *out, const float *inp, const float *weight, size_t rows, size_t C, size_t OC,
                           MatmulEpilogue epilogue, const Epilogue *context)
{
    Epilogue copy = context != NULL ? *context : (Epilogue){0};
    copy.out = out;
    copy.OC = OC;
    Matmul p = product(rows, OC, C, 1, stored(inp, C), transposed(weight, C), 0, out, OC);
    p.epilogue = epilogue;
    p.epilogue_context = &copy;
    matmul(&p);
}

/* dinp (rows,C) = dout (rows,OC) weight (OC,C), then the epilogue. */
static void linear_backward_input(float *dinp, const float *dout, const float *weight, size_t rows, size_t C, size_t OC,
                                  MatmulEpilogue epilogue, const Epilogue *context)
{
    Epilogue copy = context != NULL ? *context : (Epilogue){0};
    copy.out = dinp;
    copy.OC = C;
    Matmul p = product(rows, C, OC, 1, stored(dout, OC), stored(weight, C), 0, dinp, C);
    p.epilogue = epilogue;
    p.epilogue_context = &copy;
    matmul(&p);
}

/* dweight (OC,C) += dout (rows,OC)^T inp (rows,C). lddout: the row stride of dout, in floats. */
static void linear_backward_weight(float *dweight, const float *dout, size_t lddout, const float *inp, size_t rows,
                                   size_t C, size_t OC, bool first)
{
    multiply(product(OC, C, rows, 1, transposed(dout, lddout), stored(inp, C), first ? 0.0f : 1.0f, dweight, C));
}

/* --------------------------------------------------------------------------------------------------------------
 * Causal attention (Vaswani et al. 2017). A head's queries are processed QUERIES at a time against all keys up to
 * them, so that no (T,T) array exists; the backward pass recomputes the probabilities from att_lse, as in
 * FlashAttention (Dao et al. 2022).
 */

/* One head of one sequence. */
typedef struct Head {
    const float *q, *k, *v; /* (T,HS) at stride 3C */
    size_t T, HS, C;
    float scale; /* 1/sqrt(HS) */
} Head;

static Head head_of(const float *qkv, size_t T, size_t C, size_t HS, size_t b, size_t h)
{
    const float *q = qkv + b * T * 3 * C + h * HS;
    return (Head){.q = q, .k = q + C, .v = q + 2 * C, .T = T, .HS = HS, .C = C, .scale = 1.0f / sqrtf((float)HS)};
}

/* scores (n,keys) = scale q (n,HS) k (keys,HS)^T */
static void head_scores(const Head *head, float *scores, size_t query, size_t n, size_t keys)
{
    multiply_here(product(n, keys, head->HS, head->scale, stored(head->q + query * 3 * head->C, 3 * head->C),
                          transposed(head->k, 3 * head->C), 0, scores, keys));
}

/* The largest of n values, lane by lane, which compilers vectorise without fast-math. */
static float largest(const float *x, size_t n)
{
    enum { LANES = 16 };
    float lanes[LANES], max = -INFINITY;
    size_t i = 0;
    for (size_t j = 0; j < LANES; j++)
        lanes[j] = -INFINITY;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            lanes[j] = x[i + j] > lanes[j] ? x[i + j] : lanes[j];
    for (; i < n; i++)
        max = x[i] > max ? x[i] : max;
    for (size_t j = 0; j < LANES; j++)
        max = lanes[j] > max ? lanes[j] : max;
    return max;
}

/* Softmax without its division: scores (n) become exp(score - max). Returns their sum and the maximum. */
static float exp_scores(float *scores, size_t n, float *maximum)
{
    const float max = largest(scores, n);
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++) {
        scores[i] = vexpf(scores[i] - max);
        sum += scores[i];
    }
    *maximum = max;
    return sum;
}

/* att (T,HS) at stride C, lse (T) of one head; scratch (QUERIES,T). */
static void head_forward(const Head *head, float *att, float *lse, float *scratch)
{
    const size_t T = head->T, HS = head->HS, C = head->C;
    for (size_t query = 0; query < T; query += QUERIES) {
        const size_t n = T - query < QUERIES ? T - query : QUERIES, keys = query + n;
        float inverse_sum[QUERIES];
        head_scores(head, scratch, query, n, keys);
        for (size_t i = 0; i < n; i++) {
            float *row = scratch + i * keys, maximum;
            const size_t visible = query + i + 1;
            const float sum = exp_scores(row, visible, &maximum);
            memset(row + visible, 0, (keys - visible) * sizeof *row);
            lse[query + i] = maximum + logf(sum);
            inverse_sum[i] = 1.0f / sum;
        }
        multiply_here(product(n, HS, keys, 1, stored(scratch, keys), stored(head->v, 3 * C), 0, att + query * C, C));
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < HS; j++)
                att[(query + i) * C + j] *= inverse_sum[i];
    }
}

static void attention_forward(const Gpt *g, float *att, float *lse, const float *qkv, size_t B, size_t T)
{
    const size_t C = g->config.C, NH = g->config.NH, HS = C / NH;
#pragma omp parallel for schedule(dynamic, 1) num_threads((int)g->threads)
    for (size_t bh = 0; bh < B * NH; bh++) {
        const size_t b = bh / NH, h = bh % NH;
        const Head head = head_of(qkv, T, C, HS, b, h);
        head_forward(&head, att + b * T * C + h * HS, lse + bh * T,
                     g->attention_scratch + threads_index() * 2 * QUERIES * g->setup.T);
    }
}

/* With P the probabilities and S the scaled scores:  dV = P^T datt,  dP = datt V^T,  dS = P (dP - rowsum(datt att)),
 * dQ = scale dS K,  dK = scale dS^T Q.  Blocks of queries run from the last, which sees all keys and so overwrites
 * dK and dV, to the first; the others accumulate. scratch (2,QUERIES,T). */
static void head_backward(const Head *head, float *dq, const float *datt, const float *att, const float *lse,
                          float *scratch)
{
    const size_t T = head->T, HS = head->HS, C = head->C;
    float *dk = dq + C, *dv = dq + 2 * C, *p = scratch, *ds = scratch + QUERIES * T;
    for (size_t block = (T + QUERIES - 1) / QUERIES; block-- > 0;) {
        const size_t query = block * QUERIES, n = T - query < QUERIES ? T - query : QUERIES, keys = query + n;
        const float add = keys == T ? 0.0f : 1.0f;
        const float *datt_block = datt + query * C;
        head_scores(head, p, query, n, keys);
        multiply_here(product(n, keys, HS, 1, stored(datt_block, C), transposed(head->v, 3 * C), 0, ds, keys));
        for (size_t i = 0; i < n; i++) {
            const float *datt_i = datt_block + i * C, *att_i = att + (query + i) * C;
            float *p_i = p + i * keys, *ds_i = ds + i * keys, dot = 0;
            const size_t visible = query + i + 1;
            const float lse_i = lse[query + i];
#pragma omp simd reduction(+ : dot)
            for (size_t j = 0; j < HS; j++)
                dot += datt_i[j] * att_i[j];
#pragma omp simd
            for (size_t j = 0; j < visible; j++) {
                p_i[j] = vexpf(p_i[j] - lse_i);
                ds_i[j] = p_i[j] * (ds_i[j] - dot);
            }
            memset(p_i + visible, 0, (keys - visible) * sizeof *p_i);
            memset(ds_i + visible, 0, (keys - visible) * sizeof *ds_i);
        }
        multiply_here(product(keys, HS, n, 1, transposed(p, keys), stored(datt_block, C), add, dv, 3 * C));
        multiply_here(
            product(n, HS, keys, head->scale, stored(ds, keys), stored(head->k, 3 * C), 0, dq + query * 3 * C, 3 * C));
        multiply_here(product(keys, HS, n, head->scale, transposed(ds, keys), stored(head->q + query * 3 * C, 3 * C),
                              add, dk, 3 * C));
    }
}

static void attention_backward(const Gpt *g, float *dqkv, const float *datt, const Activations *a)
{
    const size_t B = g->B, T = g->T, C = g->config.C, NH = g->config.NH, HS = C / NH;
#pragma omp parallel for schedule(dynamic, 1) num_threads((int)g->threads)
    for (size_t bh = 0; bh < B * NH; bh++) {
        const size_t b = bh / NH, h = bh % NH, at = b * T * C + h * HS;
        const Head head = head_of(a->qkv, T, C, HS, b, h);
        head_backward(&head, dqkv + b * T * 3 * C + h * HS, datt + at, a->att + at, a->att_lse + bh * T,
                      g->attention_scratch + threads_index() * 2 * QUERIES * g->setup.T);
    }
}

/* One new query at `position` of a single sequence; qkv (position+1, 3C) holds the keys and values so far. */
static void attention_decode(const Gpt *g, float *att, const float *qkv, size_t position)
{
    const size_t C = g->config.C, NH = g->config.NH, HS = C / NH, keys = position + 1;
#pragma omp parallel for schedule(static) num_threads((int)g->threads)
    for (size_t h = 0; h < NH; h++) {
        const Head head = head_of(qkv, keys, C, HS, 0, h);
        float *scores = g->attention_scratch + threads_index() * 2 * QUERIES * g->setup.T, maximum;
        head_scores(&head, scores, position, 1, keys);
        const float inverse_sum = 1.0f / exp_scores(scores, keys, &maximum);
        multiply_here(
            product(1, HS, keys, inverse_sum, stored(scores, keys), stored(head.v, 3 * C), 0, att + h * HS, C));
    }
}

/* --------------------------------------------------------------------------------------------------------------
 * Classifier: logits = lnf wte^T and cross-entropy, a block of rows at a time
 */

/* Rows of logits (rows, Vp) -> losses (rows); with `backward` the logits become scale (softmax - onehot(target)).
 * A negative target has loss 0 and gradient 0. */
static void cross_entropy(float *logits, double *losses, const int32_t *targets, size_t rows, const GptConfig *c,
                          float scale, bool backward)
{
    const size_t V = c->V, Vp = gpt_padded_vocab(c);
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < rows; r++) {
        float *row = logits + r * Vp, maximum;
        losses[r] = 0;
        if (targets[r] < 0) {
            memset(row, 0, Vp * sizeof *row);
            continue;
        }
        const size_t target = (size_t)targets[r];
        const float target_logit = row[target];
        const float sum = exp_scores(row, V, &maximum);
        losses[r] = (double)maximum + log((double)sum) - (double)target_logit;
        if (!backward)
            continue;
        const float factor = scale / sum;
        for (size_t i = 0; i < V; i++)
            row[i] *= factor;
        row[target] -= scale;
    }
}

/* Sum of the losses; with `backward` also dnorm (R,C), the gradient of lnf, and dwte, overwritten when `first`. */
static double classifier(Gpt *g, const int32_t *targets, float scale, bool backward, bool first)
{
    const GptConfig *c = &g->config;
    const size_t C = c->C, V = c->V, Vp = gpt_padded_vocab(c), R = g->B * g->T, most = classifier_rows(c);
    const float *wte = weights_of(g, g->params, 0).wte;
    for (size_t r0 = 0; r0 < R; r0 += most) {
        const size_t rows = R - r0 < most ? R - r0 : most;
        const float *lnf = g->lnf + r0 * C;
        multiply(product(rows, V, C, 1, stored(lnf, C), transposed(wte, C), 0, g->logits, Vp));
        cross_entropy(g->logits, g->losses + r0, targets + r0, rows, c, scale, backward);
        if (!backward)
            continue;
        multiply(product(rows, C, V, 1, stored(g->logits, Vp), stored(wte, C), 0, g->dnorm + r0 * C, C));
        linear_backward_weight(weights_of(g, g->grads, 0).wte, g->logits, Vp, lnf, rows, C, V, first && r0 == 0);
    }
    double sum = 0;
    for (size_t r = 0; r < R; r++)
        sum += g->losses[r];
    return sum;
}

static void logits_of_row(const Gpt *g, size_t row, float *logits)
{
    const size_t C = g->config.C, V = g->config.V;
    multiply(
        product(1, V, C, 1, stored(g->lnf + row * C, C), transposed(weights_of(g, g->params, 0).wte, C), 0, logits, V));
}

/* --------------------------------------------------------------------------------------------------------------
 * The whole model
 */

/* Layer `layer` on `rows` rows from `row` on: the whole batch or, when decoding, one row, its position. */
static void block_forward(Gpt *g, size_t layer, size_t row, size_t rows, bool decode)
{
    const size_t C = g->config.C;
    const Weights w = weights_of(g, g->params, layer);
    const Activations a = activations_of(g, layer, row);
    float *out = residual_after(g, layer, row);
    layernorm_forward(a.ln1, a.ln1_mean, a.ln1_rstd, a.residual, w.ln1w, w.ln1b, rows, C);
    linear_forward(a.qkv, a.ln1, w.qkvw, rows, C, 3 * C, epilogue_bias, &(Epilogue){.bias = w.qkvb});
    if (decode)
        attention_decode(g, a.att, activations_of(g, layer, 0).qkv, row);
    else
        attention_forward(g, a.att, a.att_lse, a.qkv, g->B, g->T);
    linear_forward(a.residual_mid, a.att, w.attprojw, rows, C, C, epilogue_bias_residual,
                   &(Epilogue){.bias = w.attprojb, .residual = a.residual});
    layernorm_forward(a.ln2, a.ln2_mean, a.ln2_rstd, a.residual_mid, w.ln2w, w.ln2b, rows, C);
    linear_forward(a.fc, a.ln2, w.fcw, rows, C, 4 * C, epilogue_bias_activation,
                   &(Epilogue){.bias = w.fcb, .activation = g->config.activation, .act = a.act});
    linear_forward(out, a.act, w.fcprojw, rows, 4 * C, C, epilogue_bias_residual,
                   &(Epilogue){.bias = w.fcprojb, .residual = a.residual_mid});
}

/* dresidual, the gradient of the layer's output, becomes that of its input. */
static void block_backward(Gpt *g, size_t layer, bool first)
{
    const size_t C = g->config.C, R = g->B * g->T;
    const Weights w = weights_of(g, g->params, layer), dw = weights_of(g, g->grads, layer);
    const Activations a = activations_of(g, layer, 0);
    float *dres = g->dresidual, *dnorm = g->dnorm, *parts = g->partial_sums;

    linear_backward_input(g->dfc, dres, w.fcprojw, R, 4 * C, C, epilogue_activation_backward,
                          &(Epilogue){.activation = g->config.activation, .fc = a.fc});
    linear_backward_weight(dw.fcprojw, dres, C, a.act, R, 4 * C, C, first);
    bias_backward(dw.fcprojb, dres, R, C, first, parts);

    linear_backward_input(dnorm, g->dfc, w.fcw, R, C, 4 * C, NULL, NULL);
    linear_backward_weight(dw.fcw, g->dfc, 4 * C, a.ln2, R, C, 4 * C, first);
    bias_backward(dw.fcb, g->dfc, R, 4 * C, first, parts);
    layernorm_backward(dres, dw.ln2w, dw.ln2b, dnorm, a.residual_mid, a.ln2_mean, a.ln2_rstd, w.ln2w, R, C, first,
                       parts);

    linear_backward_input(g->datt, dres, w.attprojw, R, C, C, NULL, NULL);
    linear_backward_weight(dw.attprojw, dres, C, a.att, R, C, C, first);
    bias_backward(dw.attprojb, dres, R, C, first, parts);

    attention_backward(g, g->dqkv, g->datt, &a);

    linear_backward_input(dnorm, g->dqkv, w.qkvw, R, C, 3 * C, NULL, NULL);
    linear_backward_weight(dw.qkvw, g->dqkv, 3 * C, a.ln1, R, C, 3 * C, first);
    bias_backward(dw.qkvb, g->dqkv, R, 3 * C, first, parts);
    layernorm_backward(dres, dw.ln1w, dw.ln1b, dnorm, a.residual, a.ln1_mean, a.ln1_rstd, w.ln1w, R, C, first, parts);
}

void gpt_forward(Gpt *g, const int32_t *tokens, size_t B, size_t T)
{
    assert(B >= 1 && B <= g->setup.B && T >= 1 && T <= g->setup.T);
    const size_t C = g->config.C, R = B * T;
    const Weights w = weights_of(g, g->params, 0);
    const double begin = clock_seconds();
    g->B = B;
    g->T = T;
    memcpy(g->tokens, tokens, R * sizeof *tokens);
    embedding_forward(g->acts.residual, tokens, &w, R, T, 0, C);
    for (size_t layer = 0; layer < g->config.L; layer++)
        block_forward(g, layer, 0, R, false);
    layernorm_forward(g->lnf, g->lnf_mean, g->lnf_rstd, g->residual_final, w.lnfw, w.lnfb, R, C);
    g->times.forward += clock_seconds() - begin;
}

double gpt_loss(Gpt *g, const int32_t *targets)
{
    g->times = (GptTimes){0};
    return classifier(g, targets, 0, false, false);
}

void gpt_backward(Gpt *g, const int32_t *targets, double scale, bool first)
{
    assert(g->setup.mode == GPT_TRAINING);
    const size_t C = g->config.C, R = g->B * g->T;
    const Weights w = weights_of(g, g->params, 0), dw = weights_of(g, g->grads, 0);
    const double begin = clock_seconds();
    g->loss_sum = (first ? 0 : g->loss_sum) + classifier(g, targets, (float)scale, true, first);
    memset(g->dresidual, 0, R * C * sizeof *g->dresidual);
    layernorm_backward(g->dresidual, dw.lnfw, dw.lnfb, g->dnorm, g->residual_final, g->lnf_mean, g->lnf_rstd, w.lnfw, R,
                       C, first, g->partial_sums);
    for (size_t layer = g->config.L; layer-- > 0;)
        block_backward(g, layer, first);
    embedding_backward(&dw, g->dresidual, g->tokens, &g->config, g->B, g->T, first);
    g->times.backward += clock_seconds() - begin;
}

void gpt_losses(const Gpt *g, double *to) { memcpy(to, g->losses, g->B * g->T * sizeof *to); }

double gpt_loss_sum(const Gpt *g) { return g->loss_sum; }

GptTimes gpt_times(Gpt *g)
{
    const GptTimes times = {g->times.forward, g->times.backward, (double)NAN};
    g->times = (GptTimes){0};
    return times;
}

void gpt_wait(Gpt *g) { (void)g; }

void gpt_decode(Gpt *g, int32_t token, size_t position, float *logits)
{
    assert(position < g->setup.T);
    const size_t C = g->config.C;
    const Weights w = weights_of(g, g->params, 0);
    embedding_forward(activations_of(g, 0, position).residual, &token, &w, 1, 1, position, C);
    for (size_t layer = 0; layer < g->config.L; layer++)
        block_forward(g, layer, position, 1, true);
    layernorm_forward(g->lnf + position * C, g->lnf_mean + position, g->lnf_rstd + position,
                      g->residual_final + position * C, w.lnfw, w.lnfb, 1, C);
    logits_of_row(g, position, logits);
}

void gpt_logits(Gpt *g, size_t row, float *logits)
{
    g->times = (GptTimes){0};
    assert(row < g->B * g->T);
    logits_of_row(g, row, logits);
}

void gpt_residual(const Gpt *g, size_t layer, float *to)
{
    const float *from = layer == 0 ? g->acts.residual : residual_after(g, layer - 1, 0);
    memcpy(to, from, g->B * g->T * g->config.C * sizeof *to);
}

/* --------------------------------------------------------------------------------------------------------------
 * Memory
 */

typedef struct Buffer {
    float **place;
    double floats; /* how many: a double, so that absurd sizes do not overflow before they are refused */
    const char *what;
} Buffer;

enum { BUFFERS_MOST = 32 };

/* Every float array of a Gpt whose config, table, setup and threads are set. Returns how many. */
static size_t list_buffers(Gpt *g, Buffer list[BUFFERS_MOST])
{
    const GptConfig *c = &g->config;
    const double C = (double)c->C, T = (double)g->setup.T, R = (double)g->setup.B * T, LR = (double)c->L * R;
    const double most_rows = (double)classifier_rows(c), arena = (double)g->table.arena_size;
    Activations *a = &g->acts;
    const Buffer both[] = {
        {&g->params, arena, "the parameters"},
#define BUFFER(member, type, elements, recomputed) {&a->member, LR * (double)(elements), "activations"},
        GPT_ACTIVATION_BUFFERS(BUFFER)
#undef BUFFER
            {&g->residual_final, R * C, "activations"},
        {&g->lnf, R * C, "activations"},
        {&g->lnf_mean, R, "activations"},
        {&g->lnf_rstd, R, "activations"},
        {&g->logits, (R < most_rows ? R : most_rows) * (double)gpt_padded_vocab(c), "a block of logits"},
        {&g->attention_scratch, (double)g->threads * 2 * QUERIES * T, "attention scores"},
    };
    const Buffer training[] = {
        {&g->grads, arena, "the gradients"},
        {&g->dresidual, R * C, "gradients of activations"},
        {&g->dnorm, R * C, "gradients of activations"},
        {&g->datt, R * C, "gradients of activations"},
        {&g->dqkv, R * 3 * C, "gradients of activations"},
        {&g->dfc, R * 4 * C, "gradients of activations"},
        {&g->partial_sums, PARTS * 4 * C, "partial sums"},
    };
    const size_t n_both = sizeof both / sizeof *both, n_training = sizeof training / sizeof *training;
    memcpy(list, both, sizeof both);
    if (g->setup.mode != GPT_TRAINING)
        return n_both;
    memcpy(list + n_both, training, sizeof training);
    return n_both + n_training;
}

size_t gpt_memory_needed(const GptConfig *config, const GptSetup *setup)
{
    Gpt g = {.config = *config, .setup = *setup, .threads = threads_count()};
    Buffer list[BUFFERS_MOST];
    Error ignored;
    if (gpt_table_make(config, &g.table, &ignored) != 0)
        return SIZE_MAX;
    const size_t n = list_buffers(&g, list);
    double bytes = (double)setup->B * (double)setup->T * (sizeof(int32_t) + sizeof(double));
    for (size_t i = 0; i < n; i++)
        bytes += list[i].floats * sizeof(float);
    gpt_table_free(&g.table);
    return bytes < 0x1p62 ? (size_t)bytes : SIZE_MAX;
}

int gpt_create(const GptConfig *config, const GptSetup *setup, Gpt **out, Error *e)
{
    const size_t B = setup->B, T = setup->T;
    *out = NULL;
    if (gpt_config_check(config, e) != 0 || gpt_setup_check(config, setup, e) != 0)
        return -1;
    if (setup->dtype != GPT_FP32)
        return error_set(e, "--dtype %s needs a GPU; the CPU computes in fp32", gpt_dtype_names[setup->dtype]);
    if (setup->recompute != GPT_RECOMPUTE_NOTHING)
        return error_set(e, "--recompute %s needs a GPU", gpt_recompute_names[setup->recompute]);
    Gpt *g = calloc(1, sizeof *g);
    if (g == NULL)
        return error_set(e, "out of memory");
    *g = (Gpt){.config = *config, .setup = *setup, .threads = threads_count()};
    matmul_init();
    int status = gpt_table_make(config, &g->table, e);
    Buffer list[BUFFERS_MOST];
    const size_t n = status == 0 ? list_buffers(g, list) : 0;
    for (size_t i = 0; i < n && status == 0; i++)
        status = memory_floats((size_t)list[i].floats, list[i].what, list[i].place, e);
    if (status == 0) {
        g->tokens = malloc(B * T * sizeof *g->tokens);
        g->losses = malloc(B * T * sizeof *g->losses);
        if (g->tokens == NULL || g->losses == NULL)
            status = error_set(e, "out of memory for %zu tokens", B * T);
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
    Buffer list[BUFFERS_MOST];
    const size_t n = list_buffers(g, list);
    for (size_t i = 0; i < n; i++)
        memory_free(*list[i].place);
    free(g->tokens);
    free(g->losses);
    gpt_table_free(&g->table);
    free(g);
}

/* --------------------------------------------------------------------------------------------------------------
 * Access
 */

const GptConfig *gpt_config(const Gpt *g) { return &g->config; }
const GptTable *gpt_table(const Gpt *g) { return &g->table; }
Arenas gpt_arenas(Gpt *g) { return (Arenas){.params = g->params, .grads = g->grads}; }

void gpt_read(const Gpt *g, GptArena arena, const Tensor *t, float *to)
{
    memcpy(to, (arena == GPT_PARAMS ? g->params : g->grads) + t->offset, tensor_size(t) * sizeof *to);
}

void gpt_write(Gpt *g, GptArena arena, const Tensor *t, const float *from)
{
    memcpy((arena == GPT_PARAMS ? g->params : g->grads) + t->offset, from, tensor_size(t) * sizeof *from);
}

void gpt_init(Gpt *g, uint64_t seed)
{
    for (size_t i = 0; i < g->table.count; i++)
        gpt_table_draw(&g->table, i, seed, g->params + g->table.tensors[i].offset);
}

const char *gpt_device_name(void) { return NULL; }

const char *gpt_device(void)
{
    static char text[224];
    const char *reason = threads_reason();
    snprintf(text, sizeof text, "CPU, %zu thread%s%s%s%s, %s", threads_count(), threads_count() == 1 ? "" : "s",
             *reason != '\0' ? " (" : "", reason, *reason != '\0' ? ")" : "", matmul_backend());
    return text;
}

GptKind gpt_kind(void) { return GPT_ON_CPU; }

GptDtype gpt_default_dtype(const GptConfig *config)
{
    (void)config;
    return GPT_FP32;
}

int gpt_probe(Error *e)
{
    (void)e;
    return 0;
}

size_t gpt_memory_present(void) { return memory_present(); }
