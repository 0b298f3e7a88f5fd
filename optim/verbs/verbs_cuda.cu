/*
 * The verbs on a GPU: our own kernels and cuBLAS. Sums use a fixed order, so that two runs give the same bits. Only
 * verb_read, verb_write, verb_normal and the two that return sums to the host synchronise. Factorisations are in
 * factor_cuda.cu.
 */
extern "C" {
#include "base/random.h"
#include "optim/verbs/lines.h"
#include "optim/verbs/verbs.h"
}

#include "optim/verbs/device.cuh"
#include "optim/verbs/verbs_math.h"

#include <algorithm>
#include <new>
#include <vector>

using namespace optim_device;

/* --------------------------------------------------------------------------------------------------------------
 * Context and memory
 */

int verbs_create(void *stream, Verbs **out, Error *e)
{
    Verbs *on = *out = new (std::nothrow) Verbs();
    if (on == NULL)
        return error_set(e, "out of memory");
    on->stream = (cudaStream_t)stream;
    CUBLAS_CHECK(cublasCreate(&on->cublas)); /* its products of fp32 are not in TF32, unless told */
    CUBLAS_CHECK(cublasSetStream(on->cublas, on->stream));
    CUDA_CHECK(cudaMalloc(&on->parts, PARTS_MOST * sizeof *on->parts));
    CUDA_CHECK(cudaMalloc(&on->totals, TOTALS_MOST * sizeof *on->totals));
    CUDA_CHECK(cudaMalloc(&on->scalars, 2 * SCALARS_MOST * sizeof *on->scalars));
    return 0;
}

void verbs_free(Verbs *on)
{
    if (on == NULL)
        return;
    CUDA_CHECK(cudaStreamSynchronize(on->stream));
    CUBLAS_CHECK(cublasDestroy(on->cublas));
    CUDA_CHECK(cudaFree(on->parts));
    CUDA_CHECK(cudaFree(on->totals));
    CUDA_CHECK(cudaFree(on->scalars));
    lt_free(&on->lt);
    solver_free(on->solver);
    delete on;
}

int verb_alloc(Verbs *on, size_t n, const char *what, float **out, Error *e)
{
    if (cudaMalloc(out, (n > 0 ? n : 1) * sizeof **out) != cudaSuccess) {
        *out = NULL;
        cudaGetLastError();
        return error_set(e, "out of GPU memory: %.0f MiB for %s; lower --batch-size or the model",
                         (double)n * sizeof **out / 0x1p20, what);
    }
    CUDA_CHECK(cudaMemsetAsync(*out, 0, n * sizeof **out, on->stream));
    return 0;
}

void verb_free(Verbs *on, float *x)
{
    (void)on;
    if (x != NULL) /* a plan must not touch the device */
        CUDA_CHECK(cudaFree(x));
}

void verb_read(Verbs *on, size_t n, float *host, const float *x)
{
    CUDA_CHECK(cudaMemcpyAsync(host, x, n * sizeof *x, cudaMemcpyDeviceToHost, on->stream));
    CUDA_CHECK(cudaStreamSynchronize(on->stream));
}

void verb_write(Verbs *on, size_t n, float *x, const float *host)
{
    CUDA_CHECK(cudaMemcpyAsync(x, host, n * sizeof *x, cudaMemcpyHostToDevice, on->stream));
    CUDA_CHECK(cudaStreamSynchronize(on->stream));
}

/* Enough that a dozen of GPT-2's largest matrices are one batch. */
size_t verb_batch_floats(void) { return (size_t)1 << 25; }

/* --------------------------------------------------------------------------------------------------------------
 * Elementwise
 */

void verb_momentum(Verbs *on, size_t n, float *m, float *u, const float *g, double mu, bool nesterov, double s)
{
    const float keep = (float)mu, share = (float)((1 - mu) * s);
    each<0b101, 0b011>(on, n, streams(m, u, g),
                       [=] __device__(float *x, None) { x[1] = momentum_element(&x[0], x[2], keep, share, nesterov); });
}

void verb_precondition(Verbs *on, size_t n, float *u, float *v, const float *g, double beta, double correction,
                       double eps, double s)
{
    const float keep = (float)beta, share = (float)(1 - beta), scale = (float)s, factor = (float)correction;
    const float least = (float)eps;
    each<0b111, 0b011>(on, n, streams(u, v, g), [=] __device__(float *x, None) {
        x[0] = precondition_element(x[0], &x[1], scale * x[2], keep, share, factor, least);
    });
}

void verb_adam_direction(Verbs *on, size_t n, float *u, float *m, float *v, const float *g, double beta1, double beta2,
                         double correction, double eps, double s)
{
    const float keep1 = (float)beta1, share1 = (float)((1 - beta1) * s), keep2 = (float)beta2;
    const float share2 = (float)(1 - beta2), scale = (float)s, factor = (float)correction, least = (float)eps;
    each<0b1110, 0b0111>(on, n, streams(u, m, v, g), [=] __device__(float *x, None) {
        const float new_m = momentum_element(&x[1], x[3], keep1, share1, false);
        x[0] = precondition_element(new_m, &x[2], scale * x[3], keep2, share2, factor, least);
    });
}

void verb_whiten(Verbs *on, size_t n, float *u, float *v, double beta, double floor)
{
    const float keep = (float)beta, share = (float)(1 - beta), least = (float)floor;
    each<0b11, 0b11>(on, n, streams(u, v),
                     [=] __device__(float *x, None) { x[0] = whiten_element(x[0], &x[1], keep, share, least); });
}

__device__ static float updated(float p, float u, Decay decay, float minus_step)
{
    return fmaf(minus_step, u, decay_keep(p, u, &decay) * p);
}

