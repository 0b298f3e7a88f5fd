/* Models as Hugging Face's classes: which one fits, config.json and back, what is refused, and how tensors are cut. */
#include "base/random.h"
#include "dev/tests/check.h"
#include "dev/tests/fixtures.h"
#include "dev/tests/folder.h"
#include "files/files.h"
#include "train/families.h"
#include "train/weights.h"

#include <stdlib.h>
#include <string.h>

#define SIZES .L = 2, .NH = 4, .C = 32, .V = 11, .T = 8
#define NO_BIAS .attention_bias = GPT_ATTENTION_BIAS_NONE, .mlp_bias = GPT_MLP_BIAS_OFF
#define LLAMA SIZES, .positions = GPT_ROTARY, .norm = GPT_RMSNORM, .activation = GPT_SWIGLU

/* class_name NULL: our own */
static const struct {
    const char *class_name;
    GptConfig config;
} models[] = {
    {"GPT2LMHeadModel", {SIZES}},
    {"GPT2LMHeadModel", {SIZES, .activation = GPT_RELU2, .F = 17, .head = GPT_UNTIED, .norm_eps = 1e-3}},
    {"GPT2LMHeadModel", {SIZES, .init = GPT_INIT_TRACK3}},
    {"GPT2LMHeadModel", {SIZES, .attention_scale = 1}},
    {NULL, {SIZES, .attention_scale = 0.5}},
    {"LlamaForCausalLM", {LLAMA, NO_BIAS, .head = GPT_UNTIED, .KVH = 2}},
    {"LlamaForCausalLM", {LLAMA, .rotary_base = 5e5, .norm_eps = 1e-6, .F = 40}},
    {"Qwen3ForCausalLM", {LLAMA, NO_BIAS, .qk_norm = GPT_QK_NORM_GAIN, .KVH = 1}},
    {NULL, {LLAMA, NO_BIAS, .qk_norm = GPT_QK_NORM_ON}},
    {NULL, {LLAMA, .attention_bias = GPT_ATTENTION_BIAS_QKV}},
    {NULL, {LLAMA, .attention_scale = 0.1}},
    {NULL, {LLAMA, NO_BIAS, .value_scale = 0.5}},
    {NULL, {LLAMA, NO_BIAS, .softcap = GPT_SOFTCAP_TANH}},
    {NULL, {LLAMA, NO_BIAS, .embed_norm = GPT_EMBED_NORM_ON}},
    {NULL, {LLAMA, NO_BIAS, .head = GPT_UNTIED_BIAS}},
    {NULL, {LLAMA, NO_BIAS, .residual_scale = 0.5}},
    {NULL, {LLAMA, NO_BIAS, .qk_norm = GPT_QK_NORM_GAIN, .residual_scale = 0.5}},
    {NULL, {SIZES, .residual_scale = 0.875}},
    {NULL, {SIZES, .norm = GPT_NORM_NONE}},
    {NULL,
     {SIZES, .positions = GPT_ROTARY, .norm = GPT_NORM_NONE, .residual_scale = 0.875, .attention_scale = 9. / 32,
      NO_BIAS, .head = GPT_UNTIED, .init = GPT_INIT_MODULA}},
    {NULL, {SIZES, .KVH = 2}},
    {NULL, {SIZES, .positions = GPT_NO_POSITIONS}},
    {NULL, {SIZES, .norm = GPT_LAYERNORM_NO_BIAS}},
    {NULL, {SIZES, .activation = GPT_SWIGLU}},
    {NULL,
     {SIZES, .positions = GPT_ROTARY_HALF, .rotary_base = 99.5, .norm = GPT_RMSNORM_NO_GAIN, .norm_eps = 1.1920929e-7,
      .embed_norm = GPT_EMBED_NORM_ON, .KVH = 1, .qk_norm = GPT_QK_NORM_ON, .attention_scale = 0.12, .value_scale = 0.7,
      .F = 33, .activation = GPT_RELU2, NO_BIAS, .head = GPT_UNTIED_BIAS, .softcap = GPT_SOFTCAP_SQRT,
      .softcap_limit = 30, .init = GPT_INIT_TRACK3_H}},
};

