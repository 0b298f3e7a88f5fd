#ifndef EMU_HOST_H
#define EMU_HOST_H

#include <cstdint>
#include <ctime>

#include "device.h"
#include "launch.h"

/* The runtime's functions for the host: devices, memory, streams, events, launches, graphs. */

#define EMU_TRY(CALL)                                                                                                  \
    do {                                                                                                               \
        const cudaError_t error_ = (CALL);                                                                             \
        if (error_ != cudaSuccess)                                                                                     \
            return emu::error(error_);                                                                                 \
    } while (0)

/* ---- devices ---- */

struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem, sharedMemPerBlock;
    int regsPerBlock, warpSize, maxThreadsPerBlock, maxThreadsDim[3], maxGridSize[3];
    size_t totalConstMem;
    int major, minor, multiProcessorCount, integrated, canMapHostMemory, concurrentKernels, ECCEnabled;
    int pciBusID, pciDeviceID, pciDomainID, asyncEngineCount, unifiedAddressing, memoryBusWidth, l2CacheSize;
    int maxThreadsPerMultiProcessor;
    size_t sharedMemPerMultiprocessor;
    int regsPerMultiprocessor;
    size_t sharedMemPerBlockOptin;
    int maxBlocksPerMultiProcessor;
    size_t reservedSharedMemPerBlock;
};

namespace emu {
inline int current_device = 0;
constexpr int MULTIPROCESSORS = 2; /* few, so that loops over the grid go round in tests */
constexpr int L2_BYTES = 1 << 20, BUS_BITS = 64, CLOCK_KHZ = 1000000;
} // namespace emu

inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device)
{
    *p = {};
    EMU_TRY(emu::device_error());
    const emu::Gpu &gpu = emu::gpu();
    if (device < 0 || device >= gpu.count)
        return emu::error(cudaErrorInvalidDevice);
    snprintf(p->name, sizeof p->name, "%s", gpu.name.c_str());
    p->totalGlobalMem = gpu.memory;
    p->sharedMemPerBlock = emu::SHARED_BYTES;
    p->sharedMemPerBlockOptin = gpu.shared_optin;
    p->sharedMemPerMultiprocessor = gpu.shared_sm;
    p->reservedSharedMemPerBlock = gpu.shared_sm - gpu.shared_optin;
    p->regsPerBlock = p->regsPerMultiprocessor = 65536;
    p->warpSize = 32;
    p->maxThreadsPerBlock = emu::MAX_THREADS;
    p->maxThreadsPerMultiProcessor = gpu.threads_sm;
    p->maxBlocksPerMultiProcessor = gpu.threads_sm / 64;
    const int block[3] = {1024, 1024, 64}, grid[3] = {0x7fffffff, 65535, 65535};
    memcpy(p->maxThreadsDim, block, sizeof block);
    memcpy(p->maxGridSize, grid, sizeof grid);
    p->totalConstMem = 65536;
    p->multiProcessorCount = emu::MULTIPROCESSORS;
    p->major = gpu.major;
    p->minor = gpu.minor;
    p->canMapHostMemory = p->concurrentKernels = p->unifiedAddressing = p->asyncEngineCount = 1;
    p->pciBusID = device + 1;
    p->memoryBusWidth = emu::BUS_BITS;
    p->l2CacheSize = emu::L2_BYTES;
    return cudaSuccess;
}

enum cudaDeviceAttr {
    cudaDevAttrClockRate = 13,
    cudaDevAttrMultiProcessorCount = 16,
    cudaDevAttrMemoryClockRate = 36,
    cudaDevAttrGlobalMemoryBusWidth = 37,
    cudaDevAttrL2CacheSize = 38,
    cudaDevAttrComputeCapabilityMajor = 75,
    cudaDevAttrComputeCapabilityMinor = 76,
    cudaDevAttrMaxSharedMemoryPerBlockOptin = 97
};
inline cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device)
{
    cudaDeviceProp p;
    *value = 0;
    EMU_TRY(cudaGetDeviceProperties(&p, device));
    switch (attribute) {
    case cudaDevAttrClockRate:
    case cudaDevAttrMemoryClockRate: *value = emu::CLOCK_KHZ; break;
    case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; break;
    case cudaDevAttrGlobalMemoryBusWidth: *value = p.memoryBusWidth; break;
    case cudaDevAttrL2CacheSize: *value = p.l2CacheSize; break;
    case cudaDevAttrComputeCapabilityMajor: *value = p.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = p.minor; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = static_cast<int>(p.sharedMemPerBlockOptin); break;
    default: return emu::error(cudaErrorInvalidValue);
    }
    return cudaSuccess;
}

