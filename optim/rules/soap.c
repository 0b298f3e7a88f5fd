/*
 * Adam in the eigenbasis of Shampoo's factors. L and R are averages of G G^T and G^T G, and QL, QR their eigenvectors,
 * updated by one step of orthogonal iteration, Q = qr(L Q):
 *   soap       m and v are averages of G' = QL^T G QR and of its square; the step is QL (m / (sqrt(v) + eps)) QR^T,
 *              followed by the decay (Vyas et al. 2024, as in the authors' code)
 *   soap-muon  Muon's momentum, divided in that basis by the root of its second moment, norm preserved, goes into
 *              Newton-Schulz; --gate mixes it with what it was, as far as the two agree (modded-nanogpt track 3)
 *   soap-h     m averages G itself; the step rotates each matrix and keeps its norm (modded-nanogpt track 3)
 *   kl-soap    L and R are averages of gradients whitened on the other side (Lin et al. 2025); the step rotates
 *              each matrix and keeps its norm (modded-nanogpt track 3)
 */
#include "optim/rules/muon.h"
#include "optim/rules/newton_schulz.h"

#include <math.h>

enum { M, V, LEFT, RIGHT, LEFT_BASIS, RIGHT_BASIS, LEFT_SCALE, RIGHT_SCALE };

#define SOAP_STATES                                                                                         \
    [M] = {"m", shape_whole, .is_momentum = true}, [V] = {"v", shape_whole}, [LEFT] = {"left", shape_left}, \
    [RIGHT] = {"right", shape_right}, [LEFT_BASIS] = {"left_basis", shape_left},                            \
    [RIGHT_BASIS] = {"right_basis", shape_right}

/* --------------------------------------------------------------------------------------------------------------
 * A batch's matrices by name
 */

typedef struct Soap {
    Verbs *on;
    const Batch *batch;
    Mats m, v, factor[2], basis[2]; /* [0] left, [1] right */
    Mats u, g, x, between;          /* workspace, of the parameters' shape; u comes first, as in Muon */
    float *rest;                    /* (rest_floats) */
} Soap;

/* Scalars of a matrix; never together with anything but a Gram matrix. */
enum { SCALARS = 16 };

/* An image L Q of a basis and scratch, or a line of means for each side; never both. */
static size_t rest_floats(size_t rows, size_t cols, size_t count)
{
    const size_t n = rows > cols ? rows : cols;
    return count * (n * n + rows + cols + SCALARS) + verb_scratch(n, n, count);
}

static Soap soap_of(const Batch *batch)
{
    const size_t r = batch->rows, c = batch->cols, n = batch->count * r * c;
    float *w = batch->workspace;
    return (Soap){.on = batch->on,
                  .batch = batch,
                  .m = batch_state(batch, M, r, c),
                  .v = batch_state(batch, V, r, c),
                  .factor = {batch_state(batch, LEFT, r, r), batch_state(batch, RIGHT, c, c)},
                  .basis = {batch_state(batch, LEFT_BASIS, r, r), batch_state(batch, RIGHT_BASIS, c, c)},
                  .u = {w, r, c, batch->count},
                  .g = {w + n, r, c, batch->count},
                  .x = {w + 2 * n, r, c, batch->count},
                  .between = {w + 3 * n, r, c, batch->count},
                  .rest = w + 4 * n};
}

static size_t soap_of_batch(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    (void)h;
    return 4 * count * rows * cols + rest_floats(rows, cols, count);
}

static size_t soap_muon_of_batch(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    const size_t own = rest_floats(rows, cols, count), finish = muon_rest(h, MUON_PLAIN, rows, cols, count);
    return 4 * count * rows * cols + (own > finish ? own : finish);
}

/* to = QL^T x QR */
static void into_basis(const Soap *s, Mats x, Mats to)
{
    verb_product_on_both_sides(s->on, s->basis[0], true, x, s->basis[1], false, s->between, to);
}

/* to = QL x QR^T */
static void out_of_basis(const Soap *s, Mats x, Mats to)
{
    verb_product_on_both_sides(s->on, s->basis[0], false, x, s->basis[1], true, s->between, to);
}

