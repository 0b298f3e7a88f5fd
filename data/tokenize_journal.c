#include "data/tokenize_journal.h"

#include "base/text.h"
#include "files/files.h"
#include "files/json_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { JOURNAL_MOST = 1 << 30 };

static const char *const set_names[SETS] = {"train", "val"};

/* PREFIX_name; the caller frees it. */
static char *path_of(const TokenizeRun *run, const char *name, Error *e)
{
    const size_t size = strlen(run->options->out) + strlen(name) + 2;
    char *path = malloc(size);
    if (path == NULL)
        error_set(e, "%s: out of memory", run->options->out);
    else
        snprintf(path, size, "%s_%s", run->options->out, name);
    return path;
}

/* --- writing --- */

static void put_hash(FILE *to, const char *before, const char *name, uint64_t hash)
{
    char text[HASH_TEXT];
    hash_format(hash, text);
    fprintf(to, "%s\"%s\": \"%s\"", before, name, text);
}

static void put_options(FILE *to, const TokenizeRun *run)
{
    fprintf(to, "  \"tokenizer\": {\"path\": ");
    json_write_string(to, run->options->tokenizer);
    put_hash(to, ", ", "hash", tokenizer_hash(run->tokenizer));
    fprintf(to, ", \"vocabulary\": %zu, \"endoftext\": %d},\n  \"field\": ", tokenizer_size(run->tokenizer),
            tokenizer_endoftext(run->tokenizer));
    json_write_string(to, run->options->field);
    fprintf(to, ",\n  \"shard_tokens\": %zu,\n  \"%s\": ", run->options->shard_tokens,
            run->split.tail ? "val_tail" : "val_fraction");
    json_write_number(to, run->split.fraction);
    fprintf(to, ",\n  \"documents\": %zu,\n  \"empty\": %zu,\n  \"bytes\": %zu,\n", run->documents, run->empty,
            run->bytes);
}

/* With the hashes of those that have been read. */
static void put_sources(FILE *to, const TokenizeRun *run, bool samples)
{
    fprintf(to, "  \"sources\": [\n");
    for (size_t i = 0; i < run->sources.count; i++) {
        const Source *source = &run->sources.list[i];
        fprintf(to, "    {\"path\": ");
        json_write_string(to, source->path);
        fprintf(to, ", \"bytes\": %zu", source->bytes);
        if (samples)
            put_hash(to, ", ", "sample", source->sample);
        if (i < run->at.source)
            put_hash(to, ", ", "hash", source->hash);
        fprintf(to, "}%s\n", i + 1 < run->sources.count ? "," : "");
    }
    fprintf(to, "  ],\n");
}

/* Writes the text of a memory stream, which it closes, as the file PREFIX_name. */
static int put_file(const TokenizeRun *run, const char *name, FILE *stream, char **text, const size_t *size, Error *e)
{
    char *path = path_of(run, name, e);
    int status = path != NULL ? 0 : -1;
    const bool whole = !ferror(stream);
    if (fclose(stream) != 0 || !whole)
        status = error_set(e, "%s_%s: out of memory", run->options->out, name);
    if (status == 0)
        status = json_file_write_sealed(path, *text, *size, e);
    free(*text);
    free(path);
    return status;
}

int journal_write(const TokenizeRun *run, Error *e)
{
    char *text = NULL;
    size_t size;
    FILE *to = open_memstream(&text, &size);
    if (to == NULL)
        return error_set(e, "%s_journal.json: out of memory", run->options->out);
    fprintf(to, "{\n");
    put_options(to, run);
    put_sources(to, run, true);
    fprintf(to, "  \"source\": %zu,\n  \"offset\": %zu,\n  \"line\": %zu,\n  \"inside\": %s,\n  \"held_out\": %s",
            run->at.source, run->at.offset, run->at.line, run->at.inside ? "true" : "false",
            run->at.held_out ? "true" : "false");
    for (size_t i = 0; i < SETS; i++) {
        const Shards *s = &run->sets[i];
        fprintf(to, ",\n  \"%s\": {\"tokens\": %zu, \"total\": %zu, \"hashes\": [", set_names[i], s->tokens, s->total);
        for (size_t j = 0; j < s->complete; j++) {
            char hash[HASH_TEXT];
            hash_format(s->hashes[j], hash);
            fprintf(to, "%s\"%s\"", j > 0 ? ", " : "", hash);
        }
        fprintf(to, "]}");
    }
    fprintf(to, "\n}\n");
    return put_file(run, "journal.json", to, &text, &size, e);
}