void verb_update(Verbs *on, size_t n, float *p, const float *u, Decay decay, double step)
{
    const float minus_step = (float)-step;
    each<0b11, 0b01>(on, n, streams(p, u),
                     [=] __device__(float *x, None) { x[0] = updated(x[0], x[1], decay, minus_step); });
}

void verb_scale(Verbs *on, size_t n, float *to, const float *x, double s)
{
    const float factor = (float)s;
    each<0b10, 0b01>(on, n, streams(to, x), [=] __device__(float *v, None) { v[0] = factor * v[1]; });
}

void verb_swap(Verbs *on, size_t n, float *x, float *y)
{
    each<0b11, 0b11>(on, n, streams(x, y), [=] __device__(float *v, None) {
        const float kept = v[0];
        v[0] = v[1];
        v[1] = kept;
    });
}

void verb_add(Verbs *on, size_t n, float *to, const float *x, double a, double b)
{
    const float keep = (float)a, share = (float)b;
    each<0b11, 0b01>(on, n, streams(to, x), [=] __device__(float *v, None) { v[0] = fmaf(share, v[1], keep * v[0]); });
}

void verb_multiply(Verbs *on, size_t n, float *to, const float *x, const float *y)
{
    each<0b110, 0b001>(on, n, streams(to, x, y), [=] __device__(float *v, None) { v[0] = v[1] * v[2]; });
}

void verb_divide(Verbs *on, size_t n, float *to, const float *x, const float *y)
{
    each<0b110, 0b001>(on, n, streams(to, x, y),
                       [=] __device__(float *v, None) { v[0] = quotient_element(v[1], v[2]); });
}

void verb_sign(Verbs *on, size_t n, float *to, const float *x)
{
    each<0b10, 0b01>(on, n, streams(to, x), [=] __device__(float *v, None) { v[0] = sign_element(v[1]); });
}

void verb_power(Verbs *on, size_t n, float *to, const float *x, double floor, double power)
{
    each_index(on, n, [=] __device__(size_t i) { to[i] = power_element(x[i], floor, power); });
}

void verb_fill(Verbs *on, size_t n, float *to, double x)
{
    const float value = (float)x;
    each<0b0, 0b1>(on, n, streams(to), [=] __device__(float *v, None) { v[0] = value; });
}

/* Drawn on the host: the generator is sequential, and this is used only before the first step. */
void verb_normal(Verbs *on, size_t n, float *to, size_t stream)
{
    std::vector<float> host(n);
    Random random = random_make(0, stream);
    for (float &x : host)
        x = (float)random_normal(&random);
    verb_write(on, n, to, host.data());
}

void verb_probe(Verbs *on, size_t n, float *to, size_t stream)
{
    each_index(on, n, [=] __device__(size_t i) { to[i] = probe_element(stream, i); });
}

/* --------------------------------------------------------------------------------------------------------------
 * Sums. An array is divided into parts, one per block; a second kernel adds up each array's parts.
 */

