#include "gpt/gpt.h"

#include "base/random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const gpt_dtype_names[GPT_DTYPES + 1] = {"fp32", "tf32", "bf16", NULL};
const char *const gpt_recompute_names[GPT_RECOMPUTES + 1] = {"nothing", "cheap", "layers", NULL};

enum { ALIGNMENT = 16 /* floats: one 64-byte cache line */ };

/* One parameter of GPT_PARAMETERS: a row of the table, or one per layer, with "h.<layer>." before `name`. */
typedef struct Kind {
    const char *name;
    TensorRole role;
    size_t rows, cols, blocks;
    double init_mean, init_std;
    bool each_layer, transposed;
} Kind;

static void list_kinds(const GptConfig *c, Kind kinds[GPT_PARAMETER_COUNT])
{
#define KIND(member, ...) kinds[GPT_##member] = (Kind){__VA_ARGS__};
    GPT_PARAMETERS(KIND)
#undef KIND
}

static size_t round_up(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

static void add_tensor(GptTable *table, const Kind *kind, size_t layer)
{
    Tensor *t = &table->tensors[table->count++];
    *t = (Tensor){.role = kind->role,
                  .rows = kind->rows,
                  .cols = kind->cols,
                  .blocks = kind->blocks,
                  .transposed = kind->transposed,
                  .init_mean = kind->init_mean,
                  .init_std = kind->init_std,
                  .offset = table->arena_size};
    if (kind->each_layer)
        snprintf(t->name, sizeof t->name, "h.%zu.%s", layer, kind->name);
    else
        snprintf(t->name, sizeof t->name, "%s", kind->name);
    table->arena_size += tensor_size(t);
    table->parameters += tensor_size(t);
}

int gpt_table_make(const GptConfig *config, GptTable *table, Error *e)
{
    Kind kinds[GPT_PARAMETER_COUNT];
    list_kinds(config, kinds);
    *table = (GptTable){0};
    table->tensors = calloc(GPT_PARAMETER_COUNT * config->L, sizeof *table->tensors);
    if (table->tensors == NULL)
        return error_set(e, "out of memory for the tensor table of %zu layers", config->L);
    for (size_t k = 0; k < GPT_PARAMETER_COUNT; k++) {
        const Kind *kind = &kinds[k];
        const size_t layers = kind->each_layer ? config->L : 1, size = kind->rows * kind->cols;
        table->places[k] = (GptPlace){size > 0, table->arena_size, kind->each_layer ? size : 0};
        for (size_t layer = 0; layer < layers && size > 0; layer++)
            add_tensor(table, kind, layer);
        if (kind->role == ROLE_TOKEN_EMBEDDING) /* the vocabulary's padding follows its last row */
            table->arena_size += (gpt_padded_vocab(config) - kind->rows) * kind->cols;
        table->arena_size = round_up(table->arena_size, ALIGNMENT);
    }
    return 0;
}

void gpt_table_free(GptTable *table)
{
    free(table->tensors);
    *table = (GptTable){0};
}

size_t gpt_table_largest(const GptTable *table)
{
    size_t most = 0;
    for (size_t i = 0; i < table->count; i++)
        most = tensor_size(&table->tensors[i]) > most ? tensor_size(&table->tensors[i]) : most;
    return most;
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
    enum { PIECE = 1 << 16 }; /* elements drawn from one random stream */
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
    Kind kinds[GPT_PARAMETER_COUNT];
    size_t n = 0;
    list_kinds(c, kinds);
    for (const Kind *kind = kinds; kind < kinds + GPT_PARAMETER_COUNT; kind++)
        if (kind->role != ROLE_POSITION_EMBEDDING)
            n += (kind->each_layer ? c->L : 1) * kind->rows * kind->cols;
    return n;
}

double gpt_flops_per_token(const GptConfig *c, size_t T)
{
    return 6.0 * (double)gpt_flop_parameters(c) + 12.0 * (double)c->L * (double)c->C * (double)T;
}
