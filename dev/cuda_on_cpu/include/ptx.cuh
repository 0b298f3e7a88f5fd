#ifndef PTX_CUH
#define PTX_CUH

#include "cuda_bf16.h"

/* ptx.cuh, emulated: what the real one does by inline PTX. */

namespace emu {

struct Mma {
    const uint32_t *a, *b;
    const float *c;
    float *d;
};

inline float bf16_half(uint32_t pair, int half) { return __uint_as_float(half ? pair & 0xffff0000u : pair << 16); }

/*
 * Who holds what: PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type". With g = lane / 4 and
 * t = lane % 4, register r holds
 *     A: row g + 8 (r & 1), columns 2t + 8 (r >> 1) + {0, 1}
 *     B: rows 2t + 8r + {0, 1}, column g
 *     C: row g + 8 (r >> 1), column 2t + (r & 1).
 */
EMU_NO_TSAN inline void mma_lanes(void *const *lane_arg, uint32_t)
{
    float A[16][16], B[16][8], D[16][8];
    for (int l = 0; l < 32; l++) {
        const Mma &mma = *static_cast<const Mma *>(lane_arg[l]);
        const int g = l >> 2, t = l & 3;
        for (int half = 0; half < 2; half++) {
            for (int r = 0; r < 4; r++)
                A[g + 8 * (r & 1)][2 * t + 8 * (r >> 1) + half] = bf16_half(mma.a[r], half);
            for (int r = 0; r < 2; r++)
                B[2 * t + 8 * r + half][g] = bf16_half(mma.b[r], half);
        }
        for (int r = 0; r < 4; r++)
            D[g + 8 * (r >> 1)][2 * t + (r & 1)] = mma.c[r];
    }
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < 16; k++)
            for (int j = 0; j < 8; j++)
                D[i][j] += A[i][k] * B[k][j];
    for (int l = 0; l < 32; l++)
        for (int r = 0; r < 4; r++)
            static_cast<const Mma *>(lane_arg[l])->d[r] = D[(l >> 2) + 8 * (r >> 1)][2 * (l & 3) + (r & 1)];
}

/* ldmatrix: each lane brings the address of a row, and learns those of all others. */
struct Rows {
    const void *mine, *of[32];
};

EMU_NO_TSAN inline void share_rows(void *const *lane_arg, uint32_t)
{
    for (int to = 0; to < 32; to++)
        for (int from = 0; from < 32; from++)
            static_cast<Rows *>(lane_arg[to])->of[from] = static_cast<Rows *>(lane_arg[from])->mine;
}

/* Lane l brings row l % 8 of matrix l / 8. Each lane reads its own elements itself, so that the sanitizers see which
 * CUDA thread reads what. */
template <int N, bool TRANS> inline void load_matrices(uint32_t (&out)[N], const void *row, Site site)
{
    Rows rows;
    rows.mine = row;
    if (reinterpret_cast<uintptr_t>(row) & 15)
        fail("ldmatrix at %s:%d: the address %p of a row is no multiple of 16", site.file, site.line, row);
    warp_collective(~0u, share_rows, &rows, "ldmatrix", site);
    const int g = lane() >> 2, t = lane() & 3;
    auto element = [&](int matrix, int i, int j) {
        return static_cast<uint32_t>(static_cast<const uint16_t *>(rows.of[8 * matrix + i])[j]);
    };
    for (int m = 0; m < N; m++)
        out[m] = TRANS ? element(m, 2 * t, g) | element(m, 2 * t + 1, g) << 16
                       : element(m, g, 2 * t) | element(m, g, 2 * t + 1) << 16;
}

/* The copies by cp.async that a thread has begun: in groups, of which the last is open. */
struct AsyncCopies {
    unsigned long block = 0; /* which of all blocks they belong to */
    static constexpr int COPIES = 64, GROUPS = 16;
    struct {
        char *to;
        const char *from;
    } copy[COPIES];
    int count = 0, group_end[GROUPS], groups = 0;
};

/* The turns that a block has waited for and not yet passed on. */
struct Turns {
    unsigned long block = 0; /* which of all blocks they belong to */
    static constexpr int MOST = 8;
    const unsigned *awaited[MOST];
    int count = 0;
};

inline Turns &turns()
{
    static Turns turns;
    if (turns.block != engine.blocks) {
        turns = Turns();
        turns.block = engine.blocks;
    }
    return turns;
}

inline AsyncCopies &async_copies()
{
    static AsyncCopies copies[MAX_THREADS];
    AsyncCopies &mine = copies[engine.running->id];
    if (mine.block != engine.blocks) {
        mine = AsyncCopies();
        mine.block = engine.blocks;
    }
    return mine;
}

} // namespace emu

