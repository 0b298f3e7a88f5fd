#ifndef GPT_VMATH_H
#define GPT_VMATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/*
 * expf, tanhf and erff without branches, tables or calls, so that compilers vectorise loops over them (`#pragma omp
 * simd`, no fast-math). Scalar and vector code give the same bits. Worst-case errors are measured in
 * dev/tests/test_vmath.c.
 */

/* Rounds once where the machine has the instruction; elsewhere fmaf would be a slow call. */
static inline float vmath_fma(float x, float y, float z)
{
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
    return __builtin_fmaf(x, y, z);
#else
    return x * y + z;
#endif
}

/* 2^(biased - 127), for biased in 1 .. 254. */
static inline float vmath_power_of_two(uint32_t biased)
{
    uint32_t bits = biased << 23;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/*
 * Decomposes x = n ln 2 + r with n an integer and |r| <= ln(2) / 2, for |x| < 2^21: returns e^r - 1, with n in *n.
 * Adding 1.5 * 2^23 leaves a float's mantissa room for integers only: the sum is rounded to one, which can be read
 * off the low bits. n ln 2 is subtracted in two parts, with 355/512 (whose multiples by n are exact) and the rest
 * (Cody and Waite 1980). e^r is the Taylor series to r^7 / 7!; the next term is below 2^-27.
 */
static inline float vmath_expm1_reduced(float x, int32_t *n)
{
    const float shift = 12582912.0f;
    float shifted = vmath_fma(x, 1.44269504f, shift), whole = shifted - shift;
    uint32_t bits, zero;
    memcpy(&bits, &shifted, sizeof bits);
    memcpy(&zero, &shift, sizeof zero);
    *n = (int32_t)(bits - zero);
    float r = vmath_fma(whole, 2.12194440e-4f, vmath_fma(whole, -0.693359375f, x));
    float p = vmath_fma(1.0f / 5040.0f, r, 1.0f / 720.0f);
    p = vmath_fma(p, r, 1.0f / 120.0f);
    p = vmath_fma(p, r, 1.0f / 24.0f);
    p = vmath_fma(p, r, 1.0f / 6.0f);
    p = vmath_fma(p, r, 0.5f);
    return vmath_fma(p, r * r, r);
}

/* e^x within 2 ulp for every x, subnormal results included: 0 below -104, Inf above 88.73, NaN for NaN. */
static inline float vexpf(float x)
{
    int32_t n;
    x = x < -105.0f ? -105.0f : x; /* false for NaN, which passes */
    x = x > 89.0f ? 89.0f : x;
    float e = 1.0f + vmath_expm1_reduced(x, &n);
    /* 2^n in two factors, since n = -151 .. 128 is more than one float's exponent holds */
    uint32_t both = (uint32_t)n + 254, half = both / 2;
    return e * vmath_power_of_two(half) * vmath_power_of_two(both - half);
}

/* tanh x within 3 ulp for every x, small ones included; odd; +-1 at +-Inf, NaN for NaN.
 * tanh |x| = m / (m + 2) with m = e^(2|x|) - 1, for which 2^n (1 + q) - 1 = 2^n q + (2^n - 1) does not cancel. */
static inline float vtanhf(float x)
{
    int32_t n;
    float y = 2.0f * fabsf(x);
    y = y > 20.0f ? 20.0f : y; /* tanh 10 rounds to 1 */
    float q = vmath_expm1_reduced(y, &n), scale = vmath_power_of_two((uint32_t)n + 127);
    float m = vmath_fma(scale, q, scale - 1.0f);
    return copysignf(m / (m + 2.0f), x);
}

/* erf x within 3 ulp for every x; odd; +-1 at +-Inf, NaN for NaN. Below 1 it is x times a polynomial in x^2, above it
 * 1 - e^p with a polynomial p in |x|, both fitted to least largest error (Lawson's weights). */
static inline float verff(float x)
{
    float t = fabsf(x);
    t = t > 4.0f ? 4.0f : t; /* erf 4 rounds to 1; false for NaN */
    const float s = t * t;
    float p = vmath_fma(-5.66015302e-4f, s, 4.92478896e-3f);
    p = vmath_fma(p, s, -2.67177069e-2f);
    p = vmath_fma(p, s, 1.12804116e-1f);
    p = vmath_fma(p, s, -3.76123557e-1f);
    p = vmath_fma(p, s, 1.12837913f);
    float q = vmath_fma(1.97182622e-4f, t, -3.05561570e-3f);
    q = vmath_fma(q, t, 2.22771171e-2f);
    q = vmath_fma(q, t, -1.04037417e-1f);
    q = vmath_fma(q, t, -6.37059693e-1f);
    q = vmath_fma(q, t, -1.12774960f);
    q = vmath_fma(q, t, -1.77487244e-4f);
    const float small = p * t, large = 1.0f - vexpf(q);
    return copysignf(t < 1.0f ? small : large, x);
}

#endif
