/*
 * Linear regression, where everything an optimizer does can be compared with what is known: Y = X W*^T + noise with
 * X = [1|Z], W is outputs x inputs as in a linear layer, and the loss |Y - X W^T|_F^2 has a Hessian with known
 * eigenvalues and its least value at the ordinary least squares solution W_OLS. One run writes one CSV to stdout;
 * run.sh makes the experiment of README.md out of many. `lab --self-check` checks the mathematics of this file.
 */
#include "base/eigh.h"
#include "base/matmul.h"
#include "base/qr.h"
#include "base/random.h"
#include "dev/tests/check.h"
#include "optim/optim.h"
#include "train/schedule.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Rows of data; inputs, of which the first is constantly 1; outputs. D <= C: W has D singular values. */
enum { N = 4096, C = 64, D = 32 };

static const double NOISE = 0.1;     /* standard deviation of the noise in Y */
static const double DIVERGED = 1e12; /* times the first excess loss */

/* What is drawn from a seed comes from streams of its own, so that one choice does not move the others. */
enum { STREAM_INPUTS, STREAM_ROTATION, STREAM_TRUTH, STREAM_NOISE, STREAM_INIT, STREAM_BATCHES, STREAM_CHECK };

typedef enum { INPUTS_WHITE, INPUTS_ILL, INPUTS_ROTATED } Inputs;
typedef enum { INIT_ZERO, INIT_NORMAL } Init;
typedef enum { LOSS_MEAN, LOSS_SUM } Loss;
static const char *const inputs_names[] = {"white", "ill", "rotated", NULL};
static const char *const init_names[] = {"zero", "normal", NULL};
static const char *const loss_names[] = {"mean", "sum", NULL};

/* --------------------------------------------------------------------------------------------------------------
 * Options
 */

typedef struct Options {
    const char *rule;
    OptimHyper hyper;
    size_t inputs, init, loss, schedule; /* Inputs, Init, Loss, ScheduleKind */
    size_t batch, steps, seed, log_every, spectra_every;
    double condition;
    bool self_check, help;
} Options;

typedef enum { TEXT, SIZE, REAL, CHOICE, HYPER_RATE, HYPER_ANY, FLAG } Kind;

typedef struct Option {
    const char *name, *argument, *help;
    Kind kind;
    size_t offset;
    double least, most;
    const char *const *choices;
} Option;

#define AT(field) offsetof(Options, field)
static const Option table[] = {
    {"rule", "NAME", "any optimizer of train_gpt that takes matrices [muon]", TEXT, AT(rule), 0, 0, NULL},
    {"lr", "X", "learning rate [the rule's own]", HYPER_RATE, AT(hyper), 0, 0, NULL},
    {"set", "NAME=X", "any other hyperparameter of the rule, for instance weight-decay=0", HYPER_ANY, AT(hyper), 0, 0,
     NULL},
    {"schedule", "NAME", "constant, cosine, linear or wsd, of the learning rate [constant]", CHOICE, AT(schedule), 0, 0,
     schedule_names},
    {"batch", "B", "rows of data a step, 4096 being all [4096]", SIZE, AT(batch), 1, N, NULL},
    {"steps", "N", "[300]", SIZE, AT(steps), 0, 1e7, NULL},
    {"seed", "N", "of data, first weights and batches [1]", SIZE, AT(seed), 0, 1e15, NULL},
    {"inputs", "NAME", "white: Z is N(0,1); ill: its columns are scaled; rotated: and it is rotated [white]", CHOICE,
     AT(inputs), 0, 0, inputs_names},
    {"condition", "X", "ill and rotated: condition number of Z's covariance [1000]", REAL, AT(condition), 1, 1e8, NULL},
    {"init", "NAME", "first weights: zero, or normal for N(0,1) [zero]", CHOICE, AT(init), 0, 0, init_names},
    {"loss", "NAME", "sum: of squares, as in |Y - X W^T|_F^2; mean: over rows and outputs [mean]", CHOICE, AT(loss), 0,
     0, loss_names},
    {"log-every", "N", "steps between rows; the last step always has one [1]", SIZE, AT(log_every), 1, 1e7, NULL},
    {"spectra-every", "N", "steps between rows with singular values; 0: none [0]", SIZE, AT(spectra_every), 0, 1e7,
     NULL},
    {"self-check", NULL, "check the mathematics of this program, and leave", FLAG, AT(self_check), 0, 0, NULL},
    {"help", NULL, "print this and leave", FLAG, AT(help), 0, 0, NULL},
};
#undef AT
enum { OPTION_COUNT = sizeof table / sizeof *table };

