#ifndef EMU_CUBLAS_TYPES_H
#define EMU_CUBLAS_TYPES_H

#include <vector>

#include "../cuda_bf16.h"

extern "C" {
#include "base/matmul.h"
}

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
    if (device_error() != cudaSuccess)
        return sticky_error == cudaSuccess ? CUBLAS_STATUS_NOT_INITIALIZED : CUBLAS_STATUS_EXECUTION_FAILED;
    return enqueue(stream, std::move(work)) == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

/* The default workspace of a handle: the table under cublasSetWorkspace in cuBLAS's documentation; on a GPU smaller
 * than any real one a 64th of its memory. */
inline size_t workspace_bytes()
{
    const int major = gpu().major;
    const size_t documented = static_cast<size_t>(major == 9 || major == 10 ? 32 : major >= 12 ? 12 : 4) << 20;
    return std::min(documented, gpu().memory / 64);
}

/*
 * fp32 with the 10 bits of TF32's fraction. Round to nearest, halves away from zero: cvt.rna.tf32.f32, the conversion
 * that every GPU with TF32 has ("PTX ISA", cvt). Tensor cores given fp32 as it is read the upper bits alone: truncated.
 */
inline float to_tf32(float x)
{
    const unsigned bits = __float_as_uint(x), half = gpu().products.truncated ? 0 : 0x1000;
    return std::isfinite(x) ? __uint_as_float((bits + half) & ~0x1fffu) : x;
}

/* What becomes of fp32 operands on their way into tensor cores. */
inline void round_operand(std::vector<float> &x, cublasComputeType_t compute)
{
    for (float &value : x)
        if (compute == CUBLAS_COMPUTE_32F_FAST_TF32)
            value = to_tf32(value);
        else if (compute == CUBLAS_COMPUTE_32F_FAST_16BF)
            value = __nv_bfloat16(value);
}

/* Of each pointer the alignment up to `most`, as one number. */
inline uint64_t alignments(std::initializer_list<const void *> pointers, uintptr_t most)
{
    uint64_t all = 0;
    for (const void *p : pointers) {
        const uintptr_t bits = reinterpret_cast<uintptr_t>(p) | most;
        all = all * 31 + (bits & -bits);
    }
    return all;
}

/*
 * The product by an algorithm that depends on `choice`, where products vary: the sums are cut into two to five parts,
 * and it is never the first that is added first.
 */
inline void product_by_choice(const Matmul &whole, uint64_t choice)
{
    choice = (choice + 1) * 0x9E3779B97F4A7C15ull >> 61;
    const size_t parts = gpu().products.varied ? choice % 4 + 2 : 1, first = parts > 2 ? choice / 4 + 1 : parts - 1;
    for (size_t i = 0; i < parts; i++) {
        const size_t part = (first + i) % parts;
        const size_t begin = whole.k * part / parts, end = whole.k * (part + 1) / parts;
        Matmul p = whole;
        p.k = end - begin;
        p.a += begin * (p.trans_a ? p.lda : 1);
        p.b += begin * (p.trans_b ? 1 : p.ldb);
        p.beta = i == 0 ? whole.beta : 1;
        matmul(&p);
    }
}
} // namespace emu

#endif