enum { MODELS = sizeof models / sizeof *models };

static void must(int status, const Error *e)
{
    if (status != 0) {
        fprintf(stderr, "test: %s\n", e->text);
        exit(1);
    }
}

static void check_same(const GptConfig *got, const GptConfig *want)
{
    for (size_t i = 0; i < GPT_FIELDS; i++) {
        char a[64], b[64];
        gpt_field_format(&gpt_fields[i], got, true, a, sizeof a);
        gpt_field_format(&gpt_fields[i], want, true, b, sizeof b);
        check(strcmp(a, b) == 0, "%s came back as %s, not %s", gpt_fields[i].key, a, b);
    }
}

static void test_configs(void)
{
    char path[128];
    in_folder("config.json", path);
    for (size_t i = 0; i < MODELS; i++) {
        const GptConfig config = gpt_resolve(&models[i].config);
        const char *name = family_class(family_of(&config));
        GptConfig back;
        uint64_t hash;
        Error e;
        check(name == models[i].class_name ||
                  (name != NULL && models[i].class_name != NULL && strcmp(name, models[i].class_name) == 0),
              "model %zu is %s", i, name != NULL ? name : "our own");
        must(family_write_config(path, &models[i].config, &hash, &e), &e);
        must(family_read_config(path, &back, &e), &e);
        check_same(&back, &config);
    }
}

/* A model's parameters, by place. */
static Gpt *make_model(const GptConfig *config, bool filled)
{
    Gpt *gpt;
    Error e;
    must(gpt_create(config, &(GptSetup){.B = 1, .T = config->T}, &gpt, &e), &e);
    for (const Tensor *t = gpt_table(gpt)->tensors; t < gpt_table(gpt)->tensors + gpt_table(gpt)->count; t++) {
        float *x = make_floats(tensor_size(t));
        for (size_t i = 0; i < tensor_size(t); i++)
            x[i] = filled ? (float)(t->offset + i) : -1.0f;
        gpt_write(gpt, GPT_PARAMS, t, x);
        free(x);
    }
    return gpt;
}

static void test_weights(void)
{
    char path[128];
    in_folder("model.safetensors", path);
    for (size_t i = 0; i < MODELS; i++) {
        Gpt *from = make_model(&models[i].config, true), *to = make_model(&models[i].config, false);
        uint64_t hash;
        Error e;
        must(weights_write(path, from, &hash, &e), &e);
        must(weights_read(path, to, &e), &e);
        for (const Tensor *t = gpt_table(to)->tensors; t < gpt_table(to)->tensors + gpt_table(to)->count; t++) {
            float *x = make_floats(tensor_size(t));
            gpt_read(to, GPT_PARAMS, t, x);
            check(x[0] == (float)t->offset && x[tensor_size(t) - 1] == (float)(t->offset + tensor_size(t) - 1),
                  "model %zu: %s came back as %g ..", i, t->name, (double)x[0]);
            free(x);
        }
        gpt_free(from);
        gpt_free(to);
    }
}

