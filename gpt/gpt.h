#ifndef GPT_GPT_H
#define GPT_GPT_H

#include "base/error.h"
#include "base/random.h"
#include "base/tensor.h"

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The model's interface: what the training program and the tests see of GPT-2. train_gpt.c implements it for the
 * CPU, its CUDA twin under the same names for a GPU. The arenas may lie in GPU memory: only the twin and optim/
 * dereference them; gpt_read and gpt_write copy.
 */

/* --------------------------------------------------------------------------------------------------------------
 * gpt_config.c: what a model is
 */

/*
 * The choices, as lists: constant, the option's value (which is the value in config.json too, unless another follows).
 * The first of each is classic GPT-2's (Radford et al. 2019).
 */
/* clang-format off */
/* How tokens know their position. Rotary (Su et al. 2021): channel i of a head's q and k is paired with i + HS/2 and
 * turned by position x base^(-2i/HS), as in Llama; half: as in modded-nanogpt, the first HS/4 pairs by -position x
 * base^(-i/(HS/4 - 1)), the others not at all. */
#define GPT_POSITION_FORMS(A) \
    A(GPT_LEARNED,      "learned") \
    A(GPT_ROTARY,       "rotary") \
    A(GPT_ROTARY_HALF,  "rotary-half") \
    A(GPT_NO_POSITIONS, "none")

/* LayerNorm (Ba et al. 2016), RMSNorm (Zhang and Sennrich 2019); without gain RMSNorm has no parameters. none: layers
 * and the head read the residual stream as it is. */
#define GPT_NORMS(A) \
    A(GPT_LAYERNORM,         "layernorm") \
    A(GPT_LAYERNORM_NO_BIAS, "layernorm-no-bias") \
    A(GPT_RMSNORM,           "rmsnorm") \
    A(GPT_RMSNORM_NO_GAIN,   "rmsnorm-no-gain") \
    A(GPT_NORM_NONE,         "none")

#define GPT_EMBED_NORMS(A) \
    A(GPT_EMBED_NORM_OFF, "off") \
    A(GPT_EMBED_NORM_ON,  "on")

/* RMSNorm of each head's q and k, before any rotation (Dehghani et al. 2023); gain: HS of q and HS of k, as in
 * Qwen3. */
#define GPT_QK_NORMS(A) \
    A(GPT_QK_NORM_OFF,  "off") \
    A(GPT_QK_NORM_ON,   "on") \
    A(GPT_QK_NORM_GAIN, "gain")

#define GPT_ATTENTION_BIASES(A) \
    A(GPT_ATTENTION_BIAS_ALL,  "all") \
    A(GPT_ATTENTION_BIAS_QKV,  "qkv") \
    A(GPT_ATTENTION_BIAS_NONE, "none")

#define GPT_MLP_BIASES(A) \
    A(GPT_MLP_BIAS_ON,  "on") \
    A(GPT_MLP_BIAS_OFF, "off")

/* The MLP's nonlinearity. Then come another name for it in config.json, its function in both twins (<function>_slope is
 * the derivative), and whether it is applied to one half of the MLP's channels and multiplies the other. GELU is its
 * tanh form, as in GPT-2; the squared ReLU is that of So et al. 2021 (Primer), SwiGLU that of Shazeer 2020. */
#define GPT_ACTIVATIONS(A) \
    A(GPT_GELU,       "gelu",       "gelu_new", "gelu_pytorch_tanh", gelu,       false) \
    A(GPT_GELU_EXACT, "gelu-exact", "gelu",     "gelu_python",       gelu_exact, false) \
    A(GPT_RELU2,      "relu2",      "relu2",    "relu2",             relu2,      false) \
    A(GPT_SILU,       "silu",       "silu",     "swish",             silu,       false) \
    A(GPT_SWIGLU,     "swiglu",     "swiglu",   "swiglu",            silu,       true)

/* The classifier: the token embedding itself, or a matrix of its own. */
#define GPT_HEADS(A) \
    A(GPT_TIED,        "tied") \
    A(GPT_UNTIED,      "untied") \
    A(GPT_UNTIED_BIAS, "untied-bias")

