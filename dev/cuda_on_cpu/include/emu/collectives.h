#ifndef EMU_COLLECTIVES_H
#define EMU_COLLECTIVES_H

#include <type_traits>

#include "engine.h"

/* What CUDA threads do together: the barrier of the block, and the collectives of a warp. */

namespace emu {

/* All threads of the block that have not returned must arrive, at the same place in the source. */
EMU_NO_TSAN inline void block_barrier(int vote, const char *what, Site site)
{
    Thread *me = engine.running;
    if (engine.at_barrier == 0) {
        engine.barrier_site = site;
        engine.barrier_thread = me->id;
    } else if (engine.barrier_site.line != site.line || strcmp(engine.barrier_site.file, site.file) != 0) {
        fail("divergent barrier: thread %d is in the one at %s:%d, thread %d in the one at %s:%d",
             engine.barrier_thread, engine.barrier_site.file, engine.barrier_site.line, me->id, site.file, site.line);
    }
    char *sync = &engine.barrier_sync[engine.barriers & 1];
    release(sync);
    engine.votes.count += vote != 0;
    engine.votes.all &= vote != 0;
    engine.votes.any |= vote != 0;
    me->what = what;
    me->site = site;
    set_waiting(me->id, AT_BARRIER);
    if (++engine.at_barrier == engine.alive)
        release_barrier();
    wait_turn();
    acquire(sync);
}

/* Every lane of mask brings a pointer to its argument; the last to come runs the function over all of them. */
EMU_NO_TSAN inline void warp_collective(uint32_t mask, Collective function, void *arg, const char *what, Site site)
{
    Thread *me = engine.running;
    Warp &warp = engine.warp[me->id >> 5];
    const uint32_t bit = 1u << (me->id & 31);
    if (!(mask & bit))
        fail("%s at %s:%d: lane %d is not in its own mask %08x", what, site.file, site.line, me->id & 31, mask);
    warp.arg[me->id & 31] = arg;
    me->what = what;
    me->site = site;
    me->mask = mask;
    int k = 0;
    while (k < warp.open_count && !(warp.open[k].function == function && warp.open[k].mask == mask))
        k++;
    if (k == warp.open_count)
        warp.open[warp.open_count++] = {function, mask, 0};
    warp.open[k].arrived |= bit;
    if (warp.open[k].arrived == mask) {
        warp.open[k] = warp.open[--warp.open_count];
        function(warp.arg, mask);
        for (uint32_t m = mask; m; m &= m - 1)
            set_ready((me->id & ~31) + __builtin_ctz(m));
    } else {
        set_waiting(me->id, IN_COLLECTIVE);
    }
    wait_turn();
}

EMU_NO_TSAN inline void count_sync(void *const *, uint32_t) { engine.warp[engine.running->id >> 5].syncs++; }

/* The one collective that orders memory: a shuffle does not. */
EMU_NO_TSAN inline void syncwarp(uint32_t mask, Site site)
{
    Warp &warp = engine.warp[engine.running->id >> 5];
    char *sync = &warp.sync[warp.syncs & 1];
    release(sync);
    warp_collective(mask, count_sync, nullptr, "__syncwarp", site);
    acquire(sync);
}

/* ---- shuffles, reductions, ballots ---- */

template <class T> struct Shuffle {
    T value;
    int source; /* lane */
};

template <class T> EMU_NO_TSAN void shuffle_lanes(void *const *lane_arg, uint32_t mask)
{
    T out[32];
    for (uint32_t m = mask; m; m &= m - 1) {
        const int to = __builtin_ctz(m), from = static_cast<Shuffle<T> *>(lane_arg[to])->source;
        if (!(mask >> from & 1))
            fail("shuffle: lane %d reads lane %d, which is not in mask %08x", to, from, mask);
        out[to] = static_cast<Shuffle<T> *>(lane_arg[from])->value;
    }
    for (uint32_t m = mask; m; m &= m - 1)
        static_cast<Shuffle<T> *>(lane_arg[__builtin_ctz(m)])->value = out[__builtin_ctz(m)];
}

template <class T> inline T shuffle(unsigned mask, T value, int source, const char *what, Site site)
{
    static_assert(std::is_trivially_copyable<T>::value && sizeof(T) <= 8, "CUDA shuffles up to 8 bytes");
    Shuffle<T> arg{value, source};
    warp_collective(mask, shuffle_lanes<T>, &arg, what, site);
    return arg.value;
}

template <class T, class Op> EMU_NO_TSAN void reduce_lanes(void *const *lane_arg, uint32_t mask)
{
    T result = *static_cast<T *>(lane_arg[__builtin_ctz(mask)]);
    for (uint32_t m = mask & (mask - 1); m; m &= m - 1)
        result = Op{}(result, *static_cast<T *>(lane_arg[__builtin_ctz(m)]));
    for (uint32_t m = mask; m; m &= m - 1)
        *static_cast<T *>(lane_arg[__builtin_ctz(m)]) = result;
}

template <class T, class Op> inline T reduce(unsigned mask, T value, const char *what, Site site)
{
    warp_collective(mask, reduce_lanes<T, Op>, &value, what, site);
    return value;
}

EMU_NO_TSAN inline void ballot_lanes(void *const *lane_arg, uint32_t mask)
{
    uint32_t result = 0;
    for (uint32_t m = mask; m; m &= m - 1)
        if (*static_cast<uint32_t *>(lane_arg[__builtin_ctz(m)]))
            result |= m & -m;
    for (uint32_t m = mask; m; m &= m - 1)
        *static_cast<uint32_t *>(lane_arg[__builtin_ctz(m)]) = result;
}

} // namespace emu

#endif