/* Names, rows and first elements of what Llama's files hold, of a model of 4 heads with 2 of keys. */
static void test_parts(void)
{
    static const struct {
        const char *name, *own;
        size_t rows, cols, row; /* of the first, in our tensor */
    } wanted[] = {
        {"layers.1.self_attn.q_proj.weight", "h.1.attn.c_q.weight", 32, 32, 0},
        {"layers.1.self_attn.k_proj.weight", "h.1.attn.c_kv.weight", 16, 32, 0},
        {"layers.1.self_attn.v_proj.weight", "h.1.attn.c_kv.weight", 16, 32, 16},
        {"layers.0.mlp.gate_proj.weight", "h.0.mlp.c_fc.weight", 88, 32, 0},
        {"layers.0.mlp.up_proj.weight", "h.0.mlp.c_fc.weight", 88, 32, 88},
        {"layers.0.mlp.down_proj.weight", "h.0.mlp.c_proj.weight", 32, 88, 0},
        {"embed_tokens.weight", "wte.weight", 11, 32, 0},
        {"lm_head.weight", "lm_head.weight", 11, 32, 0},
        {"norm.weight", "ln_f.weight", 1, 32, 0},
    };
    const GptConfig c = {LLAMA, NO_BIAS, .head = GPT_UNTIED, .KVH = 2};
    const GptConfig resolved = gpt_resolve(&c);
    GptTable table;
    Tensor *parts;
    size_t count;
    Error e;
    must(gpt_table_make(&c, &table, &e), &e);
    must(family_tensors(family_of(&resolved), &c, &table, &parts, &count, &e), &e);
    check(count == 2 * 9 + 3, "%zu tensors", count);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        const Tensor *own = gpt_table_find(&table, wanted[i].own), *part = NULL;
        for (size_t k = 0; k < count; k++)
            part = strcmp(parts[k].name, wanted[i].name) == 0 ? &parts[k] : part;
        if (check(part != NULL && own != NULL, "no %s", wanted[i].name))
            check(part->rows == wanted[i].rows && part->cols == wanted[i].cols && !part->transposed &&
                      part->offset == own->offset + wanted[i].row * wanted[i].cols,
                  "%s: %zu x %zu at %zu", part->name, part->rows, part->cols, part->offset - own->offset);
    }
    free(parts);
    gpt_table_free(&table);
}

/* Edits of a config.json; word NULL: it is accepted. */
typedef struct Edit {
    const char *from, *to, *word;
} Edit;

static void check_edits(const GptConfig *config, const Edit *edits, size_t count)
{
    char path[128], *text, edited[2048];
    size_t size;
    uint64_t hash;
    Error e;
    in_folder("config.json", path);
    must(family_write_config(path, config, &hash, &e), &e);
    must(files_read_all(path, sizeof edited, &text, &size, &e), &e);
    for (size_t i = 0; i < count; i++) {
        const char *found = strstr(text, edits[i].from);
        GptConfig back;
        if (!check(found != NULL, "there is no %s to replace", edits[i].from))
            continue;
        snprintf(edited, sizeof edited, "%.*s%s%s", (int)(found - text), text, edits[i].to,
                 found + strlen(edits[i].from));
        must(files_write_atomic(path, edited, strlen(edited), &e), &e);
        e.text[0] = '\0';
        const int status = family_read_config(path, &back, &e);
        if (edits[i].word == NULL)
            check(status == 0, "%s is refused: %s", edits[i].to, e.text);
        else
            check(status == -1 && strstr(e.text, edits[i].word) != NULL && strstr(e.text, path) != NULL,
                  "%s: status %d, %s", edits[i].to, status, e.text);
    }
    free(text);
}

