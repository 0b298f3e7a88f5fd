#ifndef OPTIM_VERBS_VERBS_H
#define OPTIM_VERBS_VERBS_H

#include "base/error.h"
#include "optim/verbs/decay.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * The operations that matrix rules are written in, on batches of same-shaped matrices on the parameters' device
 * (verbs_cpu.c, verbs_cuda.cu). Scalar results go to an array on the device, one float per matrix, so that no rule
 * branches on data. Results do not depend on the number of threads. No verb allocates: factorisations, which compute in
 * double, take a `scratch`.
 */
typedef struct Mats {
    float *data; /* (batch, rows, cols), contiguous */
    size_t rows, cols, batch;
} Mats;

/* The same in bf16, in memory that verb_bf16_floats counts; the format is private to the verbs. */
typedef struct Bf16s {
    void *data;
    size_t rows, cols, batch;
} Bf16s;

typedef struct Floats {
    const float *data;
    size_t n;
} Floats;

/* Floats of the whole batch. */
static inline size_t mats_size(Mats x) { return x.batch * x.rows * x.cols; }

/* Where the next ones may begin. */
static inline float *mats_end(Mats x) { return x.data + mats_size(x); }

/* `count` of the matrices, from `first` on. */
static inline Mats mats_part(Mats x, size_t first, size_t count)
{
    Mats part = x;
    part.data += first * x.rows * x.cols;
    part.batch = count;
    return part;
}

/*
 * The context of the verbs: on a GPU the stream that they all run on, library handles and a little memory; on a CPU
 * nothing. `stream` is a cudaStream_t; NULL: the default stream.
 */
typedef struct Verbs Verbs;
int verbs_create(void *stream, Verbs **on, Error *e);
void verbs_free(Verbs *on);

/* ---- device memory ---- */

/* n floats, zeroed; `what` names them in the out-of-memory message. Free them with verb_free. */
int verb_alloc(Verbs *on, size_t n, const char *what, float **out, Error *e);
void verb_free(Verbs *on, float *x);

/* Copies n floats to and from the host. */
void verb_read(Verbs *on, size_t n, float *host, const float *x);
void verb_write(Verbs *on, size_t n, float *x, const float *host);

/* Elements that one batch should have in total: enough to fill the device. */
size_t verb_batch_floats(void);

/* ---- elementwise, over n floats ---- */

/* m = mu m + (1 - mu) s g;  u = nesterov ? (1 - mu) s g + mu m : m.  s scales the gradient; u and g may be the same. */
void verb_momentum(Verbs *on, size_t n, float *m, float *u, const float *g, double mu, bool nesterov, double s);

/* v = beta v + (1 - beta) (s g)^2;  u = u / (sqrt(v correction) + eps); u and g may be the same. */
void verb_precondition(Verbs *on, size_t n, float *u, float *v, const float *g, double beta, double correction,
                       double eps, double s);

/* m = b1 m + (1 - b1) s g;  v = b2 v + (1 - b2) (s g)^2;  u = m / (sqrt(v correction) + eps) */
void verb_adam_direction(Verbs *on, size_t n, float *u, float *m, float *v, const float *g, double beta1, double beta2,
                         double correction, double eps, double s);

/* v = beta v + (1 - beta) u^2;  u = u / max(sqrt(v), floor) */
void verb_whiten(Verbs *on, size_t n, float *u, float *v, double beta, double floor);

/* p = keep p - step u, keep as in decay.h */
void verb_update(Verbs *on, size_t n, float *p, const float *u, Decay decay, double step);

/* to = s x; to and x may be the same. */
void verb_scale(Verbs *on, size_t n, float *to, const float *x, double s);

/* x and y, which do not overlap, change places. */
void verb_swap(Verbs *on, size_t n, float *x, float *y);

/* to = a to + b x */
void verb_add(Verbs *on, size_t n, float *to, const float *x, double a, double b);

/* to = x y; any may be the same. */
void verb_multiply(Verbs *on, size_t n, float *to, const float *x, const float *y);

/* to = x / y, and 0 where y is 0; any may be the same. */
void verb_divide(Verbs *on, size_t n, float *to, const float *x, const float *y);

