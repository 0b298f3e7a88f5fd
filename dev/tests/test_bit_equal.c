/* Elementwise rules and verbs give the same bits wherever they run: elements_step and the verbs on the device's memory,
 * against the same inline functions in plain loops on the host. With the CPU's verbs this tests their stretches, with
 * the CUDA ones their quads, remainders and misaligned arrays, and on a GPU the compiler's arithmetic:
 * addition, multiplication, fused multiply-add, division and square root are correctly rounded in nvcc's default mode
 * (--prec-div, --prec-sqrt, no --ftz), and --fmad=false fuses nothing that the source does not. No element calls
 * anything else. A NaN's bits depend on the device: it must only be a NaN on both sides. */
#include "base/random.h"
#include "base/threads.h"
#include "dev/tests/check.h"
#include "dev/tests/fixtures.h"
#include "optim/rules/elements.h"
#include "optim/verbs/verbs.h"
#include "optim/verbs/verbs_math.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARRAYS = 6, SLOTS = 7 };

/* Lengths around quads, blocks and chunks. */
static const size_t lengths[SLOTS] = {1, 3, 64, 2048, 8192, 20001, 70003};

enum { POOL = 1 << 17 };
static float pool[POOL];

/* Values of every size, zeros, subnormals, Inf and NaN among ordinary ones; squares and quotients of some overflow. */
static void fill_pool(void)
{
    static const float odd[] = {0, -0.0f, 1e-45f, -1e-40f, 1e-38f, 3e38f, -1e20f, 1e-20f, INFINITY, -INFINITY, NAN};
    Random random = random_make(5, 0);
    for (size_t i = 0; i < POOL; i++) {
        const double scale = ldexp(1, (int)random_below(&random, 40) - 20);
        pool[i] = (float)(scale * random_normal(&random));
        if (random_below(&random, 16) == 0)
            pool[i] = odd[random_below(&random, sizeof odd / sizeof *odd)];
    }
}

static void fill_values(float *x, size_t n, size_t begin, bool positive)
{
    for (size_t i = 0; i < n; i++)
        x[i] = positive ? fabsf(pool[(begin + i) % POOL]) : pool[(begin + i) % POOL];
}

/* Every bit the same, or NaN on both sides. */
static bool check_equal(const float *got, const float *want, size_t n, const char *what)
{
    size_t differ = 0, first = 0;
    for (size_t i = n; i-- > 0;) {
        if (memcmp(&got[i], &want[i], sizeof *got) != 0 && !(isnan(got[i]) && isnan(want[i]))) {
            differ++;
            first = i;
        }
    }
    return check(differ == 0, "%s: %zu of %zu differ, the first at %zu: %.9g, not %.9g", what, differ, n, first,
                 n > 0 ? (double)got[first] : 0, n > 0 ? (double)want[first] : 0);
}

/* --------------------------------------------------------------------------------------------------------------
 * Arrays on both sides: ours where the data is, theirs on the host
 */

typedef struct Arrays {
    size_t floats;
    float *ours[ARRAYS], *theirs[ARRAYS];
} Arrays;

static Arrays arrays_make(size_t floats, size_t begin)
{
    Arrays a = {.floats = floats};
    for (size_t k = 0; k < ARRAYS; k++) {
        Error e;
        if (verb_alloc(here(), floats, "an array", &a.ours[k], &e) != 0) {
            fprintf(stderr, "test: %s\n", e.text);
            exit(1);
        }
        a.theirs[k] = make_floats(floats);
        fill_values(a.theirs[k], floats, begin + 9973 * k, k >= 2); /* second moments are not negative */
        verb_write(here(), floats, a.ours[k], a.theirs[k]);
    }
    return a;
}

static void arrays_check(const Arrays *a, const char *what)
{
    float *copy = make_floats(a->floats);
    for (size_t k = 0; k < ARRAYS; k++) {
        char text[96];
        snprintf(text, sizeof text, "%s, array %zu", what, k);
        verb_read(here(), a->floats, copy, a->ours[k]);
        check_equal(copy, a->theirs[k], a->floats, text);
    }
    free(copy);
}