namespace {

enum { PART = 1 << 14, ARRAY_PARTS_MOST = 1 << 10, ARRAYS_MOST = 256 };

unsigned parts_of(size_t n) { return std::min(std::max(cuda_blocks(n, PART), 1u), (unsigned)ARRAY_PARTS_MOST); }

/* Part `part` of `parts` of an array x (n), or of two, x and y. */
struct Part {
    const float *x, *y;
    size_t n, part, parts;
};

/* Contiguous matrices of equal size. */
struct Matrices {
    const float *x, *y;
    size_t n;
    unsigned parts_each;
    __device__ unsigned first_part(size_t i) const { return (unsigned)i * parts_each; }
    __device__ Part part(unsigned k) const
    {
        const size_t i = k / parts_each;
        return {x + i * n, y + i * n, n, k % parts_each, parts_each};
    }
};

/* Arbitrary arrays, passed as kernel parameters. */
struct Arrays {
    const float *x[ARRAYS_MOST];
    size_t n[ARRAYS_MOST];
    unsigned first[ARRAYS_MOST + 1];
    unsigned count;
    __device__ unsigned first_part(size_t i) const { return first[i]; }
    __device__ Part part(unsigned k) const
    {
        unsigned low = 0, high = count; /* first[low] <= k < first[high] */
        while (high - low > 1) {
            const unsigned middle = (low + high) / 2;
            if (first[middle] <= k)
                low = middle;
            else
                high = middle;
        }
        return {x[low], x[low], n[low], k - first[low], first[low + 1] - first[low]};
    }
};

/* What a pair of elements adds to sums of two arrays: x.y; x.x, x.y and y.y; how many have one sign. */
struct Dot {
    enum { SUMS = 1 };
    __device__ static void add(double *sum, float x, float y) { sum[0] += (double)x * (double)y; }
};

struct ThreeDots {
    enum { SUMS = 3 };
    __device__ static void add(double *sum, float x, float y)
    {
        sum[0] += (double)x * (double)x;
        sum[1] += (double)x * (double)y;
        sum[2] += (double)y * (double)y;
    }
};

struct Followers {
    enum { SUMS = 1 };
    __device__ static void add(double *sum, float x, float y) { sum[0] += is_opposed(x, y) ? 0 : 1; }
};

template <class Terms, class Source> __global__ void parts_kernel(double *parts, Source source)
{
    const Part p = source.part(blockIdx.x);
    const size_t quads = (p.n + 3) / 4, end = quads * (p.part + 1) / p.parts;
    const size_t fast = is_aligned(p.x) && is_aligned(p.y) ? min(end, p.n / 4) : 0; /* quads moved as 16 bytes */
    double sum[Terms::SUMS] = {};
    size_t i = quads * p.part / p.parts + threadIdx.x;
#pragma unroll 4
    for (; i < fast; i += blockDim.x) {
        const Quad x = load_quad(p.x + 4 * i), y = p.x == p.y ? x : load_quad(p.y + 4 * i);
#pragma unroll
        for (int e = 0; e < 4; e++)
            Terms::add(sum, x.x[e], y.x[e]);
    }
#pragma unroll 1
    for (; i < end; i += blockDim.x) /* in the same order */
        for (size_t e = 4 * i; e < p.n && e < 4 * i + 4; e++)
            Terms::add(sum, p.x[e], p.y[e]);
    for (int s = 0; s < Terms::SUMS; s++) {
        const double total = block_sum(sum[s]);
        if (threadIdx.x == 0)
            parts[(size_t)blockIdx.x * Terms::SUMS + s] = total;
    }
}

template <int SUMS, class Source, class F> __global__ void totals_kernel(const double *parts, Source source, F finish)
{
    const unsigned i = blockIdx.x, begin = source.first_part(i), end = source.first_part(i + 1);
    double sum[SUMS] = {};
    for (unsigned k = begin + threadIdx.x; k < end; k += blockDim.x)
        for (int s = 0; s < SUMS; s++)
            sum[s] += parts[(size_t)k * SUMS + s];
    for (int s = 0; s < SUMS; s++)
        sum[s] = block_sum(sum[s]);
    if (threadIdx.x == 0)
        finish(i, sum);
}

/* finish(i, sums) for each of `count` arrays of the source, which have `parts` parts in total. */
template <class Terms, class Source, class F>
void sum_up(const Verbs *on, const Source &source, unsigned count, unsigned parts, F finish)
{
    cuda_launch(parts_kernel<Terms, Source>, parts, THREADS, 0, on->stream, on->parts, source);
    cuda_launch(totals_kernel<Terms::SUMS, Source, F>, count, parts > count ? THREADS : 32, 0, on->stream, on->parts,
                source, finish);
}

template <class F> struct From {
    size_t first;
    F finish;
    __device__ void operator()(size_t i, const double *sums) const { finish(first + i, sums); }
};

/* finish(i, sums) for the matrices of x and y, as many at a time as there is room for their parts. */
template <class Terms, class F> void sums_of_matrices(const Verbs *on, Mats x, const float *y, F finish)
{
    const size_t n = x.rows * x.cols;
    const unsigned parts_each = parts_of(n), most = PARTS_MOST / (Terms::SUMS * parts_each);
    for (size_t first = 0; first < x.batch; first += most) {
        const unsigned count = (unsigned)std::min(x.batch - first, (size_t)most);
        const Matrices source = {x.data + first * n, y + first * n, n, parts_each};
        sum_up<Terms>(on, source, count, count * parts_each, From<F>{first, finish});
    }
}

/* Takes as many arrays from `first` on as fit; returns how many. *parts is their total. */
unsigned take_arrays(size_t count, const Floats *arrays, Arrays *taken, unsigned *parts)
{
    unsigned i = 0;
    *parts = 0;
    for (; i < count && i < ARRAYS_MOST && *parts + parts_of(arrays[i].n) <= PARTS_MOST; i++) {
        taken->x[i] = arrays[i].data;
        taken->n[i] = arrays[i].n;
        taken->first[i] = *parts;
        *parts += parts_of(arrays[i].n);
    }
    taken->first[i] = *parts;
    taken->count = i;
    return i;
}

} // namespace

void verb_sums_of_squares(Verbs *on, size_t count, const Floats *arrays, double *sums)
{
    double *totals = on->totals;
    for (size_t first = 0; first < count; first += TOTALS_MOST) {
        const size_t these = std::min(count - first, (size_t)TOTALS_MOST);
        for (size_t done = 0; done < these;) {
            Arrays taken;
            unsigned parts;
            const unsigned n = take_arrays(these - done, arrays + first + done, &taken, &parts);
            sum_up<Dot>(on, taken, n, parts,
                        [=] __device__(size_t i, const double *sum) { totals[done + i] = sum[0]; });
            done += n;
        }
        CUDA_CHECK(cudaMemcpyAsync(sums + first, totals, these * sizeof *sums, cudaMemcpyDeviceToHost, on->stream));
        CUDA_CHECK(cudaStreamSynchronize(on->stream));
    }
}

double verb_sum_squares(Verbs *on, size_t n, const float *x)
{
    const Floats array = {x, n};
    double sum;
    verb_sums_of_squares(on, 1, &array, &sum);
    return sum;
}

/* --------------------------------------------------------------------------------------------------------------
 * Norms
 */

void verb_norms(Verbs *on, Mats x, float *norms)
{
    sums_of_matrices<Dot>(on, x, x.data,
                          [=] __device__(size_t b, const double *sum) { norms[b] = (float)sqrt(sum[0]); });
}

void verb_dots(Verbs *on, Mats x, Mats y, float *dots)
{
    sums_of_matrices<Dot>(on, x, y.data, [=] __device__(size_t b, const double *sum) { dots[b] = (float)sum[0]; });
}

/* One block per matrix of n elements. */
__global__ static void largest_kernel(float *largest, const float *x, size_t n)
{
    __shared__ float all[THREADS];
    const float *matrix = x + blockIdx.x * n;
    float most = 0;
#pragma unroll 4
    for (size_t i = threadIdx.x; i < n; i += THREADS)
        most = larger_magnitude(most, matrix[i]);
    all[threadIdx.x] = most;
    for (unsigned half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half)
            all[threadIdx.x] = larger_magnitude(all[threadIdx.x], all[threadIdx.x + half]);
    }
    if (threadIdx.x == 0)
        largest[blockIdx.x] = all[0];
}

