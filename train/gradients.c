#include "train/gradients.h"

#include "optim/verbs/verbs.h"

#include <stdlib.h>

enum { LEVELS_MOST = 12 };

struct Gradients {
    Gpt *gpt;
    Comm *comm;
    Verbs *on;
    Arenas arenas;
    size_t floats, batches, blocks, added; /* of the step; micro-batches so far */
    size_t levels;
    float *sums[LEVELS_MOST]; /* sums[k]: of 2^k blocks that wait for the next 2^k */
    double losses[LEVELS_MOST + 1];
    float *scratch;
    const CommPiece *pieces;
    size_t piece_count;
};

static size_t power_in(size_t n) { return n & -n; }

size_t gradients_blocks(size_t batches, size_t same_bits, size_t world)
{
    size_t most = 1;
    while (2 * most * world <= same_bits)
        most *= 2;
    return power_in(batches) < most ? power_in(batches) : most;
}

size_t gradients_levels(size_t blocks)
{
    size_t levels = 0;
    while ((size_t)1 << levels < blocks)
        levels++;
    return levels;
}

int gradients_create(Gpt *gpt, const Optim *optim, Comm *comm, size_t blocks, Gradients **out, Error *e)
{
    Gradients *g = calloc(1, sizeof *g);
    *out = g;
    if (g == NULL)
        return error_set(e, "out of memory");
    *g = (Gradients){.gpt = gpt,
                     .comm = comm,
                     .on = optim_verbs(optim),
                     .arenas = gpt_arenas(gpt),
                     .floats = gpt_table(gpt)->arena_size,
                     .levels = gradients_levels(blocks)};
    g->piece_count = optim_pieces(optim, &g->pieces);
    for (size_t k = 0; k < g->levels; k++)
        if (verb_alloc(g->on, g->floats, "sums of gradients", &g->sums[k], e) != 0)
            return -1;
    return verb_alloc(g->on, comm_scratch(comm, g->pieces, g->piece_count), "the other ranks' gradients", &g->scratch,
                      e);
}

void gradients_free(Gradients *g)
{
    if (g == NULL)
        return;
    for (size_t k = 0; k < g->levels; k++)
        verb_free(g->on, g->sums[k]);
    verb_free(g->on, g->scratch);
    free(g);
}

void gradients_begin(Gradients *g, size_t batches, size_t blocks)
{
    g->batches = batches;
    g->blocks = blocks;
    g->added = 0;
}

/* A block is done, number `block` of the step: adds to it what waits for it, and leaves the sum to wait unless it is of
 * all. */
static void carry(Gradients *g, size_t block)
{
    double loss = gpt_loss_sum(g->gpt);
    size_t level = 0;
    for (; block >> level & 1; level++) {
        verb_add(g->on, g->floats, g->arenas.grads, g->sums[level], 1, 1);
        loss += g->losses[level];
    }
    g->losses[level] = loss;
    if (block + 1 < g->blocks)
        verb_scale(g->on, g->floats, g->sums[level], g->arenas.grads, 1);
}

void gradients_add(Gradients *g, const int32_t *inputs, const int32_t *targets, size_t B, size_t T, double scale)
{
    const size_t in_block = g->batches / g->blocks, i = g->added++;
    gpt_forward(g->gpt, inputs, B, T);
    gpt_backward(g->gpt, targets, scale, i % in_block == 0);
    if (i % in_block == in_block - 1)
        carry(g, i / in_block);
}

double gradients_finish(Gradients *g)
{
    double loss = g->losses[gradients_levels(g->blocks)];
    comm_reduce_scatter(g->comm, g->arenas.grads, g->pieces, g->piece_count, g->scratch, g->arenas.stream);
    comm_sum(g->comm, &loss, 1);
    return loss;
}
