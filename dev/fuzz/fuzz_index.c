/* A libFuzzer entry for the index of several safetensors files, beside two whole ones: it is refused with a sentence
 * that names a file of the folder, or the files that it names hold what it says. */
#include "files/files.h"
#include "files/json_file.h"
#include "files/safetensors_set.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/tmp/fuzz_index_XXXXXX", index_path[64];

static void leave(void)
{
    Error e;
    files_remove_tree(folder, &e);
}

static void require(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "fuzz_index: %s\n", what);
        abort();
    }
}

static void write_file(const char *name, const char *const *tensors, size_t count)
{
    static const float value = 1;
    SafetensorsSpec specs[2];
    SafetensorsWriter *writer;
    char path[64];
    Error e;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    for (size_t i = 0; i < count; i++)
        specs[i] = (SafetensorsSpec){.name = tensors[i], .dtype = DTYPE_F32, .rank = 1, .shape = {1}};
    require(safetensors_create(path, specs, count, NULL, 0, &writer, &e) == 0, "no file");
    for (size_t i = 0; i < count; i++)
        require(safetensors_append(writer, &value, sizeof value, &e) == 0, e.text);
    require(safetensors_finish(writer, NULL, &e) == 0, e.text);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    require(mkdtemp(folder) != NULL, "no folder");
    write_file("a.safetensors", (const char *const[]){"x", "y"}, 2);
    write_file("b.safetensors", (const char *const[]){"z"}, 1);
    snprintf(index_path, sizeof index_path, "%s/model.safetensors.index.json", folder);
    atexit(leave);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    SafetensorsSet set;
    Error e = {""};
    FILE *file = fopen(index_path, "wb");
    require(file != NULL && fwrite(data, 1, size, file) == size && fclose(file) == 0, "no index");
    if (safetensors_set_open(index_path, &set, &e) == 0) {
        Json *index;
        size_t tensors = 0;
        require(json_file_read(index_path, 1 << 24, &index, &e) == 0, e.text);
        for (size_t i = 0; i < set.count; i++)
            tensors += safetensors_count(set.files[i]);
        require(tensors == json_get(index, "weight_map")->count, "the index and the files differ in number");
        json_free(index);
    } else {
        require(strncmp(e.text, folder, strlen(folder)) == 0, "the error names no file of the folder");
    }
    safetensors_set_close(&set);
    return 0;
}
