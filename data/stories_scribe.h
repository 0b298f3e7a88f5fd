#ifndef DATA_STORIES_SCRIBE_H
#define DATA_STORIES_SCRIBE_H

#include "base/error.h"
#include "base/random.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The lowest layer of the story language: choices, drawn and written or read along. Above it come the words
 * (stories_words.h), patterns (stories_tell.h), the plots (stories_grammar.h) and whole corpora (stories.h).
 */

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
    unsigned char *text;   /* (size) written so far, or to be read; on the heap, as are the nats */
    float *nats;           /* (cursor) -log p of each byte given all bytes before it */
    size_t size, capacity; /* of text and nats */
    size_t cursor;         /* of the next byte to read; generating, of the next byte to write */
    Choice choice;         /* being put together */
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

/* Makes room for so many bytes more of text, and their nats; -1 without memory. */
int scribe_reserve(Scribe *s, size_t more);

#endif
