#ifndef DATA_STORIES_TELL_H
#define DATA_STORIES_TELL_H

#include "data/stories_scribe.h"

/*
 * Tells a pattern; returns the index of the alternative taken at its last outermost choice (0 if it has none).
 *
 *   text             itself
 *   [a|3*b|c]        a choice of alternatives, with weights (1 unless given, never 0). An alternative is a
 *                    pattern; the parts before each one's own first choice must be prefix-free
 *   {x=list}         draws a word new to this story from a word list, says it and binds it to slot x;
 *                    {x=a list}, {x=at list} say it in that form. The list "item" is an adjective, then a noun
 *   {x=one|two}      draws one of these words
 *   {x=2..20 then}   draws a number from the range and says it with what follows up to the brace (digits alone are
 *                    not prefix-free); the upper end may also be a slot that holds a number
 *   {x} {x form}     the content of slot x; forms: a (a red kite), at (in the park), one (kite, apple), and of people
 *                    he, him, his, He, His
 */
size_t tell(Scribe *s, const char *pattern);

/* Binds text, or a number, to a slot without saying anything. */
void slot_bind(Scribe *s, char letter, const char *text);
void slot_bind_number(Scribe *s, char letter, size_t number);
void slot_copy(Scribe *s, char to, char from);
size_t slot_number(const Scribe *s, char letter); /* 0 if it holds none */

#endif
