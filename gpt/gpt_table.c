#include "gpt/gpt.h"

#include "base/qr.h"
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
    bool each_layer, transposed;
} Kind;

static void list_kinds(const GptConfig *c, Kind kinds[GPT_PARAMETER_COUNT])
{
#define KIND(member, ...) kinds[GPT_##member] = (Kind){__VA_ARGS__};
    GPT_PARAMETERS(KIND)
#undef KIND
}

static size_t round_up(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

/* Floats after the last row of what has a row or a column for each token. */
static size_t padding(GptParameter k, const GptConfig *c)
{
    const size_t rows = gpt_padded_vocab(c) - c->V;
    return k == GPT_wte || k == GPT_headw ? rows * c->C : k == GPT_headb ? rows : 0;
}

static TensorPart part_of(GptParameter k)
{
    switch (k) {
    case GPT_qkvw:
    case GPT_qw:
    case GPT_kvw:
        return PART_QKV;
    case GPT_attprojw:
        return PART_ATTENTION_OUT;
    case GPT_fcw:
        return PART_MLP_IN;
    case GPT_fcprojw:
        return PART_MLP_OUT;
    default:
        return PART_OTHER;
    }
}

/* Heads in the rows of each block. */
static size_t heads_of(GptParameter k, const GptConfig *c)
{
    return k == GPT_qkvw || k == GPT_qw ? c->NH : k == GPT_kvw ? c->KVH : 0;
}

static void add_tensor(GptTable *table, const GptConfig *c, GptParameter k, const Kind *kind, size_t layer)
{
    Tensor *t = &table->tensors[table->count++];
    *t = (Tensor){.role = kind->role,
                  .part = part_of(k),
                  .rows = kind->rows,
                  .cols = kind->cols,
                  .blocks = kind->blocks,
                  .heads = heads_of(k, c),
                  .transposed = kind->transposed,
                  .init = gpt_init_of(c, k, layer),
                  .offset = table->arena_size};
    if (kind->each_layer)
        snprintf(t->name, sizeof t->name, "h.%zu.%s", layer, kind->name);
    else
        snprintf(t->name, sizeof t->name, "%s", kind->name);
    table->arena_size += tensor_size(t);
    table->parameters += tensor_size(t);
}

int gpt_table_make(const GptConfig *unresolved, GptTable *table, Error *e)
{
    const GptConfig config = gpt_resolve(unresolved), *c = &config;
    Kind kinds[GPT_PARAMETER_COUNT];
    list_kinds(c, kinds);
    *table = (GptTable){0};
    table->tensors = calloc(GPT_PARAMETER_COUNT * c->L, sizeof *table->tensors);
    if (table->tensors == NULL)
        return error_set(e, "out of memory for the tensor table of %zu layers", c->L);
    for (GptParameter k = 0; k < GPT_PARAMETER_COUNT; k++) {
        const Kind *kind = &kinds[k];
        const size_t layers = kind->each_layer ? c->L : 1, size = kind->rows * kind->cols;
        table->places[k] = (GptPlace){size > 0, table->arena_size, kind->each_layer ? size : 0};
        for (size_t layer = 0; layer < layers && size > 0; layer++)
            add_tensor(table, c, k, kind, layer);
        table->arena_size = round_up(table->arena_size + (size > 0 ? padding(k, c) : 0), ALIGNMENT);
    }
    return 0;
}

void gpt_table_free(GptTable *table)
{
    free(table->tensors);
    *table = (GptTable){0};
}

size_t gpt_table_layer(const Tensor *tensor)
{
    return strncmp(tensor->name, "h.", 2) == 0 ? strtoull(tensor->name + 2, NULL, 10) : SIZE_MAX;
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

static double draw(Random *random, const TensorInit *init)
{
    if (init->draw == DRAW_SIGNS)
        return init->mean + init->std * (random_uniform(random) < 0.5 ? -1 : 1);
    const double x = init->draw == DRAW_UNIFORM ? sqrt(3) * (2 * random_uniform(random) - 1) : random_normal(random);
    return init->mean + init->std * x;
}

/* Rows of x (rows,cols) become as long as ones of the given root mean square. */
static void equalise_rows(float *x, size_t rows, size_t cols, double rms)
{
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < rows; r++) {
        float *row = x + r * cols;
        double squares = 0;
        for (size_t i = 0; i < cols; i++)
            squares += (double)row[i] * (double)row[i];
        const double factor = rms * sqrt((double)cols / squares);
        for (size_t i = 0; i < cols; i++)
            row[i] = (float)(factor * (double)row[i]);
    }
}

/* x (rows,cols) becomes scale Q, of x = Q R or, if it is wide, x = R^T Q. q: rows cols doubles and qr_work. */
static void orthogonalise(float *x, size_t rows, size_t cols, double scale, double *q)
{
    const bool is_tall = rows > cols;
    const size_t longer = is_tall ? rows : cols, shorter = is_tall ? cols : rows;
    const size_t down = is_tall ? 1 : cols, right = is_tall ? rows : 1; /* strides of q, whose columns are `longer` */
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++)
            q[r * down + c * right] = (double)x[r * cols + c];
    qr(q, longer, shorter, q + rows * cols);
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++)
            x[r * cols + c] = (float)(scale * q[r * down + c * right]);
}

