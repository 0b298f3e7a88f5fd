#include "train/gradients.h"

#include "optim/verbs/verbs.h"

#include <stdlib.h>

enum { LEVELS_MOST = 12 };

/* Tensors whose gradients are complete at the same time, and the ranks' pieces of them. */
typedef struct Phase {
    const Tensor **tensors;
    CommPiece *pieces;
    size_t tensor_count, piece_count;
    float *scratch;
} Phase;

struct Gradients {
    Gpt *gpt;
    Comm *comm;
    Verbs *on;
    Arenas arenas;
    size_t floats, batches, blocks, added; /* of the step; micro-batches so far */
    size_t levels;
    float *sums[LEVELS_MOST]; /* sums[k]: of 2^k blocks that wait for the next 2^k */
    double losses[LEVELS_MOST + 1];
    size_t phase_count; /* of several ranks: the matrices of each layer, then all else */
    Phase *phases;
    float *scratch;
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

/* --------------------------------------------------------------------------------------------------------------
 * Phases
 */

static size_t phase_of(const Gradients *g, const Tensor *t)
{
    const size_t layer = gpt_table_layer(t);
    return t->role == ROLE_HIDDEN_MATRIX && layer + 1 < g->phase_count ? layer : g->phase_count - 1;
}

/* The parts of all pieces that lie in a tensor; those of one rank that touch become one. */
static void add_tensor(Phase *phase, const Tensor *t, const CommPiece *pieces, size_t count)
{
    phase->tensors[phase->tensor_count++] = t;
    for (const CommPiece *p = pieces; p < pieces + count; p++) {
        const size_t begin = p->first > t->offset ? p->first : t->offset;
        const size_t piece_end = p->first + p->n, tensor_end = t->offset + tensor_size(t);
        const size_t end = piece_end < tensor_end ? piece_end : tensor_end;
        CommPiece *last = &phase->pieces[phase->piece_count > 0 ? phase->piece_count - 1 : 0];
        if (begin >= end)
            continue;
        if (phase->piece_count > 0 && last->rank == p->rank && last->first + last->n == begin)
            last->n += end - begin;
        else
            phase->pieces[phase->piece_count++] = (CommPiece){begin, end - begin, p->rank};
    }
}

/* Divides the pieces of the optimizer into phases, and the scratch among them. */
static int make_phases(Gradients *g, const Optim *optim, Error *e)
{
    const GptTable *table = gpt_table(g->gpt);
    const CommPiece *pieces;
    const size_t count = optim_pieces(optim, &pieces);
    g->phase_count = gpt_config(g->gpt)->L + 1;
    g->phases = calloc(g->phase_count, sizeof *g->phases);
    if (g->phases == NULL ||
        verb_alloc(g->on, comm_scratch(g->comm, pieces, count), "the other ranks' gradients", &g->scratch, e) != 0)
        return error_set(e, "out of memory for the other ranks' gradients");
    float *scratch = g->scratch;
    for (Phase *phase = g->phases; phase < g->phases + g->phase_count; phase++) {
        phase->tensors = calloc(table->count, sizeof *phase->tensors);
        phase->pieces = calloc(table->count + count, sizeof *phase->pieces);
        if (phase->tensors == NULL || phase->pieces == NULL)
            return error_set(e, "out of memory for the order of gradients");
        for (const Tensor *t = table->tensors; t < table->tensors + table->count; t++)
            if (&g->phases[phase_of(g, t)] == phase)
                add_tensor(phase, t, pieces, count);
        phase->scratch = scratch;
        scratch += comm_scratch(g->comm, phase->pieces, phase->piece_count);
    }
    return 0;
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
    for (size_t k = 0; k < g->levels; k++)
        if (verb_alloc(g->on, g->floats, "sums of gradients", &g->sums[k], e) != 0)
            return -1;
    return comm_ranks(comm).world > 1 ? make_phases(g, optim, e) : 0;
}

void gradients_free(Gradients *g)
{
    if (g == NULL)
        return;
    for (size_t k = 0; k < g->levels; k++)
        verb_free(g->on, g->sums[k]);
    for (size_t i = 0; i < g->phase_count && g->phases != NULL; i++) {
        free(g->phases[i].tensors);
        free(g->phases[i].pieces);
    }
    free(g->phases);
    verb_free(g->on, g->scratch);
    free(g);
}

/* --------------------------------------------------------------------------------------------------------------
 * A step
 */

void gradients_begin(Gradients *g, size_t batches, size_t blocks)
{
    g->batches = batches;
    g->blocks = blocks;
    g->added = 0;
}

/* Adds to a part of the gradients, of the step's block number `block`, what waits for it. */
static void carry(Gradients *g, size_t block, size_t first, size_t n)
{
    for (size_t level = 0; block >> level & 1; level++)
        verb_add(g->on, n, g->arenas.grads + first, g->sums[level] + first, 1, 1);
}

/* A block is done: the sum of it and what waits for it is left to wait, or is the step's. */
static void end_block(Gradients *g, size_t block)
{
    const bool last = block + 1 == g->blocks;
    double loss = gpt_loss_sum(g->gpt);
    size_t level = 0;
    if (!last || g->phase_count == 0) /* otherwise phase by phase */
        carry(g, block, 0, g->floats);
    for (; block >> level & 1; level++)
        loss += g->losses[level];
    g->losses[level] = loss;
    if (!last)
        verb_scale(g->on, g->floats, g->sums[level], g->arenas.grads, 1);
}

/* The last micro-batch has completed a phase: its tensors become sums over the step, and those the ranks' sums. */
static void end_phase(void *gradients, size_t i)
{
    Gradients *g = gradients;
    const Phase *phase = &g->phases[i];
    for (size_t k = 0; k < phase->tensor_count; k++)
        carry(g, g->blocks - 1, phase->tensors[k]->offset, tensor_size(phase->tensors[k]));
    comm_reduce_begin(g->comm, g->arenas.grads, phase->pieces, phase->piece_count, phase->scratch, g->arenas.stream);
}

/* The backward pass of the next micro-batch. */
static void add_backward(Gradients *g, const int32_t *targets, double scale)
{
    const size_t in_block = g->batches / g->blocks, i = g->added++;
    const bool in_phases = g->phase_count > 0 && g->added == g->batches;
    gpt_on_layer(g->gpt, in_phases ? end_phase : NULL, g);
    gpt_backward(g->gpt, targets, scale, i % in_block == 0);
    if (in_phases)
        end_phase(g, g->phase_count - 1);
    if (i % in_block == in_block - 1)
        end_block(g, i / in_block);
}

void gradients_add(Gradients *g, const int32_t *inputs, const int32_t *targets, size_t B, size_t T, double scale)
{
    gpt_forward(g->gpt, inputs, B, T);
    add_backward(g, targets, scale);
}

void gradients_add_drawn(Gradients *g, const int32_t *inputs, int32_t *targets, size_t B, size_t T, double scale,
                         uint64_t key, uint64_t first)
{
    gpt_forward(g->gpt, inputs, B, T);
    gpt_draw(g->gpt, key, first, targets);
    add_backward(g, targets, scale);
}

double gradients_finish(Gradients *g)
{
    double loss = g->losses[gradients_levels(g->blocks)];
    comm_reduce_end(g->comm, g->arenas.stream);
    comm_sum(g->comm, &loss, 1);
    return loss;
}
