#ifndef FILES_FILES_H
#define FILES_FILES_H

#include "base/error.h"

#include <stddef.h>
#include <stdio.h>

/*
 * Files as checkpoints need them. A file is replaced whole or not at all, also when the disk fills up or the power
 * fails: its new content goes to "<path>.tmp", is flushed to the disk, takes the old file's name, and then the folder
 * is flushed too. Two writers of one path at the same time are not supported. Errors name the path.
 */

/* A replacement under way. Zeroed before and after. */
typedef struct FilesWriter {
    char *path, *temporary;
    FILE *stream;
} FilesWriter;

/* Opens the temporary file, over what an earlier crash may have left there. */
int files_writer_open(FilesWriter *w, const char *path, Error *e);

/* Adds `size` bytes. After an error only files_writer_abandon makes sense; a commit would fail. */
int files_writer_append(FilesWriter *w, const void *data, size_t size, Error *e);

/* Makes the new content permanent, under its name. Ends the writer, also on failure, which removes the temporary file
 * and leaves the old one in place (if only the last step failed, flushing the folder, the new one is in place). */
int files_writer_commit(FilesWriter *w, Error *e);

/* Removes the temporary file and ends the writer; nothing happens to a zeroed one. */
void files_writer_abandon(FilesWriter *w);

/* The three in one: `path` then holds exactly these bytes, or on failure what it held before. */
int files_write_atomic(const char *path, const void *data, size_t size, Error *e);

/* Reads a whole file of at most `limit` bytes. The caller frees *data; a NUL stands behind its *size bytes. */
int files_read_all(const char *path, size_t limit, char **data, size_t *size, Error *e);

/* Makes the directory `path` and those above it that are missing. One that is there already is fine. */
int files_make_dirs(const char *path, Error *e);

/* Removes a directory with all it holds. Symbolic links in it are removed, never followed; a `path` that is itself
 * one, or no directory, is refused. Nothing there at all is fine. */
int files_remove_tree(const char *path, Error *e);

/* Flushes a directory, so that names made, changed or removed in it last. */
int files_sync_dir(const char *path, Error *e);

/* Locks a directory against other processes that do the same, until it is unlocked or the process ends. */
int files_lock_dir(const char *path, int *lock, Error *e);
void files_unlock_dir(int *lock);

#endif
