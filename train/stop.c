#include "train/stop.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

static volatile sig_atomic_t received;

static void on_signal(int number)
{
    if (received == 0)
        received = number;
}

void stop_catch(void)
{
    /* The others may come again by themselves: SIGXCPU every second, SIGHUP from both shell and terminal. */
    static const struct {
        int number;
        bool twice; /* the second one kills */
    } signals[] = {{SIGINT, true},   {SIGTERM, true},  {SIGHUP, false}, {SIGPIPE, false},
                   {SIGXCPU, false}, {SIGUSR1, false}, {SIGUSR2, false}};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction before,
            action = {.sa_handler = on_signal, .sa_flags = SA_RESTART | (signals[i].twice ? (int)SA_RESETHAND : 0)};
        if (sigaction(signals[i].number, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(signals[i].number, &action, NULL);
    }
}

int stop_signal(void) { return received; }
