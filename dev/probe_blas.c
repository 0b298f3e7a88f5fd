/* Linked by the Makefile, after cblas.h, to find out whether an OpenBLAS is installed. */
int main(void)
{
    float x = 1;
    openblas_set_num_threads(1);
    cblas_sscal(1, 2.0f, &x, 1);
    return x != 2.0f;
}
