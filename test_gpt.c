/*
 * test_gpt [--dtype fp32|tf32|bf16] FILE...
 *
 * Diffs a twin of the model, whichever this program is linked with, against reference files that dev/reference/reference.py made
 * with PyTorch in fp64: loss, residual stream, logits, gradients, generation, and N steps of AdamW and Muon. Prints a
 * line for each quantity with its worst tensor, and exits with 1 unless every one of every file lies within its bound.
 *
 * Errors are the largest over a tensor's elements, relative to the tensor's scale, max|reference|. The fused q, k and v
 * are three tensors here, since their scales differ. The gradient of the key bias is zero in theory (softmax does not
 * see what it adds to a row of scores), so its rounding noise is held against the scale of the query's.
 *
 * With tf32 and bf16 the errors are Euclidean, |got - want| / |want| of a tensor, and the bound is twice what PyTorch's
 * own bf16 (autocast) errs there, which dev/reference/reference.py --bf16 has recorded in the file.
 */

#include "base/memory.h"
#include "files/safetensors.h"
#include "gpt/gpt.h"
#include "optim/optim.h"
#include "optim/rules/muon.h"
#include "optim/rules/newton_schulz.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double UNIT = 0x1p-24; /* fp32 rounds to within this, relatively */

/*
 * What a reference file holds and a model of its configuration, with the file's parameters loaded before every
 * comparison. `got`, `want` and `file_layout` are scratch for the largest tensor; `kept` is one for a whole arena.
 */
typedef struct Judge {
    Safetensors *file;
    GptConfig config;
    GptDtype dtype;
    GptRecompute recompute; /* of models without gradients */
    size_t B, T, steps;
    bool step_gradients;
    Gpt *gpt;
    const GptTable *table;
    int32_t *tokens, *targets; /* (B,T) */
    size_t counted;            /* targets that are not left out */
    float *got, *want, *file_layout, *kept;
} Judge;

/* The comparison of one quantity over all its tensors; keeps the one that is worst for its bound. */
typedef struct Row {
    char worst[80];
    double error, bound; /* of the worst tensor, relative to its scale */
    double ratio;        /* error / bound */
    size_t compared;
} Row;

typedef struct Comparison Comparison;
struct Comparison {
    const char *title;
    const char *rule;                                        /* the optimizer, or NULL */
    double bound;                                            /* relative */
    int (*run)(Judge *, const Comparison *, Row *, Error *); /* -1: something is missing or malformed */
};

/* --- Errors and bounds --- */

static void record(Row *row, const char *name, double error, double bound)
{
    const double ratio = error == 0 ? 0 : error / bound;
    if (row->compared++ == 0 || !(ratio <= row->ratio)) { /* also when ratio is NaN */
        snprintf(row->worst, sizeof row->worst, "%s", name);
        row->error = error;
        row->bound = bound;
        row->ratio = isnan(ratio) ? HUGE_VAL : ratio;
    }
}

static double max_abs(const float *x, size_t n)
{
    double max = 0;
    for (size_t i = 0; i < n; i++)
        max = fmax(max, fabs((double)x[i]));
    return max;
}

/* max|got - want|; infinite where either holds a NaN. */
static double max_error(const float *got, const float *want, size_t n)
{
    double max = 0;
    for (size_t i = 0; i < n; i++) {
        const double error = fabs((double)got[i] - (double)want[i]);
        if (!(error <= max))
            max = isnan(error) ? HUGE_VAL : error;
    }
    return max;
}

static void record_error(Row *row, const char *name, double error, double scale, double bound)
{
    record(row, name, error == 0 ? 0 : error / scale, bound);
}

/* A bound on the error of a tensor's elements: of_scale times its scale, plus `absolute`. */
typedef struct Bound {
    double of_scale, absolute;
} Bound;

static bool is_fused_qkv(const Tensor *t) { return strstr(t->name, ".attn.c_attn.") != NULL; }

/* Compares a tensor, in memory layout; q, k and v each on its own scale but for the key bias, on the query's. A tensor
 * that should be all zeros (q and k where T = 1) is held against the scale of the three. */
static void compare_tensor(Row *row, const Tensor *t, const float *got, const float *want, Bound bound)
{
    const size_t parts = is_fused_qkv(t) ? 3 : 1, n = tensor_size(t) / parts;
    for (size_t i = 0; i < parts; i++) {
        char name[sizeof row->worst];
        snprintf(name, sizeof name, parts == 3 ? "%s (%c)" : "%s", t->name, "qkv"[i]);
        const bool key_bias = parts == 3 && i == 1 && t->role == ROLE_BIAS;
        double scale = max_abs(want + (key_bias ? 0 : i * n), n);
        if (scale == 0)
            scale = max_abs(want, parts * n);
        record_error(row, name, max_error(got + i * n, want + i * n, n), scale,
                     bound.of_scale + bound.absolute / scale);
    }
}

