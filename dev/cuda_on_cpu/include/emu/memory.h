#ifndef EMU_MEMORY_H
#define EMU_MEMORY_H

#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>

#include "gpu.h"

/*
 * Device memory is the host's, kept apart from it: every allocation begins as garbage, every pointer that the device
 * is given must lie in one, and under AddressSanitizer the host cannot touch it except by cudaMemcpy and cudaMemset.
 */

namespace emu {

constexpr int GARBAGE = 0xff; /* bytes that are NaN in fp32 and bf16, and -1 in integers */

using Allocations = std::map<char *, size_t>; /* address to bytes */
inline Allocations device_memory, pinned_memory;
inline size_t device_bytes = 0;

/* Bytes from p to the end of the allocation it points into; 0 when it points into none. */
inline size_t bytes_left(const Allocations &allocations, const void *p)
{
    char *address = static_cast<char *>(const_cast<void *>(p));
    const auto next = allocations.upper_bound(address);
    if (next == allocations.begin())
        return 0;
    const auto &[begin, bytes] = *std::prev(next);
    return address < begin + bytes ? static_cast<size_t>(begin + bytes - address) : 0;
}

inline bool on_device(const void *p) { return bytes_left(device_memory, p) > 0; }

/* nullptr when there is no room. */
inline void *allocate(Allocations &allocations, size_t bytes)
{
    void *p;
    if (bytes > machine_memory() || posix_memalign(&p, 256, bytes) != 0) /* cudaMalloc aligns to 256 */
        return nullptr;
    memset(p, GARBAGE, bytes);
    allocations[static_cast<char *>(p)] = bytes;
    return p;
}

/* False when p is not the beginning of an allocation. */
inline bool release_memory(Allocations &allocations, void *p)
{
    if (allocations.erase(static_cast<char *>(p)) == 0)
        return false;
    free(p);
    return true;
}

} // namespace emu

#endif
