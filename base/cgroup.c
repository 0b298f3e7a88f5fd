#include "base/cgroup.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_MOST = 4096 };

/* Reads up to two positive numbers from FOLDER/name; returns how many there are ("max" and -1 are none). */
static int read_numbers(const char *folder, const char *name, unsigned long long numbers[2])
{
    char path[PATH_MOST], text[64] = "", *end = text;
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return 0;
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return 0;
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    int count = 0;
    for (char *p = text; count < 2; p = end, count++) {
        p += strspn(p, " ");
        if (*p < '0' || *p > '9') /* strtoull would take -1 for a huge number */
            break;
        numbers[count] = strtoull(p, &end, 10);
        if (numbers[count] == 0)
            break;
    }
    return count;
}

static void limit_cpus(Cgroup *c, unsigned long long quota, unsigned long long period)
{
    const double cpus = (double)quota / (double)period;
    if (c->cpus == 0 || cpus < c->cpus)
        c->cpus = cpus;
}

/* Takes the limits of one group; a file that is not there or not of this version sets none. */
static void limit_by(Cgroup *c, const char *folder)
{
    unsigned long long first[2], second[2];
    if (read_numbers(folder, "cpu.max", first) == 2)
        limit_cpus(c, first[0], first[1]);
    if (read_numbers(folder, "cpu.cfs_quota_us", first) == 1 && read_numbers(folder, "cpu.cfs_period_us", second) == 1)
        limit_cpus(c, first[0], second[0]);
    if (read_numbers(folder, "memory.max", first) == 1 && first[0] < c->memory)
        c->memory = (size_t)first[0];
    if (read_numbers(folder, "memory.limit_in_bytes", first) == 1 && first[0] < c->memory)
        c->memory = (size_t)first[0];
}

/* Takes those of mount/hierarchy/path and of every group around it. */
static void limit_by_all(Cgroup *c, const char *mount, const char *hierarchy, const char *path)
{
    char folder[PATH_MOST];
    /* a group outside this namespace's root is "/../name"; nothing of it can be seen */
    const int root = snprintf(folder, sizeof folder, "%s/%s", mount, hierarchy);
    const bool outside = strstr(path, "/..") != NULL;
    if (root < 0 || root + (int)strlen(path) >= (int)sizeof folder)
        return;
    strcpy(folder + root, outside ? "" : path);
    for (;;) {
        limit_by(c, folder);
        char *slash = strrchr(folder + root, '/');
        if (slash == NULL)
            return;
        *slash = '\0';
    }
}

static bool lists(const char *controllers, const char *name)
{
    const size_t length = strlen(name);
    for (const char *p = controllers; p != NULL; p = strchr(p, ',')) {
        p += *p == ',';
        if (strncmp(p, name, length) == 0 && (p[length] == ',' || p[length] == '\0'))
            return true;
    }
    return false;
}

Cgroup cgroup_in(const char *membership, const char *mount)
{
    Cgroup c = {.memory = SIZE_MAX};
    char *line = NULL;
    size_t size = 0;
    FILE *f = fopen(membership, "r");
    if (f == NULL)
        return c;
    while (getline(&line, &size, f) > 0) { /* 4:cpu,cpuacct:/path, or 0::/path of version 2 */
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':'), *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (path == NULL || path[1] != '/' || (size_t)(path - line) >= PATH_MOST / 2)
            continue;
        *path++ = '\0';
        controllers++;
        if (*controllers == '\0')
            limit_by_all(&c, mount, "", path);
        else if (lists(controllers, "cpu") || lists(controllers, "memory")) {
            limit_by_all(&c, mount, controllers, path);
            if (strchr(controllers, ',') != NULL) /* mounted under one of its names */
                limit_by_all(&c, mount, lists(controllers, "cpu") ? "cpu" : "memory", path);
        }
    }
    free(line);
    fclose(f);
    return c;
}

Cgroup cgroup_here(void) { return cgroup_in("/proc/self/cgroup", "/sys/fs/cgroup"); }
