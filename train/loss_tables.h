#ifndef TRAIN_LOSS_TABLES_H
#define TRAIN_LOSS_TABLES_H

#include "data/tokens.h"

/*
 * Who is predicted how well: cross-entropy by the target's position in its window, and by how often its token occurs in
 * the training data (Kunstner et al. 2024 ask who learns the rare ones).
 */
typedef struct LossTables LossTables;

/* For windows of T targets from a vocabulary of V. The caller frees *out. */
int loss_tables_create(size_t T, size_t V, LossTables **out, Error *e);
void loss_tables_free(LossTables *t); /* NULL is fine */

/* Adds a target with its cross-entropy in nats. position < T, token < V. */
void loss_tables_add(LossTables *t, size_t position, int32_t token, double loss);

/*
 * Writes <prefix>_position.csv (position, targets, loss) and <prefix>_frequency.csv (occurrences from, to; tokens of
 * that kind in the vocabulary; targets, loss), classes of occurrences being 0, 1, 2-3, 4-7, ... `training` are counted
 * for the second, the first LOSS_TABLES_COUNTED of them; with NULL the targets themselves are. Replaces files of those
 * names.
 */
enum { LOSS_TABLES_COUNTED = 1 << 27 };
int loss_tables_write(const LossTables *t, const char *prefix, const Tokens *training, Error *e);

#endif
