/*
 * The factorisations of verbs.h on a GPU: cuSOLVER and cuBLAS in double, as factor.c computes them on the CPU. Whether
 * a matrix is finite and whether its factorisation converged is recorded on the device and read by kernels: what cannot
 * be factored becomes NaN. A batch is processed a few matrices at a time, so that the doubles fit in SCRATCH_MOST if
 * one matrix's do. cuSOLVER's workspace is queried once per shape and kept.
 */
extern "C" {
#include "optim/verbs/verbs.h"
}

#include "optim/verbs/cusolver_check.cuh"
#include "optim/verbs/device.cuh"

#include <math.h>

#include <algorithm>
#include <vector>

using namespace optim_device;

/* The workspace of a call, by shape. */
struct Need {
    enum Call { SYEV, QR } call;
    size_t rows, cols, batch, bytes, host_bytes;
};

/* cuSOLVER and its workspace, which only grows. */
struct Solver {
    cusolverDnHandle_t handle;
    cusolverDnParams_t params;
    void *workspace;
    size_t bytes;
    std::vector<char> host_workspace;
    std::vector<Need> known;
};

void solver_free(Solver *s)
{
    if (s == NULL)
        return;
    CUSOLVER_CHECK(cusolverDnDestroyParams(s->params));
    CUSOLVER_CHECK(cusolverDnDestroy(s->handle));
    CUDA_CHECK(cudaFree(s->workspace));
    delete s;
}

