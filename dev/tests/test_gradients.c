/* The model's loss, logits and gradients against naive_gpt.c in double: values directly, gradients by central
 * differences along directions within one tensor at a time. */
#include "base/random.h"
#include "base/threads.h"
#include "dev/tests/check.h"
#include "dev/tests/fixtures.h"
#include "dev/tests/naive_gpt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double U = 0x1p-24; /* rounding to fp32 */

/*
 * The bound on gradients. A number of the backward pass has seen about 12 operations a layer, 6 around them, forward
 * and backward: 2 (12 L + 6) vectors, each rounded a few times (its sum, its bias, its activation; say 4), with errors
 * of about U of the vector's length, that LayerNorm and the residual stream pass on without amplifying them. So the
 * error of a tensor's gradient is below 8 (12 L + 6) U of the gradient's length, and so is that of its product with a
 * direction of length 1. Central differences add some 1e-8.
 */
static double gradient_bound(size_t L) { return 8 * (12 * (double)L + 6) * U + 1e-8; }

/* A model with parameters far from their initial ones, so that no path is idle, and a batch. */
typedef struct Case {
    GptConfig config;
    size_t B, T;
    Gpt *gpt;
    const GptTable *table;
    double *params; /* the same as the model's */
    int32_t *tokens, *targets;
    double loss;
    GptDropout dropout;
} Case;

static double typical(const Tensor *t, size_t C)
{
    switch (t->role) {
    case ROLE_TOKEN_EMBEDDING:
    case ROLE_POSITION_EMBEDDING:
    case ROLE_HEAD:
        return 0.4;
    case ROLE_HIDDEN_MATRIX:
        return 1.2 / sqrt((double)C);
    default:
        return 0.2;
    }
}

static Case case_make(GptConfig config, size_t B, size_t T, size_t ignore_every)
{
    Case c = {.config = gpt_resolve(&config), .B = B, .T = T};
    Error e;
    if (gpt_create(&config, &(GptSetup){.B = B, .T = T, .mode = GPT_TRAINING, .dropout = true}, &c.gpt, &e) != 0) {
        fprintf(stderr, "test: %s\n", e.text);
        exit(1);
    }
    c.table = gpt_table(c.gpt);
    c.params = make_doubles(c.table->arena_size);
    for (size_t i = 0; i < c.table->count; i++) {
        const Tensor *t = &c.table->tensors[i];
        float *values = make_floats(tensor_size(t));
        fill_normal(values, tensor_size(t), typical(t, config.C), i);
        for (size_t k = 0; k < tensor_size(t); k++) {
            values[k] += t->role == ROLE_GAIN ? 1.0f : 0.0f;
            c.params[t->offset + k] = (double)values[k];
        }
        gpt_write(c.gpt, GPT_PARAMS, t, values);
        free(values);
    }
    Random random = random_make(B * T, 1);
    c.tokens = malloc(B * T * sizeof *c.tokens);
    c.targets = malloc(B * T * sizeof *c.targets);
    for (size_t i = 0; i < B * T; i++) {
        c.tokens[i] = (int32_t)random_below(&random, config.V);
        c.targets[i] = ignore_every != 0 && i % ignore_every == 0 ? -1 : (int32_t)random_below(&random, config.V);
    }
    c.loss = naive_gpt_loss(&config, c.table, c.params, c.dropout, c.tokens, c.targets, B, T, NULL);
    return c;
}

static void case_free(Case *c)
{
    gpt_free(c->gpt);
    free(c->params);
    free(c->tokens);
    free(c->targets);
}

/* <gradient, direction> of the naive loss by a central difference; direction (t's size) has length 1. The error is
 * h^2/6 times a third derivative of the loss, plus 2^-53 loss / h: both are below 1e-8 of a typical gradient's
 * length. */
