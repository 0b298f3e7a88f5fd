#ifndef CUDA_ON_CPU_CUBLASLT_H
#define CUDA_ON_CPU_CUBLASLT_H

#include "emu/cublas_types.h"

/*
 * cublasLt.h, emulated: column-major products of fp32 and bf16 with the epilogues that a trainer needs, computed by the
 * project's own matmul(). What cuBLASLt's documentation does not promise to support is refused.
 */

enum cublasLtEpilogue_t {
    CUBLASLT_EPILOGUE_DEFAULT = 1,
    CUBLASLT_EPILOGUE_BIAS = 4,
    CUBLASLT_EPILOGUE_GELU = 32,
    CUBLASLT_EPILOGUE_GELU_BIAS = CUBLASLT_EPILOGUE_GELU | CUBLASLT_EPILOGUE_BIAS,
    CUBLASLT_EPILOGUE_GELU_AUX = CUBLASLT_EPILOGUE_GELU | 128,
    CUBLASLT_EPILOGUE_GELU_AUX_BIAS = CUBLASLT_EPILOGUE_GELU_AUX | CUBLASLT_EPILOGUE_BIAS,
    CUBLASLT_EPILOGUE_DGELU = 64 | 128,
    CUBLASLT_EPILOGUE_DGELU_BGRAD = CUBLASLT_EPILOGUE_DGELU | 16,
    CUBLASLT_EPILOGUE_BGRADA = 256,
    CUBLASLT_EPILOGUE_BGRADB = 512
};
enum cublasLtMatmulDescAttributes_t {
    CUBLASLT_MATMUL_DESC_TRANSA = 3,
    CUBLASLT_MATMUL_DESC_TRANSB = 4,
    CUBLASLT_MATMUL_DESC_EPILOGUE = 7,
    CUBLASLT_MATMUL_DESC_BIAS_POINTER = 8,
    CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE = 10,
    CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER = 11,
    CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD = 12,
    CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE = 13,
    CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_DATA_TYPE = 22,
    CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE = 26
};
enum cublasLtMatrixLayoutAttribute_t {
    CUBLASLT_MATRIX_LAYOUT_TYPE = 0,
    CUBLASLT_MATRIX_LAYOUT_ROWS = 2,
    CUBLASLT_MATRIX_LAYOUT_COLS = 3,
    CUBLASLT_MATRIX_LAYOUT_LD = 4,
    CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT = 5,
    CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET = 6
};
enum cublasLtMatmulPreferenceAttributes_t {
    CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES = 1,
    CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK = 3,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES = 5,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES = 6,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES = 7,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES = 8
};

enum cublasLtReductionScheme_t {
    CUBLASLT_REDUCTION_SCHEME_NONE = 0,
    CUBLASLT_REDUCTION_SCHEME_INPLACE = 1,
    CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE = 2,
    CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE = 4
};

struct emu_lt {
    int unused;
};
struct emu_lt_desc {
    cublasComputeType_t compute;
    cudaDataType_t scale;
    int transa = CUBLAS_OP_N, transb = CUBLAS_OP_N;
    uint32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    char *bias = nullptr, *aux = nullptr;
    int bias_type = -1, aux_type = -1; /* -1: that of D */
    int64_t bias_stride = 0, aux_ld = 0, aux_stride = 0;
};
struct emu_lt_layout {
    int type;
    uint64_t rows, cols;
    int64_t ld;
    int batch;
    int64_t stride;
};
struct emu_lt_preference {
    uint64_t workspace = 0;
    uint32_t reductions = 7; /* of no effect: sums are in fp32 */
    uint32_t alignment[4] = {256, 256, 256, 256}; /* of A, B, C, D */
};
typedef emu_lt *cublasLtHandle_t;
typedef emu_lt_desc *cublasLtMatmulDesc_t;
typedef emu_lt_layout *cublasLtMatrixLayout_t;
typedef emu_lt_preference *cublasLtMatmulPreference_t;

