#ifndef COMM_COMM_PRIVATE_H
#define COMM_COMM_PRIVATE_H

#include "comm/transport.h"

/* Where a rank is. */
typedef struct CommPeer {
    char host[64], machine[64]; /* machine: what ranks that can see each other's processes have in common */
    unsigned char cpus[128];    /* a bit for each that it may use */
    long pid;
    unsigned long long started; /* in the machine's ticks: a process number may be used again */
} CommPeer;

/* This rank's. */
void comm_describe(CommPeer *peer);

/* Whether the process of a peer on this rank's machine has ended; false of one elsewhere. */
bool comm_has_ended(const CommPeer *peer, const CommPeer *here);

struct Comm {
    Ranks ranks;
    Transport transport;
    CommPeer *peers; /* (world) */
    double timeout;
    bool lost;
    size_t lost_rank;
    Error why;
    CommCost cost;
    void *device; /* what comm_cuda.cu keeps */
};

/* Begin to send or receive; nothing after a loss. */
void comm_begin_send(Comm *comm, size_t peer, const void *x, size_t bytes);
void comm_begin_receive(Comm *comm, size_t peer, void *x, size_t bytes);

/* Waits for all that was begun. */
void comm_finish(Comm *comm);

/* Notes that a rank is lost, by a sentence without its name. */
void comm_lose(Comm *comm, size_t rank, const char *why);

#endif
