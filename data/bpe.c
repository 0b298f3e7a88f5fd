#include "data/bpe.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { SHORT = 40 /* ids up to which looking at every pair is faster than a heap */ };

static const uint32_t NONE = UINT32_MAX;

/* A pair, its left id in the upper half, and its rank; NONE: the slot is free. */
typedef struct Slot {
    uint32_t pair, rank;
} Slot;

struct Bpe {
    size_t count, most;
    BpeMerge *merges; /* by rank */
    Slot *slots;      /* a power of two, more than half of them free */
    size_t mask;
};

/* --- the merges --- */

int bpe_create(size_t most, Bpe **out, Error *e)
{
    assert(most <= BPE_MERGES);
    size_t slots = 16;
    while (slots < 2 * most + 2)
        slots *= 2;
    Bpe *b = malloc(sizeof *b);
    BpeMerge *merges = malloc((most + 1) * sizeof *merges);
    Slot *table = malloc(slots * sizeof *table);
    if (b == NULL || merges == NULL || table == NULL) {
        free(b);
        free(merges);
        free(table);
        return error_set(e, "out of memory for %zu merges", most);
    }
    for (size_t i = 0; i < slots; i++)
        table[i] = (Slot){NONE, NONE};
    *b = (Bpe){.most = most, .merges = merges, .slots = table, .mask = slots - 1};
    *out = b;
    return 0;
}

void bpe_free(Bpe *b)
{
    if (b == NULL)
        return;
    free(b->merges);
    free(b->slots);
    free(b);
}

static uint32_t pair_of(int32_t left, int32_t right) { return (uint32_t)left << 16 | (uint32_t)right; }

/* The pair's slot, or the free one where it would be. */
static Slot *find(const Bpe *b, uint32_t pair)
{
    size_t i = (pair * 0x9e3779b97f4a7c15u >> 32) & b->mask;
    while (b->slots[i].rank != NONE && b->slots[i].pair != pair)
        i = (i + 1) & b->mask;
    return &b->slots[i];
}

int bpe_add(Bpe *b, int32_t left, int32_t right, int32_t merged)
{
    assert(b->count < b->most && left >= 0 && left < BPE_IDS && right >= 0 && right < BPE_IDS && merged >= 0 &&
           merged < BPE_IDS);
    Slot *slot = find(b, pair_of(left, right));
    if (slot->rank != NONE)
        return -1;
    *slot = (Slot){pair_of(left, right), (uint32_t)b->count};
    b->merges[b->count++] = (BpeMerge){(uint16_t)left, (uint16_t)right, (uint16_t)merged};
    return 0;
}

size_t bpe_count(const Bpe *b) { return b->count; }

const BpeMerge *bpe_merges(const Bpe *b) { return b->merges; }

static uint32_t rank_of(const Bpe *b, int32_t left, int32_t right) { return find(b, pair_of(left, right))->rank; }

/* --- few ids --- */

static size_t apply_short(const Bpe *b, int32_t *ids, size_t n)
{
    uint32_t ranks[SHORT]; /* of the pair that begins there */
    for (size_t i = 0; i + 1 < n; i++)
        ranks[i] = rank_of(b, ids[i], ids[i + 1]);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            best = ranks[i] < ranks[best] ? i : best;
        if (ranks[best] == NONE)
            break;
        ids[best] = b->merges[ranks[best]].merged;
        n--;
        memmove(ids + best + 1, ids + best + 2, (n - best - 1) * sizeof *ids);
        memmove(ranks + best + 1, ranks + best + 2, (n - best - 1) * sizeof *ranks);
        if (best + 1 < n)
            ranks[best] = rank_of(b, ids[best], ids[best + 1]);
        if (best > 0)
            ranks[best - 1] = rank_of(b, ids[best - 1], ids[best]);
    }
    return n;
}

/* --- many --- */

void bpe_space_free(BpeSpace *space)
{
    free(space->memory);
    *space = (BpeSpace){0};
}

/* A list of the ids that are left, linked by their first places, and a heap of the pairs that may be joined, the lowest
 * rank on top and of equal ranks the leftmost. A pair whose ids have changed stays in the heap until it comes up. */
