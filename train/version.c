#include "train/version.h"

#ifndef TRAIN_GPT_SOURCE /* the Makefile defines it for this file */
#define TRAIN_GPT_SOURCE "unknown"
#endif

const char *const train_gpt_source = TRAIN_GPT_SOURCE;
