#include "train/families.h"

#include "base/hash.h"
#include "files/files.h"
#include "files/json_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { JSON_LIMIT = 1 << 24 };

/* A field of the configuration under the family's key. otherwise: its value where the key is absent or null; NULL: the
 * key must be there; "": the default of gpt_resolve. */
typedef struct Key {
    const char *key;
    GptFieldId field;
    const char *otherwise;
} Key;

/* A field that is a boolean in the family's files. */
typedef struct Switch {
    const char *key;
    GptFieldId field;
    const char *when_true, *when_false; /* as gpt_field_restore reads it; "0": the default of gpt_resolve */
    bool otherwise;
} Switch;

enum { KEYS_MOST = 16, SWITCHES_MOST = 4, FACTS_MOST = 12 };

struct Family {
    const char *model_type, *class_name, *prefix;
    GptConfig base; /* the choices that all its models share */
    Key keys[KEYS_MOST];
    Switch switches[SWITCHES_MOST];
    const char *facts[FACTS_MOST][2];  /* keys and JSON values that are written */
    const char *wanted[FACTS_MOST][2]; /* that must hold where they are present */
    bool split;      /* queries, keys, values, gates are tensors of their own; nothing is transposed */
    double head_dim; /* channels of a head where the file does not say; 0: the width by the heads */
};

/* clang-format off */
#define SPLIT_KEYS \
    {"num_hidden_layers", GPT_FIELD_L, NULL}, \
    {"num_attention_heads", GPT_FIELD_NH, NULL}, \
    {"hidden_size", GPT_FIELD_C, NULL}, \
    {"vocab_size", GPT_FIELD_V, NULL}, \
    {"max_position_embeddings", GPT_FIELD_T, NULL}, \
    {"num_key_value_heads", GPT_FIELD_KVH, ""}, \
    {"intermediate_size", GPT_FIELD_F, NULL}, \
    {"rms_norm_eps", GPT_FIELD_norm_eps, "1e-6"}, \
    {"rope_theta", GPT_FIELD_rotary_base, "10000"}, \
    {"initialization", GPT_FIELD_init, ""}
/* clang-format on */

static const Family families[] = {
    {.model_type = "gpt2",
     .class_name = "GPT2LMHeadModel",
     .prefix = "transformer.",
     .keys = {{"n_layer", GPT_FIELD_L, NULL},
              {"n_head", GPT_FIELD_NH, NULL},
              {"n_embd", GPT_FIELD_C, NULL},
              {"vocab_size", GPT_FIELD_V, NULL},
              {"n_positions", GPT_FIELD_T, NULL},
              {"n_inner", GPT_FIELD_F, ""},
              {"activation_function", GPT_FIELD_activation, "gelu_new"},
              {"layer_norm_epsilon", GPT_FIELD_norm_eps, ""},
              {"initialization", GPT_FIELD_init, ""}},
     .switches = {{"tie_word_embeddings", GPT_FIELD_head, "tied", "untied", true},
                  {"scale_attn_weights", GPT_FIELD_attention_scale, "0", "1", true}},
     .facts = {{"initializer_range", "0.02"}, {"attn_pdrop", "0.0"}, {"embd_pdrop", "0.0"}, {"resid_pdrop", "0.0"}},
     .wanted = {{"scale_attn_by_inverse_layer_idx", "false"}, {"add_cross_attention", "false"}}},
    {.model_type = "llama",
     .class_name = "LlamaForCausalLM",
     .prefix = "model.",
     .base = {.positions = GPT_ROTARY, .norm = GPT_RMSNORM, .activation = GPT_SWIGLU},
     .keys = {SPLIT_KEYS},
     .switches = {{"tie_word_embeddings", GPT_FIELD_head, "tied", "untied", false},
                  {"attention_bias", GPT_FIELD_attention_bias, "all", "none", false},
                  {"mlp_bias", GPT_FIELD_mlp_bias, "on", "off", false}},
     .facts = {{"hidden_act", "\"silu\""}, {"attention_dropout", "0.0"}, {"initializer_range", "0.02"}},
     .wanted = {{"hidden_act", "\"silu\""}, {"pretraining_tp", "1"}},
     .split = true},
    {.model_type = "qwen3",
     .class_name = "Qwen3ForCausalLM",
     .prefix = "model.",
     .base = {.positions = GPT_ROTARY,
              .norm = GPT_RMSNORM,
              .activation = GPT_SWIGLU,
              .qk_norm = GPT_QK_NORM_GAIN,
              .mlp_bias = GPT_MLP_BIAS_OFF},
     .head_dim = 128,
     .keys = {SPLIT_KEYS},
     .switches = {{"tie_word_embeddings", GPT_FIELD_head, "tied", "untied", false},
                  {"attention_bias", GPT_FIELD_attention_bias, "all", "none", false}},
     .facts = {{"hidden_act", "\"silu\""}, {"attention_dropout", "0.0"}, {"initializer_range", "0.02"}},
     .wanted = {{"hidden_act", "\"silu\""}, {"use_sliding_window", "false"}},
     .split = true},
    {.model_type = "train_gpt", .prefix = "transformer."},
};

