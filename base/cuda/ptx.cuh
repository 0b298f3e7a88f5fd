#ifndef BASE_CUDA_PTX_CUH
#define BASE_CUDA_PTX_CUH

#include <cstdint>
#include <cuda_bf16.h>

/* All inline PTX. The emulation has its own file of this name. */

/* Requires sm_80. Kernels that use it are never launched on older devices, but must compile for them. */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#define PTX_SM80(...) __trap()
#else
#define PTX_SM80(...) asm volatile(__VA_ARGS__)
#endif

/* Shared memory of the size given at launch. */
template <class T> __device__ __forceinline__ T *dynamic_shared()
{
    extern __shared__ __align__(128) unsigned char dynamic_shared_bytes[];
    return reinterpret_cast<T *>(dynamic_shared_bytes);
}

__device__ __forceinline__ unsigned shared_address(const void *p)
{
    return static_cast<unsigned>(__cvta_generic_to_shared(p));
}

/* One 16 x 8 tile of D = A B + C by a warp: A is 16 x 16, B 16 x 8, distributed over the lanes. */
__device__ __forceinline__ void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                                         const float (&c)[4])
{
    PTX_SM80("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
             "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"
             : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
             : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]), "f"(c[2]),
               "f"(c[3]));
}

/* Lane l supplies the address of row l % 8 of matrix l / 8; each matrix has 8 rows of 16 bytes. */
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}
__device__ __forceinline__ void ldmatrix_x4_trans(uint32_t (&r)[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}
__device__ __forceinline__ void ldmatrix_x2_trans(uint32_t (&r)[2], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(shared_address(row))
                 : "memory");
}

/* Copies 16 bytes to shared memory, complete once their group has been waited for. */
__device__ __forceinline__ void cp_async16(void *to, const void *from)
{
    PTX_SM80("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from) : "memory");
}
/* The same if `there`; otherwise writes 16 zero bytes and reads nothing. */
__device__ __forceinline__ void cp_async16_or_zeros(void *to, const void *from, bool there)
{
    PTX_SM80("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(there ? 16 : 0)
             : "memory");
}
__device__ __forceinline__ void cp_async_commit() { PTX_SM80("cp.async.commit_group;" ::: "memory"); }

/* Waits until at most PENDING groups are in flight. */
template <int PENDING> __device__ __forceinline__ void cp_async_wait()
{
    PTX_SM80("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

/* Blocks that work on the same memory one after another, in a given order: *turn, 0 at first, says whose turn it is.
 * What turn n's block wrote before a barrier and turn_pass is seen by turn n + 1's after turn_await and a barrier, but
 * must not be read through the L1 cache. By one thread of each. Waiting ends only if the blocks of earlier turns have
 * begun, whatever the order in which the GPU begins blocks: so a block takes its number from a counter. */
__device__ __forceinline__ void turn_await(const unsigned *turn, unsigned n)
{
    unsigned now;
    do
        asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(now) : "l"(turn) : "memory");
    while (now != n);
}
__device__ __forceinline__ void turn_pass(unsigned *turn, unsigned n)
{
    asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(turn), "r"(n + 1) : "memory");
}

/* 16 bytes, past the L1 cache. */
__device__ __forceinline__ float4 load_l2(const float4 *from)
{
    float4 x;
    asm volatile("ld.global.cg.v4.f32 {%0,%1,%2,%3}, [%4];"
                 : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w)
                 : "l"(from)
                 : "memory");
    return x;
}

/* 2^x to 2 ulp; results below 2^-126 are flushed to 0. */
__device__ __forceinline__ float exp2_approx(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

#endif
