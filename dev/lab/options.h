#ifndef DEV_LAB_OPTIONS_H
#define DEV_LAB_OPTIONS_H

#include "base/error.h"
#include "optim/hyper.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * The lab's command line.
 */

typedef enum { INPUTS_WHITE, INPUTS_ILL, INPUTS_ROTATED } Inputs;
typedef enum { INIT_ZERO, INIT_NORMAL } Init;
typedef enum { LOSS_MEAN, LOSS_SUM } Loss;

typedef struct Options {
    const char *rule;
    OptimHyper hyper;
    size_t inputs, init, loss, schedule; /* Inputs, Init, Loss, ScheduleKind */
    size_t batch, steps, seed, log_every, spectra_every;
    double condition;
    bool self_check, help;
} Options;

/* The command line over the defaults. Returns 0, or -1 with a message that names the option. */
int parse_options(int argc, char **argv, Options *o, Error *e);

/* Every option, to stdout. */
void print_help(void);

#endif