static double difference(const Case *c, const Tensor *t, const double *direction)
{
    const double h = 1e-5;
    double *p = c->params + t->offset, loss[2];
    const size_t n = tensor_size(t);
    double *before = make_doubles(n);
    memcpy(before, p, n * sizeof *p);
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i < n; i++)
            p[i] = before[i] + (side == 0 ? h : -h) * direction[i];
        loss[side] =
            naive_gpt_loss(&c->config, c->table, c->params, c->dropout, c->tokens, c->targets, c->B, c->T, NULL);
    }
    memcpy(p, before, n * sizeof *p);
    free(before);
    return (loss[0] - loss[1]) / (2 * h);
}

static double normalise(double *x, size_t n)
{
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += x[i] * x[i];
    for (size_t i = 0; i < n && squares > 0; i++)
        x[i] /= sqrt(squares);
    return sqrt(squares);
}

/* Whether the gradient of element i is 0 in theory, as it is where the key bias shifts all of a query's scores alike:
 * everywhere but behind a norm, whose divisor differs from key to key, and in channels that positions rotate. */
static bool vanishes(const GptConfig *c, const Tensor *t, size_t i)
{
    const size_t HS = gpt_head_size(c);
    if (strstr(t->name, "c_attn.bias") == NULL || i < c->C || i >= c->C + gpt_key_width(c))
        return false;
    if (c->qk_norm != GPT_QK_NORM_OFF || c->positions == GPT_ROTARY)
        return false;
    return c->positions != GPT_ROTARY_HALF || i % HS % (HS / 2) >= HS / 4;
}

/* What is found where the gradient vanishes is rounding of the sizes that the query's and the value's gradients have.
 * (With a single token the query's is 0 in theory too.) */
static void check_vanishing(const Case *c, const Tensor *t, const float *grad, double bound)
{
    double squares = 0;
    for (size_t i = 0; i < tensor_size(t); i++)
        squares += vanishes(&c->config, t, i) ? (double)grad[i] * (double)grad[i] : 0;
    const double length = norm_of(grad, tensor_size(t));
    check(sqrt(squares) <= bound * length * sqrt((double)c->config.C),
          "%s: the gradient is %g where it vanishes in theory, %g in all", t->name, sqrt(squares), length);
}

/* Along the gradient itself, which shows any error in size, and along random directions. */
static void check_tensor(const Case *c, const Tensor *t, double bound)
{
    enum { DIRECTIONS = 3 };
    const size_t n = tensor_size(t);
    float *grad = make_floats(n);
    double *direction = make_doubles(n);
    gpt_read(c->gpt, GPT_GRADS, t, grad);
    const double length = norm_of(grad, n);
    check(length > 0, "%s: the gradient is zero", t->name);
    check_vanishing(c, t, grad, bound);
    for (size_t k = 0; k < DIRECTIONS; k++) {
        Random random = random_make(k, t->offset);
        double want = 0;
        for (size_t i = 0; i < n; i++) {
            const double x = k == 0 ? (double)grad[i] : random_normal(&random);
            direction[i] = vanishes(&c->config, t, i) ? 0 : x;
        }
        normalise(direction, n);
        for (size_t i = 0; i < n; i++)
            want += direction[i] * (double)grad[i];
        char what[96];
        snprintf(what, sizeof what, "%s, direction %zu of 3, over the gradient's length", t->name, k);
        const double got = difference(c, t, direction);
        check_close(want / length, got / length, bound, what);
    }
    free(grad);
    free(direction);
}

/* Garbage in the gradients must not survive a `first` backward pass. */
static void poison_gradients(const Case *c)
{
    for (size_t i = 0; i < c->table->count; i++) {
        const Tensor *t = &c->table->tensors[i];
        float *values = make_floats(tensor_size(t));
        for (size_t k = 0; k < tensor_size(t); k++)
            values[k] = NAN;
        gpt_write(c->gpt, GPT_GRADS, t, values);
        free(values);
    }
}

