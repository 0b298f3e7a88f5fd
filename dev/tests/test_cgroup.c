/* Limits of control groups, read from trees as versions 1 and 2 mount them. */
#include "base/cgroup.h"
#include "dev/tests/check.h"
#include "dev/tests/folder.h"

#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

enum { FILES_MOST = 8 };

typedef struct Tree {
    const char *name, *membership;
    const char *files[FILES_MOST][2]; /* path below the mount, content */
    double cpus;
    size_t memory;
} Tree;

static const Tree trees[] = {
    {"none", "", {{NULL}}, 0, SIZE_MAX},
    {"v2", "0::/job\n", {{"job/cpu.max", "50000 100000\n"}, {"job/memory.max", "1048576\n"}}, 0.5, 1 << 20},
    {"v2 max", "0::/job\n", {{"job/cpu.max", "max 100000\n"}, {"job/memory.max", "max\n"}}, 0, SIZE_MAX},
    {"v2 around",
     "0::/a/b/c\n",
     {{"cpu.max", "150000 100000"},
      {"a/cpu.max", "max 100000"},
      {"a/b/cpu.max", "300000 100000"},
      {"a/memory.max", "4096"},
      {"a/b/c/memory.max", "8192"}},
     1.5,
     4096},
    {"v2 own", "0::/a/b\n", {{"a/cpu.max", "4 2"}, {"a/b/cpu.max", "1 4"}, {"a/memory.max", "9"}}, 0.25, 9},
    {"v2 root", "0::/\n", {{"cpu.max", "20 10"}, {"memory.max", "5000"}, {"job/memory.max", "1"}}, 2, 5000},
    {"not in this mount", "0::/host/job\n", {{"cpu.max", "20 10"}, {"memory.max", "5000"}}, 2, 5000},
    {"above this namespace",
     "0::/../job\n",
     {{"cpu.max", "20 10"}, {"memory.max", "5000"}, {"../job/cpu.max", "1 10"}},
     2,
     5000},
    {"v1",
     "9:name=systemd:/job\n7:memory:/job\n2:cpu,cpuacct:/box\n0::/\n",
     {{"cpu,cpuacct/box/cpu.cfs_quota_us", "70000\n"},
      {"cpu,cpuacct/box/cpu.cfs_period_us", "100000\n"},
      {"memory/job/memory.limit_in_bytes", "299892736\n"}},
     0.7,
     299892736},
    {"v1 under one name",
     "2:cpuacct,cpu:/box\n",
     {{"cpu/cpu.cfs_quota_us", "30"},
      {"cpu/cpu.cfs_period_us", "10"},
      {"cpu/box/cpu.cfs_quota_us", "-1"},
      {"cpu/box/cpu.cfs_period_us", "10"}},
     3,
     SIZE_MAX},
    {"v1 unlimited",
     "7:memory:/job\n2:cpu:/\n",
     {{"cpu/cpu.cfs_quota_us", "-1\n"},
      {"cpu/cpu.cfs_period_us", "100000\n"},
      {"memory/memory.limit_in_bytes", "9223372036854771712\n"},
      {"memory/job/memory.limit_in_bytes", "9223372036854771712\n"}},
     0,
     9223372036854771712u},
    {"v1, another controller's",
     "3:cpuset:/box\n2:cpuacct:/box\n",
     {{"cpuset/box/cpu.cfs_quota_us", "5"}, {"cpuset/box/cpu.cfs_period_us", "10"}},
     0,
     SIZE_MAX},
    {"half of a quota", "2:cpu:/\n", {{"cpu/cpu.cfs_quota_us", "5000"}}, 0, SIZE_MAX},
    {"garbage in files",
     "0::/job\n",
     {{"job/cpu.max", "-5 x"}, {"job/memory.max", "-1"}, {"cpu.max", "7 0"}, {"memory.max", ""}},
     0,
     SIZE_MAX},
    {"garbage in the list", "\n:\n::\n0::\n0::job\nwords\n:::::\n0::/job", {{"job/memory.max", "77"}}, 0, 77},
};

/* Writes FOLDER/path, with the folders it lies in. */
static void write_file(const char *path, const char *content)
{
    char full[128];
    in_folder(path, full);
    for (char *p = full + 1; *p != '\0'; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        mkdir(full, 0777);
        *p = '/';
    }
    FILE *f = fopen(full, "w");
    if (check(f != NULL, "cannot write %s", full)) {
        fputs(content, f);
        fclose(f);
    }
}

static void test_trees(void)
{
    for (size_t i = 0; i < sizeof trees / sizeof *trees; i++) {
        const Tree *t = &trees[i];
        char name[64], path[128], membership[128], mount[128];
        for (size_t j = 0; j < FILES_MOST && t->files[j][0] != NULL; j++) {
            snprintf(path, sizeof path, "%zu/%s", i, t->files[j][0]);
            write_file(path, t->files[j][1]);
        }
        snprintf(name, sizeof name, "%zu/membership", i);
        write_file(name, t->membership);
        in_folder(name, membership);
        snprintf(name, sizeof name, "%zu", i);
        const Cgroup c = cgroup_in(membership, in_folder(name, mount));
        check_close(c.cpus, t->cpus, 1e-12, t->name);
        check(c.memory == t->memory, "%s: %zu bytes", t->name, c.memory);
    }
}

static void test_nothing_there(void)
{
    char membership[128], mount[128];
    const Cgroup c = cgroup_in(in_folder("absent", membership), in_folder("nowhere", mount));
    check(c.cpus == 0 && c.memory == SIZE_MAX, "%g CPUs, %zu bytes", c.cpus, c.memory);
}

int main(void)
{
    if (!folder_begin("cgroup"))
        return 1;
    check_run("limits of a group and of those around it", test_trees);
    check_run("a system without control groups", test_nothing_there);
    folder_end();
    return check_summary();
}
