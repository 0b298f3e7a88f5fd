#ifndef TEST_RANKS_CUH
#define TEST_RANKS_CUH

#include <atomic>
#include <csignal>
#include <cstdarg>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nccl_check.cuh"
#include "test_support.cuh"

/* Ranks for the tests of nccl.h: processes that are forked before any of them knows of a GPU. */

enum { MOST_RANKS = 4, NO_DEVICES = 77, SECONDS = 60 };

/* What the ranks of one run share. */
struct Board {
    std::atomic<int> id_known;
    ncclUniqueId id;
    double result[MOST_RANKS];
};

struct Rank {
    int rank, ranks;
    Board *board;
    ncclComm_t comm; /* nullptr before connect */
};

/* How a rank ended: its exit status, or 128 + its signal; and what it printed. */
struct Ending {
    int status;
    std::string text;
    double result;
};

using Program = void (*)(Rank &);
using Settings = std::vector<std::string>; /* NAME=value */

inline bool rank_failed;

/* In a rank what check() is in a test: the test fails, and prints the sentence. */
__attribute__((format(printf, 2, 3))) inline bool expect(bool ok, const char *format, ...)
{
    if (ok)
        return true;
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    rank_failed = true;
    return false;
}

/* The id that rank 0 makes. */
inline ncclUniqueId shared_id(const Rank &r)
{
    if (r.rank == 0) {
        NCCL_CHECK(ncclGetUniqueId(&r.board->id));
        r.board->id_known.store(1);
    }
    while (r.board->id_known.load() == 0)
        usleep(100);
    return r.board->id;
}

/* Ends the rank as skipped where there are too few GPUs. */
inline void choose_device(const Rank &r)
{
    int devices = 0;
    CUDA_CHECK(cudaGetDeviceCount(&devices));
    if (devices < r.ranks)
        exit(NO_DEVICES);
    CUDA_CHECK(cudaSetDevice(r.rank));
}

inline void connect(Rank &r)
{
    choose_device(r);
    NCCL_CHECK(ncclCommInitRank(&r.comm, r.ranks, shared_id(r), r.rank));
}
inline void disconnect(Rank &r) { NCCL_CHECK(ncclCommDestroy(r.comm)); }

[[noreturn]] inline void run_rank(Rank r, Program program, const Settings &settings, FILE *log)
{
    dup2(fileno(log), STDOUT_FILENO);
    dup2(fileno(log), STDERR_FILENO);
    for (const std::string &text : settings)
        setenv(text.substr(0, text.find('=')).c_str(), text.substr(text.find('=') + 1).c_str(), 1);
    alarm(SECONDS);
    program(r);
    exit(rank_failed);
}

inline std::string read_whole(FILE *log)
{
    std::string text;
    rewind(log);
    for (int c; (c = getc(log)) != EOF;)
        text += char(c);
    fclose(log);
    return text;
}

/* Runs the program as n ranks. */
inline std::vector<Ending> run_ranks(int n, Program program, const Settings &settings)
{
    void *memory = mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    Board *board = static_cast<Board *>(memory);
    std::vector<pid_t> children;
    std::vector<FILE *> logs;
    std::vector<Ending> endings;
    if (memory == MAP_FAILED)
        return endings;
    fflush(nullptr);
    for (int rank = 0; rank < n; rank++) {
        logs.push_back(tmpfile());
        children.push_back(fork());
        if (children.back() == 0)
            run_rank({rank, n, board, nullptr}, program, settings, logs.back());
    }
    for (int rank = 0; rank < n; rank++) {
        int status = 0;
        waitpid(children[rank], &status, 0);
        endings.push_back({WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read_whole(logs[rank]),
                           board->result[rank]});
    }
    check(board->id_known.load() == 0 || access(board->id.internal, F_OK) != 0, "%s is left", board->id.internal);
    munmap(memory, sizeof(Board));
    return endings;
}

/* Every rank must end well. False when one has not, or there are too few GPUs. */
inline bool ranks_pass(int n, Program program, const Settings &settings)
{
    bool ok = true;
    for (const Ending &e : run_ranks(n, program, settings)) {
        if (e.status == NO_DEVICES)
            return check_skip("it needs a GPU for each rank"), false;
        ok &= check(e.status == 0, "of %d ranks one ended with status %d: %s", n, e.status, e.text.c_str());
    }
    return ok;
}

#endif
