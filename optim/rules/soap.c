/*
 * Adam in the eigenbasis of Shampoo's factors. L and R are averages of G G^T and G^T G, and QL, QR their eigenvectors,
 * updated by one step of orthogonal iteration, Q = qr(L Q):
 *   soap     m and v are averages of G' = QL^T G QR and of its square; the step is QL (m / (sqrt(v) + eps)) QR^T,
 *            followed by the decay (Vyas et al. 2024, as in the authors' code)
 *   soap-h   m averages G itself; the step rotates each matrix and keeps its norm (modded-nanogpt track 3)
 *   kl-soap  L and R are averages of gradients whitened on the other side (Lin et al. 2025); the step rotates
 *            each matrix and keeps its norm (modded-nanogpt track 3)
 */
#include "optim/rules/soap.h"
#include "optim/rules/flops.h"

#include <math.h>

/* --------------------------------------------------------------------------------------------------------------
 * A batch's matrices by name
 */

Soap soap_of(const Batch *batch)
{
    const size_t r = batch->rows, c = batch->cols, n = batch->count * r * c;
    float *w = batch->workspace;
    return (Soap){.on = batch->on,
                  .batch = batch,
                  .m = batch_state(batch, SOAP_M, r, c),
                  .v = batch_state(batch, SOAP_V, r, c),
                  .factor = {batch_state(batch, SOAP_LEFT, r, r), batch_state(batch, SOAP_RIGHT, c, c)},
                  .basis = {batch_state(batch, SOAP_LEFT_BASIS, r, r), batch_state(batch, SOAP_RIGHT_BASIS, c, c)},
                  .u = {w, r, c, batch->count},
                  .g = {w + n, r, c, batch->count},
                  .x = {w + 2 * n, r, c, batch->count},
                  .between = {w + 3 * n, r, c, batch->count},
                  .rest = w + 4 * n};
}

/* Beside the four matrices an image L Q of a basis and scratch, or a line of means for each side; never both. */
size_t soap_workspace(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    const size_t n = rows > cols ? rows : cols;
    (void)h;
    return count * (4 * rows * cols + n * n + rows + cols + SOAP_SCALARS) + verb_scratch(n, n, count);
}

double soap_flops(const OptimHyper *h, size_t rows, size_t cols, double products)
{
    const double bases = flops_of_product(rows, rows, rows) + flops_of_qr(rows, rows) +
                         flops_of_product(cols, cols, cols) + flops_of_qr(cols, cols);
    return flops_of_grams(rows, cols) + products * flops_of_sides(rows, cols) + bases / hyper(h, HYPER_REFRESH);
}

void soap_into_basis(const Soap *s, Mats x, Mats to)
{
    verb_product_on_both_sides(s->on, s->basis[0], true, x, s->basis[1], false, s->between, to);
}

void soap_out_of_basis(const Soap *s, Mats x, Mats to)
{
    verb_product_on_both_sides(s->on, s->basis[0], false, x, s->basis[1], true, s->between, to);
}

void soap_average_factors(const Soap *s, Mats x, Mats y, double keep, double left_share, double right_share)
{
    verb_gram_average(s->on, x, false, keep, left_share, s->factor[0]);
    verb_gram_average(s->on, y, true, keep, right_share, s->factor[1]);
}

void soap_first_bases(const Soap *s)
{
    for (size_t side = 0; side < 2; side++)
        verb_eigenbasis(s->on, s->factor[side], s->basis[side], s->rest);
}

void soap_renew_bases(const Soap *s, bool sorted)
{
    for (size_t side = 0; side < 2; side++) {
        const Mats basis = s->basis[side], image = {s->rest, basis.rows, basis.cols, basis.batch};
        float *scratch = s->rest + mats_size(image);
        verb_product(s->on, s->factor[side], false, basis, false, 1, 0, image);
        if (sorted)
            verb_sort_basis(s->on, basis, image, s->v, side == 1, scratch);
        verb_qr(s->on, image, scratch);
        verb_copy(s->on, image, basis);
    }
}

bool soap_refresh_due(const Batch *batch, size_t t) { return t % (size_t)batch_hyper(batch, HYPER_REFRESH) == 0; }

/* Renews the bases, also moving m from the old basis to the new one. */
static void renew_bases_and_momentum(const Soap *s, bool sorted)
{
    soap_out_of_basis(s, s->m, s->x);
    soap_renew_bases(s, sorted);
    soap_into_basis(s, s->x, s->m);
}

