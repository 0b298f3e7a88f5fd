#include "optim/rules/orthogonalise.h"

#include "optim/rules/newton_schulz.h"

static bool is_bf16(const OptimHyper *h) { return hyper(h, HYPER_NS_DTYPE) == NS_BF16; }

void batch_orthogonalise(const Batch *batch, Mats u, float *workspace)
{
    const NsFlavour ns = (NsFlavour)batch_hyper(batch, HYPER_NS);
    const size_t steps = ns_steps(ns, (size_t)batch_hyper(batch, HYPER_NS_STEPS));
    if (is_bf16(batch->hyper))
        ns_orthogonalise_bf16(batch->on, ns, steps, u.data, u.rows, u.cols, u.batch, workspace);
    else
        ns_orthogonalise(batch->on, ns, steps, u.data, u.rows, u.cols, u.batch, workspace);
}

size_t orthogonalise_floats(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    return is_bf16(h) ? ns_workspace_bf16(rows, cols, count)
                      : ns_workspace((NsFlavour)hyper(h, HYPER_NS), rows, cols, count);
}
