/*
 * The forward pass of flash attention. A block takes 128 queries of a head. Its 4 warps have 32 each: two A operands,
 * so that each load of keys is used twice. Where only one block has room, 8 warps have 16 each, with the same results.
 * While it works on a tile of keys and values, the next is being loaded.
 */
#include "gpt/cuda/flash_tiles.cuh"
#include "gpt/cuda/score.cuh"

namespace flash {

enum : size_t { CACHED_BYTES = 1 << 24 }; /* keys and values that surely fit a large GPU's L2 */

template <int HEAD, int WARPS_> struct Forward {
    static constexpr int WIDTH = HEAD, LD = WIDTH + 8, QUERIES = 128, KEYS = WIDTH <= 96 ? 64 : 32;
    static constexpr int WARPS = WARPS_, THREADS = 32 * WARPS, OWN = QUERIES / 16 / WARPS; /* A operands of a warp */
    /* Queries of small heads stay in registers; they arrive through the second stage. */
    static constexpr bool KEPT = WIDTH <= 64;
    static constexpr int STAGE = 2 * KEYS * LD, TILES = (KEPT ? 2 * STAGE : 2 * STAGE + QUERIES * LD);
    static constexpr size_t SHARED = TILES * sizeof(bf16);
    static_assert(SHARED <= SHARED_MOST, "");
    static_assert(!KEPT || STAGE >= QUERIES * LD, "the queries fit in a stage");
};

/* s (16 OWN queries, 8 N keys) = q k^T */
template <class F, int N>
__device__ __forceinline__ void scores(float (&s)[F::OWN][N][4], uint32_t (&q)[F::OWN][F::KEPT ? F::WIDTH / 16 : 1][4],
                                       const bf16 *sq, const bf16 *sk)
{
#pragma unroll
    for (int m = 0; m < F::OWN; m++)
#pragma unroll
        for (int n = 0; n < N; n++)
            s[m][n][0] = s[m][n][1] = s[m][n][2] = s[m][n][3] = 0.0f;
#pragma unroll
    for (int c = 0; c < F::WIDTH / 16; c++) {
        const int kept = F::KEPT ? c : 0;
#pragma unroll
        for (int m = 0; m < F::OWN; m++)
            if (!F::KEPT)
                ldmatrix_x4(q[m][0], by_rows<F::LD>(sq, m * 16, c * 16));
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            uint32_t k[4];
            ldmatrix_x4(k, by_columns<F::LD>(sk, n * 8, c * 16));
#pragma unroll
            for (int m = 0; m < F::OWN; m++)
                multiply(s[m][n], s[m][n + 1], q[m][kept], k);
        }
    }
}

/* Hides keys after the query in rows row + {0, 8}; s begins at column `key`. */
template <int N> __device__ __forceinline__ void hide_future(float (&s)[N][4], int row, int key)
{
    const int t = threadIdx.x % 4;
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int r = 0; r < 4; r++)
            if (key + n * 8 + t * 2 + r % 2 > row + r / 2 * 8)
                s[n][r] = -INFINITY;
}

/* One step of the online softmax (Milakov and Gimelshein 2018) for row `half` of the lane's two: s becomes
 * probabilities relative to the new maximum, and earlier sums are rescaled. sum: the lane's own part. */
template <int N, int M>
__device__ __forceinline__ void softmax_step(float (&s)[N][4], float (&acc)[M][4], int half, float &maximum, float &sum,
                                             float scale)
{
    float highest = fmaxf(maximum, fmaxf(s[0][2 * half], s[0][2 * half + 1])), added = 0;
#pragma unroll
    for (int n = 1; n < N; n++)
        highest = fmaxf(highest, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
    highest = quad_max(highest);
    const float shift = -highest * scale, fade = exp2_approx((maximum - highest) * scale); /* 1 if unchanged */
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            float &p = s[n][2 * half + e];
            p = exp2_approx(fmaf(p, scale, shift));
            added += p;
        }
    sum = fmaf(sum, fade, added);
    maximum = highest;
#pragma unroll
    for (int n = 0; n < M; n++) {
        acc[n][2 * half] *= fade;
        acc[n][2 * half + 1] *= fade;
    }
}

/* Drops out of p, whose rows have the bits `rows` and which begins at column `key`. */
template <int N>
__device__ __forceinline__ void drop_out(float (&p)[N][4], const uint64_t (&rows)[2], int key,
                                         const AttentionDropout &drop)
{
    const Dropout d = {0, 0, drop.threshold, drop.scale};
    const int column = key + threadIdx.x % 4 * 2;
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int r = 0; r < 4; r++)
            p[n][r] *= dropout_factor(&d, rows[r / 2], column + n * 8 + r % 2);
}

