#ifndef OPTIM_SENSITIVITY_H
#define OPTIM_SENSITIVITY_H

#include "base/error.h"
#include "base/tensor.h"

/*
 * Sensitivities s_l of the modular norm max_l s_l |W_l|_l (Large et al. 2024): steepest descent in it takes each tensor
 * a 1/s_l-th of the way. They are given as a list, "c_proj=2,wte=0.5": a tensor whose name contains "c_proj" has 2; the
 * last match counts, and 1 where nothing matches.
 */

/* Checks a list: numbers above 0, patterns that match a tensor. NULL is the empty list. */
int sensitivity_check(const char *list, const Tensor *tensors, size_t count, Error *e);

/* The sensitivity of the tensor of that name; the list was checked. */
double sensitivity_of(const char *list, const char *name);

#endif
