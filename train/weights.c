#include "train/weights.h"

#include "files/safetensors_set.h"
#include "train/families.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The tensors of a model as its file holds them. */
typedef struct Layout {
    const Family *family;
    Tensor *tensors;
    size_t count, largest; /* elements of the largest */
    float *scratch;        /* room for two of these */
} Layout;

static int layout_make(const Gpt *gpt, Layout *l, Error *e)
{
    const GptConfig *c = gpt_config(gpt);
    *l = (Layout){.family = family_of(c), .largest = gpt_table_largest(gpt_table(gpt))};
    l->scratch = malloc(2 * l->largest * sizeof *l->scratch);
    if (l->scratch == NULL)
        return error_set(e, "out of memory");
    return family_tensors(l->family, c, gpt_table(gpt), &l->tensors, &l->count, e);
}

static void layout_free(Layout *l)
{
    free(l->tensors);
    free(l->scratch);
}

/* to (cols,rows) = from (rows,cols) transposed */
static void transpose(float *to, const float *from, size_t rows, size_t cols)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++)
            to[j * rows + i] = from[i * cols + j];
}

static SafetensorsSpec spec_of(const Tensor *t, const char *name)
{
    const bool vector = t->rows == 1 && t->role != ROLE_HIDDEN_MATRIX && t->role != ROLE_TOKEN_EMBEDDING &&
                        t->role != ROLE_POSITION_EMBEDDING && t->role != ROLE_HEAD;
    if (vector)
        return (SafetensorsSpec){.name = name, .dtype = DTYPE_F32, .rank = 1, .shape = {t->cols}};
    return (SafetensorsSpec){.name = name,
                             .dtype = DTYPE_F32,
                             .rank = 2,
                             .shape = {t->transposed ? t->cols : t->rows, t->transposed ? t->rows : t->cols}};
}

/* Streams every tensor as files have it. */
static int append_all(SafetensorsWriter *writer, const Gpt *gpt, const Layout *l, Error *e)
{
    for (const Tensor *t = l->tensors; t < l->tensors + l->count; t++) {
        float *file = l->scratch;
        gpt_read(gpt, GPT_PARAMS, t, l->scratch);
        if (t->transposed) {
            file = l->scratch + l->largest;
            transpose(file, l->scratch, t->rows, t->cols);
        }
        if (safetensors_append(writer, file, tensor_size(t) * sizeof *file, e) != 0)
            return -1;
    }
    return 0;
}

static int write_layout(const char *path, const Gpt *gpt, const Layout *l, uint64_t *hash, Error *e)
{
    static const char *const metadata[][2] = {{"format", "pt"}}; /* transformers insists on it */
    enum { NAME_MOST = 64 };
    SafetensorsSpec *specs = calloc(l->count, sizeof *specs);
    char(*names)[NAME_MOST] = calloc(l->count, sizeof *names);
    SafetensorsWriter *writer = NULL;
    int status = specs == NULL || names == NULL ? error_set(e, "%s: out of memory", path) : 0;
    for (size_t i = 0; i < l->count && status == 0; i++) {
        const Tensor *t = &l->tensors[i];
        const bool of_head = strncmp(t->name, "lm_head.", 8) == 0;
        snprintf(names[i], sizeof names[i], "%s%s", of_head ? "" : family_prefix(l->family), t->name);
        specs[i] = spec_of(t, names[i]);
    }
    if (status == 0)
        status = safetensors_create(path, specs, l->count, metadata, 1, &writer, e);
    if (status == 0 && append_all(writer, gpt, l, e) != 0) {
        safetensors_abandon(writer);
        status = -1;
    } else if (status == 0) {
        status = safetensors_finish(writer, hash, e);
    }
    free(specs);
    free(names);
    return status;
}

int weights_write(const char *path, const Gpt *gpt, uint64_t *hash, Error *e)
{
    Layout l;
    const int status = layout_make(gpt, &l, e) != 0 ? -1 : write_layout(path, gpt, &l, hash, e);
    layout_free(&l);
    return status;
}

