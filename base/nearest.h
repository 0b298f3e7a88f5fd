#ifndef BASE_NEAREST_H
#define BASE_NEAREST_H

#include <stddef.h>

enum { NEAREST_MOST = 64 };

/* For "did you mean": of the names tried, the one with the least edit distance to a misspelt word; "" if all are
 * far. */
typedef struct Nearest {
    const char *word; /* borrowed */
    char best[NEAREST_MOST];
    size_t distance;
} Nearest;

Nearest nearest_to(const char *word);
void nearest_try(Nearest *n, const char *name);

#endif
