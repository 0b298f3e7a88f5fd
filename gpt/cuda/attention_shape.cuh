#ifndef GPT_CUDA_ATTENTION_SHAPE_CUH
#define GPT_CUDA_ATTENTION_SHAPE_CUH

#include "base/hd.h"

#include <cstddef>

/*
 * The sizes of causal attention. Rows of qkv have S = (NH + 2 KVH) HS channels: NH heads of queries, KVH of keys, KVH
 * of values; head h of the queries reads head h / (NH / KVH) of the keys and values (Ainslie et al. 2023), so KVH
 * divides NH. Rows of its output have C = NH HS. Scores are scale q k, scale > 0.
 */
struct AttentionShape {
    size_t B, T, NH, KVH, HS;
    float scale;
};

HD inline size_t attention_width(const AttentionShape &s) { return s.NH * s.HS; }
HD inline size_t attention_row(const AttentionShape &s) { return (s.NH + 2 * s.KVH) * s.HS; }

#endif
