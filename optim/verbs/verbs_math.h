#ifndef OPTIM_VERBS_VERBS_MATH_H
#define OPTIM_VERBS_VERBS_MATH_H

#include "base/hd.h"
#include "base/random.h" /* random_mix */
#include "optim/verbs/decay.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
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

/* The step that moves p by -step u and scales it to the norm that its part along p gives it, |p| - step p.u / |p|.
 * Norms are at least `floor`. */
static inline HD Rotation pinned_of(double pp, double pu, double uu, double step, double floor)
{
    const double size = sqrt(pp), radius = size < floor ? floor : size, along = radius - step * pu / radius;
    const double squares = pp - 2 * step * pu + step * step * uu, new_size = sqrt(squares > 0 ? squares : 0);
    const double target = along < floor ? floor : along;
    const Rotation pinned = {squares >= 0 ? target / (new_size < floor ? floor : new_size) : squares, step};
    return pinned;
}

/* The scale of p and the length along u of the vector of length `length` in the direction of V = keep p - step u, from
 * p.p, p.u and u.u; none if V is 0. */
static inline HD Rotation directed_of(double pp, double pu, double uu, double keep, double step, double length)
{
    const double squares = keep * keep * pp - 2 * keep * step * pu + step * step * uu;
    const double size = squares > 0 ? length / sqrt(squares) : squares <= 0 ? 0 : squares;
    const Rotation directed = {size * keep, size * step};
    return directed;
}

/* share p - step u, decayed afterwards. Elements that neither shrink nor grow count as growing, unlike in decay.h. */
static inline HD float pinned_element(float p, float u, float share, float step, const Decay *decay)
{
    return (u * p > 0.0f ? decay->keep : decay->keep_away) * fmaf(-step, u, share * p);
}

/* x / y, and 0 where y is 0; a NaN stays one. */
static inline HD float quotient_element(float x, float y) { return y == 0.0f ? 0.0f * x : x / y; }

/* -1, 0 or 1; a NaN stays one. */
static inline HD float sign_element(float x) { return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x; }

/* max(x, floor)^power; a NaN stays one. */
static inline HD float power_element(float x, double floor, double power)
{
    return (float)pow((double)x < floor ? floor : (double)x, power);
}

/* As verb_trust; a NaN stays one. cos(u,g), which divides, is at least 1e-8. */
static inline HD float trust_element(double du, double dg, double ug, double dd, double uu, double gg, double least,
                                     double most)
{
    const double tiny = 1e-60, d = sqrt(dd), u = sqrt(uu), g = sqrt(gg);
    const double cos_du = du / (d * u < tiny ? tiny : d * u), cos_dg = dg / (d * g < tiny ? tiny : d * g);
    const double cos_ug = ug / (u * g < tiny ? tiny : u * g);
    const double a = (cos_du - 0.2) / 0.8, b = cos_dg / (cos_ug < 1e-8 ? 1e-8 : cos_ug);
    const double gate = (a < 0 ? 0 : a > 1 ? 1 : a) * (b < 0 ? 0 : b > 1 ? 1 : b);
    return (float)(gate < least ? least : gate > most ? most : gate);
}

/* ln(u) for u in (0, 1], and cos(2 pi v) for v in [0, 1), to 1e-13: of additions, products and quotients alone, which
 * all devices round alike. */
static inline HD double log_unit(double u)
{
    const double ln2 = 0.6931471805599453;
    uint64_t bits;
    double m, sum = 0;
    memcpy(&bits, &u, sizeof bits);
    const int exponent = (int)(bits >> 52) - 1023;
    bits = (bits & 0xfffffffffffffu) | 0x3ff0000000000000u;
    memcpy(&m, &bits, sizeof m); /* u = m 2^exponent, 1 <= m < 2 */
    const int halved = m > 1.4142135623730951;
    m = halved ? m / 2 : m;
    const double s = (m - 1) / (m + 1), s2 = s * s; /* ln(m) = 2 artanh(s) */
    for (int k = 15; k > 0; k -= 2)
        sum = sum * s2 + 1.0 / k;
    return (exponent + halved) * ln2 + 2 * s * sum;
}

static inline HD double cos_turns(double v)
{
    const double two_pi = 6.283185307179586, t = v < 0.5 ? 0.5 - v : v - 0.5; /* -cos(2 pi t) */
    const double x = two_pi * (t > 0.25 ? 0.5 - t : t), x2 = x * x;
    double sum = 1;
    for (int k = 20; k > 0; k -= 2)
        sum = 1 - sum * x2 / (k * (k - 1));
    return t > 0.25 ? sum : -sum;
}

/* Element i of a random stream N(0, 1), by Box and Muller from splitmix64's outputs 2i and 2i + 1. */
static inline HD float probe_element(uint64_t stream, size_t i)
{
    const uint64_t key = random_mix(stream * 0xd1342543de82ef95u + 1), step = 0x9e3779b97f4a7c15u;
    const uint64_t first = random_mix(key + (2 * (uint64_t)i + 1) * step),
                   second = random_mix(key + (2 * (uint64_t)i + 2) * step);
    const double u = 1.0 - (double)(first >> 11) * 0x1p-53, v = (double)(second >> 11) * 0x1p-53;
    return (float)(sqrt(-2 * log_unit(u)) * cos_turns(v));
}

/* The larger magnitude; a NaN stays one. */
static inline HD float larger_magnitude(float most, float x)
{
    return fabsf(x) <= most || isnan(most) ? most : fabsf(x);
}

/* Sinkhorn's iteration: a term of a line's sum, and the new scale of one of `lines` lines. */
static inline HD double sinkhorn_term(float a, float y, double eps)
{
    return ((double)a * (double)a + eps) * (double)y;
}

static inline HD float sinkhorn_scale(double sum, size_t lines, double eps)
{
    return (float)(1 / ((double)lines * (sum + eps)));
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

/* Whether m and g differ in sign or one is 0. Their product would underflow. A NaN opposes nothing. */
static inline HD bool is_opposed(float m, float g) { return (m >= 0.0f && g <= 0.0f) || (m <= 0.0f && g >= 0.0f); }

/* The factor of a cautious step of which `count` elements of n are left. */
static inline HD float cautious_factor(double count, double n, double more, double floor)
{
    const double kept = count + more, least = floor * n;
    return (float)(n / (kept < least ? least : kept));
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
