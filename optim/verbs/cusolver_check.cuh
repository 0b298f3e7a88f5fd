#ifndef OPTIM_VERBS_CUSOLVER_CHECK_CUH
#define OPTIM_VERBS_CUSOLVER_CHECK_CUH

#include "base/cuda.cuh"

#include <cusolverDn.h>

inline void cusolver_checked(cusolverStatus_t status, const char *file, int line, const char *expression)
{
    if (status == CUSOLVER_STATUS_SUCCESS)
        return;
    char reason[48]; /* cuSOLVER has no function that names a status; cusolver_common.h has them */
    snprintf(reason, sizeof reason, "cuSOLVER status %d", (int)status);
    if (status == CUSOLVER_STATUS_ALLOC_FAILED || (status == CUSOLVER_STATUS_NOT_INITIALIZED && cuda_is_full()))
        cuda_fail_for_memory(expression, reason);
    cuda_fail(file, line, expression, reason);
}

#define CUSOLVER_CHECK(call) cusolver_checked((call), __FILE__, __LINE__, #call)

#endif
