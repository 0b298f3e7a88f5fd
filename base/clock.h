#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <math.h>
#include <stdio.h>
#include <time.h>

/* Monotonic time in seconds. */
static inline double clock_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* "42s left", "3m05s left", "2h07m left": for progress. */
static inline void clock_format_left(char *text, size_t size, double seconds)
{
    const long long s = (long long)ceil(seconds);
    if (s < 60)
        snprintf(text, size, "%llds left", s);
    else if (s < 3600)
        snprintf(text, size, "%lldm%02llds left", s / 60, s % 60);
    else
        snprintf(text, size, "%lldh%02lldm left", s / 3600, s / 60 % 60);
}

#endif
