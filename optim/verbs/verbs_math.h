#ifndef OPTIM_VERBS_VERBS_MATH_H
#define OPTIM_VERBS_VERBS_MATH_H

#include "base/hd.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* The verbs' mathematics of single elements, for CPU loops and CUDA kernels alike. */

/* m = keep m + share g;  returns nesterov ? share g + keep m : m */
static inline HD float momentum_element(float *m, float g, float keep, float share, bool nesterov)
{
    const float scaled = share * g, new_m = fmaf(keep, *m, scaled);
    *m = new_m;
    return nesterov ? fmaf(keep, new_m, scaled) : new_m;
}

/* v = keep v + share x^2;  returns u / (sqrt(v correction) + eps) */
static inline HD float precondition_element(float u, float *v, float x, float keep, float share, float correction,
                                            float eps)
{
    const float new_v = fmaf(keep, *v, share * x * x);
    *v = new_v;
    return u / (sqrtf(new_v * correction) + eps);
}

/* The step that moves p by -a u and scales it back to its norm: p' = scale (p - a u), from p.p, p.u and u.u, since
 * |p - a u|^2 = p.p - 2 a p.u + a^2 u.u. A NaN propagates. */
typedef struct Rotation {
    double scale, a;
} Rotation;

static inline HD Rotation rotation_of(double pp, double pu, double uu, double step, double floor)
{
    const double length = sqrt(uu), size = sqrt(pp), a = step * size / (length < floor ? floor : length);
    const double squares = pp - 2 * a * pu + a * a * uu, new_size = sqrt(squares > 0 ? squares : 0);
    const Rotation rotation = {squares >= 0 ? size / (new_size < floor ? floor : new_size) : squares, a};
    return rotation;
}

/* v = keep v + share x^2;  returns x / max(sqrt(v), floor) */
static inline HD float whiten_element(float x, float *v, float keep, float share, float floor)
{
    const float new_v = fmaf(keep, *v, share * x * x), root = sqrtf(new_v);
    *v = new_v;
    return x / (root < floor ? floor : root);
}

/* The step that moves p by -step u and scales it to the norm that its part along p gives it, |p| - step p.u / |p|. Norms
 * are at least `floor`. */
static inline HD Rotation pinned_of(double pp, double pu, double uu, double step, double floor)
{
    const double size = sqrt(pp), radius = size < floor ? floor : size, along = radius - step * pu / radius;
    const double squares = pp - 2 * step * pu + step * step * uu, new_size = sqrt(squares > 0 ? squares : 0);
    const double target = along < floor ? floor : along;
    const Rotation pinned = {squares >= 0 ? target / (new_size < floor ? floor : new_size) : squares, step};
    return pinned;
}

/* share p - step u, multiplied by `keep` if u shrinks p. */
static inline HD float pinned_element(float p, float u, float share, float step, float keep)
{
    const float moved = fmaf(-step, u, share * p);
    return u * p > 0.0f ? keep * moved : moved;
}

/* -1, 0 or 1; a NaN stays one. */
static inline HD float sign_element(float x) { return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x; }

/* max(x, floor)^power; a NaN stays one. */
static inline HD float power_element(float x, double floor, double power)
{
    return (float)pow((double)x < floor ? floor : (double)x, power);
}

/* How many of the n numbers x come before number i: the larger ones, and equal ones before it; a NaN is the largest. */
static inline HD size_t rank_among(const float *x, size_t n, size_t i)
{
    const float own = x[i];
    const bool bad = isnan(own);
    size_t before = 0;
    for (size_t j = 0; j < n; j++) {
        const bool equal = x[j] == own || (bad && isnan(x[j]));
        before += equal ? j < i : x[j] > own || (isnan(x[j]) && !bad);
    }
    return before;
}

/* The updated multiplier of a penalty on a mean square that should be `bound`. */
static inline HD float raised_multiplier(float multiplier, double mean, float bound)
{
    const double raised = (double)multiplier + mean - (double)bound;
    return (float)(raised > 0 ? raised : 0);
}

/* x rounded to bf16, to nearest even; a NaN stays a NaN. */
static inline float bf16_element(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = isnan(x) ? 0x7fff0000u : (bits + 0x7fffu + (bits >> 16 & 1)) & 0xffff0000u;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The new inverse root of an eigenvalue 1/s^2 that becomes beta / s^2 + (1 - beta) x; at most `most`. */
static inline HD float inverse_root_element(float s, float x, double beta, double most)
{
    const double inverse = 1 / ((double)s * (double)s), old = isfinite(inverse) ? inverse : 0;
    const double value = beta * old + (1 - beta) * (double)x, root = 1 / sqrt(value < 1e-30 ? 1e-30 : value);
    return (float)(root > most ? most : root);
}

#endif
