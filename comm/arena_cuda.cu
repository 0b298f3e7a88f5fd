/*
 * Arenas in GPUs' memory: NCCL moves what ranks send each other, on a stream of its own; the sums are a kernel here, in
 * the same tree as on the CPU, because NCCL promises no order. The host waits by looking, so that it sees a lost rank.
 */
extern "C" {
#include "comm/comm_private.h"
}

#include "base/cuda.cuh"

#include <cstring>
#include <new>

size_t comm_devices(void)
{
    int count = 0;
    return cudaGetDeviceCount(&count) == cudaSuccess ? (size_t)count : 0;
}

size_t comm_device_memory(void)
{
    size_t available, total;
    CUDA_CHECK(cudaMemGetInfo(&available, &total));
    return total;
}

void comm_choose_device(const Comm *comm)
{
    const CommNeighbours n = comm_neighbours(comm);
    const size_t count = comm_devices();
    /* None: the model's probe says so. Fewer than ranks: a launcher may show each rank some of its own. */
    if (n.count > 1 && count > 1)
        CUDA_CHECK(cudaSetDevice((int)(n.index % count)));
}

#ifdef HAVE_NCCL

#include <nccl.h>

struct Device {
    ncclComm_t nccl;
    cudaStream_t stream;
    cudaEvent_t begun, computed, done; /* on the arena's stream, twice, and on ours */
};

static Device *device_of(const Comm *comm) { return (Device *)comm->arenas; }

/* A failed call means that a rank is gone; which one, the ranks then find out. */
static void check_nccl(Comm *comm, ncclResult_t status)
{
    if (status != ncclSuccess && status != ncclInProgress && !comm->lost)
        comm_find_silent(comm, ncclGetErrorString(status));
}

/* Refuses two ranks on one GPU, which NCCL does not serve. */
static int check_devices(Comm *comm, Error *e)
{
    struct Place {
        int device[3];
    };
    int current;
    cudaDeviceProp p;
    CUDA_CHECK(cudaGetDevice(&current));
    CUDA_CHECK(cudaGetDeviceProperties(&p, current));
    const Place mine = {{p.pciDomainID, p.pciBusID, p.pciDeviceID}};
    Place *all = (Place *)calloc(comm->ranks.world, sizeof *all);
    int status = comm_agree(comm, all != NULL ? 0 : error_set(e, "out of memory"), e);
    if (status == 0)
        comm_exchange(comm, &mine, sizeof mine, all);
    for (size_t i = 0; i < comm->ranks.world && status == 0; i++)
        for (size_t k = 0; k < i && status == 0; k++)
            if (memcmp(&all[i], &all[k], sizeof mine) == 0 &&
                strcmp(comm->peers[i].machine, comm->peers[k].machine) == 0)
                status = error_set(e, "ranks %zu and %zu have the same GPU of %s: start one rank for each GPU", k, i,
                                   comm->peers[i].host);
    free(all);
    return status;
}

int comm_join_device(Comm *comm, Error *e)
{
    if (comm == NULL)
        return 0;
    ncclUniqueId id;
    Device *d = new (std::nothrow) Device();
    int status = d != NULL ? 0 : error_set(e, "out of memory");
    if (comm_agree(comm, status, e) != 0 || check_devices(comm, e) != 0) {
        delete d;
        return -1;
    }
    memset(&id, 0, sizeof id);
    ncclResult_t result = comm->ranks.rank == 0 ? ncclGetUniqueId(&id) : ncclSuccess;
    comm_broadcast(comm, &id, sizeof id);
    status = result == ncclSuccess ? 0 : error_set(e, "NCCL does not start: %s", ncclGetErrorString(result));
    if (comm_agree(comm, status, e) == 0) {
        result = ncclCommInitRank(&d->nccl, (int)comm->ranks.world, id, (int)comm->ranks.rank);
        if (result != ncclSuccess)
            status = error_set(e, "NCCL does not start: %s", ncclGetErrorString(result));
        status = comm_agree(comm, status, e);
    } else
        status = -1;
    if (status != 0) {
        delete d;
        return -1;
    }
    CUDA_CHECK(cudaStreamCreateWithFlags(&d->stream, cudaStreamNonBlocking));
    CUDA_CHECK(cudaEventCreate(&d->begun));
    CUDA_CHECK(cudaEventCreate(&d->computed));
    CUDA_CHECK(cudaEventCreate(&d->done));
    comm->arenas = d;
    return 0;
}

void comm_leave_device(Comm *comm)
{
    Device *d = device_of(comm);
    if (d == NULL)
        return;
    if (d->nccl != NULL && comm->lost) /* a kernel may still wait for what will not come */
        ncclCommAbort(d->nccl);
    else if (d->nccl != NULL)
        ncclCommDestroy(d->nccl);
    CUDA_CHECK(cudaEventDestroy(d->begun));
    CUDA_CHECK(cudaEventDestroy(d->computed));
    CUDA_CHECK(cudaEventDestroy(d->done));
    CUDA_CHECK(cudaStreamDestroy(d->stream));
    delete d;
}

