#ifndef DEV_BENCH_CUDA_TABLE_CUH
#define DEV_BENCH_CUDA_TABLE_CUH

#include "dev/bench/cuda/timer.cuh"

#include <functional>
#include <string>
#include <vector>

/*
 * The table of kernels: what each has to do at least, and how long it took.
 */

namespace bench {

/* What the GPU can do: bytes/s of a copy, FLOP/s of bf16 products, FLOP/s in fp32 (0: unknown). */
struct Ceilings {
    double copy, gemm, fp32;
};

/* An H200's, as PyTorch was measured on one: see README.md. */
const Ceilings yardstick = {4.3e12, 790e12, 66.9e12};

enum Unit { MEMORY, TENSOR_CORES, FP32_CORES };

struct Row {
    std::string name;
    double count; /* in a forward and backward pass */
    double bytes, flops;
    Unit unit;   /* that the FLOPs are done by; MEMORY: too few to count */
    double must; /* of the floor, or 0 */
    std::function<void()> run;
};

/* Runs and prints every row, then what they make together: a forward and backward pass over so many tokens, which is
 * `flops` by the formula. timer NULL: nothing is run. */
void report_rows(const std::vector<Row> &rows, const Ceilings &c, double tokens, double flops, Timer *timer);

} // namespace bench

#endif