void verb_largest(Verbs *on, Mats x, float *largest)
{
    cuda_launch(largest_kernel, (unsigned)x.batch, THREADS, 0, on->stream, largest, x.data, x.rows * x.cols);
}

/*
 * on->scalars become numerator / max(factor denominator, floor) of the matrices of a batch from `first` on, as many as
 * there is room for; returns how many. Once a matrix, not in every thread: most GPUs divide doubles slowly.
 */
static size_t quotients(Verbs *on, size_t first, size_t batch, const float *numerator, const float *denominator,
                        double factor, double floor)
{
    const size_t count = std::min(batch - first, (size_t)SCALARS_MOST);
    float *scalars = on->scalars;
    each_index(on, count, [=] __device__(size_t b) {
        const double d = factor * (denominator != NULL ? (double)denominator[first + b] : 1.0);
        const double n = numerator != NULL ? (double)numerator[first + b] : 1.0;
        scalars[b] = (float)(n / (d < floor ? floor : d));
    });
    return count;
}

void verb_rescale(Verbs *on, Mats x, const float *numerator, const float *denominator, double factor, double floor)
{
    const size_t n = x.rows * x.cols;
    const float *scalars = on->scalars;
    for (size_t first = 0, count; first < x.batch; first += count) {
        count = quotients(on, first, x.batch, numerator, denominator, factor, floor);
        each_of_batch<0b1, 0b1>(
            on, n, count, streams(x.data + first * n), [=] __device__(size_t b) { return scalars[b]; },
            [=] __device__(float *v, float s) { v[0] = s * v[0]; });
    }
}

namespace {

/* Moves each p along its u: `rotation` of p.p, p.u and u.u gives a matrix's scale and a, and f(x, {scale, scale a}) an
 * element's new value, of x = {p, u}. */
template <class R, class F> void move_matrices(Verbs *on, Mats p, Mats u, R rotation, F f)
{
    const size_t n = p.rows * p.cols;
    float *scalars = on->scalars; /* of p, of u */
    for (size_t first = 0; first < p.batch; first += SCALARS_MOST) {
        const Mats some = {p.data + first * n, p.rows, p.cols, std::min(p.batch - first, (size_t)SCALARS_MOST)};
        const float *along = u.data + first * n;
        sums_of_matrices<ThreeDots>(on, some, along, [=] __device__(size_t b, const double *sums) {
            const Rotation r = rotation(sums[0], sums[1], sums[2]);
            scalars[2 * b] = (float)r.scale;
            scalars[2 * b + 1] = (float)(r.scale * r.a);
        });
        each_of_batch<0b11, 0b01>(
            on, n, some.batch, streams(some.data, along),
            [=] __device__(size_t b) { return make_float2(scalars[2 * b], scalars[2 * b + 1]); },
            [=] __device__(float *x, float2 k) { x[0] = f(x, k); });
    }
}

} // namespace

void verb_rotate(Verbs *on, Mats p, Mats u, double step, double floor)
{
    move_matrices(
        on, p, u, [=] __device__(double pp, double pu, double uu) { return rotation_of(pp, pu, uu, step, floor); },
        [=] __device__(const float *x, float2 k) { return fmaf(-k.y, x[1], k.x * x[0]); });
}

void verb_step_pinned(Verbs *on, Mats p, Mats u, double step, double floor, Decay decay)
{
    move_matrices(
        on, p, u, [=] __device__(double pp, double pu, double uu) { return pinned_of(pp, pu, uu, step, floor); },
        [=] __device__(const float *x, float2 k) { return pinned_element(x[0], x[1], k.x, k.y, &decay); });
}

void verb_add_each(Verbs *on, Mats to, const float *s, Mats x)
{
    each_of_batch<0b11, 0b01>(
        on, to.rows * to.cols, to.batch, streams(to.data, x.data), [=] __device__(size_t b) { return s[b]; },
        [=] __device__(float *v, float k) { v[0] = fmaf(k, v[1], v[0]); });
}

void verb_penalise(Verbs *on, Mats p, float *multiplier, float *bound, bool holding, bool active)
{
    const size_t n = p.rows * p.cols;
    if (!holding && !active)
        return;
    sums_of_matrices<Dot>(on, p, p.data, [=] __device__(size_t b, const double *sum) {
        const double mean = sum[0] / (double)n;
        if (holding)
            bound[b] = (float)mean;
        if (active)
            multiplier[b] = raised_multiplier(multiplier[b], mean, bound[b]);
    });
    if (active)
        each_of_batch<0b1, 0b1>(
            on, n, p.batch, streams(p.data),
            [=] __device__(size_t b) { return (float)(1 - 2 * (double)multiplier[b]); },
            [=] __device__(float *x, float s) { x[0] = s * x[0]; });
}

void verb_cautious(Verbs *on, Mats u, Mats m, const float *g, double more, double floor)
{
    const size_t n = u.rows * u.cols;
    float *factors = on->scalars;
    for (size_t first = 0; first < u.batch; first += SCALARS_MOST) {
        const Mats some = {m.data + first * n, u.rows, u.cols, std::min(u.batch - first, (size_t)SCALARS_MOST)};
        const float *along = g + first * n;
        sums_of_matrices<Followers>(on, some, along, [=] __device__(size_t b, const double *sum) {
            factors[b] = cautious_factor(sum[0], (double)n, more, floor);
        });
        each_of_batch<0b111, 0b001>(
            on, n, some.batch, streams(u.data + first * n, some.data, along),
            [=] __device__(size_t b) { return factors[b]; },
            [=] __device__(float *x, float s) { x[0] = is_opposed(x[1], x[2]) ? 0.0f : s * x[0]; });
    }
}

