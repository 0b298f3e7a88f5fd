/*
 * Starts a command as a user's shell would, for tests in sh:
 *
 *   harness signals COMMAND...            with no signal ignored, as sh leaves SIGINT in the background
 *   harness ignoring N COMMAND...         with signal N ignored, as nohup does
 *   harness terminal COLUMNS COMMAND...   on a terminal of so many columns, whose output it copies to stdout
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

static int fail(const char *what)
{
    perror(what);
    return 125;
}

static int start(char **command)
{
    execvp(command[0], command);
    return fail(command[0]);
}

/* Child: the terminal becomes its standard streams. */
static int start_on(const char *terminal, char **command)
{
    setsid();
    const int fd = open(terminal, O_RDWR);
    if (fd < 0)
        return fail(terminal);
    for (int i = 0; i < 3; i++)
        dup2(fd, i);
    close(fd);
    return start(command);
}

static int on_terminal(unsigned short columns, char **command)
{
    const struct winsize size = {.ws_row = 24, .ws_col = columns};
    const int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0 || ioctl(master, TIOCSWINSZ, &size) != 0)
        return fail("a pseudo-terminal");
    const int held = open(ptsname(master), O_RDWR | O_NOCTTY); /* so that reading does not end before it begins */
    const pid_t child = fork();
    if (child == 0)
        _exit(start_on(ptsname(master), command));
    int status = 0;
    char buffer[4096];
    fcntl(master, F_SETFL, O_NONBLOCK);
    for (int ended = 0;;) {
        const ssize_t n = read(master, buffer, sizeof buffer);
        if (n > 0 && write(STDOUT_FILENO, buffer, (size_t)n) != n)
            return fail("stdout");
        if (n <= 0 && ended)
            break;
        if (n <= 0) {
            ended = waitpid(child, &status, WNOHANG) == child;
            usleep(ended ? 0 : 2000);
        }
    }
    close(held);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
    if (argc > 2 && strcmp(argv[1], "signals") == 0) {
        for (int i = 1; i < NSIG; i++)
            signal(i, SIG_DFL);
        return start(argv + 2);
    }
    if (argc > 3 && strcmp(argv[1], "ignoring") == 0) {
        signal(atoi(argv[2]), SIG_IGN);
        return start(argv + 3);
    }
    if (argc > 3 && strcmp(argv[1], "terminal") == 0)
        return on_terminal((unsigned short)atoi(argv[2]), argv + 3);
    fputs("usage: harness signals|ignoring N|terminal COLUMNS COMMAND...\n", stderr);
    return 125;
}
