#ifndef BASE_HD_H
#define BASE_HD_H

/* Marks a small inline function that C code and CUDA kernels share. */
#ifdef __CUDACC__
#define HD __host__ __device__
#else
#define HD
#endif

#endif
