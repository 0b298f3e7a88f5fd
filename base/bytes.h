#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdint.h>

/* Numbers from bytes, the lowest first, at any address. */

static inline int32_t bytes_int32(const void *from)
{
    const unsigned char *b = (const unsigned char *)from;
    return (int32_t)((uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24);
}

static inline uint64_t bytes_uint64(const void *from)
{
    const unsigned char *b = (const unsigned char *)from;
    return (uint64_t)b[0] | (uint64_t)b[1] << 8 | (uint64_t)b[2] << 16 | (uint64_t)b[3] << 24 | (uint64_t)b[4] << 32 |
           (uint64_t)b[5] << 40 | (uint64_t)b[6] << 48 | (uint64_t)b[7] << 56;
}

#endif