/* |got - want| / |want|, Euclidean, without the elements from `out` up to `in`. */
static double distance(const float *got, const float *want, size_t n, size_t out, size_t in)
{
    double difference = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        if (i >= out && i < in)
            continue;
        const double d = (double)got[i] - (double)want[i];
        difference += d * d;
        norm += (double)want[i] * (double)want[i];
    }
    return sqrt(difference / norm);
}

/* Of a tensor, the key bias left out: what its noise does to it changes nothing else. */
static double tensor_distance(const Tensor *t, const float *got, const float *want)
{
    const size_t n = tensor_size(t), third = n / 3;
    const bool has_key_bias = is_fused_qkv(t) && t->role == ROLE_BIAS;
    return distance(got, want, n, has_key_bias ? third : n, has_key_bias ? 2 * third : n);
}

/* --- Reading the file --- */

static int read_i32(Judge *j, const char *name, int32_t *to, Error *e)
{
    const SafetensorsEntry *entry = safetensors_find(j->file, name);
    if (entry == NULL)
        return error_set(e, "it has no tensor \"%s\"", name);
    if (entry->rank != 2 || entry->shape[0] != j->B || entry->shape[1] != j->T)
        return error_set(e, "\"%s\" is not (B,T) = (%zu,%zu)", name, j->B, j->T);
    return safetensors_read_i32(j->file, entry, to, e);
}

/* The tokens and targets of a batch: those named "<prefix>tokens" and "<prefix>targets". */
static int read_batch(Judge *j, const char *prefix, Error *e)
{
    char name[64];
    snprintf(name, sizeof name, "%stokens", prefix);
    if (read_i32(j, name, j->tokens, e) != 0)
        return -1;
    snprintf(name, sizeof name, "%stargets", prefix);
    if (read_i32(j, name, j->targets, e) != 0)
        return -1;
    j->counted = 0;
    for (size_t i = 0; i < j->B * j->T; i++) {
        if (j->tokens[i] < 0 || (size_t)j->tokens[i] >= j->config.V || j->targets[i] >= (int64_t)j->config.V)
            return error_set(e, "a token or target of \"%stokens\" lies outside the vocabulary", prefix);
        j->counted += j->targets[i] >= 0;
    }
    return j->counted > 0 ? 0 : error_set(e, "every target of \"%stargets\" is left out", prefix);
}

/* n floats, whatever their shape. */
static int read_floats(Judge *j, const char *name, size_t n, float *to, Error *e)
{
    const SafetensorsEntry *entry = safetensors_find(j->file, name);
    if (entry == NULL)
        return error_set(e, "it has no tensor \"%s\"", name);
    if (entry->count != n)
        return error_set(e, "\"%s\" holds %zu elements, not %zu", name, entry->count, n);
    return safetensors_read_f32(j->file, entry, to, e);
}

/* "<prefix><name of t>" in memory layout. */
static int read_tensor(Judge *j, const char *prefix, const Tensor *t, float *to, Error *e)
{
    char name[128];
    snprintf(name, sizeof name, "%s%s", prefix, t->name);
    if (!t->transposed)
        return read_floats(j, name, tensor_size(t), to, e);
    if (read_floats(j, name, tensor_size(t), j->file_layout, e) != 0)
        return -1;
    for (size_t r = 0; r < t->rows; r++)
        for (size_t c = 0; c < t->cols; c++)
            to[r * t->cols + c] = j->file_layout[c * t->rows + r];
    return 0;
}

static int load_arena(Judge *j, Gpt *gpt, GptArena arena, const char *prefix, Error *e)
{
    for (const Tensor *t = j->table->tensors; t < j->table->tensors + j->table->count; t++) {
        if (read_tensor(j, prefix, t, j->want, e) != 0)
            return -1;
        gpt_write(gpt, arena, t, j->want);
    }
    return 0;
}

/* One tensor of an arena with "<prefix><name of t>". */
static int compare_with_file(Judge *j, GptArena arena, const Tensor *t, const char *prefix, Bound bound, Row *row,
                             Error *e)
{
    if (read_tensor(j, prefix, t, j->want, e) != 0)
        return -1;
    gpt_read(j->gpt, arena, t, j->got);
    compare_tensor(row, t, j->got, j->want, bound);
    return 0;
}

/* A number among the metadata. */
static int metadata_number(Judge *j, const char *key, double *value, Error *e)
{
    const char *text = safetensors_metadata(j->file, key);
    if (text == NULL)
        return error_set(e, "its metadata have no \"%s\"", key);
    char *end;
    *value = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(*value))
        return error_set(e, "\"%s\" of its metadata is \"%s\", not a number", key, text);
    return 0;
}

/* At most 2^20, so that no product of three overflows. */
static int metadata_size(Judge *j, const char *key, size_t *value, Error *e)
{
    double number = 0;
    if (metadata_number(j, key, &number, e) != 0)
        return -1;
    if (!(number >= 0 && number <= 1 << 20 && number == floor(number)))
        return error_set(e, "\"%s\" of its metadata is %g, which is no size", key, number);
    *value = (size_t)number;
    return 0;
}

/* --- Loss, activations, gradients --- */

