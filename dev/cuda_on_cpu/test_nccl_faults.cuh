#ifndef TEST_NCCL_FAULTS_CUH
#define TEST_NCCL_FAULTS_CUH

/* A part of test_nccl.cu: what the emulator alone does where ranks end and where calls do not match. */

static Settings with(std::initializer_list<std::string> more)
{
    Settings all = settings;
    all.insert(all.end(), more);
    return all;
}

/* ---- ranks that end ---- */

/* Once another rank has ended, the work is done without a result, and the communicator is of no more use. */
static void expect_lost(const Rank &r, const Device<float> &in, const char *sentence)
{
    ncclResult_t error = ncclSuccess;
    CUDA_CHECK(cudaDeviceSynchronize());
    NCCL_CHECK(ncclCommGetAsyncError(r.comm, &error));
    expect(error == ncclRemoteError, "the error is %s", ncclGetErrorString(error));
    expect(strstr(ncclGetLastError(r.comm), sentence) != nullptr, "the last error is '%s'", ncclGetLastError(r.comm));
    for (const float x : in.read())
        if (!expect(std::isnan(x), "it received %g", double(x)))
            break;
    expect(ncclAllReduce(in, in, 1, ncclFloat32, ncclSum, r.comm, nullptr) == ncclRemoteError, "the next call");
    NCCL_CHECK(ncclCommAbort(r.comm));
}

static void killed(Rank &r)
{
    connect(r);
    const Device<float> in(elements<float>(r.rank, 1000));
    if (r.rank == 1)
        kill(getpid(), SIGKILL);
    NCCL_CHECK(ncclAllReduce(in, in, 1000, ncclFloat32, ncclSum, r.comm, nullptr));
    const std::string want = "rank 1 of " + std::to_string(r.ranks) + " has ended, and rank " + std::to_string(r.rank) +
                             " waits for it in ncclAllReduce";
    if (r.ranks == 2)
        expect_lost(r, in, want.c_str());
    else
        expect_lost(r, in, " of 4 has ended, and rank ");
}

/* In the middle of its message, of which some has come. */
static void killed_while_it_sends(Rank &r)
{
    connect(r);
    const size_t n = 1000000;
    const Device<float> memory(elements<float>(r.rank, n));
    if (r.rank == 1) {
        ualarm(100000, 0);
        NCCL_CHECK(ncclSend(memory, n, ncclFloat32, 0, r.comm, nullptr));
        CUDA_CHECK(cudaDeviceSynchronize());
    } else if (r.rank == 0) {
        usleep(300000);
        NCCL_CHECK(ncclRecv(memory, n, ncclFloat32, 1, r.comm, nullptr));
        expect_lost(r, memory, "rank 1 of 2 has ended, and rank 0 waits for it in ncclRecv");
    }
}

/* Ends in the usual way, without ncclCommDestroy, which the others have called. */
static void returned(Rank &r)
{
    connect(r);
    if (r.rank != 1)
        expect(ncclCommDestroy(r.comm) == ncclRemoteError, "the others can be destroyed");
}

static void check_survivors(int n, Program program, int victim_status)
{
    const std::vector<Ending> endings = run_ranks(n, program, settings);
    for (int rank = 0; rank < n; rank++)
        check(endings[rank].status == (rank == 1 ? victim_status : 0), "rank %d ended with status %d: %s", rank,
              endings[rank].status, endings[rank].text.c_str());
}

static void test_lost_ranks(void)
{
    check_survivors(2, killed, 128 + SIGKILL);
    check_survivors(4, killed, 128 + SIGKILL);
    check_survivors(2, killed_while_it_sends, 128 + SIGALRM);
    check_survivors(2, returned, 0);
}

/* Rank 1 gives up, with a work not done where streams are lazy; rank 0 waits for it. */
static void aborts(Rank &r)
{
    connect(r);
    const Device<float> memory(elements<float>(r.rank, 1000));
    if (r.rank == 0) {
        NCCL_CHECK(ncclRecv(memory, 1000, ncclFloat32, 1, r.comm, nullptr));
        expect_lost(r, memory, "rank 1 of 2 has called ncclCommAbort, and rank 0 waits for it in ncclRecv");
        return;
    }
    if (emu::lazy())
        NCCL_CHECK(ncclRecv(memory, 1000, ncclFloat32, 0, r.comm, nullptr));
    NCCL_CHECK(ncclCommAbort(r.comm));
    CUDA_CHECK(cudaDeviceSynchronize());
}
static void test_abort(void) { ranks_pass(2, aborts, settings); }

