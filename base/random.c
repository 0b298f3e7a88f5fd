#include "base/random.h"

#include <math.h>

Random random_make(uint64_t seed, uint64_t stream)
{
    uint64_t x = random_mix(seed + 0x9e3779b97f4a7c15u) ^ random_mix(stream * 0xd1342543de82ef95u + 1);
    Random r;
    for (int i = 0; i < 4; i++) {
        x += 0x9e3779b97f4a7c15u;
        r.s[i] = random_mix(x);
    }
    return r;
}

static uint64_t rotate_left(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

uint64_t random_u64(Random *r)
{
    uint64_t *s = r->s;
    const uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    const uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t random_below(Random *r, uint64_t bound)
{
    const uint64_t reject_below = (0 - bound) % bound; /* 2^64 mod bound: accepting these would bias */
    uint64_t x;
    do
        x = random_u64(r);
    while (x < reject_below);
    return x % bound;
}

double random_uniform(Random *r) { return (double)(random_u64(r) >> 11) * 0x1p-53; }

double random_normal(Random *r)
{
    const double two_pi = 6.283185307179586;
    const double u = 1.0 - random_uniform(r); /* (0, 1], so that log is finite */
    const double v = random_uniform(r);
    return sqrt(-2.0 * log(u)) * cos(two_pi * v);
}
