#ifndef DEV_TESTS_NAIVE_GPT_H
#define DEV_TESTS_NAIVE_GPT_H

#include "gpt/gpt.h"

/*
 * The model a second time, with every option, in double and as naively as can be: the judge of train_gpt.c's forward
 * pass and, by finite differences, of its backward pass. The configuration need not be resolved. params is an arena of
 * table->arena_size doubles laid out by the table. Tokens and targets are (B,T). Returns the sum of cross-entropies
 * over the positions whose target is not negative; logits (B,T,V) are written when not NULL.
 */
double naive_gpt_loss(const GptConfig *config, const GptTable *table, const double *params, GptDropout dropout,
                      const int32_t *tokens, const int32_t *targets, size_t B, size_t T, double *logits);

/* Of each head, over its queries and the keys up to them: the largest score (scale q k), and the largest that it could be
 * of vectors of these lengths (scale |q| |k|). largest, sizes (L,NH). */
void naive_gpt_scores(const GptConfig *config, const GptTable *table, const double *params, const int32_t *tokens,
                      size_t B, size_t T, double *largest, double *sizes);

#endif
