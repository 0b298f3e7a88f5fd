/*
 * Tests of nccl.h: every call with 1 to 4 ranks, each a process, against sums and permutations known beforehand. Plain
 * NCCL, so that nvcc compiles it too; what only the emulator does (refusals with a sentence, the order of sums, the end
 * of a rank) is tested there alone. Each test runs with eager and with lazy streams.
 */
#include "test_ranks.cuh"

static Settings settings; /* of the round */

static void test_ranks(Program program)
{
    for (int n = 1; n <= MOST_RANKS; n++)
        if (!ranks_pass(n, program, settings))
            return;
}

/* Element i of a rank's contribution; a sum over 4 ranks is below 128, so that every type holds it. */
static int element(int rank, size_t i) { return (rank + 1) * (int(i % 11) + 1); }
static int element_sum(int ranks, size_t i) { return ranks * (ranks + 1) / 2 * (int(i % 11) + 1); }

template <class T> static std::vector<T> elements(int rank, size_t n, size_t first = 0)
{
    std::vector<T> v(n);
    for (size_t i = 0; i < n; i++)
        v[i] = T(float(element(rank, first + i)));
    return v;
}

template <class T, class F> static void expect_all(const Device<T> &got, const char *what, F want)
{
    const std::vector<T> v = got.read();
    for (size_t i = 0; i < v.size(); i++)
        if (!expect(value(float(v[i])) == want(i), "%s of %zu: element %zu is %g, not %d", what, v.size(), i,
                    value(float(v[i])), want(i)))
            return;
}

static cudaStream_t new_stream(void)
{
    cudaStream_t stream;
    CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    return stream;
}

/* ---- communicators ---- */

static void communicator(Rank &r)
{
    int version = 0, ranks = 0, rank = -1, device = -1;
    ncclResult_t error = ncclInternalError;
    connect(r);
    NCCL_CHECK(ncclGetVersion(&version));
    NCCL_CHECK(ncclCommCount(r.comm, &ranks));
    NCCL_CHECK(ncclCommUserRank(r.comm, &rank));
    NCCL_CHECK(ncclCommCuDevice(r.comm, &device));
    NCCL_CHECK(ncclCommGetAsyncError(r.comm, &error));
    expect(version >= NCCL_VERSION(2, 18, 0) && version == NCCL_VERSION_CODE, "version %d", version);
    expect(ranks == r.ranks && rank == r.rank && device == r.rank, "rank %d of %d on %d", rank, ranks, device);
    expect(error == ncclSuccess, "%s", ncclGetErrorString(error));
    expect(strcmp(ncclGetErrorString(ncclSuccess), ncclGetErrorString(ncclRemoteError)) != 0, "error strings");
    expect(ncclGetLastError(r.comm) != nullptr, "last error");
    NCCL_CHECK(ncclCommFinalize(r.comm));
    disconnect(r);
}

/* Neither waits in its functions: the answer comes later. */
static void non_blocking(Rank &r)
{
    choose_device(r);
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    ncclResult_t e = ncclCommInitRankConfig(&r.comm, r.ranks, shared_id(r), r.rank, &config);
    expect(e == ncclInProgress || e == ncclSuccess, "init: %s", ncclGetErrorString(e));
    do
        NCCL_CHECK(ncclCommGetAsyncError(r.comm, &e));
    while (e == ncclInProgress);
    expect(e == ncclSuccess, "after init: %s", ncclGetErrorString(e));
    e = ncclCommFinalize(r.comm);
    expect(e == ncclInProgress || e == ncclSuccess, "finalize: %s", ncclGetErrorString(e));
    do
        NCCL_CHECK(ncclCommGetAsyncError(r.comm, &e));
    while (e == ncclInProgress);
    expect(e == ncclSuccess, "after finalize: %s", ncclGetErrorString(e));
    disconnect(r);
}

static void test_communicators(void)
{
    test_ranks(communicator);
    test_ranks(non_blocking);
}

/* ---- collectives ---- */

