/*
 * GPT-2 on the CPU, and the architectures of gpt/gpt.h that came after it: forward and backward of every layer, in
 * fp32, with OpenMP and one matrix product (base/matmul.h).
 *
 * Sizes, throughout: B sequences of T tokens, R = B*T rows; L layers, NH heads of size HS = C/NH, KVH heads of keys and
 * values, width C, MLP width F, vocabulary V; S = C + 2 KVH HS channels of queries, keys and values (3C in GPT-2).
 * Matrices are row-major; a linear layer of OC outputs has weights (OC, C): out = inp weight^T + bias. The gradient of
 * x is called dx.
 *
 * Results do not depend on the number of threads: every loop below either writes each element in one iteration or
 * sums over PARTS fixed parts of the rows, which are added in order.
 */
#include "base/clock.h"
#include "base/matmul.h"
#include "base/memory.h"
#include "base/threads.h"
#include "gpt/dropout.h"
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
    DECODE_SHARED = 1 << 16,     /* channels of keys from which on threads share the heads of one query */
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
    GptConfig config; /* resolved */
    GptTable table;
    GptSetup setup; /* B and T: the maxima */
    size_t threads;
    size_t B, T;     /* of the last gpt_forward */
    int32_t *tokens; /* (R) of the last gpt_forward */
    double loss_sum; /* over the gpt_backward calls since `first` */
    GptTimes times;
    GptDropout dropout;
    GptReady *ready;
    void *ready_context;

    float *params, *grads;
    Activations acts;                                /* of layer 0; each buffer holds the layers in order */
    float *embedded, *embedded_mean, *embedded_rstd; /* (R,C) (R) (R) the input of the embedding's norm */
    float *residual_final, *lnf, *lnf_mean, *lnf_rstd;
    float *logits;            /* (classifier_rows, Vp) */
    double *losses;           /* (R) */
    float *attention_scratch; /* (threads, 2, QUERIES, T) */
    float *scores;            /* (L,NH) see gpt_scores */
    float *layer_scores;      /* (B,NH) the same of a layer in one gpt_forward */
    float *neutral;           /* (2,C) the gain and the bias of a norm that has none */
    float *rotary;            /* (T,HS/2,2) see gpt_rotary_fill */

    /* backward only */
    float *dresidual, *dnorm, *datt; /* (R,C) */
    float *dqkv, *dfc;               /* (R,S) (R,F) or (R,2F) */
    float *ddropped;                 /* (R,C) dresidual without what dropout has left out; with dropout only */
    float *partial_sums;             /* (PARTS, partial_width) */
    float *softcap_slopes;           /* (threads, Vp) */
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

/* dbias (n) += column sums of dout (rows,n) at stride ld: the backward pass of adding a bias, if there is one. */
static void bias_backward(float *dbias, const float *dout, size_t ld, size_t rows, size_t n, bool first, float *partial)
{
    if (dbias == NULL)
        return;
#pragma omp parallel for schedule(static)
    for (size_t part = 0; part < PARTS; part++) {
        float *sum = partial + part * n;
        memset(sum, 0, n * sizeof *sum);
        for (size_t r = part_begin(part, rows); r < part_begin(part + 1, rows); r++)
            for (size_t i = 0; i < n; i++)
                sum[i] += dout[r * ld + i];
    }
    add_parts(dbias, partial, n, first);
}

/* --------------------------------------------------------------------------------------------------------------
 * Dropout
 */

static Dropout dropout_of(const Gpt *g, size_t layer, int site)
{
    const double p = g->dropout.p;
    const size_t rows = site == DROPOUT_ATTENTION ? g->config.NH * g->T : g->T; /* of a sequence */
    return (Dropout){.key = dropout_site_key(g->dropout.key, layer, site),
                     .first_row = (size_t)g->dropout.first_sequence * rows,
                     .threshold = dropout_threshold(p),
                     .scale = dropout_scale(p)};
}

/* x (n) *= the factors of columns column .. of a row */
static void drop(const Dropout *d, size_t row, size_t column, float *x, size_t n)
{
    const uint64_t bits = dropout_row(d, row);
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        x[i] *= dropout_factor(d, bits, (uint32_t)(column + i));
}

/* to (R,C) = from, times the factors; they may be the same. */
static void drop_rows(const Gpt *g, float *to, const float *from, size_t layer, int site)
{
    const Dropout d = dropout_of(g, layer, site);
    const size_t C = g->config.C;
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < g->B * g->T; r++) {
        if (to != from)
            memcpy(to + r * C, from + r * C, C * sizeof *to);
        drop(&d, r, 0, to + r * C, C);
    }
}