static void check_case(const Case *c)
{
    poison_gradients(c);
    gpt_forward(c->gpt, c->tokens, c->B, c->T);
    const double loss = gpt_loss(c->gpt, c->targets);
    gpt_backward(c->gpt, c->targets, 1, true);
    const double again = gpt_loss_sum(c->gpt);
    check_close(loss, c->loss, 1e-6 * c->loss, "gpt_loss");
    check_close(again, c->loss, 1e-6 * c->loss, "gpt_backward's loss");
    for (size_t i = 0; i < c->table->count; i++)
        check_tensor(c, &c->table->tensors[i], gradient_bound(c->config.L));
}

/* The length of the longest row that the head reads: sqrt(C), if rows are normalised, else that of the stream. */
static double length_read(const Case *c)
{
    const size_t C = c->config.C, n = c->B * c->T * C;
    double longest = 0;
    if (c->config.norm != GPT_NORM_NONE)
        return sqrt((double)C);
    float *x = make_floats(n);
    gpt_residual(c->gpt, c->config.L, x);
    for (size_t i = 0; i < n; i += C)
        longest = fmax(longest, norm_of(x + i, C));
    free(x);
    return longest;
}

/* Logits of every row. Their error is below that of the residual stream, some 12 L + 6 operations of 4 U each, times
 * the length of a row of the head and that of a row that it reads. A softcap's slope is at most 1. */
static void check_logits(const Case *c)
{
    const size_t rows = c->B * c->T, V = c->config.V;
    double *want = make_doubles(rows * V);
    float *got = make_floats(V), *expected = make_floats(V);
    naive_gpt_loss(&c->config, c->table, c->params, c->dropout, c->tokens, c->targets, c->B, c->T, want);
    gpt_forward(c->gpt, c->tokens, c->B, c->T);
    const double bound = (12 * (double)c->config.L + 6) * 4 * U * length_read(c) * 0.4 * sqrt((double)c->config.C);
    for (size_t row = 0; row < rows; row++) {
        for (size_t v = 0; v < V; v++)
            expected[v] = (float)want[row * V + v];
        gpt_logits(c->gpt, row, got);
        check_all_close(got, expected, V, bound, "logits");
    }
    free(want);
    free(got);
    free(expected);
}

static void test_odd_sizes(void)
{
    Case c = case_make((GptConfig){.T = 13, .V = 37, .L = 2, .NH = 3, .C = 24}, 2, 13, 0);
    check_case(&c);
    case_free(&c);
}

/* Models with options. Weights are as in case_make, so that scores and logits are a few units: attention_scale stays
 * about as usual, and limits of the logits are not far below them, lest rounding be amplified (see gradient_bound). */
typedef struct OptionCase {
    const char *name;
    GptConfig config;
} OptionCase;

/* clang-format off */
#define SMALL .T = 7, .V = 19, .L = 2, .NH = 2, .C = 12
#define QUARTERS .T = 7, .V = 19, .L = 2, .NH = 2, .C = 16
#define FOUR_HEADS .T = 7, .V = 19, .L = 2, .NH = 4, .C = 20
#define NO_BIASES .attention_bias = GPT_ATTENTION_BIAS_NONE, .mlp_bias = GPT_MLP_BIAS_OFF