/* Of logits z to +-c: c tanh(z/c), as in Gemma 2, or c z / sqrt(z^2 + c^2), as in modded-nanogpt. */
#define GPT_SOFTCAPS(A) \
    A(GPT_SOFTCAP_NONE, "none") \
    A(GPT_SOFTCAP_TANH, "tanh") \
    A(GPT_SOFTCAP_SQRT, "sqrt")

/* Initialisations; see gpt_init.c. */
#define GPT_INITS(A) \
    A(GPT_INIT_GPT2,      "gpt2") \
    A(GPT_INIT_NORMAL,    "normal") \
    A(GPT_INIT_RECORD_2,  "record-2") \
    A(GPT_INIT_RECORD_5,  "record-5") \
    A(GPT_INIT_TRACK3,    "track3") \
    A(GPT_INIT_TRACK3_P,  "track3-p") \
    A(GPT_INIT_TRACK3_H,  "track3-h") \
    A(GPT_INIT_TRACK3_HG, "track3-hg") \
    A(GPT_INIT_TRACK3_46, "track3-46") \
    A(GPT_INIT_MODULA,    "modula")
/* clang-format on */

#define GPT_CONSTANT(constant, ...) constant,
typedef enum { GPT_POSITION_FORMS(GPT_CONSTANT) GPT_POSITION_COUNT } GptPositions;
typedef enum { GPT_NORMS(GPT_CONSTANT) GPT_NORM_COUNT } GptNorm;
typedef enum { GPT_EMBED_NORMS(GPT_CONSTANT) GPT_EMBED_NORM_COUNT } GptEmbedNorm;
typedef enum { GPT_QK_NORMS(GPT_CONSTANT) GPT_QK_NORM_COUNT } GptQkNorm;
typedef enum { GPT_ATTENTION_BIASES(GPT_CONSTANT) GPT_ATTENTION_BIAS_COUNT } GptAttentionBias;
typedef enum { GPT_MLP_BIASES(GPT_CONSTANT) GPT_MLP_BIAS_COUNT } GptMlpBias;
typedef enum { GPT_ACTIVATIONS(GPT_CONSTANT) GPT_ACTIVATION_COUNT } GptActivation;
typedef enum { GPT_HEADS(GPT_CONSTANT) GPT_HEAD_COUNT } GptHead;
typedef enum { GPT_SOFTCAPS(GPT_CONSTANT) GPT_SOFTCAP_COUNT } GptSoftcap;
typedef enum { GPT_INITS(GPT_CONSTANT) GPT_INIT_COUNT } GptInit;
#undef GPT_CONSTANT

/*
 * Every field of a model's configuration. From this list come GptConfig and the table gpt_fields, which drives the
 * options that override a preset, the refusal of options that contradict a checkpoint, config.json, run.json, the
 * banner and the metadata of reference files. A configuration of the first five alone is classic GPT-2: 0 is the
 * default of all others, which gpt_resolve fills in.
 *
 *          member           option             key in config.json     least  most  help
 */
