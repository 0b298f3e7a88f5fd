#ifndef BASE_CUDA_STOPWATCH_CUH
#define BASE_CUDA_STOPWATCH_CUH

#include "base/cuda.cuh"

#include <vector>

/* Measures what a stream takes for pieces of work of a few kinds, without waiting for any before the sums are asked
 * for. */
struct Stopwatch {
    struct Lap {
        cudaEvent_t begin, end;
        unsigned kind;
    };
    std::vector<Lap> laps;
    size_t used; /* of the laps, since the last reset */
};

inline void stopwatch_free(Stopwatch *s)
{
    for (const Stopwatch::Lap &lap : s->laps) {
        CUDA_CHECK(cudaEventDestroy(lap.begin));
        CUDA_CHECK(cudaEventDestroy(lap.end));
    }
}

inline void stopwatch_begin(Stopwatch *s, cudaStream_t stream, unsigned kind)
{
    if (s->used == s->laps.size()) {
        Stopwatch::Lap lap = {};
        CUDA_CHECK(cudaEventCreate(&lap.begin));
        CUDA_CHECK(cudaEventCreate(&lap.end));
        s->laps.push_back(lap);
    }
    s->laps[s->used].kind = kind;
    CUDA_CHECK(cudaEventRecord(s->laps[s->used].begin, stream));
}

inline void stopwatch_end(Stopwatch *s, cudaStream_t stream)
{
    CUDA_CHECK(cudaEventRecord(s->laps[s->used++].end, stream));
}

/* Seconds of all laps of a kind; waits for them. */
inline double stopwatch_sum(const Stopwatch *s, unsigned kind)
{
    double seconds = 0;
    for (size_t i = 0; i < s->used; i++) {
        const Stopwatch::Lap &lap = s->laps[i];
        float ms = 0;
        if (lap.kind != kind)
            continue;
        CUDA_CHECK(cudaEventSynchronize(lap.end));
        CUDA_CHECK(cudaEventElapsedTime(&ms, lap.begin, lap.end));
        seconds += 1e-3 * (double)ms;
    }
    return seconds;
}

#endif
