#define _DEFAULT_SOURCE /* madvise */
#include "base/memory.h"

#include "base/cgroup.h"

#include <stdint.h>
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
#pragma omp parallel for schedule(static) if (bytes > HUGE_PAGE)
    for (size_t begin = 0; begin < bytes; begin += HUGE_PAGE) /* so that each thread has memory near it */
        memset((char *)p + begin, 0, bytes - begin < HUGE_PAGE ? bytes - begin : HUGE_PAGE);
    *out = p;
    return 0;
}

void memory_free(void *p) { free(p); }

size_t memory_present(void)
{
    const long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    if (pages <= 0 || page_bytes <= 0)
        return 0;
    const size_t machine = (size_t)pages * (size_t)page_bytes, group = cgroup_here().memory;
    return machine < group ? machine : group;
}
