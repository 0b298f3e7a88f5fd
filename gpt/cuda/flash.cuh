#ifndef GPT_CUDA_FLASH_CUH
#define GPT_CUDA_FLASH_CUH

#include "gpt/cuda/attention_shape.cuh"

#include <cuda_bf16.h>
#include <cuda_runtime.h>

/*
 * Causal attention in bf16 on tensor cores, forward and backward, as in FlashAttention-2 (Dao 2023): no (T,T) array
 * exists; the backward pass recomputes the probabilities from lse. The kernels are in flash_forward.cu and
 * flash_backward.cu.
 *
 * qkv, dqkv (B,T,S): q, k and v side by side, head h of each at columns h HS ...; att, datt (B,T,C); lse (B,NH,T) the
 * natural logarithm of the softmax's denominator, maximum included. For S, C and the heads see AttentionShape. T >= 1;
 * every array begins at a multiple of 16 bytes. Sums are in fp32; probabilities and dS are rounded to bf16 as operands
 * of products. Dropout must be the same in both passes. Results are bit-reproducible, and a sequence's do not depend on
 * the others of the batch. Calls only launch kernels on the stream, so a graph can capture them.
 */

/* Heads of a multiple of 8 channels, at most 128. */
inline bool flash_takes(size_t HS) { return HS >= 8 && HS <= 128 && HS % 8 == 0; }

/* att = dropout(softmax(scale q k^T, over the keys up to the query's own)) v; and lse. largest: as of
 * attention_fp32_forward, or NULL. */
void flash_forward(cudaStream_t stream, __nv_bfloat16 *att, float *lse, uint32_t *largest, const __nv_bfloat16 *qkv,
                   const AttentionShape &s, const AttentionDropout &drop);

/* Floats of scratch that flash_backward needs for these sizes, and for any smaller B or T. */
size_t flash_scratch(const AttentionShape &s);

/* dqkv, from datt, the gradient of att, and the inputs and outputs of flash_forward. */
void flash_backward(cudaStream_t stream, __nv_bfloat16 *dqkv, const __nv_bfloat16 *datt, const __nv_bfloat16 *qkv,
                    const __nv_bfloat16 *att, const float *lse, float *scratch, const AttentionShape &s,
                    const AttentionDropout &drop);

/* The same with a given partition of the work, which the functions above choose from the sizes and the device; for
 * tests. The partition changes no bit. */
namespace flash {

struct ForwardPlan {
    size_t group; /* heads of queries whose blocks are neighbours, so that their keys stay in the L2 cache */
    bool many;    /* warps in a block: 8 in place of 4 where HS > 64 */
};

ForwardPlan forward_plan(const AttentionShape &s);

void forward(cudaStream_t stream, __nv_bfloat16 *att, float *lse, uint32_t *largest, const __nv_bfloat16 *qkv,
             const AttentionShape &s, const AttentionDropout &drop, const ForwardPlan &plan);

struct BackwardPlan {
    size_t group; /* heads of keys whose blocks are neighbours, so that dQ's sums stay in the L2 cache */
    bool small;   /* tiles of queries: 32 in place of 64, unless HS is 72 to 96 */
};

/* drops: there is dropout. */
BackwardPlan backward_plan(const AttentionShape &s, bool drops);

void backward(cudaStream_t stream, __nv_bfloat16 *dqkv, const __nv_bfloat16 *datt, const __nv_bfloat16 *qkv,
              const __nv_bfloat16 *att, const float *lse, float *scratch, const AttentionShape &s,
              const AttentionDropout &drop, const BackwardPlan &plan);

} // namespace flash

#endif
