#include "train/corpus.h"

#include "base/hash.h"
#include "base/text.h"
#include "data/stories.h"
#include "files/files.h"

#include <glob.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The built-in corpus: nine tenths of its stories to train on, the rest held out. */
enum { STORIES_BYTES = 10000000, STORIES_SEED = 1 };

static const size_t TEXT_MOST = (size_t)1 << 32; /* bytes that are encoded in memory; data/tokenize has no such limit */

static bool has_shards(const Options *o) { return o->train != NULL || o->val != NULL; }

/* The floor is that of the validation targets: all bytes of the held-out text but the first. */
static int open_stories(const Options *o, Corpus *corpus, Error *e)
{
    Stories stories;
    corpus->name = "the built-in stories";
    if (stories_generate(STORIES_SEED, STORIES_BYTES, &stories, e) != 0)
        return -1;
    size_t split = 0;
    while (stories.story_start[split] < stories.size / 10 * 9)
        split++;
    const size_t begin = stories.story_start[split], held_out = stories.size - begin;
    const size_t targets = o->val_tokens < held_out - 1 ? o->val_tokens : held_out - 1;
    stories_floor(&stories, begin + 1, begin + 1 + targets, &corpus->floor, &corpus->floor_error);
    corpus->has_floor = targets > 0 && isfinite(corpus->floor_error); /* too few windows give no error */
    int status = tokens_from_bytes("stories (train)", stories.text, begin, &corpus->train, e);
    if (status == 0)
        status = tokens_from_bytes("stories (val)", stories.text + begin, held_out, &corpus->val, e);
    stories_free(&stories);
    return status;
}

/* Names the command that brings what a preset counts on. */
static int check_fetched(const char *pattern, Error *e)
{
    static const char *const names[] = {"fineweb10B", "tinyshakespeare"};
    char folder[64];
    for (size_t i = 0; pattern != NULL && i < sizeof names / sizeof *names; i++) {
        glob_t found;
        const int length = snprintf(folder, sizeof folder, "data/%s/", names[i]);
        if (strncmp(pattern, folder, (size_t)length) != 0)
            continue;
        const bool there = glob(pattern, GLOB_NOSORT, NULL, &found) == 0;
        globfree(&found);
        if (!there)
            return error_set(e, "there is no %s; data/get %s brings it, or name other data", pattern, names[i]);
    }
    return 0;
}

static int open_shards(const Options *o, size_t V, Corpus *corpus, Error *e)
{
    corpus->name = o->train != NULL ? o->train : o->val;
    if ((o->train != NULL && tokens_open(o->train, V, &corpus->train, e) != 0) ||
        (o->val != NULL && tokens_open(o->val, V, &corpus->val, e) != 0))
        return -1;
    if (corpus->val != NULL && tokens_targets(corpus->val) == 0)
        return error_set(e, "%s: no shard has two tokens or more, an input and its target", o->val);
    return 0;
}

/* The end of the first nine tenths of the characters. */
static size_t cut_of(const char *text, size_t size)
{
    const size_t characters = text_count(text, size);
    size_t kept = characters / 10 * 9 + characters % 10 * 9 / 10;
    return text_find(text, size, &kept);
}

/* A part of a text, which is a document: <|endoftext|> comes before it. */
static int encode_part(const char *name, const Tokenizer *tokenizer, Encoder *encoder, const char *text, size_t size,
                       Tokens **out, Error *e)
{
    static const char begin[] = TOKENIZER_ENDOFTEXT;
    TokenList list = {0};
    int status = encoder_encode(encoder, begin, sizeof begin - 1, true, &list, e);
    if (status == 0)
        status = encoder_encode(encoder, text, size, false, &list, e);
    if (status == 0)
        status = tokens_from_ids(name, list.ids, list.count, tokenizer_size(tokenizer), out, e);
    free(list.ids);
    return status;
}

static int encode_text(const char *path, const Tokenizer *tokenizer, Corpus *corpus, Error *e)
{
    char *text;
    size_t size;
    Encoder *encoder = NULL;
    if (tokens_check_text(path, &size, e) != 0 || files_read_all(path, TEXT_MOST, &text, &size, e) != 0)
        return -1;
    const size_t cut = cut_of(text, size);
    int status = encoder_create(tokenizer, &encoder, e);
    if (status == 0)
        status = encode_part(path, tokenizer, encoder, text, cut, &corpus->train, e);
    if (status == 0)
        status = encode_part(path, tokenizer, encoder, text + cut, size - cut, &corpus->val, e);
    if (status == 0 && tokens_targets(corpus->val) == 0)
        status = error_set(e, "%s: its last tenth, which is held out, is empty", path);
    encoder_free(encoder);
    free(text);
    return status;
}

static int open_text(const Options *o, const Tokenizer *tokenizer, Corpus *corpus, Error *e)
{
    corpus->name = o->text;
    if (tokenizer == NULL)
        return error_set(e, "--text: the model's tokenizer is not known: give --tokenizer");
    return tokenizer_is_bytes(tokenizer) ? tokens_from_text(o->text, &corpus->train, &corpus->val, e)
                                         : encode_text(o->text, tokenizer, corpus, e);
}

int corpus_open(const Options *o, const Tokenizer *tokenizer, size_t V, bool training, Corpus *corpus, Error *e)
{
    int status = 0;
    *corpus = (Corpus){.name = "none"};
    if (check_fetched(o->train, e) != 0 || check_fetched(o->val, e) != 0 || check_fetched(o->text, e) != 0)
        return -1;
    if (has_shards(o))
        status = open_shards(o, V, corpus, e);
    else if (o->text != NULL)
        status = open_text(o, tokenizer, corpus, e);
    else if (tokenizer != NULL && tokenizer_is_bytes(tokenizer))
        status = open_stories(o, corpus, e);
    else if (training)
        status = error_set(e, "the built-in stories are for models of bytes: give --text, or --train and --val");
    if (status != 0)
        corpus_close(corpus);
    return status;
}