/* L = keep L + share x x^T;  R = keep R + share y^T y */
static void average_factors(const Soap *s, Mats x, Mats y, double keep, double left_share, double right_share)
{
    verb_gram_average(s->on, x, false, keep, left_share, s->factor[0]);
    verb_gram_average(s->on, y, true, keep, right_share, s->factor[1]);
}

static void first_bases(const Soap *s)
{
    for (size_t side = 0; side < 2; side++)
        verb_eigenbasis(s->on, s->factor[side], s->basis[side], s->rest);
}

/* Q = qr(factor Q) on both sides; if `sorted`, first sorts by eigenvalue, v's rows and columns too. */
static void renew_bases(const Soap *s, bool sorted)
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

/* The same, also moving m from the old basis to the new one. */
static void renew_bases_and_momentum(const Soap *s, bool sorted)
{
    out_of_basis(s, s->m, s->x);
    renew_bases(s, sorted);
    into_basis(s, s->x, s->m);
}

/* u = QL (m / (sqrt(v) + eps)) QR^T with m and v averages of G' = QL^T G QR and its square; leaves G' in x. */
static void adam_in_basis(const Soap *s)
{
    const Batch *batch = s->batch;
    const size_t n = mats_size(s->g);
    into_basis(s, s->g, s->x);
    verb_adam_direction(s->on, n, s->u.data, s->m.data, s->v.data, s->x.data, batch_hyper(batch, HYPER_BETA1),
                        batch_hyper(batch, HYPER_BETA2), 1, batch_hyper(batch, HYPER_EPS), 1);
    out_of_basis(s, s->u, s->u);
}

static bool refresh_due(const Batch *batch, size_t t) { return t % (size_t)batch_hyper(batch, HYPER_REFRESH) == 0; }

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
    average_factors(&s, s.g, s.g, beta2, 1 - beta2, 1 - beta2);
    if (t == 0)
        first_bases(&s);
    else if (refresh_due(batch, t))
        renew_bases_and_momentum(&s, true);
}

const OptimRule optim_soap = {
    .name = "soap",
    .summary = "Adam in the eigenbasis of Shampoo's factors",
    .source = "Vyas et al. 2024; nikhilvyas/SOAP",
    .matrices_only = true,
    .defaults.at = {HYPER_AT(LR, 3e-3), HYPER_AT(WEIGHT_DECAY, 0.01), HYPER_AT(CAUTIOUS, 0), HYPER_AT(BETA1, 0.95),
                    HYPER_AT(BETA2, 0.95), HYPER_AT(EPS, 1e-8), HYPER_AT(REFRESH, 10), HYPER_AT(SPLIT_QKV, 1)},
    .states = {SOAP_STATES},
    .workspace = soap_of_batch,
    .step = soap_batch,
};

/* --------------------------------------------------------------------------------------------------------------
 * soap-muon, with the norm and the floor of modded-nanogpt's entries 44 and 46 (--ns-norm schatten4: sqrt(v) is at least
 * eps, the Schatten-4 norm is kept) or of entry 14 (frobenius: eps is added)
 */

static NsNorm norm_of(const Batch *batch) { return (NsNorm)batch_hyper(batch, HYPER_NS_NORM); }

/* d = QL (x / sqrt(v)) QR^T of x = QL^T u QR, with the norm of u, which `norm` gets; d is left in `to`. */
static void precondition_in_basis(const Soap *s, Mats to, float *norm, float *after)
{
    const Batch *batch = s->batch;
    const double beta2 = batch_hyper(batch, HYPER_BETA2), eps = batch_hyper(batch, HYPER_EPS);
    float *gram = s->rest + SCALARS * batch->count;
    ns_norms(s->on, norm_of(batch), s->u, gram, norm);
    into_basis(s, s->u, s->x);
    if (norm_of(batch) == NS_SCHATTEN4)
        verb_whiten(s->on, mats_size(s->x), s->x.data, s->v.data, beta2, eps);
    else
        verb_precondition(s->on, mats_size(s->x), s->x.data, s->v.data, s->x.data, beta2, 1, eps, 1);
    out_of_basis(s, s->x, to);
    ns_norms(s->on, norm_of(batch), to, gram, after);
    verb_rescale(s->on, to, norm, after, 1, 1e-30);
}

