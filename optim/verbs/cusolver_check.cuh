#ifndef OPTIM_VERBS_CUSOLVER_CHECK_CUH
#define OPTIM_VERBS_CUSOLVER_CHECK_CUH

#include "base/cuda.cuh"

#include <cusolverDn.h>

/* cuSOLVER has no function that names a status; see cusolver_common.h for the numbers. */
enum { CUSOLVER_NOT_INITIALIZED = 1, CUSOLVER_ALLOC_FAILED = 2 };

inline void cusolver_checked(cusolverStatus_t status, const char *file, int line, const char *expression)
{
    if (status == CUSOLVER_STATUS_SUCCESS)
        return;
    char reason[48];
    snprintf(reason, sizeof reason, "cuSOLVER status %d", (int)status);
    if ((int)status == CUSOLVER_ALLOC_FAILED || ((int)status == CUSOLVER_NOT_INITIALIZED && cuda_is_full()))
        cuda_fail_for_memory(expression, reason);
    cuda_fail(file, line, expression, reason);
}

#define CUSOLVER_CHECK(call) cusolver_checked((call), __FILE__, __LINE__, #call)

#endif
