#include "dev/bench/cuda/timer.cuh"

#include "base/cuda.cuh"

#include <algorithm>

namespace bench {

void *allocate(size_t bytes)
{
    void *p = NULL;
    CUDA_CHECK(cudaMalloc(&p, bytes));
    return p;
}

Timer make_timer(cudaStream_t stream, size_t flush_bytes, size_t rounds)
{
    Timer t = {stream, allocate(flush_bytes), flush_bytes, rounds, {}, {}};
    t.begin.resize(rounds);
    t.end.resize(rounds);
    for (size_t i = 0; i < rounds; i++) {
        CUDA_CHECK(cudaEventCreate(&t.begin[i]));
        CUDA_CHECK(cudaEventCreate(&t.end[i]));
    }
    return t;
}

void free_timer(Timer *t)
{
    for (size_t i = 0; i < t->rounds; i++) {
        CUDA_CHECK(cudaEventDestroy(t->begin[i]));
        CUDA_CHECK(cudaEventDestroy(t->end[i]));
    }
    CUDA_CHECK(cudaFree(t->flush));
}

double median(std::vector<double> x)
{
    std::sort(x.begin(), x.end());
    return (x[(x.size() - 1) / 2] + x[x.size() / 2]) / 2;
}

/* The write before each round also hides the launches. */
double time_of(Timer *t, const std::function<void()> &run)
{
    std::vector<double> seconds;
    run(); /* loads the kernel, chooses the product */
    for (size_t i = 0; i < t->rounds; i++) {
        CUDA_CHECK(cudaMemsetAsync(t->flush, (int)i, t->flush_bytes, t->stream));
        CUDA_CHECK(cudaEventRecord(t->begin[i], t->stream));
        run();
        CUDA_CHECK(cudaEventRecord(t->end[i], t->stream));
    }
    CUDA_CHECK(cudaDeviceSynchronize());
    for (size_t i = 0; i < t->rounds; i++) {
        float ms = 0;
        CUDA_CHECK(cudaEventElapsedTime(&ms, t->begin[i], t->end[i]));
        seconds.push_back(1e-3 * (double)ms);
    }
    return median(seconds);
}

/* --------------------------------------------------------------------------------------------------------------
 * Memory, and the ceiling of a copy
 */

enum { THREADS = 256, COPIES = 4 }; /* COPIES of 16 bytes, a thread */

__global__ static void copy_kernel(uint4 *to, const uint4 *from, size_t n)
{
    const size_t first = (size_t)blockIdx.x * COPIES * blockDim.x + threadIdx.x;
    uint4 x[COPIES];
#pragma unroll
    for (size_t i = 0; i < COPIES; i++)
        if (first + i * blockDim.x < n)
            x[i] = from[first + i * blockDim.x];
#pragma unroll
    for (size_t i = 0; i < COPIES; i++)
        if (first + i * blockDim.x < n)
            to[first + i * blockDim.x] = x[i];
}

/* Uniform on [-1, 1): products of zeros draw less power than those of data. */
template <class X> __global__ static void fill_kernel(X *x, size_t n)
{
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    uint32_t h = (uint32_t)i * 0x9e3779b9u; /* scattered as splitmix does, in 32 bits */
    h = (h ^ h >> 16) * 0x85ebca6bu;
    h = (h ^ h >> 13) * 0xc2b2ae35u;
    if (i < n)
        x[i] = (X)((float)(h >> 8) * 0x1p-23f - 1.0f);
}

template <class X> X *allocate_filled(size_t n)
{
    X *x = (X *)allocate(n * sizeof(X));
    cuda_launch(fill_kernel<X>, cuda_blocks(n, THREADS), THREADS, 0, nullptr, x, n);
    return x;
}

template float *allocate_filled(size_t);
template __nv_bfloat16 *allocate_filled(size_t);

double measure_copy(Timer *t, size_t bytes)
{
    const size_t n = bytes / sizeof(uint4);
    uint4 *from = (uint4 *)allocate_filled<float>(bytes / sizeof(float)), *to = (uint4 *)allocate(bytes);
    const double ours = time_of(
        t, [&] { cuda_launch(copy_kernel, cuda_blocks(n, COPIES * THREADS), THREADS, 0, t->stream, to, from, n); });
    const double runtimes =
        time_of(t, [&] { CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, t->stream)); });
    printf("copy of %zu MiB: %.0f GB/s by a kernel, %.0f by cudaMemcpy, read and written\n", bytes >> 20,
           2e-9 * (double)bytes / ours, 2e-9 * (double)bytes / runtimes);
    CUDA_CHECK(cudaFree(from));
    CUDA_CHECK(cudaFree(to));
    return 2 * (double)bytes / std::min(ours, runtimes);
}

} // namespace bench
