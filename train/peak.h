#ifndef TRAIN_PEAK_H
#define TRAIN_PEAK_H

#include "gpt/gpt.h"

/*
 * FLOP/s that a device reaches at best in products of dense matrices of `dtype` with fp32 accumulation, by its full
 * name: a laptop's or a cut-down model of similar name is another device. 0 when the name is NULL or not in the table.
 */
double peak_flops(const char *device, GptDtype dtype);

#endif
