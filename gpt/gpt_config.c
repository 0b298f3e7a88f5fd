#include "gpt/gpt.h"

#include <errno.h>
#include <math.h>
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

const char *gpt_preset_name(size_t i) { return i < sizeof presets / sizeof *presets ? presets[i].name : NULL; }

/* --------------------------------------------------------------------------------------------------------------
 * The fields. Bounds are beyond any model this program could hold; below them no product of sizes overflows 64 bits.
 */

#define VALUE(constant, value, ...) value,
#define KEYS(constant, value, ...) {value, value},
#define NAMES(member, LIST)                                         \
    static const char *const member##_names[] = {LIST(VALUE) NULL}; \
    static const char *const member##_keys[][2] = {LIST(KEYS)}
NAMES(positions, GPT_POSITION_FORMS);
NAMES(norm, GPT_NORMS);
NAMES(embed_norm, GPT_EMBED_NORMS);
NAMES(qk_norm, GPT_QK_NORMS);
NAMES(attention_bias, GPT_ATTENTION_BIASES);
NAMES(mlp_bias, GPT_MLP_BIASES);
NAMES(head, GPT_HEADS);
NAMES(softcap, GPT_SOFTCAPS);
NAMES(init, GPT_INITS);
#undef KEYS
#define KEYS(constant, value, key, alias, ...) {key, alias},
NAMES(activation, GPT_ACTIVATIONS);
#undef KEYS
#undef NAMES
#undef VALUE