/* acc (16 OWN queries, WIDTH) += p v, p (16 OWN queries, 8 N keys) */
template <class F, int N>
__device__ __forceinline__ void add_values(float (&acc)[F::OWN][F::WIDTH / 8][4], const float (&p)[F::OWN][N][4],
                                           const bf16 *sv)
{
#pragma unroll
    for (int n = 0; n < N; n += 2) {
        uint32_t a[F::OWN][4];
#pragma unroll
        for (int m = 0; m < F::OWN; m++)
            pack_a(a[m], p[m][n], p[m][n + 1]);
#pragma unroll
        for (int c = 0; c < F::WIDTH / 8; c += 2) {
            uint32_t v[4];
            ldmatrix_x4_trans(v, by_rows<F::LD>(sv, n * 8, c * 8));
#pragma unroll
            for (int m = 0; m < F::OWN; m++)
                multiply(acc[m][c], acc[m][c + 1], a[m], v);
        }
    }
}

template <int HEAD, int WARPS, bool DROP>
__global__ void __launch_bounds__(32 * WARPS, WARPS_SM / WARPS)
    forward_kernel(bf16 *att, float *lse, uint32_t *largest, const bf16 *qkv, Shape shape, unsigned heads,
                   unsigned group, AttentionDropout drop)
{
    using F = Forward<HEAD, WARPS>;
    bf16 *stages = dynamic_shared<bf16>(), *sq = stages + (F::KEPT ? F::STAGE : 2 * F::STAGE);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int T = shape.T, HS = shape.HS, C = shape.C, NH = shape.NH, stride = shape.S;
    unsigned head;
    int place;
    const int tiles = (T + F::QUERIES - 1) / F::QUERIES;
    find_work(blockIdx.x, &head, &place, heads, group, tiles);
    const int tile = tiles - 1 - place; /* the longest rows run first */
    const size_t batch_row = (size_t)(head / NH) * T, column = head % NH * HS;
    const bf16 *row_of_qkv = qkv + batch_row * stride, *q = row_of_qkv + column;
    const bf16 *k = row_of_qkv + C + head % NH / shape.share * HS, *v = k + NH / shape.share * HS;
    const int first = tile * F::QUERIES, row = first + warp * 16 * F::OWN; /* the block's, the warp's */
    const int key_tiles = (min(T, first + F::QUERIES) + F::KEYS - 1) / F::KEYS;

    load_tile<F, F::QUERIES>(sq, q, first, T, HS, stride);
    load_tile<F, F::KEYS>(stages, k, 0, T, HS, stride);
    load_tile<F, F::KEYS>(stages + F::STAGE / 2, v, 0, T, HS, stride);
    cp_async_commit();
    sq += warp * 16 * F::OWN * F::LD;
    uint32_t fq[F::OWN][F::KEPT ? HEAD / 16 : 1][4];
    if (F::KEPT) {
        cp_async_wait<0>();
        __syncthreads();
#pragma unroll
        for (int c = 0; c < (F::KEPT ? HEAD / 16 : 0); c++)
#pragma unroll
            for (int m = 0; m < F::OWN; m++)
                ldmatrix_x4(fq[m][c], by_rows<F::LD>(sq, m * 16, c * 16));
    }

    uint64_t rows[F::OWN][2] = {}; /* what dropout knows of the lane's queries */
    if (DROP) {
        const Dropout d = attention_dropout(drop, NH, T);
#pragma unroll
        for (int m = 0; m < F::OWN; m++)
#pragma unroll
            for (int half = 0; half < 2; half++)
                rows[m][half] = dropout_row(&d, (size_t)head * T + row + m * 16 + half * 8 + lane / 4);
    }
    const float scale = shape.scale;
    float acc[F::OWN][HEAD / 8][4] = {}, sum[F::OWN][2] = {}, maximum[F::OWN][2];
#pragma unroll
    for (int m = 0; m < F::OWN; m++)
        maximum[m][0] = maximum[m][1] = -INFINITY;
    for (int j = 0; j < key_tiles; j++) {
        const bf16 *sk = stages + j % 2 * F::STAGE, *sv = sk + F::STAGE / 2;
        const int key = j * F::KEYS;
        cp_async_wait<0>();
        __syncthreads(); /* the tile is loaded, and all have read the other stage */
        if (j + 1 < key_tiles) {
            bf16 *next = stages + (j + 1) % 2 * F::STAGE;
            load_tile<F, F::KEYS>(next, k, key + F::KEYS, T, HS, stride);
            load_tile<F, F::KEYS>(next + F::STAGE / 2, v, key + F::KEYS, T, HS, stride);
            cp_async_commit();
        }
        if (key >= row + 16 * F::OWN)
            continue; /* the whole tile is in the warp's future */
        float s[F::OWN][F::KEYS / 8][4];
        scores<F>(s, fq, sq, sk);
#pragma unroll
        for (int m = 0; m < F::OWN; m++)
            if (key + F::KEYS - 1 > row)
                hide_future(s[m], row + m * 16 + lane / 4, key);
#pragma unroll
        for (int m = 0; m < F::OWN; m++)
#pragma unroll
            for (int half = 0; half < 2; half++)
                softmax_step(s[m], acc[m], half, maximum[m][half], sum[m][half], scale * LOG2E);
#pragma unroll
        for (int m = 0; m < F::OWN; m++)
            if (DROP)
                drop_out(s[m], rows[m], key, drop);
        add_values<F>(acc, s, sv);
    }

    uint32_t most = 0; /* the lane's largest score, as a key */
#pragma unroll
    for (int m = 0; m < F::OWN; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int query = row + m * 16 + half * 8 + lane / 4;
            const float total = quad_sum(sum[m][half]), inverse = 1.0f / total;
#pragma unroll
            for (int n = 0; n < HEAD / 8; n++)
                store_pair(att + batch_row * C + column, query, n * 8 + lane % 4 * 2, T, HS, C,
                           inverse * acc[m][n][2 * half], inverse * acc[m][n][2 * half + 1]);
            if (query < T && lane % 4 == 0)
                lse[(size_t)head * T + query] = maximum[m][half] * scale + logf(total);
            if (largest != NULL && query < T)
                most = max(most, score_key(maximum[m][half] * scale, total));
        }
    if (largest != NULL)
        score_record(largest + head % NH, most);
}