static void print_help(void)
{
    printf("usage: lab [OPTIONS]\n\n");
    printf("Trains a linear regression of %d rows, %d inputs, %d outputs; writes a CSV to stdout.\n\n", N, C, D);
    for (size_t i = 0; i < OPTION_COUNT; i++)
        printf("  --%-13s %-7s %s\n", table[i].name, table[i].argument != NULL ? table[i].argument : "", table[i].help);
    printf("\nExit status: 0 done, 1 failure, 2 an option is wrong, 3 the run diverged.\n");
}

static int parse_number(const Option *option, const char *text, double *value, Error *e)
{
    char *end;
    *value = strtod(text, &end);
    const bool whole = option->kind == REAL || *value == floor(*value);
    if (end == text || *end != '\0' || !whole || !(*value >= option->least && *value <= option->most))
        return error_set(e, "--%s needs a %s from %g to %g, not '%s'", option->name,
                         option->kind == REAL ? "number" : "whole number", option->least, option->most, text);
    return 0;
}

/* "name=value" of any hyperparameter. */
static int parse_setting(OptimHyper *h, const char *text, Error *e)
{
    const size_t length = strcspn(text, "=");
    if (text[length] == '\0')
        return error_set(e, "--set needs NAME=X, not '%s'", text);
    for (HyperId id = 0; id < HYPER_COUNT; id++) {
        double value;
        if (strlen(hyper_info[id].name) != length || strncmp(hyper_info[id].name, text, length) != 0)
            continue;
        if (hyper_parse(id, text + length + 1, "set ", &value, e) != 0)
            return -1;
        hyper_set(h, id, value);
        return 0;
    }
    return error_set(e, "--set knows no hyperparameter '%.*s'", (int)length, text);
}

static int parse_value(const Option *option, const char *text, Options *o, Error *e)
{
    void *place = (char *)o + option->offset;
    double value = 0;
    switch (option->kind) {
    case TEXT:
        *(const char **)place = text;
        return 0;
    case SIZE:
    case REAL:
        if (parse_number(option, text, &value, e) != 0)
            return -1;
        if (option->kind == SIZE)
            *(size_t *)place = (size_t)value;
        else
            *(double *)place = value;
        return 0;
    case CHOICE:
        return hyper_choice(option->choices, text, "", option->name, place, e);
    case HYPER_RATE:
        if (hyper_parse(HYPER_LR, text, "", &value, e) != 0)
            return -1;
        hyper_set(place, HYPER_LR, value);
        return 0;
    case HYPER_ANY:
        return parse_setting(place, text, e);
    default: /* FLAG */
        *(bool *)place = true;
        return 0;
    }
}

static int parse_options(int argc, char **argv, Options *o, Error *e)
{
    *o = (Options){.rule = "muon", .batch = N, .steps = 300, .seed = 1, .condition = 1000, .log_every = 1};
    for (int i = 1; i < argc; i++) {
        const Option *option = table;
        while (option < table + OPTION_COUNT &&
               (strncmp(argv[i], "--", 2) != 0 || strcmp(argv[i] + 2, option->name) != 0))
            option++;
        if (option == table + OPTION_COUNT)
            return error_set(e, "there is no option '%s'; --help lists them", argv[i]);
        if (option->kind != FLAG && ++i == argc)
            return error_set(e, "--%s needs a value: %s", option->name, option->argument);
        if (parse_value(option, argv[i], o, e) != 0)
            return -1;
    }
    return 0;
}

