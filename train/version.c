#include "train/version.h"

#include "base/hash.h"

#include <stdio.h>

#ifndef TRAIN_GPT_SOURCE /* the Makefile defines it for this file */
#define TRAIN_GPT_SOURCE "unknown"
#endif

const char *const train_gpt_source = TRAIN_GPT_SOURCE;

#ifdef __clang__
#define COMPILER __VERSION__ /* "Clang 14.0.6" */
#else
#define COMPILER "gcc " __VERSION__
#endif
#ifndef TRAIN_GPT_CFLAGS
#define TRAIN_GPT_CFLAGS ""
#endif

const char *const train_gpt_compiler = COMPILER " " TRAIN_GPT_CFLAGS;

const char *train_gpt_program(void)
{
    static char text[HASH_TEXT] = "";
    unsigned char bytes[1 << 16];
    FILE *file = text[0] == '\0' ? fopen("/proc/self/exe", "rb") : NULL;
    if (file == NULL)
        return text;
    Hash hash = hash_begin();
    size_t size;
    while ((size = fread(bytes, 1, sizeof bytes, file)) > 0)
        hash_add(&hash, bytes, size);
    if (!ferror(file))
        hash_format(hash_end(&hash), text);
    fclose(file);
    return text;
}
