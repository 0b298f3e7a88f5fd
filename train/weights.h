#ifndef TRAIN_WEIGHTS_H
#define TRAIN_WEIGHTS_H

#include "gpt/gpt.h"

/* model.safetensors: the parameters under the names and in the shapes of the model's family (train/families.h). */

/* Writes them in F32; *hash is the file's. */
int weights_write(const char *path, const Gpt *gpt, uint64_t *hash, Error *e);

/* Reads a file, or those of an index (files/safetensors_set.h): F32, F16 or BF16; names with or without the family's
 * prefix; GPT-2's attention masks are skipped. Refuses values that are not finite and a tied head that is not the
 * embedding; of a model that lacks a tensor, or has one too many, nothing is loaded. */
int weights_read(const char *path, Gpt *gpt, Error *e);

#endif
