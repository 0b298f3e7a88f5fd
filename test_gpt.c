/*
 * test_gpt [--dtype fp32|tf32|bf16] FILE...
 * test_gpt --llmc MODEL.bin STATE.bin
 *
 * Compares the twin of the model that this program is linked with against reference files, made with PyTorch in fp64 by
 * dev/reference/reference.py: loss, residual stream, logits, gradients, generation, and N steps of AdamW and Muon.
 * Prints a line per quantity with its worst tensor, and exits with 1 unless all lie within their bounds. Or against
 * llm.c's gpt2_124M.bin and gpt2_124M_debug_state.bin, in fp32: loss, logits, gradients and generation.
 *
 * Errors are the largest over a tensor's elements, relative to the tensor's scale, max|reference|. The fused q, k and v
 * are three tensors here, since their scales differ. The gradient of the key bias, where keys are neither rotated nor
 * normalised, is zero in exact arithmetic (softmax ignores what it adds to a row of scores), so its rounding noise is
 * compared with the query's scale.
 *
 * With tf32 and bf16 the errors are Euclidean, |got - want| / |want| of a tensor, and the bound is twice the error of
 * PyTorch's own bf16 (autocast), which dev/reference/reference.py --bf16 has recorded in the file. On a GPU that has
 * neither, the exit status is 77.
 */

#include "dev/reference/reference_file.h"
#include "dev/reference/verdict.h"
#include "gpt/gpt.h"
#include "optim/optim.h"
#include "optim/rules/muon.h"
#include "optim/rules/newton_schulz.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double UNIT = 0x1p-24; /* relative rounding error of fp32, at most */

enum { SKIPPED = 77 }; /* an exit status that dev/tests/gpu.sh knows */

typedef struct Comparison Comparison;
struct Comparison {
    const char *title;
    const char *rule;                                            /* the optimizer, or NULL */
    double bound;                                                /* relative */
    int (*run)(Reference *, const Comparison *, Row *, Error *); /* -1: something is missing or malformed */
};

/* Compares a tensor of an arena with "<prefix><name of t>". */
static int compare_with_file(Reference *ref, GptArena arena, const Tensor *t, const char *prefix, Bound bound, Row *row,
                             Error *e)
{
    if (reference_read_tensor(ref, prefix, t, ref->want, e) != 0)
        return -1;
    gpt_read(ref->gpt, arena, t, ref->got);
    row_compare_tensor(row, &ref->config, t, ref->got, ref->want, bound);
    return 0;
}

/* --- Loss, activations, gradients --- */

static void forward(Reference *ref)
{
    gpt_dropout(ref->gpt, ref->dropout);
    gpt_forward(ref->gpt, ref->tokens, ref->B, ref->T);
}

static double backward(Reference *ref)
{
    gpt_backward(ref->gpt, ref->targets, 1.0 / (double)ref->counted, true);
    return gpt_loss_sum(ref->gpt);
}

/* `first` must overwrite what the arena held: no NaN may be left. */
static void poison_gradients(Reference *ref)
{
    for (const Tensor *t = ref->table->tensors; t < ref->table->tensors + ref->table->count; t++) {
        for (size_t i = 0; i < tensor_size(t); i++)
            ref->got[i] = NAN;
        gpt_write(ref->gpt, GPT_GRADS, t, ref->got);
    }
}

static int compare_loss(Reference *ref, const Comparison *c, Row *row, Error *e)
{
    float want;
    if (reference_read_floats(ref, "loss", 1, &want, e) != 0)
        return -1;
    forward(ref);
    row_record(row, "loss", relative_difference(gpt_loss(ref->gpt, ref->targets) / (double)ref->counted, (double)want),
               c->bound);
    return 0;
}

/* gpt_backward gives the loss of gpt_loss: the same fp32 losses of positions, each rounded once, summed in double. */
static int compare_loss_of_backward(Reference *ref, const Comparison *c, Row *row, Error *e)
{
    (void)e;
    forward(ref);
    const double loss = gpt_loss(ref->gpt, ref->targets);
    row_record(row, "loss", relative_difference(backward(ref), loss), c->bound);
    return 0;
}

