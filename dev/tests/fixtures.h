#ifndef DEV_TESTS_FIXTURES_H
#define DEV_TESTS_FIXTURES_H

#include "optim/optim.h"
#include "optim/verbs/verbs.h"

#include <stdint.h>

/* Shared by several test programs: arrays, and small tables of parameters for the optimizers. Whatever cannot be
 * made ends the program with a sentence. Arrays are freed with free(). */

float *make_floats(size_t n); /* zeros */
double *make_doubles(size_t n);
float *copy_floats(const float *x, size_t n);

/* x (n) becomes std N(0,1). */
void fill_normal(float *x, size_t n, double std, uint64_t seed);

/* Euclidean norm, summed in double. */
double norm_of(const float *x, size_t n);

/* n orthonormal vectors in the rows of (n,m), n <= m: normal ones through Gram-Schmidt, twice. */
double *make_orthonormal(size_t n, size_t m, uint64_t seed);

/* x (r,c) = sum of s[k] u_k v_k^T over n orthonormal pairs in random directions. */
float *make_matrix_of(const double *s, size_t n, size_t r, size_t c, uint64_t seed);

/* Where the tests' verbs work. */
Verbs *here(void);

/* n zeros in the memory of the verbs, a GPU's where they run there; verb_free frees them. */
float *where_verbs_are(size_t n);

/* A model as an optimizer sees it: tensors with values and gradients. */
enum { PARAMS_MOST = 16 };
typedef struct Params {
    Tensor tensors[PARAMS_MOST];
    size_t count, floats;
    float *values, *grads;
} Params;

/* Appends a tensor to a Params that was zeroed before its first one. */
void params_add(Params *p, const char *name, TensorRole role, size_t rows, size_t cols, size_t blocks);

/* Allocates values and gradients and fills both with N(0,1). params_free frees them. */
void params_fill(Params *p, uint64_t seed);
void params_free(Params *p);

Optim *make_optim(const OptimConfig *config, const Params *p);

/* `steps` updates, step t with the gradients N(0,1) of seed + t, t counting from `begin`. */
void take_steps(Optim *optim, const Params *p, size_t begin, size_t steps, uint64_t seed);

#endif
