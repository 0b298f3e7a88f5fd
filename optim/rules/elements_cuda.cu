/* Elementwise rules on a GPU: the same inline functions as on the CPU, one launch for many tensors. */
extern "C" {
#include "optim/rules/elements.h"
}

#include "optim/rules/adagrad_math.h"
#include "optim/rules/adamw_math.h"
#include "optim/rules/lion_math.h"
#include "optim/rules/nesterov_math.h"
#include "optim/rules/sgd_math.h"
#include "optim/rules/signum_math.h"
#include "optim/verbs/device.cuh"

#include <algorithm>
#include <cstring>

using namespace optim_device;

namespace {

enum { CHUNK = 4 * QUADS * THREADS * 4, SLOTS_MOST = 256, STATES_MOST = 2 /* no elementwise rule has more */ };

/* The tensors of one launch, handed over in the kernel's parameters. Each is cut into chunks, one a block. */
struct Slots {
    struct One {
        float *param;
        const float *grad;
        float *state[STATES_MOST];
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
    float p, g, s[STATES_MOST];
};

/* One kernel a rule and number of states: what happens to an element. AHEAD: only the parameter, without gradient. */
struct Rule {
    enum { AHEAD = 0 };
};

struct Sgd : Rule {
    template <int STATES> __device__ static void update(Element &x, const Constants &c)
    {
        const SgdScalars s = scalars_of<SgdScalars>(c);
        if (STATES == 0)
            sgd_element(&x.p, x.g, &s);
        else
            sgd_momentum_element(&x.p, x.g, &x.s[0], &s);
    }
};

struct Nesterov : Rule {
    template <int STATES> __device__ static void update(Element &x, const Constants &c)
    {
        const NesterovScalars s = scalars_of<NesterovScalars>(c);
        if (c.k[OPTIM_SCALARS_MAX - 1] == NESTEROV_LOOK_AHEAD)
            nesterov_element(&x.p, x.g, &x.s[0], &s);
        else
            nesterov_shifted_element(&x.p, x.g, &x.s[0], &s);
    }
};

struct NesterovAhead : Rule {
    enum { AHEAD = 1 };
    template <int STATES> __device__ static void update(Element &x, const Constants &c)
    {
        const NesterovScalars s = scalars_of<NesterovScalars>(c);
        if (c.k[OPTIM_SCALARS_MAX - 1] == NESTEROV_LOOK_AHEAD)
            x.p = nesterov_ahead(x.p, x.s[0], &s);
    }
};

struct Adagrad : Rule {
    template <int STATES> __device__ static void update(Element &x, const Constants &c)
    {
        const AdagradScalars s = scalars_of<AdagradScalars>(c);
        adagrad_element(&x.p, x.g, &x.s[0], &s);
    }
};

struct Rmsprop : Rule {
    template <int STATES> __device__ static void update(Element &x, const Constants &c)
    {
        const AdagradScalars s = scalars_of<AdagradScalars>(c);
        if (STATES == 1)
            adagrad_element(&x.p, x.g, &x.s[0], &s);
        else
            rmsprop_momentum_element(&x.p, x.g, &x.s[0], &x.s[1], &s);
    }
};

struct Adadelta : Rule {
    template <int STATES> __device__ static void update(Element &x, const Constants &c)
    {
        const AdagradScalars s = scalars_of<AdagradScalars>(c);
        adadelta_element(&x.p, x.g, &x.s[0], &x.s[1], &s);
    }
};

struct Adamw : Rule {
    template <int STATES> __device__ static void update(Element &x, const Constants &c)
    {
        const AdamwScalars s = scalars_of<AdamwScalars>(c);
        adamw_element(&x.p, x.g, &x.s[0], &x.s[1], &s);
    }
};

struct NestedAdam : Rule {
    template <int STATES> __device__ static void update(Element &x, const Constants &c)
    {
        const AdamwScalars s = scalars_of<AdamwScalars>(c);
        nested_adam_element(&x.p, x.g, &x.s[0], &x.s[1], &s);
    }
};

struct Signsgd : Rule {
    template <int STATES> __device__ static void update(Element &x, const Constants &c)
    {
        const SignumScalars s = scalars_of<SignumScalars>(c);
        signsgd_element(&x.p, x.g, &s);
    }
};

struct Signum : Rule {
    template <int STATES> __device__ static void update(Element &x, const Constants &c)
    {
        const SignumScalars s = scalars_of<SignumScalars>(c);
        signum_element(&x.p, x.g, &x.s[0], &s);
    }
};

struct Lion : Rule {
    template <int STATES> __device__ static void update(Element &x, const Constants &c)
    {
        const LionScalars s = scalars_of<LionScalars>(c);
        lion_element(&x.p, x.g, &x.s[0], &s);
    }
};

__device__ unsigned slot_of(const Slots &slots, unsigned block)
{
    unsigned low = 0, high = slots.count; /* the last that begins at or before the block */
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
template <int STATES> struct Elements {
    Quad p, g, s[STATES > 0 ? STATES : 1];
};

template <class R, int STATES> __device__ void load_elements(Elements<STATES> &v, const Slots::One &t, size_t i)
{
    v.p = load_quad(t.param + i);
    if (!R::AHEAD)
        v.g = load_quad(t.grad + i);
#pragma unroll
    for (int k = 0; k < STATES; k++)
        v.s[k] = load_quad(t.state[k] + i);
}

template <class R, int STATES> __device__ void update_elements(Elements<STATES> &v, const Constants &constants)
{
#pragma unroll
    for (int e = 0; e < 4; e++) {
        Element x = {v.p.x[e], v.g.x[e], {}};
#pragma unroll
        for (int k = 0; k < STATES; k++)
            x.s[k] = v.s[k].x[e];
        R::template update<STATES>(x, constants);
        v.p.x[e] = x.p;
#pragma unroll
        for (int k = 0; k < STATES; k++)
            v.s[k].x[e] = x.s[k];
    }
}

template <class R, int STATES> __device__ void store_elements(const Elements<STATES> &v, const Slots::One &t, size_t i)
{
    store_quad(t.param + i, v.p);
#pragma unroll
    for (int k = 0; k < (R::AHEAD ? 0 : STATES); k++)
        store_quad(t.state[k] + i, v.s[k]);
}

template <class R, int STATES> __device__ void update_single(const Slots::One &t, size_t i, const Constants &constants)
{
    Element x = {t.param[i], R::AHEAD ? 0 : t.grad[i], {}};
#pragma unroll
    for (int k = 0; k < STATES; k++)
        x.s[k] = t.state[k][i];
    R::template update<STATES>(x, constants);
    t.param[i] = x.p;
#pragma unroll
    for (int k = 0; k < (R::AHEAD ? 0 : STATES); k++)
        t.state[k][i] = x.s[k];
}

/* A block's chunk of a tensor: QUADS quads a thread at a time, all their loads before the first store; what is not
 * aligned or no whole chunk, one by one. */
template <class R, int STATES> __global__ void update_kernel(Slots slots, Constants constants)
{
    const Slots::One &t = slots.slot[slot_of(slots, blockIdx.x)];
    const size_t begin = (size_t)(blockIdx.x - t.first_block) * CHUNK, stride = 4 * (size_t)blockDim.x;
    if (!t.aligned || t.n - begin < CHUNK) {
        const size_t end = t.n - begin < CHUNK ? t.n : begin + CHUNK;
#pragma unroll 1
        for (size_t i = begin + threadIdx.x; i < end; i += blockDim.x)
            update_single<R, STATES>(t, i, constants);
        return;
    }
#pragma unroll 1
    for (size_t i = begin + 4 * threadIdx.x; i < begin + CHUNK; i += QUADS * stride) {
        Elements<STATES> v[QUADS] = {};
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

using Kernel = void (*)(Slots, Constants);

/* A rule's kernels by the number of states; ahead NULL: its parameters stay where they are. */
struct Entry {
    const OptimRule *rule;
    Kernel update[STATES_MOST + 1], ahead;
};

const Entry entries[] = {
    {&optim_sgd, {update_kernel<Sgd, 0>, update_kernel<Sgd, 1>}, nullptr},
    {&optim_nesterov, {nullptr, update_kernel<Nesterov, 1>}, update_kernel<NesterovAhead, 1>},
    {&optim_adagrad, {nullptr, update_kernel<Adagrad, 1>}, nullptr},
    {&optim_rmsprop, {nullptr, update_kernel<Rmsprop, 1>, update_kernel<Rmsprop, 2>}, nullptr},
    {&optim_adadelta, {nullptr, nullptr, update_kernel<Adadelta, 2>}, nullptr},
    {&optim_adam, {nullptr, nullptr, update_kernel<Adamw, 2>}, nullptr},
    {&optim_adamw, {nullptr, nullptr, update_kernel<Adamw, 2>}, nullptr},
    {&optim_nested_adam, {nullptr, nullptr, update_kernel<NestedAdam, 2>}, nullptr},
    {&optim_signsgd, {update_kernel<Signsgd, 0>}, nullptr},
    {&optim_signum, {nullptr, update_kernel<Signum, 1>}, nullptr},
    {&optim_lion, {nullptr, update_kernel<Lion, 1>}, nullptr},
};

size_t states_of(const OptimSlot *slot)
{
    size_t states = 0;
    while (states < OPTIM_STATES_MAX && slot->state[states] != NULL)
        states++;
    return states;
}

Kernel kernel_of(const OptimRule *rule, size_t states, bool ahead)
{
    for (const Entry &entry : entries)
        if (entry.rule == rule && states <= STATES_MOST && entry.update[states] != nullptr)
            return ahead ? entry.ahead : entry.update[states];
    cuda_fail(__FILE__, __LINE__, rule->name, "this elementwise rule has no kernel here for its number of states");
}

Slots::One slot_from(const OptimSlot *slot, unsigned first_block)
{
    const bool aligned =
        is_aligned(slot->param) && is_aligned(slot->grad) && is_aligned(slot->state[0]) && is_aligned(slot->state[1]);
    return {slot->param, slot->grad, {slot->state[0], slot->state[1]}, slot->rows * slot->cols, first_block, aligned};
}

} // namespace

void elements_step(const OptimGroup *group, const OptimStep *step, bool ahead)
{
    const Kernel kernel = kernel_of(group->rule, states_of(group->slots), ahead);
    Constants constants = {};
    group->rule->scalars(step, constants.k);
    for (size_t first = 0; first < group->count; first += SLOTS_MOST) {
        Slots slots = {};
        unsigned blocks = 0;
        slots.count = (unsigned)std::min(group->count - first, (size_t)SLOTS_MOST);
        for (unsigned i = 0; i < slots.count; i++) {
            slots.slot[i] = slot_from(&group->slots[first + i], blocks);
            blocks += cuda_blocks(slots.slot[i].n, CHUNK);
        }
        cuda_launch(kernel, blocks, THREADS, 0, nullptr, slots, constants);
    }
}
