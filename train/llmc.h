#ifndef TRAIN_LLMC_H
#define TRAIN_LLMC_H

#include "gpt/gpt.h"

/*
 * llm.c's files (github.com/karpathy/llm.c, train_gpt2.py): 256 int32 of header, the first a magic number and the
 * second a version, then arrays without gaps, all little-endian. What has a value for each parameter has them in
 * llm.c's order, of all layers before the next parameter, matrices fan-out x fan-in, and the token embedding with rows
 * up to a padded vocabulary, a multiple of 128.
 *
 * A model (write_model there) is magic 20240326, version 3 (fp32) or 5 (bf16), header[2..7] = T, V, L, NH, C and the
 * padded vocabulary, and its parameters. It can only be a classic GPT-2: all other fields of the configuration are at
 * their defaults.
 */
enum { LLMC_HEADER = 256 };

typedef struct LlmcFile {
    const char *path; /* borrowed */
    int fd;
    size_t size; /* bytes */
    int32_t header[LLMC_HEADER];
} LlmcFile;

/* Opens a file that begins with `magic`; `what` it is, for messages. The caller calls llmc_close, also after a
 * failure. */
int llmc_open(const char *path, int32_t magic, const char *what, LlmcFile *file, Error *e);
void llmc_close(LlmcFile *file);

typedef enum { LLMC_FP32 = 3, LLMC_BF16 = 5 } LlmcVersion;

/* Where a file has a value for each parameter. */
typedef struct LlmcValues {
    const LlmcFile *file;
    const GptConfig *config; /* of the model, resolved */
    size_t start;            /* bytes */
    LlmcVersion version;
    size_t padded_vocab;
} LlmcValues;

/* Bytes of all values. */
size_t llmc_bytes(const LlmcValues *values);

/* Reads the values of one tensor of the model's table, rows x cols. */
int llmc_read_tensor(const LlmcValues *values, const GptTable *table, const Tensor *tensor, float *to, Error *e);

/* An open model file: its header has been checked, and against the file's size. `values` points into the struct. */
typedef struct LlmcModel {
    LlmcFile file;
    GptConfig config;
    LlmcValues values;
} LlmcModel;

/* The caller calls llmc_close(&model->file), also after a failure. */
int llmc_open_model(const char *path, LlmcModel *model, Error *e);

/* Reads every parameter into a model of that configuration; refuses values that are not finite. */
int llmc_read_model(const LlmcModel *model, Gpt *gpt, Error *e);

/* Writes a model; its padding is 0. Refuses what is no classic GPT-2, naming the field, and numbers beyond bf16's. */
int llmc_write_model(const char *path, const Gpt *gpt, LlmcVersion version, Error *e);

#endif
