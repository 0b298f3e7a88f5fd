/* The largest scores of attention against naive_gpt.c in double, and what QK-clip makes of them: on the CPU and, on a
 * GPU, in fp32 and in bf16. */
#include "base/random.h"
#include "base/threads.h"
#include "dev/tests/check.h"
#include "dev/tests/fixtures.h"
#include "dev/tests/naive_gpt.h"
#include "optim/verbs/verbs.h"
#include "train/qk_clip.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCHES = 2 };

/* A model, two batches of it, and the scores of both together. */
typedef struct Case {
    GptConfig config;   /* resolved */
    size_t B, T, heads; /* heads: of all layers */
    GptSetup setup;
    Gpt *gpt;
    Optim *optim;
    const GptTable *table;
    double *params; /* the same as the model's */
    int32_t *tokens[BATCHES];
    double *largest, *sizes; /* see naive_gpt_scores */
} Case;

static void must(int status, const Error *e)
{
    if (status != 0) {
        printf("%s\n", e->text);
        exit(1);
    }
}

/* Biases and embeddings are large, so that a head whose bias is forgotten is far off. */
static void draw(Case *c)
{
    for (size_t i = 0; i < c->table->count; i++) {
        const Tensor *t = &c->table->tensors[i];
        float *values = make_floats(tensor_size(t));
        fill_normal(values, tensor_size(t), t->role == ROLE_HIDDEN_MATRIX ? 1.5 / sqrt((double)c->config.C) : 0.4, i);
        for (size_t k = 0; k < tensor_size(t); k++) {
            values[k] += t->role == ROLE_GAIN ? 1.0f : 0.0f;
            c->params[t->offset + k] = (double)values[k];
        }
        gpt_write(c->gpt, GPT_PARAMS, t, values);
        free(values);
    }
}

static Case case_make(GptConfig config, size_t B, size_t T, GptSetup setup)
{
    static const OptimConfig rule = {.rule = "sgd"};
    Case c = {.config = gpt_resolve(&config), .B = B, .T = T, .heads = config.L * config.NH, .setup = setup};
    Error e;
    c.setup.B = B, c.setup.T = T, c.setup.mode = GPT_TRAINING, c.setup.scores = true;
    must(gpt_create(&config, &c.setup, &c.gpt, &e), &e);
    c.table = gpt_table(c.gpt);
    const Arenas arenas = gpt_arenas(c.gpt);
    must(optim_create(&rule, c.table->tensors, c.table->count, &arenas, &c.optim, &e), &e);
    c.params = make_doubles(c.table->arena_size);
    draw(&c);
    c.largest = make_doubles(c.heads);
    c.sizes = make_doubles(c.heads);
    double *largest = make_doubles(c.heads), *sizes = make_doubles(c.heads);
    Random random = random_make(B * T, 1);
    for (size_t i = 0; i < BATCHES; i++) {
        c.tokens[i] = malloc(B * T * sizeof *c.tokens[i]);
        for (size_t k = 0; k < B * T; k++)
            c.tokens[i][k] = (int32_t)random_below(&random, config.V);
        naive_gpt_scores(&config, c.table, c.params, c.tokens[i], B, T, largest, sizes);
        for (size_t h = 0; h < c.heads; h++) {
            c.largest[h] = i == 0 ? largest[h] : fmax(c.largest[h], largest[h]);
            c.sizes[h] = fmax(c.sizes[h], sizes[h]);
        }
    }
    free(largest);
    free(sizes);
    return c;
}

static void case_free(Case *c)
{
    optim_free(c->optim);
    gpt_free(c->gpt);
    for (size_t i = 0; i < BATCHES; i++)
        free(c->tokens[i]);
    free(c->params);
    free(c->largest);
    free(c->sizes);
}

static void run_batches(const Case *c)
{
    for (size_t i = 0; i < BATCHES; i++)
        gpt_forward(c->gpt, c->tokens[i], c->B, c->T);
}

/*
 * The error of a score, over scale |q| |k|. Of the 12 L + 6 operations before it at most, each puts an error of 4 U of
 * its length into a vector (see test_gradients.c), and the score has two vectors; in bf16, whose rounding is 2^-9, each
 * rounds its result once and its operands once, and errors are as good as independent: 3 roots of their sum of squares.
 */
static double bound_of(const Case *c)
{
    const double operations = 12 * (double)c->config.L + 6;
    return c->setup.dtype == GPT_BF16 ? 3 * sqrt(2 * 2 * operations) * 0x1p-9 : 2 * 4 * operations * 0x1p-24;
}