enum { FAMILIES = sizeof families / sizeof *families, OWN = FAMILIES - 1 };

static bool is_own(const Family *family) { return family == &families[OWN]; }

const char *family_class(const Family *family) { return family->class_name; }
const char *family_prefix(const Family *family) { return family->prefix; }

/* Copies a field that the family's files have; false if they cannot say what it is. */
static bool copy_field(GptConfig *to, const GptConfig *from, GptFieldId field)
{
    char value[64];
    gpt_field_format(&gpt_fields[field], from, true, value, sizeof value);
    return gpt_field_restore(&gpt_fields[field], value, to) == 0;
}

/* Whether a field is what a switch makes of it. */
static bool is_switched(const Switch *s, bool on, const GptConfig *config)
{
    const GptField *f = &gpt_fields[s->field];
    GptConfig c = *config;
    char want[64], got[64];
    gpt_field_format(f, config, true, want, sizeof want);
    gpt_field_restore(f, on ? s->when_true : s->when_false, &c);
    c = gpt_resolve(&c);
    gpt_field_format(f, &c, true, got, sizeof got);
    return strcmp(want, got) == 0;
}

static bool fits(const Family *family, const GptConfig *config)
{
    GptConfig c = family->base;
    bool same = family->split || !gpt_is_gated(config);
    for (const Key *k = family->keys; k->key != NULL; k++)
        same = copy_field(&c, config, k->field) && same;
    for (const Switch *s = family->switches; s->key != NULL; s++)
        same =
            same && (is_switched(s, true, config) || is_switched(s, false, config)) && copy_field(&c, config, s->field);
    c = gpt_resolve(&c);
    for (const GptField *f = gpt_fields; f < gpt_fields + GPT_FIELDS && same; f++) {
        char want[64], got[64];
        gpt_field_format(f, config, true, want, sizeof want);
        gpt_field_format(f, &c, true, got, sizeof got);
        same = strcmp(want, got) == 0;
    }
    return same;
}

const Family *family_of(const GptConfig *config)
{
    const Family *family = families;
    while (!is_own(family) && !fits(family, config))
        family++;
    return family;
}

/* --------------------------------------------------------------------------------------------------------------
 * Tensors
 */