namespace {

enum : size_t { SCRATCH_MOST = (size_t)1 << 25 /* doubles */ };

Solver &solver_of(Verbs *on)
{
    if (on->solver == NULL) {
        on->solver = new Solver();
        CUSOLVER_CHECK(cusolverDnCreate(&on->solver->handle));
        CUSOLVER_CHECK(cusolverDnSetStream(on->solver->handle, on->stream));
        CUSOLVER_CHECK(cusolverDnCreateParams(&on->solver->params));
    }
    return *on->solver;
}

void reserve(Solver &s, size_t bytes, size_t host_bytes)
{
    if (bytes > s.bytes) {
        CUDA_CHECK(cudaFree(s.workspace));
        CUDA_CHECK(cudaMalloc((char **)&s.workspace, bytes));
        s.bytes = bytes;
    }
    if (host_bytes > s.host_workspace.size())
        s.host_workspace.resize(host_bytes);
}

template <class Ask> Need need_of(Solver &s, Need::Call call, size_t rows, size_t cols, size_t batch, Ask ask)
{
    for (const Need &need : s.known)
        if (need.call == call && need.rows == rows && need.cols == cols && need.batch == batch)
            return need;
    Need need = {call, rows, cols, batch, 0, 0};
    ask(need);
    s.known.push_back(need);
    return need;
}

/* --------------------------------------------------------------------------------------------------------------
 * Scratch for `count` matrices, n the smaller side and m the larger, as contiguous doubles
 */

struct Scratch {
    double *a, *b;   /* (count, n, m) */
    double *square;  /* (count, n, n) */
    double *values;  /* (count, m) */
    int *bad, *info; /* (count) not finite; cuSOLVER's status */
};

/* Doubles for one matrix. */
size_t doubles_of_one(size_t n, size_t m) { return 2 * n * m + n * n + m + 1; }

/* How many matrices of a batch are processed at a time. */
size_t at_a_time(size_t rows, size_t cols, size_t batch)
{
    const size_t one = doubles_of_one(std::min(rows, cols), std::max(rows, cols));
    return std::min(batch, std::max(SCRATCH_MOST / one, (size_t)1));
}

Scratch scratch_of(float *floats, size_t rows, size_t cols, size_t count)
{
    const size_t n = std::min(rows, cols), m = std::max(rows, cols);
    Scratch s;
    s.a = (double *)(((uintptr_t)floats + 15) / 16 * 16);
    s.b = s.a + count * n * m;
    s.square = s.b + count * n * m;
    s.values = s.square + count * n * n;
    s.bad = (int *)(s.values + count * m);
    s.info = s.bad + count;
    return s;
}

/* f(first, count) for each part of a batch. */
template <class F> void some_at_a_time(size_t rows, size_t cols, size_t batch, F f)
{
    const size_t most = at_a_time(rows, cols, batch);
    for (size_t first = 0; first < batch; first += most)
        f(first, std::min(batch - first, most));
}

/* --------------------------------------------------------------------------------------------------------------
 * Conversion between floats and doubles
 */

/* bad[b]: whether matrix b of n elements holds a NaN or Inf. One block per matrix. */
__global__ void find_bad_kernel(int *bad, const float *x, size_t n)
{
    const float *matrix = x + blockIdx.x * n;
    int finite = 1;
    for (size_t i = threadIdx.x; i < n; i += blockDim.x)
        finite = finite && isfinite(matrix[i]);
    finite = __syncthreads_and(finite);
    if (threadIdx.x == 0)
        bad[blockIdx.x] = !finite;
}

/* The floats x (batch, rows, cols) as doubles, transposed if asked; zeros for bad matrices. */
void to_doubles(Verbs *on, Mats x, bool transpose, int *bad, double *to)
{
    const size_t rows = x.rows, cols = x.cols, n = rows * cols;
    const float *from = x.data;
    cuda_launch(find_bad_kernel, (unsigned)x.batch, THREADS, 0, on->stream, bad, from, n);
    each_index(on, mats_size(x), [=] __device__(size_t i) {
        const size_t b = i / n, row = i % n / cols, col = i % cols;
        to[b * n + (transpose ? col * rows + row : row * cols + col)] = bad[b] ? 0 : (double)from[i];
    });
}

/* And back: x = from, or its transpose; NaN if a matrix is bad or its factorisation failed. */
void to_floats(Verbs *on, const double *from, bool transpose, const int *bad, const int *info, Mats x)
{
    const size_t rows = x.rows, cols = x.cols, n = rows * cols;
    float *to = x.data;
    each_index(on, mats_size(x), [=] __device__(size_t i) {
        const size_t b = i / n, row = i % n / cols, col = i % cols;
        const double v = from[b * n + (transpose ? col * rows + row : row * cols + col)];
        to[i] = bad[b] || info[b] != 0 ? NAN : (float)v;
    });
}

Mats part_of(Mats x, size_t first, size_t count) { return {x.data + first * x.rows * x.cols, x.rows, x.cols, count}; }

/* --------------------------------------------------------------------------------------------------------------
 * Calls
 */

/* The rows of each symmetric a (count, n, n) become its eigenvectors; values (count, n) ascend. */
void eigen(Verbs *on, double *a, double *values, int *info, size_t n, size_t count)
{
    Solver &s = solver_of(on);
    const Need need = need_of(s, Need::SYEV, n, n, count, [&](Need &it) {
        CUSOLVER_CHECK(cusolverDnXsyevBatched_bufferSize(
            s.handle, s.params, CUSOLVER_EIG_MODE_VECTOR, CUBLAS_FILL_MODE_LOWER, (int64_t)n, CUDA_R_64F, a, (int64_t)n,
            CUDA_R_64F, values, CUDA_R_64F, &it.bytes, &it.host_bytes, (int64_t)count));
    });
    reserve(s, need.bytes, need.host_bytes);
    CUSOLVER_CHECK(cusolverDnXsyevBatched(s.handle, s.params, CUSOLVER_EIG_MODE_VECTOR, CUBLAS_FILL_MODE_LOWER,
                                          (int64_t)n, CUDA_R_64F, a, (int64_t)n, CUDA_R_64F, values, CUDA_R_64F,
                                          s.workspace, need.bytes, s.host_workspace.data(), need.host_bytes, info,
                                          (int64_t)count));
}

/* c (count, rows, cols) = op(a) op(b), row-major and contiguous, with inner dimension k. */
void product(Verbs *on, const double *a, bool transpose_a, const double *b, bool transpose_b, double *c, size_t rows,
             size_t cols, size_t k, size_t count)
{
    const double one = 1, zero = 0;
    CUBLAS_CHECK(cublasDgemmStridedBatched(on->cublas, transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N,
                                           transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N, (int)cols, (int)rows, (int)k, &one,
                                           b, (int)(transpose_b ? k : cols), (long long)(k * cols), a,
                                           (int)(transpose_a ? rows : k), (long long)(rows * k), &zero, c, (int)cols,
                                           (long long)(rows * cols), (int)count));
}

} // namespace

/* Doubles, padded to their alignment; also enough for smaller matrices, of which more are processed at a time. */
size_t verb_scratch(size_t rows, size_t cols, size_t batch)
{
    const size_t one = doubles_of_one(std::min(rows, cols), std::max(rows, cols));
    return 2 * std::min(batch * one, std::max(one, (size_t)SCRATCH_MOST)) + 4;
}

/* --------------------------------------------------------------------------------------------------------------
 * The verbs
 */

/* Lengths of the lines of x (lines, m). One block per line. */
__global__ static void lengths_kernel(double *lengths, const double *x, size_t m)
{
    double sum = 0;
    for (size_t j = threadIdx.x; j < m; j += blockDim.x)
        sum += x[blockIdx.x * m + j] * x[blockIdx.x * m + j];
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        lengths[blockIdx.x] = sqrt(sum);
}

