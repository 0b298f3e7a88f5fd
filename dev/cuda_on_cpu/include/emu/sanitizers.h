#ifndef EMU_SANITIZERS_H
#define EMU_SANITIZERS_H

#include <cstddef>

/*
 * What AddressSanitizer and ThreadSanitizer must be told: that stacks are switched, which memory may not be touched,
 * and which of the emulator's waits order memory. The emulator's own accesses are hidden from ThreadSanitizer, so that
 * it sees the accesses of CUDA threads alone.
 */

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMU_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define EMU_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define EMU_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define EMU_TSAN 1
#endif

extern "C" {
#ifdef EMU_ASAN
void __sanitizer_start_switch_fiber(void **save, const void *bottom, size_t size);
void __sanitizer_finish_switch_fiber(void *save, const void **bottom, size_t *size);
void __asan_poison_memory_region(void const volatile *, size_t);
void __asan_unpoison_memory_region(void const volatile *, size_t);
#endif
#ifdef EMU_TSAN
void *__tsan_create_fiber(unsigned);
void *__tsan_get_current_fiber(void);
void __tsan_switch_to_fiber(void *, unsigned);
void __tsan_set_fiber_name(void *, const char *);
void __tsan_acquire(void *);
void __tsan_release(void *);
#endif
}

#ifdef EMU_TSAN
#define EMU_NO_TSAN __attribute__((no_sanitize("thread"), noinline))
#else
#define EMU_NO_TSAN
#endif

namespace emu {

/* What was written before release(sync) is seen after acquire(sync). */
#ifdef EMU_TSAN
inline void acquire(void *sync) { __tsan_acquire(sync); }
inline void release(void *sync) { __tsan_release(sync); }
#else
inline void acquire(void *) {}
inline void release(void *) {}
#endif

#ifdef EMU_ASAN
inline void poison(void *p, size_t bytes) { __asan_poison_memory_region(p, bytes); }
inline void unpoison(void *p, size_t bytes) { __asan_unpoison_memory_region(p, bytes); }
#else
inline void poison(void *, size_t) {}
inline void unpoison(void *, size_t) {}
#endif

} // namespace emu

/*
 * -fsanitize=alignment needs no library: what it calls where an address is not aligned is here. AddressSanitizer's
 * builds bring UBSan's own.
 */
#ifndef EMU_ASAN
namespace emu {
struct TypeMismatch { /* as the compiler lays it out, with the type's name in quotes */
    const char *file;
    unsigned line, column;
    const struct {
        unsigned short kind, bits;
        char name[1];
    } * type;
    unsigned char log_alignment, access;
};
[[noreturn]] void fail_access(const TypeMismatch *where, const void *p); /* in engine.h */
} // namespace emu
extern "C" __attribute__((weak, used)) void __ubsan_handle_type_mismatch_v1(const emu::TypeMismatch *where,
                                                                            const void *p)
{
    emu::fail_access(where, p);
}
#endif

#endif
