#ifndef EMU_STREAMS_H
#define EMU_STREAMS_H

#include <deque>
#include <functional>
#include <memory>

#include "memory.h"

/*
 * Streams: queues of work. Eager, the default: work is done when the call that asks for it returns. Lazy
 * (CUDA_ON_CPU_STREAMS=lazy): it is done when something waits for it, as late as CUDA allows, so that a program that
 * forgets to wait gets wrong results. A stream that captures does none of its work: it records it for a graph.
 */

enum { cudaStreamDefault = 0, cudaStreamNonBlocking = 1 };
enum cudaStreamCaptureMode {
    cudaStreamCaptureModeGlobal,
    cudaStreamCaptureModeThreadLocal,
    cudaStreamCaptureModeRelaxed
};
enum cudaStreamCaptureStatus {
    cudaStreamCaptureStatusNone,
    cudaStreamCaptureStatusActive,
    cudaStreamCaptureStatusInvalidated
};

struct emu_stream;
typedef emu_stream *cudaStream_t; /* nullptr: the legacy default stream */

namespace emu {

using Work = std::function<void()>;

/* The first `count` works of the stream. */
struct Prefix {
    emu_stream *stream;
    uint64_t count;
};
struct Item {
    Work work;
    std::vector<Prefix> after; /* what must be done first, besides the stream's own earlier works */
};

} // namespace emu

struct emu_stream {
    unsigned flags = cudaStreamDefault;
    bool destroyed = false;
    uint64_t issued = 0, done = 0; /* works so far */
    std::deque<emu::Item> queue;   /* those issued and not done */
    cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
    cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
    uint64_t capture_id = 0;
    std::vector<emu::Work> captured;
    bool blocking() const { return flags != cudaStreamNonBlocking; } /* waits for the legacy stream, and it for this */
};