/* The gradient of what a half of a layer adds to the residual stream. */
static const float *branch_gradient(const Gpt *g, size_t layer, int site)
{
    if (g->dropout.p == 0)
        return g->dresidual;
    drop_rows(g, g->ddropped, g->dresidual, layer, site);
    return g->ddropped;
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
 * Embeddings: out = wte[token] + wpe[position], if positions are learned
 */

static void embedding_forward(float *out, const int32_t *tokens, const Weights *w, size_t rows, size_t T,
                              size_t position, size_t C)
{
#pragma omp parallel for schedule(static) if (rows > 1)
    for (size_t r = 0; r < rows; r++) {
        memcpy(out + r * C, w->wte + (size_t)tokens[r] * C, C * sizeof *out);
        for (size_t i = 0; i < C && w->wpe != NULL; i++)
            out[r * C + i] += w->wpe[(position + r % T) * C + i];
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
    for (size_t t = 0; t < (dw->wpe != NULL ? c->T : 0); t++) {
        float *place = dw->wpe + t * C;
        if (first)
            memset(place, 0, C * sizeof *place);
        for (size_t b = 0; b < (t < T ? B : 0); b++)
            for (size_t i = 0; i < C; i++)
                place[i] += dout[(b * T + t) * C + i];
    }
}

/* to (n) += factor from (n) */
static void add(float *to, float factor, const float *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] += factor * from[i];
}

/* --------------------------------------------------------------------------------------------------------------
 * LayerNorm (Ba et al. 2016): out = (x - mean) rstd gain + bias, rstd = 1/sqrt(var + eps); RMSNorm (Zhang and Sennrich
 * 2019) is the same with 0 for the mean. Without a norm, out = x.
 */

typedef struct Norm {
    const float *gain, *bias; /* (C) */
    bool centred;             /* LayerNorm */
    bool none;
    float eps;
} Norm;

static Norm norm_of(const Gpt *g, const float *gain, const float *bias)
{
    const GptConfig *c = &g->config;
    return (Norm){.gain = gain != NULL ? gain : g->neutral,
                  .bias = bias != NULL ? bias : g->neutral + c->C,
                  .centred = gpt_is_centred(c),
                  .none = c->norm == GPT_NORM_NONE,
                  .eps = (float)c->norm_eps};
}

static void norm_forward(float *out, float *mean, float *rstd, const float *x, Norm norm, size_t rows, size_t C)
{
    const float inverse_C = 1.0f / (float)C, *gain = norm.gain, *bias = norm.bias;
#pragma omp parallel for schedule(static) if (rows > 1)
    for (size_t r = 0; r < rows; r++) {
        const float *xr = x + r * C;
        float *out_r = out + r * C;
        float sum = 0, squares = 0;
        if (norm.none) {
            memcpy(out_r, xr, C * sizeof *out_r);
            continue;
        }
#pragma omp simd reduction(+ : sum)
        for (size_t i = 0; i < (norm.centred ? C : 0); i++)
            sum += xr[i];
        const float m = sum * inverse_C;
#pragma omp simd reduction(+ : squares)
        for (size_t i = 0; i < C; i++)
            squares += (xr[i] - m) * (xr[i] - m);
        const float s = 1.0f / sqrtf(squares * inverse_C + norm.eps);
        for (size_t i = 0; i < C; i++)
            out_r[i] = (xr[i] - m) * s * gain[i] + bias[i];
        mean[r] = m;
        rstd[r] = s;
    }
}

/* With xhat = (x - mean) rstd and d = dout gain:  dx += rstd (d - mean(d) - xhat mean(d xhat)), where RMSNorm has no
 * mean(d); dgain += sum of dout xhat, dbias += sum of dout, unless NULL. */
static void norm_backward(float *dx, float *dgain, float *dbias, const float *dout, const float *x, const float *mean,
                          const float *rstd, Norm norm, size_t rows, size_t C, bool first, float *partial)
{
    float *gain_parts = partial, *bias_parts = partial + PARTS * C;
    const float inverse_C = 1.0f / (float)C, *gain = norm.gain;
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
            if (norm.none) {
                add(dxr, 1, dout_r, C);
                continue;
            }
#pragma omp simd reduction(+ : sum_d, sum_d_xhat)
            for (size_t i = 0; i < C; i++) {
                const float xhat = (xr[i] - m) * s, d = dout_r[i] * gain[i];
                sum_d += d;
                sum_d_xhat += d * xhat;
                gain_sum[i] += dout_r[i] * xhat;
                bias_sum[i] += dout_r[i];
            }
            const float mean_d = norm.centred ? sum_d * inverse_C : 0, mean_d_xhat = sum_d_xhat * inverse_C;
            for (size_t i = 0; i < C; i++) {
                const float xhat = (xr[i] - m) * s, d = dout_r[i] * gain[i];
                dxr[i] += s * (d - mean_d - xhat * mean_d_xhat);
            }
        }
    }
    if (dgain != NULL)
        add_parts(dgain, gain_parts, C, first);
    if (dbias != NULL)
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
#define FORWARD(constant, value, key, alias, function, gated)                        \
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
#define BACKWARD(constant, value, key, alias, function, gated)                              \
    case constant:                                                                          \
        _Pragma("omp simd") for (size_t i = 0; i < n; i++) d[i] *= function##_slope(fc[i]); \
        break;
        GPT_ACTIVATIONS(BACKWARD)
#undef BACKWARD
    case GPT_ACTIVATION_COUNT:
        break;
    }
}

/* act (n) = activation(fc (n)) up (n): of a gated MLP */
static void gate_forward(GptActivation activation, float *act, const float *fc, const float *up, size_t n)
{
    activation_forward(activation, act, fc, n);
    for (size_t i = 0; i < n; i++)
        act[i] *= up[i];
}

/* d (n), the gradient of act, becomes that of fc; dup (n) is that of up. */
static void gate_backward(GptActivation activation, float *d, float *dup, const float *fc, const float *up, size_t n)
{
    activation_forward(activation, dup, fc, n);
    for (size_t i = 0; i < n; i++) {
        dup[i] *= d[i];
        d[i] *= up[i];
    }
    activation_backward(activation, d, fc, n);
}

/* --------------------------------------------------------------------------------------------------------------
 * Linear layers. The elementwise epilogue of a product is applied tile by tile, while the tile is in cache.
 */

/* What happens to the product's rows, `ld` apart; steps whose array is NULL are skipped. Of a gated MLP the other half
 * of the channels is `half` further in each row. */
typedef struct Epilogue {
    float *out; /* (rows, ..) the product */
    size_t ld;
    const float *bias;      /* added */
    const Dropout *dropout; /* its factors multiply */
    const float *residual;  /* (rows, ..) added, times residual_scale */
    float residual_scale;
    GptActivation activation;
    float *act; /* (rows,F) activation(out) */
    size_t F;
    const float *fc; /* (rows, ..) input of the activation whose slope multiplies out */
    size_t half;     /* 0: not gated */
} Epilogue;

static void epilogue_forward(void *context, size_t batch, size_t r0, size_t o0, size_t rows, size_t cols)
{
    const Epilogue *ep = context;
    (void)batch;
    for (size_t r = r0; r < r0 + rows; r++) {
        float *out = ep->out + r * ep->ld + o0;
        if (ep->bias != NULL)
            add(out, 1, ep->bias + o0, cols);
        if (ep->dropout != NULL)
            drop(ep->dropout, r, o0, out, cols);
        if (ep->residual != NULL)
            add(out, ep->residual_scale, ep->residual + r * ep->ld + o0, cols);
        if (ep->act != NULL && ep->half == 0)
            activation_forward(ep->activation, ep->act + r * ep->F + o0, out, cols);
        else if (ep->act != NULL)
            gate_forward(ep->activation, ep->act + r * ep->F + o0, out, out + ep->half, cols);
    }
}

static void epilogue_activation_backward(void *context, size_t batch, size_t r0, size_t o0, size_t rows, size_t cols)
{
    const Epilogue *ep = context;
    (void)batch;
    for (size_t r = r0; r < r0 + rows; r++) {
        float *d = ep->out + r * ep->ld + o0;
        const float *fc = ep->fc + r * ep->ld + o0;
        if (ep->half == 0)
            activation_backward(ep->activation, d, fc, cols);
        else
            gate_backward(ep->activation, d, d + ep->half, fc, fc + ep->half, cols);
    }
}

