#ifndef EMU_NCCL_ROOM_H
#define EMU_NCCL_ROOM_H

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <ctime>
#include <fcntl.h>
#include <sched.h>
#include <string>

#include "nccl_types.h"
#include "streams.h"

/*
 * Where the ranks of a communicator meet: a file in /dev/shm that each of their processes maps, with a pipe from every
 * rank to every rank. It loses its name as soon as all have come.
 */

namespace emu::nccl {

constexpr int MAX_RANKS = 64;
constexpr size_t PIPE_BYTES = 1 << 17;
constexpr const char *NAME = "/dev/shm/cuda_on_cpu_nccl."; /* and 32 digits */

enum Call { INIT, FINALIZE, DESTROY, SEND, RECV, ALL_GATHER, REDUCE_SCATTER, ALL_REDUCE, BROADCAST };
constexpr const char *call_names[] = {"ncclCommInitRank",  "ncclCommFinalize", "ncclCommDestroy",
                                      "ncclSend",          "ncclRecv",         "ncclAllGather",
                                      "ncclReduceScatter", "ncclAllReduce",    "ncclBroadcast"};

/* What a rank shows to the others. Once state is no longer ABSENT, the plain fields stay as they are. */
enum State { ABSENT, JOINED, LEAVING, ABORTED };
struct Member {
    std::atomic<int> process, state;
    unsigned long long started; /* when the process began: numbers of processes come again */
    int device;
    std::atomic<int> waits_for, waits_in; /* a rank + 1, or 0; a Call */
};

/* Bytes from one rank to another, in a ring; both counts only grow. */
struct Pipe {
    alignas(64) std::atomic<uint64_t> written;
    alignas(64) std::atomic<uint64_t> read;
    alignas(64) char ring[PIPE_BYTES];
};

/* All zero at first. */
struct alignas(64) Room {
    std::atomic<int> ranks;
    std::atomic<int> fault_told; /* 1: one of them is writing, 2: it can be read */
    char fault[768];             /* the sentence with which every rank ends */
    int order;                   /* of additions, as rank 0 was told; and the seed of RANDOM */
    uint64_t seed;
    Member member[MAX_RANKS];
};

inline std::string last_error; /* of ncclGetLastError */

inline ncclResult_t refuse(ncclResult_t result, const std::string &sentence)
{
    last_error = sentence;
    return result;
}

} // namespace emu::nccl

struct ncclComm {
    emu::nccl::Room *room;
    std::string path;
    int rank, ranks, device;
    const char *ended_by = nullptr; /* ncclCommDestroy or ncclCommAbort */
    ncclResult_t error = ncclSuccess;
    bool blocking = true, in_progress = false, finalized = false;
    emu::Prefix last = {nullptr, 0}; /* its works, up to the last */
    uint64_t sums = 0;               /* reductions that have begun */
    std::unique_ptr<emu::LibraryMemory> buffers = nullptr;

    emu::nccl::Member &member(int r) const { return room->member[r]; }
    emu::nccl::Pipe &pipe(int from, int to) const
    {
        return reinterpret_cast<emu::nccl::Pipe *>(room + 1)[from * ranks + to];
    }
};

