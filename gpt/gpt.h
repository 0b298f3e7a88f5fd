#ifndef GPT_GPT_H
#define GPT_GPT_H

#include "base/error.h"
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

/* The MLP's nonlinearities: constant, function in both twins (<function>_slope is its derivative), the option's value,
 * Hugging Face's names for it. GELU is its tanh form, as in GPT-2; the squared ReLU is that of So et al. 2021 (Primer). */
/* clang-format off */
#define GPT_ACTIVATIONS(A) \
    A(GPT_GELU,       gelu,       "gelu",       "gelu_new", "gelu_pytorch_tanh") \
    A(GPT_GELU_EXACT, gelu_exact, "gelu-exact", "gelu",     "gelu_python") \
    A(GPT_RELU2,      relu2,      "relu2",      "relu2",    "relu2") \
    A(GPT_SILU,       silu,       "silu",       "silu",     "swish")
/* clang-format on */

#define GPT_CONSTANT(constant, ...) constant,
typedef enum { GPT_ACTIVATIONS(GPT_CONSTANT) GPT_ACTIVATION_COUNT } GptActivation;
#undef GPT_CONSTANT

/*
 * Every field of a model's configuration, of which classic GPT-2 (Radford et al. 2019: learned positions, pre-LayerNorm
 * with bias, tied head) has the first choice. From this list come GptConfig and the table gpt_fields, which drives the
 * options that override a preset, the refusal of options that contradict a checkpoint, config.json, run.json, the banner
 * and the metadata of reference files.
 *
 *          member      option        key in config.json    most      help
 */
/* clang-format off */
#define GPT_CONFIG(SIZE, CHOICE) \
    SIZE(   L,          "layers",     "n_layer",            1 << 12,  "transformer blocks; this and the options below override the preset") \
    SIZE(   NH,         "heads",      "n_head",             1 << 20,  "attention heads; must divide --width") \
    SIZE(   C,          "width",      "n_embd",             1 << 20,  "channels of the residual stream") \
    SIZE(   V,          "vocab",      "vocab_size",         1 << 24,  "vocabulary size: 256 for bytes, 50257 for GPT-2") \
    SIZE(   T,          "seq-len",    "n_positions",        1 << 24,  "tokens per sequence") \
    CHOICE( activation, "activation", "activation_function", GptActivation, "nonlinearity of the MLP")
/* clang-format on */

#define GPT_SIZE_MEMBER(member, ...) size_t member;
#define GPT_CHOICE_MEMBER(member, option, key, type, help) type member;
typedef struct GptConfig {
    GPT_CONFIG(GPT_SIZE_MEMBER, GPT_CHOICE_MEMBER)
} GptConfig;

#define GPT_CONSTANT(member, ...) GPT_FIELD_##member,
typedef enum { GPT_CONFIG(GPT_CONSTANT, GPT_CONSTANT) GPT_FIELDS } GptFieldId;
#undef GPT_CONSTANT