/* out (rows,OC) at the epilogue's stride = inp (rows,C) weight (OC,C)^T, then the epilogue. */
static void linear_forward(const float *inp, const float *weight, size_t rows, size_t C, size_t OC,
                           const Epilogue *epilogue)
{
    Epilogue copy = *epilogue;
    Matmul p = product(rows, OC, C, 1, stored(inp, C), transposed(weight, C), 0, copy.out, copy.ld);
    p.epilogue = epilogue_forward;
    p.epilogue_context = &copy;
    matmul(&p);
}

/* dinp (rows,C) += dout (rows,OC) at stride lddout times weight (OC,C). */
static void linear_backward_input(float *dinp, const float *dout, size_t lddout, const float *weight, size_t rows,
                                  size_t C, size_t OC, bool first)
{
    multiply(product(rows, C, OC, 1, stored(dout, lddout), stored(weight, C), first ? 0.0f : 1.0f, dinp, C));
}

/* dweight (OC,C) += dout (rows,OC)^T inp (rows,C). lddout: the row stride of dout, in floats. */
static void linear_backward_weight(float *dweight, const float *dout, size_t lddout, const float *inp, size_t rows,
                                   size_t C, size_t OC, bool first)
{
    multiply(product(OC, C, rows, 1, transposed(dout, lddout), stored(inp, C), first ? 0.0f : 1.0f, dweight, C));
}

/* --------------------------------------------------------------------------------------------------------------
 * Queries and keys: RMSNorm of each head (Dehghani et al. 2023), then rotary positions (Su et al. 2021). A row of qkv
 * has NH heads of queries, then KVH of keys; then the values, which may have a factor. */

/* Turns the pairs (i, i + pairs) of a head by the angles of a position, or back. */
static void rotate(float *x, const float *rotary, size_t pairs, bool back)
{
    for (size_t i = 0; i < pairs; i++) {
        const float cosine = rotary[2 * i], sine = back ? -rotary[2 * i + 1] : rotary[2 * i + 1];
        const float x1 = x[i], x2 = x[i + pairs];
        x[i] = x1 * cosine - x2 * sine;
        x[i + pairs] = x2 * cosine + x1 * sine;
    }
}

/* The gain of head h of a row's queries and keys. */
static const float *head_gain(const Gpt *g, const Weights *w, size_t h)
{
    return w->qgain == NULL ? g->neutral : h < g->config.NH ? w->qgain : w->kgain;
}

/* x (HS) = x rstd gain; hat, unless NULL, is x before the gain. Returns rstd. */
static float head_norm(float *x, float *hat, const float *gain, size_t HS, float eps)
{
    float squares = 0;
#pragma omp simd reduction(+ : squares)
    for (size_t i = 0; i < HS; i++)
        squares += x[i] * x[i];
    const float s = 1.0f / sqrtf(squares / (float)HS + eps);
    for (size_t i = 0; i < HS; i++)
        x[i] *= s;
    if (hat != NULL)
        memcpy(hat, x, HS * sizeof *x);
    for (size_t i = 0; i < HS; i++)
        x[i] *= gain[i];
    return s;
}

/* row (S): of qkv or of dqkv */
static void scale_values(const GptConfig *c, float *row)
{
    const float factor = (float)c->value_scale;
    for (size_t i = c->C + gpt_key_width(c); i < gpt_qkv_width(c) && factor != 1; i++)
        row[i] *= factor;
}

/* The angles of a position; NULL: nothing is turned. */
static const float *rotary_at(const Gpt *g, size_t position)
{
    return gpt_is_rotary(&g->config) ? g->rotary + position * gpt_head_size(&g->config) : NULL;
}

/* On `rows` rows, of which the first is at `position` of its sequence. */
static void heads_forward(const Gpt *g, const Activations *a, const Weights *w, size_t rows, size_t T, size_t position)
{
    const GptConfig *c = &g->config;
    const size_t heads = c->NH + c->KVH, HS = gpt_head_size(c), S = gpt_qkv_width(c);
    if (!gpt_changes_qkv(c))
        return;
#pragma omp parallel for schedule(static) if (rows > 1)
    for (size_t r = 0; r < rows; r++) {
        const float *rotary = rotary_at(g, position + r % T);
        for (size_t h = 0; h < heads; h++) {
            float *x = a->qkv + r * S + h * HS, *hat = w->qgain != NULL ? a->qk_hat + (r * heads + h) * HS : NULL;
            if (c->qk_norm != GPT_QK_NORM_OFF)
                a->qk_rstd[r * heads + h] = head_norm(x, hat, head_gain(g, w, h), HS, (float)c->norm_eps);
            if (rotary != NULL)
                rotate(x, rotary, HS / 2, false);
        }
        scale_values(c, a->qkv + r * S);
    }
}

/* dx (HS), the gradient of a head, becomes that of its input: with d = dx gain, rstd (d - hat mean(d hat)).
 * gain_sum (HS) += dx hat. */
static void head_norm_backward(float *dx, float *gain_sum, const float *hat, const float *gain, float rstd, size_t HS)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < HS; i++) {
        sum += dx[i] * gain[i] * hat[i];
        gain_sum[i] += dx[i] * hat[i];
    }
    for (size_t i = 0; i < HS; i++)
        dx[i] = rstd * (dx[i] * gain[i] - hat[i] * (sum / (float)HS));
}

/* dqkv (R,S) in place, from the gradients of what attention read to those of the products. A normalised head without
 * gain is found by turning what attention read back. */
