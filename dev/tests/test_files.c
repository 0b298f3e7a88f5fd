#include "files/files.h"

#include "base/random.h"
#include "dev/tests/check.h"
#include "dev/tests/folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Stands in for the system's, and notes the latest files flushed. */
static struct stat flushed[8];
static size_t flushes;

int fsync(int fd) { return fstat(fd, &flushed[flushes++ % 8]); }

static bool was_flushed(const char *path)
{
    struct stat info;
    check(stat(path, &info) == 0, "%s: is not there", path);
    for (size_t i = 0; i < 8; i++)
        if (flushed[i].st_dev == info.st_dev && flushed[i].st_ino == info.st_ino)
            return true;
    return false;
}

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

/* --- opening --- */

static void test_open(void)
{
    char name[128], other[128], *data, bytes[4] = "";
    size_t size = 0;
    uint64_t hash;
    int fd;
    Error e = {""};
    check(files_write_atomic(in_folder("ten", name), "0123456789", 10, &e) == 0, "%s", e.text);
    check(symlink(name, in_folder("to ten", other)) == 0, "symlink");
    if (check(files_open(other, &fd, &size, &e) == 0, "%s", e.text)) {
        check(size == 10, "%zu bytes", size);
        check(files_read_at(fd, other, 7, bytes, 3, &e) == 0 && memcmp(bytes, "789", 4) == 0, "%s", bytes);
        check(files_read_at(fd, other, 7, bytes, 4, &e) == -1 && strstr(e.text, "to ten: has become shorter"), "%s",
              e.text);
        close(fd);
    }
    check(mkfifo(in_folder("pipe", other), 0600) == 0, "mkfifo");
    check(files_open(other, &fd, &size, &e) == -1 && strstr(e.text, "pipe: is not a regular file"), "%s", e.text);
    check(files_read_all(other, 9, &data, &size, &e) == -1 && strstr(e.text, "not a regular file"), "%s", e.text);
    check(files_hash(other, &hash, &e) == -1 && strstr(e.text, "not a regular file"), "%s", e.text);
    check(files_open(folder, &fd, &size, &e) == -1 && strstr(e.text, "not a regular file"), "%s", e.text);
    check(files_open(in_folder("no\n", other), &fd, &size, &e) == -1 && strstr(e.text, "no\\x0a: cannot be opened"),
          "%s", e.text);
}

/* Sizes around the pieces in which a file is read. */
static void test_hash(void)
{
    static unsigned char content[(2 << 20) + 1];
    const size_t sizes[] = {0, 1, 1000, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 2 << 20, (2 << 20) + 1};
    char name[128];
    for (size_t i = 0; i < sizeof content; i++)
        content[i] = (unsigned char)random_mix(i);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint64_t hash = 0;
        Error e = {""};
        check(files_write_atomic(in_folder("hashed", name), content, sizes[i], &e) == 0, "%s", e.text);
        check(files_hash(name, &hash, &e) == 0 && hash == hash_bytes(content, sizes[i]), "%zu bytes: %s", sizes[i],
              e.text);
    }
}

/* --- replacing --- */

static void test_writer_hash(void)
{
    char name[128];
    FilesWriter w;
    Error e = {""};
    check(files_writer_open(&w, in_folder("parts", name), &e) == 0, "%s", e.text);
    check(files_writer_append(&w, "ab", 2, &e) == 0 && files_writer_append(&w, NULL, 0, &e) == 0, "%s", e.text);
    check(files_writer_append(&w, "c", 1, &e) == 0, "%s", e.text);
    check(hash_end(&w.hash) == hash_bytes("abc", 3), "not the hash of what was appended");
    check(files_writer_commit(&w, &e) == 0, "%s", e.text);
}

