#ifndef EMU_ENGINE_H
#define EMU_ENGINE_H

#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>

#include "sanitizers.h"
#include "switch.h"
#include "symbols.h"

/*
 * Runs the threads of a CUDA block as fibers, stacks that take turns on one CPU thread.
 *
 * A CUDA thread runs until it meets __syncthreads or a warp collective; then the next ready thread of the block runs.
 * Which one is next is the order: forward (lowest thread first), reverse (highest first) or random. A correct kernel
 * gives the same answer in every order.
 */

struct uint3 {
    unsigned x, y, z;
};

namespace emu {

/* Where in the source a CUDA thread waits. As a last parameter, EMU_SITE is the place of the call. */
struct Site {
    const char *file;
    int line;
};
#define EMU_SITE emu::Site site = {__builtin_FILE(), __builtin_LINE()}

constexpr int MAX_THREADS = 1024;
#if defined(EMU_ASAN) || defined(EMU_TSAN)
constexpr size_t STACK_BYTES = 256 * 1024;
#else
constexpr size_t STACK_BYTES = 64 * 1024;
#endif
constexpr size_t STACK_STRIDE = STACK_BYTES + 4096 + 192; /* so that stacks do not fight for the same cache lines */
constexpr uint64_t CANARY = 0x5afe57ac5afe57acull;        /* at the low end of each stack */

enum Wait : uint8_t { READY, AT_BARRIER, IN_COLLECTIVE, RETURNED };
enum Order { FORWARD, REVERSE, RANDOM };

/* Run by the last lane of `mask` to arrive; lane_arg[i] is what lane i passed. */
using Collective = void (*)(void *const *lane_arg, uint32_t mask);

struct Thread {
    void *sp = nullptr;
    char *stack = nullptr;
    uint3 index{};
    int id = 0;
    bool started = false;
    Wait wait = READY;
    const char *what = ""; /* it waits in, */
    uint32_t mask = 0;     /* with these lanes, */
    Site site{};           /* here */
    void *tsan = nullptr;
};

struct Warp {
    struct Open {
        Collective function;
        uint32_t mask, arrived;
    };
    Open open[32]; /* collectives for which lanes still wait */
    int open_count = 0;
    void *arg[32];
    unsigned syncs = 0;
    char sync[2]; /* memory order of __syncwarp, even and odd */
};

/* The votes of __syncthreads_count, _and, _or. */
struct Votes {
    int count = 0, all = 1, any = 0;
};

struct Engine {
    /* the block that runs */
    Thread thread[MAX_THREADS];
    Warp warp[MAX_THREADS / 32];
    uint64_t ready[MAX_THREADS / 64]; /* a bit for each thread */
    int thread_count = 0, alive = 0, at_barrier = 0;
    Thread *running = nullptr; /* nullptr: the host */
    Site barrier_site{};
    int barrier_thread = 0; /* the first to come to it */
    unsigned barriers = 0;
    Votes votes, result;
    char barrier_sync[2], begin_sync, end_sync;

    /* the launch */
    void (*body)(void *) = nullptr;
    void *closure = nullptr;
    unsigned long blocks = 0; /* begun so far, of all launches */
    const void *kernel = nullptr;
    char *dynamic = nullptr; /* dynamic shared memory */
    size_t dynamic_bytes = 0;

    /* the host, and the stacks */
    void *host_sp = nullptr, *host_tsan = nullptr;
    const void *host_bottom = nullptr;
    size_t host_bytes = 0;
    char *stacks = nullptr;
    char *free_stack[MAX_THREADS];
    int free_count = 0;

