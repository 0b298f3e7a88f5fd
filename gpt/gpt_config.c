#include "gpt/gpt.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Sizes from Radford et al. 2019, table 2; nano is ours: about 1M parameters over bytes. */
static const struct {
    const char *name;
    GptConfig config;
} presets[] = {
    {"nano", {.T = 256, .V = 256, .L = 5, .NH = 4, .C = 128}},
    {"gpt2", {.T = 1024, .V = 50257, .L = 12, .NH = 12, .C = 768}},
    {"gpt2-medium", {.T = 1024, .V = 50257, .L = 24, .NH = 16, .C = 1024}},
    {"gpt2-large", {.T = 1024, .V = 50257, .L = 36, .NH = 20, .C = 1280}},
    {"gpt2-xl", {.T = 1024, .V = 50257, .L = 48, .NH = 25, .C = 1600}},
};

int gpt_preset(const char *name, GptConfig *config)
{
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++) {
        if (strcmp(presets[i].name, name) == 0) {
            *config = presets[i].config;
            return 0;
        }
    }
    return -1;
}

/* --------------------------------------------------------------------------------------------------------------
 * The fields. Bounds are beyond any model this program could hold; below them no product of sizes overflows 64 bits.
 */

static const char *const activation_names[] = {
#define NAME(constant, function, ...) #function,
    GPT_ACTIVATIONS(NAME)
#undef NAME
        NULL};

static const char *const activation_keys[][2] = {
#define KEYS(constant, function, key, alias) {key, alias},
    GPT_ACTIVATIONS(KEYS)
#undef KEYS
};

/* clang-format off */
#define SIZE(member, limit) .offset = offsetof(GptConfig, member), .kind = GPT_SIZE, .most = limit
const GptField gpt_fields[GPT_FIELDS] = {
    [GPT_FIELD_L] = {"L", "layers", "L", "n_layer", "transformer blocks; this and the options below override the preset", SIZE(L, 4096)},
    [GPT_FIELD_NH] = {"NH", "heads", "NH", "n_head", "attention heads; must divide --width", SIZE(NH, 1 << 20)},
    [GPT_FIELD_C] = {"C", "width", "C", "n_embd", "channels of the residual stream", SIZE(C, 1 << 20)},
    [GPT_FIELD_V] = {"V", "vocab", "V", "vocab_size", "vocabulary size: 256 for bytes, 50257 for GPT-2", SIZE(V, 1 << 24)},
    [GPT_FIELD_T] = {"T", "seq-len", "T", "n_positions", "tokens per sequence", SIZE(T, 1 << 24), .may_be_less = true},
    [GPT_FIELD_ACTIVATION] = {"activation", "activation", "NAME", "activation_function", "nonlinearity of the MLP",
     .offset = offsetof(GptConfig, activation), .kind = GPT_CHOICE, .choices = activation_names, .stored = activation_keys},
};
#undef SIZE
/* clang-format on */

static const size_t *size_of(const GptField *f, const GptConfig *c)
{
    return (const void *)((const char *)c + f->offset);
}

static GptActivation choice_of(const GptField *f, const GptConfig *c)
{
    return *(const GptActivation *)(const void *)((const char *)c + f->offset);
}

static size_t bytes_of(const GptField *f) { return f->kind == GPT_SIZE ? sizeof(size_t) : sizeof(GptActivation); }

static void copy_field(const GptField *f, GptConfig *to, const GptConfig *from)
{
    memcpy((char *)to + f->offset, (const char *)from + f->offset, bytes_of(f));
}

int gpt_config_check(const GptConfig *config, Error *e)
{
    for (const GptField *f = gpt_fields; f < gpt_fields + GPT_FIELDS; f++) {
        const size_t value = f->kind == GPT_SIZE ? *size_of(f, config) : 1;
        if (f->kind == GPT_SIZE && (value < 1 || value > f->most))
            return error_set(e, "%s (--%s) is %zu; it must be from 1 to %zu", f->key, f->option, value, f->most);
    }
    if (config->C % config->NH != 0)
        return error_set(e, "the heads (--heads %zu) do not divide the width (--width %zu)", config->NH, config->C);
    return 0;
}

void gpt_override(GptConfig *config, const GptOverrides *overrides)
{
    for (size_t i = 0; i < GPT_FIELDS; i++)
        if (overrides->set[i])
            copy_field(&gpt_fields[i], config, &overrides->values);
}

int gpt_agrees(const GptConfig *config, const GptOverrides *overrides, const char *what, Error *e)
{
    for (size_t i = 0; i < GPT_FIELDS; i++) {
        const GptField *f = &gpt_fields[i];
        char asked[64], has[64];
        gpt_field_format(f, &overrides->values, false, asked, sizeof asked);
        gpt_field_format(f, config, false, has, sizeof has);
        const bool less = f->may_be_less && *size_of(f, &overrides->values) < *size_of(f, config);
        if (overrides->set[i] && strcmp(asked, has) != 0 && !less)
            return error_set(e, "--%s %s contradicts the model in %s, which has %s", f->option, asked, what, has);
    }
    return 0;
}

void gpt_field_format(const GptField *f, const GptConfig *c, bool stored, char *to, size_t size)
{
    if (f->kind == GPT_SIZE)
        snprintf(to, size, "%zu", *size_of(f, c));
    else
        snprintf(to, size, "%s", stored ? f->stored[choice_of(f, c)][0] : f->choices[choice_of(f, c)]);
}

int gpt_field_restore(const GptField *f, const char *text, GptConfig *c)
{
    if (f->kind == GPT_SIZE) {
        char *end;
        errno = 0;
        const unsigned long long n = strtoull(text, &end, 10);
        const size_t value = (size_t)n;
        memcpy((char *)c + f->offset, &value, sizeof value);
        return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 ? 0 : -1;
    }
    for (int i = 0; f->choices[i] != NULL; i++) {
        if (strcmp(text, f->stored[i][0]) == 0 || strcmp(text, f->stored[i][1]) == 0) {
            memcpy((char *)c + f->offset, &i, sizeof i);
            return 0;
        }
    }
    return -1;
}

void gpt_describe(const GptConfig *c, char *to, size_t size)
{
    size_t used = 0;
    to[0] = '\0';
    for (const GptField *f = gpt_fields; f < gpt_fields + GPT_FIELDS && used < size; f++) {
        char value[64];
        gpt_field_format(f, c, false, value, sizeof value);
        if (f->kind == GPT_SIZE || choice_of(f, c) != 0)
            used += (size_t)snprintf(to + used, size - used, "%s%s=%s", used > 0 ? " " : "", f->symbol, value);
    }
}
