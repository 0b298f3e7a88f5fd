/*
 * The verbs on a GPU: our own kernels and cuBLAS, on the default stream, which waits for the model's and is waited for
 * by it. Sums are taken in a fixed order, so that two runs give the same bits. Factorisations go to the host and back,
 * and allocate there.
 */
extern "C" {
#include "base/random.h"
#include "optim/factor.h"
#include "optim/lines.h"
#include "optim/verbs.h"
}

#include "base/cuda.cuh"
#include "optim/verbs_math.h"

#include <vector>

namespace {

enum { THREADS = 256, PARTS = 256 };

/* f(i) for every i below n. */
template <class F> __global__ void each_kernel(size_t n, F f)
{
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        f(i);
}

template <class F> void each(size_t n, F f)
{
    const unsigned threads = n < THREADS ? 32 * cuda_blocks(n, 32) : (unsigned)THREADS;
    if (n > 0)
        cuda_launch(each_kernel<F>, cuda_blocks(n, threads), threads, 0, nullptr, n, f);
}

/* cuBLAS and a few doubles for sums, made at the first use. */
struct Device {
    cublasHandle_t cublas;
    double *parts; /* (PARTS) */
    double *sums;  /* a few results */
};

const Device &device()
{
    static const Device made = [] {
        Device d;
        CUBLAS_CHECK(cublasCreate(&d.cublas));
        CUDA_CHECK(cudaMalloc(&d.parts, PARTS * sizeof *d.parts));
        CUDA_CHECK(cudaMalloc(&d.sums, 8 * sizeof *d.sums));
        return d;
    }();
    return made;
}

__device__ double block_sum_double(double v)
{
    __shared__ double sums[THREADS];
    sums[threadIdx.x] = v;
    __syncthreads();
    for (unsigned half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half)
            sums[threadIdx.x] += sums[threadIdx.x + half];
        __syncthreads();
    }
    return sums[0];
}

__global__ void dot_parts_kernel(double *parts, size_t n, const float *x, const float *y)
{
    double sum = 0;
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x)
        sum += (double)x[i] * (double)y[i];
    sum = block_sum_double(sum);
    if (threadIdx.x == 0)
        parts[blockIdx.x] = sum;
}

__global__ void dot_total_kernel(double *total, const double *parts, unsigned count)
{
    const double sum = block_sum_double(threadIdx.x < count ? parts[threadIdx.x] : 0);
    if (threadIdx.x == 0)
        *total = sum;
}

/* *total = x . y, on the device. The order of the sum depends on n alone. */
void dot_to(double *total, size_t n, const float *x, const float *y)
{
    static_assert(PARTS == THREADS, "one thread a part in the last sum");
    const unsigned wanted = cuda_blocks(n, 8 * THREADS), blocks = wanted < PARTS ? wanted : (unsigned)PARTS;
    if (blocks <= 1) {
        cuda_launch(dot_parts_kernel, 1, THREADS, 0, nullptr, total, n, x, y);
        return;
    }
    cuda_launch(dot_parts_kernel, blocks, THREADS, 0, nullptr, device().parts, n, x, y);
    cuda_launch(dot_total_kernel, 1, THREADS, 0, nullptr, total, device().parts, blocks);
}

/* A copy of device floats on the host, for what has no kernel. */
std::vector<float> host_copy(Mats x)
{
    std::vector<float> host(mats_size(x));
    verb_read(host.size(), host.data(), x.data);
    return host;
}

Mats on_host(Mats x, std::vector<float> &host)
{
    return {host.data(), x.rows, x.cols, x.batch};
}

} // namespace

/* --------------------------------------------------------------------------------------------------------------
 * Memory
 */

int verb_alloc(size_t n, const char *what, float **out, Error *e)
{
    if (cudaMalloc(out, (n > 0 ? n : 1) * sizeof **out) != cudaSuccess) {
        *out = NULL;
        cudaGetLastError();
        return error_set(e, "out of GPU memory: %.0f MiB for %s", (double)n * sizeof **out / 0x1p20, what);
    }
    CUDA_CHECK(cudaMemset(*out, 0, n * sizeof **out));
    return 0;
}

