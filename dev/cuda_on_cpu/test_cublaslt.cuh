#ifndef TEST_CUBLASLT_CUH
#define TEST_CUBLASLT_CUH

#include "test_support.cuh"

/* cublasLtMatmul with every epilogue and pair of types, against loops in double; and what it refuses. */

inline void lt(cublasStatus_t status)
{
    check(status == CUBLAS_STATUS_SUCCESS, "cublasLt gives %s", cublasGetStatusString(status));
}

/* D = epilogue(alpha op(A) op(B) + beta C): D is m x n, columns `gap` apart, `batch` of it. */
struct LtTest {
    bool ta, tb;
    int m, n, k, gap, batch;
    cudaDataType_t in, out;
    cublasComputeType_t compute;
    cublasLtEpilogue_t epilogue;
    float alpha, beta;
    bool in_place; /* C is D */
};

/* A column-major matrix of the product, `batch` times, in whatever type. */
struct LtMatrix {
    int rows, cols, ld;
    int64_t stride;
    cudaDataType_t type;
    std::vector<double> x;
    double at(int index, int i, int j) const { return x[size_t(index * stride + int64_t(j) * ld + i)]; }
};

inline size_t size_of(cudaDataType_t type) { return type == CUDA_R_32F ? sizeof(float) : sizeof(bf16); }

inline std::vector<char> packed(const std::vector<double> &x, cudaDataType_t type)
{
    std::vector<char> bytes(x.size() * size_of(type));
    for (size_t i = 0; i < x.size(); i++) {
        const float f = float(x[i]);
        const bf16 b = __float2bfloat16_rn(f);
        memcpy(&bytes[i * size_of(type)], type == CUDA_R_32F ? (const void *)&f : (const void *)&b, size_of(type));
    }
    return bytes;
}

inline std::vector<double> unpacked(const std::vector<char> &bytes, cudaDataType_t type)
{
    std::vector<double> x(bytes.size() / size_of(type));
    for (size_t i = 0; i < x.size(); i++) {
        float f;
        bf16 b;
        memcpy(type == CUDA_R_32F ? (void *)&f : (void *)&b, &bytes[i * size_of(type)], size_of(type));
        x[i] = type == CUDA_R_32F ? value(f) : value(b);
    }
    return x;
}

inline std::vector<double> random_values(size_t n, cudaDataType_t type)
{
    std::vector<double> x(n);
    for (double &v : x)
        v = std::normal_distribution<float>()(generator);
    return unpacked(packed(x, type), type);
}

inline LtMatrix random_matrix(const LtTest &t, int rows, int cols, cudaDataType_t type)
{
    LtMatrix m = {rows, cols, rows + t.gap, int64_t(rows + t.gap) * cols, type, {}};
    m.x = random_values(size_t(m.stride * t.batch), type);
    return m;
}

/* The handles of one product. */
struct Lt {
    cublasLtHandle_t handle = nullptr;
    cublasLtMatmulDesc_t desc = nullptr;
    cublasLtMatrixLayout_t layout[4] = {}; /* of A, B, C, D */
    cublasLtMatmulPreference_t preference = nullptr;
    Lt(cublasComputeType_t compute, cublasLtEpilogue_t epilogue, bool ta, bool tb)
    {
        const cublasOperation_t opa = ta ? CUBLAS_OP_T : CUBLAS_OP_N, opb = tb ? CUBLAS_OP_T : CUBLAS_OP_N;
        lt(cublasLtCreate(&handle));
        lt(cublasLtMatmulDescCreate(&desc, compute, CUDA_R_32F));
        lt(cublasLtMatmulPreferenceCreate(&preference));
        set(CUBLASLT_MATMUL_DESC_TRANSA, opa);
        set(CUBLASLT_MATMUL_DESC_TRANSB, opb);
        set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
    }
    Lt(const Lt &) = delete;
    ~Lt()
    {
        for (cublasLtMatrixLayout_t l : layout)
            if (l)
                cublasLtMatrixLayoutDestroy(l);
        cublasLtMatmulPreferenceDestroy(preference);
        cublasLtMatmulDescDestroy(desc);
        cublasLtDestroy(handle);
    }
    template <class T> void set(cublasLtMatmulDescAttributes_t attribute, T x)
    {
        lt(cublasLtMatmulDescSetAttribute(desc, attribute, &x, sizeof x));
    }
    void shape(int which, const LtMatrix &m, int batch)
    {
        cublasLtMatrixLayout_t *l = &layout[which];
        lt(cublasLtMatrixLayoutCreate(l, m.type, uint64_t(m.rows), uint64_t(m.cols), m.ld));
        lt(cublasLtMatrixLayoutSetAttribute(*l, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch, sizeof batch));
        lt(cublasLtMatrixLayoutSetAttribute(*l, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &m.stride,
                                            sizeof m.stride));
    }
    cublasStatus_t choose(cublasLtMatmulHeuristicResult_t *result, int *found)
    {
        return cublasLtMatmulAlgoGetHeuristic(handle, desc, layout[0], layout[1], layout[2], layout[3], preference, 1,
                                              result, found);
    }
};

