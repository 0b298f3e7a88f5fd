#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#if defined(__SIZEOF_POINTER__) && __SIZEOF_POINTER__ < 8
#error "train_gpt needs a 64-bit machine"
#endif

/*
 * How functions report failure: they return 0, or -1 after writing one clear sentence into the caller's Error. Only
 * main() prints it and exits.
 */
typedef struct Error {
    char text[1024];
} Error;

/* Formats the sentence into e, truncated if too long, as printable characters (base/text.h): its arguments may come from a
 * file, and from e itself. Always returns -1: `return error_set(e, ...)`. */
int error_set(Error *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