/* to = the sign of x: -1, 0 or 1. to and x may be the same. */
void verb_sign(Verbs *on, size_t n, float *to, const float *x);

/* to = max(x, floor)^power; to and x may be the same. Computed in double, for arrays of scalars and of lines. */
void verb_power(Verbs *on, size_t n, float *to, const float *x, double floor, double power);

/* to = x */
void verb_fill(Verbs *on, size_t n, float *to, double x);

/* N(0, 1) from the random stream `stream` of a fixed seed. */
void verb_normal(Verbs *on, size_t n, float *to, size_t stream);

/* N(0, 1) from the stream `stream`, each element by itself: drawn where it is needed, with the same bits everywhere. */
void verb_probe(Verbs *on, size_t n, float *to, size_t stream);

/* Sum of squares of n floats, in double, on the host. */
double verb_sum_squares(Verbs *on, size_t n, const float *x);

/* The same for each of `count` arrays, synchronising once for all of them: for gradient norms. */
void verb_sums_of_squares(Verbs *on, size_t count, const Floats *arrays, double *sums);

/* ---- norms ---- */

/* norms (batch): Frobenius norms, summed in double. */
void verb_norms(Verbs *on, Mats x, float *norms);

/* dots (batch): sums of the products of elements, in double. */
void verb_dots(Verbs *on, Mats x, Mats y, float *dots);

/* largest (batch): the largest magnitude of an element. */
void verb_largest(Verbs *on, Mats x, float *largest);

/* Each x *= numerator / max(factor * denominator, floor), one scalar each per matrix; a NULL numerator or denominator
 * means 1. */
void verb_rescale(Verbs *on, Mats x, const float *numerator, const float *denominator, double factor, double floor);

/* Each to += s x, one s per matrix. */
void verb_add_each(Verbs *on, Mats to, const float *s, Mats x);

/*
 * v (batch, lines) = beta v + (1 - beta) mean square of each line;  line *= 1 / sqrt(max(v, floor)).  Lines are rows if
 * rows >= cols, otherwise columns.
 */
void verb_normalise_lines(Verbs *on, Mats x, float *v, double beta, double floor);

/* Each column of length l is divided by l + eps. */
void verb_normalise_columns(Verbs *on, Mats x, double eps);

/* A step that keeps each matrix's norm: p' = p - step |p| u / max(|u|, floor), then scaled to |p|. */
void verb_rotate(Verbs *on, Mats p, Mats u, double step, double floor);

/* A step that gives each matrix the norm of the step's part along it alone: p' = p - step u, scaled to |p| - step p.u /
 * |p|, norms being at least `floor`; then decayed, elements by keep_away unless u p > 0 with the old p. */
void verb_step_pinned(Verbs *on, Mats p, Mats u, double step, double floor, Decay decay);

/* Each row p becomes V length / |V|, V = keep p - step u, with a `keep` and a `length` (batch, rows) for each row; 0
 * where V is 0. */
void verb_direct_rows(Verbs *on, Mats p, Mats u, const float *keep, const float *length, double step);

/*
 * A penalty on each matrix's mean square (Franke et al. 2023), with a multiplier and a bound (batch): while `holding`,
 * bound = mean of p^2; with neither nothing; with `active` multiplier = max(0, multiplier + mean of p^2 - bound) and
 * p -= 2 multiplier p.
 */
void verb_penalise(Verbs *on, Mats p, float *multiplier, float *bound, bool holding, bool active);

/*
 * A cautious step along u (Liang et al. 2024): 0 where m, which may be u, does not have the sign of g, which is laid out
 * like both. What is left, `count` of a matrix's n elements, is multiplied by n / max(count + more, floor n). A NaN of u
 * stays one, unless m says otherwise.
 */
void verb_cautious(Verbs *on, Mats u, Mats m, const float *g, double more, double floor);

/* ---- products ---- */

/* c = alpha op(a) op(b) + beta c; op transposes if asked. */
void verb_product(Verbs *on, Mats a, bool transpose_a, Mats b, bool transpose_b, double alpha, double beta, Mats c);

