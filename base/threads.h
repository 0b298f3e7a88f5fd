#ifndef BASE_THREADS_H
#define BASE_THREADS_H

#include <stddef.h>

/* OpenMP's thread count and indices; one thread if the compiler lacks OpenMP. */
#ifdef _OPENMP
#include <omp.h>
static inline size_t threads_count(void) { return (size_t)omp_get_max_threads(); }
static inline size_t threads_index(void) { return (size_t)omp_get_thread_num(); }
static inline void threads_set(size_t n) { omp_set_num_threads((int)n); }
#else
static inline size_t threads_count(void) { return 1; }
static inline size_t threads_index(void) { return 0; }
static inline void threads_set(size_t n) { (void)n; }
#endif

#endif
