#ifndef GPT_CUDA_ATTENTION_CUH
#define GPT_CUDA_ATTENTION_CUH

#include <cstddef>
#include <cuda_runtime.h>

/*
 * Causal attention in fp32 (Vaswani et al. 2017), as in FlashAttention (Dao et al. 2022): no (T,T) array exists; the
 * backward pass recomputes the probabilities from lse. For comparisons and for GPUs without bf16.
 *
 * qkv, dqkv (B,T,3C): rows of q, k, v side by side, head h of each at columns h*HS, HS = C/NH; att, datt (B,T,C);
 * lse (B,NH,T), the log of the softmax's denominator.
 */

/* Heads of at most 128 channels. */
bool attention_fp32_takes(size_t HS);

/* Bytes of shared memory that its largest block needs. */
size_t attention_fp32_shared(size_t HS);

/* att = softmax(q k^T / sqrt(HS), over the keys up to the query's own) v; and lse. */
void attention_fp32_forward(cudaStream_t stream, float *att, float *lse, const float *qkv, size_t B, size_t T, size_t C,
                            size_t NH);

/* Floats of scratch that the backward pass needs. */
size_t attention_fp32_scratch(size_t B, size_t T, size_t C, size_t NH);

/* dqkv, from datt, the gradient of att, and the inputs and outputs of attention_fp32_forward. */
void attention_fp32_backward(cudaStream_t stream, float *dqkv, const float *datt, const float *qkv, const float *att,
                             const float *lse, float *scratch, size_t B, size_t T, size_t C, size_t NH);

#endif
