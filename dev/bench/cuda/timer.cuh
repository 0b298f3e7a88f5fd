#ifndef DEV_BENCH_CUDA_TIMER_CUH
#define DEV_BENCH_CUDA_TIMER_CUH

#include <cstddef>
#include <cuda_runtime.h>
#include <functional>
#include <vector>

/*
 * Times of work on a stream, by events and with cold caches, and what the device's memory reaches.
 */

namespace bench {

struct Timer {
    cudaStream_t stream;
    void *flush;
    size_t flush_bytes, rounds;
    std::vector<cudaEvent_t> begin, end;
};

/* Timings on the stream: the median of `rounds`, before each of which flush_bytes are written. */
Timer make_timer(cudaStream_t stream, size_t flush_bytes, size_t rounds);
void free_timer(Timer *t);

/* Seconds that run() takes on the stream. */
double time_of(Timer *t, const std::function<void()> &run);

double median(std::vector<double> x);

/* Memory of the device; cudaFree. */
void *allocate(size_t bytes);

/* The same, for n numbers, with values uniform on [-1, 1). X: float or __nv_bfloat16. */
template <class X> X *allocate_filled(size_t n);

/* Bytes/s of a copy of so many bytes, read and written: the better of our copy and the runtime's. */
double measure_copy(Timer *t, size_t bytes);

} // namespace bench

#endif
