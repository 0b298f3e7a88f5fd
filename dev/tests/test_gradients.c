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
} Case;

static double typical(const Tensor *t, size_t C)
{
    switch (t->role) {
    case ROLE_TOKEN_EMBEDDING:
    case ROLE_POSITION_EMBEDDING:
        return 0.4;
    case ROLE_HIDDEN_MATRIX:
        return 1.2 / sqrt((double)C);
    default:
        return 0.2;
    }
}

static Case case_make(GptConfig config, size_t B, size_t T, size_t ignore_every)
{
    Case c = {.config = config, .B = B, .T = T};
    Error e;
    if (gpt_create(&config, &(GptSetup){.B = B, .T = T, .mode = GPT_TRAINING}, &c.gpt, &e) != 0) {
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
    c.loss = naive_gpt_loss(&config, c.table, c.params, c.tokens, c.targets, B, T, NULL);
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
        loss[side] = naive_gpt_loss(&c->config, c->table, c->params, c->tokens, c->targets, c->B, c->T, NULL);
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

/* The gradient of the key bias is 0 in theory (it shifts all of a query's scores alike): what is found there is
 * rounding of the sizes that the query's and the value's gradients have. With a single token the query's is 0 in theory
 * too. */
static void check_key_bias(const char *name, const float *grad, size_t C, double bound)
{
    const double queries = norm_of(grad, C), keys = norm_of(grad + C, C), values = norm_of(grad + 2 * C, C);
    check(keys <= bound * (queries + values) * sqrt((double)C), "%s: the key bias' gradient is %g, the query's %g",
          name, keys, queries);
}

/* Along the gradient itself, which shows any error in size, and along random directions. */
static void check_tensor(const Case *c, const Tensor *t, double bound)
{
    enum { DIRECTIONS = 3 };
    const size_t n = tensor_size(t), C = c->config.C;
    float *grad = make_floats(n);
    double *direction = make_doubles(n);
    gpt_read(c->gpt, GPT_GRADS, t, grad);
    const double length = norm_of(grad, n);
    const bool has_keys = strstr(t->name, "c_attn.bias") != NULL;
    check(length > 0, "%s: the gradient is zero", t->name);
    if (has_keys)
        check_key_bias(t->name, grad, C, bound);
    for (size_t k = 0; k < DIRECTIONS; k++) {
        Random random = random_make(k, t->offset);
        double want = 0;
        for (size_t i = 0; i < n; i++)
            direction[i] = k == 0 ? (double)grad[i] : random_normal(&random);
        if (has_keys)
            memset(direction + C, 0, C * sizeof *direction);
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

static void test_odd_sizes(void)
{
    Case c = case_make((GptConfig){.T = 13, .V = 37, .L = 2, .NH = 3, .C = 24}, 2, 13, 0);
    check_case(&c);
    case_free(&c);
}

/* Every nonlinearity of the MLP. */
static void test_activations(void)
{
    for (int i = 0; i < GPT_ACTIVATION_COUNT; i++) {
        Case c =
            case_make((GptConfig){.T = 7, .V = 19, .L = 2, .NH = 2, .C = 12, .activation = (GptActivation)i}, 2, 7, 0);
        check_case(&c);
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
    Case c = case_make((GptConfig){.T = 70, .V = 23, .L = 2, .NH = 2, .C = 12}, 1, 70, 0);
    check_case(&c);
    case_free(&c);
}

/* More rows than the classifier takes at once (512), some of them without a target. */
static void test_many_rows(void)
{
    Case c = case_make((GptConfig){.T = 61, .V = 11, .L = 1, .NH = 2, .C = 8}, 9, 61, 0);
    check_case(&c);
    case_free(&c);
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

/* Logits of every row. Their error is below that of the residual stream, some 12 L + 6 operations of 4 U each, times
 * the length of a row of wte and sqrt(C), the length of a normalised row. */
static void test_logits(void)
{
    Case c = case_make((GptConfig){.T = 70, .V = 37, .L = 2, .NH = 3, .C = 24}, 2, 70, 0);
    const size_t rows = c.B * c.T, V = c.config.V;
    double *want = make_doubles(rows * V);
    float *got = make_floats(V), *expected = make_floats(V);
    naive_gpt_loss(&c.config, c.table, c.params, c.tokens, c.targets, c.B, c.T, want);
    gpt_forward(c.gpt, c.tokens, c.B, c.T);
    for (size_t row = 0; row < rows; row++) {
        for (size_t v = 0; v < V; v++)
            expected[v] = (float)want[row * V + v];
        gpt_logits(c.gpt, row, got);
        check_all_close(got, expected, V, (12 * 2 + 6) * 4 * U * 24 * 0.4, "logits");
    }
    free(want);
    free(got);
    free(expected);
    case_free(&c);
}

int main(void)
{
    threads_set(1); /* so small, others would only wait */
    check_run("odd sizes", test_odd_sizes);
    check_run("activations", test_activations);
    check_run("sequences shorter than the model's", test_short_sequences);
    check_run("sequences beyond one block of queries", test_long_sequences);
    check_run("rows beyond one block of the classifier", test_many_rows);
    check_run("one token", test_least);
    check_run("ignored targets", test_ignored_targets);
    check_run("logits", test_logits);
    return check_summary();
}
