#include "comm/transport.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Who starts ranks, and the variables in which it tells each how many they are and which it is. */
typedef struct Launcher {
    const char *name, *world, *rank;
} Launcher;

/* Slurm's variables are those that a step has, and a batch script does not. */
static const Launcher mpirun = {"mpirun", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"},
                      torchrun = {"torchrun", "WORLD_SIZE", "RANK"},
                      others[] = {{"srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"},
                                  {"mpiexec", "PMI_SIZE", "PMI_RANK"}};

static bool is_set(const char *name) { return getenv(name) != NULL && *getenv(name) != '\0'; }

static unsigned long long number(const char *name) { return is_set(name) ? strtoull(getenv(name), NULL, 10) : 0; }

/*
 * Whose ranks this process is one of; NULL: nobody's. In Slurm's jobs the launchers have srun start their helpers, one
 * on each machine, whose variables the ranks inherit: torchrun and Open MPI's mpirun come before srun, and so does
 * MPICH's mpiexec where it started more ranks. It cannot always: srun --mpi=pmi2 sets the same variables, and an inner
 * srun leaves an outer one's.
 */
static const Launcher *find_launcher(void)
{
    const Launcher *found = NULL;
    if (is_set("TORCHELASTIC_RUN_ID"))
        return &torchrun;
    if (is_set(mpirun.world))
        found = &mpirun;
    else
        for (size_t i = 0; i < sizeof others / sizeof *others; i++)
            if (is_set(others[i].world) && (found == NULL || number(others[i].world) > number(found->world)))
                found = &others[i];
    /* a single rank of a launcher may start ranks of its own */
    const bool alone = found == NULL || number(found->world) == 1;
    return alone && is_set(torchrun.world) ? &torchrun : found;
}

/* A number in the environment. */
static int read_number(const char *name, size_t least, size_t *n, Error *e)
{
    const char *text = getenv(name);
    char *end;
    const unsigned long long value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || value < least || value > RANKS_MOST)
        return error_set(e, "%s is '%s' in the environment, not a number from %zu to %d", name, text, least,
                         RANKS_MOST);
    *n = (size_t)value;
    return 0;
}

int launch_read(Launch *launch, Error *e)
{
    const Launcher *launcher = find_launcher();
    Ranks *r = &launch->ranks;
    *launch = (Launch){LAUNCH_ALONE, NULL, {0, 1}};
    if (launcher == NULL)
        return 0;
    launch->launcher = launcher->name;
    if (read_number(launcher->world, 1, &r->world, e) != 0)
        return -1;
    if (r->world == 1)
        return 0;
    launch->kind = launcher == &torchrun ? LAUNCH_TCP : LAUNCH_MPI;
    if (launch->kind == LAUNCH_MPI)
        return 0;
    if (!is_set(torchrun.rank))
        return error_set(e, "WORLD_SIZE is set in the environment, and RANK is not");
    if (read_number(torchrun.rank, 0, &r->rank, e) != 0)
        return -1;
    if (r->rank >= r->world)
        return error_set(e, "RANK %zu is not below WORLD_SIZE %zu", r->rank, r->world);
    return 0;
}

static pid_t *started; /* rank 0's: ranks 1 .. start_count */
static size_t start_count;
static pid_t first; /* the others': rank 0 */

static int set_number(const char *name, size_t n)
{
    char text[24];
    snprintf(text, sizeof text, "%zu", n);
    return setenv(name, text, 1);
}

int comm_start(size_t count, Error *e)
{
    Launch launch;
    if (count == 0)
        return 0;
    if (launch_read(&launch, e) != 0) {
        launch_yield();
        return -1;
    }
    if (launch.ranks.world == count)
        return 0;
    if (launch.kind != LAUNCH_ALONE) {
        launch_yield();
        return error_set(e, "--ranks %zu: this is one of %zu ranks that %s has started", count, launch.ranks.world,
                         launch.launcher);
    }
    const pid_t parent = getpid();
    started = malloc((count - 1) * sizeof *started);
    if (started == NULL || set_number(torchrun.world, count) != 0 || set_number(torchrun.rank, 0) != 0)
        return error_set(e, "out of memory for %zu ranks", count);
    if (transport_hold_place(e) != 0)
        return -1;
    for (size_t rank = 1; rank < count; rank++) {
        const pid_t child = fork();
        if (child == 0) {
            start_count = 0;
            first = parent;
            return set_number(torchrun.rank, rank) == 0 ? 0 : error_set(e, "out of memory for rank %zu", rank);
        }
        if (child < 0) {
            error_set(e, "rank %zu of %zu cannot be started: %s", rank, count, strerror(errno));
            launch_end(false);
            return -1;
        }
        started[start_count++] = child;
    }
    return 0;
}

bool launch_is_broken(void)
{
    for (size_t i = 0; i < start_count; i++) {
        siginfo_t info = {0};
        if (waitid(P_PID, (id_t)started[i], &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0)
            return true;
    }
    return first != 0 && getppid() != first;
}

void launch_end(bool orderly)
{
    for (size_t i = 0; i < start_count; i++) {
        if (!orderly)
            kill(started[i], SIGKILL);
        while (waitpid(started[i], NULL, 0) < 0 && errno == EINTR)
            ;
    }
    start_count = 0;
    free(started);
    started = NULL;
}

bool launch_is_first(void)
{
    const Launcher *launcher = find_launcher();
    return launcher == NULL || number(launcher->world) < 2 || number(launcher->rank) == 0;
}

void launch_yield(void)
{
    if (!launch_is_first())
        nanosleep(&(struct timespec){.tv_sec = 2}, NULL);
}
