/*
 * bugs list: numbers and names of faulty programs. bugs N: runs number N and prints its result, a line that a
 * correct program would print the same in every order of threads. What notices each fault is for faults.sh to find
 * out. Number 0 is correct. Programs of several ranks fork; rank 0 prints.
 */
#include <cstring>
#include <cublasLt.h>
#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <unistd.h>

#include "launch.cuh"
#include "nccl_check.cuh"

/* Every kernel is given 64 floats out and 64 floats x, and runs in blocks of 64 threads. */

__global__ void no_fault(float *out, const float *x)
{
    __shared__ float s[64], sum;
    s[threadIdx.x] = x[threadIdx.x];
    if (threadIdx.x == 0)
        sum = 0;
    __syncthreads();
    atomicAdd(&sum, s[63 - threadIdx.x]);
    __syncthreads();
    s[threadIdx.x ^ 1] = warp_sum(s[threadIdx.x ^ 1]);
    __syncwarp();
    out[threadIdx.x] = s[threadIdx.x];
    __syncthreads();
    if (threadIdx.x < 32)
        out[threadIdx.x] += sum;
}

__global__ void missing_sync(float *out, const float *x) /* no barrier between write and read */
{
    __shared__ float s[64];
    s[threadIdx.x] = x[threadIdx.x];
    out[threadIdx.x] = s[63 - threadIdx.x];
}

__global__ void missing_second_sync(float *out, const float *x) /* `part` is used again without a barrier */
{
    __shared__ float part[2];
    float total = 0;
    for (int round = 1; round <= 2; round++) {
        const float v = warp_sum(x[threadIdx.x] * round);
        if (threadIdx.x % 32 == 0)
            part[threadIdx.x / 32] = v;
        __syncthreads();
        total += (part[0] + part[1]) * round;
    }
    out[threadIdx.x] = total;
}

__global__ void divergent_sync(float *out, const float *x) /* two barriers, half of the block at each */
{
    if (threadIdx.x < 32) {
        out[threadIdx.x] = x[threadIdx.x];
        __syncthreads();
    } else {
        out[threadIdx.x] = 2 * x[threadIdx.x];
        __syncthreads();
    }
}