/* clang-format off */
#define GPT_CONFIG(SIZE, CHOICE, NUMBER) \
    SIZE(   L,               "layers",          "n_layer",             1, 1 << 12, "transformer blocks; this and the options below override the preset") \
    SIZE(   NH,              "heads",           "n_head",              1, 1 << 20, "attention heads; must divide --width") \
    SIZE(   C,               "width",           "n_embd",              1, 1 << 20, "channels of the residual stream") \
    SIZE(   V,               "vocab",           "vocab_size",          1, 1 << 24, "vocabulary size: 256 for bytes, 50257 for GPT-2") \
    SIZE(   T,               "seq-len",         "n_positions",         1, 1 << 24, "tokens per sequence") \
    CHOICE( positions,       "positions",       "position_encoding",   GptPositions, "how tokens know their position") \
    NUMBER( rotary_base,     "rotary-base",     "rope_theta",          1, 1e12, "base of rotary positions' wavelengths [10000; rotary-half: 1024]") \
    CHOICE( norm,            "norm",            "norm",                GptNorm, "of the residual stream, where a layer reads it") \
    NUMBER( norm_eps,        "norm-eps",        "layer_norm_epsilon",  1e-12, 1, "added to what norms divide by, under the root [1e-5]") \
    CHOICE( embed_norm,      "embed-norm",      "embedding_norm",      GptEmbedNorm, "norm of the embedding") \
    NUMBER( residual_scale,  "residual-scale",  "residual_scale",      1e-6, 1, "factor of the residual stream, each time that a layer adds to it [1]") \
    SIZE(   KVH,             "kv-heads",        "num_key_value_heads", 0, 1 << 20, "heads of keys and values; each serves as many of --heads [--heads]") \
    CHOICE( qk_norm,         "qk-norm",         "qk_norm",             GptQkNorm, "RMSNorm of each head's queries and keys, without or with gain") \
    NUMBER( attention_scale, "attention-scale", "attention_scale",     1e-6, 1e6, "factor of the scores [1/sqrt(channels of a head)]") \
    NUMBER( value_scale,     "value-scale",     "value_scale",         1e-6, 1e6, "factor of the values, which scales what attention adds [1]") \
    CHOICE( attention_bias,  "attention-bias",  "attention_bias",      GptAttentionBias, "which of attention's matrices have biases") \
    SIZE(   F,               "mlp-width",       "n_inner",             0, 1 << 22, "channels inside the MLP [4 x width; swiglu: 8/3 x width, up to a multiple of 8]") \
    CHOICE( activation,      "activation",      "activation_function", GptActivation, "nonlinearity of the MLP") \
    CHOICE( mlp_bias,        "mlp-bias",        "mlp_bias",            GptMlpBias, "biases of the MLP's matrices") \
    CHOICE( head,            "head",            "head",                GptHead, "the classifier: the token embedding itself, or a matrix of its own") \
    CHOICE( softcap,         "softcap",         "logit_softcap",       GptSoftcap, "how logits are kept within --softcap-limit") \
    NUMBER( softcap_limit,   "softcap-limit",   "logit_softcap_limit", 1e-3, 1e6, "bound of the logits [15]") \
    CHOICE( init,            "init",            "initialization",      GptInit, "what parameters are drawn from; records' by name")
/* clang-format on */

#define GPT_SIZE_MEMBER(member, ...) size_t member;
#define GPT_CHOICE_MEMBER(member, option, key, type, help) type member;
#define GPT_NUMBER_MEMBER(member, ...) double member;
typedef struct GptConfig {
    GPT_CONFIG(GPT_SIZE_MEMBER, GPT_CHOICE_MEMBER, GPT_NUMBER_MEMBER)
} GptConfig;

#define GPT_CONSTANT(member, ...) GPT_FIELD_##member,
typedef enum { GPT_CONFIG(GPT_CONSTANT, GPT_CONSTANT, GPT_CONSTANT) GPT_FIELDS } GptFieldId;
#undef GPT_CONSTANT

typedef enum { GPT_SIZE, GPT_CHOICE, GPT_NUMBER } GptFieldKind;

typedef struct GptField {
    GptFieldKind kind;  /* a size_t, an enum or a double */
    const char *symbol; /* the member's name: the argument of a size's option, and for banners */
    const char *option, *key, *help;
    size_t offset;                  /* in GptConfig */
    double least, most;             /* of a size or number; where 0 is below `least`, it is a default's place */
    const char *const *choices;     /* names of an enum's values 0, 1, ..; ends with NULL */
    const char *const (*stored)[2]; /* what config.json says of each, and another word for it */
} GptField;
extern const GptField gpt_fields[GPT_FIELDS];

/* Some fields of a configuration. */
typedef struct GptOverrides {
    GptConfig values;
    bool set[GPT_FIELDS];
} GptOverrides;

/* Copies the fields that are set into config. */
void gpt_override(GptConfig *config, const GptOverrides *overrides);

/* Refuses fields set to other values than config's, naming option and both values; `what` names the model. */
int gpt_agrees(const GptConfig *config, const GptOverrides *overrides, const char *what, Error *e);

/* A field's value as the option takes it, or with `stored` as config.json has it (without quotes). */
void gpt_field_format(const GptField *field, const GptConfig *config, bool stored, char *to, size_t size);

/* Sets a field from what gpt_field_format writes with `stored`; -1 if not a number of its kind or one of the
 * choices. */
int gpt_field_restore(const GptField *field, const char *text, GptConfig *config);

/* "L=5 NH=4 C=128 V=256 T=256", and whatever is not as these five alone would have it. */
void gpt_describe(const GptConfig *config, char *to, size_t size);

/* A preset's configuration: "nano", "gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl". -1 if there is no such preset. */
int gpt_preset(const char *name, GptConfig *config);

