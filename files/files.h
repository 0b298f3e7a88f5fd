#ifndef FILES_FILES_H
#define FILES_FILES_H

#include "base/error.h"
#include "base/hash.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/*
 * Files as checkpoints need them. A file is replaced whole or not at all, even if the disk fills up or the power fails:
 * its new content goes to "<path>.tmp", is flushed to disk and renamed over the old file; then the directory is flushed
 * too. Concurrent writers of one path are not supported. Errors name the path.
 */

/* A replacement in progress. Zeroed before and after. */
typedef struct FilesWriter {
    char *path, *temporary;
    FILE *stream;
    Hash hash; /* of all that was appended: hash_end(&w.hash) before the commit */
} FilesWriter;

/* Creates the temporary file, in place of what an earlier crash may have left; a symbolic link of that name is removed,
 * not followed. Error: a directory has that name. */
int files_writer_open(FilesWriter *w, const char *path, Error *e);

/* Appends `size` bytes. After an error a commit fails; call files_writer_abandon. */
int files_writer_append(FilesWriter *w, const void *data, size_t size, Error *e);

/* Makes the new content permanent under its name and ends the writer. On failure it removes the temporary file and
 * leaves the old one in place (the new one if only the last step, flushing the directory, failed). */
int files_writer_commit(FilesWriter *w, Error *e);

/* Removes the temporary file and ends the writer; does nothing to a zeroed one. */
void files_writer_abandon(FilesWriter *w);

/* All three: `path` then holds exactly these bytes, or on failure what it held before. */
int files_write_atomic(const char *path, const void *data, size_t size, Error *e);

/* The same of what `print` writes to a stream, which gets `from`. Error: also out of memory. */
int files_print_atomic(const char *path, void (*print)(FILE *to, const void *from), const void *from, Error *e);

/* Gives a file the name `to`. Error: there is something of that name, which stays. */
int files_rename_new(const char *from, const char *to, Error *e);

/* A log that grows: opened for appending, NULL if it cannot be; closed once what was written is on the disk. */
FILE *files_open_log(const char *path, Error *e);
int files_close_log(FILE *log, const char *path, Error *e);

/* Opens an existing regular file for reading; *size is its length in bytes. The caller closes *fd. A pipe or device is
 * refused, not waited for. */
int files_open(const char *path, int *fd, size_t *size, Error *e);

/* Reads exactly `size` bytes from `offset` on; an error if the file ends before. `path` is for messages. */
int files_read_at(int fd, const char *path, size_t offset, void *to, size_t size, Error *e);

/* Reads a whole regular file of at most `limit` bytes. The caller frees *data, NULL after a
 * failure; a NUL follows its *size bytes. */
int files_read_all(const char *path, size_t limit, char **data, size_t *size, Error *e);

/* The XXH64 of a whole regular file, read in pieces of 1 MiB. */
int files_hash(const char *path, uint64_t *hash, Error *e);

/* Creates the directory `path` and missing parents, and flushes the directories that hold new ones. It may already
 * exist. */
int files_make_dirs(const char *path, Error *e);

/* Removes a directory and its content. Symbolic links in it are removed, never followed; a `path` that is itself
 * one, or not a directory, is rejected. It need not exist. */
int files_remove_tree(const char *path, Error *e);

/* Flushes a directory, so that changes of names in it persist. */
int files_sync_dir(const char *path, Error *e);

/* The same of the directory that holds `path`. */
int files_sync_parent(const char *path, Error *e);

/* Locks a directory against other processes that call this, until it is unlocked or the process ends. */
int files_lock_dir(const char *path, int *lock, Error *e);
void files_unlock_dir(int *lock);

/* The same with a lock file, which is made and removed. Error: `taken`, if another process holds it. */
int files_lock(const char *path, const char *taken, int *lock, Error *e);
void files_unlock(const char *path, int *lock);

#endif