static void check_scores(const Case *c, const float *got, const char *what)
{
    for (size_t h = 0; h < c->heads; h++)
        if (!check_close((double)got[h], c->largest[h], bound_of(c) * c->sizes[h], what))
            return;
}

/* --------------------------------------------------------------------------------------------------------------
 * Scores
 */

static const struct {
    GptConfig config;
    size_t B, T;
} sizes[] = {
    {{.T = 70, .V = 23, .L = 2, .NH = 3, .C = 24}, 2, 70}, /* more than one block of queries, and a ragged one */
    {{.T = 131, .V = 23, .L = 1, .NH = 4, .C = 64, .KVH = 2, .positions = GPT_ROTARY, .attention_scale = 0.4}, 1, 131},
    {{.T = 33,
      .V = 23,
      .L = 2,
      .NH = 4,
      .C = 32,
      .KVH = 1,
      .positions = GPT_ROTARY_HALF,
      .qk_norm = GPT_QK_NORM_GAIN,
      .softcap = GPT_SOFTCAP_TANH},
     2,
     20},
    {{.T = 9, .V = 23, .L = 2, .NH = 2, .C = 16, .attention_bias = GPT_ATTENTION_BIAS_NONE}, 1, 9},
    {{.T = 1, .V = 5, .L = 1, .NH = 1, .C = 8}, 1, 1},
};

/* Against the judge; the same bits in every one of several passes, as some are replayed, and of both batches together
 * as of the larger of each. */
static void check_model(const Case *c)
{
    float *first = make_floats(c->heads), *again = make_floats(c->heads), *each = make_floats(c->heads);
    run_batches(c);
    gpt_scores(c->gpt, first);
    check_scores(c, first, "the largest score of a head");
    for (int pass = 0; pass < 2; pass++) {
        gpt_scores_begin(c->gpt);
        gpt_scores(c->gpt, again);
        for (size_t h = 0; h < c->heads; h++)
            check(again[h] == -INFINITY, "without a pass head %zu has %g", h, (double)again[h]);
        run_batches(c);
        gpt_backward(c->gpt, c->tokens[BATCHES - 1], 1, true); /* which may compute the layers again */
        gpt_scores(c->gpt, again);
        check_same_bits(again, first, c->heads * sizeof *again, "the scores of a pass like the first");
    }
    for (size_t i = 0; i < BATCHES; i++) {
        gpt_scores_begin(c->gpt);
        gpt_forward(c->gpt, c->tokens[i], c->B, c->T);
        gpt_scores(c->gpt, again);
        for (size_t h = 0; h < c->heads; h++)
            each[h] = i == 0 || again[h] > each[h] ? again[h] : each[h];
    }
    check_same_bits(each, first, c->heads * sizeof *each, "the larger of two batches' scores");
    free(first);
    free(again);
    free(each);
}

static GptSetup setup;

static void test_scores(void)
{
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        Case c = case_make(sizes[i].config, sizes[i].B, sizes[i].T, setup);
        check_model(&c);
        case_free(&c);
    }
}

static void test_threads(void)
{
    const GptConfig config = sizes[1].config;
    float *want = NULL;
    for (size_t threads = 1; threads <= 3; threads++) {
        threads_set(threads);
        Case c = case_make(config, 2, 131, setup);
        float *got = make_floats(c.heads);
        run_batches(&c);
        gpt_scores(c.gpt, got);
        if (want == NULL)
            want = copy_floats(got, c.heads);
        check_same_bits(got, want, c.heads * sizeof *got, "scores by more threads");
        free(got);
        case_free(&c);
    }
    threads_set(1);
    free(want);
}

/* The loss has the same bits with scores and without, where they take no memory. */
static void test_without(void)
{
    Case c = case_make(sizes[0].config, 2, 70, setup);
    GptSetup without = c.setup;
    Gpt *plain;
    Error e;
    without.scores = false;
    must(gpt_create(&sizes[0].config, &without, &plain, &e), &e);
    check(gpt_memory_needed(&c.config, &without) < gpt_memory_needed(&c.config, &c.setup), "they take memory when off");
    for (size_t i = 0; i < c.table->count; i++) {
        const Tensor *t = &c.table->tensors[i];
        float *values = make_floats(tensor_size(t));
        gpt_read(c.gpt, GPT_PARAMS, t, values);
        gpt_write(plain, GPT_PARAMS, t, values);
        free(values);
    }
    gpt_forward(c.gpt, c.tokens[0], c.B, c.T);
    gpt_forward(plain, c.tokens[0], c.B, c.T);
    const double with = gpt_loss(c.gpt, c.tokens[0]), want = gpt_loss(plain, c.tokens[0]);
    check_same_bits(&with, &want, sizeof with, "the loss with scores and without");
    gpt_free(plain);
    case_free(&c);
}

