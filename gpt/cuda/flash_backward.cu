/*
 * The backward pass of flash attention. With P the probabilities and S the scaled scores:
 *     dV = P^T datt,  dP = datt V^T,  dS = P (dP - rowsum(datt att)),  dQ = scale dS K,  dK = scale dS^T Q.
 * Dropout multiplies the elements of P in dV, and those of dP, by its factors; the sum of a row of dP P is then still
 * rowsum(datt att).
 *
 * A block takes 128 keys of one head. Each warp owns 16 OWN of them: their K and V operands and dK and dV sums stay
 * in registers while tiles of queries stream past, from the last to the first that sees the keys, of one after another
 * of the heads that read these keys. S^T and dP^T are computed for STEP queries at a time and, rounded, are A operands
 * of dV and dK as they are. dS^T goes through shared memory for dQ.
 *
 * dQ of a tile of queries is the sum over tiles of keys, in their order: each block adds its part to the scratch when
 * those of the keys before have added theirs; the last one, on the diagonal, writes the result. Blocks take their work
 * from a counter, first tiles first, so whoever is waited for has begun. Blocks of a head that begin together follow
 * each other a tile apart.
 */
#include "gpt/cuda/flash_tiles.cuh"

namespace flash {

enum : size_t { CACHED_SUMS = 24 << 20 }; /* bytes of dQ sums that fit a large GPU's L2, beside their queries */

/* The initial dQ of a tile, read like the scratch: after a branch, nvcc waits for the loads. */
enum { ZEROS = 2048 };
__device__ static const float4 zeros[ZEROS] = {};

/* PARTS: tiles of queries to a tile of keys. The more, the less shared memory, and the more barriers; the results are
 * the same. */
template <int HEAD, int PARTS> struct Backward {
    static constexpr int WIDTH = HEAD, LD = WIDTH + 8, OWN = WIDTH <= 64 ? 2 : 1, STEP = 32 / OWN;
    static constexpr int KEYS = 128, QUERIES = KEYS / PARTS, WARPS = KEYS / 16 / OWN, THREADS = 32 * WARPS;
    static constexpr int DS_LD = QUERIES + 8;
    /* In bf16 elements: a stage is Q, datt and two fp32 per query. V arrives through the second, and through dS's. */
    static constexpr int STATS = 4 * QUERIES, STAGE = 2 * QUERIES * LD + STATS;
    static constexpr int TILE = KEYS * LD, WITH_DS = STAGE + KEYS * DS_LD, REST = WITH_DS > TILE ? WITH_DS : TILE;
    static constexpr size_t SHARED = (TILE + STAGE + REST) * sizeof(bf16);
    /* Dropout: then, 16-byte aligned, two stages' bits of rows, and a Dropout. */
    static constexpr size_t SHARED_DROP = SHARED + 2 * QUERIES * sizeof(uint64_t) + sizeof(Dropout);
    /* dQ of a tile: DQ_DOWN x DQ_ACROSS warps. */
    static constexpr int DQ_DOWN = QUERIES / 16 < WARPS / 2 ? QUERIES / 16 : WARPS / 2, DQ_ACROSS = WARPS / DQ_DOWN;
    static constexpr int DQ_ROWS = QUERIES / DQ_DOWN, DQ_COLUMNS = WIDTH / DQ_ACROSS;
    static constexpr int DQ_VECTORS = QUERIES * WIDTH / 4;
    static_assert(SHARED % 16 == 0 && DQ_COLUMNS % 16 == 0 && DQ_VECTORS <= ZEROS, "");
};

/* A tile of queries of one head. Its index among all heads' tiles is that of its block, in kernels with a tile per
 * block. */
template <class W> struct Tile {
    size_t head, row; /* row: of the batch, where the sequence begins */
    int i, first, column;
    __device__ Tile(unsigned index, const Shape &shape)
    {
        const int tiles = (shape.T + W::QUERIES - 1) / W::QUERIES;
        head = index / tiles;
        i = (int)(index % tiles);
        first = i * W::QUERIES;
        row = (size_t)(index / tiles / shape.NH) * shape.T;
        column = (int)(index / tiles % shape.NH) * shape.HS;
    }
};

/* What the passes hand on, one array after the other in the scratch, for each tile of queries of all heads. */
struct Scratch {
    float *stats;    /* (QUERIES) lse to base 2, (QUERIES) delta = rowsum(datt att) */
    float4 *dq;      /* DQ_VECTORS, sums over the keys so far */
    unsigned *turns; /* how many tiles of keys have added theirs */
    unsigned *next;  /* one for all: the first block of backward_kernel that has not begun */
};

enum { STATS_THREADS = 128 };

/* Begins a scratch. Past the end stats are 0 and, with zeros for Q and datt, add nothing. 8 lanes per row. */
template <int HEAD, int PARTS>
__global__ void __launch_bounds__(STATS_THREADS)
    stats_kernel(Scratch scratch, const bf16 *datt, const bf16 *att, const float *lse, Shape shape)
{
    using W = Backward<HEAD, PARTS>;
    constexpr int QUERIES = W::QUERIES;
    const Tile<W> tile(blockIdx.x, shape);
    const int lane = threadIdx.x % 8, T = shape.T;
    float *to = scratch.stats + (size_t)blockIdx.x * 2 * QUERIES;
    if (threadIdx.x == 0) {
        scratch.turns[blockIdx.x] = 0;
        if (blockIdx.x == 0)
            *scratch.next = 0;
    }
#pragma unroll
    for (int r = threadIdx.x / 8; r < QUERIES; r += STATS_THREADS / 8) {
        const int query = tile.first + r;
        const size_t at = (tile.row + query) * shape.C + tile.column;
        float delta = 0;
        for (int c = lane * 8; query < T && c < shape.HS; c += 64) {
            const uint4 d = *reinterpret_cast<const uint4 *>(datt + at + c);
            const uint4 a = *reinterpret_cast<const uint4 *>(att + at + c);
            const uint32_t pairs[4][2] = {{d.x, a.x}, {d.y, a.y}, {d.z, a.z}, {d.w, a.w}};
#pragma unroll
            for (int i = 0; i < 4; i++) {
                delta = fmaf(__uint_as_float(pairs[i][0] << 16), __uint_as_float(pairs[i][1] << 16), delta);
                delta =
                    fmaf(__uint_as_float(pairs[i][0] & 0xffff0000u), __uint_as_float(pairs[i][1] & 0xffff0000u), delta);
            }
        }
        delta = quad_sum(delta);
        delta += __shfl_xor_sync(0xffffffffu, delta, 4);
        if (lane == 0) {
            to[r] = query < T ? lse[tile.head * T + query] * LOG2E : 0.0f;
            to[QUERIES + r] = delta;
        }
    }
}

/* s, dp (16 OWN keys, STEP queries) = k q^T, v datt^T */
template <class W>
__device__ __forceinline__ void scores_backward(float (&s)[W::OWN][W::STEP / 8][4], float (&dp)[W::OWN][W::STEP / 8][4],
                                                const uint32_t (&k)[W::OWN][W::WIDTH / 16][4],
                                                const uint32_t (&v)[W::OWN][W::WIDTH / 16][4], const bf16 *sq,
                                                const bf16 *sdout)
{
#pragma unroll
    for (int c = 0; c < W::WIDTH / 16; c++)
#pragma unroll
        for (int n = 0; n < W::STEP / 8; n += 2) {
            uint32_t q[4], dout[4];
            ldmatrix_x4(q, by_columns<W::LD>(sq, n * 8, c * 16));
            ldmatrix_x4(dout, by_columns<W::LD>(sdout, n * 8, c * 16));
#pragma unroll
            for (int m = 0; m < W::OWN; m++) {
                multiply(s[m][n], s[m][n + 1], k[m][c], q);
                multiply(dp[m][n], dp[m][n + 1], v[m][c], dout);
            }
        }
}

/* s becomes P, with DROP times dropout's factors, and dp becomes dS, for 16 keys from key + lane / 4 on and queries
 * from `query` on, whose stats and, with DROP, rows' bits are given. */
template <bool DROP, int QUERIES, int N>
__device__ __forceinline__ void probabilities(float (&s)[N][4], float (&dp)[N][4], const float *stats,
                                              const uint64_t *rows, const AttentionDropout &drop, float scale,
                                              bool hides, int key, int query)
{
    const Dropout d = {0, 0, drop.threshold, drop.scale};
    const int t = threadIdx.x % 4;
#pragma unroll
    for (int n = 0; n < N; n++) {
        const float2 lse = *reinterpret_cast<const float2 *>(stats + n * 8 + 2 * t);
        const float2 delta = *reinterpret_cast<const float2 *>(stats + QUERIES + n * 8 + 2 * t);
        const uint4 bits = DROP ? *reinterpret_cast<const uint4 *>(rows + n * 8 + 2 * t) : uint4();
        const uint64_t row[2] = {bits.x | (uint64_t)bits.y << 32, bits.z | (uint64_t)bits.w << 32};
#pragma unroll
        for (int r = 0; r < 4; r++) {
            const float p = exp2_approx(fmaf(s[n][r], scale, r % 2 ? -lse.y : -lse.x));
            s[n][r] = hides && key + r / 2 * 8 > query + n * 8 + 2 * t + r % 2 ? 0.0f : p;
            if (DROP) {
                const float factor = dropout_factor(&d, row[r % 2], key + r / 2 * 8);
                dp[n][r] = s[n][r] * fmaf(factor, dp[n][r], r % 2 ? -delta.y : -delta.x);
                s[n][r] *= factor;
            } else
                dp[n][r] = s[n][r] * (dp[n][r] - (r % 2 ? delta.y : delta.x));
        }
    }
}

/* sums (16 OWN keys, WIDTH) += a rows: a (16 OWN keys, STEP queries) */
template <class W>
__device__ __forceinline__ void add_rows(float (&sums)[W::OWN][W::WIDTH / 8][4],
                                         const uint32_t (&a)[W::OWN][W::STEP / 16][4], const bf16 *rows)
{
#pragma unroll
    for (int n = 0; n < W::STEP / 16; n++)
#pragma unroll
        for (int c = 0; c < W::WIDTH / 8; c += 2) {
            uint32_t b[4];
            ldmatrix_x4_trans(b, by_rows<W::LD>(rows, n * 16, c * 8));
#pragma unroll
            for (int m = 0; m < W::OWN; m++)
                multiply(sums[m][c], sums[m][c + 1], a[m][n], b);
        }
}

/* dS^T of 16 keys and 16 N queries to shared memory */
template <int LD, int N> __device__ __forceinline__ void store_ds(bf16 *sds, const uint32_t (&a)[N][4])
{
    const int lane = threadIdx.x % 32;
    bf16 *at = sds + lane / 4 * LD + lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int r = 0; r < 4; r++)
            *reinterpret_cast<uint32_t *>(at + r % 2 * 8 * LD + n * 16 + r / 2 * 8) = a[n][r];
}