/* The name of preset i = 0, 1, ..., NULL after the last. */
const char *gpt_preset_name(size_t i);

/* Refuses values out of range, sizes that do not divide each other, and fields that contradict each other. */
int gpt_config_check(const GptConfig *config, Error *e);

/* The configuration with every 0 that stands for a default replaced by it (unless no part of the model uses the field).
 * What is declared `inline` below, and rotary positions, want it resolved; everything else does it itself. */
GptConfig gpt_resolve(const GptConfig *config);

/* Whether the MLP has two halves, one of which multiplies the other. */
bool gpt_is_gated(const GptConfig *config);

/* Channels of a head; of all heads' keys; of a row of queries, keys and values; of the MLP before its nonlinearity. */
static inline size_t gpt_head_size(const GptConfig *c) { return c->C / c->NH; }
static inline size_t gpt_key_width(const GptConfig *c) { return c->KVH * gpt_head_size(c); }
static inline size_t gpt_qkv_width(const GptConfig *c) { return c->C + 2 * gpt_key_width(c); }
static inline size_t gpt_fc_width(const GptConfig *c) { return (gpt_is_gated(c) ? 2 : 1) * c->F; }

/* Whether queries and keys are rotated; whether norms subtract the mean; whether anything is normalised; whether
 * attention reads anything but what its products give. */
static inline bool gpt_is_rotary(const GptConfig *c)
{
    return c->positions == GPT_ROTARY || c->positions == GPT_ROTARY_HALF;
}
static inline bool gpt_is_centred(const GptConfig *c)
{
    return c->norm == GPT_LAYERNORM || c->norm == GPT_LAYERNORM_NO_BIAS;
}
static inline bool gpt_normalises(const GptConfig *c)
{
    return c->norm != GPT_NORM_NONE || c->qk_norm != GPT_QK_NORM_OFF;
}
static inline bool gpt_changes_qkv(const GptConfig *c)
{
    return c->qk_norm != GPT_QK_NORM_OFF || gpt_is_rotary(c) || c->value_scale != 1;
}

/* --------------------------------------------------------------------------------------------------------------
 * gpt_table.c: its parameters
 */

/*
 * Every parameter, in arena order: by kind, then by layer, so that matrices of one shape lie at a constant stride. c is
 * the resolved configuration; a parameter with 0 rows is absent. Queries, keys and values are one matrix, or two where
 * keys and values have fewer heads; the two halves of a gated MLP are one.
 *
 * member       Hugging Face's name    role                    rows, cols (fan-out, fan-in)             blocks  in each  stored
 *                                                                                                              layer    transposed
 */
