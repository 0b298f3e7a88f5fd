#ifndef EMU_LAUNCH_H
#define EMU_LAUNCH_H

#include <tuple>
#include <utility>

#include "limits.h"
#include "streams.h"

/* Runs the blocks of a grid one after the other. */

namespace emu {

EMU_NO_TSAN inline void prepare_thread(int id, uint3 index)
{
    Thread &t = engine.thread[id];
    t.index = index;
    t.id = id;
    t.started = false;
#ifdef EMU_TSAN
    if (!t.tsan) {
        char name[32];
        snprintf(name, sizeof name, "cuda thread %d", id);
        t.tsan = __tsan_create_fiber(0);
        __tsan_set_fiber_name(t.tsan, name);
    }
#endif
    set_ready(id);
}

EMU_NO_TSAN inline void prepare_threads()
{
    engine.thread_count = engine.alive = static_cast<int>(block_dim.x * block_dim.y * block_dim.z);
    engine.at_barrier = 0;
    engine.votes = Votes();
    memset(engine.ready, 0, sizeof engine.ready);
    int id = 0;
    for (unsigned z = 0; z < block_dim.z; z++)
        for (unsigned y = 0; y < block_dim.y; y++)
            for (unsigned x = 0; x < block_dim.x; x++)
                prepare_thread(id++, {x, y, z});
    for (Warp &warp : engine.warp)
        warp.open_count = 0;
}

/* Shared memory begins as garbage in every block. Sanitizers know nothing of it: __shared__ is plain static there. */
EMU_NO_TSAN inline void fill_shared(const std::vector<Range> &arrays)
{
    for (const Range &array : arrays)
        memset(array.begin, GARBAGE, array.size);
    if (engine.dynamic)
        memset(engine.dynamic, GARBAGE, engine.dynamic_bytes);
}

EMU_NO_TSAN inline void run_block(uint3 index)
{
    engine.blocks++;
    block_index = index;
    prepare_threads();
    release(&engine.begin_sync);
    switch_to(&engine.host_sp, pick(), false);
    acquire(&engine.end_sync);
    engine.running = nullptr;
}

EMU_NO_TSAN inline void run_grid()
{
#ifdef EMU_TSAN
    engine.host_tsan = __tsan_get_current_fiber();
#endif
#if defined(EMU_ASAN) || defined(EMU_TSAN)
    static const std::vector<Range> arrays;
#else
    static const std::vector<Range> arrays = shared_arrays();
#endif
    const uint3 grid = grid_dim;
    const uint64_t blocks = static_cast<uint64_t>(grid.x) * grid.y * grid.z;
    const uint64_t first = engine.order == RANDOM ? random_number() % blocks : 0;
    for (uint64_t k = 0; k < blocks; k++) {
        const uint64_t i = engine.order == REVERSE ? blocks - 1 - k : (k + first) % blocks;
        fill_shared(arrays);
        run_block({static_cast<unsigned>(i % grid.x), static_cast<unsigned>(i / grid.x % grid.y),
                   static_cast<unsigned>(i / grid.x / grid.y)});
        if (sticky_error != cudaSuccess)
            return;
        if (k == 0)
            check_written_arrays(arrays, engine.kernel, engine.dynamic_bytes);
    }
}

template <class T> inline void check_argument(const T &) {}
template <class T> inline void check_argument(T *const &p)
{
    if (p && !on_device(p) && bytes_left(pinned_memory, p) == 0)
        fail("an argument of the launch is %p, which is no device memory", static_cast<const void *>(p));
}

/* Runs kernel(args...) over the grid. The shapes have been checked. */
template <class... Params> void launch(void (*kernel)(Params...), uint3 grid, uint3 block, size_t dynamic_bytes,
                                       std::tuple<Params...> args)
{
    if (engine.running)
        fail("a kernel is launched by a kernel");
    read_order();
    using Call = std::pair<void (*)(Params...), std::tuple<Params...>>;
    Call call(kernel, args);
    engine.kernel = reinterpret_cast<const void *>(kernel);
    engine.body = [](void *p) { std::apply(static_cast<Call *>(p)->first, static_cast<Call *>(p)->second); };
    engine.closure = &call;
    std::apply([](auto &...arg) { (check_argument(arg), ...); }, args);
    grid_dim = grid;
    block_dim = block;
    void *dynamic = nullptr;
    if (dynamic_bytes > 0 && posix_memalign(&dynamic, 128, dynamic_bytes) != 0)
        fail("no memory for %zu bytes of shared memory", dynamic_bytes);
    engine.dynamic = static_cast<char *>(dynamic);
    engine.dynamic_bytes = dynamic_bytes;
    {
        DeviceWork work;
        run_grid();
    }
    free(dynamic);
    engine.dynamic = nullptr;
    engine.kernel = nullptr;
}

} // namespace emu

#endif
