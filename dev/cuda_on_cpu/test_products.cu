/*
 * test_products [MOST]
 *
 * Products of ones, by the functions that train_gpt.cu and the optimizers multiply with, of every shape that training
 * GPT-2 124M has and of odd lengths k of the sums: they are k, exactly. Then matrices that are 0 but for the last TAIL
 * places of k: they are TAIL, where bf16 would round k. A library that splits k among blocks and leaves out the end, or
 * takes it twice, is found, and so is one that reads C with beta = 0.
 *
 * MOST: at most so many rows and columns of results, for the emulation, which has the time for k alone.
 */
#include "base/cuda.cuh"
#include "base/cuda/lt.cuh"
#include "dev/cuda_on_cpu/needs.cuh"

#include <algorithm>
#include <cuda_bf16.h>
#include <vector>

extern "C" {
#include "dev/tests/check.h"
#include "optim/verbs/verbs.h"
}

using bf16 = __nv_bfloat16;

enum : size_t { TAIL = 64, BLOCKS_MOST = 1024, THREADS = 256, WORKSPACE = 72 << 20 }; /* that of GPT-2 124M */
static const float BEFORE = 256;                                                      /* what C and the bias hold */

static size_t most = SIZE_MAX; /* rows and columns of results */
static Lt lt;
static Verbs *verbs;

/* --------------------------------------------------------------------------------------------------------------
 * Matrices
 */

__device__ static float element(float x) { return x; }
__device__ static float element(bf16 x) { return __bfloat162float(x); }
__device__ static void set(float *x, float value) { *x = value; }
__device__ static void set(bf16 *x, float value) { *x = __float2bfloat16_rn(value); }

/* For kernels over n elements. */
static unsigned blocks_of(size_t n) { return std::min(cuda_blocks(n, THREADS), (unsigned)BLOCKS_MOST); }

/* x (rows,cols) = 1, but 0 before column `first`, or row `first` if k runs along the rows. */
template <class X> __global__ void ones_kernel(X *x, size_t rows, size_t cols, bool k_is_row, size_t first)
{
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < rows * cols; i += (size_t)gridDim.x * blockDim.x)
        set(x + i, (k_is_row ? i / cols : i % cols) >= first ? 1.0f : 0.0f);
}

template <class X> __global__ void fill_kernel(X *x, size_t n, float value)
{
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x)
        set(x + i, value);
}

/* wrong[block]: how many of its elements are not `want`. */
template <class X> __global__ void count_kernel(double *wrong, const X *x, size_t n, float want)
{
    double count = 0;
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x)
        count += element(x[i]) == want ? 0 : 1;
    count = block_sum(count);
    if (threadIdx.x == 0)
        wrong[blockIdx.x] = count;
}

/* n elements on the device; NULL if they do not fit. */
template <class X> struct Device {
    X *p;
    explicit Device(size_t n)
    {
        if (cudaMalloc(&p, n * sizeof(X)) != cudaSuccess) {
            p = NULL;
            cudaGetLastError();
        }
    }
    Device(const Device &) = delete;
    ~Device() { cudaFree(p); }
};

template <class X> static void fill(X *x, size_t n, float value)
{
    cuda_launch(fill_kernel<X>, blocks_of(n), THREADS, 0, 0, x, n, value);
}

/* --------------------------------------------------------------------------------------------------------------
 * Products of m x k and k x n
 */

struct Shape {
    size_t m, n, k;
    bool transpose_a, transpose_b;
};

/* `sum` as an element X of a result holds it */
static float rounded(const float *, float sum) { return sum; }
static float rounded(const bf16 *, float sum) { return __bfloat162float(__float2bfloat16_rn(sum)); }

