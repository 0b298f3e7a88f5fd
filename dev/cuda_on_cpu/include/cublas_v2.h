#ifndef CUDA_ON_CPU_CUBLAS_V2_H
#define CUDA_ON_CPU_CUBLAS_V2_H

#include "emu/cublas_types.h"

/*
 * cublas_v2.h, emulated: products of fp32 and bf16, computed in fp32 by the project's own matmul(), and of fp64 by
 * three loops. Matrices are column-major; scalars are the host's (cuBLAS's default pointer mode). Wrong leading
 * dimensions get cuBLAS's status; operands that reach past their device memory end the process, as a GPU would not be
 * so kind to do.
 */

enum cublasMath_t {
    CUBLAS_DEFAULT_MATH = 0,
    CUBLAS_PEDANTIC_MATH = 2,
    CUBLAS_TF32_TENSOR_OP_MATH = 3,
    CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION = 16
};
enum cublasGemmAlgo_t { CUBLAS_GEMM_DEFAULT = -1 };

struct emu_cublas {
    cudaStream_t stream;
    cublasMath_t math;
    emu::LibraryMemory workspace;
};
typedef emu_cublas *cublasHandle_t;

inline cublasStatus_t cublasCreate(cublasHandle_t *handle)
{
    *handle = nullptr;
    if (emu::device_error() != cudaSuccess)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    *handle = new emu_cublas{nullptr, CUBLAS_DEFAULT_MATH, emu::LibraryMemory(emu::workspace_bytes())};
    if ((*handle)->workspace.bytes > 0)
        return CUBLAS_STATUS_SUCCESS;
    delete *handle;
    *handle = nullptr;
    return CUBLAS_STATUS_ALLOC_FAILED;
}
inline cublasStatus_t cublasDestroy(cublasHandle_t handle)
{
    delete handle;
    return handle ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_INITIALIZED;
}
inline cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream)
{
    if (!handle)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    handle->stream = stream;
    return CUBLAS_STATUS_SUCCESS;
}
inline cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode)
{
    if (!handle)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    handle->math = mode;
    return CUBLAS_STATUS_SUCCESS;
}
inline cublasStatus_t cublasSetWorkspace(cublasHandle_t handle, void *workspace, size_t bytes)
{
    if (!handle)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    return bytes == 0 || emu::is_range(workspace, bytes, true) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

namespace emu {

/* `batch` column-major matrices as stored. */
template <class T> struct Matrices {
    const T *p;
    long long rows, cols, ld, stride;

    size_t size(long long batch) const
    {
        return static_cast<size_t>((batch - 1) * stride + (cols - 1) * ld + rows);
    }
};
using Operand = Matrices<float>;

template <class T> inline void check_operand(const char *name, const Matrices<T> &x, long long batch)
{
    if (bytes_left(device_memory, x.p) < x.size(batch) * sizeof(T))
        fail("cublas gemm: %s has %zu elements of %zu bytes, %lld x %lld with ld %lld in %lld matrices, but the device "
             "memory at %p has %zu bytes", name, x.size(batch), sizeof(T), x.rows, x.cols, x.ld, batch,
             static_cast<const void *>(x.p), bytes_left(device_memory, x.p));
}

/* Checks what cuBLAS would and what it would not. */
template <class T>
inline cublasStatus_t check_product(const Matrices<T> &a, const Matrices<T> &b, const Matrices<T> &c, int k,
                                    const void *alpha, const void *beta, int batch)
{
    if (c.rows < 0 || c.cols < 0 || k < 0 || batch < 0 || a.ld < max(1LL, a.rows) || b.ld < max(1LL, b.rows) ||
        c.ld < max(1LL, c.rows) || a.stride < 0 || b.stride < 0 || c.stride < 0 || !alpha || !beta)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (c.rows == 0 || c.cols == 0 || batch == 0)
        return CUBLAS_STATUS_SUCCESS;
    if (batch > 1 && c.stride < c.ld * (c.cols - 1) + c.rows)
        fail("cublas gemm: the matrices of C overlap: stride %lld, ld %lld, %lld columns", c.stride, c.ld, c.cols);
    check_operand("C", c, batch);
    if (k > 0) {
        check_operand("A", a, batch);
        check_operand("B", b, batch);
    }
    return CUBLAS_STATUS_SUCCESS;
}

/* What is column-major m x n is row-major n x m: C^T = op(B)^T op(A)^T. */
inline Matmul row_major(bool trans_a, bool trans_b, int k, float alpha, Operand a, Operand b, float beta, Operand c,
                        float *out)
{
    Matmul p = {};
    p.m = static_cast<size_t>(c.cols);
    p.n = static_cast<size_t>(c.rows);
    p.k = static_cast<size_t>(k);
    p.trans_a = trans_b;
    p.trans_b = trans_a;
    p.alpha = alpha;
    p.beta = beta;
    p.a = b.p;
    p.lda = static_cast<size_t>(b.ld);
    p.stride_a = static_cast<size_t>(b.stride);
    p.b = a.p;
    p.ldb = static_cast<size_t>(a.ld);
    p.stride_b = static_cast<size_t>(a.stride);
    p.c = out;
    p.ldc = static_cast<size_t>(c.ld);
    p.stride_c = static_cast<size_t>(c.stride);
    return p;
}

} // namespace emu

/* C = alpha op(A) op(B) + beta C for each of `batch`: op(A) is m x k, op(B) k x n. With beta = 0, C is not read. */
inline cublasStatus_t cublasSgemmStridedBatched(cublasHandle_t handle, cublasOperation_t transa,
                                                cublasOperation_t transb, int m, int n, int k, const float *alpha,
                                                const float *A, int lda, long long strideA, const float *B, int ldb,
                                                long long strideB, const float *beta, float *C, int ldc,
                                                long long strideC, int batch)
{
    if (!handle)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    const bool ta = transa != CUBLAS_OP_N, tb = transb != CUBLAS_OP_N;
    const emu::Operand a = {A, ta ? k : m, ta ? m : k, lda, strideA}, b = {B, tb ? n : k, tb ? k : n, ldb, strideB};
    const emu::Operand c = {C, m, n, ldc, strideC};
    const cublasStatus_t status = emu::check_product(a, b, c, k, alpha, beta, batch);
    if (status != CUBLAS_STATUS_SUCCESS || m == 0 || n == 0 || batch == 0)
        return status;
    Matmul product = emu::row_major(ta, tb, k, *alpha, a, b, *beta, c, C);
    product.batch = static_cast<size_t>(batch);
    const bool tf32 = handle->math == CUBLAS_TF32_TENSOR_OP_MATH && emu::gpu().major >= 8;
    const uint64_t choice = emu::alignments({A, B, C}, 16) + (*beta == 0);
    return emu::cublas_enqueue(handle->stream, [=] {
        emu::DeviceWork work;
        Matmul rounded = product;
        std::vector<float> wide_a, wide_b;
        if (tf32 && k > 0) {
            wide_a.assign(A, A + a.size(batch));
            wide_b.assign(B, B + b.size(batch));
            emu::round_operand(wide_a, CUBLAS_COMPUTE_32F_FAST_TF32);
            emu::round_operand(wide_b, CUBLAS_COMPUTE_32F_FAST_TF32);
            rounded.a = wide_b.data();
            rounded.b = wide_a.data();
        }
        emu::product_by_choice(rounded, choice);
    });
}

inline cublasStatus_t cublasSgemm(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m,
                                  int n, int k, const float *alpha, const float *A, int lda, const float *B, int ldb,
                                  const float *beta, float *C, int ldc)
{
    return cublasSgemmStridedBatched(handle, transa, transb, m, n, k, alpha, A, lda, 0, B, ldb, 0, beta, C, ldc, 0, 1);
}

namespace emu {

inline std::vector<float> widened(const Matrices<__nv_bfloat16> &x, long long batch)
{
    std::vector<float> floats(x.size(batch));
    for (size_t i = 0; i < floats.size(); i++)
        floats[i] = x.p[i];
    return floats;
}

} // namespace emu

/* The same with A, B and C in bf16, summed in fp32: C is rounded once. */
inline cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t handle, cublasOperation_t transa,
                                                 cublasOperation_t transb, int m, int n, int k, const void *alpha,
                                                 const void *A, cudaDataType type_a, int lda, long long strideA,
                                                 const void *B, cudaDataType type_b, int ldb, long long strideB,
                                                 const void *beta, void *C, cudaDataType type_c, int ldc,
                                                 long long strideC, int batch, cublasComputeType_t compute,
                                                 cublasGemmAlgo_t)
{
    if (!handle)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    if (type_a != CUDA_R_16BF || type_b != CUDA_R_16BF || type_c != CUDA_R_16BF || compute != CUBLAS_COMPUTE_32F)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    const bool ta = transa != CUBLAS_OP_N, tb = transb != CUBLAS_OP_N;
    using Half = __nv_bfloat16;
    const emu::Matrices<Half> a = {static_cast<const Half *>(A), ta ? k : m, ta ? m : k, lda, strideA};
    const emu::Matrices<Half> b = {static_cast<const Half *>(B), tb ? n : k, tb ? k : n, ldb, strideB};
    const emu::Matrices<Half> c = {static_cast<const Half *>(C), m, n, ldc, strideC};
    const cublasStatus_t status = emu::check_product(a, b, c, k, alpha, beta, batch);
    if (status != CUBLAS_STATUS_SUCCESS || m == 0 || n == 0 || batch == 0)
        return status;
    const float scale = *static_cast<const float *>(alpha), keep = *static_cast<const float *>(beta);
    return emu::cublas_enqueue(handle->stream, [=] {
        emu::DeviceWork work;
        const std::vector<float> wide_a = emu::widened(a, batch), wide_b = emu::widened(b, batch);
        std::vector<float> wide_c = emu::widened(c, batch);
        Matmul product = emu::row_major(ta, tb, k, scale, {wide_a.data(), a.rows, a.cols, a.ld, a.stride},
                                        {wide_b.data(), b.rows, b.cols, b.ld, b.stride}, keep,
                                        {wide_c.data(), c.rows, c.cols, c.ld, c.stride}, wide_c.data());
        product.batch = static_cast<size_t>(batch);
        emu::product_by_choice(product, emu::alignments({A, B, C}, 16) + (keep == 0));
        for (long long i = 0; i < batch * c.cols * c.rows; i++) {
            const long long at = i / (c.cols * c.rows) * c.stride + i / c.rows % c.cols * c.ld + i % c.rows;
            static_cast<Half *>(C)[at] = wide_c[static_cast<size_t>(at)];
        }
    });
}

