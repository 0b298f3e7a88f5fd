#include "dev/tests/fixtures.h"

#include "optim/verbs/verbs.h"

#include "base/random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *make_zeros(size_t n, size_t size)
{
    void *p = calloc(n + 1, size);
    if (p == NULL) {
        fprintf(stderr, "test: out of memory for %zu numbers\n", n);
        exit(1);
    }
    return p;
}

float *make_floats(size_t n) { return make_zeros(n, sizeof(float)); }
double *make_doubles(size_t n) { return make_zeros(n, sizeof(double)); }

float *copy_floats(const float *x, size_t n)
{
    float *copy = make_floats(n);
    memcpy(copy, x, n * sizeof *x);
    return copy;
}

void fill_normal(float *x, size_t n, double std, uint64_t seed)
{
    Random random = random_make(seed, 0);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(std * random_normal(&random));
}

double norm_of(const float *x, size_t n)
{
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += (double)x[i] * (double)x[i];
    return sqrt(squares);
}

static double dot(const double *x, const double *y, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i] * y[i];
    return sum;
}

double *make_orthonormal(size_t n, size_t m, uint64_t seed)
{
    Random random = random_make(seed, 0);
    double *q = make_doubles(n * m);
    for (size_t i = 0; i < n; i++) {
        double *row = q + i * m;
        for (size_t k = 0; k < m; k++)
            row[k] = random_normal(&random);
        for (size_t j = 0; j < 2 * i; j++) {
            const double *other = q + j % i * m, along = dot(row, other, m);
            for (size_t k = 0; k < m; k++)
                row[k] -= along * other[k];
        }
        const double length = sqrt(dot(row, row, m));
        for (size_t k = 0; k < m; k++)
            row[k] /= length;
    }
    return q;
}

float *make_matrix_of(const double *s, size_t n, size_t r, size_t c, uint64_t seed)
{
    double *u = make_orthonormal(n, r, seed), *v = make_orthonormal(n, c, seed + 500);
    float *x = make_floats(r * c);
    for (size_t i = 0; i < r; i++)
        for (size_t j = 0; j < c; j++) {
            double sum = 0;
            for (size_t k = 0; k < n; k++)
                sum += s[k] * u[k * r + i] * v[k * c + j];
            x[i * c + j] = (float)sum;
        }
    free(u);
    free(v);
    return x;
}

void params_add(Params *p, const char *name, TensorRole role, size_t rows, size_t cols, size_t blocks)
{
    Tensor *t = &p->tensors[p->count++];
    *t = (Tensor){.role = role, .rows = rows, .cols = cols, .blocks = blocks, .offset = p->floats};
    snprintf(t->name, sizeof t->name, "%s", name);
    p->floats += rows * cols;
}

void params_fill(Params *p, uint64_t seed)
{
    p->values = make_floats(p->floats);
    p->grads = make_floats(p->floats);
    fill_normal(p->values, p->floats, 1, seed);
    fill_normal(p->grads, p->floats, 1, seed + 1000);
}

void params_free(Params *p)
{
    free(p->values);
    free(p->grads);
}

Verbs *here(void)
{
    static Verbs *made;
    Error e;
    if (made == NULL && verbs_create(NULL, &made, &e) != 0) {
        fprintf(stderr, "test: %s\n", e.text);
        exit(1);
    }
    return made;
}

float *where_verbs_are(size_t n)
{
    Error e;
    float *x;
    if (verb_alloc(here(), n, "an array", &x, &e) == 0)
        return x;
    fprintf(stderr, "test: %s\n", e.text);
    exit(1);
}

Optim *make_optim(const OptimConfig *config, const Params *p)
{
    Optim *optim;
    Error e;
    if (optim_create(config, p->tensors, p->count, &(Arenas){.params = p->values, .grads = p->grads}, &optim, &e) !=
        0) {
        fprintf(stderr, "test: no optimizer %s: %s\n", config->rule, e.text);
        exit(1);
    }
    return optim;
}

void take_steps(Optim *optim, const Params *p, size_t begin, size_t steps, uint64_t seed)
{
    for (size_t t = begin; t < begin + steps; t++) {
        fill_normal(p->grads, p->floats, 1, seed + t);
        optim_begin(optim, 1, 1);
        optim_step(optim, 1);
    }
}