/* With x as a wide matrix W (n, m) and the eigenvectors of W W^T in the rows of U, the rows of B = U W are s_i v_i^T;
 * they are divided by their lengths, or set to 0 if those are at most cutoff times the largest. The factor is U^T B. */
static void polar_some(Verbs *on, Mats x, double cutoff, float *floats)
{
    const bool tall = x.rows > x.cols;
    const size_t n = tall ? x.cols : x.rows, m = tall ? x.rows : x.cols, count = x.batch;
    const Scratch s = scratch_of(floats, n, m, count);
    to_doubles(on, x, tall, s.bad, s.a);
    product(on, s.a, false, s.a, true, s.square, n, n, m, count);
    eigen(on, s.square, s.values, s.info, n, count);
    product(on, s.square, false, s.a, false, s.b, n, m, n, count);
    cuda_launch(lengths_kernel, (unsigned)(count * n), THREADS, 0, on->stream, s.values, s.b, m);
    each_index(on, count * n * m, [=] __device__(size_t i) {
        const size_t line = i / m;
        const double length = s.values[line], least = cutoff * s.values[line / n * n + n - 1];
        s.b[i] = length > least ? s.b[i] / length : 0;
    });
    product(on, s.square, true, s.b, false, s.a, n, m, n, count);
    to_floats(on, s.a, tall, s.bad, s.info, x);
}

void verb_polar(Verbs *on, Mats x, double cutoff, float *scratch)
{
    some_at_a_time(x.rows, x.cols, x.batch,
                   [&](size_t first, size_t count) { polar_some(on, part_of(x, first, count), cutoff, scratch); });
}

static void eigenbasis_some(Verbs *on, Mats a, Mats basis, float *floats)
{
    const size_t n = a.rows;
    const Scratch s = scratch_of(floats, n, n, a.batch);
    float *to = basis.data;
    to_doubles(on, a, false, s.bad, s.a);
    eigen(on, s.a, s.values, s.info, n, a.batch);
    each_index(on, mats_size(a), [=] __device__(size_t i) {
        const size_t b = i / (n * n), row = i / n % n, col = i % n;
        to[i] = s.bad[b] || s.info[b] != 0 ? NAN : (float)s.a[b * n * n + (n - 1 - col) * n + row];
    });
}

void verb_eigenbasis(Verbs *on, Mats a, Mats basis, float *scratch)
{
    some_at_a_time(a.rows, a.rows, a.batch, [&](size_t first, size_t count) {
        eigenbasis_some(on, part_of(a, first, count), part_of(basis, first, count), scratch);
    });
}

/* root = V^T diag(f(values)) V, V the eigenvectors in rows. */
static void root_some(Verbs *on, Mats a, double scale, double eps, double power, Mats root, float *floats)
{
    const size_t n = a.rows;
    const Scratch s = scratch_of(floats, n, n, a.batch);
    to_doubles(on, a, false, s.bad, s.a);
    eigen(on, s.a, s.values, s.info, n, a.batch);
    each_index(on, mats_size(a), [=] __device__(size_t i) {
        const size_t line = i / n;
        const double given = s.values[line], rounding = (double)n * 0x1p-24 * s.values[line / n * n + n - 1];
        const double value = scale * (given > 0 ? given : 0) + eps;
        const bool counts = eps > 0 || (given > 0 && given > rounding);
        s.b[i] = counts ? pow(value, power) * s.a[i] : 0;
    });
    product(on, s.a, true, s.b, false, s.square, n, n, n, a.batch);
    float *to = root.data;
    each_index(on, mats_size(a), [=] __device__(size_t i) {
        /* mirrors the lower triangle */
        const size_t b = i / (n * n), row = i / n % n, col = i % n;
        const size_t at = row > col ? row * n + col : col * n + row;
        to[i] = s.bad[b] || s.info[b] != 0 ? NAN : (float)s.square[b * n * n + at];
    });
}

void verb_root(Verbs *on, Mats a, double scale, double eps, double power, Mats root, float *scratch)
{
    some_at_a_time(a.rows, a.rows, a.batch, [&](size_t first, size_t count) {
        root_some(on, part_of(a, first, count), scale, eps, power, part_of(root, first, count), scratch);
    });
}

/* QR of the columns (count, n, m), one matrix at a time: cuSOLVER's QR is not batched. The diagonal of R goes to s.b
 * (count, n) and the Householder scalars to s.values. */
