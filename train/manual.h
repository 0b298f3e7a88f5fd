#ifndef TRAIN_MANUAL_H
#define TRAIN_MANUAL_H

#include <stdio.h>

/* Prints --help, from the table of options, in 80 columns. */
void manual_help(FILE *to);

/* Prints the same as a manual page of section 1, in the macros of man(7). */
void manual_page(FILE *to);

#endif
