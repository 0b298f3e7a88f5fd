/*
 * Muon (Jordan et al. 2024): momentum whose matrices are orthogonalised before they are added.
 *   m = mu m + (1 - mu) g;  u = nesterov ? (1 - mu) g + mu m : m;  O = NS(u);
 *   W = (1 - lr wd) W - lr scale O
 */
#include "optim/muon.h"

#include "optim/newton_schulz.h"
#include "optim/rule.h"
#include "optim/verbs.h"

#include <math.h>

/* Matrices orthogonalised at once: as many as fit in this many floats, at least one. Many small ones fill the cores
 * together; a large one fills them alone, and more at once would only cost memory. */
enum { BATCH_FLOATS = 1 << 22 };

const char *const muon_scale_names[MUON_SCALE_COUNT + 1] = {"none",      "original", "moonshot",
                                                            "bernstein", "early",    "gradient", NULL};

double muon_scale(MuonScale rule, size_t rows, size_t cols)
{
    const double r = (double)rows, c = (double)cols, longer = r > c ? r : c;
    switch (rule) {
    case MUON_SCALE_ORIGINAL:
        return r > c ? sqrt(r / c) : 1;
    case MUON_SCALE_MOONSHOT:
        return 0.2 * sqrt(longer);
    case MUON_SCALE_BERNSTEIN:
        return sqrt(r / c);
    case MUON_SCALE_EARLY:
        return sqrt(longer);
    default:
        return 1;
    }
}

static size_t muon_states(const OptimHyper *h, size_t rows, size_t cols, OptimStateSpec *specs)
{
    (void)h;
    specs[0] = (OptimStateSpec){"m", rows, cols};
    return 1;
}

/* Slots from `first` on that have its shape, at most a batch. */
static size_t batch_at(const OptimGroup *group, size_t first)
{
    const OptimSlot *a = &group->slots[first];
    const size_t fit = BATCH_FLOATS / (a->rows * a->cols), most = fit > 0 ? fit : 1;
    size_t n = 1;
    while (n < most && first + n < group->count && group->slots[first + n].rows == a->rows &&
           group->slots[first + n].cols == a->cols)
        n++;
    return n;
}

/* u, then two norms a matrix for the gradient scale, then the iteration's own. */
static size_t batch_workspace(size_t rows, size_t cols, size_t batch)
{
    return batch * (rows * cols + 2) + ns_workspace(rows, cols, batch);
}

static size_t muon_workspace(const OptimGroup *group)
{
    size_t most = 0;
    for (size_t i = 0; i < group->count; i += batch_at(group, i)) {
        const OptimSlot *slot = &group->slots[i];
        const size_t n = batch_workspace(slot->rows, slot->cols, batch_at(group, i));
        most = n > most ? n : most;
    }
    return most;
}

static void step_batch(const OptimGroup *group, const OptimStep *step, const OptimSlot *slots, size_t batch)
{
    const OptimHyper *h = &step->hyper;
    const size_t rows = slots->rows, cols = slots->cols, n = rows * cols;
    const NsFlavour ns = (NsFlavour)hyper(h, HYPER_NS);
    const MuonScale scale = (MuonScale)hyper(h, HYPER_MUON_SCALE);
    const Mats u = {group->workspace, rows, cols, batch};
    float *gradient_norms = u.data + batch * n, *step_norms = gradient_norms + batch, *rest = step_norms + batch;

    if (scale == MUON_SCALE_GRADIENT) {
        for (size_t i = 0; i < batch; i++)
            verb_scale(n, u.data + i * n, slots[i].grad, step->grad_scale);
        verb_norms(u, gradient_norms);
    }
    for (size_t i = 0; i < batch; i++)
        verb_momentum(n, slots[i].state[0], u.data + i * n, slots[i].grad, hyper(h, HYPER_MOMENTUM),
                      hyper(h, HYPER_NESTEROV) != 0, step->grad_scale);
    ns_orthogonalise(ns, ns_steps(ns, (size_t)hyper(h, HYPER_NS_STEPS)), u.data, rows, cols, batch, rest);
    if (scale == MUON_SCALE_GRADIENT) {
        verb_norms(u, step_norms);
        verb_rescale(u, gradient_norms, step_norms, 1, 1e-30);
    }
    for (size_t i = 0; i < batch; i++)
        verb_update(n, slots[i].param, u.data + i * n, 1 - hyper(h, HYPER_LR) * hyper(h, HYPER_WEIGHT_DECAY),
                    hyper(h, HYPER_LR) * muon_scale(scale, rows, cols));
}

static void muon_step(const OptimGroup *group, const OptimStep *step)
{
    for (size_t i = 0; i < group->count;) {
        const size_t batch = batch_at(group, i);
        step_batch(group, step, &group->slots[i], batch);
        i += batch;
    }
}

const OptimRule optim_muon = {
    .name = "muon",
    .summary = "momentum, orthogonalised by Newton-Schulz; for hidden matrices",
    .source = "Jordan et al. 2024; torch.optim.Muon",
    .matrices_only = true,
    .defaults.at = {[HYPER_LR] = HYPER_SET(0.02),
                    [HYPER_WEIGHT_DECAY] = HYPER_SET(0),
                    [HYPER_MOMENTUM] = HYPER_SET(0.95),
                    [HYPER_NESTEROV] = HYPER_SET(1),
                    [HYPER_NS] = HYPER_SET(NS_JORDAN),
                    [HYPER_NS_STEPS] = HYPER_SET(0),
                    [HYPER_MUON_SCALE] = HYPER_SET(MUON_SCALE_ORIGINAL),
                    [HYPER_SPLIT_QKV] = HYPER_SET(1)},
    .states = muon_states,
    .workspace = muon_workspace,
    .step = muon_step,
};