/* clang-format off */
#define GPT_PARAMETERS(P) \
    P(wte,      "wte.weight",         ROLE_TOKEN_EMBEDDING,    c->V,                       c->C,             1, false, false) \
    P(wpe,      "wpe.weight",         ROLE_POSITION_EMBEDDING, GPT_IF(positions, c->T),    c->C,             1, false, false) \
    P(qkvw,     "attn.c_attn.weight", ROLE_HIDDEN_MATRIX,      GPT_IF(one_qkv, 3 * c->C),  c->C,             3, true,  true)  \
    P(qw,       "attn.c_q.weight",    ROLE_HIDDEN_MATRIX,      GPT_IF(two_qkv, c->C),      c->C,             1, true,  true)  \
    P(kvw,      "attn.c_kv.weight",   ROLE_HIDDEN_MATRIX,      GPT_IF(two_qkv, 2 * gpt_key_width(c)), c->C,  2, true,  true)  \
    P(attprojw, "attn.c_proj.weight", ROLE_HIDDEN_MATRIX,      c->C,                       c->C,             1, true,  true)  \
    P(fcw,      "mlp.c_fc.weight",    ROLE_HIDDEN_MATRIX,      gpt_fc_width(c),            c->C,             gpt_is_gated(c) ? 2 : 1, true, true) \
    P(fcprojw,  "mlp.c_proj.weight",  ROLE_HIDDEN_MATRIX,      c->C,                       c->F,             1, true,  true)  \
    P(headw,    "lm_head.weight",     ROLE_HEAD,               GPT_IF(head, c->V),         c->C,             1, false, false) \
    P(embedw,   "ln_e.weight",        ROLE_GAIN,               GPT_IF(embed_gain, 1),      c->C,             1, false, false) \
    P(embedb,   "ln_e.bias",          ROLE_BIAS,               GPT_IF(embed_bias, 1),      c->C,             1, false, false) \
    P(ln1w,     "ln_1.weight",        ROLE_GAIN,               GPT_IF(gain, 1),            c->C,             1, true,  false) \
    P(ln1b,     "ln_1.bias",          ROLE_BIAS,               GPT_IF(norm_bias, 1),       c->C,             1, true,  false) \
    P(qkvb,     "attn.c_attn.bias",   ROLE_BIAS,               GPT_IF(qkv_bias, 1),        gpt_qkv_width(c), 1, true,  false) \
    P(qgain,    "attn.q_norm.weight", ROLE_GAIN,               GPT_IF(qk_gain, 1),         gpt_head_size(c), 1, true,  false) \
    P(kgain,    "attn.k_norm.weight", ROLE_GAIN,               GPT_IF(qk_gain, 1),         gpt_head_size(c), 1, true,  false) \
    P(attprojb, "attn.c_proj.bias",   ROLE_BIAS,               GPT_IF(attproj_bias, 1),    c->C,             1, true,  false) \
    P(ln2w,     "ln_2.weight",        ROLE_GAIN,               GPT_IF(gain, 1),            c->C,             1, true,  false) \
    P(ln2b,     "ln_2.bias",          ROLE_BIAS,               GPT_IF(norm_bias, 1),       c->C,             1, true,  false) \
    P(fcb,      "mlp.c_fc.bias",      ROLE_BIAS,               GPT_IF(mlp_bias, 1),        gpt_fc_width(c),  1, true,  false) \
    P(fcprojb,  "mlp.c_proj.bias",    ROLE_BIAS,               GPT_IF(mlp_bias, 1),        c->C,             1, true,  false) \
    P(lnfw,     "ln_f.weight",        ROLE_GAIN,               GPT_IF(gain, 1),            c->C,             1, false, false) \
    P(lnfb,     "ln_f.bias",          ROLE_BIAS,               GPT_IF(norm_bias, 1),       c->C,             1, false, false) \
    P(headb,    "lm_head.bias",       ROLE_BIAS,               GPT_IF(head_bias, 1),       c->V,             1, false, false)

/* n rows where the model has the part, otherwise none. */
#define GPT_IF(part, n) (GPT_IF_##part ? (n) : 0)
#define GPT_IF_positions (c->positions == GPT_LEARNED)
#define GPT_IF_one_qkv (c->KVH == c->NH)
#define GPT_IF_two_qkv (c->KVH != c->NH)
#define GPT_IF_head (c->head != GPT_TIED)
#define GPT_IF_gain (c->norm != GPT_RMSNORM_NO_GAIN && c->norm != GPT_NORM_NONE)
#define GPT_IF_norm_bias (c->norm == GPT_LAYERNORM)
#define GPT_IF_embed_gain (c->embed_norm == GPT_EMBED_NORM_ON && GPT_IF_gain)
#define GPT_IF_embed_bias (c->embed_norm == GPT_EMBED_NORM_ON && GPT_IF_norm_bias)
#define GPT_IF_qkv_bias (c->attention_bias != GPT_ATTENTION_BIAS_NONE)
#define GPT_IF_qk_gain (c->qk_norm == GPT_QK_NORM_GAIN)
#define GPT_IF_attproj_bias (c->attention_bias == GPT_ATTENTION_BIAS_ALL)
#define GPT_IF_mlp_bias (c->mlp_bias == GPT_MLP_BIAS_ON)
#define GPT_IF_head_bias (c->head == GPT_UNTIED_BIAS)
/* clang-format on */

#define GPT_CONSTANT(member, ...) GPT_##member,
typedef enum { GPT_PARAMETERS(GPT_CONSTANT) GPT_PARAMETER_COUNT } GptParameter;
#undef GPT_CONSTANT

/* Of GELU's tanh form, sqrt(2/pi) and its cubic term; of its exact form, 1/sqrt(2) and 1/sqrt(2 pi). */
#define GPT_GELU_SCALE 0.7978845608028654f
#define GPT_GELU_CUBE 0.044715f
#define GPT_SQRT_HALF 0.7071067811865476f
#define GPT_NORMAL_DENSITY 0.3989422804014327f

