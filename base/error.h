#ifndef BASE_ERROR_H
#define BASE_ERROR_H

/*
 * How functions report failure: they return 0, or -1 after writing one clear sentence into the caller's Error. Only
 * main() prints it and exits.
 */
typedef struct Error {
    char text[1024];
} Error;

/* Formats the sentence into e, truncated if too long, and makes it safe to print (text_show): one line, whatever a file
 * or an argument in it holds. Always returns -1: `return error_set(e, ...)`. */
int error_set(Error *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
