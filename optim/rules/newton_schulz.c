#include "optim/rules/newton_schulz.h"

#include "optim/verbs/verbs.h"

/* Jordan et al. 2024: the same triple five times; singular values do not converge but end between 0.68 and 1.2. */
static const NsTriple jordan[] = {{3.4445, -4.7750, 2.0315}};

/* The classic Newton-Schulz iteration (Higham 2008, ch. 8). */
static const NsTriple cubic[] = {{1.5, -0.5, 0}};

/* Modula's documentation (Bernstein 2025). */
static const NsTriple modula[] = {
    {3955. / 1024, -8306. / 1024, 5008. / 1024}, {3735. / 1024, -6681. / 1024, 3463. / 1024},
    {3799. / 1024, -6499. / 1024, 3211. / 1024}, {4019. / 1024, -6385. / 1024, 2906. / 1024},
    {2677. / 1024, -3029. / 1024, 1162. / 1024}, {2172. / 1024, -1833. / 1024, 682. / 1024},
};

/* microsoft/dion; modded-nanogpt track 2, February 2025. */
static const NsTriple varied[] = {
    {4.0848, -6.8946, 2.9270}, {3.9505, -6.3029, 2.6377}, {3.7418, -5.5913, 2.3037},
    {2.8769, -3.1427, 1.2046}, {2.8366, -3.0525, 1.2012},
};

/* Amsel et al. 2025, for five iterations, safety 2e-2, cushion 2. */
static const NsTriple polar_express[] = {
    {8.156554524902461, -22.48329292557795, 15.878769915207462},
    {4.042929935166739, -2.808917465908714, 0.5000178451051316},
    {3.8916678022926607, -2.772484153217685, 0.5060648178503393},
    {3.285753657755655, -2.3681294933425376, 0.46449024233003106},
    {2.3465413258596377, -1.7097828382687081, 0.42323551169305323},
};

/* modded-nanogpt's optimizer benchmark: converges to 1. */
static const NsTriple track3[] = {{2, -1.5, 0.5}};

#define TRIPLES(list) sizeof list / sizeof *list, list

static const NsSpec specs[NS_COUNT] = {
    [NS_JORDAN] = {5, TRIPLES(jordan), 1, 1e-7, "Jordan et al. 2024"},
    [NS_CUBIC] = {15, TRIPLES(cubic), 1, 1e-7, "Higham 2008"},
    [NS_MODULA] = {6, TRIPLES(modula), 1, 1e-7, "Bernstein 2025"},
    [NS_VARIED] = {5, TRIPLES(varied), 1, 1e-7, "microsoft/dion"},
    [NS_POLAR_EXPRESS] = {5, TRIPLES(polar_express), 1.02, 1e-6, "Amsel et al. 2025"},
    [NS_TRACK3] = {12, TRIPLES(track3), 1, 1e-7, "modded-nanogpt track 3"},
    [NS_EXACT] = {0, 0, NULL, 1, 0, "eigendecomposition of the Gram matrix in fp64"},
};

#undef TRIPLES

const NsSpec *ns_spec(NsFlavour flavour) { return &specs[flavour]; }

NsTriple ns_triple(NsFlavour flavour, size_t i)
{
    const NsSpec *spec = &specs[flavour];
    return spec->triples[i < spec->triple_count ? i : spec->triple_count - 1];
}

size_t ns_steps(NsFlavour flavour, size_t asked) { return asked != 0 ? asked : specs[flavour].default_steps; }

static size_t smaller(size_t rows, size_t cols) { return rows < cols ? rows : cols; }

size_t ns_workspace(NsFlavour flavour, size_t rows, size_t cols, size_t batch)
{
    const size_t n = smaller(rows, cols);
    return flavour == NS_EXACT ? verb_scratch(rows, cols, batch) : batch * (1 + rows * cols + 2 * n * n);
}

void ns_orthogonalise(Verbs *on, NsFlavour flavour, size_t steps, float *data, size_t rows, size_t cols, size_t batch,
                      float *workspace)
{
    Mats x = {data, rows, cols, batch};
    if (flavour == NS_EXACT) {
        verb_polar(on, x, 0x1p-24 * (double)(rows > cols ? rows : cols), workspace);
        return;
    }
    const size_t n = smaller(rows, cols);
    Mats next = {workspace, rows, cols, batch};
    Mats gram = {next.data + batch * rows * cols, n, n, batch};
    Mats polynomial = {gram.data + batch * n * n, n, n, batch};
    float *norms = polynomial.data + batch * n * n;
    verb_norms(on, x, norms);
    verb_rescale(on, x, NULL, norms, specs[flavour].norm_factor, specs[flavour].norm_eps);
    for (size_t i = 0; i < steps; i++) {
        const NsTriple f = ns_triple(flavour, i);
        verb_gram(on, x, gram);
        verb_polynomial(on, gram, polynomial, f.a, f.b, f.c);
        verb_apply(on, polynomial, x, next);
        const Mats swap = x;
        x = next;
        next = swap;
    }
    if (x.data != data)
        verb_copy(on, x, next);
}

/* --------------------------------------------------------------------------------------------------------------
 * In bf16
 */

size_t ns_workspace_bf16(size_t rows, size_t cols, size_t batch)
{
    const size_t n = smaller(rows, cols);
    return 2 * verb_bf16_floats(batch * rows * cols) + 2 * verb_bf16_floats(batch * n * n) + batch;
}

/* to = a x + p x if wide, otherwise a x + x p; p is symmetric. a x is added before the sums are rounded: if a were on
 * p's diagonal, the largest term of the result would be rounded with it. */
static void half_apply(Verbs *on, Bf16s p, Bf16s x, bool wide, double a, double scale, Bf16s to)
{
    verb_bf16_product(on, wide ? p : x, false, wide ? x : p, false, scale, a, x, to);
}

void ns_orthogonalise_bf16(Verbs *on, NsFlavour flavour, size_t steps, float *data, size_t rows, size_t cols,
                           size_t batch, float *workspace)
{
    const size_t n = smaller(rows, cols), matrix = verb_bf16_floats(batch * rows * cols);
    const size_t square = verb_bf16_floats(batch * n * n);
    const bool wide = rows <= cols;
    const Mats given = {data, rows, cols, batch};
    Bf16s x = {workspace, rows, cols, batch}, next = {workspace + matrix, rows, cols, batch};
    const Bf16s gram = {workspace + 2 * matrix, n, n, batch};
    const Bf16s polynomial = {workspace + 2 * matrix + square, n, n, batch};
    float *norms = workspace + 2 * (matrix + square);
    verb_norms(on, given, norms);
    verb_to_bf16(on, given, norms, specs[flavour].norm_factor, specs[flavour].norm_eps, x);
    for (size_t i = 0; i < steps; i++) {
        const NsTriple f = ns_triple(flavour, i);
        verb_bf16_product(on, x, !wide, x, wide, 1, 0, gram, gram);
        if (f.c != 0)
            verb_bf16_product(on, gram, false, gram, false, f.c, f.b, gram, polynomial);
        half_apply(on, f.c != 0 ? polynomial : gram, x, wide, f.a, f.c != 0 ? 1 : f.b, next);
        const Bf16s swap = x;
        x = next;
        next = swap;
    }
    verb_from_bf16(on, x, given);
}
