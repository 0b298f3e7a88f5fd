#ifndef OPTIM_VERBS_FACTOR_H
#define OPTIM_VERBS_FACTOR_H

#include "optim/verbs/verbs.h"

/*
 * The CPU's factorisations, in double, for the verbs of the same names.
 */
size_t factor_scratch(size_t rows, size_t cols, size_t batch);
void factor_polar(Mats x, double cutoff, float *scratch);
void factor_eigenbasis(Mats a, Mats basis, float *scratch);
void factor_root(Mats a, double scale, double eps, double power, Mats root, float *scratch);
void factor_qr(Mats x, float *scratch);
void factor_sort_basis(Mats basis, Mats image, Mats v, bool right, float *scratch);

#endif