static double relative_difference(double got, double want) { return fabs(got - want) / fabs(want); }

static void forward(Judge *j) { gpt_forward(j->gpt, j->tokens, j->B, j->T); }

static double backward(Judge *j)
{
    gpt_backward(j->gpt, j->targets, 1.0 / (double)j->counted, true);
    return gpt_loss_sum(j->gpt);
}

/* `first` must overwrite what the arena held: nothing of this may be left. */
static void poison_gradients(Judge *j)
{
    for (const Tensor *t = j->table->tensors; t < j->table->tensors + j->table->count; t++) {
        for (size_t i = 0; i < tensor_size(t); i++)
            j->got[i] = NAN;
        gpt_write(j->gpt, GPT_GRADS, t, j->got);
    }
}

static int compare_loss(Judge *j, const Comparison *c, Row *row, Error *e)
{
    float want;
    if (read_floats(j, "loss", 1, &want, e) != 0)
        return -1;
    forward(j);
    record(row, "loss", relative_difference(gpt_loss(j->gpt, j->targets) / (double)j->counted, (double)want), c->bound);
    return 0;
}

/* gpt_backward returns what gpt_loss does: the same fp32 losses of positions, each rounded once, summed in double. */
static int compare_loss_of_backward(Judge *j, const Comparison *c, Row *row, Error *e)
{
    (void)e;
    forward(j);
    const double loss = gpt_loss(j->gpt, j->targets);
    record(row, "loss", relative_difference(backward(j), loss), c->bound);
    return 0;
}

/* The first residual beyond its bound is where the twin goes astray: later ones only inherit. */
static void print_divergence(size_t layer)
{
    if (layer == 0)
        printf("  diverges first at residual.0: in the embeddings\n");
    else
        printf("  diverges first at residual.%zu: in layer %zu\n", layer, layer - 1);
}

static int compare_residuals(Judge *j, const Comparison *c, Row *row, Error *e)
{
    const size_t n = j->B * j->T * j->config.C;
    bool diverged = false;
    forward(j);
    for (size_t layer = 0; layer <= j->config.L; layer++) {
        char name[32];
        snprintf(name, sizeof name, "residual.%zu", layer);
        if (read_floats(j, name, n, j->want, e) != 0)
            return -1;
        gpt_residual(j->gpt, layer, j->got);
        record_error(row, name, max_error(j->got, j->want, n), max_abs(j->want, n), c->bound);
        if (!diverged && !(row->ratio <= 1)) {
            diverged = true;
            print_divergence(layer);
        }
    }
    return 0;
}

static int compare_logits_of(Judge *j, Gpt *gpt, const Comparison *c, Row *row, Error *e)
{
    const size_t V = j->config.V, rows = j->B * j->T;
    if (read_floats(j, "logits", rows * V, j->want, e) != 0)
        return -1;
    for (size_t i = 0; i < rows; i++)
        gpt_logits(gpt, i, j->got + i * V);
    record_error(row, "logits", max_error(j->got, j->want, rows * V), max_abs(j->want, rows * V), c->bound);
    return 0;
}

static int compare_logits(Judge *j, const Comparison *c, Row *row, Error *e)
{
    forward(j);
    return compare_logits_of(j, j->gpt, c, row, e);
}

static int compare_gradients(Judge *j, const Comparison *c, Row *row, Error *e)
{
    poison_gradients(j);
    forward(j);
    backward(j);
    for (const Tensor *t = j->table->tensors; t < j->table->tensors + j->table->count; t++)
        if (compare_with_file(j, GPT_GRADS, t, "grad.", (Bound){.of_scale = c->bound}, row, e) != 0)
            return -1;
    return 0;
}

/* The batch as B micro-batches of one sequence, whose gradients add up, against the batch at once: two fp32 results,
 * each of which may lie as far from the truth as PyTorch's own in fp32, 1.5e-6 (dev/reference/reference.py prints it). */
static int compare_accumulation(Judge *j, const Comparison *c, Row *row, Error *e)
{
    (void)e;
    const GptTable *table = j->table;
    forward(j);
    const double whole_loss = backward(j);
    for (size_t i = 0; i < table->count; i++)
        gpt_read(j->gpt, GPT_GRADS, &table->tensors[i], j->kept + table->tensors[i].offset);

    poison_gradients(j);
    for (size_t b = 0; b < j->B; b++) {
        gpt_forward(j->gpt, j->tokens + b * j->T, 1, j->T);
        gpt_backward(j->gpt, j->targets + b * j->T, 1.0 / (double)j->counted, b == 0);
    }
    record(row, "loss", relative_difference(gpt_loss_sum(j->gpt), whole_loss), c->bound);
    for (size_t i = 0; i < table->count; i++) {
        const Tensor *t = &table->tensors[i];
        gpt_read(j->gpt, GPT_GRADS, t, j->got);
        compare_tensor(row, t, j->got, j->kept + t->offset, (Bound){.of_scale = c->bound});
    }
    return 0;
}

/* --- Inference --- */

