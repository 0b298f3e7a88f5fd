#ifndef TRAIN_FAMILIES_H
#define TRAIN_FAMILIES_H

#include "gpt/gpt.h"

/*
 * Models by the class of Hugging Face's transformers that computes the same: what their config.json says, and how their
 * tensors are cut and named in model.safetensors. A model that no class fits has a model_type of its own, "train_gpt",
 * with every field of the configuration written out; dev/reference/model.py reads it into PyTorch.
 */
typedef struct Family Family;

/* The first that fits a resolved configuration: GPT2LMHeadModel, LlamaForCausalLM, Qwen3ForCausalLM, our own. */
const Family *family_of(const GptConfig *config);

/* "GPT2LMHeadModel", for messages; NULL: our own. */
const char *family_class(const Family *family);

/* What precedes the names of tensors in files, but for the head's: "transformer." or "model.". Readers take both
 * forms. */
const char *family_prefix(const Family *family);

/* The tensors as files hold them: names without prefix, and offsets in the arena. The caller frees *tensors. */
int family_tensors(const Family *family, const GptConfig *config, const GptTable *table, Tensor **tensors,
                   size_t *count, Error *e);

/* Writes a config.json atomically; *hash is its content's. */
int family_write_config(const char *path, const GptConfig *config, uint64_t *hash, Error *e);

/* Reads one into a resolved configuration; refuses what this program does not compute, naming file and key. */
int family_read_config(const char *path, GptConfig *config, Error *e);

#endif