/* Sets element i of a tensor; returns what it was. */
static float set_element(const Case *c, const char *name, size_t i, float to)
{
    const Tensor *t = gpt_table_find(c->table, name);
    float *values = make_floats(tensor_size(t));
    gpt_read(c->gpt, GPT_PARAMS, t, values);
    const float before = values[i];
    values[i] = to;
    gpt_write(c->gpt, GPT_PARAMS, t, values);
    free(values);
    return before;
}

/* A NaN among a head's keys, in its bias, makes that head's score NaN, and no other's of the layer; it stays so when
 * finite scores come after it; and QK-clip passes it on. */
static void test_nan(void)
{
    Case c = case_make(sizes[0].config, 2, 70, setup);
    const size_t NH = c.config.NH, bad = c.config.C + 1 * gpt_head_size(&c.config) + 2; /* of head 1 */
    float *want = make_floats(c.heads), *got = make_floats(c.heads);
    QkClip *clip;
    Error e;
    must(qk_clip_create(c.gpt, c.optim, 1e30, &clip, &e), &e);
    run_batches(&c);
    gpt_scores(c.gpt, want);
    gpt_scores_begin(c.gpt);
    const float before = set_element(&c, "h.0.attn.c_attn.bias", bad, NAN);
    run_batches(&c);
    set_element(&c, "h.0.attn.c_attn.bias", bad, before);
    run_batches(&c);
    gpt_scores(c.gpt, got);
    for (size_t h = 0; h < c.heads; h++)
        check(isnan(got[h]) == (h == 1 || h >= NH), "the score of head %zu of the layers' is %g", h, (double)got[h]);
    check(got[0] == want[0] && got[2] == want[2], "heads beside the NaN have other scores");
    check(isnan(qk_clip_end(clip).largest), "QK-clip's largest score hides a NaN");
    qk_clip_begin(clip);
    run_batches(&c);
    check(isfinite(qk_clip_end(clip).largest), "the NaN outlives its step");
    qk_clip_free(clip);
    free(want);
    free(got);
    case_free(&c);
}

/* --------------------------------------------------------------------------------------------------------------
 * QK-clip
 */

/* The arena, padding left at 0. */
static float *read_all(const Case *c)
{
    float *all = make_floats(c->table->arena_size);
    for (size_t i = 0; i < c->table->count; i++)
        gpt_read(c->gpt, GPT_PARAMS, &c->table->tensors[i], all + c->table->tensors[i].offset);
    return all;
}

/* Head h of layer l of the queries, or of the keys, in a tensor of that name, whose rows begin with `skip` other ones:
 * times a factor. */
static void scale_head(const Case *c, float *all, const char *name, size_t l, size_t skip, size_t h, float factor)
{
    char full[64];
    snprintf(full, sizeof full, "h.%zu.attn.%s", l, name);
    const Tensor *t = gpt_table_find(c->table, full);
    const size_t HS = gpt_head_size(&c->config), width = t != NULL && t->role == ROLE_BIAS ? 1 : c->config.C;
    for (size_t i = 0; t != NULL && i < HS * width; i++)
        all[t->offset + (skip + h * HS) * width + i] *= factor;
}

/* A step of rate 0. All that it changes are the weights and biases of the clipped heads' queries and keys; then layer
 * 0, whose input is what it was, has all its scores times X / S, so that the largest is min(S, X). */