void corpus_close(Corpus *corpus)
{
    tokens_close(corpus->train);
    tokens_close(corpus->val);
    *corpus = (Corpus){0};
}

/* --------------------------------------------------------------------------------------------------------------
 * Identity
 */

/* The two sets of a corpus and their names in the record. */
enum { PARTS = 2 };
static const char *const part_names[PARTS] = {"train", "val"}, *const part_words[PARTS] = {"training", "validation"};

static const Tokens *part_of(const Corpus *corpus, size_t part) { return part == 0 ? corpus->train : corpus->val; }

static int write_part(const Tokens *tokens, FILE *to, Error *e)
{
    for (size_t i = 0; tokens != NULL && i < tokens_shards(tokens); i++) {
        uint64_t hash;
        char text[HASH_TEXT];
        if (tokens_shard_hash(tokens, i, &hash, e) != 0)
            return -1;
        hash_format(hash, text);
        fprintf(to, "%s\n    {\"name\": ", i > 0 ? "," : "");
        json_write_string(to, tokens_shard_name(tokens, i));
        fprintf(to, ", \"tokens\": %zu, \"hash\": \"%s\"}", tokens_shard_size(tokens, i), text);
    }
    return 0;
}

int corpus_identity(const Corpus *corpus, char **json, Error *e)
{
    size_t size = 0;
    *json = NULL;
    FILE *to = open_memstream(json, &size);
    if (to == NULL)
        return error_set(e, "out of memory for the record of the data");
    int status = 0;
    for (size_t part = 0; part < PARTS && status == 0; part++) {
        fprintf(to, "%s\"%s\": [", part == 0 ? "{" : ", ", part_names[part]);
        status = write_part(part_of(corpus, part), to, e);
        fprintf(to, "]");
    }
    fprintf(to, "}");
    if (fclose(to) != 0 && status == 0)
        status = error_set(e, "out of memory for the record of the data");
    if (status != 0) {
        free(*json);
        *json = NULL;
    }
    return status;
}

static bool same_text(const Json *a, const Json *b, const char *key)
{
    const char *x = json_string(json_get(a, key)), *y = json_string(json_get(b, key));
    return x != NULL && y != NULL && strcmp(x, y) == 0;
}

/* Whether two rows have the same tokens. */
static bool same_content(const Json *a, const Json *b)
{
    size_t x, y;
    return json_size(json_get(a, "tokens"), &x) && json_size(json_get(b, "tokens"), &y) && x == y &&
           same_text(a, b, "hash");
}

static const char *base_name(const Json *row)
{
    const char *name = json_string(json_get(row, "name")), *slash = name != NULL ? strrchr(name, '/') : NULL;
    return slash != NULL ? slash + 1 : name != NULL ? name : "?";
}

/* The row with the content of `row`, or else the one with its name, or NULL. */
static const Json *find_row(const Json *list, const Json *row, bool by_content)
{
    const Json *other = list != NULL ? list->first : NULL;
    while (other != NULL && (by_content ? !same_content(other, row) : strcmp(base_name(other), base_name(row)) != 0))
        other = other->next;
    return other;
}

/* Names what makes two lists differ; they do. */
static int differs(const char *part, const Json *then, const Json *now, Error *e)
{
    const Json *culprit = NULL;
    const char *how = "comes at another place";
    for (const Json *row = then != NULL ? then->first : NULL; row != NULL && culprit == NULL; row = row->next)
        if (find_row(now, row, true) == NULL) {
            culprit = row;
            how = find_row(now, row, false) != NULL ? "holds other tokens" : "is gone";
        }
    for (const Json *row = now != NULL ? now->first : NULL; row != NULL && culprit == NULL; row = row->next)
        if (find_row(then, row, true) == NULL) {
            culprit = row;
            how = "is new";
        }
    const Json *a = then != NULL ? then->first : NULL, *b = now != NULL ? now->first : NULL;
    for (; culprit == NULL && a != NULL && b != NULL; a = a->next, b = b->next)
        if (!same_content(a, b))
            culprit = b;
    if (culprit == NULL) { /* one list repeats what the other has once */
        culprit = a != NULL ? a : b;
        how = a != NULL ? "is gone" : "is new";
    }
    return error_set(
        e,
        "the %s data are not those that the run was begun with: %s %s. Its position counts in them; to train "
        "its weights on other data, begin a new run with --model and its checkpoint",
        part, base_name(culprit), how);
}

static int compare_part(const char *part, const Json *then, const Json *now, Notes *notes, Error *e)
{
    const Json *a = then != NULL ? then->first : NULL, *b = now != NULL ? now->first : NULL, *moved = NULL;
    for (; a != NULL && b != NULL && same_content(a, b); a = a->next, b = b->next)
        moved = moved == NULL && !same_text(a, b, "name") ? b : moved;
    if (a != NULL || b != NULL)
        return differs(part, then, now, e);
    if (moved != NULL && notes != NULL)
        notes_add(notes, "the same %s data as before, now at %s", part, json_string(json_get(moved, "name")));
    return 0;
}

int corpus_compare(const char *identity_now, const Json *identity, Notes *notes, Error *e)
{
    Json *now;
    if (json_parse(identity_now, strlen(identity_now), &now, e) != 0)
        return -1;
    int status = 0;
    for (size_t part = 0; part < PARTS && status == 0; part++)
        status = compare_part(part_words[part], json_get(identity, part_names[part]), json_get(now, part_names[part]),
                              notes, e);
    json_free(now);
    return status;
}