static void arrays_free(Arrays *a)
{
    for (size_t k = 0; k < ARRAYS; k++) {
        verb_free(here(), a->ours[k]);
        free(a->theirs[k]);
    }
}

/* --------------------------------------------------------------------------------------------------------------
 * Rules: parameter, gradient and four states in the six arrays
 */

/* Floats between array k's first element and an aligned address; where skew is 2 the arrays are not aligned alike. */
static size_t shift_of(size_t skew, size_t k) { return skew == 2 ? k : skew; }

typedef struct Layout {
    size_t skew, count, begin[SLOTS], floats;
} Layout;

static Layout layout_of(size_t skew)
{
    Layout l = {.skew = skew, .count = SLOTS, .floats = ARRAYS};
    for (size_t i = 0; i < SLOTS; i++) {
        l.begin[i] = l.floats - ARRAYS;
        l.floats += (lengths[i] + 15) / 16 * 16;
    }
    return l;
}

/* Slot i of array k of either side. */
static float *place(const Layout *l, float *const *arrays, size_t k, size_t i)
{
    return arrays[k] + shift_of(l->skew, k) + l->begin[i];
}

/* The functions of one element, called in a loop of this file. */
typedef void HostLoop(size_t n, float *p, const float *g, float *const *state, const float *k);

#define CALL_0(element) element(&p[i], g[i], &s)
#define CALL_1(element) element(&p[i], g[i], &state[0][i], &s)
#define CALL_2(element) element(&p[i], g[i], &state[0][i], &state[1][i], &s)
#define CALL_3(element) element(&p[i], g[i], &state[0][i], &state[1][i], &state[2][i], &s)
#define CALL_4(element) element(&p[i], g[i], &state[0][i], &state[1][i], &state[2][i], &state[3][i], &s)
#define CALL_AHEAD(element) ((void)g, element(&p[i], state[0][i], &s))
#define LOOP(name, states, Scalars, element)                                                         \
    static void host_##name(size_t n, float *p, const float *g, float *const *state, const float *k) \
    {                                                                                                \
        Scalars s;                                                                                   \
        (void)state;                                                                                 \
        memcpy(&s, k, sizeof s);                                                                     \
        for (size_t i = 0; i < n; i++)                                                               \
            CALL_##states(element);                                                                  \
    }
OPTIM_ELEMENTS(LOOP)

