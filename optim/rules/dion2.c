/*
 * Dion2 (microsoft/dion): Muon on the part of the momentum that is largest, whose remainder waits.
 *   M += G;  S: the k = max(1, ceil(fraction n)) of the n lines of M with the largest sums of absolute values;
 *   O = NS(M_S);  M_S *= mu;  W = (1 - lr wd) W;  W_S -= lr scale O, with the scale of the whole matrix
 *   dion2      lines are rows, or columns if these are fewer
 *   nordion2   lines are rows; each row of O is divided by the root of its second moment, |O|_F kept, as in NorMuon
 */
#include "optim/rules/muon.h"
#include "optim/rules/orthogonal.h"

#include <math.h>

enum { M, V };

/* Which lines a rule takes: how many of how many, and of what length. */
typedef struct Choice {
    bool columns;
    size_t n, k, length;
} Choice;

static Choice choice_of(const OptimHyper *h, size_t rows, size_t cols)
{
    const bool columns = rows > cols && !h->at[HYPER_BETA2].set;
    const size_t n = columns ? cols : rows, k = (size_t)ceil(hyper(h, HYPER_FRACTION) * (double)n);
    return (Choice){columns, n, k > 0 ? k : 1, columns ? rows : cols};
}

static Mats chosen(const Batch *batch, const Choice *of, float *data)
{
    return (Mats){data, of->columns ? of->length : of->k, of->columns ? of->k : of->length, batch->count};
}

/* The step, whole and its lines; sums of all lines and the numbers of the chosen ones; three arrays of numbers of these
 * and two norms; the iteration's workspace. */
static size_t workspace_of_batch(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    const Choice of = choice_of(h, rows, cols);
    return count * (rows * cols + of.k * of.length + of.n + 4 * of.k + 2) +
           orthogonal_floats(h, of.columns ? rows : of.k, of.columns ? of.k : cols, count);
}

static double flops_of_matrix(const OptimHyper *h, size_t rows, size_t cols)
{
    const Choice of = choice_of(h, rows, cols);
    return orthogonal_flops(h, of.columns ? rows : of.k, of.columns ? of.k : cols);
}

/* NorMuon's normalisation of the chosen rows o; `rest` has three numbers for each and two for each matrix. */
static void normalise(const Batch *batch, Mats o, const float *which, float *rest)
{
    const size_t lines = o.batch * o.rows;
    const Mats v = batch_state(batch, V, batch->rows, 1), own = {rest, o.rows, 1, o.batch};
    float *squares = own.data + lines, *inverse = squares + lines, *before = inverse + lines;
    verb_norms(batch->on, o, before);
    verb_mean_squares(batch->on, o, false, squares);
    verb_take_lines(batch->on, v, which, false, own);
    batch_line_divisors(batch, lines, squares, own.data, 1, inverse);
    verb_put_lines(batch->on, own, which, false, 1, v);
    verb_scale_lines(batch->on, o, inverse, false, o);
    verb_set_norms(batch->on, o, before, before + o.batch);
}

static void dion2_batch(const Batch *batch)
{
    const Mats m = batch_state(batch, M, batch->rows, batch->cols);
    const Mats u = {batch->workspace, m.rows, m.cols, m.batch};
    const Choice of = choice_of(batch->hyper, m.rows, m.cols);
    const Mats o = chosen(batch, &of, mats_end(u));
    float *sums = mats_end(o), *which = sums + m.batch * of.n, *rest = which + m.batch * of.k;

    batch_add_gradients(batch, m);
    verb_sign(batch->on, mats_size(m), u.data, m.data);
    verb_line_dots(batch->on, m, u, of.columns, sums);
    verb_top(batch->on, of.n, m.batch, sums, of.k, which);
    verb_take_lines(batch->on, m, which, of.columns, o);
    verb_put_lines(batch->on, o, which, of.columns, batch_hyper(batch, HYPER_MOMENTUM), m);
    orthogonalise(batch, o, rest + m.batch * (3 * of.k + 2));
    if (batch->slots->state[V] != NULL)
        normalise(batch, o, which, rest);
    verb_fill(batch->on, mats_size(u), u.data, 0);
    verb_put_lines(batch->on, o, which, of.columns, 1, u);
    batch_update(batch, u, muon_scale((MuonScale)batch_hyper(batch, HYPER_MUON_SCALE), m.rows, m.cols));
}

static int dion2_settle(OptimHyper *h, const char *prefix, Error *e)
{
    const MuonScale scale = (MuonScale)hyper(h, HYPER_MUON_SCALE);
    if (scale == MUON_SCALE_GRADIENT || scale == MUON_SCALE_NUCLEAR || scale == MUON_SCALE_RMS)
        return error_set(e, "--%smuon-scale %s is not for a rule that steps along some of the lines", prefix,
                         muon_scale_names[scale]);
    if (hyper(h, HYPER_FRACTION) == 0)
        return error_set(e, "--%sfraction is 0; it must be above 0, to 1", prefix);
    return muon_settle(h, prefix, e);
}

#define DION2_DEFAULTS                                                                                 \
    HYPER_AT(LR, 0.01), HYPER_AT(WEIGHT_DECAY, 0.01), HYPER_AT(CAUTIOUS, 0), HYPER_AT(MOMENTUM, 0.95), \
        HYPER_AT(FRACTION, 0.25), NS_DEFAULTS(NS_POLAR_EXPRESS), HYPER_AT(MUON_SCALE, MUON_SCALE_BERNSTEIN)

const OptimRule optim_dion2 = {
    .name = "dion2",
    .summary = "Muon of the lines with the largest momentum; the others' waits",
    .source = "microsoft/dion",
    .matrices_only = true,
    .defaults.at = {DION2_DEFAULTS},
    .settle = dion2_settle,
    .states = {[M] = {"m", shape_whole, .is_momentum = true}},
    .workspace = workspace_of_batch,
    .flops = flops_of_matrix,
    .step = dion2_batch,
};

const OptimRule optim_nordion2 = {
    .name = "nordion2",
    .summary = "Dion2 of rows, with steps of equal size for all that it takes",
    .source = "microsoft/dion",
    .matrices_only = true,
    .defaults.at = {DION2_DEFAULTS, HYPER_AT(BETA2, 0.95), HYPER_AT(EPS, 1e-8)},
    .settle = dion2_settle,
    .states = {[M] = {"m", shape_whole, .is_momentum = true}, [V] = {"v", shape_rows}},
    .workspace = workspace_of_batch,
    .flops = flops_of_matrix,
    .step = dion2_batch,
};