/* --------------------------------------------------------------------------------------------------------------
 * The problem
 */

/* A matrix of the shape of W: outputs x inputs. */
typedef struct Matrix {
    double at[D][C];
} Matrix;

typedef struct Problem {
    double x[N][C], y[N][D];
    double gram[C][C];    /* X^T X */
    double vectors[C][C]; /* its eigenvectors, by rows */
    double values[C];     /* its eigenvalues, ascending: the Hessian's, for each output, are twice these */
    Matrix ols;           /* W_OLS */
    double floor;         /* |Y - X W_OLS^T|_F^2 */
} Problem;

/* Columns of standard deviation 1 down to 1/sqrt(condition), log-spaced; rotated: mixed by a random rotation. */
static int draw_inputs(Problem *p, const Options *o, Error *e)
{
    enum { Z = C - 1 };
    const double range = o->inputs == INPUTS_WHITE ? 0.0 : -0.5 * log(o->condition);
    Random random = random_make(o->seed, STREAM_INPUTS), turn = random_make(o->seed, STREAM_ROTATION);
    double rotation[Z][Z], *work = malloc(qr_work(Z, Z) * sizeof *work);
    if (work == NULL)
        return error_set(e, "out of memory for a rotation");
    for (size_t i = 0; i < Z * Z; i++)
        rotation[i / Z][i % Z] = random_normal(&turn);
    qr(&rotation[0][0], Z, Z, work);
    free(work);
    for (size_t n = 0; n < N; n++) {
        double z[Z];
        for (size_t i = 0; i < Z; i++)
            z[i] = random_normal(&random) * exp(range * (double)i / (Z - 1));
        p->x[n][0] = 1;
        for (size_t j = 0; j < Z; j++)
            p->x[n][1 + j] = o->inputs == INPUTS_ROTATED ? 0 : z[j];
        for (size_t i = 0; i < Z && o->inputs == INPUTS_ROTATED; i++)
            for (size_t j = 0; j < Z; j++)
                p->x[n][1 + j] += z[i] * rotation[i][j];
    }
    return 0;
}

static void draw_outputs(Problem *p, const Options *o)
{
    Random random = random_make(o->seed, STREAM_TRUTH), noise = random_make(o->seed, STREAM_NOISE);
    double truth[C][D];
    for (size_t i = 0; i < C * D; i++)
        truth[i / D][i % D] = random_normal(&random);
    for (size_t n = 0; n < N; n++) {
        for (size_t k = 0; k < D; k++)
            p->y[n][k] = NOISE * random_normal(&noise);
        for (size_t i = 0; i < C; i++)
            for (size_t k = 0; k < D; k++)
                p->y[n][k] += p->x[n][i] * truth[i][k];
    }
}

/* W^T, so that all outputs of one row of data are computed side by side. */
typedef struct Transposed {
    double at[C][D];
} Transposed;

static Transposed transposed(const Matrix *w)
{
    Transposed t;
    for (size_t k = 0; k < D; k++)
        for (size_t i = 0; i < C; i++)
            t.at[i][k] = w->at[k][i];
    return t;
}

/* r (D) = W x - y of row n. */
static void residual(const Problem *p, size_t n, const Transposed *w, double *r)
{
    for (size_t k = 0; k < D; k++)
        r[k] = -p->y[n][k];
    for (size_t i = 0; i < C; i++)
        for (size_t k = 0; k < D; k++)
            r[k] += p->x[n][i] * w->at[i][k];
}

/* |Y - X W^T|_F^2 over `count` rows of the data; rows NULL: the first. */
static double squares(const Problem *p, const size_t *rows, size_t count, const Matrix *w)
{
    const Transposed t = transposed(w);
    double sum = 0, r[D];
    for (size_t n = 0; n < count; n++) {
        residual(p, rows == NULL ? n : rows[n], &t, r);
        for (size_t k = 0; k < D; k++)
            sum += r[k] * r[k];
    }
    return sum;
}