inline cudaError_t cudaGetDeviceCount(int *count)
{
    *count = 0;
    EMU_TRY(emu::device_error());
    *count = emu::gpu().count;
    return cudaSuccess;
}
inline cudaError_t cudaGetDevice(int *device)
{
    *device = 0;
    EMU_TRY(emu::device_error());
    *device = emu::current_device;
    return cudaSuccess;
}
inline cudaError_t cudaSetDevice(int device)
{
    EMU_TRY(emu::device_error());
    if (device < 0 || device >= emu::gpu().count)
        return emu::error(cudaErrorInvalidDevice);
    emu::current_device = device;
    return cudaSuccess;
}
inline cudaError_t cudaDeviceSynchronize()
{
    EMU_TRY(emu::device_error());
    EMU_TRY(emu::forbid_all());
    emu::run_all();
    return emu::device_error();
}
inline cudaError_t cudaDriverGetVersion(int *version)
{
    *version = emu::gpu().driver;
    return cudaSuccess;
}
inline cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = emu::RUNTIME_VERSION;
    return cudaSuccess;
}

/* ---- memory ---- */

template <class T> inline cudaError_t cudaMalloc(T **p, size_t bytes)
{
    *p = nullptr;
    EMU_TRY(emu::device_error());
    EMU_TRY(emu::forbid_unsafe());
    if (bytes == 0)
        return cudaSuccess;
    void *memory = emu::has_room(bytes) ? emu::allocate(emu::device_memory, bytes) : nullptr;
    if (!memory)
        return emu::error(cudaErrorMemoryAllocation);
    emu::taken.add(bytes);
    emu::poison(memory, bytes);
    *p = static_cast<T *>(memory);
    return cudaSuccess;
}

/* Waits for the device first, as CUDA's does. */
inline cudaError_t cudaFree(void *p)
{
    EMU_TRY(emu::device_error());
    EMU_TRY(emu::forbid_unsafe());
    emu::run_all();
    EMU_TRY(emu::device_error());
    const size_t bytes = emu::bytes_left(emu::device_memory, p);
    if (p && !emu::release_memory(emu::device_memory, p))
        return emu::error(cudaErrorInvalidValue);
    emu::taken.subtract(bytes);
    return cudaSuccess;
}

enum { cudaHostAllocDefault = 0, cudaHostAllocPortable = 1, cudaHostAllocMapped = 2, cudaHostAllocWriteCombined = 4 };

template <class T> inline cudaError_t cudaHostAlloc(T **p, size_t bytes, unsigned)
{
    *p = nullptr;
    EMU_TRY(emu::device_error());
    EMU_TRY(emu::forbid_unsafe());
    *p = static_cast<T *>(emu::allocate(emu::pinned_memory, bytes > 0 ? bytes : 1));
    return *p ? cudaSuccess : emu::error(cudaErrorMemoryAllocation);
}
template <class T> inline cudaError_t cudaMallocHost(T **p, size_t bytes, unsigned flags = cudaHostAllocDefault)
{
    return cudaHostAlloc(p, bytes, flags);
}
inline cudaError_t cudaFreeHost(void *p)
{
    EMU_TRY(emu::device_error());
    EMU_TRY(emu::forbid_unsafe());
    emu::run_all();
    return !p || emu::release_memory(emu::pinned_memory, p) ? cudaSuccess : emu::error(cudaErrorInvalidValue);
}

inline cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes)
{
    *free_bytes = *total_bytes = 0;
    EMU_TRY(emu::device_error());
    *total_bytes = emu::gpu().memory;
    *free_bytes = *total_bytes - std::min(emu::taken.all(), *total_bytes);
    return cudaSuccess;
}

