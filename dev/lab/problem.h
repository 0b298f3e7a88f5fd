#ifndef DEV_LAB_PROBLEM_H
#define DEV_LAB_PROBLEM_H

#include "dev/lab/options.h"

/*
 * The regression: its data, its exact solution, its losses and gradients, all in double; and singular values.
 */

/* Rows of data; inputs, of which the first is constantly 1; outputs. D <= C: W has D singular values. */
enum { N = 4096, C = 64, D = 32 };

static const double NOISE = 0.1; /* standard deviation of the noise in Y */

/* What is drawn from a seed comes from streams of its own, so that one choice does not move the others. */
enum { STREAM_INPUTS, STREAM_ROTATION, STREAM_TRUTH, STREAM_NOISE, STREAM_INIT, STREAM_BATCHES, STREAM_CHECK };

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

/* Draws the data as the options say and solves for W_OLS. The caller frees the problem, also after a failure. Returns
 * 0, or -1 with a message. */
int problem_make(const Options *o, Problem **problem, Error *e);

/* What the sum of squares over `rows` rows is multiplied by. */
double problem_unit(const Options *o, size_t rows);

/* |Y - X W^T|_F^2 over `count` rows of the data; rows NULL: the first. */
double problem_squares(const Problem *p, const size_t *rows, size_t count, const Matrix *w);

/* The squares above their floor, exactly: <gap, gap X^T X>, without the difference of two large numbers. */
double problem_excess_squares(const Problem *p, const Matrix *gap);

/* to = 2 gap X^T X: the gradient of the squares over all rows, at W_OLS + gap. */
void problem_full_gradient(const Problem *p, const Matrix *gap, Matrix *to);

/* to = 2 (X_t W^T - Y_t)^T X_t: the gradient of the squares over `count` rows. */
void problem_batch_gradient(const Problem *p, const size_t *rows, size_t count, const Matrix *w, Matrix *to);

/* The loss's largest curvature along a matrix of spectral norm 1. */
double problem_spectral_curvature(const Problem *p);

/* The sum of the products of their elements; a - b; m times a number, in place. */
double matrix_dot(const Matrix *a, const Matrix *b);
Matrix matrix_difference(const Matrix *a, const Matrix *b);
void matrix_scale(Matrix *m, double by);

/* Descending, as roots of the eigenvalues of M M^T: below 1e-8 of the largest they are rounding. NaN when M is not
 * finite. */
void singular_values(const Matrix *m, double s[D]);

/* The sum of s^power: at power 1 the nuclear norm, at 2 the square of the Frobenius norm. */
double norm_of_spectrum(const double s[D], double power);

/* |M|_F^2 / |M|_2^2: between 1 and D. */
double stable_rank(const double s[D]);

/* How far M is from a multiple of an orthogonal matrix: |M M^T / c - I|_F / sqrt(D), c the mean squared singular value.
 */
double unorthogonality(const double s[D]);

/* a / b, and 0 for a matrix that is zero: some rules make no first step. */
static inline double over(double a, double b) { return b == 0 ? 0 : a / b; }

#endif
