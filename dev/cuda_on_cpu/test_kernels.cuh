#ifndef TEST_KERNELS_CUH
#define TEST_KERNELS_CUH

#include <cmath>
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>

#include "launch.cuh"

/* Kernels in the idioms of a trainer: what the emulator must run right, in every order of threads. */

using bf16 = __nv_bfloat16;

/* One warp for each row of C columns. */
__global__ void __launch_bounds__(128)
    layernorm_forward(bf16 *__restrict__ out, float *mean, float *rstd, const bf16 *__restrict__ in,
                      const float *__restrict__ weight, const float *__restrict__ bias, int rows, int C)
{
    const int lane = threadIdx.x % 32, row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (row >= rows)
        return;
    const bf16 *x = in + size_t(row) * C;
    float sum = 0.0f, squares = 0.0f;
    for (int c = lane; c < C; c += 32)
        sum += __bfloat162float(x[c]);
    const float m = warp_sum(sum) / C;
    for (int c = lane; c < C; c += 32) {
        const float d = __bfloat162float(x[c]) - m;
        squares += d * d;
    }
    const float s = rsqrtf(warp_sum(squares) / C + 1e-5f);
    if (lane == 0) {
        mean[row] = m;
        rstd[row] = s;
    }
    for (int c = lane; c < C; c += 32)
        out[size_t(row) * C + c] = __float2bfloat16_rn((__bfloat162float(x[c]) - m) * s * weight[c] + bias[c]);
}

/* Every thread of the block gets the sum. May be called again at once. */
__device__ inline float block_sum(float v)
{
    __shared__ float part[32];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = (blockDim.x + 31) / 32;
    v = warp_sum(v);
    if (lane == 0)
        part[warp] = v;
    __syncthreads();
    v = warp_sum(lane < warps ? part[lane] : 0.0f);
    __syncthreads(); /* part may be written again */
    return v;
}

__global__ void sum_squares(float *out, const float *x, int n)
{
    float s = 0.0f;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        s += x[i] * x[i];
    s = block_sum(s);
    s = block_sum(threadIdx.x == 0 ? s : 0.0f); /* again, to use part again */
    if (threadIdx.x == 0)
        atomicAdd(out, s);
}

/* c (M x N) = a (M x K) b^T (N x K): a block of 4 warps makes a tile, with two stages of cp.async. */
constexpr int TILE = 32, TILE_LD = TILE + 8; /* + 8: no bank conflicts */
__global__ void tensor_matmul(bf16 *__restrict__ c, const bf16 *__restrict__ a, const bf16 *__restrict__ b, int N,
                              int K)
{
    bf16 *sa = dynamic_shared<bf16>(), *sb = sa + 2 * TILE * TILE_LD; /* [2][TILE][TILE_LD] each */
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int m0 = blockIdx.y * TILE, n0 = blockIdx.x * TILE, wm = warp / 2 * 16, wn = warp % 2 * 16;
    auto load = [&](int stage, int k0) {
        const int row = threadIdx.x / 4, k = threadIdx.x % 4 * 8; /* 128 threads, 8 elements each */
        cp_async16(sa + (stage * TILE + row) * TILE_LD + k, a + size_t(m0 + row) * K + k0 + k);
        cp_async16(sb + (stage * TILE + row) * TILE_LD + k, b + size_t(n0 + row) * K + k0 + k);
        cp_async_commit();
    };
    float sum[2][4] = {};
    load(0, 0);
    for (int k0 = 0, stage = 0; k0 < K; k0 += TILE, stage ^= 1) {
        if (k0 + TILE < K) {
            load(stage ^ 1, k0 + TILE);
            cp_async_wait<1>();
        } else {
            cp_async_wait<0>();
        }
        __syncthreads();
        for (int k = 0; k < TILE; k += 16) {
            uint32_t fa[4], fb[4];
            ldmatrix_x4(fa, sa + (stage * TILE + wm + lane % 16) * TILE_LD + k + lane / 16 * 8);
            ldmatrix_x4(fb, sb + (stage * TILE + wn + lane % 8 + lane / 16 * 8) * TILE_LD + k + lane / 8 % 2 * 8);
            const uint32_t b0[2] = {fb[0], fb[1]}, b1[2] = {fb[2], fb[3]};
            mma_bf16(sum[0], fa, b0, sum[0]);
            mma_bf16(sum[1], fa, b1, sum[1]);
        }
        __syncthreads();
    }
    for (int j = 0; j < 2; j++)
        for (int half = 0; half < 2; half++) {
            const int row = m0 + wm + lane / 4 + 8 * half, col = n0 + wn + 8 * j + lane % 4 * 2;
            *reinterpret_cast<__nv_bfloat162 *>(c + size_t(row) * N + col) =
                __floats2bfloat162_rn(sum[j][2 * half], sum[j][2 * half + 1]);
        }
}

