#ifndef CUDA_ON_CPU_CUSOLVERDN_H
#define CUDA_ON_CPU_CUSOLVERDN_H

#include <cmath>
#include <vector>

#include "cublas_v2.h"

extern "C" {
#include "base/eigh.h"
}

/*
 * cusolverDn.h, emulated: eigenvectors of symmetric matrices by the project's own eigh(), and QR by Householder
 * reflections as LAPACK stores them, in double. Matrices are column-major. Operands that reach past their device memory
 * end the process. Workspaces are asked for and checked, and filled with garbage, as they would be used.
 */

enum cusolverStatus_t {
    CUSOLVER_STATUS_SUCCESS = 0,
    CUSOLVER_STATUS_NOT_INITIALIZED = 1,
    CUSOLVER_STATUS_ALLOC_FAILED = 2,
    CUSOLVER_STATUS_INVALID_VALUE = 3,
    CUSOLVER_STATUS_NOT_SUPPORTED = 9
};
enum cusolverEigMode_t { CUSOLVER_EIG_MODE_NOVECTOR = 0, CUSOLVER_EIG_MODE_VECTOR = 1 };
enum cublasFillMode_t { CUBLAS_FILL_MODE_LOWER = 0, CUBLAS_FILL_MODE_UPPER = 1 };

struct emu_cusolver {
    cudaStream_t stream;
    emu::LibraryMemory workspace; /* of the cuBLAS within */
};
struct emu_cusolver_params {};
typedef emu_cusolver *cusolverDnHandle_t;
typedef emu_cusolver_params *cusolverDnParams_t;

inline cusolverStatus_t cusolverDnCreate(cusolverDnHandle_t *handle)
{
    *handle = new emu_cusolver{nullptr, emu::LibraryMemory(emu::workspace_bytes())};
    if ((*handle)->workspace.bytes > 0)
        return CUSOLVER_STATUS_SUCCESS;
    delete *handle;
    *handle = nullptr;
    return CUSOLVER_STATUS_ALLOC_FAILED;
}
inline cusolverStatus_t cusolverDnDestroy(cusolverDnHandle_t handle)
{
    delete handle;
    return handle ? CUSOLVER_STATUS_SUCCESS : CUSOLVER_STATUS_NOT_INITIALIZED;
}
inline cusolverStatus_t cusolverDnSetStream(cusolverDnHandle_t handle, cudaStream_t stream)
{
    if (!handle)
        return CUSOLVER_STATUS_NOT_INITIALIZED;
    handle->stream = stream;
    return CUSOLVER_STATUS_SUCCESS;
}
inline cusolverStatus_t cusolverDnCreateParams(cusolverDnParams_t *params)
{
    *params = new emu_cusolver_params;
    return CUSOLVER_STATUS_SUCCESS;
}
inline cusolverStatus_t cusolverDnDestroyParams(cusolverDnParams_t params)
{
    delete params;
    return params ? CUSOLVER_STATUS_SUCCESS : CUSOLVER_STATUS_NOT_INITIALIZED;
}

namespace emu {

/* enqueue, for functions of cuSOLVER. */
inline cusolverStatus_t cusolver_enqueue(cusolverDnHandle_t handle, Work work)
{
    return enqueue(handle->stream, std::move(work)) == cudaSuccess ? CUSOLVER_STATUS_SUCCESS
                                                                   : CUSOLVER_STATUS_NOT_INITIALIZED;
}

inline void check_memory(const char *function, const char *name, const void *p, size_t bytes)
{
    if (bytes_left(device_memory, p) < bytes)
        fail("%s: %s has %zu bytes, but the device memory at %p has %zu", function, name, bytes, p,
             bytes_left(device_memory, p));
}

/* A workspace is garbage before and after. */
inline void use_workspace(const char *function, void *p, size_t bytes, size_t needed)
{
    if (bytes < needed)
        fail("%s: a workspace of %zu bytes where %zu were asked for", function, bytes, needed);
    check_memory(function, "the workspace", p, bytes);
    memset(p, GARBAGE, bytes);
}

/* Sizes that are no multiples of anything, so that a caller cannot guess them. */
inline size_t syev_bytes(int64_t n, int64_t batch) { return static_cast<size_t>(batch * (8 * n + 40) + 24); }
inline int qr_doubles(int m, int n) { return m + 3 * n + 5; }

} // namespace emu