/* gram (batch, n, n), n = min(rows, cols): x x^T if rows <= cols, otherwise x^T x. */
void verb_gram(Verbs *on, Mats x, Mats gram);

/* gram = keep gram + share x x^T; if `right`, x^T x. */
void verb_gram_average(Verbs *on, Mats x, bool right, double keep, double share, Mats gram);

/* to = a I + b gram + c gram^2, all symmetric (batch, n, n). */
void verb_polynomial(Verbs *on, Mats gram, Mats to, double a, double b, double c);

/* to = x y for symmetric x and y that commute (batch, n, n), so that to is symmetric. For matrices of a norm of about 1:
 * the CPU makes elements below 2^-60 zero. */
void verb_commuting_product(Verbs *on, Mats x, Mats y, Mats to);

/* to = p x if rows <= cols, otherwise x p; p symmetric (batch, n, n). */
void verb_apply(Verbs *on, Mats p, Mats x, Mats to);

/* Each x = U^-T x or, if `right`, x U^-1, for upper triangular U (batch, n, n); below its diagonal nothing is read. */
void verb_solve_upper(Verbs *on, Mats u, bool right, Mats x);

/* Zeroes what is below the diagonals of x. */
void verb_upper(Verbs *on, Mats x);

/* to = x */
void verb_copy(Verbs *on, Mats x, Mats to);

/* ---- products in bf16 with fp32 accumulation; results are rounded to nearest even ---- */

/* Whether they are faster than fp32 on this device. */
bool verb_prefers_bf16(void);

/* Memory for n bf16 numbers, in floats. */
size_t verb_bf16_floats(size_t n);

/* to = each x / max(factor * denominator, floor), one denominator per matrix */
void verb_to_bf16(Verbs *on, Mats x, const float *denominator, double factor, double floor, Bf16s to);

/* to = x */
void verb_from_bf16(Verbs *on, Bf16s x, Mats to);

/* to = alpha op(a) op(b) + beta plus, rounded once; op transposes if asked. `plus` and `to` may be the same; with
 * beta = 0 `plus` is not read. */
void verb_bf16_product(Verbs *on, Bf16s a, bool transpose_a, Bf16s b, bool transpose_b, double alpha, double beta,
                       Bf16s plus, Bf16s to);

/* gram (batch, n, n), n = min(rows, cols): x x^T if rows <= cols, otherwise x^T x. */
void verb_bf16_gram(Verbs *on, Bf16s x, Bf16s gram);

/* to = alpha x y + beta plus for symmetric x, y and plus (batch, n, n), of which x and y commute; `to` may be plus. */
void verb_bf16_commuting_product(Verbs *on, Bf16s x, Bf16s y, double alpha, double beta, Bf16s plus, Bf16s to);

/* verb_update with the n elements of u from `first` on. */
void verb_update_bf16(Verbs *on, size_t n, float *p, Bf16s u, size_t first, Decay decay, double step);

/* x += a I, rounded; x (batch, n, n) */
void verb_bf16_add_diagonal(Verbs *on, Bf16s x, double a);

/* ---- factorisations, in double ---- */

/* Floats of scratch for these verbs, on matrices of at most rows x cols. */
size_t verb_scratch(size_t rows, size_t cols, size_t batch);

/* Replaces x by its polar factor; singular values below cutoff times the largest count as 0. */
void verb_polar(Verbs *on, Mats x, double cutoff, float *scratch);

/* The columns of basis become the eigenvectors of the symmetric a, by descending eigenvalue. */
void verb_eigenbasis(Verbs *on, Mats a, Mats basis, float *scratch);

/* root = (scale a + eps I)^power for symmetric a, whose negative eigenvalues are rounding errors and count as 0. With
 * eps = 0, so do those at most n 2^-24 times the largest, and they stay 0 in the root. */
void verb_root(Verbs *on, Mats a, double scale, double eps, double power, Mats root, float *scratch);

/* Replaces x, rows >= cols, by the orthonormal factor Q of x = Q R with a non-negative diagonal of R. */
void verb_qr(Verbs *on, Mats x, float *scratch);

