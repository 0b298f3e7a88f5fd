#include "train/notes.h"

#include <stdarg.h>
#include <stdio.h>

void notes_add(Notes *notes, const char *format, ...)
{
    char text[sizeof notes->lines->text];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (notes->count < NOTES_MOST)
        notes->count++;
    error_set(&notes->lines[notes->count - 1], "%s", text); /* which makes it printable */
}
