#define _GNU_SOURCE /* renameat2 */
#include "files/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- replacing a file --- */

static int end_writer(FilesWriter *w, int status)
{
    if (w->stream)
        fclose(w->stream);
    if (w->temporary && status != 0)
        unlink(w->temporary);
    free(w->temporary);
    free(w->path);
    *w = (FilesWriter){0};
    return status;
}

/* A new file, in place of an old one of that name. */
static FILE *create(const char *path, Error *e)
{
    const int obstacle = unlink(path) == 0 ? 0 : errno; /* of no interest unless the file is still there */
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    FILE *stream = fd >= 0 ? fdopen(fd, "wb") : NULL;
    if (stream == NULL) {
        if (errno == EEXIST)
            error_set(e, "%s: is in the way and cannot be removed: %s", path, strerror(obstacle));
        else
            error_set(e, "%s: cannot be created: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
    }
    return stream;
}

int files_writer_open(FilesWriter *w, const char *path, Error *e)
{
    const size_t size = strlen(path) + sizeof ".tmp";
    *w = (FilesWriter){.path = strdup(path), .temporary = malloc(size), .hash = hash_begin()};
    if (w->path == NULL || w->temporary == NULL) {
        end_writer(w, 0);
        return error_set(e, "%s: out of memory while writing it", path);
    }
    snprintf(w->temporary, size, "%s.tmp", path);
    w->stream = create(w->temporary, e);
    if (w->stream == NULL) {
        end_writer(w, 0);
        return -1;
    }
    return 0;
}

static int fail_to_write(const FilesWriter *w, Error *e)
{
    return error_set(e, "%s: cannot be written: %s", w->path, strerror(errno));
}

int files_writer_append(FilesWriter *w, const void *data, size_t size, Error *e)
{
    hash_add(&w->hash, data, size);
    return size == 0 || fwrite(data, 1, size, w->stream) == size ? 0 : fail_to_write(w, e);
}

static int flush_to_disk(FilesWriter *w, Error *e)
{
    if (ferror(w->stream)) /* unwritten data may have been dropped: a flush can succeed without it */
        return error_set(e, "%s: cannot be written: an earlier write failed", w->path);
    if (fflush(w->stream) != 0 || fsync(fileno(w->stream)) != 0)
        return fail_to_write(w, e);
    FILE *stream = w->stream;
    w->stream = NULL;
    return fclose(stream) == 0 ? 0 : fail_to_write(w, e); /* network file systems report some errors only here */
}

int files_sync_parent(const char *path, Error *e)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return files_sync_dir(".", e);
    char *parent = strndup(path, slash == path ? 1 : (size_t)(slash - path));
    if (parent == NULL)
        return error_set(e, "%s: out of memory while flushing its directory", path);
    const int status = files_sync_dir(parent, e);
    free(parent);
    return status;
}

int files_writer_commit(FilesWriter *w, Error *e)
{
    if (flush_to_disk(w, e) != 0)
        return end_writer(w, -1);
    if (rename(w->temporary, w->path) != 0) {
        error_set(e, "%s: cannot be replaced by %s: %s", w->path, w->temporary, strerror(errno));
        return end_writer(w, -1);
    }
    const int status = files_sync_parent(w->path, e);
    end_writer(w, 0); /* the temporary name is already gone */
    return status;
}

void files_writer_abandon(FilesWriter *w) { end_writer(w, -1); }

int files_write_atomic(const char *path, const void *data, size_t size, Error *e)
{
    FilesWriter w;
    if (files_writer_open(&w, path, e) != 0)
        return -1;
    if (files_writer_append(&w, data, size, e) != 0) {
        files_writer_abandon(&w);
        return -1;
    }
    return files_writer_commit(&w, e);
}

int files_print_atomic(const char *path, void (*print)(FILE *to, const void *from), const void *from, Error *e)
{
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);
    if (to == NULL)
        return error_set(e, "%s: out of memory", path);
    print(to, from);
    const int status =
        fclose(to) != 0 ? error_set(e, "%s: out of memory", path) : files_write_atomic(path, text, size, e);
    free(text);
    return status;
}

FILE *files_open_log(const char *path, Error *e)
{
    FILE *log = fopen(path, "a");
    if (log == NULL)
        error_set(e, "%s: cannot be opened for writing: %s", path, strerror(errno));
    return log;
}

