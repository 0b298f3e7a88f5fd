/*
 * MARS (Yuan et al. 2024): gradients to which a share of their change since the last step is added, in the moments of
 * AdamW, Signum or Muon.
 *   c = g + gamma b1 / (1-b1) (g - g_previous);  c /= max(1, |c|_F), each tensor by its own norm
 * Of --mars-form approximate, g_previous is the last step's gradient; exact, it is that of this step's inputs at the
 * last step's parameters, so that the difference has less of the batch's noise. In the first step it is 0. What the
 * paper calls its Lion form has one decay: it is Signum. Its Shampoo form is Muon without Nesterov's blend, and with
 * --muon-scale moonshot MARS-M.
 */
#include "optim/rules/adamw.h"
#include "optim/rules/elements.h"
#include "optim/rules/muon.h"
#include "optim/rules/orthogonal.h"

#include <string.h>

/* The corrected gradients c; their norms. */
static size_t workspace_of_batch(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    (void)h;
    return count * (rows * cols + 1);
}

/* c; what Muon takes; the norms. */
static size_t shampoo_workspace(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    return workspace_of_batch(h, rows, cols, count) + muon_rest(h, MUON_PLAIN, rows, cols, count);
}

/* Writes c to the workspace and, in the approximate form, the gradients to `previous`, a state. */
static Mats correct(const Batch *batch, Mats previous, float *norms)
{
    const Mats c = {batch->workspace, batch->rows, batch->cols, batch->count};
    const double beta1 = batch_hyper(batch, HYPER_BETA1);
    const double share = batch_hyper(batch, HYPER_MARS_GAMMA) * beta1 / (1 - beta1);
    batch_gradients(batch, c);
    verb_add(batch->on, mats_size(c), c.data, previous.data, 1 + share, -share);
    if (batch_hyper(batch, HYPER_MARS_FORM) == MARS_APPROXIMATE)
        batch_gradients(batch, previous);
    verb_norms(batch->on, c, norms);
    verb_rescale(batch->on, c, NULL, norms, 1, 1);
    return c;
}

/* An elementwise step along c, on the states before `previous`. */
static void step_along(const Batch *batch, Mats previous, const OptimElements *elements, const float *k)
{
    const Mats c = correct(batch, previous, batch->workspace + mats_size(previous));
    const size_t n = c.rows * c.cols;
    for (size_t i = 0, run; i < batch->count; i += run) {
        run = batch_run(batch, i);
        OptimSlot all = batch->slots[i];
        all.rows *= run;
        all.grad = c.data + i * n;
        elements_run(batch->on, elements, &all, 1, k);
    }
}

static void mars_batch(const Batch *batch)
{
    const OptimStep step = {*batch->hyper, 1, batch->t};
    const AdamwScalars s = adamw_scalars_of(&step, 0, decay_of(batch->hyper));
    float k[OPTIM_SCALARS_MAX] = {0};
    memcpy(k, &s, sizeof s);
    step_along(batch, batch_state(batch, 2, batch->rows, batch->cols), &adamw_elements, k);
}

static void mars_lion_batch(const Batch *batch)
{
    const double beta1 = batch_hyper(batch, HYPER_BETA1);
    const SignumScalars s = {1, (float)batch_hyper(batch, HYPER_LR), (float)beta1, (float)(1 - beta1),
                             decay_of(batch->hyper)};
    float k[OPTIM_SCALARS_MAX] = {0};
    memcpy(k, &s, sizeof s);
    step_along(batch, batch_state(batch, 1, batch->rows, batch->cols), &signum_elements, k);
}

static void mars_shampoo_batch(const Batch *batch)
{
    const Mats m = batch_state(batch, 0, batch->rows, batch->cols), previous = batch_state(batch, 1, m.rows, m.cols);
    float *rest = batch->workspace + mats_size(m);
    const Mats u = correct(batch, previous, rest + muon_rest(batch->hyper, MUON_PLAIN, m.rows, m.cols, m.batch));
    verb_momentum(batch->on, mats_size(u), m.data, u.data, u.data, batch_hyper(batch, HYPER_BETA1), false, 1);
    muon_finish(batch, MUON_PLAIN, u, rest);
}

/* The defaults of the authors' code, AGI-Arena/MARS, where vectors have AdamW. */
const OptimRule optim_mars = {
    .name = "mars",
    .summary = "AdamW of gradients with a share of their last change added",
    .source = "Yuan et al. 2024; AGI-Arena/MARS",
    .matrices_only = true,
    .defaults.at = {HYPER_AT(LR, 3e-3), HYPER_AT(WEIGHT_DECAY, 0.01), HYPER_AT(BETA1, 0.95), HYPER_AT(BETA2, 0.99),
                    HYPER_AT(EPS, 1e-8), HYPER_AT(MARS_GAMMA, 0.025), HYPER_AT(MARS_FORM, MARS_APPROXIMATE),
                    HYPER_AT(CAUTIOUS, 0)},
    .states = {{"m", shape_whole, .is_momentum = true},
               {"v", shape_whole},
               {"previous", shape_whole, .is_previous = true}},
    .workspace = workspace_of_batch,
    .step = mars_batch,
};

/* Its rate and decay are Signum's here. */
const OptimRule optim_mars_lion = {
    .name = "mars-lion",
    .summary = "Signum of gradients with a share of their last change added",
    .source = "Yuan et al. 2024; AGI-Arena/MARS",
    .matrices_only = true,
    .defaults.at = {HYPER_AT(LR, 3e-4), HYPER_AT(WEIGHT_DECAY, 0.1), HYPER_AT(BETA1, 0.95), HYPER_AT(MARS_GAMMA, 0.025),
                    HYPER_AT(MARS_FORM, MARS_APPROXIMATE), HYPER_AT(CAUTIOUS, 0)},
    .states = {{"m", shape_whole, .is_momentum = true}, {"previous", shape_whole, .is_previous = true}},
    .workspace = workspace_of_batch,
    .step = mars_lion_batch,
};

const OptimRule optim_mars_shampoo = {
    .name = "mars-shampoo",
    .summary = "Muon of gradients with a share of their last change added",
    .source = "Yuan et al. 2024; AGI-Arena/MARS",
    .matrices_only = true,
    .defaults.at = {HYPER_AT(LR, 3e-3), HYPER_AT(WEIGHT_DECAY, 0.01), HYPER_AT(CAUTIOUS, 0), HYPER_AT(BETA1, 0.95),
                    HYPER_AT(MARS_GAMMA, 0.025), HYPER_AT(MARS_FORM, MARS_APPROXIMATE), NS_DEFAULTS(NS_JORDAN),
                    HYPER_AT(MUON_SCALE, MUON_SCALE_ORIGINAL)},
    .settle = muon_settle,
    .states = {{"m", shape_whole, .is_momentum = true}, {"previous", shape_whole, .is_previous = true}},
    .workspace = shampoo_workspace,
    .flops = orthogonal_flops,
    .step = mars_shampoo_batch,
};