typedef struct Long {
    const Bpe *bpe;
    int32_t *ids; /* -1: joined to the one before it */
    uint32_t *next, *before;
    uint64_t *heap; /* rank in the upper half, place in the lower */
    size_t n, size;
} Long;

static void sink(uint64_t *heap, size_t size, size_t i)
{
    const uint64_t item = heap[i];
    for (size_t child; (child = 2 * i + 1) < size; i = child) {
        child += child + 1 < size && heap[child + 1] < heap[child];
        if (heap[child] >= item)
            break;
        heap[i] = heap[child];
    }
    heap[i] = item;
}

static void push(uint64_t *heap, size_t *size, uint64_t item)
{
    size_t i = (*size)++;
    for (; i > 0 && heap[(i - 1) / 2] > item; i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = item;
}

static uint64_t pop(uint64_t *heap, size_t *size)
{
    const uint64_t top = heap[0];
    heap[0] = heap[--*size];
    sink(heap, *size, 0);
    return top;
}

/* The rank of the pair that begins at a place; NONE also at the last one. */
static uint32_t rank_at(const Long *l, size_t at)
{
    return l->next[at] < l->n ? rank_of(l->bpe, l->ids[at], l->ids[l->next[at]]) : NONE;
}

static void push_pair(Long *l, size_t at)
{
    const uint32_t rank = rank_at(l, at);
    if (rank != NONE)
        push(l->heap, &l->size, (uint64_t)rank << 32 | at);
}

/* Each join takes a pair out of the heap and puts in at most two, so that the heap never has 2n. */
static int make_room(BpeSpace *space, size_t n, Error *e)
{
    const size_t bytes = n * (2 * sizeof(uint64_t) + 2 * sizeof(uint32_t));
    if (n > INT32_MAX)
        return error_set(e, "a piece of %zu bytes without a boundary is too long to tokenize", n);
    if (bytes <= space->bytes)
        return 0;
    bpe_space_free(space);
    space->memory = malloc(bytes);
    if (space->memory == NULL)
        return error_set(e, "out of memory for the merges of a piece of %zu bytes", n);
    space->bytes = bytes;
    return 0;
}

static void begin_long(Long *l)
{
    for (size_t i = 0; i < l->n; i++) {
        l->next[i] = (uint32_t)i + 1;
        l->before[i] = i > 0 ? (uint32_t)i - 1 : NONE;
    }
    for (size_t i = 0; i < l->n; i++) {
        const uint32_t rank = rank_at(l, i);
        if (rank != NONE)
            l->heap[l->size++] = (uint64_t)rank << 32 | i;
    }
    for (size_t i = l->size / 2; i-- > 0;)
        sink(l->heap, l->size, i);
}

static void join(Long *l, size_t at, uint32_t rank)
{
    const uint32_t gone = l->next[at], after = l->next[gone];
    l->ids[at] = l->bpe->merges[rank].merged;
    l->ids[gone] = -1;
    l->next[at] = after;
    if (after < l->n)
        l->before[after] = (uint32_t)at;
    push_pair(l, at);
    if (l->before[at] != NONE)
        push_pair(l, l->before[at]);
}

static int apply_long(const Bpe *b, BpeSpace *space, int32_t *ids, size_t n, size_t *left, Error *e)
{
    if (make_room(space, n, e) != 0)
        return -1;
    uint64_t *heap = space->memory;
    uint32_t *next = (uint32_t *)(heap + 2 * n);
    Long l = {.bpe = b, .ids = ids, .next = next, .before = next + n, .heap = heap, .n = n};
    begin_long(&l);
    while (l.size > 0) {
        const uint64_t top = pop(l.heap, &l.size);
        const size_t at = (uint32_t)top;
        const uint32_t rank = (uint32_t)(top >> 32);
        if (ids[at] >= 0 && rank_at(&l, at) == rank)
            join(&l, at, rank);
    }
    size_t kept = 0;
    for (size_t i = 0; i < n; i = l.next[i])
        ids[kept++] = ids[i];
    *left = kept;
    return 0;
}

int bpe_apply(const Bpe *b, BpeSpace *space, int32_t *ids, size_t n, size_t *left, Error *e)
{
    if (n > SHORT)
        return apply_long(b, space, ids, n, left, e);
    *left = apply_short(b, ids, n);
    return 0;
}
