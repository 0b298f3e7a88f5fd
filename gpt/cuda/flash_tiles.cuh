#ifndef GPT_CUDA_FLASH_TILES_CUH
#define GPT_CUDA_FLASH_TILES_CUH

#include "base/cuda.cuh"
#include "gpt/cuda/flash.cuh"

#include <cmath>

/*
 * What flash attention's forward and backward passes share; nothing else includes it.
 *
 * Tiles in shared memory: rows are WIDTH + 8 apart, so that 8 rows of 16 bytes lie in different banks. WIDTH is HS
 * rounded up to 32, 64, 96 or 128; the channels between are zeros.
 *
 * The layout of a product's operands over the lanes is PTX's, see "Matrix Fragments for mma.m16n8k16": with
 * g = lane / 4 and t = lane % 4, a lane's sums c[r] are at row g + 8 (r / 2), column 2t + r % 2 of 16 x 8. Two such
 * tiles side by side, rounded, are an A operand of 16 x 16.
 */

namespace flash {

using bf16 = __nv_bfloat16;

enum { SHARED_MOST = 99 * 1024 };    /* bytes that a block may have on every GPU since sm_80 */
enum { WARPS_SM = 8 };               /* registers of a multiprocessor are enough for, in one block or in two */
enum : size_t { SHARED_OWN = 1024 }; /* bytes that each block takes besides what it asks for */

/* AttentionShape for a kernel: a sequence's sizes in int, the strides of rows, and the heads of queries that share a
 * head of keys. */
struct Shape {
    int T, HS, NH, C, S, share;
    float scale;
    explicit Shape(const AttentionShape &s)
        : T((int)s.T), HS((int)s.HS), NH((int)s.NH), C((int)attention_width(s)), S((int)attention_row(s)),
          share((int)(s.NH / s.KVH)), scale(s.scale)
    {
    }
};

/* Entry `index` of the order of work: heads run in groups whose data stay in the L2 cache; within a group first the
 * first place of each head, then the second. */
__device__ __forceinline__ void find_work(unsigned index, unsigned *head, int *place, unsigned heads, unsigned group,
                                          int places)
{
    const unsigned begin = index / (group * places) * group, here = min(group, heads - begin);
    const unsigned i = index - begin * places;
    *head = begin + i % here;
    *place = (int)(i / here);
}

/* Loads rows first .. first + ROWS - 1 of x (T,HS), `stride` apart; zeros past the end. */
template <class Pass, int ROWS>
__device__ __forceinline__ void load_tile(bf16 *tile, const bf16 *x, int first, int T, int HS, int stride)
{
    constexpr int WIDTH = Pass::WIDTH, LANES = WIDTH % 64 == 0 ? 8 : 4; /* lanes per row */
    constexpr int PASS = 32 * Pass::WARPS / LANES;                      /* rows at a time */
    static_assert(ROWS % PASS == 0, "all threads load equally much");
    const int row = (int)threadIdx.x / LANES, c = (int)threadIdx.x % LANES * 8;
    const bf16 *from = x + (ptrdiff_t)(first + row) * stride + c;
    tile += row * (WIDTH + 8) + c;
#pragma unroll
    for (int r = 0; r < ROWS; r += PASS, from += PASS * stride)
#pragma unroll
        for (int n = 0; n < WIDTH; n += LANES * 8) {
            const bool there = first + row + r < T && c + n < HS;
            cp_async16_or_zeros(tile + r * (WIDTH + 8) + n, there ? from + n : x, there);
        }
}

/* The lane's row of four 8 x 8 matrices at (row, col), for ldmatrix: in the order of an A operand's registers, or of
 * two B operands' when transposed. */
template <int LD> __device__ __forceinline__ const bf16 *by_rows(const bf16 *tile, int row, int col)
{
    const int lane = threadIdx.x % 32;
    return tile + (row + lane % 16) * LD + col + lane / 16 * 8;
}

/* The other order: of two B operands' registers, or of an A operand's when transposed. */
template <int LD> __device__ __forceinline__ const bf16 *by_columns(const bf16 *tile, int row, int col)
{
    const int lane = threadIdx.x % 32;
    return tile + (row + lane % 8 + lane / 16 * 8) * LD + col + lane / 8 % 2 * 8;
}

__device__ __forceinline__ uint32_t pack(float low, float high)
{
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t *>(&pair);
}

/* left, right: 16 x 8 each */
__device__ __forceinline__ void pack_a(uint32_t (&a)[4], const float (&left)[4], const float (&right)[4])
{
    a[0] = pack(left[0], left[1]);
    a[1] = pack(left[2], left[3]);
    a[2] = pack(right[0], right[1]);
    a[3] = pack(right[2], right[3]);
}

/* left, right += a b, where b holds two B operands */
__device__ __forceinline__ void multiply(float (&left)[4], float (&right)[4], const uint32_t (&a)[4],
                                         const uint32_t (&b)[4])
{
    const uint32_t b_left[2] = {b[0], b[1]}, b_right[2] = {b[2], b[3]};
    mma_bf16(left, a, b_left, left);
    mma_bf16(right, a, b_right, right);
}

/* x (T,HS) at `stride`: two neighbours of a row */
__device__ __forceinline__ void store_pair(bf16 *x, size_t row, int col, int T, int HS, size_t stride, float low,
                                           float high)
{
    if (row < (size_t)T && col < HS)
        *reinterpret_cast<uint32_t *>(x + row * stride + col) = pack(low, high);
}

/* x (T,HS) at `stride`: rows first .. and columns col .. of a warp's sums of 16 x 8 N, times factor. */
template <int N>
__device__ __forceinline__ void store_sums(bf16 *x, int first, int col, int T, int HS, size_t stride,
                                           const float (&sums)[N][4], float factor)
{
    const int lane = threadIdx.x % 32, row = first + lane / 4;
#pragma unroll
    for (int n = 0; n < N; n++) {
        const int c = col + n * 8 + lane % 4 * 2;
        store_pair(x, row, c, T, HS, stride, factor * sums[n][0], factor * sums[n][1]);
        store_pair(x, row + 8, c, T, HS, stride, factor * sums[n][2], factor * sums[n][3]);
    }
}

/* Whether the device's multiprocessors have shared memory for WARPS_SM warps in blocks of `warps` with `bytes` each. */
inline bool fits(int warps, size_t bytes)
{
    int device, most;
    CUDA_CHECK(cudaGetDevice(&device));
    CUDA_CHECK(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
    return (bytes + SHARED_OWN) * (size_t)(WARPS_SM / warps) <= (size_t)most + SHARED_OWN;
}

/* Calls f(a Forward or Backward of the head's width). */
template <template <int> class Pass, class F> void with_width(size_t HS, F f)
{
    if (HS <= 32)
        f(Pass<32>());
    else if (HS <= 64)
        f(Pass<64>());
    else if (HS <= 96)
        f(Pass<96>());
    else
        f(Pass<128>());
}

} // namespace flash

#endif
