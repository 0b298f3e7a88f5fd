#include "dev/tests/tokenizer_files.h"

#include "dev/tests/check.h"
#include "files/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *data_path(const char *name)
{
    static char path[512];
    const char *folder = getenv("TRAIN_GPT_DATA");
    snprintf(path, sizeof path, "%s/%s", folder != NULL ? folder : "../shared/data", name);
    if (access(path, R_OK) == 0)
        return path;
    char reason[600];
    snprintf(reason, sizeof reason, "%s is not there (TRAIN_GPT_DATA: the folder of public data)", path);
    check_skip(reason);
    return NULL;
}

Tokenizer *open_tokenizer(const char *path)
{
    Tokenizer *t = NULL;
    Error e;
    return check(tokenizer_open(path, &t, &e) == 0, "%s", e.text) ? t : NULL;
}

Encoder *make_encoder(const Tokenizer *t)
{
    Encoder *encoder = NULL;
    Error e;
    return t != NULL && check(encoder_create(t, &encoder, &e) == 0, "%s", e.text) ? encoder : NULL;
}

/* U+0000, which files/json.h refuses, by U+E000, which is of the same class and stands in none of the strings. */
static void hide_nul(char *line)
{
    for (char *at; (at = strstr(line, "\\u0000")) != NULL;)
        memcpy(at, "\\ue000", 6);
}

static size_t show_nul(char *text)
{
    size_t n = 0;
    for (const char *at = text; *at != '\0'; n++) {
        const bool hidden = strncmp(at, "\xee\x80\x80", 3) == 0;
        text[n] = *at;
        if (hidden)
            text[n] = '\0';
        at += hidden ? 3 : 1;
    }
    return n;
}

static void golden_line(const char *path, char *line, size_t n, GoldenLine *each, void *context)
{
    Json *json;
    Error e;
    hide_nul(line);
    if (!check(json_parse(line, n, &json, &e) == 0, "%s: %s", path, e.text))
        return;
    const Json *ids = json_get(json, "ids");
    char *text = strdup(json_string(json_get(json, "text")));
    int32_t *list = malloc((ids->count + 1) * sizeof *list);
    size_t count = 0;
    for (const Json *id = ids->first; id != NULL; id = id->next)
        list[count++] = (int32_t)id->number;
    each(context, text, show_nul(text), list, count);
    free(text);
    free(list);
    json_free(json);
}

void each_golden(const char *path, GoldenLine *each, void *context)
{
    char *file;
    size_t size;
    Error e;
    if (!check(files_read_all(path, 1 << 20, &file, &size, &e) == 0, "%s", e.text))
        return;
    for (char *line = strtok(file, "\n"); line != NULL; line = strtok(NULL, "\n"))
        golden_line(path, line, strlen(line), each, context);
    free(file);
}

size_t merge_by_definition(PairRank *ranks, const void *context, int32_t *ids, size_t n)
{
    for (;;) {
        size_t best = n;
        int32_t least = -1, made = -1;
        for (size_t i = 0; i + 1 < n; i++) {
            int32_t merged;
            const int32_t rank = ranks(context, ids[i], ids[i + 1], &merged);
            if (rank >= 0 && (least < 0 || rank < least)) {
                least = rank;
                best = i;
                made = merged;
            }
        }
        if (best == n)
            return n;
        ids[best] = made;
        for (size_t i = best + 1; i + 1 < n; i++)
            ids[i] = ids[i + 1];
        n--;
    }
}
