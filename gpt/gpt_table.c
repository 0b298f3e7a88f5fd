#include "gpt/gpt.h"

#include "base/random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Sizes from Radford et al. 2019, table 2; nano is ours: about 1M parameters over bytes. */
static const struct {
    const char *name;
    GptConfig config;
} presets[] = {
    {"nano", {.T = 256, .V = 256, .L = 5, .NH = 4, .C = 128}},
    {"gpt2", {.T = 1024, .V = 50257, .L = 12, .NH = 12, .C = 768}},
    {"gpt2-medium", {.T = 1024, .V = 50257, .L = 24, .NH = 16, .C = 1024}},
    {"gpt2-large", {.T = 1024, .V = 50257, .L = 36, .NH = 20, .C = 1280}},
    {"gpt2-xl", {.T = 1024, .V = 50257, .L = 48, .NH = 25, .C = 1600}},
};

int gpt_preset(const char *name, GptConfig *config)
{
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++) {
        if (strcmp(presets[i].name, name) == 0) {
            *config = presets[i].config;
            return 0;
        }
    }
    return -1;
}

/* Bounds beyond any model this program could hold; below them no product of sizes overflows 64 bits. */
enum { MAX_LAYERS = 4096, MAX_WIDTH = 1 << 20, MAX_VOCAB = 1 << 24, MAX_SEQUENCE = 1 << 24 };

static int check_size(const char *what, size_t value, size_t limit, Error *e)
{
    if (value == 0)
        return error_set(e, "the number of %s is 0; it must be at least 1", what);
    if (value > limit)
        return error_set(e, "the number of %s is %zu; the most that is supported is %zu", what, value, limit);
    return 0;
}

int gpt_config_check(const GptConfig *config, Error *e)
{
    if (check_size("layers (--layers)", config->L, MAX_LAYERS, e) != 0 ||
        check_size("heads (--heads)", config->NH, MAX_WIDTH, e) != 0 ||
        check_size("channels (--width)", config->C, MAX_WIDTH, e) != 0 ||
        check_size("tokens in the vocabulary (--vocab)", config->V, MAX_VOCAB, e) != 0 ||
        check_size("tokens in a sequence (--seq-len)", config->T, MAX_SEQUENCE, e) != 0)
        return -1;
    if (config->C % config->NH != 0)
        return error_set(e, "the heads (--heads %zu) do not divide the width (--width %zu)", config->NH, config->C);
    return 0;
}

/* One kind of parameter: a row of the table, or a row for each layer. `name` is completed by "h.<layer>.". */
typedef struct Kind {
    const char *name;
    TensorRole role;
    size_t rows, cols, blocks;
    double init_mean, init_std;
    bool each_layer, transposed;
} Kind;

const char *const gpt_dtype_names[GPT_DTYPES + 1] = {"fp32", "tf32", "bf16", NULL};
const char *const gpt_recompute_names[GPT_RECOMPUTES + 1] = {"nothing", "cheap", "layers", NULL};

enum { KIND_COUNT = 16, ALIGNMENT = 16 /* floats: one 64-byte line */ };

static void list_kinds(const GptConfig *c, Kind kinds[KIND_COUNT])
{
    const size_t C = c->C;
    const double std = 0.02, residual_std = 0.02 / sqrt(2.0 * (double)c->L);
    const Kind list[KIND_COUNT] = {
        {"wte.weight", ROLE_TOKEN_EMBEDDING, c->V, C, 1, 0, std, false, false},
        {"wpe.weight", ROLE_POSITION_EMBEDDING, c->T, C, 1, 0, std, false, false},
        {"attn.c_attn.weight", ROLE_HIDDEN_MATRIX, 3 * C, C, 3, 0, std, true, true},
        {"attn.c_proj.weight", ROLE_HIDDEN_MATRIX, C, C, 1, 0, residual_std, true, true},
        {"mlp.c_fc.weight", ROLE_HIDDEN_MATRIX, 4 * C, C, 1, 0, std, true, true},
        {"mlp.c_proj.weight", ROLE_HIDDEN_MATRIX, C, 4 * C, 1, 0, residual_std, true, true},
        {"ln_1.weight", ROLE_GAIN, 1, C, 1, 1, 0, true, false},
        {"ln_1.bias", ROLE_BIAS, 1, C, 1, 0, 0, true, false},
        {"attn.c_attn.bias", ROLE_BIAS, 1, 3 * C, 1, 0, 0, true, false},
        {"attn.c_proj.bias", ROLE_BIAS, 1, C, 1, 0, 0, true, false},
        {"ln_2.weight", ROLE_GAIN, 1, C, 1, 1, 0, true, false},
        {"ln_2.bias", ROLE_BIAS, 1, C, 1, 0, 0, true, false},
        {"mlp.c_fc.bias", ROLE_BIAS, 1, 4 * C, 1, 0, 0, true, false},
        {"mlp.c_proj.bias", ROLE_BIAS, 1, C, 1, 0, 0, true, false},
        {"ln_f.weight", ROLE_GAIN, 1, C, 1, 1, 0, false, false},
        {"ln_f.bias", ROLE_BIAS, 1, C, 1, 0, 0, false, false},
    };
    memcpy(kinds, list, sizeof list);
}