static void heads_backward(const Gpt *g, float *dqkv, const Activations *a, const Weights *w, const Weights *dw,
                           bool first)
{
    const GptConfig *c = &g->config;
    const size_t R = g->B * g->T, heads = c->NH + c->KVH, HS = gpt_head_size(c), S = gpt_qkv_width(c);
    float *gain_parts = g->partial_sums, *turned = g->partial_sums + 2 * PARTS * HS;
    if (!gpt_changes_qkv(c))
        return;
    memset(gain_parts, 0, 2 * PARTS * HS * sizeof *gain_parts);
#pragma omp parallel for schedule(static)
    for (size_t part = 0; part < PARTS; part++) {
        for (size_t i = part_begin(part, R) * heads; i < part_begin(part + 1, R) * heads; i++) {
            const size_t r = i / heads, h = i % heads;
            if (h == 0)
                scale_values(c, dqkv + r * S);
            const float *rotary = rotary_at(g, r % g->T);
            float *dx = dqkv + r * S + h * HS, *hat = turned + part * HS;
            if (rotary != NULL)
                rotate(dx, rotary, HS / 2, true);
            if (c->qk_norm == GPT_QK_NORM_OFF)
                continue;
            memcpy(hat, w->qgain != NULL ? a->qk_hat + i * HS : a->qkv + r * S + h * HS, HS * sizeof *hat);
            if (w->qgain == NULL && rotary != NULL)
                rotate(hat, rotary, HS / 2, true);
            head_norm_backward(dx, gain_parts + ((h < c->NH ? 0 : PARTS) + part) * HS, hat, head_gain(g, w, h),
                               a->qk_rstd[i], HS);
        }
    }
    if (w->qgain != NULL) {
        add_parts(dw->qgain, gain_parts, HS, first);
        add_parts(dw->kgain, gain_parts + PARTS * HS, HS, first);
    }
}

/* --------------------------------------------------------------------------------------------------------------
 * Causal attention (Vaswani et al. 2017). A head's queries are processed QUERIES at a time against all keys up to
 * them, so that no (T,T) array exists; the backward pass recomputes the probabilities from att_lse, as in
 * FlashAttention (Dao et al. 2022).
 */

/* One head of queries in one sequence, with the head of keys and values that serves it and its neighbours (Ainslie et
 * al. 2023). */
typedef struct Head {
    const float *q, *k, *v; /* (T,HS) at stride S */
    size_t T, HS, C, S;
    float scale;
    Dropout dropout;    /* of its probabilities */
    size_t dropout_row; /* of the first query */
} Head;

static Head head_of(const Gpt *g, size_t layer, const float *qkv, size_t T, size_t b, size_t h)
{
    const GptConfig *c = &g->config;
    const size_t HS = gpt_head_size(c), S = gpt_qkv_width(c);
    const float *row = qkv + b * T * S, *k = row + c->C + h / (c->NH / c->KVH) * HS;
    return (Head){.q = row + h * HS,
                  .k = k,
                  .v = k + gpt_key_width(c),
                  .T = T,
                  .HS = HS,
                  .C = c->C,
                  .S = S,
                  .scale = (float)c->attention_scale,
                  .dropout = dropout_of(g, layer, DROPOUT_ATTENTION),
                  .dropout_row = (b * c->NH + h) * T};
}

/* scores (n,keys) = scale q (n,HS) k (keys,HS)^T */
static void head_scores(const Head *head, float *scores, size_t query, size_t n, size_t keys)
{
    multiply_here(product(n, keys, head->HS, head->scale, stored(head->q + query * head->S, head->S),
                          transposed(head->k, head->S), 0, scores, keys));
}

/* The largest of n values; a NaN is none. */
static float largest(const float *x, size_t n)
{
    float max = -INFINITY;
#pragma omp simd reduction(max : max)
    for (size_t i = 0; i < n; i++)
        max = x[i] > max ? x[i] : max;
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

/* The larger of two numbers; NaN if one is. */
static float larger(float a, float b) { return b > a || isnan(b) ? b : a; }

/* att (T,HS) at stride C, lse (T) of one head; scratch (QUERIES,T). Returns its largest score, as in gpt_scores. */
static float head_forward(const Head *head, float *att, float *lse, float *scratch)
{
    const size_t T = head->T, HS = head->HS, C = head->C;
    float most = -INFINITY;
    for (size_t query = 0; query < T; query += QUERIES) {
        const size_t n = T - query < QUERIES ? T - query : QUERIES, keys = query + n;
        float inverse_sum[QUERIES];
        head_scores(head, scratch, query, n, keys);
        for (size_t i = 0; i < n; i++) {
            float *row = scratch + i * keys, maximum;
            const size_t visible = query + i + 1;
            const float sum = exp_scores(row, visible, &maximum);
            memset(row + visible, 0, (keys - visible) * sizeof *row);
            if (head->dropout.threshold > 0)
                drop(&head->dropout, head->dropout_row + query + i, 0, row, visible);
            lse[query + i] = maximum + logf(sum);
            most = larger(most, isnan(sum) ? sum : maximum);
            inverse_sum[i] = 1.0f / sum;
        }
        multiply_here(product(n, HS, keys, 1, stored(scratch, keys), stored(head->v, head->S), 0, att + query * C, C));
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < HS; j++)
                att[(query + i) * C + j] *= inverse_sum[i];
    }
    return most;
}

static void attention_forward(const Gpt *g, size_t layer, float *att, float *lse, const float *qkv, size_t B, size_t T)
{
    const size_t C = g->config.C, NH = g->config.NH, HS = C / NH;
#pragma omp parallel for schedule(dynamic, 1) num_threads((int)g->threads)
    for (size_t bh = 0; bh < B * NH; bh++) {
        const size_t b = bh / NH, h = bh % NH;
        const Head head = head_of(g, layer, qkv, T, b, h);
        const float most = head_forward(&head, att + b * T * C + h * HS, lse + bh * T,
                                        g->attention_scratch + threads_index() * 2 * QUERIES * g->setup.T);
        if (g->setup.scores)
            g->layer_scores[bh] = most;
    }
    for (size_t bh = 0; bh < B * NH && g->setup.scores; bh++) {
        float *score = g->scores + layer * NH + bh % NH;
        *score = larger(*score, g->layer_scores[bh]);
    }
}

/* With P the probabilities, Z the scaled scores and M dropout's factors:  dV = (M P)^T datt,  dP = M (datt V^T),
 * dZ = P (dP - rowsum(datt att)),
 * dQ = scale dZ K,  dK = scale dZ^T Q.  Blocks of queries run from the last, which sees all keys and so overwrites
 * dK and dV (of the first head that they serve), to the first; the others accumulate. scratch (2,QUERIES,T). */
