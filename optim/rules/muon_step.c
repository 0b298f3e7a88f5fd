/*
 * What Muon and its kin do with u, the matrix to be orthogonalised. In order, with the options that turn them on:
 *   equal-rows     rows of what NS gets are given equal lengths               MuonEq, arXiv 2603.28254; nanochat
 *   O = NS(u), Aurora's with balanced lines (MuonForm)
 *   contra         O = O - contra u / |u|_2, scaled back to |O|_F              modded-nanogpt track 3, entry 11
 *   NorMuon's lines (MuonForm)
 *   muon-scale     O times a factor by shape
 *   radial-brake   where <O, W> < 0, so that the step makes W longer, that share of O's part along W is taken away
 *                                                                              entry 29
 *   step-floor     O at least so long as a multiple of W, whole (entry 9) or by rows (entry 46)
 *   pin-radius     W - lr O, scaled to |W| - lr <O, W> / |W|, then decayed     entries 29 and 46
 * or else W = keep W - lr O.
 */
#include "optim/rules/muon.h"

#include "optim/rules/orthogonal.h"

#include <math.h>

/* Lower bound of norms that divide, and modded-nanogpt's of lengths that are compared. */
static const double NORM_LEAST = 1e-30, LENGTH_LEAST = 1e-8;

/* nanochat's, of rows that are made equal. */
static const double ROW_LEAST = 1e-6;

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

/* --------------------------------------------------------------------------------------------------------------
 * Workspace: a copy of u or of the gradients where one is needed, scalars and lines, and what orthogonalising takes
 */

static double option(const OptimHyper *h, HyperId id) { return h->at[id].set ? h->at[id].value : 0; }

static MuonScale scale_rule(const OptimHyper *h) { return (MuonScale)option(h, HYPER_MUON_SCALE); }

static bool copies(const OptimHyper *h, MuonForm form)
{
    const MuonScale scale = scale_rule(h);
    return scale == MUON_SCALE_GRADIENT || scale == MUON_SCALE_NUCLEAR || option(h, HYPER_CONTRA) != 0 ||
           form == MUON_BALANCED;
}

/* Four scalars and two lines of each side per matrix, padded to preserve alignment. */
enum { SCALARS = 4 };
static size_t lines_of_sides(size_t rows, size_t cols, size_t count)
{
    return (count * (SCALARS + 2 * (rows + cols)) + 15) / 16 * 16;
}

size_t muon_rest(const OptimHyper *h, MuonForm form, size_t rows, size_t cols, size_t count)
{
    return lines_of_sides(rows, cols, count) + (copies(h, form) ? count * rows * cols : 0) +
           orthogonal_floats(h, rows, cols, count);
}

/* The scalars, and after them the lines, of `rest`. */
static float *scalars_at(Mats u, float *rest, size_t i) { return rest + i * u.batch; }
static float *lines_at(Mats u, float *rest) { return rest + SCALARS * u.batch; }
static float *copy_at(Mats u, float *rest) { return rest + lines_of_sides(u.rows, u.cols, u.batch); }

/* --------------------------------------------------------------------------------------------------------------
 * Orthogonalisation
 */

void muon_orthogonalise(const Batch *batch, Mats u, float *rest) { orthogonalise(batch, u, copy_at(u, rest)); }

void muon_equalise_rows(const Batch *batch, Mats u, float *lines)
{
    if (option(batch->hyper, HYPER_EQUAL_ROWS) == 0)
        return;
    verb_line_dots(batch->on, u, u, false, lines);
    verb_power(batch->on, u.batch * u.rows, lines, lines, ROW_LEAST * ROW_LEAST, -0.5);
    verb_scale_lines(batch->on, u, lines, false, u);
}

/* Lines of the longer side are made equally long before the iteration, and once more what they were divided by is
 * corrected so that they are equally long after it, too; a common factor does not matter. */
static void orthogonalise_balanced(const Batch *batch, Mats u, Mats copy, float *lines, float *workspace)
{
    Verbs *on = batch->on;
    const bool columns = u.rows < u.cols;
    const size_t n = u.batch * (columns ? u.cols : u.rows);
    float *again = lines + n;
    verb_line_dots(on, u, u, columns, lines);
    verb_power(on, n, lines, lines, 1e-14, -0.5);
    verb_scale_lines(on, copy, lines, columns, u);
    orthogonalise(batch, u, workspace);
    verb_line_dots(on, u, u, columns, again);
    verb_power(on, n, again, again, 1e-14, -0.5);
    verb_multiply(on, n, lines, lines, again);
    verb_scale_lines(on, copy, lines, columns, u);
    orthogonalise(batch, u, workspace);
}

