#ifndef BASE_CUDA_CUH
#define BASE_CUDA_CUH

#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <ptx.cuh>

#include <cstdio>
#include <cstdlib>

/*
 * Basics of all CUDA files: checked calls, one function that launches kernels, reductions over warps and blocks.
 */

/* A failed call ends the program: the interfaces have no way to report what can only be a broken device, a bug, or
 * memory that a library of CUDA's cannot have. That of our own arrays is different: gpt_create and verb_alloc report
 * it. */
[[noreturn]] inline void cuda_fail(const char *file, int line, const char *expression, const char *reason)
{
    fprintf(stderr, "train_gpt: %s:%d: %s failed: %s\n", file, line, expression, reason);
    exit(1);
}

[[noreturn]] inline void cuda_fail_for_memory(const char *expression, const char *reason)
{
    fprintf(
        stderr,
        "train_gpt: out of GPU memory: %s failed: %s; lower --batch-size or --seq-len, choose a smaller model or use "
        "--recompute layers (nvidia-smi shows what other processes hold)\n",
        expression, reason);
    exit(1);
}

/* Whether too little memory is left for a library's handle and workspace, of which some only say that they could not be
 * initialised. */
inline bool cuda_is_full()
{
    const size_t handle = (size_t)256 << 20;
    size_t available, total;
    return cudaMemGetInfo(&available, &total) == cudaSuccess && available < handle;
}

inline void cuda_checked(cudaError_t status, const char *file, int line, const char *expression)
{
    if (status == cudaErrorMemoryAllocation)
        cuda_fail_for_memory(expression, cudaGetErrorString(status));
    if (status != cudaSuccess)
        cuda_fail(file, line, expression, cudaGetErrorString(status));
}

inline void cublas_checked(cublasStatus_t status, const char *file, int line, const char *expression)
{
    if (status == CUBLAS_STATUS_ALLOC_FAILED || (status == CUBLAS_STATUS_NOT_INITIALIZED && cuda_is_full()))
        cuda_fail_for_memory(expression, cublasGetStatusString(status));
    if (status != CUBLAS_STATUS_SUCCESS)
        cuda_fail(file, line, expression, cublasGetStatusString(status));
}

#define CUDA_CHECK(call) cuda_checked((call), __FILE__, __LINE__, #call)
#define CUBLAS_CHECK(call) cublas_checked((call), __FILE__, __LINE__, #call)

/* kernel<<<grid, block, shared bytes, stream>>>(arguments), as a function. */
template <class... P, class... A>
void cuda_launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, cudaStream_t stream, A &&...arguments)
{
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared;
    config.stream = stream;
    CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, static_cast<P>(arguments)...));
}

/* A kernel must be allowed more than the default 48 KiB of shared memory before its launch. */
template <class Kernel> void cuda_allow_shared(Kernel *kernel, size_t bytes)
{
    if (bytes > 48 << 10)
        CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
}

/* exp(x) = 2^(LOG2E x) */
constexpr float LOG2E = 1.44269504f;

inline unsigned cuda_blocks(size_t n, size_t per_block) { return (unsigned)((n + per_block - 1) / per_block); }

template <class Real> __device__ Real warp_sum(Real v)
{
#pragma unroll
    for (int offset = 16; offset > 0; offset >>= 1)
        v += __shfl_xor_sync(0xffffffffu, v, offset);
    return v;
}

__device__ inline float warp_max(float v)
{
#pragma unroll
    for (int offset = 16; offset > 0; offset >>= 1)
        v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, offset));
    return v;
}

/* Over four neighbouring threads. */
__device__ inline float quad_sum(float v)
{
    v += __shfl_xor_sync(0xffffffffu, v, 1);
    return v + __shfl_xor_sync(0xffffffffu, v, 2);
}

__device__ inline float quad_max(float v)
{
    v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, 1));
    return fmaxf(v, __shfl_xor_sync(0xffffffffu, v, 2));
}

/* Over a block of a multiple of 32 threads, at most 1024; every thread gets the result. `nothing` changes no result. */
template <class Real, class Reduce> __device__ Real block_reduce(Real v, Real nothing, Reduce warp_reduce)
{
    __shared__ Real parts[32];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32;
    v = warp_reduce(v);
    if (lane == 0)
        parts[warp] = v;
    __syncthreads();
    v = warp_reduce(lane < warps ? parts[lane] : nothing);
    __syncthreads(); /* parts may be written again */
    return v;
}

template <class Real> __device__ Real block_sum(Real v)
{
    return block_reduce(v, Real(0), [](Real x) { return warp_sum(x); });
}

__device__ inline float block_max(float v)
{
    return block_reduce(v, -INFINITY, [](float x) { return warp_max(x); });
}

#endif
