#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include "base/error.h"

#include <stddef.h>

/* Allocates n floats, aligned to a cache line (and, when many, to huge pages where the system has them), filled with
 * zeros. `what` names them in the message when there is no memory. The caller frees with memory_free. */
int memory_floats(size_t n, const char *what, float **out, Error *e);
void memory_free(void *p);

/* Bytes of memory this process may use: the smaller of the machine's and its control group's. 0 when unknown. */
size_t memory_present(void);

#endif