/* A model without gradients that holds the file's parameters; the caller frees it. */
static int create_inference(Judge *j, size_t B, Gpt **gpt, Error *e)
{
    const GptSetup setup = {.B = B, .T = j->T, .mode = GPT_INFERENCE, .dtype = j->dtype, .recompute = j->recompute};
    if (gpt_create(&j->config, &setup, gpt, e) != 0)
        return -1;
    if (load_arena(j, *gpt, GPT_PARAMS, "param.", e) == 0)
        return 0;
    gpt_free(*gpt);
    return -1;
}

static int compare_inference(Judge *j, const Comparison *c, Row *row, Error *e)
{
    Gpt *gpt;
    if (create_inference(j, j->B, &gpt, e) != 0)
        return -1;
    gpt_forward(gpt, j->tokens, j->B, j->T);
    const int failed = compare_logits_of(j, gpt, c, row, e);
    gpt_free(gpt);
    return failed;
}

/* The first sequence token by token, after a prompt of `prompt` tokens that went through gpt_forward. */
static int decode(Judge *j, size_t prompt, const Comparison *c, Row *row, Error *e)
{
    const size_t V = j->config.V;
    Gpt *gpt;
    if (create_inference(j, 1, &gpt, e) != 0)
        return -1;
    const int failed = read_floats(j, "logits", j->B * j->T * V, j->want, e);
    const double scale = max_abs(j->want, j->B * j->T * V);
    if (prompt > 0)
        gpt_forward(gpt, j->tokens, 1, prompt);
    for (size_t t = prompt; t < j->T && failed == 0; t++) {
        char name[32];
        snprintf(name, sizeof name, "position %zu", t);
        gpt_decode(gpt, j->tokens[t], t, j->got);
        record_error(row, name, max_error(j->got, j->want + t * V, V), scale, c->bound);
    }
    gpt_free(gpt);
    return failed;
}

static int compare_decode(Judge *j, const Comparison *c, Row *row, Error *e) { return decode(j, 0, c, row, e); }

static int compare_decode_after_prompt(Judge *j, const Comparison *c, Row *row, Error *e)
{
    return decode(j, j->T / 2, c, row, e);
}

/* --- Optimizers --- */

/* The file's hyperparameters of a rule: its metadata "<rule>.<key>". */
typedef struct HyperKey {
    const char *key;
    HyperId id;
} HyperKey;

static const HyperKey adamw_keys[] = {{"adamw.lr", HYPER_LR},       {"adamw.weight_decay", HYPER_WEIGHT_DECAY},
                                      {"adamw.beta1", HYPER_BETA1}, {"adamw.beta2", HYPER_BETA2},
                                      {"adamw.eps", HYPER_EPS},     {NULL, HYPER_COUNT}};
static const HyperKey muon_keys[] = {{"muon.lr", HYPER_LR},
                                     {"muon.weight_decay", HYPER_WEIGHT_DECAY},
                                     {"muon.momentum", HYPER_MOMENTUM},
                                     {"muon.ns_steps", HYPER_NS_STEPS},
                                     {NULL, HYPER_COUNT}};

static int read_hyper(Judge *j, const HyperKey *keys, OptimHyper *to, Error *e)
{
    for (; keys->key != NULL; keys++) {
        double value = 0;
        if (metadata_number(j, keys->key, &value, e) != 0)
            return -1;
        hyper_set(to, keys->id, value);
    }
    return 0;
}

/* The rule `name` with the file's hyperparameters, over j->gpt. */
static int create_optim(Judge *j, const char *name, Optim **optim, Error *e)
{
    OptimConfig config = {.rule = name, .aux_rule = "adamw"};
    if (read_hyper(j, adamw_keys, &config.aux_hyper, e) != 0)
        return -1;
    if (strcmp(name, "muon") != 0) {
        config.hyper = config.aux_hyper;
    } else {
        if (read_hyper(j, muon_keys, &config.hyper, e) != 0)
            return -1;
        hyper_set(&config.hyper, HYPER_NESTEROV, 1);
        hyper_set(&config.hyper, HYPER_NS, NS_JORDAN);
        hyper_set(&config.hyper, HYPER_NS_DTYPE, NS_FP32);
        hyper_set(&config.hyper, HYPER_MUON_SCALE, MUON_SCALE_ORIGINAL);
        hyper_set(&config.hyper, HYPER_SPLIT_QKV, 1);
    }
    return optim_create(&config, j->table->tensors, j->table->count, gpt_params(j->gpt), gpt_grads(j->gpt), optim, e);
}

/* The largest max|g|/|g| (Euclidean) of the gradients of t over the steps, of each block apart. */
static int largest_spread(Judge *j, const char *rule, const Tensor *t, double *spread, Error *e)
{
    const size_t n = tensor_size(t) / t->blocks;
    *spread = 0;
    for (size_t k = 0; k < j->steps; k++) {
        char prefix[64];
        snprintf(prefix, sizeof prefix, "step.%zu.%s.grad.", k, rule);
        if (read_tensor(j, prefix, t, j->want, e) != 0)
            return -1;
        for (const float *g = j->want; g < j->want + tensor_size(t); g += n) {
            double squares = 0;
            for (size_t i = 0; i < n; i++)
                squares += (double)g[i] * (double)g[i];
            *spread = fmax(*spread, max_abs(g, n) / sqrt(squares));
        }
    }
    return 0;
}

