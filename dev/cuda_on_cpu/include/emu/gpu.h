#ifndef EMU_GPU_H
#define EMU_GPU_H

#include <cstdio>
#include <cstdlib>
#include <string>
#include <unistd.h>

#include "engine.h"
#include "errors.h"

/*
 * The GPU that is simulated, and the environment variables that change it, so that a program's refusals can be tested:
 * CUDA_ON_CPU_DEVICES=n, CUDA_ON_CPU_DRIVER=13000, CUDA_ON_CPU_CAPABILITY=9.0, CUDA_ON_CPU_NAME, CUDA_ON_CPU_MEMORY
 * (bytes of each device); CUDA_ON_CPU_ARCH, what the program was compiled for, as the Makefile's CUDA_ARCH: the last
 * also as PTX, for later GPUs; and CUDA_ON_CPU_CUBLAS. They are read at the first call, or again by read_gpu.
 */

namespace emu {

constexpr int RUNTIME_VERSION = 13000;
constexpr int GARBAGE = 0xff; /* bytes that are NaN in fp32 and bf16, and -1 in integers */

/* What cuBLAS and cuBLASLt may do, and the words of CUDA_ON_CPU_CUBLAS that make them do it. */
struct Products {
    bool plain;     /* cuBLASLt has no epilogues with a bias or a GELU */
    bool varied;    /* the order of a sum depends on alignment, beta, workspace and, in cuBLASLt, the batch */
    bool fast;      /* tanh in the GELU's epilogues is the approximate instruction */
    bool truncated; /* fp32 becomes TF32 by dropping bits, not by rounding */
};

struct Gpu {
    int count, driver, major, minor;
    std::string name;
    size_t memory, shared_optin, shared_sm; /* shared memory that a block may ask for, and of a multiprocessor */
    int threads_sm;
    bool has_image; /* the program's kernels can run on it */
    Products products;
};

/* The machine's memory stands for the GPU's. */
inline size_t machine_memory()
{
    return static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

/* The whole variable as a number from 0 on, `otherwise` when it is not set. */
inline size_t setting(const char *name, size_t otherwise)
{
    const char *text = getenv(name);
    char *end = nullptr;
    const unsigned long long number = text ? strtoull(text, &end, 10) : 0;
    if (text && (*text < '0' || *text > '9' || *end != '\0'))
        fail("%s is '%s', which is no number", name, text);
    return text ? static_cast<size_t>(number) : otherwise;
}

/* Limits by compute capability: the table "technical specifications" of the CUDA C++ Programming Guide. */
inline void set_limits(Gpu *gpu)
{
    const int capability = gpu->major * 10 + gpu->minor;
    const bool small = capability == 86 || capability == 89 || gpu->major >= 12;
    const size_t kilobytes = capability < 80 ? 64 : small ? 99 : gpu->major == 8 ? 163 : 227;
    gpu->shared_optin = kilobytes * 1024;
    gpu->shared_sm = gpu->shared_optin + (capability < 80 ? 0 : 1024);
    gpu->threads_sm = capability < 80 ? 1024 : small ? 1536 : 2048;
}

/* "75 80 90": a GPU runs what was compiled for its major version and no later minor one, and PTX that is no later. */
inline bool has_image(const char *archs, int major, int minor)
{
    int arch = 0, used = 0;
    bool found = false;
    for (const char *p = archs; sscanf(p, "%d%n", &arch, &used) == 1; p += used)
        found = found || (arch / 10 == major && arch % 10 <= minor);
    return found || arch <= 10 * major + minor;
}

inline Products environment_products()
{
    Products products = {};
    const char *text = getenv("CUDA_ON_CPU_CUBLAS");
    char word[16];
    for (int used = 0; text && sscanf(text, "%15[a-z]%n", word, &used) == 1; text += used + (text[used] == ',')) {
        const std::string name = word;
        bool *flag = name == "plain"       ? &products.plain
                     : name == "varied"    ? &products.varied
                     : name == "fast"      ? &products.fast
                     : name == "truncated" ? &products.truncated
                                           : nullptr;
        if (!flag)
            break;
        *flag = true;
    }
    if (text && *text != '\0')
        fail("CUDA_ON_CPU_CUBLAS has '%s', which is none of plain, varied, fast, truncated", text);
    return products;
}

inline Gpu environment_gpu()
{
    Gpu gpu = {};
    const char *capability = getenv("CUDA_ON_CPU_CAPABILITY"), *name = getenv("CUDA_ON_CPU_NAME");
    const char *archs = getenv("CUDA_ON_CPU_ARCH");
    int used = 0;
    capability = capability ? capability : "9.0";
    if (sscanf(capability, "%d.%d%n", &gpu.major, &gpu.minor, &used) != 2 || capability[used] != '\0')
        fail("CUDA_ON_CPU_CAPABILITY is '%s', not as 9.0", capability);
    gpu.count = static_cast<int>(setting("CUDA_ON_CPU_DEVICES", 1));
    gpu.driver = static_cast<int>(setting("CUDA_ON_CPU_DRIVER", RUNTIME_VERSION));
    gpu.memory = setting("CUDA_ON_CPU_MEMORY", machine_memory());
    gpu.name = name ? name : "CUDA on CPU";
    gpu.has_image = has_image(archs ? archs : "75 80 90 100 120", gpu.major, gpu.minor);
    gpu.products = environment_products();
    set_limits(&gpu);
    return gpu;
}

inline Gpu &gpu()
{
    static Gpu simulated = environment_gpu();
    return simulated;
}
inline void read_gpu() { gpu() = environment_gpu(); }

/* What every call that needs the device answers when there is none, or when a kernel has trapped. */
inline cudaError_t device_error()
{
    const bool old = gpu().driver / 1000 < RUNTIME_VERSION / 1000;
    return old ? cudaErrorInsufficientDriver : gpu().count == 0 ? cudaErrorNoDevice : sticky_error;
}

/* Ends the grid of the running thread, and all work after it. */
[[noreturn]] EMU_NO_TSAN inline void trap(cudaError_t e)
{
    sticky_error = e;
    switch_to_host(engine.running);
    __builtin_unreachable();
}

/* Of instructions: the real program has none where its GPU lacks them. */
inline void require_sm80(const char *instruction)
{
    if (gpu().major < 8)
        fail("%s needs compute capability 8.0, the GPU has %d.%d", instruction, gpu().major, gpu().minor);
}

} // namespace emu

#endif
