#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The CRC-32C (Castagnoli) of some bytes, as in RFC 3720, 12.1. Bit by bit: for records of a few hundred bytes. */
uint32_t crc32c(const void *data, size_t size);

#endif
