#include "files/files.h"

#include "base/random.h"
#include "dev/tests/check.h"
#include "dev/tests/folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void test_files(void)
{
    const char content[] = "a\0b";
    char name[128], *data = NULL;
    size_t size = 0;
    Error e = {""};
    in_folder("file", name);
    check(files_write_atomic(name, "old", 3, &e) == 0, "%s", e.text);
    check(files_write_atomic(name, content, 3, &e) == 0, "%s", e.text);
    if (check(files_read_all(name, 3, &data, &size, &e) == 0, "%s", e.text))
        check(size == 3 && memcmp(data, content, 4) == 0, "%zu bytes are not what was written", size);
    free(data);
    check(files_read_all(name, 2, &data, &size, &e) == -1 && strstr(e.text, "larger than the 2 bytes"), "%s", e.text);
    check(files_write_atomic(name, "", 0, &e) == 0, "%s", e.text);
    if (check(files_read_all(name, 0, &data, &size, &e) == 0, "%s", e.text))
        check(size == 0 && data[0] == '\0', "an empty file has %zu bytes", size);
    free(data);
    check(files_read_all(folder, 100, &data, &size, &e) == -1 && strstr(e.text, folder), "a directory: %s", e.text);
    check(files_read_all("/no/such", 100, &data, &size, &e) == -1 && strstr(e.text, "/no/such"), "%s", e.text);
    check(files_write_atomic(folder, "", 0, &e) == -1 && strstr(e.text, folder), "over a directory: %s", e.text);
    snprintf(name, sizeof name, "%s.tmp", folder);
    check(!exists(name), "%s is still there", name);
}

static void test_large_file(void)
{
    enum { N = 100000 };
    static char content[N];
    char name[128], *data;
    size_t size;
    Error e = {""};
    for (size_t i = 0; i < N; i++)
        content[i] = (char)random_mix(i);
    check(files_write_atomic(in_folder("large", name), content, N, &e) == 0, "%s", e.text);
    if (!check(files_read_all(name, N, &data, &size, &e) == 0, "%s", e.text))
        return;
    check(size == N, "%zu bytes", size);
    check_same_bits(data, content, N, "a large file");
    free(data);
}

static void test_directories(void)
{
    char tree[128], deep[128], file[128], link[128], outside[128];
    Error e = {""};
    in_folder("tree", tree);
    check(files_make_dirs(in_folder("tree/a//b/", deep), &e) == 0, "%s", e.text);
    check(files_make_dirs(deep, &e) == 0, "again: %s", e.text);
    check(files_write_atomic(in_folder("tree/a/b/file", file), "x", 1, &e) == 0, "%s", e.text);
    check(files_make_dirs(file, &e) == -1 && strstr(e.text, "no directory"), "over a file: %s", e.text);
    check(files_make_dirs(in_folder("tree/a/b/file/c", deep), &e) == -1 && strstr(e.text, "no directory"),
          "under a file: %s", e.text);
    check(files_sync_dir(tree, &e) == 0, "%s", e.text);
    check(files_sync_dir(file, &e) == -1 && strstr(e.text, file), "%s", e.text);

    /* A link in the tree goes, what it points to stays. */
    check(files_write_atomic(in_folder("outside", outside), "x", 1, &e) == 0, "%s", e.text);
    check(symlink(folder, in_folder("tree/a/link", link)) == 0, "symlink");
    check(symlink(outside, in_folder("tree/link", link)) == 0, "symlink");
    check(files_remove_tree(tree, &e) == 0, "%s", e.text);
    check(!exists(tree) && exists(outside), "the tree is there or its surroundings are gone");
    check(files_remove_tree(tree, &e) == 0, "what is not there: %s", e.text);

    /* A path that is a link or a file is refused, with or without a slash. */
    check(files_make_dirs(tree, &e) == 0, "%s", e.text);
    check(symlink(tree, in_folder("link", link)) == 0, "symlink");
    check(files_remove_tree(link, &e) == -1 && strstr(e.text, "is no directory"), "a link: %s", e.text);
    check(files_remove_tree(in_folder("link/", deep), &e) == -1 && strstr(e.text, "is no directory"),
          "a link and a slash: %s", e.text);
    check(files_remove_tree(outside, &e) == -1 && strstr(e.text, "is no directory"), "a file: %s", e.text);
    check(exists(tree) && exists(link) && exists(outside), "what was refused is gone");
    check(files_remove_tree(in_folder("tree/", deep), &e) == 0 && !exists(tree), "%s", e.text);
}

int main(void)
{
    if (!folder_begin("test_files"))
        return 1;
    check_run("files", test_files);
    check_run("a large file", test_large_file);
    check_run("directories", test_directories);
    folder_end();
    return check_summary();
}