static size_t round_up(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

int gpt_table_make(const GptConfig *config, GptTable *table, Error *e)
{
    Kind kinds[KIND_COUNT];
    list_kinds(config, kinds);
    *table = (GptTable){0};
    table->tensors = calloc(KIND_COUNT * config->L, sizeof *table->tensors);
    if (table->tensors == NULL)
        return error_set(e, "out of memory for the tensor table of %zu layers", config->L);
    size_t offset = 0;
    for (const Kind *kind = kinds; kind < kinds + KIND_COUNT; kind++) {
        for (size_t layer = 0; layer < (kind->each_layer ? config->L : 1); layer++) {
            Tensor *t = &table->tensors[table->count++];
            if (kind->each_layer)
                snprintf(t->name, sizeof t->name, "h.%zu.%s", layer, kind->name);
            else
                snprintf(t->name, sizeof t->name, "%s", kind->name);
            t->role = kind->role;
            t->rows = kind->rows;
            t->cols = kind->cols;
            t->blocks = kind->blocks;
            t->transposed = kind->transposed;
            t->init_mean = kind->init_mean;
            t->init_std = kind->init_std;
            t->offset = offset;
            offset += tensor_size(t);
            table->parameters += tensor_size(t);
        }
        if (kind->role == ROLE_TOKEN_EMBEDDING) /* the vocabulary's padding lies behind its last row */
            offset += (round_up(kind->rows, GPT_VOCAB_PADDING) - kind->rows) * kind->cols;
        offset = round_up(offset, ALIGNMENT);
    }
    table->arena_size = offset;
    return 0;
}

void gpt_table_free(GptTable *table)
{
    free(table->tensors);
    *table = (GptTable){0};
}

const Tensor *gpt_table_find(const GptTable *table, const char *name)
{
    static const char prefix[] = "transformer.";
    if (strncmp(name, prefix, sizeof prefix - 1) == 0)
        name += sizeof prefix - 1;
    for (size_t i = 0; i < table->count; i++)
        if (strcmp(table->tensors[i].name, name) == 0)
            return &table->tensors[i];
    return NULL;
}

void gpt_table_draw(const GptTable *table, size_t index, uint64_t seed, float *to)
{
    enum { PIECE = 1 << 16 }; /* elements that one random stream draws */
    const Tensor *t = &table->tensors[index];
    const size_t n = tensor_size(t);
#pragma omp parallel for schedule(static)
    for (size_t begin = 0; begin < n; begin += PIECE) {
        Random random = random_make(seed, (uint64_t)index << 32 | begin / PIECE);
        const size_t end = n - begin < PIECE ? n : begin + PIECE;
        for (size_t i = begin; i < end; i++)
            to[i] = (float)(t->init_mean + t->init_std * random_normal(&random));
    }
}

size_t gpt_flop_parameters(const GptConfig *c)
{
    const size_t a_layer = 12 * c->C * c->C + 13 * c->C;
    return c->V * c->C + c->L * a_layer + 2 * c->C;
}

double gpt_flops_per_token(const GptConfig *c, size_t T)
{
    return 6.0 * (double)gpt_flop_parameters(c) + 12.0 * (double)c->L * (double)c->C * (double)T;
}