static void head_backward(const Head *head, float *dq, float *dk, float *dv, bool first_head, const float *datt,
                          const float *att, const float *lse, float *scratch)
{
    const size_t T = head->T, HS = head->HS, C = head->C, S = head->S;
    float *p = scratch, *ds = scratch + QUERIES * T;
    for (size_t block = (T + QUERIES - 1) / QUERIES; block-- > 0;) {
        const size_t query = block * QUERIES, n = T - query < QUERIES ? T - query : QUERIES, keys = query + n;
        const float add = keys == T && first_head ? 0.0f : 1.0f;
        const float *datt_block = datt + query * C;
        head_scores(head, p, query, n, keys);
        multiply_here(product(n, keys, HS, 1, stored(datt_block, C), transposed(head->v, S), 0, ds, keys));
        for (size_t i = 0; i < n; i++) {
            const float *datt_i = datt_block + i * C, *att_i = att + (query + i) * C;
            float *p_i = p + i * keys, *ds_i = ds + i * keys, dot = 0;
            const size_t visible = query + i + 1;
            const float lse_i = lse[query + i];
#pragma omp simd reduction(+ : dot)
            for (size_t j = 0; j < HS; j++)
                dot += datt_i[j] * att_i[j];
            if (head->dropout.threshold > 0)
                drop(&head->dropout, head->dropout_row + query + i, 0, ds_i, visible);
#pragma omp simd
            for (size_t j = 0; j < visible; j++) {
                p_i[j] = vexpf(p_i[j] - lse_i);
                ds_i[j] = p_i[j] * (ds_i[j] - dot);
            }
            if (head->dropout.threshold > 0)
                drop(&head->dropout, head->dropout_row + query + i, 0, p_i, visible);
            memset(p_i + visible, 0, (keys - visible) * sizeof *p_i);
            memset(ds_i + visible, 0, (keys - visible) * sizeof *ds_i);
        }
        multiply_here(product(keys, HS, n, 1, transposed(p, keys), stored(datt_block, C), add, dv, S));
        multiply_here(product(n, HS, keys, head->scale, stored(ds, keys), stored(head->k, S), 0, dq + query * S, S));
        multiply_here(
            product(keys, HS, n, head->scale, transposed(ds, keys), stored(head->q + query * S, S), add, dk, S));
    }
}

static void attention_backward(const Gpt *g, size_t layer, float *dqkv, const float *datt, const Activations *a)
{
    const size_t B = g->B, T = g->T, C = g->config.C, NH = g->config.NH, KVH = g->config.KVH, group = NH / KVH;
#pragma omp parallel for schedule(dynamic, 1) num_threads((int)g->threads)
    for (size_t i = 0; i < B * KVH; i++) {
        for (size_t j = 0; j < group; j++) {
            const size_t b = i / KVH, h = i % KVH * group + j;
            const Head head = head_of(g, layer, a->qkv, T, b, h);
            const size_t at = b * T * C + h * head.HS;
            head_backward(&head, dqkv + (head.q - a->qkv), dqkv + (head.k - a->qkv), dqkv + (head.v - a->qkv), j == 0,
                          datt + at, a->att + at, a->att_lse + (b * NH + h) * T,
                          g->attention_scratch + threads_index() * 2 * QUERIES * g->setup.T);
        }
    }
}

/* One new query at `position` of a single sequence; qkv (position+1, S) holds the keys and values so far. */
static void attention_decode(const Gpt *g, float *att, const float *qkv, size_t position)
{
    const size_t C = g->config.C, NH = g->config.NH, HS = C / NH, keys = position + 1;
#pragma omp parallel for schedule(static) num_threads((int)g->threads) if (keys * C >= DECODE_SHARED)
    for (size_t h = 0; h < NH; h++) {
        const Head head = head_of(g, 0, qkv, keys, 0, h);
        float *scores = g->attention_scratch + threads_index() * 2 * QUERIES * g->setup.T, maximum;
        head_scores(&head, scores, position, 1, keys);
        const float inverse_sum = 1.0f / exp_scores(scores, keys, &maximum);
        multiply_here(
            product(1, HS, keys, inverse_sum, stored(scores, keys), stored(head.v, head.S), 0, att + h * HS, C));
    }
}

/* --------------------------------------------------------------------------------------------------------------
 * Classifier: logits = softcap(lnf W^T + bias), W the head's own matrix or wte, and cross-entropy, a block of rows at a
 * time
 */

/* Bounds logits z (n), in place; slopes (n), unless NULL, become the derivatives. */
static void softcap_forward(const GptConfig *c, float *z, float *slopes, size_t n)
{
    const float limit = (float)c->softcap_limit, inverse = 1.0f / limit;
    if (c->softcap == GPT_SOFTCAP_TANH) {
#pragma omp simd
        for (size_t i = 0; i < n; i++) {
            const float t = vtanhf(z[i] * inverse);
            z[i] = limit * t;
            if (slopes != NULL)
                slopes[i] = 1.0f - t * t;
        }
    } else if (c->softcap == GPT_SOFTCAP_SQRT) {
#pragma omp simd
        for (size_t i = 0; i < n; i++) {
            const float u = z[i] * inverse, share = 1.0f / (1.0f + u * u), root = sqrtf(share);
            z[i] *= root;
            if (slopes != NULL)
                slopes[i] = share * root;
        }
    }
}

/* Rows of logits (rows, Vp), before their cap -> losses (rows); with `backward` the logits become their gradients,
 * scale (softmax - onehot(target)) times the cap's slope. A negative target has loss 0 and gradient 0. */
static void cross_entropy(const Gpt *g, float *logits, double *losses, const int32_t *targets, size_t rows, float scale,
                          bool backward)
{
    const GptConfig *c = &g->config;
    const size_t V = c->V, Vp = gpt_padded_vocab(c);
    const bool slopes_wanted = backward && c->softcap != GPT_SOFTCAP_NONE;
#pragma omp parallel for schedule(static) num_threads((int)g->threads)
    for (size_t r = 0; r < rows; r++) {
        float *row = logits + r * Vp, *slopes = slopes_wanted ? g->softcap_slopes + threads_index() * Vp : NULL;
        float maximum;
        losses[r] = 0;
        if (targets[r] < 0) {
            memset(row, 0, Vp * sizeof *row);
            continue;
        }
        softcap_forward(c, row, slopes, V);
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
        for (size_t i = 0; i < V && slopes != NULL; i++)
            row[i] *= slopes[i];
    }
}

/* The classifier's matrix (V,C), in either arena. */
static float *head_weight(const Weights *w) { return w->headw != NULL ? w->headw : w->wte; }

/* Logits (rows, Vp) before their cap, of rows of lnf. */
static void head_forward_rows(const Gpt *g, float *logits, size_t ld, const float *lnf, size_t rows)
{
    const Weights w = weights_of(g, g->params, 0);
    linear_forward(lnf, head_weight(&w), rows, g->config.C, g->config.V,
                   &(Epilogue){.out = logits, .ld = ld, .bias = w.headb});
}

