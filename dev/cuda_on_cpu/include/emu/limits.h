#ifndef EMU_LIMITS_H
#define EMU_LIMITS_H

#include <map>

#include "gpu.h"

/* What a launch is refused for: threads, shared memory and parameters above the limits of the kernel and the GPU. */

/*
 * A bound becomes as many instructions that do nothing in front of the kernel, where none of them ever runs; the
 * compiler lists where they begin. "0 +", because g++ 12 does not take an enumerator by itself for a constant. clang
 * takes no number that depends on a template: there is no bound then.
 */
#ifdef __clang__
#define __launch_bounds__(...)
#else
namespace emu {
constexpr unsigned short bound_of(unsigned short threads, int = 0, int = 0) { return threads; }
} // namespace emu
#define __launch_bounds__(...) \
    __attribute__((patchable_function_entry(0 + emu::bound_of(__VA_ARGS__), 0 + emu::bound_of(__VA_ARGS__))))
#endif

extern "C" {
extern const char *const emu_bounds_begin[] __asm__("__start___patchable_function_entries") __attribute__((weak));
extern const char *const emu_bounds_end[] __asm__("__stop___patchable_function_entries") __attribute__((weak));
}

namespace emu {

#if defined(__x86_64__)
constexpr unsigned char NOP[] = {0x90};
#else
constexpr unsigned char NOP[] = {0x1f, 0x20, 0x03, 0xd5};
#endif

/* How many instructions that do nothing fill the memory from `first` to `entry`; 0 when others are there too. */
inline int count_nops(const char *first, const char *entry)
{
    for (const char *p = first; p < entry; p += sizeof NOP)
        if (memcmp(p, NOP, sizeof NOP) != 0)
            return 0;
    return first < entry ? static_cast<int>(static_cast<size_t>(entry - first) / sizeof NOP) : 0;
}

/* The most threads that a block of the kernel may have. */
inline int launch_bound(const void *kernel)
{
    const char *entry = static_cast<const char *>(kernel);
    for (const char *const *first = emu_bounds_begin; first != emu_bounds_end; first++)
        if (*first < entry && entry - *first <= static_cast<ptrdiff_t>(MAX_THREADS * sizeof NOP) &&
            count_nops(*first, entry) > 0)
            return count_nops(*first, entry);
    return MAX_THREADS;
}

constexpr size_t SHARED_BYTES = 48 * 1024; /* what a block may have without asking, in static arrays and dynamic */

struct Kernel {
    int threads;      /* at most, in a block */
    size_t fixed;     /* bytes of its own static shared arrays */
    size_t asked_for; /* bytes of dynamic shared memory, by cudaFuncSetAttribute */
};

inline size_t bytes_of(const std::vector<Range> &arrays)
{
    size_t sum = 0;
    for (const Range &array : arrays)
        sum += array.size;
    return sum;
}

inline Kernel &kernel_at(const void *address)
{
    static std::map<const void *, Kernel> known;
    const auto [place, is_new] = known.try_emplace(address);
    if (is_new)
        place->second = {launch_bound(address), bytes_of(shared_arrays_of(address)), 0};
    return place->second;
}

/* Whether static and dynamic arrays of that many bytes fit together. */
inline bool shared_fits(const Kernel &kernel, size_t fixed, size_t dynamic)
{
    if (kernel.asked_for == 0)
        return fixed + dynamic <= SHARED_BYTES;
    return fixed <= SHARED_BYTES && dynamic <= kernel.asked_for && fixed + kernel.asked_for <= gpu().shared_optin;
}

/* The kernel's static arrays are those that its first block has written to: functions that it calls have some too. */
inline void check_written_arrays(const std::vector<Range> &arrays, const void *address, size_t dynamic)
{
    size_t fixed = 0;
    for (const Range &array : arrays)
        for (size_t i = 0; i < array.size; i++)
            if (static_cast<unsigned char>(array.begin[i]) != GARBAGE) {
                fixed += array.size;
                break;
            }
    if (!shared_fits(kernel_at(address), fixed, dynamic))
        fail("%zu bytes of shared memory in static arrays, its own and those of functions it calls, and %zu of dynamic "
             "are too much together",
             fixed, std::max(dynamic, kernel_at(address).asked_for));
}

/* Since CUDA 12.1: CUDA C++ Programming Guide, "Function Parameters". */
inline size_t parameter_limit() { return gpu().major >= 7 ? 32764 : 4096; }

template <class... Params> constexpr size_t parameter_bytes()
{
    size_t bytes = 0;
    ((bytes = (bytes + alignof(Params) - 1) / alignof(Params) * alignof(Params) + sizeof(Params)), ...);
    return bytes;
}

} // namespace emu

#endif