/* u = QL (m / (sqrt(v) + eps)) QR^T with m and v averages of G' = QL^T G QR and its square; leaves G' in x. */
static void adam_in_basis(const Soap *s)
{
    const Batch *batch = s->batch;
    const size_t n = mats_size(s->g);
    soap_into_basis(s, s->g, s->x);
    verb_adam_direction(s->on, n, s->u.data, s->m.data, s->v.data, s->x.data, batch_hyper(batch, HYPER_BETA1),
                        batch_hyper(batch, HYPER_BETA2), 1, batch_hyper(batch, HYPER_EPS), 1);
    soap_out_of_basis(s, s->u, s->u);
}

/* --------------------------------------------------------------------------------------------------------------
 * soap
 */

static void soap_batch(const Batch *batch)
{
    const Soap s = soap_of(batch);
    const double beta1 = batch_hyper(batch, HYPER_BETA1), beta2 = batch_hyper(batch, HYPER_BETA2);
    const size_t t = batch->t - 1; /* the first call only computes the bases */
    batch_gradients(batch, s.g);
    if (t > 0) {
        adam_in_basis(&s);
        batch_subtract(batch, s.u, sqrt(1 - pow(beta2, (double)t)) / (1 - pow(beta1, (double)t)));
        batch_decay(batch, s.u);
    }
    soap_average_factors(&s, s.g, s.g, beta2, 1 - beta2, 1 - beta2);
    if (t == 0)
        soap_first_bases(&s);
    else if (soap_refresh_due(batch, t))
        renew_bases_and_momentum(&s, true);
}

/* The gradient into the basis and the step out of it; with the bases, the momentum out of the old and into the new. */
static double flops_of_soap(const OptimHyper *h, size_t rows, size_t cols)
{
    return soap_flops(h, rows, cols, 2 + 2 / hyper(h, HYPER_REFRESH));
}

const OptimRule optim_soap = {
    .name = "soap",
    .summary = "Adam in the eigenbasis of Shampoo's factors",
    .source = "Vyas et al. 2024; nikhilvyas/SOAP",
    .matrices_only = true,
    .defaults.at = {HYPER_AT(LR, 3e-3), HYPER_AT(WEIGHT_DECAY, 0.01), HYPER_AT(CAUTIOUS, 0), HYPER_AT(BETA1, 0.95),
                    HYPER_AT(BETA2, 0.95), HYPER_AT(EPS, 1e-8), HYPER_AT(REFRESH, 10), HYPER_AT(SPLIT_QKV, 1)},
    .states = {SOAP_STATE_SPECS},
    .workspace = soap_workspace,
    .flops = flops_of_soap,
    .step = soap_batch,
};

/* --------------------------------------------------------------------------------------------------------------
 * soap-h
 */

static void soap_h_batch(const Batch *batch)
{
    const Soap s = soap_of(batch);
    const size_t n = mats_size(s.g);
    const double beta2 = batch_hyper(batch, HYPER_BETA2);
    batch_gradients(batch, s.g);
    soap_average_factors(&s, s.g, s.g, beta2, 1 - beta2, 1 - beta2);
    if (batch->t == 1)
        soap_first_bases(&s);
    verb_momentum(batch->on, n, s.m.data, s.u.data, s.g.data, batch_hyper(batch, HYPER_BETA1), false, 1);
    soap_into_basis(&s, s.u, s.u);
    soap_into_basis(&s, s.g, s.x);
    verb_precondition(batch->on, n, s.u.data, s.v.data, s.x.data, beta2, 1, batch_hyper(batch, HYPER_EPS), 1);
    soap_out_of_basis(&s, s.u, s.u);
    batch_rotate(batch, s.u);
    if (soap_refresh_due(batch, batch->t))
        soap_renew_bases(&s, false);
}

/* Momentum and gradient into the basis, the step out of it. */
static double flops_of_soap_h(const OptimHyper *h, size_t rows, size_t cols) { return soap_flops(h, rows, cols, 3); }

const OptimRule optim_soap_h = {
    .name = "soap-h",
    .summary = "SOAP that rotates each matrix and keeps its norm",
    .source = "modded-nanogpt track 3",
    .matrices_only = true,
    .keeps_norm = true,
    .defaults.at = {HYPER_AT(LR, 0.018), HYPER_AT(BETA1, 0.95), HYPER_AT(BETA2, 0.9), HYPER_AT(EPS, 1e-8),
                    HYPER_AT(REFRESH, 1), HYPER_AT(SPLIT_QKV, 1)},
    .states = {SOAP_STATE_SPECS},
    .workspace = soap_workspace,
    .flops = flops_of_soap_h,
    .step = soap_h_batch,
};

