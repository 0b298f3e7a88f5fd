#ifndef OPTIM_VERBS_DEVICE_CUH
#define OPTIM_VERBS_DEVICE_CUH

#include "base/cuda.cuh"
#include "base/cuda/lt.cuh"

#include <cstdint>

/*
 * Shared by the optimizers' CUDA files: the context of the verbs, and elementwise kernels that move 16 bytes at a time.
 */
struct Verbs {
    cudaStream_t stream;
    cublasHandle_t cublas;
    double *parts;         /* (PARTS_MOST) */
    double *totals;        /* (TOTALS_MOST) */
    float *scalars;        /* (SCALARS_MOST, 2) */
    struct Solver *solver; /* of factor_cuda.cu, created at the first factorisation */
    Lt lt;                 /* of products in bf16, created at the first of them */
};

void solver_free(Solver *solver);

namespace optim_device {

enum { THREADS = 256, QUADS = 2 /* per thread, to keep that many loads of each array in flight */ };

enum { PARTS_MOST = 1 << 16, TOTALS_MOST = 1 << 10, SCALARS_MOST = 1 << 10 };

/* --------------------------------------------------------------------------------------------------------------
 * Four floats, moved at once if they are aligned
 */

struct Quad {
    float x[4];
};

__host__ __device__ inline bool is_aligned(const void *p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

__device__ inline Quad load_quad(const float *p)
{
    const float4 v = *reinterpret_cast<const float4 *>(p);
    return {{v.x, v.y, v.z, v.w}};
}

/* __stcg, because the compiler splits plain stores of four. */
__device__ inline void store_quad(float *p, const Quad &q)
{
    __stcg(reinterpret_cast<float4 *>(p), make_float4(q.x[0], q.x[1], q.x[2], q.x[3]));
}

/* --------------------------------------------------------------------------------------------------------------
 * Elementwise kernels. f(x, k) is called for each element with x, its values in each of N arrays, and k = scalars(b),
 * the constants of matrix b. LOADS and STORES are bit masks of the arrays to read and write. Arrays may coincide.
 */

template <int N> struct Streams {
    float *at[N];
};

template <class... P> Streams<sizeof...(P)> streams(P *...p) { return {{const_cast<float *>(p)...}}; }

/* QUADS times four elements, from `first` on, `stride` apart: all loads come before the first store. */
template <unsigned LOADS, unsigned STORES, int N, class K, class F>
__device__ void each_quad(const Streams<N> &s, size_t first, size_t stride, K k, F f)
{
    Quad v[QUADS][N] = {};
#pragma unroll
    for (int q = 0; q < QUADS; q++)
#pragma unroll
        for (int a = 0; a < N; a++)
            if (LOADS >> a & 1)
                v[q][a] = load_quad(s.at[a] + first + (size_t)q * stride);
#pragma unroll
    for (int q = 0; q < QUADS; q++) {
#pragma unroll
        for (int e = 0; e < 4; e++) {
            float x[N];
#pragma unroll
            for (int a = 0; a < N; a++)
                x[a] = v[q][a].x[e];
            f(x, k);
#pragma unroll
            for (int a = 0; a < N; a++)
                v[q][a].x[e] = x[a];
        }
#pragma unroll
        for (int a = 0; a < N; a++)
            if (STORES >> a & 1)
                store_quad(s.at[a] + first + (size_t)q * stride, v[q][a]);
    }
}

template <unsigned LOADS, unsigned STORES, int N, class K, class F>
__device__ void each_single(const Streams<N> &s, size_t i, K k, F f)
{
    float x[N] = {};
#pragma unroll
    for (int a = 0; a < N; a++)
        if (LOADS >> a & 1)
            x[a] = s.at[a][i];
    f(x, k);
#pragma unroll
    for (int a = 0; a < N; a++)
        if (STORES >> a & 1)
            s.at[a][i] = x[a];
}

/* A block takes QUADS * 4 * blockDim.x elements of a matrix of n: by quads, or one by one if they are not aligned or
 * fewer are left. */
template <unsigned LOADS, unsigned STORES, int N, class K, class F>
__global__ void each_kernel(Streams<N> s, size_t n, unsigned blocks_each, bool aligned, K scalars, F f)
{
    const size_t b = blockIdx.x / blocks_each, stride = 4 * (size_t)blockDim.x;
    const size_t begin = QUADS * stride * (blockIdx.x % blocks_each);
    const auto k = scalars(b);
    if (aligned && begin + QUADS * stride <= n) {
        each_quad<LOADS, STORES>(s, b * n + begin + 4 * threadIdx.x, stride, k, f);
        return;
    }
    const size_t end = begin + QUADS * stride < n ? begin + QUADS * stride : n;
#pragma unroll 1
    for (size_t i = begin + threadIdx.x; i < end; i += blockDim.x)
        each_single<LOADS, STORES>(s, b * n + i, k, f);
}

/* Over `batch` contiguous matrices of n elements. */
template <unsigned LOADS, unsigned STORES, int N, class K, class F>
void each_of_batch(const Verbs *on, size_t n, size_t batch, Streams<N> s, K scalars, F f)
{
    if (n == 0 || batch == 0)
        return;
    bool aligned = batch == 1 || n % 4 == 0;
    for (const float *p : s.at)
        aligned = aligned && is_aligned(p);
    const size_t quads = (n + 3) / 4;
    const unsigned threads = quads < THREADS ? 32 * cuda_blocks(quads, 32) : (unsigned)THREADS;
    const unsigned blocks_each = cuda_blocks(quads, QUADS * threads);
    cuda_launch(each_kernel<LOADS, STORES, N, K, F>, (unsigned)(blocks_each * batch), threads, 0, on->stream, s, n,
                blocks_each, aligned, scalars, f);
}

struct None {};
struct NoScalars {
    __device__ None operator()(size_t) const { return {}; }
};

template <unsigned LOADS, unsigned STORES, int N, class F> void each(const Verbs *on, size_t n, Streams<N> s, F f)
{
    each_of_batch<LOADS, STORES>(on, n, 1, s, NoScalars(), f);
}

/* f(i) for every i below n: for small or scattered data. */
template <class F> __global__ void index_kernel(size_t n, F f)
{
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        f(i);
}

template <class F> void each_index(const Verbs *on, size_t n, F f)
{
    const unsigned threads = n < THREADS ? 32 * cuda_blocks(n, 32) : (unsigned)THREADS;
    if (n > 0)
        cuda_launch(index_kernel<F>, cuda_blocks(n, threads), threads, 0, on->stream, n, f);
}

} // namespace optim_device

#endif
