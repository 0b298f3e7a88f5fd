#include "optim/rules/orthogonal.h"

#include "optim/rules/newton_schulz.h"

bool orthogonal_is_bf16(const OptimHyper *h) { return hyper(h, HYPER_NS_DTYPE) == NS_BF16; }

static NsNorm norm_of(const OptimHyper *h)
{
    return h->at[HYPER_NS_NORM].set ? (NsNorm)hyper(h, HYPER_NS_NORM) : NS_FROBENIUS;
}

void orthogonalise(const Batch *batch, Mats u, float *workspace)
{
    const NsFlavour ns = (NsFlavour)batch_hyper(batch, HYPER_NS);
    const size_t steps = ns_steps(ns, (size_t)batch_hyper(batch, HYPER_NS_STEPS));
    (orthogonal_is_bf16(batch->hyper) ? ns_orthogonalise_bf16 : ns_orthogonalise)(batch->on, ns, norm_of(batch->hyper),
                                                                                  steps, u, workspace);
}

Bf16s orthogonal_bf16(const Batch *batch, Mats u, float *workspace)
{
    const NsFlavour ns = (NsFlavour)batch_hyper(batch, HYPER_NS);
    const size_t steps = ns_steps(ns, (size_t)batch_hyper(batch, HYPER_NS_STEPS));
    return ns_orthogonal_bf16(batch->on, ns, norm_of(batch->hyper), steps, u, workspace);
}

size_t orthogonal_floats(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    return orthogonal_is_bf16(h) ? ns_workspace_bf16(rows, cols, count)
                                 : ns_workspace((NsFlavour)hyper(h, HYPER_NS), rows, cols, count);
}

double orthogonal_flops(const OptimHyper *h, size_t rows, size_t cols)
{
    const NsFlavour ns = (NsFlavour)hyper(h, HYPER_NS);
    const size_t steps = ns_steps(ns, (size_t)hyper(h, HYPER_NS_STEPS));
    const double norm = ns == NS_EXACT ? 0 : ns_norm_flops(norm_of(h), rows, cols);
    return norm + (orthogonal_is_bf16(h) ? ns_flops_bf16 : ns_flops)(ns, steps, rows, cols);
}
