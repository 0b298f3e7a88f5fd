#ifndef CUDA_ON_CPU_CUBLASLT_H
#define CUDA_ON_CPU_CUBLASLT_H

#include <vector>

#include "emu/cublas_types.h"

/* cublasLt.h, emulated: column-major products of fp32 and bf16 with the epilogues a trainer wants, by three loops. */

enum cublasLtEpilogue_t {
    CUBLASLT_EPILOGUE_DEFAULT = 1,
    CUBLASLT_EPILOGUE_BIAS = 4,
    CUBLASLT_EPILOGUE_GELU = 32,
    CUBLASLT_EPILOGUE_GELU_BIAS = CUBLASLT_EPILOGUE_GELU | CUBLASLT_EPILOGUE_BIAS,
    CUBLASLT_EPILOGUE_GELU_AUX = CUBLASLT_EPILOGUE_GELU | 128,
    CUBLASLT_EPILOGUE_GELU_AUX_BIAS = CUBLASLT_EPILOGUE_GELU_AUX | CUBLASLT_EPILOGUE_BIAS,
    CUBLASLT_EPILOGUE_DGELU = 64 | 128,
    CUBLASLT_EPILOGUE_BGRADA = 256,
    CUBLASLT_EPILOGUE_BGRADB = 512
};
enum cublasLtMatmulDescAttributes_t {
    CUBLASLT_MATMUL_DESC_TRANSA,
    CUBLASLT_MATMUL_DESC_TRANSB,
    CUBLASLT_MATMUL_DESC_EPILOGUE,
    CUBLASLT_MATMUL_DESC_BIAS_POINTER,
    CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE,
    CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER,
    CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD,
    CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_DATA_TYPE
};
enum cublasLtMatrixLayoutAttribute_t {
    CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT,
    CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET
};
enum cublasLtMatmulPreferenceAttributes_t { CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES = 1 };

struct emu_lt {
    int unused;
};
struct emu_lt_desc {
    int transa, transb, epilogue;
    void *bias;
    int bias_type;
    void *aux;
    int64_t aux_ld;
    int aux_type;
};
struct emu_lt_layout {
    cudaDataType_t type;
    uint64_t rows, cols;
    int64_t ld;
    int batch;
    int64_t stride;
};
struct emu_lt_preference {
    size_t workspace;
};
typedef emu_lt *cublasLtHandle_t;
typedef emu_lt_desc *cublasLtMatmulDesc_t;
typedef emu_lt_layout *cublasLtMatrixLayout_t;
typedef emu_lt_preference *cublasLtMatmulPreference_t;
struct cublasLtMatmulAlgo_t {
    uint64_t data[8];
};
struct cublasLtMatmulHeuristicResult_t {
    cublasLtMatmulAlgo_t algo;
    size_t workspaceSize;
    cublasStatus_t state;
    float wavesCount;
    int reserved[4];
};

namespace emu {
template <class T> inline cublasStatus_t destroy(T *handle)
{
    delete handle;
    return handle ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}
inline cublasStatus_t set_attribute(void *attribute, size_t size, const void *value, size_t bytes)
{
    if (bytes != size)
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(attribute, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}
} // namespace emu

inline cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    *handle = new emu_lt{};
    return CUBLAS_STATUS_SUCCESS;
}
inline cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) { return emu::destroy(handle); }

inline cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *desc, cublasComputeType_t, cudaDataType_t)
{
    *desc = new emu_lt_desc{CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, nullptr, CUDA_R_32F, nullptr, 0,
                            CUDA_R_16BF};
    return CUBLAS_STATUS_SUCCESS;
}
inline cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) { return emu::destroy(desc); }
inline cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t attribute,
                                                     const void *value, size_t bytes)
{
    void *attributes[] = {&d->transa, &d->transb, &d->epilogue, &d->bias, &d->bias_type, &d->aux, &d->aux_ld,
                          &d->aux_type};
    const size_t sizes[] = {4, 4, 4, 8, 4, 8, 8, 4};
    return emu::set_attribute(attributes[attribute], sizes[attribute], value, bytes);
}

inline cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType_t type, uint64_t rows,
                                                 uint64_t cols, int64_t ld)
{
    *layout = new emu_lt_layout{type, rows, cols, ld, 1, 0};
    return CUBLAS_STATUS_SUCCESS;
}
inline cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) { return emu::destroy(layout); }
inline cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                       cublasLtMatrixLayoutAttribute_t attribute, const void *value,
                                                       size_t bytes)
{
    return attribute == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT
               ? emu::set_attribute(&layout->batch, sizeof layout->batch, value, bytes)
               : emu::set_attribute(&layout->stride, sizeof layout->stride, value, bytes);
}

inline cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference)
{
    *preference = new emu_lt_preference{};
    return CUBLAS_STATUS_SUCCESS;
}
inline cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference)
{
    return emu::destroy(preference);
}
inline cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                           cublasLtMatmulPreferenceAttributes_t, const void *value,
                                                           size_t bytes)
{
    return emu::set_attribute(&preference->workspace, sizeof preference->workspace, value, bytes);
}

inline cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t,
                                                     cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                                     cublasLtMatrixLayout_t, cublasLtMatmulPreference_t, int,
                                                     cublasLtMatmulHeuristicResult_t *result, int *found)
{
    *result = {};
    *found = 1;
    return CUBLAS_STATUS_SUCCESS;
}

