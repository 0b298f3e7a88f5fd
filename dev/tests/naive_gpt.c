#include "dev/tests/naive_gpt.h"

#include "dev/tests/fixtures.h"
#include "gpt/dropout.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One sequence on its way through the model. */
typedef struct Naive {
    const GptConfig *config; /* resolved */
    const GptTable *table;
    const double *params;
    size_t T, HS, KVC; /* its tokens; channels of a head, and of all heads' keys */
    GptDropout dropout;
    size_t sequence;         /* its number in the step */
    double *largest, *sizes; /* (L,NH) see naive_gpt_scores, or NULL */
} Naive;

/* Dropout's factor of a channel (or key) in row `row` of the sequence's `rows`. */
static double kept(const Naive *n, size_t layer, int site, size_t rows, size_t row, size_t column)
{
    const double p = n->dropout.p;
    const Dropout d = {dropout_site_key(n->dropout.key, layer, site), n->sequence * rows, (uint32_t)(p * 0x1p32), 1};
    return p == 0 ? 1 : (double)dropout_factor(&d, dropout_row(&d, row), (uint32_t)column) / (1 - p);
}

static void drop_rows(const Naive *n, size_t layer, int site, double *x)
{
    const size_t C = n->config->C;
    for (size_t i = 0; i < n->T * C; i++)
        x[i] *= kept(n, layer, site, n->T, i / C, i % C);
}

/* NULL if the model has no such parameter. */
static const double *tensor(const Naive *n, const char *name)
{
    const Tensor *t = gpt_table_find(n->table, name);
    return t != NULL ? n->params + t->offset : NULL;
}

static const double *layer_tensor(const Naive *n, size_t layer, const char *name)
{
    char full[64];
    snprintf(full, sizeof full, "h.%zu.%s", layer, name);
    return tensor(n, full);
}

/* One row; gain and bias may be NULL. */
static void norm_row(const GptConfig *c, double *out, const double *x, const double *gain, const double *bias)
{
    const bool is_centred = c->norm == GPT_LAYERNORM || c->norm == GPT_LAYERNORM_NO_BIAS;
    double mean = 0, square = 0;
    if (c->norm == GPT_NORM_NONE) {
        memmove(out, x, c->C * sizeof *out);
        return;
    }
    for (size_t i = 0; i < c->C && is_centred; i++)
        mean += x[i] / (double)c->C;
    for (size_t i = 0; i < c->C; i++)
        square += (x[i] - mean) * (x[i] - mean) / (double)c->C;
    for (size_t i = 0; i < c->C; i++) {
        out[i] = (x[i] - mean) / sqrt(square + c->norm_eps);
        out[i] *= gain != NULL ? gain[i] : 1;
        out[i] += bias != NULL ? bias[i] : 0;
    }
}

