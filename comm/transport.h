#ifndef COMM_TRANSPORT_H
#define COMM_TRANSPORT_H

#include "comm/comm.h"

enum { PROGRESS_DONE, PROGRESS_MOVED, PROGRESS_NONE };

/*
 * How bytes get from rank to rank. What one rank sends another is received in the order in which both begin it; sizes
 * agree. Memory stays the caller's and must live until the work is done.
 */
typedef struct Transport {
    void *state;
    int (*send)(void *state, size_t peer, const void *x, size_t bytes, Error *e);
    int (*receive)(void *state, size_t peer, void *x, size_t bytes, Error *e);

    /* Moves what can be moved now. PROGRESS_DONE: all that was begun is done; PROGRESS_MOVED: a part of it was;
     * PROGRESS_NONE: nothing moved, and *peer is one still waited for; -1: *peer cannot be reached, says *e. */
    int (*progress)(void *state, size_t *peer, Error *e);

    /* Of the peers still waited for, `peer` among them, the one from whose machine nothing has come for longest; where
     * that is not known, `peer`. */
    size_t (*most_silent)(void *state, size_t peer);

    /* orderly: no rank was lost. */
    void (*close)(void *state, bool orderly);
} Transport;

/* What a launcher's environment says. */
typedef enum { LAUNCH_ALONE, LAUNCH_MPI, LAUNCH_TCP } LaunchKind;
typedef struct Launch {
    LaunchKind kind;
    const char *launcher; /* "mpirun", "srun", "torchrun" */
    Ranks ranks;          /* of MPI, only the world is known before it is asked */
} Launch;
int launch_read(Launch *launch, Error *e);

/* Whether, of ranks that comm_start has forked and that have not met yet, one has ended: in rank 0 any other, in the
 * others rank 0. */
bool launch_is_broken(void);

/* In rank 0 of those that comm_start has forked: waits for the others, which are ending (orderly), or ends them. */
void launch_end(bool orderly);

/* Whether it says that this is rank 0, or nothing. */
bool launch_is_first(void);

/* Waits, unless it does: with the first rank that ends, launchers end the others, and rank 0 is to say why before. */
void launch_yield(void);

/* MPI, which tells the ranks. Errors: not compiled in; it sees another world than the launcher. */
int transport_open_mpi(const Launch *launch, Ranks *ranks, Transport *out, Error *e);

/* Sockets between all ranks. Rank 0 is met at MASTER_ADDR, port MASTER_PORT + 1 (torchrun itself uses MASTER_PORT).
 * Errors: no such address, a port that is taken, ranks that have not come within a minute. */
int transport_open_tcp(const Launch *launch, Transport *out, Error *e);

/* Where ranks of this machine can meet: rank 0's place is held from now on, by this process, and MASTER_ADDR and
 * MASTER_PORT say it. */
int transport_hold_place(Error *e);

#endif