/* The temporary name is taken: a file or a link is removed, what the link points to stays; a directory is an error. */
static void test_temporary_name_taken(void)
{
    char name[128], temporary[128], victim[128], *data = NULL;
    size_t size;
    Error e = {""};
    in_folder("taken", name);
    in_folder("taken.tmp", temporary);
    check(files_write_atomic(in_folder("victim", victim), "precious", 8, &e) == 0, "%s", e.text);
    check(symlink(victim, temporary) == 0, "symlink");
    check(files_write_atomic(name, "new", 3, &e) == 0, "%s", e.text);
    if (check(files_read_all(victim, 100, &data, &size, &e) == 0, "%s", e.text))
        check(size == 8 && strcmp(data, "precious") == 0, "the link was followed: %s", data);
    free(data);
    check(link(victim, temporary) == 0, "link");
    check(files_write_atomic(name, "newer", 5, &e) == 0, "%s", e.text);
    if (check(files_read_all(victim, 100, &data, &size, &e) == 0, "%s", e.text))
        check(size == 8, "the old temporary file was written to: %s", data);
    free(data);
    struct stat info;
    check(lstat(name, &info) == 0 && S_ISREG(info.st_mode) && info.st_size == 5, "%s is not the new file", name);
    check(mkdir(temporary, 0777) == 0, "mkdir");
    check(files_write_atomic(name, "newest", 6, &e) == -1 && strstr(e.text, "taken.tmp: is in the way"), "%s", e.text);
    check(exists(temporary) && stat(name, &info) == 0 && info.st_size == 5, "something was changed");
}

/* --- directories --- */

static void test_directories(void)
{
    char tree[128], deep[128], file[128], link[128], outside[128];
    Error e = {""};
    in_folder("tree", tree);
    check(files_make_dirs(in_folder("tree/a//b/", deep), &e) == 0, "%s", e.text);
    check(was_flushed(folder) && was_flushed(tree) && was_flushed(in_folder("tree/a", file)),
          "a parent is not flushed");
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

static void test_rename_new(void)
{
    char from[512], to[512], *data = NULL;
    size_t size = 0;
    Error e;
    check(files_write_atomic(in_folder("from", from), "new", 3, &e) == 0, "%s", e.text);
    check(files_write_atomic(in_folder("to", to), "old!", 4, &e) == 0, "%s", e.text);
    check(files_rename_new(from, to, &e) == -1 && strstr(e.text, "is there already"), "over a file: %s", e.text);
    check(exists(from) && files_read_all(to, 9, &data, &size, &e) == 0 && size == 4, "a file was replaced");
    free(data);
    check(unlink(to) == 0 && files_rename_new(from, to, &e) == 0, "%s", e.text);
    check(!exists(from) && exists(to), "it has not its new name");
    check(files_rename_new(from, in_folder("other", to), &e) == -1 && strstr(e.text, from), "what is not there: %s",
          e.text);
}

/* Two descriptors of one process lock each other out like those of two. */
static void test_lock(void)
{
    char path[512];
    int first, second;
    Error e;
    check(files_lock(in_folder("lock", path), "taken", &first, &e) == 0, "%s", e.text);
    check(files_lock(path, "it is taken", &second, &e) == -1 && strcmp(e.text, "it is taken") == 0, "%s", e.text);
    check(exists(path), "who did not get it removed it");
    files_unlock(path, &first);
    check(!exists(path), "it is left");
    check(files_lock(path, "taken", &second, &e) == 0, "%s", e.text);
    files_unlock(path, &second);
}

int main(void)
{
    if (!folder_begin("test_files"))
        return 1;
    check_run("files", test_files);
    check_run("a large file", test_large_file);
    check_run("opening and reading", test_open);
    check_run("hash of a file", test_hash);
    check_run("hash of what is written", test_writer_hash);
    check_run("the temporary name is taken", test_temporary_name_taken);
    check_run("directories", test_directories);
    check_run("new names", test_rename_new);
    check_run("a lock file", test_lock);
    folder_end();
    return check_summary();
}