void verb_free(float *x)
{
    if (x != NULL) /* what was only planned never met the device */
        CUDA_CHECK(cudaFree(x));
}

void verb_read(size_t n, float *host, const float *x)
{
    CUDA_CHECK(cudaMemcpy(host, x, n * sizeof *x, cudaMemcpyDeviceToHost));
}

void verb_write(size_t n, float *x, const float *host)
{
    CUDA_CHECK(cudaMemcpy(x, host, n * sizeof *x, cudaMemcpyHostToDevice));
}

/* --------------------------------------------------------------------------------------------------------------
 * Elementwise
 */

void verb_momentum(size_t n, float *m, float *u, const float *g, double mu, bool nesterov, double s)
{
    const float keep = (float)mu, share = (float)((1 - mu) * s);
    each(n, [=] __device__(size_t i) { u[i] = momentum_element(&m[i], g[i], keep, share, nesterov); });
}

void verb_precondition(size_t n, float *u, float *v, const float *g, double beta, double correction, double eps,
                       double s)
{
    const float keep = (float)beta, share = (float)(1 - beta), scale = (float)s, factor = (float)correction;
    const float least = (float)eps;
    each(n, [=] __device__(size_t i) {
        u[i] = precondition_element(u[i], &v[i], scale * g[i], keep, share, factor, least);
    });
}

void verb_adam_direction(size_t n, float *u, float *m, float *v, const float *g, double beta1, double beta2,
                         double correction, double eps, double s)
{
    const float keep1 = (float)beta1, share1 = (float)((1 - beta1) * s), keep2 = (float)beta2;
    const float share2 = (float)(1 - beta2), scale = (float)s, factor = (float)correction, least = (float)eps;
    each(n, [=] __device__(size_t i) {
        const float new_m = momentum_element(&m[i], g[i], keep1, share1, false);
        u[i] = precondition_element(new_m, &v[i], scale * g[i], keep2, share2, factor, least);
    });
}

void verb_adamw(size_t n, float *p, const float *g, float *m, float *v, const AdamwScalars *k)
{
    const AdamwScalars scalars = *k;
    each(n, [=] __device__(size_t i) { adamw_element(&p[i], g[i], &m[i], &v[i], &scalars); });
}

void verb_update(size_t n, float *p, const float *u, Decay decay, double step)
{
    const float minus_step = (float)-step;
    each(n, [=] __device__(size_t i) { p[i] = fmaf(minus_step, u[i], decay_keep(p[i], u[i], &decay) * p[i]); });
}

void verb_scale(size_t n, float *to, const float *x, double s)
{
    const float factor = (float)s;
    each(n, [=] __device__(size_t i) { to[i] = factor * x[i]; });
}

void verb_add(size_t n, float *to, const float *x, double a, double b)
{
    const float keep = (float)a, share = (float)b;
    each(n, [=] __device__(size_t i) { to[i] = fmaf(share, x[i], keep * to[i]); });
}

void verb_fill(size_t n, float *to, double x)
{
    const float value = (float)x;
    each(n, [=] __device__(size_t i) { to[i] = value; });
}

void verb_normal(size_t n, float *to, size_t stream)
{
    std::vector<float> host(n);
    Random random = random_make(0, stream);
    for (float &x : host)
        x = (float)random_normal(&random);
    verb_write(n, to, host.data());
}

double verb_sum_squares(size_t n, const float *x)
{
    double sum;
    dot_to(device().sums, n, x, x);
    CUDA_CHECK(cudaMemcpy(&sum, device().sums, sizeof sum, cudaMemcpyDeviceToHost));
    return sum;
}

/* --------------------------------------------------------------------------------------------------------------
 * Norms
 */

void verb_norms(Mats x, float *norms)
{
    const double *sums = device().sums;
    for (size_t b = 0; b < x.batch; b++) {
        const float *matrix = x.data + b * x.rows * x.cols;
        dot_to(device().sums, x.rows * x.cols, matrix, matrix);
        each(1, [=] __device__(size_t) { norms[b] = (float)sqrt(*sums); });
    }
}

void verb_dots(Mats x, Mats y, float *dots)
{
    const double *sums = device().sums;
    const size_t n = x.rows * x.cols;
    for (size_t b = 0; b < x.batch; b++) {
        dot_to(device().sums, n, x.data + b * n, y.data + b * n);
        each(1, [=] __device__(size_t) { dots[b] = (float)*sums; });
    }
}