namespace emu {

inline float load(const void *p, int64_t i, int type)
{
    return type == CUDA_R_32F ? static_cast<const float *>(p)[i]
                              : static_cast<float>(static_cast<const __nv_bfloat16 *>(p)[i]);
}
inline void store(void *p, int64_t i, int type, float value)
{
    if (type == CUDA_R_32F)
        static_cast<float *>(p)[i] = value;
    else
        static_cast<__nv_bfloat16 *>(p)[i] = value;
}

/* GELU by the tanh formula of Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016, and its derivative. */
constexpr float GELU_SCALE = 0.7978845608f /* sqrt(2 / pi) */, GELU_CUBE = 0.044715f;
inline float gelu(float x) { return 0.5f * x * (1.0f + tanhf(GELU_SCALE * (x + GELU_CUBE * x * x * x))); }
inline float gelu_slope(float x)
{
    const float t = tanhf(GELU_SCALE * (x + GELU_CUBE * x * x * x));
    return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * GELU_SCALE * (1.0f + 3.0f * GELU_CUBE * x * x);
}

/* op(X) of one matrix of the batch, column-major without gaps. */
inline std::vector<float> gather(const void *x, const emu_lt_layout &l, bool trans, int index)
{
    const int64_t stored_rows = static_cast<int64_t>(l.rows), stored_cols = static_cast<int64_t>(l.cols);
    const int64_t rows = trans ? stored_cols : stored_rows, cols = trans ? stored_rows : stored_cols;
    std::vector<float> out(static_cast<size_t>(rows * cols));
    for (int64_t j = 0; j < cols; j++)
        for (int64_t i = 0; i < rows; i++)
            out[static_cast<size_t>(j * rows + i)] =
                load(x, index * l.stride + (trans ? i * l.ld + j : j * l.ld + i), l.type);
    return out;
}

/* The value of D(i, j) for a sum of products `value`, already scaled and with beta C. */
inline float epilogue(const emu_lt_desc &d, int64_t i, int64_t j, float value)
{
    const int e = d.epilogue;
    if (e == CUBLASLT_EPILOGUE_DGELU)
        return value * gelu_slope(load(d.aux, j * d.aux_ld + i, d.aux_type));
    if (e & CUBLASLT_EPILOGUE_BIAS)
        value += load(d.bias, i, d.bias_type);
    if (e == CUBLASLT_EPILOGUE_GELU_AUX || e == CUBLASLT_EPILOGUE_GELU_AUX_BIAS)
        store(d.aux, j * d.aux_ld + i, d.aux_type, value);
    return e & CUBLASLT_EPILOGUE_GELU ? gelu(value) : value;
}

/* The gradient of a bias: sums of op(A)'s rows over k, or of op(B)'s columns. */
inline void bias_gradient(const emu_lt_desc &d, const std::vector<float> &x, int64_t count, int64_t k, bool of_a)
{
    for (int64_t i = 0; i < count; i++) {
        float sum = 0.0f;
        for (int64_t p = 0; p < k; p++)
            sum += x[static_cast<size_t>(of_a ? p * count + i : i * k + p)];
        store(d.bias, i, d.bias_type, sum);
    }
}

} // namespace emu

/* D = epilogue(alpha op(A) op(B) + beta C), all column-major. */
inline cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t d, const void *alpha, const void *A,
                                     cublasLtMatrixLayout_t la, const void *B, cublasLtMatrixLayout_t lb,
                                     const void *beta, const void *C, cublasLtMatrixLayout_t lc, void *D,
                                     cublasLtMatrixLayout_t ld, const cublasLtMatmulAlgo_t *, void *, size_t,
                                     cudaStream_t)
{
    const bool ta = d->transa != CUBLAS_OP_N, tb = d->transb != CUBLAS_OP_N;
    const uint64_t inner = ta ? la->rows : la->cols;
    if ((ta ? la->cols : la->rows) != ld->rows || (tb ? lb->rows : lb->cols) != ld->cols ||
        (tb ? lb->cols : lb->rows) != inner)
        return CUBLAS_STATUS_INVALID_VALUE;
    const int64_t m = static_cast<int64_t>(ld->rows), n = static_cast<int64_t>(ld->cols);
    const int64_t k = static_cast<int64_t>(inner);
    const float scale = *static_cast<const float *>(alpha), keep = *static_cast<const float *>(beta);
    emu::DeviceWork work;
    for (int index = 0; index < ld->batch; index++) {
        const std::vector<float> a = emu::gather(A, *la, ta, index), b = emu::gather(B, *lb, tb, index);
        for (int64_t j = 0; j < n; j++) {
            const float *column = b.data() + j * k;
            std::vector<float> sums(static_cast<size_t>(m));
            float *sum = sums.data();
            for (int64_t p = 0; p < k; p++)
                for (int64_t i = 0; i < m; i++)
                    sum[i] += a.data()[p * m + i] * column[p];
            for (int64_t i = 0; i < m; i++) {
                float value = scale * sum[i];
                if (keep != 0.0f)
                    value += keep * emu::load(C, index * lc->stride + j * lc->ld + i, lc->type);
                emu::store(D, index * ld->stride + j * ld->ld + i, ld->type, emu::epilogue(*d, i, j, value));
            }
        }
        if (d->epilogue == CUBLASLT_EPILOGUE_BGRADA)
            emu::bias_gradient(*d, a, m, k, true);
        if (d->epilogue == CUBLASLT_EPILOGUE_BGRADB)
            emu::bias_gradient(*d, b, n, k, false);
    }
    return CUBLAS_STATUS_SUCCESS;
}

#endif