static HostLoop *host_loop(const OptimElements *elements)
{
#define FIND(name, ...)               \
    if (elements == &name##_elements) \
        return host_##name;
    OPTIM_ELEMENTS(FIND)
    return NULL;
}

static void step_on_the_host(const OptimRule *rule, const OptimStep *step, const Layout *l, const Arrays *a,
                             size_t states, bool ahead)
{
    float k[OPTIM_SCALARS_MAX];
    HostLoop *loop = host_loop(ahead ? rule->look_ahead : rule->elements[states]);
    rule->scalars(step, k);
    for (size_t i = 0; i < l->count; i++) {
        float *state[OPTIM_STATES_MAX] = {NULL};
        for (size_t s = 0; s < states; s++)
            state[s] = place(l, a->theirs, 2 + s, i);
        loop(lengths[i], place(l, a->theirs, 0, i), place(l, a->theirs, 1, i), state, k);
    }
}

static void compare_rule(const OptimRule *rule, const OptimHyper *set, size_t skew, const char *what)
{
    const Layout l = layout_of(skew);
    Arrays a = arrays_make(l.floats, 5);
    OptimSlot slots[SLOTS] = {{0}};
    OptimGroup group = {.rule = rule, .on = here(), .hyper = rule->defaults, .count = SLOTS, .slots = slots};
    size_t states = 0;
    for (size_t id = 0; id < HYPER_COUNT; id++)
        if (set->at[id].set && rule->defaults.at[id].set)
            group.hyper.at[id] = set->at[id];
    for (const OptimStateSpec *spec = rule->states; spec->name != NULL; spec++)
        states += spec->shape(&group.hyper, 1, 1).rows;
    check(states <= OPTIM_ELEMENT_STATES, "%s has %zu states", rule->name, states);
    for (size_t i = 0; i < SLOTS; i++) {
        slots[i] = (OptimSlot){
            .rows = 1, .cols = lengths[i], .param = place(&l, a.ours, 0, i), .grad = place(&l, a.ours, 1, i)};
        for (size_t s = 0; s < states; s++)
            slots[i].state[s] = place(&l, a.ours, 2 + s, i);
    }
    for (size_t t = 1; t <= 3; t++) {
        const OptimStep step = {group.hyper, t == 3 ? 0.37 : 1, t};
        if (rule->look_ahead != NULL) {
            elements_step(&group, &step, true);
            step_on_the_host(rule, &step, &l, &a, states, true);
        }
        elements_step(&group, &step, false);
        step_on_the_host(rule, &step, &l, &a, states, false);
    }
    char text[80];
    snprintf(text, sizeof text, "%s, %s, skew %zu", rule->name, what, skew);
    arrays_check(&a, text);
    arrays_free(&a);
}

#define SET(id, x) HYPER_AT(id, x)

static const OptimRule *current;

static void test_rule(void)
{
    static const OptimHyper defaults = {0};
    static const OptimHyper unusual = {.at = {SET(WEIGHT_DECAY, .3), SET(CAUTIOUS, 1), SET(MOMENTUM, .8), SET(EPS, .01),
                                              SET(BETA1, .7), SET(EPS_MODE, EPS_INSIDE), SET(NESTEROV, 1),
                                              SET(NESTEROV_FORM, NESTEROV_SHIFTED)}};
    for (size_t skew = 0; skew < 4; skew++) {
        compare_rule(current, &defaults, skew, "as it comes");
        compare_rule(current, &unusual, skew, "unusual settings");
    }
    compare_rule(current, &(OptimHyper){.at = {SET(MOMENTUM, 0)}}, 0, "without momentum");
}

/* --------------------------------------------------------------------------------------------------------------
 * Verbs: each on six arrays, 0 and 1 of any sign, the others not negative
 */

typedef struct Verb {
    const char *name;
    void (*ours)(size_t n, float *const *x);
    void (*element)(float *const *x, size_t i);
} Verb;

static const Decay cautious = {.99f, .95f};

static void momentum_ours(size_t n, float *const *x) { verb_momentum(here(), n, x[2], x[0], x[1], .9, true, .5); }
static void momentum_one(float *const *x, size_t i)
{
    x[0][i] = momentum_element(&x[2][i], x[1][i], (float).9, (float)((1 - .9) * .5), true);
}
static void precondition_ours(size_t n, float *const *x)
{
    verb_precondition(here(), n, x[0], x[2], x[1], .9, 2, 1e-8, .5);
}
static void precondition_one(float *const *x, size_t i)
{
    x[0][i] = precondition_element(x[0][i], &x[2][i], .5f * x[1][i], (float).9, (float)(1 - .9), 2, (float)1e-8);
}
static void direction_ours(size_t n, float *const *x)
{
    verb_adam_direction(here(), n, x[0], x[3], x[2], x[1], .9, .95, 1.5, 1e-8, .5);
}
static void direction_one(float *const *x, size_t i)
{
    const float m = momentum_element(&x[3][i], x[1][i], (float).9, (float)((1 - .9) * .5), false);
    x[0][i] = precondition_element(m, &x[2][i], .5f * x[1][i], (float).95, (float)(1 - .95), 1.5f, (float)1e-8);
}
static void whiten_ours(size_t n, float *const *x) { verb_whiten(here(), n, x[0], x[2], .9, 1e-8); }
static void whiten_one(float *const *x, size_t i)
{
    x[0][i] = whiten_element(x[0][i], &x[2][i], (float).9, (float)(1 - .9), (float)1e-8);
}
static void multiply_ours(size_t n, float *const *x) { verb_multiply(here(), n, x[0], x[0], x[1]); }
static void multiply_one(float *const *x, size_t i) { x[0][i] *= x[1][i]; }
static void divide_ours(size_t n, float *const *x) { verb_divide(here(), n, x[0], x[0], x[1]); }
static void divide_one(float *const *x, size_t i) { x[0][i] = quotient_element(x[0][i], x[1][i]); }
static void sign_ours(size_t n, float *const *x) { verb_sign(here(), n, x[0], x[1]); }
static void sign_one(float *const *x, size_t i) { x[0][i] = sign_element(x[1][i]); }
static void update_ours(size_t n, float *const *x) { verb_update(here(), n, x[0], x[1], cautious, .3); }
static void update_one(float *const *x, size_t i)
{
    x[0][i] = fmaf((float)-.3, x[1][i], decay_keep(x[0][i], x[1][i], &cautious) * x[0][i]);
}
static void scale_ours(size_t n, float *const *x) { verb_scale(here(), n, x[0], x[1], .3); }
static void scale_one(float *const *x, size_t i) { x[0][i] = (float).3 * x[1][i]; }
static void scale_in_place_ours(size_t n, float *const *x) { verb_scale(here(), n, x[0], x[0], .3); }
static void scale_in_place_one(float *const *x, size_t i) { x[0][i] *= (float).3; }
static void add_ours(size_t n, float *const *x) { verb_add(here(), n, x[0], x[1], .7, .3); }
static void add_one(float *const *x, size_t i) { x[0][i] = fmaf((float).3, x[1][i], (float).7 * x[0][i]); }
static void swap_ours(size_t n, float *const *x) { verb_swap(here(), n, x[0], x[1]); }
static void swap_one(float *const *x, size_t i)
{
    const float kept = x[0][i];
    x[0][i] = x[1][i];
    x[1][i] = kept;
}
static void fill_ours(size_t n, float *const *x) { verb_fill(here(), n, x[0], .3); }
static void fill_one(float *const *x, size_t i) { x[0][i] = (float).3; }
static void roots_ours(size_t n, float *const *x) { verb_inverse_roots(here(), n, x[2], x[3], .9, 4000); }
static void roots_one(float *const *x, size_t i) { x[2][i] = inverse_root_element(x[2][i], x[3][i], .9, 4000); }

static const Verb verbs[] = {
    {"momentum", momentum_ours, momentum_one},
    {"precondition", precondition_ours, precondition_one},
    {"adam_direction", direction_ours, direction_one},
    {"whiten", whiten_ours, whiten_one},
    {"multiply", multiply_ours, multiply_one},
    {"divide", divide_ours, divide_one},
    {"sign", sign_ours, sign_one},
    {"update", update_ours, update_one},
    {"scale", scale_ours, scale_one},
    {"scale in place", scale_in_place_ours, scale_in_place_one},
    {"add", add_ours, add_one},
    {"swap", swap_ours, swap_one},
    {"fill", fill_ours, fill_one},
    {"inverse_roots", roots_ours, roots_one},
};

static void test_verbs(void)
{
    for (const Verb *verb = verbs; verb < verbs + sizeof verbs / sizeof *verbs; verb++) {
        for (size_t i = 0; i < SLOTS; i++) {
            for (size_t skew = 0; skew < 4; skew++) {
                Arrays a = arrays_make(lengths[i] + 8, 9);
                float *ours[ARRAYS], *theirs[ARRAYS];
                for (size_t k = 0; k < ARRAYS; k++) {
                    ours[k] = a.ours[k] + shift_of(skew, k);
                    theirs[k] = a.theirs[k] + shift_of(skew, k);
                }
                verb->ours(lengths[i], ours);
                for (size_t e = 0; e < lengths[i]; e++)
                    verb->element(theirs, e);
                char text[64];
                snprintf(text, sizeof text, "%s of %zu, skew %zu", verb->name, lengths[i], skew);
                arrays_check(&a, text);
                arrays_free(&a);
            }
        }
    }
}

int main(void)
{
    threads_set(1);
    fill_pool();
    for (size_t i = 0; optim_rule(i) != NULL; i++) {
        current = optim_rule(i);
        if (current->scalars != NULL)
            check_run(current->name, test_rule);
    }
    check_run("elementwise verbs", test_verbs);
    return check_summary();
}
