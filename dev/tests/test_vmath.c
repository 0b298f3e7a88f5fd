#include "dev/tests/check.h"
#include "gpt/vmath.h"

#include <float.h>

enum { CHUNK = 4096 };
static const uint32_t step = 1021; /* a prime: sweeps about 4.2 million of all bit patterns */

static float from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The loops that the callers have; the compiler makes vector code of them. */
static void exp_all(const float *x, float *y)
{
#pragma omp simd
    for (int i = 0; i < CHUNK; i++)
        y[i] = vexpf(x[i]);
}

static void tanh_all(const float *x, float *y)
{
#pragma omp simd
    for (int i = 0; i < CHUNK; i++)
        y[i] = vtanhf(x[i]);
}

static void erf_all(const float *x, float *y)
{
#pragma omp simd
    for (int i = 0; i < CHUNK; i++)
        y[i] = verff(x[i]);
}

/* |got - want| in units of the last place of a float of want's size; infinite for a NaN or a wrong infinity. */
static double ulp_error(float got, double want)
{
    if (isinf(got) || isinf((float)want))
        return got == (float)want ? 0.0 : (double)INFINITY;
    int exponent;
    frexp(want, &exponent);
    double ulp = ldexp(1.0, (exponent < -125 ? -125 : exponent) - FLT_MANT_DIG);
    double error = fabs((double)got - want) / ulp;
    return isnan(error) ? (double)INFINITY : error;
}

/* The worst error over the sweep; NaNs in must be NaNs out. */
static void sweep(const char *name, void (*all)(const float *, float *), double (*exact)(double), double bound)
{
    static float x[CHUNK], y[CHUNK];
    double worst = 0.0;
    float worst_x = 0.0f;
    for (uint64_t bits = 0; bits <= UINT32_MAX;) {
        for (int i = 0; i < CHUNK; i++, bits += step)
            x[i] = from_bits((uint32_t)bits); /* the last chunk wraps around */
        all(x, y);
        for (int i = 0; i < CHUNK; i++) {
            double error = isnan(x[i]) ? (isnan(y[i]) ? 0.0 : (double)INFINITY) : ulp_error(y[i], exact((double)x[i]));
            if (error > worst) {
                worst = error;
                worst_x = x[i];
            }
        }
    }
    check(worst <= bound, "%s(%a) is wrong by %.3f ulp, bound %.1f", name, (double)worst_x, worst, bound);
}

static void test_exp_sweep(void) { sweep("vexpf", exp_all, exp, 2.0); }

static void test_tanh_sweep(void) { sweep("vtanhf", tanh_all, tanh, 3.0); }

static void test_erf_sweep(void) { sweep("verff", erf_all, erf, 3.0); }

static void test_vector_is_scalar(void)
{
    static float x[CHUNK], y[CHUNK], z[CHUNK], w[CHUNK];
    for (int i = 0; i < CHUNK; i++)
        x[i] = (float)(i - CHUNK / 2) / 16.0f;
    exp_all(x, y);
    tanh_all(x, z);
    erf_all(x, w);
    for (int i = 0; i < CHUNK; i++) {
        volatile float one = x[i];
        float e = vexpf(one), t = vtanhf(one), f = verff(one);
        check_same_bits(&y[i], &e, sizeof e, "vexpf, vector and scalar");
        check_same_bits(&z[i], &t, sizeof t, "vtanhf, vector and scalar");
        check_same_bits(&w[i], &f, sizeof f, "verff, vector and scalar");
    }
}

static void test_exp_special(void)
{
    check(vexpf(0.0f) == 1.0f && vexpf(-0.0f) == 1.0f, "vexpf(0) is not 1");
    check(vexpf(INFINITY) == INFINITY && vexpf(88.73f) == INFINITY, "vexpf does not overflow to Inf");
    check(vexpf(88.72f) < INFINITY, "vexpf(88.72) overflows");
    check(vexpf(-INFINITY) == 0.0f && vexpf(-104.0f) == 0.0f, "vexpf does not underflow to 0");
    check(vexpf(-103.0f) > 0.0f && vexpf(-103.0f) < FLT_MIN, "vexpf(-103) is not subnormal");
    check(isnan(vexpf(NAN)) && isnan(vexpf(-NAN)), "vexpf(NaN) is not NaN");
}

static void test_tanh_special(void)
{
    check(vtanhf(INFINITY) == 1.0f && vtanhf(-INFINITY) == -1.0f, "vtanhf(+-Inf) is not +-1");
    check(isnan(vtanhf(NAN)) && isnan(vtanhf(-NAN)), "vtanhf(NaN) is not NaN");
    float zeros[2] = {vtanhf(0.0f), vtanhf(-0.0f)}, want[2] = {0.0f, -0.0f};
    check_same_bits(zeros, want, sizeof zeros, "vtanhf(+-0)");
    float tiny = vtanhf(FLT_TRUE_MIN);
    check(tiny == FLT_TRUE_MIN, "vtanhf of the smallest float is %a", (double)tiny);
    for (uint32_t bits = 0; bits < 0x7f800000; bits += 100003) {
        float x = from_bits(bits), up = vtanhf(x), down = vtanhf(-x);
        check(up == -down && up <= 1.0f, "vtanhf(+-%a) gives %a, %a", (double)x, (double)up, (double)down);
    }
}

static void test_erf_special(void)
{
    check(verff(INFINITY) == 1.0f && verff(-INFINITY) == -1.0f, "verff(+-Inf) is not +-1");
    check(isnan(verff(NAN)) && isnan(verff(-NAN)), "verff(NaN) is not NaN");
    float zeros[2] = {verff(0.0f), verff(-0.0f)}, want[2] = {0.0f, -0.0f};
    check_same_bits(zeros, want, sizeof zeros, "verff(+-0)");
}

int main(void)
{
    check_run("vexpf: sweep", test_exp_sweep);
    check_run("vtanhf: sweep", test_tanh_sweep);
    check_run("verff: sweep", test_erf_sweep);
    check_run("vector code gives the scalar bits", test_vector_is_scalar);
    check_run("vexpf: special values", test_exp_special);
    check_run("vtanhf: special values", test_tanh_special);
    check_run("verff: special values", test_erf_special);
    return check_summary();
}