void verb_rescale(Mats x, const float *numerator, const float *denominator, double factor, double floor)
{
    const size_t n = x.rows * x.cols;
    float *data = x.data;
    each(mats_size(x), [=] __device__(size_t i) {
        const size_t b = i / n;
        const double d = factor * (denominator != NULL ? (double)denominator[b] : 1.0);
        const double s = (numerator != NULL ? (double)numerator[b] : 1.0) / (d < floor ? floor : d);
        data[i] = (float)s * data[i];
    });
}

__device__ static double line_squares(const float *x, const Lines &lines)
{
    double sum = 0;
    for (size_t i = 0; i < lines.length; i++)
        sum += (double)x[i * lines.step] * (double)x[i * lines.step];
    return sum;
}

__device__ static void line_scale(float *x, const Lines &lines, float s)
{
    for (size_t i = 0; i < lines.length; i++)
        x[i * lines.step] = s * x[i * lines.step];
}

void verb_normalise_lines(Mats x, float *v, double beta, double floor)
{
    const Lines lines = lines_of(x, x.rows < x.cols);
    each(x.batch * lines.count, [=] __device__(size_t i) {
        float *line = x.data + i / lines.count * x.rows * x.cols + i % lines.count * lines.line;
        const double mean = line_squares(line, lines) / (double)lines.length;
        v[i] = (float)(beta * (double)v[i] + (1 - beta) * mean);
        line_scale(line, lines, (float)(1 / sqrt((double)v[i] < floor ? floor : (double)v[i])));
    });
}

void verb_normalise_columns(Mats x, double eps)
{
    const Lines lines = lines_of(x, true);
    each(x.batch * lines.count, [=] __device__(size_t i) {
        float *line = x.data + i / lines.count * x.rows * x.cols + i % lines.count;
        line_scale(line, lines, (float)(1 / (sqrt(line_squares(line, lines)) + eps)));
    });
}

void verb_rotate(size_t n, float *p, const float *u, double step, double floor)
{
    double *sums = device().sums; /* p.p, p.u, u.u */
    dot_to(sums, n, p, p);
    dot_to(sums + 1, n, p, u);
    dot_to(sums + 2, n, u, u);
    each(n, [=] __device__(size_t i) {
        const Rotation rotation = rotation_of(sums[0], sums[1], sums[2], step, floor);
        p[i] = fmaf((float)(-rotation.scale * rotation.a), u[i], (float)rotation.scale * p[i]);
    });
}

void verb_penalise(size_t n, float *p, float *multiplier, float *bound, bool holding, bool active)
{
    double *sums = device().sums;
    if (!holding && !active)
        return;
    dot_to(sums, n, p, p);
    each(1, [=] __device__(size_t) {
        const double mean = sums[0] / (double)n;
        if (holding)
            *bound = (float)mean;
        if (!active)
            return;
        *multiplier = raised_multiplier(*multiplier, mean, *bound);
    });
    if (active)
        each(n, [=] __device__(size_t i) { p[i] = (float)(1 - 2 * (double)*multiplier) * p[i]; });
}

/* --------------------------------------------------------------------------------------------------------------
 * Products. cuBLAS is column-major: C^T = op(B)^T op(A)^T.
 */

void verb_product(Mats a, bool transpose_a, Mats b, bool transpose_b, double alpha, double beta, Mats c)
{
    const float scale = (float)alpha, keep = (float)beta;
    const size_t k = transpose_a ? a.rows : a.cols;
    CUBLAS_CHECK(cublasSgemmStridedBatched(
        device().cublas, transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N, transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N, (int)c.cols,
        (int)c.rows, (int)k, &scale, b.data, (int)b.cols, (long long)(b.rows * b.cols), a.data, (int)a.cols,
        (long long)(a.rows * a.cols), &keep, c.data, (int)c.cols, (long long)(c.rows * c.cols), (int)c.batch));
}

void verb_gram_average(Mats x, bool right, double keep, double share, Mats gram)
{
    verb_product(x, right, x, !right, share, keep, gram);
}

