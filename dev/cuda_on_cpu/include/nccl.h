#ifndef CUDA_ON_CPU_NCCL_H
#define CUDA_ON_CPU_NCCL_H

#include <sys/random.h>

#include "cuda_runtime.h"
#include "emu/nccl_work.h"

/*
 * nccl.h, emulated: ranks that are processes of one machine, each with one rank in a communicator. Calls are works of
 * their streams, and all of a process are done in the order in which they were asked for. What NCCL refuses, and what
 * would hang, ends the program with a sentence; a rank whose process ends makes the others' waiting works end, with
 * ncclRemoteError. Not emulated: calls that a stream captures, several ranks in one process.
 *
 * CUDA_ON_CPU_NCCL_TIMEOUT=seconds (60) is how long a rank may wait for another. CUDA_ON_CPU_NCCL_ORDER=forward,
 * reverse or random (by CUDA_ON_CPU_SEED): the order in which the ranks' contributions to a sum are added; rank 0's
 * counts.
 */

namespace emu::nccl {

inline int groups = 0;                  /* ncclGroupStart without their ncclGroupEnd */
inline std::vector<Request> grouped;    /* of the group that is open */
inline Prefix last_work = {nullptr, 0}; /* of all communicators */

inline std::deque<ncclComm> &communicators() /* all that ever were */
{
    static std::deque<ncclComm> all;
    return all;
}

inline void check_communicator(const ncclComm *comm, const char *call)
{
    for (const ncclComm &c : communicators()) {
        if (&c != comm)
            continue;
        if (c.ended_by)
            fail("rank %d calls %s after %s of the communicator", c.rank, call, c.ended_by);
        return;
    }
    fail("%s is given %p, which is no communicator", call, static_cast<const void *>(comm));
}

/* What a call on the communicator answers before it does anything. */
inline ncclResult_t usable(const ncclComm *comm, const char *call)
{
    check_communicator(comm, call);
    if (comm->in_progress)
        return refuse(ncclInvalidArgument, sentence("%s before ncclCommGetAsyncError has told that the communicator's "
                                                    "last call is done",
                                                    call));
    return comm->error;
}

/* count elements for each of `parts` ranks. */
inline void check_buffer(const Request &q, const char *what, const void *p, int parts)
{
    const size_t size = size_of(q.type);
    if (q.count == 0)
        return;
    if (bytes_left(device_memory, p) / size / static_cast<size_t>(parts) < q.count)
        fail("rank %d calls %s with a %s at %p, which is no device memory of %d times %zu elements", q.comm->rank,
             describe(q).c_str(), what, p, parts, q.count);
    if (reinterpret_cast<uintptr_t>(p) % size != 0)
        fail("rank %d calls %s with a %s at %p, which is not aligned", q.comm->rank, describe(q).c_str(), what, p);
}

/* The buffers may share memory in one way alone, where the rank's own part of the larger is the smaller. */
inline void check_overlap(const Request &q, int send_parts, int recv_parts)
{
    const size_t n = bytes_of(q), own = n * static_cast<size_t>(q.comm->rank);
    const char *send = q.send, *send_end = q.send + n * static_cast<size_t>(send_parts);
    const char *recv = q.recv, *recv_end = q.recv + n * static_cast<size_t>(recv_parts);
    const bool in_place = send + (send_parts > 1 ? own : 0) == recv + (recv_parts > 1 ? own : 0);
    if (send < recv_end && recv < send_end && !in_place)
        fail("rank %d calls %s with buffers that overlap at %p and %p, other than in place", q.comm->rank,
             describe(q).c_str(), static_cast<const void *>(send), static_cast<const void *>(recv));
}

inline void check_request(const Request &q)
{
    const int ranks = q.comm->ranks;
    const int send_parts = q.call == RECV ? 0 : q.call == REDUCE_SCATTER ? ranks : 1;
    const int recv_parts = q.call == SEND ? 0 : q.call == ALL_GATHER ? ranks : 1;
    const bool sends = send_parts > 0 && (q.call != BROADCAST || q.comm->rank == q.peer);
    if (sends)
        check_buffer(q, "send buffer", q.send, send_parts);
    if (recv_parts > 0)
        check_buffer(q, "receive buffer", q.recv, recv_parts);
    if (sends && recv_parts > 0)
        check_overlap(q, send_parts, recv_parts);
}

/* A rank's messages to itself move within a group alone. */
inline void check_own_messages(const std::vector<Request> &requests)
{
    for (const Request &q : requests) {
        int sends = 0, receives = 0;
        for (const Request &other : requests) {
            const bool own = other.comm == q.comm && other.peer == q.comm->rank;
            sends += own && other.call == SEND;
            receives += own && other.call == RECV;
        }
        if (sends != receives)
            fail("rank %d sends itself %d messages in a group and receives %d of them", q.comm->rank, sends, receives);
    }
}

/* One work on the first call's stream, for which the streams of the others wait. */
inline ncclResult_t submit(std::vector<Request> requests)
{
    if (requests.empty())
        return ncclSuccess;
    for (const Request &q : requests) {
        const ncclResult_t e = usable(q.comm, call_names[q.call]);
        if (e != ncclSuccess)
            return e;
    }
    check_own_messages(requests);
    /* NCCL does not ask in which order sends and collectives of a group were called */
    std::stable_partition(requests.begin(), requests.end(), is_collective);
    const cudaStream_t first = requests[0].stream;
    std::vector<Prefix> after;
    if (last_work.stream)
        after.push_back(last_work);
    for (const Request &q : requests)
        after.push_back({find_stream(q.stream), find_stream(q.stream)->issued});
    const std::vector<Request> calls = requests;
    cudaError_t e = enqueue(
        first,
        [calls] {
            DeviceWork device;
            Transfer(calls).run();
        },
        after);
    last_work = {find_stream(first), find_stream(first)->issued};
    for (const Request &q : requests) {
        q.comm->last = last_work;
        if (e == cudaSuccess && find_stream(q.stream) != find_stream(first))
            e = enqueue(q.stream, [] {}, {last_work});
    }
    return e == cudaSuccess ? ncclSuccess : refuse(ncclUnhandledCudaError, cudaGetErrorString(e));
}

inline ncclResult_t ask(const Request &q)
{
    const char *name = call_names[q.call];
    const ncclResult_t e = usable(q.comm, name);
    if (e != ncclSuccess)
        return e;
    if (q.type < 0 || q.type > ncclBfloat16 || size_of(q.type) == 0)
        fail("rank %d calls %s of type %d, which is not emulated", q.comm->rank, name, static_cast<int>(q.type));
    if (q.peer < 0 || q.peer >= q.comm->ranks)
        fail("rank %d calls %s with rank %d, of ranks 0 to %d", q.comm->rank, name, q.peer, q.comm->ranks - 1);
    if (is_capturing(find_stream(q.stream)))
        fail("rank %d calls %s on a stream that captures: that is not emulated", q.comm->rank, name);
    check_request(q);
    if (groups == 0)
        return submit({q});
    grouped.push_back(q);
    return ncclSuccess;
}

inline Request request(Call call, const void *send, void *recv, size_t count, ncclDataType_t type, int peer,
                       ncclComm *comm, cudaStream_t stream)
{
    return {call, comm, stream, static_cast<const char *>(send), static_cast<char *>(recv), count, type, peer};
}

inline void check_sum(ncclRedOp_t op, const ncclComm *comm, const char *call)
{
    check_communicator(comm, call);
    if (op != ncclSum)
        fail("rank %d calls %s with reduction %d: only ncclSum is emulated", comm->rank, call, static_cast<int>(op));
}

/* Does the works of the communicator, and waits until every rank has come so far. */
inline ncclResult_t finalize(ncclComm &c, Call call)
{
    if (c.last.stream)
        run_until(c.last.stream, c.last.count);
    if (c.error != ncclSuccess)
        return c.error;
    c.member(c.rank).state.store(LEAVING);
    c.error = wait_for_all(c, call, [](const Member &m) { return m.state.load() == LEAVING; });
    c.finalized = true;
    return c.error;
}

/* Lets go of what the ranks share. */
inline void end(ncclComm &c, const char *call)
{
    c.ended_by = call;
    munmap(c.room, room_bytes(c.ranks));
    c.room = nullptr;
    c.buffers.reset();
}

/* In a communicator that does not block, the answer comes from ncclCommGetAsyncError. */
inline ncclResult_t answer(ncclComm &c, ncclResult_t result)
{
    c.in_progress = !c.blocking;
    return c.blocking ? result : ncclInProgress;
}

} // namespace emu::nccl

