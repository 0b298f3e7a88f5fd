#include "base/bytes.h"
#include "base/memory.h"
#include "data/gpt2_pattern.h"
#include "data/tokenizer_private.h"

#include <stdlib.h>
#include <string.h>

enum {
    BLOCK = 256,           /* pieces that are split at once */
    FEW = 7,               /* ids of a cache entry */
    SMALL = 15,            /* bytes of the longest piece that is a key by itself */
    BUCKETS_LOG2 = 18,     /* of the cache of small pieces: 16 MiB */
    LARGE_MOST = 256,      /* bytes of the longest piece that is cached at all */
    LARGE_SLOTS = 1 << 17, /* of the cache of other pieces */
    LARGE_MEMORY = 1 << 21 /* of memory for their bytes and ids: 4 MiB */
};

static const char endoftext[] = TOKENIZER_ENDOFTEXT;

/* A small piece and its ids, in half a cache line. The key is the bytes, zeros, and in its last byte their number. */
typedef struct Entry {
    uint64_t key[2];
    uint16_t ids[FEW + 1]; /* the last is how many there are; 0: unused, with the key of no piece */
} Entry;

/* A cache line. */
typedef struct Bucket {
    Entry entries[2];
} Bucket;

/* Another piece: in Encoder.memory from `begin` on its ids and then its bytes. */
typedef struct Slot {
    uint64_t hash;
    uint32_t begin;
    uint16_t size, count; /* size 0: free */
} Slot;

struct Encoder {
    const Tokenizer *t;
    Bucket *buckets;
    Slot *slots; /* open addressing, at most half of them used */
    uint16_t *memory;
    size_t slots_used, memory_used;
    int32_t *ids; /* (ids_capacity), of a piece that is merged */
    size_t ids_capacity;
    BpeSpace space;
};

int encoder_create(const Tokenizer *t, Encoder **out, Error *e)
{
    Encoder *encoder = calloc(1, sizeof *encoder);
    float *buckets = NULL; /* zeroed, in huge pages where there are */
    if (encoder == NULL)
        return error_set(e, "out of memory for a tokenizer's cache");
    if (memory_floats((sizeof(Bucket) << BUCKETS_LOG2) / sizeof(float), "a tokenizer's cache", &buckets, e) != 0) {
        free(encoder);
        return -1;
    }
    *encoder = (Encoder){.t = t,
                         .buckets = (Bucket *)(void *)buckets,
                         .slots = calloc(LARGE_SLOTS, sizeof(Slot)),
                         .memory = malloc(LARGE_MEMORY * sizeof(uint16_t))};
    if (encoder->slots == NULL || encoder->memory == NULL) {
        encoder_free(encoder);
        return error_set(e, "out of memory for a tokenizer's cache");
    }
    *out = encoder;
    return 0;
}

void encoder_free(Encoder *encoder)
{
    if (encoder == NULL)
        return;
    memory_free(encoder->buckets);
    free(encoder->slots);
    free(encoder->memory);
    free(encoder->ids);
    bpe_space_free(&encoder->space);
    free(encoder);
}

/* Room for `more` ids. */
static int reserve(TokenList *list, size_t more, Error *e)
{
    if (list->capacity - list->count >= more)
        return 0;
    const size_t capacity = list->count + more > 2 * list->capacity ? list->count + more : 2 * list->capacity;
    uint16_t *ids = capacity <= SIZE_MAX / sizeof *ids ? realloc(list->ids, capacity * sizeof *ids) : NULL;
    if (ids == NULL)
        return error_set(e, "out of memory for %zu tokens", capacity);
    list->ids = ids;
    list->capacity = capacity;
    return 0;
}

/* --- keys and hashes --- */

/* A mask of the lowest `bytes` bytes; all from 8 on. */
static uint64_t low_bytes(size_t bytes)
{
    static const uint64_t masks[SMALL + 1] = {
        0,          0xff,       0xffff,     0xffffff,   0xffffffff, 0xffffffffff, 0xffffffffffff, 0xffffffffffffff,
        UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX,   UINT64_MAX,     UINT64_MAX};
    return masks[bytes];
}

/* Of 1 to SMALL bytes. `room`: bytes that may be read. */
static void make_key(const char *piece, size_t size, size_t room, uint64_t key[2])
{
    char copy[16] = {0};
    if (room < 16)
        piece = memcpy(copy, piece, size);
    key[0] = bytes_uint64(piece);
    key[1] = bytes_uint64(piece + 8);
    key[0] &= low_bytes(size);
    key[1] = (key[1] & low_bytes(size > 8 ? size - 8 : 0)) | (uint64_t)size << 56;
}

