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

using Allocations = std::map<char *, size_t>; /* address to bytes */
inline Allocations device_memory, pinned_memory;

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

/*
 * cudaMalloc takes whole pages of 2 MiB; small allocations share pages, in multiples of 512 bytes. What libraries take
 * for themselves comes out of the same memory.
 */
constexpr size_t PAGE_BYTES = 2 << 20, PIECE_BYTES = 512;

struct Taken {
    size_t small = 0, large = 0, libraries = 0; /* bytes, whole pieces and pages */
    size_t all() const { return (small + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES + large + libraries; }
    void add(size_t bytes)
    {
        const size_t unit = bytes < PAGE_BYTES / 2 ? PIECE_BYTES : PAGE_BYTES;
        (unit == PAGE_BYTES ? large : small) += (bytes + unit - 1) / unit * unit;
    }
    void subtract(size_t bytes)
    {
        Taken part;
        part.add(bytes);
        small -= part.small;
        large -= part.large;
    }
};
inline Taken taken;

inline bool has_room(size_t bytes)
{
    Taken then = taken;
    then.add(bytes);
    return bytes <= gpu().memory && then.all() <= gpu().memory;
}

/* A library's memory of the device, for as long as this lives; its size is 0 when there was no room. */
struct LibraryMemory {
    size_t bytes;
    explicit LibraryMemory(size_t n) : bytes(has_room(n) ? n : 0) { taken.libraries += bytes; }
    ~LibraryMemory() { taken.libraries -= bytes; }
    LibraryMemory(const LibraryMemory &) = delete;
};

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