/* Causal flash attention for heads of 64: a block of 4 warps takes 64 queries of one head. All are [heads][T][HS]. */
constexpr int HS = 64, QUERIES = 64, KEYS = 32, HEAD_LD = HS + 8;

__device__ inline uint32_t pack(float low, float high)
{
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t *>(&pair);
}

/* Rows first .. first+rows-1 of a head to shared memory, by all threads; past T, zeros. */
__device__ inline void load_rows(bf16 (*to)[HEAD_LD], const bf16 *head, int first, int rows, int T)
{
    for (int i = threadIdx.x; i < rows * HS / 8; i += blockDim.x) {
        const int r = i / (HS / 8), c = i % (HS / 8) * 8;
        uint4 x = make_uint4(0, 0, 0, 0);
        if (first + r < T)
            x = *reinterpret_cast<const uint4 *>(head + size_t(first + r) * HS + c);
        *reinterpret_cast<uint4 *>(&to[r][c]) = x;
    }
}

/* Scores of the warp's 16 queries with the KEYS keys in shared memory. */
__device__ inline void scores(float (&s)[KEYS / 8][4], const uint32_t (&fq)[HS / 16][4], const bf16 (*sk)[HEAD_LD])
{
    const int lane = threadIdx.x % 32;
    for (int d = 0; d < HS / 16; d++)
        for (int j = 0; j < KEYS / 8; j += 2) {
            uint32_t f[4];
            ldmatrix_x4(f, &sk[j * 8 + lane % 8 + lane / 16 * 8][d * 16 + lane / 8 % 2 * 8]);
            const uint32_t b0[2] = {f[0], f[1]}, b1[2] = {f[2], f[3]};
            mma_bf16(s[j], fq[d], b0, s[j]);
            mma_bf16(s[j + 1], fq[d], b1, s[j + 1]);
        }
}

/* One step of the online softmax for half h of a lane's two rows: s becomes probabilities, acc and sum are rescaled. */
__device__ inline void softmax_step(float (&s)[KEYS / 8][4], float (&acc)[HS / 8][4], float &maximum, float &sum, int h,
                                    int row, int k0)
{
    const float scale = 0.125f * 1.44269504f; /* 1 / sqrt(HS), and to base 2 */
    const int t = threadIdx.x % 4;
    float m = maximum, part = 0.0f;
    for (int j = 0; j < KEYS / 8; j++)
        for (int e = 0; e < 2; e++) {
            float &x = s[j][2 * h + e];
            x = k0 + j * 8 + t * 2 + e <= row ? x * scale : -INFINITY;
            m = fmaxf(m, x);
        }
    m = fmaxf(m, __shfl_xor_sync(0xffffffffu, m, 1));
    m = fmaxf(m, __shfl_xor_sync(0xffffffffu, m, 2));
    const float keep = exp2f(maximum - m);
    for (int j = 0; j < KEYS / 8; j++)
        for (int e = 0; e < 2; e++)
            part += s[j][2 * h + e] = exp2f(s[j][2 * h + e] - m);
    part += __shfl_xor_sync(0xffffffffu, part, 1);
    part += __shfl_xor_sync(0xffffffffu, part, 2);
    sum = sum * keep + part;
    maximum = m;
    for (int j = 0; j < HS / 8; j++) {
        acc[j][2 * h] *= keep;
        acc[j][2 * h + 1] *= keep;
    }
}

