#ifndef DATA_LOADER_H
#define DATA_LOADER_H

#include "data/tokens.h"

/*
 * Training batches. A sequence is a window of T inputs and the T targets one token later; the windows of a shard are
 * consecutive and do not overlap, (n - 1) / T in a shard of n tokens, and none crosses into the next shard. A shard too
 * short for one is left out.
 *
 * Training reads one endless stream of sequences: item p = 0, 1, 2, ... of the stream is sequence
 * loader_shuffle(seed, p / N, N, p % N) of the N that exist, so every epoch has each once, in its own order, and any p
 * can be computed directly. A step takes the next S of the stream; rank r of world w has the r-th of w equal parts of
 * them, so a step's sequences and their order do not depend on the world, nor on the batch size.
 */
typedef struct Loader Loader;

typedef struct LoaderConfig {
    size_t T;
    uint64_t seed;
    size_t rank, world;                               /* 0 and 1 for a single process */
    size_t (*sequences)(const void *of, size_t step); /* S of a step, a multiple of world; NULL: 1, of one process */
    const void *of;                                   /* borrowed */
    size_t step;                                      /* the first */
} LoaderConfig;

/*
 * Starts at `position` of the stream (0, or what loader_position returned), which begins a step. A thread reads up to 2
 * max_B sequences ahead. Tokens are borrowed and must outlive the loader; the caller frees *out. Errors: no shard has a
 * sequence and its last target, out of memory, no thread.
 */
int loader_create(const Tokens *tokens, const LoaderConfig *config, uint64_t position, size_t max_B, Loader **out,
                  Error *e);

/* Stops the thread. NULL is fine. */
void loader_free(Loader *l);

/* The next B <= max_B sequences of this rank: inputs and targets, (B,T) each. Waits only if the thread has not yet
 * read them. Errors: those of tokens_read, when their sequence's turn comes; the position then stays. */
int loader_next(Loader *l, size_t B, int32_t *inputs, int32_t *targets, Error *e);

/* Where in the stream the step begins that this rank's next sequence belongs to. For checkpoints, between steps. */
uint64_t loader_position(const Loader *l);

/* N: sequences per epoch. */
size_t loader_epoch_sequences(const Loader *l);

/* The order of an epoch: for each (seed, epoch) a bijection of 0 .. N-1, evaluated at p < N without a table.
 * 0 < N <= 2^63. */
uint64_t loader_shuffle(uint64_t seed, uint64_t epoch, uint64_t N, uint64_t p);

/*
 * Validation. Every token but the first of each shard is a target, and validation uses the first `targets` of them
 * (all, if there are fewer), the same ones for every B and T. A window has up to T of them, predicted from its own
 * tokens alone, and ends with its shard; unused positions of a short window have input 0 and target -1.
 */

/* The number of windows. */
size_t windows_count(const Tokens *tokens, size_t T, size_t targets);

/* B windows from first_window on: inputs and targets_out, (B,T) each. Windows past the last are entirely unused.
 * Errors: those of tokens_read. */
int windows_read(const Tokens *tokens, size_t T, size_t targets, size_t first_window, size_t B, int32_t *inputs,
                 int32_t *targets_out, Error *e);

#endif
