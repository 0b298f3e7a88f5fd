/*
 * A rank of `make bench-ranks` (ranks.sh starts them): Muon's step on the hidden matrices of GPT-2 124M, dealt out to
 * the ranks, by the processor time that each rank spends: what each would take with a core of its own.
 */
#include "base/memory.h"
#include "base/random.h"
#include "gpt/gpt.h"
#include "optim/optim.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void check(int status, const Error *e)
{
    if (status == 0)
        return;
    fprintf(stderr, "bench_ranks: %s\n", e->text);
    exit(1);
}

/* Of this process, all threads. */
static double processor_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(void)
{
    GptConfig config;
    GptTable table;
    Comm *comm;
    Error e;
    Arenas arenas = {0};
    Optim *optim;
    check(comm_open(&comm, &e), &e);
    const Ranks ranks = comm_ranks(comm);
    check(gpt_preset("gpt2", &config), &(Error){"no gpt2"});
    check(gpt_table_make(&config, &table, &e), &e);
    check(memory_floats(table.arena_size, "parameters", &arenas.params, &e), &e);
    check(memory_floats(table.arena_size, "gradients", &arenas.grads, &e), &e);
    Random random = random_make(1, ranks.rank);
    for (size_t i = 0; i < table.arena_size; i++)
        arenas.grads[i] = (float)random_uniform(&random) - 0.5f;
    check(optim_create(&(OptimConfig){.rule = "muon", .steps = 100, .comm = comm}, table.tensors, table.count, &arenas,
                       &optim, &e),
          &e);
    optim_begin(optim, 1, 1);
    const double begin = processor_seconds();
    optim_step(optim, 1);
    const double mine = processor_seconds() - begin;
    double *all = calloc(ranks.world, sizeof *all);
    comm_exchange(comm, &mine, sizeof mine, all);
    check(comm_lost(comm, &e), &e);
    for (size_t i = 0; i < ranks.world && ranks.rank == 0; i++)
        printf("%s%.2f", i == 0 ? "" : " ", all[i]);
    if (ranks.rank == 0)
        printf("\n");
    free(all);
    optim_free(optim);
    memory_free(arenas.params);
    memory_free(arenas.grads);
    gpt_table_free(&table);
    comm_close(comm);
    return 0;
}