/* dq (DQ_ROWS, DQ_COLUMNS) += dS K over QUERIES keys */
template <class W>
__device__ __forceinline__ void add_dq(float (&dq)[W::DQ_ROWS / 16][W::DQ_COLUMNS / 8][4], const bf16 *sds,
                                       const bf16 *sk)
{
#pragma unroll
    for (int n = 0; n < W::QUERIES; n += 16) {
        uint32_t a[W::DQ_ROWS / 16][4];
#pragma unroll
        for (int m = 0; m < W::DQ_ROWS / 16; m++)
            ldmatrix_x4_trans(a[m], by_columns<W::DS_LD>(sds, n, m * 16));
#pragma unroll
        for (int c = 0; c < W::DQ_COLUMNS / 8; c += 2) {
            uint32_t k[4];
            ldmatrix_x4_trans(k, by_rows<W::LD>(sk, n, c * 8));
#pragma unroll
            for (int m = 0; m < W::DQ_ROWS / 16; m++)
                multiply(dq[m][c], dq[m][c + 1], a[m], k);
        }
    }
}

/* A tile's dq in the scratch: each thread reads and writes its part, that of the same thread of another block, 16 bytes
 * at a time. */
template <class W>
__device__ __forceinline__ void read_dq(float (&dq)[W::DQ_ROWS / 16][W::DQ_COLUMNS / 8][4], const float4 *from)
{
#pragma unroll
    for (int m = 0; m < W::DQ_ROWS / 16; m++)
#pragma unroll
        for (int n = 0; n < W::DQ_COLUMNS / 8; n++) {
            const float4 x = load_l2(from + (m * (W::DQ_COLUMNS / 8) + n) * W::THREADS);
            dq[m][n][0] = x.x;
            dq[m][n][1] = x.y;
            dq[m][n][2] = x.z;
            dq[m][n][3] = x.w;
        }
}

