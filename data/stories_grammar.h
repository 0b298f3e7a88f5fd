#ifndef DATA_STORIES_GRAMMAR_H
#define DATA_STORIES_GRAMMAR_H

#include "data/stories_scribe.h"

/* The plots of the stories. Tells one story, its final empty line included. */
void grammar_story(Scribe *s);

#endif
