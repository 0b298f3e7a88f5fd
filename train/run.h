#ifndef TRAIN_RUN_H
#define TRAIN_RUN_H

#include "train/options.h"

/* Exit statuses of the program; 128 + N if signal N stopped the run. --probe alone ends with RUN_NO_DEVICE: there is
 * none that could answer. */
enum { RUN_DONE = 0, RUN_FAILED = 1, RUN_WRONG_COMMAND = 2, RUN_DIVERGED = 3, RUN_NO_DEVICE = 77 };

/* Does what the options ask for: trains, or with --steps 0 evaluates and samples, or lists the groups. Prints
 * progress on stdout. Returns an exit status, with a message in e for RUN_FAILED, _WRONG_COMMAND and _DIVERGED: on
 * every rank the same, unless one is lost. */
int run_main(const Options *o, Error *e);

#endif
