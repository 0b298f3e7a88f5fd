#ifndef BASE_RANKS_H
#define BASE_RANKS_H

#include <stddef.h>

/* The processes that train one model together: this one's rank, and their number. */
typedef struct Ranks {
    size_t rank, world;
} Ranks;

/* A single process. */
static inline Ranks ranks_here(void) { return (Ranks){.rank = 0, .world = 1}; }

#endif
