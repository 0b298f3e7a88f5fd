#include "comm/comm_private.h"

#include "base/clock.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* --------------------------------------------------------------------------------------------------------------
 * Ranks
 */

static int make(const Launch *launch, Comm *comm, Error *e)
{
    comm->ranks = launch->ranks;
    comm->timeout = 300;
    comm->patience = 1;
    const int status = launch->kind == LAUNCH_MPI ? transport_open_mpi(launch, &comm->ranks, &comm->transport, e)
                                                  : transport_open_tcp(launch, &comm->transport, e);
    if (status != 0)
        return -1;
    CommPeer here;
    comm->peers = calloc(comm->ranks.world, sizeof *comm->peers);
    if (comm->peers == NULL) {
        comm->transport.close(comm->transport.state, false);
        return error_set(e, "out of memory for %zu ranks", comm->ranks.world);
    }
    comm_describe(&here);
    comm_exchange(comm, &here, sizeof here, comm->peers);
    return 0;
}

int comm_open(Comm **out, Error *e)
{
    Launch launch;
    *out = NULL;
    if (launch_read(&launch, e) != 0) {
        launch_yield();
        return -1;
    }
    if (launch.kind == LAUNCH_ALONE)
        return 0;
    Comm *comm = calloc(1, sizeof *comm);
    if (comm == NULL) {
        launch_end(false);
        return error_set(e, "out of memory");
    }
    if (make(&launch, comm, e) != 0) {
        launch_yield();
        launch_end(false);
        free(comm);
        return launch.kind == LAUNCH_TCP ? COMM_NOT_MET : -1;
    }
    *out = comm;
    return 0;
}

/* Whether a rank is on this one's machine. */
static bool is_near(const Comm *comm, size_t rank)
{
    return strcmp(comm->peers[rank].machine, comm->peers[comm->ranks.rank].machine) == 0;
}

/* After a loss: whether a rank is gone, as far as this one can tell. Of those whose processes it cannot see, all that
 * are with the lost one count as gone: machines fail as a whole. */
static bool is_gone(const Comm *comm, size_t rank)
{
    const CommPeer *peer = &comm->peers[rank], *here = &comm->peers[comm->ranks.rank];
    return rank == comm->lost_rank ||
           (comm_is_visible(peer, here) ? comm_has_ended(peer, here)
                                        : comm_are_together(peer, &comm->peers[comm->lost_rank]));
}

static size_t first_left(const Comm *comm)
{
    size_t rank = 0;
    while (rank < comm->ranks.rank && is_gone(comm, rank))
        rank++;
    return rank;
}

static void rest(void) { nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL); }

/* After a loss: the connections of those who leave first would look lost to others, and a speaker that is gone at once
 * as if it had been lost too. */
static void linger(const Comm *comm)
{
    const double begin = clock_seconds();
    const size_t who = first_left(comm);
    const double most = who == comm->ranks.rank ? 2 : 3;
    while (clock_seconds() - begin < most && (who == comm->ranks.rank || !is_gone(comm, who)))
        rest();
}

void comm_close(Comm *comm)
{
    if (comm == NULL)
        return;
    comm_agree(comm, 0, &(Error){""}); /* nobody leaves while another still reads what it sent */
    comm_leave_device(comm);
    if (comm->lost)
        linger(comm);
    comm->transport.close(comm->transport.state, !comm->lost);
    launch_end(!comm->lost);
    free(comm->peers);
    free(comm);
}

Ranks comm_ranks(const Comm *comm) { return comm != NULL ? comm->ranks : (Ranks){0, 1}; }

bool comm_speaks(const Comm *comm)
{
    if (comm == NULL)
        return launch_is_first();
    if (!comm->lost)
        return comm->ranks.rank == 0;
    while (first_left(comm) < comm->ranks.rank && clock_seconds() - comm->lost_at < 1)
        rest(); /* who ends so soon has not lingered, so has not spoken */
    return first_left(comm) == comm->ranks.rank && clock_seconds() - comm->lost_at < 1.5;
}

CommNeighbours comm_neighbours(const Comm *comm)
{
    CommNeighbours n = {0, 0, 0};
    if (comm == NULL)
        return (CommNeighbours){0, 1, 1};
    const CommPeer *here = &comm->peers[comm->ranks.rank];
    for (size_t i = 0; i < comm->ranks.world; i++) {
        const CommPeer *peer = &comm->peers[i];
        const bool near = is_near(comm, i);
        n.index += near && i < comm->ranks.rank;
        n.count += near;
        n.sharers += near && memcmp(peer->cpus, here->cpus, sizeof here->cpus) == 0;
    }
    return n;
}

void comm_set_timeout(Comm *comm, double seconds)
{
    if (comm != NULL)
        comm->timeout = seconds;
}

void comm_set_patience(Comm *comm, double factor)
{
    if (comm != NULL && comm->ranks.rank > 0)
        comm->patience = factor;
}

bool comm_lost(const Comm *comm, Error *e)
{
    if (comm == NULL || !comm->lost)
        return false;
    if (e != NULL)
        *e = comm->why;
    return true;
}

