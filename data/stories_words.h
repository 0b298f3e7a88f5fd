#ifndef DATA_STORIES_WORDS_H
#define DATA_STORIES_WORDS_H

#include <stddef.h>

/* The words that the stories draw from. */

typedef struct Word {
    const char *text;
    const char *other; /* he, she; the preposition of a place; the singular of a plural; otherwise NULL */
} Word;

typedef struct WordList {
    const char *name;
    const Word *words;
    size_t count;
    size_t used_index; /* lists with the same index share their used words */
    const char *only;  /* only words with this `other`; NULL: all */
} WordList;

/* The list called name (length bytes), or NULL. */
const WordList *words_find(const char *name, size_t length);

#endif
