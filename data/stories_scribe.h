#ifndef DATA_STORIES_SCRIBE_H
#define DATA_STORIES_SCRIBE_H

#include "base/error.h"
#include "base/random.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The lowest layer of the story language: choices, drawn and written, or parsed. Above it come words (stories_words.h),
 * patterns (stories_tell.h), plots (stories_grammar.h) and whole corpora (stories.h).
 */

enum { OPTIONS_MAX = 64, OPTION_BYTES_MAX = 4096 };

typedef struct Option {
    size_t start, length; /* within Choice.bytes */
    uint64_t weight;
} Option;

typedef struct Choice {
    Option options[OPTIONS_MAX];
    size_t count;
    char bytes[OPTION_BYTES_MAX]; /* the options' texts, concatenated */
    size_t size;
} Choice;

/* Called for every choice, with the option that the text has and the offset at which it starts. */
typedef void (*ChoiceObserver)(void *context, const Choice *choice, size_t chosen, size_t offset);

/* A word bound to a letter for the length of a story. */
typedef struct Slot {
    bool bound;
    char text[40];     /* "red kite", "Anna", "park", "apples", "7" */
    const char *other; /* "kite" for a red kite; otherwise Word.other, or NULL */
    size_t number;     /* the value, if a number */
} Slot;

enum { SLOT_FIRST = 'A', SLOT_COUNT = 'z' - 'A' + 1, LISTS_MAX = 8 };

typedef enum { GOING, CUT_OFF, FAILED } ScribeStatus;

/* Writes or parses stories. Once it is no longer GOING, operations do nothing and every choice returns 0, so that plots
 * need not check. */
typedef struct Scribe {
    bool parsing;
    ScribeStatus status;
    Random random;
    unsigned char *text;   /* (size) written so far, or to be parsed; on the heap, like nats */
    float *nats;           /* (cursor) -log p of each byte given all bytes before it */
    size_t size, capacity; /* of text and nats */
    size_t cursor;         /* the next byte to read or write */
    Choice choice;         /* under construction */
    Slot slots[SLOT_COUNT];
    uint64_t used[LISTS_MAX]; /* the words of each list that this story has drawn: bit i for word i */
    ChoiceObserver observe;
    void *context;
    Error *e;
} Scribe;

/* A choice is built option by option and then made: choice_open, { option_open, option_put ... } ..., choice_make,
 * which returns the index of the option that is now in the text. */
void choice_open(Scribe *s);
void option_open(Scribe *s, uint64_t weight);
void option_put(Scribe *s, const char *text, size_t length);
size_t choice_make(Scribe *s);

/* Stops the scribe because of an error in the grammar. */
void scribe_fault(Scribe *s, const char *what, const char *where);

/* Makes room for `more` bytes of text and their nats; -1 if out of memory. */
int scribe_reserve(Scribe *s, size_t more);

#endif