template <class T> static void collectives(const Rank &r, ncclDataType_t type, size_t n)
{
    const cudaStream_t s = new_stream();
    const size_t all = n * r.ranks;
    const Device<T> in(elements<T>(r.rank, n)), whole(elements<T>(r.rank, all)), sum(n), part(n), gathered(all),
        root(n);
    const Device<T> sum_in_place(elements<T>(r.rank, n)), part_in_place(elements<T>(r.rank, all)), gather_in_place(all);
    const Device<T> cast(elements<T>(r.rank, n));
    const int caster = r.ranks - 1;
    CUDA_CHECK(cudaMemcpy(gather_in_place + r.rank * n, in, n * sizeof(T), cudaMemcpyDeviceToDevice));
    CUDA_CHECK(cudaDeviceSynchronize());
    NCCL_CHECK(ncclAllReduce(in, sum, n, type, ncclSum, r.comm, s));
    NCCL_CHECK(ncclAllReduce(sum_in_place, sum_in_place, n, type, ncclSum, r.comm, s));
    NCCL_CHECK(ncclReduceScatter(whole, part, n, type, ncclSum, r.comm, s));
    NCCL_CHECK(ncclReduceScatter(part_in_place, part_in_place + r.rank * n, n, type, ncclSum, r.comm, s));
    NCCL_CHECK(ncclAllGather(in, gathered, n, type, r.comm, s));
    NCCL_CHECK(ncclAllGather(gather_in_place + r.rank * n, gather_in_place, n, type, r.comm, s));
    NCCL_CHECK(ncclBroadcast(r.rank == caster ? in.p : nullptr, root, n, type, caster, r.comm, s));
    NCCL_CHECK(ncclBroadcast(cast, cast, n, type, 0, r.comm, s));
    CUDA_CHECK(cudaStreamSynchronize(s));
    const auto total = [&](size_t i) { return element_sum(r.ranks, i); };
    const auto own_part = [&](size_t i) { return element_sum(r.ranks, r.rank * n + i); };
    const auto of_rank = [&](size_t i) { return element(int(i / n), i % n); };
    expect_all(sum, "all-reduce", total);
    expect_all(sum_in_place, "all-reduce in place", total);
    expect_all(part, "reduce-scatter", own_part);
    expect_all(gathered, "all-gather", of_rank);
    expect_all(gather_in_place, "all-gather in place", of_rank);
    expect_all(root, "broadcast", [&](size_t i) { return element(caster, i); });
    expect_all(cast, "broadcast in place", [&](size_t i) { return element(0, i); });
    const std::vector<T> scattered = part_in_place.read();
    for (size_t i = 0; i < n; i++)
        if (!expect(float(scattered[r.rank * n + i]) == float(own_part(i)), "reduce-scatter in place: element %zu", i))
            return;
    CUDA_CHECK(cudaStreamDestroy(s));
}

static void all_types(Rank &r)
{
    connect(r);
    for (const size_t n : {size_t(1), size_t(7), size_t(1000)}) {
        collectives<float>(r, ncclFloat32, n);
        collectives<double>(r, ncclFloat64, n);
        collectives<bf16>(r, ncclBfloat16, n);
        collectives<int8_t>(r, ncclInt8, n);
        collectives<uint8_t>(r, ncclUint8, n);
        collectives<int32_t>(r, ncclInt32, n);
        collectives<uint32_t>(r, ncclUint32, n);
        collectives<int64_t>(r, ncclInt64, n);
        collectives<uint64_t>(r, ncclUint64, n);
    }
    disconnect(r);
}
static void many_elements(Rank &r) /* more than a pipe holds */
{
    connect(r);
    collectives<float>(r, ncclFloat32, 200003);
    collectives<bf16>(r, ncclBfloat16, 100003);
    disconnect(r);
}
static void no_elements(Rank &r)
{
    connect(r);
    NCCL_CHECK(ncclAllReduce(nullptr, nullptr, 0, ncclFloat32, ncclSum, r.comm, nullptr));
    NCCL_CHECK(ncclAllGather(nullptr, nullptr, 0, ncclFloat32, r.comm, nullptr));
    CUDA_CHECK(cudaDeviceSynchronize());
    disconnect(r);
}

static void test_collectives(void)
{
    test_ranks(all_types);
    test_ranks(many_elements);
    test_ranks(no_elements);
}

/* ---- sends and receives ---- */