static void check_clip(const Case *c, double threshold)
{
    const GptConfig *g = &c->config;
    const size_t NH = g->NH, C = g->C, share = NH / g->KVH;
    float *scores = make_floats(c->heads), *after = make_floats(c->heads), *want = read_all(c);
    size_t clipped = 0;
    QkClip *clip;
    Error e;
    must(qk_clip_create(c->gpt, c->optim, threshold, &clip, &e), &e);
    optim_begin(c->optim, 0, 0);
    qk_clip_begin(clip);
    run_batches(c);
    gpt_scores(c->gpt, scores);
    const QkClipStep step = qk_clip_end(clip);
    optim_step(c->optim, 1);
    double all = (double)-INFINITY, *factors = make_doubles(c->heads);
    for (size_t h = 0; h < c->heads; h++) {
        double largest = (double)-INFINITY; /* of the heads that share its keys */
        for (size_t i = h / share * share; i < (h / share + 1) * share; i++)
            largest = fmax(largest, (double)scores[i]);
        all = fmax(all, largest);
        factors[h] = largest > threshold ? threshold / largest : 1;
        clipped += factors[h] < 1;
        scale_head(c, want, "c_attn.weight", h / NH, 0, h % NH, (float)sqrt(factors[h]));
        scale_head(c, want, "c_q.weight", h / NH, 0, h % NH, (float)sqrt(factors[h]));
        scale_head(c, want, "c_attn.bias", h / NH, 0, h % NH, (float)sqrt(factors[h]));
        if (h % share != 0)
            continue;
        scale_head(c, want, "c_attn.weight", h / NH, C, h % NH / share, (float)sqrt(factors[h]));
        scale_head(c, want, "c_kv.weight", h / NH, 0, h % NH / share, (float)sqrt(factors[h]));
        scale_head(c, want, "c_attn.bias", h / NH, C, h % NH / share, (float)sqrt(factors[h]));
    }
    float *got = read_all(c);
    check_same_bits(got, want, c->table->arena_size * sizeof *got, "the parameters after the clip");
    check(step.heads == clipped && step.largest == all, "%zu heads clipped, not %zu; the largest score %g, not %g",
          step.heads, clipped, step.largest, all);
    const QkClipSum sum = qk_clip_sum(clip);
    check(sum.times == clipped && sum.heads == clipped, "%zu heads, %zu times in sum", sum.heads, sum.times);
    qk_clip_begin(clip);
    run_batches(c);
    gpt_scores(c->gpt, after);
    for (size_t h = 0; h < NH; h++)
        check_close((double)after[h], (double)scores[h] * factors[h], bound_of(c) * c->sizes[h] * factors[h],
                    "a score of layer 0 after the clip");
    check(clipped > 0, "no head was clipped");
    qk_clip_free(clip);
    free(factors);
    free(got);
    free(want);
    free(after);
    free(scores);
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Some heads are above the threshold: the largest, and those that share its keys; and all. */
static void test_clip(void)
{
    for (size_t i = 0; i < 4; i++) {
        Case c = case_make(sizes[i / 2].config, sizes[i / 2].B, sizes[i / 2].T, setup);
        double *sorted = make_doubles(c.heads);
        memcpy(sorted, c.largest, c.heads * sizeof *sorted);
        qsort(sorted, c.heads, sizeof *sorted, by_size);
        check_clip(&c, i % 2 == 0 ? (sorted[c.heads - 2] + sorted[c.heads - 1]) / 2 : sorted[0] / 2);
        free(sorted);
        case_free(&c);
    }
}

static void test_refused(void)
{
    Error e;
    GptConfig config = sizes[2].config;
    check(qk_clip_check(&config, &e) != 0 && strstr(e.text, "--qk-norm") != NULL, "--qk-norm is taken");
    config.qk_norm = GPT_QK_NORM_OFF;
    check(qk_clip_check(&config, &e) == 0, "%s", e.text);
}

static void test_no_bf16(void) { check_skip("this GPU has no bf16"); }

int main(void)
{
    static const GptSetup setups[] = {{.dtype = GPT_FP32}, {.dtype = GPT_BF16, .recompute = GPT_RECOMPUTE_LAYERS}};
    const bool bf16 = gpt_kind() == GPT_ON_GPU && verb_prefers_bf16();
    threads_set(1);
    if (gpt_kind() == GPT_ON_GPU && !bf16)
        check_run("in bf16", test_no_bf16);
    for (size_t i = 0; i < (bf16 ? sizeof setups / sizeof *setups : 1); i++) {
        char name[96];
        setup = setups[i];
        const char *dtype = gpt_dtype_names[setup.dtype], *recompute = gpt_recompute_names[setup.recompute];
        snprintf(name, sizeof name, "largest scores in %s, recomputing %s", dtype, recompute);
        check_run(name, test_scores);
        snprintf(name, sizeof name, "QK-clip in %s, recomputing %s", dtype, recompute);
        check_run(name, test_clip);
        snprintf(name, sizeof name, "a NaN among scores in %s, recomputing %s", dtype, recompute);
        check_run(name, test_nan);
        snprintf(name, sizeof name, "with and without scores in %s, recomputing %s", dtype, recompute);
        check_run(name, test_without);
    }
    setup = setups[0];
    if (gpt_kind() == GPT_ON_CPU)
        check_run("scores by 1, 2, 3 threads", test_threads);
    check_run("QK-clip and --qk-norm", test_refused);
    return check_summary();
}
