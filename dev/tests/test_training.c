/* The model at work: accumulation, threads, learning, generation. */
#include "base/random.h"
#include "base/threads.h"
#include "dev/tests/check.h"
#include "dev/tests/fixtures.h"
#include "gpt/gpt.h"
#include "optim/optim.h"
#include "train/gradients.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static Gpt *make_model(const GptConfig *config, size_t B, size_t T, GptMode mode)
{
    Gpt *gpt;
    Error e;
    if (gpt_create(config, &(GptSetup){.B = B, .T = T, .mode = mode}, &gpt, &e) != 0 || gpt_init(gpt, 1, &e) != 0) {
        fprintf(stderr, "test: %s\n", e.text);
        exit(1);
    }
    return gpt;
}

static Optim *optimizer_of(Gpt *gpt, const OptimConfig *config)
{
    Optim *optim;
    Error e;
    const GptTable *table = gpt_table(gpt);
    const Arenas arenas = gpt_arenas(gpt);
    if (optim_create(config, table->tensors, table->count, &arenas, &optim, &e) != 0) {
        fprintf(stderr, "test: %s\n", e.text);
        exit(1);
    }
    return optim;
}

static int32_t *random_tokens(size_t n, size_t V, uint64_t seed)
{
    Random random = random_make(seed, 2);
    int32_t *tokens = malloc(n * sizeof *tokens);
    if (tokens == NULL)
        exit(1);
    for (size_t i = 0; i < n; i++)
        tokens[i] = (int32_t)random_below(&random, V);
    return tokens;
}

/* One arena's tensors; the padding between them stays 0. */
static float *read_arena(const Gpt *gpt, GptArena arena)
{
    const GptTable *table = gpt_table(gpt);
    float *x = make_floats(table->arena_size);
    for (size_t i = 0; i < table->count; i++)
        gpt_read(gpt, arena, &table->tensors[i], x + table->tensors[i].offset);
    return x;
}

/* --------------------------------------------------------------------------------------------------------------
 * Accumulation: the same eight sequences at once and in smaller batches
 */

static void test_accumulation(void)
{
    enum { B = 8, T = 19 };
    const GptConfig config = {.T = T, .V = 41, .L = 2, .NH = 2, .C = 24};
    Gpt *gpt = make_model(&config, B, T, GPT_TRAINING);
    const GptTable *table = gpt_table(gpt);
    int32_t *tokens = random_tokens(B * T, 41, 1), *targets = random_tokens(B * T, 41, 2);
    float *want = NULL;
    double want_loss = 0;
    for (size_t batch = 8; batch >= 1; batch /= batch == 8 ? 4 : 2) { /* 1 x 8, 4 x 2, 8 x 1 */
        for (size_t b = 0; b < B; b += batch) {
            gpt_forward(gpt, tokens + b * T, batch, T);
            gpt_backward(gpt, targets + b * T, 1.0 / (B * T), b == 0);
        }
        const double loss = gpt_loss_sum(gpt);
        float *got = read_arena(gpt, GPT_GRADS);
        if (want == NULL) {
            want = got;
            want_loss = loss;
            continue;
        }
        check_close(loss, want_loss, 1e-6 * want_loss, "loss");
        for (size_t i = 0; i < table->count; i++) { /* sums of the same 152 numbers in another order */
            const Tensor *t = &table->tensors[i];
            double largest = 0;
            for (size_t k = 0; k < tensor_size(t); k++)
                largest = fmax(largest, fabs((double)want[t->offset + k]));
            check_all_close(got + t->offset, want + t->offset, tensor_size(t), 1e-6 * largest, t->name);
        }
        free(got);
    }
    free(want);
    free(tokens);
    free(targets);
    gpt_free(gpt);
}

/* `scale` multiplies the gradients, to the bit for a power of two, and not the loss. */
static void test_scale(void)
{
    const GptConfig config = {.T = 11, .V = 17, .L = 1, .NH = 2, .C = 8};
    Gpt *gpt = make_model(&config, 2, 11, GPT_TRAINING);
    int32_t *tokens = random_tokens(22, 17, 1), *targets = random_tokens(22, 17, 2);
    gpt_forward(gpt, tokens, 2, 11);
    gpt_backward(gpt, targets, 1, true);
    const double loss = gpt_loss_sum(gpt);
    float *whole = read_arena(gpt, GPT_GRADS);
    gpt_forward(gpt, tokens, 2, 11);
    gpt_backward(gpt, targets, .25, true);
    check(gpt_loss_sum(gpt) == loss, "the loss changes with the gradients' scale");
    float *quarter = read_arena(gpt, GPT_GRADS);
    for (size_t i = 0; i < gpt_table(gpt)->arena_size; i++)
        quarter[i] *= 4;
    check_same_bits(quarter, whole, gpt_table(gpt)->arena_size * sizeof *whole, "gradients, scaled by 1/4");
    free(whole);
    free(quarter);
    free(tokens);
    free(targets);
    gpt_free(gpt);
}

