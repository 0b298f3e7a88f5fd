/* Elementwise rules on a GPU: the inline functions of the CPU, one launch for many tensors. */
#include "optim/rules/elements.h"
#include "optim/verbs/device.cuh"

#include <algorithm>
#include <cstring>

using namespace optim_device;

namespace {

enum { CHUNK = 4 * QUADS * THREADS * 4, SLOTS_MOST = 256 };

/* The tensors of one launch, passed as kernel parameters. Each is divided into chunks, one per block. */
struct Slots {
    struct One {
        float *param;
        const float *grad;
        float *state[OPTIM_ELEMENT_STATES];
        size_t n;
        unsigned first_block;
        bool aligned;
    } slot[SLOTS_MOST];
    unsigned count;
};

struct Constants {
    float k[OPTIM_SCALARS_MAX];
};

template <class Scalars> __device__ Scalars scalars_of(const Constants &constants)
{
    Scalars s;
    memcpy(&s, constants.k, sizeof s);
    return s;
}

/* One element of a tensor and of its states. */
struct Element {
    float p, g, s[OPTIM_ELEMENT_STATES];
};

/* A row of OPTIM_ELEMENTS as a type that updates one element. IS_AHEAD: it writes only the parameter and reads no
 * gradient. */
#define RULE(name, states, Scalars, element) RULE_##states(name, Scalars, element)
#define RULE_OF(name, Scalars, states, is_ahead, call)                \
    struct name##_rule {                                              \
        enum { STATES = states, IS_AHEAD = is_ahead };                \
        __device__ static void update(Element &x, const Constants &c) \
        {                                                             \
            const Scalars s = scalars_of<Scalars>(c);                 \
            call;                                                     \
        }                                                             \
    };
#define RULE_0(name, S, element) RULE_OF(name, S, 0, false, element(&x.p, x.g, &s))
#define RULE_1(name, S, element) RULE_OF(name, S, 1, false, element(&x.p, x.g, &x.s[0], &s))
#define RULE_2(name, S, element) RULE_OF(name, S, 2, false, element(&x.p, x.g, &x.s[0], &x.s[1], &s))
#define RULE_3(name, S, element) RULE_OF(name, S, 3, false, element(&x.p, x.g, &x.s[0], &x.s[1], &x.s[2], &s))
#define RULE_4(name, S, element) RULE_OF(name, S, 4, false, element(&x.p, x.g, &x.s[0], &x.s[1], &x.s[2], &x.s[3], &s))
#define RULE_AHEAD(name, S, element) RULE_OF(name, S, 1, true, element(&x.p, x.s[0], &s))

OPTIM_ELEMENTS(RULE)

