#include "train/loss_tables.h"

#include "files/files.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct Mean {
    size_t count;
    double sum;
} Mean;

struct LossTables {
    size_t T, V;
    Mean *positions, *tokens; /* (T), (V) */
};

enum { CLASSES = 65, BLOCK = 4096 };

int loss_tables_create(size_t T, size_t V, LossTables **out, Error *e)
{
    LossTables *t = calloc(1, sizeof *t);
    if (t != NULL)
        *t = (LossTables){T, V, calloc(T, sizeof(Mean)), calloc(V, sizeof(Mean))};
    if (t == NULL || t->positions == NULL || t->tokens == NULL) {
        loss_tables_free(t);
        return error_set(e, "out of memory for tables of losses");
    }
    *out = t;
    return 0;
}

void loss_tables_free(LossTables *t)
{
    if (t == NULL)
        return;
    free(t->positions);
    free(t->tokens);
    free(t);
}

static void add(Mean *mean, double x)
{
    mean->count++;
    mean->sum += x;
}

void loss_tables_add(LossTables *t, size_t position, int32_t token, double loss)
{
    add(&t->positions[position], loss);
    add(&t->tokens[token], loss);
}

/* How often each token occurs; the caller frees *counts. */
static int count_tokens(const LossTables *t, const Tokens *training, size_t **counts, Error *e)
{
    size_t left = LOSS_TABLES_COUNTED;
    int32_t block[BLOCK];
    *counts = calloc(t->V, sizeof **counts);
    if (*counts == NULL)
        return error_set(e, "out of memory for the occurrences of %zu tokens", t->V);
    for (size_t i = 0; training == NULL && i < t->V; i++)
        (*counts)[i] = t->tokens[i].count;
    for (size_t shard = 0; training != NULL && shard < tokens_shards(training); shard++) {
        const size_t size = tokens_shard_size(training, shard);
        for (size_t at = 0, n; at < size && left > 0; at += n, left -= n) {
            n = size - at < BLOCK ? size - at : BLOCK;
            n = n < left ? n : left;
            if (tokens_read(training, shard, at, n, block, e) != 0)
                return -1;
            for (size_t i = 0; i < n; i++)
                (*counts)[block[i]]++;
        }
    }
    return 0;
}

/* 0, 1, 2-3, 4-7, ... */
static size_t class_of(size_t count)
{
    size_t class = 0;
    for (; count > 0; count /= 2)
        class ++;
    return class;
}

static void print_positions(FILE *to, const void *tables)
{
    const LossTables *t = tables;
    fputs("position,targets,loss\n", to);
    for (size_t i = 0; i < t->T; i++)
        if (t->positions[i].count > 0)
            fprintf(to, "%zu,%zu,%.9g\n", i, t->positions[i].count,
                    t->positions[i].sum / (double)t->positions[i].count);
}

/* A table and how often each token occurs. */
typedef struct Frequencies {
    const LossTables *t;
    const size_t *counts;
} Frequencies;

static void print_frequencies(FILE *to, const void *frequencies)
{
    const LossTables *t = ((const Frequencies *)frequencies)->t;
    const size_t *counts = ((const Frequencies *)frequencies)->counts;
    Mean classes[CLASSES] = {{0}};
    size_t kinds[CLASSES] = {0};
    for (size_t i = 0; i < t->V; i++) {
        const size_t class = class_of(counts[i]);
        kinds[class]++;
        classes[class].count += t->tokens[i].count;
        classes[class].sum += t->tokens[i].sum;
    }
    fputs("occurrences_from,occurrences_to,tokens,targets,loss\n", to);
    for (size_t class = 0; class < CLASSES; class ++) {
        const size_t from = class == 0 ? 0 : (size_t)1 << (class - 1), most = class == 0 ? 0 : 2 * from - 1;
        if (classes[class].count > 0)
            fprintf(to, "%zu,%zu,%zu,%zu,%.9g\n", from, most, kinds[class], classes[class].count,
                    classes[class].sum / (double)classes[class].count);
    }
}

static int write_table(const char *prefix, const char *name, void (*print)(FILE *, const void *), const void *from,
                       Error *e)
{
    char path[4096];
    if ((size_t)snprintf(path, sizeof path, "%s_%s.csv", prefix, name) >= sizeof path)
        return error_set(e, "%s: the path is too long", prefix);
    return files_print_atomic(path, print, from, e);
}

int loss_tables_write(const LossTables *t, const char *prefix, const Tokens *training, Error *e)
{
    size_t *counts = NULL;
    int status = count_tokens(t, training, &counts, e);
    if (status == 0)
        status = write_table(prefix, "position", print_positions, t, e);
    if (status == 0)
        status = write_table(prefix, "frequency", print_frequencies, &(Frequencies){t, counts}, e);
    free(counts);
    return status;
}
