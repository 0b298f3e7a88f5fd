#ifndef DEV_TESTS_TOKENIZER_FILES_H
#define DEV_TESTS_TOKENIZER_FILES_H

#include "data/tokenizer.h"
#include "files/json.h"

/* What the tokenizer's tests read: the tiny vocabulary of dev/tests/tokenizer (dev/reference/tokenizer.py), and GPT-2's
 * files where they are, in the folder $TRAIN_GPT_DATA or ../shared/data. */

#define TINY "dev/tests/tokenizer/"

/* The path of a file that is not part of the project; NULL, and the running test is skipped, if it is not there. The
 * memory is used again by the next call. */
const char *data_path(const char *name);

/* Opens a tokenizer; a failure is the running test's, and gives NULL. */
Tokenizer *open_tokenizer(const char *path);
Encoder *make_encoder(const Tokenizer *t);

/* Calls `each` for every line {"text": ..., "ids": [...]} of a file. U+0000 in a text is a NUL. */
typedef void GoldenLine(void *context, const char *text, size_t size, const int32_t *ids, size_t count);
void each_golden(const char *path, GoldenLine *each, void *context);

/* By the definition: the pair of lowest rank, the leftmost of equals, is joined again and again. `ranks` gives a pair's
 * rank and what it makes; -1: none. ids[0 .. n-1] are replaced; returns how many are left. */
typedef int32_t PairRank(const void *context, int32_t left, int32_t right, int32_t *merged);
size_t merge_by_definition(PairRank *ranks, const void *context, int32_t *ids, size_t n);

#endif