/* Rows of wte and of the head, and logits, are padded to a multiple of this. */
enum { GPT_VOCAB_PADDING = 64 };
static inline size_t gpt_padded_vocab(const GptConfig *c)
{
    return (c->V + GPT_VOCAB_PADDING - 1) / GPT_VOCAB_PADDING * GPT_VOCAB_PADDING;
}

/* Where a parameter lies in an arena, in floats: in the first layer, and from layer to layer. */
typedef struct GptPlace {
    bool present;
    size_t offset, stride;
} GptPlace;

typedef struct GptTable {
    size_t count;    /* rows */
    Tensor *tensors; /* ordered by kind, then by layer */
    GptPlace places[GPT_PARAMETER_COUNT];
    size_t arena_size; /* floats, padding included: of what has V rows or columns, up to GPT_VOCAB_PADDING's multiple */
    size_t parameters; /* floats, without padding */
} GptTable;

/*
 * What the forward pass of one layer keeps for the backward pass, for R = B*T rows. "type" is how a twin stores it:
 * in fp32 or in the type of product operands; the last column is the first --recompute that recomputes it instead.
 *
 * member         type   elements/row     recomputed from
 */
/* clang-format off */
#define GPT_ACTIVATION_BUFFERS(A) \
    A(residual,     float, c->C,             GPT_RECOMPUTES)       /* (R,C) the layer's input */ \
    A(ln1,          X,     c->C,             GPT_RECOMPUTE_CHEAP)  /* (R,C) */ \
    A(ln1_mean,     float, 1,                GPT_RECOMPUTES)       /* (R) */ \
    A(ln1_rstd,     float, 1,                GPT_RECOMPUTES)       /* (R) */ \
    A(qkv,          X,     gpt_qkv_width(c), GPT_RECOMPUTE_LAYERS) /* (R,S) as attention reads them, S = C + 2 KVH HS */ \
    A(qk_hat,       X,     GPT_IF(qk_gain, c->C + gpt_key_width(c)), GPT_RECOMPUTE_LAYERS) /* normalised, before the gain */ \
    A(qk_rstd,      float, c->qk_norm != GPT_QK_NORM_OFF ? c->NH + c->KVH : 0, GPT_RECOMPUTE_LAYERS) /* (R,NH+KVH) */ \
    A(att,          X,     c->C,             GPT_RECOMPUTE_LAYERS) /* (R,C) */ \
    A(att_lse,      float, c->NH,            GPT_RECOMPUTE_LAYERS) /* (B,NH,T) log of the softmax's denominator */ \
    A(residual_mid, float, c->C,             GPT_RECOMPUTE_LAYERS) /* (R,C) after attention */ \
    A(ln2,          X,     c->C,             GPT_RECOMPUTE_CHEAP)  /* (R,C) */ \
    A(ln2_mean,     float, 1,                GPT_RECOMPUTES)       /* (R) */ \
    A(ln2_rstd,     float, 1,                GPT_RECOMPUTES)       /* (R) */ \
    A(fc,           X,     gpt_fc_width(c),  GPT_RECOMPUTE_LAYERS) /* (R,F) or (R,2F) before the nonlinearity */ \
    A(act,          X,     c->F,             GPT_RECOMPUTE_CHEAP)  /* (R,F) after it */
/* clang-format on */

/* Floats of the table of rotary positions: cosine and sine of each of T positions and half a head's channels
 * (T,HS/2,2). */
size_t gpt_rotary_size(const GptConfig *config, size_t T);
void gpt_rotary_fill(const GptConfig *config, size_t T, float *to);

/* gpt_init.c: what a parameter of a layer is drawn from, by the configuration's initialisation. */
TensorInit gpt_init_of(const GptConfig *config, GptParameter parameter, size_t layer);

/* Builds the table of a checked configuration; the caller frees it with gpt_table_free (safe on a zeroed one). */
int gpt_table_make(const GptConfig *config, GptTable *table, Error *e);
void gpt_table_free(GptTable *table);

/* The layer that a tensor of the table is in; SIZE_MAX: in none. */
size_t gpt_table_layer(const Tensor *tensor);

/* Elements of the largest tensor. */
size_t gpt_table_largest(const GptTable *table);