static void put_shards(FILE *to, const Shards *s, bool *first)
{
    for (size_t i = 0; i < s->complete; i++, *first = false) {
        char *path = shards_path(s, i, "");
        const char *slash = path != NULL ? strrchr(path, '/') : NULL;
        fprintf(to, "%s    {\"file\": ", *first ? "" : ",\n");
        json_write_string(to, slash != NULL ? slash + 1 : path != NULL ? path : "");
        fprintf(to, ", \"tokens\": %zu", shards_size(s, i));
        put_hash(to, ", ", "hash", s->hashes[i]);
        fprintf(to, "}");
        free(path);
    }
}

int journal_finish(const TokenizeRun *run, Error *e)
{
    char *text = NULL, *journal = path_of(run, "journal.json", e);
    size_t size;
    bool first = true;
    FILE *to = journal != NULL ? open_memstream(&text, &size) : NULL;
    if (to == NULL) {
        free(journal);
        return error_set(e, "%s_manifest.json: out of memory", run->options->out);
    }
    fprintf(to, "{\n");
    put_options(to, run);
    fprintf(to, "  \"train_tokens\": %zu,\n  \"val_tokens\": %zu,\n", run->sets[TRAIN].total,
            run->sets[HELD_OUT].total);
    put_sources(to, run, false);
    fprintf(to, "  \"shards\": [\n");
    for (size_t i = 0; i < SETS; i++)
        put_shards(to, &run->sets[i], &first);
    fprintf(to, "\n  ]\n}\n");
    int status = put_file(run, "manifest.json", to, &text, &size, e);
    if (status == 0 && unlink(journal) != 0 && errno != ENOENT)
        status = error_set(e, "%s: cannot be removed: %s", journal, strerror(errno));
    free(journal);
    return status;
}

/* --- reading --- */

static bool get_hash(const Json *value, uint64_t *hash)
{
    const char *text = json_string(value);
    char *end;
    if (text == NULL || strlen(text) != HASH_TEXT - 1)
        return false;
    *hash = strtoull(text, &end, 16);
    return *end == '\0';
}

static int refuse_damaged(const char *path, Error *e)
{
    return error_set(e, "%s: is no journal of this program; delete it and the shards beside it to begin anew", path);
}

static int refuse_change(const TokenizeRun *run, const char *what, Error *e)
{
    return error_set(e,
                     "%s: its shards are unfinished, and %s; give the command with which they were begun, choose "
                     "another --out, or delete %s_*",
                     run->options->out, what, run->options->out);
}

static int check_options(const TokenizeRun *run, const Json *json, const char *path, Error *e)
{
    uint64_t hash;
    size_t shard_tokens;
    double fraction;
    char what[256];
    const char *field = json_string(json_get(json, "field"));
    const Json *val_tail = json_get(json, "val_tail"), *val_fraction = json_get(json, "val_fraction");
    if (!get_hash(json_get(json_get(json, "tokenizer"), "hash"), &hash) ||
        !json_size(json_get(json, "shard_tokens"), &shard_tokens) || field == NULL ||
        !json_number(val_tail != NULL ? val_tail : val_fraction, &fraction))
        return refuse_damaged(path, e);
    if (hash != tokenizer_hash(run->tokenizer))
        return refuse_change(run, "were begun with another tokenizer", e);
    if (shard_tokens != run->options->shard_tokens) {
        snprintf(what, sizeof what, "were begun with --shard-tokens %zu, not %zu", shard_tokens,
                 run->options->shard_tokens);
        return refuse_change(run, what, e);
    }
    if ((val_tail != NULL) != run->split.tail || fraction < run->split.fraction || fraction > run->split.fraction) {
        snprintf(what, sizeof what, "were begun with --val-%s %g, not --val-%s %g",
                 val_tail != NULL ? "tail" : "fraction", fraction, run->split.tail ? "tail" : "fraction",
                 run->split.fraction);
        return refuse_change(run, what, e);
    }
    if (strcmp(field, run->options->field) != 0) {
        snprintf(what, sizeof what, "were begun with --field %.80s, not %.80s", field, run->options->field);
        return refuse_change(run, what, e);
    }
    return 0;
}

/* A path that is not UTF-8 cannot be compared with what JSON keeps of it. */
static bool is_path(const Source *source, const char *path)
{
    return !text_is_utf8(source->path) || strcmp(path, source->path) == 0;
}

