#ifndef GPT_CUDA_ATTENTION_SHAPE_CUH
#define GPT_CUDA_ATTENTION_SHAPE_CUH

#include "base/hd.h"
#include "gpt/dropout.h"

#include <cstddef>
#include <cstdint>
#include <cuda_runtime.h>

/*
 * The sizes of causal attention. Rows of qkv have S = (NH + 2 KVH) HS channels: NH heads of queries, KVH of keys, KVH
 * of values; head h of the queries reads head h / (NH / KVH) of the keys and values (Ainslie et al. 2023), so KVH
 * divides NH. Rows of its output have C = NH HS. Scores are scale q k, scale > 0.
 */
struct AttentionShape {
    size_t B, T, NH, KVH, HS;
    float scale;
};

/*
 * Dropout of the probabilities (gpt/dropout.h), after the softmax, whose sums and lse know nothing of it. pass: on the
 * device, the pass's key and the number of its first sequence in the step, which a captured graph thus reads anew.
 * threshold 0: none; pass is then not read, and the kernels are others, without dropout.
 */
struct AttentionDropout {
    const uint64_t *pass;
    size_t layer;
    uint32_t threshold;
    float scale;
};

/* What a kernel makes of it, if threshold > 0, for heads NH and sequences of T; dropout_row's row is (b NH + head) T +
 * query. */
__device__ inline Dropout attention_dropout(const AttentionDropout &d, size_t NH, size_t T)
{
    return {dropout_site_key(d.pass[0], d.layer, DROPOUT_ATTENTION), (size_t)d.pass[1] * NH * T, d.threshold, d.scale};
}

HD inline size_t attention_width(const AttentionShape &s) { return s.NH * s.HS; }
HD inline size_t attention_row(const AttentionShape &s) { return (s.NH + 2 * s.KVH) * s.HS; }

#endif