__global__ void sync_in_branch(float *out, const float *x) /* 24 threads do not come */
{
    if (threadIdx.x < 40)
        __syncthreads();
    out[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
}

__global__ void partial_shuffle(float *out, const float *x) /* the mask names lanes that do not come */
{
    float v = x[threadIdx.x];
    if (threadIdx.x % 32 < 16)
        v += __shfl_xor_sync(0xffffffffu, v, 1);
    out[threadIdx.x] = v;
}

__global__ void shared_overrun(float *out, const float *x)
{
    __shared__ float s[63];
    s[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = s[threadIdx.x];
}

__global__ void dynamic_overrun(float *out, const float *x) /* launched with 63 floats */
{
    float *s = dynamic_shared<float>();
    s[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = s[threadIdx.x];
}

__global__ void global_overrun(float *out, const float *x) { out[threadIdx.x + 1] = x[threadIdx.x]; }

__global__ void warp_synchronous(float *out, const float *x) /* a warp that needs no barrier, as before Volta */
{
    __shared__ float s[64];
    s[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    if (threadIdx.x < 32)
        for (int d = 32; d > 0; d >>= 1)
            s[threadIdx.x] += s[threadIdx.x + d];
    __syncthreads();
    out[threadIdx.x] = s[0];
}

__global__ void unwritten_shared(float *out, const float *x) /* s[32] .. s[63] are read, and were never written */
{
    __shared__ float s[64];
    if (threadIdx.x < 32)
        s[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = s[threadIdx.x];
}

__global__ void misaligned(float *out, const float *x)
{
    if (threadIdx.x < 15) {
        const float4 v = *reinterpret_cast<const float4 *>(x + 1 + 4 * threadIdx.x);
        out[threadIdx.x] = v.x;
    }
}

__global__ void block_race(float *out, const float *x) /* blocks update without an atomic */
{
    if (threadIdx.x == 0)
        out[0] = out[0] * 0.5f + x[blockIdx.x];
}

__global__ void async_not_waited(float *out, const float *x)
{
    __shared__ __align__(16) float s[64];
    if (threadIdx.x < 16) {
        cp_async16(s + 4 * threadIdx.x, x + 4 * threadIdx.x);
        cp_async_commit();
    }
    __syncthreads();
    out[threadIdx.x] = s[threadIdx.x];
}

__global__ void async_waited(float *out, const float *x)
{
    __shared__ __align__(16) float s[64];
    if (threadIdx.x < 16) {
        cp_async16(s + 4 * threadIdx.x, x + 4 * threadIdx.x);
        cp_async_commit();
        cp_async_wait<0>();
    }
    __syncthreads();
    out[threadIdx.x] = s[threadIdx.x];
}

__global__ void local_overrun(float *out, const float *x, int n) /* launched with n = 4 */
{
    float a[4] = {};
    for (int i = 0; i <= n; i++)
        a[i] += x[i];
    out[threadIdx.x] = a[threadIdx.x % 4];
}

__global__ void returned_lane(float *out, const float *x) /* the mask names lanes that have returned */
{
    if (threadIdx.x >= 60)
        return;
    out[threadIdx.x] = warp_sum(x[threadIdx.x]);
}

__global__ void write_write(float *out, const float *x) { out[threadIdx.x / 2] = x[threadIdx.x]; }

__global__ void shuffle_as_barrier(float *out, const float *x) /* a shuffle does not order memory */
{
    __shared__ float s[64];
    s[threadIdx.x] = x[threadIdx.x];
    const float v = __shfl_sync(0xffffffffu, x[threadIdx.x], 0);
    out[threadIdx.x] = s[threadIdx.x ^ 1] + v;
}

__global__ void int_overflow(float *out, const float *x, int n) /* launched with n = 100000 */
{
    out[threadIdx.x] = x[threadIdx.x] + float(n * n);
}

__global__ void __launch_bounds__(32, 2) bounded(float *out, const float *x) { out[threadIdx.x] = x[threadIdx.x]; }

__global__ void static_and_dynamic(float *out, const float *x) /* launched with 47 KiB of dynamic shared memory */
{
    __shared__ float s[512];
    s[threadIdx.x] = dynamic_shared<float>()[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = s[threadIdx.x ^ 1];
}

__device__ float first_of_block(float v)
{
    __shared__ float first[512];
    if (threadIdx.x == 0)
        first[0] = v;
    __syncthreads();
    return first[0];
}

__global__ void static_of_callee(float *out, const float *x) /* the same */
{
    out[threadIdx.x] = first_of_block(x[threadIdx.x]);
}

struct Large {
    float values[8192];
};
__global__ void large_parameter(float *out, const float *x, Large large)
{
    out[threadIdx.x] = x[threadIdx.x] + large.values[threadIdx.x];
}

__global__ void misaligned_pair(float *out, const float *x)
{
    if (threadIdx.x < 31)
        out[threadIdx.x] = reinterpret_cast<const float2 *>(x + 1)[threadIdx.x].y;
}

__global__ void traps(float *out, const float *x)
{
    if (x[threadIdx.x] == 33)
        __trap();
    out[threadIdx.x] = x[threadIdx.x];
}

/* What each fault is given: device memory for 64 floats out and of x, and the host's. */
struct Data {
    float *out, *x, *on_host;
    int rank;
    ncclComm_t comm; /* nullptr in a program of one rank */
};

template <void (*kernel)(float *, const float *), unsigned blocks = 1, size_t dynamic_bytes = 0> void run(const Data &d)
{
    launch(kernel, dim3(blocks), dim3(64), dynamic_bytes, d.out, d.x);
}

template <void (*kernel)(float *, const float *, int), int n> void run(const Data &d)
{
    launch(kernel, dim3(1), dim3(64), 0, d.out, d.x, n);
}

static void host_pointer(const Data &d) { launch(write_write, dim3(1), dim3(64), 0, d.on_host, d.x); }

static void parameter_of_32_kib(const Data &d) { launch(large_parameter, dim3(1), dim3(64), 0, d.out, d.x, Large()); }

static void trap_unnoticed(const Data &d) /* the host goes on with what it has */
{
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(1);
    config.blockDim = dim3(64);
    cudaLaunchKernelEx(&config, traps, d.out, d.x);
    cudaDeviceSynchronize();
    cudaGetLastError();
}

static void all_free_memory(const Data &) /* as if an allocation of 1 MiB and a little took no more than that */
{
    const size_t piece = (1 << 20) + 512;
    size_t left, total;
    CUDA_CHECK(cudaMemGetInfo(&left, &total));
    for (size_t used = 0; used + piece <= left; used += piece) {
        void *p;
        CUDA_CHECK(cudaMalloc(&p, piece));
    }
}

static void library_without_memory(const Data &) /* a handle has a workspace of its own */
{
    size_t left, total;
    void *p;
    cublasHandle_t handle;
    CUDA_CHECK(cudaMemGetInfo(&left, &total));
    CUDA_CHECK(cudaMalloc(&p, left));
    if (cublasCreate(&handle) != CUBLAS_STATUS_SUCCESS)
        exit(1);
}

static void host_writes_device(const Data &d) { d.x[0] = 3; }

static void product_overrun(const Data &d) /* C needs 71 floats and has 64 */
{
    cublasHandle_t handle;
    cublasCreate(&handle);
    const float one = 1, zero = 0;
    cublasSgemm(handle, CUBLAS_OP_N, CUBLAS_OP_N, 8, 8, 8, &one, d.x, 8, d.x, 8, &zero, d.out, 9);
    cublasDestroy(handle);
}

/* 64 floats of pinned memory and two streams that no other waits for. */
struct Streams {
    float *pinned;
    cudaStream_t a, b;
};

static Streams make_streams()
{
    Streams s;
    CUDA_CHECK(cudaMallocHost(&s.pinned, 64 * sizeof(float)));
    memset(s.pinned, 0, 64 * sizeof(float));
    CUDA_CHECK(cudaStreamCreateWithFlags(&s.a, cudaStreamNonBlocking));
    CUDA_CHECK(cudaStreamCreateWithFlags(&s.b, cudaStreamNonBlocking));
    CUDA_CHECK(cudaDeviceSynchronize());
    return s;
}

static const size_t BYTES = 64 * sizeof(float);

static void pinned_too_soon(const Data &d)
{
    const Streams s = make_streams();
    CUDA_CHECK(cudaMemcpyAsync(d.out, s.pinned, BYTES, cudaMemcpyHostToDevice, s.a));
    s.pinned[0] = 1;
    CUDA_CHECK(cudaStreamSynchronize(s.a));
}

static void result_too_soon(const Data &d)
{
    const Streams s = make_streams();
    CUDA_CHECK(cudaMemcpyAsync(s.pinned, d.x, BYTES, cudaMemcpyDeviceToHost, s.a));
    CUDA_CHECK(cudaMemcpy(d.out, s.pinned, BYTES, cudaMemcpyHostToDevice));
}

static void no_wait_for_stream(const Data &d)
{
    const Streams s = make_streams();
    CUDA_CHECK(cudaMemcpyAsync(d.out, d.x, BYTES, cudaMemcpyDeviceToDevice, s.a));
    CUDA_CHECK(cudaMemcpyAsync(s.pinned, d.out, BYTES, cudaMemcpyDeviceToHost, s.b));
    CUDA_CHECK(cudaStreamSynchronize(s.b));
    CUDA_CHECK(cudaStreamSynchronize(s.a));
    CUDA_CHECK(cudaMemcpy(d.out, s.pinned, BYTES, cudaMemcpyHostToDevice));
}

static void no_wait_for_memset(const Data &d)
{
    const Streams s = make_streams();
    CUDA_CHECK(cudaMemset(d.x, 0, BYTES));
    CUDA_CHECK(cudaMemcpyAsync(d.out, d.x, BYTES, cudaMemcpyDeviceToDevice, s.a));
    CUDA_CHECK(cudaStreamSynchronize(s.a));
}

/* Captures a copy and launches the graph; the faults are before the end of the capture and before the launch. */
static void run_graph(const Data &d, const void *from, void (*during)(const Data &), bool freed)
{
    const Streams s = make_streams();
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    float *to = d.out;
    if (freed)
        CUDA_CHECK(cudaMalloc(&to, BYTES));
    CUDA_CHECK(cudaStreamBeginCapture(s.a, cudaStreamCaptureModeGlobal));
    CUDA_CHECK(cudaMemcpyAsync(to, from ? from : s.pinned, BYTES, cudaMemcpyHostToDevice, s.a));
    if (during)
        during(d);
    CUDA_CHECK(cudaStreamEndCapture(s.a, &graph));
    CUDA_CHECK(cudaGraphInstantiate(&exec, graph, 0));
    if (freed)
        CUDA_CHECK(cudaFree(to));
    CUDA_CHECK(cudaGraphLaunch(exec, s.a));
    CUDA_CHECK(cudaStreamSynchronize(s.a));
}

static void copy_in_capture(const Data &d)
{
    run_graph(
        d, nullptr,
        [](const Data &data) { CUDA_CHECK(cudaMemcpy(data.on_host, data.x, BYTES, cudaMemcpyDeviceToHost)); }, false);
}
static void pageable_in_capture(const Data &d) { run_graph(d, d.on_host, nullptr, false); }
static void freed_under_graph(const Data &d) { run_graph(d, nullptr, nullptr, true); }

/* D, 4 x 8 of fp32, and aux in `out`; A and B in `x`. A GELU where there is an aux or a `gelu`. */
static void lt_product(const Data &d, int64_t aux_ld, int64_t ld, cublasComputeType_t compute = CUBLAS_COMPUTE_32F,
                       bool gelu = false)
{
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t la, lb, ld_layout;
    float *aux = d.out + 32;
    const cublasLtEpilogue_t epilogue = aux_ld ? CUBLASLT_EPILOGUE_GELU_AUX
                                        : gelu ? CUBLASLT_EPILOGUE_GELU
                                               : CUBLASLT_EPILOGUE_DEFAULT;
    const float one = 1, zero = 0;
    cublasLtCreate(&handle);
    cublasLtMatmulDescCreate(&desc, compute, CUDA_R_32F);
    cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
    cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &aux, sizeof aux);
    cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, &aux_ld, sizeof aux_ld);
    cublasLtMatrixLayoutCreate(&la, CUDA_R_32F, 4, 8, 4);
    cublasLtMatrixLayoutCreate(&lb, CUDA_R_32F, 8, 8, 8);
    cublasLtMatrixLayoutCreate(&ld_layout, CUDA_R_32F, 4, 8, ld);
    const cublasStatus_t status = cublasLtMatmul(handle, desc, &one, d.x, la, d.x, lb, &zero, d.out, ld_layout, d.out,
                                                 ld_layout, nullptr, nullptr, 0, nullptr);
    if (status != CUBLAS_STATUS_SUCCESS)
        exit(1);
}
static void aux_ld_of_four(const Data &d) { lt_product(d, 4, 4); }
static void lt_overrun(const Data &d) { lt_product(d, 0, 9); } /* D needs 67 floats and has 64 */

static void fill_x(const Data &d, float (*value)(int))
{
    float host[64];
    for (int i = 0; i < 64; i++)
        host[i] = value(i);
    CUDA_CHECK(cudaMemcpy(d.x, host, BYTES, cudaMemcpyHostToDevice));
}
/* Numbers of which later ones, from `half` to `half`, nearly cancel earlier ones. */
template <int half> float cancels(int i)
{
    return (i / half % 2 ? -1.0f : 1.0f) * (10000.0f + 0.37f * float(i * i % 61));
}
static void order_of_products(const Data &d) /* in sums whose bits it changes */
{
    fill_x(d, cancels<16>);
    lt_product(d, 0, 4);
}
static void order_of_sgemm(const Data &d) /* the same with cuBLAS */
{
    cublasHandle_t handle;
    cublasCreate(&handle);
    const float one = 1, zero = 0;
    fill_x(d, cancels<32>);
    cublasSgemm(handle, CUBLAS_OP_N, CUBLAS_OP_N, 4, 4, 16, &one, d.x, 4, d.x, 16, &zero, d.out, 4);
    cublasDestroy(handle);
}
static void gelu_epilogue(const Data &d)
{
    fill_x(d, [](int i) { return float(i % 7 - 3) * 0.1f; });
    lt_product(d, 0, 4, CUBLAS_COMPUTE_32F, true);
}
static void tf32_for_fp32(const Data &d)
{
    fill_x(d, [](int i) { return 1.0f + float(i * 37 % 64) * 0x1p-15f; });
    lt_product(d, 0, 4, CUBLAS_COMPUTE_32F_FAST_TF32);
}

static void different_counts(const Data &d)
{
    NCCL_CHECK(ncclAllReduce(d.x, d.out, 64 - size_t(d.rank), ncclFloat32, ncclSum, d.comm, nullptr));
}
static void head_to_head(const Data &d) /* both send first */
{
    NCCL_CHECK(ncclSend(d.x, 64, ncclFloat32, 1 - d.rank, d.comm, nullptr));
    NCCL_CHECK(ncclRecv(d.out, 64, ncclFloat32, 1 - d.rank, d.comm, nullptr));
}
static void lost_rank(const Data &d) /* nobody asks ncclCommGetAsyncError */
{
    if (d.rank == 1)
        _exit(0);
    NCCL_CHECK(ncclAllReduce(d.x, d.out, 64, ncclFloat32, ncclSum, d.comm, nullptr));
}
static void order_of_ranks(const Data &d) /* of a sum whose bits it changes */
{
    const float scale[3] = {1e8f, -1e8f, 1.0f};
    float host[64];
    for (float &f : host)
        f = scale[d.rank];
    CUDA_CHECK(cudaMemcpy(d.x, host, BYTES, cudaMemcpyHostToDevice));
    NCCL_CHECK(ncclAllReduce(d.x, d.out, 64, ncclFloat32, ncclSum, d.comm, nullptr));
}
static void no_wait_for_sum(const Data &d) /* by the stream that copies it */
{
    const Streams s = make_streams();
    NCCL_CHECK(ncclAllReduce(d.x, d.out, 64, ncclFloat32, ncclSum, d.comm, s.a));
    CUDA_CHECK(cudaMemcpyAsync(s.pinned, d.out, BYTES, cudaMemcpyDeviceToHost, s.b));
    CUDA_CHECK(cudaStreamSynchronize(s.b));
    CUDA_CHECK(cudaStreamSynchronize(s.a));
    CUDA_CHECK(cudaMemcpy(d.out, s.pinned, BYTES, cudaMemcpyHostToDevice));
}

static const struct {
    const char *name;
    void (*run)(const Data &);
    int ranks = 1;
    const char *environment = nullptr; /* of the emulated GPU */
} faults[] = {
    {"no fault", run<no_fault>},
    {"no barrier between write and read", run<missing_sync>},
    {"shared memory used again without a barrier", run<missing_second_sync>},
    {"two barriers, half of the block at each", run<divergent_sync>},
    {"a barrier to which some threads do not come", run<sync_in_branch>},
    {"a shuffle whose mask names lanes that do not come", run<partial_shuffle>},
    {"a static shared array overrun", run<shared_overrun>},
    {"dynamic shared memory overrun", run<dynamic_overrun, 1, 63 * sizeof(float)>},
    {"device memory overrun", run<global_overrun>},
    {"a warp that uses shared memory without `__syncwarp`", run<warp_synchronous>},
    {"shared memory read and never written", run<unwritten_shared>},
    {"a misaligned float4", run<misaligned>},
    {"blocks that update a sum without an atomic", run<block_race, 4>},
    {"cp.async not waited for", run<async_not_waited>},
    {"an array in registers overrun", run<local_overrun, 4>},
    {"a shuffle whose mask names lanes that have returned", run<returned_lane>},
    {"two threads write to one place", run<write_write>},
    {"a shuffle taken for a barrier", run<shuffle_as_barrier>},
    {"an int that overflows", run<int_overflow, 100000>},
    {"a kernel is given the host's pointer", host_pointer},
    {"the host writes to device memory", host_writes_device},
    {"60000 bytes of shared memory, not asked for", run<dynamic_overrun, 1, 60000>},
    {"cublasSgemm past the end of C", product_overrun},
    {"pinned memory written again before its copy has run", pinned_too_soon},
    {"a copy to the host read without a wait for its stream", result_too_soon},
    {"a stream that does not wait for another's work", no_wait_for_stream},
    {"a non-blocking stream that does not wait for cudaMemset", no_wait_for_memset},
    {"cudaMemcpy during a capture", copy_in_capture},
    {"a graph that copies pageable memory", pageable_in_capture},
    {"a graph launched when its memory is freed", freed_under_graph},
    {"cublasLtMatmul with an aux whose columns are 4 apart", aux_ld_of_four},
    {"cublasLtMatmul past the end of D", lt_overrun},
    {"ncclAllReduce of another count at one rank", different_counts, 2},
    {"two ranks that send to each other, without a group", head_to_head, 2},
    {"a rank that ends, and no call of ncclCommGetAsyncError", lost_rank, 2},
    {"a sum that depends on the order of the ranks", order_of_ranks, 3},
    {"a stream that does not wait for ncclAllReduce", no_wait_for_sum, 2},
    {"64 threads where the launch bounds say 32", run<bounded>},
    {"static and dynamic shared memory of 49 KiB together", run<static_and_dynamic, 1, 47 * 1024>},
    {"the same, where the static is a called function's", run<static_of_callee, 1, 47 * 1024>},
    {"parameters of 32784 bytes", parameter_of_32_kib},
    {"a misaligned float2", run<misaligned_pair>},
    {"a kernel that was compiled for later GPUs alone", run<no_fault>, 1, "CUDA_ON_CPU_ARCH=100"},
    {"a GPU without the instruction", run<async_waited>, 1, "CUDA_ON_CPU_CAPABILITY=7.5"},
    {"a trap that the host does not ask about", trap_unnoticed},
    {"pieces of 1 MiB and a little, in all free memory", all_free_memory, 1, "CUDA_ON_CPU_MEMORY=67108864"},
    {"no memory left for cuBLAS's workspace", library_without_memory, 1, "CUDA_ON_CPU_MEMORY=67108864"},
    {"bits that depend on cuBLASLt's algorithm", order_of_products},
    {"bits that depend on cuBLAS's algorithm", order_of_sgemm},
    {"a GELU epilogue taken for granted, and for exact", gelu_epilogue},
    {"TF32 taken for fp32", tf32_for_fp32},
};
static const int fault_count = sizeof faults / sizeof faults[0];

/* This process is rank 0 and forks the others. */
static void make_ranks(Data *d, int ranks)
{
    ncclUniqueId id;
    if (ranks == 1)
        return;
    NCCL_CHECK(ncclGetUniqueId(&id));
    for (int rank = 1; rank < ranks && d->rank == 0; rank++)
        if (fork() == 0)
            d->rank = rank;
    NCCL_CHECK(ncclCommInitRank(&d->comm, ranks, id, d->rank));
}

int main(int argc, char **argv)
{
    const int number = argc > 1 ? atoi(argv[1]) : -1;
    if (argc > 1 && strcmp(argv[1], "list") == 0) {
        for (int i = 0; i < fault_count; i++)
            printf("%d %s\n", i, faults[i].name);
        return 0;
    }
    if (number < 0 || number >= fault_count) {
        fprintf(stderr, "usage: bugs list | bugs 0 .. bugs %d\n", fault_count - 1);
        return 2;
    }
    float host[64];
    Data d = {};
    if (faults[number].environment)
        putenv(const_cast<char *>(faults[number].environment));
    make_ranks(&d, faults[number].ranks);
    d.on_host = static_cast<float *>(malloc(sizeof host));
    for (int i = 0; i < 64; i++)
        host[i] = float(i + 1);
    CUDA_CHECK(cudaMalloc(&d.x, sizeof host));
    CUDA_CHECK(cudaMalloc(&d.out, sizeof host));
    CUDA_CHECK(cudaMemcpy(d.x, host, sizeof host, cudaMemcpyHostToDevice));
    CUDA_CHECK(cudaMemset(d.out, 0, sizeof host));
    faults[number].run(d);
    CUDA_CHECK(cudaMemcpy(host, d.out, sizeof host, cudaMemcpyDeviceToHost));
    CUDA_CHECK(cudaFree(d.x));
    CUDA_CHECK(cudaFree(d.out));
    free(d.on_host);
    if (d.rank > 0)
        return 0;
    for (float f : host)
        printf(f == f ? "%g " : "NaN ", double(f));
    printf("\n");
    return 0;
}