#define SIZE(member, option, key, least, most, help) \
    {GPT_SIZE, #member, option, key, help, offsetof(GptConfig, member), least, most, NULL, NULL},
#define CHOICE(member, option, key, type, help) \
    {GPT_CHOICE, #member, option, key, help, offsetof(GptConfig, member), 0, 0, member##_names, member##_keys},
#define NUMBER(member, option, key, least, most, help) \
    {GPT_NUMBER, #member, option, key, help, offsetof(GptConfig, member), least, most, NULL, NULL},
const GptField gpt_fields[GPT_FIELDS] = {GPT_CONFIG(SIZE, CHOICE, NUMBER)};
#undef SIZE
#undef CHOICE
#undef NUMBER

static size_t size_of(const GptField *f, const GptConfig *c)
{
    size_t value;
    memcpy(&value, (const char *)c + f->offset, sizeof value);
    return value;
}

static int choice_of(const GptField *f, const GptConfig *c)
{
    int value;
    memcpy(&value, (const char *)c + f->offset, sizeof value);
    return value;
}

static double number_of(const GptField *f, const GptConfig *c)
{
    double value;
    memcpy(&value, (const char *)c + f->offset, sizeof value);
    return value;
}

static size_t bytes_of(const GptField *f)
{
    return f->kind == GPT_SIZE ? sizeof(size_t) : f->kind == GPT_CHOICE ? sizeof(int) : sizeof(double);
}

bool gpt_is_gated(const GptConfig *c)
{
    static const bool gated[] = {
#define GATED(constant, value, key, alias, function, gated) gated,
        GPT_ACTIVATIONS(GATED)
#undef GATED
    };
    return gated[c->activation];
}

/* A number may be 0, for its default. */
static int check_range(const GptField *f, const GptConfig *c, Error *e)
{
    char value[64];
    const double x = f->kind == GPT_SIZE ? (double)size_of(f, c) : f->kind == GPT_NUMBER ? number_of(f, c) : 0;
    if (f->kind == GPT_CHOICE || (f->kind == GPT_NUMBER && x == 0) || (x >= f->least && x <= f->most))
        return 0;
    gpt_field_format(f, c, false, value, sizeof value);
    return error_set(e, "%s (--%s) is %s; it must be from %g to %.15g", f->key, f->option, value, f->least, f->most);
}

int gpt_config_check(const GptConfig *c, Error *e)
{
    for (const GptField *f = gpt_fields; f < gpt_fields + GPT_FIELDS; f++)
        if (check_range(f, c, e) != 0)
            return -1;
    const char *const positions = positions_names[c->positions];
    const bool rotary = gpt_is_rotary(c);
    const size_t turned = c->positions == GPT_ROTARY_HALF ? 4 : 2;
    if (c->C % c->NH != 0)
        return error_set(e, "the heads (--heads %zu) do not divide the width (--width %zu)", c->NH, c->C);
    if (c->KVH != 0 && c->NH % c->KVH != 0)
        return error_set(e, "the heads of keys and values (--kv-heads %zu) do not divide the heads (--heads %zu)",
                         c->KVH, c->NH);
    if (rotary && gpt_head_size(c) % turned != 0)
        return error_set(
            e, "--positions %s needs heads of a multiple of %zu channels; --width %zu and --heads %zu make %zu",
            positions, turned, c->C, c->NH, gpt_head_size(c));
    if (!rotary && c->rotary_base != 0)
        return error_set(e, "--rotary-base contradicts --positions %s: nothing is rotated", positions);
    if (c->norm == GPT_NORM_NONE && c->embed_norm == GPT_EMBED_NORM_ON)
        return error_set(e, "--embed-norm on contradicts --norm none: there is no norm for the embedding");
    if (!gpt_normalises(c) && c->norm_eps != 0)
        return error_set(e, "--norm-eps contradicts --norm none and --qk-norm off: nothing is normalised");
    if (c->softcap == GPT_SOFTCAP_NONE && c->softcap_limit != 0)
        return error_set(e, "--softcap-limit contradicts --softcap none: say tanh or sqrt");
    return 0;
}

GptConfig gpt_resolve(const GptConfig *config)
{
    GptConfig c = *config;
    if (c.KVH == 0)
        c.KVH = c.NH;
    if (c.F == 0)
        c.F = gpt_is_gated(&c) ? (8 * c.C + 23) / 24 * 8 : 4 * c.C;
    if (gpt_normalises(&c) && c.norm_eps == 0)
        c.norm_eps = 1e-5;
    if (c.residual_scale == 0)
        c.residual_scale = 1;
    if (c.attention_scale == 0)
        c.attention_scale = (double)(1.0f / sqrtf((float)gpt_head_size(&c))); /* in fp32, as both twins compute */
    if (c.value_scale == 0)
        c.value_scale = 1;
    if (gpt_is_rotary(&c) && c.rotary_base == 0)
        c.rotary_base = c.positions == GPT_ROTARY ? 10000 : 1024;
    if (c.softcap != GPT_SOFTCAP_NONE && c.softcap_limit == 0)
        c.softcap_limit = 15;
    return c;
}

int gpt_setup_check(const GptConfig *config, const GptSetup *s, Error *e)
{
    const GptConfig resolved = gpt_resolve(config), *c = &resolved;
    const size_t widest = 4 * c->C > gpt_fc_width(c) ? 4 * c->C : gpt_fc_width(c);
    if (s->T == 0 || s->T > c->T)
        return error_set(e, "sequences of %zu tokens do not fit a model of at most %zu", s->T, c->T);
    if (s->B == 0 || s->B > SIZE_MAX / 64 / s->T / widest / c->L || s->B * s->T > INT32_MAX)
        return error_set(e, "a micro-batch of %zu sequences is out of range", s->B);
    return 0;
}

void gpt_override(GptConfig *config, const GptOverrides *overrides)
{
    for (size_t i = 0; i < GPT_FIELDS; i++) {
        const size_t at = gpt_fields[i].offset;
        if (overrides->set[i])
            memcpy((char *)config + at, (const char *)&overrides->values + at, bytes_of(&gpt_fields[i]));
    }
}

int gpt_agrees(const GptConfig *config, const GptOverrides *overrides, const char *what, Error *e)
{
    const GptConfig model = gpt_resolve(config);
    for (size_t i = 0; i < GPT_FIELDS; i++) {
        const GptField *f = &gpt_fields[i];
        char asked[64], has[64];
        gpt_field_format(f, &overrides->values, false, asked, sizeof asked);
        gpt_field_format(f, &model, false, has, sizeof has);
        const bool less = i == GPT_FIELD_T && overrides->values.T < config->T; /* shorter sequences fit */
        if (overrides->set[i] && strcmp(asked, has) != 0 && !less)
            return error_set(e, "--%s %s contradicts the model in %s, which has %s", f->option, asked, what, has);
    }
    return 0;
}

void gpt_field_format(const GptField *f, const GptConfig *c, bool stored, char *to, size_t size)
{
    if (f->kind == GPT_SIZE) {
        snprintf(to, size, "%zu", size_of(f, c));
    } else if (f->kind == GPT_NUMBER) {
        snprintf(to, size, "%.15g", number_of(f, c));
        if (strtod(to, NULL) != number_of(f, c))
            snprintf(to, size, "%.17g", number_of(f, c));
    } else {
        snprintf(to, size, "%s", stored ? f->stored[choice_of(f, c)][0] : f->choices[choice_of(f, c)]);
    }
}

static int restore_size(const GptField *f, const char *text, GptConfig *c)
{
    char *end;
    errno = 0;
    const unsigned long long n = strtoull(text, &end, 10);
    const size_t value = (size_t)n;
    memcpy((char *)c + f->offset, &value, sizeof value);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 ? 0 : -1;
}

/* Not below 0, Inf or NaN. */
static int restore_number(const GptField *f, const char *text, GptConfig *c)
{
    char *end;
    const double value = strtod(text, &end);
    memcpy((char *)c + f->offset, &value, sizeof value);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && isfinite(value) ? 0 : -1;
}

int gpt_field_restore(const GptField *f, const char *text, GptConfig *c)
{
    if (f->kind == GPT_SIZE)
        return restore_size(f, text, c);
    if (f->kind == GPT_NUMBER)
        return restore_number(f, text, c);
    for (int i = 0; f->choices[i] != NULL; i++) {
        if (strcmp(text, f->stored[i][0]) == 0 || strcmp(text, f->stored[i][1]) == 0) {
            memcpy((char *)c + f->offset, &i, sizeof i);
            return 0;
        }
    }
    return -1;
}

void gpt_describe(const GptConfig *config, char *to, size_t size)
{
    const GptConfig c = gpt_resolve(config);
    size_t used = 0;
    to[0] = '\0';
    for (const GptField *f = gpt_fields; f < gpt_fields + GPT_FIELDS && used < size; f++) {
        GptConfig usual = c;
        char value[64], usual_value[64];
        memset((char *)&usual + f->offset, 0, bytes_of(f));
        usual = f->kind == GPT_SIZE && f->least > 0 ? usual : gpt_resolve(&usual);
        gpt_field_format(f, &c, false, value, sizeof value);
        gpt_field_format(f, &usual, false, usual_value, sizeof usual_value);
        if (strcmp(value, usual_value) != 0)
            used += (size_t)snprintf(to + used, size - used, "%s%s=%s", used > 0 ? " " : "", f->symbol, value);
    }
}
