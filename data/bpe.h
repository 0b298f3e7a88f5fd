#ifndef DATA_BPE_H
#define DATA_BPE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Byte-pair encoding of one piece (Sennrich, Haddow and Birch 2016, arXiv:1508.07909): of all neighbours that a merge
 * joins, the pair whose merge has the lowest rank is joined, the leftmost of equals, until there is none.
 */

/* The merges, in the order of their ranks. Ids are below BPE_IDS. */
typedef struct Bpe Bpe;

enum { BPE_IDS = 1 << 16, BPE_MERGES = 1 << 20 };

/* No merges yet, and room for `most`, at most BPE_MERGES. The caller frees *out. */
int bpe_create(size_t most, Bpe **out, Error *e);
void bpe_free(Bpe *b); /* NULL is fine */

/* Adds the merge of the next rank. Returns -1, without a sentence, if the pair has one already. */
int bpe_add(Bpe *b, int32_t left, int32_t right, int32_t merged);

typedef struct BpeMerge {
    uint16_t left, right, merged;
} BpeMerge;

size_t bpe_count(const Bpe *b);
const BpeMerge *bpe_merges(const Bpe *b); /* by rank; they live until the next bpe_add or bpe_free */

/* Memory for bpe_apply, one for each thread. Zeroed before its first use; bpe_space_free ends it. */
typedef struct BpeSpace {
    void *memory;
    size_t bytes;
} BpeSpace;

void bpe_space_free(BpeSpace *space);

/* Replaces ids[0 .. n-1] by what merging leaves of them and sets *left to how many that are. Takes O(n log n) time.
 * Errors: out of memory, 2^31 ids or more. */
int bpe_apply(const Bpe *b, BpeSpace *space, int32_t *ids, size_t n, size_t *left, Error *e);

#endif
