#include "comm/comm_private.h"

#include <stdlib.h>

/* Sums over the ranks that have begun, one after the other. */
typedef struct Reductions {
    struct Reduction {
        float *arena, *scratch;
        const CommPiece *pieces;
        size_t count;
    } * begun;
    size_t count, room;
} Reductions;

static void note(Comm *comm, struct Reduction reduction)
{
    Reductions *r = comm->arenas;
    if (r == NULL)
        r = comm->arenas = calloc(1, sizeof *r);
    if (r != NULL && r->count == r->room) {
        struct Reduction *more = realloc(r->begun, (2 * r->room + 16) * sizeof *more);
        r->begun = more != NULL ? more : r->begun;
        r->room = more != NULL ? 2 * r->room + 16 : r->room;
    }
    if (r == NULL || r->count == r->room)
        comm_lose(comm, comm->ranks.rank, "is out of memory");
    else
        r->begun[r->count++] = reduction;
}

enum { STRETCH = 1 << 10 }; /* floats at once: the parts of a few ranks fit into a core's cache */

/* The ranks' parts of a piece of this rank's: its own in the arena, the others' in scratch, `share` apart. */
typedef struct Parts {
    Ranks ranks;
    float *own, *foreign;
    size_t share;
} Parts;

static float *part_of(const Parts *p, size_t rank)
{
    return rank == p->ranks.rank ? p->own : p->foreign + comm_scratch_of(p->ranks, rank, p->share);
}

/* Their sum in a binary tree, in the arena. */
static void add_up(const Parts *p, size_t begin, size_t end)
{
    for (size_t stride = 1; stride < p->ranks.world; stride *= 2)
        for (size_t r = 0; r + stride < p->ranks.world; r += 2 * stride) {
            float *to = part_of(p, r);
            const float *from = part_of(p, r + stride);
            for (size_t i = begin; i < end; i++)
                to[i] += from[i];
        }
    for (size_t i = begin; i < end && p->ranks.rank != 0; i++)
        p->own[i] = part_of(p, 0)[i];
}

size_t comm_devices(void) { return 0; }

size_t comm_device_memory(void) { return 0; }

void comm_choose_device(const Comm *comm) { (void)comm; }

int comm_join_device(Comm *comm, Error *e)
{
    (void)comm;
    (void)e;
    return 0;
}

void comm_leave_device(Comm *comm)
{
    Reductions *r = comm->arenas;
    free(r != NULL ? r->begun : NULL);
    free(r);
}

static void send(Comm *comm, size_t peer, float *x, size_t n) { comm_begin_send(comm, peer, x, n * sizeof *x); }

static void receive(Comm *comm, size_t peer, float *x, size_t n) { comm_begin_receive(comm, peer, x, n * sizeof *x); }

void comm_reduce_begin(Comm *comm, float *arena, const CommPiece *pieces, size_t count, float *scratch, void *stream)
{
    (void)stream;
    if (comm == NULL)
        return;
    comm_post_parts(comm, arena, pieces, count, scratch, send, receive);
    note(comm, (struct Reduction){arena, scratch, pieces, count});
    comm_progress(comm);
}

static void sum_reduction(Ranks ranks, const struct Reduction *r)
{
    const size_t share = comm_share(r->pieces, r->count, ranks.rank);
    size_t at = 0;
    for (const CommPiece *p = r->pieces; p < r->pieces + r->count; p++) {
        if (p->rank != ranks.rank)
            continue;
        const Parts parts = {ranks, r->arena + p->first, r->scratch + at, share};
#pragma omp parallel for schedule(static)
        for (size_t begin = 0; begin < p->n; begin += STRETCH)
            add_up(&parts, begin, p->n - begin < STRETCH ? p->n : begin + STRETCH);
        at += p->n;
    }
}

void comm_reduce_end(Comm *comm, void *stream)
{
    (void)stream;
    if (comm == NULL)
        return;
    comm_finish(comm);
    Reductions *r = comm->arenas;
    for (size_t i = 0; r != NULL && i < r->count && !comm->lost; i++)
        sum_reduction(comm->ranks, &r->begun[i]);
    if (r != NULL)
        r->count = 0;
}

void comm_all_gather(Comm *comm, float *arena, const CommPiece *pieces, size_t count, void *stream)
{
    (void)stream;
    if (comm == NULL)
        return;
    comm_post_pieces(comm, arena, pieces, count, send, receive);
    comm_finish(comm);
}
