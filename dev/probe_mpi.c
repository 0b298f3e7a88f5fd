/* The Makefile links this with MPI to learn whether one is installed. */
#include <mpi.h>

int main(void)
{
    int version, subversion;
    return MPI_Get_version(&version, &subversion) != MPI_SUCCESS || version < 2;
}
