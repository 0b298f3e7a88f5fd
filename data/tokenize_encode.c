#include "data/tokenize_encode.h"

#include "files/json.h"

#include <stdlib.h>
#include <string.h>

int worker_open(Worker *w, const Tokenizer *t, Error *e) { return encoder_create(t, &w->encoder, e); }

void worker_close(Worker *w)
{
    encoder_free(w->encoder);
    free(w->tokens.ids);
    *w = (Worker){0};
}

static int append_endoftext(Worker *w, Error *e)
{
    return encoder_encode(w->encoder, TOKENIZER_ENDOFTEXT, strlen(TOKENIZER_ENDOFTEXT), true, &w->tokens, e);
}

/* Appends a text's tokens, behind <|endoftext|> if it is the first of its kind. Nothing for no bytes. */
static int append_text(Worker *w, const char *text, size_t size, bool first, Error *e)
{
    if (size == 0)
        return 0;
    if (first && append_endoftext(w, e) != 0)
        return -1;
    return encoder_encode(w->encoder, text, size, false, &w->tokens, e);
}

/* A whole document. */
static int encode_document(Worker *w, const char *text, size_t size, const Split *split, Encoded *out, Error *e)
{
    const size_t before = w->tokens.count;
    const size_t cut = split->tail ? split_cut(split, text, size) : split_holds_out(split, text, size) ? 0 : size;
    out->documents = size > 0;
    out->empty = size == 0;
    out->bytes = size;
    if (append_text(w, text, cut, true, e) != 0)
        return -1;
    out->train = w->tokens.count - before;
    return append_text(w, text + cut, size - cut, true, e);
}

static int refuse(const Source *source, size_t line, const char *fault, Error *e)
{
    return error_set(e, "%s: line %zu: %s", source->path, line, fault);
}

static int encode_line(Worker *w, const Batch *b, const Part *part, const Source *source, const Split *split,
                       const char *field, Encoded *out, Error *e)
{
    const char *begin = b->text + part->begin;
    size_t size = part->size;
    size -= size > 0 && begin[size - 1] == '\n';
    Json *json = NULL;
    Error fault;
    if (json_parse_line(begin, size, true, &json, &fault) != 0)
        return refuse(source, part->line, fault.text, e);
    const Json *value = json_get(json, field);
    const char *text = json_string(value);
    int status;
    if (json->type != JSON_OBJECT)
        status = refuse(source, part->line, "is no JSON object", e);
    else if (text == NULL)
        status = error_set(e,
                           value == NULL ? "%s: line %zu: has no field \"%s\" (--field names another)"
                                         : "%s: line %zu: the field \"%s\" is no string",
                           source->path, part->line, field);
    else {
        status = encode_document(w, text, strlen(text), split, out, e);
        out->replaced = value->count;
    }
    json_free(json);
    return status;
}

int encode_part(Worker *w, const Batch *b, size_t index, const Sources *sources, const Split *split, const char *field,
                Encoded *out, Error *e)
{
    const Part *part = &b->parts[index];
    const Source *source = &sources->list[part->source];
    int status;
    *out = (Encoded){.begin = w->tokens.count};
    if (source->jsonl)
        status = encode_line(w, b, part, source, split, field, out, e);
    else {
        out->documents = part->document;
        out->bytes = part->size;
        status = append_text(w, b->text + part->begin, part->size, part->first, e);
        out->train = part->held_out ? 0 : w->tokens.count - out->begin;
    }
    out->count = w->tokens.count - out->begin;
    return status;
}
