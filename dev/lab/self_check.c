#include "dev/lab/self_check.h"

#include "dev/lab/run.h"
#include "dev/tests/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Fixture {
    char text[256]; /* the options' words */
    Options o;
    Problem *p;
    Run *run;
} Fixture;

/* The problem of a command line's options, which are words apart by spaces. Ends the program when they are wrong. */
static void fixture(Fixture *f, const char *line)
{
    enum { WORDS_MOST = 40 };
    Error e;
    char *argv[WORDS_MOST] = {"lab"};
    int argc = 1;
    *f = (Fixture){.run = NULL};
    snprintf(f->text, sizeof f->text, "%s", line);
    for (char *word = strtok(f->text, " "); word != NULL && argc < WORDS_MOST; word = strtok(NULL, " "))
        argv[argc++] = word;
    if (parse_options(argc, argv, &f->o, &e) != 0 || problem_make(&f->o, &f->p, &e) != 0) {
        fprintf(stderr, "lab: %s\n", e.text);
        exit(1);
    }
}

/* Its optimizer and weights. */
static void start(Fixture *f)
{
    Error e;
    if (run_make(&f->o, f->p, &f->run, &e) != 0) {
        fprintf(stderr, "lab: %s\n", e.text);
        exit(1);
    }
}

static void fixture_free(Fixture *f)
{
    run_free(f->run);
    free(f->p);
}

static Matrix random_matrix(uint64_t seed)
{
    Matrix m;
    Random random = random_make(seed, STREAM_CHECK);
    for (size_t i = 0; i < D * C; i++)
        m.at[i / C][i % C] = random_normal(&random);
    return m;
}

static Matrix moved(const Matrix *a, double by, const Matrix *along)
{
    Matrix step = *along;
    matrix_scale(&step, -by);
    return matrix_difference(a, &step);
}

/* The loss is quadratic, so that a central difference of any length is its derivative up to rounding: at most half a
 * unit in the last place of the losses for each of the terms they are sums of. */
static void check_gradient(const Fixture *f, const size_t *rows, size_t count, const Matrix *w, const Matrix *gradient)
{
    const Matrix along = random_matrix(7), forth = moved(w, 1, &along), back = moved(w, -1, &along);
    const double up = problem_squares(f->p, rows, count, &forth), down = problem_squares(f->p, rows, count, &back);
    check_close(matrix_dot(gradient, &along), (up - down) / 2, 0x1p-53 * (double)(count * D + C) * (up + down),
                "derivative");
}

static void test_gradients(void)
{
    const char *const lines[] = {"--inputs white", "--inputs ill", "--inputs rotated --seed 2"};
    const size_t rows[] = {5, 0, 4095, 77, 1000, 5};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        Fixture f;
        fixture(&f, lines[i]);
        const Matrix w = random_matrix(i), gap = matrix_difference(&w, &f.p->ols);
        Matrix gradient;
        problem_full_gradient(f.p, &gap, &gradient);
        check_gradient(&f, NULL, N, &w, &gradient);
        problem_batch_gradient(f.p, rows, sizeof rows / sizeof *rows, &w, &gradient);
        check_gradient(&f, rows, sizeof rows / sizeof *rows, &w, &gradient);
        fixture_free(&f);
    }
}

/* The gradient at W_OLS, from the data, is zero but for the rounding of N products a sum and of the solution, which the
 * condition number amplifies. */
static void test_least_squares(void)
{
    const char *const lines[] = {"--inputs white", "--inputs ill --condition 100", "--inputs rotated --condition 1e6"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        Fixture f;
        fixture(&f, lines[i]);
        size_t rows[N];
        for (size_t n = 0; n < N; n++)
            rows[n] = n;
        Matrix zero = {{{0}}}, first, last;
        problem_batch_gradient(f.p, rows, N, &zero, &first);
        problem_batch_gradient(f.p, rows, N, &f.p->ols, &last);
        const double condition = f.p->values[C - 1] / f.p->values[0];
        check(matrix_dot(&last, &last) <= pow(0x1p-53 * (N + C * condition), 2) * matrix_dot(&first, &first),
              "%s: the gradient at W_OLS is %g of that at 0", lines[i],
              sqrt(matrix_dot(&last, &last) / matrix_dot(&first, &first)));
        const Matrix gap = random_matrix(3), w = moved(&f.p->ols, 1, &gap);
        const double loss = problem_squares(f.p, NULL, N, &w);
        check_close(f.p->floor + problem_excess_squares(f.p, &gap), loss, 0x1p-53 * (N * D + C * condition) * loss,
                    "floor + excess");
        /* a chi-squared variable of (N - C) D degrees of freedom, within 5 sigma */
        const double expected = NOISE * NOISE * (1 - (double)C / N);
        check_close(f.p->floor * problem_unit(&f.o, N), expected, expected * 5 * sqrt(2.0 / ((N - C) * D)), "floor");
        fixture_free(&f);
    }
}