/* ---- copies ---- */

enum cudaMemcpyKind {
    cudaMemcpyHostToHost,
    cudaMemcpyHostToDevice,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice,
    cudaMemcpyDefault
};

namespace emu {

struct Copy {
    void *to;
    const void *from;
    size_t bytes;
    bool to_device, from_device;
};

/* Whether p is where it is said to be, and has that many bytes. */
inline bool is_range(const void *p, size_t bytes, bool device)
{
    const size_t left = bytes_left(device_memory, p);
    return device ? left >= bytes : left == 0;
}
inline bool is_copy(const Copy &c)
{
    return is_range(c.to, c.bytes, c.to_device) && is_range(c.from, c.bytes, c.from_device);
}
inline bool is_pageable(const void *p, bool device) { return !device && bytes_left(pinned_memory, p) == 0; }

inline Copy make_copy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    const bool any = kind == cudaMemcpyDefault;
    return {to, from, bytes, any ? on_device(to) : kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice,
            any ? on_device(from) : kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice};
}

/* Pageable memory bound for the device is read now, as CUDA does by a buffer of its own; pinned memory when the copy
 * runs. */
inline cudaError_t enqueue_copy(const Copy &c, cudaStream_t stream)
{
    std::shared_ptr<std::vector<char>> staged;
    if (is_capturing(find_stream(stream)) && (is_pageable(c.to, c.to_device) || is_pageable(c.from, c.from_device)))
        fail("a graph would copy from %p to %p, one of them pageable memory: use pinned memory in captures", c.from,
             c.to);
    if (lazy() && c.to_device && is_pageable(c.from, c.from_device)) {
        const char *from = static_cast<const char *>(c.from);
        staged = std::make_shared<std::vector<char>>(from, from + c.bytes);
    }
    return enqueue(stream, [c, staged] {
        if (!is_range(c.to, c.bytes, c.to_device) || (!staged && !is_copy(c)))
            fail("a copy of %zu bytes from %p to %p finds the memory freed", c.bytes, c.from, c.to);
        DeviceWork work;
        memmove(c.to, staged ? staged->data() : c.from, c.bytes);
    });
}

} // namespace emu

inline cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                                   cudaStream_t stream = nullptr)
{
    const emu::Copy copy = emu::make_copy(to, from, bytes, kind);
    EMU_TRY(emu::device_error());
    if (bytes == 0)
        return cudaSuccess;
    if (!emu::is_copy(copy))
        return emu::error(cudaErrorInvalidValue);
    return emu::enqueue_copy(copy, stream);
}

/*
 * On the legacy stream, and done on return, with CUDA's two exceptions: within the device nothing waits for the copy,
 * and pageable memory bound for the device may still be on its way.
 */
inline cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    const emu::Copy copy = emu::make_copy(to, from, bytes, kind);
    EMU_TRY(emu::device_error());
    EMU_TRY(emu::forbid_legacy());
    EMU_TRY(emu::forbid_unsafe());
    if (bytes == 0)
        return cudaSuccess;
    if (!emu::is_copy(copy))
        return emu::error(cudaErrorInvalidValue);
    if (!copy.from_device)
        emu::run_stream(emu::legacy_stream());
    EMU_TRY(emu::enqueue_copy(copy, nullptr));
    if (!copy.to_device || (!copy.from_device && !emu::is_pageable(from, false)))
        emu::run_stream(emu::legacy_stream());
    return emu::device_error();
}

inline cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t stream = nullptr)
{
    EMU_TRY(emu::device_error());
    if (bytes == 0)
        return cudaSuccess;
    if (!emu::is_range(p, bytes, true))
        return emu::error(cudaErrorInvalidValue);
    return emu::enqueue(stream, [p, value, bytes] {
        if (!emu::is_range(p, bytes, true))
            emu::fail("cudaMemset of %zu bytes at %p finds the memory freed", bytes, p);
        emu::DeviceWork work;
        memset(p, value, bytes);
    });
}
/* Nothing waits for it either. */
inline cudaError_t cudaMemset(void *p, int value, size_t bytes) { return cudaMemsetAsync(p, value, bytes, nullptr); }

