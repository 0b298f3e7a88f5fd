#ifndef DEV_BENCH_CUDA_BENCH_CUH
#define DEV_BENCH_CUDA_BENCH_CUH

extern "C" {
#include "base/error.h"
#include "gpt/gpt.h"
#include "optim/optim.h"
}

#include <cstdint>
#include <string>
#include <vector>

/*
 * What the parts of the benchmark share: its options, its figures, tokens, models and optimizers. What goes wrong ends
 * the program.
 */

namespace bench {

struct Options {
    bool kernels = false, step = false, counted = false;
    const char *model = "gpt2", *optimizer = NULL, *numbers = NULL;
    size_t T = 1024, B = 0, total = 524288, rounds = 15, steps = 7, copy_mib = 1024, gemm = 8192, flush_mib = 256;
    GptConfig config = {};
};

/* Both parts print to stdout. */
void part_kernels(const Options &o);
void part_step(const Options &o);

/* A figure for the file of --numbers, where there is one. */
void number(const std::string &name, double value);

[[noreturn]] void fail(const char *text);

/* Fails with e's text unless status is 0. */
void check(int status, const Error *e);

/* n tokens of a vocabulary of V, with the frequencies of a language. */
std::vector<int32_t> draw_tokens(size_t n, size_t V, uint64_t seed);

size_t count_distinct(std::vector<int32_t> tokens);

/* A model for micro-batches of B sequences, with its first weights; gpt_free. */
Gpt *make_gpt(const Options &o, size_t B);

/* An optimizer with the rule's own hyperparameters; optim_free. */
Optim *make_optim(const char *rule, const GptTable *table, const Arenas *arenas);

/* Bytes that training with the rule takes. */
double memory_of(const Options &o, size_t B, const char *rule);

} // namespace bench

#endif
