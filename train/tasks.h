#ifndef TRAIN_TASKS_H
#define TRAIN_TASKS_H

#include "comm/comm.h"
#include "data/tokenizer.h"
#include "data/tokens.h"
#include "gpt/gpt.h"
#include "train/loss_tables.h"

#include <stdbool.h>
#include <stdio.h>

/*
 * Evaluation beside the validation loss, as --eval lists it, separated by commas:
 *
 *     hellaswag[=FILE]   multiple choice (data/choices.h): the share of items whose right ending has the smallest
 *                        cross-entropy, summed (accuracy) or per token (normalised), as llm.c counts them
 *     shards=GLOB        mean cross-entropy over all targets of token shards, its perplexity and, where the tokenizer
 *                        is known, bits a byte of text: <|endoftext|> has none
 */
typedef struct Tasks Tasks;

/* Refuses a list that is none: a task that there is not, or one twice. tables: for tables of losses there must be
 * shards, once. */
int tasks_check(const char *list, bool tables, Error *e);

/* Opens what the list, which tasks_check has passed, names for a model of V tokens; the tokenizer, which may be NULL,
 * is borrowed. NULL as list: no tasks. The caller closes *out. Errors: those of opening the data. */
int tasks_open(const char *list, const Tokenizer *tokenizer, size_t V, Tasks **out, Error *e);
void tasks_close(Tasks *t); /* NULL is fine */

size_t tasks_count(const Tasks *t);

/* What their data are known by: the XXH64 of items, or of what tokens_shard_hash says. Errors: those of that. */
int tasks_hash(const Tasks *t, uint64_t *hash, Error *e);

/*
 * Collective: runs all tasks on the model's parameters as they stand, prints a line for each to `to` and appends to
 * `csv`, unless NULL, a row "step,task,measure,value" for each number. The targets of shards are added to `tables`,
 * unless NULL. Returns 0 also where a signal (train/stop.h) cut it short; what was cut is not reported. Errors: data
 * that can no longer be read, a loss that is not finite, tokenizers that lack a token.
 */
int tasks_run(const Tasks *t, Gpt *gpt, const GptSetup *setup, Comm *comm, size_t step, FILE *to, FILE *csv,
              LossTables *tables, Error *e);

#endif
