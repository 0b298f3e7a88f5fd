#ifndef DATA_STORIES_PRIVATE_H
#define DATA_STORIES_PRIVATE_H

#include "base/random.h"
#include "data/stories.h"

#include <stdbool.h>

/*
 * Inside the story language: stories.c makes choices, stories_tell.c turns patterns into choices,
 * stories_grammar.c holds the words and the plots.
 */

/* --- stories.c: choices --- */

enum { OPTIONS_MAX = 64, OPTION_BYTES_MAX = 4096 };

typedef struct Option {
    size_t start, length; /* within Choice.bytes */
    uint64_t weight;
} Option;

typedef struct Choice {
    Option options[OPTIONS_MAX];
    size_t count;
    char bytes[OPTION_BYTES_MAX]; /* the options' texts, one after the other */
    size_t size;
} Choice;

/* Sees every choice, with the option that stands in the text and the offset at which it begins. */
typedef void (*ChoiceObserver)(void *context, const Choice *choice, size_t chosen, size_t offset);

/* A word bound to a letter for the length of a story. */
typedef struct Slot {
    bool bound;
    char text[40];     /* "red kite", "Anna", "park", "apples", "7" */
    const char *other; /* "kite" of a red kite; otherwise Word.other, or NULL */
    size_t number;     /* of a number */
} Slot;

enum { SLOT_FIRST = 'A', SLOT_COUNT = 'z' - 'A' + 1, LISTS_MAX = 8 };

typedef enum { GOING, CUT_OFF, FAILED } ScribeStatus;

/* What writes stories or reads them along. Once it is no longer GOING every operation does nothing and every choice
 * comes out as 0, so that a plot runs to its end without looking. */
typedef struct Scribe {
    bool parsing;
    ScribeStatus status;
    Random random;
    Stories *out;
    size_t cursor;                        /* of the next byte to read; generating, of the next byte to write */
    size_t text_capacity, story_capacity; /* of the arrays of *out */
    Choice choice;                        /* being put together */
    Slot slots[SLOT_COUNT];
    uint64_t used[LISTS_MAX]; /* which words of each list this story has drawn: bit i for word i */
    ChoiceObserver observe;
    void *context;
    Error *e;
} Scribe;

/* A choice is put together option by option and then made: choice_open, { option_open, option_put ... } ...,
 * choice_make, which returns the index of the option that now stands in the text. */
void choice_open(Scribe *s);
void option_open(Scribe *s, uint64_t weight);
void option_put(Scribe *s, const char *text, size_t length);
size_t choice_make(Scribe *s);

/* Stops the scribe: the grammar itself is at fault. */
void scribe_fault(Scribe *s, const char *what, const char *where);

/* stories_generate and stories_parse with an observer (or NULL). */
int stories_generate_observed(uint64_t seed, size_t bytes, ChoiceObserver observe, void *context, Stories *out,
                              Error *e);
int stories_parse_observed(const unsigned char *text, size_t size, ChoiceObserver observe, void *context, Stories *out,
                           Error *e);

/* --- stories_tell.c: patterns --- */

/*
 * Tells a pattern, and returns the index of the alternative taken at its last outermost choice (0 if it has none).
 *
 *   text             itself
 *   [a|3*b|c]        a choice of alternatives, with weights (1 unless given, never 0). An alternative is a pattern;
 *                    what must be prefix-free is what each alternative says before its own first choice
 *   {x=list}         draws a word that this story has not drawn yet from a word list, says it, binds it to slot x;
 *                    {x=a list}, {x=at list} say it in that form. The list "item" is an adjective, then a noun
 *   {x=one|two}      draws one of these words
 *   {x=2..20 then}   draws a number of that range and says it with what follows it (digits alone are not prefix-free)
 *                    up to the brace; the upper end may also be a slot that holds a number
 *   {x} {x form}     what slot x holds; forms: a (a red kite), at (in the park), one (kite, apple), and of people
 *                    he, him, his, He, His
 */
size_t tell(Scribe *s, const char *pattern);

/* Binds text, or a number, to a slot without saying anything. */
void slot_bind(Scribe *s, char letter, const char *text);
void slot_bind_number(Scribe *s, char letter, size_t number);
void slot_copy(Scribe *s, char to, char from);
size_t slot_number(const Scribe *s, char letter); /* 0 for a slot without one */

/* --- stories_grammar.c: words and plots --- */

typedef struct Word {
    const char *text;
    const char *other; /* he, she; the preposition of a place; the singular of a plural; otherwise NULL */
} Word;

typedef struct WordList {
    const char *name;
    const Word *words;
    size_t count;
    size_t used_index; /* lists with the same index share what is used up */
    const char *only;  /* only words with this `other`; NULL: all */
} WordList;

/* The list called name (length bytes), or NULL. */
const WordList *grammar_list(const char *name, size_t length);

/* Tells one story, its final empty line included. */
void grammar_story(Scribe *s);

#endif