/* A kind of ours, and the kinds that it consists of in files, each with its share of the rows (or of a vector). */
enum { PARTS_MOST = 3 };
static const struct Split {
    const char *own, *parts[PARTS_MOST];
} splits[] = {
    {"wte.weight", {"embed_tokens.weight"}},
    {"attn.c_attn.weight", {"self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"}},
    {"attn.c_q.weight", {"self_attn.q_proj.weight"}},
    {"attn.c_kv.weight", {"self_attn.k_proj.weight", "self_attn.v_proj.weight"}},
    {"attn.c_attn.bias", {"self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias"}},
    {"attn.q_norm.weight", {"self_attn.q_norm.weight"}},
    {"attn.k_norm.weight", {"self_attn.k_norm.weight"}},
    {"attn.c_proj.weight", {"self_attn.o_proj.weight"}},
    {"attn.c_proj.bias", {"self_attn.o_proj.bias"}},
    {"mlp.c_fc.weight", {"mlp.gate_proj.weight", "mlp.up_proj.weight"}},
    {"mlp.c_fc.bias", {"mlp.gate_proj.bias", "mlp.up_proj.bias"}},
    {"mlp.c_proj.weight", {"mlp.down_proj.weight"}},
    {"mlp.c_proj.bias", {"mlp.down_proj.bias"}},
    {"ln_1.weight", {"input_layernorm.weight"}},
    {"ln_2.weight", {"post_attention_layernorm.weight"}},
    {"ln_f.weight", {"norm.weight"}},
    {"lm_head.weight", {"lm_head.weight"}},
};

static const struct Split *find_split(const char *kind)
{
    for (size_t i = 0; i < sizeof splits / sizeof *splits; i++)
        if (strcmp(splits[i].own, kind) == 0)
            return &splits[i];
    return NULL;
}

/* Rows (of a vector: elements) of part i of n: of queries, keys and values, or of equal parts. */
static size_t part_size(const GptConfig *c, size_t whole, size_t i, size_t n)
{
    return n < 3 ? whole / n : i == 0 ? c->C : gpt_key_width(c);
}

/* Adds the parts of a tensor of ours to the list. */
static void add_parts(const GptConfig *c, const Tensor *t, Tensor *list, size_t *count)
{
    size_t layer = 0, n = 0, at = 0;
    int end = 0;
    const bool in_layer = sscanf(t->name, "h.%zu.%n", &layer, &end) == 1 && end > 0;
    const struct Split *split = find_split(t->name + (in_layer ? end : 0));
    while (n < PARTS_MOST && split->parts[n] != NULL)
        n++;
    for (size_t i = 0; i < n; i++) {
        Tensor *part = &list[(*count)++];
        const bool vector = t->rows == 1;
        const size_t size = part_size(c, vector ? t->cols : t->rows, i, n);
        *part = *t;
        part->transposed = false;
        part->rows = vector ? 1 : size;
        part->cols = vector ? size : t->cols;
        part->offset += at;
        at += tensor_size(part);
        if (in_layer)
            snprintf(part->name, sizeof part->name, "layers.%zu.%s", layer, split->parts[i]);
        else
            snprintf(part->name, sizeof part->name, "%s", split->parts[i]);
    }
}

int family_tensors(const Family *family, const GptConfig *config, const GptTable *table, Tensor **tensors,
                   size_t *count, Error *e)
{
    const GptConfig c = gpt_resolve(config);
    *count = 0;
    *tensors = calloc(PARTS_MOST * table->count, sizeof **tensors);
    if (*tensors == NULL)
        return error_set(e, "out of memory for a list of tensors");
    for (const Tensor *t = table->tensors; t < table->tensors + table->count; t++) {
        if (family->split)
            add_parts(&c, t, *tensors, count);
        else
            (*tensors)[(*count)++] = *t;
    }
    return 0;
}

/* --------------------------------------------------------------------------------------------------------------
 * config.json
 */

static void write_field(FILE *to, const char *key, const GptField *f, const GptConfig *c)
{
    const char *quote = f->kind == GPT_CHOICE ? "\"" : "";
    char value[64];
    gpt_field_format(f, c, true, value, sizeof value);
    fprintf(to, "  \"%s\": %s%s%s,\n", key, quote, value, quote);
}

