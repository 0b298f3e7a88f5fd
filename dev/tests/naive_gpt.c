#include "dev/tests/naive_gpt.h"

#include "dev/tests/fixtures.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* One sequence on its way through the model. */
typedef struct Naive {
    const GptConfig *config;
    const GptTable *table;
    const double *params;
    size_t T;
} Naive;

static const double *tensor(const Naive *n, const char *name)
{
    return n->params + gpt_table_find(n->table, name)->offset;
}

static const double *layer_tensor(const Naive *n, size_t layer, const char *name)
{
    char full[64];
    snprintf(full, sizeof full, "h.%zu.%s", layer, name);
    return tensor(n, full);
}

static void layernorm(double *out, const double *x, const double *gain, const double *bias, size_t T, size_t C)
{
    for (size_t t = 0; t < T; t++) {
        double mean = 0, variance = 0;
        for (size_t i = 0; i < C; i++)
            mean += x[t * C + i] / (double)C;
        for (size_t i = 0; i < C; i++)
            variance += (x[t * C + i] - mean) * (x[t * C + i] - mean) / (double)C;
        for (size_t i = 0; i < C; i++)
            out[t * C + i] = (x[t * C + i] - mean) / sqrt(variance + 1e-5) * gain[i] + bias[i];
    }
}

/* out (T,OC) = x (T,C) weight (OC,C)^T + bias, which may be NULL. */
static void linear(double *out, const double *x, const double *weight, const double *bias, size_t T, size_t C,
                   size_t OC)
{
    for (size_t t = 0; t < T; t++) {
        for (size_t o = 0; o < OC; o++) {
            double sum = bias != NULL ? bias[o] : 0;
            for (size_t i = 0; i < C; i++)
                sum += x[t * C + i] * weight[o * C + i];
            out[t * OC + o] = sum;
        }
    }
}

/* Position t of head h looks at positions 0 .. t. qkv (T,3C), out (T,C), p (T). */
static void attend(double *out, const double *qkv, double *p, size_t t, size_t h, size_t C, size_t HS)
{
    const double *q = qkv + t * 3 * C + h * HS;
    double maximum = (double)-INFINITY, sum = 0;
    for (size_t s = 0; s <= t; s++) {
        const double *k = qkv + s * 3 * C + C + h * HS;
        p[s] = 0;
        for (size_t i = 0; i < HS; i++)
            p[s] += q[i] * k[i] / sqrt((double)HS);
        maximum = fmax(maximum, p[s]);
    }
    for (size_t s = 0; s <= t; s++)
        sum += p[s] = exp(p[s] - maximum);
    for (size_t i = 0; i < HS; i++) {
        double *o = &out[t * C + h * HS + i];
        *o = 0;
        for (size_t s = 0; s <= t; s++)
            *o += p[s] / sum * qkv[s * 3 * C + 2 * C + h * HS + i];
    }
}

static void attention(double *out, const double *qkv, size_t T, size_t C, size_t NH)
{
    double *p = make_doubles(T);
    for (size_t t = 0; t < T; t++)
        for (size_t h = 0; h < NH; h++)
            attend(out, qkv, p, t, h, C, C / NH);
    free(p);
}

static double activation(GptActivation which, double x)
{
    switch (which) {
    case GPT_GELU_EXACT:
        return x * erfc(-x / sqrt(2)) / 2;
    case GPT_RELU2:
        return x > 0 ? x * x : 0;
    case GPT_SILU:
        return x / (1 + exp(-x));
    default:
        return 0.5 * x * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
    }
}

static void add(double *x, const double *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] += y[i];
}

/* x (T,C) goes through one layer; normed (T,C), wide (T,4C) and y (T,C) are scratch. */
static void block(const Naive *n, size_t layer, double *x, double *normed, double *wide, double *y)
{
    const size_t T = n->T, C = n->config->C;
    layernorm(normed, x, layer_tensor(n, layer, "ln_1.weight"), layer_tensor(n, layer, "ln_1.bias"), T, C);
    linear(wide, normed, layer_tensor(n, layer, "attn.c_attn.weight"), layer_tensor(n, layer, "attn.c_attn.bias"), T, C,
           3 * C);
    attention(normed, wide, T, C, n->config->NH);
    linear(y, normed, layer_tensor(n, layer, "attn.c_proj.weight"), layer_tensor(n, layer, "attn.c_proj.bias"), T, C,
           C);
    add(x, y, T * C);

    layernorm(normed, x, layer_tensor(n, layer, "ln_2.weight"), layer_tensor(n, layer, "ln_2.bias"), T, C);
    linear(wide, normed, layer_tensor(n, layer, "mlp.c_fc.weight"), layer_tensor(n, layer, "mlp.c_fc.bias"), T, C,
           4 * C);
    for (size_t i = 0; i < T * 4 * C; i++)
        wide[i] = activation(n->config->activation, wide[i]);
    linear(y, wide, layer_tensor(n, layer, "mlp.c_proj.weight"), layer_tensor(n, layer, "mlp.c_proj.bias"), T, 4 * C,
           C);
    add(x, y, T * C);
}

static void sequence_logits(const Naive *n, const int32_t *tokens, double *logits)
{
    const size_t T = n->T, C = n->config->C;
    const double *wte = tensor(n, "wte.weight"), *wpe = tensor(n, "wpe.weight");
    double *x = make_doubles(T * C), *normed = make_doubles(T * C), *wide = make_doubles(T * 4 * C);
    double *y = make_doubles(T * C);
    for (size_t t = 0; t < T; t++)
        for (size_t i = 0; i < C; i++)
            x[t * C + i] = wte[(size_t)tokens[t] * C + i] + wpe[t * C + i];
    for (size_t layer = 0; layer < n->config->L; layer++)
        block(n, layer, x, normed, wide, y);
    layernorm(normed, x, tensor(n, "ln_f.weight"), tensor(n, "ln_f.bias"), T, C);
    linear(logits, normed, wte, NULL, T, C, n->config->V);
    free(x);
    free(normed);
    free(wide);
    free(y);
}

static double cross_entropy(const double *logits, int32_t target, size_t V)
{
    double maximum = (double)-INFINITY, sum = 0;
    if (target < 0)
        return 0;
    for (size_t v = 0; v < V; v++)
        maximum = fmax(maximum, logits[v]);
    for (size_t v = 0; v < V; v++)
        sum += exp(logits[v] - maximum);
    return maximum + log(sum) - logits[target];
}

double naive_gpt_loss(const GptConfig *config, const GptTable *table, const double *params, const int32_t *tokens,
                      const int32_t *targets, size_t B, size_t T, double *logits)
{
    const Naive n = {.config = config, .table = table, .params = params, .T = T};
    const size_t V = config->V;
    double *own = make_doubles(T * V), loss = 0;
    for (size_t b = 0; b < B; b++) {
        double *here = logits != NULL ? logits + b * T * V : own;
        sequence_logits(&n, tokens + b * T, here);
        for (size_t t = 0; t < T; t++)
            loss += cross_entropy(here + t * V, targets[b * T + t], V);
    }
    free(own);
    return loss;
}
