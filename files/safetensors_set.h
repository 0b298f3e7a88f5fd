#ifndef FILES_SAFETENSORS_SET_H
#define FILES_SAFETENSORS_SET_H

#include "files/safetensors.h"

/*
 * A model's tensors in one safetensors file, or in several that an index beside them ties together, as Hugging Face's
 * libraries write large models:
 *
 *     {"metadata": {"total_size": 2345}, "weight_map": {"ln_f.bias": "model-00002-of-00002.safetensors", ...}}
 */
typedef struct SafetensorsSet {
    Safetensors **files;
    size_t count;
} SafetensorsSet;

/* Opens the file at `path` or, if its name ends with ".index.json", the files that this index names, which must hold
 * exactly the tensors that it places in them. A file in another folder is refused. The caller calls
 * safetensors_set_close, also after a failure. Errors name the file at fault. */
int safetensors_set_open(const char *path, SafetensorsSet *set, Error *e);

/* Does nothing to a zeroed one. */
void safetensors_set_close(SafetensorsSet *set);

#endif