/* --------------------------------------------------------------------------------------------------------------
 * Products. cuBLAS is column-major: C^T = op(B)^T op(A)^T.
 */

void verb_product(Verbs *on, Mats a, bool transpose_a, Mats b, bool transpose_b, double alpha, double beta, Mats c)
{
    const float scale = (float)alpha, keep = (float)beta;
    const size_t k = transpose_a ? a.rows : a.cols;
    CUBLAS_CHECK(cublasSgemmStridedBatched(
        on->cublas, transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N, transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N, (int)c.cols,
        (int)c.rows, (int)k, &scale, b.data, (int)b.cols, (long long)(b.rows * b.cols), a.data, (int)a.cols,
        (long long)(a.rows * a.cols), &keep, c.data, (int)c.cols, (long long)(c.rows * c.cols), (int)c.batch));
}

void verb_gram_average(Verbs *on, Mats x, bool right, double keep, double share, Mats gram)
{
    verb_product(on, x, right, x, !right, share, keep, gram);
}

void verb_gram(Verbs *on, Mats x, Mats gram) { verb_gram_average(on, x, x.rows > x.cols, 0, 1, gram); }

void verb_polynomial(Verbs *on, Mats gram, Mats to, double a, double b, double c)
{
    const size_t n = gram.rows;
    const float diagonal = (float)a;
    float *data = to.data;
    verb_scale(on, mats_size(gram), to.data, gram.data, b);
    if (c != 0)
        verb_product(on, gram, false, gram, false, c, 1, to);
    each_index(on, gram.batch * n, [=] __device__(size_t i) { data[i / n * n * n + i % n * (n + 1)] += diagonal; });
}

void verb_commuting_product(Verbs *on, Mats x, Mats y, Mats to) { verb_product(on, x, false, y, false, 1, 0, to); }

void verb_apply(Verbs *on, Mats p, Mats x, Mats to)
{
    const bool wide = x.rows <= x.cols;
    verb_product(on, wide ? p : x, false, wide ? x : p, false, 1, 0, to);
}

namespace {

enum { SOLVED = 64 }; /* unknowns that are solved for together, after one product with those that are known */

/* One thread per line of a matrix of x: n unknowns, `step` apart, the lines `between` apart. */
__global__ void solve_kernel(float *x, const float *u, size_t lines, size_t step, size_t between, size_t x_size,
                             size_t ld, size_t n, unsigned blocks_each)
{
    __shared__ float triangle[SOLVED * SOLVED];
    const size_t b = blockIdx.x / blocks_each, line = (size_t)(blockIdx.x % blocks_each) * blockDim.x + threadIdx.x;
    for (size_t i = threadIdx.x; i < n * n; i += blockDim.x)
        triangle[i / n * SOLVED + i % n] = u[b * ld * ld + i / n * ld + i % n];
    __syncthreads();
    float *own = x + b * x_size + line * between;
    for (size_t i = 0; line < lines && i < n; i++) {
        float sum = own[i * step];
        for (size_t k = 0; k < i; k++)
            sum = fmaf(-triangle[k * SOLVED + i], own[k * step], sum);
        own[i * step] = sum / triangle[i * SOLVED + i];
    }
}

/* x[begin..end), rows or columns, minus what the known x[0..begin) add to them; column-major, as verb_product. */
void subtract_known(Verbs *on, Mats u, bool right, Mats x, size_t begin, size_t end)
{
    const float minus = -1, one = 1;
    const int n = (int)u.rows, cols = (int)x.cols, some = (int)(end - begin);
    const long long u_size = (long long)(u.rows * u.rows), x_size = (long long)(x.rows * x.cols);
    if (right)
        CUBLAS_CHECK(cublasSgemmStridedBatched(on->cublas, CUBLAS_OP_N, CUBLAS_OP_N, some, (int)x.rows, (int)begin,
                                               &minus, u.data + begin, n, u_size, x.data, cols, x_size, &one,
                                               x.data + begin, cols, x_size, (int)x.batch));
    else
        CUBLAS_CHECK(cublasSgemmStridedBatched(on->cublas, CUBLAS_OP_N, CUBLAS_OP_T, cols, some, (int)begin, &minus,
                                               x.data, cols, x_size, u.data + begin, n, u_size, &one,
                                               x.data + begin * x.cols, cols, x_size, (int)x.batch));
}

} // namespace

void verb_solve_upper(Verbs *on, Mats u, bool right, Mats x)
{
    enum { LINES = 64 }; /* of a block */
    const size_t n = u.rows, lines = right ? x.rows : x.cols, step = right ? 1 : x.cols, between = right ? x.cols : 1;
    const unsigned blocks_each = cuda_blocks(lines, LINES);
    for (size_t begin = 0; begin < n; begin += SOLVED) {
        const size_t end = std::min(n, begin + (size_t)SOLVED);
        if (begin > 0)
            subtract_known(on, u, right, x, begin, end);
        cuda_launch(solve_kernel, (unsigned)(blocks_each * x.batch), LINES, 0, on->stream, x.data + begin * step,
                    u.data + begin * (n + 1), lines, step, between, x.rows * x.cols, n, end - begin, blocks_each);
    }
}

void verb_upper(Verbs *on, Mats x)
{
    const size_t rows = x.rows, cols = x.cols;
    float *data = x.data;
    each_index(on, mats_size(x), [=] __device__(size_t i) {
        if (i % cols < i / cols % rows)
            data[i] = 0;
    });
}

void verb_copy(Verbs *on, Mats x, Mats to)
{
    CUDA_CHECK(cudaMemcpyAsync(to.data, x.data, mats_size(x) * sizeof *x.data, cudaMemcpyDeviceToDevice, on->stream));
}

