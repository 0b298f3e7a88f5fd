#include "dev/bench/cuda/table.cuh"

#include "dev/bench/cuda/bench.cuh"

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace bench {

/* Seconds. */
static double floor_of(const Row &row, const Ceilings &c)
{
    const double rate = row.unit == FP32_CORES ? c.fp32 : c.gemm, moving = row.bytes / c.copy;
    return row.unit == MEMORY || rate == 0 ? moving : std::max(moving, row.flops / rate);
}

static bool is_bound_by_memory(const Row &row, const Ceilings &c) { return floor_of(row, c) == row.bytes / c.copy; }

/* "norm forward" -> "norm_forward" */
static std::string as_word(std::string name)
{
    name.erase(std::remove_if(name.begin(), name.end(), [](char c) { return strchr(",'+", c) != NULL; }), name.end());
    name.erase(std::unique(name.begin(), name.end(), [](char a, char b) { return a == ' ' && b == ' '; }), name.end());
    std::replace(name.begin(), name.end(), ' ', '_');
    return name;
}

/* timer NULL: nothing is run. Returns the seconds, or 0. */
static double report_row(const Row &row, const Ceilings &c, Timer *timer)
{
    const double floor = floor_of(row, c);
    printf("%-32s %4.0f %9.1f %9.2f %9.1f", row.name.c_str(), row.count, 1e-6 * row.bytes, 1e-9 * row.flops,
           1e6 * floor);
    if (timer == NULL) {
        printf(row.must > 0 ? " %9s %14s %9s %3.0f%%\n" : " %9s %14s %9s\n", "-", "-", "-", 100 * row.must);
        return 0;
    }
    const double seconds = time_of(timer, row.run), share = floor / seconds;
    const bool memory = is_bound_by_memory(row, c);
    char reached[32];
    snprintf(reached, sizeof reached, "%.1f %s", memory ? 1e-9 * row.bytes / seconds : 1e-12 * row.flops / seconds,
             memory ? "GB/s" : "TFLOP/s");
    printf(" %9.1f %14s %8.0f%%", 1e6 * seconds, reached, 100 * share);
    if (row.must > 0)
        printf(" %3.0f%% %s", 100 * row.must, share >= row.must ? "ok" : "MISSED");
    putchar('\n');
    fflush(stdout);
    number("us/" + as_word(row.name), 1e6 * seconds);
    number((row.must > 0 ? "of_copy/" : "of_floor/") + as_word(row.name), share);
    return seconds;
}

void report_rows(const std::vector<Row> &rows, const Ceilings &c, double tokens, double flops, Timer *timer)
{
    double floor = 0, took = 0, memory = 0;
    printf("\n%-32s %4s %9s %9s %9s %9s %14s %9s %s\n", "", "x", "MB", "GFLOP", "floor us", "time us", "reached",
           "of floor", "must");
    for (const Row &row : rows) {
        const double at_least = row.count * floor_of(row, c);
        took += row.count * report_row(row, c, timer);
        floor += at_least;
        memory += row.unit == MEMORY ? at_least : 0;
    }
    printf("\nforward and backward of %.0f tokens, x times each: floor %.2f ms, %.0f%% of it elementwise, which is "
           "%.0f tokens/s and %.0f TFLOP/s\n",
           tokens, 1e3 * floor, 100 * memory / floor, tokens / floor, 1e-12 * flops / floor);
    number("floor_tokens_per_second", tokens / floor);
    if (timer == NULL)
        return;
    printf("%-59s time  %.2f ms, which is %.0f tokens/s and %.0f TFLOP/s\n", "", 1e3 * took, tokens / took,
           1e-12 * flops / took);
}

} // namespace bench