/* Ordinary least squares by the normal equations, through the eigenvectors of X^T X. */
static int solve(Problem *p, Error *e)
{
    double xy[C][D] = {{0}}, *work = malloc(eigh_work(C) * sizeof *work);
    for (size_t n = 0; n < N; n++)
        for (size_t i = 0; i < C; i++) {
            for (size_t j = 0; j < C; j++)
                p->gram[i][j] += p->x[n][i] * p->x[n][j];
            for (size_t k = 0; k < D; k++)
                xy[i][k] += p->x[n][i] * p->y[n][k];
        }
    memcpy(p->vectors, p->gram, sizeof p->vectors);
    const int status = work == NULL ? -1 : eigh(&p->vectors[0][0], p->values, C, work);
    free(work);
    if (status != 0)
        return error_set(e, "no eigenvalues of X^T X: they did not converge, or memory ran out");
    for (size_t v = 0; v < C; v++)
        for (size_t k = 0; k < D; k++) {
            double along = 0;
            for (size_t i = 0; i < C; i++)
                along += p->vectors[v][i] * xy[i][k];
            for (size_t i = 0; i < C; i++)
                p->ols.at[k][i] += p->vectors[v][i] * along / p->values[v];
        }
    p->floor = squares(p, NULL, N, &p->ols);
    return 0;
}

/* The caller frees it. */
static int problem_make(const Options *o, Problem **problem, Error *e)
{
    *problem = calloc(1, sizeof **problem);
    if (*problem == NULL)
        return error_set(e, "out of memory for the data");
    if (draw_inputs(*problem, o, e) != 0)
        return -1;
    draw_outputs(*problem, o);
    return solve(*problem, e);
}

/* What the sum of squares over `rows` rows is multiplied by. */
static double unit(const Options *o, size_t rows) { return o->loss == LOSS_SUM ? 1 : 1 / ((double)rows * D); }

/* to = 2 gap X^T X: the gradient of the squares over all rows, at W_OLS + gap. */
static void full_gradient(const Problem *p, const Matrix *gap, Matrix *to)
{
    *to = (Matrix){{{0}}};
    for (size_t k = 0; k < D; k++)
        for (size_t i = 0; i < C; i++)
            for (size_t j = 0; j < C; j++)
                to->at[k][j] += 2 * gap->at[k][i] * p->gram[i][j];
}

/* to = 2 (X_t W^T - Y_t)^T X_t: the gradient of the squares over `count` rows. */
static void batch_gradient(const Problem *p, const size_t *rows, size_t count, const Matrix *w, Matrix *to)
{
    const Transposed t = transposed(w);
    double r[D];
    *to = (Matrix){{{0}}};
    for (size_t n = 0; n < count; n++) {
        residual(p, rows[n], &t, r);
        for (size_t k = 0; k < D; k++)
            for (size_t i = 0; i < C; i++)
                to->at[k][i] += 2 * r[k] * p->x[rows[n]][i];
    }
}

static double dot(const Matrix *a, const Matrix *b)
{
    double sum = 0;
    for (size_t i = 0; i < D * C; i++)
        sum += a->at[i / C][i % C] * b->at[i / C][i % C];
    return sum;
}

/* The squares above their floor, exactly: <gap, gap X^T X>, without the difference of two large numbers. */
static double excess_squares(const Problem *p, const Matrix *gap)
{
    Matrix gradient;
    full_gradient(p, gap, &gradient);
    return 0.5 * dot(gap, &gradient);
}

/* The loss's largest curvature along a matrix of spectral norm 1: twice the sum of the D largest eigenvalues of X^T X,
 * as tr(O X^T X O^T) over |O|_2 <= 1 is largest where O maps the D leading eigenvectors to an orthonormal basis. */
static double spectral_curvature(const Problem *p)
{
    double sum = 0;
    for (size_t v = C - D; v < C; v++)
        sum += 2 * p->values[v];
    return sum;
}

