#ifndef OPTIM_VERBS_BF16_PRODUCTS_CUH
#define OPTIM_VERBS_BF16_PRODUCTS_CUH

extern "C" {
#include "optim/verbs/verbs.h"
}

#include "base/cuda.cuh"

#include <cublasLt.h>

#include <array>
#include <cstdint>
#include <map>

/*
 * Batched products in bf16 by cuBLASLt, which cuBLAS proper offers only in place:
 *     to = alpha op(a) op(b) + beta plus,  summed in fp32.
 * Plans come from the library's heuristic and are kept. They have no workspace and so split no sum, lest the number of
 * matrices of a rank, and with it that of the ranks, choose how; few matrices may not fill a large device then, which
 * was not measured. A product that the library does not have ends the program.
 */
struct Bf16Plan {
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t a, b, to; /* ours: the library, column-major, is given b first */
    cublasLtMatmulAlgo_t algorithm;
};

/* The sides of a and b, how both are transposed, the batch, and the alignment. */
using Bf16Key = std::array<size_t, 7>;

struct Bf16Products {
    cublasLtHandle_t handle;
    std::map<Bf16Key, Bf16Plan> plans;
};

inline cublasLtMatrixLayout_t bf16_layout(Bf16s x)
{
    const int batch = (int)x.batch;
    const int64_t stride = (int64_t)(x.rows * x.cols);
    cublasLtMatrixLayout_t layout;
    CUBLAS_CHECK(cublasLtMatrixLayoutCreate(&layout, CUDA_R_16BF, x.cols, x.rows, (int64_t)x.cols));
    CUBLAS_CHECK(cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch, sizeof batch));
    CUBLAS_CHECK(
        cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof stride));
    return layout;
}

inline Bf16Plan bf16_plan(const Bf16Products *on, Bf16s a, bool transpose_a, Bf16s b, bool transpose_b, Bf16s to,
                          uint32_t alignment)
{
    const cublasOperation_t op_a = transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t op_b = transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    const uint32_t in_fp32 = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE; /* never in bf16 */
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t result;
    int count = 0;
    Bf16Plan plan = {NULL, bf16_layout(a), bf16_layout(b), bf16_layout(to), {}};
    CUBLAS_CHECK(cublasLtMatmulDescCreate(&plan.product, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(plan.product, CUBLASLT_MATMUL_DESC_TRANSA, &op_b, sizeof op_b));
    CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(plan.product, CUBLASLT_MATMUL_DESC_TRANSB, &op_a, sizeof op_a));
    CUBLAS_CHECK(cublasLtMatmulPreferenceCreate(&preference)); /* no workspace, unless told */
    CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &in_fp32,
                                                      sizeof in_fp32));
    for (cublasLtMatmulPreferenceAttributes_t operand :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
        CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(preference, operand, &alignment, sizeof alignment));
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(on->handle, plan.product, plan.b, plan.a, plan.to,
                                                                 plan.to, preference, 1, &result, &count);
    CUBLAS_CHECK(cublasLtMatmulPreferenceDestroy(preference));
    if (status != CUBLAS_STATUS_SUCCESS || count == 0 || result.state != CUBLAS_STATUS_SUCCESS) {
        char reason[192];
        snprintf(reason, sizeof reason, "cuBLASLt cannot multiply %zu x %zu%s by %zu x %zu%s in bf16, %zu at once",
                 a.rows, a.cols, transpose_a ? " transposed" : "", b.rows, b.cols, transpose_b ? " transposed" : "",
                 to.batch);
        cuda_fail(__FILE__, __LINE__, "product", reason);
    }
    plan.algorithm = result.algo;
    return plan;
}

inline Bf16Products *bf16_products_create(void)
{
    Bf16Products *on = new Bf16Products();
    CUBLAS_CHECK(cublasLtCreate(&on->handle));
    return on;
}

inline void bf16_products_free(Bf16Products *on)
{
    if (on == NULL)
        return;
    for (const auto &entry : on->plans) {
        CUBLAS_CHECK(cublasLtMatmulDescDestroy(entry.second.product));
        for (cublasLtMatrixLayout_t layout : {entry.second.a, entry.second.b, entry.second.to})
            CUBLAS_CHECK(cublasLtMatrixLayoutDestroy(layout));
    }
    CUBLAS_CHECK(cublasLtDestroy(on->handle));
    delete on;
}

/* What every matrix of a batch begins at is a multiple of the lowest bit of this, in bytes. */
inline uintptr_t bf16_begins(Bf16s x)
{
    return (uintptr_t)x.data | (x.batch > 1 ? x.rows * x.cols * sizeof(uint16_t) : 0);
}

inline void bf16_product(Bf16Products *on, cudaStream_t stream, Bf16s a, bool transpose_a, Bf16s b, bool transpose_b,
                         float alpha, float beta, Bf16s plus, Bf16s to)
{
    const uintptr_t bits = bf16_begins(a) | bf16_begins(b) | bf16_begins(plus) | bf16_begins(to) | 16;
    const uint32_t alignment = (uint32_t)(bits & -bits);
    const size_t transposed = (size_t)transpose_a | (size_t)transpose_b << 1;
    const Bf16Key key = {a.rows, a.cols, b.rows, b.cols, to.batch, transposed, alignment};
    auto place = on->plans.find(key);
    if (place == on->plans.end())
        place = on->plans.emplace(key, bf16_plan(on, a, transpose_a, b, transpose_b, to, alignment)).first;
    const Bf16Plan &plan = place->second;
    CUBLAS_CHECK(cublasLtMatmul(on->handle, plan.product, &alpha, b.data, plan.b, a.data, plan.a, &beta, plus.data,
                                plan.to, to.data, plan.to, &plan.algorithm, NULL, 0, stream));
}

#endif
