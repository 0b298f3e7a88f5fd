#ifndef COMM_COMM_H
#define COMM_COMM_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The processes, ranks, that train one model together, and what they tell each other. mpirun, srun, torchrun or
 * comm_start starts them; without one of these there is one rank, Comm is NULL, and all functions below do what is
 * right for it at once.
 *
 * All ranks call the functions that are marked collective, in the same order and with the same sizes. None fails by
 * itself: when a rank is lost (its process has ended, or it is silent for longer than the timeout), everything that the
 * others call from then on returns at once with meaningless data, and comm_lost tells them. Sums are in a fixed order,
 * a binary tree over the ranks: every rank gets the same bits, and 2^k ranks sum as one would whose 2^k parts they
 * have.
 */
typedef struct Comm Comm;

typedef struct Ranks {
    size_t rank, world;
} Ranks;

/* --- ranks: launch.c, comm.c --- */

/* Forks this process into `count` ranks of this machine, of which the caller is rank 0; comm_open then joins them, by
 * sockets, and rank 0's comm_close waits for the others, or ends them where one is lost. Before threads are started and
 * devices used. Does nothing for a count of 0, or if the environment speaks of as many ranks. Errors: it speaks of
 * another number, and not of one; no process or socket is to be had. */
int comm_start(size_t count, Error *e);

/* Joins the ranks that the environment speaks of; *out is NULL where it speaks of none or one. Errors: MPI is needed
 * and not compiled in, more than RANKS_MOST; COMM_NOT_MET: this rank has not found the others, who do not know. */
enum { RANKS_MOST = 4096, COMM_NOT_MET = -2 };
int comm_open(Comm **out, Error *e);

/* Leaves them, collectively unless one is lost. NULL is fine. */
void comm_close(Comm *comm);

Ranks comm_ranks(const Comm *comm);

/* Whether this rank is the one that prints: 0; after a loss the first that is left, once a second has shown which;
 * before comm_open what the environment says. */
bool comm_speaks(const Comm *comm);

/* Ranks on this machine: this one's place among them, and how many; and how many, with it, may use the same CPUs. */
typedef struct CommNeighbours {
    size_t index, count, sharers;
} CommNeighbours;
CommNeighbours comm_neighbours(const Comm *comm);

/* GPUs that this process sees; 0 in the CPU's program. Choosing one, before it is used: the first, or one for each rank
 * of this machine, in turn. Joining, collectively, before arenas are made. Errors: two ranks with one, NCCL is not
 * compiled in or does not start. */
size_t comm_devices(void);
size_t comm_device_memory(void); /* bytes of the chosen one, whoever holds them; 0 on a CPU */
void comm_choose_device(const Comm *comm);
int comm_join_device(Comm *comm, Error *e);

/* Seconds of silence after which a rank counts as lost: 300 until this is called. */
void comm_set_timeout(Comm *comm, double seconds);

/* Multiplies that time while the others wait for what rank 0 does alone; 1 ends it. */
void comm_set_patience(Comm *comm, double factor);

/* Whether a rank is lost; *e then names it, unless NULL. */
bool comm_lost(const Comm *comm, Error *e);

/* --- a few bytes, collectively: comm.c --- */

/* The status of the first rank whose status is not 0, whose sentence *e becomes, named unless it is rank 0's; otherwise
 * 0. A lost rank is 1. */
int comm_agree(Comm *comm, int status, Error *e);

/* all (world, size) becomes what each rank has in `mine`. */
void comm_exchange(Comm *comm, const void *mine, size_t size, void *all);

/* x (n) becomes its sum over the ranks. */
void comm_sum(Comm *comm, double *x, size_t n);

/* The largest that a rank has. */
size_t comm_most(Comm *comm, size_t x);

/* x becomes what rank 0 has. */
void comm_broadcast(Comm *comm, void *x, size_t size);

/* --- arenas, collectively: parts of a rank's memory of the same layout everywhere --- */

/* Floats of an arena, from and how many, that belong to a rank. The pieces of an arena are the same on all ranks. */
typedef struct CommPiece {
    size_t first, n, rank;
} CommPiece;

/* Floats in all pieces of a rank. */
size_t comm_share(const CommPiece *pieces, size_t count, size_t rank);

/* Floats of scratch for comm_reduce_begin. */
size_t comm_scratch(const Comm *comm, const CommPiece *pieces, size_t count);

/*
 * On the device that holds the arena: on each rank its own pieces become their sum over the ranks; other pieces are of
 * no use afterwards. It may begin while other parts of the arena are still computed, and for several lists of pieces
 * one after the other, each with its own scratch; comm_reduce_end waits for all. Arena, pieces and scratch must live
 * until then. stream: as in Arenas (base/tensor.h); what was asked of it before the beginning comes first.
 */
void comm_reduce_begin(Comm *comm, float *arena, const CommPiece *pieces, size_t count, float *scratch, void *stream);
void comm_reduce_end(Comm *comm, void *stream);

/* Likewise, at once: every piece becomes what its rank has there. */
void comm_all_gather(Comm *comm, float *arena, const CommPiece *pieces, size_t count, void *stream);

/* In host memory: on rank 0 every piece becomes what its rank has there. */
void comm_collect(Comm *comm, float *host, const CommPiece *pieces, size_t count);

/* --- what it cost this rank since the last call --- */
typedef struct CommCost {
    double seconds; /* waiting for others */
    uint64_t sent;  /* bytes */
} CommCost;
CommCost comm_cost(Comm *comm);

#ifdef __cplusplus
}
#endif

#endif