inline double gelu(double x) { return 0.5 * x * (1 + tanh(0.7978845608 * (x + 0.044715 * x * x * x))); }
inline double gelu_slope(double x)
{
    const double t = tanh(0.7978845608 * (x + 0.044715 * x * x * x));
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * 0.7978845608 * (1 + 3 * 0.044715 * x * x);
}

struct LtData {
    LtMatrix a, b, c, aux;
    std::vector<double> bias, before; /* what D held before */
};

inline double op(const LtMatrix &x, bool trans, int index, int i, int j)
{
    return trans ? x.at(index, j, i) : x.at(index, i, j);
}

/* D and what the epilogue writes besides. Rounding to the type of D moves a number by `unit` of it; sums of k terms
 * and what follows are off by (k + 3) fp32 roundings of their size, by more where the inputs are rounded to TF32. */
inline void check_lt(const LtTest &t, const LtData &x, const std::vector<double> &d, const std::vector<double> &aux,
                     const std::vector<double> &bias)
{
    const double unit = t.out == CUDA_R_32F ? FP32 : BF16;
    const double term = (t.k + 3) * FP32 + (t.compute == CUBLAS_COMPUTE_32F_FAST_TF32 ? 1.0 / (1 << 10) : 0);
    const bool has_bias = (t.epilogue & CUBLASLT_EPILOGUE_BIAS) != 0;
    std::vector<double> row_sum(size_t(t.m)), row_bound(size_t(t.m));
    std::vector<bool> written(d.size());
    for (int index = 0; index < t.batch; index++)
        for (int j = 0; j < t.n; j++)
            for (int i = 0; i < t.m; i++) {
                const size_t at = size_t(index * x.c.stride + int64_t(j) * x.c.ld + i);
                double y = t.beta == 0 ? 0 : t.beta * x.c.x[at], size = fabs(y);
                for (int p = 0; p < t.k; p++) {
                    const double v = t.alpha * op(x.a, t.ta, index, i, p) * op(x.b, t.tb, index, p, j);
                    y += v;
                    size += fabs(v);
                }
                if (has_bias)
                    y += x.bias[size_t(i)];
                double error = term * (size + (has_bias ? fabs(x.bias[size_t(i)]) : 0));
                if (t.epilogue == CUBLASLT_EPILOGUE_GELU_AUX || t.epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS)
                    check_close(aux[at], y, unit * fabs(y) + error, "before gelu");
                if (t.epilogue & CUBLASLT_EPILOGUE_GELU) {
                    error = 1.13 * error + 8 * FP32 * fabs(y); /* gelu's slope is below 1.13 */
                    y = gelu(y);
                } else if ((t.epilogue & CUBLASLT_EPILOGUE_DGELU) == CUBLASLT_EPILOGUE_DGELU) {
                    error = 1.13 * error + 16 * FP32 * fabs(y); /* and its terms below 1.5 */
                    y *= gelu_slope(x.aux.x[at]);
                }
                check_close(d[at], y, unit * fabs(y) + error, "D");
                row_sum[size_t(i)] += y;
                row_bound[size_t(i)] += error + (t.n + 1) * unit * fabs(y);
                written[at] = true;
            }
    for (size_t i = 0; i < d.size(); i++)
        if (!written[i])
            check_close(d[i], x.before[i], 0, "what lies between the columns of D");
    const bool of_a = t.epilogue == CUBLASLT_EPILOGUE_BGRADA, of_b = t.epilogue == CUBLASLT_EPILOGUE_BGRADB;
    for (int i = 0; (of_a || of_b) && i < (of_a ? t.m : t.n); i++) {
        double sum = 0, size = 0;
        for (int p = 0; p < t.k; p++) {
            const double v = of_a ? op(x.a, t.ta, 0, i, p) : op(x.b, t.tb, 0, p, i);
            sum += v;
            size += fabs(v);
        }
        check_close(bias[size_t(i)], sum, term * size + unit * fabs(sum), "the gradient of a bias");
    }
    for (int i = 0; t.epilogue == CUBLASLT_EPILOGUE_DGELU_BGRAD && i < t.m; i++)
        check_close(bias[size_t(i)], row_sum[size_t(i)], row_bound[size_t(i)], "the gradient of a bias, from D");
}