template <class W>
__device__ __forceinline__ void write_dq(float4 *to, const float (&dq)[W::DQ_ROWS / 16][W::DQ_COLUMNS / 8][4])
{
#pragma unroll
    for (int m = 0; m < W::DQ_ROWS / 16; m++)
#pragma unroll
        for (int n = 0; n < W::DQ_COLUMNS / 8; n++)
            to[(m * (W::DQ_COLUMNS / 8) + n) * W::THREADS] =
                make_float4(dq[m][n][0], dq[m][n][1], dq[m][n][2], dq[m][n][3]);
}

/* dq, complete, to its rows of dqkv from query `first` on */
template <class W>
__device__ __forceinline__ void finish_dq(bf16 *to, int first, const Shape &shape,
                                          const float (&dq)[W::DQ_ROWS / 16][W::DQ_COLUMNS / 8][4])
{
    const int warp = threadIdx.x / 32;
#pragma unroll
    for (int m = 0; m < W::DQ_ROWS / 16; m++)
        store_sums(to, first + warp / W::DQ_ACROSS * W::DQ_ROWS + m * 16, warp % W::DQ_ACROSS * W::DQ_COLUMNS, shape.T,
                   shape.HS, shape.S, dq[m], shape.scale);
}

/* Starts to load a tile of queries, its datt and its stats into a stage. */
template <class W>
__device__ __forceinline__ void load_stage(bf16 *stage, const bf16 *q, const bf16 *dout, const float *stats, int i,
                                           const Shape &shape)
{
    load_tile<W, W::QUERIES>(stage, q, i * W::QUERIES, shape.T, shape.HS, shape.S);
    load_tile<W, W::QUERIES>(stage + W::QUERIES * W::LD, dout, i * W::QUERIES, shape.T, shape.HS, shape.C);
    if (threadIdx.x < W::STATS / 8)
        cp_async16(stage + 2 * W::QUERIES * W::LD + threadIdx.x * 8,
                   stats + (size_t)i * 2 * W::QUERIES + threadIdx.x * 4);
    cp_async_commit();
}

