#ifndef OPTIM_VERBS_LINES_H
#define OPTIM_VERBS_LINES_H

#include "base/hd.h"
#include "optim/verbs/verbs.h"

/* Rows or columns of a matrix: `count` lines of `length` elements; strides `line` between lines, `step` within one. */
typedef struct Lines {
    size_t count, length, line, step;
} Lines;

static inline HD Lines lines_of(Mats x, bool columns)
{
    const Lines rows_of = {x.rows, x.cols, x.cols, 1}, columns_of = {x.cols, x.rows, 1, x.cols};
    return columns ? columns_of : rows_of;
}

#endif