/* ---- streams ---- */

inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    *stream = nullptr;
    EMU_TRY(emu::device_error());
    if (flags > cudaStreamNonBlocking)
        return emu::error(cudaErrorInvalidValue);
    *stream = &emu::streams().emplace_back();
    (*stream)->flags = flags;
    return cudaSuccess;
}
inline cudaError_t cudaStreamCreate(cudaStream_t *stream)
{
    return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

namespace emu {
/* The stream may be named, and waited for where `wait`. */
inline cudaError_t usable(cudaStream_t stream, bool wait)
{
    EMU_TRY(device_error());
    emu_stream *s = find_stream(stream);
    if (s->destroyed)
        return error(cudaErrorInvalidResourceHandle);
    if (wait && is_capturing(s)) {
        invalidate(s);
        return error(cudaErrorStreamCaptureUnsupported);
    }
    return wait && s == legacy_stream() ? forbid_legacy() : cudaSuccess;
}
} // namespace emu

/* Its work is done all the same, when its time comes. */
inline cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    if (!stream)
        return emu::error(cudaErrorInvalidResourceHandle);
    EMU_TRY(emu::usable(stream, true));
    stream->destroyed = true;
    return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    EMU_TRY(emu::usable(stream, true));
    emu::run_stream(emu::find_stream(stream));
    return emu::device_error();
}
/* Lets one more work of the stream run, so that polling comes to an end. */
inline cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    EMU_TRY(emu::usable(stream, true));
    emu_stream *s = emu::find_stream(stream);
    if (s->done == s->issued)
        return cudaSuccess;
    emu::run_until(s, s->done + 1);
    return emu::error(cudaErrorNotReady);
}

/* ---- events ---- */

namespace emu {
struct Record { /* one call of cudaEventRecord */
    Prefix before;
    timespec time;
};
} // namespace emu

struct emu_event {
    bool timed;
    std::shared_ptr<emu::Record> record; /* the last; none before the first */
    emu_stream *captured_by;             /* when that one was part of a capture */
    uint64_t capture_id;
};
typedef emu_event *cudaEvent_t;
enum { cudaEventDefault = 0, cudaEventBlockingSync = 1, cudaEventDisableTiming = 2 };

inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    *event = nullptr;
    EMU_TRY(emu::device_error());
    *event = new emu_event{!(flags & cudaEventDisableTiming), nullptr, nullptr, 0};
    return cudaSuccess;
}
inline cudaError_t cudaEventCreate(cudaEvent_t *event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }
inline cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    delete event;
    return event ? cudaSuccess : emu::error(cudaErrorInvalidResourceHandle);
}

inline cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream = nullptr)
{
    EMU_TRY(emu::usable(stream, false));
    emu_stream *s = emu::find_stream(stream);
    if (emu::is_capturing(s)) {
        if (s->capture == cudaStreamCaptureStatusInvalidated)
            return emu::error(cudaErrorStreamCaptureInvalidated);
        event->captured_by = s;
        event->capture_id = s->capture_id;
        return cudaSuccess;
    }
    const auto record = std::make_shared<emu::Record>();
    EMU_TRY(emu::enqueue(stream, [record] { clock_gettime(CLOCK_MONOTONIC, &record->time); }));
    record->before = {s, s->issued};
    event->record = record;
    event->captured_by = nullptr;
    return cudaSuccess;
}

namespace emu {
/* Whether the host may wait for the event, or ask: not when it only stands for work of a graph. */
inline cudaError_t awaitable(cudaEvent_t event)
{
    EMU_TRY(device_error());
    if (!event->captured_by)
        return cudaSuccess;
    if (event->captured_by->capture_id == event->capture_id)
        invalidate(event->captured_by);
    return error(cudaErrorCapturedEvent);
}
inline bool is_done(const emu_event &event)
{
    return !event.record || event.record->before.stream->done >= event.record->before.count;
}
} // namespace emu