void comm_lose(Comm *comm, size_t rank, const char *why)
{
    if (comm->lost)
        return;
    comm->lost = true;
    comm->lost_at = clock_seconds();
    comm->lost_rank = rank;
    if (comm->peers != NULL && comm->peers[rank].pid != 0)
        error_set(&comm->why, "rank %zu is lost: process %ld on %s %s", rank, comm->peers[rank].pid,
                  comm->peers[rank].host, why);
    else
        error_set(&comm->why, "rank %zu is lost: it %s", rank, why);
}

/* --------------------------------------------------------------------------------------------------------------
 * Messages
 */

void comm_begin_send(Comm *comm, size_t peer, const void *x, size_t bytes)
{
    Error e;
    comm->cost.sent += bytes;
    if (!comm->lost && comm->transport.send(comm->transport.state, peer, x, bytes, &e) != 0)
        comm_lose(comm, peer, e.text);
}

void comm_begin_receive(Comm *comm, size_t peer, void *x, size_t bytes)
{
    Error e;
    if (!comm->lost && comm->transport.receive(comm->transport.state, peer, x, bytes, &e) != 0)
        comm_lose(comm, peer, e.text);
}

/* Whether a process on this machine that we may be waiting for has ended. */
static bool find_ended(const Comm *comm, size_t *rank)
{
    for (*rank = 0; comm->peers != NULL && *rank < comm->ranks.world; ++*rank)
        if (*rank != comm->ranks.rank && comm_has_ended(&comm->peers[*rank], &comm->peers[comm->ranks.rank]))
            return true;
    return false;
}

/* The processor goes to whoever needs it: ranks may share one. */
static void pause_after(double waited)
{
    if (waited < 2e-3)
        sched_yield();
    else
        nanosleep(&(struct timespec){.tv_nsec = waited < 0.1 ? 50000 : 500000}, NULL);
}

void comm_progress(Comm *comm)
{
    size_t peer;
    Error e;
    if (!comm->lost && comm->transport.progress(comm->transport.state, &peer, &e) < 0)
        comm_lose(comm, peer, e.text);
}

CommWatch comm_watch(void)
{
    const double now = clock_seconds();
    return (CommWatch){now, now, now, now, false};
}

bool comm_gives_up(Comm *comm, CommWatch *watch)
{
    const double now = clock_seconds();
    size_t ended;
    if (now - watch->asked > 1) /* this process was suspended, and perhaps all ranks with it */
        watch->moved = now;
    watch->asked = now;
    pause_after(now - watch->begin);
    if (now - watch->looked > 0.2) {
        watch->looked = now;
        if (!find_ended(comm, &ended))
            watch->ended = false;
        else if (watch->ended) /* the second time: what it sent before has had time to come */
            comm_lose(comm, ended, "has ended");
        else
            watch->ended = true;
    }
    return now - watch->moved > comm->timeout * comm->patience;
}

void comm_finish(Comm *comm)
{
    CommWatch watch = comm_watch();
    while (!comm->lost) {
        size_t peer;
        Error e;
        char silent[80];
        const int status = comm->transport.progress(comm->transport.state, &peer, &e);
        if (status == PROGRESS_DONE)
            break;
        if (status == PROGRESS_MOVED)
            watch.moved = clock_seconds();
        if (status < 0)
            comm_lose(comm, peer, e.text);
        else if (comm_gives_up(comm, &watch)) {
            peer = comm->transport.most_silent(comm->transport.state, peer);
            snprintf(silent, sizeof silent, "has been silent for %.3g s (--comm-timeout)",
                     clock_seconds() - watch.moved);
            comm_lose(comm, peer, silent);
        }
    }
    comm->cost.seconds += clock_seconds() - watch.begin;
}

void comm_find_silent(Comm *comm, const char *why)
{
    char here = 0, *all = calloc(comm->ranks.world, 1);
    const double timeout = comm->timeout;
    comm->timeout = timeout < 10 ? timeout : 10; /* the others notice when we do */
    if (all != NULL)
        comm_exchange(comm, &here, 1, all);
    free(all);
    comm->timeout = timeout;
    comm_lose(comm, comm->ranks.rank, why);
}

CommCost comm_cost(Comm *comm)
{
    if (comm == NULL)
        return (CommCost){0, 0};
    const CommCost cost = comm->cost;
    comm->cost = (CommCost){0, 0};
    return cost;
}

/* --------------------------------------------------------------------------------------------------------------
 * A few bytes
 */

void comm_exchange(Comm *comm, const void *mine, size_t size, void *all)
{
    const Ranks r = comm_ranks(comm);
    for (size_t i = 0; i < r.world; i++) {
        if (i == r.rank)
            continue;
        comm_begin_receive(comm, i, (char *)all + i * size, size);
        comm_begin_send(comm, i, mine, size);
    }
    memmove((char *)all + r.rank * size, mine, size);
    if (r.world > 1)
        comm_finish(comm);
}

