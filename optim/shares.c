#include "optim/optim_private.h"

#include <stdlib.h>

enum { STRETCH_MOST = 1 << 16 /* floats of a unit under an elementwise rule */ };

static bool is_elementwise(const OptimGroup *g) { return g->rule->scalars != NULL; }

/* Floats of each of a tensor's units, the last of which may have fewer. */
static size_t unit_size(const OptimGroup *g, const Tensor *t)
{
    const size_t n = tensor_size(t);
    return !is_elementwise(g) ? n / groups_blocks(g, t) : n < STRETCH_MOST ? n : STRETCH_MOST;
}

static int list_units(Optim *optim, Error *e)
{
    size_t count = 0;
    for (int fill = 0; fill <= 1; fill++) {
        for (const Tensor *t = optim->tensors; t < optim->tensors + optim->tensor_count; t++) {
            const size_t group = groups_of(optim, t), most = unit_size(&optim->groups[group], t), all = tensor_size(t);
            for (size_t first = 0; first < all; first += most) {
                const size_t n = all - first < most ? all - first : most;
                if (fill)
                    optim->units[optim->unit_count++] = (Unit){t, first, n, group, 0};
                else
                    count++;
            }
        }
        if (!fill)
            optim->units = calloc(count + 1, sizeof *optim->units);
        if (optim->units == NULL)
            return error_set(e, "out of memory for the optimizer's units");
    }
    return 0;
}

/* --------------------------------------------------------------------------------------------------------------
 * Which rank has a unit
 */

/* Elementwise: each rank as many floats as the others, in order of the arena. */
static void deal_stretches(Optim *optim)
{
    size_t all = 0, before = 0;
    for (const Unit *u = optim->units; u < optim->units + optim->unit_count; u++)
        all += is_elementwise(&optim->groups[u->group]) ? u->n : 0;
    for (Unit *u = optim->units; u < optim->units + optim->unit_count; u++) {
        if (!is_elementwise(&optim->groups[u->group]))
            continue;
        u->rank = (2 * before + u->n) * optim->ranks.world / (2 * all);
        before += u->n;
    }
}

/* What a matrix costs its rule: a product with itself, m n min(m, n). */
static double cost_of(const Unit *u)
{
    const double cols = (double)u->tensor->cols, rows = (double)u->n / cols;
    return (double)u->n * (rows < cols ? rows : cols);
}

static int dearer(const void *a, const void *b)
{
    const Unit *x = *(Unit *const *)a, *y = *(Unit *const *)b;
    const double cx = cost_of(x), cy = cost_of(y);
    return cx != cy ? (cx < cy) - (cx > cy) : (x > y) - (x < y);
}

/* Matrices: the dearest first, each to the rank that has least to do. */
static int deal_matrices(Optim *optim, Error *e)
{
    const size_t world = optim->ranks.world;
    Unit **matrices = calloc(optim->unit_count + 1, sizeof *matrices);
    double *load = calloc(world, sizeof *load);
    size_t count = 0;
    for (size_t i = 0; i < optim->unit_count && matrices != NULL; i++)
        if (!is_elementwise(&optim->groups[optim->units[i].group]))
            matrices[count++] = &optim->units[i];
    const int status = matrices != NULL && load != NULL ? 0 : error_set(e, "out of memory for the ranks' shares");
    if (count > 0)
        qsort(matrices, count, sizeof *matrices, dearer);
    for (size_t i = 0; i < count && status == 0; i++) {
        size_t least = 0;
        for (size_t r = 1; r < world; r++)
            least = load[r] < load[least] ? r : least;
        matrices[i]->rank = least;
        load[least] += cost_of(matrices[i]);
    }
    free(matrices);
    free(load);
    return status;
}

/* --------------------------------------------------------------------------------------------------------------
 * What follows from it
 */

static bool is_hidden(const Unit *u) { return u->tensor->role == ROLE_HIDDEN_MATRIX; }

