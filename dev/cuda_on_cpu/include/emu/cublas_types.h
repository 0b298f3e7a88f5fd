#ifndef EMU_CUBLAS_TYPES_H
#define EMU_CUBLAS_TYPES_H

#include "../cuda_bf16.h"

/* What cublas_v2.h and cublasLt.h share, with cuBLAS's numbers. */

#define EMU_STATUSES(X)                                                                                                \
    X(CUBLAS_STATUS_SUCCESS, 0)                                                                                        \
    X(CUBLAS_STATUS_NOT_INITIALIZED, 1)                                                                                \
    X(CUBLAS_STATUS_ALLOC_FAILED, 3)                                                                                   \
    X(CUBLAS_STATUS_INVALID_VALUE, 7)                                                                                  \
    X(CUBLAS_STATUS_ARCH_MISMATCH, 8)                                                                                  \
    X(CUBLAS_STATUS_MAPPING_ERROR, 11)                                                                                 \
    X(CUBLAS_STATUS_EXECUTION_FAILED, 13)                                                                              \
    X(CUBLAS_STATUS_INTERNAL_ERROR, 14)                                                                                \
    X(CUBLAS_STATUS_NOT_SUPPORTED, 15)

#define EMU_ENUM(NAME, NUMBER) NAME = NUMBER,
enum cublasStatus_t { EMU_STATUSES(EMU_ENUM) };
#undef EMU_ENUM

/* Like cuBLAS's: the name of the status. */
inline const char *cublasGetStatusString(cublasStatus_t status)
{
#define EMU_CASE(NAME, NUMBER)                                                                                         \
    if (status == NAME)                                                                                                \
        return #NAME;
    EMU_STATUSES(EMU_CASE)
#undef EMU_CASE
    return "<unknown>";
}
#undef EMU_STATUSES

enum cublasOperation_t { CUBLAS_OP_N, CUBLAS_OP_T };
enum cublasComputeType_t {
    CUBLAS_COMPUTE_32F = 68,
    CUBLAS_COMPUTE_32F_PEDANTIC = 69,
    CUBLAS_COMPUTE_32F_FAST_16BF = 75,
    CUBLAS_COMPUTE_32F_FAST_TF32 = 77
};
enum cudaDataType_t { CUDA_R_32F = 0, CUDA_R_64F = 1, CUDA_R_16F = 2, CUDA_R_16BF = 14 };
using cudaDataType = cudaDataType_t;

namespace emu {
/* enqueue, for functions of cuBLAS. */
inline cublasStatus_t cublas_enqueue(cudaStream_t stream, Work work)
{
    if (no_gpu() != cudaSuccess)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    return enqueue(stream, std::move(work)) == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}
} // namespace emu

#endif
