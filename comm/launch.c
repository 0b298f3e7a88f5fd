#include "comm/transport.h"

#include <stdlib.h>

/* A number in the environment: 0 and *n, 1 if the variable is absent, -1 if it holds something else. */
static int read_number(const char *name, size_t least, size_t *n, Error *e)
{
    const char *text = getenv(name);
    char *end;
    if (text == NULL || *text == '\0')
        return 1;
    const unsigned long long value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || value < least || value > RANKS_MOST)
        return error_set(e, "%s is '%s' in the environment, not a number from %zu to %d", name, text, least,
                         RANKS_MOST);
    *n = (size_t)value;
    return 0;
}

/* torchrun's, or anyone's who sets the same. */
static int read_torchrun(Launch *launch, Error *e)
{
    Ranks *r = &launch->ranks;
    const int has_world = read_number("WORLD_SIZE", 1, &r->world, e), has_rank = read_number("RANK", 0, &r->rank, e);
    if (has_world < 0 || has_rank < 0)
        return -1;
    if (has_world > 0 || r->world == 1)
        return 0;
    if (has_rank > 0)
        return error_set(e, "WORLD_SIZE is set in the environment, and RANK is not");
    if (r->rank >= r->world)
        return error_set(e, "RANK %zu is not below WORLD_SIZE %zu", r->rank, r->world);
    launch->kind = LAUNCH_TCP;
    launch->launcher = "torchrun";
    return 0;
}

int launch_read(Launch *launch, Error *e)
{
    /* srun sets PMI's and Slurm's; a batch script has Slurm's other variables, but no step. */
    static const struct {
        const char *variable, *launcher;
    } mpi[] = {{"OMPI_COMM_WORLD_SIZE", "mpirun"},
               {"SLURM_STEP_NUM_TASKS", "srun"},
               {"PMI_SIZE", "mpiexec"}};
    *launch = (Launch){LAUNCH_ALONE, NULL, {0, 1}};
    for (size_t i = 0; i < sizeof mpi / sizeof *mpi; i++) {
        const int status = read_number(mpi[i].variable, 1, &launch->ranks.world, e);
        if (status < 0)
            return -1;
        if (status > 0)
            continue;
        launch->launcher = mpi[i].launcher;
        launch->kind = launch->ranks.world > 1 ? LAUNCH_MPI : LAUNCH_ALONE;
        return 0;
    }
    return read_torchrun(launch, e);
}

bool launch_is_first(void)
{
    static const char *const variables[] = {"OMPI_COMM_WORLD_RANK", "SLURM_PROCID", "PMI_RANK", "RANK"};
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        if (getenv(variables[i]) != NULL)
            return atoi(getenv(variables[i])) == 0;
    return true;
}