/* The first residual beyond its bound is where the twin goes wrong: later ones only inherit it. */
static void print_divergence(size_t layer)
{
    if (layer == 0)
        printf("  diverges first at residual.0: in the embeddings\n");
    else
        printf("  diverges first at residual.%zu: in layer %zu\n", layer, layer - 1);
}

static int compare_residuals(Reference *ref, const Comparison *c, Row *row, Error *e)
{
    const size_t n = ref->B * ref->T * ref->config.C;
    bool diverged = false;
    forward(ref);
    for (size_t layer = 0; layer <= ref->config.L; layer++) {
        char name[32];
        snprintf(name, sizeof name, "residual.%zu", layer);
        if (reference_read_floats(ref, name, n, ref->want, e) != 0)
            return -1;
        gpt_residual(ref->gpt, layer, ref->got);
        row_record_error(row, name, max_error(ref->got, ref->want, n), max_abs(ref->want, n), c->bound);
        if (!diverged && !(row->ratio <= 1)) {
            diverged = true;
            print_divergence(layer);
        }
    }
    return 0;
}

static int compare_logits_of(Reference *ref, Gpt *gpt, const Comparison *c, Row *row, Error *e)
{
    const size_t V = ref->config.V, rows = ref->B * ref->T;
    if (reference_read_floats(ref, "logits", rows * V, ref->want, e) != 0)
        return -1;
    for (size_t i = 0; i < rows; i++)
        gpt_logits(gpt, i, ref->got + i * V);
    row_record_error(row, "logits", max_error(ref->got, ref->want, rows * V), max_abs(ref->want, rows * V), c->bound);
    return 0;
}

/* By how much a share of the sum of softmax(logits) misses the part of it that is a label's. */
static double miss_of(const float *logits, size_t V, int32_t label, double share)
{
    double largest = -INFINITY, sum = 0, before = 0;
    for (size_t i = 0; i < V; i++)
        largest = fmax(largest, (double)logits[i]);
    for (size_t i = 0; i < V; i++) {
        before = i == (size_t)label ? sum : before;
        sum += exp((double)logits[i] - largest);
    }
    const double own = exp((double)logits[label] - largest);
    return fmax(0, fmax(before / sum - share, share - (before + own) / sum));
}

/* Labels against the distributions of gpt_logits, which differ from those that they are drawn from as logits do. */
static int compare_drawn(Reference *ref, const Comparison *c, Row *row, Error *e)
{
    const size_t V = ref->config.V, rows = ref->B * ref->T;
    int32_t *labels = malloc(rows * sizeof *labels);
    double worst = 0;
    if (labels == NULL)
        return error_set(e, "out of memory for labels");
    forward(ref);
    for (size_t i = 0; i < rows; i++)
        gpt_logits(ref->gpt, i, ref->got + i * V);
    for (uint64_t key = 0; key < 8 && key * rows < 4096; key++) { /* more labels would prove nothing */
        gpt_draw(ref->gpt, key, 100 * key, labels);
        for (size_t i = 0; i < rows; i++) {
            const bool is_one = labels[i] >= 0 && (size_t)labels[i] < V;
            const double share = gpt_draw_share(key, 100 * key + i);
            worst = fmax(worst, is_one ? miss_of(ref->got + i * V, V, labels[i], share) : 1);
        }
    }
    free(labels);
    row_record(row, "labels", worst, c->bound);
    return 0;
}

/* Cross-entropy of one row of logits, in double; 0 where there is no target. */
static double cross_entropy(const float *logits, size_t V, int32_t target)
{
    double largest = -INFINITY, sum = 0;
    for (size_t i = 0; i < V; i++)
        largest = fmax(largest, (double)logits[i]);
    for (size_t i = 0; i < V; i++)
        sum += exp((double)logits[i] - largest);
    return target < 0 ? 0 : largest + log(sum) - (double)logits[target];
}

