#ifndef CUDA_ON_CPU_CUDA_BF16_H
#define CUDA_ON_CPU_CUDA_BF16_H

#include "cuda_runtime.h"

/* cuda_bf16.h, emulated: the upper half of an fp32, rounded to nearest even as the GPU's cvt.rn.bf16.f32 does. */

struct __nv_bfloat16 {
    unsigned short x;
    __nv_bfloat16() = default;
    __nv_bfloat16(float f)
    {
        const unsigned bits = __float_as_uint(f);
        const bool nan = (bits & 0x7fffffff) > 0x7f800000;
        x = static_cast<unsigned short>(nan ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    }
    __nv_bfloat16(double f) : __nv_bfloat16(static_cast<float>(f)) {}
    __nv_bfloat16(int i) : __nv_bfloat16(static_cast<float>(i)) {}
    operator float() const { return __uint_as_float(static_cast<unsigned>(x) << 16); }
    __nv_bfloat16 &operator+=(__nv_bfloat16 other)
    {
        return *this = static_cast<float>(*this) + static_cast<float>(other);
    }
};
struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};
using nv_bfloat16 = __nv_bfloat16;
using nv_bfloat162 = __nv_bfloat162;

inline __nv_bfloat16 __float2bfloat16(float f) { return f; }
inline __nv_bfloat16 __float2bfloat16_rn(float f) { return f; }
inline float __bfloat162float(__nv_bfloat16 b) { return b; }
inline __nv_bfloat162 __floats2bfloat162_rn(float a, float b) { return {a, b}; }
inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 a, __nv_bfloat16 b) { return {a, b}; }
inline float2 __bfloat1622float2(__nv_bfloat162 b) { return {b.x, b.y}; }
inline float __low2float(__nv_bfloat162 b) { return b.x; }
inline float __high2float(__nv_bfloat162 b) { return b.y; }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 b) { return b.x; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits)
{
    __nv_bfloat16 b;
    b.x = bits;
    return b;
}
inline __nv_bfloat16 __hadd(__nv_bfloat16 a, __nv_bfloat16 b) { return static_cast<float>(a) + static_cast<float>(b); }
inline __nv_bfloat16 __hmul(__nv_bfloat16 a, __nv_bfloat16 b) { return static_cast<float>(a) * static_cast<float>(b); }
inline __nv_bfloat162 __hadd2(__nv_bfloat162 a, __nv_bfloat162 b) { return {__hadd(a.x, b.x), __hadd(a.y, b.y)}; }

inline __nv_bfloat162 atomicAdd(__nv_bfloat162 *p, __nv_bfloat162 v)
{
    return emu::atomically(p, [v](__nv_bfloat162 old) { return __hadd2(old, v); });
}

#endif
