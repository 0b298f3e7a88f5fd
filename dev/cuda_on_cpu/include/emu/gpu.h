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
 * (bytes of each device). They are read at the first call, or again by read_gpu.
 */

namespace emu {

constexpr int RUNTIME_VERSION = 13000;
constexpr size_t SHARED_BYTES = 48 * 1024; /* what a block may have without asking */

struct Gpu {
    int count, driver, major, minor;
    std::string name;
    size_t memory, shared_optin, shared_sm; /* shared memory that a block may ask for, and of a multiprocessor */
    int threads_sm;
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

inline Gpu environment_gpu()
{
    Gpu gpu = {};
    const char *capability = getenv("CUDA_ON_CPU_CAPABILITY"), *name = getenv("CUDA_ON_CPU_NAME");
    int used = 0;
    capability = capability ? capability : "9.0";
    if (sscanf(capability, "%d.%d%n", &gpu.major, &gpu.minor, &used) != 2 || capability[used] != '\0')
        fail("CUDA_ON_CPU_CAPABILITY is '%s', not as 9.0", capability);
    gpu.count = static_cast<int>(setting("CUDA_ON_CPU_DEVICES", 1));
    gpu.driver = static_cast<int>(setting("CUDA_ON_CPU_DRIVER", RUNTIME_VERSION));
    gpu.memory = setting("CUDA_ON_CPU_MEMORY", machine_memory());
    gpu.name = name ? name : "CUDA on CPU";
    set_limits(&gpu);
    return gpu;
}

inline Gpu &gpu()
{
    static Gpu simulated = environment_gpu();
    return simulated;
}
inline void read_gpu() { gpu() = environment_gpu(); }

/* What every call that needs the device answers when there is none. */
inline cudaError_t no_gpu()
{
    const bool old = gpu().driver / 1000 < RUNTIME_VERSION / 1000;
    return old ? cudaErrorInsufficientDriver : gpu().count == 0 ? cudaErrorNoDevice : cudaSuccess;
}

} // namespace emu

#endif