namespace emu::nccl {

template <class... Args> inline std::string sentence(const char *format, Args... args)
{
    char text[sizeof Room::fault];
    snprintf(text, sizeof text, format, args...);
    return text;
}

/* ---- faults ---- */

/* Ends this process, and every other that waits for a rank of the communicator, with the first such sentence. */
[[noreturn]] inline void fail_all(const ncclComm &c, const std::string &text)
{
    int none = 0;
    if (c.room->fault_told.compare_exchange_strong(none, 1)) {
        snprintf(c.room->fault, sizeof c.room->fault, "%s", text.c_str());
        c.room->fault_told.store(2);
    }
    while (c.room->fault_told.load() != 2)
        sched_yield();
    unlink(c.path.c_str());
    fail("%s", static_cast<const char *>(c.room->fault));
}

inline void check_fault(const ncclComm &c)
{
    if (c.room->fault_told.load() != 0)
        fail_all(c, "");
}

/* When the process began, in ticks since the machine did; 0 when it has ended, also if its parent has yet to know. */
inline unsigned long long process_start(int process)
{
    char path[32], text[1024] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", process);
    FILE *file = fopen(path, "r");
    if (!file)
        return 0;
    const size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = '\0';
    const char *name_end = strrchr(text, ')'); /* proc(5): field 2 is the name, 3 the state, 22 the start */
    char state = 'X';
    unsigned long long start = 0;
    if (!name_end ||
        sscanf(name_end + 1, " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu", &state,
               &start) != 2)
        return 0;
    return state == 'Z' || state == 'X' ? 0 : start;
}

inline bool has_ended(const Member &m) { return process_start(m.process.load()) != m.started; }

/* ---- waits ---- */

inline double now()
{
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

/* CUDA_ON_CPU_NCCL_TIMEOUT: seconds that a rank may wait for another. */
inline double timeout()
{
    static const double seconds = static_cast<double>(setting("CUDA_ON_CPU_NCCL_TIMEOUT", 60));
    return seconds;
}

/* "; rank 1 waits for rank 0 in ncclRecv" of every rank but the own. */
inline std::string who_waits(const ncclComm &c)
{
    std::string all;
    for (int r = 0; r < c.ranks; r++) {
        const Member &m = c.member(r);
        const int peer = m.waits_for.load() - 1;
        if (r == c.rank)
            continue;
        all += m.state.load() == ABSENT ? sentence("; rank %d has not come", r)
               : peer < 0               ? sentence("; rank %d does not wait", r)
                          : sentence("; rank %d waits for rank %d in %s", r, peer, call_names[m.waits_in.load()]);
    }
    return all;
}

/* A wait for another rank: polls more and more slowly, and ends the program when it has taken too long. */
class Wait {
    double since = now(), looked = since;
    int turns = 0;

  public:
    /* Lets others run. `what`: the call, for the sentence. True when it is time to see whether the peer lives. */
    bool turn(const ncclComm &c, int peer, Call call, const std::string &what)
    {
        check_fault(c);
        if (++turns < 64) {
            sched_yield();
            return false;
        }
        c.member(c.rank).waits_in.store(call);
        c.member(c.rank).waits_for.store(peer + 1);
        const timespec pause = {0, 50000};
        nanosleep(&pause, nullptr);
        const double t = now();
        if (t - since > timeout())
            fail_all(c, sentence("rank %d of %d has waited %g seconds for rank %d in %s%s", c.rank, c.ranks, timeout(),
                                 peer, what.c_str(), who_waits(c).c_str()));
        const bool due = t - looked > 0.02;
        looked = due ? t : looked;
        return due;
    }
    void restart(const ncclComm &c)
    {
        c.member(c.rank).waits_for.store(0);
        turns = 0;
        looked = since = now();
    }
};

/* Waits until `there` holds of every rank. ncclRemoteError: for one whose process has ended it never will. */
template <class F> inline ncclResult_t wait_for_all(const ncclComm &c, Call call, F there)
{
    Wait wait;
    bool suspected = false;
    for (int r = 0; r < c.ranks;) {
        const Member &m = c.member(r);
        if (there(m)) {
            r++;
            suspected = false;
        } else if (suspected) {
            check_fault(c); /* with which it may have ended */
            return refuse(ncclRemoteError,
                          sentence("rank %d has ended, and rank %d waits for it in %s", r, c.rank, call_names[call]));
        } else {
            const bool due = wait.turn(c, r, call, call_names[call]);
            suspected = due && m.state.load() != ABSENT && (m.state.load() == ABORTED || has_ended(m));
        }
    }
    wait.restart(c);
    return ncclSuccess;
}

/* ---- coming ---- */

inline Order environment_order()
{
    const char *text = getenv("CUDA_ON_CPU_NCCL_ORDER");
    if (!text || strcmp(text, "forward") == 0)
        return FORWARD;
    if (strcmp(text, "reverse") != 0 && strcmp(text, "random") != 0)
        fail("CUDA_ON_CPU_NCCL_ORDER is '%s', not forward, reverse or random", text);
    return strcmp(text, "reverse") == 0 ? REVERSE : RANDOM;
}

inline size_t room_bytes(int ranks)
{
    return sizeof(Room) + static_cast<size_t>(ranks) * static_cast<size_t>(ranks) * sizeof(Pipe);
}

inline Room *map_room(const std::string &path, int ranks)
{
    const size_t bytes = room_bytes(ranks);
    const int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0)
        fail("ncclCommInitRank: %s: %s", path.c_str(), strerror(errno));
    const int e = posix_fallocate(file, 0, static_cast<off_t>(bytes));
    void *room = e == 0 ? mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) : MAP_FAILED;
    close(file);
    if (room == MAP_FAILED) {
        unlink(path.c_str());
        fail("ncclCommInitRank: %zu bytes of %s: %s", bytes, path.c_str(), strerror(e != 0 ? e : errno));
    }
    return static_cast<Room *>(room);
}

/* Shows this process as the rank; the communicator's fields are set. */
inline void join(const ncclComm &c)
{
    int none = 0;
    Room *room = c.room;
    if (!room->ranks.compare_exchange_strong(none, c.ranks) && none != c.ranks)
        fail_all(c,
                 sentence("ncclCommInitRank: rank %d says that there are %d ranks, another %d", c.rank, c.ranks, none));
    Member &m = c.member(c.rank);
    none = 0;
    if (!m.process.compare_exchange_strong(none, getpid()))
        fail_all(c, sentence("ncclCommInitRank: processes %d and %d both say that they are rank %d", none, getpid(),
                             c.rank));
    m.started = process_start(getpid());
    if (m.started == 0)
        fail("ncclCommInitRank: /proc tells nothing of this process");
    m.device = c.device;
    if (c.rank == 0) {
        room->order = environment_order();
        room->seed = setting("CUDA_ON_CPU_SEED", 1);
    }
    m.state.store(JOINED);
}

/* A process that sees a device for each rank has no reason to share one. With fewer, each may see another GPU. */
inline void check_devices(const ncclComm &c)
{
    for (int r = 0; r < c.ranks; r++)
        if (r != c.rank && c.member(r).device == c.device && gpu().count >= c.ranks)
            fail_all(c, sentence("ncclCommInitRank: ranks %d and %d are both on device %d", std::min(r, c.rank),
                                 std::max(r, c.rank), c.device));
}

} // namespace emu::nccl

#endif