/* x and out are (T,C), and may be the same. */
static void norm(const Naive *n, double *out, const double *x, const double *gain, const double *bias)
{
    for (size_t t = 0; t < n->T; t++)
        norm_row(n->config, out + t * n->config->C, x + t * n->config->C, gain, bias);
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

/* Queries (T,C), keys and values (T,KVC) of ln1 (T,C). */
static void project(const Naive *n, size_t layer, const double *ln1, double *q, double *k, double *v)
{
    const size_t T = n->T, C = n->config->C, KVC = n->KVC;
    const double *all = layer_tensor(n, layer, "attn.c_attn.weight"),
                 *bias = layer_tensor(n, layer, "attn.c_attn.bias");
    const double *qw = all != NULL ? all : layer_tensor(n, layer, "attn.c_q.weight");
    const double *kw = all != NULL ? all + C * C : layer_tensor(n, layer, "attn.c_kv.weight");
    const double *vw = kw + KVC * C;
    linear(q, ln1, qw, bias, T, C, C);
    linear(k, ln1, kw, bias != NULL ? bias + C : NULL, T, C, KVC);
    linear(v, ln1, vw, bias != NULL ? bias + C + KVC : NULL, T, C, KVC);
    for (size_t i = 0; i < T * KVC; i++)
        v[i] *= n->config->value_scale;
}

/* RMSNorm of one head's query or key (HS). */
static void norm_head(const Naive *n, double *x, const double *gain)
{
    double square = 0;
    for (size_t i = 0; i < n->HS; i++)
        square += x[i] * x[i] / (double)n->HS;
    for (size_t i = 0; i < n->HS; i++)
        x[i] *= (gain != NULL ? gain[i] : 1) / sqrt(square + n->config->norm_eps);
}

/* Radians per position of pair i of a head's channels. */
static double frequency(const Naive *n, size_t i)
{
    const double base = n->config->rotary_base, turned = (double)n->HS / 4;
    if (n->config->positions == GPT_ROTARY)
        return pow(base, -2 * (double)i / (double)n->HS);
    if (i == 0)
        return -1;
    return (double)i < turned ? -pow(base, -(double)i / (turned - 1)) : 0;
}

/* One head's query or key (HS) of position t. */
static void rotate(const Naive *n, double *x, size_t t)
{
    const size_t half = n->HS / 2;
    for (size_t i = 0; i < half; i++) {
        const double angle = (double)t * frequency(n, i), first = x[i], second = x[i + half];
        x[i] = first * cos(angle) - second * sin(angle);
        x[i + half] = second * cos(angle) + first * sin(angle);
    }
}

/* What happens to all heads' queries or keys (T,heads*HS) before they meet. */
static void prepare(const Naive *n, double *x, size_t heads, const double *gain)
{
    const GptPositions positions = n->config->positions;
    for (size_t t = 0; t < n->T; t++) {
        for (size_t h = 0; h < heads; h++) {
            double *head = x + (t * heads + h) * n->HS;
            if (n->config->qk_norm != GPT_QK_NORM_OFF)
                norm_head(n, head, gain);
            if (positions == GPT_ROTARY || positions == GPT_ROTARY_HALF)
                rotate(n, head, t);
        }
    }
}

static double length(const double *x, size_t n)
{
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += x[i] * x[i];
    return sqrt(squares);
}

/* Of head number `head` of all layers' and the query of position t. */
static void note_scores(const Naive *n, size_t head, const double *q, const double *k, size_t t, double maximum)
{
    double longest = 0;
    for (size_t s = 0; s <= t; s++)
        longest = fmax(longest, length(k + s * n->KVC, n->HS));
    n->largest[head] = fmax(n->largest[head], maximum);
    n->sizes[head] = fmax(n->sizes[head], n->config->attention_scale * length(q, n->HS) * longest);
}

/* Position t of head h looks at positions 0 .. t. q and out are its own (HS); k and v are the head's of position 0,
 * at a stride of KVC. p (T) is scratch. */
static void attend(const Naive *n, size_t layer, size_t h, double *out, const double *q, const double *k,
                   const double *v, double *p, size_t t)
{
    double maximum = (double)-INFINITY, sum = 0;
    for (size_t s = 0; s <= t; s++) {
        p[s] = 0;
        for (size_t i = 0; i < n->HS; i++)
            p[s] += q[i] * k[s * n->KVC + i] * n->config->attention_scale;
        maximum = fmax(maximum, p[s]);
    }
    if (n->largest != NULL)
        note_scores(n, layer * n->config->NH + h, q, k, t, maximum);
    for (size_t s = 0; s <= t; s++)
        sum += p[s] = exp(p[s] - maximum);
    for (size_t s = 0; s <= t; s++)
        p[s] *= kept(n, layer, DROPOUT_ATTENTION, n->config->NH * n->T, h * n->T + t, s);
    for (size_t i = 0; i < n->HS; i++) {
        out[i] = 0;
        for (size_t s = 0; s <= t; s++)
            out[i] += p[s] / sum * v[s * n->KVC + i];
    }
}

/* att (T,C) from the normalised input of the layer, ln1 (T,C). */
static void attention(const Naive *n, size_t layer, double *att, const double *ln1)
{
    const size_t T = n->T, C = n->config->C, NH = n->config->NH, KVH = n->config->KVH, HS = n->HS;
    double *q = make_doubles(T * C), *k = make_doubles(T * n->KVC), *v = make_doubles(T * n->KVC), *p = make_doubles(T);
    project(n, layer, ln1, q, k, v);
    prepare(n, q, NH, layer_tensor(n, layer, "attn.q_norm.weight"));
    prepare(n, k, KVH, layer_tensor(n, layer, "attn.k_norm.weight"));
    for (size_t t = 0; t < T; t++) {
        for (size_t h = 0; h < NH; h++) {
            const size_t of_query = t * C + h * HS, of_key = h / (NH / KVH) * HS;
            attend(n, layer, h, att + of_query, q + of_query, k + of_key, v + of_key, p, t);
        }
    }
    free(q);
    free(k);
    free(v);
    free(p);
}

static double nonlinearity(GptActivation which, double x)
{
    switch (which) {
    case GPT_GELU_EXACT:
        return x * erfc(-x / sqrt(2)) / 2;
    case GPT_RELU2:
        return x > 0 ? x * x : 0;
    case GPT_SILU:
    case GPT_SWIGLU:
        return x / (1 + exp(-x));
    default:
        return 0.5 * x * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
    }
}

/* y (T,C) from ln2 (T,C). */
static void mlp(const Naive *n, size_t layer, double *y, const double *ln2)
{
    const size_t T = n->T, C = n->config->C, F = n->config->F;
    const bool is_gated = n->config->activation == GPT_SWIGLU;
    const size_t wide = is_gated ? 2 * F : F;
    double *fc = make_doubles(T * wide), *act = make_doubles(T * F);
    linear(fc, ln2, layer_tensor(n, layer, "mlp.c_fc.weight"), layer_tensor(n, layer, "mlp.c_fc.bias"), T, C, wide);
    for (size_t t = 0; t < T; t++) {
        for (size_t i = 0; i < F; i++) {
            act[t * F + i] = nonlinearity(n->config->activation, fc[t * wide + i]);
            act[t * F + i] *= is_gated ? fc[t * wide + F + i] : 1;
        }
    }
    linear(y, act, layer_tensor(n, layer, "mlp.c_proj.weight"), layer_tensor(n, layer, "mlp.c_proj.bias"), T, F, C);
    free(fc);
    free(act);
}

/* The stream x (T,C) takes up what half a layer gives it, y (T,C). */
static void add(const Naive *n, double *x, const double *y)
{
    for (size_t i = 0; i < n->T * n->config->C; i++)
        x[i] = n->config->residual_scale * x[i] + y[i];
}

/* x (T,C) goes through one layer; normed, att and y (T,C) are scratch. */
static void block(const Naive *n, size_t layer, double *x, double *normed, double *att, double *y)
{
    const size_t T = n->T, C = n->config->C;
    norm(n, normed, x, layer_tensor(n, layer, "ln_1.weight"), layer_tensor(n, layer, "ln_1.bias"));
    attention(n, layer, att, normed);
    linear(y, att, layer_tensor(n, layer, "attn.c_proj.weight"), layer_tensor(n, layer, "attn.c_proj.bias"), T, C, C);
    drop_rows(n, layer, DROPOUT_ATTPROJ, y);
    add(n, x, y);

    norm(n, normed, x, layer_tensor(n, layer, "ln_2.weight"), layer_tensor(n, layer, "ln_2.bias"));
    mlp(n, layer, y, normed);
    drop_rows(n, layer, DROPOUT_MLP, y);
    add(n, x, y);
}

static void embed(const Naive *n, const int32_t *tokens, double *x)
{
    const size_t C = n->config->C;
    const double *wte = tensor(n, "wte.weight"), *wpe = tensor(n, "wpe.weight");
    for (size_t t = 0; t < n->T; t++)
        for (size_t i = 0; i < C; i++)
            x[t * C + i] = wte[(size_t)tokens[t] * C + i] + (wpe != NULL ? wpe[t * C + i] : 0);
    if (n->config->embed_norm == GPT_EMBED_NORM_ON)
        norm(n, x, x, tensor(n, "ln_e.weight"), tensor(n, "ln_e.bias"));
    drop_rows(n, 0, DROPOUT_EMBEDDING, x);
}

static double capped(const GptConfig *config, double z)
{
    const double limit = config->softcap_limit;
    switch (config->softcap) {
    case GPT_SOFTCAP_TANH:
        return limit * tanh(z / limit);
    case GPT_SOFTCAP_SQRT:
        return limit * z / sqrt(z * z + limit * limit);
    default:
        return z;
    }
}

static void sequence_logits(const Naive *n, const int32_t *tokens, double *logits)
{
    const size_t T = n->T, C = n->config->C, V = n->config->V;
    const double *head = tensor(n, n->config->head == GPT_TIED ? "wte.weight" : "lm_head.weight");
    double *x = make_doubles(T * C), *normed = make_doubles(T * C), *att = make_doubles(T * C);
    double *y = make_doubles(T * C);
    embed(n, tokens, x);
    for (size_t layer = 0; layer < n->config->L; layer++)
        block(n, layer, x, normed, att, y);
    norm(n, normed, x, tensor(n, "ln_f.weight"), tensor(n, "ln_f.bias"));
    linear(logits, normed, head, tensor(n, "lm_head.bias"), T, C, V);
    for (size_t i = 0; i < T * V; i++)
        logits[i] = capped(n->config, logits[i]);
    free(x);
    free(normed);
    free(att);
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

double naive_gpt_loss(const GptConfig *unresolved, const GptTable *table, const double *params, GptDropout dropout,
                      const int32_t *tokens, const int32_t *targets, size_t B, size_t T, double *logits)
{
    const GptConfig config = gpt_resolve(unresolved);
    const size_t HS = config.C / config.NH, V = config.V;
    Naive n = {&config, table, params, T, HS, config.KVH * HS, dropout, 0, NULL, NULL};
    double *own = make_doubles(T * V), loss = 0;
    for (size_t b = 0; b < B; b++) {
        double *here = logits != NULL ? logits + b * T * V : own;
        n.sequence = dropout.first_sequence + b;
        sequence_logits(&n, tokens + b * T, here);
        for (size_t t = 0; t < T; t++)
            loss += cross_entropy(here + t * V, targets[b * T + t], V);
    }
    free(own);
    return loss;
}

void naive_gpt_scores(const GptConfig *unresolved, const GptTable *table, const double *params, const int32_t *tokens,
                      size_t B, size_t T, double *largest, double *sizes)
{
    const GptConfig config = gpt_resolve(unresolved);
    const size_t HS = config.C / config.NH;
    const Naive n = {&config, table, params, T, HS, config.KVH * HS, {0}, 0, largest, sizes};
    double *logits = make_doubles(T * config.V);
    for (size_t i = 0; i < config.L * config.NH; i++) {
        largest[i] = (double)-INFINITY;
        sizes[i] = 0;
    }
    for (size_t b = 0; b < B; b++)
        sequence_logits(&n, tokens + b * T, logits);
    free(logits);
}