/* modded: lines of the longer side over sqrt(max(v, eps)). li: rows over sqrt(v) + eps. */
void muon_normalise_lines(const Batch *batch, Mats u, float *rest)
{
    const size_t n = u.batch * u.rows;
    float *v = batch->slots->state[1], *squares = lines_at(u, rest), *inverse = squares + n;
    if (option(batch->hyper, HYPER_NORMUON_FORM) == NORMUON_MODDED) {
        verb_normalise_lines(batch->on, u, v, batch_hyper(batch, HYPER_BETA2), batch_hyper(batch, HYPER_EPS));
        return;
    }
    verb_mean_squares(batch->on, u, false, squares);
    batch_line_divisors(batch, n, squares, v, 1, inverse);
    verb_scale_lines(batch->on, u, inverse, false, u);
}

/* --------------------------------------------------------------------------------------------------------------
 * The step's shape
 */

/* |u|_2 by five steps of the power iteration from a vector of equal elements. */
static void subtract_contra(const Batch *batch, Mats u, Mats before, float *rest)
{
    Verbs *on = batch->on;
    const Mats v = {lines_at(u, rest), u.cols, 1, u.batch}, w = {v.data + u.batch * u.cols, u.rows, 1, u.batch};
    float *norm = scalars_at(u, rest, 2), *length = scalars_at(u, rest, 3);
    verb_fill(on, mats_size(v), v.data, 1 / sqrt((double)u.cols));
    verb_product(on, before, false, v, false, 1, 0, w);
    for (size_t i = 0; i < 5; i++) {
        verb_normalise(on, w, 1, NORM_LEAST, norm);
        verb_product(on, before, true, w, false, 1, 0, v);
        verb_normalise(on, v, 1, NORM_LEAST, norm);
        verb_product(on, before, false, v, false, 1, 0, w);
    }
    verb_norms(on, u, length);
    verb_norms(on, w, norm);
    verb_power(on, u.batch, norm, norm, NORM_LEAST, -1);
    verb_scale(on, u.batch, norm, norm, -batch_hyper(batch, HYPER_CONTRA));
    verb_add_each(on, u, norm, before);
    verb_set_norms(on, u, length, norm);
}

/* O += share max(0, -<O, W>) / |W|^2 W */
static void brake(const Batch *batch, Mats u, float *rest)
{
    Verbs *on = batch->on;
    float *along = scalars_at(u, rest, 2), *norm = scalars_at(u, rest, 3);
    for (size_t i = 0, run; i < u.batch; i += run) {
        run = batch_run(batch, i);
        verb_dots(on, mats_part(u, i, run), batch_params(batch, i, run), along + i);
        verb_norms(on, batch_params(batch, i, run), norm + i);
    }
    verb_scale(on, u.batch, along, along, -1);
    verb_power(on, u.batch, along, along, 0, 1);
    verb_power(on, u.batch, norm, norm, 1e-6, -2);
    verb_multiply(on, u.batch, along, along, norm);
    verb_scale(on, u.batch, along, along, batch_hyper(batch, HYPER_RADIAL_BRAKE));
    for (size_t i = 0, run; i < u.batch; i += run) {
        run = batch_run(batch, i);
        verb_add_each(on, mats_part(u, i, run), along + i, batch_params(batch, i, run));
    }
}

/* factor = max(1, least x / y) for n pairs of squared lengths */
static void floor_factors(Verbs *on, size_t n, float *factor, float *y, double least)
{
    verb_power(on, n, factor, factor, LENGTH_LEAST * LENGTH_LEAST, 0.5);
    verb_power(on, n, y, y, LENGTH_LEAST * LENGTH_LEAST, -0.5);
    verb_multiply(on, n, factor, factor, y);
    verb_power(on, n, factor, factor, 1 / least, 1);
    verb_scale(on, n, factor, factor, least);
}

static void lengthen(const Batch *batch, Mats u, float *rest)
{
    Verbs *on = batch->on;
    const double least = batch_hyper(batch, HYPER_STEP_FLOOR);
    const bool by_row = batch_hyper(batch, HYPER_FLOOR_BY) == FLOOR_ROW;
    const size_t lines = by_row ? u.rows : 1, n = u.batch * lines;
    float *factor = by_row ? lines_at(u, rest) : scalars_at(u, rest, 2);
    float *length = by_row ? factor + n : scalars_at(u, rest, 3);
    for (size_t i = 0, run; i < u.batch; i += run) {
        run = batch_run(batch, i);
        const Mats p = batch_params(batch, i, run);
        if (by_row)
            verb_line_dots(on, p, p, false, factor + i * lines);
        else
            verb_dots(on, p, p, factor + i);
    }
    if (by_row)
        verb_line_dots(on, u, u, false, length);
    else
        verb_dots(on, u, u, length);
    floor_factors(on, n, factor, length, least);
    if (by_row)
        verb_scale_lines(on, u, factor, false, u);
    else
        verb_rescale(on, u, factor, NULL, 1, 1);
}