/* --------------------------------------------------------------------------------------------------------------
 * Singular values
 */

/* Descending, as roots of the eigenvalues of M M^T: below 1e-8 of the largest they are rounding. NaN when M is not
 * finite. */
static void singular_values(const Matrix *m, double s[D])
{
    double gram[D][D] = {{0}}, ascending[D], *work = malloc(eigh_work(D) * sizeof *work);
    for (size_t i = 0; i < D; i++)
        for (size_t j = 0; j < D; j++)
            for (size_t k = 0; k < C; k++)
                gram[i][j] += m->at[i][k] * m->at[j][k];
    const bool solved = work != NULL && isfinite(dot(m, m)) && eigh(&gram[0][0], ascending, D, work) == 0;
    for (size_t i = 0; i < D; i++)
        s[i] = solved ? sqrt(fmax(ascending[D - 1 - i], 0)) : (double)NAN;
    free(work);
}

static double norm_of_spectrum(const double s[D], double power)
{
    double sum = 0;
    for (size_t i = 0; i < D; i++)
        sum += pow(s[i], power);
    return sum;
}

/* a / b, and 0 for a matrix that is zero: some rules make no first step. */
static double over(double a, double b) { return b == 0 ? 0 : a / b; }

/* |M|_F^2 / |M|_2^2: between 1 and D. */
static double stable_rank(const double s[D]) { return over(norm_of_spectrum(s, 2), s[0] * s[0]); }

/* How far M is from a multiple of an orthogonal matrix: |M M^T / c - I|_F / sqrt(D), c the mean squared singular value.
 */
static double unorthogonality(const double s[D])
{
    const double mean = norm_of_spectrum(s, 2) / D;
    return sqrt(fmax(over(norm_of_spectrum(s, 4), D * mean * mean) - 1, 0));
}

/* --------------------------------------------------------------------------------------------------------------
 * A run
 */

typedef struct Run {
    const Options *o;
    const Problem *p;
    Optim *optim;
    Tensor tensor; /* with w and g, what the optimizer reads and writes */
    float w[D][C], g[D][C];
    Matrix gap; /* W - W_OLS before the step */
    Matrix gradient, update;
    Random batches;
    size_t order[N], next; /* the rows, in the order of this epoch, and how many were used */
} Run;

static void run_free(Run *run)
{
    if (run != NULL)
        optim_free(run->optim);
    free(run);
}

static int run_make(const Options *o, const Problem *p, Run **out, Error *e)
{
    Run *run = *out = calloc(1, sizeof *run);
    if (run == NULL)
        return error_set(e, "out of memory for a run");
    *run = (Run){.o = o, .p = p, .batches = random_make(o->seed, STREAM_BATCHES), .next = N};
    Random random = random_make(o->seed, STREAM_INIT);
    for (size_t i = 0; i < D * C && o->init == INIT_NORMAL; i++)
        run->w[i / C][i % C] = (float)random_normal(&random);
    for (size_t n = 0; n < N; n++)
        run->order[n] = n;
    run->tensor = (Tensor){.name = "w", .role = ROLE_HIDDEN_MATRIX, .rows = D, .cols = C, .blocks = 1};
    const OptimConfig config = {.rule = o->rule, .hyper = o->hyper, .steps = o->steps};
    if (optim_create(&config, &run->tensor, 1, &(Arenas){.params = &run->w[0][0], .grads = &run->g[0][0]}, &run->optim,
                     e) != 0)
        return -1;
    return optim_check_parameters(run->optim, e);
}

/* The next rows of data: every epoch goes through all of them in a new order; what is left of it is dropped. */
static const size_t *next_rows(Run *run)
{
    if (run->next + run->o->batch > N) {
        for (size_t i = N - 1; i > 0; i--) {
            const size_t j = (size_t)random_below(&run->batches, i + 1), row = run->order[i];
            run->order[i] = run->order[j];
            run->order[j] = row;
        }
        run->next = 0;
    }
    run->next += run->o->batch;
    return run->order + run->next - run->o->batch;
}

