#include "data/tokenize_journal.h"

#include "base/text.h"
#include "files/files.h"
#include "files/json_file.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { JOURNAL_MOST = 1 << 30, PATH_MOST = 4096 };

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
    fprintf(to, ",\n  \"documents\": %zu,\n  \"empty\": %zu,\n  \"bytes\": %zu,\n  \"replaced\": %zu,\n",
            run->documents, run->empty, run->bytes, run->replaced);
}

/* With the hashes of those that have been read. */
static void put_sources(FILE *to, const TokenizeRun *run)
{
    fprintf(to, "  \"sources\": [\n");
    for (size_t i = 0; i < run->sources.count; i++) {
        const Source *source = &run->sources.list[i];
        fprintf(to, "    {\"path\": ");
        json_write_string(to, source->path);
        fprintf(to, ", \"bytes\": %zu", source->bytes);
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
    put_sources(to, run);
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

static int remove_journal(const TokenizeRun *run, Error *e)
{
    char *path = path_of(run, "journal.json", e);
    int status = path != NULL ? 0 : -1;
    if (status == 0 && unlink(path) != 0 && errno != ENOENT)
        status = error_set(e, "%s: cannot be removed: %s", path, strerror(errno));
    free(path);
    return status;
}

int journal_finish(const TokenizeRun *run, Error *e)
{
    char *text = NULL;
    size_t size;
    bool first = true;
    FILE *to = open_memstream(&text, &size);
    if (to == NULL)
        return error_set(e, "%s_manifest.json: out of memory", run->options->out);
    fprintf(to, "{\n");
    put_options(to, run);
    fprintf(to, "  \"train_tokens\": %zu,\n  \"val_tokens\": %zu,\n", run->sets[TRAIN].total,
            run->sets[HELD_OUT].total);
    put_sources(to, run);
    fprintf(to, "  \"shards\": [\n");
    for (size_t i = 0; i < SETS; i++)
        put_shards(to, &run->sets[i], &first);
    fprintf(to, "\n  ]\n}\n");
    return put_file(run, "manifest.json", to, &text, &size, e) == 0 ? remove_journal(run, e) : -1;
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
    return error_set(
        e, "%s: is not of this version of the program; choose another --out, or delete it and the shards beside it",
        path);
}

static bool is_manifest(const Json *json) { return json_get(json, "shards") != NULL; }

static int refuse_change(const TokenizeRun *run, const Json *json, const char *what, Error *e)
{
    const char *out = run->options->out;
    if (is_manifest(json))
        return error_set(e, "%s_manifest.json: its shards are finished, and %s; choose another --out, or delete %s_*",
                         out, what, out);
    return error_set(e,
                     "%s: its shards are unfinished, and %s; give the command with which they were begun, choose "
                     "another --out, or delete %s_*",
                     out, what, out);
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
        return refuse_change(run, json, "were begun with another tokenizer", e);
    if (shard_tokens != run->options->shard_tokens) {
        snprintf(what, sizeof what, "were begun with --shard-tokens %zu, not %zu", shard_tokens,
                 run->options->shard_tokens);
        return refuse_change(run, json, what, e);
    }
    if ((val_tail != NULL) != run->split.tail || fraction < run->split.fraction || fraction > run->split.fraction) {
        snprintf(what, sizeof what, "were begun with --val-%s %g, not --val-%s %g",
                 val_tail != NULL ? "tail" : "fraction", fraction, run->split.tail ? "tail" : "fraction",
                 run->split.fraction);
        return refuse_change(run, json, what, e);
    }
    if (strcmp(field, run->options->field) != 0) {
        snprintf(what, sizeof what, "were begun with --field %.80s, not %.80s", field, run->options->field);
        return refuse_change(run, json, what, e);
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
            return refuse_change(run, json, what, e);
        }
        if (bytes != source->bytes || sample != source->sample) {
            snprintf(what, sizeof what, "%.500s has changed since they were begun", source->path);
            return refuse_change(run, json, what, e);
        }
        if (i < run->at.source && !get_hash(json_get(was, "hash"), &source->hash))
            return refuse_damaged(path, e);
    }
    if (i < run->sources.count) {
        snprintf(what, sizeof what, "%.500s has been added to the input", run->sources.list[i].path);
        return refuse_change(run, json, what, e);
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
        !json_size(json_get(json, "empty"), &run->empty) || !json_size(json_get(json, "bytes"), &run->bytes) ||
        !json_size(json_get(json, "replaced"), &run->replaced))
        return refuse_damaged(path, e);
    if (check_sources(run, json, path, e) != 0)
        return -1;
    for (size_t i = 0; i < SETS; i++)
        if (resume_set(&run->sets[i], json_get(json, set_names[i]), path, e) != 0)
            return -1;
    return 0;
}

/* The shards that a manifest lists. */
static int check_shards(const TokenizeRun *run, const Json *json, const char *manifest, Error *e)
{
    const Json *list = json_get(json, "shards");
    const size_t folder = text_folder(run->options->out);
    for (const Json *shard = list->first; shard != NULL; shard = shard->next) {
        const char *file = json_string(json_get(shard, "file"));
        char path[PATH_MOST];
        struct stat found;
        size_t tokens;
        if (file == NULL || !json_size(json_get(shard, "tokens"), &tokens))
            return refuse_damaged(manifest, e);
        snprintf(path, sizeof path, "%.*s%s", (int)folder, run->options->out, file);
        if (stat(path, &found) != 0)
            return error_set(e, "%s: is listed in %s, and cannot be opened: %s", path, manifest, strerror(errno));
        if ((size_t)found.st_size != shards_bytes(tokens))
            return error_set(e, "%s: has %lld bytes, and by %s %zu: it has changed", path, (long long)found.st_size,
                             manifest, shards_bytes(tokens));
    }
    return 0;
}

static int take_manifest(TokenizeRun *run, const Json *json, const char *path, Error *e)
{
    if (!is_manifest(json) || !json_size(json_get(json, "train_tokens"), &run->sets[TRAIN].total) ||
        !json_size(json_get(json, "val_tokens"), &run->sets[HELD_OUT].total) ||
        !json_size(json_get(json, "documents"), &run->documents))
        return refuse_damaged(path, e);
    return check_options(run, json, path, e) != 0 || check_sources(run, json, path, e) != 0 ||
                   check_shards(run, json, path, e) != 0
               ? -1
               : 0;
}

/* Where neither journal nor manifest is, no shard may be. */
static int refuse_shards(const TokenizeRun *run, Error *e)
{
    const char *out = run->options->out;
    const size_t folder = text_folder(out), length = strlen(out + folder);
    char parent[PATH_MOST];
    snprintf(parent, sizeof parent, "%.*s", (int)folder, out);
    DIR *dir = opendir(folder > 0 ? parent : ".");
    int status = dir != NULL ? 0 : error_set(e, "%s: cannot be opened: %s", parent, strerror(errno));
    for (struct dirent *entry; status == 0 && (entry = readdir(dir)) != NULL;) {
        const char *name = entry->d_name;
        if (strncmp(name, out + folder, length) == 0 && text_ends_with(name, ".bin") &&
            (strncmp(name + length, "_train_", 7) == 0 || strncmp(name + length, "_val_", 5) == 0))
            status = error_set(e, "%s%s: is there already and is not overwritten; choose another --out, or delete %s_*",
                               parent, name, out);
    }
    if (dir != NULL)
        closedir(dir);
    return status;
}

/* Reads PREFIX_name, if it is there, into *json. */
static int read_notes(const TokenizeRun *run, const char *name, char **path, Json **json, Error *e)
{
    struct stat there;
    *json = NULL;
    *path = path_of(run, name, e);
    if (*path == NULL)
        return -1;
    if (lstat(*path, &there) == 0 && json_file_read_sealed(*path, JOURNAL_MOST, json, e) != 0) {
        *json = NULL;
        return -1;
    }
    return 0;
}

int journal_read(TokenizeRun *run, JournalState *state, Error *e)
{
    char *path = NULL, *journal = NULL;
    Json *json = NULL;
    int status = read_notes(run, "manifest.json", &path, &json, e);
    *state = NOTHING;
    if (status == 0 && json != NULL) {
        *state = FINISHED;
        status = take_manifest(run, json, path, e);
        if (status == 0)
            status = remove_journal(run, e);
    } else if (status == 0) {
        status = read_notes(run, "journal.json", &journal, &json, e);
        if (status == 0 && json != NULL) {
            *state = UNFINISHED;
            status = take_journal(run, json, journal, e);
        } else if (status == 0)
            status = refuse_shards(run, e);
    }
    json_free(json);
    free(journal);
    free(path);
    return status;
}

/* --- the lock --- */

int journal_lock(const TokenizeRun *run, int *lock, Error *e)
{
    char taken[1024], *path = path_of(run, "journal.lock", e);
    *lock = -1;
    if (path == NULL)
        return -1;
    snprintf(taken, sizeof taken, "another process is writing %s_*", run->options->out);
    const int status = files_lock(path, taken, lock, e);
    free(path);
    return status;
}

void journal_unlock(const TokenizeRun *run, int *lock)
{
    Error e;
    char *path = *lock >= 0 ? path_of(run, "journal.lock", &e) : NULL;
    if (path != NULL)
        files_unlock(path, lock);
    free(path);
}
