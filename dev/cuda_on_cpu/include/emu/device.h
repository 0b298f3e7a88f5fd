#ifndef EMU_DEVICE_H
#define EMU_DEVICE_H

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory> /* before the macros below: libstdc++ has an attribute __noinline__ */

#include "collectives.h"
#include "limits.h"

/* The language of kernels: qualifiers, vector types, barriers, shuffles, atomics, arithmetic. */

#define __host__
#define __device__
#define __global__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))
#if defined(EMU_ASAN) || defined(EMU_TSAN)
#define __shared__ static /* gets red zones */
#else
#define __shared__ static thread_local /* is found by shared_arrays() and filled with garbage */
#endif

/* ---- types ---- */

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned nx = 1, unsigned ny = 1, unsigned nz = 1) : x(nx), y(ny), z(nz) {}
};

#define EMU_VECTORS(T, NAME, ALIGN2, ALIGN4)                                                                           \
    struct alignas(ALIGN2) NAME##2 {                                                                                   \
        T x, y;                                                                                                        \
    };                                                                                                                 \
    struct alignas(ALIGN4) NAME##4 {                                                                                   \
        T x, y, z, w;                                                                                                  \
    };                                                                                                                 \
    inline NAME##2 make_##NAME##2(T x, T y) { return {x, y}; }                                                         \
    inline NAME##4 make_##NAME##4(T x, T y, T z, T w) { return {x, y, z, w}; }
EMU_VECTORS(float, float, 8, 16)
EMU_VECTORS(int, int, 8, 16)
EMU_VECTORS(unsigned, uint, 8, 16)
EMU_VECTORS(unsigned short, ushort, 4, 8)
#undef EMU_VECTORS

inline auto &threadIdx = emu::thread_index;
inline auto &blockIdx = emu::block_index;
inline auto &blockDim = emu::block_dim;
inline auto &gridDim = emu::grid_dim;
constexpr int warpSize = 32;

/* Shared memory of the size given at the launch. */
template <class T> inline T *dynamic_shared() { return reinterpret_cast<T *>(emu::engine.dynamic); }

/* ---- barriers and fences ---- */

inline void __syncthreads(EMU_SITE) { emu::block_barrier(0, "__syncthreads", site); }
inline int __syncthreads_count(int vote, EMU_SITE)
{
    emu::block_barrier(vote, "__syncthreads_count", site);
    return emu::engine.result.count;
}
inline int __syncthreads_and(int vote, EMU_SITE)
{
    emu::block_barrier(vote, "__syncthreads_and", site);
    return emu::engine.result.all;
}
inline int __syncthreads_or(int vote, EMU_SITE)
{
    emu::block_barrier(vote, "__syncthreads_or", site);
    return emu::engine.result.any;
}
inline void __syncwarp(unsigned mask = ~0u, EMU_SITE) { emu::syncwarp(mask, site); }
/* Ends the grid. */
[[noreturn]] inline void __trap() { emu::trap(cudaErrorLaunchFailure); }
inline void __threadfence() { asm volatile("" ::: "memory"); }
inline void __threadfence_block() { asm volatile("" ::: "memory"); }
inline void __threadfence_system() { asm volatile("" ::: "memory"); }

/* ---- warps: `width` cuts them into parts that shuffle among themselves ---- */

template <class T> inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, EMU_SITE)
{
    const int first = emu::lane() & ~(width - 1);
    return emu::shuffle(mask, value, first | (source & (width - 1)), "__shfl_sync", site);
}
template <class T> inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, EMU_SITE)
{
    const int lane = emu::lane(), source = lane - static_cast<int>(delta), first = lane & ~(width - 1);
    return emu::shuffle(mask, value, source < first ? lane : source, "__shfl_up_sync", site);
}
template <class T> inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, EMU_SITE)
{
    const int lane = emu::lane(), source = lane + static_cast<int>(delta), last = lane | (width - 1);
    return emu::shuffle(mask, value, source > last ? lane : source, "__shfl_down_sync", site);
}
template <class T> inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, EMU_SITE)
{
    const int lane = emu::lane(), source = lane ^ bits, last = lane | (width - 1);
    return emu::shuffle(mask, value, source > last ? lane : source, "__shfl_xor_sync", site);
}

inline unsigned __ballot_sync(unsigned mask, int vote, EMU_SITE)
{
    uint32_t ballot = vote != 0;
    emu::warp_collective(mask, emu::ballot_lanes, &ballot, "__ballot_sync", site);
    return ballot;
}
inline int __any_sync(unsigned mask, int vote, EMU_SITE) { return __ballot_sync(mask, vote, site) != 0; }
inline int __all_sync(unsigned mask, int vote, EMU_SITE) { return __ballot_sync(mask, vote, site) == mask; }

