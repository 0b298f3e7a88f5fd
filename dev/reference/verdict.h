#ifndef DEV_REFERENCE_VERDICT_H
#define DEV_REFERENCE_VERDICT_H

#include "base/error.h"
#include "gpt/gpt.h"

#include <stddef.h>

/* The comparison of one quantity over all its tensors; keeps the one that is worst for its bound. */
typedef struct Row {
    char worst[80];
    double error, bound; /* of the worst tensor, relative to its scale */
    double ratio;        /* error / bound */
    size_t compared;
} Row;

/* Keeps the tensor when it is the worst so far; a NaN is worse than any number. */
void row_record(Row *row, const char *name, double error, double bound);

/* The same for an error that is to be divided by its tensor's scale first. */
void row_record_error(Row *row, const char *name, double error, double scale, double bound);

/* A bound on the error of a tensor's elements: of_scale times its scale, plus `absolute`. */
typedef struct Bound {
    double of_scale, absolute;
} Bound;

/* Compares a tensor, in memory layout; the matrices that it consists of (q, k and v; the halves of a gated MLP) each on
 * its own scale, but for a key bias that no score sees: on the query's. What should be all zeros (q and k where T = 1)
 * is held against the scale of the whole. */
void row_compare_tensor(Row *row, const GptConfig *config, const Tensor *t, const float *got, const float *want,
                        Bound bound);

/* --- Distances --- */

double max_abs(const float *x, size_t n);

/* max|got - want|; infinite where either holds a NaN. */
double max_error(const float *got, const float *want, size_t n);

double relative_difference(double got, double want);

/* |got - want| / |want|, Euclidean, without the elements from `out` up to `in`. */
double distance(const float *got, const float *want, size_t n, size_t out, size_t in);

/* Of a tensor, a key bias that no score sees left out: what its noise does to it changes nothing else. */
double tensor_distance(const GptConfig *config, const Tensor *t, const float *got, const float *want);

/* --- Verdicts: a printed line each --- */

typedef struct Tally {
    size_t passed, failed, skipped;
} Tally;

void verdict_head(void);
void verdict_skip(const char *title, const char *reason, Tally *tally);

/* "ok" when something was compared and all of it lies within its bound. */
void verdict_row(const char *title, const Row *row, Tally *tally);

/* The comparison could not be made. */
void verdict_error(const char *title, const Error *e, Tally *tally);

/* Prints "N passed, N failed, N skipped"; returns 1 if any failed or none passed, else 0. */
int verdict_summary(const Tally *tally);

#endif
