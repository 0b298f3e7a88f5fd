#include "comm/comm_private.h"

/* Of all ranks' parts of this rank's pieces, (world, share) of which its own stay in the arena and the others' lie in
 * `scratch` in order of ranks: their sum, in a binary tree. */
typedef struct Parts {
    Ranks ranks;
    float *own;     /* a piece */
    float *foreign; /* the same of the first other rank; of the next `share` floats on */
    size_t share;
} Parts;

enum { STRETCH = 1 << 10 }; /* floats at once: the parts of a few ranks fit into a core's cache */

static float *part_of(const Parts *p, size_t rank)
{
    return rank == p->ranks.rank ? p->own : p->foreign + (rank - (rank > p->ranks.rank)) * p->share;
}

static void add_up(const Parts *p, size_t begin, size_t end)
{
    for (size_t stride = 1; stride < p->ranks.world; stride *= 2)
        for (size_t r = 0; r + stride < p->ranks.world; r += 2 * stride) {
            float *to = part_of(p, r);
            const float *from = part_of(p, r + stride);
            for (size_t i = begin; i < end; i++)
                to[i] += from[i];
        }
    if (p->ranks.rank != 0)
        for (size_t i = begin; i < end; i++)
            p->own[i] = part_of(p, 0)[i];
}

void comm_reduce_scatter(Comm *comm, float *arena, const CommPiece *pieces, size_t count, float *scratch, void *stream)
{
    const Ranks r = comm_ranks(comm);
    const size_t share = comm_share(pieces, count, r.rank);
    size_t at = 0;
    (void)stream;
    if (r.world == 1)
        return;
    for (const CommPiece *p = pieces; p < pieces + count; p++) {
        for (size_t i = 0; i < r.world && p->rank == r.rank; i++)
            if (i != r.rank)
                comm_begin_receive(comm, i, scratch + (i - (i > r.rank)) * share + at, p->n * sizeof *arena);
        if (p->rank != r.rank)
            comm_begin_send(comm, p->rank, arena + p->first, p->n * sizeof *arena);
        at += p->rank == r.rank ? p->n : 0;
    }
    comm_finish(comm);
    at = 0;
    for (const CommPiece *p = pieces; p < pieces + count; p++) {
        if (p->rank != r.rank)
            continue;
        const Parts parts = {r, arena + p->first, scratch + at, share};
#pragma omp parallel for schedule(static)
        for (size_t begin = 0; begin < p->n; begin += STRETCH)
            add_up(&parts, begin, p->n - begin < STRETCH ? p->n : begin + STRETCH);
        at += p->n;
    }
}

void comm_all_gather(Comm *comm, float *arena, const CommPiece *pieces, size_t count, void *stream)
{
    const Ranks r = comm_ranks(comm);
    (void)stream;
    if (r.world == 1)
        return;
    for (const CommPiece *p = pieces; p < pieces + count; p++) {
        if (p->rank != r.rank)
            comm_begin_receive(comm, p->rank, arena + p->first, p->n * sizeof *arena);
        for (size_t i = 0; i < r.world && p->rank == r.rank; i++)
            if (i != r.rank)
                comm_begin_send(comm, i, arena + p->first, p->n * sizeof *arena);
    }
    comm_finish(comm);
}