/* --------------------------------------------------------------------------------------------------------------
 * Products in bf16
 */

/* Tensor cores support bf16 since Ampere. */
bool verb_prefers_bf16(void)
{
    int which;
    cudaDeviceProp device;
    if (cudaGetDevice(&which) == cudaSuccess && cudaGetDeviceProperties(&device, which) == cudaSuccess)
        return device.major >= 8;
    cudaGetLastError(); /* a plan needs no device */
    return false;
}

/* A multiple of 16 bytes. */
size_t verb_bf16_floats(size_t n) { return (n + 7) / 8 * 4; }

namespace {

/* Four bf16 numbers, moved as 8 bytes. */
struct __align__(8) Bf16Quad { __nv_bfloat162 low, high; };

__device__ Quad load_bf16s(const __nv_bfloat16 *p)
{
    const Bf16Quad h = *reinterpret_cast<const Bf16Quad *>(p);
    return {{__low2float(h.low), __high2float(h.low), __low2float(h.high), __high2float(h.high)}};
}

/* Matrices of n elements, each times its scale. */
__global__ void to_bf16_kernel(__nv_bfloat16 *to, const float *x, const float *scales, size_t n, unsigned blocks_each,
                               bool aligned)
{
    const size_t b = blockIdx.x / blocks_each;
    const size_t i = 4 * ((size_t)(blockIdx.x % blocks_each) * blockDim.x + threadIdx.x), at = b * n + i;
    if (i >= n)
        return;
    const float s = scales[b];
    if (aligned && n - i >= 4) {
        const Quad q = load_quad(x + at);
        *reinterpret_cast<Bf16Quad *>(to + at) = {__floats2bfloat162_rn(s * q.x[0], s * q.x[1]),
                                                  __floats2bfloat162_rn(s * q.x[2], s * q.x[3])};
    } else {
        for (size_t e = 0; e < 4 && e < n - i; e++)
            to[at + e] = __float2bfloat16_rn(s * x[at + e]);
    }
}

__global__ void from_bf16_kernel(float *to, const __nv_bfloat16 *x, size_t n, bool aligned)
{
    const size_t i = 4 * ((size_t)blockIdx.x * blockDim.x + threadIdx.x);
    if (i >= n)
        return;
    if (aligned && n - i >= 4) {
        store_quad(to + i, load_bf16s(x + i));
    } else {
        for (size_t e = 0; e < 4 && e < n - i; e++)
            to[i + e] = __bfloat162float(x[i + e]);
    }
}

__global__ void update_bf16_kernel(float *p, const __nv_bfloat16 *u, size_t n, bool aligned, Decay decay,
                                   float minus_step)
{
    const size_t i = 4 * ((size_t)blockIdx.x * blockDim.x + threadIdx.x);
    if (i >= n)
        return;
    if (aligned && n - i >= 4) {
        const Quad along = load_bf16s(u + i);
        Quad q = load_quad(p + i);
#pragma unroll
        for (int e = 0; e < 4; e++)
            q.x[e] = updated(q.x[e], along.x[e], decay, minus_step);
        store_quad(p + i, q);
    } else {
        for (size_t e = i; e < i + 4 && e < n; e++)
            p[e] = updated(p[e], __bfloat162float(u[e]), decay, minus_step);
    }
}

} // namespace

void verb_to_bf16(Verbs *on, Mats x, const float *denominator, double factor, double floor, Bf16s to)
{
    const size_t n = x.rows * x.cols;
    const bool aligned = is_aligned(x.data) && is_aligned(to.data) && (x.batch == 1 || n % 4 == 0);
    const unsigned blocks_each = cuda_blocks(n, 4 * THREADS);
    for (size_t first = 0, count; first < x.batch; first += count) {
        count = quotients(on, first, x.batch, NULL, denominator, factor, floor);
        cuda_launch(to_bf16_kernel, (unsigned)(blocks_each * count), THREADS, 0, on->stream,
                    (__nv_bfloat16 *)to.data + first * n, x.data + first * n, on->scalars, n, blocks_each, aligned);
    }
}

void verb_from_bf16(Verbs *on, Bf16s x, Mats to)
{
    const size_t n = mats_size(to);
    cuda_launch(from_bf16_kernel, cuda_blocks(n, 4 * THREADS), THREADS, 0, on->stream, to.data,
                (const __nv_bfloat16 *)x.data, n, is_aligned(x.data) && is_aligned(to.data));
}

void verb_update_bf16(Verbs *on, size_t n, float *p, Bf16s u, size_t first, Decay decay, double step)
{
    const __nv_bfloat16 *from = (const __nv_bfloat16 *)u.data + first;
    cuda_launch(update_bf16_kernel, cuda_blocks(n, 4 * THREADS), THREADS, 0, on->stream, p, from, n,
                is_aligned(p) && is_aligned(from), decay, (float)-step);
}

/* By cuBLASLt: cuBLAS proper offers them only in place. Without a workspace no sum is split, lest the number of
 * matrices of a rank, and with it that of the ranks, choose how; few matrices may not fill a large device then, which
 * was not measured. */
void verb_bf16_product(Verbs *on, Bf16s a, bool transpose_a, Bf16s b, bool transpose_b, double alpha, double beta,
                       Bf16s plus, Bf16s to)
{
    const LtShape shape = {to.rows,
                           to.cols,
                           transpose_a ? a.rows : a.cols,
                           transpose_a,
                           transpose_b,
                           a.cols,
                           b.cols,
                           to.cols,
                           CUDA_R_16BF,
                           CUDA_R_16BF,
                           CUBLAS_COMPUTE_32F,
                           LT_PLAIN,
                           to.batch};
    if (on->lt.handle == NULL)
        lt_create(&on->lt, 0);
    if (!lt_product(&on->lt, on->stream, shape, (float)alpha, a.data, b.data, (float)beta, plus.data, to.data, NULL,
                    NULL))
        lt_fail(shape);
}