static void write_keys(FILE *to, const Family *family, const GptConfig *c)
{
    for (const Key *k = family->keys; k->key != NULL; k++)
        write_field(to, k->key, &gpt_fields[k->field], c);
    for (const Switch *s = family->switches; s->key != NULL; s++)
        fprintf(to, "  \"%s\": %s,\n", s->key, is_switched(s, true, c) ? "true" : "false");
    for (size_t i = 0; family->facts[i][0] != NULL; i++)
        fprintf(to, "  \"%s\": %s,\n", family->facts[i][0], family->facts[i][1]);
    if (family->split)
        fprintf(to, "  \"head_dim\": %zu,\n", gpt_head_size(c));
    for (const GptField *f = gpt_fields; f < gpt_fields + GPT_FIELDS && is_own(family); f++)
        write_field(to, f->key, f, c);
}

int family_write_config(const char *path, const GptConfig *config, uint64_t *hash, Error *e)
{
    const GptConfig c = gpt_resolve(config);
    const Family *family = family_of(&c);
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);
    if (to == NULL)
        return error_set(e, "out of memory");
    fprintf(to, "{\n  \"architectures\": [\"%s\"],\n  \"model_type\": \"%s\",\n",
            is_own(family) ? "Gpt" : family->class_name, family->model_type);
    write_keys(to, family, &c);
    fprintf(to, "  \"torch_dtype\": \"float32\"\n}\n");
    int status = fclose(to) != 0 || text == NULL ? error_set(e, "out of memory") : 0;
    if (status == 0) {
        *hash = hash_bytes(text, size);
        status = files_write_atomic(path, text, size, e);
    }
    free(text);
    return status;
}

/* A value as shown in messages, in `buffer`. */
static const char *shown(const Json *value, char buffer[64])
{
    if (value->type == JSON_BOOL)
        return value->boolean ? "true" : "false";
    if (value->text == NULL)
        return value->type == JSON_NULL ? "null" : "a list or object";
    snprintf(buffer, 64, value->type == JSON_STRING ? "\"%.60s\"" : "%.60s", value->text);
    return buffer;
}

static bool is_absent(const Json *value) { return value == NULL || value->type == JSON_NULL; }

/* What must hold for the weights to mean what train_gpt computes. */
static int check_wanted(const char *path, const Json *json, const Family *family, Error *e)
{
    char is[64];
    for (size_t i = 0; family->wanted[i][0] != NULL; i++) {
        const char *key = family->wanted[i][0], *want = family->wanted[i][1];
        const Json *value = json_get(json, key);
        if (!is_absent(value) && strcmp(shown(value, is), want) != 0)
            return error_set(e, "%s: %s is %s; only %s is supported", path, key, shown(value, is), want);
    }
    return 0;
}

/* Rotary positions may stand in an object of their own, and be stretched in ways that are not supported. */
static int check_rotary_object(const char *path, const char *key, const Json *object, Error *e)
{
    char is[64];
    const Json *type = json_get(object, "rope_type");
    if (is_absent(object))
        return 0;
    if (object->type != JSON_OBJECT)
        return error_set(e, "%s: %s is %s, which is not an object", path, key, shown(object, is));
    if (type == NULL)
        type = json_get(object, "type");
    if (type != NULL && strcmp(shown(type, is), "\"default\"") != 0)
        return error_set(e, "%s: %s of type %s is not supported", path, key, shown(type, is));
    return 0;
}

/* The rotary base stands at one of three places; *value is NULL if it is at none. */
static int find_rotary_base(const char *path, const Json *json, const Json **value, Error *e)
{
    static const char *const objects[] = {"rope_scaling", "rope_parameters", NULL};
    const char *where = NULL;
    *value = NULL;
    for (size_t i = 0; i < sizeof objects / sizeof *objects; i++) {
        const Json *place = objects[i] != NULL ? json_get(json, objects[i]) : json;
        if (objects[i] != NULL && check_rotary_object(path, objects[i], place, e) != 0)
            return -1;
        const Json *found = is_absent(place) ? NULL : json_get(place, "rope_theta");
        if (is_absent(found))
            continue;
        if (*value != NULL && ((*value)->type != found->type || (*value)->number != found->number))
            return error_set(e, "%s: rope_theta of %s is not that of %s", path, where,
                             objects[i] != NULL ? objects[i] : "the file itself");
        *value = found;
        where = objects[i];
    }
    return 0;
}

