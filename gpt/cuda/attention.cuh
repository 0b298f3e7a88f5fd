#ifndef GPT_CUDA_ATTENTION_CUH
#define GPT_CUDA_ATTENTION_CUH

#include "gpt/cuda/attention_shape.cuh"

#include <cuda_runtime.h>

/*
 * Causal attention in fp32 (Vaswani et al. 2017), as in FlashAttention (Dao et al. 2022): no (T,T) array exists; the
 * backward pass recomputes the probabilities from lse. For comparisons and for GPUs without bf16.
 *
 * qkv, dqkv (B,T,S): rows of q, k, v side by side, head h of each at columns h*HS; att, datt (B,T,C); lse (B,NH,T), the
 * log of the softmax's denominator. For S, C and the heads see AttentionShape. Dropout must be the same in both passes.
 * Results are bit-reproducible.
 */

/* Heads of at most 128 channels. */
bool attention_fp32_takes(size_t HS);

/* Bytes of shared memory that its largest block needs. */
size_t attention_fp32_shared(size_t HS);

/* att = dropout(softmax(scale q k^T, over the keys up to the query's own)) v; and lse. largest (NH), unless NULL: keys
 * (gpt/cuda/score.cuh) that become at least those of each head's largest score, of NaN where lse is NaN. */
void attention_fp32_forward(cudaStream_t stream, float *att, float *lse, uint32_t *largest, const float *qkv,
                            const AttentionShape &s, const AttentionDropout &drop);

/* Floats of scratch that the backward pass needs. */
size_t attention_fp32_scratch(const AttentionShape &s);

/* dqkv, from datt, the gradient of att, and the inputs and outputs of attention_fp32_forward. */
void attention_fp32_backward(cudaStream_t stream, float *dqkv, const float *datt, const float *qkv, const float *att,
                             const float *lse, float *scratch, const AttentionShape &s, const AttentionDropout &drop);

#endif
