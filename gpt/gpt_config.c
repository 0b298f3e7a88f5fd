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
#define NAME(constant, function, value, ...) value,
    GPT_ACTIVATIONS(NAME)
#undef NAME
        NULL};

static const char *const activation_keys[][2] = {
#define KEYS(constant, function, value, key, alias) {key, alias},
    GPT_ACTIVATIONS(KEYS)
#undef KEYS
};

#define SIZE(member, option, key, most, help) \
    {#member, option, key, help, offsetof(GptConfig, member), most, NULL, NULL},
#define CHOICE(member, option, key, type, help) \
    {#member, option, key, help, offsetof(GptConfig, member), 0, member##_names, member##_keys},
const GptField gpt_fields[GPT_FIELDS] = {GPT_CONFIG(SIZE, CHOICE)};
#undef SIZE
#undef CHOICE

static const size_t *size_of(const GptField *f, const GptConfig *c)
{
    return (const void *)((const char *)c + f->offset);
}

static GptActivation choice_of(const GptField *f, const GptConfig *c)
{
    return *(const GptActivation *)(const void *)((const char *)c + f->offset);
}

int gpt_config_check(const GptConfig *config, Error *e)
{
    for (const GptField *f = gpt_fields; f < gpt_fields + GPT_FIELDS; f++) {
        const size_t value = f->choices == NULL ? *size_of(f, config) : 1;
        if (f->choices == NULL && (value < 1 || value > f->most))
            return error_set(e, "%s (--%s) is %zu; it must be from 1 to %zu", f->key, f->option, value, f->most);
    }
    if (config->C % config->NH != 0)
        return error_set(e, "the heads (--heads %zu) do not divide the width (--width %zu)", config->NH, config->C);
    return 0;
}

int gpt_setup_check(const GptConfig *c, const GptSetup *s, Error *e)
{
    if (s->T == 0 || s->T > c->T)
        return error_set(e, "sequences of %zu tokens do not fit a model of at most %zu", s->T, c->T);
    if (s->B == 0 || s->B > SIZE_MAX / 64 / s->T / (4 * c->C) / c->L || s->B * s->T > INT32_MAX)
        return error_set(e, "a micro-batch of %zu sequences is out of range", s->B);
    return 0;
}

void gpt_override(GptConfig *config, const GptOverrides *overrides)
{
    for (size_t i = 0; i < GPT_FIELDS; i++) {
        const size_t at = gpt_fields[i].offset,
                     size = gpt_fields[i].choices == NULL ? sizeof(size_t) : sizeof(GptActivation);
        if (overrides->set[i])
            memcpy((char *)config + at, (const char *)&overrides->values + at, size);
    }
}

int gpt_agrees(const GptConfig *config, const GptOverrides *overrides, const char *what, Error *e)
{
    for (size_t i = 0; i < GPT_FIELDS; i++) {
        const GptField *f = &gpt_fields[i];
        char asked[64], has[64];
        gpt_field_format(f, &overrides->values, false, asked, sizeof asked);
        gpt_field_format(f, config, false, has, sizeof has);
        const bool less = i == GPT_FIELD_T && overrides->values.T < config->T; /* shorter sequences fit */
        if (overrides->set[i] && strcmp(asked, has) != 0 && !less)
            return error_set(e, "--%s %s contradicts the model in %s, which has %s", f->option, asked, what, has);
    }
    return 0;
}

void gpt_field_format(const GptField *f, const GptConfig *c, bool stored, char *to, size_t size)
{
    if (f->choices == NULL)
        snprintf(to, size, "%zu", *size_of(f, c));
    else
        snprintf(to, size, "%s", stored ? f->stored[choice_of(f, c)][0] : f->choices[choice_of(f, c)]);
}

int gpt_field_restore(const GptField *f, const char *text, GptConfig *c)
{
    if (f->choices == NULL) {
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
        if (f->choices == NULL || choice_of(f, c) != 0)
            used += (size_t)snprintf(to + used, size - used, "%s%s=%s", used > 0 ? " " : "", f->symbol, value);
    }
}