/* Each position's against that of the file's logits. */
static int compare_losses(Reference *ref, const Comparison *c, Row *row, Error *e)
{
    const size_t V = ref->config.V, rows = ref->B * ref->T;
    if (reference_read_floats(ref, "logits", rows * V, ref->want, e) != 0)
        return -1;
    double *losses = malloc(rows * sizeof *losses);
    if (losses == NULL)
        return error_set(e, "out of memory");
    forward(ref);
    gpt_loss(ref->gpt, ref->targets);
    gpt_losses(ref->gpt, losses);
    for (size_t i = 0; i < rows; i++) {
        const double want = cross_entropy(ref->want + i * V, V, ref->targets[i]);
        ref->got[i] = (float)losses[i];
        ref->want[i] = (float)want; /* these logits have been read */
    }
    free(losses);
    row_record_error(row, "losses", max_error(ref->got, ref->want, rows), max_abs(ref->want, rows), c->bound);
    return 0;
}

static int compare_logits(Reference *ref, const Comparison *c, Row *row, Error *e)
{
    forward(ref);
    return compare_logits_of(ref, ref->gpt, c, row, e);
}

/* llm.c's gradients are those of PyTorch in fp32, which for a random model of GPT-2's size (124M, 4 x 64 tokens) lie
 * within 4.1e-6 of fp64's. */
static const double LLMC_ERROR = 5e-6;

static int compare_gradients(Reference *ref, const Comparison *c, Row *row, Error *e)
{
    const Bound bound = {.of_scale = c->bound + (ref->file == NULL ? LLMC_ERROR : 0)};
    poison_gradients(ref);
    forward(ref);
    backward(ref);
    for (const Tensor *t = ref->table->tensors; t < ref->table->tensors + ref->table->count; t++)
        if (compare_with_file(ref, GPT_GRADS, t, "grad.", bound, row, e) != 0)
            return -1;
    return 0;
}

/* Gradients accumulated over B micro-batches of one sequence against those of the whole batch: two fp32 results, each
 * of which may be as far from the exact one as PyTorch's own in fp32, 1.5e-6 (dev/reference/reference.py prints it). */
static int compare_accumulation(Reference *ref, const Comparison *c, Row *row, Error *e)
{
    (void)e;
    const GptTable *table = ref->table;
    forward(ref);
    const double whole_loss = backward(ref);
    for (size_t i = 0; i < table->count; i++)
        gpt_read(ref->gpt, GPT_GRADS, &table->tensors[i], ref->kept + table->tensors[i].offset);

    poison_gradients(ref);
    for (size_t b = 0; b < ref->B; b++) {
        gpt_dropout(ref->gpt, (GptDropout){ref->dropout.p, ref->dropout.key, b});
        gpt_forward(ref->gpt, ref->tokens + b * ref->T, 1, ref->T);
        gpt_backward(ref->gpt, ref->targets + b * ref->T, 1.0 / (double)ref->counted, b == 0);
    }
    row_record(row, "loss", relative_difference(gpt_loss_sum(ref->gpt), whole_loss), c->bound);
    for (size_t i = 0; i < table->count; i++) {
        const Tensor *t = &table->tensors[i];
        gpt_read(ref->gpt, GPT_GRADS, t, ref->got);
        row_compare_tensor(row, &ref->config, t, ref->got, ref->kept + t->offset, (Bound){.of_scale = c->bound});
    }
    return 0;
}

/* --- Inference --- */

/* An inference model with the file's parameters; the caller frees it. */
static int create_inference(Reference *ref, size_t B, Gpt **gpt, Error *e)
{
    const GptSetup setup = {
        .B = B, .T = ref->T, .mode = GPT_INFERENCE, .dtype = ref->dtype, .recompute = ref->recompute};
    if (gpt_create(&ref->config, &setup, gpt, e) != 0)
        return -1;
    if (reference_load_arena(ref, *gpt, GPT_PARAMS, "param.", e) == 0)
        return 0;
    gpt_free(*gpt);
    return -1;
}

static int compare_inference(Reference *ref, const Comparison *c, Row *row, Error *e)
{
    Gpt *gpt;
    if (create_inference(ref, ref->B, &gpt, e) != 0)
        return -1;
    gpt_forward(gpt, ref->tokens, ref->B, ref->T);
    const int failed = compare_logits_of(ref, gpt, c, row, e);
    gpt_free(gpt);
    return failed;
}

