#ifndef DEV_BENCH_BENCH_PRODUCTS_H
#define DEV_BENCH_BENCH_PRODUCTS_H

#include "dev/bench/bench_serve.h"

/* The table of the products that a training step of the model with Muon asks for, recorded while it runs: speed of the
 * program's own way, of the built-in sgemm and of OpenBLAS, on `threads` threads. */
void bench_products(const BenchModel *model, size_t threads);

#endif
