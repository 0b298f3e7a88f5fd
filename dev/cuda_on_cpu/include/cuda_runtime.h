#ifndef CUDA_ON_CPU_CUDA_RUNTIME_H
#define CUDA_ON_CPU_CUDA_RUNTIME_H

/* cuda_runtime.h, emulated: the part of the runtime and of the language of kernels that a trainer uses. */
#define CUDA_ON_CPU 1
#include "emu/device.h"
#include "emu/host.h"

#endif
