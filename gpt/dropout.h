#ifndef GPT_DROPOUT_H
#define GPT_DROPOUT_H

#include "base/hd.h"
#include "base/random.h"

#include <stddef.h>

/*
 * Dropout (Srivastava et al. 2014), for both twins. Whether an element is kept is a function of the pass's key, of the
 * site in the model, of the row (counted from the step's first sequence) and of the column, and of nothing else: it is
 * the same for any number of threads or micro-batches, and in the backward pass.
 */

/* Where the embedding's sum, a layer's attention probabilities, and what its two halves add to the residual stream are
 * dropped. A row of probabilities is a query of a head: (sequence x NH + head) x T + position. */
enum { DROPOUT_EMBEDDING, DROPOUT_ATTENTION, DROPOUT_ATTPROJ, DROPOUT_MLP, DROPOUT_SITES };

/* One site: elements are dropped whose 32 random bits are below threshold, the others times scale. threshold 0:
 * none. */
typedef struct Dropout {
    uint64_t key; /* of the pass and the site */
    size_t first_row;
    uint32_t threshold;
    float scale;
} Dropout;

/* Of a share p that is dropped, from 0 to below 1. */
static inline uint32_t dropout_threshold(double p) { return (uint32_t)(p * 0x1p32); }
static inline float dropout_scale(double p) { return (float)(1 / (1 - p)); }

HD static inline uint64_t dropout_site_key(uint64_t pass_key, size_t layer, int site)
{
    return random_mix(pass_key ^ random_mix(layer * DROPOUT_SITES + (size_t)site + 1));
}

/* 64 random bits for a row. */
HD static inline uint64_t dropout_row(const Dropout *d, size_t row)
{
    return random_mix(d->key + 0x9e3779b97f4a7c15u * (uint64_t)(d->first_row + row + 1));
}

/* The factor of an element: 0 or scale. 32-bit arithmetic, which vectorises: MurmurHash3's finaliser of the column,
 * with the row's bits added before and within. */
HD static inline float dropout_factor(const Dropout *d, uint64_t row, uint32_t column)
{
    uint32_t x = column * 0x9e3779b1u + (uint32_t)row;
    x = (x ^ x >> 16) * 0x85ebca6bu;
    x = ((x ^ x >> 13) + (uint32_t)(row >> 32)) * 0xc2b2ae35u;
    x ^= x >> 16;
    return x >= d->threshold ? d->scale : 0.0f;
}

#endif