template <class Y> static void check_result(const Shape &s, const char *what, const Y *c, size_t n, float sum)
{
    std::vector<double> wrong(blocks_of(n));
    const Device<double> counts(wrong.size());
    const float want = rounded(c, sum);
    Y first;
    cuda_launch(count_kernel<Y>, blocks_of(n), THREADS, 0, 0, counts.p, c, n, want);
    CUDA_CHECK(cudaMemcpy(wrong.data(), counts.p, wrong.size() * sizeof(double), cudaMemcpyDeviceToHost));
    CUDA_CHECK(cudaMemcpy(&first, c, sizeof first, cudaMemcpyDeviceToHost));
    double total = 0;
    for (double w : wrong)
        total += w;
    check(total == 0, "%zu x %zu x %zu%s%s, %s: %.0f of %zu are not %.9g; the first is %.9g", s.m, s.n, s.k,
          s.transpose_a ? ", A transposed" : "", s.transpose_b ? ", B transposed" : "", what, total, n, (double)want,
          (double)(float)first);
}

/* multiply(a, b, beta, c, how many ones a row of a has): all ones, or the tail alone, with beta 0 and 1. `added`: what
 * else it adds. */
template <class X, class Y, class F>
static void check_products(const Shape &s, size_t batch, float added, const char *what, F multiply)
{
    const Device<X> a(batch * s.m * s.k), b(batch * s.k * s.n);
    const Device<Y> c(batch * s.m * s.n);
    if (a.p == NULL || b.p == NULL || c.p == NULL) {
        check_skip("the GPU has too little memory for some shapes");
        return;
    }
    fill(b.p, batch * s.k * s.n, 1);
    for (size_t count : {s.k, std::min(s.k, (size_t)TAIL)}) {
        for (size_t i = 0; i < batch; i++)
            cuda_launch(ones_kernel<X>, blocks_of(s.m * s.k), THREADS, 0, 0, a.p + i * s.m * s.k,
                        s.transpose_a ? s.k : s.m, s.transpose_a ? s.m : s.k, s.transpose_a, s.k - count);
        for (float beta : {0.0f, 1.0f}) {
            fill(c.p, batch * s.m * s.n, beta == 0 ? NAN : BEFORE);
            if (multiply(a.p, b.p, beta, c.p, (float)count))
                check_result(s, what, c.p, batch * s.m * s.n, (float)count + (beta == 0 ? 0 : BEFORE) + added);
        }
    }
}

/* --------------------------------------------------------------------------------------------------------------
 * The model's
 */

static cudaDataType_t type_of(const float *) { return CUDA_R_32F; }
static cudaDataType_t type_of(const bf16 *) { return CUDA_R_16BF; }

static LtShape lt_shape(const Shape &s, cudaDataType_t input, cudaDataType_t output, bool tf32, LtEpilogue epilogue,
                        size_t batch)
{
    return {s.m,
            s.n,
            s.k,
            s.transpose_a,
            s.transpose_b,
            s.transpose_a ? s.m : s.k,
            s.transpose_b ? s.k : s.n,
            s.n,
            input,
            output,
            tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F,
            epilogue,
            batch};
}

/* By cuBLASLt, where it has the epilogue; it must have LT_PLAIN. */
template <class X, class Y>
static void check_lt(const Shape &whole, bool tf32, LtEpilogue epilogue = LT_PLAIN, const char *what = "")
{
    const Shape s = {std::min(whole.m, most), std::min(whole.n, most), whole.k, whole.transpose_a, whole.transpose_b};
    const bool biased = epilogue == LT_BIAS || epilogue == LT_BIAS_GELU, sums = epilogue == LT_ROW_SUMS;
    const bool has_aux = epilogue == LT_BIAS_GELU || epilogue == LT_GELU_SLOPE;
    const size_t places = sums ? s.m : s.n;
    const Device<Y> bias(places), aux(has_aux ? s.m * s.n : 1);
    if (bias.p == NULL || aux.p == NULL)
        return check_skip("the GPU has too little memory for some shapes");
    fill(bias.p, places, BEFORE);
    check_products<X, Y>(
        s, 1, biased ? BEFORE : 0.0f, what, [&](const X *a, const X *b, float beta, Y *c, float count) {
            const LtShape shape = lt_shape(s, type_of(a), type_of(c), tf32, epilogue, 1);
            if (beta != 0 && epilogue != LT_PLAIN && !sums)
                return false; /* the model has none */
            if (has_aux)
                fill(aux.p, s.m * s.n, BEFORE); /* where the GELU's slope is 1 */
            const bool done =
                lt_product(&lt, 0, shape, 1, a, b, beta, c, c, biased || sums ? bias.p : NULL, has_aux ? aux.p : NULL);
            if (done && sums)
                check_result(s, "the sums of rows", bias.p, s.m, count);
            check(done || epilogue != LT_PLAIN, "%zu x %zu x %zu: cuBLASLt cannot", s.m, s.n, s.k);
            return done;
        });
}