/* Layers whose attention sees less than everything before. */
static int check_layer_types(const char *path, const Json *json, Error *e)
{
    char is[64];
    const Json *types = json_get(json, "layer_types");
    for (const Json *type = is_absent(types) ? NULL : types->first; type != NULL; type = type->next)
        if (strcmp(shown(type, is), "\"full_attention\"") != 0)
            return error_set(e, "%s: layer_types has %s; only \"full_attention\" is supported", path, shown(type, is));
    return 0;
}

/* Heads may have another size than the width divided by their number. */
static int check_head_size(const char *path, const Json *json, const Family *family, const GptConfig *c, Error *e)
{
    char is[64];
    const Json *value = json_get(json, "head_dim");
    double size = family->head_dim > 0 ? family->head_dim : (double)gpt_head_size(c); /* where it is absent */
    if (family->split && !is_absent(value) && !json_number(value, &size))
        return error_set(e, "%s: head_dim is %s, which is not a number", path, shown(value, is));
    if (family->split && size != (double)gpt_head_size(c))
        return error_set(e, "%s: head_dim is %g; only hidden_size / num_attention_heads = %zu is supported", path, size,
                         gpt_head_size(c));
    return 0;
}

/* Whether the field's number is one that its option takes: a 0 in a file is no default. */
static bool is_in_range(const GptField *f, const GptConfig *c)
{
    const char *member = (const char *)c + f->offset;
    if (f->kind == GPT_CHOICE)
        return true;
    const double number = f->kind == GPT_SIZE ? (double)*(const size_t *)member : *(const double *)member;
    return number >= (f->kind == GPT_SIZE && f->least < 1 ? 1 : f->least) && number <= f->most;
}

static int read_key(const char *path, const Json *json, const Key *k, GptConfig *c, Error *e)
{
    char is[64];
    const GptField *f = &gpt_fields[k->field];
    const Json *value = json_get(json, k->key);
    if (strcmp(k->key, "rope_theta") == 0 && find_rotary_base(path, json, &value, e) != 0)
        return -1;
    if (is_absent(value)) {
        if (k->otherwise == NULL)
            return error_set(e, "%s: \"%s\" is missing", path, k->key);
        return *k->otherwise == '\0' ? 0 : gpt_field_restore(f, k->otherwise, c);
    }
    if (value->type != (f->kind == GPT_CHOICE ? JSON_STRING : JSON_NUMBER) || gpt_field_restore(f, value->text, c) != 0)
        return error_set(e, "%s: %s is %s, which is %s", path, k->key, shown(value, is),
                         f->kind == GPT_SIZE     ? "not a whole number"
                         : f->kind == GPT_NUMBER ? "not a positive number"
                                                 : "not supported");
    if (!is_in_range(f, c))
        return error_set(e, "%s: %s is %s; it must be from %g to %.15g", path, k->key, shown(value, is),
                         f->kind == GPT_SIZE && f->least < 1 ? 1 : f->least, f->most);
    return 0;
}

static int read_switch(const char *path, const Json *json, const Switch *s, GptConfig *c, Error *e)
{
    char is[64];
    const Json *value = json_get(json, s->key);
    if (!is_absent(value) && value->type != JSON_BOOL)
        return error_set(e, "%s: %s is %s, which is not true or false", path, s->key, shown(value, is));
    const bool is_true = is_absent(value) ? s->otherwise : value->boolean;
    return gpt_field_restore(&gpt_fields[s->field], is_true ? s->when_true : s->when_false, c);
}