namespace emu {

/* All that ever were, and first the legacy stream: a destroyed one may still have work to do. */
inline std::deque<emu_stream> &streams()
{
    static std::deque<emu_stream> all(1);
    return all;
}
inline emu_stream *legacy_stream() { return &streams().front(); }
inline emu_stream *find_stream(cudaStream_t stream) { return stream ? stream : legacy_stream(); }

inline bool environment_lazy()
{
    const char *text = getenv("CUDA_ON_CPU_STREAMS");
    if (text && strcmp(text, "eager") != 0 && strcmp(text, "lazy") != 0)
        fail("CUDA_ON_CPU_STREAMS is '%s', not eager or lazy", text);
    return text && strcmp(text, "lazy") == 0;
}
inline bool &lazy()
{
    static bool lazily = environment_lazy();
    return lazily;
}

/*
 * CUDA_ON_CPU_ORDER: forward (as without it), reverse or random. CUDA_ON_CPU_SEED: that of random, 1 without it.
 * Read once, at the first launch or wait; set_order comes first.
 */
inline void read_order()
{
    if (engine.order_known)
        return;
    const char *order = getenv("CUDA_ON_CPU_ORDER"), *seed = getenv("CUDA_ON_CPU_SEED");
    const uint64_t number = seed ? strtoull(seed, nullptr, 10) : 1;
    if (!order || strcmp(order, "forward") == 0)
        set_order(FORWARD);
    else if (strcmp(order, "reverse") == 0)
        set_order(REVERSE);
    else if (strcmp(order, "random") == 0)
        set_order(RANDOM, number);
    else
        fail("CUDA_ON_CPU_ORDER is '%s', not forward, reverse or random", order);
}

/* ---- work that is done ---- */

inline int works_running = 0; /* one, or more where one's turn comes within another's */

inline void run_until(emu_stream *s, uint64_t count)
{
    while (s->done < count) {
        const Item item = std::move(s->queue.front());
        s->queue.pop_front();
        for (const Prefix &first : item.after)
            run_until(first.stream, first.count);
        works_running++;
        if (sticky_error == cudaSuccess)
            item.work();
        works_running--;
        s->done++;
    }
}

/* All work of all streams, of the blocking ones alone if so said. Streams know no order among them but what waits
 * make, so they take their turns in the order in which threads do. */
inline void run_all(bool blocking_only = false)
{
    read_order();
    const size_t n = streams().size(), first = engine.order == RANDOM ? random_number() % n : 0;
    for (size_t k = 0; k < n; k++) {
        emu_stream *s = &streams()[engine.order == REVERSE ? n - 1 - k : (k + first) % n];
        if (!blocking_only || s->blocking())
            run_until(s, s->issued);
    }
}

/* What has been asked of the stream until now is done when this returns. */
inline void run_stream(emu_stream *s)
{
    if (s == legacy_stream())
        run_all(true);
    else
        run_until(s, s->issued);
}

inline void push(emu_stream *s, Work work, std::vector<Prefix> after = {})
{
    emu_stream *legacy = legacy_stream();
    if (s == legacy) {
        for (emu_stream &other : streams())
            if (&other != legacy && other.blocking() && other.done < other.issued)
                after.push_back({&other, other.issued});
    } else if (s->blocking() && legacy->done < legacy->issued) {
        after.push_back({legacy, legacy->issued});
    }
    s->queue.push_back({std::move(work), std::move(after)});
    s->issued++;
    if (!lazy())
        run_until(s, s->issued);
}

/* ---- captures ---- */

inline uint64_t captures = 0; /* so far */

inline bool is_capturing(const emu_stream *s) { return s->capture != cudaStreamCaptureStatusNone; }
inline void invalidate(emu_stream *s)
{
    if (is_capturing(s))
        s->capture = cudaStreamCaptureStatusInvalidated;
}

/* Returns `e` and invalidates the captures for which `forbidden` holds; cudaSuccess when there are none. */
template <class F> inline cudaError_t forbid(cudaError_t e, F forbidden)
{
    bool any = false;
    for (emu_stream &s : streams())
        if (is_capturing(&s) && forbidden(s)) {
            invalidate(&s);
            any = true;
        }
    return any ? error(e) : cudaSuccess;
}

/* The legacy stream would wait for what blocking streams capture. */
inline cudaError_t forbid_legacy()
{
    return forbid(cudaErrorStreamCaptureImplicit, [](const emu_stream &s) { return s.blocking(); });
}
/* Calls that no capture could repeat, such as cudaMalloc: only a relaxed one bears with them. */
inline cudaError_t forbid_unsafe()
{
    return forbid(cudaErrorStreamCaptureUnsupported,
                  [](const emu_stream &s) { return s.mode != cudaStreamCaptureModeRelaxed; });
}
/* Waits for all streams. */
inline cudaError_t forbid_all()
{
    return forbid(cudaErrorStreamCaptureUnsupported, [](const emu_stream &) { return true; });
}

/*
 * Gives a stream work, to be done by its turn or, when the stream captures, at every launch of the graph. The closure
 * holds by value all that the call was given, for it runs after the call has returned. This is the way of every
 * emulated function that works on a stream, of libraries too. Outside captures `after` may name other streams' works
 * that must be done first.
 */
inline cudaError_t enqueue(cudaStream_t stream, Work work, std::vector<Prefix> after = {})
{
    emu_stream *s = find_stream(stream);
    if (device_error() != cudaSuccess)
        return error(device_error());
    if (s->destroyed)
        return error(cudaErrorInvalidResourceHandle);
    if (s->capture == cudaStreamCaptureStatusInvalidated)
        return error(cudaErrorStreamCaptureInvalidated);
    if (is_capturing(s)) {
        s->captured.push_back(std::move(work));
        return cudaSuccess;
    }
    if (s == legacy_stream()) {
        const cudaError_t e = forbid_legacy();
        if (e != cudaSuccess)
            return e;
    }
    push(s, std::move(work), std::move(after));
    return cudaSuccess;
}

/* While one lives, the device's memory may be touched. A function that does not use enqueue waits for all work. */
struct DeviceWork {
    DeviceWork()
    {
        if (works_running == 0) {
            for (const emu_stream &s : streams())
                if (is_capturing(&s))
                    fail("a function that captures do not record is called during a capture");
            run_all();
        }
        for (const auto &[p, bytes] : device_memory)
            unpoison(p, bytes);
    }
    ~DeviceWork()
    {
        for (const auto &[p, bytes] : device_memory)
            poison(p, bytes);
    }
    DeviceWork(const DeviceWork &) = delete;
};

} // namespace emu

#endif
