/* The Makefile links this with OpenBLAS to learn whether one is installed. */
#include <cblas.h>

int main(void)
{
    float x = 1;
    openblas_set_num_threads(1);
    cblas_sscal(1, 2.0f, &x, 1);
    return x != 2.0f;
}
