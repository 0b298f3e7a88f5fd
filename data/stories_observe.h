#ifndef DATA_STORIES_OBSERVE_H
#define DATA_STORIES_OBSERVE_H

#include "data/stories.h"
#include "data/stories_scribe.h"

/* stories_generate and stories_parse with an observer of every choice (or NULL). */
int stories_generate_observed(uint64_t seed, size_t bytes, ChoiceObserver observe, void *context, Stories *out,
                              Error *e);
int stories_parse_observed(const unsigned char *text, size_t size, ChoiceObserver observe, void *context, Stories *out,
                           Error *e);

#endif
