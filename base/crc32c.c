#include "base/crc32c.h"

uint32_t crc32c(const void *data, size_t size)
{
    static const uint32_t polynomial = 0x82f63b78; /* 0x1edc6f41, its bits in reverse */
    const unsigned char *from = data;
    uint32_t crc = ~(uint32_t)0;
    for (size_t i = 0; i < size; i++) {
        crc ^= from[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ ((crc & 1) != 0 ? polynomial : 0);
    }
    return ~crc;
}