static Matrix weights(const Run *run)
{
    Matrix w;
    for (size_t i = 0; i < D * C; i++)
        w.at[i / C][i % C] = (double)run->w[i / C][i % C];
    return w;
}

static Matrix difference(const Matrix *a, const Matrix *b)
{
    Matrix m;
    for (size_t i = 0; i < D * C; i++)
        m.at[i / C][i % C] = a->at[i / C][i % C] - b->at[i / C][i % C];
    return m;
}

static void scale(Matrix *m, double by)
{
    for (size_t i = 0; i < D * C; i++)
        m->at[i / C][i % C] *= by;
}

static Matrix gap_of(const Run *run)
{
    const Matrix w = weights(run);
    return difference(&w, &run->p->ols);
}

static void fill_gradient(Run *run)
{
    const Matrix w = weights(run), gap = gap_of(run);
    const size_t batch = run->o->batch;
    if (batch == N)
        full_gradient(run->p, &gap, &run->gradient);
    else
        batch_gradient(run->p, next_rows(run), batch, &w, &run->gradient);
    scale(&run->gradient, unit(run->o, batch));
    for (size_t i = 0; i < D * C; i++)
        run->g[i / C][i % C] = (float)run->gradient.at[i / C][i % C];
}

/* One step, noting the gap before it, its gradient, and its update a unit of learning rate. */
static void run_step(Run *run, size_t step)
{
    const Schedule schedule = {.kind = (ScheduleKind)run->o->schedule, .steps = run->o->steps, .cooldown = 0.4};
    const double factor = schedule_factor(&schedule, step);
    const OptimGroupInfo group = optim_group_info(run->optim, 0);
    const Matrix before = weights(run);
    run->gap = gap_of(run);
    optim_begin(run->optim, factor);
    fill_gradient(run);
    optim_step(run->optim, 1);
    const Matrix after = weights(run);
    run->update = difference(&before, &after);
    scale(&run->update, 1 / (factor * hyper(&group.hyper, HYPER_LR)));
}

/* The optimizer's momentum; false when it has none. */
static bool momentum_of(const Run *run, Matrix *m)
{
    for (size_t s = 0; s < optim_state_count(run->optim); s++) {
        const OptimState *state = optim_state(run->optim, s);
        const bool named = strcmp(state->name, "w.momentum") == 0 || strcmp(state->name, "w.m") == 0;
        for (size_t i = 0; named && i < D * C; i++)
            m->at[i / C][i % C] = (double)state->data[i];
        if (named)
            return true;
    }
    return false;
}

/* What a row with spectra has more: numbers, and spectra of D numbers each. */
enum { MEASURES = 7, SPECTRA = 4 };

static void print_spectrum(const double s[D])
{
    for (size_t i = 0; i < D; i++)
        printf(",%.6g", s[i]);
}

/* Of the step just made: its gradient, its update, the gap before it, and the momentum it left. */
static void print_spectra(Run *run)
{
    double g[D], u[D], gap[D], m[D];
    Matrix momentum;
    singular_values(&run->gradient, g);
    singular_values(&run->update, u);
    singular_values(&run->gap, gap);
    const double inner = dot(&run->gradient, &run->update);
    printf(",%.6g,%.6g,%.6g,%.6g,%.6g,%.6g,%.6g", g[0] / g[D - 1], stable_rank(g), stable_rank(u),
           norm_of_spectrum(g, 1),
           over(inner, sqrt(dot(&run->gradient, &run->gradient) * dot(&run->update, &run->update))),
           over(inner, norm_of_spectrum(g, 1) * u[0]), unorthogonality(u));
    print_spectrum(g);
    print_spectrum(u);
    print_spectrum(gap);
    if (momentum_of(run, &momentum)) {
        singular_values(&momentum, m);
        print_spectrum(m);
    } else {
        for (size_t i = 0; i < D; i++)
            printf(",");
    }
}

