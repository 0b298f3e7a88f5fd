#ifndef CUDA_ON_CPU_CUBLAS_V2_H
#define CUDA_ON_CPU_CUBLAS_V2_H

#include "emu/cublas_types.h"

extern "C" {
#include "base/matmul.h"
}

/*
 * cublas_v2.h, emulated: fp32 products, computed by the project's own matmul(). Matrices are column-major; scalars are
 * the host's (cuBLAS's default pointer mode). Wrong leading dimensions get cuBLAS's status; operands that reach past
 * their device memory end the process, as a GPU would not be so kind to do.
 */

enum cublasMath_t { CUBLAS_DEFAULT_MATH = 0, CUBLAS_PEDANTIC_MATH = 2, CUBLAS_TF32_TENSOR_OP_MATH = 3 };

struct emu_cublas {
    cudaStream_t stream;
    cublasMath_t math; /* of no effect: products are fp32 in every mode */
};
typedef emu_cublas *cublasHandle_t;

inline cublasStatus_t cublasCreate(cublasHandle_t *handle)
{
    *handle = new emu_cublas{nullptr, CUBLAS_DEFAULT_MATH};
    return CUBLAS_STATUS_SUCCESS;
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
struct Operand {
    const float *p;
    long long rows, cols, ld, stride;
};

inline void check_operand(const char *name, const Operand &x, long long batch)
{
    const long long floats = (batch - 1) * x.stride + (x.cols - 1) * x.ld + x.rows;
    if (bytes_left(device_memory, x.p) < static_cast<size_t>(floats) * sizeof(float))
        fail("cublasSgemm: %s has %lld floats, %lld x %lld with ld %lld in %lld matrices, but the device memory at %p "
             "has %zu bytes", name, floats, x.rows, x.cols, x.ld, batch, static_cast<const void *>(x.p),
             bytes_left(device_memory, x.p));
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
    if (m < 0 || n < 0 || k < 0 || batch < 0 || lda < max(1LL, a.rows) || ldb < max(1LL, b.rows) || ldc < max(1, m) ||
        strideA < 0 || strideB < 0 || strideC < 0 || !alpha || !beta)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (m == 0 || n == 0 || batch == 0)
        return CUBLAS_STATUS_SUCCESS;
    if (batch > 1 && strideC < static_cast<long long>(ldc) * (n - 1) + m)
        emu::fail("cublasSgemmStridedBatched: the matrices of C overlap: stride %lld, ld %d, %d columns", strideC, ldc,
                  n);
    emu::check_operand("C", c, batch);
    if (k > 0) {
        emu::check_operand("A", a, batch);
        emu::check_operand("B", b, batch);
    }
    Matmul product = emu::row_major(ta, tb, k, *alpha, a, b, *beta, c, C);
    product.batch = static_cast<size_t>(batch);
    emu::DeviceWork work;
    matmul(&product);
    return CUBLAS_STATUS_SUCCESS;
}

inline cublasStatus_t cublasSgemm(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m,
                                  int n, int k, const float *alpha, const float *A, int lda, const float *B, int ldb,
                                  const float *beta, float *C, int ldc)
{
    return cublasSgemmStridedBatched(handle, transa, transb, m, n, k, alpha, A, lda, 0, B, ldb, 0, beta, C, ldc, 0, 1);
}

#endif