/* Adds a piece for units of hidden matrices or of all others, those of one rank that touch as one. */
static void add_pieces(Optim *optim, bool hidden)
{
    const size_t begin = optim->piece_count;
    for (const Unit *u = optim->units; u < optim->units + optim->unit_count; u++) {
        const size_t at = u->tensor->offset + u->first;
        CommPiece *last = &optim->pieces[optim->piece_count > 0 ? optim->piece_count - 1 : 0];
        if (is_hidden(u) != hidden)
            continue;
        if (optim->piece_count > begin && last->rank == u->rank && last->first + last->n == at)
            last->n += u->n;
        else
            optim->pieces[optim->piece_count++] = (CommPiece){at, u->n, u->rank};
    }
}

/* Places for the hidden matrices in bf16. */
static void list_rounded(Optim *optim)
{
    for (size_t i = 0; i < optim->hidden_count; i++) {
        const CommPiece *piece = &optim->pieces[i];
        optim->rounded[i] = (CommPiece){optim->rounding_floats, verb_bf16_floats(piece->n), piece->rank};
        optim->rounding_floats += optim->rounded[i].n;
    }
}

static int list_pieces(Optim *optim, bool rounds, Error *e)
{
    optim->pieces = calloc(optim->unit_count + 1, sizeof *optim->pieces);
    optim->stretches = calloc(optim->unit_count + 1, sizeof *optim->stretches);
    if (rounds)
        optim->rounded = calloc(optim->unit_count + 1, sizeof *optim->rounded);
    if (optim->pieces == NULL || optim->stretches == NULL || (rounds && optim->rounded == NULL))
        return error_set(e, "out of memory for the ranks' shares");
    add_pieces(optim, true);
    optim->hidden_count = optim->piece_count;
    add_pieces(optim, false);
    if (optim->rounded != NULL)
        list_rounded(optim);
    for (const Unit *u = optim->units; u < optim->units + optim->unit_count; u++) {
        const size_t at = u->tensor->offset + u->first;
        Stretch *last = &optim->stretches[optim->stretch_count > 0 ? optim->stretch_count - 1 : 0];
        if (u->rank != optim->ranks.rank)
            continue;
        if (optim->stretch_count > 0 && last->tensor == u->tensor && last->offset + last->n == at)
            last->n += u->n;
        else
            optim->stretches[optim->stretch_count++] = (Stretch){u->tensor, u->n, at};
    }
    return 0;
}

/* Gives a group a unit of this rank's, as a slot of its own or, under an elementwise rule, with the one before. */
static void add_slot(const Optim *optim, OptimGroup *g, const Unit *u, size_t number)
{
    const Tensor *t = u->tensor;
    OptimSlot *last = &g->slots[g->count > 0 ? g->count - 1 : 0];
    if (is_elementwise(g) && g->count > 0 && last->tensor == t && last->first + last->cols == u->first) {
        last->cols += u->n;
        return;
    }
    OptimSlot *slot = &g->slots[g->count++];
    *slot = (OptimSlot){.tensor = t, .first = u->first, .number = number, .rows = 1, .cols = u->n};
    if (!is_elementwise(g)) {
        slot->cols = t->cols;
        slot->rows = u->n / t->cols;
    }
    if (optim->on != NULL) {
        slot->param = optim->arenas.params + t->offset + u->first;
        slot->grad = optim->arenas.grads + t->offset + u->first;
    }
}

static int make_slots(Optim *optim, Error *e)
{
    for (size_t i = 0; i < optim->group_count; i++) {
        OptimGroup *g = &optim->groups[i];
        size_t units = 0, number = 0;
        for (const Unit *u = optim->units; u < optim->units + optim->unit_count; u++)
            units += u->group == i;
        g->slots = calloc(units + 1, sizeof *g->slots);
        if (g->slots == NULL)
            return error_set(e, "out of memory for the group %s", g->name);
        for (const Unit *u = optim->units; u < optim->units + optim->unit_count; u++) {
            if (u->group == i && u->rank == optim->ranks.rank)
                add_slot(optim, g, u, number);
            number += u->group == i;
        }
    }
    return 0;
}

int shares_make(Optim *optim, bool rounds, Error *e)
{
    if (list_units(optim, e) != 0)
        return -1;
    deal_stretches(optim);
    return deal_matrices(optim, e) != 0 || list_pieces(optim, rounds && optim->ranks.world > 1, e) != 0 ||
                   make_slots(optim, e) != 0
               ? -1
               : 0;
}