int files_close_log(FILE *log, const char *path, Error *e)
{
    const bool failed = fflush(log) != 0 || ferror(log) || fsync(fileno(log)) != 0;
    return fclose(log) != 0 || failed ? error_set(e, "%s: cannot be written: %s", path, strerror(errno)) : 0;
}

int files_rename_new(const char *from, const char *to, Error *e)
{
#ifdef RENAME_NOREPLACE
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return 0;
    const bool unable = errno == EINVAL || errno == ENOSYS; /* this file system, or this system */
#else
    const bool unable = true;
#endif
    if (unable) {
        struct stat found;
        if (lstat(to, &found) == 0)
            errno = EEXIST;
        else if (rename(from, to) == 0)
            return 0;
    }
    return errno == EEXIST ? error_set(e, "%s: is there already and is not overwritten", to)
                           : error_set(e, "%s: cannot be renamed to %s: %s", from, to, strerror(errno));
}

/* --- reading a file --- */

int files_open(const char *path, int *fd, size_t *size, Error *e)
{
    *fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (*fd < 0)
        return error_set(e, "%s: cannot be opened: %s", path, strerror(errno));
    struct stat found;
    if (fstat(*fd, &found) != 0)
        error_set(e, "%s: cannot be examined: %s", path, strerror(errno));
    else if (!S_ISREG(found.st_mode))
        error_set(e, "%s: is not a regular file", path);
    else if ((uintmax_t)found.st_size > SIZE_MAX)
        error_set(e, "%s: is too large for this machine", path);
    else {
        *size = (size_t)found.st_size;
        return 0;
    }
    close(*fd);
    *fd = -1;
    return -1;
}

int files_read_at(int fd, const char *path, size_t offset, void *to, size_t size, Error *e)
{
    for (size_t done = 0; done < size;) {
        const ssize_t got = pread(fd, (char *)to + done, size - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_set(e, "%s: cannot be read: %s", path, strerror(errno));
        if (got == 0)
            return error_set(e, "%s: has become shorter while it was read", path);
        done += (size_t)got;
    }
    return 0;
}

int files_read_all(const char *path, size_t limit, char **data, size_t *size, Error *e)
{
    int fd, status;
    char *text = NULL;
    *data = NULL;
    if (files_open(path, &fd, size, e) != 0)
        return -1;
    if (*size > limit)
        status = error_set(e, "%s: is larger than the %zu bytes allowed", path, limit);
    else if ((text = malloc(*size + 1)) == NULL)
        status = error_set(e, "%s: out of memory for its %zu bytes", path, *size);
    else
        status = files_read_at(fd, path, 0, text, *size, e);
    close(fd);
    if (status != 0) {
        free(text);
        return -1;
    }
    text[*size] = '\0';
    *data = text;
    return 0;
}

int files_hash(const char *path, uint64_t *hash, Error *e)
{
    enum { PIECE = 1 << 20 };
    int fd, status = 0;
    size_t size;
    if (files_open(path, &fd, &size, e) != 0)
        return -1;
    Hash h = hash_begin();
    char *piece = malloc(PIECE);
    if (piece == NULL)
        status = error_set(e, "%s: out of memory while reading it", path);
    for (size_t done = 0, n; status == 0 && done < size; done += n) {
        n = size - done < PIECE ? size - done : PIECE;
        status = files_read_at(fd, path, done, piece, n, e);
        if (status == 0)
            hash_add(&h, piece, n);
    }
    free(piece);
    close(fd);
    *hash = hash_end(&h);
    return status;
}

/* --- directories --- */

static int make_dir(const char *path, Error *e)
{
    struct stat found;
    if (mkdir(path, 0777) == 0)
        return files_sync_parent(path, e);
    const int reason = errno; /* EEXIST, or EROFS and others, if it already exists */
    if (stat(path, &found) != 0)
        return error_set(e, "%s: cannot be created: %s", path, strerror(reason));
    return S_ISDIR(found.st_mode) ? 0 : error_set(e, "%s: exists, but is no directory", path);
}

int files_make_dirs(const char *path, Error *e)
{
    char *part = strdup(path);
    if (part == NULL)
        return error_set(e, "%s: out of memory while creating it", path);
    int status = 0;
    for (char *slash = strchr(part, '/'); slash && status == 0; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (slash > part)
            status = make_dir(part, e);
        *slash = '/';
    }
    if (status == 0)
        status = make_dir(part, e);
    free(part);
    return status;
}

static int remove_dir_at(int parent, const char *name, const char *root, Error *e);

static int fail_to_remove(const char *name, const char *root, Error *e)
{
    return error_set(e, "%s: cannot be removed: %s: %s", root, name, strerror(errno));
}

static int remove_at(int parent, const char *name, const char *root, Error *e)
{
    struct stat found;
    if (fstatat(parent, name, &found, AT_SYMLINK_NOFOLLOW) != 0)
        return fail_to_remove(name, root, e);
    if (S_ISDIR(found.st_mode))
        return remove_dir_at(parent, name, root, e);
    return unlinkat(parent, name, 0) == 0 ? 0 : fail_to_remove(name, root, e);
}

static int remove_contents(DIR *dir, const char *root, Error *e)
{
    errno = 0;
    for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
        const bool itself = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        if (!itself && remove_at(dirfd(dir), entry->d_name, root, e) != 0)
            return -1;
        errno = 0; /* only errno tells readdir's failure from the end */
    }
    return errno == 0 ? 0 : fail_to_remove(".", root, e);
}

