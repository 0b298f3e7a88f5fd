/* No rule allocates in a step: malloc, calloc and realloc are counted while one runs, where this program calls them and
 * not a library (OpenBLAS does in products of small matrices). */
#include "dev/tests/check.h"
#include "dev/tests/fixtures.h"

#include <stdio.h>
#include <stdlib.h>

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);

extern char __executable_start, etext; /* the linker's: this program's code */

static volatile size_t allocations;

static void count(const char *caller)
{
    if (caller >= &__executable_start && caller < &etext)
        __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
}

void *malloc(size_t size)
{
    count(__builtin_return_address(0));
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    count(__builtin_return_address(0));
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
    count(__builtin_return_address(0));
    return __libc_realloc(p, size);
}

static void test_steps(void)
{
    void *volatile counted = malloc(1);
    check(allocations > 0, "allocations are not counted");
    free(counted);
    for (size_t rule = 0; optim_rule_name(rule) != NULL; rule++) {
        Params p = {0};
        params_add(&p, "wide", ROLE_HIDDEN_MATRIX, 30, 70, 1);
        params_add(&p, "qkv", ROLE_HIDDEN_MATRIX, 60, 20, 3);
        params_add(&p, "bias", ROLE_BIAS, 1, 20, 1);
        params_fill(&p, rule);
        Optim *optim = make_optim(&(OptimConfig){.rule = optim_rule_name(rule), .steps = 100}, &p);
        size_t before = 0;
        for (size_t step = 0; step < 22; step++) { /* past two refreshes of every rule that has them */
            if (step == 2)                         /* the threads and LAPACK have what they keep */
                before = allocations;
            optim_begin(optim, 1, 1);
            optim_step(optim, 1);
        }
        check(allocations == before, "%s allocates %zu times in 20 steps", optim_rule_name(rule), allocations - before);
        optim_free(optim);
        params_free(&p);
    }
}

#else

static void test_steps(void) { check_skip("the C library's allocations cannot be counted here"); }

#endif

int main(void)
{
    check_run("no rule allocates in a step", test_steps);
    return check_summary();
}