inline cusolverStatus_t cusolverDnXsyevBatched_bufferSize(cusolverDnHandle_t handle, cusolverDnParams_t params,
                                                          cusolverEigMode_t, cublasFillMode_t, int64_t n, cudaDataType,
                                                          const void *, int64_t lda, cudaDataType, const void *,
                                                          cudaDataType, size_t *device_bytes, size_t *host_bytes,
                                                          int64_t batch)
{
    if (!handle || !params)
        return CUSOLVER_STATUS_NOT_INITIALIZED;
    if (n < 0 || lda < max<int64_t>(1, n) || batch < 1)
        return CUSOLVER_STATUS_INVALID_VALUE;
    *device_bytes = emu::syev_bytes(n, batch);
    *host_bytes = 40;
    return CUSOLVER_STATUS_SUCCESS;
}

/* The columns of each A become the eigenvectors, W the eigenvalues, ascending. info[i]: 0, or positive where the
 * iteration of matrix i does not converge. Of A one triangle is read. */
inline cusolverStatus_t cusolverDnXsyevBatched(cusolverDnHandle_t handle, cusolverDnParams_t params,
                                               cusolverEigMode_t jobz, cublasFillMode_t uplo, int64_t n,
                                               cudaDataType type, void *A, int64_t lda, cudaDataType type_w, void *W,
                                               cudaDataType type_compute, void *device_buffer, size_t device_bytes,
                                               void *host_buffer, size_t host_bytes, int *info, int64_t batch)
{
    const char *name = "cusolverDnXsyevBatched";
    if (!handle || !params)
        return CUSOLVER_STATUS_NOT_INITIALIZED;
    if (n < 0 || lda < max<int64_t>(1, n) || batch < 1 || host_bytes < 40 || !host_buffer)
        return CUSOLVER_STATUS_INVALID_VALUE;
    if (type != CUDA_R_64F || type_w != CUDA_R_64F || type_compute != CUDA_R_64F || jobz != CUSOLVER_EIG_MODE_VECTOR)
        return CUSOLVER_STATUS_NOT_SUPPORTED;
    const size_t order = static_cast<size_t>(n), count = static_cast<size_t>(batch);
    emu::check_memory(name, "A", A, static_cast<size_t>((batch - 1) * lda * n + (n - 1) * lda + n) * sizeof(double));
    emu::check_memory(name, "W", W, order * count * sizeof(double));
    emu::check_memory(name, "info", info, count * sizeof(int));
    memset(host_buffer, emu::GARBAGE, host_bytes);
    return emu::cusolver_enqueue(handle, [=] {
        emu::DeviceWork device_work;
        emu::use_workspace(name, device_buffer, device_bytes, emu::syev_bytes(n, batch));
        std::vector<double> a(order * order), work(eigh_work(order));
        for (size_t b = 0; b < count; b++) {
            double *matrix = static_cast<double *>(A) + b * static_cast<size_t>(lda) * order;
            for (size_t j = 0; j < order; j++)
                for (size_t i = 0; i < order; i++) {
                    const bool swap = uplo == CUBLAS_FILL_MODE_LOWER ? i < j : i > j;
                    a[j * order + i] = matrix[(swap ? i : j) * static_cast<size_t>(lda) + (swap ? j : i)];
                }
            info[b] = eigh(a.data(), static_cast<double *>(W) + b * order, order, work.data()) == 0 ? 0 : 1;
            for (size_t j = 0; j < order; j++)
                memcpy(matrix + j * static_cast<size_t>(lda), a.data() + j * order, order * sizeof(double));
        }
    });
}

inline cusolverStatus_t cusolverDnDgeqrf_bufferSize(cusolverDnHandle_t handle, int m, int n, double *, int lda,
                                                    int *doubles)
{
    if (!handle)
        return CUSOLVER_STATUS_NOT_INITIALIZED;
    *doubles = emu::qr_doubles(m, n);
    return m < 0 || n < 0 || lda < max(1, m) ? CUSOLVER_STATUS_INVALID_VALUE : CUSOLVER_STATUS_SUCCESS;
}
inline cusolverStatus_t cusolverDnDorgqr_bufferSize(cusolverDnHandle_t handle, int m, int n, int, const double *,
                                                    int lda, const double *, int *doubles)
{
    return cusolverDnDgeqrf_bufferSize(handle, m, n, nullptr, lda, doubles);
}

