#ifndef EMU_HOST_H
#define EMU_HOST_H

#include <cstdint>
#include <ctime>

#include "device.h"
#include "launch.h"

/*
 * The runtime's functions for the host. Every one has done its work when it returns, also the asynchronous ones, so
 * that streams and events order nothing here that is not ordered already.
 */

/* ---- errors, with CUDA's numbers ---- */

#define EMU_ERRORS(X)                                                                                                  \
    X(cudaSuccess, 0, "no error")                                                                                      \
    X(cudaErrorInvalidValue, 1, "invalid argument")                                                                    \
    X(cudaErrorMemoryAllocation, 2, "out of memory")                                                                   \
    X(cudaErrorInvalidConfiguration, 9, "invalid configuration argument")                                              \
    X(cudaErrorNoDevice, 100, "no CUDA-capable device is detected")                                                    \
    X(cudaErrorInvalidDevice, 101, "invalid device ordinal")                                                           \
    X(cudaErrorInvalidResourceHandle, 400, "invalid resource handle")                                                  \
    X(cudaErrorNotReady, 600, "device not ready")

#define EMU_ENUM(NAME, NUMBER, TEXT) NAME = NUMBER,
enum cudaError_t { EMU_ERRORS(EMU_ENUM) };
#undef EMU_ENUM

namespace emu {
inline cudaError_t last_error = cudaSuccess;

inline cudaError_t error(cudaError_t e)
{
    if (e != cudaSuccess)
        last_error = e;
    return e;
}
} // namespace emu

inline cudaError_t cudaPeekAtLastError() { return emu::last_error; }
inline cudaError_t cudaGetLastError()
{
    const cudaError_t e = emu::last_error;
    emu::last_error = cudaSuccess;
    return e;
}

inline const char *cudaGetErrorName(cudaError_t e)
{
#define EMU_CASE(NAME, NUMBER, TEXT)                                                                                   \
    if (e == NAME)                                                                                                     \
        return #NAME;
    EMU_ERRORS(EMU_CASE)
#undef EMU_CASE
    return "unrecognized error code";
}
inline const char *cudaGetErrorString(cudaError_t e)
{
#define EMU_CASE(NAME, NUMBER, TEXT)                                                                                   \
    if (e == NAME)                                                                                                     \
        return TEXT;
    EMU_ERRORS(EMU_CASE)
#undef EMU_CASE
    return "unrecognized error code";
}
#undef EMU_ERRORS

/* ---- memory ---- */

enum cudaMemcpyKind {
    cudaMemcpyHostToHost,
    cudaMemcpyHostToDevice,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice,
    cudaMemcpyDefault
};

struct emu_stream;
typedef emu_stream *cudaStream_t;

template <class T> inline cudaError_t cudaMalloc(T **p, size_t bytes)
{
    *p = nullptr;
    if (bytes == 0)
        return cudaSuccess;
    void *memory = emu::allocate(emu::device_memory, bytes);
    if (!memory)
        return emu::error(cudaErrorMemoryAllocation);
    emu::device_bytes += bytes;
    emu::poison(memory, bytes);
    *p = static_cast<T *>(memory);
    return cudaSuccess;
}

inline cudaError_t cudaFree(void *p)
{
    const size_t bytes = emu::bytes_left(emu::device_memory, p);
    if (p && !emu::release_memory(emu::device_memory, p))
        return emu::error(cudaErrorInvalidValue);
    emu::device_bytes -= bytes;
    return cudaSuccess;
}

enum { cudaHostAllocDefault = 0, cudaHostAllocPortable = 1, cudaHostAllocMapped = 2, cudaHostAllocWriteCombined = 4 };

template <class T> inline cudaError_t cudaHostAlloc(T **p, size_t bytes, unsigned)
{
    *p = static_cast<T *>(emu::allocate(emu::pinned_memory, bytes > 0 ? bytes : 1));
    return *p ? cudaSuccess : emu::error(cudaErrorMemoryAllocation);
}
template <class T> inline cudaError_t cudaMallocHost(T **p, size_t bytes, unsigned flags = cudaHostAllocDefault)
{
    return cudaHostAlloc(p, bytes, flags);
}
inline cudaError_t cudaFreeHost(void *p)
{
    return !p || emu::release_memory(emu::pinned_memory, p) ? cudaSuccess : emu::error(cudaErrorInvalidValue);
}

namespace emu {
/* Whether p is where the kind says, and has that many bytes. */
inline bool is_range(const void *p, size_t bytes, bool device)
{
    const size_t left = bytes_left(device_memory, p);
    return device ? left >= bytes : left == 0;
}
} // namespace emu

inline cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    if (bytes == 0)
        return cudaSuccess;
    const bool any = kind == cudaMemcpyDefault;
    const bool to_device =
        any ? emu::on_device(to) : kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const bool from_device =
        any ? emu::on_device(from) : kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (!emu::is_range(to, bytes, to_device) || !emu::is_range(from, bytes, from_device))
        return emu::error(cudaErrorInvalidValue);
    emu::DeviceWork work;
    memmove(to, from, bytes);
    return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                                   cudaStream_t = nullptr)
{
    return cudaMemcpy(to, from, bytes, kind);
}

inline cudaError_t cudaMemset(void *p, int value, size_t bytes)
{
    if (bytes == 0)
        return cudaSuccess;
    if (!emu::is_range(p, bytes, true))
        return emu::error(cudaErrorInvalidValue);
    emu::DeviceWork work;
    memset(p, value, bytes);
    return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t = nullptr)
{
    return cudaMemset(p, value, bytes);
}

