#ifndef GPT_CUDA_SCORE_CUH
#define GPT_CUDA_SCORE_CUH

#include "base/hd.h"

#include <cmath>
#include <cstdint>
#include <cstring>

/*
 * The largest of many scores, in whichever order blocks come to it: atomicMax on integers that are ordered as the
 * floats are. NaN is above all, and 0, no float's, below: no score.
 */

/* Of the largest score of a softmax whose exponentials have that sum: NaN's if it is not a number. */
HD inline uint32_t score_key(float largest, float sum)
{
    uint32_t bits;
    memcpy(&bits, &largest, sizeof bits);
    return sum != sum ? 0xffffffffu : bits >> 31 ? ~bits : bits | 0x80000000u;
}

/* The score of a key. */
HD inline float score_of(uint32_t key)
{
    const uint32_t bits = key == 0 ? 0xff800000u : key >> 31 ? key & 0x7fffffffu : ~key; /* -Inf, >= 0, < 0 */
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Called by a whole warp, each thread with a key or 0: *largest becomes at least the largest. */
__device__ inline void score_record(uint32_t *largest, uint32_t key)
{
#pragma unroll
    for (int offset = 16; offset > 0; offset >>= 1) {
        const uint32_t other = __shfl_xor_sync(0xffffffffu, key, offset);
        key = other > key ? other : key;
    }
    if (threadIdx.x % 32 == 0)
        atomicMax(largest, key);
}

#endif
