#ifndef NEEDS_CUH
#define NEEDS_CUH

#include <cstdio>
#include <cstdlib>
#include <cuda_runtime.h>

/* Whether the device has what bf16 and TF32 need, compute capability 8.0. */
inline bool has_bf16()
{
    cudaDeviceProp device;
    return cudaGetDeviceProperties(&device, 0) != cudaSuccess || device.major >= 8;
}

/* On an older device, ends a program whose kernels are not compiled for it: dev/tests/gpu.sh takes 77 for skipped. */
inline void needs_bf16()
{
    if (has_bf16())
        return;
    printf("its kernels need compute capability 8.0\n");
    exit(77);
}

#endif