inline cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    EMU_TRY(emu::awaitable(event));
    if (event->record)
        emu::run_until(event->record->before.stream, event->record->before.count);
    return emu::device_error();
}
/* Lets one more work run, as cudaStreamQuery. */
inline cudaError_t cudaEventQuery(cudaEvent_t event)
{
    EMU_TRY(emu::awaitable(event));
    EMU_TRY(emu::forbid_unsafe());
    if (emu::is_done(*event))
        return cudaSuccess;
    emu_stream *s = event->record->before.stream;
    emu::run_until(s, s->done + 1);
    return emu::error(cudaErrorNotReady);
}
inline cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t stop)
{
    EMU_TRY(emu::awaitable(start));
    EMU_TRY(emu::awaitable(stop));
    if (!start->record || !stop->record || !start->timed || !stop->timed)
        return emu::error(cudaErrorInvalidResourceHandle);
    if (!emu::is_done(*start) || !emu::is_done(*stop))
        return emu::error(cudaErrorNotReady);
    const timespec &from = start->record->time, &to = stop->record->time;
    const double seconds = static_cast<double>(to.tv_sec - from.tv_sec);
    *ms = static_cast<float>(seconds * 1e3 + static_cast<double>(to.tv_nsec - from.tv_nsec) * 1e-6);
    return cudaSuccess;
}

/* What the stream is given from now on waits for the event as it was last recorded. */
inline cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned = 0)
{
    EMU_TRY(emu::usable(stream, false));
    emu_stream *s = emu::find_stream(stream);
    if (s->capture == cudaStreamCaptureStatusInvalidated)
        return emu::error(cudaErrorStreamCaptureInvalidated);
    if (event->captured_by) {
        if (event->captured_by == s && event->capture_id == s->capture_id)
            return cudaSuccess; /* the stream's own earlier work */
        if (event->captured_by->capture_id == event->capture_id && emu::is_capturing(event->captured_by))
            emu::fail("a capture that goes on in a second stream is not emulated");
        return emu::error(cudaErrorCapturedEvent);
    }
    if (!event->record)
        return cudaSuccess;
    if (emu::is_capturing(s)) {
        emu::invalidate(s);
        return emu::error(cudaErrorStreamCaptureIsolation);
    }
    if (s == emu::legacy_stream())
        EMU_TRY(emu::forbid_legacy());
    emu::push(s, [] {}, {event->record->before});
    return cudaSuccess;
}

/* ---- launches ---- */

enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
struct cudaLaunchAttribute {
    int id;
};
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
    cudaLaunchAttribute *attrs;
    unsigned numAttrs;
};

namespace emu {
inline bool is_launchable(dim3 grid, dim3 block)
{
    const bool grid_fits = grid.x - 1 < 0x7fffffff && grid.y - 1 < 65535 && grid.z - 1 < 65535; /* 0 wraps around */
    const bool block_fits = block.x - 1 < 1024 && block.y - 1 < 1024 && block.z - 1 < 64;
    return grid_fits && block_fits && block.x * block.y * block.z <= static_cast<unsigned>(MAX_THREADS);
}

/* Whether kernels can be had. */
inline cudaError_t loadable()
{
    EMU_TRY(device_error());
    return gpu().has_image ? cudaSuccess : error(cudaErrorNoKernelImageForDevice);
}
} // namespace emu

template <class Kernel> inline cudaError_t cudaFuncSetAttribute(Kernel *kernel, cudaFuncAttribute, int bytes)
{
    EMU_TRY(emu::loadable());
    emu::Kernel &k = emu::kernel_at(reinterpret_cast<const void *>(kernel));
    if (bytes < 0 || k.fixed + static_cast<size_t>(bytes) > emu::gpu().shared_optin)
        return emu::error(cudaErrorInvalidValue);
    k.asked_for = static_cast<size_t>(bytes);
    return cudaSuccess;
}

/* Of the attributes none is known, but whether there is the kernel. */
struct cudaFuncAttributes {
    int maxThreadsPerBlock;
};

template <class Kernel> inline cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *attributes, Kernel *)
{
    EMU_TRY(emu::loadable());
    *attributes = {emu::MAX_THREADS};
    return cudaSuccess;
}