inline void run_lt(const LtTest &t)
{
    LtData x;
    x.a = random_matrix(t, t.ta ? t.k : t.m, t.ta ? t.m : t.k, t.in);
    x.b = random_matrix(t, t.tb ? t.n : t.k, t.tb ? t.k : t.n, t.in);
    x.c = random_matrix(t, t.m, t.n, t.out);
    x.aux = random_matrix(t, t.m, t.n, t.out);
    x.bias = random_values(size_t(std::max(t.m, t.n)), t.out);
    x.before = t.in_place ? x.c.x : random_values(x.c.x.size(), t.out);
    const Device<char> a(packed(x.a.x, t.in)), b(packed(x.b.x, t.in)), c(packed(x.c.x, t.out));
    const Device<char> aux(packed(x.aux.x, t.out)), bias(packed(x.bias, t.out)), other(packed(x.before, t.out));
    const Device<char> &d = t.in_place ? c : other;
    const Device<char> workspace(1 << 16);
    Lt l(t.compute, t.epilogue, t.ta, t.tb);
    l.shape(0, x.a, t.batch);
    l.shape(1, x.b, t.batch);
    l.shape(2, x.c, t.batch);
    l.shape(3, x.c, t.batch);
    l.set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, (void *)bias.p);
    if (t.epilogue & 128) {
        l.set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, (void *)aux.p);
        l.set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, int64_t(x.aux.ld));
        l.set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE, x.aux.stride);
    }
    const uint64_t most = workspace.n;
    lt(cublasLtMatmulPreferenceSetAttribute(l.preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &most,
                                            sizeof most));
    cublasLtMatmulHeuristicResult_t result;
    int found = 0;
    lt(l.choose(&result, &found));
    if (!check(found == 1, "types %d and %d, epilogue %d: no algorithm", t.in, t.out, t.epilogue))
        return;
    lt(cublasLtMatmul(l.handle, l.desc, &t.alpha, a.p, l.layout[0], b.p, l.layout[1], &t.beta, c.p, l.layout[2], d.p,
                      l.layout[3], &result.algo, workspace.p, workspace.n, nullptr));
    check_lt(t, x, unpacked(d.read(), t.out), unpacked(aux.read(), t.out), unpacked(bias.read(), t.out));
}