inline ncclResult_t ncclGetVersion(int *version)
{
    *version = NCCL_VERSION_CODE;
    return ncclSuccess;
}

/* The last refusal of this process; every communicator gives the same. */
inline const char *ncclGetLastError(ncclComm_t) { return emu::nccl::last_error.c_str(); }

/* ---- communicators ---- */

inline ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    unsigned char random[16];
    *id = {};
    if (getrandom(random, sizeof random, 0) != static_cast<ssize_t>(sizeof random))
        return emu::nccl::refuse(ncclSystemError, "getrandom gives no random numbers");
    std::string name = emu::nccl::NAME;
    for (const unsigned char byte : random)
        name += emu::nccl::sentence("%02x", byte);
    snprintf(id->internal, sizeof id->internal, "%s", name.c_str());
    return ncclSuccess;
}

/* Waits until all ranks have called it. The device is the current one. */
inline ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank, ncclConfig_t *config)
{
    using namespace emu::nccl;
    const char *call = call_names[INIT];
    const size_t prefix = strlen(NAME);
    *comm = nullptr;
    if (emu::device_error() != cudaSuccess)
        return refuse(ncclUnhandledCudaError, cudaGetErrorString(emu::device_error()));
    if (config && (config->magic != NCCL_API_MAGIC || config->size != sizeof *config))
        return refuse(ncclInvalidArgument, "the configuration was not made by NCCL_CONFIG_INITIALIZER");
    if (ranks < 1 || ranks > MAX_RANKS || rank < 0 || rank >= ranks)
        emu::fail("%s is given rank %d of %d: ranks begin at 0, and there may be %d", call, rank, ranks, MAX_RANKS);
    if (strncmp(id.internal, NAME, prefix) != 0 || strnlen(id.internal, sizeof id.internal) != prefix + 32)
        emu::fail("rank %d calls %s with an id that ncclGetUniqueId has not made", rank, call);
    if (groups > 0)
        emu::fail("rank %d calls %s in a group: several ranks in one process are not emulated", rank, call);
    /* one to each other rank and one from it, of NCCL_BUFFSIZE's default in NCCL's documentation */
    const size_t buffer_bytes = static_cast<size_t>(ranks - 1) * 2 * (4 << 20);
    auto buffers = std::make_unique<emu::LibraryMemory>(buffer_bytes);
    if (buffers->bytes < buffer_bytes)
        return refuse(ncclUnhandledCudaError, cudaGetErrorString(cudaErrorMemoryAllocation));
    ncclComm &c = communicators().emplace_back();
    c.buffers = std::move(buffers);
    c.path = id.internal;
    c.rank = rank;
    c.ranks = ranks;
    c.device = emu::current_device;
    c.blocking = !config || config->blocking != 0;
    c.room = map_room(c.path, ranks);
    join(c);
    c.error = wait_for_all(c, INIT, [](const Member &m) { return m.state.load() != ABSENT; });
    unlink(c.path.c_str());
    if (c.error == ncclSuccess)
        check_devices(c);
    *comm = &c;
    return answer(c, c.error);
}
inline ncclResult_t ncclCommInitRank(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank)
{
    return ncclCommInitRankConfig(comm, ranks, id, rank, nullptr);
}