/* Everybody to everybody and itself, at lengths of their own, in an order that differs from rank to rank. */
static void everybody(Rank &r)
{
    connect(r);
    const size_t most = 50000;
    const auto length = [&](int from, int to) { return most - 1000 * size_t(from) - size_t(to); };
    const Device<float> out(elements<float>(r.rank, most * r.ranks)), in(most * r.ranks);
    CUDA_CHECK(cudaMemset(in, 0, most * r.ranks * sizeof(float)));
    CUDA_CHECK(cudaDeviceSynchronize());
    NCCL_CHECK(ncclGroupStart());
    for (int k = 0; k < r.ranks; k++) {
        const int to = (r.rank + k) % r.ranks, from = r.rank % 2 ? k : r.ranks - 1 - k;
        NCCL_CHECK(ncclGroupStart());
        NCCL_CHECK(ncclSend(out + to * most, length(r.rank, to), ncclFloat32, to, r.comm, nullptr));
        NCCL_CHECK(ncclRecv(in + from * most, length(from, r.rank), ncclFloat32, from, r.comm, nullptr));
        NCCL_CHECK(ncclGroupEnd());
    }
    NCCL_CHECK(ncclGroupEnd());
    CUDA_CHECK(cudaDeviceSynchronize());
    expect_all(in, "all to all", [&](size_t i) {
        const int from = int(i / most);
        return i % most < length(from, r.rank) ? element(from, r.rank * most + i % most) : 0;
    });
    disconnect(r);
}

/* Not in a group: each waits for the one before. Two messages to one rank arrive in their order. */
static void chain(Rank &r)
{
    connect(r);
    const size_t n = 70000;
    const Device<double> a(n), b(n);
    if (r.rank > 0) {
        NCCL_CHECK(ncclRecv(a, n, ncclFloat64, r.rank - 1, r.comm, nullptr));
        NCCL_CHECK(ncclRecv(b, n, ncclFloat64, r.rank - 1, r.comm, nullptr));
    } else {
        CUDA_CHECK(cudaMemcpy(a, elements<double>(5, n).data(), n * sizeof(double), cudaMemcpyHostToDevice));
        CUDA_CHECK(cudaMemcpy(b, elements<double>(6, n).data(), n * sizeof(double), cudaMemcpyHostToDevice));
    }
    if (r.rank + 1 < r.ranks) {
        NCCL_CHECK(ncclSend(a, n, ncclFloat64, r.rank + 1, r.comm, nullptr));
        NCCL_CHECK(ncclSend(b, n, ncclFloat64, r.rank + 1, r.comm, nullptr));
    }
    CUDA_CHECK(cudaDeviceSynchronize());
    expect_all(a, "first in the chain", [](size_t i) { return element(5, i); });
    expect_all(b, "second in the chain", [](size_t i) { return element(6, i); });
    disconnect(r);
}

/* Sends and collectives of a group may be called in different orders; so may sends to different ranks. */
static void mixed_group(Rank &r)
{
    connect(r);
    const size_t n = 300;
    const int next = (r.rank + 1) % r.ranks, before = (r.rank + r.ranks - 1) % r.ranks;
    const Device<int32_t> out(elements<int32_t>(r.rank, n)), in(n), sum(n), gathered(n * r.ranks);
    NCCL_CHECK(ncclGroupStart());
    if (r.rank % 2)
        NCCL_CHECK(ncclSend(out, n, ncclInt32, next, r.comm, nullptr));
    NCCL_CHECK(ncclAllReduce(out, sum, n, ncclInt32, ncclSum, r.comm, nullptr));
    NCCL_CHECK(ncclRecv(in, n, ncclInt32, before, r.comm, nullptr));
    NCCL_CHECK(ncclAllGather(out, gathered, n, ncclInt32, r.comm, nullptr));
    if (r.rank % 2 == 0)
        NCCL_CHECK(ncclSend(out, n, ncclInt32, next, r.comm, nullptr));
    NCCL_CHECK(ncclGroupEnd());
    CUDA_CHECK(cudaDeviceSynchronize());
    expect_all(in, "from the rank before", [&](size_t i) { return element(before, i); });
    expect_all(sum, "all-reduce in a group", [&](size_t i) { return element_sum(r.ranks, i); });
    expect_all(gathered, "all-gather in a group", [&](size_t i) { return element(int(i / n), i % n); });
    expect(ncclGroupEnd() == ncclInvalidUsage, "an end without a start");
    disconnect(r);
}

static void test_sends(void)
{
    test_ranks(everybody);
    test_ranks(chain);
    test_ranks(mixed_group);
}

/* ---- streams ---- */