static Bucket *bucket_of(const Encoder *encoder, const uint64_t key[2])
{
    const uint64_t hash = key[0] * 0x9e3779b97f4a7c15 + key[1] * 0xc2b2ae3d27d4eb4f;
    return &encoder->buckets[hash >> (64 - BUCKETS_LOG2)];
}

static uint64_t hash_of(const char *piece, size_t size)
{
    uint64_t hash = size;
    for (; size >= 8; piece += 8, size -= 8)
        hash = (hash ^ bytes_uint64(piece)) * 0x9e3779b97f4a7c15, hash ^= hash >> 32;
    for (; size > 0; piece++, size--)
        hash = (hash ^ (unsigned char)*piece) * 0xc2b2ae3d27d4eb4f, hash ^= hash >> 32;
    return hash;
}

/* --- pieces that are not in the cache of small ones --- */

/* The entry of a bucket that has the key; another than the first without one is the second. */
static const Entry *find_in(const Bucket *bucket, const uint64_t key[2], bool *found)
{
    const Entry *first = bucket->entries, *second = first + 1;
    const bool is_first = (first->key[0] == key[0]) & (first->key[1] == key[1]);
    const bool is_second = (second->key[0] == key[0]) & (second->key[1] == key[1]);
    *found = is_first | is_second;
    return is_first ? first : second;
}

static void remember_small(Encoder *encoder, const char *piece, size_t size, const int32_t *ids, size_t count)
{
    uint64_t key[2];
    make_key(piece, size, size, key);
    Bucket *bucket = bucket_of(encoder, key);
    bucket->entries[1] = bucket->entries[0];
    bucket->entries[0] = (Entry){
        .key = {key[0], key[1]},
    };
    bucket->entries[0].ids[FEW] = (uint16_t)count;
    for (size_t i = 0; i < count; i++)
        bucket->entries[0].ids[i] = (uint16_t)ids[i];
}

/* The slot of the piece, or a free one. */
static Slot *find_large(const Encoder *encoder, uint64_t hash, const char *piece, size_t size)
{
    size_t i = hash % LARGE_SLOTS;
    for (; encoder->slots[i].size > 0; i = (i + 1) % LARGE_SLOTS) {
        const Slot *slot = &encoder->slots[i];
        if (slot->hash == hash && slot->size == size &&
            memcmp(encoder->memory + slot->begin + slot->count, piece, size) == 0)
            break;
    }
    return &encoder->slots[i];
}

/* Where there is no room for the piece, all others are forgotten. */
static void remember_large(Encoder *encoder, const char *piece, size_t size, const int32_t *ids, size_t count)
{
    const size_t words = count + (size + 1) / 2; /* of 16 bits */
    const uint64_t hash = hash_of(piece, size);
    if (encoder->slots_used == LARGE_SLOTS / 2 || LARGE_MEMORY - encoder->memory_used < words) {
        memset(encoder->slots, 0, LARGE_SLOTS * sizeof *encoder->slots);
        encoder->slots_used = encoder->memory_used = 0;
    }
    uint16_t *to = encoder->memory + encoder->memory_used;
    *find_large(encoder, hash, piece, size) =
        (Slot){hash, (uint32_t)encoder->memory_used, (uint16_t)size, (uint16_t)count};
    for (size_t i = 0; i < count; i++)
        to[i] = (uint16_t)ids[i];
    memcpy(to + count, piece, size);
    encoder->memory_used += words;
    encoder->slots_used++;
}

/* Merges a piece; its ids are then in encoder->ids. */
static int merge(Encoder *encoder, const char *piece, size_t size, size_t *count, Error *e)
{
    if (size > encoder->ids_capacity) {
        int32_t *ids = size <= SIZE_MAX / sizeof *ids ? realloc(encoder->ids, size * sizeof *ids) : NULL;
        if (ids == NULL)
            return error_set(e, "out of memory for a piece of %zu bytes", size);
        encoder->ids = ids;
        encoder->ids_capacity = size;
    }
    for (size_t i = 0; i < size; i++)
        encoder->ids[i] = encoder->t->byte_ids[(unsigned char)piece[i]];
    return bpe_apply(encoder->t->bpe, &encoder->space, encoder->ids, size, count, e);
}

