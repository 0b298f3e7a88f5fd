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

/* OpenBLAS (as Debian builds it) aborts when more threads call it at once than it has buffers for. */
enum { THREADS_MOST = 128 };

/* Sets the number of threads for a program that was told none: OMP_NUM_THREADS, or one for each CPU that this process
 * may use by its affinity and its control groups' quota, rounded up; `processes` that may use the same share them. At
 * most THREADS_MOST. */
void threads_choose(size_t processes);

/* Lowers what threads_choose chose where the work between two waits of a program, `work` FLOPs, is too little for so
 * many; dev/bench/contention.sh shows it. */
void threads_suit(double work);

/* Why there are as many, where that is not simply the number of CPUs: "CPU quota 0.5"; otherwise "". Static storage. */
const char *threads_reason(void);

#endif