/* Our stream goes on after what has been asked of the arena's. */
static void follow(Device *d, void *stream)
{
    CUDA_CHECK(cudaEventRecord(d->begun, (cudaStream_t)stream));
    CUDA_CHECK(cudaStreamWaitEvent(d->stream, d->begun, 0));
}

/* Waits on the host for both streams; the time that ours takes longer is what communication costs. */
static void wait_for(Comm *comm, void *stream)
{
    Device *d = device_of(comm);
    CommWatch watch = comm_watch();
    CUDA_CHECK(cudaEventRecord(d->computed, (cudaStream_t)stream));
    CUDA_CHECK(cudaEventRecord(d->done, d->stream));
    for (;;) {
        const cudaError_t computed = cudaEventQuery(d->computed), done = cudaEventQuery(d->done);
        ncclResult_t state = ncclSuccess;
        if (computed == cudaSuccess && done == cudaSuccess)
            break;
        if (computed != cudaErrorNotReady)
            CUDA_CHECK(computed);
        if (done != cudaErrorNotReady)
            CUDA_CHECK(done);
        check_nccl(comm, ncclCommGetAsyncError(d->nccl, &state));
        check_nccl(comm, state);
        if (!comm->lost && comm_gives_up(comm, &watch))
            comm_find_silent(comm, "its GPU waits for others");
        if (comm->lost) {
            ncclCommAbort(d->nccl);
            d->nccl = NULL;
            break;
        }
    }
    cudaGetLastError(); /* not ready */
    float ms = 0;
    if (!comm->lost && cudaEventElapsedTime(&ms, d->computed, d->done) == cudaSuccess && ms > 0)
        comm->cost.seconds += 1e-3 * (double)ms;
}

static void send(Comm *comm, size_t peer, float *x, size_t n)
{
    comm->cost.sent += n * sizeof *x;
    check_nccl(comm, ncclSend(x, n, ncclFloat32, (int)peer, device_of(comm)->nccl, device_of(comm)->stream));
}

static void receive(Comm *comm, size_t peer, float *x, size_t n)
{
    check_nccl(comm, ncclRecv(x, n, ncclFloat32, (int)peer, device_of(comm)->nccl, device_of(comm)->stream));
}

/* own = the sum of all ranks' parts in a binary tree: n floats, own in the arena, the others' `share` apart. */
__global__ void add_up_kernel(float *own, float *foreign, size_t n, size_t share, unsigned rank, unsigned world)
{
    const size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x;
    if (i >= n)
        return;
    const auto part = [=](unsigned r) { return r == rank ? own + i : foreign + (r - (r > rank)) * share + i; };
    for (unsigned stride = 1; stride < world; stride *= 2)
        for (unsigned r = 0; r + stride < world; r += 2 * stride)
            *part(r) += *part(r + stride);
    if (rank != 0)
        own[i] = *part(0);
}

void comm_reduce_begin(Comm *comm, float *arena, const CommPiece *pieces, size_t count, float *scratch, void *stream)
{
    if (comm == NULL || comm->lost)
        return;
    const Ranks r = comm->ranks;
    const size_t share = comm_share(pieces, count, r.rank);
    Device *d = device_of(comm);
    follow(d, stream);
    check_nccl(comm, ncclGroupStart());
    comm_post_parts(comm, arena, pieces, count, scratch, send, receive);
    check_nccl(comm, ncclGroupEnd());
    size_t at = 0;
    for (const CommPiece *p = pieces; p < pieces + count && !comm->lost; p++) {
        if (p->rank != r.rank)
            continue;
        cuda_launch(add_up_kernel, dim3(cuda_blocks(p->n, 256)), dim3(256), 0, d->stream, arena + p->first,
                    scratch + at, p->n, share, (unsigned)r.rank, (unsigned)r.world);
        at += p->n;
    }
}

void comm_reduce_end(Comm *comm, void *stream)
{
    if (comm != NULL && !comm->lost)
        wait_for(comm, stream);
}

void comm_all_gather(Comm *comm, float *arena, const CommPiece *pieces, size_t count, void *stream)
{
    if (comm == NULL || comm->lost)
        return;
    follow(device_of(comm), stream);
    check_nccl(comm, ncclGroupStart());
    comm_post_pieces(comm, arena, pieces, count, send, receive);
    check_nccl(comm, ncclGroupEnd());
    wait_for(comm, stream);
}

#else

int comm_join_device(Comm *comm, Error *e)
{
    return comm == NULL ? 0
                        : error_set(e,
                                    "%zu ranks on GPUs need NCCL, which this program was built without (Debian and "
                                    "Ubuntu with NVIDIA's packages: apt-get install libnccl-dev, then make)",
                                    comm->ranks.world);
}

void comm_leave_device(Comm *comm) { (void)comm; }

/* One rank alone: nothing is to be moved. */
void comm_reduce_begin(Comm *, float *, const CommPiece *, size_t, float *, void *) {}
void comm_reduce_end(Comm *, void *) {}
void comm_all_gather(Comm *, float *, const CommPiece *, size_t, void *) {}

#endif
