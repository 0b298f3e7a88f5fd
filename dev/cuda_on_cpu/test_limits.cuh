#ifndef TEST_LIMITS_CUH
#define TEST_LIMITS_CUH

#include "test_streams.cuh"

#include <sys/wait.h>
#include <unistd.h>

/* What hardware refuses or does in its own way: launches above a limit, memory in pages, traps, products. */

template <int N> __global__ void __launch_bounds__(N * 32, 2) bounded(float *x) { x[threadIdx.x] = N; }
__global__ static void __launch_bounds__(96) bounded_static(float *x) { x[threadIdx.x] = 96; }
__global__ void unbounded(float *x) { x[threadIdx.x] = 1; }
__global__ void with_static(float *x)
{
    __shared__ float s[1024];
    s[threadIdx.x] = dynamic_shared<float>()[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    x[threadIdx.x] = s[threadIdx.x ^ 1];
}
__global__ void trapping(float *x)
{
    if (threadIdx.x == 5)
        __trap();
    x[threadIdx.x] = 1;
}

inline cudaError_t launched(void (*kernel)(float *), unsigned threads, size_t dynamic_bytes, float *x)
{
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(1);
    config.blockDim = dim3(threads);
    config.dynamicSmemBytes = dynamic_bytes;
    const cudaError_t e = cudaLaunchKernelEx(&config, kernel, (float *)x);
    CUDA_CHECK(cudaDeviceSynchronize());
    cudaGetLastError();
    return e;
}

inline void test_launch_bounds(void)
{
    const Device<float> d(1024);
    check_error(launched(bounded<4>, 128, 0, d), cudaSuccess, "128 of 128 threads");
    check(launched(bounded<4>, 129, 0, d) != cudaSuccess, "129 of 128 threads");
    check(launched(bounded<2>, 128, 0, d) != cudaSuccess, "128 of 64 threads");
    check_error(launched(bounded_static, 96, 0, d), cudaSuccess, "96 of 96 threads");
    check(launched(bounded_static, 97, 0, d) != cudaSuccess, "97 of 96 threads");
    check_error(launched(unbounded, 1024, 0, d), cudaSuccess, "1024 threads without bounds");
}

#if defined(CUDA_ON_CPU) && (defined(EMU_ASAN) || defined(EMU_TSAN))
constexpr bool STATIC_ARRAYS_ARE_KNOWN = false;
#else
constexpr bool STATIC_ARRAYS_ARE_KNOWN = true;
#endif

/* 4 KiB of static shared memory, and how much dynamic with it. */
inline void test_shared_limit(void)
{
    const Device<float> d(1024);
    int most = 0;
    CUDA_CHECK(cudaMemset(d, 0, 4096));
    if (!STATIC_ARRAYS_ARE_KNOWN) {
        check_skip("under a sanitizer static shared arrays are as other static ones");
        return;
    }
    check_error(launched(with_static, 64, 44 << 10, d), cudaSuccess, "48 KiB together");
    check(launched(with_static, 64, (44 << 10) + 4, d) != cudaSuccess, "48 KiB and 4 bytes together");
    CUDA_CHECK(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0));
    const cudaFuncAttribute attribute = cudaFuncAttributeMaxDynamicSharedMemorySize;
    check(cudaFuncSetAttribute(with_static, attribute, most - 4096 + 1) != cudaSuccess, "a byte too many asked for");
    cudaGetLastError();
    CUDA_CHECK(cudaFuncSetAttribute(with_static, attribute, most - 4096));
    check_error(launched(with_static, 64, size_t(most) - 4096, d), cudaSuccess, "all of it");
    CUDA_CHECK(cudaFuncSetAttribute(with_static, attribute, 44 << 10));
}

#ifdef CUDA_ON_CPU
inline void test_images(void)
{
    const Device<float> d(1024);
    const struct {
        const char *archs, *capability;
        bool runs;
    } images[] = {
        {"75 80 90", "7.0", false}, {"75 80 90", "7.5", true}, {"75 80 90", "8.9", true}, {"75 80 90", "10.0", true},
        {"75 90", "8.6", false},    {"86", "8.0", false},      {"86", "8.9", true},       {"86", "12.0", true},
    };
    for (const auto &image : images) {
        const Simulated arch("CUDA_ON_CPU_ARCH", image.archs), gpu("CUDA_ON_CPU_CAPABILITY", image.capability);
        const cudaError_t want = image.runs ? cudaSuccess : cudaErrorNoKernelImageForDevice;
        cudaFuncAttributes attributes;
        check_error(launched(unbounded, 32, 0, d), want, image.capability);
        check_error(cudaFuncGetAttributes(&attributes, unbounded), want, "attributes");
        check_error(cudaFuncSetAttribute(unbounded, cudaFuncAttributeMaxDynamicSharedMemorySize, 1024), want, "asking");
    }
    cudaGetLastError();
}