/* ---- refusals ---- */

struct Buffers {
    Device<float> in, out;
    Buffers() : in(std::vector<float>(64, 1.0f)), out(64) {}
};

static void done(Rank &) { CUDA_CHECK(cudaDeviceSynchronize()); }

static void different_calls(Rank &r)
{
    const Buffers b;
    if (r.rank == 1)
        NCCL_CHECK(ncclAllGather(b.in, b.out, 8, ncclFloat32, r.comm, nullptr));
    else
        NCCL_CHECK(ncclAllReduce(b.in, b.out, 8, ncclFloat32, ncclSum, r.comm, nullptr));
    done(r);
}
static void different_counts(Rank &r)
{
    const Buffers b;
    NCCL_CHECK(ncclAllReduce(b.in, b.out, r.rank == 1 ? 9 : 8, ncclFloat32, ncclSum, r.comm, nullptr));
    done(r);
}
static void different_types(Rank &r)
{
    const Buffers b;
    NCCL_CHECK(ncclReduceScatter(b.in, b.out, 8, r.rank == 1 ? ncclInt32 : ncclFloat32, ncclSum, r.comm, nullptr));
    done(r);
}
static void different_roots(Rank &r)
{
    const Buffers b;
    NCCL_CHECK(ncclBroadcast(b.in, b.out, 8, ncclFloat32, r.rank, r.comm, nullptr));
    done(r);
}
static void exchange(Rank &r, size_t sent, size_t received, ncclDataType_t type)
{
    const Buffers b;
    if (r.rank == 0)
        NCCL_CHECK(ncclSend(b.in, sent, ncclFloat32, 1, r.comm, nullptr));
    else
        NCCL_CHECK(ncclRecv(b.out, received, type, 0, r.comm, nullptr));
    done(r);
}
static void sent_count(Rank &r) { exchange(r, 8, 9, ncclFloat32); }
static void sent_nothing(Rank &r) { exchange(r, 0, 9, ncclFloat32); }
static void sent_type(Rank &r) { exchange(r, 8, 8, ncclInt32); }
static void send_meets_collective(Rank &r)
{
    const Buffers b;
    if (r.rank == 0)
        NCCL_CHECK(ncclSend(b.in, 8, ncclFloat32, 1, r.comm, nullptr));
    else
        NCCL_CHECK(ncclAllReduce(b.in, b.out, 8, ncclFloat32, ncclSum, r.comm, nullptr));
    done(r);
}
static void head_to_head(Rank &r) /* on GPUs that hangs, or not, as buffers of NCCL's happen to be large enough */
{
    const Buffers b;
    NCCL_CHECK(ncclSend(b.in, 8, ncclFloat32, 1 - r.rank, r.comm, nullptr));
    NCCL_CHECK(ncclRecv(b.out, 8, ncclFloat32, 1 - r.rank, r.comm, nullptr));
    done(r);
}
static void receives_alone(Rank &r)
{
    const Buffers b;
    if (r.rank == 0)
        NCCL_CHECK(ncclRecv(b.out, 8, ncclFloat32, 1, r.comm, nullptr));
    else
        sleep(2);
    done(r);
}
static void one_call_too_few(Rank &r)
{
    const Buffers b;
    for (int k = 0; k < 2 - r.rank; k++)
        NCCL_CHECK(ncclAllReduce(b.in, b.out, 8, ncclFloat32, ncclSum, r.comm, nullptr));
    done(r);
    NCCL_CHECK(ncclCommDestroy(r.comm));
}
static void bad_root(Rank &r)
{
    const Buffers b;
    ncclBroadcast(b.in, b.out, 8, ncclFloat32, r.ranks, r.comm, nullptr);
}
static void bad_peer(Rank &r)
{
    const Buffers b;
    ncclSend(b.in, 8, ncclFloat32, -1, r.comm, nullptr);
}
static void host_memory(Rank &r)
{
    float memory[8] = {};
    ncclAllReduce(memory, memory, 8, ncclFloat32, ncclSum, r.comm, nullptr);
}
static void too_short(Rank &r)
{
    const Buffers b;
    ncclAllGather(b.in, b.out, 64, ncclFloat32, r.comm, nullptr);
}
static void too_long_to_count(Rank &r)
{
    const Buffers b;
    ncclAllGather(b.in, b.out, size_t(1) << 62, ncclFloat32, r.comm, nullptr);
}
static void misaligned(Rank &r)
{
    const Buffers b;
    ncclBroadcast(reinterpret_cast<char *>(b.in.p) + 2, b.out, 8, ncclFloat32, r.rank, r.comm, nullptr);
}
static void overlap(Rank &r)
{
    const Buffers b;
    ncclAllReduce(b.in, b.in + 1, 8, ncclFloat32, ncclSum, r.comm, nullptr);
}
static void maximum(Rank &r)
{
    const Buffers b;
    ncclAllReduce(b.in, b.out, 8, ncclFloat32, ncclMax, r.comm, nullptr);
}
static void own_message(Rank &r)
{
    const Buffers b;
    ncclSend(b.in, 8, ncclFloat32, r.rank, r.comm, nullptr);
}
static void capture(Rank &r)
{
    const Buffers b;
    const cudaStream_t s = new_stream();
    CUDA_CHECK(cudaStreamBeginCapture(s, cudaStreamCaptureModeGlobal));
    ncclAllReduce(b.in, b.out, 8, ncclFloat32, ncclSum, r.comm, s);
}
static void after_destroy(Rank &r)
{
    const Buffers b;
    NCCL_CHECK(ncclCommDestroy(r.comm));
    ncclAllReduce(b.in, b.out, 8, ncclFloat32, ncclSum, r.comm, nullptr);
}
static void destroyed_twice(Rank &r)
{
    NCCL_CHECK(ncclCommDestroy(r.comm));
    ncclCommDestroy(r.comm);
}
static void no_communicator(Rank &r)
{
    int count;
    disconnect(r);
    ncclCommCount(nullptr, &count);
}