typedef struct GptField {
    const char *symbol; /* the member's name: the argument of a size's option, and for banners */
    const char *option, *key, *help;
    size_t offset;                  /* in GptConfig */
    size_t most;                    /* of a size, a size_t that is at least 1 */
    const char *const *choices;     /* names of an enum's values 0, 1, ..; ends with NULL. A size has none */
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

/* Sets a field from what gpt_field_format writes with `stored`; -1 if not a whole number or one of the choices. */
int gpt_field_restore(const GptField *field, const char *text, GptConfig *config);

/* "L=5 NH=4 C=128 V=256 T=256", and any choices that are not classic. */
void gpt_describe(const GptConfig *config, char *to, size_t size);

/* A preset's configuration: "nano", "gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl". -1 if there is no such preset. */
int gpt_preset(const char *name, GptConfig *config);

/* Refuses sizes of 0, heads that do not divide the width, and sizes whose products overflow. */
int gpt_config_check(const GptConfig *config, Error *e);

/* --------------------------------------------------------------------------------------------------------------
 * gpt_table.c: its parameters
 */

/*
 * Every parameter, in arena order: by kind, then by layer, so that matrices of one shape lie at a constant stride. c is
 * the configuration; a parameter with 0 rows is absent.
 *
 * member       Hugging Face's name    role                    rows   cols  blocks  mean  std of a draw   in each  stored
 *                                                             (fan-out, fan-in)                          layer    transposed
 */
/* clang-format off */
#define GPT_PARAMETERS(P) \
    P(wte,      "wte.weight",         ROLE_TOKEN_EMBEDDING,    c->V,     c->C,     1, 0, 0.02,            false, false) \
    P(wpe,      "wpe.weight",         ROLE_POSITION_EMBEDDING, c->T,     c->C,     1, 0, 0.02,            false, false) \
    P(qkvw,     "attn.c_attn.weight", ROLE_HIDDEN_MATRIX,      3 * c->C, c->C,     3, 0, 0.02,            true,  true)  \
    P(attprojw, "attn.c_proj.weight", ROLE_HIDDEN_MATRIX,      c->C,     c->C,     1, 0, GPT_RESIDUAL_STD, true, true)  \
    P(fcw,      "mlp.c_fc.weight",    ROLE_HIDDEN_MATRIX,      4 * c->C, c->C,     1, 0, 0.02,            true,  true)  \
    P(fcprojw,  "mlp.c_proj.weight",  ROLE_HIDDEN_MATRIX,      c->C,     4 * c->C, 1, 0, GPT_RESIDUAL_STD, true, true)  \
    P(ln1w,     "ln_1.weight",        ROLE_GAIN,               1,        c->C,     1, 1, 0,               true,  false) \
    P(ln1b,     "ln_1.bias",          ROLE_BIAS,               1,        c->C,     1, 0, 0,               true,  false) \
    P(qkvb,     "attn.c_attn.bias",   ROLE_BIAS,               1,        3 * c->C, 1, 0, 0,               true,  false) \
    P(attprojb, "attn.c_proj.bias",   ROLE_BIAS,               1,        c->C,     1, 0, 0,               true,  false) \
    P(ln2w,     "ln_2.weight",        ROLE_GAIN,               1,        c->C,     1, 1, 0,               true,  false) \
    P(ln2b,     "ln_2.bias",          ROLE_BIAS,               1,        c->C,     1, 0, 0,               true,  false) \
    P(fcb,      "mlp.c_fc.bias",      ROLE_BIAS,               1,        4 * c->C, 1, 0, 0,               true,  false) \
    P(fcprojb,  "mlp.c_proj.bias",    ROLE_BIAS,               1,        c->C,     1, 0, 0,               true,  false) \
    P(lnfw,     "ln_f.weight",        ROLE_GAIN,               1,        c->C,     1, 1, 0,               false, false) \
    P(lnfb,     "ln_f.bias",          ROLE_BIAS,               1,        c->C,     1, 0, 0,               false, false)

/* For the projections added to the residual stream (Radford et al. 2019, section 2.3). */
#define GPT_RESIDUAL_STD (0.02 / sqrt(2.0 * (double)c->L))
/* clang-format on */

#define GPT_CONSTANT(member, ...) GPT_##member,
typedef enum { GPT_PARAMETERS(GPT_CONSTANT) GPT_PARAMETER_COUNT } GptParameter;
#undef GPT_CONSTANT

/* Of LayerNorm; of GELU's tanh form, sqrt(2/pi) and its cubic term, and of its exact form, 1/sqrt(2) and 1/sqrt(2 pi). */
#define GPT_LAYERNORM_EPS 1e-5f
#define GPT_GELU_SCALE 0.7978845608028654f
#define GPT_GELU_CUBE 0.044715f
#define GPT_SQRT_HALF 0.7071067811865476f
#define GPT_NORMAL_DENSITY 0.3989422804014327f

/* Rows of wte and of logits are padded to a multiple of this. */
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
    size_t arena_size; /* floats, padding included: after wte, up to a multiple of GPT_VOCAB_PADDING rows */
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
    A(residual,     float, c->C,     GPT_RECOMPUTES)        /* (R,C) the layer's input */ \
    A(ln1,          X,     c->C,     GPT_RECOMPUTE_CHEAP)   /* (R,C) */ \
    A(ln1_mean,     float, 1,        GPT_RECOMPUTES)        /* (R) */ \
    A(ln1_rstd,     float, 1,        GPT_RECOMPUTES)        /* (R) */ \
    A(qkv,          X,     3 * c->C, GPT_RECOMPUTE_LAYERS)  /* (R,3C) */ \
    A(att,          X,     c->C,     GPT_RECOMPUTE_LAYERS)  /* (R,C) */ \
    A(att_lse,      float, c->NH,    GPT_RECOMPUTE_LAYERS)  /* (B,NH,T) log of the softmax's denominator */ \
    A(residual_mid, float, c->C,     GPT_RECOMPUTE_LAYERS)  /* (R,C) after attention */ \
    A(ln2,          X,     c->C,     GPT_RECOMPUTE_CHEAP)   /* (R,C) */ \
    A(ln2_mean,     float, 1,        GPT_RECOMPUTES)        /* (R) */ \
    A(ln2_rstd,     float, 1,        GPT_RECOMPUTES)        /* (R) */ \
    A(fc,           X,     4 * c->C, GPT_RECOMPUTE_LAYERS)  /* (R,4C) before the nonlinearity */ \
    A(act,          X,     4 * c->C, GPT_RECOMPUTE_CHEAP)   /* (R,4C) after it */
/* clang-format on */

/* Builds the table of a checked configuration; the caller frees it with gpt_table_free (safe on a zeroed one). */
int gpt_table_make(const GptConfig *config, GptTable *table, Error *e);
void gpt_table_free(GptTable *table);

/* Elements of the largest tensor. */
size_t gpt_table_largest(const GptTable *table);

/* The row called `name` (with or without "transformer." before it), or NULL. */
const Tensor *gpt_table_find(const GptTable *table, const char *name);

/* Draws tensor `index` from its row's N(mean, std); the same for any number of threads. */
void gpt_table_draw(const GptTable *table, size_t index, uint64_t seed, float *to);

/* N of the FLOP formula 6N + 12LCT: parameters without the position embedding. */
size_t gpt_flop_parameters(const GptConfig *config);
double gpt_flops_per_token(const GptConfig *config, size_t T);

/* --- a twin --- */

typedef struct Gpt Gpt;

typedef enum { GPT_INFERENCE, GPT_TRAINING } GptMode; /* inference has no gradients, and no gpt_backward */

/* The type of product operands and stored activations. Parameters, gradients, the residual stream and all sums are
 * always fp32. tf32: fp32 rounded to 10 bits of mantissa inside products. The CPU has fp32 only. */
typedef enum { GPT_FP32, GPT_TF32, GPT_BF16, GPT_DTYPES } GptDtype;
extern const char *const gpt_dtype_names[GPT_DTYPES + 1]; /* ends with NULL */

/* What the backward pass recomputes instead of reading from memory: nothing; the outputs of LayerNorm and GELU; every
 * layer from its input, for a third more work. The gradients are bit-identical (except that in bf16 GELU's output is
 * recomputed from its rounded input). The CPU has only the first. */
typedef enum { GPT_RECOMPUTE_NOTHING, GPT_RECOMPUTE_CHEAP, GPT_RECOMPUTE_LAYERS, GPT_RECOMPUTES } GptRecompute;
extern const char *const gpt_recompute_names[GPT_RECOMPUTES + 1]; /* ends with NULL */

typedef struct GptSetup {
    size_t B, T; /* micro-batches of up to B sequences of up to T <= GptConfig.T tokens */
    GptMode mode;
    GptDtype dtype;
    GptRecompute recompute;
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

/* Draws every parameter from its row's N(mean, std); the same for any number of threads. */
void gpt_init(Gpt *gpt, uint64_t seed);

/* Runs the blocks over tokens (B,T), each below V, and keeps the activations for gpt_loss, gpt_logits, gpt_backward. */
void gpt_forward(Gpt *gpt, const int32_t *tokens, size_t B, size_t T);

/* Sum over the positions of cross-entropy in nats; targets (B,T), a negative one is left out of the sum. */
double gpt_loss(Gpt *gpt, const int32_t *targets);

/* The cross-entropy of each of the B*T positions (0 where the target is negative) of the last gpt_loss or gpt_backward. */
void gpt_losses(const Gpt *gpt, double *to);

/* Gradients of scale * (sum of cross-entropies), added to the gradient arena or, when `first`, overwriting it.
 * Call it once after gpt_forward. On a GPU it only enqueues the work. */
void gpt_backward(Gpt *gpt, const int32_t *targets, double scale, bool first);

/* Sum of the cross-entropies, as in gpt_loss, over the last gpt_backward with `first` and those since. */
double gpt_loss_sum(const Gpt *gpt);

/*
 * Seconds that the device spent in gpt_forward and gpt_backward since the last call; waits for them. before: the gap
 * between the passes of the last call and these, which is the time of the optimizer's step if nothing else was done;
 * NaN if something was, and on a CPU. gpt_loss, gpt_logits and gpt_decode discard the passes so far.
 */
typedef struct GptTimes {
    double forward, backward, before;
} GptTimes;
GptTimes gpt_times(Gpt *gpt);

/* Waits until the device has finished all its work, including the optimizer's. */
void gpt_wait(Gpt *gpt);

/* Logits (V) of position `row` of the B*T rows of the last gpt_forward. */
void gpt_logits(Gpt *gpt, size_t row, float *logits);

/* The residual stream (B*T, C) before block `layer`, 0 .. L; L is what the final LayerNorm reads. */
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