/* Names in Hugging Face's files that are not parameters: attention masks and rotary frequencies. */
static bool is_ignorable(const char *name)
{
    const char *const ends[] = {".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (strlen(name) > strlen(ends[i]) && strcmp(name + strlen(name) - strlen(ends[i]), ends[i]) == 0)
            return true;
    return false;
}

/* Where a tensor's elements are; zeroed: nowhere. */
typedef struct Source {
    Safetensors *file;
    const SafetensorsEntry *entry;
} Source;

static int check_shape(const Source *from, const Tensor *t, Error *e)
{
    const SafetensorsEntry *entry = from->entry;
    const SafetensorsSpec want = spec_of(t, t->name);
    bool same = entry->rank == want.rank;
    for (size_t i = 0; i < want.rank && same; i++)
        same = entry->shape[i] == want.shape[i];
    if (!same && want.rank == 1)
        return error_set(e, "%s: tensor %s must have shape [%zu]", safetensors_path(from->file), entry->name,
                         want.shape[0]);
    if (!same)
        return error_set(e, "%s: tensor %s must have shape [%zu, %zu]", safetensors_path(from->file), entry->name,
                         want.shape[0], want.shape[1]);
    return 0;
}

static int read_tensor(const Source *from, const Tensor *t, Gpt *gpt, const Layout *l, Error *e)
{
    const SafetensorsEntry *entry = from->entry;
    if (safetensors_read_f32(from->file, entry, l->scratch, e) != 0)
        return -1;
    for (size_t i = 0; i < entry->count; i++)
        if (!isfinite(l->scratch[i]))
            return error_set(e, "%s: tensor %s holds %g: these weights are of no use", safetensors_path(from->file),
                             entry->name, (double)l->scratch[i]);
    float *memory = l->scratch;
    if (t->transposed) {
        memory = l->scratch + l->largest;
        transpose(memory, l->scratch, t->cols, t->rows);
    }
    gpt_write(gpt, GPT_PARAMS, t, memory);
    return 0;
}

/* The tensor of a name with or without the family's prefix, or NULL. */
static const Tensor *find_tensor(const Layout *l, const char *name)
{
    const char *prefix = family_prefix(l->family);
    if (strncmp(name, prefix, strlen(prefix)) == 0)
        name += strlen(prefix);
    for (const Tensor *t = l->tensors; t < l->tensors + l->count; t++)
        if (strcmp(t->name, name) == 0)
            return t;
    return NULL;
}

static const Tensor *token_embedding(const Layout *l)
{
    const Tensor *t = l->tensors;
    while (t->role != ROLE_TOKEN_EMBEDDING)
        t++;
    return t;
}

/*
 * A tied head that is stored all the same must be the embedding. Where it is not, config.json and the weights
 * contradict each other, and nobody but the user knows which is right: versions of transformers before 5 computed with
 * the embedding, later ones with the stored head. Neither is done here silently; one word in config.json decides.
 */
static int check_tied_head(const Source *head, const Source *embedding, const Layout *l, Error *e)
{
    float *const got = l->scratch, *const want = l->scratch + l->largest;
    const Tensor *t = token_embedding(l);
    if (head->entry == NULL)
        return 0;
    if (check_shape(head, t, e) != 0 || safetensors_read_f32(head->file, head->entry, got, e) != 0 ||
        safetensors_read_f32(embedding->file, embedding->entry, want, e) != 0)
        return -1;
    for (size_t i = 0; i < tensor_size(t); i++)
        if (got[i] != want[i] && isfinite(want[i]))
            return error_set(e,
                             "%s: lm_head.weight differs from %s, but config.json ties them: set tie_word_embeddings "
                             "to false there to use this head, or remove it from the file",
                             safetensors_path(head->file), t->name);
    return 0;
}

/* Finds the place of every tensor of a file. */
static int place_tensors(Safetensors *file, const Layout *l, Source *sources, Source *tied_head, Error *e)
{
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const Source source = {file, safetensors_entry(file, i)};
        const char *path = safetensors_path(file), *name = source.entry->name;
        const Tensor *t = find_tensor(l, name);
        if (t == NULL && strcmp(name, "lm_head.weight") == 0) {
            *tied_head = source;
            continue;
        }
        if (t == NULL && is_ignorable(name))
            continue;
        if (t == NULL)
            return error_set(e, "%s: this model has no tensor %s", path, name);
        if (sources[t - l->tensors].entry != NULL)
            return error_set(e, "%s: tensor %s appears twice, with and without \"%s\"", path, t->name,
                             family_prefix(l->family));
        sources[t - l->tensors] = source;
        if (check_shape(&source, t, e) != 0)
            return -1;
    }
    return 0;
}

/* Every place must be filled before the first is loaded. */
static int read_all(const char *path, const SafetensorsSet *set, Gpt *gpt, const Layout *l, Source *sources, Error *e)
{
    Source tied_head = {0};
    for (size_t i = 0; i < set->count; i++)
        if (place_tensors(set->files[i], l, sources, &tied_head, e) != 0)
            return -1;
    for (size_t i = 0; i < l->count; i++)
        if (sources[i].entry == NULL)
            return error_set(e, "%s: tensor %s is missing", path, l->tensors[i].name);
    if (check_tied_head(&tied_head, &sources[token_embedding(l) - l->tensors], l, e) != 0)
        return -1;
    for (size_t i = 0; i < l->count; i++)
        if (read_tensor(&sources[i], &l->tensors[i], gpt, l, e) != 0)
            return -1;
    return 0;
}

int weights_read(const char *path, Gpt *gpt, Error *e)
{
    Layout l = {0};
    SafetensorsSet set;
    Source *sources = NULL;
    int status = safetensors_set_open(path, &set, e);
    if (status == 0)
        status = layout_make(gpt, &l, e);
    if (status == 0 && (sources = calloc(l.count, sizeof *sources)) == NULL)
        status = error_set(e, "%s: out of memory", path);
    if (status == 0)
        status = read_all(path, &set, gpt, &l, sources, e);
    free(sources);
    layout_free(&l);
    safetensors_set_close(&set);
    return status;
}