/* What begins with ncclCommInitRank itself. */
static void two_of_a_rank(Rank &r) { ncclCommInitRank(&r.comm, r.ranks, shared_id(r), 0); }
static void numbers_of_ranks(Rank &r) { ncclCommInitRank(&r.comm, 2 + r.rank, shared_id(r), r.rank); }
static void one_device(Rank &r) { ncclCommInitRank(&r.comm, r.ranks, shared_id(r), r.rank); }
static void one_comes(Rank &r)
{
    const ncclUniqueId id = shared_id(r);
    if (r.rank == 0)
        ncclCommInitRank(&r.comm, r.ranks, id, 0);
}
static void rank_of_none(Rank &r) { ncclCommInitRank(&r.comm, r.ranks, shared_id(r), r.ranks); }
static void blank_id(Rank &r) { ncclCommInitRank(&r.comm, r.ranks, ncclUniqueId(), r.rank); }
static void ranks_in_a_group(Rank &r)
{
    ncclGroupStart();
    ncclCommInitRank(&r.comm, r.ranks, shared_id(r), r.rank);
}

/* After a common ncclCommInitRank, but for the last. */
template <Program program> static void connected(Rank &r)
{
    connect(r);
    program(r);
}

/* Both ranks end with status 66 and one of the sentences, or (`alone`) rank 0 does. */
static const struct {
    const char *name;
    Program program;
    bool alone;
    std::vector<std::string> sentences;
} refusals[] = {
    {"different collectives",
     connected<different_calls>,
     false,
     {"rank 1 calls ncclAllGather of 8 ncclFloat32, rank 0 ncclAllReduce of 8 ncclFloat32",
      "rank 0 calls ncclAllReduce of 8 ncclFloat32, rank 1 ncclAllGather of 8 ncclFloat32"}},
    {"different counts",
     connected<different_counts>,
     false,
     {"rank 1 calls ncclAllReduce of 9 ncclFloat32, rank 0 ncclAllReduce of 8 ncclFloat32",
      "rank 0 calls ncclAllReduce of 8 ncclFloat32, rank 1 ncclAllReduce of 9 ncclFloat32"}},
    {"different types",
     connected<different_types>,
     false,
     {"rank 1 calls ncclReduceScatter of 8 ncclInt32, rank 0 ncclReduceScatter of 8 ncclFloat32",
      "rank 0 calls ncclReduceScatter of 8 ncclFloat32, rank 1 ncclReduceScatter of 8 ncclInt32"}},
    {"different roots",
     connected<different_roots>,
     false,
     {"rank 1 calls ncclBroadcast of 8 ncclFloat32 from rank 1, rank 0 ncclBroadcast of 8 ncclFloat32 from rank 0",
      "rank 0 calls ncclBroadcast of 8 ncclFloat32 from rank 0, rank 1 ncclBroadcast of 8 ncclFloat32 from rank 1"}},
    {"another count received",
     connected<sent_count>,
     false,
     {"rank 0 calls ncclSend of 8 ncclFloat32 to rank 1, rank 1 ncclRecv of 9 ncclFloat32 from rank 0"}},
    {"nothing sent",
     connected<sent_nothing>,
     false,
     {"rank 0 calls ncclSend of 0 ncclFloat32 to rank 1, rank 1 ncclRecv of 9 ncclFloat32 from rank 0"}},
    {"another type received",
     connected<sent_type>,
     false,
     {"rank 0 calls ncclSend of 8 ncclFloat32 to rank 1, rank 1 ncclRecv of 8 ncclInt32 from rank 0"}},
    {"a send that meets a collective",
     connected<send_meets_collective>,
     false,
     {"rank 0 calls ncclSend of 8 ncclFloat32 to rank 1, rank 1 ncclAllReduce of 8 ncclFloat32"}},
    {"sends head to head",
     connected<head_to_head>,
     false,
     {"rank 0 of 2 has waited 1 seconds for rank 1 in ncclSend of 8 ncclFloat32; rank 1 waits for rank 0 in ncclSend",
      "rank 1 of 2 has waited 1 seconds for rank 0 in ncclSend of 8 ncclFloat32; rank 0 waits for rank 1 in ncclSend"}},
    {"a receive alone",
     connected<receives_alone>,
     true,
     {"rank 0 of 2 has waited 1 seconds for rank 1 in ncclRecv of 8 ncclFloat32; rank 1 does not wait"}},
    {"one call too few",
     connected<one_call_too_few>,
     false,
     {"rank 0 waits in ncclAllReduce of 8 ncclFloat32 for rank 1, which has finalized the communicator"}},
    {"a root out of range", connected<bad_root>, true, {"rank 0 calls ncclBroadcast with rank 2, of ranks 0 to 1"}},
    {"a peer out of range", connected<bad_peer>, true, {"rank 0 calls ncclSend with rank -1, of ranks 0 to 1"}},
    {"memory of the host",
     connected<host_memory>,
     true,
     {"rank 0 calls ncclAllReduce of 8 ncclFloat32 with a send buffer at"}},
    {"too short a buffer",
     connected<too_short>,
     true,
     {"rank 0 calls ncclAllGather of 64 ncclFloat32 with a receive buffer at"}},
    {"a size that overflows", connected<too_long_to_count>, true, {"with a send buffer at"}},
    {"a misaligned buffer", connected<misaligned>, true, {"which is not aligned"}},
    {"buffers that overlap", connected<overlap>, true, {"with buffers that overlap"}},
    {"another reduction", connected<maximum>, true, {"only ncclSum is emulated"}},
    {"a message to oneself without a group",
     connected<own_message>,
     true,
     {"rank 0 sends itself 1 messages in a group and receives 0 of them"}},
    {"a capture", connected<capture>, true, {"rank 0 calls ncclAllReduce on a stream that captures"}},
    {"use after ncclCommDestroy",
     connected<after_destroy>,
     false,
     {"rank 0 calls ncclAllReduce after ncclCommDestroy", "rank 1 calls ncclAllReduce after ncclCommDestroy"}},
    {"ncclCommDestroy twice",
     connected<destroyed_twice>,
     false,
     {"rank 0 calls ncclCommDestroy after ncclCommDestroy", "rank 1 calls ncclCommDestroy after ncclCommDestroy"}},
    {"no communicator", connected<no_communicator>, false, {"ncclCommCount is given (nil), which is no communicator"}},
    {"two processes of one rank", two_of_a_rank, false, {"both say that they are rank 0"}},
    {"different numbers of ranks", numbers_of_ranks, false, {"says that there are "}},
    {"ranks on one device", one_device, false, {"ranks 0 and 1 are both on device 0"}},
    {"a rank that does not come",
     one_comes,
     true,
     {"rank 0 of 2 has waited 1 seconds for rank 1 in ncclCommInitRank; rank 1 has not come"}},
    {"a rank out of range", rank_of_none, false, {"ncclCommInitRank is given rank 2 of 2"}},
    {"an id of zeros", blank_id, false, {"an id that ncclGetUniqueId has not made"}},
    {"ncclCommInitRank in a group", ranks_in_a_group, false, {"in a group"}},
};