/*
 * What fp32 may do to a parameter in N updates with given gradients. An update rounds the parameter, by at most 2^-24
 * of it, and the decay's factor 1 - lr wd, by at most 2^-25: together 0.9e-7, for which c->bound is 1e-7 of the scale.
 * The reference's own rounding adds 2^-24.
 *
 * AdamW's step adds little to that, also where a gradient is near zero: m/(sqrt(v) + eps) depends on relative errors
 * alone, which are 2^-24 for a rounded gradient and a few of these for m and sqrt(v), and by Cauchy-Schwarz
 * |m|/sqrt(v) < 1.2 for betas of 0.9 and 0.95, however gradients cancel in m. So a step is known to about 8 * 2^-24 lr:
 * less than a tenth of the above while the scale exceeds 40 lr.
 *
 * Muon's iteration X -> aX + b(XX')X + c(XX')^2 X starts with |X| = 1 (Frobenius) and has slope a = 3.4445 at zero.
 * Normalisation and iterations k = 1..5 each round X, whose norm is at most a^k by then, by about 2^-24 of it; what
 * follows can blow a direction of small singular values up by a^(5-k). So each of the six adds a^5 = 485 times 2^-24,
 * times (a + |b| + c) / a = 3 for the terms an iteration sums, times sqrt(4) for its four rounded operations (three
 * products and a sum): 3 sqrt(4) sqrt(6) = 15 in all, as they are independent. Rounding errors lie where X is large,
 * so an element gets at most the share max|X|/|X| of the norm, which is the gradient's. N steps add up to sqrt(N) times
 * one.
 */
static int update_bound(Judge *j, const Comparison *c, const Tensor *t, Bound *bound, Error *e)
{
    double lr = 0, spread = 0;
    *bound = (Bound){.of_scale = (double)j->steps * c->bound + UNIT};
    if (strcmp(c->rule, "muon") != 0 || t->role != ROLE_HIDDEN_MATRIX)
        return 0;
    if (metadata_number(j, "muon.lr", &lr, e) != 0 || largest_spread(j, c->rule, t, &spread, e) != 0)
        return -1;
    lr *= muon_scale(MUON_SCALE_ORIGINAL, t->rows / t->blocks, t->cols);
    bound->absolute = lr * 15 * 485 * UNIT * spread * sqrt((double)j->steps);
    return 0;
}

/* N updates with the gradients that PyTorch saw. */
static int update_with_fed_gradients(Judge *j, const char *rule, Error *e)
{
    Optim *optim;
    int failed = create_optim(j, rule, &optim, e);
    if (failed != 0)
        return -1;
    for (size_t k = 0; k < j->steps && failed == 0; k++) {
        char prefix[64];
        snprintf(prefix, sizeof prefix, "step.%zu.%s.grad.", k, rule);
        failed = load_arena(j, j->gpt, GPT_GRADS, prefix, e);
        if (failed == 0)
            optim_step(optim, 1, 1);
        gpt_params_changed(j->gpt);
    }
    optim_free(optim);
    return failed;
}

static int compare_fed_updates(Judge *j, const Comparison *c, Row *row, Error *e)
{
    char prefix[64];
    snprintf(prefix, sizeof prefix, "after.%s.", c->rule);
    if (update_with_fed_gradients(j, c->rule, e) != 0)
        return -1;
    for (const Tensor *t = j->table->tensors; t < j->table->tensors + j->table->count; t++) {
        Bound bound;
        if (update_bound(j, c, t, &bound, e) != 0 || compare_with_file(j, GPT_PARAMS, t, prefix, bound, row, e) != 0)
            return -1;
    }
    return 0;
}

/* One step of training on the file's batch k: *loss is the mean before the update, *want what PyTorch had. */
static int train_step(Judge *j, const char *rule, size_t k, Optim *optim, double *loss, float *want, Error *e)
{
    char name[64];
    snprintf(name, sizeof name, "step.%zu.", k);
    if (read_batch(j, name, e) != 0)
        return -1;
    snprintf(name, sizeof name, "step.%zu.%s.loss", k, rule);
    if (read_floats(j, name, 1, want, e) != 0)
        return -1;
    forward(j);
    *loss = backward(j) / (double)j->counted;
    optim_step(optim, 1, 1);
    gpt_params_changed(j->gpt);
    return 0;
}

/* N steps of training; the losses go to `losses` unless NULL. */
static int train(Judge *j, const Comparison *c, Row *losses, Error *e)
{
    Optim *optim;
    if (create_optim(j, c->rule, &optim, e) != 0)
        return -1;
    int failed = 0;
    for (size_t k = 0; k < j->steps && failed == 0; k++) {
        double loss;
        float want;
        char name[32];
        failed = train_step(j, c->rule, k, optim, &loss, &want, e);
        snprintf(name, sizeof name, "step %zu", k);
        if (failed == 0 && losses != NULL)
            record(losses, name, relative_difference(loss, (double)want), c->bound);
    }
    optim_free(optim);
    return failed;
}

