#ifndef TRAIN_PEAK_H
#define TRAIN_PEAK_H

#include "gpt/gpt.h"

/*
 * Peak FLOP/s of a device in dense matrix products of `dtype` with fp32 accumulation, by its full name: a laptop or
 * cut-down model with a similar name is a different device. 0 if the name is NULL or not in the table.
 */
double peak_flops(const char *device, GptDtype dtype);

#endif