/* One 16 x 8 tile of D = A B + C by a warp: A is 16 x 16, B 16 x 8, spread over the lanes. */
inline void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const float (&c)[4], EMU_SITE)
{
    emu::require_sm80("mma.m16n8k16");
    float out[4];
    emu::Mma mma{a, b, c, out};
    emu::warp_collective(~0u, emu::mma_lanes, &mma, "mma.m16n8k16", site);
    for (int i = 0; i < 4; i++)
        d[i] = out[i];
}

inline void ldmatrix_x4(uint32_t (&r)[4], const void *row, EMU_SITE) { emu::load_matrices<4, false>(r, row, site); }
inline void ldmatrix_x4_trans(uint32_t (&r)[4], const void *row, EMU_SITE)
{
    emu::load_matrices<4, true>(r, row, site);
}
inline void ldmatrix_x2_trans(uint32_t (&r)[2], const void *row, EMU_SITE)
{
    emu::load_matrices<2, true>(r, row, site);
}

/* 16 bytes to shared memory. They land only when their group is waited for: until then garbage is there, written
 * by plain stores, for the sanitizers. */
inline void cp_async16(void *to, const void *from)
{
    emu::AsyncCopies &q = emu::async_copies();
    emu::require_sm80("cp.async");
    if (q.count == emu::AsyncCopies::COPIES)
        emu::fail("more than %d cp.async of one thread are under way", q.count);
    if ((reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from)) & 15)
        emu::fail("cp.async from %p to %p: no multiples of 16", from, to);
    volatile uint64_t *garbage = static_cast<volatile uint64_t *>(to);
    garbage[0] = garbage[1] = ~0ull;
    q.copy[q.count].to = static_cast<char *>(to);
    q.copy[q.count++].from = static_cast<const char *>(from);
}

/* The same; 16 zeros, and nothing is read, unless `there`. */
inline void cp_async16_or_zeros(void *to, const void *from, bool there)
{
    alignas(16) static const char zeros[16] = {};
    cp_async16(to, there ? from : zeros);
}

inline void cp_async_commit()
{
    emu::AsyncCopies &q = emu::async_copies();
    if (q.groups == emu::AsyncCopies::GROUPS)
        emu::fail("more than %d groups of cp.async of one thread are under way", q.groups);
    q.group_end[q.groups++] = q.count;
}

/* Until at most PENDING groups are under way. */
template <int PENDING> inline void cp_async_wait()
{
    emu::AsyncCopies &q = emu::async_copies();
    const int done = q.groups - PENDING;
    if (done <= 0)
        return;
    const int landed = q.group_end[done - 1];
    for (int i = 0; i < landed; i++)
        for (int word = 0; word < 2; word++)
            reinterpret_cast<volatile uint64_t *>(q.copy[i].to)[word] =
                reinterpret_cast<const volatile uint64_t *>(q.copy[i].from)[word];
    for (int i = landed; i < q.count; i++)
        q.copy[i - landed] = q.copy[i];
    for (int i = done; i < q.groups; i++)
        q.group_end[i - done] = q.group_end[i] - landed;
    q.count -= landed;
    q.groups -= done;
}

/* Blocks run one after the other: what has not come by now never comes. */
inline void turn_await(const unsigned *turn, unsigned n, EMU_SITE)
{
    emu::Turns &mine = emu::turns();
    if (*turn != n)
        emu::fail("turn_await at %s:%d: turn %u never comes; it is turn %u, whose block has not begun", site.file,
                  site.line, n, *turn);
    if (mine.count == emu::Turns::MOST)
        emu::fail("turn_await at %s:%d: a block holds more than %d turns", site.file, site.line, mine.count);
    mine.awaited[mine.count++] = turn;
}

inline void turn_pass(unsigned *turn, unsigned n, EMU_SITE)
{
    emu::Turns &mine = emu::turns();
    int i = 0;
    while (i < mine.count && mine.awaited[i] != turn)
        i++;
    if (i == mine.count || *turn != n)
        emu::fail("turn_pass at %s:%d: the block has not waited for turn %u", site.file, site.line, n);
    mine.awaited[i] = mine.awaited[--mine.count];
    *turn = n + 1;
}

inline float4 load_l2(const float4 *from) { return *from; }

/* 2^x; below 2^-126 it is 0. */
inline float exp2_approx(float x)
{
    const float y = exp2f(x);
    return y < 0x1p-126f ? 0.0f : y;
}

#endif