namespace emu {
struct Add {
    template <class T> T operator()(T a, T b) const { return a + b; }
};
struct Max {
    template <class T> T operator()(T a, T b) const { return a > b ? a : b; }
};
struct Min {
    template <class T> T operator()(T a, T b) const { return a < b ? a : b; }
};
} // namespace emu
#define EMU_REDUCE(NAME, T, OP)                                                                                        \
    inline T NAME(unsigned mask, T value, EMU_SITE)                                                                    \
    {                                                                                                                  \
        emu::require_sm80(#NAME);                                                                                      \
        return emu::reduce<T, emu::OP>(mask, value, #NAME, site);                                                      \
    }
EMU_REDUCE(__reduce_add_sync, int, Add)
EMU_REDUCE(__reduce_max_sync, int, Max)
EMU_REDUCE(__reduce_min_sync, int, Min)
EMU_REDUCE(__reduce_add_sync, unsigned, Add)
EMU_REDUCE(__reduce_max_sync, unsigned, Max)
EMU_REDUCE(__reduce_min_sync, unsigned, Min)
#undef EMU_REDUCE

/* ---- atomics: CUDA threads take turns, so a plain operation is atomic; ThreadSanitizer must see a real one ---- */

namespace emu {
template <class T> using Same = typename std::common_type<T>::type; /* takes no part in finding out T */

#ifdef EMU_TSAN
template <class T, class F> inline T atomically(T *p, F f)
{
    using Bits = std::conditional_t<sizeof(T) == 8, uint64_t, std::conditional_t<sizeof(T) == 4, uint32_t, uint16_t>>;
    Bits old_bits = __atomic_load_n(reinterpret_cast<Bits *>(p), __ATOMIC_RELAXED), new_bits;
    T old_value;
    do {
        memcpy(&old_value, &old_bits, sizeof old_bits);
        const T new_value = f(old_value);
        memcpy(&new_bits, &new_value, sizeof new_bits);
    } while (!__atomic_compare_exchange_n(reinterpret_cast<Bits *>(p), &old_bits, new_bits, false, __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED));
    return old_value;
}
#else
template <class T, class F> inline T atomically(T *p, F f)
{
    const T old_value = *p;
    *p = f(old_value);
    return old_value;
}
#endif
} // namespace emu

template <class T> inline T atomicAdd(T *p, emu::Same<T> v)
{
    return emu::atomically(p, [v](T old) { return static_cast<T>(old + v); });
}
template <class T> inline T atomicMax(T *p, emu::Same<T> v)
{
    return emu::atomically(p, [v](T old) { return std::max(old, v); });
}
template <class T> inline T atomicMin(T *p, emu::Same<T> v)
{
    return emu::atomically(p, [v](T old) { return std::min(old, v); });
}
template <class T> inline T atomicExch(T *p, emu::Same<T> v)
{
    return emu::atomically(p, [v](T) { return v; });
}
template <class T> inline T atomicCAS(T *p, emu::Same<T> expected, emu::Same<T> v)
{
    return emu::atomically(p, [expected, v](T old) { return old == expected ? v : old; });
}
inline unsigned atomicInc(unsigned *p, unsigned last)
{
    return emu::atomically(p, [last](unsigned old) { return old >= last ? 0u : old + 1; });
}

/* ---- arithmetic: what is approximate on a GPU is exact to the last bit or so here ---- */

using std::max;
using std::min;

#if !defined(__GLIBC__) || __GLIBC__ * 100 + __GLIBC_MINOR__ < 242 /* later ones have it */
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
#endif
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline int __float2int_rn(float x) { return static_cast<int>(nearbyintf(x)); }

inline unsigned __float_as_uint(float x)
{
    unsigned bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
inline float __uint_as_float(unsigned bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
inline int __float_as_int(float x) { return static_cast<int>(__float_as_uint(x)); }
inline float __int_as_float(int bits) { return __uint_as_float(static_cast<unsigned>(bits)); }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32); }

/* Loads and stores with a hint for the cache. */
template <class T> inline T __ldg(const T *p) { return *p; }
template <class T> inline T __ldcs(const T *p) { return *p; }
template <class T> inline T __ldcg(const T *p) { return *p; }
template <class T> inline void __stcs(T *p, emu::Same<T> v) { *p = v; }
template <class T> inline void __stcg(T *p, emu::Same<T> v) { *p = v; }

#endif
