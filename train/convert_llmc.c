#include "files/files.h"
#include "train/checkpoint.h"
#include "train/llmc.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Converts models between llm.c's files and Hugging Face directories. */

static const char usage[] = "usage: convert_llmc MODEL.bin DIR                     from llm.c: DIR is made\n"
                            "       convert_llmc --dtype fp32|bf16 DIR MODEL.bin   to llm.c\n";

static bool is_directory(const char *path)
{
    struct stat found;
    return stat(path, &found) == 0 && S_ISDIR(found.st_mode);
}

/* A model without room for activations: its parameters are all that is wanted. */
static int create(const GptConfig *config, Gpt **gpt, Error *e)
{
    return gpt_create(config, &(GptSetup){.B = 1, .T = 1, .mode = GPT_INFERENCE}, gpt, e);
}

static int read_llmc(const char *path, Gpt **gpt, Error *e)
{
    LlmcModel model;
    int status = llmc_open_model(path, &model, e);
    if (status == 0)
        status = create(&model.config, gpt, e);
    if (status == 0)
        status = llmc_read_model(&model, *gpt, e);
    llmc_close(&model.file);
    return status;
}

static int from_llmc(const char *path, const char *dir, Error *e)
{
    Gpt *gpt = NULL;
    Error ignored;
    int status = read_llmc(path, &gpt, e);
    if (status == 0 && (status = checkpoint_write_model(dir, gpt, e)) != 0)
        files_remove_tree(dir, &ignored); /* half a model is useless, and the disk may be full */
    gpt_free(gpt);
    return status;
}

static int to_llmc(const char *dir, const char *path, LlmcVersion version, Error *e)
{
    GptConfig config;
    Gpt *gpt = NULL;
    int status = checkpoint_check_model(dir, e) != 0 || checkpoint_read_config(dir, &config, e) != 0 ? -1 : 0;
    if (status == 0)
        status = create(&config, &gpt, e);
    if (status == 0)
        status = checkpoint_read_model(dir, gpt, e);
    if (status == 0)
        status = llmc_write_model(path, gpt, version, e);
    gpt_free(gpt);
    return status;
}

typedef struct Command {
    const char *from, *to;
    LlmcVersion version; /* 0: not given */
} Command;

static int parse(int argc, char **argv, Command *c, Error *e)
{
    const bool typed = argc > 1 && strcmp(argv[1], "--dtype") == 0;
    const char *dtype = typed && argc > 2 ? argv[2] : "";
    *c = (Command){.version = strcmp(dtype, "fp32") == 0 ? LLMC_FP32 : strcmp(dtype, "bf16") == 0 ? LLMC_BF16 : 0};
    if (typed && c->version == 0)
        return error_set(e, "--dtype needs fp32 or bf16, not '%s'", dtype);
    if (argc != (typed ? 5 : 3))
        return error_set(e, "it takes a model and where to convert it to (see --help)");
    c->from = argv[argc - 2];
    c->to = argv[argc - 1];
    if (is_directory(c->from) && c->version == 0)
        return error_set(e, "%s is a directory: say in which form llm.c is to have it, --dtype fp32 or --dtype bf16",
                         c->from);
    if (!is_directory(c->from) && c->version != 0)
        return error_set(e, "%s is no directory: --dtype is for what is written for llm.c", c->from);
    return 0;
}

int main(int argc, char **argv)
{
    Command c;
    Error e;
    struct stat found;
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(usage, stdout);
        return 0;
    }
    int exit_status = parse(argc, argv, &c, &e) != 0 ? 2 : 0;
    if (exit_status == 0 && lstat(c.to, &found) == 0) {
        error_set(&e, "%s: already exists; it is not overwritten", c.to);
        exit_status = 1;
    }
    if (exit_status == 0 && (c.version != 0 ? to_llmc(c.from, c.to, c.version, &e) : from_llmc(c.from, c.to, &e)) != 0)
        exit_status = 1;
    if (exit_status != 0)
        fprintf(stderr, "convert_llmc: %s\n", e.text);
    return exit_status;
}
