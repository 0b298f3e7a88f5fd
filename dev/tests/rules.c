#include "dev/tests/rules.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const size_t shapes[3][2] = {{6, 11}, {12, 5}, {7, 7}};

void run_begin(Run *run, const OptimConfig *config, size_t rows, size_t cols, uint64_t seed)
{
    *run = (Run){0};
    params_add(&run->p, "w", ROLE_HIDDEN_MATRIX, rows, cols, 1);
    params_fill(&run->p, seed);
    run->optim = make_optim(config, &run->p);
}

void run_end(Run *run)
{
    optim_free(run->optim);
    params_free(&run->p);
}

void run_step(Run *run, double factor)
{
    optim_begin(run->optim, factor, factor);
    optim_step(run->optim, 1);
}

void run_random_step(Run *run, double factor, uint64_t seed)
{
    fill_normal(run->p.grads, run->p.floats, 1, seed);
    run_step(run, factor);
}

OptimState state_of(const Optim *optim, const char *name)
{
    char full[64];
    snprintf(full, sizeof full, "w.%s", name);
    for (size_t i = 0; i < optim_state_count(optim); i++)
        if (strcmp(optim_state(optim, i)->name, full) == 0)
            return *optim_state(optim, i);
    fprintf(stderr, "test: there is no state %s\n", full);
    exit(1);
}

float *update_of(OptimConfig config, const float *g, size_t rows, size_t cols)
{
    Run run;
    hyper_set(&config.hyper, HYPER_LR, 1);
    run_begin(&run, &config, rows, cols, 1);
    memset(run.p.values, 0, run.p.floats * sizeof *run.p.values);
    memcpy(run.p.grads, g, run.p.floats * sizeof *g);
    run_step(&run, 1);
    float *update = copy_floats(run.p.values, run.p.floats);
    for (size_t i = 0; i < run.p.floats; i++)
        update[i] = -update[i];
    run_end(&run);
    return update;
}

double slope(double w, size_t i) { return (0.1 + 0.15 * (double)(i % 7)) * (w - sin((double)i)); }

void slopes(const Run *run)
{
    for (size_t i = 0; i < run->p.floats; i++)
        run->p.grads[i] = (float)slope((double)run->p.values[i], i);
}

double largest_of(const float *x, size_t n)
{
    double largest = 0;
    for (size_t i = 0; i < n; i++)
        largest = fmax(largest, fabs((double)x[i]));
    return largest;
}

double *doubles_of(const float *x, size_t n)
{
    double *copy = make_doubles(n);
    for (size_t i = 0; i < n; i++)
        copy[i] = (double)x[i];
    return copy;
}

void check_close_to_doubles(const float *got, const double *want, size_t n, double bound, const char *what)
{
    for (size_t i = 0; i < n; i++)
        if (!check(fabs((double)got[i] - want[i]) <= bound, "%s: element %zu: got %.9g, want %.9g, bound %.3g", what, i,
                   (double)got[i], want[i], bound))
            return;
}

void product(double *to, const double *x, bool tx, const double *y, bool ty, size_t r, size_t k, size_t c)
{
    for (size_t i = 0; i < r; i++)
        for (size_t j = 0; j < c; j++) {
            double sum = 0;
            for (size_t l = 0; l < k; l++)
                sum += (tx ? x[l * r + i] : x[i * k + l]) * (ty ? y[j * k + l] : y[l * c + j]);
            to[i * c + j] = sum;
        }
}

/* --- two rules that are one --- */

double largest_difference(const OptimConfig *one, const OptimConfig *other, Gradients *gradients, double *largest)
{
    Run a, b;
    double worst = 0;
    *largest = 0;
    run_begin(&a, one, 6, 11, 3);
    run_begin(&b, other, 6, 11, 3);
    for (size_t t = 0; t < STEPS; t++) {
        Run *const both[2] = {&a, &b};
        for (size_t k = 0; k < 2; k++) {
            const double factor = gradients != NULL ? 1 : 1 - (double)t / 16;
            optim_begin(both[k]->optim, factor, factor);
            if (gradients != NULL)
                gradients(both[k]);
            else
                fill_normal(both[k]->p.grads, both[k]->p.floats, 1, 30 + t);
            optim_step(both[k]->optim, 1);
        }
        *largest = fmax(*largest, largest_of(a.p.values, a.p.floats));
        for (size_t i = 0; i < a.p.floats; i++) {
            const double difference = fabs((double)a.p.values[i] - (double)b.p.values[i]);
            worst = difference <= worst ? worst : difference;
        }
    }
    run_end(&a);
    run_end(&b);
    return worst;
}

void expect_same(const OptimConfig *one, const OptimConfig *other, Gradients *gradients, double b, const char *what)
{
    double largest;
    const double worst = largest_difference(one, other, gradients, &largest),
                 bound = STEPS * 4 * U * largest * (1 + 1 / (1 - b));
    check(worst <= bound, "%s: differ by %.3g, bound %.3g", what, worst, bound);
}

void expect_same_bits(const OptimConfig *one, const OptimConfig *other, const char *what)
{
    double largest;
    const double worst = largest_difference(one, other, NULL, &largest);
    check(worst == 0, "%s: differ by %.3g", what, worst);
}
