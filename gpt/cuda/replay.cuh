#ifndef GPT_CUDA_REPLAY_CUH
#define GPT_CUDA_REPLAY_CUH

#include "base/cuda.cuh"

#include <array>
#include <map>

/*
 * Work that recurs in the same shape, submitted as one CUDA graph instead of hundreds of launches. What differs between
 * calls must lie in device memory; what is passed by value belongs in the key.
 */
using ReplayKey = std::array<size_t, 6>;

struct Replay {
    enum { KEYS_MOST = 16 };                     /* further shapes are launched kernel by kernel */
    std::map<ReplayKey, cudaGraphExec_t> graphs; /* NULL: seen once */
};

inline void replay_free(Replay *r)
{
    for (const auto &entry : r->graphs)
        if (entry.second != NULL)
            CUDA_CHECK(cudaGraphExecDestroy(entry.second));
}

/* Does work(), which only launches on `stream`: the first time directly, which also loads kernels and chooses product
 * algorithms; the second time it is captured, and from then on replayed. */
template <class Work> void replay(Replay *r, cudaStream_t stream, const ReplayKey &key, Work work)
{
    const auto place = r->graphs.find(key);
    if (place == r->graphs.end()) {
        if (r->graphs.size() < Replay::KEYS_MOST)
            r->graphs.emplace(key, nullptr);
        work();
        return;
    }
    if (place->second == NULL) {
        cudaGraph_t graph;
        CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
        work();
        CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
        CUDA_CHECK(cudaGraphInstantiate(&place->second, graph, 0));
        CUDA_CHECK(cudaGraphDestroy(graph));
    }
    CUDA_CHECK(cudaGraphLaunch(place->second, stream));
}

#endif
