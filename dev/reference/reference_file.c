#include "dev/reference/reference_file.h"

#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int read_i32(Reference *ref, const char *name, int32_t *to, Error *e)
{
    const SafetensorsEntry *entry = safetensors_find(ref->file, name);
    if (entry == NULL)
        return error_set(e, "it has no tensor \"%s\"", name);
    if (entry->rank != 2 || entry->shape[0] != ref->B || entry->shape[1] != ref->T)
        return error_set(e, "\"%s\" is not (B,T) = (%zu,%zu)", name, ref->B, ref->T);
    return safetensors_read_i32(ref->file, entry, to, e);
}

static int read_batch(Reference *ref, const char *prefix, Error *e)
{
    char name[64];
    if (ref->file == NULL)
        return llmc_state_tokens(&ref->llmc_state, ref->tokens, e) != 0
                   ? -1
                   : llmc_state_targets(&ref->llmc_state, ref->targets, e);
    snprintf(name, sizeof name, "%stokens", prefix);
    if (read_i32(ref, name, ref->tokens, e) != 0)
        return -1;
    snprintf(name, sizeof name, "%stargets", prefix);
    return read_i32(ref, name, ref->targets, e);
}

int reference_read_batch(Reference *ref, const char *prefix, Error *e)
{
    if (read_batch(ref, prefix, e) != 0)
        return -1;
    ref->counted = 0;
    for (size_t i = 0; i < ref->B * ref->T; i++) {
        if (ref->tokens[i] < 0 || (size_t)ref->tokens[i] >= ref->config.V || ref->targets[i] >= (int64_t)ref->config.V)
            return error_set(e, "a token or target of \"%stokens\" lies outside the vocabulary", prefix);
        ref->counted += ref->targets[i] >= 0;
    }
    return ref->counted > 0 ? 0 : error_set(e, "every target of \"%stargets\" is left out", prefix);
}

int reference_read_floats(Reference *ref, const char *name, size_t n, float *to, Error *e)
{
    if (ref->file == NULL && strcmp(name, "logits") == 0)
        return llmc_state_logits(&ref->llmc_state, to, e);
    if (ref->file == NULL && strcmp(name, "loss") == 0)
        return llmc_state_loss(&ref->llmc_state, to, e);
    const SafetensorsEntry *entry = ref->file != NULL ? safetensors_find(ref->file, name) : NULL;
    if (entry == NULL)
        return error_set(e, "it has no tensor \"%s\"", name);
    if (entry->count != n)
        return error_set(e, "\"%s\" holds %zu elements, not %zu", name, entry->count, n);
    return safetensors_read_f32(ref->file, entry, to, e);
}

int reference_read_tensor(Reference *ref, const char *prefix, const Tensor *t, float *to, Error *e)
{
    char name[128];
    if (ref->file == NULL)
        return llmc_read_tensor(strcmp(prefix, "grad.") == 0 ? &ref->llmc_state.gradients : &ref->llmc_model.values,
                                ref->table, t, to, e);
    snprintf(name, sizeof name, "%s%s", prefix, t->name);
    if (!t->transposed)
        return reference_read_floats(ref, name, tensor_size(t), to, e);
    if (reference_read_floats(ref, name, tensor_size(t), ref->file_layout, e) != 0)
        return -1;
    for (size_t r = 0; r < t->rows; r++)
        for (size_t c = 0; c < t->cols; c++)
            to[r * t->cols + c] = ref->file_layout[c * t->rows + r];
    return 0;
}

int reference_load_arena(Reference *ref, Gpt *gpt, GptArena arena, const char *prefix, Error *e)
{
    for (const Tensor *t = ref->table->tensors; t < ref->table->tensors + ref->table->count; t++) {
        if (reference_read_tensor(ref, prefix, t, ref->want, e) != 0)
            return -1;
        gpt_write(gpt, arena, t, ref->want);
    }
    return 0;
}

int reference_number(Reference *ref, const char *key, double *value, Error *e)
{
    const char *text = ref->file != NULL ? safetensors_metadata(ref->file, key) : NULL;
    if (text == NULL)
        return error_set(e, "its metadata have no \"%s\"", key);
    char *end;
    *value = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(*value))
        return error_set(e, "\"%s\" of its metadata is \"%s\", not a number", key, text);
    return 0;
}

/* At most 2^20, so that no product of three overflows. */
static int metadata_size(Reference *ref, const char *key, size_t *value, Error *e)
{
    double number = 0;
    if (reference_number(ref, key, &number, e) != 0)
        return -1;
    if (!(number >= 0 && number <= 1 << 20 && number == floor(number)))
        return error_set(e, "\"%s\" of its metadata is %g, which is no size", key, number);
    *value = (size_t)number;
    return 0;
}