/* The layers of GPT-2 124M: channels in and out. The last is the classifier, with a padded vocabulary. */
static const size_t layers[][2] = {{768, 2304}, {768, 768}, {768, 3072}, {3072, 768}, {768, 50304}};

/* Activations in X; gradients of weights in fp32. */
template <class X> static void test_forward(bool tf32)
{
    for (size_t rows = 1024; rows <= 16384; rows *= 2)
        for (const size_t *l : layers) {
            check_lt<X, X>({rows, l[1], l[0], false, true}, tf32);
            check_lt<X, X>({rows, l[1], l[0], false, true}, tf32, LT_BIAS, "with a bias");
            if (std::is_same<X, bf16>::value)
                check_lt<X, X>({rows, l[1], l[0], false, true}, tf32, LT_BIAS_GELU, "with a bias and GELU");
        }
}

template <class X> static void test_backward_input(bool tf32)
{
    for (size_t rows = 1024; rows <= 16384; rows *= 2)
        for (const size_t *l : layers) {
            check_lt<X, X>({rows, l[0], l[1], false, false}, tf32);
            if (std::is_same<X, bf16>::value)
                check_lt<X, X>({rows, l[0], l[1], false, false}, tf32, LT_GELU_SLOPE, "times GELU's slope");
        }
}

/* Their k is a micro-batch, as large as memory allows; the classifier's is cut into blocks of 16,384 rows. */
template <class X> static void test_backward_weight(bool tf32)
{
    for (size_t rows = 1024; rows <= 131072; rows *= 2)
        for (const size_t *l : layers)
            for (LtEpilogue epilogue : {LT_PLAIN, LT_ROW_SUMS})
                if (rows <= 16384 || l[1] < 50304)
                    check_lt<X, float>({l[1], l[0], rows, true, false}, tf32, epilogue, "");
}

static const size_t odd_lengths[] = {700, 1000, 16383};

template <class X> static void test_odd(bool tf32)
{
    for (size_t k : odd_lengths) {
        check_lt<X, X>({768, 768, k, false, true}, tf32);
        check_lt<X, X>({768, 768, k, false, false}, tf32);
        check_lt<X, float>({768, 768, k, true, false}, tf32);
    }
}

/* --------------------------------------------------------------------------------------------------------------
 * The optimizers'
 */

/* Squares and Gram matrices of GPT-2's hidden matrices, what is applied to these, and odd lengths. */
template <class F> static void each_of_verbs(F f)
{
    for (size_t k : {(size_t)768, (size_t)3072, odd_lengths[0], odd_lengths[1], odd_lengths[2]})
        for (int transposes = 0; transposes < 4; transposes++)
            f(Shape{std::min<size_t>(768, most), std::min<size_t>(768, most), k, (transposes & 1) != 0,
                    (transposes & 2) != 0});
    f(Shape{std::min<size_t>(768, most), std::min<size_t>(3072, most), 768, false, false});
    f(Shape{std::min<size_t>(3072, most), std::min<size_t>(768, most), 768, false, false});
}

enum : size_t { BATCH = 3 };

static size_t rows_of(bool transposed, size_t rows, size_t cols) { return transposed ? cols : rows; }

