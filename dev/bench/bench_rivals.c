#include "dev/bench/bench_rivals.h"
#include "files/json.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LINE_MOST = 4096 };

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void become(const char *command, size_t threads, const int in[2], const int out[2])
{
    char count[32];
    snprintf(count, sizeof count, "%zu", threads);
    dup2(in[0], STDIN_FILENO);
    dup2(out[1], STDOUT_FILENO);
    close(in[0]);
    close(in[1]);
    close(out[0]);
    close(out[1]);
    setenv("OMP_NUM_THREADS", count, 1);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

Rival rival_start(const char *name, const char *command, size_t threads)
{
    Rival r = {.name = name};
    int in[2], out[2];
    char exec[LINE_MOST];
    snprintf(exec, sizeof exec, "exec %s", command);
    signal(SIGPIPE, SIG_IGN); /* rival_ask finds out */
    if (pipe(in) != 0 || pipe(out) != 0)
        fail("bench: pipe");
    fcntl(in[1], F_SETFD, FD_CLOEXEC); /* other rivals would keep it open, and this one wait for requests for ever */
    fcntl(out[0], F_SETFD, FD_CLOEXEC);
    r.pid = fork();
    if (r.pid < 0)
        fail("bench: fork");
    if (r.pid == 0)
        become(exec, threads, in, out);
    close(in[0]);
    close(out[1]);
    r.to = fdopen(in[1], "w");
    r.from = fdopen(out[0], "r");
    if (r.to == NULL || r.from == NULL)
        fail("bench: fdopen");
    return r;
}

void rival_stop(Rival *r)
{
    if (r->pid == 0)
        return;
    fclose(r->to); /* the end of its requests */
    fclose(r->from);
    waitpid(r->pid, NULL, 0);
    r->pid = 0;
}

static double number(const Json *json, const char *key)
{
    double x = NAN;
    json_number(json_get(json, key), &x);
    return x;
}

/* The next line that is JSON: llm.c prints others. */
static Json *read_answer(Rival *r)
{
    char line[LINE_MOST];
    Json *json = NULL;
    Error e;
    while (fgets(line, sizeof line, r->from) != NULL)
        if (line[0] == '{')
            return json_parse(line, strlen(line), &json, &e) == 0 ? json : NULL;
    return NULL;
}

Sample rival_ask(Rival *r, const char *task, size_t threads, double seconds)
{
    const Sample none = {(double)NAN, (double)NAN, (double)NAN, (double)NAN, (double)NAN};
    if (r->pid == 0)
        return none;
    fprintf(r->to, "%s %zu %g\n", task, threads, seconds);
    fflush(r->to);
    Json *json = read_answer(r);
    if (json == NULL) {
        fprintf(stderr, "bench: %s ended at '%s'\n", r->name, task);
        rival_stop(r);
        return none;
    }
    const Sample s = {number(json, "count"), number(json, "wall"), number(json, "cpu"), number(json, "passes"),
                      number(json, "rss")};
    json_free(json);
    return s;
}

static void be_busy(pid_t parent)
{
    volatile unsigned count = 0;
    while (getppid() == parent)
        for (unsigned i = 0; i < 100000000; i++)
            count = count + i;
    _exit(0);
}

void neighbours_start(pid_t *pids, size_t count)
{
    const pid_t parent = getpid();
    for (size_t i = 0; i < count; i++) {
        pids[i] = fork();
        if (pids[i] < 0)
            fail("bench: fork");
        if (pids[i] == 0)
            be_busy(parent);
    }
}

void neighbours_stop(const pid_t *pids, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        kill(pids[i], SIGKILL);
        waitpid(pids[i], NULL, 0);
    }
}