static int read_config(Reference *ref, Error *e)
{
    size_t gradients;
    for (const GptField *f = gpt_fields; f < gpt_fields + GPT_FIELDS; f++) {
        const char *text = safetensors_metadata(ref->file, f->key);
        if (text == NULL && !(f->kind == GPT_SIZE && f->least > 0)) /* the classic one */
            continue;
        if (text == NULL || gpt_field_restore(f, text, &ref->config) != 0)
            return error_set(e, "\"%s\" of its metadata is %s", f->key, text == NULL ? "missing" : text);
    }
    if (metadata_size(ref, "B", &ref->B, e) != 0 || metadata_size(ref, "T", &ref->T, e) != 0 ||
        metadata_size(ref, "N", &ref->steps, e) != 0 || metadata_size(ref, "step_gradients", &gradients, e) != 0 ||
        gpt_config_check(&ref->config, e) != 0)
        return -1;
    ref->config = gpt_resolve(&ref->config);
    ref->step_gradients = gradients != 0;
    if (safetensors_metadata(ref->file, "dropout") != NULL &&
        (reference_number(ref, "dropout", &ref->dropout.p, e) != 0 || !(ref->dropout.p > 0 && ref->dropout.p < 1)))
        return error_set(e, "\"dropout\" of its metadata is no share");
    ref->dropout.key = REFERENCE_DROPOUT_KEY;
    if (ref->B == 0 || ref->T == 0 || ref->T > ref->config.T)
        return error_set(e, "B = %zu sequences of T = %zu tokens do not suit a model of %zu positions", ref->B, ref->T,
                         ref->config.T);
    return 0;
}

static size_t largest_tensor(const Reference *ref)
{
    const size_t V = ref->config.V, C = ref->config.C;
    size_t largest = ref->B * ref->T * (V > C ? V : C); /* logits, residuals */
    for (size_t i = 0; i < ref->table->count; i++)
        if (tensor_size(&ref->table->tensors[i]) > largest)
            largest = tensor_size(&ref->table->tensors[i]);
    return largest;
}

static int make_model(Reference *ref, Error *e)
{
    const GptSetup setup = {
        .B = ref->B, .T = ref->T, .mode = GPT_TRAINING, .dtype = ref->dtype, .dropout = ref->dropout.p > 0};
    if (gpt_create(&ref->config, &setup, &ref->gpt, e) != 0)
        return -1;
    ref->table = gpt_table(ref->gpt);
    ref->tokens = calloc(ref->B * ref->T, sizeof *ref->tokens);
    ref->targets = calloc(ref->B * ref->T, sizeof *ref->targets);
    if (ref->tokens == NULL || ref->targets == NULL)
        return error_set(e, "out of memory for %zu tokens", ref->B * ref->T);
    const size_t n = largest_tensor(ref);
    return memory_floats(n, "a tensor", &ref->got, e) != 0 || memory_floats(n, "a reference", &ref->want, e) != 0 ||
                   memory_floats(n, "a transposed tensor", &ref->file_layout, e) != 0 ||
                   memory_floats(ref->table->arena_size, "gradients", &ref->kept, e) != 0
               ? -1
               : 0;
}

int reference_open(const char *path, Reference *ref, Error *e)
{
    return safetensors_open(path, &ref->file, e) != 0 || read_config(ref, e) != 0 ? -1 : make_model(ref, e);
}

int reference_open_llmc(const char *model, const char *state, Reference *ref, Error *e)
{
    ref->llmc_model.file.fd = ref->llmc_state.file.fd = -1;
    if (llmc_open_model(model, &ref->llmc_model, e) != 0 ||
        llmc_state_open(state, &ref->llmc_model, &ref->llmc_state, e) != 0)
        return -1;
    ref->config = ref->llmc_model.config;
    ref->B = ref->llmc_state.B;
    ref->T = ref->llmc_state.T;
    return make_model(ref, e);
}

void reference_close(Reference *ref)
{
    memory_free(ref->got);
    memory_free(ref->want);
    memory_free(ref->file_layout);
    memory_free(ref->kept);
    free(ref->tokens);
    free(ref->targets);
    gpt_free(ref->gpt);
    if (ref->file == NULL) {
        llmc_close(&ref->llmc_model.file);
        llmc_close(&ref->llmc_state.file);
    }
    safetensors_close(ref->file);
}
