#ifndef GPT_CUDA_STOPWATCH_CUH
#define GPT_CUDA_STOPWATCH_CUH

#include "base/cuda.cuh"

#include <cmath>
#include <utility>
#include <vector>

/* Times pieces of work of a few kinds on a stream, waiting for them only when their sums are read. */
struct Stopwatch {
    struct Lap {
        cudaEvent_t begin, end;
        unsigned kind;
    };
    std::vector<Lap> laps;
    size_t used;        /* of the laps, since the last reset */
    cudaEvent_t before; /* end of the last lap before that */
    bool has_before;
};

inline void stopwatch_free(Stopwatch *s)
{
    if (s->before != NULL)
        CUDA_CHECK(cudaEventDestroy(s->before));
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

/* Seconds from the last lap before the reset to the first one after it; NaN unless there are both. */
inline double stopwatch_gap(const Stopwatch *s)
{
    float ms = 0;
    if (!s->has_before || s->used == 0)
        return (double)NAN;
    CUDA_CHECK(cudaEventSynchronize(s->laps[0].begin));
    CUDA_CHECK(cudaEventElapsedTime(&ms, s->before, s->laps[0].begin));
    return 1e-3 * (double)ms;
}

inline void stopwatch_reset(Stopwatch *s)
{
    s->has_before = s->used > 0;
    if (s->before == NULL)
        CUDA_CHECK(cudaEventCreate(&s->before));
    if (s->has_before)
        std::swap(s->before, s->laps[s->used - 1].end);
    s->used = 0;
}

/* To be called when other work comes between the laps so far and the next. */
inline void stopwatch_forget(Stopwatch *s)
{
    s->has_before = false;
    s->used = 0;
}

#endif