/* Traces of X^T X: its eigenvalues', the data's, and what the scales promise; 5 sigma. */
static void test_inputs(void)
{
    const char *const lines[] = {"--inputs white", "--inputs ill", "--inputs rotated"};
    double traces[3];
    for (size_t i = 0; i < 3; i++) {
        Fixture f;
        fixture(&f, lines[i]);
        double values = 0, data = 0, residual = 0;
        for (size_t v = 0; v < C; v++)
            values += f.p->values[v];
        for (size_t k = 0; k < N * C; k++)
            data += f.p->x[k / C][k % C] * f.p->x[k / C][k % C];
        for (size_t v = 0; v < C; v++)
            for (size_t k = 0; k < C; k++) {
                double image = -f.p->values[v] * f.p->vectors[v][k];
                for (size_t j = 0; j < C; j++)
                    image += f.p->gram[k][j] * f.p->vectors[v][j];
                residual += image * image;
            }
        check_close(values, data, 0x1p-53 * N * C * data, "trace of the eigenvalues");
        check(sqrt(residual) <= 0x1p-53 * C * C * f.p->values[C - 1], "eigenvectors are off by %g", sqrt(residual));
        /* least and largest eigenvalue of a sample's covariance: (1 -+ sqrt(C / N))^2 times the population's range */
        const double condition = f.p->values[C - 1] / f.p->values[0], root = sqrt((double)C / N);
        const double spread = pow((1 + root) / (1 - root), 2);
        const double wanted = i == 0 ? spread : f.o.condition;
        check(condition >= wanted / spread && condition <= wanted * spread, "%s: condition %g", lines[i], condition);
        traces[i] = data;
        fixture_free(&f);
    }
    check_close(traces[2], traces[1], 0x1p-53 * N * C * traces[1], "a rotation keeps the trace");
}

/* diag(s) between two reflections has the singular values s. */
static void test_singular_values(void)
{
    const Matrix draws = random_matrix(1);
    double wanted[D], got[D], left = 0, right = 0;
    Matrix m = {{{0}}}, reflected;
    for (size_t i = 0; i < D; i++)
        m.at[i][i] = wanted[i] = pow(2, -(double)i / 4);
    for (size_t i = 0; i < C; i++)
        right += draws.at[0][i] * draws.at[0][i];
    for (size_t i = 0; i < D; i++)
        left += draws.at[1][i] * draws.at[1][i];
    for (size_t i = 0; i < D; i++)
        for (size_t j = 0; j < C; j++)
            reflected.at[i][j] = m.at[i][j] - 2 * m.at[i][i] * draws.at[0][i] * draws.at[0][j] / right;
    m = reflected;
    for (size_t j = 0; j < C; j++) {
        double along = 0;
        for (size_t i = 0; i < D; i++)
            along += draws.at[1][i] * reflected.at[i][j];
        for (size_t i = 0; i < D; i++)
            m.at[i][j] -= 2 * draws.at[1][i] * along / left;
    }
    singular_values(&m, got);
    for (size_t i = 0; i < D; i++) /* squares are known to C D 2^-53 of the largest */
        check_close(got[i] * got[i], wanted[i] * wanted[i], 0x1p-53 * C * D, "singular value");
    check_close(norm_of_spectrum(got, 2), matrix_dot(&m, &m), 0x1p-53 * C * D * D, "their squares");
    for (size_t i = 0; i < D; i++)
        got[i] = 3;
    check_close(stable_rank(got), D, 0x1p-40, "stable rank of an orthogonal matrix");
    check_close(unorthogonality(got), 0, 0x1p-20, "unorthogonality of an orthogonal matrix");
    got[0] = 0; /* then M M^T / c - I has one eigenvalue -1 and the others 1 / (D - 1) */
    check_close(unorthogonality(got), sqrt((1 + 1.0 / (D - 1)) / D), 0x1p-40, "unorthogonality with one value gone");
}