/* Every choice but the first, and every number and size, alone or with the one option that it needs. */
static const OptionCase alone[] = {
    {"rotary", {SMALL, .positions = GPT_ROTARY}},
    {"rotary-base 30", {QUARTERS, .positions = GPT_ROTARY, .rotary_base = 30}},
    {"rotary-half", {QUARTERS, .positions = GPT_ROTARY_HALF}},
    {"rotary-half, heads of 4", {.T = 7, .V = 19, .L = 2, .NH = 3, .C = 12, .positions = GPT_ROTARY_HALF}},
    {"rotary-half, heads of 12, rotary-base 30",
     {.T = 7, .V = 19, .L = 2, .NH = 2, .C = 24, .positions = GPT_ROTARY_HALF, .rotary_base = 30}},
    {"no positions", {SMALL, .positions = GPT_NO_POSITIONS}},
    {"layernorm-no-bias", {SMALL, .norm = GPT_LAYERNORM_NO_BIAS}},
    {"rmsnorm", {SMALL, .norm = GPT_RMSNORM}},
    {"rmsnorm-no-gain", {SMALL, .norm = GPT_RMSNORM_NO_GAIN}},
    {"norm none", {SMALL, .norm = GPT_NORM_NONE}},
    {"norm-eps 0.1", {SMALL, .norm_eps = 0.1}},
    {"embed-norm", {SMALL, .embed_norm = GPT_EMBED_NORM_ON}},
    {"residual-scale 0.7", {SMALL, .residual_scale = 0.7}},
    {"kv-heads 1 of 4", {FOUR_HEADS, .KVH = 1}},
    {"kv-heads 2 of 4", {FOUR_HEADS, .KVH = 2}},
    {"kv-heads 4 of 4", {FOUR_HEADS, .KVH = 4}},
    {"qk-norm", {SMALL, .qk_norm = GPT_QK_NORM_ON}},
    {"qk-norm gain", {SMALL, .qk_norm = GPT_QK_NORM_GAIN}},
    {"attention-scale 0.3", {SMALL, .attention_scale = 0.3}},
    {"value-scale 0.4", {SMALL, .value_scale = 0.4}},
    {"attention-bias qkv", {SMALL, .attention_bias = GPT_ATTENTION_BIAS_QKV}},
    {"attention-bias none", {SMALL, .attention_bias = GPT_ATTENTION_BIAS_NONE}},
    {"mlp-width 17", {SMALL, .F = 17}},
    {"gelu-exact", {SMALL, .activation = GPT_GELU_EXACT}},
    {"relu2", {SMALL, .activation = GPT_RELU2}},
    {"silu", {SMALL, .activation = GPT_SILU}},
    {"swiglu", {SMALL, .activation = GPT_SWIGLU}},
    {"swiglu, mlp-width 17", {SMALL, .activation = GPT_SWIGLU, .F = 17}},
    {"no MLP biases", {SMALL, .mlp_bias = GPT_MLP_BIAS_OFF}},
    {"untied head", {SMALL, .head = GPT_UNTIED}},
    {"untied head with bias", {SMALL, .head = GPT_UNTIED_BIAS}},
    {"softcap tanh", {SMALL, .softcap = GPT_SOFTCAP_TANH}},
    {"softcap tanh, limit 3", {SMALL, .softcap = GPT_SOFTCAP_TANH, .softcap_limit = 3}},
    {"softcap sqrt", {SMALL, .softcap = GPT_SOFTCAP_SQRT}},
    {"softcap sqrt, limit 3", {SMALL, .softcap = GPT_SOFTCAP_SQRT, .softcap_limit = 3}},
};

