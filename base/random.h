#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include "base/hd.h"

#include <stdint.h>

/*
 * xoshiro256** (Blackman and Vigna 2018, public domain reference), seeded through splitmix64. A (seed, stream) pair
 * names one reproducible sequence; streams of one seed are independent, so that pieces of work with a stream each give
 * the same result for any number of threads.
 */
typedef struct Random {
    uint64_t s[4];
} Random;

Random random_make(uint64_t seed, uint64_t stream);

uint64_t random_u64(Random *r);                   /* uniform on 0 .. 2^64-1 */
uint64_t random_below(Random *r, uint64_t bound); /* uniform on 0 .. bound-1, unbiased; bound > 0 */
double random_uniform(Random *r);                 /* uniform on [0, 1), 53 bits */
double random_normal(Random *r);                  /* N(0, 1), Box-Muller; draws two uniforms */

/* splitmix64's output function: a bijection of 64 bits that scatters its input. */
HD static inline uint64_t random_mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

#endif
