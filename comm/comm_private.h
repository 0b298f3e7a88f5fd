#ifndef COMM_COMM_PRIVATE_H
#define COMM_COMM_PRIVATE_H

#include "comm/transport.h"

/* Where a rank is. */
typedef struct CommPeer {
    char host[64];
    char machine[64];        /* the same on all of one machine, whatever hosts it plays */
    char processes[32];      /* where these are the same too, ranks see each other's processes */
    unsigned char cpus[128]; /* a bit for each that it may use */
    long pid;
    unsigned long long started; /* in the machine's ticks: a process number may be used again */
} CommPeer;

/* This rank's. */
void comm_describe(CommPeer *peer);

/* Whether two are on one machine, and not in different containers; whether a peer is with this rank, and its process
 * can be looked at. */
bool comm_are_together(const CommPeer *a, const CommPeer *b);
bool comm_is_visible(const CommPeer *peer, const CommPeer *here);

/* Whether the process of a peer that can be seen has ended; false of others. */
bool comm_has_ended(const CommPeer *peer, const CommPeer *here);

struct Comm {
    Ranks ranks;
    Transport transport;
    CommPeer *peers; /* (world) */
    double timeout, patience;
    bool lost;
    size_t lost_rank;
    double lost_at; /* clock */
    Error why;
    CommCost cost;
    void *arenas; /* what arena_cpu.c or arena_cuda.cu keeps; NULL at first */
};

/* Begin to send or receive; nothing after a loss. */
void comm_begin_send(Comm *comm, size_t peer, const void *x, size_t bytes);
void comm_begin_receive(Comm *comm, size_t peer, void *x, size_t bytes);

/* Moves what can be moved; waits for all that was begun. */
void comm_progress(Comm *comm);
void comm_finish(Comm *comm);

/* What an arena's ranks send each other, in one order on all: `send` and `receive` begin n floats to or from a peer.
 * For a sum, parts of this rank's pieces go to scratch; for a gather, pieces to their place. */
typedef void CommMove(Comm *comm, size_t peer, float *x, size_t n);
void comm_post_parts(Comm *comm, float *arena, const CommPiece *pieces, size_t count, float *scratch, CommMove *send,
                     CommMove *receive);
void comm_post_pieces(Comm *comm, float *arena, const CommPiece *pieces, size_t count, CommMove *send,
                      CommMove *receive);

/* Floats of scratch before those of a rank's parts: (world - 1, share), of all ranks but this one in their order. */
size_t comm_scratch_of(Ranks ranks, size_t rank, size_t share);

/* Of a wait: since when, when something last moved, when the ranks were last looked at, and when comm_gives_up was last
 * asked. */
typedef struct CommWatch {
    double begin, moved, looked, asked;
    bool ended; /* one had, then */
} CommWatch;
CommWatch comm_watch(void);

/* Pauses, and now and then looks after the ranks: whether one has ended, which is then lost, or nothing has moved
 * for as long as the timeout. */
bool comm_gives_up(Comm *comm, CommWatch *watch);

/* After communication that failed or stands still, each rank where it noticed that: finds one that does not answer; if
 * all do, this rank is lost, and why. */
void comm_find_silent(Comm *comm, const char *why);

/* Ends what is kept of arenas. */
void comm_leave_device(Comm *comm);

/* Notes that a rank is lost, by a sentence without its name. */
void comm_lose(Comm *comm, size_t rank, const char *why);

#endif