static void test_refusals(void)
{
    for (const auto &refusal : refusals) {
        const std::vector<Ending> endings = run_ranks(2, refusal.program, with({"CUDA_ON_CPU_NCCL_TIMEOUT=1"}));
        for (int rank = 0; rank < (refusal.alone ? 1 : 2); rank++) {
            bool told = false;
            for (const std::string &sentence : refusal.sentences)
                told |= endings[rank].text.find(sentence) != std::string::npos;
            check(told && endings[rank].status == 66, "%s: rank %d ended with status %d: %s", refusal.name, rank,
                  endings[rank].status, endings[rank].text.c_str());
        }
    }
}

/* ---- the order of sums ---- */

enum { SUMMED = 3 * 8192 };

/* 10^8, -10^8 and 1 in fp32: 1 when added in the order of ranks, 0 from the last to the first. */
static void sum_of_three(Rank &r)
{
    connect(r);
    const float mine[3] = {1e8f, -1e8f, 1.0f};
    const Device<float> in(std::vector<float>(SUMMED, mine[r.rank])), out(SUMMED), part(SUMMED / 3);
    NCCL_CHECK(ncclAllReduce(in, out, SUMMED, ncclFloat32, ncclSum, r.comm, nullptr));
    NCCL_CHECK(ncclReduceScatter(in, part, SUMMED / 3, ncclFloat32, ncclSum, r.comm, nullptr));
    CUDA_CHECK(cudaDeviceSynchronize());
    double hash = 0; /* of all bits, exactly */
    for (const float x : out.read()) {
        expect(x == 0.0f || x == 1.0f, "a sum is %g", double(x));
        hash = fmod(hash * 3 + value(x), 1e9 + 7);
    }
    for (const float x : part.read())
        expect(x == 0.0f || x == 1.0f, "a part's sum is %g", double(x));
    r.board->result[r.rank] = hash;
    disconnect(r);
}

