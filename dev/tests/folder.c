#include "dev/tests/folder.h"

#include "files/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

char folder[64];

bool folder_begin(const char *prefix)
{
    const char *parent = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/%s_XXXXXX", parent && strlen(parent) < 32 ? parent : "/tmp", prefix);
    if (!mkdtemp(folder)) {
        perror(folder);
        return false;
    }
    return true;
}

void folder_end(void)
{
    Error e;
    if (files_remove_tree(folder, &e) != 0)
        fprintf(stderr, "%s\n", e.text);
}

const char *in_folder(const char *name, char out[128])
{
    snprintf(out, 128, "%s/%s", folder, name);
    return out;
}

bool exists(const char *path)
{
    struct stat found;
    return lstat(path, &found) == 0;
}