/* c (batch, m, n) = op(A) op(B) + beta c, by the verb of the type. */
static void by_verb(const Shape &s, size_t batch, float *a, float *b, float beta, float *c)
{
    verb_product(verbs, {a, rows_of(s.transpose_a, s.m, s.k), rows_of(s.transpose_a, s.k, s.m), batch}, s.transpose_a,
                 {b, rows_of(s.transpose_b, s.k, s.n), rows_of(s.transpose_b, s.n, s.k), batch}, s.transpose_b, 1, beta,
                 {c, s.m, s.n, batch});
}
static void by_verb(const Shape &s, size_t batch, bf16 *a, bf16 *b, float beta, bf16 *c)
{
    verb_bf16_product(verbs, {a, rows_of(s.transpose_a, s.m, s.k), rows_of(s.transpose_a, s.k, s.m), batch},
                      s.transpose_a, {b, rows_of(s.transpose_b, s.k, s.n), rows_of(s.transpose_b, s.n, s.k), batch},
                      s.transpose_b, 1, beta, {c, s.m, s.n, batch}, {c, s.m, s.n, batch});
}

template <class X> static void test_verb(void)
{
    each_of_verbs([](const Shape &s) {
        check_products<X, X>(s, BATCH, 0, "a batch", [&](X *a, X *b, float beta, X *c, float) {
            by_verb(s, BATCH, a, b, beta, c);
            return true;
        });
    });
}

/* n numbers without a pattern, between -1 and 1. */
template <class X> static void fill_random(X *to, size_t n)
{
    std::vector<X> x(n);
    for (size_t i = 0; i < n; i++)
        x[i] = (X)((float)((uint32_t)i * 2654435761u >> 8) * 0x1p-23f - 1); /* Knuth's hash */
    CUDA_CHECK(cudaMemcpy(to, x.data(), n * sizeof(X), cudaMemcpyHostToDevice));
}

/* multiply(batch, a, b, c) gives a matrix the same bits among others as alone: otherwise how many matrices a rank has
 * would choose them, and so would the number of ranks. */
template <class X, class Y, class F> static void check_alone(const Shape &s, F multiply)
{
    const size_t in_a = s.m * s.k, in_b = s.k * s.n, in_c = s.m * s.n;
    const Device<X> a(BATCH * in_a), b(BATCH * in_b);
    const Device<Y> c(BATCH * in_c), one(in_c);
    std::vector<Y> among(BATCH * in_c), alone(in_c);
    if (a.p == NULL || b.p == NULL || c.p == NULL || one.p == NULL)
        return check_skip("the GPU has too little memory for some shapes");
    fill_random(a.p, BATCH * in_a);
    fill_random(b.p, BATCH * in_b);
    multiply(BATCH, a.p, b.p, c.p);
    CUDA_CHECK(cudaMemcpy(among.data(), c.p, among.size() * sizeof(Y), cudaMemcpyDeviceToHost));
    for (size_t i = 0; i < BATCH; i++) {
        multiply(1, a.p + i * in_a, b.p + i * in_b, one.p);
        CUDA_CHECK(cudaMemcpy(alone.data(), one.p, in_c * sizeof(Y), cudaMemcpyDeviceToHost));
        check(memcmp(alone.data(), among.data() + i * in_c, in_c * sizeof(Y)) == 0,
              "%zu x %zu x %zu%s%s: matrix %zu of %zu has other bits alone", s.m, s.n, s.k,
              s.transpose_a ? ", A transposed" : "", s.transpose_b ? ", B transposed" : "", i, (size_t)BATCH);
    }
}

template <class X> static void test_verb_alone(void)
{
    each_of_verbs([](const Shape &s) {
        check_alone<X, X>(s, [&](size_t batch, X *a, X *b, X *c) { by_verb(s, batch, a, b, 0, c); });
    });
}

/* As the verb asks cuBLASLt, but without rounding to bf16, which hides most of what differs. */
static void test_lt_alone(void)
{
    Lt bare = {};
    lt_create(&bare, 0);
    each_of_verbs([&](const Shape &s) {
        check_alone<bf16, float>(s, [&](size_t batch, bf16 *a, bf16 *b, float *c) {
            const LtShape shape = lt_shape(s, CUDA_R_16BF, CUDA_R_32F, false, LT_PLAIN, batch);
            check(lt_product(&bare, 0, shape, 1, a, b, 0, c, c, NULL, NULL), "%zu x %zu x %zu: cuBLASLt cannot", s.m,
                  s.n, s.k);
        });
    });
    lt_free(&bare);
}

