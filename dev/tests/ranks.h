#ifndef DEV_TESTS_RANKS_H
#define DEV_TESTS_RANKS_H

#include "comm/comm.h"

#include <stdio.h>
#include <sys/types.h>

/*
 * Tests of several ranks: the test program starts itself once for each of them, and what fails in one fails the case
 * that runs. A rank's part is a function; whatever it must know beside its Comm comes in one word, `how`.
 */
typedef struct RankPart {
    const char *name;
    void (*run)(Comm *comm, const char *how);
} RankPart;

/* First in main: in a process that was started as a rank it runs that rank's part and ends the process. `parts` ends
 * with a name of NULL. */
void ranks_main(int argc, char **argv, const RankPart *parts);

/* One start of `world` ranks. */
typedef struct RanksRun {
    const char *part, *how;
    size_t world, passing; /* ranks whose part must pass: fewer where some are to end before it does */
    bool loses;            /* a rank is lost: mpirun must neither end the others nor judge them */
    size_t tries;          /* before this one, that mpirun itself ended */
    bool mpi;              /* started by mpirun */
    int port;              /* MASTER_PORT; rank 0 listens at the next */
    size_t count;          /* processes started */
    pid_t pids[64];
    FILE *output; /* what they print */
} RanksRun;

/* Chooses a port. All of `part`, `how` and the rest live as long as the run. */
RanksRun ranks_make(const char *part, const char *how, size_t world);

/* Starts ranks first to end - 1 the way torchrun does, by its variables alone. */
void ranks_start(RanksRun *run, size_t first, size_t end);

/* Starts all by mpirun. */
void ranks_start_mpi(RanksRun *run);

/* Waits until all have ended, at most so many seconds, then kills them; records what failed. Returns whether all that
 * must pass has passed. */
bool ranks_end(RanksRun *run, double seconds);

/* Why mpirun cannot start this program's ranks, or NULL: found by trying it once. */
const char *ranks_no_mpi(void);

/* Makes the environment that of a process without a launcher. */
void ranks_clear_environment(void);

#endif