/* Options that meet in the same place. */
static const OptionCase together[] = {
    {"rotary, qk-norm gain, kv-heads 1 of 3",
     {.T = 11, .V = 37, .L = 2, .NH = 3, .C = 18, .KVH = 1, .positions = GPT_ROTARY, .qk_norm = GPT_QK_NORM_GAIN}},
    {"rotary, kv-heads 2 of 4, attention-bias qkv",
     {.T = 9, .V = 23, .L = 2, .NH = 4, .C = 24, .KVH = 2, .positions = GPT_ROTARY,
      .attention_bias = GPT_ATTENTION_BIAS_QKV}},
    {"rotary, qk-norm, value-scale 0.4, kv-heads 2 of 4",
     {.T = 9, .V = 23, .L = 2, .NH = 4, .C = 16, .KVH = 2, .positions = GPT_ROTARY, .qk_norm = GPT_QK_NORM_ON,
      .value_scale = 0.4}},
    {"rotary-half, kv-heads 2 of 4",
     {.T = 9, .V = 23, .L = 2, .NH = 4, .C = 16, .KVH = 2, .positions = GPT_ROTARY_HALF}},
    {"rotary-half, qk-norm, attention-scale 0.12",
     {QUARTERS, .positions = GPT_ROTARY_HALF, .qk_norm = GPT_QK_NORM_ON, .attention_scale = 0.12}},
    {"rotary-half, qk-norm gain, kv-heads 3 of 6, attention-scale 0.3",
     {.T = 10, .V = 19, .L = 2, .NH = 6, .C = 24, .KVH = 3, .positions = GPT_ROTARY_HALF, .qk_norm = GPT_QK_NORM_GAIN,
      .attention_scale = 0.3}},
    {"qk-norm gain, norm-eps 0.1, kv-heads 1 of 3, heads of 5",
     {.T = 8, .V = 19, .L = 2, .NH = 3, .C = 15, .KVH = 1, .qk_norm = GPT_QK_NORM_GAIN, .norm_eps = 0.1}},
    {"qk-norm, no positions, no attention biases, heads of 7",
     {.T = 8, .V = 19, .L = 2, .NH = 3, .C = 21, .qk_norm = GPT_QK_NORM_ON, .positions = GPT_NO_POSITIONS,
      .attention_bias = GPT_ATTENTION_BIAS_NONE}},
    {"no positions, kv-heads 2 of 6, heads of 3",
     {.T = 8, .V = 19, .L = 2, .NH = 6, .C = 18, .KVH = 2, .positions = GPT_NO_POSITIONS}},
    {"softcap tanh, untied head with bias, C=13",
     {.T = 7, .V = 37, .L = 2, .NH = 1, .C = 13, .head = GPT_UNTIED_BIAS, .softcap = GPT_SOFTCAP_TANH,
      .softcap_limit = 4}},
    {"softcap sqrt, untied head with bias, C=11",
     {.T = 7, .V = 37, .L = 2, .NH = 1, .C = 11, .head = GPT_UNTIED_BIAS, .softcap = GPT_SOFTCAP_SQRT,
      .softcap_limit = 4}},
    {"rmsnorm, no biases, embed-norm", {SMALL, .norm = GPT_RMSNORM, .embed_norm = GPT_EMBED_NORM_ON, NO_BIASES}},
    {"rmsnorm-no-gain, no biases, embed-norm",
     {SMALL, .norm = GPT_RMSNORM_NO_GAIN, .embed_norm = GPT_EMBED_NORM_ON, NO_BIASES}},
    {"layernorm-no-bias, embed-norm, norm-eps 0.1, untied head",
     {SMALL, .norm = GPT_LAYERNORM_NO_BIAS, .embed_norm = GPT_EMBED_NORM_ON, .norm_eps = 0.1, .head = GPT_UNTIED}},
    {"norm none, qk-norm gain, kv-heads 1 of 3, norm-eps 0.1",
     {.T = 8, .V = 19, .L = 2, .NH = 3, .C = 15, .KVH = 1, .norm = GPT_NORM_NONE, .qk_norm = GPT_QK_NORM_GAIN,
      .norm_eps = 0.1}},
    {"residual-scale 0.3, embed-norm, swiglu, three layers",
     {.T = 7, .V = 19, .L = 3, .NH = 2, .C = 12, .embed_norm = GPT_EMBED_NORM_ON, .residual_scale = 0.3,
      .activation = GPT_SWIGLU}},
    {"as modula's",
     {.T = 13, .V = 37, .L = 3, .NH = 3, .C = 24, .positions = GPT_ROTARY, .norm = GPT_NORM_NONE,
      .residual_scale = 0.875, .attention_scale = 0.2, NO_BIASES, .head = GPT_UNTIED}},
    {"as Llama",
     {.T = 13, .V = 37, .L = 2, .NH = 4, .C = 24, .KVH = 2, .positions = GPT_ROTARY, .norm = GPT_RMSNORM,
      .norm_eps = 1e-6, NO_BIASES, .F = 19, .activation = GPT_SWIGLU, .head = GPT_UNTIED}},
    {"as modded-nanogpt",
     {.T = 13, .V = 37, .L = 2, .NH = 3, .C = 24, .positions = GPT_ROTARY_HALF, .norm = GPT_RMSNORM,
      .norm_eps = 1.2e-7, .embed_norm = GPT_EMBED_NORM_ON, .qk_norm = GPT_QK_NORM_ON, .attention_scale = 0.12,
      .activation = GPT_RELU2, .head = GPT_UNTIED_BIAS, .softcap = GPT_SOFTCAP_SQRT, .softcap_limit = 15}},
};
/* clang-format on */