namespace emu {
/* x -= factor (v . x) v, v[0] being 1. */
inline void reflect(double *x, const double *v, int length, double factor)
{
    double sum = x[0];
    for (int i = 1; i < length; i++)
        sum += v[i] * x[i];
    x[0] -= factor * sum;
    for (int i = 1; i < length; i++)
        x[i] -= factor * sum * v[i];
}
} // namespace emu

/* A = Q R: R above and on the diagonal, below it the vectors v of the reflections I - tau v v^T, whose v[0] is 1
 * (LAPACK's dgeqrf). */
inline cusolverStatus_t cusolverDnDgeqrf(cusolverDnHandle_t handle, int m, int n, double *A, int lda, double *tau,
                                         double *work, int doubles, int *info)
{
    const char *name = "cusolverDnDgeqrf";
    if (!handle)
        return CUSOLVER_STATUS_NOT_INITIALIZED;
    if (m < 0 || n < 0 || lda < max(1, m))
        return CUSOLVER_STATUS_INVALID_VALUE;
    emu::check_memory(name, "A", A, static_cast<size_t>((n - 1) * lda + m) * sizeof(double));
    emu::check_memory(name, "tau", tau, static_cast<size_t>(min(m, n)) * sizeof(double));
    emu::check_memory(name, "info", info, sizeof(int));
    return emu::cusolver_enqueue(handle, [=] {
        emu::DeviceWork device_work;
        emu::use_workspace(name, work, static_cast<size_t>(doubles) * sizeof(double),
                           static_cast<size_t>(emu::qr_doubles(m, n)) * sizeof(double));
        for (int j = 0; j < min(m, n); j++) {
            double *v = A + static_cast<size_t>(j) * lda + j, tail = 0;
            for (int i = 1; i < m - j; i++)
                tail += v[i] * v[i];
            tau[j] = 0;
            if (tail == 0)
                continue;
            const double head = v[0], length = sqrt(head * head + tail), diagonal = head > 0 ? -length : length;
            tau[j] = (diagonal - head) / diagonal;
            for (int i = 1; i < m - j; i++)
                v[i] /= head - diagonal;
            for (int k = j + 1; k < n; k++)
                emu::reflect(A + static_cast<size_t>(k) * lda + j, v, m - j, tau[j]);
            v[0] = diagonal;
        }
        *info = 0;
    });
}

/* The first n columns of the product of k reflections that Dgeqrf left in A (LAPACK's dorgqr). */
inline cusolverStatus_t cusolverDnDorgqr(cusolverDnHandle_t handle, int m, int n, int k, double *A, int lda,
                                         const double *tau, double *work, int doubles, int *info)
{
    const char *name = "cusolverDnDorgqr";
    if (!handle)
        return CUSOLVER_STATUS_NOT_INITIALIZED;
    if (m < 0 || n < 0 || n > m || k < 0 || k > n || lda < max(1, m))
        return CUSOLVER_STATUS_INVALID_VALUE;
    emu::check_memory(name, "A", A, static_cast<size_t>((n - 1) * lda + m) * sizeof(double));
    emu::check_memory(name, "tau", tau, static_cast<size_t>(k) * sizeof(double));
    emu::check_memory(name, "info", info, sizeof(int));
    return emu::cusolver_enqueue(handle, [=] {
        emu::DeviceWork device_work;
        emu::use_workspace(name, work, static_cast<size_t>(doubles) * sizeof(double),
                           static_cast<size_t>(emu::qr_doubles(m, n)) * sizeof(double));
        std::vector<double> q(static_cast<size_t>(m) * static_cast<size_t>(n));
        for (int j = 0; j < n; j++) {
            double *column = q.data() + static_cast<size_t>(j) * m;
            column[j] = 1;
            for (int i = k; i-- > 0;)
                emu::reflect(column + i, A + static_cast<size_t>(i) * lda + i, m - i, tau[i]);
        }
        for (int j = 0; j < n; j++)
            memcpy(A + static_cast<size_t>(j) * lda, q.data() + static_cast<size_t>(j) * m,
                   static_cast<size_t>(m) * sizeof(double));
        *info = 0;
    });
}

#endif
