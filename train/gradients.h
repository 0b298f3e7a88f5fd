#ifndef TRAIN_GRADIENTS_H
#define TRAIN_GRADIENTS_H

#include "comm/comm.h"
#include "gpt/gpt.h"
#include "optim/optim.h"

/*
 * A step's gradient from those of its micro-batches: sums in an order that does not depend on the ranks.
 *
 * Of M micro-batches each of W ranks has the next M/W. They are summed one after the other in blocks, these in a binary
 * tree within the rank, and the ranks' sums in the same tree: with W a power of two, and as many blocks in all as
 * --same-bits says (or as M is divisible by powers of two), each number of ranks up to that of blocks gives the same
 * bits. Within a rank the tree takes a copy of the gradients for each of its levels. The ranks' sum of a layer's
 * matrices begins while the last backward pass goes on to the layers below.
 */

/* Blocks of a rank that has `batches` micro-batches of a step. */
size_t gradients_blocks(size_t batches, size_t same_bits, size_t world);

/* Copies of the gradients that it takes to sum so many blocks. */
size_t gradients_levels(size_t blocks);

typedef struct Gradients Gradients;

/* gpt and optim are borrowed. blocks: the most of any step. The caller frees *out. */
int gradients_create(Gpt *gpt, const Optim *optim, Comm *comm, size_t blocks, Gradients **out, Error *e);
void gradients_free(Gradients *g); /* NULL is fine */

/* Begins a step of so many micro-batches of this rank, in so many blocks. */
void gradients_begin(Gradients *g, size_t batches, size_t blocks);

/* Forward and backward passes of the next micro-batch; inputs and targets (B,T). */
void gradients_add(Gradients *g, const int32_t *inputs, const int32_t *targets, size_t B, size_t T, double scale);

/* The same with targets that the model draws, which become `targets`; key and first as in gpt_draw. */
void gradients_add_drawn(Gradients *g, const int32_t *inputs, int32_t *targets, size_t B, size_t T, double scale,
                         uint64_t key, uint64_t first);

/* Collective, after the last: this rank's pieces (optim_pieces) of the gradients are then the step's. Returns the sum
 * of all cross-entropies. */
double gradients_finish(Gradients *g);

#endif