static int orthogonalise_blocks(const Tensor *t, float *x, Error *e)
{
    const size_t rows = t->rows / t->blocks, cols = t->cols, n = rows * cols;
    const size_t longer = rows > cols ? rows : cols, doubles = n + qr_work(longer, n / longer);
    const double scale = t->init.std * sqrt((double)rows / (double)cols);
    double *q = malloc(t->blocks * doubles * sizeof *q);
    if (q == NULL)
        return error_set(e, "out of memory for the initial values of %s", t->name);
#pragma omp parallel for schedule(static)
    for (size_t b = 0; b < t->blocks; b++)
        orthogonalise(x + b * n, rows, cols, scale, q + b * doubles);
    free(q);
    return 0;
}

int gpt_table_draw(const GptTable *table, size_t index, uint64_t seed, float *to, Error *e)
{
    enum { PIECE = 1 << 16 }; /* elements drawn from one random stream */
    enum { SIGNS = 1 << 24 }; /* beyond the tensors' numbers: a stream for each layer */
    const Tensor *t = &table->tensors[index];
    const size_t n = tensor_size(t);
    const uint64_t stream = t->init.draw == DRAW_SIGNS ? SIGNS | gpt_table_layer(t) : (uint64_t)index;
#pragma omp parallel for schedule(static)
    for (size_t begin = 0; begin < n; begin += PIECE) {
        Random random = random_make(seed, stream << 32 | begin / PIECE);
        const size_t end = n - begin < PIECE ? n : begin + PIECE;
        for (size_t i = begin; i < end; i++)
            to[i] = (float)draw(&random, &t->init);
    }
    if (t->init.draw == DRAW_EQUAL_ROWS)
        equalise_rows(to, t->rows, t->cols, t->init.std);
    return t->init.draw == DRAW_ORTHOGONAL ? orthogonalise_blocks(t, to, e) : 0;
}

size_t gpt_rotary_size(const GptConfig *c, size_t T) { return gpt_is_rotary(c) ? T * gpt_head_size(c) : 0; }

/* Radians from one position to the next, of pair i of a head's channels. */
static double rotary_frequency(const GptConfig *c, size_t i)
{
    const double HS = (double)gpt_head_size(c), turned = HS / 4;
    if (c->positions == GPT_ROTARY)
        return pow(c->rotary_base, -2 * (double)i / HS);
    return (double)i >= turned ? 0 : i == 0 ? -1 : -pow(c->rotary_base, -(double)i / (turned - 1));
}

void gpt_rotary_fill(const GptConfig *c, size_t T, float *to)
{
    const size_t pairs = gpt_head_size(c) / 2;
    for (size_t t = 0; t < T && gpt_is_rotary(c); t++) {
        for (size_t i = 0; i < pairs; i++) {
            const double angle = (double)t * rotary_frequency(c, i);
            to[2 * (t * pairs + i)] = (float)cos(angle);
            to[2 * (t * pairs + i) + 1] = (float)sin(angle);
        }
    }
}

/* Of a model with its own head, the token embedding is looked up, not multiplied. */
size_t gpt_flop_parameters(const GptConfig *unresolved)
{
    const GptConfig config = gpt_resolve(unresolved), *c = &config;
    Kind kinds[GPT_PARAMETER_COUNT];
    size_t n = 0;
    list_kinds(c, kinds);
    for (const Kind *kind = kinds; kind < kinds + GPT_PARAMETER_COUNT; kind++) {
        const bool looked_up =
            kind->role == ROLE_POSITION_EMBEDDING || (kind->role == ROLE_TOKEN_EMBEDDING && c->head != GPT_TIED);
        n += looked_up ? 0 : (kind->each_layer ? c->L : 1) * kind->rows * kind->cols;
    }
    return n;
}

double gpt_flops_per_token(const GptConfig *c, size_t T)
{
    return 6.0 * (double)gpt_flop_parameters(c) + 12.0 * (double)c->L * (double)c->C * (double)T;
}
