#include "base/error.h"

#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>

int error_set(Error *e, const char *format, ...)
{
    char raw[sizeof e->text]; /* the arguments may point into e */
    va_list args;
    va_start(args, format);
    vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    text_show(e->text, sizeof e->text, raw);
    return -1;
}