static int compare_training_losses(Judge *j, const Comparison *c, Row *row, Error *e) { return train(j, c, row, e); }

static int compare_trained(Judge *j, const Comparison *c, Row *row, Error *e)
{
    char prefix[64];
    snprintf(prefix, sizeof prefix, "after.%s.", c->rule);
    if (train(j, c, NULL, e) != 0)
        return -1;
    for (const Tensor *t = j->table->tensors; t < j->table->tensors + j->table->count; t++) {
        if (read_tensor(j, prefix, t, j->want, e) != 0)
            return -1;
        gpt_read(j->gpt, GPT_PARAMS, t, j->got);
        record(row, t->name, tensor_distance(t, j->got, j->want), c->bound);
    }
    return 0;
}

/* --- Rounded products: tf32 and bf16 --- */

static void record_rounded(Judge *j, const char *what, double error, Row *row)
{
    char key[128];
    double own = 0;
    Error e;
    snprintf(key, sizeof key, "bf16.%s", what);
    if (metadata_number(j, key, &own, &e) != 0) /* a bound of 0 then, which nothing but equality meets */
        own = 0;
    record(row, what, error, 2 * own);
}

/* Of the mean; the bound is of the errors of single positions, whose mean may vanish by chance. */
static int compare_rounded_loss(Judge *j, const Comparison *c, Row *row, Error *e)
{
    float want;
    (void)c;
    if (read_floats(j, "loss", 1, &want, e) != 0)
        return -1;
    forward(j);
    record_rounded(j, "loss", relative_difference(backward(j) / (double)j->counted, (double)want), row);
    return 0;
}

static int compare_rounded_residuals(Judge *j, const Comparison *c, Row *row, Error *e)
{
    const size_t n = j->B * j->T * j->config.C;
    (void)c;
    forward(j);
    for (size_t layer = 1; layer <= j->config.L; layer++) {
        char name[32];
        snprintf(name, sizeof name, "residual.%zu", layer);
        if (read_floats(j, name, n, j->want, e) != 0)
            return -1;
        gpt_residual(j->gpt, layer, j->got);
        record_rounded(j, name, distance(j->got, j->want, n, n, n), row);
    }
    return 0;
}

static int compare_rounded_logits(Judge *j, const Comparison *c, Row *row, Error *e)
{
    const size_t V = j->config.V, rows = j->B * j->T, n = rows * V;
    (void)c;
    if (read_floats(j, "logits", n, j->want, e) != 0)
        return -1;
    forward(j);
    for (size_t i = 0; i < rows; i++)
        gpt_logits(j->gpt, i, j->got + i * V);
    record_rounded(j, "logits", distance(j->got, j->want, n, n, n), row);
    return 0;
}

static int compare_rounded_decode(Judge *j, const Comparison *c, Row *row, Error *e)
{
    const size_t V = j->config.V, n = j->T * V;
    Gpt *gpt;
    (void)c;
    if (create_inference(j, 1, &gpt, e) != 0)
        return -1;
    const int failed = read_floats(j, "logits", j->B * j->T * V, j->want, e);
    for (size_t t = 0; t < j->T && failed == 0; t++)
        gpt_decode(gpt, j->tokens[t], t, j->got + t * V);
    gpt_free(gpt);
    if (failed == 0)
        record_rounded(j, "logits", distance(j->got, j->want, n, n, n), row);
    return failed;
}

static int compare_rounded_gradients(Judge *j, const Comparison *c, Row *row, Error *e)
{
    (void)c;
    poison_gradients(j);
    forward(j);
    backward(j);
    for (const Tensor *t = j->table->tensors; t < j->table->tensors + j->table->count; t++) {
        char name[64];
        if (read_tensor(j, "grad.", t, j->want, e) != 0)
            return -1;
        gpt_read(j->gpt, GPT_GRADS, t, j->got);
        snprintf(name, sizeof name, "grad.%s", t->name);
        record_rounded(j, name, tensor_distance(t, j->got, j->want), row);
    }
    return 0;
}

/* Where layers share their activations, as in training with little memory. */
static int compare_decode_recomputing(Judge *j, const Comparison *c, Row *row, Error *e)
{
    j->recompute = GPT_RECOMPUTE_LAYERS;
    const int failed = c->bound > 0 ? decode(j, j->T / 2, c, row, e) : compare_rounded_decode(j, c, row, e);
    j->recompute = GPT_RECOMPUTE_NOTHING;
    return failed;
}

/* Gradients with those in `kept`. */
static int compare_with_kept(Judge *j, const Comparison *c, Row *row)
{
    poison_gradients(j);
    forward(j);
    backward(j);
    for (const Tensor *t = j->table->tensors; t < j->table->tensors + j->table->count; t++) {
        gpt_read(j->gpt, GPT_GRADS, t, j->got);
        record(row, t->name, max_error(j->got, j->kept + t->offset, tensor_size(t)), c->bound);
    }
    return 0;
}