static void update_pinned(const Batch *batch, Mats u)
{
    for (size_t i = 0, run; i < u.batch; i += run) {
        run = batch_run(batch, i);
        verb_step_pinned(batch->on, batch_params(batch, i, run), mats_part(u, i, run), batch_hyper(batch, HYPER_LR),
                         LENGTH_LEAST, decay_of(batch->hyper));
    }
}

/* --------------------------------------------------------------------------------------------------------------
 * All of it
 */

/* u times what muon-scale makes of the data; `dual` holds |g|_F for MUON_SCALE_GRADIENT, `before` is u before. */
static void scale_by_data(const Batch *batch, MuonScale scale, Mats u, Mats before, float *dual, float *norm)
{
    Verbs *on = batch->on;
    if (scale == MUON_SCALE_NUCLEAR) {
        verb_dots(on, before, u, dual);
        verb_rescale(on, u, dual, NULL, 1, 1);
    } else if (scale == MUON_SCALE_GRADIENT) {
        verb_set_norms(on, u, dual, norm);
    } else {
        verb_normalise(on, u, 1 / (0.2 * sqrt((double)u.rows * (double)u.cols)), NORM_LEAST, norm);
    }
}

void muon_finish(const Batch *batch, MuonForm form, Mats u, float *rest)
{
    Verbs *on = batch->on;
    const OptimHyper *h = batch->hyper;
    const MuonScale scale = scale_rule(h);
    const bool by_data = scale == MUON_SCALE_GRADIENT || scale == MUON_SCALE_NUCLEAR || scale == MUON_SCALE_RMS;
    const bool contra = option(h, HYPER_CONTRA) != 0, brakes = option(h, HYPER_RADIAL_BRAKE) != 0;
    const bool floors = option(h, HYPER_STEP_FLOOR) != 0, pins = option(h, HYPER_PIN_RADIUS) != 0;
    const bool balances = form == MUON_BALANCED && u.rows != u.cols;
    const bool shapes = contra || brakes || floors || pins;
    float *dual = scalars_at(u, rest, 0), *norm = scalars_at(u, rest, 1), *after = scalars_at(u, rest, 2);
    const Mats copy = {copy_at(u, rest), u.rows, u.cols, u.batch};
    float *workspace = copy.data + (copies(h, form) ? mats_size(copy) : 0);
    if (scale == MUON_SCALE_GRADIENT) {
        batch_gradients(batch, copy);
        verb_norms(on, copy, dual);
    }
    if (scale == MUON_SCALE_NUCLEAR || contra || balances)
        verb_copy(on, u, copy);
    muon_equalise_rows(batch, u, lines_at(u, rest));
    if (orthogonal_is_bf16(h) && form == MUON_PLAIN && !by_data && !shapes) {
        batch_update_bf16(batch, orthogonal_bf16(batch, u, workspace), muon_scale(scale, u.rows, u.cols));
        return;
    }
    if (balances)
        orthogonalise_balanced(batch, u, copy, lines_at(u, rest), workspace);
    else
        orthogonalise(batch, u, workspace);
    if (contra)
        subtract_contra(batch, u, copy, rest);
    if (form == MUON_BY_LINES) {
        verb_norms(on, u, norm);
        muon_normalise_lines(batch, u, rest);
        verb_set_norms(on, u, norm, after);
    }
    if (by_data)
        scale_by_data(batch, scale, u, copy, dual, norm);
    const double by_shape = muon_scale(scale, u.rows, u.cols);
    if (!brakes && !floors && !pins) {
        batch_update(batch, u, by_shape);
        return;
    }
    verb_scale(on, mats_size(u), u.data, u.data, by_shape);
    if (brakes)
        brake(batch, u, rest);
    if (floors)
        lengthen(batch, u, rest);
    if (pins)
        update_pinned(batch, u);
    else
        batch_update(batch, u, 1);
}

int muon_settle(OptimHyper *h, const char *prefix, Error *e)
{
    if (option(h, HYPER_FLOOR_BY) == FLOOR_ROW && option(h, HYPER_STEP_FLOOR) == 0)
        return error_set(e, "--%sfloor-by row needs --%sstep-floor", prefix, prefix);
    if (hyper(h, HYPER_NS) == NS_EXACT && hyper(h, HYPER_NS_STEPS) != 0)
        return error_set(e, "--%sns-steps %g: the exact factor of --%sns exact has no iterations", prefix,
                         hyper(h, HYPER_NS_STEPS), prefix);
    if (hyper(h, HYPER_NS) == NS_EXACT && hyper(h, HYPER_NS_DTYPE) == NS_BF16)
        return error_set(e, "--%sns-dtype bf16: the exact factor of --%sns exact is computed in fp64", prefix, prefix);
    if (hyper(h, HYPER_NS_DTYPE) == NS_AUTO)
        hyper_set(h, HYPER_NS_DTYPE, verb_prefers_bf16() && hyper(h, HYPER_NS) != NS_EXACT ? NS_BF16 : NS_FP32);
    return 0;
}
