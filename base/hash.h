#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/*
 * Checksums of files: XXH64 with seed 0 (its specification: github.com/Cyan4973/xxHash, doc/xxhash_spec.md), as `xxhsum
 * -H64` prints it. Against accidents, not against an attacker.
 */
typedef struct Hash {
    uint64_t lanes[4];
    uint64_t total;            /* bytes so far */
    unsigned char pending[32]; /* of a stripe that is not yet full: total % 32 of them */
} Hash;

Hash hash_begin(void);
void hash_add(Hash *h, const void *data, size_t size);
uint64_t hash_end(const Hash *h);

/* All three. */
uint64_t hash_bytes(const void *data, size_t size);

enum { HASH_TEXT = 17 }; /* 16 lower-case hexadecimal digits and a NUL */
void hash_format(uint64_t hash, char text[HASH_TEXT]);

#endif
