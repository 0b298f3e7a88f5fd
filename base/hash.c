#include "base/hash.h"

#include <stdio.h>
#include <string.h>

enum { STRIPE = 32, LANE = 8 };

static const uint64_t prime1 = 0x9e3779b185ebca87u, prime2 = 0xc2b2ae3d27d4eb4fu, prime3 = 0x165667b19e3779f9u,
                      prime4 = 0x85ebca77c2b2ae63u, prime5 = 0x27d4eb2f165667c5u;

static uint64_t rotate(uint64_t x, unsigned bits) { return x << bits | x >> (64 - bits); }

/* Little-endian, as all machines are that this program runs on (files/safetensors.c checks). */
static uint64_t read64(const unsigned char *p)
{
    uint64_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

static uint64_t round_of(uint64_t lane, uint64_t input) { return rotate(lane + input * prime2, 31) * prime1; }

static void take_stripe(Hash *h, const unsigned char *stripe)
{
    for (size_t i = 0; i < 4; i++)
        h->lanes[i] = round_of(h->lanes[i], read64(stripe + i * LANE));
}

Hash hash_begin(void) { return (Hash){.lanes = {prime1 + prime2, prime2, 0, 0 - prime1}}; }

void hash_add(Hash *h, const void *data, size_t size)
{
    const unsigned char *p = data;
    const size_t held = h->total % STRIPE;
    h->total += size;
    if (held + size < STRIPE) {
        if (size > 0)
            memcpy(h->pending + held, p, size);
        return;
    }
    if (held > 0) {
        memcpy(h->pending + held, p, STRIPE - held);
        take_stripe(h, h->pending);
        p += STRIPE - held;
        size -= STRIPE - held;
    }
    for (; size >= STRIPE; p += STRIPE, size -= STRIPE)
        take_stripe(h, p);
    memcpy(h->pending, p, size);
}

/* The bytes of the last, unfinished stripe: words of 8, one of 4, single ones. */
static uint64_t take_rest(uint64_t hash, const unsigned char *p, size_t size)
{
    for (; size >= LANE; p += LANE, size -= LANE)
        hash = rotate(hash ^ round_of(0, read64(p)), 27) * prime1 + prime4;
    if (size >= 4) {
        uint32_t word;
        memcpy(&word, p, sizeof word);
        hash = rotate(hash ^ word * prime1, 23) * prime2 + prime3;
        p += 4;
        size -= 4;
    }
    for (; size > 0; p++, size--)
        hash = rotate(hash ^ *p * prime5, 11) * prime1;
    return hash;
}

uint64_t hash_end(const Hash *h)
{
    uint64_t hash = prime5;
    if (h->total >= STRIPE) {
        hash = rotate(h->lanes[0], 1) + rotate(h->lanes[1], 7) + rotate(h->lanes[2], 12) + rotate(h->lanes[3], 18);
        for (size_t i = 0; i < 4; i++)
            hash = (hash ^ round_of(0, h->lanes[i])) * prime1 + prime4;
    }
    hash = take_rest(hash + h->total, h->pending, h->total % STRIPE);
    hash = (hash ^ hash >> 33) * prime2;
    hash = (hash ^ hash >> 29) * prime3;
    return hash ^ hash >> 32;
}

uint64_t hash_bytes(const void *data, size_t size)
{
    Hash h = hash_begin();
    hash_add(&h, data, size);
    return hash_end(&h);
}

void hash_format(uint64_t hash, char text[HASH_TEXT])
{
    snprintf(text, HASH_TEXT, "%016llx", (unsigned long long)hash);
}