/* Appends the ids of one piece. */
static int encode_piece(Encoder *encoder, const char *piece, size_t size, TokenList *list, Error *e)
{
    if (size <= LARGE_MOST) {
        const Slot *slot = find_large(encoder, hash_of(piece, size), piece, size);
        if (slot->size > 0) {
            if (reserve(list, slot->count, e) != 0)
                return -1;
            memcpy(list->ids + list->count, encoder->memory + slot->begin, slot->count * sizeof *list->ids);
            list->count += slot->count;
            return 0;
        }
    }
    size_t count;
    if (merge(encoder, piece, size, &count, e) != 0 || reserve(list, count, e) != 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        list->ids[list->count++] = (uint16_t)encoder->ids[i];
    if (size <= SMALL && count <= FEW)
        remember_small(encoder, piece, size, encoder->ids, count);
    else if (size <= LARGE_MOST)
        remember_large(encoder, piece, size, encoder->ids, count);
    return 0;
}

/* --- text --- */

/* Where a piece would be in the cache; of a larger one than SMALL, key and bucket of no piece. */
typedef struct Lookup {
    uint64_t key[2];
    const Bucket *bucket;
} Lookup;

/* Begins to load the buckets of pieces that end at ends[0 .. n-1]. */
static void look_up(const Encoder *encoder, const char *text, size_t size, size_t begin, const size_t *ends, size_t n,
                    Lookup *lookups)
{
    for (size_t i = 0; i < n; begin = ends[i++]) {
        const size_t bytes = ends[i] - begin;
        if (bytes > SMALL && bytes <= LARGE_MOST)
            __builtin_prefetch(&encoder->slots[hash_of(text + begin, bytes) % LARGE_SLOTS]);
        make_key(text + begin, bytes <= SMALL ? bytes : 0, size - begin, lookups[i].key);
        lookups[i].bucket = bucket_of(encoder, lookups[i].key);
        __builtin_prefetch(lookups[i].bucket);
    }
}

/* Copies an entry whole, into FEW + 1 places. Returns how many ids it has. */
static size_t append_entry(const Entry *entry, uint16_t *to)
{
    memcpy(to, entry->ids, sizeof entry->ids);
    return entry->ids[FEW];
}

/* Appends their ids. */
static int encode_block(Encoder *encoder, const char *text, size_t size, size_t begin, const size_t *ends, size_t n,
                        TokenList *list, Error *e)
{
    Lookup lookups[BLOCK];
    look_up(encoder, text, size, begin, ends, n, lookups);
    if (reserve(list, FEW * n + 1, e) != 0)
        return -1;
    for (size_t i = 0; i < n; begin = ends[i++]) {
        const Lookup *l = &lookups[i];
        bool found;
        const Entry *entry = find_in(l->bucket, l->key, &found);
        if (found & (entry->ids[FEW] > 0))
            list->count += append_entry(entry, list->ids + list->count);
        else if (encode_piece(encoder, text + begin, ends[i] - begin, list, e) != 0 ||
                 reserve(list, FEW * (n - i) + 1, e) != 0)
            return -1;
    }
    return 0;
}

static int encode_ordinary(Encoder *encoder, const char *text, size_t size, TokenList *list, Error *e)
{
    size_t ends[BLOCK], n;
    for (size_t at = 0; at < size; at = ends[n - 1]) {
        n = gpt2_split(text, size, at, ends, BLOCK);
        if (encode_block(encoder, text, size, at, ends, n, list, e) != 0)
            return -1;
    }
    return 0;
}

/* The first "<|endoftext|>" from `at` on, or the end. */
static const char *find_endoftext(const char *at, const char *end)
{
    const size_t n = sizeof endoftext - 1;
    while ((size_t)(end - at) >= n && (at = memchr(at, '<', (size_t)(end - at) - n + 1)) != NULL) {
        if (memcmp(at, endoftext, n) == 0)
            return at;
        at++;
    }
    return end;
}

static int encode_special(Encoder *encoder, const char *text, size_t size, TokenList *list, Error *e)
{
    const char *at = text, *end = text + size;
    for (;;) {
        const char *special = find_endoftext(at, end);
        if (encode_ordinary(encoder, at, (size_t)(special - at), list, e) != 0)
            return -1;
        if (special == end)
            return 0;
        if (reserve(list, 1, e) != 0)
            return -1;
        list->ids[list->count++] = (uint16_t)encoder->t->endoftext;
        at = special + sizeof endoftext - 1;
    }
}

int encoder_encode(Encoder *encoder, const char *text, size_t size, bool special, TokenList *list, Error *e)
{
    const size_t before = list->count;
    const int status =
        special ? encode_special(encoder, text, size, list, e) : encode_ordinary(encoder, text, size, list, e);
    if (status != 0)
        list->count = before;
    return status;
}