template <class... Params, class... Args>
inline cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *config, void (*kernel)(Params...), Args &&...args)
{
    const dim3 grid = config->gridDim, block = config->blockDim;
    const size_t dynamic_bytes = config->dynamicSmemBytes;
    EMU_TRY(emu::loadable());
    const emu::Kernel &k = emu::kernel_at(reinterpret_cast<const void *>(kernel));
    if (!emu::is_launchable(grid, block))
        return emu::error(cudaErrorInvalidConfiguration);
    if (block.x * block.y * block.z > static_cast<unsigned>(k.threads))
        return emu::error(cudaErrorLaunchOutOfResources);
    if (!emu::shared_fits(k, k.fixed, dynamic_bytes))
        return emu::error(cudaErrorInvalidValue);
    if (emu::parameter_bytes<Params...>() > emu::parameter_limit())
        emu::fail("kernel %s has parameters of %zu bytes, and may have %zu",
                  emu::function_name(reinterpret_cast<const void *>(kernel)).c_str(),
                  emu::parameter_bytes<Params...>(), emu::parameter_limit());
    const std::tuple<Params...> values(static_cast<Params>(args)...);
    return emu::enqueue(config->stream, [kernel, grid, block, dynamic_bytes, values] {
        emu::launch(kernel, {grid.x, grid.y, grid.z}, {block.x, block.y, block.z}, dynamic_bytes, values);
    });
}

/* ---- graphs: what a stream captured, in the order of its calls ---- */

struct emu_graph {
    std::shared_ptr<const std::vector<emu::Work>> works;
};
struct emu_graph_exec {
    std::shared_ptr<const std::vector<emu::Work>> works;
};
typedef emu_graph *cudaGraph_t;
typedef emu_graph_exec *cudaGraphExec_t;

inline cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode)
{
    EMU_TRY(emu::usable(stream, false));
    emu_stream *s = emu::find_stream(stream);
    if (s == emu::legacy_stream())
        return emu::error(cudaErrorStreamCaptureUnsupported);
    if (emu::is_capturing(s))
        return emu::error(cudaErrorIllegalState);
    s->capture = cudaStreamCaptureStatusActive;
    s->mode = mode;
    s->capture_id = ++emu::captures;
    s->captured.clear();
    return cudaSuccess;
}
inline cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    *graph = nullptr;
    EMU_TRY(emu::usable(stream, false));
    emu_stream *s = emu::find_stream(stream);
    if (!emu::is_capturing(s))
        return emu::error(cudaErrorIllegalState);
    const bool whole = s->capture == cudaStreamCaptureStatusActive;
    s->capture = cudaStreamCaptureStatusNone;
    if (!whole)
        return emu::error(cudaErrorStreamCaptureInvalidated);
    *graph = new emu_graph{std::make_shared<const std::vector<emu::Work>>(std::move(s->captured))};
    s->captured.clear();
    return cudaSuccess;
}
inline cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus *status)
{
    *status = cudaStreamCaptureStatusNone;
    EMU_TRY(emu::usable(stream, false));
    for (const emu_stream &other : emu::streams())
        if (!stream && other.blocking() && emu::is_capturing(&other))
            return emu::error(cudaErrorStreamCaptureImplicit); /* this alone invalidates nothing */
    *status = emu::find_stream(stream)->capture;
    return cudaSuccess;
}

inline cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long = 0)
{
    *exec = nullptr;
    EMU_TRY(emu::device_error());
    if (!graph)
        return emu::error(cudaErrorInvalidValue);
    *exec = new emu_graph_exec{graph->works};
    return cudaSuccess;
}
inline cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t stream)
{
    return exec ? emu::enqueue(stream, [] {}) : emu::error(cudaErrorInvalidValue);
}
inline cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    if (!exec)
        return emu::error(cudaErrorInvalidValue);
    return emu::enqueue(stream, [works = exec->works] {
        for (const emu::Work &work : *works)
            work();
    });
}
inline cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    delete exec;
    return exec ? cudaSuccess : emu::error(cudaErrorInvalidValue);
}
inline cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return graph ? cudaSuccess : emu::error(cudaErrorInvalidValue);
}

#undef EMU_TRY

#endif