/* An epoch's mini-batches hold every row once, and another epoch goes through them otherwise. */
static void test_batches(void)
{
    Fixture f;
    fixture(&f, "--batch 256 --rule sgd");
    start(&f);
    size_t seen[N] = {0}, same = 0;
    const size_t first = run_next_rows(f.run)[0];
    for (size_t i = 0; i < 256; i++)
        seen[f.run->order[i]]++;
    for (size_t batch = 1; batch < N / 256; batch++) {
        const size_t *rows = run_next_rows(f.run);
        for (size_t i = 0; i < 256; i++)
            seen[rows[i]]++;
    }
    for (size_t n = 0; n < N; n++)
        check(seen[n] == 1, "row %zu came %zu times in an epoch", n, seen[n]);
    for (size_t epoch = 0; epoch < 3; epoch++)
        for (size_t batch = 0; batch < N / 256; batch++)
            same += run_next_rows(f.run)[0] == first && batch == 0;
    check(same < 3, "every epoch begins with row %zu", first);
    fixture_free(&f);
}

/* SGD against its closed form: along eigenvector v of X^T X, with h twice its value (over N D), the gap follows
 *     b = mu b + share h (gap - ahead lr mu b);  gap -= lr b
 * where share is 1 (a sum) or 1 - mu (an average), and ahead is 1 for a gradient that is taken at the look-ahead. A
 * step rounds each weight, and its gradient and momentum, to 2^-24 of themselves; momentum sums that over 1 / (1 - mu)
 * steps. */
static void check_sgd(const char *line, double momentum, double share, double ahead, double tolerance)
{
    Fixture f;
    fixture(&f, line);
    start(&f);
    const double lr = hyper(&f.o.hyper, HYPER_LR);
    const Matrix gap = run_gap(f.run);
    for (size_t step = 0; step < f.o.steps; step++)
        run_step(f.run, step);
    const Matrix end = run_gap(f.run);
    const double part = f.o.loss == LOSS_SUM ? 1 : 1.0 / (N * D), curvature = 2 * part * f.p->values[C - 1];
    double worst = 0, gap_most = sqrt(matrix_dot(&gap, &gap));
    for (size_t v = 0; v < C; v++)
        for (size_t k = 0; k < D; k++) {
            double along = 0, got = 0, b = 0;
            for (size_t i = 0; i < C; i++) {
                along += gap.at[k][i] * f.p->vectors[v][i];
                got += end.at[k][i] * f.p->vectors[v][i];
            }
            for (size_t step = 0; step < f.o.steps; step++) {
                b = momentum * b + share * 2 * part * f.p->values[v] * (along - ahead * lr * momentum * b);
                along -= lr * b;
            }
            worst = fmax(worst, fabs(got - along));
        }
    check(worst <= tolerance * gap_most * fmax(1, lr * curvature), "%s: off by %g of the first gap", line,
          worst / gap_most);
    fixture_free(&f);
}

static void test_sgd(void)
{
    const double step = 3 * 0x1p-24; /* weight, gradient, their difference */
    check_sgd("--rule sgd --lr 16 --set momentum=0 --steps 20", 0, 1, 0, 20 * step);
    check_sgd("--rule sgd --lr 20 --set momentum=0 --steps 200 --inputs rotated --init normal", 0, 1, 0, 200 * step);
    check_sgd("--rule sgd --lr 2e-5 --set momentum=0 --steps 50 --inputs ill --loss sum", 0, 1, 0, 50 * step);
    check_sgd("--rule sgd --lr 10 --set momentum=0.9 --steps 100 --inputs ill", 0.9, 1, 0, 1000 * step);
    check_sgd("--rule nesterov --lr 10 --set momentum=0.9 --steps 100 --inputs ill", 0.9, 0.1, 1, 1000 * step);
}

/* Steepest descent in the spectral norm: with a step |G|_nuclear / L, L the curvature in that norm, every step takes
 * off at least |G|_nuclear^2 / (2 L). The fp32 step may miss by C 2^-24 of the gradient's condition. */
