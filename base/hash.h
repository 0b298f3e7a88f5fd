#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/*
 * XXH64 with seed 0 (github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md): 64 bits that tell whether bytes are still
 * the same. It guards against accidents, not against forgery. However the bytes are split into pieces, the hash is the
 * same.
 *
 *     Hash h = hash_begin();
 *     hash_add(&h, data, size);
 *     uint64_t hash = hash_end(&h);
 */
typedef struct Hash {
    uint64_t lanes[4];
    uint64_t size;          /* bytes so far */
    unsigned char rest[32]; /* the last size % 32 of them, not yet in the lanes */
} Hash;

Hash hash_begin(void);
void hash_add(Hash *h, const void *data, size_t size);

/* Of the bytes so far; more may be added after it. */
uint64_t hash_end(const Hash *h);

uint64_t hash_bytes(const void *data, size_t size);

enum { HASH_TEXT = 17 };

/* Writes 16 lower-case hexadecimal digits and a NUL. */
void hash_format(uint64_t hash, char text[HASH_TEXT]);

#endif
