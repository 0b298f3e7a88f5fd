#ifndef BASE_CGROUP_H
#define BASE_CGROUP_H

#include <stddef.h>

/* What Linux's control groups, version 1 or 2, leave a process: the least of its own group's limits and those of all
 * groups around it. Without a limit, or without control groups, 0 CPUs and SIZE_MAX bytes. */
typedef struct Cgroup {
    double cpus; /* time a second: 0.5 is half of one CPU's */
    size_t memory;
} Cgroup;

/* This process's. */
Cgroup cgroup_here(void);

/* Those of a process whose groups the file `membership` lists (/proc/self/cgroup), where the groups are folders below
 * `mount` (/sys/fs/cgroup). A group that cannot be seen there counts by the groups around it alone. */
Cgroup cgroup_in(const char *membership, const char *mount);

#endif