inline void test_granular_memory(void)
{
    const Simulated small("CUDA_ON_CPU_MEMORY", "67108864");
    const auto left = [] {
        size_t bytes, total;
        CUDA_CHECK(cudaMemGetInfo(&bytes, &total));
        return bytes;
    };
    const size_t page = 2 << 20, before = left();
    {
        const Device<char> one(1);
        check(left() == before - page, "one byte takes %zu", before - left());
        const Device<char> most_of_it(page / 2 - 1), rest(page / 2 - 512);
        check(left() == before - page, "a page in three pieces takes %zu", before - left());
        const Device<char> more(1);
        check(left() == before - 2 * page, "a byte more takes %zu", before - left());
        const Device<char> large(page + 1);
        check(left() == before - 4 * page, "a page and a byte takes %zu", before - left());
        cublasHandle_t handle;
        const Device<char> rest_of_all(left());
        check(cublasCreate(&handle) == CUBLAS_STATUS_ALLOC_FAILED && !handle, "a handle finds memory");
    }
    check(left() == before, "%zu of %zu are left", left(), before);
    for (const char *capability : {"8.0", "9.0"}) {
        const Simulated hopper("CUDA_ON_CPU_CAPABILITY", capability), large("CUDA_ON_CPU_MEMORY", "4294967296");
        const size_t most = left(), workspace = *capability == '9' ? 32 << 20 : 4 << 20;
        cublasHandle_t handle;
        check(cublasCreate(&handle) == CUBLAS_STATUS_SUCCESS, "no handle");
        check(most - left() == workspace, "cuBLAS takes %zu", most - left());
        cublasDestroy(handle);
        check(left() == most, "cuBLAS keeps %zu", most - left());
    }
}

/* By hand: 2^-10 is the last bit of the fraction, 2^-11 half of it. */
inline void test_tf32(void)
{
    const struct {
        float x, rounded, truncated;
    } cases[] = {
        {1.0f + 0x1p-10f, 1.0f + 0x1p-10f, 1.0f + 0x1p-10f},
        {1.0f + 0x1p-11f, 1.0f + 0x1p-10f, 1.0f},
        {1.0f + 0x1p-11f - 0x1p-23f, 1.0f, 1.0f},
        {-1.0f - 0x3p-11f, -1.0f - 0x1p-9f, -1.0f - 0x1p-10f},
        {2.0f - 0x1p-23f, 2.0f, 2.0f - 0x1p-10f},
        {0.0f, 0.0f, 0.0f},
    };
    cublasHandle_t handle;
    const float one = 1, zero = 0;
    check(cublasCreate(&handle) == CUBLAS_STATUS_SUCCESS, "no handle");
    const Device<float> a(1), b(std::vector<float>{1}), c(1);
    const auto product = [&](float x, cublasMath_t math) {
        CUDA_CHECK(cudaMemcpy(a, &x, sizeof x, cudaMemcpyHostToDevice));
        cublasSetMathMode(handle, math);
        check(cublasSgemm(handle, CUBLAS_OP_N, CUBLAS_OP_N, 1, 1, 1, &one, a, 1, b, 1, &zero, c, 1) ==
                  CUBLAS_STATUS_SUCCESS,
              "no product");
        return c.read()[0];
    };
    for (const auto &t : cases) {
        check_close(product(t.x, CUBLAS_DEFAULT_MATH), t.x, 0, "fp32");
        check_close(product(t.x, CUBLAS_TF32_TENSOR_OP_MATH), t.rounded, 0, "TF32");
        {
            const Simulated dropping("CUDA_ON_CPU_CUBLAS", "truncated");
            check_close(product(t.x, CUBLAS_TF32_TENSOR_OP_MATH), t.truncated, 0, "TF32, truncated");
        }
        const Simulated turing("CUDA_ON_CPU_CAPABILITY", "7.5");
        check_close(product(t.x, CUBLAS_TF32_TENSOR_OP_MATH), t.x, 0, "TF32 on a GPU without it");
    }
    check(std::isinf(product(INFINITY, CUBLAS_TF32_TENSOR_OP_MATH)), "infinity in TF32");
    cublasDestroy(handle);
}