/* Sum of the losses; with `backward` also dnorm (R,C), the gradient of lnf, and those of the head, overwritten when
 * `first`. */
static double classifier(Gpt *g, const int32_t *targets, float scale, bool backward, bool first)
{
    const GptConfig *c = &g->config;
    const size_t C = c->C, V = c->V, Vp = gpt_padded_vocab(c), R = g->B * g->T, most = classifier_rows(c);
    const Weights w = weights_of(g, g->params, 0), dw = backward ? weights_of(g, g->grads, 0) : (Weights){0};
    for (size_t r0 = 0; r0 < R; r0 += most) {
        const size_t rows = R - r0 < most ? R - r0 : most;
        const float *lnf = g->lnf + r0 * C;
        const bool overwrite = first && r0 == 0;
        head_forward_rows(g, g->logits, Vp, lnf, rows);
        cross_entropy(g, g->logits, g->losses + r0, targets + r0, rows, scale, backward);
        if (!backward)
            continue;
        linear_backward_input(g->dnorm + r0 * C, g->logits, Vp, head_weight(&w), rows, C, V, true);
        linear_backward_weight(head_weight(&dw), g->logits, Vp, lnf, rows, C, V, overwrite);
        bias_backward(dw.headb, g->logits, Vp, rows, V, overwrite, g->partial_sums);
    }
    double sum = 0;
    for (size_t r = 0; r < R; r++)
        sum += g->losses[r];
    return sum;
}

/* The first label up to which the weights (n) add up to more than `share` of their sum; of those with a weight. */
static int32_t label_at(const float *weights, size_t n, double share)
{
    double sum = 0;
    size_t label = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)weights[i];
    double left = share * sum;
    for (size_t i = 0; i < n && left >= 0; i++) {
        label = weights[i] > 0 ? i : label;
        left -= (double)weights[i];
    }
    return (int32_t)label;
}

void gpt_draw(Gpt *g, uint64_t key, uint64_t first, int32_t *targets)
{
    const size_t C = g->config.C, V = g->config.V, Vp = gpt_padded_vocab(&g->config), R = g->B * g->T;
    const size_t most = classifier_rows(&g->config);
    g->times = (GptTimes){0};
    for (size_t r0 = 0; r0 < R; r0 += most) {
        const size_t rows = R - r0 < most ? R - r0 : most;
        head_forward_rows(g, g->logits, Vp, g->lnf + r0 * C, rows);
#pragma omp parallel for schedule(static) num_threads((int)g->threads)
        for (size_t r = 0; r < rows; r++) {
            float *row = g->logits + r * Vp, maximum;
            softcap_forward(&g->config, row, NULL, V);
            exp_scores(row, V, &maximum);
            targets[r0 + r] = label_at(row, V, gpt_draw_share(key, first + r0 + r));
        }
    }
}

static void logits_of_row(const Gpt *g, size_t row, float *logits)
{
    head_forward_rows(g, logits, g->config.V, g->lnf + row * g->config.C, 1);
    softcap_forward(&g->config, logits, NULL, g->config.V);
}

/* --------------------------------------------------------------------------------------------------------------
 * The whole model
 */

/* Tokens -> the residual stream at `rows` rows from `row` on. */
static void stem_forward(Gpt *g, const int32_t *tokens, size_t row, size_t rows, size_t T)
{
    const size_t C = g->config.C;
    const Weights w = weights_of(g, g->params, 0);
    float *residual = activations_of(g, 0, row).residual;
    if (g->config.embed_norm == GPT_EMBED_NORM_OFF) {
        embedding_forward(residual, tokens, &w, rows, T, row, C);
        return;
    }
    float *embedded = g->embedded + row * C;
    embedding_forward(embedded, tokens, &w, rows, T, row, C);
    norm_forward(residual, g->embedded_mean + row, g->embedded_rstd + row, embedded, norm_of(g, w.embedw, w.embedb),
                 rows, C);
}

/* qkv (rows,S) = ln1 (rows,C) times the one matrix or the two that give queries, keys and values, + bias */
static void qkv_forward(const Gpt *g, float *qkv, const float *ln1, const Weights *w, size_t rows)
{
    const size_t C = g->config.C, S = gpt_qkv_width(&g->config);
    const float *kv_bias = w->qkvb != NULL ? w->qkvb + C : NULL;
    if (w->qkvw != NULL) {
        linear_forward(ln1, w->qkvw, rows, C, S, &(Epilogue){.out = qkv, .ld = S, .bias = w->qkvb});
        return;
    }
    linear_forward(ln1, w->qw, rows, C, C, &(Epilogue){.out = qkv, .ld = S, .bias = w->qkvb});
    linear_forward(ln1, w->kvw, rows, C, S - C, &(Epilogue){.out = qkv + C, .ld = S, .bias = kv_bias});
}

static void qkv_backward(const Gpt *g, float *dln1, const float *dqkv, const float *ln1, const Weights *w,
                         const Weights *dw, size_t rows, bool first)
{
    const size_t C = g->config.C, S = gpt_qkv_width(&g->config);
    if (w->qkvw != NULL) {
        linear_backward_input(dln1, dqkv, S, w->qkvw, rows, C, S, true);
        linear_backward_weight(dw->qkvw, dqkv, S, ln1, rows, C, S, first);
    } else {
        linear_backward_input(dln1, dqkv, S, w->qw, rows, C, C, true);
        linear_backward_input(dln1, dqkv + C, S, w->kvw, rows, C, S - C, false);
        linear_backward_weight(dw->qw, dqkv, S, ln1, rows, C, C, first);
        linear_backward_weight(dw->kvw, dqkv + C, S, ln1, rows, C, S - C, first);
    }
    bias_backward(dw->qkvb, dqkv, S, rows, S, first, g->partial_sums);
}

/* fc (rows, F or 2F) and act (rows,F) from ln2 (rows,C). A gated MLP's second half comes first: the first half's
 * epilogue reads it. */
