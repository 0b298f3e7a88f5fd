/* Learning-rate schedules against tables worked out by hand. */
#include "dev/tests/check.h"
#include "train/schedule.h"

#include <math.h>
#include <stdio.h>

/* Numbers below are written to 10 digits; the formulas themselves round a few times at 2^-53. */
static const double BOUND = 6e-11;

enum { STEPS = 10 };

typedef struct Table {
    const char *what;
    Schedule schedule;
    double want[STEPS];
} Table;

static void expect(const Table *tables, size_t count)
{
    for (const Table *table = tables; table < tables + count; table++) {
        for (size_t t = 0; t < STEPS; t++) {
            char what[128];
            snprintf(what, sizeof what, "%s, step %zu", table->what, t);
            check_close(schedule_factor(&table->schedule, t), table->want[t], BOUND, what);
        }
    }
}

/* Two steps of warmup, then eight with r = 0, 1/8 .. 7/8. */
static void test_after_warmup(void)
{
    static const Table tables[] = {
        {"constant", {SCHEDULE_CONSTANT, STEPS, 2, 0, 0}, {0.5, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
        {"linear to 0", {SCHEDULE_LINEAR, STEPS, 2, 0, 0}, {0.5, 1, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125}},
        {"linear to 0.1",
         {SCHEDULE_LINEAR, STEPS, 2, 0, 0.1},
         {0.5, 1, 1, 0.8875, 0.775, 0.6625, 0.55, 0.4375, 0.325, 0.2125}},
        {"cosine to 0", /* cos of 0, 22.5, 45 .. 157.5 degrees */
         {SCHEDULE_COSINE, STEPS, 2, 0, 0},
         {0.5, 1, 1, 0.9619397663, 0.8535533906, 0.6913417162, 0.5, 0.3086582838, 0.1464466094, 0.0380602337}},
        {"cosine to 0.1",
         {SCHEDULE_COSINE, STEPS, 2, 0, 0.1},
         {0.5, 1, 1, 0.9657457896, 0.8681980515, 0.7222075446, 0.55, 0.3777924554, 0.2318019485, 0.1342542104}},
        {"wsd, last 4 of 10 to 0.1", /* steps left 4, 3, 2, 1 of 4 */
         {SCHEDULE_WSD, STEPS, 2, 0.4, 0.1},
         {0.5, 1, 1, 1, 1, 1, 1, 0.775, 0.55, 0.325}},
    };
    expect(tables, sizeof tables / sizeof *tables);
}

static void test_without_warmup(void)
{
    static const Table tables[] = {
        {"constant", {SCHEDULE_CONSTANT, STEPS, 0, 0, 0}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
        {"linear to 0", {SCHEDULE_LINEAR, STEPS, 0, 0, 0}, {1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1}},
        {"cosine to 0", /* cos of 0, 18, 36 .. 162 degrees */
         {SCHEDULE_COSINE, STEPS, 0, 0, 0},
         {1, 0.9755282581, 0.9045084972, 0.7938926261, 0.6545084972, 0.5, 0.3454915028, 0.2061073739, 0.0954915028,
          0.0244717419}},
        {"wsd without cooldown", {SCHEDULE_WSD, STEPS, 0, 0, 0}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
        {"wsd, all of it cooldown", {SCHEDULE_WSD, STEPS, 0, 1, 0}, {1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1}},
        {"wsd, all of it cooldown, to 0.5",
         {SCHEDULE_WSD, STEPS, 0, 1, 0.5},
         {1, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55}},
        {"wsd, last 70% (modded-nanogpt track 3): the last factor is 1/7",
         {SCHEDULE_WSD, STEPS, 0, 0.7, 0},
         {1, 1, 1, 1, 0.8571428571, 0.7142857143, 0.5714285714, 0.4285714286, 0.2857142857, 0.1428571429}},
        {"wsd, last quarter of 10 steps: 2.5 of them",
         {SCHEDULE_WSD, STEPS, 0, 0.25, 0},
         {1, 1, 1, 1, 1, 1, 1, 1, 0.8, 0.4}},
    };
    expect(tables, sizeof tables / sizeof *tables);
}

/* Decay by a power of what is left, and schedules made for more steps than are run. */
static void test_powers_and_plans(void)
{
    static const Table tables[] = {
        {"wsd, last 4 of 10, squared", /* 1, 9/16, 1/4, 1/16 */
         {SCHEDULE_WSD, STEPS, 0, 0.4, 0, 2},
         {1, 1, 1, 1, 1, 1, 1, 0.5625, 0.25, 0.0625}},
        {"wsd, all of it, (1 - t/T)^1.25 (track 3, entry 27)",
         {SCHEDULE_WSD, STEPS, 0, 1, 0, 1.25},
         {1, 0.8766033718, 0.7565932872, 0.6402838535, 0.5280670421, 0.4204482076, 0.3181082915, 0.2220248413,
          0.1337480610, 0.0562341325}},
        {"wsd, to 0.1, square root", /* of 1, 3/4, 2/4, 1/4 */
         {SCHEDULE_WSD, STEPS, 0, 0.4, 0.1, 0.5},
         {1, 1, 1, 1, 1, 1, 1, 0.8794228634, 0.7363961031, 0.55}},
        {"wsd, planned for 20: last half",
         {SCHEDULE_WSD, STEPS, 0, 0.75, 0, 1, 20},
         {1, 1, 1, 1, 1, 1, 0.9333333333, 0.8666666667, 0.8, 0.7333333333}},
        {"linear, planned for 20",
         {SCHEDULE_LINEAR, STEPS, 0, 0, 0, 1, 20},
         {1, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55}},
    };
    expect(tables, sizeof tables / sizeof *tables);
}

/* A warmup as long as the run, and longer, is all there is, whatever follows it. */
static void test_warmup_fills_the_run(void)
{
    for (int kind = 0; kind < SCHEDULE_COUNT; kind++) {
        const Table tables[] = {
            {schedule_names[kind],
             {(ScheduleKind)kind, STEPS, STEPS, 0.5, 0.1},
             {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1}},
            {schedule_names[kind],
             {(ScheduleKind)kind, STEPS, 2 * STEPS, 0.5, 0.1},
             {0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5}},
        };
        expect(tables, sizeof tables / sizeof *tables);
    }
}

/* Every combination of the edges stays in [0, 1], above `final` after the warmup, and rises only in the warmup. */
static void test_range(void)
{
    static const size_t steps[] = {1, 2, 3, 7, 1000}, warmups[] = {0, 1, 2, 7, 2000};
    static const double fractions[] = {0, 1e-9, 0.3, 1};
    for (size_t i = 0; i < SCHEDULE_COUNT * 5 * 5 * 4 * 4; i++) {
        const Schedule s = {.kind = (ScheduleKind)(i / 400),
                            .steps = steps[i / 80 % 5],
                            .warmup = warmups[i / 16 % 5],
                            .cooldown = fractions[i / 4 % 4],
                            .final = fractions[i % 4]};
        double before = 2;
        for (size_t t = 0; t < s.steps; t++) {
            const double x = schedule_factor(&s, t), least = t < s.warmup ? 0 : s.final;
            check(x >= 0 && x >= least - 0x1p-50 && x <= 1 + 0x1p-50 && x <= before + 0x1p-50,
                  "%s of %zu steps, warmup %zu, cooldown %g, final %g: step %zu has factor %g", schedule_names[s.kind],
                  s.steps, s.warmup, s.cooldown, s.final, t, x);
            before = t < s.warmup ? 2 : x;
        }
    }
}

int main(void)
{
    check_run("after a warmup of two steps", test_after_warmup);
    check_run("without warmup", test_without_warmup);
    check_run("powers and plans", test_powers_and_plans);
    check_run("a warmup that fills the run", test_warmup_fills_the_run);
    check_run("factors stay between the final one and 1", test_range);
    return check_summary();
}
