#include "dev/lab/problem.h"

#include "base/eigh.h"
#include "base/qr.h"
#include "base/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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

double problem_squares(const Problem *p, const size_t *rows, size_t count, const Matrix *w)
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
    p->floor = problem_squares(p, NULL, N, &p->ols);
    return 0;
}

int problem_make(const Options *o, Problem **problem, Error *e)
{
    *problem = calloc(1, sizeof **problem);
    if (*problem == NULL)
        return error_set(e, "out of memory for the data");
    if (draw_inputs(*problem, o, e) != 0)
        return -1;
    draw_outputs(*problem, o);
    return solve(*problem, e);
}

double problem_unit(const Options *o, size_t rows) { return o->loss == LOSS_SUM ? 1 : 1 / ((double)rows * D); }

void problem_full_gradient(const Problem *p, const Matrix *gap, Matrix *to)
{
    *to = (Matrix){{{0}}};
    for (size_t k = 0; k < D; k++)
        for (size_t i = 0; i < C; i++)
            for (size_t j = 0; j < C; j++)
                to->at[k][j] += 2 * gap->at[k][i] * p->gram[i][j];
}

void problem_batch_gradient(const Problem *p, const size_t *rows, size_t count, const Matrix *w, Matrix *to)
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

double problem_excess_squares(const Problem *p, const Matrix *gap)
{
    Matrix gradient;
    problem_full_gradient(p, gap, &gradient);
    return 0.5 * matrix_dot(gap, &gradient);
}

/* Twice the sum of the D largest eigenvalues of X^T X: tr(O X^T X O^T) over |O|_2 <= 1 is largest where O maps the D
 * leading eigenvectors to an orthonormal basis. */
double problem_spectral_curvature(const Problem *p)
{
    double sum = 0;
    for (size_t v = C - D; v < C; v++)
        sum += 2 * p->values[v];
    return sum;
}

/* --------------------------------------------------------------------------------------------------------------
 * Matrices and their singular values
 */

double matrix_dot(const Matrix *a, const Matrix *b)
{
    double sum = 0;
    for (size_t i = 0; i < D * C; i++)
        sum += a->at[i / C][i % C] * b->at[i / C][i % C];
    return sum;
}

Matrix matrix_difference(const Matrix *a, const Matrix *b)
{
    Matrix m;
    for (size_t i = 0; i < D * C; i++)
        m.at[i / C][i % C] = a->at[i / C][i % C] - b->at[i / C][i % C];
    return m;
}

void matrix_scale(Matrix *m, double by)
{
    for (size_t i = 0; i < D * C; i++)
        m->at[i / C][i % C] *= by;
}

void singular_values(const Matrix *m, double s[D])
{
    double gram[D][D] = {{0}}, ascending[D], *work = malloc(eigh_work(D) * sizeof *work);
    for (size_t i = 0; i < D; i++)
        for (size_t j = 0; j < D; j++)
            for (size_t k = 0; k < C; k++)
                gram[i][j] += m->at[i][k] * m->at[j][k];
    const bool solved = work != NULL && isfinite(matrix_dot(m, m)) && eigh(&gram[0][0], ascending, D, work) == 0;
    for (size_t i = 0; i < D; i++)
        s[i] = solved ? sqrt(fmax(ascending[D - 1 - i], 0)) : (double)NAN;
    free(work);
}

double norm_of_spectrum(const double s[D], double power)
{
    double sum = 0;
    for (size_t i = 0; i < D; i++)
        sum += pow(s[i], power);
    return sum;
}

double stable_rank(const double s[D]) { return over(norm_of_spectrum(s, 2), s[0] * s[0]); }

double unorthogonality(const double s[D])
{
    const double mean = norm_of_spectrum(s, 2) / D;
    return sqrt(fmax(over(norm_of_spectrum(s, 4), D * mean * mean) - 1, 0));
}
