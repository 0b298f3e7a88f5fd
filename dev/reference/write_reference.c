/*
 * Writes a reference file for test_gpt by the CPU's twin, which PyTorch has judged: loss, residuals, logits and
 * gradients, but no optimizer steps.
 *
 * write_reference FILE L NH C V T B [KEY=VALUE]...: of a random model of any size and kind, so that larger and odder
 * models than the committed ones can be held against the GPU's twin where no PyTorch is. dropout=P among the keys: with
 * dropout.
 *
 * write_reference FILE DIR T B: of a checkpoint's weights, for dev/reference/huggingface.py to compare.
 */
#include "base/random.h"
#include "dev/reference/reference_file.h"
#include "files/safetensors.h"
#include "gpt/gpt.h"
#include "train/checkpoint.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fail(const char *sentence)
{
    fprintf(stderr, "write_reference: %s\n", sentence);
    exit(1);
}

static void *allocate(size_t n, size_t size)
{
    void *p = calloc(n, size);
    if (p == NULL)
        fail("out of memory");
    return p;
}

typedef struct Model {
    GptConfig config;
    size_t B, T, R;
    GptDropout dropout;
    Gpt *gpt;
    const GptTable *table;
    int32_t *tokens, *targets;
    float loss;
} Model;

static void draw_batch(Model *m, Random *random)
{
    for (size_t i = 0; i < m->R; i++) {
        m->tokens[i] = (int32_t)random_below(random, m->config.V);
        m->targets[i] = i % 7 == 3 ? -1 : (int32_t)random_below(random, m->config.V); /* some are left out */
    }
}

/* Parameters far from their initialisation, so that every term of every gradient counts. */
static void draw_parameters(Model *m, Random *random)
{
    for (const Tensor *t = m->table->tensors; t < m->table->tensors + m->table->count; t++) {
        const double std = t->role == ROLE_HIDDEN_MATRIX ? 1.5 / sqrt((double)t->cols) : 0.3;
        float *x = allocate(tensor_size(t), sizeof *x);
        for (size_t i = 0; i < tensor_size(t); i++)
            x[i] = (float)((t->role == ROLE_GAIN ? 1 : 0) + std * random_normal(random));
        gpt_write(m->gpt, GPT_PARAMS, t, x);
        free(x);
    }
}

static void compute(Model *m)
{
    size_t counted = 0;
    for (size_t i = 0; i < m->R; i++)
        counted += m->targets[i] >= 0;
    gpt_dropout(m->gpt, m->dropout);
    gpt_forward(m->gpt, m->tokens, m->B, m->T);
    gpt_backward(m->gpt, m->targets, 1.0 / (double)counted, true);
    m->loss = (float)(gpt_loss_sum(m->gpt) / (double)counted);
}

/* --------------------------------------------------------------------------------------------------------------
 * The file. A list of what it holds is gone through twice: for the header, and for the data.
 */

typedef struct Output {
    SafetensorsSpec *specs; /* in the first pass */
    char (*names)[96];
    size_t count;
    SafetensorsWriter *writer; /* in the second */
} Output;

static void put(Output *out, const char *name, Dtype dtype, size_t rows, size_t cols, const void *data)
{
    Error e;
    if (out->writer == NULL) {
        snprintf(out->names[out->count], sizeof *out->names, "%s", name);
        out->specs[out->count] =
            (SafetensorsSpec){.name = out->names[out->count], .dtype = dtype, .rank = 2, .shape = {rows, cols}};
        out->count++;
    } else if (safetensors_append(out->writer, data, rows * cols * 4, &e) != 0) {
        fail(e.text);
    }
}

static void put_tensor(Output *out, const Model *m, GptArena arena, const char *prefix, const Tensor *t)
{
    char name[96];
    float *x = allocate(2 * tensor_size(t), sizeof *x), *layout = x + tensor_size(t);
    snprintf(name, sizeof name, "%s%s", prefix, t->name);
    gpt_read(m->gpt, arena, t, x);
    for (size_t r = 0; r < t->rows; r++)
        for (size_t c = 0; c < t->cols; c++)
            layout[t->transposed ? c * t->rows + r : r * t->cols + c] = x[r * t->cols + c];
    put(out, name, DTYPE_F32, t->transposed ? t->cols : t->rows, t->transposed ? t->rows : t->cols, layout);
    free(x);
}

static void put_all(Output *out, const Model *m)
{
    const size_t T = m->T, C = m->config.C, V = m->config.V;
    float *rows = allocate(m->R * (C > V ? C : V), sizeof *rows);
    put(out, "tokens", DTYPE_I32, m->B, T, m->tokens);
    put(out, "targets", DTYPE_I32, m->B, T, m->targets);
    put(out, "loss", DTYPE_F32, 1, 1, &m->loss);
    for (size_t layer = 0; layer <= m->config.L; layer++) {
        char name[32];
        snprintf(name, sizeof name, "residual.%zu", layer);
        gpt_residual(m->gpt, layer, rows);
        put(out, name, DTYPE_F32, m->R, C, rows);
    }
    for (size_t r = 0; r < m->R; r++)
        gpt_logits(m->gpt, r, rows + r * V);
    put(out, "logits", DTYPE_F32, m->R, V, rows);
    for (size_t i = 0; i < m->table->count; i++) {
        put_tensor(out, m, GPT_PARAMS, "param.", &m->table->tensors[i]);
        put_tensor(out, m, GPT_GRADS, "grad.", &m->table->tensors[i]);
    }
    free(rows);
}

