#ifndef DEV_TESTS_RULES_H
#define DEV_TESTS_RULES_H

#include "dev/tests/check.h"
#include "dev/tests/fixtures.h"
#include "optim/optim.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the programs that test the update rules share. References are a few lines of double. */

#define SET(id, x) HYPER_AT(id, x)
#define COUNT(list) (sizeof(list) / sizeof *(list))

/* Rounding to fp32. */
static const double U = 0x1p-24;

/* Wide, tall, square. */
extern const size_t shapes[3][2];

/* One matrix under one rule. */
typedef struct Run {
    Params p;
    Optim *optim;
} Run;

/* The matrix "w" and its gradient begin at N(0,1). run_end frees them. */
void run_begin(Run *run, const OptimConfig *config, size_t rows, size_t cols, uint64_t seed);
void run_end(Run *run);

void run_step(Run *run, double factor);

/* A step with the gradient N(0,1) of that seed. */
void run_random_step(Run *run, double factor, uint64_t seed);

/* The state "w.<name>". */
OptimState state_of(const Optim *optim, const char *name);

/* Minus the change (rows,cols), from a matrix of zeros, that one step of rate 1 with the gradient g makes. The caller
 * frees it. */
float *update_of(OptimConfig config, const float *g, size_t rows, size_t cols);

/* Gradient of sum a_i (w_i - c_i)^2 / 2, with a_i from 0.1 to 1; slopes makes it the run's. */
double slope(double w, size_t i);
void slopes(const Run *run);

double largest_of(const float *x, size_t n);  /* magnitude */
double *doubles_of(const float *x, size_t n); /* the caller frees them */
void check_close_to_doubles(const float *got, const double *want, size_t n, double bound, const char *what);

/* to (r,c) = op(x) op(y), k their common side. */
void product(double *to, const double *x, bool tx, const double *y, bool ty, size_t r, size_t k, size_t c);

/* --- two rules that are one --- */

enum { STEPS = 12 };

typedef void Gradients(const Run *run);

/* Both take STEPS steps from the same weights, with gradients that depend on them, or without any such function with
 * the same random ones; the schedule falls. Returns the largest difference ever; *largest is that of the weights. */
double largest_difference(const OptimConfig *one, const OptimConfig *other, Gradients *gradients, double *largest);

/* In a step both round about 4 times numbers no larger than the largest weight; what goes into a buffer counts up to
 * 1/(1-b) times. */
void expect_same(const OptimConfig *one, const OptimConfig *other, Gradients *gradients, double b, const char *what);

void expect_same_bits(const OptimConfig *one, const OptimConfig *other, const char *what);

#endif