/* The same sums by other algorithms: near the sums in double, with other bits by alignment and by beta. */
inline void test_varied_products(void)
{
    const int k = 999;
    const Simulated varied("CUDA_ON_CPU_CUBLAS", "varied");
    std::vector<float> x = random_floats(k + 4), y = random_floats(k);
    cublasHandle_t handle;
    const float one = 1;
    check(cublasCreate(&handle) == CUBLAS_STATUS_SUCCESS, "no handle");
    const Device<float> a(k + 4), b(y), c(4);
    std::vector<float> results;
    for (int offset = 0; offset < 4; offset++)
        for (float beta : {0.0f, 1.0f}) {
            double sum = 0, sizes = 0;
            CUDA_CHECK(cudaMemset(c, 0, 16));
            CUDA_CHECK(cudaMemcpy(a + offset, x.data(), k * sizeof(float), cudaMemcpyHostToDevice));
            check(cublasSgemm(handle, CUBLAS_OP_N, CUBLAS_OP_N, 1, 1, k, &one, a + offset, 1, b, k, &beta, c, 1) ==
                      CUBLAS_STATUS_SUCCESS,
                  "no product");
            for (int i = 0; i < k; i++) {
                sum += value(x[size_t(i)]) * value(y[size_t(i)]);
                sizes += std::fabs(value(x[size_t(i)]) * value(y[size_t(i)]));
            }
            results.push_back(c.read()[0]);
            check_close(results.back(), sum, k * FP32 * sizes, "a varied product");
        }
    cublasDestroy(handle);
    check(results[0] != results[1] || results[2] != results[3], "the same bits with and without beta");
    check(results[0] != results[2] || results[0] != results[4], "the same bits at 16, 4 and 8 bytes");
}

inline void test_fast_gelu(void)
{
    double worst = 0;
    for (float x = -6; x < 6; x += 0.01f) {
        const double exact = std::tanh(std::sqrt(2 / M_PI) * (value(x) + 0.044715 * std::pow(value(x), 3)));
        const Simulated fast("CUDA_ON_CPU_CUBLAS", "fast");
        const double t = value(emu::gelu_tanh(x));
        worst = std::max(worst, exact == 0 ? 0 : std::fabs(t / exact - 1));
        check(std::fabs(t) <= 1, "tanh is %g", t);
    }
    check(worst > 0x1p-12 && worst < 0x1.01p-11, "fast GELUs are off by %g", worst);
}

/* In a process of its own, since nothing works after it. */
inline int status_after_trap(void)
{
    const Device<float> d(64);
    cudaLaunchConfig_t config = {};
    cublasHandle_t handle;
    float one = 1, *p = nullptr;
    config.gridDim = dim3(2);
    config.blockDim = dim3(64);
    cublasCreate(&handle);
    if (cudaLaunchKernelEx(&config, trapping, (float *)d) != cudaSuccess)
        return 1;
    const cudaError_t e = cudaErrorLaunchFailure;
    if (cudaDeviceSynchronize() != e || cudaGetLastError() != e || cudaGetLastError() != e ||
        cudaPeekAtLastError() != e)
        return 2;
    if (cudaMalloc(&p, 4) != e || cudaMemcpy(&one, d, 4, cudaMemcpyDeviceToHost) != e || cudaFree(d) != e ||
        cudaStreamSynchronize(nullptr) != e || cudaLaunchKernelEx(&config, unbounded, (float *)d) != e)
        return 3;
    return cublasSgemm(handle, CUBLAS_OP_N, CUBLAS_OP_N, 1, 1, 1, &one, d, 1, d, 1, &one, d, 1) ==
                   CUBLAS_STATUS_EXECUTION_FAILED
               ? 0
               : 4;
}
inline void test_trap(void)
{
    int status = -1;
    fflush(nullptr);
    const pid_t child = fork();
    if (child == 0)
        _exit(status_after_trap());
    waitpid(child, &status, 0);
    check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "after a trap: %d", WEXITSTATUS(status));
}
#endif

#endif