static void write_file(const char *path, const Model *m)
{
    enum { OWN = 4 };
    char values[GPT_FIELDS][64], T[24], B[24], dropout[32];
    const size_t count = GPT_FIELDS + OWN + (m->dropout.p > 0);
    const char *metadata[GPT_FIELDS + OWN + 1][2] = {{"T", T}, {"B", B}, {"N", "0"}, {"step_gradients", "0"}};
    snprintf(T, sizeof T, "%zu", m->T);
    snprintf(B, sizeof B, "%zu", m->B);
    for (size_t i = 0; i < GPT_FIELDS; i++) {
        gpt_field_format(&gpt_fields[i], &m->config, true, values[i], sizeof values[i]);
        metadata[OWN + i][0] = gpt_fields[i].key;
        metadata[OWN + i][1] = values[i];
    }
    snprintf(dropout, sizeof dropout, "%.17g", m->dropout.p);
    metadata[GPT_FIELDS + OWN][0] = "dropout";
    metadata[GPT_FIELDS + OWN][1] = dropout;
    const size_t most = 4 + m->config.L + 1 + 2 * m->table->count;
    Output out = {.specs = allocate(most, sizeof *out.specs), .names = allocate(most, sizeof *out.names)};
    Error e;
    put_all(&out, m);
    if (safetensors_create(path, out.specs, out.count, (const char *const(*)[2])metadata, count, &out.writer, &e) != 0)
        fail(e.text);
    put_all(&out, m);
    if (safetensors_finish(out.writer, NULL, &e) != 0)
        fail(e.text);
    free(out.specs);
    free(out.names);
}

static bool set_field(Model *m, const char *assignment)
{
    const size_t length = strcspn(assignment, "=");
    if (strncmp(assignment, "dropout=", 8) == 0) {
        m->dropout = (GptDropout){.p = strtod(assignment + 8, NULL), .key = REFERENCE_DROPOUT_KEY};
        return m->dropout.p > 0 && m->dropout.p < 1;
    }
    for (const GptField *f = gpt_fields; f < gpt_fields + GPT_FIELDS; f++)
        if (strlen(f->key) == length && strncmp(f->key, assignment, length) == 0 && assignment[length] == '=')
            return gpt_field_restore(f, assignment + length + 1, &m->config) == 0;
    return false;
}

/* A whole number from 1 to 2^20, or 0. */
static size_t read_size(const char *text)
{
    char *end = NULL;
    const unsigned long n = strtoul(text, &end, 10);
    return *end == '\0' && n <= 1 << 20 ? n : 0;
}

static int usage(const char *name)
{
    fprintf(stderr,
            "usage: %s FILE LAYERS HEADS WIDTH VOCABULARY LENGTH BATCH [KEY=VALUE as in config.json]...\n"
            "       %s FILE DIR LENGTH BATCH\n",
            name, name);
    return 2;
}

int main(int argc, char **argv)
{
    const bool of_checkpoint = argc == 5;
    Model m = {0};
    Error e;
    if (argc != 5 && argc < 8)
        return usage(argv[0]);
    m.B = read_size(argv[of_checkpoint ? 4 : 7]);
    if (of_checkpoint) {
        if (checkpoint_read_config(argv[2], &m.config, &e) != 0)
            fail(e.text);
        m.T = read_size(argv[3]);
    } else {
        m.config = (GptConfig){.L = read_size(argv[2]),
                               .NH = read_size(argv[3]),
                               .C = read_size(argv[4]),
                               .V = read_size(argv[5]),
                               .T = read_size(argv[6])};
        for (int i = 8; i < argc; i++)
            if (!set_field(&m, argv[i]))
                return usage(argv[0]);
        m.T = m.config.T;
    }
    m.R = m.B * m.T;
    if (gpt_create(&m.config, &(GptSetup){.B = m.B, .T = m.T, .mode = GPT_TRAINING, .dropout = true}, &m.gpt, &e) != 0)
        fail(e.text);
    m.config = *gpt_config(m.gpt);
    m.table = gpt_table(m.gpt);
    m.tokens = allocate(m.R, sizeof *m.tokens);
    m.targets = allocate(m.R, sizeof *m.targets);
    Random random = random_make(7, 0);
    if (!of_checkpoint)
        draw_parameters(&m, &random);
    else if (checkpoint_read_model(argv[2], m.gpt, &e) != 0)
        fail(e.text);
    draw_batch(&m, &random);
    compute(&m);
    write_file(argv[1], &m);
    free(m.tokens);
    free(m.targets);
    gpt_free(m.gpt);
    return 0;
}
