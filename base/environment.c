/*
 * OpenMP and OpenBLAS read their environment when they are loaded, before any constructor of ours. So every program
 * runs this first; the C library takes no setenv yet, and the program is executed again, once, with what was missing.
 */
#define _DEFAULT_SOURCE /* execve */
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#if defined(__GLIBC__) && (defined(_OPENMP) || defined(HAVE_OPENBLAS))
#include <sys/auxv.h>

enum { VARIABLES_MOST = 4096 };

/* The entry of a variable, "NAME=value"; NULL if there is none. `name` ends with "=". */
__attribute__((no_sanitize("address"))) static const char *entry(char **environment, const char *name)
{
    for (; *environment != NULL; environment++)
        if (strncmp(*environment, name, strlen(name)) == 0)
            return *environment;
    return NULL;
}

#ifdef __clang__
#define SPIN_NAME "KMP_BLOCKTIME="
#define SPIN_TIME "0" /* ms; with 1, nano is 1.2 times as fast on a quiet machine, and 2.8 times slower on a busy one */
#else
#define SPIN_NAME "GOMP_SPINCOUNT="
#define SPIN_TIME "1000" /* rounds */
#endif

/*
 * GCC's OpenMP lets waiting threads spin for milliseconds, Clang's for 200. Under any other load that costs a time slice
 * in every loop: see dev/bench/contention.sh, which chose these (0 sleeps at once). OpenBLAS is called by single threads
 * only; its own would do nothing, and a program that may not start them hangs when it ends.
 */
__attribute__((no_sanitize("address"))) static void choose_environment(int argc, char **argv, char **environment)
{
    static char spin[] = SPIN_NAME SPIN_TIME, blas[] = "OPENBLAS_NUM_THREADS=1", *chosen[VARIABLES_MOST];
    const char *threads = entry(environment, "OPENBLAS_NUM_THREADS=");
    const bool spins = entry(environment, "OMP_WAIT_POLICY=") == NULL && entry(environment, SPIN_NAME) == NULL;
    size_t n = 0;
    (void)argc;
    if (!spins && threads != NULL && strcmp(threads, blas) == 0)
        return;
    for (; *environment != NULL; environment++) {
        if (n == VARIABLES_MOST - 3)
            return;
        if (strncmp(*environment, blas, strlen("OPENBLAS_NUM_THREADS=")) != 0)
            chosen[n++] = *environment;
    }
    chosen[n++] = blas;
    if (spins)
        chosen[n++] = spin;
    if (getauxval(AT_BASE) != 0) /* 0 if the loader was started by hand, with this program as its argument */
        execve((const char *)getauxval(AT_EXECFN), argv, chosen);
}

__attribute__((section(".preinit_array"), used)) static void (*const first)(int, char **, char **) = choose_environment;
#endif