inline void test_lt_epilogues(void)
{
    const struct {
        cudaDataType_t in, out;
        cublasComputeType_t compute;
    } kinds[] = {{CUDA_R_16BF, CUDA_R_16BF, CUBLAS_COMPUTE_32F},
                 {CUDA_R_16BF, CUDA_R_32F, CUBLAS_COMPUTE_32F},
                 {CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F},
                 {CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F_FAST_TF32}};
    const cublasLtEpilogue_t epilogues[] = {CUBLASLT_EPILOGUE_DEFAULT,  CUBLASLT_EPILOGUE_BIAS,
                                            CUBLASLT_EPILOGUE_GELU,     CUBLASLT_EPILOGUE_GELU_BIAS,
                                            CUBLASLT_EPILOGUE_GELU_AUX, CUBLASLT_EPILOGUE_GELU_AUX_BIAS,
                                            CUBLASLT_EPILOGUE_DGELU,    CUBLASLT_EPILOGUE_BGRADA,
                                            CUBLASLT_EPILOGUE_BGRADB,   CUBLASLT_EPILOGUE_DGELU_BGRAD};
    int trans = 0;
    for (const auto &kind : kinds)
        for (cublasLtEpilogue_t e : epilogues) {
            run_lt({(trans & 1) != 0, (trans & 2) != 0, 24, 16, 40, 0, 1, kind.in, kind.out, kind.compute, e, 1, 0,
                    false});
            run_lt({(trans & 2) != 0, (trans & 1) == 0, 32, 24, 16, 8, 1, kind.in, kind.out, kind.compute, e, 0.5f,
                    0.25f, trans % 3 == 0});
            trans++;
        }
}

inline void test_lt_batches(void)
{
    for (int trans = 0; trans < 4; trans++) {
        const bool ta = trans & 1, tb = trans & 2;
        run_lt({ta, tb, 16, 24, 32, 8, 3, CUDA_R_16BF, CUDA_R_32F, CUBLAS_COMPUTE_32F, CUBLASLT_EPILOGUE_DEFAULT,
                0.125f, 0, false});
        run_lt({ta, tb, 16, 24, 32, 8, 3, CUDA_R_16BF, CUDA_R_16BF, CUBLAS_COMPUTE_32F, CUBLASLT_EPILOGUE_GELU_AUX_BIAS,
                1, 1, true});
        run_lt({ta, tb, 40, 8, 24, 0, 2, CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F, CUBLASLT_EPILOGUE_DEFAULT, -1, 1,
                false});
    }
}

/* A product of 16 x 16 matrices in one memory, and what to change about it. */
struct Refusal {
    const char *what;
    cudaDataType_t a, b, c, d;
    cublasComputeType_t compute;
    cublasLtEpilogue_t epilogue;
    int lda, aux_ld, aux_offset, bias_type, d_offset;
    cublasStatus_t want, heuristic;
};

inline void run_refusal(const Refusal &r)
{
    const Device<char> memory(std::vector<char>(16 * 16 * 4 * 8));
    const cudaDataType_t types[4] = {r.a, r.b, r.c, r.d};
    Lt l(r.compute, r.epilogue, false, false);
    for (int i = 0; i < 4; i++)
        l.shape(i, {16, 16, i == 0 ? r.lda : 16, 256, types[i], {}}, 1);
    l.set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, (void *)(memory.p + 6 * 1024));
    l.set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, r.bias_type);
    l.set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, (void *)(memory.p + 4 * 1024 + r.aux_offset));
    l.set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, int64_t(r.aux_ld));
    cublasLtMatmulHeuristicResult_t result = {};
    int found = 0;
    const cublasStatus_t chosen = l.choose(&result, &found);
    check(chosen == r.heuristic && (found == 1) == (chosen == CUBLAS_STATUS_SUCCESS), "%s: the heuristic gives %s, %d",
          r.what, cublasGetStatusString(chosen), found);
    const float one = 1, zero = 0;
    char *d = memory.p + 2 * 1024 + r.d_offset;
    const cublasStatus_t got =
        cublasLtMatmul(l.handle, l.desc, &one, memory.p, l.layout[0], memory.p + 1024, l.layout[1], &zero, d,
                       l.layout[2], d, l.layout[3], found ? &result.algo : nullptr, nullptr, 0, nullptr);
    check(got == r.want, "%s: %s", r.what, cublasGetStatusString(got));
}