/* data: what it was chosen for, as lt_kind says, the bytes of workspace, and the alignment of A, B, C, D. */
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
template <class T> inline cublasStatus_t set_attribute(T *attribute, const void *value, size_t bytes)
{
    if (!value || bytes != sizeof *attribute)
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(attribute, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}
} // namespace emu

inline size_t cublasLtGetVersion(void) { return 120804; }

inline cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    *handle = emu::device_error() == cudaSuccess ? new emu_lt{} : nullptr;
    return *handle ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_INITIALIZED;
}
inline cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) { return emu::destroy(handle); }

inline cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *desc, cublasComputeType_t compute,
                                               cudaDataType_t scale)
{
    *desc = new emu_lt_desc{compute, scale};
    return CUBLAS_STATUS_SUCCESS;
}
inline cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) { return emu::destroy(desc); }
inline cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t attribute,
                                                     const void *value, size_t bytes)
{
    if (!d)
        return CUBLAS_STATUS_INVALID_VALUE;
    switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA: return emu::set_attribute(&d->transa, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB: return emu::set_attribute(&d->transb, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE: return emu::set_attribute(&d->epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return emu::set_attribute(&d->bias, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE: return emu::set_attribute(&d->bias_stride, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE: return emu::set_attribute(&d->bias_type, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER: return emu::set_attribute(&d->aux, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD: return emu::set_attribute(&d->aux_ld, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE: return emu::set_attribute(&d->aux_stride, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_DATA_TYPE: return emu::set_attribute(&d->aux_type, value, bytes);
    }
    return CUBLAS_STATUS_INVALID_VALUE;
}

inline cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType_t type, uint64_t rows,
                                                 uint64_t cols, int64_t ld)
{
    *layout = new emu_lt_layout{type, rows, cols, ld, 1, 0};
    return CUBLAS_STATUS_SUCCESS;
}
inline cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) { return emu::destroy(layout); }
inline cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t l,
                                                       cublasLtMatrixLayoutAttribute_t attribute, const void *value,
                                                       size_t bytes)
{
    if (!l)
        return CUBLAS_STATUS_INVALID_VALUE;
    switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_TYPE: return emu::set_attribute(&l->type, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ROWS: return emu::set_attribute(&l->rows, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_COLS: return emu::set_attribute(&l->cols, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_LD: return emu::set_attribute(&l->ld, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT: return emu::set_attribute(&l->batch, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET: return emu::set_attribute(&l->stride, value, bytes);
    }
    return CUBLAS_STATUS_INVALID_VALUE;
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
                                                           cublasLtMatmulPreferenceAttributes_t attribute,
                                                           const void *value, size_t bytes)
{
    if (!preference)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES)
        return emu::set_attribute(&preference->workspace, value, bytes);
    if (attribute == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK)
        return emu::set_attribute(&preference->reductions, value, bytes);
    const int operand = attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES;
    return operand >= 0 && operand < 4 ? emu::set_attribute(&preference->alignment[operand], value, bytes)
                                       : CUBLAS_STATUS_INVALID_VALUE;
}

/* ---- what is supported ---- */

namespace emu {

/* A product, copied from the handles at the call: they may change or go before it is computed. */
struct LtProduct {
    emu_lt_desc desc;
    emu_lt_layout a, b, c, d;
    bool ta, tb;
    int64_t m, n, k; /* D is m x n, and k the length of the sums */
    float alpha, beta;
    const char *A, *B, *C;
    char *D;
};

inline LtProduct lt_product(const emu_lt_desc &desc, const emu_lt_layout &a, const emu_lt_layout &b,
                            const emu_lt_layout &c, const emu_lt_layout &d)
{
    LtProduct p = {desc, a, b, c, d, desc.transa != CUBLAS_OP_N, desc.transb != CUBLAS_OP_N, 0, 0, 0, 1, 0, nullptr,
                   nullptr, nullptr, nullptr};
    p.m = static_cast<int64_t>(d.rows);
    p.n = static_cast<int64_t>(d.cols);
    p.k = static_cast<int64_t>(p.ta ? a.rows : a.cols);
    if (p.desc.bias_type < 0)
        p.desc.bias_type = d.type;
    if (p.desc.aux_type < 0)
        p.desc.aux_type = d.type;
    return p;
}

inline bool has_aux(uint32_t epilogue) { return (epilogue & 128) != 0; }
inline bool has_bias(uint32_t epilogue)
{
    return (epilogue & (CUBLASLT_EPILOGUE_BIAS | 16 | CUBLASLT_EPILOGUE_BGRADA | CUBLASLT_EPILOGUE_BGRADB)) != 0;
}
inline bool is_epilogue(uint32_t e)
{
    for (uint32_t known : {CUBLASLT_EPILOGUE_DEFAULT, CUBLASLT_EPILOGUE_BIAS, CUBLASLT_EPILOGUE_GELU,
                           CUBLASLT_EPILOGUE_GELU_BIAS, CUBLASLT_EPILOGUE_GELU_AUX, CUBLASLT_EPILOGUE_GELU_AUX_BIAS,
                           CUBLASLT_EPILOGUE_DGELU, CUBLASLT_EPILOGUE_DGELU_BGRAD, CUBLASLT_EPILOGUE_BGRADA,
                           CUBLASLT_EPILOGUE_BGRADB})
        if (e == known)
            return true;
    return false;
}

inline bool is_shape(const LtProduct &p)
{
    const int64_t rows_a = static_cast<int64_t>(p.ta ? p.a.cols : p.a.rows);
    const int64_t rows_b = static_cast<int64_t>(p.tb ? p.b.cols : p.b.rows);
    const int64_t cols_b = static_cast<int64_t>(p.tb ? p.b.rows : p.b.cols);
    bool ok = rows_a == p.m && cols_b == p.n && rows_b == p.k && p.c.rows == p.d.rows && p.c.cols == p.d.cols;
    for (const emu_lt_layout *l : {&p.a, &p.b, &p.c, &p.d})
        ok = ok && l->rows > 0 && l->cols > 0 && l->ld >= static_cast<int64_t>(l->rows) && l->batch == p.d.batch;
    return ok && p.d.batch > 0;
}

/* The fp32 rows of the table of types under cublasLtMatmul in cuBLAS's documentation. */
inline bool are_types(const LtProduct &p)
{
    const bool fp32 = p.a.type == CUDA_R_32F && p.d.type == CUDA_R_32F;
    const bool bf16 = p.a.type == CUDA_R_16BF && (p.d.type == CUDA_R_16BF || p.d.type == CUDA_R_32F);
    const bool plain = p.desc.compute == CUBLAS_COMPUTE_32F || p.desc.compute == CUBLAS_COMPUTE_32F_PEDANTIC;
    const bool fast = p.desc.compute == CUBLAS_COMPUTE_32F_FAST_TF32 || p.desc.compute == CUBLAS_COMPUTE_32F_FAST_16BF;
    return p.a.type == p.b.type && p.c.type == p.d.type && p.desc.scale == CUDA_R_32F &&
           ((plain && (fp32 || bf16)) || (fast && fp32));
}

/* Both the heuristic and the product answer this. */
inline cublasStatus_t lt_status(const LtProduct &p)
{
    const uint32_t e = p.desc.epilogue;
    if (!is_shape(p) || !is_epilogue(e))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (!are_types(p) || (has_bias(e) && p.desc.bias_type != p.d.type) ||
        (gpu().products.plain && e != CUBLASLT_EPILOGUE_DEFAULT))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    if (has_aux(e) && (p.desc.aux_ld % 8 != 0 || p.desc.aux_ld < p.m || p.desc.aux_stride % 8 != 0 ||
                       reinterpret_cast<uintptr_t>(p.desc.aux) % 16 != 0 || p.desc.aux_type != p.d.type))
        return CUBLAS_STATUS_INVALID_VALUE;
    return CUBLAS_STATUS_SUCCESS;
}

/* An algorithm for one kind of product does not do for another. */
inline uint64_t lt_kind(const LtProduct &p)
{
    const uint64_t types = static_cast<uint64_t>(p.a.type) << 8 | static_cast<uint64_t>(p.d.type);
    return (types << 16 | p.desc.epilogue) << 8 | 4u | (p.ta ? 2u : 0u) | (p.tb ? 1u : 0u);
}

constexpr uint64_t LT_WORKSPACE = 4096; /* bytes that a product takes where it may */

} // namespace emu

inline cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                                     cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                                     cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                                     cublasLtMatmulPreference_t preference, int requested,
                                                     cublasLtMatmulHeuristicResult_t *results, int *found)
{
    if (!handle || !desc || !a || !b || !c || !d || !preference || requested < 1 || !results || !found)
        return CUBLAS_STATUS_INVALID_VALUE;
    *found = 0;
    const emu::LtProduct p = emu::lt_product(*desc, *a, *b, *c, *d);
    const cublasStatus_t status = emu::lt_status(p);
    if (status != CUBLAS_STATUS_SUCCESS)
        return status;
    *results = {};
    results->workspaceSize = std::min(preference->workspace, emu::LT_WORKSPACE);
    results->algo.data[0] = emu::lt_kind(p);
    results->algo.data[1] = results->workspaceSize;
    for (int i = 0; i < 4; i++)
        results->algo.data[2 + i] = preference->alignment[i];
    results->algo.data[6] = static_cast<uint64_t>(p.d.batch); /* which counts where products vary */
    *found = 1;
    return CUBLAS_STATUS_SUCCESS;
}

/* Whether an algorithm that the heuristic gave for another batch does for this one. */
inline cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              const cublasLtMatmulAlgo_t *algo, cublasLtMatmulHeuristicResult_t *result)
{
    if (!handle || !desc || !a || !b || !c || !d || !algo || !result)
        return CUBLAS_STATUS_INVALID_VALUE;
    const emu::LtProduct p = emu::lt_product(*desc, *a, *b, *c, *d);
    const cublasStatus_t status = emu::lt_status(p);
    if (status == CUBLAS_STATUS_SUCCESS && algo->data[0] != emu::lt_kind(p))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    *result = {};
    result->algo = *algo;
    result->workspaceSize = algo->data[1];
    return status;
}

/* ---- the product ---- */

namespace emu {

inline size_t type_bytes(int type) { return type == CUDA_R_32F ? 4 : 2; }

inline void to_floats(float *to, const char *from, int type, int64_t n)
{
    const auto *half = reinterpret_cast<const __nv_bfloat16 *>(from);
    if (type == CUDA_R_32F)
        memcpy(to, from, static_cast<size_t>(n) * sizeof(float));
    else
        for (int64_t i = 0; i < n; i++)
            to[i] = half[i];
}
inline void from_floats(char *to, const float *from, int type, int64_t n)
{
    auto *half = reinterpret_cast<__nv_bfloat16 *>(to);
    if (type == CUDA_R_32F)
        memcpy(to, from, static_cast<size_t>(n) * sizeof(float));
    else
        for (int64_t i = 0; i < n; i++)
            half[i] = from[i];
}

/* GELU by the tanh formula of Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016, and its derivative. */
constexpr float GELU_SCALE = 0.7978845608f /* sqrt(2 / pi) */, GELU_CUBE = 0.044715f;

/* Where the epilogue is fast, off by a part of itself that has no pattern: at most 2^-11, as "PTX ISA" says of
 * tanh.approx.f32. */
inline float gelu_tanh(float x)
{
    const float t = tanhf(GELU_SCALE * (x + GELU_CUBE * x * x * x));
    const int noise = static_cast<int>(__float_as_uint(x) * 2654435769u >> 16) - 32768; /* Knuth's hash */
    return gpu().products.fast ? std::clamp(t * (1.0f + static_cast<float>(noise) * 0x1p-26f), -1.0f, 1.0f) : t;
}
inline float gelu(float x) { return 0.5f * x * (1.0f + gelu_tanh(x)); }
inline float gelu_slope(float x)
{
    const float t = gelu_tanh(x);
    return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * GELU_SCALE * (1.0f + 3.0f * GELU_CUBE * x * x);
}

/* Where matrix `index` of the batch begins. */
inline int64_t offset(const emu_lt_layout &l, int index)
{
    return index * l.stride * static_cast<int64_t>(type_bytes(l.type));
}

/* A matrix as stored, in fp32, without gaps. */
inline std::vector<float> widen(const char *x, const emu_lt_layout &l)
{
    const int64_t rows = static_cast<int64_t>(l.rows), cols = static_cast<int64_t>(l.cols);
    std::vector<float> out(static_cast<size_t>(rows * cols));
    for (int64_t j = 0; j < cols; j++)
        to_floats(out.data() + j * rows, x + static_cast<size_t>(j * l.ld) * type_bytes(l.type), l.type, rows);
    return out;
}

/* op(A) op(B), column-major m x n: what is column-major is, row-major, the transpose. */
inline std::vector<float> sums(const LtProduct &p, const std::vector<float> &a, const std::vector<float> &b,
                               uint64_t choice)
{
    std::vector<float> out(static_cast<size_t>(p.m * p.n));
    Matmul product = {};
    product.m = static_cast<size_t>(p.n);
    product.n = static_cast<size_t>(p.m);
    product.k = static_cast<size_t>(p.k);
    product.trans_a = p.tb;
    product.trans_b = p.ta;
    product.alpha = 1;
    product.a = b.data();
    product.lda = p.b.rows;
    product.b = a.data();
    product.ldb = p.a.rows;
    product.c = out.data();
    product.ldc = p.d.rows;
    product_by_choice(product, choice);
    return out;
}

/* Column j of D from its sums of products; `column` ends as what is stored, before it is rounded. */
inline void finish_column(const LtProduct &p, int index, int64_t j, const std::vector<float> &bias, float *column,
                          float *other)
{
    const uint32_t e = p.desc.epilogue;
    const size_t bytes = type_bytes(p.d.type);
    char *aux = p.desc.aux + static_cast<size_t>(index * p.desc.aux_stride + j * p.desc.aux_ld) * bytes;
    for (int64_t i = 0; i < p.m; i++)
        column[i] *= p.alpha;
    if (p.beta != 0.0f) {
        to_floats(other, p.C + offset(p.c, index) + static_cast<size_t>(j * p.c.ld) * bytes, p.c.type, p.m);
        for (int64_t i = 0; i < p.m; i++)
            column[i] += p.beta * other[i];
    }
    if (e & CUBLASLT_EPILOGUE_BIAS)
        for (int64_t i = 0; i < p.m; i++)
            column[i] += bias[static_cast<size_t>(i)];
    if ((e & CUBLASLT_EPILOGUE_GELU_AUX) == CUBLASLT_EPILOGUE_GELU_AUX)
        from_floats(aux, column, p.d.type, p.m);
    if (e & CUBLASLT_EPILOGUE_GELU)
        for (int64_t i = 0; i < p.m; i++)
            column[i] = gelu(column[i]);
    if ((e & CUBLASLT_EPILOGUE_DGELU) == CUBLASLT_EPILOGUE_DGELU) {
        to_floats(other, aux, p.d.type, p.m);
        for (int64_t i = 0; i < p.m; i++)
            column[i] *= gelu_slope(other[i]);
    }
    from_floats(p.D + offset(p.d, index) + static_cast<size_t>(j * p.d.ld) * bytes, column, p.d.type, p.m);
}

/* The gradient of a bias: the sums of op(A)'s rows over k, of op(B)'s columns, or of D's rows. */
inline void bias_gradient(const LtProduct &p, int index, const std::vector<float> &x, bool trans, int64_t count,
                          int64_t terms)
{
    std::vector<float> sum(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; i++)
        for (int64_t t = 0; t < terms; t++)
            sum[static_cast<size_t>(i)] += x[static_cast<size_t>(trans ? i * terms + t : t * count + i)];
    char *bias = p.desc.bias + static_cast<size_t>(index * p.desc.bias_stride) * type_bytes(p.d.type);
    from_floats(bias, sum.data(), p.d.type, count);
}

inline void multiply(const LtProduct &p, int index, uint64_t choice)
{
    std::vector<float> a = widen(p.A + offset(p.a, index), p.a), b = widen(p.B + offset(p.b, index), p.b);
    round_operand(a, p.desc.compute);
    round_operand(b, p.desc.compute);
    std::vector<float> d = sums(p, a, b, choice), other(static_cast<size_t>(p.m)), bias(static_cast<size_t>(p.m));
    if (p.desc.epilogue & CUBLASLT_EPILOGUE_BIAS)
        to_floats(bias.data(), p.desc.bias + static_cast<size_t>(index * p.desc.bias_stride) * type_bytes(p.d.type),
                  p.d.type, p.m);
    for (int64_t j = 0; j < p.n; j++)
        finish_column(p, index, j, bias, d.data() + j * p.m, other.data());
    if (p.desc.epilogue == CUBLASLT_EPILOGUE_BGRADA)
        bias_gradient(p, index, a, p.ta, p.m, p.k);
    if (p.desc.epilogue == CUBLASLT_EPILOGUE_BGRADB)
        bias_gradient(p, index, b, !p.tb, p.n, p.k);
    if (p.desc.epilogue == CUBLASLT_EPILOGUE_DGELU_BGRAD)
        bias_gradient(p, index, d, false, p.m, p.n);
}

/* Operands that reach past their device memory end the process, as a GPU would not be so kind to do. */
inline void check_lt_memory(const char *name, const void *p, int64_t elements, int type)
{
    const size_t bytes = static_cast<size_t>(elements) * type_bytes(type);
    if (bytes_left(device_memory, p) < bytes)
        fail("cublasLtMatmul: %s needs %zu bytes, but the device memory at %p has %zu", name, bytes, p,
             bytes_left(device_memory, p));
}
inline int64_t extent(const emu_lt_layout &l)
{
    return (l.batch - 1) * l.stride + static_cast<int64_t>(l.cols - 1) * l.ld + static_cast<int64_t>(l.rows);
}
inline void check_lt_operands(const LtProduct &p)
{
    const uint32_t e = p.desc.epilogue;
    const int64_t last = p.d.batch - 1;
    check_lt_memory("A", p.A, extent(p.a), p.a.type);
    check_lt_memory("B", p.B, extent(p.b), p.b.type);
    check_lt_memory("D", p.D, extent(p.d), p.d.type);
    if (p.beta != 0.0f)
        check_lt_memory("C", p.C, extent(p.c), p.c.type);
    if (has_bias(e))
        check_lt_memory("the bias", p.desc.bias,
                        last * p.desc.bias_stride + (e == CUBLASLT_EPILOGUE_BGRADB ? p.n : p.m), p.d.type);
    if (has_aux(e))
        check_lt_memory("the auxiliary matrix", p.desc.aux,
                        last * p.desc.aux_stride + (p.n - 1) * p.desc.aux_ld + p.m, p.d.type);
    for (const char *x : {p.A, p.B}) {
        const int64_t bytes = extent(x == p.A ? p.a : p.b) * static_cast<int64_t>(type_bytes(p.a.type));
        if (p.D < x + bytes && x < p.D + extent(p.d) * static_cast<int64_t>(type_bytes(p.d.type)))
            fail("cublasLtMatmul: D overlaps an operand of the product");
    }
}

/* What the algorithm was told to count on: cuBLASLt's kernels move 16 bytes at a time where they may. */
inline bool is_aligned(const void *p, uint64_t promised)
{
    return reinterpret_cast<uintptr_t>(p) % std::min<uint64_t>(promised, 16) == 0;
}
inline uint64_t algorithm_number(const cublasLtMatmulAlgo_t &algo)
{
    uint64_t number = 0;
    for (uint64_t data : algo.data)
        number = number * 31 + data;
    return number;
}
inline bool is_algorithm(const cublasLtMatmulAlgo_t &algo, const LtProduct &p, void *workspace, size_t bytes)
{
    const uint64_t *data = algo.data;
    return data[0] == lt_kind(p) && data[1] <= bytes && is_aligned(p.A, data[2]) && is_aligned(p.B, data[3]) &&
           (p.beta == 0.0f || is_aligned(p.C, data[4])) && is_aligned(p.D, data[5]) &&
           (bytes == 0 || (is_range(workspace, bytes, true) && is_aligned(workspace, 16)));
}

} // namespace emu

/* D = epilogue(alpha op(A) op(B) + beta C), all column-major; alpha and beta are the host's. */
inline cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha,
                                     const void *A, cublasLtMatrixLayout_t a, const void *B, cublasLtMatrixLayout_t b,
                                     const void *beta, const void *C, cublasLtMatrixLayout_t c, void *D,
                                     cublasLtMatrixLayout_t d, const cublasLtMatmulAlgo_t *algo, void *workspace,
                                     size_t workspace_bytes, cudaStream_t stream)
{
    if (!handle || !desc || !alpha || !A || !a || !B || !b || !beta || !c || !D || !d)
        return CUBLAS_STATUS_INVALID_VALUE;
    emu::LtProduct p = emu::lt_product(*desc, *a, *b, *c, *d);
    const cublasStatus_t status = emu::lt_status(p);
    if (status != CUBLAS_STATUS_SUCCESS)
        return status;
    p.alpha = *static_cast<const float *>(alpha);
    p.beta = *static_cast<const float *>(beta);
    p.A = static_cast<const char *>(A);
    p.B = static_cast<const char *>(B);
    p.C = static_cast<const char *>(C);
    p.D = static_cast<char *>(D);
    const uint64_t needed = std::min<uint64_t>(workspace_bytes, emu::LT_WORKSPACE);
    const cublasLtMatmulAlgo_t chosen = algo ? *algo : cublasLtMatmulAlgo_t{{emu::lt_kind(p), needed, 16, 16, 16, 16}};
    const bool same_layout = c->ld == d->ld && (d->batch == 1 || c->stride == d->stride);
    if ((p.beta != 0.0f && !C) || (C == D && !same_layout) || (emu::has_bias(desc->epilogue) && !desc->bias) ||
        (emu::has_aux(desc->epilogue) && !desc->aux) || !emu::is_algorithm(chosen, p, workspace, workspace_bytes))
        return CUBLAS_STATUS_INVALID_VALUE;
    emu::check_lt_operands(p);
    const uint64_t choice = emu::algorithm_number(chosen) + (p.beta == 0.0f);
    return emu::cublas_enqueue(stream, [p, workspace, used = chosen.data[1], choice] {
        emu::check_lt_operands(p);
        emu::DeviceWork work;
        if (used > 0)
            memset(workspace, emu::GARBAGE, used);
        for (int index = 0; index < p.d.batch; index++)
            emu::multiply(p, index, choice);
    });
}

#endif