static void print_header(const Options *o, const Problem *p)
{
    const double curvature = 2 * unit(o, N);
    printf("# floor=%.9g condition=%.9g curvature_least=%.9g curvature_most=%.9g spectral_curvature=%.9g\n",
           p->floor * unit(o, N), p->values[C - 1] / p->values[0], curvature * p->values[0],
           curvature * p->values[C - 1], spectral_curvature(p) * unit(o, N));
    printf("step,loss,excess,distance");
    if (o->spectra_every > 0) {
        printf(",grad_condition,grad_stable_rank,update_stable_rank,grad_nuclear,cosine,attained");
        printf(",unorthogonality");
        for (size_t kind = 0; kind < SPECTRA; kind++)
            for (size_t i = 1; i <= D; i++)
                printf(",%c%zu", "guem"[kind], i);
    }
    printf("\n");
}

/* Writes the row of a step that is about to be made, or of the end. Returns the excess loss. */
static double print_losses(const Run *run, size_t step)
{
    const Matrix gap = gap_of(run);
    const double excess = unit(run->o, N) * excess_squares(run->p, &gap);
    printf("%zu,%.9g,%.9g,%.9g", step, unit(run->o, N) * run->p->floor + excess, excess, sqrt(dot(&gap, &gap)));
    return excess;
}

/* The steps, with their rows; *diverged is set when a row's loss is no longer finite or has grown beyond measure. */
static void run_all(Run *run, bool *diverged)
{
    const Options *o = run->o;
    double first = 0;
    *diverged = false;
    for (size_t step = 0; step <= o->steps && !*diverged; step++) {
        const bool last = step == o->steps, spectra = !last && o->spectra_every > 0 && step % o->spectra_every == 0;
        const bool row = last || spectra || step % o->log_every == 0;
        if (row) {
            const double excess = print_losses(run, step);
            first = step == 0 ? excess : first;
            *diverged = !(excess <= DIVERGED * first);
        }
        if (!last && !*diverged)
            run_step(run, step);
        if (spectra && !*diverged)
            print_spectra(run);
        else
            for (size_t i = 0; row && o->spectra_every > 0 && i < MEASURES + SPECTRA * D; i++)
                printf(",");
        if (row)
            printf("\n");
    }
}

/* --------------------------------------------------------------------------------------------------------------
 * Self-check
 */

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
    scale(&step, -by);
    return difference(a, &step);
}

/* The loss is quadratic, so that a central difference of any length is its derivative up to rounding: at most half a
 * unit in the last place of the losses for each of the terms they are sums of. */
static void check_gradient(const Fixture *f, const size_t *rows, size_t count, const Matrix *w, const Matrix *gradient)
{
    const Matrix along = random_matrix(7), forth = moved(w, 1, &along), back = moved(w, -1, &along);
    const double up = squares(f->p, rows, count, &forth), down = squares(f->p, rows, count, &back);
    check_close(dot(gradient, &along), (up - down) / 2, 0x1p-53 * (double)(count * D + C) * (up + down), "derivative");
}