static void fc_forward(const Gpt *g, const Activations *a, const Weights *w, size_t rows)
{
    const size_t C = g->config.C, F = g->config.F, ld = gpt_fc_width(&g->config), half = ld - F;
    if (half > 0)
        linear_forward(a->ln2, w->fcw + F * C, rows, C, half,
                       &(Epilogue){.out = a->fc + F, .ld = ld, .bias = w->fcb != NULL ? w->fcb + F : NULL});
    linear_forward(a->ln2, w->fcw, rows, C, F,
                   &(Epilogue){.out = a->fc,
                               .ld = ld,
                               .bias = w->fcb,
                               .activation = g->config.activation,
                               .act = a->act,
                               .F = F,
                               .half = half});
}

/* dfc (rows, F or 2F), the gradient of fc, from dout (rows,C), that of the MLP's output. */
static void fc_backward(const Gpt *g, float *dfc, const float *dout, const Activations *a, const Weights *w,
                        size_t rows)
{
    const size_t C = g->config.C, F = g->config.F, ld = gpt_fc_width(&g->config);
    Epilogue epilogue = {.out = dfc, .ld = ld, .activation = g->config.activation, .fc = a->fc, .half = ld - F};
    Matmul p = product(rows, F, C, 1, stored(dout, C), stored(w->fcprojw, F), 0, dfc, ld);
    p.epilogue = epilogue_activation_backward;
    p.epilogue_context = &epilogue;
    matmul(&p);
}

/* Layer `layer` on `rows` rows from `row` on: the whole batch or, when decoding, one row, its position. */
static void block_forward(Gpt *g, size_t layer, size_t row, size_t rows, bool decode)
{
    const size_t C = g->config.C;
    const Weights w = weights_of(g, g->params, layer);
    const Activations a = activations_of(g, layer, row);
    const Dropout attproj = dropout_of(g, layer, DROPOUT_ATTPROJ), mlp = dropout_of(g, layer, DROPOUT_MLP);
    const bool drops = g->dropout.p > 0 && !decode;
    const float residual_scale = (float)g->config.residual_scale;
    float *out = residual_after(g, layer, row);
    norm_forward(a.ln1, a.ln1_mean, a.ln1_rstd, a.residual, norm_of(g, w.ln1w, w.ln1b), rows, C);
    qkv_forward(g, a.qkv, a.ln1, &w, rows);
    heads_forward(g, &a, &w, rows, decode ? 1 : g->T, row);
    if (decode)
        attention_decode(g, a.att, activations_of(g, layer, 0).qkv, row);
    else
        attention_forward(g, layer, a.att, a.att_lse, a.qkv, g->B, g->T);
    linear_forward(a.att, w.attprojw, rows, C, C,
                   &(Epilogue){.out = a.residual_mid,
                               .ld = C,
                               .bias = w.attprojb,
                               .dropout = drops ? &attproj : NULL,
                               .residual = a.residual,
                               .residual_scale = residual_scale});
    norm_forward(a.ln2, a.ln2_mean, a.ln2_rstd, a.residual_mid, norm_of(g, w.ln2w, w.ln2b), rows, C);
    fc_forward(g, &a, &w, rows);
    linear_forward(a.act, w.fcprojw, rows, g->config.F, C,
                   &(Epilogue){.out = out,
                               .ld = C,
                               .bias = w.fcprojb,
                               .dropout = drops ? &mlp : NULL,
                               .residual = a.residual_mid,
                               .residual_scale = residual_scale});
}

/* dresidual, the gradient of what half a layer leaves, becomes the part of it that goes past the half. */
static void scale_dresidual(Gpt *g)
{
    const float factor = (float)g->config.residual_scale;
    const size_t n = factor != 1 ? g->B * g->T * g->config.C : 0;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++)
        g->dresidual[i] *= factor;
}

/* dresidual, the gradient of the layer's output, becomes that of its input. */
static void block_backward(Gpt *g, size_t layer, bool first)
{
    const size_t C = g->config.C, F = g->config.F, fc_width = gpt_fc_width(&g->config), R = g->B * g->T;
    const Weights w = weights_of(g, g->params, layer), dw = weights_of(g, g->grads, layer);
    const Activations a = activations_of(g, layer, 0);
    float *dres = g->dresidual, *dnorm = g->dnorm, *parts = g->partial_sums;

    const float *dmlp = branch_gradient(g, layer, DROPOUT_MLP);
    fc_backward(g, g->dfc, dmlp, &a, &w, R);
    linear_backward_weight(dw.fcprojw, dmlp, C, a.act, R, F, C, first);
    bias_backward(dw.fcprojb, dmlp, C, R, C, first, parts);

    linear_backward_input(dnorm, g->dfc, fc_width, w.fcw, R, C, fc_width, true);
    linear_backward_weight(dw.fcw, g->dfc, fc_width, a.ln2, R, C, fc_width, first);
    bias_backward(dw.fcb, g->dfc, fc_width, R, fc_width, first, parts);
    scale_dresidual(g);
    norm_backward(dres, dw.ln2w, dw.ln2b, dnorm, a.residual_mid, a.ln2_mean, a.ln2_rstd, norm_of(g, w.ln2w, w.ln2b), R,
                  C, first, parts);

    const float *dattproj = branch_gradient(g, layer, DROPOUT_ATTPROJ);
    linear_backward_input(g->datt, dattproj, C, w.attprojw, R, C, C, true);
    linear_backward_weight(dw.attprojw, dattproj, C, a.att, R, C, C, first);
    bias_backward(dw.attprojb, dattproj, C, R, C, first, parts);

    attention_backward(g, layer, g->dqkv, g->datt, &a);
    heads_backward(g, g->dqkv, &a, &w, &dw, first);

    qkv_backward(g, dnorm, g->dqkv, a.ln1, &w, &dw, R, first);
    scale_dresidual(g);
    norm_backward(dres, dw.ln1w, dw.ln1b, dnorm, a.residual, a.ln1_mean, a.ln1_rstd, norm_of(g, w.ln1w, w.ln1b), R, C,
                  first, parts);
}