/* Another backward pass on top of the first: twice the gradients. */
static void check_accumulation(const Case *c)
{
    const size_t n = c->table->arena_size;
    float *once = make_floats(n), *twice = make_floats(n);
    gpt_forward(c->gpt, c->tokens, c->B, c->T);
    gpt_backward(c->gpt, c->targets, 1, true);
    for (size_t i = 0; i < c->table->count; i++)
        gpt_read(c->gpt, GPT_GRADS, &c->table->tensors[i], once + c->table->tensors[i].offset);
    gpt_forward(c->gpt, c->tokens, c->B, c->T);
    gpt_backward(c->gpt, c->targets, 1, false);
    for (size_t i = 0; i < c->table->count; i++) {
        const Tensor *t = &c->table->tensors[i];
        gpt_read(c->gpt, GPT_GRADS, t, twice + t->offset);
        const double length = norm_of(once + t->offset, tensor_size(t));
        for (size_t k = t->offset; k < t->offset + tensor_size(t); k++)
            twice[k] -= 2 * once[k];
        const double off = norm_of(twice + t->offset, tensor_size(t));
        check(off <= gradient_bound(c->config.L) * length, "%s: twice the gradient is off by %g of %g", t->name, off,
              length);
    }
    free(once);
    free(twice);
}

static const OptionCase *option_case;

static void test_option_case(void)
{
    Error e;
    if (!check(gpt_config_check(&option_case->config, &e) == 0, "%s", e.text))
        return;
    Case c = case_make(option_case->config, 2, option_case->config.T, 5);
    check_case(&c);
    check_logits(&c);
    check_accumulation(&c);
    case_free(&c);
}

static void run_option_cases(const OptionCase *cases, size_t count)
{
    for (option_case = cases; option_case < cases + count; option_case++)
        check_run(option_case->name, test_option_case);
}

/* The masks of the two sides are the same function of place; where they are applied, and the chain rule through them,
 * is what is judged. */
static void test_dropout(void)
{
    static const GptConfig configs[] = {
        {.T = 13, .V = 37, .L = 2, .NH = 3, .C = 24},
        {.T = 70,
         .V = 23,
         .L = 1,
         .NH = 4,
         .C = 16,
         .KVH = 2,
         .positions = GPT_ROTARY,
         .embed_norm = GPT_EMBED_NORM_ON},
        {.T = 9, .V = 23, .L = 2, .NH = 2, .C = 12, .norm = GPT_NORM_NONE, .residual_scale = 0.6},
    };
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        Case c = case_make(configs[i], 2, configs[i].T, 0);
        c.dropout = (GptDropout){.p = 0.3, .key = 5 + i, .first_sequence = 4};
        const double without = c.loss;
        c.loss = naive_gpt_loss(&c.config, c.table, c.params, c.dropout, c.tokens, c.targets, c.B, c.T, NULL);
        check(fabs(c.loss - without) > 1e-3 * without, "dropout changes nothing");
        gpt_dropout(c.gpt, c.dropout);
        check_case(&c);
        check_logits(&c);
        gpt_dropout(c.gpt, (GptDropout){0});
        gpt_forward(c.gpt, c.tokens, c.B, c.T);
        check_close(gpt_loss(c.gpt, c.targets), without, 1e-6 * without, "the loss after dropout is over");
        case_free(&c);
    }
}

