#include "base/error.h"

#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>

int error_set(Error *e, const char *format, ...)
{
    char sentence[sizeof e->text];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    text_show(e->text, sizeof e->text, sentence);
    return -1;
}