/* Blocks of few warps, and of many for GPUs on which two with few are too much for a multiprocessor. */
template <int HEAD> using Few = Forward<HEAD, 4>;
template <int HEAD> using Many = Forward<HEAD, HEAD <= 64 ? 4 : 8>;

template <template <int> class Blocks>
static void launch_forward(cudaStream_t stream, bf16 *att, float *lse, uint32_t *largest, const bf16 *qkv,
                           const AttentionShape &s, const AttentionDropout &drop, unsigned group)
{
    with_width<Blocks>(s.HS, [&](auto sizes) {
        using F = decltype(sizes);
        const unsigned heads = (unsigned)(s.B * s.NH), blocks = cuda_blocks(s.T, F::QUERIES) * heads;
        const auto kernel =
            drop.threshold ? forward_kernel<F::WIDTH, F::WARPS, true> : forward_kernel<F::WIDTH, F::WARPS, false>;
        cuda_allow_shared(kernel, F::SHARED);
        cuda_launch(kernel, blocks, F::THREADS, F::SHARED, stream, att, lse, largest, qkv, Shape(s), heads, group,
                    drop);
    });
}

void forward(cudaStream_t stream, bf16 *att, float *lse, uint32_t *largest, const bf16 *qkv, const AttentionShape &s,
             const AttentionDropout &drop, const ForwardPlan &plan)
{
    const auto launch = plan.many ? launch_forward<Many> : launch_forward<Few>;
    launch(stream, att, lse, largest, qkv, s, drop, (unsigned)plan.group);
}

ForwardPlan forward_plan(const AttentionShape &s)
{
    const size_t bytes = 2 * s.T * s.HS * sizeof(bf16); /* of a head's keys and values */
    const size_t cached = bytes < CACHED_BYTES ? CACHED_BYTES / bytes : 1;
    bool fit = false;
    with_width<Few>(s.HS, [&](auto few) { fit = fits(few.WARPS, few.SHARED); });
    return {cached * (s.NH / s.KVH), !fit};
}

} // namespace flash

void flash_forward(cudaStream_t stream, __nv_bfloat16 *att, float *lse, uint32_t *largest, const __nv_bfloat16 *qkv,
                   const AttentionShape &s, const AttentionDropout &drop)
{
    flash::forward(stream, att, lse, largest, qkv, s, drop, flash::forward_plan(s));
}
