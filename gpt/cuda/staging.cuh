#ifndef GPT_CUDA_STAGING_CUH
#define GPT_CUDA_STAGING_CUH

#include "base/cuda.cuh"

#include <cstdint>
#include <vector>

/*
 * Integers in transit to the device. The host fills a slot of pinned memory and continues; a separate stream copies the
 * slot across while the device computes; the compute stream then copies the pieces to their places.
 *
 *     staging_open(&s);  fill(staging_take(&s, place, n));  staging_send(&s, stream);
 */
struct Staging {
    enum { SLOTS = 4 };
    struct Piece {
        int32_t *place;
        size_t at, n; /* in the slot */
    };
    int32_t *memory;  /* (SLOTS, capacity), pinned */
    int32_t *landing; /* the same on the device */
    size_t capacity, used;
    unsigned turn;
    cudaStream_t carrier;
    cudaEvent_t sent[SLOTS], taken[SLOTS]; /* the slot has landed; its pieces are in their places */
    std::vector<Piece> pieces;             /* of the open slot */
};

/* For slots of `capacity` integers; s->landing is given. False if out of memory. */
inline bool staging_create(Staging *s, size_t capacity)
{
    s->capacity = capacity;
    CUDA_CHECK(cudaStreamCreateWithFlags(&s->carrier, cudaStreamNonBlocking));
    for (unsigned i = 0; i < Staging::SLOTS; i++) {
        CUDA_CHECK(cudaEventCreateWithFlags(&s->sent[i], cudaEventDisableTiming));
        CUDA_CHECK(cudaEventCreateWithFlags(&s->taken[i], cudaEventDisableTiming));
    }
    if (cudaMallocHost(&s->memory, Staging::SLOTS * capacity * sizeof *s->memory) == cudaSuccess)
        return true;
    cudaGetLastError();
    s->memory = NULL;
    return false;
}

inline void staging_free(Staging *s)
{
    if (s->carrier == NULL) /* staging_create was never reached */
        return;
    CUDA_CHECK(cudaStreamSynchronize(s->carrier));
    CUDA_CHECK(cudaStreamDestroy(s->carrier));
    for (unsigned i = 0; i < Staging::SLOTS; i++) {
        CUDA_CHECK(cudaEventDestroy(s->sent[i]));
        CUDA_CHECK(cudaEventDestroy(s->taken[i]));
    }
    if (s->memory != NULL)
        CUDA_CHECK(cudaFreeHost(s->memory));
}

inline void staging_open(Staging *s)
{
    s->turn = (s->turn + 1) % Staging::SLOTS;
    s->used = 0;
    s->pieces.clear();
    CUDA_CHECK(cudaEventSynchronize(s->sent[s->turn]));
}

/* Where to put n integers destined for `place` on the device. */
inline int32_t *staging_take(Staging *s, int32_t *place, size_t n)
{
    if (n > s->capacity - s->used)
        cuda_fail(__FILE__, __LINE__, "staging_take", "the slot is full");
    s->pieces.push_back({place, s->used, n});
    s->used += n;
    return s->memory + s->turn * s->capacity + s->used - n;
}

inline void staging_send(Staging *s, cudaStream_t stream)
{
    int32_t *landed = s->landing + s->turn * s->capacity;
    CUDA_CHECK(cudaStreamWaitEvent(s->carrier, s->taken[s->turn], 0));
    CUDA_CHECK(cudaMemcpyAsync(landed, s->memory + s->turn * s->capacity, s->used * sizeof *landed,
                               cudaMemcpyHostToDevice, s->carrier));
    CUDA_CHECK(cudaEventRecord(s->sent[s->turn], s->carrier));
    CUDA_CHECK(cudaStreamWaitEvent(stream, s->sent[s->turn], 0));
    for (const Staging::Piece &piece : s->pieces)
        CUDA_CHECK(cudaMemcpyAsync(piece.place, landed + piece.at, piece.n * sizeof *landed, cudaMemcpyDeviceToDevice,
                                   stream));
    CUDA_CHECK(cudaEventRecord(s->taken[s->turn], stream));
}

#endif
