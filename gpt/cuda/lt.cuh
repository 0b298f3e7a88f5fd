#ifndef GPT_CUDA_LT_CUH
#define GPT_CUDA_LT_CUH

#include "base/cuda.cuh"

#include <cublasLt.h>

#include <array>
#include <map>

/*
 * Products of row-major matrices by cuBLASLt:  C = epilogue(op(A) op(B) + beta C),  accumulated in fp32. How a shape
 * is computed comes from the library's heuristic, not from timing, so that all runs choose alike, and is cached.
 */

enum LtEpilogue {
    LT_PLAIN,
    LT_BIAS,       /* + bias (n) */
    LT_BIAS_GELU,  /* aux (m,n) = the sum with the bias, C = gelu(aux) */
    LT_GELU_SLOPE, /* times the slope of the GELU at aux (m,n) */
};

/* op(A) is (m,k), op(B) (k,n); ld: row strides, in elements. A and B hold elements of type `input`, C, bias
 * and aux of type `output`. */
struct LtShape {
    size_t m, n, k;
    bool transpose_a, transpose_b;
    size_t lda, ldb, ldc;
    cudaDataType_t input, output;
    cublasComputeType_t compute;
    LtEpilogue epilogue;
};

struct LtPlan {
    bool found; /* the library can do it */
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t a, b, c; /* ours: the library, column-major, is given b first */
    cublasLtMatmulAlgo_t algorithm;
};

using LtKey = std::array<size_t, 12>;

struct Lt {
    cublasLtHandle_t handle;
    void *workspace;
    std::map<LtKey, LtPlan> plans;
};

enum : size_t { LT_WORKSPACE = 32 << 20 }; /* bytes: what NVIDIA recommends for Hopper */

template <class Value>
void lt_set(cublasLtMatmulDesc_t product, cublasLtMatmulDescAttributes_t attribute, const Value &value)
{
    CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(product, attribute, &value, sizeof value));
}

/* The alignment of all pointers, in bytes: a power of two, at most 16, which is as far as it matters. */
inline uint32_t lt_alignment(const void *a, const void *b, const void *c, const void *bias, const void *aux)
{
    const uintptr_t bits = (uintptr_t)a | (uintptr_t)b | (uintptr_t)c | (uintptr_t)bias | (uintptr_t)aux | 16;
    return (uint32_t)(bits & -bits);
}

/* The heuristic also considers the alignment of bias and aux. */
inline LtPlan lt_plan(const Lt *lt, const LtShape &s, uint32_t alignment, const void *bias, const void *aux)
{
    static const cublasLtEpilogue_t epilogues[] = {CUBLASLT_EPILOGUE_DEFAULT, CUBLASLT_EPILOGUE_BIAS,
                                                   CUBLASLT_EPILOGUE_GELU_AUX_BIAS, CUBLASLT_EPILOGUE_DGELU};
    const cublasOperation_t op_a = s.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t op_b = s.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    const size_t workspace = LT_WORKSPACE;
    const uint32_t in_fp32 = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE; /* also the sums of a product split along k */
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t result;
    int count = 0;
    LtPlan plan = {};
    CUBLAS_CHECK(cublasLtMatmulDescCreate(&plan.product, s.compute, CUDA_R_32F));
    lt_set(plan.product, CUBLASLT_MATMUL_DESC_TRANSA, op_b);
    lt_set(plan.product, CUBLASLT_MATMUL_DESC_TRANSB, op_a);
    lt_set(plan.product, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogues[s.epilogue]);
    if (s.epilogue == LT_BIAS || s.epilogue == LT_BIAS_GELU) {
        lt_set(plan.product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
        lt_set(plan.product, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, s.output);
    }
    if (s.epilogue == LT_BIAS_GELU || s.epilogue == LT_GELU_SLOPE) {
        lt_set(plan.product, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, aux);
        lt_set(plan.product, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, (int64_t)s.n);
        lt_set(plan.product, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_DATA_TYPE, s.output);
    }
    CUBLAS_CHECK(cublasLtMatrixLayoutCreate(&plan.a, s.input, s.transpose_a ? s.m : s.k, s.transpose_a ? s.k : s.m,
                                            (int64_t)s.lda));
    CUBLAS_CHECK(cublasLtMatrixLayoutCreate(&plan.b, s.input, s.transpose_b ? s.k : s.n, s.transpose_b ? s.n : s.k,
                                            (int64_t)s.ldb));
    CUBLAS_CHECK(cublasLtMatrixLayoutCreate(&plan.c, s.output, s.n, s.m, (int64_t)s.ldc));
    CUBLAS_CHECK(cublasLtMatmulPreferenceCreate(&preference));
    CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                                                      sizeof workspace));
    CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &in_fp32,
                                                      sizeof in_fp32));
    for (cublasLtMatmulPreferenceAttributes_t operand :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
        CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(preference, operand, &alignment, sizeof alignment));
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(lt->handle, plan.product, plan.b, plan.a, plan.c,
                                                                 plan.c, preference, 1, &result, &count);
    CUBLAS_CHECK(cublasLtMatmulPreferenceDestroy(preference));
    plan.found = status == CUBLAS_STATUS_SUCCESS && count > 0 && result.state == CUBLAS_STATUS_SUCCESS;
    if (plan.found)
        plan.algorithm = result.algo;
    return plan;
}

inline void lt_create(Lt *lt) { CUBLAS_CHECK(cublasLtCreate(&lt->handle)); }

inline void lt_free(Lt *lt)
{
    for (const auto &entry : lt->plans) {
        CUBLAS_CHECK(cublasLtMatmulDescDestroy(entry.second.product));
        for (cublasLtMatrixLayout_t layout : {entry.second.a, entry.second.b, entry.second.c})
            CUBLAS_CHECK(cublasLtMatrixLayoutDestroy(layout));
    }
    CUBLAS_CHECK(cublasLtDestroy(lt->handle));
}

/* False, with nothing done, if the library cannot compute this shape with its epilogue. */
inline bool lt_product(Lt *lt, cudaStream_t stream, const LtShape &s, const void *a, const void *b, float beta, void *c,
                       const void *bias, const void *aux)
{
    const uint32_t alignment = lt_alignment(a, b, c, bias, aux);
    const size_t flags = (size_t)s.transpose_a | (size_t)s.transpose_b << 1, epilogue = s.epilogue;
    const size_t input = s.input, output = s.output, compute = s.compute;
    const LtKey key = {s.m, s.n, s.k, s.lda, s.ldb, s.ldc, flags, input, output, epilogue, compute, alignment};
    auto place = lt->plans.find(key);
    if (place == lt->plans.end())
        place = lt->plans.emplace(key, lt_plan(lt, s, alignment, bias, aux)).first;
    const LtPlan &plan = place->second;
    const float alpha = 1;
    if (!plan.found)
        return false;
    if (bias != NULL)
        lt_set(plan.product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    if (aux != NULL)
        lt_set(plan.product, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, aux);
    CUBLAS_CHECK(cublasLtMatmul(lt->handle, plan.product, &alpha, b, plan.b, a, plan.a, &beta, c, plan.c, c, plan.c,
                                &plan.algorithm, lt->workspace, LT_WORKSPACE, stream));
    return true;
}

#endif
