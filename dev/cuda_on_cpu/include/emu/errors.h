#ifndef EMU_ERRORS_H
#define EMU_ERRORS_H

/* The runtime's errors, with CUDA's numbers and texts. */

#define EMU_ERRORS(X)                                                                                                  \
    X(cudaSuccess, 0, "no error")                                                                                      \
    X(cudaErrorInvalidValue, 1, "invalid argument")                                                                    \
    X(cudaErrorMemoryAllocation, 2, "out of memory")                                                                   \
    X(cudaErrorInvalidConfiguration, 9, "invalid configuration argument")                                              \
    X(cudaErrorInsufficientDriver, 35, "CUDA driver version is insufficient for CUDA runtime version")                 \
    X(cudaErrorNoDevice, 100, "no CUDA-capable device is detected")                                                    \
    X(cudaErrorInvalidDevice, 101, "invalid device ordinal")                                                           \
    X(cudaErrorNoKernelImageForDevice, 209, "no kernel image is available for execution on the device")                \
    X(cudaErrorInvalidResourceHandle, 400, "invalid resource handle")                                                  \
    X(cudaErrorIllegalState, 401, "the operation cannot be performed in the present state")                            \
    X(cudaErrorNotReady, 600, "device not ready")                                                                      \
    X(cudaErrorLaunchOutOfResources, 701, "too many resources requested for launch")                                   \
    X(cudaErrorLaunchFailure, 719, "unspecified launch failure")                                                       \
    X(cudaErrorStreamCaptureUnsupported, 900, "operation not permitted when stream is capturing")                      \
    X(cudaErrorStreamCaptureInvalidated, 901, "operation failed due to a previous error during capture")               \
    X(cudaErrorStreamCaptureIsolation, 905, "dependency created on uncaptured work in another stream")                 \
    X(cudaErrorStreamCaptureImplicit, 906,                                                                             \
      "operation would make the legacy stream depend on a capturing blocking stream")                                  \
    X(cudaErrorCapturedEvent, 907, "operation not permitted on an event last recorded in a capturing stream")

#define EMU_ENUM(NAME, NUMBER, TEXT) NAME = NUMBER,
enum cudaError_t { EMU_ERRORS(EMU_ENUM) };
#undef EMU_ENUM

namespace emu {
inline cudaError_t last_error = cudaSuccess;
inline cudaError_t sticky_error = cudaSuccess; /* of a kernel that trapped: every later call returns it */

inline cudaError_t error(cudaError_t e)
{
    if (e != cudaSuccess)
        last_error = e;
    return e;
}
} // namespace emu

inline cudaError_t cudaPeekAtLastError() { return emu::sticky_error ? emu::sticky_error : emu::last_error; }
inline cudaError_t cudaGetLastError()
{
    const cudaError_t e = cudaPeekAtLastError();
    emu::last_error = cudaSuccess;
    return e;
}

inline const char *cudaGetErrorName(cudaError_t e)
{
#define EMU_CASE(NAME, NUMBER, TEXT)                                                                                   \
    if (e == NAME)                                                                                                     \
        return #NAME;
    EMU_ERRORS(EMU_CASE)
#undef EMU_CASE
    return "unrecognized error code";
}
inline const char *cudaGetErrorString(cudaError_t e)
{
#define EMU_CASE(NAME, NUMBER, TEXT)                                                                                   \
    if (e == NAME)                                                                                                     \
        return TEXT;
    EMU_ERRORS(EMU_CASE)
#undef EMU_CASE
    return "unrecognized error code";
}
#undef EMU_ERRORS

#endif