/* --------------------------------------------------------------------------------------------------------------
 * Threads
 */

/* Gradients of the first step and parameters after three, one after the other. */
static float *train(const char *rule, size_t threads, size_t *floats, double *loss)
{
    enum { B = 8, T = 70 };
    const GptConfig config = {.T = T, .V = 300, .L = 2, .NH = 3, .C = 48};
    threads_set(threads);
    Gpt *gpt = make_model(&config, B, T, GPT_TRAINING);
    Optim *optim = optimizer_of(gpt, &(OptimConfig){.rule = rule});
    int32_t *tokens = random_tokens(B * T, 300, 3), *targets = random_tokens(B * T, 300, 4);
    const size_t n = gpt_table(gpt)->arena_size;
    float *both = make_floats(2 * n);
    for (size_t step = 0; step < 3; step++) {
        gpt_forward(gpt, tokens, B, T);
        gpt_backward(gpt, targets, 1.0 / (B * T), true);
        *loss = gpt_loss_sum(gpt);
        if (step == 0) {
            float *grads = read_arena(gpt, GPT_GRADS);
            memcpy(both, grads, n * sizeof *both);
            free(grads);
        }
        optim_step(optim, 1 / (1 + optim_grad_norm(optim, NULL)));
    }
    float *params = read_arena(gpt, GPT_PARAMS);
    memcpy(both + n, params, n * sizeof *both);
    *floats = 2 * n;
    free(params);
    free(tokens);
    free(targets);
    optim_free(optim);
    gpt_free(gpt);
    return both;
}

static void test_threads(void)
{
    static const char *const rules[] = {"adamw", "muon"};
    const size_t before = threads_count();
    for (size_t i = 0; i < 2; i++) {
        size_t n;
        double want_loss, loss;
        float *want = train(rules[i], 1, &n, &want_loss);
        for (size_t threads = 2; threads <= 3; threads++) {
            float *got = train(rules[i], threads, &n, &loss);
            check_same_bits(&loss, &want_loss, sizeof loss, "loss after two steps");
            check_same_bits(got, want, n * sizeof *want, rules[i]);
            free(got);
        }
        free(want);
    }
    threads_set(before);
}

/* --------------------------------------------------------------------------------------------------------------
 * Learning: random tokens have no pattern, so a loss near 0 means that all 60 were learnt by heart
 */

static void overfit(const OptimConfig *config)
{
    enum { B = 4, T = 15, STEPS = 200 };
    const GptConfig model = {.T = T, .V = 29, .L = 2, .NH = 2, .C = 32};
    Gpt *gpt = make_model(&model, B, T, GPT_TRAINING);
    Optim *optim = optimizer_of(gpt, config);
    int32_t *tokens = random_tokens(B * T, 29, 5), *targets = random_tokens(B * T, 29, 6);
    double first = 0, loss = 0;
    for (size_t step = 0; step <= STEPS; step++) {
        gpt_forward(gpt, tokens, B, T);
        gpt_backward(gpt, targets, 1.0 / (B * T), true);
        loss = gpt_loss_sum(gpt) / (B * T);
        first = step == 0 ? loss : first;
        optim_begin(optim, 1 - (double)step / (STEPS + 1), 1 - (double)step / (STEPS + 1));
        optim_step(optim, 1);
    }
    check_close(first, log(29), .1, "the loss of an untrained model and ln V");
    check(loss < .05, "%s: the loss is %g after %d steps", config->rule, loss, (int)STEPS);
    free(tokens);
    free(targets);
    optim_free(optim);
    gpt_free(gpt);
}

static void test_overfit(void)
{
    overfit(&(OptimConfig){.rule = "adamw", .hyper.at = {HYPER_AT(LR, 5e-3)}});
    overfit(&(OptimConfig){.rule = "muon", .aux_hyper.at = {HYPER_AT(LR, 5e-3)}});
}

/* --------------------------------------------------------------------------------------------------------------
 * Generation: decoding token by token gives the logits of the forward pass over all of them. The paths differ in the
 * order of sums of up to 96 numbers; 26 operations deep in rounding of a few 2^-24 each, logits below 4 agree to 1e-5.
 */

enum { DECODE_T = 70, DECODE_V = 31 };
static const GptConfig decode_config = {.T = 80, .V = DECODE_V, .L = 2, .NH = 3, .C = 24};
static const double DECODE_BOUND = 1e-5;