/* Where a result lies, beyond the 16 bytes that plans are made for, does not choose its bits: buffers of a run that goes on
 * lie elsewhere. */
static void test_lt_anywhere(void)
{
    enum : size_t { ON = 4 }; /* floats, 16 bytes */
    each_of_verbs([](const Shape &s) {
        const size_t in_a = s.m * s.k, in_b = s.k * s.n, in_c = s.m * s.n;
        const Device<bf16> a(in_a), b(in_b);
        const Device<float> c(in_c + ON);
        std::vector<float> first(in_c), second(in_c);
        if (a.p == NULL || b.p == NULL || c.p == NULL)
            return check_skip("the GPU has too little memory for some shapes");
        fill_random(a.p, in_a);
        fill_random(b.p, in_b);
        for (size_t on : {(size_t)0, (size_t)ON}) {
            const LtShape shape = lt_shape(s, CUDA_R_16BF, CUDA_R_32F, false, LT_PLAIN, 1);
            check(lt_product(&lt, 0, shape, 1, a.p, b.p, 0, c.p + on, c.p + on, NULL, NULL),
                  "%zu x %zu x %zu: cuBLASLt cannot", s.m, s.n, s.k);
            CUDA_CHECK(
                cudaMemcpy((on ? second : first).data(), c.p + on, in_c * sizeof(float), cudaMemcpyDeviceToHost));
        }
        check(memcmp(first.data(), second.data(), in_c * sizeof(float)) == 0,
              "%zu x %zu x %zu: 16 bytes on, the product has other bits", s.m, s.n, s.k);
    });
}

/* --------------------------------------------------------------------------------------------------------------
 */

/* Where the device cannot, a case is skipped. */
template <void (*F)(void)> static void if_bf16(void) { has_bf16() ? F() : check_skip("this GPU has none"); }
template <void (*F)(bool)> static void plain(void) { F(false); }
template <void (*F)(bool)> static void in_tf32(void) { F(true); }

int main(int argc, char **argv)
{
    Error e;
    if (argc > 1)
        most = strtoull(argv[1], NULL, 10);
    lt_create(&lt, WORKSPACE);
    CUDA_CHECK(cudaMalloc(&lt.workspace, WORKSPACE));
    if (verbs_create(NULL, &verbs, &e) != 0) {
        printf("%s\n", e.text);
        return 1;
    }
    check_run("fp32, forward", plain<test_forward<float>>);
    check_run("fp32, backward to the input", plain<test_backward_input<float>>);
    check_run("fp32, backward to the weight", plain<test_backward_weight<float>>);
    check_run("fp32, odd lengths", plain<test_odd<float>>);
    check_run("tf32, forward", if_bf16<in_tf32<test_forward<float>>>);
    check_run("tf32, backward to the input", if_bf16<in_tf32<test_backward_input<float>>>);
    check_run("tf32, backward to the weight", if_bf16<in_tf32<test_backward_weight<float>>>);
    check_run("tf32, odd lengths", if_bf16<in_tf32<test_odd<float>>>);
    check_run("bf16, forward", if_bf16<plain<test_forward<bf16>>>);
    check_run("bf16, backward to the input", if_bf16<plain<test_backward_input<bf16>>>);
    check_run("bf16, backward to the weight", if_bf16<plain<test_backward_weight<bf16>>>);
    check_run("bf16, odd lengths", if_bf16<plain<test_odd<bf16>>>);
    check_run("the optimizers', fp32", test_verb<float>);
    check_run("the optimizers', bf16", if_bf16<test_verb<bf16>>);
    check_run("the optimizers', fp32: a matrix alone", test_verb_alone<float>);
    check_run("the optimizers', bf16: a matrix alone", if_bf16<test_verb_alone<bf16>>);
    check_run("bf16 to fp32: a matrix alone", if_bf16<test_lt_alone>);
    check_run("bf16 to fp32: wherever the result lies", if_bf16<test_lt_anywhere>);
    verbs_free(verbs);
    CUDA_CHECK(cudaFree(lt.workspace));
    lt_free(&lt);
    return check_summary();
}