/* The row called `name` (with or without "transformer." before it), or NULL. */
const Tensor *gpt_table_find(const GptTable *table, const char *name);

/* Draws tensor `index` as its row says; the same for any number of threads. -1: out of memory. */
int gpt_table_draw(const GptTable *table, size_t index, uint64_t seed, float *to, Error *e);

/* N of the FLOP formula 6N + 12LCT: parameters of products; an embedding that is only looked up is none. */
size_t gpt_flop_parameters(const GptConfig *config);
double gpt_flops_per_token(const GptConfig *config, size_t T);

/* --- a twin --- */

typedef struct Gpt Gpt;

typedef enum { GPT_INFERENCE, GPT_TRAINING } GptMode; /* inference has no gradients, and no gpt_backward */

/* The type of product operands and stored activations. Parameters, gradients, the residual stream and all sums are
 * always fp32. tf32: fp32 rounded to 10 bits of mantissa inside products. The CPU has fp32 only. */
typedef enum { GPT_FP32, GPT_TF32, GPT_BF16, GPT_DTYPES } GptDtype;
extern const char *const gpt_dtype_names[GPT_DTYPES + 1]; /* ends with NULL */

/* What the backward pass recomputes instead of reading from memory: nothing; the outputs of norms and activations;
 * every layer from its input, for a third more work. The gradients are bit-identical (except that in bf16 an
 * activation's output is recomputed from its rounded input, and that those of the head are sums of sums over
 * GPT_RECOMPUTE_ROWS rows, fewer for vocabularies above 65,536, of so many logits at a time). The CPU has only the
 * first. */
enum { GPT_RECOMPUTE_ROWS = 4096 };
typedef enum { GPT_RECOMPUTE_NOTHING, GPT_RECOMPUTE_CHEAP, GPT_RECOMPUTE_LAYERS, GPT_RECOMPUTES } GptRecompute;
extern const char *const gpt_recompute_names[GPT_RECOMPUTES + 1]; /* ends with NULL */

typedef struct GptSetup {
    size_t B, T; /* micro-batches of up to B sequences of up to T <= GptConfig.T tokens */
    GptMode mode;
    GptDtype dtype;
    GptRecompute recompute;
    bool dropout; /* room for what gpt_dropout needs */
    bool scores;  /* gpt_forward keeps what gpt_scores gives */
} GptSetup;

/* Refuses micro-batches that are empty, too large to count, or longer than the model's longest sequence. */
int gpt_setup_check(const GptConfig *config, const GptSetup *setup, Error *e);

/* Bytes that gpt_create will allocate. */
size_t gpt_memory_needed(const GptConfig *config, const GptSetup *setup);

/* Allocates parameters (uninitialised), gradients and activations. */
int gpt_create(const GptConfig *config, const GptSetup *setup, Gpt **gpt, Error *e);
void gpt_free(Gpt *gpt);

const GptConfig *gpt_config(const Gpt *gpt);
const GptTable *gpt_table(const Gpt *gpt);

/* Its memory, for optim/; no gradients in inference. A twin that holds a rounded copy of the parameters renews it
 * when their version has increased. */
Arenas gpt_arenas(Gpt *gpt);

typedef enum { GPT_PARAMS, GPT_GRADS } GptArena;

/* Copies one tensor, rows x cols, out of or into an arena. */
void gpt_read(const Gpt *gpt, GptArena arena, const Tensor *tensor, float *to);
void gpt_write(Gpt *gpt, GptArena arena, const Tensor *tensor, const float *from);

/* Draws every parameter as its row says; the same for any number of threads. -1: out of memory. */
int gpt_init(Gpt *gpt, uint64_t seed, Error *e);

/*
 * Dropout in gpt_forward and gpt_backward from now on, of the embedding, of attention's probabilities and of what
 * layers add to the residual stream, as in GPT-2. p: share that is dropped, below 1; 0: none, as after gpt_create. The
 * masks are a function of key and place, see gpt/dropout.h; first_sequence: of the next batch, counted within the step.
 * gpt_decode has none.
 */
typedef struct GptDropout {
    double p;
    uint64_t key, first_sequence;
} GptDropout;
void gpt_dropout(Gpt *gpt, GptDropout dropout);