    Order order = FORWARD;
    bool order_known = false; /* set, or read from the environment */
    uint64_t random = 1;
    unsigned long switches = 0, threads = 0; /* so far, of all launches */
};
inline Engine engine;

/* threadIdx and so on, of the running thread. */
inline uint3 thread_index, block_index, block_dim, grid_dim;

inline int lane() { return engine.running->id & 31; }

/* From now on threads and blocks run in this order; the seed is that of RANDOM. */
inline void set_order(Order order, uint64_t seed = 1)
{
    engine.order = order;
    engine.random = seed * 0x9E3779B97F4A7C15ull | 1;
    engine.order_known = true;
}

/* xorshift64: Marsaglia, "Xorshift RNGs", 2003. */
EMU_NO_TSAN inline unsigned random_number()
{
    uint64_t &x = engine.random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return static_cast<unsigned>(x >> 33);
}

/* ---- faults ---- */

/* Neighbours that wait for the same thing are one line. */
EMU_NO_TSAN inline void print_waiting()
{
    const Thread *last = nullptr;
    int lines = 0, returned = 0;
    for (int i = 0; i < engine.thread_count; i++) {
        const Thread &t = engine.thread[i];
        returned += t.wait == RETURNED;
        if (t.wait == READY || t.wait == RETURNED)
            continue;
        const bool same = last && last->wait == t.wait && last->site.line == t.site.line && last->mask == t.mask;
        last = &t;
        if (same || ++lines > 12)
            continue;
        fprintf(stderr, "  from thread %d: in %s", i, t.what);
        if (t.wait == IN_COLLECTIVE)
            fprintf(stderr, " with mask %08x", t.mask);
        fprintf(stderr, " at %s:%d\n", t.site.file, t.site.line);
    }
    fprintf(stderr, "  %d of %d threads have returned\n", returned, engine.thread_count);
}

/* Ends the process with status 66 and a sentence: the program is at fault, and the kernel if one runs. */
template <class... Args> [[noreturn]] EMU_NO_TSAN inline void fail(const char *format, Args... args)
{
    fprintf(stderr, "cuda_on_cpu: ");
    if (engine.kernel)
        fprintf(stderr, "kernel %s: ", function_name(engine.kernel).c_str());
    if (engine.running)
        fprintf(stderr, "block (%u, %u, %u), thread %d: ", block_index.x, block_index.y, block_index.z,
                engine.running->id);
    if constexpr (sizeof...(args) > 0)
        fprintf(stderr, format, args...);
    else
        fputs(format, stderr);
    fputc('\n', stderr);
    if (engine.running)
        print_waiting();
    fflush(nullptr);
    _Exit(66);
}

#ifndef EMU_ASAN
[[noreturn]] EMU_NO_TSAN inline void fail_access(const TypeMismatch *where, const void *p)
{
    fail("%s:%u: an access to %s at %p, which is no multiple of %u", where->file, where->line, where->type->name, p,
         1u << where->log_alignment);
}
#endif

/* ---- whose turn it is ---- */

EMU_NO_TSAN inline void set_ready(int id)
{
    engine.ready[id >> 6] |= 1ull << (id & 63);
    engine.thread[id].wait = READY;
}

EMU_NO_TSAN inline void set_waiting(int id, Wait wait)
{
    engine.ready[id >> 6] &= ~(1ull << (id & 63));
    engine.thread[id].wait = wait;
}

/* The first ready thread at or after `start`, around the end; nullptr when none is ready. */
EMU_NO_TSAN inline Thread *ready_after(int start)
{
    const int words = (engine.thread_count + 63) >> 6;
    const uint64_t first = engine.ready[start >> 6] & (~0ull << (start & 63));
    if (first)
        return &engine.thread[(start & ~63) + __builtin_ctzll(first)];
    for (int k = 1; k <= words; k++) {
        const int word = ((start >> 6) + k) % words;
        if (engine.ready[word])
            return &engine.thread[word * 64 + __builtin_ctzll(engine.ready[word])];
    }
    return nullptr;
}

EMU_NO_TSAN inline Thread *last_ready()
{
    for (int word = ((engine.thread_count + 63) >> 6) - 1; word >= 0; word--)
        if (engine.ready[word])
            return &engine.thread[word * 64 + 63 - __builtin_clzll(engine.ready[word])];
    return nullptr;
}

EMU_NO_TSAN inline Thread *pick()
{
    if (engine.order == REVERSE)
        return last_ready();
    return ready_after(engine.order == RANDOM
                           ? static_cast<int>(random_number() % static_cast<unsigned>(engine.thread_count))
                           : 0);
}

/* ---- stacks and switches ---- */

void thread_main();

EMU_NO_TSAN inline void allocate_stacks()
{
    void *pool = mmap(nullptr, STACK_STRIDE * MAX_THREADS, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pool == MAP_FAILED)
        fail("no memory for the stacks of %d threads", MAX_THREADS);
    engine.stacks = static_cast<char *>(pool);
    for (int i = MAX_THREADS - 1; i >= 0; i--)
        engine.free_stack[engine.free_count++] = engine.stacks + static_cast<size_t>(i) * STACK_STRIDE;
}

/* Not by memcpy: ThreadSanitizer sees what that does. */
EMU_NO_TSAN inline uint64_t &canary(Thread *t) { return *reinterpret_cast<uint64_t *>(t->stack); }

EMU_NO_TSAN inline void give_stack(Thread *t)
{
    if (!engine.stacks)
        allocate_stacks();
#ifdef EMU_TSAN
    t->stack = engine.stacks + static_cast<size_t>(t->id) * STACK_STRIDE; /* it remembers whose memory it was */
#else
    t->stack = engine.free_stack[--engine.free_count];
#endif
    canary(t) = CANARY;
    unpoison(t->stack + STACK_BYTES - 4096, 4096); /* what the last frames of its former owner left */
    t->sp = fresh_stack(t->stack + STACK_BYTES, thread_main);
}

EMU_NO_TSAN inline void drop_stack(Thread *t)
{
    if (canary(t) != CANARY)
        fail("a thread needs more than its stack of %zu bytes", STACK_BYTES);
#ifndef EMU_TSAN
    engine.free_stack[engine.free_count++] = t->stack;
#endif
    t->stack = nullptr;
}

EMU_NO_TSAN inline void become(Thread *t)
{
    engine.running = t;
    thread_index = t->index;
    t->started = true;
#ifdef EMU_TSAN
    __tsan_switch_to_fiber(t->tsan, 1); /* 1: the switch itself orders no memory */
#endif
}

/* Leaves what runs, to be resumed through *save, for thread t. */
EMU_NO_TSAN inline void switch_to(void **save, Thread *t, bool for_ever)
{
    engine.switches++;
    if (!t->started)
        give_stack(t);
    become(t);
#ifdef EMU_ASAN
    void *fake = nullptr;
    __sanitizer_start_switch_fiber(for_ever ? nullptr : &fake, t->stack, STACK_BYTES);
    emu_switch(save, t->sp);
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#else
    (void)for_ever;
    emu_switch(save, t->sp);
#endif
}

EMU_NO_TSAN inline void switch_to_host(Thread *from)
{
#ifdef EMU_TSAN
    __tsan_switch_to_fiber(engine.host_tsan, 1);
#endif
#ifdef EMU_ASAN
    __sanitizer_start_switch_fiber(nullptr, engine.host_bottom, engine.host_bytes);
#endif
    emu_switch(&from->sp, engine.host_sp);
}

[[noreturn]] EMU_NO_TSAN inline void deadlock()
{
    fail("deadlock: every thread of the block waits or has returned");
}

/* The running thread has said what it waits for: others run until it is its turn again. */
EMU_NO_TSAN inline void wait_turn()
{
    Thread *me = engine.running, *next = pick();
    if (!next)
        deadlock();
    if (next != me)
        switch_to(&me->sp, next, false);
}

/* ---- the life of a thread ---- */

EMU_NO_TSAN inline void release_barrier()
{
    engine.result = engine.votes;
    engine.votes = Votes();
    engine.at_barrier = 0;
    engine.barriers++;
    for (int i = 0; i < engine.thread_count; i++)
        if (engine.thread[i].wait == AT_BARRIER)
            set_ready(i);
}

EMU_NO_TSAN inline void run_body()
{
    acquire(&engine.begin_sync);
    engine.body(engine.closure);
    release(&engine.end_sync);
}

EMU_NO_TSAN inline void enter_first_time()
{
#ifdef EMU_ASAN
    const void *bottom;
    size_t bytes;
    __sanitizer_finish_switch_fiber(nullptr, &bottom, &bytes);
    if (!engine.host_bottom) { /* the first thread of all comes from the host */
        engine.host_bottom = bottom;
        engine.host_bytes = bytes;
    }
#endif
}

/* Runs one thread, and on the same stack others that have not begun: that saves a switch each. */
EMU_NO_TSAN inline void thread_main()
{
    enter_first_time();
    for (;;) {
        engine.threads++;
        run_body();
        Thread *me = engine.running;
        set_waiting(me->id, RETURNED);
        if (--engine.alive > 0 && engine.at_barrier == engine.alive)
            release_barrier();
        Thread *next = pick();
        if (!next && engine.alive > 0)
            deadlock();
#ifndef EMU_TSAN
        if (next && !next->started) {
            next->stack = me->stack;
            me->stack = nullptr;
            become(next);
            continue;
        }
#endif
        drop_stack(me);
        if (next)
            switch_to(&me->sp, next, true);
        else
            switch_to_host(me);
    }
}

} // namespace emu

#endif