int comm_agree(Comm *comm, int status, Error *e)
{
    typedef struct Verdict {
        int status;
        Error why;
    } Verdict;
    Verdict mine = {.status = status};
    if (comm == NULL)
        return status;
    if (status != 0)
        mine.why = *e;
    Verdict *all = malloc(comm->ranks.world * sizeof *all);
    if (all == NULL) {
        comm_lose(comm, comm->ranks.rank, "is out of memory");
        return comm_lost(comm, e);
    }
    comm_exchange(comm, &mine, sizeof mine, all);
    for (size_t k = 0; k < comm->ranks.world; k++)
        all[k].why.text[sizeof all[k].why.text - 1] = '\0';
    size_t i = 0;
    while (i < comm->ranks.world && all[i].status == 0)
        i++;
    int agreed = 0;
    if (comm_lost(comm, e))
        agreed = 1;
    else if (i < comm->ranks.world) {
        agreed = all[i].status;
        if (i > 0)
            error_set(e, "rank %zu on %s: %s", i, comm->peers[i].host, all[i].why.text);
        else
            *e = all[i].why;
    }
    free(all);
    return agreed;
}

void comm_sum(Comm *comm, double *x, size_t n)
{
    const size_t world = comm_ranks(comm).world;
    if (world == 1)
        return;
    double *all = malloc(world * n * sizeof *all);
    if (all == NULL) {
        comm_lose(comm, comm->ranks.rank, "is out of memory");
        return;
    }
    comm_exchange(comm, x, n * sizeof *x, all);
    for (size_t stride = 1; stride < world; stride *= 2)
        for (size_t r = 0; r + stride < world; r += 2 * stride)
            for (size_t i = 0; i < n; i++)
                all[r * n + i] += all[(r + stride) * n + i];
    memcpy(x, all, n * sizeof *x);
    free(all);
}

size_t comm_most(Comm *comm, size_t x)
{
    const size_t world = comm_ranks(comm).world;
    size_t *all = calloc(world, sizeof *all), most = x;
    if (all == NULL) {
        comm_lose(comm, comm->ranks.rank, "is out of memory");
        return x;
    }
    comm_exchange(comm, &x, sizeof x, all);
    for (size_t i = 0; i < world; i++)
        most = all[i] > most ? all[i] : most;
    free(all);
    return most;
}

void comm_broadcast(Comm *comm, void *x, size_t size)
{
    const Ranks r = comm_ranks(comm);
    if (r.world == 1)
        return;
    for (size_t i = 1; i < r.world && r.rank == 0; i++)
        comm_begin_send(comm, i, x, size);
    if (r.rank > 0)
        comm_begin_receive(comm, 0, x, size);
    comm_finish(comm);
}

/* --------------------------------------------------------------------------------------------------------------
 * Pieces
 */

size_t comm_share(const CommPiece *pieces, size_t count, size_t rank)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        n += pieces[i].rank == rank ? pieces[i].n : 0;
    return n;
}

size_t comm_scratch(const Comm *comm, const CommPiece *pieces, size_t count)
{
    const Ranks r = comm_ranks(comm);
    return (r.world - 1) * comm_share(pieces, count, r.rank);
}

size_t comm_scratch_of(Ranks ranks, size_t rank, size_t share) { return (rank - (rank > ranks.rank)) * share; }

void comm_post_parts(Comm *comm, float *arena, const CommPiece *pieces, size_t count, float *scratch, CommMove *send,
                     CommMove *receive)
{
    const Ranks r = comm->ranks;
    const size_t share = comm_share(pieces, count, r.rank);
    size_t at = 0;
    for (const CommPiece *p = pieces; p < pieces + count; p++) {
        for (size_t i = 0; i < r.world && p->rank == r.rank; i++)
            if (i != r.rank)
                receive(comm, i, scratch + comm_scratch_of(r, i, share) + at, p->n);
        if (p->rank != r.rank)
            send(comm, p->rank, arena + p->first, p->n);
        at += p->rank == r.rank ? p->n : 0;
    }
}

void comm_post_pieces(Comm *comm, float *arena, const CommPiece *pieces, size_t count, CommMove *send,
                      CommMove *receive)
{
    const Ranks r = comm->ranks;
    for (const CommPiece *p = pieces; p < pieces + count; p++) {
        if (p->rank != r.rank)
            receive(comm, p->rank, arena + p->first, p->n);
        for (size_t i = 0; i < r.world && p->rank == r.rank; i++)
            if (i != r.rank)
                send(comm, i, arena + p->first, p->n);
    }
}

void comm_collect(Comm *comm, float *host, const CommPiece *pieces, size_t count)
{
    const Ranks r = comm_ranks(comm);
    if (r.world == 1)
        return;
    for (const CommPiece *p = pieces; p < pieces + count; p++) {
        if (r.rank == 0 && p->rank != 0)
            comm_begin_receive(comm, p->rank, host + p->first, p->n * sizeof *host);
        else if (r.rank == p->rank && r.rank != 0)
            comm_begin_send(comm, 0, host + p->first, p->n * sizeof *host);
    }
    comm_finish(comm);
}