static void test_gpt2(void)
{
    static const Edit edits[] = {
        {"gelu_new", "gelu_pytorch_tanh", NULL},
        {"gelu_new", "gelu", NULL},
        {"gelu_new", "relu2", NULL},
        {"gelu_new", "swish", NULL},
        {"\"n_inner\": 16", "\"n_inner\": null", NULL},
        {"  \"n_inner\": 16,\n", "", NULL},
        {"\"n_inner\": 16", "\"n_inner\": 17", NULL},
        {"1e-05", "1e-06", NULL},
        {"embeddings\": true", "embeddings\": false", NULL},
        {"\"gelu_new\"", "\"relu\"", "activation_function"},
        {"\"n_inner\": 16", "\"n_inner\": 16.5", "n_inner"},
        {"embeddings\": true", "embeddings\": 1", "tie_word_embeddings"},
        {"\"gpt2\"", "\"gptj\"", "model_type"},
        {"1e-05", "-1e-05", "layer_norm_epsilon"},
        {"1e-05", "\"1e-05\"", "layer_norm_epsilon"},
        {"\"n_head\": 2", "\"n_head\": 3", "heads"},
        {"\"n_head\": 2", "\"n_head\": 0", "n_head is 0"},
        {"\"n_layer\": 2", "\"n_layers\": 2", "n_layer"},
        {"\"n_layer\": 2", "\"n_layer\": 2.5", "n_layer"},
        {"\"n_layer\": 2", "\"n_layer\": -2", "n_layer"},
        {"\"n_layer\": 2", "\"n_layer\": 2, \"n_layer\": 2", "n_layer"},
        {"\"n_embd\": 4", "\"n_embd\": \"4\"", "n_embd"},
        {"\"n_embd\": 4", "\"n_embd\": 18446744073709551615", "n_embd is 18446744073709551615"},
        {"\"vocab_size\": 11", "\"vocab_size\": 18446744073709551616", "vocab_size"},
        {"{", "{\"scale_attn_by_inverse_layer_idx\": true,", "scale_attn_by_inverse_layer_idx"},
        {"{", "{\"reorder_and_upcast_attn\": true,", NULL}, /* in PyTorch's half types alone it changes anything */
        {"weights\": true", "weights\": false", NULL},
        {"weights\": true", "weights\": \"no\"", "scale_attn_weights"},
        {"{", "{\"add_cross_attention\": true,", "add_cross_attention"},
        {"\"n_inner\": 16", "\"n_inner\": 0", "n_inner is 0"},
        {"1e-05", "0", "layer_norm_epsilon is 0"},
        {"weights\": true", "weights\": \"true\"", "scale_attn_weights is \"true\""},
        {"embeddings\": true", "embeddings\": \"false\"", "tie_word_embeddings is \"false\""},
        {"\"gpt2\"", "5", "model_type is 5"},
        {"\"gpt2\"", "[\"gpt2\"]", "model_type is a list"},
        {"\"gpt2\"", "null", NULL},
        {"}", "", "config.json"},
    };
    check_edits(&(GptConfig){.L = 2, .NH = 2, .C = 4, .V = 11, .T = 8}, edits, sizeof edits / sizeof *edits);
}

/* Scores that are not divided by the root of a head's channels are multiplied by 1. */
static void test_unscaled(void)
{
    char path[128];
    GptConfig scaled, unscaled;
    Error e;
    in_folder("config.json", path);
    static const char sizes[] = "\"n_layer\": 1, \"n_head\": 2, \"n_embd\": 18, \"vocab_size\": 5, \"n_positions\": 8}";
    char text[512];
    snprintf(text, sizeof text, "{\"model_type\": \"gpt2\", \"scale_attn_weights\": false, %s", sizes);
    must(files_write_atomic(path, text, strlen(text), &e), &e);
    must(family_read_config(path, &unscaled, &e), &e);
    snprintf(text, sizeof text, "{\"model_type\": \"gpt2\", %s", sizes);
    must(files_write_atomic(path, text, strlen(text), &e), &e);
    must(family_read_config(path, &scaled, &e), &e);
    check(unscaled.attention_scale == 1, "unscaled: %g", unscaled.attention_scale);
    check_close(scaled.attention_scale, 1.0 / 3, 1e-7, "scaled");
}

