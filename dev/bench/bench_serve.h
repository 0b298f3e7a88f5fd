#ifndef DEV_BENCH_BENCH_SERVE_H
#define DEV_BENCH_BENCH_SERVE_H

#include "data/loader.h"
#include "gpt/gpt.h"
#include "optim/optim.h"

/* A model to measure, and the batches it is trained on. */
typedef struct BenchModel {
    const char *name;
    GptConfig gpt;
    size_t B;
} BenchModel;

/* A model in training, on random bytes. */
typedef struct BenchTrainer {
    const BenchModel *model;
    Gpt *gpt;
    Optim *optim;
    Tokens *tokens;
    Loader *loader;
    int32_t *inputs, *targets; /* (B,T) */
} BenchTrainer;

/* Ends the program when there is not enough memory. */
BenchTrainer bench_trainer_make(const BenchModel *model, const char *rule);
void bench_trainer_free(BenchTrainer *trainer);

/* One step; returns the CPU seconds of its forward and backward pass. */
double bench_trainer_step(BenchTrainer *trainer);

/*
 * This project's side in bench_rivals.h's game, until its input ends. Tasks:
 *   step                     training steps of the model, with AdamW; counts tokens
 *   decode                   tokens appended to a sequence, from its first on; counts tokens
 *   peak                     fused multiply-adds in registers: counts GFLOP
 *   muon ROWS COLS COUNT     Muon's steps on COUNT matrices; counts steps
 * model: NULL for one that has no step and no decode.
 */
void bench_serve(const BenchModel *model);

#endif
