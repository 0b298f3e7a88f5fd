#define _DEFAULT_SOURCE /* madvise */
#include "base/memory.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LINE = 64, HUGE_PAGE = 2 << 20 };

int memory_floats(size_t n, const char *what, float **out, Error *e)
{
    *out = NULL;
    if (n > (SIZE_MAX - HUGE_PAGE) / sizeof(float))
        return error_set(e, "out of memory: %s would need %zu floats, more than can be addressed", what, n);
    const size_t bytes = n == 0 ? LINE : n * sizeof(float);
    const size_t alignment = bytes >= HUGE_PAGE ? HUGE_PAGE : LINE;
    void *p;
    if (posix_memalign(&p, alignment, bytes) != 0)
        return error_set(e, "out of memory: cannot allocate %.1f MiB for %s", (double)bytes / 0x1p20, what);
#ifdef MADV_HUGEPAGE
    if (alignment == HUGE_PAGE)
        madvise(p, bytes, MADV_HUGEPAGE); /* failure only costs speed */
#endif
    memset(p, 0, bytes);
    *out = p;
    return 0;
}

void memory_free(void *p) { free(p); }

static size_t control_group_limit(void)
{
    static const char *const files[] = {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        FILE *f = fopen(files[i], "r");
        unsigned long long limit = 0;
        const int found = f != NULL ? fscanf(f, "%llu", &limit) : 0; /* "max" does not match */
        if (f != NULL)
            fclose(f);
        if (found == 1)
            return (size_t)limit;
    }
    return SIZE_MAX;
}

size_t memory_present(void)
{
    const long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    if (pages <= 0 || page_bytes <= 0)
        return 0;
    const size_t machine = (size_t)pages * (size_t)page_bytes, group = control_group_limit();
    return machine < group ? machine : group;
}