/* Larger weights than initial ones, so that attention matters. */
static Gpt *decoding_model(GptMode mode)
{
    Gpt *gpt = make_model(&decode_config, 1, DECODE_T, mode);
    const GptTable *table = gpt_table(gpt);
    for (size_t i = 0; i < table->count; i++) {
        float *x = make_floats(tensor_size(&table->tensors[i]));
        fill_normal(x, tensor_size(&table->tensors[i]), .2, i);
        for (size_t k = 0; k < tensor_size(&table->tensors[i]); k++)
            x[k] += table->tensors[i].role == ROLE_GAIN ? 1.0f : 0.0f;
        gpt_write(gpt, GPT_PARAMS, &table->tensors[i], x);
        free(x);
    }
    return gpt;
}

static float *forward_logits(const int32_t *tokens)
{
    Gpt *gpt = decoding_model(GPT_TRAINING);
    float *logits = make_floats(DECODE_T * DECODE_V);
    gpt_forward(gpt, tokens, 1, DECODE_T);
    for (size_t row = 0; row < DECODE_T; row++)
        gpt_logits(gpt, row, logits + row * DECODE_V);
    gpt_free(gpt);
    return logits;
}

/* The first `prompt` tokens by a forward pass, the others by decoding. */
static void decode_after(size_t prompt, GptMode mode)
{
    int32_t *tokens = random_tokens(DECODE_T, DECODE_V, 7);
    float *want = forward_logits(tokens), got[DECODE_V];
    Gpt *gpt = decoding_model(mode);
    if (prompt > 0)
        gpt_forward(gpt, tokens, 1, prompt);
    for (size_t position = prompt; position < DECODE_T; position++) {
        gpt_decode(gpt, tokens[position], position, got);
        check_all_close(got, want + position * DECODE_V, DECODE_V, DECODE_BOUND, "decoded logits");
    }
    gpt_decode(gpt, tokens[9], 9, got); /* back to an earlier position */
    check_all_close(got, want + 9 * DECODE_V, DECODE_V, DECODE_BOUND, "logits decoded again");
    free(tokens);
    free(want);
    gpt_free(gpt);
}

/* A gradient of drawn labels is that of the labels that gpt_draw gives. */
static void test_drawn(void)
{
    int32_t *tokens = random_tokens(DECODE_T, DECODE_V, 7), labels[DECODE_T], again[DECODE_T] = {0};
    Gpt *gpt = decoding_model(GPT_TRAINING);
    const GptTable *table = gpt_table(gpt);
    float *want = make_floats(table->arena_size), *got = make_floats(table->arena_size);
    Optim *optim = optimizer_of(gpt, &(OptimConfig){.rule = "sophia"});
    Gradients *gradients;
    Error e;
    if (!check(gradients_create(gpt, optim, NULL, 1, &gradients, &e) == 0, "%s", e.text))
        return;
    gpt_forward(gpt, tokens, 1, DECODE_T);
    gpt_draw(gpt, 5, 300, labels);
    gpt_backward(gpt, labels, .25, true);
    for (const Tensor *t = table->tensors; t < table->tensors + table->count; t++)
        gpt_read(gpt, GPT_GRADS, t, want + t->offset);
    gpt_backward(gpt, tokens, 1, false); /* must be overwritten */
    gradients_begin(gradients, 1, 1);
    gradients_add_drawn(gradients, tokens, again, 1, DECODE_T, .25, 5, 300);
    gradients_finish(gradients);
    for (const Tensor *t = table->tensors; t < table->tensors + table->count; t++)
        gpt_read(gpt, GPT_GRADS, t, got + t->offset);
    check_same_bits(again, labels, sizeof labels, "labels");
    for (const Tensor *t = table->tensors; t < table->tensors + table->count; t++)
        check_same_bits(got + t->offset, want + t->offset, tensor_size(t) * sizeof *got, t->name);
    gpt_draw(gpt, 6, 300, again);
    check(memcmp(again, labels, sizeof labels) != 0, "another key draws the same labels");
    gradients_free(gradients);
    optim_free(optim);
    gpt_free(gpt);
    free(tokens);
    free(want);
    free(got);
}

static void test_decode(void)
{
    decode_after(0, GPT_INFERENCE);
    decode_after(0, GPT_TRAINING);
}

static void test_decode_after_forward(void)
{
    decode_after(1, GPT_INFERENCE);
    decode_after(33, GPT_INFERENCE);
    decode_after(DECODE_T - 1, GPT_TRAINING);
}

int main(void)
{
    threads_set(1); /* so small, others would only wait */
    check_run("accumulation", test_accumulation);
    check_run("the gradients' scale", test_scale);
    check_run("1, 2, 3 threads", test_threads);
    check_run("one batch by heart", test_overfit);
    check_run("labels that the model draws", test_drawn);
    check_run("decoding", test_decode);
    check_run("decoding after a prompt", test_decode_after_forward);
    return check_summary();
}