inline ncclResult_t ncclCommFinalize(ncclComm_t comm)
{
    const ncclResult_t e = emu::nccl::usable(comm, "ncclCommFinalize");
    if (e != ncclSuccess)
        return e;
    if (comm->finalized)
        emu::fail("rank %d calls ncclCommFinalize twice", comm->rank);
    return emu::nccl::answer(*comm, emu::nccl::finalize(*comm, emu::nccl::FINALIZE));
}
inline ncclResult_t ncclCommDestroy(ncclComm_t comm)
{
    emu::nccl::check_communicator(comm, "ncclCommDestroy");
    const ncclResult_t e = comm->finalized ? comm->error : emu::nccl::finalize(*comm, emu::nccl::DESTROY);
    emu::nccl::end(*comm, "ncclCommDestroy");
    return e;
}
/* Works that are not done yet end without results. */
inline ncclResult_t ncclCommAbort(ncclComm_t comm)
{
    emu::nccl::check_communicator(comm, "ncclCommAbort");
    comm->member(comm->rank).state.store(emu::nccl::ABORTED);
    emu::nccl::end(*comm, "ncclCommAbort");
    return ncclSuccess;
}

inline ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *error)
{
    emu::nccl::check_communicator(comm, "ncclCommGetAsyncError");
    *error = comm->in_progress ? ncclInProgress : comm->error;
    comm->in_progress = false;
    return ncclSuccess;
}
inline ncclResult_t ncclCommCount(const ncclComm_t comm, int *count)
{
    emu::nccl::check_communicator(comm, "ncclCommCount");
    *count = comm->ranks;
    return ncclSuccess;
}
inline ncclResult_t ncclCommUserRank(const ncclComm_t comm, int *rank)
{
    emu::nccl::check_communicator(comm, "ncclCommUserRank");
    *rank = comm->rank;
    return ncclSuccess;
}
inline ncclResult_t ncclCommCuDevice(const ncclComm_t comm, int *device)
{
    emu::nccl::check_communicator(comm, "ncclCommCuDevice");
    *device = comm->device;
    return ncclSuccess;
}