/* The bits of a tile of queries' rows, of which the first is `row` after d's. */
template <class W> __device__ __forceinline__ void load_rows(uint64_t *rows, const Dropout &d, size_t row)
{
    if (threadIdx.x < W::QUERIES)
        rows[threadIdx.x] = dropout_row(&d, row + threadIdx.x);
}

template <int HEAD, int PARTS, bool DROP>
__global__ void __launch_bounds__(Backward<HEAD, PARTS>::THREADS, WARPS_SM / Backward<HEAD, PARTS>::WARPS)
    backward_kernel(bf16 *dqkv, Scratch scratch, const bf16 *datt, const bf16 *qkv, Shape shape, unsigned key_heads,
                    unsigned group, AttentionDropout drop)
{
    using W = Backward<HEAD, PARTS>;
    bf16 *sk = dynamic_shared<bf16>(), *stages = sk + W::TILE, *sds = stages + 2 * W::STAGE;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, T = shape.T, HS = shape.HS, share = shape.share;
    const int tiles = (T + W::QUERIES - 1) / W::QUERIES, own = warp * 16 * W::OWN;
    const int KVH = shape.NH / share;
    unsigned key_head_of_all, *work = reinterpret_cast<unsigned *>(sds);
    int j; /* the tile of keys */
    if (threadIdx.x == 0)
        *work = atomicAdd(scratch.next, 1u);
    __syncthreads();
    find_work(*work, &key_head_of_all, &j, key_heads, group, (T + W::KEYS - 1) / W::KEYS);
    const int key_head = key_head_of_all % KVH, first_key = j * W::KEYS, first_tile = j * PARTS;
    /* the batch's first row; the first of the heads of queries, among the batch's, and among all */
    const size_t at = (size_t)(key_head_of_all / KVH) * T, column = key_head * share * HS,
                 head = key_head_of_all * (size_t)share;
    const bf16 *q = qkv + at * shape.S + column, *dout = datt + at * shape.C + column;
    const bf16 *keys = qkv + at * shape.S + shape.C + key_head * HS;
    bf16 *dq_out = dqkv + at * shape.S + column, *dkeys = dqkv + (keys - qkv);
    uint64_t *rows = reinterpret_cast<uint64_t *>(stages + W::STAGE + W::REST);
    Dropout *dropout = reinterpret_cast<Dropout *>(rows + 2 * W::QUERIES); /* here, for want of registers */
    if (DROP && threadIdx.x == 0) {
        *dropout = attention_dropout(drop, shape.NH, T);
        dropout->first_row += head * T;
    }
    const float *stats = scratch.stats + head * tiles * 2 * W::QUERIES;
    float4 *dq_scratch = scratch.dq + head * tiles * W::DQ_VECTORS + threadIdx.x;
    unsigned *turns = scratch.turns + head * tiles;
    __syncthreads(); /* the work is known to all, and the Dropout */

    load_tile<W, W::KEYS>(sk, keys, first_key, T, HS, shape.S);
    load_tile<W, W::KEYS>(stages + W::STAGE, keys + KVH * HS, first_key, T, HS, shape.S);
    load_stage<W>(stages, q, dout, stats, tiles - 1, shape);
    if (DROP)
        load_rows<W>(rows, *dropout, (tiles - 1) * W::QUERIES);
    cp_async_wait<0>();
    __syncthreads();
    uint32_t k[W::OWN][W::WIDTH / 16][4], v[W::OWN][W::WIDTH / 16][4];
#pragma unroll
    for (int m = 0; m < W::OWN; m++)
#pragma unroll
        for (int c = 0; c < W::WIDTH / 16; c++) {
            ldmatrix_x4(k[m][c], by_rows<W::LD>(sk, own + m * 16, c * 16));
            ldmatrix_x4(v[m][c], by_rows<W::LD>(stages + W::STAGE, own + m * 16, c * 16));
        }
    float dk[W::OWN][W::WIDTH / 8][4] = {}, dv[W::OWN][W::WIDTH / 8][4] = {};
    if (threadIdx.x == 0)
        turn_await(turns + tiles - 1, j);
    __syncthreads(); /* V has been read */

    for (int h = 0, i = tiles - 1, stage = 0; h < share; stage ^= 1) { /* h: which of the heads of queries */
        const bf16 *sq = stages + stage * W::STAGE, *sdout = sq + W::QUERIES * W::LD;
        const float *sstats = reinterpret_cast<const float *>(sdout + W::QUERIES * W::LD);
        const int next_i = i > first_tile ? i - 1 : tiles - 1, next_h = i > first_tile ? h : h + 1;
        if (next_h < share) {
            load_stage<W>(stages + (stage ^ 1) * W::STAGE, q + next_h * HS, dout + next_h * HS,
                          stats + (size_t)next_h * tiles * 2 * W::QUERIES, next_i, shape);
            if (DROP)
                load_rows<W>(rows + (stage ^ 1) * W::QUERIES, *dropout, (size_t)next_h * T + next_i * W::QUERIES);
        }
        /* the keys that the tile's last query sees, QUERIES a part; the others are in the future */
        const int parts = min(i - first_tile + 1, PARTS);
        if (own < parts * W::QUERIES)
#pragma unroll 1
            for (int step = W::QUERIES - W::STEP; step >= 0; step -= W::STEP) {
                const int query = i * W::QUERIES + step, key = first_key + own;
                float s[W::OWN][W::STEP / 8][4] = {}, dp[W::OWN][W::STEP / 8][4] = {};
                uint32_t a[W::OWN][W::STEP / 16][4];
                scores_backward<W>(s, dp, k, v, sq + step * W::LD, sdout + step * W::LD);
#pragma unroll
                for (int m = 0; m < W::OWN; m++) {
                    probabilities<DROP, W::QUERIES>(s[m], dp[m], sstats + step, rows + stage * W::QUERIES + step, drop,
                                                    shape.scale * LOG2E, key + 16 * W::OWN - 1 > query,
                                                    key + m * 16 + lane / 4, query);
#pragma unroll
                    for (int n = 0; n < W::STEP / 16; n++)
                        pack_a(a[m][n], s[m][2 * n], s[m][2 * n + 1]);
                }
                add_rows<W>(dv, a, sdout + step * W::LD);
#pragma unroll
                for (int m = 0; m < W::OWN; m++) {
#pragma unroll
                    for (int n = 0; n < W::STEP / 16; n++)
                        pack_a(a[m][n], dp[m][2 * n], dp[m][2 * n + 1]);
                    store_ds<W::DS_LD>(sds + (own + m * 16) * W::DS_LD + step, a[m]);
                }
                add_rows<W>(dk, a, sq + step * W::LD);
            }

        float dq[W::DQ_ROWS / 16][W::DQ_COLUMNS / 8][4];
        float4 *dq_tile = dq_scratch + ((size_t)h * tiles + i) * W::DQ_VECTORS;
        read_dq<W>(dq, j == 0 ? zeros : dq_tile); /* in flight during the barrier */
        __syncthreads();
        const bf16 *ds_rows = sds + warp / W::DQ_ACROSS * W::DQ_ROWS,
                   *k_columns = sk + warp % W::DQ_ACROSS * W::DQ_COLUMNS;
#pragma unroll 1
        for (int part = 0; part < parts; part++)
            add_dq<W>(dq, ds_rows + part * W::QUERIES * W::DS_LD, k_columns + part * W::QUERIES * W::LD);
        if (i - first_tile < PARTS)
            finish_dq<W>(dq_out + h * HS, i * W::QUERIES, shape, dq);
        else
            write_dq<W>(dq_tile, dq);
        cp_async_wait<0>();
        if (threadIdx.x == 0 && next_h < share)
            turn_await(turns + next_h * tiles + next_i, j);
        __syncthreads(); /* the next tile is loaded; this stage and dS have been read, dq is written */
        if (threadIdx.x == 0)
            turn_pass(turns + h * tiles + i, j);
        h = next_h, i = next_i;
    }
#pragma unroll
    for (int m = 0; m < W::OWN; m++) {
        store_sums(dkeys, first_key + own + m * 16, 0, T, HS, shape.S, dk[m], shape.scale);
        store_sums(dkeys + KVH * HS, first_key + own + m * 16, 0, T, HS, shape.S, dv[m], 1.0f);
    }
}

