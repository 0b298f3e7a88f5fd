#ifndef TEST_SUPPORT_CUH
#define TEST_SUPPORT_CUH

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <cublasLt.h>
#include <cublas_v2.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

extern "C" {
#include "dev/tests/check.h"
}
#include "test_kernels.cuh"

/* Random numbers and device memory, for the tests. */

inline std::mt19937 generator;

inline std::vector<float> random_floats(size_t n)
{
    std::normal_distribution<float> normal;
    std::vector<float> v(n);
    for (float &x : v)
        x = normal(generator);
    return v;
}

inline std::vector<bf16> random_bf16(size_t n)
{
    std::vector<bf16> v(n);
    for (bf16 &x : v)
        x = __float2bfloat16_rn(std::normal_distribution<float>()(generator));
    return v;
}

inline double value(float x) { return double(x); }
inline double value(bf16 x) { return double(__bfloat162float(x)); }

/* n elements on the device, freed at the end of the scope. */
template <class T> struct Device {
    T *p = nullptr;
    size_t n;
    explicit Device(size_t count) : n(count) { CUDA_CHECK(cudaMalloc(&p, n * sizeof(T))); }
    explicit Device(const std::vector<T> &v) : Device(v.size())
    {
        CUDA_CHECK(cudaMemcpy(p, v.data(), n * sizeof(T), cudaMemcpyHostToDevice));
    }
    Device(const Device &) = delete;
    ~Device() { cudaFree(p); }
    operator T *() const { return p; }
    std::vector<T> read() const
    {
        std::vector<T> v(n);
        CUDA_CHECK(cudaMemcpy(v.data(), p, n * sizeof(T), cudaMemcpyDeviceToHost));
        return v;
    }
};

/* Rounding moves a number by at most this part of itself: bf16 has 8 bits, fp32 has 24. */
const double BF16 = 1.0 / (1 << 8), FP32 = 1.0 / (1 << 24);

#endif