/* The same in fp64. */
inline cublasStatus_t cublasDgemmStridedBatched(cublasHandle_t handle, cublasOperation_t transa,
                                                cublasOperation_t transb, int m, int n, int k, const double *alpha,
                                                const double *A, int lda, long long strideA, const double *B, int ldb,
                                                long long strideB, const double *beta, double *C, int ldc,
                                                long long strideC, int batch)
{
    if (!handle)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    const bool ta = transa != CUBLAS_OP_N, tb = transb != CUBLAS_OP_N;
    const emu::Matrices<double> a = {A, ta ? k : m, ta ? m : k, lda, strideA};
    const emu::Matrices<double> b = {B, tb ? n : k, tb ? k : n, ldb, strideB}, c = {C, m, n, ldc, strideC};
    const cublasStatus_t status = emu::check_product(a, b, c, k, alpha, beta, batch);
    if (status != CUBLAS_STATUS_SUCCESS)
        return status;
    const double scale = *alpha, keep = *beta;
    return emu::cublas_enqueue(handle->stream, [=] {
        emu::DeviceWork work;
        for (long long i = 0; i < static_cast<long long>(batch) * n * m; i++) {
            const long long index = i / (static_cast<long long>(n) * m), column = i / m % n, row = i % m;
            const double *x = A + index * strideA + row * (ta ? lda : 1);
            const double *y = B + index * strideB + column * (tb ? 1 : ldb);
            double sum = 0, *to = &C[index * strideC + column * ldc + row];
            for (long long p = 0; p < k; p++)
                sum += x[p * (ta ? 1 : lda)] * y[p * (tb ? ldb : 1)];
            *to = scale * sum + (keep != 0 ? keep * *to : 0);
        }
    });
}

#endif
