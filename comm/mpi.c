#include "comm/transport.h"

#ifdef HAVE_MPI

#include <mpi.h>
#include <stdlib.h>

#ifdef OPEN_MPI
static const char mpi_name[] = "Open MPI", mpi_of_srun[] = "pmix";
#else
static const char mpi_name[] = "MPICH", mpi_of_srun[] = "pmi2";
#endif

/* Work that was begun: a request of MPI's, and whom it waits for. */
typedef struct Requests {
    MPI_Comm comm;
    size_t count, room;
    MPI_Request *begun;
    size_t *peers;
} Requests;

enum { MESSAGE_MOST = 1 << 24 /* bytes: MPI counts in ints, and tells of no part of a message that it has moved */ };

static int grow(Requests *r, Error *e)
{
    if (r->count < r->room)
        return 0;
    const size_t room = 2 * r->room + 64;
    MPI_Request *begun = realloc(r->begun, room * sizeof *begun);
    r->begun = begun != NULL ? begun : r->begun;
    size_t *peers = realloc(r->peers, room * sizeof *peers);
    r->peers = peers != NULL ? peers : r->peers;
    if (begun == NULL || peers == NULL)
        return error_set(e, "out of memory for messages");
    r->room = room;
    return 0;
}

static int fail(int status, Error *e)
{
    char text[MPI_MAX_ERROR_STRING];
    int length;
    MPI_Error_string(status, text, &length);
    return error_set(e, "MPI says: %s", text);
}

static int begin(Requests *r, size_t peer, const void *from, void *to, size_t bytes, Error *e)
{
    for (size_t at = 0; at < bytes; at += MESSAGE_MOST) {
        const int n = (int)(bytes - at < MESSAGE_MOST ? bytes - at : MESSAGE_MOST);
        if (grow(r, e) != 0)
            return -1;
        MPI_Request *request = &r->begun[r->count];
        const int status = from != NULL
                               ? MPI_Isend((const char *)from + at, n, MPI_BYTE, (int)peer, 0, r->comm, request)
                               : MPI_Irecv((char *)to + at, n, MPI_BYTE, (int)peer, 0, r->comm, request);
        if (status != MPI_SUCCESS)
            return fail(status, e);
        r->peers[r->count++] = peer;
    }
    return 0;
}

static int mpi_send(void *state, size_t peer, const void *x, size_t bytes, Error *e)
{
    return begin(state, peer, x, NULL, bytes, e);
}

static int mpi_receive(void *state, size_t peer, void *x, size_t bytes, Error *e)
{
    return begin(state, peer, NULL, x, bytes, e);
}

static int mpi_progress(void *state, size_t *peer, Error *e)
{
    Requests *r = state;
    const size_t before = r->count;
    size_t left = 0;
    for (size_t i = 0; i < before; i++) {
        int done;
        const int status = MPI_Test(&r->begun[i], &done, MPI_STATUS_IGNORE);
        if (status != MPI_SUCCESS) {
            *peer = r->peers[i];
            return fail(status, e);
        }
        if (done)
            continue;
        r->begun[left] = r->begun[i];
        r->peers[left++] = r->peers[i];
    }
    r->count = left;
    *peer = left > 0 ? r->peers[0] : 0;
    return left == 0 ? PROGRESS_DONE : left < before ? PROGRESS_MOVED : PROGRESS_NONE;
}

static size_t mpi_most_silent(void *state, size_t peer)
{
    (void)state;
    return peer;
}

/* Where a rank is lost, MPI cannot be left in order: that would wait for it. */
static void mpi_close(void *state, bool orderly)
{
    Requests *r = state;
    if (orderly) {
        MPI_Comm_free(&r->comm);
        MPI_Finalize();
    }
    free(r->begun);
    free(r->peers);
    free(r);
}

int transport_open_mpi(const Launch *launch, Ranks *ranks, Transport *out, Error *e)
{
    int provided, rank, world;
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS)
        return error_set(e, "MPI does not start");
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &world);
    if ((size_t)world != launch->ranks.world) {
        MPI_Finalize();
        return error_set(e,
                         "%s started %zu ranks, and MPI sees %d: this program was built with %s, which "
                         "needs its own mpiexec, or srun --mpi=%s",
                         launch->launcher, launch->ranks.world, world, mpi_name, mpi_of_srun);
    }
    Requests *r = calloc(1, sizeof *r);
    if (r == NULL)
        return error_set(e, "out of memory");
    MPI_Comm_dup(MPI_COMM_WORLD, &r->comm);
    MPI_Comm_set_errhandler(r->comm, MPI_ERRORS_RETURN);
    *ranks = (Ranks){(size_t)rank, (size_t)world};
    *out = (Transport){r, mpi_send, mpi_receive, mpi_progress, mpi_most_silent, mpi_close};
    return 0;
}

#else

int transport_open_mpi(const Launch *launch, Ranks *ranks, Transport *out, Error *e)
{
    (void)ranks;
    (void)out;
    return error_set(e,
                     "%s started %zu ranks, and this program was built without MPI (Debian: apt-get install "
                     "libopenmpi-dev openmpi-bin, then make); or start the ranks with torchrun",
                     launch->launcher, launch->ranks.world);
}

#endif
