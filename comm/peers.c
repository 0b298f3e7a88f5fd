#define _GNU_SOURCE /* sched_getaffinity */
#include "comm/comm_private.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* State and start of a process, from Linux's /proc/<pid>/stat: its third and 22nd fields. False if there is none; where
 * that cannot be known, state is '?'. */
static bool read_process(long pid, char *state, unsigned long long *started)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *file = fopen(path, "r");
    *state = '?';
    if (file == NULL)
        return errno != ENOENT && errno != ESRCH;
    const size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = '\0';
    const char *at = strrchr(text, ')'); /* the second is a name with anything in it */
    return n == 0 || at == NULL ||
           sscanf(at + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", state,
                  started) == 2;
}

/* The first line of a file, without its end; "" if there is none. */
static void read_line(const char *path, char *to, size_t size)
{
    FILE *file = fopen(path, "r");
    to[0] = '\0';
    if (file == NULL)
        return;
    if (fgets(to, (int)size, file) != NULL)
        to[strcspn(to, "\n")] = '\0';
    fclose(file);
}

void comm_describe(CommPeer *peer)
{
    char state;
    memset(peer, 0, sizeof *peer);
    gethostname(peer->host, sizeof peer->host - 1);
    read_line("/proc/sys/kernel/random/boot_id", peer->machine, sizeof peer->machine);
    if (peer->machine[0] == '\0')
        memcpy(peer->machine, peer->host, sizeof peer->machine);
    const ssize_t n = readlink("/proc/self/ns/pid", peer->processes, sizeof peer->processes - 1);
    peer->processes[n > 0 ? n : 0] = '\0'; /* containers number their processes apart */
    peer->pid = (long)getpid();
    read_process(peer->pid, &state, &peer->started);
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        memcpy(peer->cpus, &set, sizeof set < sizeof peer->cpus ? sizeof set : sizeof peer->cpus);
#endif
}

bool comm_are_together(const CommPeer *a, const CommPeer *b)
{
    return strcmp(a->machine, b->machine) == 0 && strcmp(a->processes, b->processes) == 0;
}

bool comm_is_visible(const CommPeer *peer, const CommPeer *here)
{
    return here->started != 0 && comm_are_together(peer, here);
}

bool comm_has_ended(const CommPeer *peer, const CommPeer *here)
{
    char state;
    unsigned long long started;
    if (!comm_is_visible(peer, here))
        return false;
    if (!read_process(peer->pid, &state, &started))
        return true;
    return state != '?' && (started != peer->started || state == 'Z' || state == 'X');
}
