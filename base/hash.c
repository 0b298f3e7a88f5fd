#include "base/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { STRIPE = 32 /* bytes, 8 for each lane */ };

/* The specification's PRIME64_1 to PRIME64_5. */
static const uint64_t prime1 = 0x9e3779b185ebca87, prime2 = 0xc2b2ae3d27d4eb4f, prime3 = 0x165667b19e3779f9,
                      prime4 = 0x85ebca77c2b2ae63, prime5 = 0x27d4eb2f165667c5;

static uint64_t rotate(uint64_t x, int bits) { return x << bits | x >> (64 - bits); }

/* `bytes` bytes, little-endian. */
static uint64_t load(const unsigned char *from, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++)
        value |= (uint64_t)from[i] << 8 * i;
    return value;
}

static uint64_t mix(uint64_t lane, uint64_t input) { return rotate(lane + input * prime2, 31) * prime1; }

static void add_stripe(uint64_t lanes[4], const unsigned char *stripe)
{
    for (size_t i = 0; i < 4; i++)
        lanes[i] = mix(lanes[i], load(stripe + 8 * i, 8));
}

Hash hash_begin(void) { return (Hash){.lanes = {prime1 + prime2, prime2, 0, 0 - prime1}}; }

void hash_add(Hash *h, const void *data, size_t size)
{
    const unsigned char *from = data;
    size_t held = (size_t)(h->size % STRIPE);
    h->size += size;
    if (held > 0 && size >= STRIPE - held) {
        const size_t missing = STRIPE - held;
        memcpy(h->rest + held, from, missing);
        add_stripe(h->lanes, h->rest);
        from += missing;
        size -= missing;
        held = 0;
    }
    for (; held == 0 && size >= STRIPE; from += STRIPE, size -= STRIPE)
        add_stripe(h->lanes, from);
    if (size > 0) /* data may be NULL otherwise */
        memcpy(h->rest + held, from, size);
}

uint64_t hash_end(const Hash *h)
{
    uint64_t sum = prime5; /* seed 0 + PRIME64_5 */
    if (h->size >= STRIPE) {
        const uint64_t *lanes = h->lanes;
        sum = rotate(lanes[0], 1) + rotate(lanes[1], 7) + rotate(lanes[2], 12) + rotate(lanes[3], 18);
        for (size_t i = 0; i < 4; i++)
            sum = (sum ^ mix(0, lanes[i])) * prime1 + prime4;
    }
    sum += h->size;
    const unsigned char *from = h->rest, *end = from + h->size % STRIPE;
    for (; end - from >= 8; from += 8)
        sum = rotate(sum ^ mix(0, load(from, 8)), 27) * prime1 + prime4;
    for (; end - from >= 4; from += 4)
        sum = rotate(sum ^ load(from, 4) * prime1, 23) * prime2 + prime3;
    for (; from < end; from++)
        sum = rotate(sum ^ *from * prime5, 11) * prime1;
    sum = (sum ^ sum >> 33) * prime2;
    sum = (sum ^ sum >> 29) * prime3;
    return sum ^ sum >> 32;
}

uint64_t hash_bytes(const void *data, size_t size)
{
    Hash h = hash_begin();
    hash_add(&h, data, size);
    return hash_end(&h);
}

void hash_format(uint64_t hash, char text[HASH_TEXT]) { snprintf(text, HASH_TEXT, "%016" PRIx64, hash); }
