/* What every rule says of the FLOPs of its update, against those of the verbs that it calls: the linker (--wrap) leads
 * the calls past a counter. */
#include "dev/tests/rules.h"
#include "optim/rule.h"

#include <stdio.h>

/* --------------------------------------------------------------------------------------------------------------
 * The counter. A product with a vector does not count: it is of second order.
 */

static double counted;

static void count(size_t batch, double flops) { counted += (double)batch * flops; }

static void count_product(size_t batch, size_t m, size_t n, size_t k)
{
    if (m > 1 && n > 1 && k > 1)
        count(batch, 2. * (double)(m * n * k));
}

/* Half of a product with a symmetric result; `wide` if it is x x^T. */
static void count_gram(size_t batch, size_t rows, size_t cols, bool wide)
{
    count(batch, wide ? (double)(rows * rows * cols) : (double)(rows * cols * cols));
}

static double cube(size_t n) { return (double)(n * n * n); }

/* Defines the verb's place in the program: it counts, then does what it did. */
#define COUNTS(verb, parameters, arguments, ...) \
    void __real_##verb parameters;               \
    void __wrap_##verb parameters;               \
    void __wrap_##verb parameters                \
    {                                            \
        __VA_ARGS__;                             \
        __real_##verb arguments;                 \
    }

/* clang-format off */
COUNTS(verb_product, (Verbs *on, Mats a, bool ta, Mats b, bool tb, double alpha, double beta, Mats c),
       (on, a, ta, b, tb, alpha, beta, c), count_product(c.batch, c.rows, c.cols, ta ? a.rows : a.cols))
COUNTS(verb_gram, (Verbs *on, Mats x, Mats gram), (on, x, gram), count_gram(x.batch, x.rows, x.cols, x.rows <= x.cols))
COUNTS(verb_gram_average, (Verbs *on, Mats x, bool right, double keep, double share, Mats gram),
       (on, x, right, keep, share, gram), count_gram(x.batch, x.rows, x.cols, !right))
COUNTS(verb_polynomial, (Verbs *on, Mats gram, Mats to, double a, double b, double c), (on, gram, to, a, b, c),
       count(c != 0 ? to.batch : 0, cube(to.rows)))
COUNTS(verb_commuting_product, (Verbs *on, Mats x, Mats y, Mats to), (on, x, y, to), count(to.batch, cube(to.rows)))
COUNTS(verb_apply, (Verbs *on, Mats p, Mats x, Mats to), (on, p, x, to),
       count_product(x.batch, x.rows, x.cols, p.rows))
COUNTS(verb_solve_upper, (Verbs *on, Mats u, bool right, Mats x), (on, u, right, x),
       count(x.batch, (double)(u.rows * x.rows * x.cols)))
COUNTS(verb_qr, (Verbs *on, Mats x, float *scratch), (on, x, scratch),
       count(x.batch, 4. * (double)(x.rows * x.cols * x.cols) - 4. / 3 * cube(x.cols)))
COUNTS(verb_eigenbasis, (Verbs *on, Mats a, Mats basis, float *scratch), (on, a, basis, scratch),
       count(a.batch, 14. / 3 * cube(a.rows)))
COUNTS(verb_root, (Verbs *on, Mats a, double scale, double eps, double power, Mats root, float *scratch),
       (on, a, scale, eps, power, root, scratch), count(a.batch, 17. / 3 * cube(a.rows)))
COUNTS(verb_polar, (Verbs *on, Mats x, double cutoff, float *scratch), (on, x, cutoff, scratch),
       const size_t n = x.rows < x.cols ? x.rows : x.cols;
       count(x.batch, 5. * (double)(n * x.rows * x.cols) + 14. / 3 * cube(n)))
COUNTS(verb_bf16_product,
       (Verbs *on, Bf16s a, bool ta, Bf16s b, bool tb, double alpha, double beta, Bf16s plus, Bf16s to),
       (on, a, ta, b, tb, alpha, beta, plus, to), count_product(to.batch, to.rows, to.cols, ta ? a.rows : a.cols))
COUNTS(verb_bf16_gram, (Verbs *on, Bf16s x, Bf16s gram), (on, x, gram),
       count_gram(x.batch, x.rows, x.cols, x.rows <= x.cols))
COUNTS(verb_bf16_commuting_product, (Verbs *on, Bf16s x, Bf16s y, double alpha, double beta, Bf16s plus, Bf16s to),
       (on, x, y, alpha, beta, plus, to), count(to.batch, cube(to.rows)))