static void test_gradients(void)
{
    const char *const lines[] = {"--inputs white", "--inputs ill", "--inputs rotated --seed 2"};
    const size_t rows[] = {5, 0, 4095, 77, 1000, 5};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        Fixture f;
        fixture(&f, lines[i]);
        const Matrix w = random_matrix(i), gap = difference(&w, &f.p->ols);
        Matrix gradient;
        full_gradient(f.p, &gap, &gradient);
        check_gradient(&f, NULL, N, &w, &gradient);
        batch_gradient(f.p, rows, sizeof rows / sizeof *rows, &w, &gradient);
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
        batch_gradient(f.p, rows, N, &zero, &first);
        batch_gradient(f.p, rows, N, &f.p->ols, &last);
        const double condition = f.p->values[C - 1] / f.p->values[0];
        check(dot(&last, &last) <= pow(0x1p-53 * (N + C * condition), 2) * dot(&first, &first),
              "%s: the gradient at W_OLS is %g of that at 0", lines[i], sqrt(dot(&last, &last) / dot(&first, &first)));
        const Matrix gap = random_matrix(3), w = moved(&f.p->ols, 1, &gap);
        const double loss = squares(f.p, NULL, N, &w);
        check_close(f.p->floor + excess_squares(f.p, &gap), loss, 0x1p-53 * (N * D + C * condition) * loss,
                    "floor + excess");
        /* a chi-squared variable of (N - C) D degrees of freedom, within 5 sigma */
        const double expected = NOISE * NOISE * (1 - (double)C / N);
        check_close(f.p->floor * unit(&f.o, N), expected, expected * 5 * sqrt(2.0 / ((N - C) * D)), "floor");
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
    check_close(norm_of_spectrum(got, 2), dot(&m, &m), 0x1p-53 * C * D * D, "their squares");
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
    const size_t first = next_rows(f.run)[0];
    for (size_t i = 0; i < 256; i++)
        seen[f.run->order[i]]++;
    for (size_t batch = 1; batch < N / 256; batch++) {
        const size_t *rows = next_rows(f.run);
        for (size_t i = 0; i < 256; i++)
            seen[rows[i]]++;
    }
    for (size_t n = 0; n < N; n++)
        check(seen[n] == 1, "row %zu came %zu times in an epoch", n, seen[n]);
    for (size_t epoch = 0; epoch < 3; epoch++)
        for (size_t batch = 0; batch < N / 256; batch++)
            same += next_rows(f.run)[0] == first && batch == 0;
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
    const Matrix gap = gap_of(f.run);
    for (size_t step = 0; step < f.o.steps; step++)
        run_step(f.run, step);
    const Matrix end = gap_of(f.run);
    const double part = f.o.loss == LOSS_SUM ? 1 : 1.0 / (N * D), curvature = 2 * part * f.p->values[C - 1];
    double worst = 0, gap_most = sqrt(dot(&gap, &gap));
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
        const double curvature = unit(&f.o, N) * spectral_curvature(f.p);
        hyper_set(&f.o.hyper, HYPER_LR, 1 / curvature);
        start(&f);
        for (size_t step = 0; step < 30; step++) {
            run_step(f.run, step);
            double s[D];
            singular_values(&f.run->gradient, s);
            const Matrix after = gap_of(f.run);
            const double gain = unit(&f.o, N) * (excess_squares(f.p, &f.run->gap) - excess_squares(f.p, &after));
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
        const Matrix one = weights(a.run), other = weights(b.run), apart = difference(&one, &other);
        check(sqrt(dot(&apart, &apart)) <= bound && bound < 0.05, "step %zu: they are %g apart, bound %g", step,
              sqrt(dot(&apart, &apart)), bound);
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

static int self_check(void)
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

/* -------------------------------------------------------------------------------------------------------------- */

/* Trains as the options say; the exit status. */
static int train(const Options *o, Error *e)
{
    Problem *p = NULL;
    Run *run = NULL;
    bool diverged = false;
    int status = problem_make(o, &p, e);
    if (status == 0)
        status = run_make(o, p, &run, e) == 0 ? 0 : 2;
    if (status == 0) {
        print_header(o, p);
        run_all(run, &diverged);
    }
    run_free(run);
    free(p);
    if (diverged) {
        error_set(e, "%s diverged: its loss has grown %g times, or is not finite", o->rule, DIVERGED);
        return 3;
    }
    return status < 0 ? 1 : status;
}

int main(int argc, char **argv)
{
    Options o;
    Error e;
    int status = 2;
    if (parse_options(argc, argv, &o, &e) == 0) {
        matmul_init();
        if (o.help)
            print_help();
        if (o.help || o.self_check)
            return o.help ? 0 : self_check();
        status = train(&o, &e);
    }
    if (status != 0)
        fprintf(stderr, "lab: %s\n", e.text);
    return status;
}
