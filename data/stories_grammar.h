#ifndef DATA_STORIES_GRAMMAR_H
#define DATA_STORIES_GRAMMAR_H

#include "data/stories_scribe.h"

/* Tells one story, including its final empty line. */
void grammar_story(Scribe *s);

#endif