/* Sequences shorter than the model's: the rest of the position embedding has no gradient. */
static void test_short_sequences(void)
{
    Case c = case_make((GptConfig){.T = 20, .V = 19, .L = 1, .NH = 1, .C = 9}, 3, 11, 0);
    const Tensor *wpe = gpt_table_find(c.table, "wpe.weight");
    float *grad = make_floats(tensor_size(wpe));
    check_case(&c);
    gpt_read(c.gpt, GPT_GRADS, wpe, grad);
    check(norm_of(grad + 11 * 9, 9 * 9) == 0, "positions that no token had were given a gradient");
    free(grad);
    case_free(&c);
}

/* More queries than one block of attention holds (64). */
static void test_long_sequences(void)
{
    const GptConfig classic = {.T = 70, .V = 23, .L = 2, .NH = 2, .C = 12};
    GptConfig modern = classic;
    modern.KVH = 1, modern.positions = GPT_ROTARY, modern.qk_norm = GPT_QK_NORM_GAIN;
    for (int i = 0; i < 2; i++) {
        Case c = case_make(i == 0 ? classic : modern, 1, 70, 0);
        check_case(&c);
        case_free(&c);
    }
}

/* More rows than the classifier takes at once (512), some of them without a target. */
static void test_many_rows(void)
{
    const GptConfig classic = {.T = 61, .V = 11, .L = 1, .NH = 2, .C = 8};
    GptConfig modern = classic;
    modern.head = GPT_UNTIED_BIAS, modern.softcap = GPT_SOFTCAP_SQRT, modern.embed_norm = GPT_EMBED_NORM_ON;
    for (int i = 0; i < 2; i++) {
        Case c = case_make(i == 0 ? classic : modern, 9, 61, 7);
        check_case(&c);
        case_free(&c);
    }
}

static void test_least(void)
{
    Case c = case_make((GptConfig){.T = 1, .V = 2, .L = 1, .NH = 1, .C = 5}, 1, 1, 0);
    check_case(&c);
    case_free(&c);
}

static void test_ignored_targets(void)
{
    Case c = case_make((GptConfig){.T = 13, .V = 37, .L = 2, .NH = 3, .C = 24}, 2, 13, 3);
    check_case(&c);

    int32_t none[26];
    for (size_t i = 0; i < 26; i++)
        none[i] = -1;
    poison_gradients(&c);
    gpt_forward(c.gpt, c.tokens, 2, 13);
    gpt_backward(c.gpt, none, 1, true);
    check(gpt_loss(c.gpt, none) == 0 && gpt_loss_sum(c.gpt) == 0, "a loss without targets");
    for (size_t i = 0; i < c.table->count; i++) {
        const Tensor *t = &c.table->tensors[i];
        float *grad = make_floats(tensor_size(t));
        gpt_read(c.gpt, GPT_GRADS, t, grad);
        check(norm_of(grad, tensor_size(t)) == 0, "%s has a gradient without targets", t->name);
        free(grad);
    }
    case_free(&c);
}

static void test_logits(void)
{
    Case c = case_make((GptConfig){.T = 70, .V = 37, .L = 2, .NH = 3, .C = 24}, 2, 70, 0);
    check_logits(&c);
    case_free(&c);
}

int main(void)
{
    threads_set(1); /* so small, others would only wait */
    check_run("odd sizes", test_odd_sizes);
    run_option_cases(alone, sizeof alone / sizeof *alone);
    run_option_cases(together, sizeof together / sizeof *together);
    check_run("dropout", test_dropout);
    check_run("sequences shorter than the model's", test_short_sequences);
    check_run("sequences beyond one block of queries", test_long_sequences);
    check_run("rows beyond one block of the classifier", test_many_rows);
    check_run("one token", test_least);
    check_run("ignored targets", test_ignored_targets);
    check_run("logits", test_logits);
    return check_summary();
}
