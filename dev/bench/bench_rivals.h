#ifndef DEV_BENCH_BENCH_RIVALS_H
#define DEV_BENCH_BENCH_RIVALS_H

#include <stdio.h>
#include <sys/types.h>

/*
 * Programs that are measured in turn. Each is started once and reads requests, a line each, "TASK THREADS SECONDS",
 * from its standard input; it answers with a line of JSON when it has worked for that long, at least once. Meanwhile
 * the others sleep.
 */
typedef struct Rival {
    const char *name; /* borrowed */
    pid_t pid;        /* 0: there is none */
    FILE *to, *from;
} Rival;

/* What was done in one turn, in wall seconds and in CPU seconds of all threads. A rival that is not there has NaN. */
typedef struct Sample {
    double count; /* tokens, or steps */
    double wall, cpu;
    double passes; /* CPU seconds of the forward and backward passes alone */
    double rss;    /* bytes, the most so far */
} Sample;

/* Starts a shell's command with OMP_NUM_THREADS=threads. One that cannot be started shows at the first request. */
Rival rival_start(const char *name, const char *command, size_t threads);

/* One turn. A rival that ends instead is said to be missing on stderr, once, and is none from then on. */
Sample rival_ask(Rival *rival, const char *task, size_t threads, double seconds);

void rival_stop(Rival *rival);

/* Starts `count` processes that are busy until they are stopped, or until this process has ended. */
enum { NEIGHBOURS_MOST = 64 };
void neighbours_start(pid_t *pids, size_t count);
void neighbours_stop(const pid_t *pids, size_t count);

#endif