/* Gradients with what the backward pass computes once more are those without, to the bit; but a rounded GELU is
 * computed again from its rounded input, so that is held against the file. */
static int compare_recomputed(Judge *j, const Comparison *c, Row *row, Error *e)
{
    Gpt *const plain = j->gpt;
    int failed = 0;
    forward(j);
    backward(j);
    for (const Tensor *t = j->table->tensors; t < j->table->tensors + j->table->count; t++)
        gpt_read(plain, GPT_GRADS, t, j->kept + t->offset);
    for (GptRecompute recompute = GPT_RECOMPUTE_CHEAP; recompute < GPT_RECOMPUTES && failed == 0; recompute++) {
        const GptSetup setup = {.B = j->B, .T = j->T, .mode = GPT_TRAINING, .dtype = j->dtype, .recompute = recompute};
        if (gpt_create(&j->config, &setup, &j->gpt, e) != 0)
            failed = -1;
        if (failed == 0)
            failed = load_arena(j, j->gpt, GPT_PARAMS, "param.", e);
        for (int again = 0; again < 3 && failed == 0; again++) /* the later ones replayed from a CUDA graph */
            failed = recompute == GPT_RECOMPUTE_CHEAP && j->dtype != GPT_FP32 ? compare_rounded_gradients(j, c, row, e)
                                                                              : compare_with_kept(j, c, row);
        gpt_free(j->gpt);
        j->gpt = plain;
    }
    return failed;
}

/* --- The table of comparisons --- */

static const Comparison comparisons[] = {
    {"loss", NULL, 1e-6, compare_loss},
    {"loss of gpt_backward", NULL, 1e-7, compare_loss_of_backward},
    {"residual stream", NULL, 1e-5, compare_residuals},
    {"logits", NULL, 1e-5, compare_logits},
    {"gradients", NULL, 1e-5, compare_gradients},
    {"gradients, accumulated", NULL, 3e-6, compare_accumulation},
    {"logits, inference", NULL, 1e-5, compare_inference},
    {"logits, decoded", NULL, 1e-5, compare_decode},
    {"logits, decoded after prompt", NULL, 1e-5, compare_decode_after_prompt},
    {"adamw, same gradients", "adamw", 1e-7, compare_fed_updates},
    {"adamw, losses of training", "adamw", 1e-5, compare_training_losses},
    {"adamw, trained (no key bias)", "adamw", 1e-3, compare_trained},
    {"muon, same gradients", "muon", 1e-7, compare_fed_updates},
    {"muon, losses of training", "muon", 1e-5, compare_training_losses},
    {"muon, trained (no key bias)", "muon", 1e-3, compare_trained},
    {"gradients, recomputed", NULL, 0, compare_recomputed},
    {"logits, decoded, recomputing", NULL, 1e-5, compare_decode_recomputing},
};

static const Comparison rounded_comparisons[] = {
    {"loss", NULL, 0, compare_rounded_loss},
    {"residual stream", NULL, 0, compare_rounded_residuals},
    {"logits", NULL, 0, compare_rounded_logits},
    {"logits, decoded", NULL, 0, compare_rounded_decode},
    {"gradients", NULL, 0, compare_rounded_gradients},
    {"gradients, recomputed", NULL, 0, compare_recomputed},
    {"logits, decoded, recomputing", NULL, 0, compare_decode_recomputing},
};

typedef struct Tally {
    size_t passed, failed, skipped;
} Tally;

/* NULL, or why this file cannot serve a comparison. */
static const char *reason_to_skip(const Judge *j, const Comparison *c)
{
    if (c->rule != NULL && j->steps == 0)
        return "the file has no optimizer steps";
    if (c->run == compare_fed_updates && !j->step_gradients)
        return "the file has no gradients of its steps";
    if ((c->run == compare_recomputed || c->run == compare_decode_recomputing) && gpt_kind() == GPT_ON_CPU)
        return "the CPU recomputes nothing";
    if (j->dtype != GPT_FP32 && safetensors_metadata(j->file, "bf16.loss") == NULL)
        return "the file does not hold PyTorch's own errors in bf16";
    return NULL;
}

static void run(Judge *j, const Comparison *c, Tally *tally)
{
    const char *skip = reason_to_skip(j, c);
    if (skip != NULL) {
        printf("%-30s %s  skip\n", c->title, skip);
        tally->skipped++;
        return;
    }
    Row row = {0};
    Error e;
    const bool done = load_arena(j, j->gpt, GPT_PARAMS, "param.", &e) == 0 && read_batch(j, "", &e) == 0 &&
                      c->run(j, c, &row, &e) == 0;
    const bool ok = done && row.compared > 0 && row.ratio <= 1;
    if (done)
        printf("%-30s %-32s %9.2e %9.2e  %s\n", c->title, row.worst, row.error, row.bound, ok ? "ok" : "FAIL");
    else
        printf("%-30s %s  FAIL\n", c->title, e.text);
    *(ok ? &tally->passed : &tally->failed) += 1;
}

