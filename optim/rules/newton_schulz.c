#include "optim/rules/newton_schulz.h"

#include "optim/rules/flops.h"
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

/* modded-nanogpt track 3, #23: converges to 1, fast at first. */
static const NsTriple muown[] = {
    {8.2051, -22.9019, 16.4607}, {4.0664, -2.8612, 0.5184}, {3.9096, -2.8234, 0.525},  {3.2856, -2.4153, 0.4853},
    {2.2779, -1.6198, 0.3985},   {1.8726, -1.2307, 0.3585}, {1.8564, -1.2132, 0.3568}, {1.875, -1.25, 0.375},
};

#define TRIPLES(list) sizeof list / sizeof *list, list

static const NsSpec specs[NS_COUNT] = {
    [NS_JORDAN] = {5, TRIPLES(jordan), 1, 1e-7, "Jordan et al. 2024"},
    [NS_CUBIC] = {15, TRIPLES(cubic), 1, 1e-7, "Higham 2008"},
    [NS_MODULA] = {6, TRIPLES(modula), 1, 1e-7, "Bernstein 2025"},
    [NS_VARIED] = {5, TRIPLES(varied), 1, 1e-7, "microsoft/dion"},
    [NS_POLAR_EXPRESS] = {5, TRIPLES(polar_express), 1.02, 1e-6, "Amsel et al. 2025"},
    [NS_TRACK3] = {12, TRIPLES(track3), 1, 1e-7, "modded-nanogpt track 3"},
    [NS_MUOWN] = {12, TRIPLES(muown), 1, 1e-7, "modded-nanogpt track 3, #23"},
    [NS_NANOCHAT] = {5, TRIPLES(polar_express), 1.01, 1e-6, "karpathy/nanochat"},
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

void ns_norms(Verbs *on, NsNorm norm, Mats x, float *gram, float *norms)
{
    const size_t n = smaller(x.rows, x.cols);
    const Mats square = {gram, n, n, x.batch};
    if (norm == NS_SCHATTEN4)
        verb_gram(on, x, square);
    verb_norms(on, norm == NS_SCHATTEN4 ? square : x, norms);
    if (norm == NS_SCHATTEN4)
        verb_power(on, x.batch, norms, norms, 0, 0.5);
}

double ns_norm_flops(NsNorm norm, size_t rows, size_t cols)
{
    const size_t n = smaller(rows, cols);
    return norm == NS_SCHATTEN4 ? flops_of_gram(n, rows + cols - n) : 0;
}

/* --------------------------------------------------------------------------------------------------------------
 * Iterations on the Gram matrix: X only ever changes by polynomials of G = X X^T, so that several iterations become one
 * product at their end,  X <- Q X,  Q the product of their polynomials P, and G <- P G P takes the place of X X^T
 * (Zhang, Amsel, Chen and Dao 2026). All these matrices are symmetric and commute.
 */

/* G carries a rounding error of its largest entries, which each iteration multiplies by up to a^2, as it does with the
 * squares of small singular values: after so much of that, G is made of X again. With 150 no flavour's error is larger
 * than that of iterations on X. */
static const double GROWTH_MOST = 150;

/* The end of the iterations from `begin` on that one Gram matrix serves. */
static size_t gram_end(NsFlavour flavour, size_t begin, size_t steps)
{
    double growth = 1;
    size_t i = begin;
    for (; i < steps && growth <= GROWTH_MOST; i++)
        growth *= ns_triple(flavour, i).a * ns_triple(flavour, i).a;
    return i;
}

/* FLOPs of all iterations, by the one way or the other; `symmetric` is what is counted of a product with a symmetric
 * result. */
static double count_flops(NsFlavour flavour, size_t steps, size_t rows, size_t cols, bool by_gram, double symmetric)
{
    const double n = (double)smaller(rows, cols), apply = 2 * n * (double)rows * (double)cols, square = 2 * n * n * n;
    double flops = 0;
    for (size_t i = 0, end = 0; i < steps; i++) {
        const double square_of_gram = ns_triple(flavour, i).c != 0 ? symmetric * square : 0;
        const bool begins = i == end;
        end = begins ? (by_gram ? gram_end(flavour, i, steps) : i + 1) : end;
        flops += square_of_gram + (begins ? (1 + symmetric) * apply : 3 * symmetric * square);
    }
    return flops;
}

/* A gain that rests on symmetric products alone, which not every device computes by halves, is not worth it. */
static bool is_gram_cheaper(NsFlavour flavour, size_t steps, size_t rows, size_t cols)
{
    return count_flops(flavour, steps, rows, cols, true, 1) < count_flops(flavour, steps, rows, cols, false, 1);
}

double ns_flops(NsFlavour flavour, size_t steps, size_t rows, size_t cols)
{
    const size_t n = smaller(rows, cols), m = rows + cols - n;
    if (flavour == NS_EXACT) /* X X^T = V S V^T; V^T X, its rows at length 1, and V times these */
        return flops_of_gram(n, m) + flops_of_eigenvectors(n) + 2 * flops_of_product(n, m, n);
    return count_flops(flavour, steps, rows, cols, is_gram_cheaper(flavour, steps, rows, cols), 0.5);
}

/* X <- Q X for the polynomials of iterations begin .. end-1; `squares` holds four matrices of the smaller side. */
static void gram_iterations(Verbs *on, NsFlavour flavour, size_t begin, size_t end, Mats x, Mats next, float *squares)
{
    const size_t n = smaller(x.rows, x.cols), each = x.batch * n * n;
    Mats gram = {squares, n, n, x.batch}, p = gram, q = gram, spare = gram;
    p.data += each;
    q.data += 2 * each;
    spare.data += 3 * each;
    verb_gram(on, x, gram);
    for (size_t i = begin; i < end; i++) {
        const NsTriple f = ns_triple(flavour, i);
        verb_polynomial(on, gram, i == begin ? q : p, f.a, f.b, f.c);
        if (i > begin) {
            verb_commuting_product(on, p, q, spare);
            const Mats old = q;
            q = spare;
            spare = old;
        }
        if (i + 1 < end) {
            verb_commuting_product(on, i == begin ? q : p, gram, spare);
            verb_commuting_product(on, i == begin ? q : p, spare, gram);
        }
    }
    verb_apply(on, q, x, next);
}

/* One iteration on X; `squares` holds two matrices of the smaller side. */
static void direct_iteration(Verbs *on, NsTriple f, Mats x, Mats next, float *squares)
{
    const size_t n = smaller(x.rows, x.cols);
    const Mats gram = {squares, n, n, x.batch}, polynomial = {squares + x.batch * n * n, n, n, x.batch};
    verb_gram(on, x, gram);
    verb_polynomial(on, gram, polynomial, f.a, f.b, f.c);
    verb_apply(on, polynomial, x, next);
}

size_t ns_workspace(NsFlavour flavour, size_t rows, size_t cols, size_t batch)
{
    const size_t n = smaller(rows, cols), squares = rows == cols ? 2 : 4; /* square ones are never iterated by Gram */
    return flavour == NS_EXACT ? verb_scratch(rows, cols, batch) : batch * (1 + rows * cols + squares * n * n);
}

void ns_orthogonalise(Verbs *on, NsFlavour flavour, NsNorm norm, size_t steps, Mats x, float *workspace)
{
    const size_t rows = x.rows, cols = x.cols, batch = x.batch;
    const float *data = x.data;
    Mats next = {workspace, rows, cols, batch};
    if (flavour == NS_EXACT) {
        verb_polar(on, x, 0x1p-24 * (double)(rows > cols ? rows : cols), workspace);
        return;
    }
    const bool by_gram = is_gram_cheaper(flavour, steps, rows, cols);
    /* the norms come last: matrices stay aligned whatever the batch, of which products must not depend */
    float *squares = workspace + mats_size(x), *norms = workspace + ns_workspace(flavour, rows, cols, batch) - batch;
    ns_norms(on, norm, x, squares, norms);
    verb_rescale(on, x, NULL, norms, specs[flavour].norm_factor, specs[flavour].norm_eps);
    for (size_t i = 0, end; i < steps; i = end) {
        end = by_gram ? gram_end(flavour, i, steps) : i + 1;
        if (by_gram)
            gram_iterations(on, flavour, i, end, x, next, squares);
        else
            direct_iteration(on, ns_triple(flavour, i), x, next, squares);
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

/* Whether X is so long that two iterations cost less on its Gram matrix (n,n) than with X: of X (n,rn) they take
 * (4r + 10) n^3 FLOPs, not (8r + 4) n^3. At r = 2 a tenth, which is not worth the roundings. */
static bool is_long(size_t rows, size_t cols) { return rows > 2 * cols || cols > 2 * rows; }

size_t ns_workspace_bf16(size_t rows, size_t cols, size_t batch)
{
    const size_t n = smaller(rows, cols), squares = is_long(rows, cols) ? 3 : 2;
    return 2 * verb_bf16_floats(batch * rows * cols) + squares * verb_bf16_floats(batch * n * n) + batch;
}

/*
 * Flavours whose singular values stay 5% or more below what their next polynomial would send off to infinity: the
 * roundings of two iterations at once reach further than those of one. varied's come within 4% (1.273 of 1.323) and
 * polar-express's within 2.3% (1.992 of 2.038): of 4000 small matrices some diverged.
 */
static bool keeps_away(NsFlavour flavour)
{
    return flavour == NS_JORDAN || flavour == NS_MODULA || flavour == NS_TRACK3;
}

double ns_flops_bf16(NsFlavour flavour, size_t steps, size_t rows, size_t cols)
{
    const size_t n = smaller(rows, cols), m = rows + cols - n;
    double flops = 0;
    for (size_t i = 0, taken; i < steps; i += taken) {
        taken = ns_taken_bf16(flavour, steps, i, rows, cols);
        const double symmetric = taken == 2 ? 5 : ns_triple(flavour, i).c != 0 ? 1 : 0;
        flops += flops_of_gram(n, m) + symmetric * flops_of_gram(n, n) + flops_of_product(n, m, n);
    }
    return flops;
}

/* Not the first iteration: until then the Gram matrix of what has no structure is almost a multiple of I, and P is
 * rounded alike all along its diagonal. */
size_t ns_taken_bf16(NsFlavour flavour, size_t steps, size_t i, size_t rows, size_t cols)
{
    return is_long(rows, cols) && keeps_away(flavour) && i > 0 && i + 1 < steps ? 2 : 1;
}

/* What an iteration works on: x and where its result goes, and square matrices; `third` is for long ones. */
typedef struct Halves {
    Verbs *on;
    bool wide;
    Bf16s x, next, gram, polynomial, third;
} Halves;

/* to = b gram + c gram^2 */
static void half_polynomial(const Halves *h, NsTriple f, Bf16s to)
{
    verb_bf16_commuting_product(h->on, h->gram, h->gram, f.c, f.b, h->gram, to);
}

/* h->next = a x + scale p x if wide, otherwise a x + scale x p; p is symmetric. */
static void half_apply(const Halves *h, Bf16s p, double a, double scale)
{
    verb_bf16_product(h->on, h->wide ? p : h->x, false, h->wide ? h->x : p, false, scale, a, a != 0 ? h->x : h->next,
                      h->next);
}

/* One iteration. a x is added before the sums are rounded: if a were on the polynomial's diagonal, the largest term of
 * the result would be rounded with it. */
static void half_iteration(const Halves *h, NsTriple f)
{
    verb_bf16_gram(h->on, h->x, h->gram);
    if (f.c != 0)
        half_polynomial(h, f, h->polynomial);
    half_apply(h, f.c != 0 ? h->polynomial : h->gram, f.a, f.c != 0 ? 1 : f.b);
}

/* Two iterations in one: with P = a I + b A + c A^2 of the Gram matrix A, X becomes P X and A becomes P A P, which has
 * a polynomial P' of its own; then X becomes (P' P) X. */
static void half_pair(const Halves *h, NsTriple first, NsTriple second)
{
    const Bf16s gram = h->gram, p = h->polynomial, third = h->third;
    verb_bf16_gram(h->on, h->x, h->gram);
    half_polynomial(h, first, p);
    verb_bf16_commuting_product(h->on, gram, p, 1, first.a, gram, third);
    verb_bf16_commuting_product(h->on, p, third, 1, first.a, third, gram);
    verb_bf16_add_diagonal(h->on, p, first.a);
    half_polynomial(h, second, third);
    verb_bf16_commuting_product(h->on, third, p, 1, second.a, p, gram);
    half_apply(h, gram, 0, 1);
}

Bf16s ns_orthogonal_bf16(Verbs *on, NsFlavour flavour, NsNorm norm, size_t steps, Mats given, float *workspace)
{
    const size_t rows = given.rows, cols = given.cols, batch = given.batch;
    const size_t n = smaller(rows, cols), matrix = verb_bf16_floats(batch * rows * cols);
    const size_t square = verb_bf16_floats(batch * n * n);
    const bool pairs = is_long(rows, cols);
    float *squares = workspace + 2 * matrix, *norms = squares + (pairs ? 3 : 2) * square;
    Halves h = {.on = on,
                .wide = rows <= cols,
                .x = {workspace, rows, cols, batch},
                .next = {workspace + matrix, rows, cols, batch},
                .gram = {squares, n, n, batch},
                .polynomial = {squares + square, n, n, batch},
                .third = {squares + 2 * square, n, n, batch}};
    ns_norms(on, norm, given, workspace, norms); /* the Gram matrix, in fp32, where x and next will be */
    verb_to_bf16(on, given, norms, specs[flavour].norm_factor, specs[flavour].norm_eps, h.x);
    for (size_t i = 0, taken; i < steps; i += taken) {
        const NsTriple f = ns_triple(flavour, i);
        taken = ns_taken_bf16(flavour, steps, i, rows, cols);
        if (taken == 2)
            half_pair(&h, f, ns_triple(flavour, i + 1));
        else
            half_iteration(&h, f);
        const Bf16s swap = h.x;
        h.x = h.next;
        h.next = swap;
    }
    return h.x;
}

void ns_orthogonalise_bf16(Verbs *on, NsFlavour flavour, NsNorm norm, size_t steps, Mats x, float *workspace)
{
    verb_from_bf16(on, ns_orthogonal_bf16(on, flavour, norm, steps, x, workspace), x);
}
