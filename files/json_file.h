#ifndef FILES_JSON_FILE_H
#define FILES_JSON_FILE_H

#include "files/json.h"

/* Reads and parses a file of at most `limit` bytes. The caller frees *json; errors name the path. */
int json_file_read(const char *path, size_t limit, Json **json, Error *e);

/*
 * Sealed files: an object whose last member, on a line of its own, is "checksum", the XXH64 of all bytes before the comma
 * that precedes it. A file without that line is accepted, for older programs wrote none and a user who edits the file has
 * to remove it; one that does not match, or whose line is damaged, is refused.
 */

/* Replaces the file atomically (files/files.h) by `object` ("{...}" with a member or more, size bytes) and its seal. */
int json_file_write_sealed(const char *path, const char *object, size_t size, Error *e);
int json_file_read_sealed(const char *path, size_t limit, Json **json, Error *e);

#endif
