/* Elementwise rules on a GPU: the same inline functions as on the CPU, one launch for many tensors. */
extern "C" {
#include "optim/elements.h"
}

#include "base/cuda.cuh"
#include "optim/adagrad_math.h"
#include "optim/adamw_math.h"
#include "optim/lion_math.h"
#include "optim/nesterov_math.h"
#include "optim/sgd_math.h"
#include "optim/signum_math.h"

#include <algorithm>
#include <cstring>

namespace {

enum { THREADS = 256, CHUNK = 1 << 14, SLOTS_MOST = 48 };

/* The tensors of one launch, handed over in the kernel's parameters. Each is cut into chunks, one a block. */
struct Slots {
    struct One {
        float *param;
        const float *grad;
        float *state[2]; /* no elementwise rule has more */
        size_t n;
        unsigned first_block;
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

/* One kernel a rule: what happens to element i of a tensor. */
struct Sgd {
    __device__ static void update(const Slots::One &t, size_t i, const Constants &c)
    {
        const SgdScalars s = scalars_of<SgdScalars>(c);
        if (t.state[0] == nullptr)
            sgd_element(&t.param[i], t.grad[i], &s);
        else
            sgd_momentum_element(&t.param[i], t.grad[i], &t.state[0][i], &s);
    }
};

struct Nesterov {
    __device__ static void update(const Slots::One &t, size_t i, const Constants &c)
    {
        const NesterovScalars s = scalars_of<NesterovScalars>(c);
        if (c.k[OPTIM_SCALARS_MAX - 1] == NESTEROV_LOOK_AHEAD)
            nesterov_element(&t.param[i], t.grad[i], &t.state[0][i], &s);
        else
            nesterov_shifted_element(&t.param[i], t.grad[i], &t.state[0][i], &s);
    }
};

struct NesterovAhead {
    __device__ static void update(const Slots::One &t, size_t i, const Constants &c)
    {
        const NesterovScalars s = scalars_of<NesterovScalars>(c);
        if (c.k[OPTIM_SCALARS_MAX - 1] == NESTEROV_LOOK_AHEAD)
            t.param[i] = nesterov_ahead(t.param[i], t.state[0][i], &s);
    }
};

struct Adagrad {
    __device__ static void update(const Slots::One &t, size_t i, const Constants &c)
    {
        const AdagradScalars s = scalars_of<AdagradScalars>(c);
        adagrad_element(&t.param[i], t.grad[i], &t.state[0][i], &s);
    }
};

struct Rmsprop {
    __device__ static void update(const Slots::One &t, size_t i, const Constants &c)
    {
        const AdagradScalars s = scalars_of<AdagradScalars>(c);
        if (t.state[1] == nullptr)
            adagrad_element(&t.param[i], t.grad[i], &t.state[0][i], &s);
        else
            rmsprop_momentum_element(&t.param[i], t.grad[i], &t.state[0][i], &t.state[1][i], &s);
    }
};

struct Adadelta {
    __device__ static void update(const Slots::One &t, size_t i, const Constants &c)
    {
        const AdagradScalars s = scalars_of<AdagradScalars>(c);
        adadelta_element(&t.param[i], t.grad[i], &t.state[0][i], &t.state[1][i], &s);
    }
};

struct Adamw {
    __device__ static void update(const Slots::One &t, size_t i, const Constants &c)
    {
        const AdamwScalars s = scalars_of<AdamwScalars>(c);
        adamw_element(&t.param[i], t.grad[i], &t.state[0][i], &t.state[1][i], &s);
    }
};

struct NestedAdam {
    __device__ static void update(const Slots::One &t, size_t i, const Constants &c)
    {
        const AdamwScalars s = scalars_of<AdamwScalars>(c);
        nested_adam_element(&t.param[i], t.grad[i], &t.state[0][i], &t.state[1][i], &s);
    }
};

struct Signsgd {
    __device__ static void update(const Slots::One &t, size_t i, const Constants &c)
    {
        const SignumScalars s = scalars_of<SignumScalars>(c);
        signsgd_element(&t.param[i], t.grad[i], &s);
    }
};

struct Signum {
    __device__ static void update(const Slots::One &t, size_t i, const Constants &c)
    {
        const SignumScalars s = scalars_of<SignumScalars>(c);
        signum_element(&t.param[i], t.grad[i], &t.state[0][i], &s);
    }
};

struct Lion {
    __device__ static void update(const Slots::One &t, size_t i, const Constants &c)
    {
        const LionScalars s = scalars_of<LionScalars>(c);
        lion_element(&t.param[i], t.grad[i], &t.state[0][i], &s);
    }
};

template <class Rule> __global__ void update_kernel(Slots slots, Constants constants)
{
    unsigned which = 0;
    while (which + 1 < slots.count && slots.slot[which + 1].first_block <= blockIdx.x)
        which++;
    const Slots::One &t = slots.slot[which];
    const size_t begin = (size_t)(blockIdx.x - t.first_block) * CHUNK;
    const size_t end = t.n - begin < CHUNK ? t.n : begin + CHUNK;
    for (size_t i = begin + threadIdx.x; i < end; i += blockDim.x)
        Rule::update(t, i, constants);
}

using Kernel = void (*)(Slots, Constants);

/* A rule's kernels; ahead NULL: its parameters stay where they are. */
struct Entry {
    const OptimRule *rule;
    Kernel update, ahead;
};

const Entry entries[] = {
    {&optim_sgd, update_kernel<Sgd>, nullptr},
    {&optim_nesterov, update_kernel<Nesterov>, update_kernel<NesterovAhead>},
    {&optim_adagrad, update_kernel<Adagrad>, nullptr},
    {&optim_rmsprop, update_kernel<Rmsprop>, nullptr},
    {&optim_adadelta, update_kernel<Adadelta>, nullptr},
    {&optim_adam, update_kernel<Adamw>, nullptr},
    {&optim_adamw, update_kernel<Adamw>, nullptr},
    {&optim_nested_adam, update_kernel<NestedAdam>, nullptr},
    {&optim_signsgd, update_kernel<Signsgd>, nullptr},
    {&optim_signum, update_kernel<Signum>, nullptr},
    {&optim_lion, update_kernel<Lion>, nullptr},
};

Kernel kernel_of(const OptimRule *rule, bool ahead)
{
    for (const Entry &entry : entries)
        if (entry.rule == rule)
            return ahead ? entry.ahead : entry.update;
    cuda_fail(__FILE__, __LINE__, rule->name, "this elementwise rule has no kernel here");
}

} // namespace

void elements_step(const OptimGroup *group, const OptimStep *step, bool ahead)
{
    const Kernel kernel = kernel_of(group->rule, ahead);
    Constants constants = {};
    group->rule->scalars(step, constants.k);
    for (size_t first = 0; first < group->count; first += SLOTS_MOST) {
        Slots slots = {};
        unsigned blocks = 0;
        slots.count = (unsigned)std::min(group->count - first, (size_t)SLOTS_MOST);
        for (unsigned i = 0; i < slots.count; i++) {
            const OptimSlot *slot = &group->slots[first + i];
            const size_t n = slot->rows * slot->cols;
            if (slot->state[2] != NULL)
                cuda_fail(__FILE__, __LINE__, group->rule->name, "kernels hand over two states, this rule has more");
            slots.slot[i] = {slot->param, slot->grad, {slot->state[0], slot->state[1]}, n, blocks};
            blocks += cuda_blocks(n, CHUNK);
        }
        cuda_launch(kernel, blocks, THREADS, 0, nullptr, slots, constants);
    }
}