/* Large tiles, and smaller ones for GPUs on which large ones leave a multiprocessor with too few warps. */
template <int HEAD> using Large = Backward<HEAD, 2>;
template <int HEAD> using Small = Backward<HEAD, HEAD == 96 ? 2 : 4>;
static_assert(Small<64>::SHARED_DROP <= SHARED_MOST && Small<96>::SHARED_DROP <= SHARED_MOST &&
                  Small<128>::SHARED_DROP <= SHARED_MOST,
              "");

template <template <int> class Tiles>
static void launch_backward(cudaStream_t stream, bf16 *dqkv, const bf16 *datt, const bf16 *qkv, const bf16 *att,
                            const float *lse, float *scratch, const AttentionShape &s, const AttentionDropout &drop,
                            unsigned group)
{
    with_width<Tiles>(s.HS, [&](auto sizes) {
        using W = decltype(sizes);
        const Shape shape(s);
        const size_t tiles = s.B * s.NH * ((s.T + W::QUERIES - 1) / W::QUERIES);
        const unsigned key_heads = (unsigned)(s.B * s.KVH);
        Scratch parts;
        parts.stats = scratch;
        parts.dq = reinterpret_cast<float4 *>(parts.stats + tiles * 2 * W::QUERIES);
        parts.turns = reinterpret_cast<unsigned *>(parts.dq + tiles * W::DQ_VECTORS);
        parts.next = parts.turns + tiles;
        constexpr int PARTS = W::KEYS / W::QUERIES;
        const auto stats = stats_kernel<W::WIDTH, PARTS>;
        const auto kernel =
            drop.threshold ? backward_kernel<W::WIDTH, PARTS, true> : backward_kernel<W::WIDTH, PARTS, false>;
        const size_t shared = drop.threshold ? W::SHARED_DROP : W::SHARED;
        cuda_allow_shared(kernel, shared);
        cuda_launch(stats, (unsigned)tiles, STATS_THREADS, 0, stream, parts, datt, att, lse, shape);
        cuda_launch(kernel, cuda_blocks(s.T, W::KEYS) * key_heads, W::THREADS, shared, stream, dqkv, parts, datt, qkv,
                    shape, key_heads, group, drop);
    });
}

