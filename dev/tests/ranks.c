#define _DEFAULT_SOURCE
#include "dev/tests/ranks.h"

#include "base/clock.h"
#include "dev/tests/check.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RANK_SECONDS = 90 }; /* of a process that nobody waits for any more */

static char self[4096];

void ranks_clear_environment(void)
{
    static const char *const names[] = {
        "RANK",     "WORLD_SIZE",           "MASTER_ADDR",          "MASTER_PORT",
        "PMI_SIZE", "MPI_LOCALNRANKS",      "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS",
        "PMI_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unsetenv(names[i]);
}

/* --------------------------------------------------------------------------------------------------------------
 * A rank
 */

static const RankPart *part;
static const char *part_how;
static size_t part_world;

static void do_nothing(Comm *comm, const char *how)
{
    (void)comm;
    (void)how;
}

static const RankPart nothing = {"nothing", do_nothing};

static void run_part(void)
{
    Comm *comm;
    Error e;
    if (!check(comm_open(&comm, &e) == 0, "%s", e.text) ||
        !check(comm_ranks(comm).world == part_world, "%zu ranks, not %zu", comm_ranks(comm).world, part_world))
        return;
    comm_set_timeout(comm, 20);
    part->run(comm, part_how);
    comm_close(comm);
}

void ranks_main(int argc, char **argv, const RankPart *parts)
{
    char name[200];
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
        snprintf(self, sizeof self, "%s", argv[0]);
    if (argc != 5 || strcmp(argv[1], "--rank") != 0)
        return;
    const char *rank = getenv("RANK") != NULL ? getenv("RANK") : getenv("OMPI_COMM_WORLD_RANK");
    for (part = parts; part->name != NULL && strcmp(part->name, argv[2]) != 0; part++)
        ;
    if (part->name == NULL)
        part = &nothing;
    part_how = argv[3];
    part_world = strtoul(argv[4], NULL, 10);
    snprintf(name, sizeof name, "rank %s of %zu, %s %s", rank != NULL ? rank : "?", part_world, part->name, part_how);
    alarm(RANK_SECONDS);
    check_run(name, run_part);
    exit(check_summary());
}

/* --------------------------------------------------------------------------------------------------------------
 * Starting them
 */

static bool is_free(int port)
{
    const struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    const bool bound = bind(fd, (const struct sockaddr *)&at, sizeof at) == 0;
    close(fd);
    return bound;
}

/* Below those that the system itself gives to a socket without a port, such as the other ranks' in this meeting. */
static int free_port(void)
{
    static int tried;
    if (tried == 0)
        tried = (int)getpid() * 64;
    for (;;) {
        const int port = 10000 + 2 * (tried++ % 10000);
        if (is_free(port + 1))
            return port;
    }
}

RanksRun ranks_make(const char *name, const char *how, size_t world)
{
    RanksRun run = {.part = name, .how = how, .world = world, .passing = world, .port = free_port()};
    run.output = tmpfile();
    if (run.output == NULL) {
        perror("test: no temporary file");
        exit(1);
    }
    fcntl(fileno(run.output), F_SETFD, FD_CLOEXEC);
    return run;
}

static void set_number(const char *name, size_t n)
{
    char text[32];
    snprintf(text, sizeof text, "%zu", n);
    setenv(name, text, 1);
}

/* The process of a run that becomes a rank, or mpirun. */
static pid_t begin_process(const RanksRun *run)
{
    fflush(stdout);
    const pid_t pid = fork();
    if (pid != 0)
        return pid;
    ranks_clear_environment();
    unsetenv("CHECK_ONLY");
    setenv("OMP_NUM_THREADS", "1", 1);
    setenv("OPENBLAS_NUM_THREADS", "1", 1);
    dup2(fileno(run->output), STDOUT_FILENO);
    dup2(fileno(run->output), STDERR_FILENO);
    return 0;
}

void ranks_start(RanksRun *run, size_t first, size_t end)
{
    char world[32];
    snprintf(world, sizeof world, "%zu", run->world);
    for (size_t rank = first; rank < end; rank++) {
        const pid_t pid = begin_process(run);
        if (pid == 0) {
            set_number("RANK", rank);
            set_number("WORLD_SIZE", run->world);
            set_number("MASTER_PORT", (size_t)run->port);
            setenv("MASTER_ADDR", "127.0.0.1", 1);
            execl(self, self, "--rank", run->part, run->how, world, (char *)NULL);
            _exit(127);
        }
        run->pids[run->count++] = pid;
    }
}

void ranks_start_mpi(RanksRun *run)
{
    char world[32];
    snprintf(world, sizeof world, "%zu", run->world);
    const pid_t pid = begin_process(run);
    run->mpi = true;
    if (pid == 0) {
        setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
        setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
        setenv("ASAN_OPTIONS", "detect_leaks=0", 1); /* MPI's own */
        execlp("mpirun", "mpirun", "--oversubscribe", "--bind-to", "none", "-np", world,
               run->loses ? "--enable-recovery" : "--quiet", self, "--rank", run->part, run->how, world, (char *)NULL);
        _exit(127);
    }
    run->pids[run->count++] = pid;
}

/* --------------------------------------------------------------------------------------------------------------
 * Their verdicts
 */

/* Waits for the processes; returns how many ended with status 0. *late: how many had to be killed. */
static size_t wait_for(RanksRun *run, double seconds, size_t *late)
{
    const double begin = clock_seconds();
    size_t left = run->count, good = 0;
    bool asked = false;
    *late = 0;
    while (left > 0) {
        for (size_t i = 0; i < run->count; i++) {
            int status;
            if (run->pids[i] == 0 || waitpid(run->pids[i], &status, WNOHANG) == 0)
                continue;
            run->pids[i] = 0;
            good += WIFEXITED(status) && WEXITSTATUS(status) == 0;
            left--;
        }
        const double waited = clock_seconds() - begin;
        for (size_t i = 0; i < run->count && waited > seconds + (asked ? 3 : 0); i++)
            if (run->pids[i] != 0)
                kill(run->pids[i], asked ? SIGKILL : SIGTERM);
        if (waited > seconds && !asked) {
            *late = left;
            asked = true;
        }
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    return good;
}

/* Records what the ranks said failed; returns how many passed. */
static size_t read_verdicts(const RanksRun *run, bool *failed)
{
    char line[2000];
    size_t passed = 0;
    rewind(run->output);
    *failed = false;
    while (fgets(line, sizeof line, run->output) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        passed += strncmp(line, "ok    rank ", 11) == 0;
        if (strncmp(line, "      ", 6) == 0 || strncmp(line, "FAIL", 4) == 0 || strstr(line, "Sanitizer") != NULL) {
            check(false, "%s", line + strspn(line, " "));
            *failed = true;
        }
    }
    fclose(run->output);
    return passed;
}

bool ranks_end(RanksRun *run, double seconds)
{
    size_t late;
    bool failed;
    const bool judged = !run->mpi || !run->loses;
    const size_t good = wait_for(run, seconds, &late), wanted = run->mpi ? 1 : run->passing;
    const size_t passed = read_verdicts(run, &failed);
    /* mpirun sometimes ends all ranks with one that is killed, before they have said anything */
    if (run->mpi && run->loses && passed == 0 && !failed && late == 0 && run->tries < 3) {
        RanksRun again = ranks_make(run->part, run->how, run->world);
        again.loses = true;
        again.passing = run->passing;
        again.tries = run->tries + 1;
        ranks_start_mpi(&again);
        return ranks_end(&again, seconds);
    }
    bool ok = check(late == 0, "%zu ranks, %s %s: %zu processes did not end within %g s", run->world, run->part,
                    run->how, late, seconds);
    ok = check(passed == run->passing && (!judged || good >= wanted),
               "%zu ranks, %s %s: %zu passed, not %zu; of %zu processes %zu ended with status 0", run->world, run->part,
               run->how, passed, run->passing, run->count, good) &&
         ok;
    return ok && !failed;
}

const char *ranks_no_mpi(void)
{
    static const char *why = "";
    if (why == NULL || *why != '\0')
        return why;
    char text[20000];
    RanksRun run = ranks_make(nothing.name, "", 2);
    size_t late;
    ranks_start_mpi(&run);
    const size_t good = wait_for(&run, 60, &late);
    rewind(run.output);
    text[fread(text, 1, sizeof text - 1, run.output)] = '\0';
    fclose(run.output);
    if (strstr(text, "built without MPI") != NULL)
        why = "the program was built without MPI";
    else if (good == 1 || strstr(text, "of 2, nothing") != NULL)
        why = NULL;
    else
        why = "there is no mpirun that starts programs here";
    return why;
}