/* Keys of our own files that are no fields. */
static bool is_remark(const char *key)
{
    static const char *const remarks[] = {"architectures", "model_type", "torch_dtype", "dtype",
                                          "transformers_version"};
    for (size_t i = 0; i < sizeof remarks / sizeof *remarks; i++)
        if (strcmp(key, remarks[i]) == 0)
            return true;
    return false;
}

static const GptField *field_of_key(const char *key)
{
    for (const GptField *f = gpt_fields; f < gpt_fields + GPT_FIELDS; f++)
        if (strcmp(key, f->key) == 0)
            return f;
    return NULL;
}

/* Our own files have every field, resolved, and nothing that this version does not know. A field that the model has no
 * use for is 0. */
static int read_own(const char *path, const Json *json, GptConfig *c, Error *e)
{
    for (const Json *member = json->first; member != NULL; member = member->next)
        if (field_of_key(member->key) == NULL && !is_remark(member->key))
            return error_set(e, "%s: %s is unknown; was it written by a later train_gpt?", path, member->key);
    for (size_t i = 0; i < GPT_FIELDS; i++) {
        const Json *value = json_get(json, gpt_fields[i].key);
        const bool idle = value != NULL && value->type == JSON_NUMBER && value->number == 0;
        const char *otherwise = i == GPT_FIELD_residual_scale ? "" : NULL; /* older files had none */
        if (!idle && read_key(path, json, &(Key){gpt_fields[i].key, (GptFieldId)i, otherwise}, c, e) != 0)
            return -1;
    }
    return 0;
}

/* That no field which the model uses was left at 0. */
static int check_idle(const char *path, const Json *json, const GptConfig *c, Error *e)
{
    for (const GptField *f = gpt_fields; f < gpt_fields + GPT_FIELDS; f++) {
        const Json *value = json_get(json, f->key);
        char now[64];
        gpt_field_format(f, c, true, now, sizeof now);
        if (value != NULL && value->type == JSON_NUMBER && value->number == 0 && strcmp(now, "0") != 0)
            return error_set(e, "%s: %s is 0, and the model needs it", path, f->key);
    }
    return 0;
}

/* NULL: unknown. Older files of ours, which were GPT-2's, named none. */
static const Family *find_family(const Json *json)
{
    const Json *type = json_get(json, "model_type");
    for (const Family *family = families; family < families + FAMILIES && !is_absent(type); family++)
        if (json_string(type) != NULL && strcmp(json_string(type), family->model_type) == 0)
            return family;
    return is_absent(type) ? families : NULL;
}

static int read_fields(const char *path, const Json *json, GptConfig *c, Error *e)
{
    char is[64];
    Error fault;
    if (json->type != JSON_OBJECT)
        return error_set(e, "%s: is no object", path);
    const Family *family = find_family(json);
    if (family == NULL)
        return error_set(e, "%s: model_type is %s; only gpt2, llama, qwen3 and train_gpt are supported", path,
                         shown(json_get(json, "model_type"), is));
    *c = family->base;
    int status = check_wanted(path, json, family, e);
    if (status == 0 && family->split)
        status = check_layer_types(path, json, e);
    for (const Key *k = family->keys; k->key != NULL && status == 0; k++)
        status = read_key(path, json, k, c, e);
    for (const Switch *s = family->switches; s->key != NULL && status == 0; s++)
        status = read_switch(path, json, s, c, e);
    if (status == 0 && is_own(family))
        status = read_own(path, json, c, e);
    if (status == 0 && gpt_config_check(c, &fault) != 0)
        status = error_set(e, "%s: %s", path, fault.text);
    if (status != 0)
        return status;
    *c = gpt_resolve(c);
    return is_own(family) ? check_idle(path, json, c, e) : check_head_size(path, json, family, c, e);
}

int family_read_config(const char *path, GptConfig *config, Error *e)
{
    Json *json;
    if (json_file_read(path, JSON_LIMIT, &json, e) != 0)
        return -1;
    const int status = read_fields(path, json, config, e);
    json_free(json);
    return status;
}
