/* The Makefile compiles and runs this to learn whether the compiler's OpenMP works. */
#include <omp.h>

int main(void)
{
    int threads = 0;
#pragma omp parallel reduction(+ : threads)
    threads += omp_get_num_threads() > 0;
    return threads < 1;
}