/* 256, 1 and 1 in bf16, rounded after every addition: 256 in the order of ranks, 258 from the last to the first. */
static void bf16_sum_of_three(Rank &r)
{
    connect(r);
    const Device<bf16> in(std::vector<bf16>(1, bf16(r.rank == 0 ? 256.0f : 1.0f))), out(3), part(1);
    NCCL_CHECK(ncclAllReduce(in, out, 1, ncclBfloat16, ncclSum, r.comm, nullptr));
    CUDA_CHECK(cudaDeviceSynchronize());
    r.board->result[r.rank] = value(out.read()[0]);
    disconnect(r);
}

/* The ranks' common result. */
static double common_result(Program program, const char *order, const char *seed)
{
    const std::vector<Ending> endings = run_ranks(
        3, program, with({std::string("CUDA_ON_CPU_NCCL_ORDER=") + order, std::string("CUDA_ON_CPU_SEED=") + seed}));
    for (const Ending &e : endings) {
        check(e.status == 0, "%s: status %d: %s", order, e.status, e.text.c_str());
        check(e.result == endings[0].result, "%s: ranks get different sums", order);
    }
    return endings[0].result;
}

static void test_order_of_sums(void)
{
    double ones = 0;
    for (int i = 0; i < SUMMED; i++)
        ones = fmod(ones * 3 + 1, 1e9 + 7);
    const double first = common_result(sum_of_three, "random", "1"),
                 second = common_result(sum_of_three, "random", "2");
    check(common_result(sum_of_three, "forward", "1") == ones, "forward");
    check(common_result(sum_of_three, "reverse", "1") == 0.0, "reverse");
    check(first != 0.0 && first != ones, "at random, all sums are added in one order");
    check(first != second, "the seed changes nothing");
    check(first == common_result(sum_of_three, "random", "1"), "the same seed gives other sums");
    check(common_result(bf16_sum_of_three, "forward", "1") == 256.0, "bf16, forward");
    check(common_result(bf16_sum_of_three, "reverse", "1") == 258.0, "bf16, reverse");
}

#endif
