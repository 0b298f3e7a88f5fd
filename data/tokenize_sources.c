#include "data/tokenize_sources.h"

#include "base/hash.h"
#include "base/text.h"
#include "data/tokenize_stream.h"
#include "files/files.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SAMPLED_WHOLE = 1 << 20, BLOCK = 4096, BLOCKS = 16 };

/* Whether the name without .gz or .zst ends so. */
static bool has_suffix(const char *path, const char *const *suffixes, size_t count)
{
    const size_t length = stream_plain_name(path);
    for (size_t i = 0; i < count; i++) {
        const size_t n = strlen(suffixes[i]);
        if (length > n && memcmp(path + length - n, suffixes[i], n) == 0)
            return true;
    }
    return false;
}

/* The file's bytes, or 16 blocks of 4 KiB evenly spaced, the first and the last among them, and its size. */
static int sample(Source *source, Error *e)
{
    const bool whole = source->bytes <= SAMPLED_WHOLE;
    const size_t blocks = whole ? (source->bytes + BLOCK - 1) / BLOCK : BLOCKS;
    Hash h = hash_begin();
    size_t size;
    int fd;
    if (files_open(source->path, &fd, &size, e) != 0)
        return -1;
    int status = 0;
    for (size_t i = 0; status == 0 && i < blocks; i++) {
        unsigned char block[BLOCK];
        const size_t begin = whole ? i * BLOCK : (source->bytes - BLOCK) / (BLOCKS - 1) * i;
        const size_t n = source->bytes - begin < BLOCK ? source->bytes - begin : BLOCK;
        status = files_read_at(fd, source->path, begin, block, n, e);
        if (status == 0)
            hash_add(&h, block, n);
    }
    close(fd);
    hash_add(&h, &source->bytes, sizeof source->bytes);
    source->sample = hash_end(&h);
    return status;
}

static int add_file(Sources *s, const char *path, size_t bytes, Error *e)
{
    static const char *const jsonl[] = {".jsonl", ".ndjson"};
    if (s->count == s->capacity) {
        const size_t capacity = s->capacity > 0 ? 2 * s->capacity : 64;
        Source *list = realloc(s->list, capacity * sizeof *list);
        if (list == NULL)
            return error_set(e, "%s: out of memory for the list of files", path);
        s->list = list;
        s->capacity = capacity;
    }
    Source *source = &s->list[s->count];
    *source = (Source){.path = strdup(path), .bytes = bytes, .jsonl = has_suffix(path, jsonl, 2)};
    if (source->path == NULL)
        return error_set(e, "%s: out of memory for the list of files", path);
    s->count++;
    s->bytes += bytes;
    return sample(source, e);
}

/* The names in a directory that do not begin with a dot, sorted by their bytes; the caller frees them and the list. */
static int list_names(const char *path, char ***names, size_t *count, Error *e)
{
    size_t capacity = 0;
    int status = 0;
    DIR *dir = opendir(path);
    *names = NULL;
    *count = 0;
    if (dir == NULL)
        return error_set(e, "%s: cannot be opened: %s", path, strerror(errno));
    errno = 0;
    for (struct dirent *entry; status == 0 && (entry = readdir(dir)) != NULL; errno = 0) {
        if (entry->d_name[0] == '.')
            continue;
        if (*count == capacity) {
            capacity = capacity > 0 ? 2 * capacity : 64;
            char **larger = realloc(*names, capacity * sizeof *larger);
            if (larger == NULL) {
                status = error_set(e, "%s: out of memory for its files", path);
                break;
            }
            *names = larger;
        }
        if (((*names)[*count] = strdup(entry->d_name)) != NULL)
            ++*count;
        else
            status = error_set(e, "%s: out of memory for its files", path);
    }
    if (status == 0 && errno != 0)
        status = error_set(e, "%s: cannot be listed: %s", path, strerror(errno));
    closedir(dir);
    if (*count > 0)
        qsort(*names, *count, sizeof **names, text_compare);
    return status;
}

static int add_directory(Sources *s, const char *path, Error *e);

/* What a directory holds under one name. A link to a directory is not followed, as it may lead back. */
static int add_entry(Sources *s, const char *path, Error *e)
{
    static const char *const texts[] = {".txt", ".text", ".md", ".jsonl", ".ndjson"};
    struct stat found, itself;
    if (stat(path, &found) != 0 || lstat(path, &itself) != 0)
        return error_set(e, "%s: cannot be examined: %s", path, strerror(errno));
    if (S_ISDIR(found.st_mode))
        return S_ISDIR(itself.st_mode) ? add_directory(s, path, e) : 0;
    if (!S_ISREG(found.st_mode) || !has_suffix(path, texts, sizeof texts / sizeof *texts)) {
        s->others++;
        return 0;
    }
    return add_file(s, path, (size_t)found.st_size, e);
}

static int add_directory(Sources *s, const char *path, Error *e)
{
    char **names;
    size_t count;
    int status = list_names(path, &names, &count, e);
    for (size_t i = 0; i < count; i++) {
        const size_t size = strlen(path) + strlen(names[i]) + 2;
        char *entry = status == 0 ? malloc(size) : NULL;
        if (entry != NULL) {
            snprintf(entry, size, "%s%s%s", path, path[strlen(path) - 1] == '/' ? "" : "/", names[i]);
            status = add_entry(s, entry, e);
            free(entry);
        } else if (status == 0)
            status = error_set(e, "%s: out of memory for its files", path);
        free(names[i]);
    }
    free(names);
    return status;
}

int sources_find(Sources *s, char *const *paths, size_t count, Error *e)
{
    *s = (Sources){0};
    for (size_t i = 0; i < count; i++) {
        struct stat found;
        if (*paths[i] == '\0' || stat(paths[i], &found) != 0)
            return error_set(e, "%s: cannot be opened: %s", paths[i], strerror(*paths[i] != '\0' ? errno : ENOENT));
        const int status =
            S_ISDIR(found.st_mode) ? add_directory(s, paths[i], e) : add_file(s, paths[i], (size_t)found.st_size, e);
        if (status != 0)
            return -1;
    }
    return s->count > 0 ? 0
                        : error_set(e, "%s: has no *.txt, *.text, *.md, *.jsonl or *.ndjson file, and %zu others",
                                    paths[0], s->others);
}

void sources_free(Sources *s)
{
    for (size_t i = 0; i < s->count; i++)
        free(s->list[i].path);
    free(s->list);
    *s = (Sources){0};
}