/* ---- groups ---- */

inline ncclResult_t ncclGroupStart()
{
    emu::nccl::groups++;
    return ncclSuccess;
}
inline ncclResult_t ncclGroupEnd()
{
    if (emu::nccl::groups == 0)
        return emu::nccl::refuse(ncclInvalidUsage, "ncclGroupEnd without ncclGroupStart");
    if (--emu::nccl::groups > 0)
        return ncclSuccess;
    std::vector<emu::nccl::Request> requests;
    requests.swap(emu::nccl::grouped);
    return emu::nccl::submit(std::move(requests));
}

/* ---- communication ---- */

inline ncclResult_t ncclSend(const void *send, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                             cudaStream_t stream)
{
    using namespace emu::nccl;
    return ask(request(SEND, send, nullptr, count, type, peer, comm, stream));
}
inline ncclResult_t ncclRecv(void *recv, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                             cudaStream_t stream)
{
    using namespace emu::nccl;
    return ask(request(RECV, nullptr, recv, count, type, peer, comm, stream));
}
inline ncclResult_t ncclAllGather(const void *send, void *recv, size_t count, ncclDataType_t type, ncclComm_t comm,
                                  cudaStream_t stream)
{
    using namespace emu::nccl;
    return ask(request(ALL_GATHER, send, recv, count, type, 0, comm, stream));
}
inline ncclResult_t ncclReduceScatter(const void *send, void *recv, size_t count, ncclDataType_t type, ncclRedOp_t op,
                                      ncclComm_t comm, cudaStream_t stream)
{
    using namespace emu::nccl;
    check_sum(op, comm, call_names[REDUCE_SCATTER]);
    return ask(request(REDUCE_SCATTER, send, recv, count, type, 0, comm, stream));
}
inline ncclResult_t ncclAllReduce(const void *send, void *recv, size_t count, ncclDataType_t type, ncclRedOp_t op,
                                  ncclComm_t comm, cudaStream_t stream)
{
    using namespace emu::nccl;
    check_sum(op, comm, call_names[ALL_REDUCE]);
    return ask(request(ALL_REDUCE, send, recv, count, type, 0, comm, stream));
}
inline ncclResult_t ncclBroadcast(const void *send, void *recv, size_t count, ncclDataType_t type, int root,
                                  ncclComm_t comm, cudaStream_t stream)
{
    using namespace emu::nccl;
    return ask(request(BROADCAST, send, recv, count, type, root, comm, stream));
}

#endif
