#ifndef BASE_CUDA_LT_CUH
#define BASE_CUDA_LT_CUH

#include "base/cuda.cuh"

#include <cublasLt.h>

#include <array>
#include <map>

/*
 * Products of row-major matrices by cuBLASLt:  C = epilogue(alpha op(A) op(B) + beta P),  accumulated in fp32. How a
 * shape is computed comes from the library's heuristic, not from timing, so that all runs choose alike, and is cached.
 */

enum LtEpilogue {
    LT_PLAIN,
    LT_BIAS,       /* + bias (n) */
    LT_BIAS_GELU,  /* aux (m,n) = the sum with the bias, C = gelu(aux) */
    LT_GELU_SLOPE, /* times the slope of the GELU at aux (m,n) */
    LT_ROW_SUMS,   /* bias (m) = the sums of op(A)'s rows, overwritten whatever beta is */
};

/* op(A) is (m,k), op(B) (k,n); ld: row strides, in elements. A and B hold elements of type `input`, P, C, bias
 * and aux of type `output`. Of a batch of products the matrices of an operand follow each other. */
struct LtShape {
    size_t m, n, k;
    bool transpose_a, transpose_b;
    size_t lda, ldb, ldc;
    cudaDataType_t input, output;
    cublasComputeType_t compute;
    LtEpilogue epilogue;
    size_t batch;
};

struct LtPlan {
    bool found; /* the library can do it */
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t a, b, c; /* ours: the library, column-major, is given b first; c is P's, too */
    cublasLtMatmulAlgo_t algorithm;
};

using LtKey = std::array<size_t, 13>;

struct Lt {
    cublasLtHandle_t handle;
    void *workspace;
    size_t workspace_bytes;
    std::map<LtKey, LtPlan> plans;
};

template <class Value>
void lt_set(cublasLtMatmulDesc_t product, cublasLtMatmulDescAttributes_t attribute, const Value &value)
{
    CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(product, attribute, &value, sizeof value));
}

/* An operand as it is stored: rows of ld elements, of which `cols` count. */
struct LtOperand {
    size_t rows, cols, ld;
    cudaDataType_t type;
};

inline LtOperand lt_a(const LtShape &s)
{
    return {s.transpose_a ? s.k : s.m, s.transpose_a ? s.m : s.k, s.lda, s.input};
}
inline LtOperand lt_b(const LtShape &s)
{
    return {s.transpose_b ? s.n : s.k, s.transpose_b ? s.k : s.n, s.ldb, s.input};
}
inline LtOperand lt_c(const LtShape &s) { return {s.m, s.n, s.ldc, s.output}; }

inline cublasLtMatrixLayout_t lt_layout(const LtOperand &x, size_t batch)
{
    const int count = (int)batch;
    const int64_t stride = (int64_t)(x.rows * x.ld);
    cublasLtMatrixLayout_t layout;
    CUBLAS_CHECK(cublasLtMatrixLayoutCreate(&layout, x.type, x.cols, x.rows, (int64_t)x.ld));
    CUBLAS_CHECK(cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count));
    CUBLAS_CHECK(
        cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof stride));
    return layout;
}

/* What every matrix of an operand at x begins at is a multiple of the lowest bit of this, in bytes. */
inline uintptr_t lt_begins(const void *x, const LtOperand &operand, size_t batch)
{
    const size_t element = operand.type == CUDA_R_16BF ? 2 : 4;
    return (uintptr_t)x | (batch > 1 ? operand.rows * operand.ld * element : 0);
}

/* The heuristic's first algorithm for so many matrices, if it does for the plan's. */
inline bool lt_choose(const Lt *lt, const LtShape &s, size_t batch, cublasLtMatmulPreference_t preference, LtPlan *plan)
{
    cublasLtMatrixLayout_t a = lt_layout(lt_a(s), batch), b = lt_layout(lt_b(s), batch), c = lt_layout(lt_c(s), batch);
    cublasLtMatmulHeuristicResult_t result, check;
    int count = 0;
    const cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(lt->handle, plan->product, b, a, c, c, preference, 1, &result, &count);
    for (cublasLtMatrixLayout_t layout : {a, b, c})
        CUBLAS_CHECK(cublasLtMatrixLayoutDestroy(layout));
    if (status != CUBLAS_STATUS_SUCCESS || count == 0 || result.state != CUBLAS_STATUS_SUCCESS)
        return false;
    plan->algorithm = result.algo;
    return batch == s.batch || (cublasLtMatmulAlgoCheck(lt->handle, plan->product, plan->b, plan->a, plan->c, plan->c,
                                                        &result.algo, &check) == CUBLAS_STATUS_SUCCESS &&
                                check.workspaceSize <= lt->workspace_bytes);
}

/* The heuristic also considers the alignment of bias and aux. Of several matrices it is asked for one: how many a rank
 * has must not choose an algorithm, and with it the bits. */
