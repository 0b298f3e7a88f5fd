#ifndef EMU_NCCL_TYPES_H
#define EMU_NCCL_TYPES_H

#include <climits>

#include "../cuda_bf16.h"

/* The types of nccl.h, with NCCL's numbers. Types and reductions that are not here are not emulated. */

#define NCCL_MAJOR 2
#define NCCL_MINOR 32
#define NCCL_PATCH 3
#define NCCL_VERSION(X, Y, Z) ((X) == 2 && (Y) <= 8 ? (X)*1000 + (Y)*100 + (Z) : (X)*10000 + (Y)*100 + (Z))
#define NCCL_VERSION_CODE 23203

#define EMU_RESULTS(X)                                                          \
    X(ncclSuccess, 0, "no error")                                               \
    X(ncclUnhandledCudaError, 1, "unhandled cuda error")                        \
    X(ncclSystemError, 2, "unhandled system error")                             \
    X(ncclInternalError, 3, "internal error")                                   \
    X(ncclInvalidArgument, 4, "invalid argument")                               \
    X(ncclInvalidUsage, 5, "invalid usage")                                     \
    X(ncclRemoteError, 6, "remote process exited or there was a network error") \
    X(ncclInProgress, 7, "NCCL operation in progress")

#define EMU_ENUM(NAME, NUMBER, TEXT) NAME = NUMBER,
enum ncclResult_t { EMU_RESULTS(EMU_ENUM) ncclNumResults = 9 };
#undef EMU_ENUM

inline const char *ncclGetErrorString(ncclResult_t result)
{
#define EMU_CASE(NAME, NUMBER, TEXT) \
    if (result == NAME)              \
        return TEXT;
    EMU_RESULTS(EMU_CASE)
#undef EMU_CASE
    return "unknown result code";
}
#undef EMU_RESULTS

enum ncclRedOp_t { ncclSum = 0, ncclProd = 1, ncclMax = 2, ncclMin = 3, ncclAvg = 4, ncclNumOps = 5 };
enum ncclDataType_t {
    ncclInt8 = 0,
    ncclChar = ncclInt8,
    ncclUint8 = 1,
    ncclInt32 = 2,
    ncclInt = ncclInt32,
    ncclUint32 = 3,
    ncclInt64 = 4,
    ncclUint64 = 5,
    ncclFloat32 = 7,
    ncclFloat = ncclFloat32,
    ncclFloat64 = 8,
    ncclDouble = ncclFloat64,
    ncclBfloat16 = 9
};

enum { NCCL_UNIQUE_ID_BYTES = 128 };
struct ncclUniqueId {
    char internal[NCCL_UNIQUE_ID_BYTES];
};

struct ncclComm;
typedef ncclComm *ncclComm_t;
#define NCCL_COMM_NULL nullptr

/* Of NCCL's settings for a communicator the one that changes what its functions return. */
struct ncclConfig_t {
    size_t size;
    unsigned magic, version;
    int blocking; /* 0: functions that wait for other ranks may return ncclInProgress */
};
#define NCCL_CONFIG_UNDEF_INT INT_MIN
#define NCCL_API_MAGIC 0xcafebeef
#define NCCL_CONFIG_INITIALIZER                                                        \
    {                                                                                  \
        sizeof(ncclConfig_t), NCCL_API_MAGIC, NCCL_VERSION_CODE, NCCL_CONFIG_UNDEF_INT \
    }

#endif