inline void test_lt_refusals(void)
{
    const cudaDataType_t b = CUDA_R_16BF, f = CUDA_R_32F;
    const cublasComputeType_t full = CUBLAS_COMPUTE_32F, tf32 = CUBLAS_COMPUTE_32F_FAST_TF32;
    const cublasLtEpilogue_t none = CUBLASLT_EPILOGUE_DEFAULT, bias = CUBLASLT_EPILOGUE_BIAS;
    const cublasLtEpilogue_t aux = CUBLASLT_EPILOGUE_GELU_AUX, slope = CUBLASLT_EPILOGUE_DGELU;
    const cublasStatus_t good = CUBLAS_STATUS_SUCCESS, bad = CUBLAS_STATUS_INVALID_VALUE;
    const cublasStatus_t unknown = CUBLAS_STATUS_NOT_SUPPORTED;
    const Refusal refusals[] = {
        {"nothing wrong", b, b, b, b, full, none, 16, 16, 0, -1, 0, good, good},
        {"a bias of D's type", b, b, b, b, full, bias, 16, 16, 0, b, 0, good, good},
        {"an fp32 bias for bf16 D", b, b, b, b, full, bias, 16, 16, 0, f, 0, unknown, unknown},
        {"a bf16 bias for fp32 D", b, b, f, f, full, bias, 16, 16, 0, b, 0, unknown, unknown},
        {"A of fp32, B of bf16", f, b, f, f, full, none, 16, 16, 0, -1, 0, unknown, unknown},
        {"C of fp32, D of bf16", b, b, f, b, full, none, 16, 16, 0, -1, 0, unknown, unknown},
        {"fp32 into bf16", f, f, b, b, full, none, 16, 16, 0, -1, 0, unknown, unknown},
        {"TF32 of bf16", b, b, b, b, tf32, none, 16, 16, 0, -1, 0, unknown, unknown},
        {"lda below the rows", b, b, b, b, full, none, 15, 16, 0, -1, 0, bad, bad},
        {"an aux ld of 20", b, b, b, b, full, aux, 16, 20, 0, -1, 0, bad, bad},
        {"an aux ld below the rows", b, b, b, b, full, aux, 16, 8, 0, -1, 0, bad, bad},
        {"aux at 8 bytes", b, b, b, b, full, slope, 16, 16, 8, -1, 0, bad, bad},
        {"D at 8 bytes", b, b, b, b, full, none, 16, 16, 0, -1, 8, bad, good},
    };
    for (const Refusal &r : refusals)
        run_refusal(r);
}

/* An algorithm does for what it was chosen for: alignment, workspace, epilogue. */
inline void test_lt_algorithms(void)
{
    const Device<char> memory(std::vector<char>(4096)), workspace(1 << 16);
    const float one = 1, zero = 0;
    const uint64_t most = workspace.n;
    const uint32_t alignment = 8;
    Lt l(CUBLAS_COMPUTE_32F, CUBLASLT_EPILOGUE_DEFAULT, false, false);
    for (int i = 0; i < 4; i++)
        l.shape(i, {16, 16, 16, 256, CUDA_R_16BF, {}}, 1);
    lt(cublasLtMatmulPreferenceSetAttribute(l.preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &most,
                                            sizeof most));
    lt(cublasLtMatmulPreferenceSetAttribute(l.preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &alignment,
                                            sizeof alignment));
    lt(cublasLtMatmulPreferenceSetAttribute(l.preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &alignment,
                                            sizeof alignment));
    cublasLtMatmulHeuristicResult_t result = {};
    int found = 0;
    lt(l.choose(&result, &found));
    check(found == 1 && result.workspaceSize <= most, "%zu bytes of workspace", result.workspaceSize);
    const auto run = [&](int offset, size_t bytes) {
        char *d = memory.p + 1024 + offset;
        return cublasLtMatmul(l.handle, l.desc, &one, memory.p, l.layout[0], memory.p + 512, l.layout[1], &zero, d,
                              l.layout[2], d, l.layout[3], &result.algo, workspace.p, bytes, nullptr);
    };
    lt(run(0, most));
    lt(run(8, result.workspaceSize));
    check(result.workspaceSize == 0 || run(0, result.workspaceSize - 1) == CUBLAS_STATUS_INVALID_VALUE,
          "a byte of workspace too few");
#ifdef CUDA_ON_CPU
    l.set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_GELU);
    check(run(0, most) == CUBLAS_STATUS_INVALID_VALUE, "an algorithm for another epilogue");
#endif
}

#endif