/* All streams of a group wait for the whole group, and it for all they were given before. */
static void group_of_streams(Rank &r)
{
    connect(r);
    const size_t n = 20000, bytes = n * sizeof(float);
    const int next = (r.rank + 1) % r.ranks, before = (r.rank + r.ranks - 1) % r.ranks;
    const cudaStream_t one = new_stream(), two = new_stream();
    const Device<float> source(elements<float>(r.rank, n)), out(n), in(n), copy(n);
    CUDA_CHECK(cudaDeviceSynchronize());
    CUDA_CHECK(cudaMemcpyAsync(out, source, bytes, cudaMemcpyDeviceToDevice, two));
    NCCL_CHECK(ncclGroupStart());
    NCCL_CHECK(ncclRecv(in, n, ncclFloat32, before, r.comm, one));
    NCCL_CHECK(ncclSend(out, n, ncclFloat32, next, r.comm, two));
    NCCL_CHECK(ncclGroupEnd());
    CUDA_CHECK(cudaMemcpyAsync(copy, in, bytes, cudaMemcpyDeviceToDevice, two));
    if (r.rank % 2) /* the group alone, which needs what stream two was given before it */
        CUDA_CHECK(cudaStreamSynchronize(one));
    CUDA_CHECK(cudaStreamSynchronize(two));
    expect_all(copy, "received for another stream", [&](size_t i) { return element(before, i); });
    disconnect(r);
}

/* Ranks that wait for streams in different orders, and two communicators. */
static void orders_of_waits(Rank &r)
{
    connect(r);
    const size_t n = 5000;
    const cudaStream_t one = new_stream(), two = new_stream();
    const Device<float> a(elements<float>(r.rank, n)), b(elements<float>(r.rank, n)), c(elements<float>(r.rank, n));
    const Device<char> id_memory(sizeof(ncclUniqueId));
    ncclUniqueId id = {};
    ncclComm_t other;
    if (r.rank == 0)
        NCCL_CHECK(ncclGetUniqueId(&id));
    CUDA_CHECK(cudaMemcpy(id_memory, &id, sizeof id, cudaMemcpyHostToDevice));
    NCCL_CHECK(ncclBroadcast(id_memory, id_memory, sizeof id, ncclChar, 0, r.comm, nullptr));
    CUDA_CHECK(cudaMemcpy(&id, id_memory, sizeof id, cudaMemcpyDeviceToHost));
    NCCL_CHECK(ncclCommInitRank(&other, r.ranks, id, r.ranks - 1 - r.rank));
    NCCL_CHECK(ncclAllReduce(a, a, n, ncclFloat32, ncclSum, r.comm, one));
    NCCL_CHECK(ncclAllReduce(b, b, n, ncclFloat32, ncclSum, other, two));
    NCCL_CHECK(ncclBroadcast(c, c, n, ncclFloat32, 0, other, one));
    CUDA_CHECK(cudaStreamSynchronize(r.rank % 2 ? one : two));
    CUDA_CHECK(cudaStreamSynchronize(r.rank % 2 ? two : one));
    expect_all(a, "first sum", [&](size_t i) { return element_sum(r.ranks, i); });
    expect_all(b, "second sum", [&](size_t i) { return element_sum(r.ranks, i); });
    expect_all(c, "the last is first", [&](size_t i) { return element(r.ranks - 1, i); });
    NCCL_CHECK(ncclCommDestroy(other));
    disconnect(r);
}

static void test_streams(void)
{
    test_ranks(group_of_streams);
    test_ranks(orders_of_waits);
}

#ifdef CUDA_ON_CPU
#include "test_nccl_faults.cuh"
#endif

static const struct {
    const char *name;
    void (*test)(void);
} tests[] = {
    {"communicators", test_communicators},
    {"collectives", test_collectives},
    {"sends, receives and groups", test_sends},
    {"several streams and communicators", test_streams},
#ifdef CUDA_ON_CPU
    {"a rank whose process ends", test_lost_ranks},
    {"ncclCommAbort", test_abort},
    {"what is refused", test_refusals},
    {"the order of sums", test_order_of_sums},
#endif
};

int main()
{
    for (const char *streams : {"eager", "lazy"}) {
        settings = {std::string("CUDA_ON_CPU_STREAMS=") + streams, "CUDA_ON_CPU_DEVICES=4",
                    "CUDA_ON_CPU_NCCL_TIMEOUT=30"};
        for (const auto &t : tests)
            check_run(("NCCL: " + std::string(t.name) + " (" + streams + " streams)").c_str(), t.test);
    }
    return check_summary();
}