/* --------------------------------------------------------------------------------------------------------------
 * kl-soap
 */

enum { LEFT_SCALE = SOAP_STATES, RIGHT_SCALE };

/* As in modded-nanogpt: the initial eigenvalues and the largest inverse root. */
static const double FIRST_EIGENVALUE = 0.1, LARGEST_INVERSE_ROOT = 4000;

static void kl_init(const OptimGroup *group)
{
    for (size_t i = 0; i < group->count; i++) {
        const OptimSlot *slot = &group->slots[i];
        verb_fill(group->on, slot->rows, slot->state[LEFT_SCALE], 1 / sqrt(FIRST_EIGENVALUE));
        verb_fill(group->on, slot->cols, slot->state[RIGHT_SCALE], 1 / sqrt(FIRST_EIGENVALUE));
    }
}

/*
 * Factors of gradients whitened on the other side, and estimates of the inverse roots of their eigenvalues:
 *   L from G QR diag(right scale), R from diag(left scale) QL^T G, the scales likewise from the lines of G'.
 * x holds G' = QL^T G QR.
 */
static void kl_average_factors(const Soap *s)
{
    const Batch *batch = s->batch;
    const size_t r = batch->rows, c = batch->cols, count = batch->count;
    const double beta = batch_hyper(batch, HYPER_BETA2);
    float *left_scale = batch->slots->state[LEFT_SCALE], *right_scale = batch->slots->state[RIGHT_SCALE];
    float *left_mean = s->rest, *right_mean = left_mean + count * r;

    verb_scale_lines(s->on, s->x, right_scale, true, s->between);
    verb_mean_squares(s->on, s->between, false, left_mean);
    verb_scale_lines(s->on, s->x, left_scale, false, s->between);
    verb_mean_squares(s->on, s->between, true, right_mean);

    verb_product(s->on, s->g, false, s->basis[1], false, 1, 0, s->x);
    verb_scale_lines(s->on, s->x, right_scale, true, s->x);
    verb_product(s->on, s->basis[0], true, s->g, false, 1, 0, s->between);
    verb_scale_lines(s->on, s->between, left_scale, false, s->between);
    soap_average_factors(s, s->x, s->between, beta, (1 - beta) / (double)c, (1 - beta) / (double)r);

    verb_inverse_roots(s->on, count * r, left_scale, left_mean, beta, LARGEST_INVERSE_ROOT);
    verb_inverse_roots(s->on, count * c, right_scale, right_mean, beta, LARGEST_INVERSE_ROOT);
}

static void kl_soap_batch(const Batch *batch)
{
    const Soap s = soap_of(batch);
    batch_gradients(batch, s.g);
    if (batch->t == 1) { /* the first step only computes the bases */
        soap_average_factors(&s, s.g, s.g, 0, 1 / (double)batch->cols, 1 / (double)batch->rows);
        soap_first_bases(&s);
        return;
    }
    adam_in_basis(&s);
    batch_rotate(batch, s.u);
    kl_average_factors(&s);
    if (soap_refresh_due(batch, batch->t - 1))
        renew_bases_and_momentum(&s, false);
}

/* As SOAP's, and a product with one basis for each factor. */
static double flops_of_kl_soap(const OptimHyper *h, size_t rows, size_t cols)
{
    return soap_flops(h, rows, cols, 3 + 2 / hyper(h, HYPER_REFRESH));
}

const OptimRule optim_kl_soap = {
    .name = "kl-soap",
    .summary = "SOAP with factors of whitened gradients; keeps each matrix's norm",
    .source = "Lin et al. 2025; modded-nanogpt track 3",
    .matrices_only = true,
    .keeps_norm = true,
    .defaults.at = {HYPER_AT(LR, 0.018), HYPER_AT(BETA1, 0.95), HYPER_AT(BETA2, 0.9), HYPER_AT(EPS, 1e-8),
                    HYPER_AT(REFRESH, 1), HYPER_AT(SPLIT_QKV, 1)},
    .states =
        {SOAP_STATE_SPECS, [LEFT_SCALE] = {"left_scale", shape_rows}, [RIGHT_SCALE] = {"right_scale", shape_cols}},
    .init = kl_init,
    .workspace = soap_workspace,
    .flops = flops_of_kl_soap,
    .step = kl_soap_batch,
};
