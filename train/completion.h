#ifndef TRAIN_COMPLETION_H
#define TRAIN_COMPLETION_H

#include <stdio.h>

/* Shells whose Tab key may complete the options, and their names, NULL after the last. */
typedef enum CompletionShell { COMPLETION_BASH, COMPLETION_ZSH, COMPLETION_FISH, COMPLETION_SHELLS } CompletionShell;
extern const char *const completion_shells[COMPLETION_SHELLS + 1];

/* Prints a script for a shell, made from the table of options, to be sourced or to be installed where the shell looks.
 * It completes options, the names of rules, presets and choices, and files and folders where the value is one. */
void completion_print(CompletionShell shell, FILE *to);

#endif