static int check_sources(TokenizeRun *run, const Json *json, const char *path, Error *e)
{
    const Json *list = json_get(json, "sources");
    char what[1024];
    size_t i = 0;
    for (const Json *was = list != NULL ? list->first : NULL; was != NULL; was = was->next, i++) {
        Source *source = &run->sources.list[i];
        const char *was_path = json_string(json_get(was, "path"));
        uint64_t sample;
        size_t bytes;
        if (was_path == NULL || !get_hash(json_get(was, "sample"), &sample) ||
            !json_size(json_get(was, "bytes"), &bytes))
            return refuse_damaged(path, e);
        if (i >= run->sources.count || !is_path(source, was_path)) {
            snprintf(what, sizeof what, "file %zu of the input was %.500s and is now %s%.300s", i + 1, was_path,
                     i < run->sources.count ? "" : "missing", i < run->sources.count ? source->path : "");
            return refuse_change(run, what, e);
        }
        if (bytes != source->bytes || sample != source->sample) {
            snprintf(what, sizeof what, "%.500s has changed since they were begun", source->path);
            return refuse_change(run, what, e);
        }
        if (i < run->at.source && !get_hash(json_get(was, "hash"), &source->hash))
            return refuse_damaged(path, e);
    }
    if (i < run->sources.count) {
        snprintf(what, sizeof what, "%.500s has been added to the input", run->sources.list[i].path);
        return refuse_change(run, what, e);
    }
    return 0;
}

static bool get_position(const Json *json, size_t sources, Position *at)
{
    return json_size(json_get(json, "source"), &at->source) && json_size(json_get(json, "offset"), &at->offset) &&
           json_size(json_get(json, "line"), &at->line) && json_bool(json_get(json, "inside"), &at->inside) &&
           json_bool(json_get(json, "held_out"), &at->held_out) && at->source <= sources;
}

static int resume_set(Shards *s, const Json *json, const char *path, Error *e)
{
    const Json *hashes = json_get(json, "hashes");
    Shards was = {.complete = hashes != NULL ? hashes->count : 0};
    if (hashes == NULL || !json_size(json_get(json, "tokens"), &was.tokens) ||
        !json_size(json_get(json, "total"), &was.total))
        return refuse_damaged(path, e);
    was.hashes = malloc((was.complete + 1) * sizeof *was.hashes);
    int status = was.hashes != NULL ? 0 : error_set(e, "%s: out of memory", path);
    size_t i = 0;
    for (const Json *hash = hashes->first; status == 0 && hash != NULL; hash = hash->next)
        status = get_hash(hash, &was.hashes[i++]) ? 0 : refuse_damaged(path, e);
    if (status == 0)
        status = shards_resume(s, &was, e);
    free(was.hashes);
    return status;
}

static int take_journal(TokenizeRun *run, const Json *json, const char *path, Error *e)
{
    if (check_options(run, json, path, e) != 0)
        return -1;
    if (!get_position(json, run->sources.count, &run->at) || !json_size(json_get(json, "documents"), &run->documents) ||
        !json_size(json_get(json, "empty"), &run->empty) || !json_size(json_get(json, "bytes"), &run->bytes))
        return refuse_damaged(path, e);
    if (check_sources(run, json, path, e) != 0)
        return -1;
    for (size_t i = 0; i < SETS; i++)
        if (resume_set(&run->sets[i], json_get(json, set_names[i]), path, e) != 0)
            return -1;
    return 0;
}

/* Nothing of that name may be there. */
static int refuse_existing(const TokenizeRun *run, const char *name, const char *what, Error *e)
{
    struct stat found;
    char *path = path_of(run, name, e);
    if (path == NULL)
        return -1;
    const int status = lstat(path, &found) != 0 ? 0
                                                : error_set(e, "%s: %s; choose another --out, or delete %s_*", path,
                                                            what, run->options->out);
    free(path);
    return status;
}

int journal_read(TokenizeRun *run, bool *found, Error *e)
{
    struct stat there;
    char *path = path_of(run, "journal.json", e);
    Json *json = NULL;
    if (path == NULL)
        return -1;
    *found = stat(path, &there) == 0;
    int status;
    if (*found) {
        status = json_file_read_sealed(path, JOURNAL_MOST, &json, e);
        if (status == 0) {
            status = take_journal(run, json, path, e);
            json_free(json);
        }
    } else {
        status = refuse_existing(run, "manifest.json", "is finished and is not overwritten", e);
        for (size_t i = 0; status == 0 && i < SETS; i++) {
            char name[32];
            snprintf(name, sizeof name, "%s_000000.bin", set_names[i]);
            status = refuse_existing(run, name, "is there already and is not overwritten", e);
        }
    }
    free(path);
    return status;
}