/* From dresidual, the gradient of the stem's output. */
static void stem_backward(Gpt *g, bool first)
{
    const GptConfig *c = &g->config;
    const size_t R = g->B * g->T, C = c->C;
    const Weights w = weights_of(g, g->params, 0), dw = weights_of(g, g->grads, 0);
    const float *dembedded = g->dresidual;
    if (g->dropout.p > 0)
        drop_rows(g, g->dresidual, g->dresidual, 0, DROPOUT_EMBEDDING);
    if (c->embed_norm == GPT_EMBED_NORM_ON) {
        memset(g->dnorm, 0, R * C * sizeof *g->dnorm);
        norm_backward(g->dnorm, dw.embedw, dw.embedb, g->dresidual, g->embedded, g->embedded_mean, g->embedded_rstd,
                      norm_of(g, w.embedw, w.embedb), R, C, first, g->partial_sums);
        dembedded = g->dnorm;
    }
    if (first && c->head != GPT_TIED)
        memset(dw.wte, 0, c->V * C * sizeof *dw.wte);
    embedding_backward(&dw, dembedded, g->tokens, c, g->B, g->T, first);
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
    stem_forward(g, tokens, 0, R, T);
    if (g->dropout.p > 0)
        drop_rows(g, g->acts.residual, g->acts.residual, 0, DROPOUT_EMBEDDING);
    for (size_t layer = 0; layer < g->config.L; layer++)
        block_forward(g, layer, 0, R, false);
    norm_forward(g->lnf, g->lnf_mean, g->lnf_rstd, g->residual_final, norm_of(g, w.lnfw, w.lnfb), R, C);
    g->times.forward += clock_seconds() - begin;
}

void gpt_dropout(Gpt *g, GptDropout dropout)
{
    assert(dropout.p == 0 || (g->setup.dropout && dropout.p > 0 && dropout.p < 1));
    g->dropout = dropout;
}

void gpt_on_layer(Gpt *g, GptReady *ready, void *context)
{
    g->ready = ready;
    g->ready_context = context;
}

void gpt_scores_begin(Gpt *g)
{
    assert(g->setup.scores);
    for (size_t i = 0; i < g->config.L * g->config.NH; i++)
        g->scores[i] = -INFINITY;
}

void gpt_scores(const Gpt *g, float *to)
{
    assert(g->setup.scores);
    memcpy(to, g->scores, g->config.L * g->config.NH * sizeof *to);
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
    norm_backward(g->dresidual, dw.lnfw, dw.lnfb, g->dnorm, g->residual_final, g->lnf_mean, g->lnf_rstd,
                  norm_of(g, w.lnfw, w.lnfb), R, C, first, g->partial_sums);
    for (size_t layer = g->config.L; layer-- > 0;) {
        block_backward(g, layer, first);
        if (g->ready != NULL)
            g->ready(g->ready_context, layer);
    }
    stem_backward(g, first);
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
    stem_forward(g, &token, position, 1, 1);
    for (size_t layer = 0; layer < g->config.L; layer++)
        block_forward(g, layer, position, 1, true);
    norm_forward(g->lnf + position * C, g->lnf_mean + position, g->lnf_rstd + position,
                 g->residual_final + position * C, norm_of(g, w.lnfw, w.lnfb), 1, C);
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

enum { BUFFERS_MOST = 42 };

/* Columns of partial_sums: of the widest bias, or of a norm's gain and bias. */
static size_t partial_width(const GptConfig *c)
{
    const size_t widths[] = {2 * c->C, gpt_qkv_width(c), gpt_fc_width(c), c->head == GPT_UNTIED_BIAS ? c->V : 0};
    size_t most = 0;
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        most = widths[i] > most ? widths[i] : most;
    return most;
}

/* Every float array of a Gpt whose config, table, setup and threads are set; some have none. Returns how many. */
static size_t list_buffers(Gpt *g, Buffer list[BUFFERS_MOST])
{
    const GptConfig *c = &g->config;
    const double C = (double)c->C, T = (double)g->setup.T, R = (double)g->setup.B * T, LR = (double)c->L * R;
    const double most_rows = (double)classifier_rows(c), arena = (double)g->table.arena_size;
    const double embedded = c->embed_norm == GPT_EMBED_NORM_ON ? R : 0;
    const double heads = g->setup.scores ? (double)c->NH : 0;
    const double capped = c->softcap != GPT_SOFTCAP_NONE ? (double)g->threads : 0;
    Activations *a = &g->acts;
    const Buffer both[] = {
        {&g->params, arena, "the parameters"},
#define BUFFER(member, type, elements, recomputed) {&a->member, LR * (double)(elements), "activations"},
        GPT_ACTIVATION_BUFFERS(BUFFER)
#undef BUFFER
            {&g->embedded, embedded * C, "activations"},
        {&g->embedded_mean, embedded, "activations"},
        {&g->embedded_rstd, embedded, "activations"},
        {&g->residual_final, R * C, "activations"},
        {&g->lnf, R * C, "activations"},
        {&g->lnf_mean, R, "activations"},
        {&g->lnf_rstd, R, "activations"},
        {&g->logits, (R < most_rows ? R : most_rows) * (double)gpt_padded_vocab(c), "a block of logits"},
        {&g->attention_scratch, (double)g->threads * 2 * QUERIES * T, "attention scores"},
        {&g->scores, (double)c->L * heads, "attention scores"},
        {&g->layer_scores, (double)g->setup.B * heads, "attention scores"},
        {&g->neutral, 2 * C, "norms"},
        {&g->rotary, (double)gpt_rotary_size(c, g->setup.T), "rotary positions"},
    };
    const Buffer training[] = {
        {&g->grads, arena, "the gradients"},
        {&g->dresidual, R * C, "gradients of activations"},
        {&g->dnorm, R * C, "gradients of activations"},
        {&g->datt, R * C, "gradients of activations"},
        {&g->dqkv, R * (double)gpt_qkv_width(c), "gradients of activations"},
        {&g->dfc, R * (double)gpt_fc_width(c), "gradients of activations"},
        {&g->ddropped, g->setup.dropout ? R * C : 0, "gradients of activations"},
        {&g->partial_sums, PARTS * (double)partial_width(c), "partial sums"},
        {&g->softcap_slopes, capped * (double)gpt_padded_vocab(c), "slopes of logits"},
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
    Gpt g = {.config = gpt_resolve(config), .setup = *setup, .threads = threads_count()};
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
    *g = (Gpt){.config = gpt_resolve(config), .setup = *setup, .threads = threads_count()};
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
    for (size_t i = 0; i < g->config.C; i++) {
        g->neutral[i] = 1;
        g->neutral[g->config.C + i] = 0;
    }
    gpt_rotary_fill(&g->config, T, g->rotary);
    if (g->setup.scores)
        gpt_scores_begin(g);
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

int gpt_init(Gpt *g, uint64_t seed, Error *e)
{
    int status = 0;
    for (size_t i = 0; i < g->table.count && status == 0; i++)
        status = gpt_table_draw(&g->table, i, seed, g->params + g->table.tensors[i].offset, e);
    return status;
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
