#include "dev/tests/check.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAILURES_SHOWN = 5 };

static int passed, failed, skipped;
static int failures_here;
static const char *skip_reason;

void check_run(const char *name, void (*test)(void))
{
    const char *only = getenv("CHECK_ONLY");
    if (only != NULL && strstr(name, only) == NULL)
        return;
    failures_here = 0;
    skip_reason = NULL;
    test();
    if (failures_here > 0) {
        failed++;
        printf("FAIL  %s (%d checks failed)\n", name, failures_here);
    } else if (skip_reason != NULL) {
        skipped++;
        printf("skip  %s: %s\n", name, skip_reason);
    } else {
        passed++;
        printf("ok    %s\n", name);
    }
    fflush(stdout);
}

bool check(bool ok, const char *format, ...)
{
    if (ok)
        return true;
    if (++failures_here <= FAILURES_SHOWN) {
        va_list args;
        va_start(args, format);
        printf("      ");
        vprintf(format, args);
        printf("\n");
        va_end(args);
    }
    return false;
}

bool check_close(double got, double want, double bound, const char *what)
{
    return check(fabs(got - want) <= bound, "%s: got %.9g, want %.9g, bound %.3g", what, got, want, bound);
}

bool check_all_close(const float *got, const float *want, size_t n, double bound, const char *what)
{
    size_t worst = 0;
    double worst_error = -1;
    for (size_t i = 0; i < n; i++) {
        const double error = fabs((double)got[i] - (double)want[i]);
        if (!(error <= worst_error)) {
            worst = i;
            worst_error = error;
            if (isnan(error))
                break;
        }
    }
    return check(n == 0 || worst_error <= bound, "%s: element %zu: got %.9g, want %.9g, bound %.3g", what, worst,
                 (double)got[worst], (double)want[worst], bound);
}

bool check_same_bits(const void *got, const void *want, size_t bytes, const char *what)
{
    const unsigned char *g = got, *w = want;
    for (size_t i = 0; i < bytes; i++)
        if (g[i] != w[i])
            return check(false, "%s: byte %zu of %zu differs", what, i, bytes);
    return true;
}

void check_skip(const char *reason) { skip_reason = reason; }

int check_summary(void)
{
    printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    return failed > 0 || (passed + skipped == 0 && getenv("CHECK_ONLY") == NULL);
}