/* --- A file --- */

static int read_config(Judge *j, Error *e)
{
    size_t gradients;
    if (metadata_size(j, "n_layer", &j->config.L, e) != 0 || metadata_size(j, "n_head", &j->config.NH, e) != 0 ||
        metadata_size(j, "n_embd", &j->config.C, e) != 0 || metadata_size(j, "vocab_size", &j->config.V, e) != 0 ||
        metadata_size(j, "n_positions", &j->config.T, e) != 0 || metadata_size(j, "B", &j->B, e) != 0 ||
        metadata_size(j, "T", &j->T, e) != 0 || metadata_size(j, "N", &j->steps, e) != 0 ||
        metadata_size(j, "step_gradients", &gradients, e) != 0 || gpt_config_check(&j->config, e) != 0)
        return -1;
    j->step_gradients = gradients != 0;
    if (j->B == 0 || j->T == 0 || j->T > j->config.T)
        return error_set(e, "B = %zu sequences of T = %zu tokens do not suit a model of %zu positions", j->B, j->T,
                         j->config.T);
    return 0;
}

static size_t largest_tensor(const Judge *j)
{
    const size_t V = j->config.V, C = j->config.C;
    size_t largest = j->B * j->T * (V > C ? V : C); /* logits, residuals */
    for (size_t i = 0; i < j->table->count; i++)
        if (tensor_size(&j->table->tensors[i]) > largest)
            largest = tensor_size(&j->table->tensors[i]);
    return largest;
}

static int open_judge(const char *path, Judge *j, Error *e)
{
    if (safetensors_open(path, &j->file, e) != 0 || read_config(j, e) != 0)
        return -1;
    const GptSetup setup = {.B = j->B, .T = j->T, .mode = GPT_TRAINING, .dtype = j->dtype};
    if (gpt_create(&j->config, &setup, &j->gpt, e) != 0)
        return -1;
    j->table = gpt_table(j->gpt);
    j->tokens = calloc(j->B * j->T, sizeof *j->tokens);
    j->targets = calloc(j->B * j->T, sizeof *j->targets);
    if (j->tokens == NULL || j->targets == NULL)
        return error_set(e, "out of memory for %zu tokens", j->B * j->T);
    const size_t n = largest_tensor(j);
    return memory_floats(n, "a tensor", &j->got, e) != 0 || memory_floats(n, "a reference", &j->want, e) != 0 ||
                   memory_floats(n, "a transposed tensor", &j->file_layout, e) != 0 ||
                   memory_floats(j->table->arena_size, "gradients", &j->kept, e) != 0
               ? -1
               : 0;
}

static void close_judge(Judge *j)
{
    memory_free(j->got);
    memory_free(j->want);
    memory_free(j->file_layout);
    memory_free(j->kept);
    free(j->tokens);
    free(j->targets);
    gpt_free(j->gpt);
    safetensors_close(j->file);
}

static void judge_file(const char *path, GptDtype dtype, Tally *tally)
{
    Judge j = {.dtype = dtype};
    Error e;
    if (open_judge(path, &j, &e) != 0) {
        printf("%s\n  %s  FAIL\n", path, e.text);
        tally->failed++;
    } else {
        printf("%s: L=%zu NH=%zu C=%zu V=%zu, B=%zu T=%zu of %zu, %zu steps; %s, %s\n", path, j.config.L, j.config.NH,
               j.config.C, j.config.V, j.B, j.T, j.config.T, j.steps, gpt_device(), gpt_dtype_names[dtype]);
        printf("%-30s %-32s %9s %9s\n", "quantity", "worst", "error", "bound");
        for (size_t i = 0; i < sizeof comparisons / sizeof *comparisons && dtype == GPT_FP32; i++)
            run(&j, &comparisons[i], tally);
        for (size_t i = 0; i < sizeof rounded_comparisons / sizeof *rounded_comparisons && dtype != GPT_FP32; i++)
            run(&j, &rounded_comparisons[i], tally);
    }
    close_judge(&j);
}

int main(int argc, char **argv)
{
    GptDtype dtype = GPT_FP32;
    int first = 1;
    if (argc > 2 && strcmp(argv[1], "--dtype") == 0) {
        for (dtype = 0; dtype < GPT_DTYPES && strcmp(argv[2], gpt_dtype_names[dtype]) != 0;)
            dtype++;
        first = 3;
    }
    if (argc <= first || dtype == GPT_DTYPES) {
        fprintf(stderr,
                "usage: %s [--dtype fp32|tf32|bf16] FILE...   reference files made by dev/reference/reference.py\n",
                argv[0]);
        return 2;
    }
    Tally tally = {0};
    for (int i = first; i < argc; i++)
        judge_file(argv[i], dtype, &tally);
    printf("%zu passed, %zu failed, %zu skipped\n", tally.passed, tally.failed, tally.skipped);
    return tally.failed > 0 || tally.passed == 0;
}
