#ifndef BASE_TRANSPOSE_H
#define BASE_TRANSPOSE_H

#include <stddef.h>

#ifdef __SSE__
#include <immintrin.h>
#endif

/* to[p * to_ld + j] = from[j * ld + p] for 4 x 4 elements. */
static inline void transpose_4x4(const float *from, size_t ld, float *to, size_t to_ld)
{
#ifdef __SSE__
    __m128 r0 = _mm_loadu_ps(from), r1 = _mm_loadu_ps(from + ld);
    __m128 r2 = _mm_loadu_ps(from + 2 * ld), r3 = _mm_loadu_ps(from + 3 * ld);
    _MM_TRANSPOSE4_PS(r0, r1, r2, r3);
    _mm_storeu_ps(to, r0);
    _mm_storeu_ps(to + to_ld, r1);
    _mm_storeu_ps(to + 2 * to_ld, r2);
    _mm_storeu_ps(to + 3 * to_ld, r3);
#else
    for (size_t p = 0; p < 4; p++)
        for (size_t j = 0; j < 4; j++)
            to[p * to_ld + j] = from[j * ld + p];
#endif
}

#endif