/* The bounds of the gate's weight in this step. */
static double gate_least(const Batch *batch)
{
    const double steps = (double)batch->steps, done = (double)(batch->t - 1);
    const double from = batch_hyper(batch, HYPER_GATE_START) * steps,
                 until = batch_hyper(batch, HYPER_GATE_END) * steps;
    const double left = done < from ? 1 : done < until ? (until - done) / (until - from) : 0;
    return batch_hyper(batch, HYPER_GATE_LEAST) * left;
}

static double gate_most(const Batch *batch)
{
    const double done = (double)(batch->t - 1);
    return done < batch_hyper(batch, HYPER_GATE_END) * (double)batch->steps ? batch_hyper(batch, HYPER_GATE_MOST) : 1;
}

/* u = u + gate (d - u), scaled to `norm`; the gate grows with what d has in common with u and with the gradient. */
static void mix_by_trust(const Soap *s, Mats d, float *norm, float *after)
{
    const Batch *batch = s->batch;
    const size_t n = batch->count;
    float *dots = s->rest + 2 * n, *gate = dots + 6 * n;
    verb_dots(s->on, d, s->u, dots);
    verb_dots(s->on, d, s->g, dots + n);
    verb_dots(s->on, s->u, s->g, dots + 2 * n);
    verb_dots(s->on, d, d, dots + 3 * n);
    verb_dots(s->on, s->u, s->u, dots + 4 * n);
    verb_dots(s->on, s->g, s->g, dots + 5 * n);
    verb_trust(s->on, n, gate, dots, gate_least(batch), gate_most(batch));
    verb_add(s->on, mats_size(d), d.data, s->u.data, 1, -1);
    verb_add_each(s->on, s->u, gate, d);
    ns_norms(s->on, norm_of(batch), s->u, s->rest + SCALARS * n, after);
    verb_rescale(s->on, s->u, norm, after, 1, 1e-30);
}

static bool is_gated(const Batch *batch)
{
    const Gate gate = (Gate)batch_hyper(batch, HYPER_GATE);
    return gate == GATE_ALL || (gate == GATE_ATTENTION_OUT && batch->slots->tensor->part == PART_ATTENTION_OUT);
}

/* The first step is Muon's: there is no basis yet. */
static void soap_muon_batch(const Batch *batch)
{
    const Soap s = soap_of(batch);
    const double beta2 = batch_hyper(batch, HYPER_BETA2);
    float *norm = s.rest, *after = norm + batch->count;
    batch_gradients(batch, s.g);
    muon_blend(batch);
    if (batch->t > 1 && is_gated(batch)) {
        precondition_in_basis(&s, s.x, norm, after);
        mix_by_trust(&s, s.x, norm, after);
    } else if (batch->t > 1) {
        precondition_in_basis(&s, s.u, norm, after);
    }
    muon_finish(batch, MUON_PLAIN, s.u, s.rest);
    average_factors(&s, s.g, s.g, beta2, 1 - beta2, 1 - beta2);
    if (batch->t == 1)
        first_bases(&s);
    else if (refresh_due(batch, batch->t - 1))
        renew_bases(&s, true);
}

static int soap_muon_settle(OptimHyper *h, const char *prefix, Error *e)
{
    if (hyper(h, HYPER_GATE_START) > hyper(h, HYPER_GATE_END))
        return error_set(e, "--%sgate-start %g must not be above --%sgate-end %g", prefix, hyper(h, HYPER_GATE_START),
                         prefix, hyper(h, HYPER_GATE_END));
    if (hyper(h, HYPER_GATE_LEAST) > hyper(h, HYPER_GATE_MOST))
        return error_set(e, "--%sgate-least %g must not be above --%sgate-most %g", prefix, hyper(h, HYPER_GATE_LEAST),
                         prefix, hyper(h, HYPER_GATE_MOST));
    return muon_settle(h, prefix, e);
}

/* Defaults: entry 44's, its gate's steps, 1375 and 1625, as shares of the 2,900 that it is planned for, and its eps for
 * gradients of means, where it has sums over 524,288 tokens. */