/* clang-format on */

/* --------------------------------------------------------------------------------------------------------------
 * Rules
 */

/* Square, wide, tall; much longer than wide, which Newton-Schulz treats otherwise. */
static const size_t sides[][2] = {{8, 8}, {6, 8}, {12, 8}, {40, 8}, {8, 40}};

/* Bases are renewed every third step; from step 4 on no first step counts. */
enum { REFRESH = 3, FROM = 4, MEASURED = 2 * REFRESH };

static void expect_counted(OptimConfig config, const char *what)
{
    config.steps = 97; /* in none of them dynmuon's power is exactly 0 */
    for (size_t i = 0; i < COUNT(sides); i++) {
        Run run;
        run_begin(&run, &config, sides[i][0], sides[i][1], 1);
        for (size_t t = 1; t < FROM + MEASURED; t++) {
            if (t == FROM)
                counted = 0;
            run_random_step(&run, 1, t);
        }
        char where[64];
        snprintf(where, sizeof where, "%s, %zu x %zu", what, sides[i][0], sides[i][1]);
        check_close(optim_group_info(run.optim, 0).flops, counted / MEASURED, 1e-12 * counted, where);
        run_end(&run);
    }
}

static void test_every_rule(void)
{
    for (size_t i = 0; optim_rule(i) != NULL; i++) {
        OptimConfig config = {.rule = optim_rule_name(i)};
        if (optim_rule(i)->defaults.at[HYPER_REFRESH].set)
            hyper_set(&config.hyper, HYPER_REFRESH, REFRESH);
        expect_counted(config, config.rule);
    }
}

static void test_options(void)
{
    static const struct {
        const char *what;
        OptimConfig config;
    } cases[] = {
        {"exact", {.rule = "muon", .hyper.at = {SET(NS, NS_EXACT)}}},
        {"seven iterations", {.rule = "muon", .hyper.at = {SET(NS_STEPS, 7)}}},
        {"bf16", {.rule = "muon", .hyper.at = {SET(NS_DTYPE, NS_BF16)}}},
        {"a cubic in bf16", {.rule = "muon", .hyper.at = {SET(NS, NS_CUBIC), SET(NS_DTYPE, NS_BF16)}}},
        {"the Schatten norm", {.rule = "muon", .hyper.at = {SET(NS_NORM, NS_SCHATTEN4)}}},
        {"aurora in bf16", {.rule = "aurora", .hyper.at = {SET(NS_DTYPE, NS_BF16)}}},
        {"half of the lines", {.rule = "dion2", .hyper.at = {SET(FRACTION, 0.5)}}},
        {"half of the rows", {.rule = "nordion2", .hyper.at = {SET(FRACTION, 0.5)}}},
        {"rank 3", {.rule = "dion", .hyper.at = {SET(RANK, 3)}}},
        {"GaLore's rank 3", {.rule = "galore", .hyper.at = {SET(RANK, 3), SET(REFRESH, REFRESH)}}},
        {"one side", {.rule = "shampoo", .hyper.at = {SET(SIDES, SIDES_ONE), SET(REFRESH, REFRESH)}}},
        {"no graft", {.rule = "shampoo", .hyper.at = {SET(GRAFT, GRAFT_NONE), SET(REFRESH, REFRESH)}}},
        {"a gate for all", {.rule = "soap-muon", .hyper.at = {SET(GATE, GATE_ALL)}}},
        {"the Frobenius norm", {.rule = "soap-muon", .hyper.at = {SET(NS_NORM, NS_FROBENIUS)}}},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        expect_counted(cases[i].config, cases[i].what);
}

/* Five iterations of three products of 2 n^3, of which two are symmetric and count by half. */
static void test_muon(void)
{
    Params p = {0};
    params_add(&p, "qkv", ROLE_HIDDEN_MATRIX, 24, 8, 3);
    params_add(&p, "gain", ROLE_GAIN, 1, 8, 1);
    params_fill(&p, 1);
    Optim *optim = make_optim(&(OptimConfig){.rule = "muon"}, &p);
    check(optim_group_info(optim, 0).flops == 3 * 5 * 4 * cube(8), "three matrices of a fused QKV");
    check(optim_group_info(optim, 1).flops == 0, "AdamW has no products");
    optim_free(optim);
    params_free(&p);
}

int main(void)
{
    check_run("every rule", test_every_rule);
    check_run("options", test_options);
    check_run("Muon on a fused QKV", test_muon);
    return check_summary();
}