/*
 * Sorts the columns of a basis (batch, n, n) by the diagonal of basis^T image, descending, and with them the columns of
 * image = a basis and the rows of v (its columns if `right`).
 */
void verb_sort_basis(Verbs *on, Mats basis, Mats image, Mats v, bool right, float *scratch);

/* ---- scaling by vectors (batch, rows) or, on the right, (batch, cols) ---- */

/* to = diag(s) x; if `right`, x diag(s) */
void verb_scale_lines(Verbs *on, Mats x, const float *s, bool right, Mats to);

/* mean (batch, lines): mean square of each row; if `right`, of each column. */
void verb_mean_squares(Verbs *on, Mats x, bool right, float *mean);

/* dots (batch, lines): sums of the products of elements of each row; if `right`, of each column; in double. */
void verb_line_dots(Verbs *on, Mats x, Mats y, bool right, float *dots);

/* gate (n): how far to trust d in place of u, from six arrays of n: d.u, d.g, u.g, d.d, u.u, g.g. With cosines it is
 * clip((cos(d,u) - 0.2) / 0.8, 0, 1) clip(cos(d,g) / cos(u,g), 0, 1), at least `least` and at most `most`. */
void verb_trust(Verbs *on, size_t n, float *gate, const float *dots, double least, double most);

/* to (batch, cols): the row of each x whose number in `sizes` (batch, rows) is the largest, the first of equal ones. */
void verb_pick_row(Verbs *on, Mats x, const float *sizes, float *to);

/* Sinkhorn's scaling of b = a^2 + eps towards rows of equal sums and columns of equal sums, element by element: from
 * y = 1, `times` times x = 1 / (rows (b y + eps)), then y = 1 / (cols (b^T x + eps)). x (batch, rows), y (batch, cols);
 * sums in double. */
void verb_sinkhorn(Verbs *on, Mats a, float *x, float *y, size_t times, double eps);

/*
 * Some lines of each matrix: rows or, if `right`, columns, whose numbers are in `which` (batch, k), as floats; NULL:
 * the first.
 *   verb_top          which = the numbers of the k largest of x (batch, n), from the largest on; of equal ones the
 *                     first comes first, and a NaN is larger than any number
 *   verb_take_lines   to, of k lines = those lines of x
 *   verb_put_lines    those lines of `to` = s x, of k lines; the others stay
 */
void verb_top(Verbs *on, size_t n, size_t batch, const float *x, size_t k, float *which);
void verb_take_lines(Verbs *on, Mats x, const float *which, bool right, Mats to);
void verb_put_lines(Verbs *on, Mats x, const float *which, bool right, double s, Mats to);

/* Over n inverse roots s of eigenvalues: the eigenvalue 1/s^2 (0 if not finite) becomes beta / s^2 + (1 - beta) x; s is
 * at most `most`. s and x may be the same. */
void verb_inverse_roots(Verbs *on, size_t n, float *s, const float *x, double beta, double most);

/* ---- made of the others ---- */

/* Each x /= max(factor |x|, floor); norms (batch): the |x|. */
static inline void verb_normalise(Verbs *on, Mats x, double factor, double floor, float *norms)
{
    verb_norms(on, x, norms);
    verb_rescale(on, x, NULL, norms, factor, floor);
}

/* Gives each x the norm in `norms` (batch); one of zeros stays. own (batch): its own norms before. */
static inline void verb_set_norms(Verbs *on, Mats x, const float *norms, float *own)
{
    verb_norms(on, x, own);
    verb_rescale(on, x, norms, own, 1, 1e-30);
}

/* to = op(a) x op(b), in which `between`, shaped like `to`, holds op(a) x; op transposes if asked. x may be `to`. */
static inline void verb_product_on_both_sides(Verbs *on, Mats a, bool transpose_a, Mats x, Mats b, bool transpose_b,
                                              Mats between, Mats to)
{
    verb_product(on, a, transpose_a, x, false, 1, 0, between);
    verb_product(on, between, false, b, transpose_b, 1, 0, to);
}

#endif
