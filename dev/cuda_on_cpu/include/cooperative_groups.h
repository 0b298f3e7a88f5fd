#ifndef CUDA_ON_CPU_COOPERATIVE_GROUPS_H
#define CUDA_ON_CPU_COOPERATIVE_GROUPS_H

#include "cuda_runtime.h"

/* cooperative_groups.h, emulated: the block, and tiles of at most 32 of its threads. */

namespace cooperative_groups {

struct thread_block {
    void sync(EMU_SITE) const { emu::block_barrier(0, "thread_block::sync", site); }
    unsigned thread_rank() const { return static_cast<unsigned>(emu::engine.running->id); }
    unsigned size() const { return blockDim.x * blockDim.y * blockDim.z; }
};
inline thread_block this_thread_block() { return {}; }

template <unsigned N, class Parent = thread_block> struct thread_block_tile {
    static_assert(N > 0 && N <= 32 && (N & (N - 1)) == 0, "a tile has 1, 2, 4, 8, 16 or 32 threads");
    unsigned first() const { return static_cast<unsigned>(emu::lane()) & ~(N - 1); } /* lane of the warp */
    unsigned mask() const { return ~0u >> (32 - N) << first(); }
    unsigned thread_rank() const { return static_cast<unsigned>(emu::lane()) % N; }
    unsigned size() const { return N; }
    unsigned meta_group_rank() const { return static_cast<unsigned>(emu::engine.running->id) / N; }
    unsigned meta_group_size() const { return (thread_block().size() + N - 1) / N; }
    void sync(EMU_SITE) const { emu::syncwarp(mask(), site); }
    template <class T> T shfl(T v, int source, EMU_SITE) const { return __shfl_sync(mask(), v, source, N, site); }
    template <class T> T shfl_up(T v, unsigned d, EMU_SITE) const { return __shfl_up_sync(mask(), v, d, N, site); }
    template <class T> T shfl_down(T v, unsigned d, EMU_SITE) const { return __shfl_down_sync(mask(), v, d, N, site); }
    template <class T> T shfl_xor(T v, int bits, EMU_SITE) const { return __shfl_xor_sync(mask(), v, bits, N, site); }
    unsigned ballot(int vote, EMU_SITE) const { return __ballot_sync(mask(), vote, site) >> first(); }
    bool any(int vote, EMU_SITE) const { return __ballot_sync(mask(), vote, site) != 0; }
    bool all(int vote, EMU_SITE) const { return __ballot_sync(mask(), vote, site) == mask(); }
};
template <unsigned N, class Parent> inline thread_block_tile<N, Parent> tiled_partition(const Parent &) { return {}; }

template <class T> struct plus {
    T operator()(T a, T b) const { return a + b; }
};
template <class T> struct greater {
    T operator()(T a, T b) const { return a > b ? a : b; }
};
template <class T> struct less {
    T operator()(T a, T b) const { return a < b ? a : b; }
};
template <class Group, class T, class Op> inline T reduce(const Group &group, T value, Op, EMU_SITE)
{
    return emu::reduce<T, Op>(group.mask(), value, "cooperative_groups::reduce", site);
}

} // namespace cooperative_groups

#endif
