#ifndef DEV_TESTS_CHECK_H
#define DEV_TESTS_CHECK_H

#include <stdbool.h>
#include <stddef.h>

/*
 * The test harness: a test program is a list of functions run by check_run; each calls check() on what must hold.
 * A function in which every check held counts as passed. main() ends with `return check_summary();`.
 */

/* Runs one named test and prints its verdict, with the first failures. With CHECK_ONLY in the environment, only tests
 * whose name contains it. */
void check_run(const char *name, void (*test)(void));

/* Records a failure with the sentence when `ok` is false. Returns ok. */
bool check(bool ok, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* |got - want| <= bound, false for NaN on any side. */
bool check_close(double got, double want, double bound, const char *what);

/* Every element: |got - want| <= bound; names the worst index. */
bool check_all_close(const float *got, const float *want, size_t n, double bound, const char *what);

/* Every bit the same; names the first index that differs. */
bool check_same_bits(const void *got, const void *want, size_t bytes, const char *what);

/* The running test cannot be done here: counts as skipped, with the reason printed. */
void check_skip(const char *reason);

/* Prints "N passed, N failed, N skipped"; returns 1 if any failed (or, without CHECK_ONLY, none ran), else 0. */
int check_summary(void);

#endif