static void test_llama(void)
{
    static const Edit edits[] = {
        {"\"rope_theta\": 10000", "\"rope_parameters\": {\"rope_theta\": 500.5, \"rope_type\": \"default\"}", NULL},
        {"\"rope_theta\": 10000", "\"rope_scaling\": null", NULL},
        {"\"rope_theta\": 10000", "\"rope_theta\": 500.5, \"rope_parameters\": {\"rope_theta\": 77}",
         "rope_theta of rope_parameters is not that of the file itself"},
        {"\"rope_theta\": 10000", "\"rope_theta\": 500.5, \"rope_scaling\": {\"rope_theta\": 500.5}", NULL},
        {"\"rope_theta\": 10000", "\"rope_scaling\": \"linear\"", "rope_scaling is \"linear\", which is not an object"},
        {"\"rope_theta\": 10000", "\"rope_theta\": 0", "rope_theta is 0"},
        {"1e-05", "0.0", "rms_norm_eps is 0.0"},
        {"\"num_key_value_heads\": 2", "\"num_key_value_heads\": 0", "num_key_value_heads is 0"},
        {"{", "{\"layer_types\": [\"full_attention\", \"sliding_attention\"],",
         "layer_types has \"sliding_attention\""},
        {"{", "{\"layer_types\": [\"full_attention\", \"full_attention\"],", NULL},
        {"\"head_dim\": 8", "\"head_dim\": null", NULL},
        {"\"num_key_value_heads\": 2", "\"num_key_value_heads\": null", NULL},
        {"\"attention_bias\": false,", "", NULL},
        {"\"rope_theta\": 10000", "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}",
         "rope_scaling of type \"linear\""},
        {"\"rope_theta\": 10000", "\"rope_parameters\": {\"rope_type\": \"yarn\"}", "rope_parameters of type \"yarn\""},
        {"\"rope_theta\": 10000", "\"rope_theta\": 0.5", "rope_theta"},
        {"\"head_dim\": 8", "\"head_dim\": 6", "head_dim is 6"},
        {"\"head_dim\": 8", "\"head_dim\": \"8\"", "head_dim"},
        {"\"silu\"", "\"gelu\"", "hidden_act is \"gelu\""},
        {"\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3", "kv-heads"},
        {"\"intermediate_size\"", "\"width\"", "intermediate_size"},
        {"\"mlp_bias\": false", "\"mlp_bias\": \"no\"", "mlp_bias"},
        {"\"llama\"", "\"llama4\"", "model_type is \"llama4\""},
    };
    check_edits(&(GptConfig){LLAMA, NO_BIAS, .KVH = 2}, edits, sizeof edits / sizeof *edits);
}

static void test_own(void)
{
    static const Edit edits[] = {
        {"\"logit_softcap\": \"sqrt\"", "\"logit_softcap\": \"none\"", "softcap"},
        {"\"logit_softcap\": \"sqrt\"", "\"logit_softcap\": \"hard\"", "logit_softcap is \"hard\""},
        {"\"position_encoding\": \"none\"", "\"position_encoding\": 3", "position_encoding"},
        {"\"qk_norm\": \"on\",", "", "\"qk_norm\" is missing"},
        {"\"qk_norm\": \"on\"", "\"qk_norms\": \"on\"", "qk_norms is unknown"},
        {"1e-05", "0", "layer_norm_epsilon is 0, and the model needs it"},
        {"\"residual_scale\": 1,", "", NULL},
        {"\"residual_scale\": 1,", "\"residual_scale\": 2,", "residual_scale is 2"},
        {"\"n_embd\": 32,", "", "n_embd"},
    };
    check_edits(
        &(GptConfig){SIZES, .positions = GPT_NO_POSITIONS, .softcap = GPT_SOFTCAP_SQRT, .qk_norm = GPT_QK_NORM_ON},
        edits, sizeof edits / sizeof *edits);
}

int main(void)
{
    if (!folder_begin("families"))
        return 1;
    check_run("config.json and back", test_configs);
    check_run("weights and back", test_weights);
    check_run("the parts of Llama's tensors", test_parts);
    check_run("config.json of GPT-2's, edited", test_gpt2);
    check_run("scale_attn_weights", test_unscaled);
    check_run("config.json of Llama's, edited", test_llama);
    check_run("config.json of our own, edited", test_own);
    folder_end();
    return check_summary();
}
