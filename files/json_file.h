#ifndef FILES_JSON_FILE_H
#define FILES_JSON_FILE_H

#include "files/json.h"

/*
 * JSON files, plain or sealed. A sealed file holds an object whose last member is the XXH64 of all that stands before
 * the comma in front of it:
 *
 *     {
 *       "steps": 10,
 *       "checksum": "0123456789abcdef"
 *     }
 *
 * Errors name the path.
 */

/* Reads and parses a file of at most `limit` bytes. The caller frees *json with json_free. */
int json_file_read(const char *path, size_t limit, Json **json, Error *e);

/* The same; what a sealed file holds must match its checksum, which is then the last member of *json. A file without
 * that member is accepted. A change of one bit anywhere in a sealed file is always refused. */
int json_file_read_sealed(const char *path, size_t limit, Json **json, Error *e);

/* The same for a text in memory; `path` is for messages. */
int json_file_parse_sealed(const char *path, const char *text, size_t size, Json **json, Error *e);

/* Replaces `path` atomically by an object, sealed. `object` is its text, size bytes: "{...}", at least one member, none
 * called "checksum"; white space may follow. */
int json_file_write_sealed(const char *path, const char *object, size_t size, Error *e);

#endif
