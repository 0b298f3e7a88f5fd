#ifndef OPTIM_SENSITIVITY_H
#define OPTIM_SENSITIVITY_H

#include "base/error.h"
#include "base/tensor.h"

/*
 * Sensitivities s_l of the modular norm max_l s_l |W_l|_l (Large et al. 2024): steepest descent in it divides each
 * tensor's step by s_l. They are given as a list, "c_proj=2,wte=0.5": a tensor whose name contains "c_proj" has 2; the
 * last match counts, and the default is 1.
 */

/* Checks a list: every number is above 0, every pattern matches a tensor. NULL is the empty list. */
int sensitivity_check(const char *list, const Tensor *tensors, size_t count, Error *e);

/* The sensitivity of the tensor of that name; the list must have been checked. */
double sensitivity_of(const char *list, const char *name);

#endif