/* Uses names relative to open directories, so that nothing swapped in meanwhile leads it elsewhere. */
static int remove_dir_at(int parent, const char *name, const char *root, Error *e)
{
    const int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        fail_to_remove(name, root, e);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    const int status = remove_contents(dir, root, e);
    closedir(dir);
    if (status != 0)
        return -1;
    return unlinkat(parent, name, AT_REMOVEDIR) == 0 ? 0 : fail_to_remove(name, root, e);
}

int files_remove_tree(const char *path, Error *e)
{
    char *name = strdup(path);
    if (name == NULL)
        return error_set(e, "%s: out of memory while removing it", path);
    for (size_t n = strlen(name); n > 1 && name[n - 1] == '/'; n--)
        name[n - 1] = '\0'; /* "link/" would be followed */
    struct stat found;
    int status = 0;
    if (lstat(name, &found) != 0)
        status = errno == ENOENT ? 0 : error_set(e, "%s: cannot be removed: %s", path, strerror(errno));
    else if (!S_ISDIR(found.st_mode))
        status = error_set(e, "%s: is no directory, and is not removed", path);
    else
        status = remove_dir_at(AT_FDCWD, name, path, e);
    free(name);
    return status;
}

int files_sync_dir(const char *path, Error *e)
{
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_set(e, "%s: cannot be opened as a directory: %s", path, strerror(errno));
    /* EINVAL: this file system cannot flush directories. */
    const int status = fsync(fd) == 0 || errno == EINVAL
                           ? 0
                           : error_set(e, "%s: cannot be flushed to disk: %s", path, strerror(errno));
    close(fd);
    return status;
}

/* --- locks --- */

/* False: another process has it. Some file systems lack locks. */
static bool take_lock(int fd) { return flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK; }

int files_lock_dir(const char *path, int *lock, Error *e)
{
    *lock = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*lock < 0)
        return error_set(e, "%s: cannot be opened: %s", path, strerror(errno));
    if (take_lock(*lock))
        return 0;
    files_unlock_dir(lock);
    return error_set(e, "%s: another process is training there", path);
}

void files_unlock_dir(int *lock)
{
    if (*lock >= 0)
        close(*lock);
    *lock = -1;
}

int files_lock(const char *path, const char *taken, int *lock, Error *e)
{
    for (int tries = 0; tries < 100; tries++) {
        struct stat held, named;
        *lock = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (*lock < 0)
            return error_set(e, "%s: cannot be opened: %s", path, strerror(errno));
        const bool free = take_lock(*lock);
        if (free && fstat(*lock, &held) == 0 && lstat(path, &named) == 0 && held.st_ino == named.st_ino &&
            held.st_dev == named.st_dev)
            return 0;
        files_unlock_dir(lock);
        if (!free)
            return error_set(e, "%s", taken);
        /* Its last holder removed it between open and flock: a lock on it would lock nobody out. */
    }
    return error_set(e, "%s: cannot be locked: it is replaced all the time", path);
}

void files_unlock(const char *path, int *lock)
{
    if (*lock >= 0)
        unlink(path);
    files_unlock_dir(lock);
}
