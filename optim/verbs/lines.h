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

/* Where element i of `few` lies in `all`, of which `few` is the lines `which`, as in verbs.h. */
static inline HD size_t place_of(size_t i, Mats few, Mats all, const float *which, bool columns)
{
    const size_t b = i / (few.rows * few.cols), row = i / few.cols % few.rows, col = i % few.cols;
    const size_t k = columns ? few.cols : few.rows, line = columns ? col : row;
    const size_t number = which != NULL ? (size_t)which[b * k + line] : line;
    return (b * all.rows + (columns ? row : number)) * all.cols + (columns ? number : col);
}

#endif