static void qr_some(Verbs *on, Mats x, float *floats)
{
    const size_t m = x.rows, n = x.cols;
    const int rows = (int)m, cols = (int)n;
    const Scratch scratch = scratch_of(floats, m, n, x.batch);
    Solver &s = solver_of(on);
    to_doubles(on, x, true, scratch.bad, scratch.a);
    const Need need = need_of(s, Need::QR, m, n, 1, [&](Need &it) {
        int factor, form;
        CUSOLVER_CHECK(cusolverDnDgeqrf_bufferSize(s.handle, rows, cols, scratch.a, rows, &factor));
        CUSOLVER_CHECK(cusolverDnDorgqr_bufferSize(s.handle, rows, cols, cols, scratch.a, rows, scratch.values, &form));
        it.bytes = (size_t)std::max(factor, form) * sizeof(double);
    });
    reserve(s, need.bytes, 0);
    double *work = (double *)s.workspace;
    const int doubles = (int)(need.bytes / sizeof(double));
    for (size_t b = 0; b < x.batch; b++) {
        double *a = scratch.a + b * n * m, *tau = scratch.values + b * m, *diagonal = scratch.b + b * n;
        int *info = scratch.info + b;
        CUSOLVER_CHECK(cusolverDnDgeqrf(s.handle, rows, cols, a, rows, tau, work, doubles, info));
        each_index(on, n, [=] __device__(size_t j) { diagonal[j] = *info == 0 ? a[j * m + j] : NAN; });
        CUSOLVER_CHECK(cusolverDnDorgqr(s.handle, rows, cols, cols, a, rows, tau, work, doubles, info));
    }
    each_index(on, mats_size(x), [=] __device__(size_t i) {
        /* a NaN on the diagonal propagates */
        const double d = scratch.b[i / m];
        scratch.a[i] *= d >= 0 ? 1 : d < 0 ? -1 : d;
    });
    to_floats(on, scratch.a, true, scratch.bad, scratch.info, x);
}

void verb_qr(Verbs *on, Mats x, float *scratch)
{
    some_at_a_time(x.rows, x.cols, x.batch,
                   [&](size_t first, size_t count) { qr_some(on, part_of(x, first, count), scratch); });
}

/* --------------------------------------------------------------------------------------------------------------
 * Sorting
 */

/* Line i becomes the former line order[i]: rows of x (count, rows, cols) or, if `columns`, columns. */
static void permute(Verbs *on, Mats x, bool columns, const int *order, float *copy)
{
    const size_t rows = x.rows, cols = x.cols, n = rows * cols, lines = columns ? cols : rows;
    float *to = x.data;
    verb_copy(on, x, {copy, rows, cols, x.batch});
    each_index(on, mats_size(x), [=] __device__(size_t i) {
        const size_t b = i / n, row = i % n / cols, col = i % cols;
        const size_t from = (size_t)order[b * lines + (columns ? col : row)];
        to[i] = copy[b * n + (columns ? row * cols + from : from * cols + col)];
    });
}

static void sort_some(Verbs *on, Mats basis, Mats image, Mats v, bool right, float *floats)
{
    const size_t n = basis.rows, count = basis.batch;
    double *estimates = (double *)(((uintptr_t)floats + 15) / 16 * 16);
    int *order = (int *)(estimates + count * n);
    float *copy = (float *)(order + count * n);
    const float *q = basis.data, *a = image.data;
    each_index(on, count * n, [=] __device__(size_t i) {
        const size_t at = i / n * n * n + i % n;
        double sum = 0;
        for (size_t row = 0; row < n; row++)
            sum += (double)q[at + row * n] * (double)a[at + row * n];
        estimates[i] = isnan(sum) ? -INFINITY : sum; /* so that the order is total */
    });
    each_index(on, count * n, [=] __device__(size_t i) {
        /* a stable sort */
        const double *others = estimates + i / n * n, mine = estimates[i];
        size_t rank = 0;
        for (size_t j = 0; j < n; j++)
            rank += others[j] > mine || (others[j] == mine && j < i % n);
        order[i / n * n + rank] = (int)(i % n);
    });
    permute(on, basis, true, order, copy);
    permute(on, image, true, order, copy);
    permute(on, v, right, order, copy);
}

void verb_sort_basis(Verbs *on, Mats basis, Mats image, Mats v, bool right, float *scratch)
{
    const size_t n = std::max(v.rows, v.cols);
    some_at_a_time(n, n, basis.batch, [&](size_t first, size_t count) {
        sort_some(on, part_of(basis, first, count), part_of(image, first, count), part_of(v, first, count), right,
                  scratch);
    });
}
