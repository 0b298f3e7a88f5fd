#ifndef TRAIN_PRESETS_H
#define TRAIN_PRESETS_H

#include <stdio.h>

/*
 * Presets: the files of presets/, which the Makefile compiles into the program. Each is a list of options, a line each
 * ("lr 6e-4"), with comments after #, of which the first line says what it is.
 */

/* The text of a preset, NULL if there is none of that name. Static storage. */
const char *preset_text(const char *name);

/* The name of preset i = 0, 1, ..., NULL after the last. */
const char *preset_name(size_t i);

/* Prints a line for each. */
void presets_list(FILE *to);

#endif
