#ifndef DEV_TESTS_FOLDER_H
#define DEV_TESTS_FOLDER_H

#include <stdbool.h>

/* A folder for the files of one test program, under TMPDIR or /tmp. */
extern char folder[64];

/* Creates the folder, its name starting with `prefix`; false, with a message, if it cannot. */
bool folder_begin(const char *prefix);

/* Removes it with all there is in it. */
void folder_end(void);

/* Writes FOLDER/name to `out` and returns it. */
const char *in_folder(const char *name, char out[128]);

/* Whether there is such a file, directory or link, wherever the link points. */
bool exists(const char *path);

#endif