void backward(cudaStream_t stream, bf16 *dqkv, const bf16 *datt, const bf16 *qkv, const bf16 *att, const float *lse,
              float *scratch, const AttentionShape &s, const AttentionDropout &drop, const BackwardPlan &plan)
{
    const auto launch = plan.small ? launch_backward<Small> : launch_backward<Large>;
    launch(stream, dqkv, datt, qkv, att, lse, scratch, s, drop, (unsigned)plan.group);
}

static size_t group_for(const AttentionShape &s)
{
    const size_t heads = s.B * s.KVH, bytes = s.NH / s.KVH * s.T * s.HS * sizeof(float); /* of a head of keys' sums */
    const size_t groups = (heads * bytes + CACHED_SUMS - 1) / CACHED_SUMS;
    return (heads + groups - 1) / groups;
}

BackwardPlan backward_plan(const AttentionShape &s, bool drops)
{
    bool fit = false;
    with_width<Large>(s.HS, [&](auto large) { fit = fits(large.WARPS, drops ? large.SHARED_DROP : large.SHARED); });
    return {group_for(s), !fit};
}

} // namespace flash

size_t flash_scratch(const AttentionShape &s)
{
    size_t floats = 0;
    flash::with_width<flash::Large>(s.HS, [&](auto large) {
        using L = decltype(large);
        using S = flash::Small<L::WIDTH>;
        const size_t heads = s.B * s.NH, tiles = (s.T + L::QUERIES - 1) / L::QUERIES;
        floats = heads * tiles * (L::QUERIES * (2 + L::WIDTH) + L::QUERIES / S::QUERIES) + 1;
    });
    return floats;
}

void flash_backward(cudaStream_t stream, __nv_bfloat16 *dqkv, const __nv_bfloat16 *datt, const __nv_bfloat16 *qkv,
                    const __nv_bfloat16 *att, const float *lse, float *scratch, const AttentionShape &s,
                    const AttentionDropout &drop)
{
    flash::backward(stream, dqkv, datt, qkv, att, lse, scratch, s, drop, flash::backward_plan(s, drop.threshold != 0));
}
