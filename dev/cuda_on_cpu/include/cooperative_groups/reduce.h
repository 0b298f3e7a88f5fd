#ifndef CUDA_ON_CPU_COOPERATIVE_GROUPS_REDUCE_H
#define CUDA_ON_CPU_COOPERATIVE_GROUPS_REDUCE_H

#include "../cooperative_groups.h"

#endif
