#ifndef NCCL_CHECK_CUH
#define NCCL_CHECK_CUH

#include <cstdio>
#include <cstdlib>
#include <nccl.h>

/* A call of NCCL's that must not fail. */
#define NCCL_CHECK(call)                                                                               \
    do {                                                                                               \
        const ncclResult_t error_ = (call);                                                            \
        if (error_ != ncclSuccess) {                                                                   \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, ncclGetErrorString(error_)); \
            exit(1);                                                                                   \
        }                                                                                              \
    } while (0)

#endif
