/* Files as checkpoints need them, and JSON files that carry a checksum. */
#include "files/files.h"

#include "base/random.h"
#include "dev/tests/check.h"
#include "dev/tests/folder.h"
#include "files/json_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

/* What lies under the temporary name, be it a link, is replaced and not followed; a directory is an error. */
static void test_temporary(void)
{
    char name[128], temporary[128], precious[128], *data;
    size_t size;
    Error e = {""};
    in_folder("new", name);
    in_folder("new.tmp", temporary);
    check(files_write_atomic(in_folder("precious", precious), "kept", 4, &e) == 0, "%s", e.text);
    check(symlink(precious, temporary) == 0, "symlink");
    check(files_write_atomic(name, "new", 3, &e) == 0 && !exists(temporary), "%s", e.text);
    if (check(files_read_all(precious, 100, &data, &size, &e) == 0, "%s", e.text)) {
        check(size == 4 && strcmp(data, "kept") == 0, "the link's target holds %s", data);
        free(data);
    }
    check(files_make_dirs(temporary, &e) == 0, "%s", e.text);
    check(files_write_atomic(name, "newer", 5, &e) == -1 && strstr(e.text, temporary), "a directory: %s", e.text);
    check(files_remove_tree(temporary, &e) == 0, "%s", e.text);
}

/* Pipes, devices and directories are refused at once. */
static void test_regular(void)
{
    char pipe_name[128], *data;
    size_t size;
    uint64_t hash;
    int fd;
    Error e = {""};
    check(mkfifo(in_folder("pipe", pipe_name), 0600) == 0, "mkfifo");
    const char *const others[] = {pipe_name, folder, "/dev/null"};
    for (size_t i = 0; i < 3; i++) {
        check(files_open(others[i], &fd, &size, &e) == -1 && strstr(e.text, "is not a regular file"), "%s", e.text);
        check(files_read_all(others[i], 9, &data, &size, &e) == -1 && strstr(e.text, others[i]), "%s", e.text);
        check(files_hash(others[i], &hash, &e) == -1 && strstr(e.text, others[i]), "%s", e.text);
    }
}

static void test_hash(void)
{
    enum { MANY = (1 << 20) + 77 };
    char name[128], *content = calloc(MANY, 1);
    uint64_t hash = 0;
    FilesWriter w;
    Error e = {""};
    in_folder("hashed", name);
    for (size_t i = 0; i < MANY; i++)
        content[i] = (char)random_mix(i);
    check(files_writer_open(&w, name, &e) == 0 && files_writer_append(&w, content, 1000, &e) == 0 &&
              files_writer_append(&w, content + 1000, MANY - 1000, &e) == 0,
          "%s", e.text);
    const uint64_t written = hash_end(&w.hash);
    check(files_writer_commit(&w, &e) == 0 && files_hash(name, &hash, &e) == 0, "%s", e.text);
    check(hash == hash_bytes(content, MANY) && written == hash, "%llx and %llx", (unsigned long long)hash,
          (unsigned long long)written);
    free(content);
}

/* A file that carries its checksum: back as it was, every flipped bit noticed, and one without it accepted. */
static void test_sealed(void)
{
    static const char object[] = "{\"a\": 1,\n  \"b\": {\"c\": \"d\"}}\n";
    char name[128], *text;
    size_t size;
    Json *json;
    Error e = {""};
    in_folder("sealed.json", name);
    check(json_file_write_sealed(name, object, sizeof object - 1, &e) == 0, "%s", e.text);
    if (check(json_file_read_sealed(name, 1000, &json, &e) == 0, "%s", e.text)) {
        check(strcmp(json_string(json_get(json_get(json, "b"), "c")), "d") == 0, "another object");
        json_free(json);
    }
    if (!check(files_read_all(name, 1000, &text, &size, &e) == 0, "%s", e.text))
        return;
    for (size_t i = 0; i < 8 * size; i++) {
        text[i / 8] = (char)(text[i / 8] ^ 1 << i % 8);
        check(files_write_atomic(name, text, size, &e) == 0, "%s", e.text);
        if (!check(json_file_read_sealed(name, 1000, &json, &e) == -1, "bit %zu of byte %zu is not noticed", i % 8,
                   i / 8))
            json_free(json);
        text[i / 8] = (char)(text[i / 8] ^ 1 << i % 8);
    }
    for (size_t cut = 1; cut < size; cut++) {
        check(files_write_atomic(name, text, size - cut, &e) == 0, "%s", e.text);
        if (!check(json_file_read_sealed(name, 1000, &json, &e) == -1, "%zu bytes cut off are not noticed", cut))
            json_free(json);
    }
    free(text);
    check(files_write_atomic(name, object, sizeof object - 1, &e) == 0, "%s", e.text);
    if (check(json_file_read_sealed(name, 1000, &json, &e) == 0, "without a checksum: %s", e.text))
        json_free(json);
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
    check_run("the temporary name", test_temporary);
    check_run("regular files only", test_regular);
    check_run("checksums", test_hash);
    check_run("sealed JSON", test_sealed);
    check_run("directories", test_directories);
    folder_end();
    return check_summary();
}