const OptimRule optim_soap_muon = {
    .name = "soap-muon",
    .summary = "Muon of the momentum preconditioned by SOAP",
    .source = "modded-nanogpt track 3, entries 14, 44 and 46",
    .matrices_only = true,
    .by_part = true,
    .settle = soap_muon_settle,
    .defaults.at = {ORTHOGONAL_DEFAULTS(NS_TRACK3, NS_SCHATTEN4), MOMENTUM_DEFAULTS(0.95),
                    MUON_STEP_DEFAULTS(0, 0, 0.5, 0.3825, 1), HYPER_AT(LR, 0.0375), HYPER_AT(BETA2, 0.9),
                    HYPER_AT(EPS, 1.9e-14), HYPER_AT(REFRESH, 1), HYPER_AT(GATE, GATE_ATTENTION_OUT),
                    HYPER_AT(GATE_LEAST, 0.45), HYPER_AT(GATE_MOST, 0.85), HYPER_AT(GATE_START, 0.474),
                    HYPER_AT(GATE_END, 0.56)},
    .states = {SOAP_STATES},
    .workspace = soap_muon_of_batch,
    .step = soap_muon_batch,
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
    average_factors(&s, s.g, s.g, beta2, 1 - beta2, 1 - beta2);
    if (batch->t == 1)
        first_bases(&s);
    verb_momentum(batch->on, n, s.m.data, s.u.data, s.g.data, batch_hyper(batch, HYPER_BETA1), false, 1);
    into_basis(&s, s.u, s.u);
    into_basis(&s, s.g, s.x);
    verb_precondition(batch->on, n, s.u.data, s.v.data, s.x.data, beta2, 1, batch_hyper(batch, HYPER_EPS), 1);
    out_of_basis(&s, s.u, s.u);
    batch_rotate(batch, s.u);
    if (refresh_due(batch, batch->t))
        renew_bases(&s, false);
}

const OptimRule optim_soap_h = {
    .name = "soap-h",
    .summary = "SOAP that rotates each matrix and keeps its norm",
    .source = "modded-nanogpt track 3",
    .matrices_only = true,
    .keeps_norm = true,
    .defaults.at = {HYPER_AT(LR, 0.018), HYPER_AT(BETA1, 0.95), HYPER_AT(BETA2, 0.9), HYPER_AT(EPS, 1e-8),
                    HYPER_AT(REFRESH, 1), HYPER_AT(SPLIT_QKV, 1)},
    .states = {SOAP_STATES},
    .workspace = soap_of_batch,
    .step = soap_h_batch,
};

/* --------------------------------------------------------------------------------------------------------------
 * kl-soap
 */

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
    average_factors(s, s->x, s->between, beta, (1 - beta) / (double)c, (1 - beta) / (double)r);

    verb_inverse_roots(s->on, count * r, left_scale, left_mean, beta, LARGEST_INVERSE_ROOT);
    verb_inverse_roots(s->on, count * c, right_scale, right_mean, beta, LARGEST_INVERSE_ROOT);
}

static void kl_soap_batch(const Batch *batch)
{
    const Soap s = soap_of(batch);
    batch_gradients(batch, s.g);
    if (batch->t == 1) { /* the first step only computes the bases */
        average_factors(&s, s.g, s.g, 0, 1 / (double)batch->cols, 1 / (double)batch->rows);
        first_bases(&s);
        return;
    }
    adam_in_basis(&s);
    batch_rotate(batch, s.u);
    kl_average_factors(&s);
    if (refresh_due(batch, batch->t - 1))
        renew_bases_and_momentum(&s, false);
}

const OptimRule optim_kl_soap = {
    .name = "kl-soap",
    .summary = "SOAP with factors of whitened gradients; keeps each matrix's norm",
    .source = "Lin et al. 2025; modded-nanogpt track 3",
    .matrices_only = true,
    .keeps_norm = true,
    .defaults.at = {HYPER_AT(LR, 0.018), HYPER_AT(BETA1, 0.95), HYPER_AT(BETA2, 0.9), HYPER_AT(EPS, 1e-8),
                    HYPER_AT(REFRESH, 1), HYPER_AT(SPLIT_QKV, 1)},
    .states = {SOAP_STATES, [LEFT_SCALE] = {"left_scale", shape_rows}, [RIGHT_SCALE] = {"right_scale", shape_cols}},
    .init = kl_init,
    .workspace = soap_of_batch,
    .step = kl_soap_batch,
};
