#ifndef BASE_RANKS_H
#define BASE_RANKS_H

#include <stddef.h>

/* The processes that train one model together: which of them this is, and how many there are. */
typedef struct Ranks {
    size_t rank, world;
} Ranks;

/* One process is all there is. */
static inline Ranks ranks_here(void) { return (Ranks){.rank = 0, .world = 1}; }

#endif
