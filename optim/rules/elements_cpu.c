#include "optim/rules/elements.h"

#include <string.h>

/* A loop over n elements of a slot, with the constants k. */
typedef void Loop(size_t n, float *restrict p, const float *restrict g, float *const *state, const float *k);

struct OptimElements {
    Loop *loop;
};

#define LOOP(name, states, Scalars, element)                                                                           \
    static void name##_loop(size_t n, float *restrict p, const float *restrict g, float *const *state, const float *k) \
    {                                                                                                                  \
        Scalars s;                                                                                                     \
        _Static_assert(sizeof s <= OPTIM_SCALARS_MAX * sizeof *k, #Scalars " is passed as floats");                    \
        memcpy(&s, k, sizeof s);                                                                                       \
        LOOP_##states(element)                                                                                         \
    }                                                                                                                  \
    const OptimElements name##_elements = {name##_loop};

#define LOOP_0(element) \
    (void)state;        \
    _Pragma("omp simd") for (size_t i = 0; i < n; i++) element(&p[i], g[i], &s);
#define LOOP_1(element)           \
    float *restrict x = state[0]; \
    _Pragma("omp simd") for (size_t i = 0; i < n; i++) element(&p[i], g[i], &x[i], &s);
#define LOOP_2(element)                                   \
    float *restrict x = state[0], *restrict y = state[1]; \
    _Pragma("omp simd") for (size_t i = 0; i < n; i++) element(&p[i], g[i], &x[i], &y[i], &s);
#define LOOP_3(element)                                                           \
    float *restrict x = state[0], *restrict y = state[1], *restrict z = state[2]; \
    _Pragma("omp simd") for (size_t i = 0; i < n; i++) element(&p[i], g[i], &x[i], &y[i], &z[i], &s);
#define LOOP_4(element)                                                                                   \
    float *restrict x = state[0], *restrict y = state[1], *restrict z = state[2], *restrict w = state[3]; \
    _Pragma("omp simd") for (size_t i = 0; i < n; i++) element(&p[i], g[i], &x[i], &y[i], &z[i], &w[i], &s);
#define LOOP_AHEAD(element)             \
    const float *restrict x = state[0]; \
    (void)g;                            \
    _Pragma("omp simd") for (size_t i = 0; i < n; i++) element(&p[i], x[i], &s);

OPTIM_ELEMENTS(LOOP)

/* Each slot is divided into stretches of fixed length, which the threads share. */
void elements_run(Verbs *on, const OptimElements *elements, const OptimSlot *slots, size_t count, const float *k)
{
    (void)on;
    enum { STRETCH = 1 << 15 };
#pragma omp parallel
    for (const OptimSlot *slot = slots; slot < slots + count; slot++) {
        const size_t n = slot->rows * slot->cols;
#pragma omp for schedule(static) nowait
        for (size_t begin = 0; begin < n; begin += STRETCH) {
            const size_t stretch = n - begin < STRETCH ? n - begin : STRETCH;
            float *state[OPTIM_ELEMENT_STATES];
            for (size_t s = elements_states(slot, state); s-- > 0;)
                state[s] += begin;
            elements->loop(stretch, slot->param + begin, slot->grad + begin, state, k);
        }
    }
}

/* The sums over a slot. */
struct OptimMeasure {
    void (*sum)(const OptimSlot *slot, const float *k, double sums[OPTIM_SUMS]);
};

#define MEASURE(name, Scalars, terms)                                                            \
    static void name##_sum(const OptimSlot *slot, const float *k, double sums[OPTIM_SUMS])       \
    {                                                                                            \
        const float *p = slot->param, *g = slot->grad, *x = slot->state[0], *y = slot->state[1]; \
        const size_t n = slot->rows * slot->cols;                                                \
        double a = 0, b = 0;                                                                     \
        Scalars s;                                                                               \
        memcpy(&s, k, sizeof s);                                                                 \
        _Pragma("omp simd reduction(+ : a, b)") for (size_t i = 0; i < n; i++)                   \
            terms(p[i], g[i], x[i], y[i], &s, &a, &b);                                           \
        sums[0] = a;                                                                             \
        sums[1] = b;                                                                             \
    }                                                                                            \
    const OptimMeasure name##_measure = {name##_sum};

OPTIM_MEASURES(MEASURE)

/* Each slot by one thread: its sums have one order. */
void elements_measure(Verbs *on, const OptimMeasure *measure, const OptimSlot *slots, size_t count, const float *k,
                      double (*sums)[OPTIM_SUMS])
{
    (void)on;
#pragma omp parallel for schedule(dynamic, 4)
    for (size_t i = 0; i < count; i++)
        measure->sum(&slots[i], k, sums[i]);
}
