/*
 * libFuzzer entry for files/safetensors.c: any file is refused with a message that names it, or opened with tensors
 * that can all be read and that cover its data.
 */
#include "files/safetensors.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "%s\n", what);
    abort();
}

static void read_tensor(Safetensors *file, const SafetensorsEntry *entry)
{
    Error e = {""};
    const bool real = entry->dtype == DTYPE_F32 || entry->dtype == DTYPE_F16 || entry->dtype == DTYPE_BF16;
    const bool whole = entry->dtype == DTYPE_I32 || entry->dtype == DTYPE_U16;
    void *out = malloc(entry->count * 4 + 1);
    require((safetensors_read_f32(file, entry, out, &e) == 0) == real, e.text);
    require(safetensors_read_i32(file, entry, out, &e) == 0 || !whole, e.text);
    free(out);
}

static void examine(Safetensors *file, size_t size)
{
    size_t end = 0;
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const SafetensorsEntry *entry = safetensors_entry(file, i);
        require(i == 0 || entry->begin == end, "the tensors leave a hole or overlap");
        require(entry->end - entry->begin == entry->count * dtype_size(entry->dtype), "count and bytes differ");
        require(safetensors_find(file, entry->name) == entry, "a tensor is not found by its name");
        read_tensor(file, entry);
        end = entry->end;
    }
    require(safetensors_count(file) == 0 || end == size, "the last tensor does not end with the file");
    safetensors_metadata(file, "format");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[] = "/tmp/fuzz_safetensors_XXXXXX";
    Error e = {""};
    Safetensors *file;
    const int fd = mkstemp(path);
    require(fd >= 0 && write(fd, data, size) == (ssize_t)size, "the input cannot be written to a file");
    close(fd);
    if (safetensors_open(path, &file, &e) == 0) {
        examine(file, size);
        safetensors_close(file);
    } else {
        require(strncmp(e.text, path, strlen(path)) == 0, "a message does not name the file");
    }
    unlink(path);
    return 0;
}
