/*
 * Tokens, models and optimizers, as training would make them.
 */
#include "dev/bench/cuda/bench.cuh"

extern "C" {
#include "base/random.h"
}

#include <algorithm>
#include <cmath>

namespace bench {

/* With the frequencies of a language: the token of rank r is about 1/r of all (Zipf's law). */
std::vector<int32_t> draw_tokens(size_t n, size_t V, uint64_t seed)
{
    std::vector<int32_t> tokens(n);
    Random random = random_make(seed, 0);
    for (int32_t &token : tokens)
        token = (int32_t)std::min((double)(V - 1), std::exp(random_uniform(&random) * std::log((double)V + 1)) - 1);
    return tokens;
}

size_t count_distinct(std::vector<int32_t> tokens)
{
    std::sort(tokens.begin(), tokens.end());
    return (size_t)(std::unique(tokens.begin(), tokens.end()) - tokens.begin());
}

static GptSetup setup_of(const Options &o, size_t B)
{
    return {B, o.T, GPT_TRAINING, GPT_BF16, GPT_RECOMPUTE_NOTHING, false, false};
}

Optim *make_optim(const char *rule, const GptTable *table, const Arenas *arenas)
{
    OptimConfig config = {};
    Optim *optim;
    Error e;
    config.rule = rule;
    config.steps = 100;
    check(optim_create(&config, table->tensors, table->count, arenas, &optim, &e), &e);
    return optim;
}

double memory_of(const Options &o, size_t B, const char *rule)
{
    const GptSetup setup = setup_of(o, B);
    GptTable table;
    Error e;
    check(gpt_table_make(&o.config, &table, &e), &e);
    Optim *plan = make_optim(rule, &table, NULL);
    const double bytes = (double)gpt_memory_needed(&o.config, &setup) + (double)optim_memory(plan);
    optim_free(plan);
    gpt_table_free(&table);
    return bytes;
}

Gpt *make_gpt(const Options &o, size_t B)
{
    const GptSetup setup = setup_of(o, B);
    Gpt *g;
    Error e;
    check(gpt_create(&o.config, &setup, &g, &e), &e);
    check(gpt_init(g, 1, &e), &e);
    return g;
}

} // namespace bench
