#include "base/threads.h"

#include "base/cgroup.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#ifdef _OPENMP
static char reason[64];
static size_t chosen;

/* Whether the environment says how many. */
static bool is_asked(void)
{
    const char *asked = getenv("OMP_NUM_THREADS");
    return asked != NULL && *asked != '\0';
}

void threads_choose(size_t processes)
{
    size_t n = threads_count();
    if (!is_asked()) {
        const double quota = cgroup_here().cpus;
        const long online = sysconf(_SC_NPROCESSORS_ONLN);
        n = (size_t)omp_get_num_procs();
        if (online > (long)n)
            snprintf(reason, sizeof reason, "affinity to %zu of %ld CPUs", n, online);
        if (quota > 0 && ceil(quota) < (double)n) {
            n = (size_t)ceil(quota);
            snprintf(reason, sizeof reason, "CPU quota %.3g", quota);
        }
        if (processes > 1 && n > 1) {
            n = n > processes ? n / processes : 1;
            snprintf(reason, sizeof reason, "%zu processes share the CPUs", processes);
        }
        if (n > THREADS_MOST)
            snprintf(reason, sizeof reason, "the most; there are CPUs for %zu", n);
    } else if (n > THREADS_MOST)
        snprintf(reason, sizeof reason, "the most; OMP_NUM_THREADS asks for %zu", n);
    chosen = n < THREADS_MOST ? n : THREADS_MOST;
    threads_set(chosen);
}

void threads_suit(double work)
{
    static const double least = 2e7; /* for a thread: the loops of less are over before a second one has woken */
    const double most = work > least ? work / least : 1;
    if (is_asked() || most >= (double)chosen)
        return;
    chosen = (size_t)most;
    snprintf(reason, sizeof reason, "enough for a small model");
    threads_set(chosen);
}

const char *threads_reason(void) { return threads_count() == chosen ? reason : ""; }
#else
void threads_choose(size_t processes) { (void)processes; }

void threads_suit(double work) { (void)work; }

const char *threads_reason(void) { return ""; }
#endif
