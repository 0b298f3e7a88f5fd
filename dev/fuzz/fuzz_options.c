/*
 * libFuzzer entry for train/options.c: a command line, an argument a line, is refused with a sentence, or read; what it
 * says is then recorded, and a command line that resumes takes the same from that record.
 */
#include "train/options.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *record(const Options *o, size_t *size)
{
    char *text = NULL;
    FILE *to = open_memstream(&text, size);
    options_write(o, to);
    fclose(to);
    return text;
}

static void check_record(const Options *o)
{
    static char program[] = "train_gpt", resume[] = "--resume";
    char *const argv[] = {program, resume};
    size_t size, again_size;
    char *text = record(o, &size), *again;
    Options resumed;
    Notes notes = {0};
    Error e;
    Json *json;
    if (json_parse(text, size, &json, &e) != 0 || options_parse(&resumed, 2, argv, &e) != 0 ||
        options_resume(&resumed, json, NULL, &notes, &e) != 0)
        abort();
    again = record(&resumed, &again_size);
    if (notes.count == 0 &&
        strcmp(text, again) != 0) /* a note: --batch-size auto has no value before a run has chosen one */
        abort();
    options_free(&resumed);
    json_free(json);
    free(text);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { MOST = 32 };
    static char program[] = "train_gpt";
    char *argv[MOST] = {program}, *text = calloc(size + 1, 1);
    int argc = 1;
    Options o;
    Error e = {""};
    memcpy(text, data, size);
    for (char *line = strtok(text, "\n"); line != NULL && argc < MOST; line = strtok(NULL, "\n"))
        argv[argc++] = line;
    if (options_parse(&o, argc, argv, &e) == 0)
        check_record(&o);
    else if (e.text[0] == '\0')
        abort();
    options_free(&o);
    free(text);
    return 0;
}
