/*
 * Preloaded into a program (LD_PRELOAD), lets one call that touches a file fail: number FAIL_AT of all such calls, with
 * ENOSPC, or EIO where nothing is written. With FAIL_SIGNAL=N the call works, but signal N comes first. The standard
 * streams are left alone. Where the call happened, the file FAIL_LOG gets its name.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_long calls;

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

static void tell(const char *name)
{
    const char *path = getenv("FAIL_LOG");
    int (*const real_open)(const char *, int, ...) = (int (*)(const char *, int, ...))real("open");
    const int fd = path != NULL ? real_open(path, O_WRONLY | O_CREAT | O_APPEND, 0666) : -1;
    if (fd < 0)
        return;
    if (write(fd, name, strlen(name)) < 0 || write(fd, "\n", 1) < 0)
        _exit(126);
    close(fd);
}

/* Whether this call is the one. */
static int fails(const char *name, int reason)
{
    const char *at = getenv("FAIL_AT"), *number = getenv("FAIL_SIGNAL");
    if (at == NULL || atomic_fetch_add(&calls, 1) + 1 != atol(at))
        return 0;
    tell(name);
    if (number != NULL) {
        raise(atoi(number));
        return 0;
    }
    errno = reason;
    return 1;
}

#define WRAP(reason, wrong, type, name, parameters, arguments) \
    type name parameters                                       \
    {                                                          \
        static type(*next) parameters;                         \
        if (next == NULL)                                      \
            next = (type(*) parameters)real(#name);            \
        return fails(#name, reason) ? wrong : next arguments;  \
    }

WRAP(EIO, NULL, FILE *, fopen, (const char *path, const char *mode), (path, mode))
WRAP(EIO, NULL, FILE *, fdopen, (int fd, const char *mode), (fd, mode))
WRAP(EIO, NULL, DIR *, opendir, (const char *path), (path))
WRAP(EIO, -1, ssize_t, pread, (int fd, void *to, size_t n, off_t at), (fd, to, n, at))
WRAP(ENOSPC, -1, int, fsync, (int fd), (fd))
WRAP(ENOSPC, -1, int, mkdir, (const char *path, mode_t mode), (path, mode))
WRAP(EIO, -1, int, rename, (const char *from, const char *to), (from, to))
WRAP(EIO, -1, int, renameat2, (int a, const char *from, int b, const char *to, unsigned flags), (a, from, b, to, flags))
WRAP(EIO, -1, int, unlink, (const char *path), (path))
WRAP(EIO, -1, int, unlinkat, (int fd, const char *path, int flags), (fd, path, flags))
WRAP(EIO, -1, int, truncate, (const char *path, off_t size), (path, size))
WRAP(EIO, -1, int, ftruncate, (int fd, off_t size), (fd, size))

int open(const char *path, int flags, ...)
{
    static int (*next)(const char *, int, ...);
    va_list args;
    va_start(args, flags);
    const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (next == NULL)
        next = (int (*)(const char *, int, ...))real("open");
    return fails("open", EIO) ? -1 : next(path, flags, mode);
}

size_t fwrite(const void *data, size_t size, size_t n, FILE *to)
{
    static size_t (*next)(const void *, size_t, size_t, FILE *);
    if (next == NULL)
        next = (size_t(*)(const void *, size_t, size_t, FILE *))real("fwrite");
    if (fileno(to) <= 2 || !fails("fwrite", ENOSPC))
        return next(data, size, n, to);
    to->_flags |= 0x20; /* glibc's error indicator, which ferror reports */
    return 0;
}

int fflush(FILE *to)
{
    static int (*next)(FILE *);
    if (next == NULL)
        next = (int (*)(FILE *))real("fflush");
    return to != NULL && fileno(to) > 2 && fails("fflush", ENOSPC) ? EOF : next(to);
}

int fclose(FILE *to)
{
    static int (*next)(FILE *);
    if (next == NULL)
        next = (int (*)(FILE *))real("fclose");
    const int failed = fileno(to) > 2 && fails("fclose", ENOSPC);
    const int status = next(to), reason = failed ? ENOSPC : errno;
    errno = reason;
    return failed ? EOF : status;
}
