#ifndef GPT_GPT_H
#define GPT_GPT_H

#include "base/error.h"
#include "base/tensor.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The model's interface: what the training program and the tests see of GPT-2. train_gpt.c implements it for the
 * CPU, its CUDA twin under the same names for a GPU. The arenas may lie in a GPU's memory: nobody outside the twin
 * and optim/ dereferences them; gpt_read and gpt_write copy.
 */

/* Classic GPT-2 (Radford et al. 2019): learned positions, pre-LayerNorm with bias, tanh-GELU, tied head. */
typedef struct GptConfig {
    size_t T;  /* longest sequence (n_positions) */
    size_t V;  /* vocabulary */
    size_t L;  /* layers */
    size_t NH; /* heads; divides C */
    size_t C;  /* width */
} GptConfig;

/* --- gpt_table.c: the same for both twins --- */

enum { GPT_VOCAB_PADDING = 64 };

typedef struct GptTable {
    size_t count;      /* rows */
    Tensor *tensors;   /* ordered by kind, then by layer, so that same-shaped matrices lie at one stride */
    size_t arena_size; /* floats, padding included: behind wte, up to a multiple of GPT_VOCAB_PADDING rows */
    size_t parameters; /* floats, padding left out */
} GptTable;

/* A preset's configuration: "nano", "gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl". -1 when there is none such. */
int gpt_preset(const char *name, GptConfig *config);

/* Refuses sizes of 0, heads that do not divide the width, and sizes whose products overflow. */
int gpt_config_check(const GptConfig *config, Error *e);

/* Builds the table of a checked configuration; the caller frees it with gpt_table_free (NULL-safe on a zeroed one). */
int gpt_table_make(const GptConfig *config, GptTable *table, Error *e);
void gpt_table_free(GptTable *table);

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

/* What products multiply and activations are kept in. Parameters, gradients, the residual stream and every sum are
 * fp32 in any case. tf32: fp32 rounded to 10 bits of mantissa inside products. The CPU has fp32 only. */
typedef enum { GPT_FP32, GPT_TF32, GPT_BF16, GPT_DTYPES } GptDtype;
extern const char *const gpt_dtype_names[GPT_DTYPES + 1]; /* ends with NULL */

/* What the backward pass computes once more instead of finding it in memory: nothing; the outputs of LayerNorm and
 * GELU; every layer from its input, for a third more work. The same gradients, to the bit (but in bf16 GELU's output is
 * computed again from its rounded input). The CPU has the first only. */
typedef enum { GPT_RECOMPUTE_NOTHING, GPT_RECOMPUTE_CHEAP, GPT_RECOMPUTE_LAYERS, GPT_RECOMPUTES } GptRecompute;
extern const char *const gpt_recompute_names[GPT_RECOMPUTES + 1]; /* ends with NULL */

typedef struct GptSetup {
    size_t B, T; /* micro-batches of up to B sequences of up to T <= GptConfig.T tokens */
    GptMode mode;
    GptDtype dtype;
    GptRecompute recompute;
} GptSetup;

/* Bytes that gpt_create will allocate. */
size_t gpt_memory_needed(const GptConfig *config, const GptSetup *setup);

/* Allocates parameters (uninitialised), gradients and activations. */
int gpt_create(const GptConfig *config, const GptSetup *setup, Gpt **gpt, Error *e);
void gpt_free(Gpt *gpt);

const GptConfig *gpt_config(const Gpt *gpt);
const GptTable *gpt_table(const Gpt *gpt);
float *gpt_params(Gpt *gpt); /* the arenas, for optim/; the gradient arena is NULL in inference */
float *gpt_grads(Gpt *gpt);

/* To be called after the parameters have been written through gpt_params: a twin may hold a rounded copy of them. */
void gpt_params_changed(Gpt *gpt);

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

/* Gradients of scale * (sum of cross-entropies), added to the gradient arena or, when `first`, written over it.
 * Call it after gpt_forward, once. On a GPU it only hands over the work. */
void gpt_backward(Gpt *gpt, const int32_t *targets, double scale, bool first);

/* Sum of the cross-entropies, as gpt_loss, of the last gpt_backward with `first` and those after it. */
double gpt_loss_sum(const Gpt *gpt);

/*
 * Seconds that the device has spent in the passes of gpt_forward and gpt_backward since the last call; waits for them.
 * before: from the passes that the last call told of to these, which is what the optimizer's step took if nothing else
 * was done; NaN where something was, and on a CPU. gpt_loss, gpt_logits and gpt_decode leave none to tell of.
 */
typedef struct GptTimes {
    double forward, backward, before;
} GptTimes;
GptTimes gpt_times(Gpt *gpt);

/* Waits until the device has done all it was handed, by the optimizer too. */
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

/* What suits the device and the model. */
GptDtype gpt_default_dtype(const GptConfig *config);

/* Whether the device is there and can run this program; if not, why. */
int gpt_probe(Error *e);

/* Bytes of memory that the device has for this process; 0 when unknown. */
size_t gpt_memory_present(void);

#ifdef __cplusplus
}
#endif

#endif
