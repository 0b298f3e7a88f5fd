#ifndef DATA_CHOICES_H
#define DATA_CHOICES_H

#include "base/error.h"
#include "data/tokenizer.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Multiple-choice items, as those of HellaSwag (Zellers et al. 2019): a context and its possible endings, one of which
 * is right. Each ending is a row of tokens, the context's first.
 */
typedef struct ChoiceRow {
    size_t begin, context, length; /* in Choices.tokens; tokens of the context, and in all */
} ChoiceRow;

typedef struct ChoiceItem {
    size_t first, count, label; /* rows; the right one of them, from 0 */
} ChoiceItem;

typedef struct Choices {
    size_t count, row_count, longest; /* items; rows; tokens of the longest row */
    ChoiceItem *items;
    ChoiceRow *rows;
    uint16_t *tokens;
} Choices;

/*
 * Reads items for a model of V tokens, in one of two forms:
 *   JSON lines, as published: {"ctx": "...", "endings": ["...", ..], "label": 0, ..}. Text becomes tokens by
 *   `tokenizer`; each ending is taken with a space before it, as by llm.c.
 *   llm.c's binary form (magic 20240522, version 1): GPT-2's tokens, whatever `tokenizer` is; it may be NULL.
 * The caller frees *out with choices_free. Errors name file and line or item: a file that cannot be read or is none of
 * these, a text without a tokenizer, an item without text, with fewer than two endings or without a right one, a token
 * that is not below V.
 */
int choices_read(const char *path, const Tokenizer *tokenizer, size_t V, Choices *out, Error *e);
void choices_free(Choices *c); /* a zeroed one is fine */

#endif