static void test_nuclear(void)
{
    const char *const inputs[] = {"white", "rotated"};
    for (size_t i = 0; i < 2; i++) {
        char line[200];
        snprintf(line, sizeof line, "--rule spectral --set ns=exact --set muon-scale=nuclear --inputs %s", inputs[i]);
        Fixture f;
        fixture(&f, line);
        const double curvature = problem_unit(&f.o, N) * problem_spectral_curvature(f.p);
        hyper_set(&f.o.hyper, HYPER_LR, 1 / curvature);
        start(&f);
        for (size_t step = 0; step < 30; step++) {
            run_step(f.run, step);
            double s[D];
            singular_values(&f.run->gradient, s);
            const Matrix after = run_gap(f.run);
            const double gain = problem_unit(&f.o, N) *
                                (problem_excess_squares(f.p, &f.run->gap) - problem_excess_squares(f.p, &after));
            const double promised = pow(norm_of_spectrum(s, 1), 2) / (2 * curvature);
            check(gain >= promised * (1 - C * 0x1p-24 * s[0] / s[D - 1]), "%s, step %zu: the loss fell by %g, not %g",
                  inputs[i], step, gain, promised);
        }
        fixture_free(&f);
    }
}

/* Shampoo of one gradient alone, without eps, is the gradient's polar factor. Its fp32 Gram matrix is known to C 2^-24
 * of its largest eigenvalue, so that its roots are known to that times the gradient's condition squared. */
static void test_shampoo(void)
{
    Fixture a, b;
    fixture(&a, "--rule shampoo --set beta1=0 --set beta2=0 --set eps=0 --set graft=none --set refresh=1 "
                "--set weight-decay=0 --lr 0.05");
    fixture(&b, "--rule spectral --set ns=exact --set muon-scale=none --lr 0.05");
    start(&a);
    start(&b);
    double bound = 0;
    for (size_t step = 0; step < 5; step++) {
        double s[D];
        run_step(a.run, step);
        run_step(b.run, step);
        singular_values(&b.run->gradient, s);
        bound += 0.05 * sqrt(D) * C * 0x1p-24 * pow(s[0] / s[D - 1], 2);
        const Matrix one = run_weights(a.run), other = run_weights(b.run), apart = matrix_difference(&one, &other);
        check(sqrt(matrix_dot(&apart, &apart)) <= bound && bound < 0.05, "step %zu: they are %g apart, bound %g", step,
              sqrt(matrix_dot(&apart, &apart)), bound);
    }
    fixture_free(&a);
    fixture_free(&b);
}

static void test_options(void)
{
    char *const bad[][3] = {{"lab", "--lr", "fast"},       {"lab", "--batch", "4097"},  {"lab", "--batch", "0"},
                            {"lab", "--steps", "1.5"},     {"lab", "--inputs", "red"},  {"lab", "--set", "lr"},
                            {"lab", "--set", "speed=1"},   {"lab", "--set", "ns=best"}, {"lab", "--lr", "nan"},
                            {"lab", "--condition", "nan"}, {"lab", "--speed", "1"},     {"lab", "rule", "sgd"}};
    Options o;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        Error e = {""};
        char *argv[] = {bad[i][0], bad[i][1], bad[i][2]};
        check(parse_options(3, argv, &o, &e) != 0, "%s %s was taken", bad[i][1], bad[i][2]);
        check(strstr(e.text, bad[i][1]) != NULL, "'%s' does not name %s", e.text, bad[i][1]);
    }
    Error e;
    char *missing[] = {"lab", "--lr"};
    check(parse_options(2, missing, &o, &e) != 0, "--lr without a value was taken");
}

int self_check(void)
{
    check_run("options that are wrong are refused by name", test_options);
    check_run("inputs have the spectrum they were asked to have", test_inputs);
    check_run("W_OLS is the minimum, the floor its loss, the excess what is above", test_least_squares);
    check_run("gradients are the loss's finite differences", test_gradients);
    check_run("an epoch's mini-batches hold every row once", test_batches);
    check_run("singular values, stable rank, distance from orthogonality", test_singular_values);
    check_run("SGD follows its closed form, with momentum too", test_sgd);
    check_run("spectral descent by the nuclear norm gains what is promised", test_nuclear);
    check_run("Shampoo without memory is spectral descent", test_shampoo);
    return check_summary();
}