void verb_gram(Mats x, Mats gram)
{
    verb_gram_average(x, x.rows > x.cols, 0, 1, gram);
}

void verb_polynomial(Mats gram, Mats to, double a, double b, double c)
{
    const size_t n = gram.rows;
    const float diagonal = (float)a;
    float *data = to.data;
    verb_scale(mats_size(gram), to.data, gram.data, b);
    if (c != 0)
        verb_product(gram, false, gram, false, c, 1, to);
    each(gram.batch * n, [=] __device__(size_t i) { data[i / n * n * n + i % n * (n + 1)] += diagonal; });
}

void verb_apply(Mats p, Mats x, Mats to)
{
    const bool wide = x.rows <= x.cols;
    verb_product(wide ? p : x, false, wide ? x : p, false, 1, 0, to);
}

void verb_copy(Mats x, Mats to)
{
    CUDA_CHECK(cudaMemcpyAsync(to.data, x.data, mats_size(x) * sizeof *x.data, cudaMemcpyDeviceToDevice, nullptr));
}

/* --------------------------------------------------------------------------------------------------------------
 * Lines
 */

void verb_scale_lines(Mats x, const float *s, bool right, Mats to)
{
    each(mats_size(x), [=] __device__(size_t i) {
        const size_t row = i / x.cols, column = row / x.rows * x.cols + i % x.cols;
        to.data[i] = s[right ? column : row] * x.data[i];
    });
}

void verb_mean_squares(Mats x, bool right, float *mean)
{
    const Lines lines = lines_of(x, right);
    each(x.batch * lines.count, [=] __device__(size_t i) {
        const float *line = x.data + i / lines.count * x.rows * x.cols + i % lines.count * lines.line;
        mean[i] = (float)(line_squares(line, lines) / (double)lines.length);
    });
}

void verb_inverse_roots(size_t n, float *s, const float *x, double beta, double most)
{
    each(n, [=] __device__(size_t i) { s[i] = inverse_root_element(s[i], x[i], beta, most); });
}

/* --------------------------------------------------------------------------------------------------------------
 * Factorisations, on the host
 */

/* None on the device. */
size_t verb_scratch(size_t rows, size_t cols, size_t batch)
{
    (void)rows, (void)cols, (void)batch;
    return 0;
}

void verb_polar(Mats x, double cutoff, float *scratch)
{
    std::vector<float> host = host_copy(x), work(factor_scratch(x.rows, x.cols, x.batch));
    (void)scratch;
    factor_polar(on_host(x, host), cutoff, work.data());
    verb_write(host.size(), x.data, host.data());
}

void verb_eigenbasis(Mats a, Mats basis, float *scratch)
{
    std::vector<float> host = host_copy(a), vectors(host.size()), work(factor_scratch(a.rows, a.cols, a.batch));
    (void)scratch;
    factor_eigenbasis(on_host(a, host), on_host(basis, vectors), work.data());
    verb_write(vectors.size(), basis.data, vectors.data());
}

void verb_root(Mats a, double scale, double eps, double power, Mats root, float *scratch)
{
    std::vector<float> host = host_copy(a), result(host.size()), work(factor_scratch(a.rows, a.cols, a.batch));
    (void)scratch;
    factor_root(on_host(a, host), scale, eps, power, on_host(root, result), work.data());
    verb_write(result.size(), root.data, result.data());
}

void verb_qr(Mats x, float *scratch)
{
    std::vector<float> host = host_copy(x), work(factor_scratch(x.rows, x.cols, x.batch));
    (void)scratch;
    factor_qr(on_host(x, host), work.data());
    verb_write(host.size(), x.data, host.data());
}

void verb_sort_basis(Mats basis, Mats image, Mats v, bool right, float *scratch)
{
    std::vector<float> q = host_copy(basis), a = host_copy(image), moments = host_copy(v);
    std::vector<float> work(factor_scratch(basis.rows, basis.cols, basis.batch));
    (void)scratch;
    factor_sort_basis(on_host(basis, q), on_host(image, a), on_host(v, moments), right, work.data());
    verb_write(q.size(), basis.data, q.data());
    verb_write(a.size(), image.data, a.data());
    verb_write(moments.size(), v.data, moments.data());
}
