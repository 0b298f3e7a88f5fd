#ifndef BASE_TENSOR_H
#define BASE_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a parameter is for: all that optimizers know of the model when they choose a rule. */
typedef enum {
    ROLE_TOKEN_EMBEDDING,
    ROLE_POSITION_EMBEDDING,
    ROLE_HEAD,
    ROLE_HIDDEN_MATRIX,
    ROLE_BIAS,
    ROLE_GAIN,
    ROLE_COUNT
} TensorRole;

/* Where in its layer a hidden matrix is. */
typedef enum { PART_OTHER, PART_QKV, PART_ATTENTION_OUT, PART_MLP_IN, PART_MLP_OUT } TensorPart;

/*
 * A distribution of initial values. Independent ones: normal, or uniform with the same mean and standard deviation, or
 * mean + std s with random signs s, the same ones for all tensors of a layer.
 * Made of normal ones: rows of a root mean square of `std`; or blocks whose singular values are all std sqrt(fan-out /
 * fan-in), so that none makes a vector's root mean square more than `std` times as large.
 */
typedef enum { DRAW_NORMAL, DRAW_UNIFORM, DRAW_SIGNS, DRAW_EQUAL_ROWS, DRAW_ORTHOGONAL } TensorDraw;

typedef struct TensorInit {
    double mean, std;
    TensorDraw draw;
} TensorInit;

/*
 * One row of the tensor table: one parameter of the model. It drives allocation, initialisation, checkpoints,
 * optimizer groups, logging and tests. In memory a tensor is rows x cols, row-major, F32, contiguous, at `offset`
 * floats from the start of the parameter arena; its gradient has the same offset in the gradient arena. A vector is
 * one row of cols.
 */
typedef struct Tensor {
    char name[48]; /* the Hugging Face name, without the "transformer." prefix */
    TensorRole role;
    TensorPart part;
    size_t rows;     /* fan-out */
    size_t cols;     /* fan-in */
    size_t blocks;   /* matrices stacked along the rows: 3 for a fused QKV, otherwise 1 */
    size_t heads;    /* that the rows of each block of a query, key or value matrix hold; elsewhere 0 */
    bool transposed; /* files hold cols x rows (Hugging Face's Conv1D) */
    TensorInit init;
    size_t offset; /* floats */
} Tensor;

/* The memory that the tensors' offsets refer to. */
typedef struct Arenas {
    float *params, *grads;
    uint64_t *version; /* of params, incremented by every write, for holders of converted copies; or NULL */
    void *stream;      /* the cudaStream_t of all work on them; NULL: the default stream, or a CPU */
} Arenas;

static inline size_t tensor_size(const Tensor *t) { return t->rows * t->cols; }

#endif