inline cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes)
{
    *total_bytes = emu::total_memory();
    *free_bytes = *total_bytes - emu::device_bytes;
    return cudaSuccess;
}

/* ---- devices ---- */

struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem, sharedMemPerBlock, sharedMemPerBlockOptin, sharedMemPerMultiprocessor;
    int warpSize, maxThreadsPerBlock, maxThreadsPerMultiProcessor, multiProcessorCount, major, minor, l2CacheSize;
};

namespace emu {
/* Those of compute capability 9.0. */
constexpr size_t SHARED_BYTES = 48 * 1024, SHARED_BYTES_OPTIN = 227 * 1024;
} // namespace emu

inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device)
{
    if (device != 0)
        return emu::error(cudaErrorInvalidDevice);
    *p = {};
    strcpy(p->name, "CUDA on CPU");
    p->totalGlobalMem = emu::total_memory();
    p->sharedMemPerBlock = emu::SHARED_BYTES;
    p->sharedMemPerBlockOptin = emu::SHARED_BYTES_OPTIN;
    p->sharedMemPerMultiprocessor = emu::SHARED_BYTES_OPTIN + 1024;
    p->warpSize = 32;
    p->maxThreadsPerBlock = emu::MAX_THREADS;
    p->maxThreadsPerMultiProcessor = 2048;
    p->multiProcessorCount = 2; /* small, so that loops over the grid go round in tests */
    p->major = 9;
    p->l2CacheSize = 1 << 20;
    return cudaSuccess;
}
inline cudaError_t cudaGetDeviceCount(int *count)
{
    *count = 1;
    return cudaSuccess;
}
inline cudaError_t cudaGetDevice(int *device)
{
    *device = 0;
    return cudaSuccess;
}
inline cudaError_t cudaSetDevice(int device)
{
    return device == 0 ? cudaSuccess : emu::error(cudaErrorInvalidDevice);
}
inline cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
inline cudaError_t cudaDriverGetVersion(int *version)
{
    *version = 13000;
    return cudaSuccess;
}
inline cudaError_t cudaRuntimeGetVersion(int *version) { return cudaDriverGetVersion(version); }

/* ---- streams and events ---- */

struct emu_stream {
    unsigned flags;
};
struct emu_event {
    timespec time;
    bool recorded;
};
typedef emu_event *cudaEvent_t;
enum { cudaStreamDefault = 0, cudaStreamNonBlocking = 1 };
enum { cudaEventDefault = 0, cudaEventBlockingSync = 1, cudaEventDisableTiming = 2 };

inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    *stream = new emu_stream{flags};
    return cudaSuccess;
}
inline cudaError_t cudaStreamCreate(cudaStream_t *stream)
{
    return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}
inline cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    delete stream;
    return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned = 0) { return cudaSuccess; }

inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned)
{
    *event = new emu_event{};
    return cudaSuccess;
}
inline cudaError_t cudaEventCreate(cudaEvent_t *event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }
inline cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    delete event;
    return cudaSuccess;
}
inline cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t = nullptr)
{
    clock_gettime(CLOCK_MONOTONIC, &event->time);
    event->recorded = true;
    return cudaSuccess;
}
inline cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
inline cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t stop)
{
    if (!start->recorded || !stop->recorded)
        return emu::error(cudaErrorInvalidResourceHandle);
    const double seconds = static_cast<double>(stop->time.tv_sec - start->time.tv_sec);
    *ms = static_cast<float>(seconds * 1e3 + static_cast<double>(stop->time.tv_nsec - start->time.tv_nsec) * 1e-6);
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
inline std::map<const void *, size_t> shared_limit; /* of the kernels that may have more than SHARED_BYTES */

inline bool is_launchable(dim3 grid, dim3 block)
{
    const bool grid_fits = grid.x - 1 < 0x7fffffff && grid.y - 1 < 65535 && grid.z - 1 < 65535; /* 0 wraps around */
    const bool block_fits = block.x - 1 < 1024 && block.y - 1 < 1024 && block.z - 1 < 64;
    return grid_fits && block_fits && block.x * block.y * block.z <= static_cast<unsigned>(MAX_THREADS);
}
} // namespace emu

template <class Kernel> inline cudaError_t cudaFuncSetAttribute(Kernel *kernel, cudaFuncAttribute, int bytes)
{
    if (bytes < 0 || static_cast<size_t>(bytes) > emu::SHARED_BYTES_OPTIN)
        return emu::error(cudaErrorInvalidValue);
    emu::shared_limit[reinterpret_cast<const void *>(kernel)] = static_cast<size_t>(bytes);
    return cudaSuccess;
}

template <class... Params, class... Args>
inline cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *config, void (*kernel)(Params...), Args &&...args)
{
    const dim3 grid = config->gridDim, block = config->blockDim;
    const auto limit = emu::shared_limit.find(reinterpret_cast<const void *>(kernel));
    if (!emu::is_launchable(grid, block))
        return emu::error(cudaErrorInvalidConfiguration);
    if (config->dynamicSmemBytes > (limit == emu::shared_limit.end() ? emu::SHARED_BYTES : limit->second))
        return emu::error(cudaErrorInvalidValue);
    emu::launch(kernel, {grid.x, grid.y, grid.z}, {block.x, block.y, block.z}, config->dynamicSmemBytes,
                std::tuple<Params...>(static_cast<Params>(args)...));
    return cudaSuccess;
}

#endif