/* Runs the blocks over tokens (B,T), each below V, and keeps the activations for gpt_loss, gpt_logits, gpt_backward. */
void gpt_forward(Gpt *gpt, const int32_t *tokens, size_t B, size_t T);

/*
 * With GptSetup.scores, the largest score of each head, to (L,NH): of scale q k, before the softmax, over every query
 * and the keys up to it, in all calls of gpt_forward since gpt_scores_begin. -Inf without any; NaN where the sum of a
 * softmax was not a number, as where one of its scores was NaN or Inf. As a maximum it is exact, in whichever order and
 * from however many batches it comes.
 */
void gpt_scores_begin(Gpt *gpt);
void gpt_scores(const Gpt *gpt, float *to);

/* Sum over the positions of cross-entropy in nats; targets (B,T), a negative one is left out of the sum. */
double gpt_loss(Gpt *gpt, const int32_t *targets);

/* The cross-entropy of each of the B*T positions (0 where the target is negative) of the last gpt_loss or
 * gpt_backward. */
void gpt_losses(const Gpt *gpt, double *to);

/*
 * Draws a label for each position of the last gpt_forward from the distribution that its logits give: targets (B,T).
 * The label of position i is a function of the logits, key and first + i.
 */
void gpt_draw(Gpt *gpt, uint64_t key, uint64_t first, int32_t *targets);

/* The share of a distribution's sum, in [0, 1), that the label `number` is drawn at. */
HD static inline double gpt_draw_share(uint64_t key, uint64_t number)
{
    return (double)(random_mix(random_mix(key) + number * 0x9e3779b97f4a7c15u) >> 11) * 0x1p-53;
}

/* Gradients of scale * (sum of cross-entropies), added to the gradient arena or, when `first`, overwriting it.
 * Call it once after gpt_forward. On a GPU it only enqueues the work. */
void gpt_backward(Gpt *gpt, const int32_t *targets, double scale, bool first);

/* A function that gpt_backward calls from now on for each layer, the last first, once the gradients of its matrices are
 * complete; on a GPU, once the work on them has been asked of the stream. NULL: none, as after gpt_create. */
typedef void GptReady(void *context, size_t layer);
void gpt_on_layer(Gpt *gpt, GptReady *ready, void *context);

/* Sum of the cross-entropies, as in gpt_loss, over the last gpt_backward with `first` and those since. */
double gpt_loss_sum(const Gpt *gpt);

/*
 * Seconds that the device spent in gpt_forward and gpt_backward since the last call; waits for them. before: the gap
 * between the passes of the last call and these, which is the time of the optimizer's step if nothing else was done;
 * NaN if something was, and on a CPU. gpt_loss, gpt_draw, gpt_logits and gpt_decode discard the passes so far.
 */
typedef struct GptTimes {
    double forward, backward, before;
} GptTimes;
GptTimes gpt_times(Gpt *gpt);

/* Waits until the device has finished all its work, including the optimizer's. */
void gpt_wait(Gpt *gpt);

/* Logits (V) of position `row` of the B*T rows of the last gpt_forward. */
void gpt_logits(Gpt *gpt, size_t row, float *logits);

/* The residual stream (B*T, C) before block `layer`, 0 .. L; L is what the final norm reads. */
void gpt_residual(const Gpt *gpt, size_t layer, float *to);

/* Generation: appends one token at `position` (< T of gpt_create) of a single sequence and writes the logits (V)
 * that follow it. Keys and values of positions 0 .. position-1 come from the calls for those positions (or from
 * gpt_forward with B = 1 over them) and are kept in the activations, which training overwrites. */
void gpt_decode(Gpt *gpt, int32_t token, size_t position, float *logits);

/* "CPU, 2 threads, OpenBLAS": for banners; "NVIDIA H200", or NULL for a CPU. Static storage. */
const char *gpt_device(void);
const char *gpt_device_name(void);

typedef enum { GPT_ON_CPU, GPT_ON_GPU } GptKind;
GptKind gpt_kind(void);

/* The dtype that suits the device and the model. */
GptDtype gpt_default_dtype(const GptConfig *config);

/* Checks that the device is present and can run this program. 1 instead of -1 if there is simply none, or no driver. */
int gpt_probe(Error *e);

/* Bytes of device memory available to this process; 0: unknown. */
size_t gpt_memory_present(void);

#ifdef __cplusplus
}
#endif

#endif