__global__ void __launch_bounds__(128)
    attention_forward(bf16 *__restrict__ o, float *__restrict__ lse, const bf16 *__restrict__ q,
                      const bf16 *__restrict__ k, const bf16 *__restrict__ v, int T)
{
    __shared__ __align__(16) bf16 sk[KEYS][HEAD_LD], sv[KEYS][HEAD_LD], sq[QUERIES][HEAD_LD];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, q0 = blockIdx.x * QUERIES;
    const size_t head = size_t(blockIdx.y) * T * HS;
    load_rows(sq, q + head, q0, QUERIES, T);
    __syncthreads();
    uint32_t fq[HS / 16][4];
    for (int d = 0; d < HS / 16; d++)
        ldmatrix_x4(fq[d], &sq[warp * 16 + lane % 16][d * 16 + lane / 16 * 8]);
    const int row = q0 + warp * 16 + lane / 4; /* and 8 further on: the rows this lane has a part of */
    float acc[HS / 8][4] = {}, maximum[2] = {-INFINITY, -INFINITY}, sum[2] = {};
    for (int k0 = 0; k0 < min(T, q0 + QUERIES); k0 += KEYS) {
        __syncthreads(); /* the last tile is used up */
        load_rows(sk, k + head, k0, KEYS, T);
        load_rows(sv, v + head, k0, KEYS, T);
        __syncthreads();
        float s[KEYS / 8][4] = {};
        scores(s, fq, sk);
        for (int h = 0; h < 2; h++)
            softmax_step(s, acc, maximum[h], sum[h], h, row + 8 * h, k0);
        for (int j = 0; j < KEYS / 16; j++) { /* probabilities, in registers, as the A of a product with V */
            const uint32_t p[4] = {pack(s[2 * j][0], s[2 * j][1]), pack(s[2 * j][2], s[2 * j][3]),
                                   pack(s[2 * j + 1][0], s[2 * j + 1][1]), pack(s[2 * j + 1][2], s[2 * j + 1][3])};
            for (int d = 0; d < HS / 8; d++) {
                uint32_t fv[2];
                ldmatrix_x2_trans(fv, &sv[j * 16 + lane % 16][d * 8]);
                mma_bf16(acc[d], p, fv, acc[d]);
            }
        }
    }
    for (int h = 0; h < 2; h++) {
        if (row + 8 * h >= T)
            continue;
        for (int d = 0; d < HS / 8; d++)
            *reinterpret_cast<__nv_bfloat162 *>(o + head + size_t(row + 8 * h) * HS + d * 8 + lane % 4 * 2) =
                __floats2bfloat162_rn(acc[d][2 * h] / sum[h], acc[d][2 * h + 1] / sum[h]);
        if (lane % 4 == 0)
            lse[size_t(blockIdx.y) * T + row + 8 * h] = (maximum[h] + log2f(sum[h])) * 0.69314718f;
    }
}

/* The largest of each row of C, by a tile of N threads. */
template <int N> __global__ void row_max(float *out, const float *x, int C)
{
    namespace cg = cooperative_groups;
    const auto tile = cg::tiled_partition<N>(cg::this_thread_block());
    const int row = blockIdx.x * (blockDim.x / N) + tile.meta_group_rank();
    float m = -INFINITY;
    for (int c = tile.thread_rank(); c < C; c += tile.size())
        m = fmaxf(m, x[size_t(row) * C + c]);
    m = cg::reduce(tile, m, cg::greater<float>{});
    if (tile.thread_rank() == 0)
        out[row] = m;
}

template <int N> __global__ void scale(float *x, float factor)
{
    if (threadIdx.x < N)
        x[blockIdx.x * N + threadIdx.x] *= factor;
}

__global__ void reverse(float *x, int n)
{
    float *s = dynamic_shared<float>();
    for (int i = threadIdx.x; i < n; i += blockDim.x)
        s[i] = x[i];
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += blockDim.x)
        x[i] = s[n - 1 - i];
}

__global__ void count_threads(unsigned *count) { atomicAdd(count, 1u); }

/* out[block]: how many threads of a 2 x 4 x 8 block in a grid of any shape have the indices they should. */
__global__ void check_indices(int *out)
{
    const unsigned id = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    const bool good = blockDim.x == 2 && blockDim.y == 4 && blockDim.z == 8 && id < 64;
    const int count = __syncthreads_count(good), all = __syncthreads_and(good), any = __syncthreads_or(id == 63);
    if (id == 0)
        out[blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z)] = count + 100 * all + 1000 * any;
}

/* out[lane * 8 + i]: what each warp function gives lane `lane` of one warp. */
__global__ void warp_functions(int *out)
{
    const int lane = threadIdx.x;
    int *mine = out + 8 * lane;
    mine[0] = __shfl_sync(0xffffffffu, 10 * lane, lane / 8 * 8, 32);
    mine[1] = __shfl_up_sync(0xffffffffu, lane, 3, 16);
    mine[2] = __shfl_down_sync(0xffffffffu, lane, 3, 16);
    mine[3] = static_cast<int>(__ballot_sync(0xffffffffu, lane % 3 == 0));
    mine[4] = __any_sync(0xffffffffu, lane == 31) + 2 * __all_sync(0xffffffffu, lane < 31);
    mine[5] = __reduce_add_sync(0xffffffffu, lane) + 1000 * __reduce_max_sync(0xffffffffu, lane);
    mine[6] = lane % 2 ? __shfl_xor_sync(0xaaaaaaaau, lane, 2) : __shfl_xor_sync(0x55555555u, lane, 4);
    __syncwarp();
    mine[7] = out[8 * (lane ^ 1) + 6]; /* the neighbour's */
}

/* What static and dynamic shared memory hold before anyone has written to them. */
template <class T> __global__ void read_unwritten(T *out)
{
    __shared__ T array[32];
    out[threadIdx.x] = array[threadIdx.x];
    out[32 + threadIdx.x] = dynamic_shared<T>()[threadIdx.x];
    array[threadIdx.x] = dynamic_shared<T>()[threadIdx.x] = T(0); /* for the next block, if it saw this one's */
}

#endif