void verb_bf16_gram(Verbs *on, Bf16s x, Bf16s gram)
{
    const bool wide = x.rows <= x.cols;
    verb_bf16_product(on, x, !wide, x, wide, 1, 0, gram, gram);
}

void verb_bf16_commuting_product(Verbs *on, Bf16s x, Bf16s y, double alpha, double beta, Bf16s plus, Bf16s to)
{
    verb_bf16_product(on, x, false, y, false, alpha, beta, plus, to);
}

void verb_bf16_add_diagonal(Verbs *on, Bf16s x, double a)
{
    const size_t n = x.rows;
    const float diagonal = (float)a;
    __nv_bfloat16 *data = (__nv_bfloat16 *)x.data;
    each_index(on, x.batch * n, [=] __device__(size_t i) {
        __nv_bfloat16 *to = data + i / n * n * n + i % n * (n + 1);
        *to = __float2bfloat16_rn(__bfloat162float(*to) + diagonal);
    });
}

/* --------------------------------------------------------------------------------------------------------------
 * Lines
 */

namespace {

enum { COLUMN_THREADS = 32 }; /* the most that share a column */

/* One warp per row. finish(i, sum) is called once for row i, with the sum of term(at, across) over its elements: their
 * place in the batch, and that of their column among all columns of the batch. If SCALES, the row of x is multiplied
 * by its result. */
template <bool SCALES, class T, class F>
__global__ void rows_kernel(float *x, size_t batch_rows, size_t rows, size_t cols, T term, F finish)
{
    const size_t i = (size_t)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (i >= batch_rows)
        return;
    const size_t begin = i * cols, across = i / rows * cols;
    double sum = 0;
#pragma unroll 4
    for (size_t j = lane; j < cols; j += 32)
        sum += term(begin + j, across + j);
    sum = warp_sum(sum);
    const float s = __shfl_sync(0xffffffffu, lane == 0 ? finish(i, sum) : 0.0f, 0);
    for (size_t j = lane; SCALES && j < cols; j += 32)
        x[begin + j] = s * x[begin + j];
}

/* The same for columns: a block takes 32 of them, so that loads are coalesced. */
template <bool SCALES, class T, class F>
__global__ void __launch_bounds__(32 * COLUMN_THREADS)
    columns_kernel(float *x, size_t rows, size_t cols, unsigned blocks_each, T term, F finish)
{
    __shared__ double sums[COLUMN_THREADS][32];
    __shared__ float scales[32];
    const size_t b = blockIdx.x / blocks_each, j = (size_t)(blockIdx.x % blocks_each) * 32 + threadIdx.x;
    const size_t begin = b * rows * cols + j;
    double sum = 0;
#pragma unroll 4
    for (size_t i = j < cols ? threadIdx.y : rows; i < rows; i += blockDim.y)
        sum += term(begin + i * cols, b * rows + i);
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && j < cols) {
        for (unsigned k = 1; k < blockDim.y; k++)
            sum += sums[k][threadIdx.x];
        scales[threadIdx.x] = finish(b * cols + j, sum);
    }
    __syncthreads();
    for (size_t i = SCALES && j < cols ? threadIdx.y : rows; i < rows; i += blockDim.y)
        x[begin + i * cols] = scales[threadIdx.x] * x[begin + i * cols];
}

template <bool SCALES, class T, class F> void each_line(const Verbs *on, Mats x, bool columns, T term, F finish)
{
    const size_t rows = x.batch * x.rows;
    const unsigned blocks_each = cuda_blocks(x.cols, 32);
    if (columns)
        cuda_launch(columns_kernel<SCALES, T, F>, (unsigned)(blocks_each * x.batch),
                    dim3(32, (unsigned)std::min(x.rows, (size_t)COLUMN_THREADS)), 0, on->stream, x.data, x.rows, x.cols,
                    blocks_each, term, finish);
    else
        cuda_launch(rows_kernel<SCALES, T, F>, cuda_blocks(rows, THREADS / 32), THREADS, 0, on->stream, x.data, rows,
                    x.rows, x.cols, term, finish);
}

/* Terms of a line's product. */
struct LineProduct {
    const float *x, *y;
    __device__ double operator()(size_t at, size_t) const { return (double)x[at] * (double)y[at]; }
};

} // namespace

void verb_normalise_lines(Verbs *on, Mats x, float *v, double beta, double floor)
{
    const bool columns = x.rows < x.cols;
    const double length = (double)(columns ? x.rows : x.cols);
    each_line<true>(on, x, columns, LineProduct{x.data, x.data}, [=] __device__(size_t i, double sum) {
        v[i] = (float)(beta * (double)v[i] + (1 - beta) * (sum / length));
        return (float)(1 / sqrt((double)v[i] < floor ? floor : (double)v[i]));
    });
}

void verb_normalise_columns(Verbs *on, Mats x, double eps)
{
    each_line<true>(on, x, true, LineProduct{x.data, x.data},
                    [=] __device__(size_t, double sum) { return (float)(1 / (sqrt(sum) + eps)); });
}

void verb_mean_squares(Verbs *on, Mats x, bool right, float *mean)
{
    const double length = (double)(right ? x.rows : x.cols);
    each_line<false>(on, x, right, LineProduct{x.data, x.data},
                     [=] __device__(size_t i, double sum) { return mean[i] = (float)(sum / length); });
}

void verb_line_dots(Verbs *on, Mats x, Mats y, bool right, float *dots)
{
    each_line<false>(on, x, right, LineProduct{x.data, y.data},
                     [=] __device__(size_t i, double sum) { return dots[i] = (float)sum; });
}