/* Decodes the first sequence token by token, after a prompt of `prompt` tokens passed to gpt_forward. */
static int decode(Reference *ref, size_t prompt, const Comparison *c, Row *row, Error *e)
{
    const size_t V = ref->config.V;
    Gpt *gpt;
    if (create_inference(ref, 1, &gpt, e) != 0)
        return -1;
    const int failed = reference_read_floats(ref, "logits", ref->B * ref->T * V, ref->want, e);
    const double scale = max_abs(ref->want, ref->B * ref->T * V);
    if (prompt > 0)
        gpt_forward(gpt, ref->tokens, 1, prompt);
    for (size_t t = prompt; t < ref->T && failed == 0; t++) {
        char name[32];
        snprintf(name, sizeof name, "position %zu", t);
        gpt_decode(gpt, ref->tokens[t], t, ref->got);
        row_record_error(row, name, max_error(ref->got, ref->want + t * V, V), scale, c->bound);
    }
    gpt_free(gpt);
    return failed;
}

static int compare_decode(Reference *ref, const Comparison *c, Row *row, Error *e) { return decode(ref, 0, c, row, e); }

static int compare_decode_after_prompt(Reference *ref, const Comparison *c, Row *row, Error *e)
{
    return decode(ref, ref->T / 2, c, row, e);
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

static int read_hyper(Reference *ref, const HyperKey *keys, OptimHyper *to, Error *e)
{
    for (; keys->key != NULL; keys++) {
        double value = 0;
        if (reference_number(ref, keys->key, &value, e) != 0)
            return -1;
        hyper_set(to, keys->id, value);
    }
    return 0;
}

/* The rule `name` with the file's hyperparameters, over ref->gpt. */
static int create_optim(Reference *ref, const char *name, Optim **optim, Error *e)
{
    OptimConfig config = {.rule = name, .aux_rule = "adamw"};
    if (read_hyper(ref, adamw_keys, &config.aux_hyper, e) != 0)
        return -1;
    if (strcmp(name, "muon") != 0) {
        config.hyper = config.aux_hyper;
    } else {
        if (read_hyper(ref, muon_keys, &config.hyper, e) != 0)
            return -1;
        hyper_set(&config.hyper, HYPER_NESTEROV, 1);
        hyper_set(&config.hyper, HYPER_NS, NS_JORDAN);
        hyper_set(&config.hyper, HYPER_NS_DTYPE, NS_FP32);
        hyper_set(&config.hyper, HYPER_MUON_SCALE, MUON_SCALE_ORIGINAL);
        hyper_set(&config.hyper, HYPER_SPLIT_QKV, 1);
    }
    const Arenas arenas = gpt_arenas(ref->gpt);
    return optim_create(&config, ref->table->tensors, ref->table->count, &arenas, optim, e);
}

/* The largest max|g|/|g| (Euclidean) of the gradients of t over the steps, each block separately. */
static int largest_spread(Reference *ref, const char *rule, const Tensor *t, double *spread, Error *e)
{
    const size_t n = tensor_size(t) / t->blocks;
    *spread = 0;
    for (size_t k = 0; k < ref->steps; k++) {
        char prefix[64];
        snprintf(prefix, sizeof prefix, "step.%zu.%s.grad.", k, rule);
        if (reference_read_tensor(ref, prefix, t, ref->want, e) != 0)
            return -1;
        for (const float *g = ref->want; g < ref->want + tensor_size(t); g += n) {
            double squares = 0;
            for (size_t i = 0; i < n; i++)
                squares += (double)g[i] * (double)g[i];
            *spread = fmax(*spread, max_abs(g, n) / sqrt(squares));
        }
    }
    return 0;
}

/*
 * How far fp32 may move a parameter in N updates with given gradients. An update rounds the parameter, by at most 2^-24
 * of it, and the decay's factor 1 - lr wd, by at most 2^-25: together 0.9e-7, for which c->bound is 1e-7 of the scale.
 * The reference's own rounding adds 2^-24.
 *
 * AdamW's step adds little to that, even where a gradient is near zero: m/(sqrt(v) + eps) depends on relative errors
 * alone, which are 2^-24 for a rounded gradient and a few of these for m and sqrt(v), and by Cauchy-Schwarz
 * |m|/sqrt(v) < 1.2 for betas of 0.9 and 0.95, however gradients cancel in m. So a step is known to about 8 * 2^-24 lr:
 * less than a tenth of the above while the scale exceeds 40 lr.
 *
 * Muon's iteration X -> aX + b(XX')X + c(XX')^2 X starts with |X| = 1 (Frobenius) and has slope a = 3.4445 at zero.
 * Normalisation and iterations k = 1..5 each round X, whose norm is at most a^k by then, by about 2^-24 of it; what
 * follows can amplify directions of small singular values by a^(5-k). So each of the six adds a^5 = 485 times 2^-24,
 * times (a + |b| + c) / a = 3 for the terms an iteration sums, times sqrt(4) for its four rounded operations (three
 * products and a sum): 3 sqrt(4) sqrt(6) = 15 in all, as they are independent. Rounding errors lie where X is large,
 * so an element gets at most the share max|X|/|X| of the norm, which is the gradient's. N steps give sqrt(N) times one.
 */
static int update_bound(Reference *ref, const Comparison *c, const Tensor *t, Bound *bound, Error *e)
{
    double lr = 0, spread = 0;
    *bound = (Bound){.of_scale = (double)ref->steps * c->bound + UNIT};
    if (strcmp(c->rule, "muon") != 0 || t->role != ROLE_HIDDEN_MATRIX)
        return 0;
    if (reference_number(ref, "muon.lr", &lr, e) != 0 || largest_spread(ref, c->rule, t, &spread, e) != 0)
        return -1;
    lr *= muon_scale(MUON_SCALE_ORIGINAL, t->rows / t->blocks, t->cols);
    bound->absolute = lr * 15 * 485 * UNIT * spread * sqrt((double)ref->steps);
    return 0;
}

/* N updates with PyTorch's gradients. */
static int update_with_fed_gradients(Reference *ref, const char *rule, Error *e)
{
    Optim *optim;
    int failed = create_optim(ref, rule, &optim, e);
    if (failed != 0)
        return -1;
    for (size_t k = 0; k < ref->steps && failed == 0; k++) {
        char prefix[64];
        snprintf(prefix, sizeof prefix, "step.%zu.%s.grad.", k, rule);
        failed = reference_load_arena(ref, ref->gpt, GPT_GRADS, prefix, e);
        if (failed == 0)
            optim_step(optim, 1);
    }
    optim_free(optim);
    return failed;
}

static int compare_fed_updates(Reference *ref, const Comparison *c, Row *row, Error *e)
{
    char prefix[64];
    snprintf(prefix, sizeof prefix, "after.%s.", c->rule);
    if (update_with_fed_gradients(ref, c->rule, e) != 0)
        return -1;
    for (const Tensor *t = ref->table->tensors; t < ref->table->tensors + ref->table->count; t++) {
        Bound bound;
        if (update_bound(ref, c, t, &bound, e) != 0 ||
            compare_with_file(ref, GPT_PARAMS, t, prefix, bound, row, e) != 0)
            return -1;
    }
    return 0;
}

/* One step of training on the file's batch k: *loss is the mean before the update, *want PyTorch's. */
static int train_step(Reference *ref, const char *rule, size_t k, Optim *optim, double *loss, float *want, Error *e)
{
    char name[64];
    snprintf(name, sizeof name, "step.%zu.", k);
    if (reference_read_batch(ref, name, e) != 0)
        return -1;
    snprintf(name, sizeof name, "step.%zu.%s.loss", k, rule);
    if (reference_read_floats(ref, name, 1, want, e) != 0)
        return -1;
    forward(ref);
    *loss = backward(ref) / (double)ref->counted;
    optim_step(optim, 1);
    return 0;
}

/* N steps of training; the losses go to `losses` unless NULL. */
static int train(Reference *ref, const Comparison *c, Row *losses, Error *e)
{
    Optim *optim;
    if (create_optim(ref, c->rule, &optim, e) != 0)
        return -1;
    int failed = 0;
    for (size_t k = 0; k < ref->steps && failed == 0; k++) {
        double loss;
        float want;
        char name[32];
        failed = train_step(ref, c->rule, k, optim, &loss, &want, e);
        snprintf(name, sizeof name, "step %zu", k);
        if (failed == 0 && losses != NULL)
            row_record(losses, name, relative_difference(loss, (double)want), c->bound);
    }
    optim_free(optim);
    return failed;
}

static int compare_training_losses(Reference *ref, const Comparison *c, Row *row, Error *e)
{
    return train(ref, c, row, e);
}

static int compare_trained(Reference *ref, const Comparison *c, Row *row, Error *e)
{
    char prefix[64];
    snprintf(prefix, sizeof prefix, "after.%s.", c->rule);
    if (train(ref, c, NULL, e) != 0)
        return -1;
    for (const Tensor *t = ref->table->tensors; t < ref->table->tensors + ref->table->count; t++) {
        if (reference_read_tensor(ref, prefix, t, ref->want, e) != 0)
            return -1;
        gpt_read(ref->gpt, GPT_PARAMS, t, ref->got);
        row_record(row, t->name, tensor_distance(&ref->config, t, ref->got, ref->want), c->bound);
    }
    return 0;
}

/* --- Rounded products: tf32 and bf16 --- */

static void record_rounded(Reference *ref, const char *what, double error, Row *row)
{
    char key[160];
    double own = 0;
    Error e;
    snprintf(key, sizeof key, "bf16.%s", what);
    if (reference_number(ref, key, &own, &e) != 0) /* the bound is then 0, which only equality meets */
        own = 0;
    row_record(row, what, error, 2 * own);
}

/* Of the mean; the bound comes from the errors of single positions, whose mean may vanish by chance. */
static int compare_rounded_loss(Reference *ref, const Comparison *c, Row *row, Error *e)
{
    float want;
    (void)c;
    if (reference_read_floats(ref, "loss", 1, &want, e) != 0)
        return -1;
    forward(ref);
    record_rounded(ref, "loss", relative_difference(backward(ref) / (double)ref->counted, (double)want), row);
    return 0;
}

static int compare_rounded_residuals(Reference *ref, const Comparison *c, Row *row, Error *e)
{
    const size_t n = ref->B * ref->T * ref->config.C;
    (void)c;
    forward(ref);
    for (size_t layer = 1; layer <= ref->config.L; layer++) {
        char name[32];
        snprintf(name, sizeof name, "residual.%zu", layer);
        if (reference_read_floats(ref, name, n, ref->want, e) != 0)
            return -1;
        gpt_residual(ref->gpt, layer, ref->got);
        record_rounded(ref, name, distance(ref->got, ref->want, n, n, n), row);
    }
    return 0;
}

static int compare_rounded_logits(Reference *ref, const Comparison *c, Row *row, Error *e)
{
    const size_t V = ref->config.V, rows = ref->B * ref->T, n = rows * V;
    (void)c;
    if (reference_read_floats(ref, "logits", n, ref->want, e) != 0)
        return -1;
    forward(ref);
    for (size_t i = 0; i < rows; i++)
        gpt_logits(ref->gpt, i, ref->got + i * V);
    record_rounded(ref, "logits", distance(ref->got, ref->want, n, n, n), row);
    return 0;
}

static int compare_rounded_decode(Reference *ref, const Comparison *c, Row *row, Error *e)
{
    const size_t V = ref->config.V, n = ref->T * V;
    Gpt *gpt;
    (void)c;
    if (create_inference(ref, 1, &gpt, e) != 0)
        return -1;
    const int failed = reference_read_floats(ref, "logits", ref->B * ref->T * V, ref->want, e);
    for (size_t t = 0; t < ref->T && failed == 0; t++)
        gpt_decode(gpt, ref->tokens[t], t, ref->got + t * V);
    gpt_free(gpt);
    if (failed == 0)
        record_rounded(ref, "logits", distance(ref->got, ref->want, n, n, n), row);
    return failed;
}

static int compare_rounded_gradients(Reference *ref, const Comparison *c, Row *row, Error *e)
{
    (void)c;
    poison_gradients(ref);
    forward(ref);
    backward(ref);
    for (const Tensor *t = ref->table->tensors; t < ref->table->tensors + ref->table->count; t++) {
        char name[64];
        if (reference_read_tensor(ref, "grad.", t, ref->want, e) != 0)
            return -1;
        gpt_read(ref->gpt, GPT_GRADS, t, ref->got);
        snprintf(name, sizeof name, "grad.%s", t->name);
        record_rounded(ref, name, tensor_distance(&ref->config, t, ref->got, ref->want), row);
    }
    return 0;
}

/* With layers that share their activations, as in training with little memory. */
static int compare_decode_recomputing(Reference *ref, const Comparison *c, Row *row, Error *e)
{
    ref->recompute = GPT_RECOMPUTE_LAYERS;
    const int failed = c->bound > 0 ? decode(ref, ref->T / 2, c, row, e) : compare_rounded_decode(ref, c, row, e);
    ref->recompute = GPT_RECOMPUTE_NOTHING;
    return failed;
}

/* Compares the gradients with those in `kept`. */
static int compare_with_kept(Reference *ref, double bound, Row *row)
{
    poison_gradients(ref);
    forward(ref);
    backward(ref);
    for (const Tensor *t = ref->table->tensors; t < ref->table->tensors + ref->table->count; t++) {
        gpt_read(ref->gpt, GPT_GRADS, t, ref->got);
        row_record(row, t->name, max_error(ref->got, ref->kept + t->offset, tensor_size(t)), bound);
    }
    return 0;
}

/* Gradients with recomputation equal those without, bit for bit; but a rounded GELU is recomputed from its rounded
 * input, so that is compared with the file, and those of many rows are sums in another order. */
static int compare_recomputed(Reference *ref, const Comparison *c, Row *row, Error *e)
{
    Gpt *const plain = ref->gpt;
    const double bound = ref->B * ref->T > GPT_RECOMPUTE_ROWS ? 1e-5 : c->bound;
    int failed = 0;
    forward(ref);
    backward(ref);
    for (const Tensor *t = ref->table->tensors; t < ref->table->tensors + ref->table->count; t++)
        gpt_read(plain, GPT_GRADS, t, ref->kept + t->offset);
    for (GptRecompute recompute = GPT_RECOMPUTE_CHEAP; recompute < GPT_RECOMPUTES && failed == 0; recompute++) {
        const GptSetup setup = {.B = ref->B,
                                .T = ref->T,
                                .mode = GPT_TRAINING,
                                .dtype = ref->dtype,
                                .recompute = recompute,
                                .dropout = ref->dropout.p > 0};
        if (gpt_create(&ref->config, &setup, &ref->gpt, e) != 0)
            failed = -1;
        if (failed == 0)
            failed = reference_load_arena(ref, ref->gpt, GPT_PARAMS, "param.", e);
        for (int again = 0; again < 3 && failed == 0; again++) /* later passes are replayed from a CUDA graph */
            failed = recompute == GPT_RECOMPUTE_CHEAP && ref->dtype != GPT_FP32
                         ? compare_rounded_gradients(ref, c, row, e)
                         : compare_with_kept(ref, bound, row);
        gpt_free(ref->gpt);
        ref->gpt = plain;
    }
    return failed;
}

/* --- Initial values --- */

/* Every twin's are those of gpt_table_draw, bit for bit. */
static int compare_init(Reference *ref, const Comparison *c, Row *row, Error *e)
{
    if (gpt_init(ref->gpt, 1, e) != 0)
        return -1;
    for (size_t i = 0; i < ref->table->count; i++) {
        const Tensor *t = &ref->table->tensors[i];
        if (gpt_table_draw(ref->table, i, 1, ref->want, e) != 0)
            return -1;
        gpt_read(ref->gpt, GPT_PARAMS, t, ref->got);
        row_record(row, t->name, max_error(ref->got, ref->want, tensor_size(t)), c->bound);
    }
    return 0;
}

/* --- The table of comparisons --- */

static const Comparison comparisons[] = {
    {"loss", NULL, 1e-6, compare_loss},
    {"loss of gpt_backward", NULL, 1e-7, compare_loss_of_backward},
    {"losses by position", NULL, 1e-5, compare_losses},
    {"residual stream", NULL, 1e-5, compare_residuals},
    {"logits", NULL, 1e-5, compare_logits},
    {"labels drawn", NULL, 1e-5, compare_drawn},
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
    {"initial values", NULL, 0, compare_init},
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

/* NULL, or why this file cannot serve a comparison. */
static const char *reason_to_skip(const Reference *ref, const Comparison *c)
{
    const bool infers = c->run == compare_inference || c->run == compare_decode ||
                        c->run == compare_decode_after_prompt || c->run == compare_decode_recomputing ||
                        c->run == compare_rounded_decode;
    if (ref->file == NULL && c->run == compare_residuals)
        return "llm.c's state has no residual stream";
    if (infers && ref->dropout.p > 0)
        return "the file's logits are those of training with dropout";
    if (c->rule != NULL && ref->steps == 0)
        return "the file has no optimizer steps";
    if (c->run == compare_fed_updates && !ref->step_gradients)
        return "the file has no gradients of its steps";
    if ((c->run == compare_recomputed || c->run == compare_decode_recomputing) && gpt_kind() == GPT_ON_CPU)
        return "the CPU recomputes nothing";
    if (ref->dtype != GPT_FP32 && safetensors_metadata(ref->file, "bf16.loss") == NULL)
        return "the file does not hold PyTorch's own errors in bf16";
    return NULL;
}

static void run(Reference *ref, const Comparison *c, Tally *tally)
{
    const char *skip = reason_to_skip(ref, c);
    Row row = {0};
    Error e;
    if (skip != NULL)
        verdict_skip(c->title, skip, tally);
    else if (reference_load_arena(ref, ref->gpt, GPT_PARAMS, "param.", &e) != 0 ||
             reference_read_batch(ref, "", &e) != 0 || c->run(ref, c, &row, &e) != 0)
        verdict_error(c->title, &e, tally);
    else
        verdict_row(c->title, &row, tally);
}

/* state: of llm.c's model at path; NULL: path is a reference file. */
static void diff_file(const char *path, const char *state, GptDtype dtype, Tally *tally)
{
    Reference ref = {.dtype = dtype};
    Error e;
    if ((state != NULL ? reference_open_llmc(path, state, &ref, &e) : reference_open(path, &ref, &e)) != 0) {
        printf("%s\n  %s  FAIL\n", path, e.text);
        tally->failed++;
    } else {
        printf("%s: L=%zu NH=%zu C=%zu V=%zu, B=%zu T=%zu of %zu, %zu steps; %s, %s\n", path, ref.config.L,
               ref.config.NH, ref.config.C, ref.config.V, ref.B, ref.T, ref.config.T, ref.steps, gpt_device(),
               gpt_dtype_names[dtype]);
        verdict_head();
        for (size_t i = 0; i < sizeof comparisons / sizeof *comparisons && dtype == GPT_FP32; i++)
            run(&ref, &comparisons[i], tally);
        for (size_t i = 0; i < sizeof rounded_comparisons / sizeof *rounded_comparisons && dtype != GPT_FP32; i++)
            run(&ref, &rounded_comparisons[i], tally);
    }
    reference_close(&ref);
}

/* Whether the device multiplies in tf32 and bf16: its default for heads that every kernel takes. */
static bool has_rounded(void)
{
    const GptConfig config = {.C = 64, .NH = 1};
    return gpt_default_dtype(&config) != GPT_FP32;
}

int main(int argc, char **argv)
{
    GptDtype dtype = GPT_FP32;
    Tally tally = {0};
    int first = 1;
    if (argc == 4 && strcmp(argv[1], "--llmc") == 0) {
        diff_file(argv[2], argv[3], GPT_FP32, &tally);
        return verdict_summary(&tally);
    }
    if (argc > 2 && strcmp(argv[1], "--dtype") == 0) {
        for (dtype = 0; dtype < GPT_DTYPES && strcmp(argv[2], gpt_dtype_names[dtype]) != 0;)
            dtype++;
        first = 3;
    }
    if (argc <= first || dtype == GPT_DTYPES || strcmp(argv[first], "--llmc") == 0) {
        fprintf(stderr,
                "usage: %s [--dtype fp32|tf32|bf16] FILE...   reference files made by dev/reference/reference.py\n"
                "       %s --llmc MODEL.bin STATE.bin         a model and a debug state of llm.c\n",
                argv[0], argv[0]);
        return 2;
    }
    if (dtype != GPT_FP32 && gpt_kind() == GPT_ON_GPU && !has_rounded()) {
        printf("this GPU has no %s\n", gpt_dtype_names[dtype]);
        return SKIPPED;
    }
    for (int i = first; i < argc; i++)
        diff_file(argv[i], NULL, dtype, &tally);
    return verdict_summary(&tally);
}
