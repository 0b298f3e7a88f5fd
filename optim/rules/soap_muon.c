/*
 * SOAP-Muon (modded-nanogpt track 3, entries 14, 44 and 46): Muon's momentum, divided in SOAP's basis by the root of
 * its second moment, norm preserved, goes into Newton-Schulz; --gate mixes it with what it was, as far as the two
 * agree.
 *   --ns-norm schatten4   sqrt(v) is at least eps, the Schatten-4 norm is kept: entries 44 and 46
 *   --ns-norm frobenius   eps is added to sqrt(v), the Frobenius norm is kept: entry 14
 */
#include "optim/rules/muon.h"
#include "optim/rules/newton_schulz.h"
#include "optim/rules/orthogonal.h"
#include "optim/rules/soap.h"

static size_t workspace_of_batch(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    const size_t own = soap_workspace(h, rows, cols, count);
    const size_t finish = 4 * count * rows * cols + muon_rest(h, MUON_PLAIN, rows, cols, count);
    return own > finish ? own : finish;
}

/* Into the basis and out of it; the Schatten norms of the momentum before and after and, with --gate all, mixed (that of
 * attention's outputs alone, which the default mixes, is left out). */
static double flops_of_matrix(const OptimHyper *h, size_t rows, size_t cols)
{
    const double norms = hyper(h, HYPER_GATE) == GATE_ALL ? 3 : 2;
    return soap_flops(h, rows, cols, 2) + norms * ns_norm_flops((NsNorm)hyper(h, HYPER_NS_NORM), rows, cols) +
           orthogonal_flops(h, rows, cols);
}

static NsNorm norm_of(const Batch *batch) { return (NsNorm)batch_hyper(batch, HYPER_NS_NORM); }

/* d = QL (x / sqrt(v)) QR^T of x = QL^T u QR, with the norm of u, which `norm` gets; d is left in `to`. */
static void precondition_in_basis(const Soap *s, Mats to, float *norm, float *after)
{
    const Batch *batch = s->batch;
    const double beta2 = batch_hyper(batch, HYPER_BETA2), eps = batch_hyper(batch, HYPER_EPS);
    float *gram = s->rest + SOAP_SCALARS * batch->count;
    ns_norms(s->on, norm_of(batch), s->u, gram, norm);
    soap_into_basis(s, s->u, s->x);
    if (norm_of(batch) == NS_SCHATTEN4)
        verb_whiten(s->on, mats_size(s->x), s->x.data, s->v.data, beta2, eps);
    else
        verb_precondition(s->on, mats_size(s->x), s->x.data, s->v.data, s->x.data, beta2, 1, eps, 1);
    soap_out_of_basis(s, s->x, to);
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
    ns_norms(s->on, norm_of(batch), s->u, s->rest + SOAP_SCALARS * n, after);
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
    soap_average_factors(&s, s.g, s.g, beta2, 1 - beta2, 1 - beta2);
    if (batch->t == 1)
        soap_first_bases(&s);
    else if (soap_refresh_due(batch, batch->t - 1))
        soap_renew_bases(&s, true);
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
    .states = {SOAP_STATE_SPECS},
    .workspace = workspace_of_batch,
    .flops = flops_of_matrix,
    .step = soap_muon_batch,
};