__device__ unsigned slot_of(const Slots &slots, unsigned block)
{
    unsigned low = 0, high = slots.count; /* finds the last that begins at or before the block */
    while (high - low > 1) {
        const unsigned middle = (low + high) / 2;
        if (slots.slot[middle].first_block <= block)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Four elements from i on. */
template <class R> struct Elements {
    Quad p, g, s[R::STATES > 0 ? R::STATES : 1];
};

template <class R> __device__ void load_elements(Elements<R> &v, const Slots::One &t, size_t i)
{
    v.p = load_quad(t.param + i);
    if (!R::IS_AHEAD)
        v.g = load_quad(t.grad + i);
#pragma unroll
    for (int k = 0; k < R::STATES; k++)
        v.s[k] = load_quad(t.state[k] + i);
}

template <class R> __device__ void update_elements(Elements<R> &v, const Constants &constants)
{
#pragma unroll
    for (int e = 0; e < 4; e++) {
        Element x = {v.p.x[e], v.g.x[e], {}};
#pragma unroll
        for (int k = 0; k < R::STATES; k++)
            x.s[k] = v.s[k].x[e];
        R::update(x, constants);
        v.p.x[e] = x.p;
#pragma unroll
        for (int k = 0; k < R::STATES; k++)
            v.s[k].x[e] = x.s[k];
    }
}

template <class R> __device__ void store_elements(const Elements<R> &v, const Slots::One &t, size_t i)
{
    store_quad(t.param + i, v.p);
#pragma unroll
    for (int k = 0; k < (R::IS_AHEAD ? 0 : R::STATES); k++)
        store_quad(t.state[k] + i, v.s[k]);
}

template <class R> __device__ void update_single(const Slots::One &t, size_t i, const Constants &constants)
{
    Element x = {t.param[i], R::IS_AHEAD ? 0 : t.grad[i], {}};
#pragma unroll
    for (int k = 0; k < R::STATES; k++)
        x.s[k] = t.state[k][i];
    R::update(x, constants);
    t.param[i] = x.p;
#pragma unroll
    for (int k = 0; k < (R::IS_AHEAD ? 0 : R::STATES); k++)
        t.state[k][i] = x.s[k];
}

/* A block's chunk of a tensor: QUADS quads per thread at a time, all loads before the first store; element by element
 * if the tensor is not aligned or the chunk is incomplete. */
template <class R> __global__ void update_kernel(Slots slots, Constants constants)
{
    const Slots::One &t = slots.slot[slot_of(slots, blockIdx.x)];
    const size_t begin = (size_t)(blockIdx.x - t.first_block) * CHUNK, stride = 4 * (size_t)blockDim.x;
    if (!t.aligned || t.n - begin < CHUNK) {
        const size_t end = t.n - begin < CHUNK ? t.n : begin + CHUNK;
#pragma unroll 1
        for (size_t i = begin + threadIdx.x; i < end; i += blockDim.x)
            update_single<R>(t, i, constants);
        return;
    }
#pragma unroll 1
    for (size_t i = begin + 4 * threadIdx.x; i < begin + CHUNK; i += QUADS * stride) {
        Elements<R> v[QUADS] = {};
#pragma unroll
        for (int q = 0; q < QUADS; q++)
            load_elements<R>(v[q], t, i + (size_t)q * stride);
#pragma unroll
        for (int q = 0; q < QUADS; q++) {
            update_elements<R>(v[q], constants);
            store_elements<R>(v[q], t, i + (size_t)q * stride);
        }
    }
}

/* A row of OPTIM_MEASURES as a type that adds one element's terms. */
#define MEASURE(name, Scalars, terms)                                                              \
    struct name##_terms_of {                                                                       \
        __device__ static void add(const Slots::One &t, size_t i, const Constants &c, double *sum) \
        {                                                                                          \
            const Scalars s = scalars_of<Scalars>(c);                                              \
            terms(t.param[i], t.grad[i], t.state[0][i], t.state[1][i], &s, &sum[0], &sum[1]);      \
        }                                                                                          \
    };

OPTIM_MEASURES(MEASURE)

/* A block for each slot, so that the order of its sums does not depend on the others. */
template <class M> __global__ void measure_kernel(Slots slots, Constants constants, double *totals)
{
    const Slots::One &t = slots.slot[blockIdx.x];
    double sum[OPTIM_SUMS] = {};
#pragma unroll 4
    for (size_t i = threadIdx.x; i < t.n; i += blockDim.x)
        M::add(t, i, constants, sum);
    for (int s = 0; s < OPTIM_SUMS; s++) {
        const double total = block_sum(sum[s]);
        if (threadIdx.x == 0)
            totals[OPTIM_SUMS * blockIdx.x + s] = total;
    }
}

Slots::One slot_from(const OptimSlot *slot, unsigned first_block)
{
    Slots::One one = {slot->param, slot->grad, {}, slot->rows * slot->cols, first_block, false};
    elements_states(slot, one.state);
    one.aligned = is_aligned(one.param) && is_aligned(one.grad);
    for (const float *state : one.state)
        one.aligned = one.aligned && is_aligned(state);
    return one;
}

} // namespace

struct OptimElements {
    void (*kernel)(Slots, Constants);
};

#define KERNEL(name, ...) const OptimElements name##_elements = {update_kernel<name##_rule>};
OPTIM_ELEMENTS(KERNEL)

void elements_run(Verbs *on, const OptimElements *elements, const OptimSlot *all, size_t count, const float *k)
{
    Constants constants;
    memcpy(constants.k, k, sizeof constants.k);
    for (size_t first = 0; first < count; first += SLOTS_MOST) {
        Slots slots = {};
        unsigned blocks = 0;
        slots.count = (unsigned)std::min(count - first, (size_t)SLOTS_MOST);
        for (unsigned i = 0; i < slots.count; i++) {
            slots.slot[i] = slot_from(&all[first + i], blocks);
            blocks += cuda_blocks(slots.slot[i].n, CHUNK);
        }
        cuda_launch(elements->kernel, blocks, THREADS, 0, on->stream, slots, constants);
    }
}

struct OptimMeasure {
    void (*kernel)(Slots, Constants, double *);
};

#define MEASURE_KERNEL(name, ...) const OptimMeasure name##_measure = {measure_kernel<name##_terms_of>};
OPTIM_MEASURES(MEASURE_KERNEL)

void elements_measure(Verbs *on, const OptimMeasure *measure, const OptimSlot *all, size_t count, const float *k,
                      double (*sums)[OPTIM_SUMS])
{
    Constants constants;
    memcpy(constants.k, k, sizeof constants.k);
    static_assert(OPTIM_SUMS * SLOTS_MOST <= TOTALS_MOST, "the totals of a launch fit");
    for (size_t first = 0; first < count; first += SLOTS_MOST) {
        Slots slots = {};
        slots.count = (unsigned)std::min(count - first, (size_t)SLOTS_MOST);
        for (unsigned i = 0; i < slots.count; i++)
            slots.slot[i] = slot_from(&all[first + i], i);
        cuda_launch(measure->kernel, slots.count, THREADS, 0, on->stream, slots, constants, on->totals);
        CUDA_CHECK(
            cudaMemcpyAsync(sums[first], on->totals, slots.count * sizeof *sums, cudaMemcpyDeviceToHost, on->stream));
        CUDA_CHECK(cudaStreamSynchronize(on->stream));
    }
}
