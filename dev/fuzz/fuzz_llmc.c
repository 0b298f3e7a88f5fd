/* A libFuzzer entry for llm.c's model files: whatever the bytes, they are refused with a sentence that names the file,
 * or every parameter can be read. */
#include "train/llmc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HEAD = 32 /* bytes of the header that are read */ };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "fuzz_llmc: %s\n", what);
        abort();
    }
}

static void read_all(const LlmcModel *model)
{
    GptTable table;
    Error e = {""};
    require(gpt_table_make(&model->config, &table, &e) == 0, e.text);
    float *x = malloc(gpt_table_largest(&table) * sizeof *x);
    require(x != NULL, "out of memory");
    for (size_t i = 0; i < table.count; i++)
        require(llmc_read_tensor(&model->values, &table, &table.tensors[i], x, &e) == 0, e.text);
    free(x);
    gpt_table_free(&table);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned char rest_of_header[4 * LLMC_HEADER - HEAD]; /* the input leaves it out */
    char path[] = "/tmp/fuzz_llmc_XXXXXX";
    const int fd = mkstemp(path);
    FILE *file = fd >= 0 ? fdopen(fd, "wb") : NULL;
    require(file != NULL, "no temporary file");
    const size_t head = size < HEAD ? size : HEAD;
    fwrite(data, 1, head, file);
    if (size > head)
        fwrite(rest_of_header, 1, sizeof rest_of_header, file);
    fwrite(data + head, 1, size - head, file);
    fclose(file);

    LlmcModel model;
    Error e = {""};
    if (llmc_open_model(path, &model, &e) == 0)
        read_all(&model);
    else
        require(strncmp(e.text, path, strlen(path)) == 0, "the error does not name the file");
    llmc_close(&model.file);
    unlink(path);
    return 0;
}