inline LtPlan lt_plan(const Lt *lt, const LtShape &s, uint32_t alignment, const void *bias, const void *aux)
{
    static const cublasLtEpilogue_t epilogues[] = {CUBLASLT_EPILOGUE_DEFAULT, CUBLASLT_EPILOGUE_BIAS,
                                                   CUBLASLT_EPILOGUE_GELU_AUX_BIAS, CUBLASLT_EPILOGUE_DGELU,
                                                   CUBLASLT_EPILOGUE_BGRADB}; /* our A is the library's B */
    const cublasOperation_t op_a = s.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t op_b = s.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    const uint32_t in_fp32 = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE; /* also the sums of a product split along k */
    cublasLtMatmulPreference_t preference;
    LtPlan plan = {};
    CUBLAS_CHECK(cublasLtMatmulDescCreate(&plan.product, s.compute, CUDA_R_32F));
    lt_set(plan.product, CUBLASLT_MATMUL_DESC_TRANSA, op_b);
    lt_set(plan.product, CUBLASLT_MATMUL_DESC_TRANSB, op_a);
    lt_set(plan.product, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogues[s.epilogue]);
    if (s.epilogue == LT_BIAS || s.epilogue == LT_BIAS_GELU || s.epilogue == LT_ROW_SUMS) {
        lt_set(plan.product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
        lt_set(plan.product, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, s.output);
    }
    if (s.epilogue == LT_BIAS_GELU || s.epilogue == LT_GELU_SLOPE) {
        lt_set(plan.product, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, aux);
        lt_set(plan.product, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, (int64_t)s.n);
        lt_set(plan.product, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_DATA_TYPE, s.output);
    }
    plan.a = lt_layout(lt_a(s), s.batch);
    plan.b = lt_layout(lt_b(s), s.batch);
    plan.c = lt_layout(lt_c(s), s.batch);
    CUBLAS_CHECK(cublasLtMatmulPreferenceCreate(&preference));
    CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                      &lt->workspace_bytes, sizeof lt->workspace_bytes));
    CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &in_fp32,
                                                      sizeof in_fp32));
    for (cublasLtMatmulPreferenceAttributes_t operand :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
        CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(preference, operand, &alignment, sizeof alignment));
    plan.found =
        lt_choose(lt, s, 1, preference, &plan) || (s.batch > 1 && lt_choose(lt, s, s.batch, preference, &plan));
    CUBLAS_CHECK(cublasLtMatmulPreferenceDestroy(preference));
    return plan;
}

/* The caller allocates the workspace; without one no sum is split. */
inline void lt_create(Lt *lt, size_t workspace_bytes)
{
    lt->workspace_bytes = workspace_bytes;
    CUBLAS_CHECK(cublasLtCreate(&lt->handle));
}

inline void lt_free(Lt *lt)
{
    if (lt->handle == NULL)
        return;
    for (const auto &entry : lt->plans) {
        CUBLAS_CHECK(cublasLtMatmulDescDestroy(entry.second.product));
        for (cublasLtMatrixLayout_t layout : {entry.second.a, entry.second.b, entry.second.c})
            CUBLAS_CHECK(cublasLtMatrixLayoutDestroy(layout));
    }
    CUBLAS_CHECK(cublasLtDestroy(lt->handle));
}

/* False, with nothing done, if the library cannot compute this shape with its epilogue. With beta = 0 `plus`, P, is not
 * read; it may be c. The alignment that plans are for is at most 16 bytes, the widest that kernels load and store at
 * once: beyond that, where a buffer lies must not choose an algorithm, and with it the bits. */
inline bool lt_product(Lt *lt, cudaStream_t stream, const LtShape &s, float alpha, const void *a, const void *b,
                       float beta, const void *plus, void *c, const void *bias, const void *aux)
{
    const uintptr_t bits = lt_begins(a, lt_a(s), s.batch) | lt_begins(b, lt_b(s), s.batch) |
                           lt_begins(plus, lt_c(s), s.batch) | lt_begins(c, lt_c(s), s.batch) | (uintptr_t)bias |
                           (uintptr_t)aux | 16;
    const uint32_t alignment = (uint32_t)(bits & -bits);
    const size_t flags = (size_t)s.transpose_a | (size_t)s.transpose_b << 1, epilogue = s.epilogue;
    const size_t input = s.input, output = s.output, compute = s.compute;
    const LtKey key = {s.m, s.n, s.k, s.lda, s.ldb, s.ldc, flags, input, output, epilogue, compute, s.batch, alignment};
    auto place = lt->plans.find(key);
    if (place == lt->plans.end())
        place = lt->plans.emplace(key, lt_plan(lt, s, alignment, bias, aux)).first;
    LtPlan &plan = place->second;
    if (!plan.found)
        return false;
    if (bias != NULL)
        lt_set(plan.product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    if (aux != NULL)
        lt_set(plan.product, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, aux);
    const cublasStatus_t status =
        cublasLtMatmul(lt->handle, plan.product, &alpha, b, plan.b, a, plan.a, &beta, plus, plan.c, c, plan.c,
                       &plan.algorithm, lt->workspace, lt->workspace_bytes, stream);
    if (status == CUBLAS_STATUS_NOT_SUPPORTED && s.epilogue != LT_PLAIN) /* though the heuristic has offered it */
        return plan.found = false;
    CUBLAS_CHECK(status);
    return true;
}

/* Ends the program that needs a product which the library does not have. */
[[noreturn]] inline void lt_fail(const LtShape &s)
{
    const LtOperand a = lt_a(s), b = lt_b(s);
    char reason[192];
    snprintf(reason, sizeof reason, "cuBLASLt cannot multiply %zu x %zu%s by %zu x %zu%s in %s, %zu at once", a.rows,
             a.cols, s.transpose_a ? " transposed" : "", b.rows, b.cols, s.transpose_b ? " transposed" : "",
             s.output == CUDA_R_16BF ? "bf16" : "fp32", s.batch);
    cuda_fail(__FILE__, __LINE__, "product", reason);
}

#endif