/* One warp per row. */
__global__ static void direct_rows_kernel(float *p, const float *u, const float *keep, const float *length, double step,
                                          size_t rows, size_t cols)
{
    const size_t i = (size_t)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (i >= rows)
        return;
    float *row = p + i * cols;
    const float *along = u + i * cols;
    double sums[3] = {};
#pragma unroll 4
    for (size_t j = lane; j < cols; j += 32)
        ThreeDots::add(sums, row[j], along[j]);
    const double pp = warp_sum(sums[0]), pu = warp_sum(sums[1]), uu = warp_sum(sums[2]);
    const Rotation r = directed_of(pp, pu, uu, (double)keep[i], step, (double)length[i]);
    const float share = __shfl_sync(0xffffffffu, (float)r.scale, 0);
    const float minus_step = __shfl_sync(0xffffffffu, (float)-r.a, 0);
    for (size_t j = lane; j < cols; j += 32)
        row[j] = fmaf(minus_step, along[j], share * row[j]);
}

void verb_direct_rows(Verbs *on, Mats p, Mats u, const float *keep, const float *length, double step)
{
    const size_t rows = p.batch * p.rows;
    cuda_launch(direct_rows_kernel, cuda_blocks(rows, THREADS / 32), THREADS, 0, on->stream, p.data, u.data, keep,
                length, step, rows, p.cols);
}

/* One block per row. */
__global__ static void scale_lines_kernel(float *to, const float *x, const float *s, size_t rows, size_t cols,
                                          bool right)
{
    const size_t i = blockIdx.x;
    const float *columns = s + i / rows * cols;
    for (size_t j = threadIdx.x; j < cols; j += blockDim.x)
        to[i * cols + j] = (right ? columns[j] : s[i]) * x[i * cols + j];
}

void verb_scale_lines(Verbs *on, Mats x, const float *s, bool right, Mats to)
{
    cuda_launch(scale_lines_kernel, (unsigned)(x.batch * x.rows), x.cols < THREADS ? 32 : (unsigned)THREADS, 0,
                on->stream, to.data, x.data, s, x.rows, x.cols, right);
}

void verb_trust(Verbs *on, size_t n, float *gate, const float *dots, double least, double most)
{
    each_index(on, n, [=] __device__(size_t i) {
        gate[i] = trust_element(dots[i], dots[n + i], dots[2 * n + i], dots[3 * n + i], dots[4 * n + i],
                                dots[5 * n + i], least, most);
    });
}

/* One block per matrix. */
__global__ static void pick_row_kernel(float *to, const float *x, const float *sizes, size_t rows, size_t cols)
{
    __shared__ float best[THREADS];
    __shared__ size_t at[THREADS];
    const float *own = sizes + blockIdx.x * rows;
    const unsigned me = threadIdx.x;
    at[me] = me < rows ? me : 0;
    for (size_t i = me + THREADS; i < rows; i += THREADS)
        at[me] = own[i] > own[at[me]] ? i : at[me];
    best[me] = own[at[me]];
    for (unsigned half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (me < half && (best[me + half] > best[me] || (best[me + half] == best[me] && at[me + half] < at[me]))) {
            best[me] = best[me + half];
            at[me] = at[me + half];
        }
    }
    __syncthreads();
    for (size_t j = me; j < cols; j += THREADS)
        to[blockIdx.x * cols + j] = x[(blockIdx.x * rows + at[0]) * cols + j];
}

void verb_pick_row(Verbs *on, Mats x, const float *sizes, float *to)
{
    cuda_launch(pick_row_kernel, (unsigned)x.batch, THREADS, 0, on->stream, to, x.data, sizes, x.rows, x.cols);
}

void verb_sinkhorn(Verbs *on, Mats a, float *x, float *y, size_t times, double eps)
{
    const float *data = a.data;
    const size_t rows = a.rows, cols = a.cols;
    verb_fill(on, a.batch * cols, y, 1);
    for (size_t k = 0; k < times; k++) {
        each_line<false>(
            on, a, false, [=] __device__(size_t at, size_t column) { return sinkhorn_term(data[at], y[column], eps); },
            [=] __device__(size_t i, double sum) { return x[i] = sinkhorn_scale(sum, rows, eps); });
        each_line<false>(
            on, a, true, [=] __device__(size_t at, size_t row) { return sinkhorn_term(data[at], x[row], eps); },
            [=] __device__(size_t i, double sum) { return y[i] = sinkhorn_scale(sum, cols, eps); });
    }
}

void verb_top(Verbs *on, size_t n, size_t batch, const float *x, size_t k, float *which)
{
    each_index(on, batch * n, [=] __device__(size_t i) {
        const size_t b = i / n, rank = rank_among(x + b * n, n, i % n);
        if (rank < k)
            which[b * k + rank] = (float)(i % n);
    });
}

void verb_take_lines(Verbs *on, Mats x, const float *which, bool right, Mats to)
{
    each_index(on, mats_size(to), [=] __device__(size_t i) { to.data[i] = x.data[place_of(i, to, x, which, right)]; });
}

void verb_put_lines(Verbs *on, Mats x, const float *which, bool right, double s, Mats to)
{
    const float factor = (float)s;
    each_index(on, mats_size(x),
               [=] __device__(size_t i) { to.data[place_of(i, x, to, which, right)] = factor * x.data[i]; });
}

void verb_inverse_roots(Verbs *on, size_t n, float *s, const float *x, double beta, double most)
{
    each<0b11, 0b01>(on, n, streams(s, x),
                     [=] __device__(float *v, None) { v[0] = inverse_root_element(v[0], v[1], beta, most); });
}
