#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include "base/error.h"

#include <stddef.h>

/* Allocates n zeroed floats, aligned to a cache line (many of them to huge pages, if available). `what` names them in
 * the out-of-memory message. The caller frees them with memory_free. */
int memory_floats(size_t n, const char *what, float **out, Error *e);
void memory_free(void *p);

/* Bytes of memory this process may use: the machine's or its control groups', whichever is less. 0: unknown. */
size_t memory_present(void);

#endif
