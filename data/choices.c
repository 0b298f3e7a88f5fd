#include "data/choices.h"

#include "base/bytes.h"
#include "files/files.h"
#include "files/json.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    FILE_MOST = 1 << 30,
    MAGIC = 20240522, /* llm.c's */
    VERSION = 1,
    HEADER_BYTES = 256 * 4,
    ITEM_BEGINS = 65535, /* before each item of llm.c's form, */
    ITEM_HEADER = 6, /* which begins with this, its bytes, its number, the label, the endings, the context's tokens */
    ENDINGS_MOST = 64
};

/* Choices that grow. */
typedef struct Builder {
    Choices c;
    size_t item_room, row_room, tokens, token_room;
} Builder;

static int out_of_memory(const char *path, Error *e) { return error_set(e, "%s: out of memory for its items", path); }

/* Room for one more of `count` elements. */
static void *grown(void *array, size_t count, size_t *room, size_t more, size_t size)
{
    if (count + more <= *room)
        return array;
    const size_t wanted = 2 * (count + more);
    void *larger = realloc(array, wanted * size);
    if (larger != NULL)
        *room = wanted;
    return larger;
}

static bool add_tokens(Builder *b, const uint16_t *ids, size_t n)
{
    uint16_t *tokens = grown(b->c.tokens, b->tokens, &b->token_room, n, sizeof *tokens);
    if (tokens == NULL)
        return false;
    b->c.tokens = tokens;
    memcpy(tokens + b->tokens, ids, n * sizeof *ids);
    b->tokens += n;
    return true;
}

/* A row of the last item. */
static bool add_row(Builder *b, const uint16_t *context, size_t context_size, const uint16_t *ending,
                    size_t ending_size)
{
    ChoiceRow *rows = grown(b->c.rows, b->c.row_count, &b->row_room, 1, sizeof *rows);
    if (rows == NULL)
        return false;
    b->c.rows = rows;
    const ChoiceRow row = {b->tokens, context_size, context_size + ending_size};
    if (!add_tokens(b, context, context_size) || !add_tokens(b, ending, ending_size))
        return false;
    rows[b->c.row_count++] = row;
    b->c.items[b->c.count - 1].count++;
    b->c.longest = row.length > b->c.longest ? row.length : b->c.longest;
    return true;
}

static bool add_item(Builder *b, size_t label)
{
    ChoiceItem *items = grown(b->c.items, b->c.count, &b->item_room, 1, sizeof *items);
    if (items == NULL)
        return false;
    b->c.items = items;
    items[b->c.count++] = (ChoiceItem){.first = b->c.row_count, .label = label};
    return true;
}

/* --- JSON lines --- */

typedef struct Text {
    Encoder *encoder;
    TokenList context, ending;
} Text;

static int encode(Text *text, const char *bytes, TokenList *list, Error *e)
{
    list->count = 0;
    return encoder_encode(text->encoder, bytes, strlen(bytes), false, list, e);
}

/* One ending, with a space before it. */
static int encode_ending(Text *text, const char *ending, Error *e)
{
    const size_t size = strlen(ending);
    char *spaced = malloc(size + 2);
    if (spaced == NULL)
        return error_set(e, "out of memory for an ending");
    spaced[0] = ' ';
    memcpy(spaced + 1, ending, size + 1);
    const int status = encode(text, spaced, &text->ending, e);
    free(spaced);
    return status;
}

/* The fault names no file. */
static int add_json(Builder *b, Text *text, const Json *item, Error *e)
{
    const Json *endings = json_get(item, "endings");
    const char *context = json_string(json_get(item, "ctx"));
    size_t label = 0;
    if (item->type != JSON_OBJECT || context == NULL)
        return error_set(e, "no text \"ctx\"");
    if (endings == NULL || endings->type != JSON_ARRAY || endings->count < 2 || endings->count > ENDINGS_MOST)
        return error_set(e, "no list \"endings\" of 2 to %d texts", ENDINGS_MOST);
    if (!json_size(json_get(item, "label"), &label) || label >= endings->count)
        return error_set(e, "no \"label\" from 0 to %zu, of the right ending", endings->count - 1);
    if (encode(text, context, &text->context, e) != 0)
        return -1;
    if (text->context.count == 0)
        return error_set(e, "\"ctx\" is empty");
    if (!add_item(b, label))
        return error_set(e, "out of memory");
    for (const Json *ending = endings->first; ending != NULL; ending = ending->next) {
        if (json_string(ending) == NULL)
            return error_set(e, "an ending is not a text");
        if (encode_ending(text, json_string(ending), e) != 0)
            return -1;
        if (!add_row(b, text->context.ids, text->context.count, text->ending.ids, text->ending.count))
            return error_set(e, "out of memory");
    }
    return 0;
}

static int read_lines(Builder *b, Text *text, const char *path, const char *data, size_t size, Error *e)
{
    size_t number = 1;
    for (const char *line = data, *end = data + size; line < end; number++) {
        const char *next = memchr(line, '\n', (size_t)(end - line)), *stop = next != NULL ? next : end;
        const size_t length = (size_t)(stop - line);
        Json *item;
        Error fault;
        if (strspn(line, " \t\r") < length) {
            if (json_parse_line(line, length, false, &item, &fault) != 0)
                return error_set(e, "%s:%zu: not JSON: %s", path, number, fault.text);
            const int status = add_json(b, text, item, &fault);
            json_free(item);
            if (status != 0)
                return error_set(e, "%s:%zu: %s", path, number, fault.text);
        }
        line = stop + 1;
    }
    return 0;
}

static int read_json(Builder *b, const char *path, const Tokenizer *tokenizer, const char *data, size_t size, Error *e)
{
    Text text = {0};
    if (tokenizer == NULL)
        return error_set(e, "%s: is text, and the model's tokenizer is not known: give --tokenizer", path);
    int status = encoder_create(tokenizer, &text.encoder, e);
    if (status == 0)
        status = read_lines(b, &text, path, data, size, e);
    encoder_free(text.encoder);
    free(text.context.ids);
    free(text.ending.ids);
    return status;
}

/* --- llm.c's form: numbers of 16 bits --- */

static size_t number_at(const unsigned char *bytes, size_t i) { return bytes[2 * i] | (size_t)bytes[2 * i + 1] << 8; }

static void take_ids(const unsigned char *bytes, size_t at, size_t n, uint16_t *ids)
{
    for (size_t i = 0; i < n; i++)
        ids[i] = (uint16_t)number_at(bytes, at + i);
}

/* Item `index` from its n numbers. False: it is not as it should be. */
static bool add_binary(Builder *b, const unsigned char *bytes, size_t n, size_t index, bool *memory)
{
    const size_t label = number_at(bytes, 3), endings = number_at(bytes, 4), context = number_at(bytes, 5);
    uint16_t ids[2][ITEM_BEGINS];
    size_t at = ITEM_HEADER + context;
    if (number_at(bytes, 2) != index % 65536 || endings < 2 || label >= endings || context == 0 || at > n)
        return false;
    take_ids(bytes, ITEM_HEADER, context, ids[0]);
    *memory = add_item(b, label);
    for (size_t k = 0; k < endings && *memory; k++) {
        const size_t size = at < n ? number_at(bytes, at) : 0;
        if (size == 0 || size > n - at - 1)
            return false;
        take_ids(bytes, at + 1, size, ids[1]);
        *memory = add_row(b, ids[0], context, ids[1], size);
        at += 1 + size;
    }
    return !*memory || at == n;
}

static int read_binary(Builder *b, const char *path, const unsigned char *data, size_t size, Error *e)
{
    if (bytes_int32(data + 4) != VERSION)
        return error_set(e, "%s: items of version %d; only %d is known", path, bytes_int32(data + 4), VERSION);
    const int32_t count = bytes_int32(data + 8);
    if (count < 0)
        return error_set(e, "%s: its item count is %d", path, count);
    size_t at = HEADER_BYTES;
    for (int32_t i = 0; i < count; i++) {
        const size_t left = size > at ? size - at : 0;
        const size_t bytes =
            left >= 2 * ITEM_HEADER && number_at(data + at, 0) == ITEM_BEGINS ? number_at(data + at, 1) : 0;
        bool memory = true;
        if (bytes < 2 * ITEM_HEADER || bytes % 2 != 0 || bytes > left ||
            !add_binary(b, data + at, bytes / 2, (size_t)i, &memory))
            return error_set(e, "%s: item %d of %d is damaged", path, i, count);
        if (!memory)
            return out_of_memory(path, e);
        at += bytes;
    }
    return at == size ? 0 : error_set(e, "%s: %zu bytes follow the last of its %d items", path, size - at, count);
}

/* --- either --- */

static int check(const Choices *c, const char *path, size_t V, Error *e)
{
    if (c->count == 0)
        return error_set(e, "%s: holds no items", path);
    for (size_t i = 0; i < c->row_count; i++)
        for (size_t k = 0; k < c->rows[i].length; k++)
            if (c->tokens[c->rows[i].begin + k] >= V)
                return error_set(e, "%s: token %d, and the model has %zu: they are of another tokenizer", path,
                                 c->tokens[c->rows[i].begin + k], V);
    return 0;
}

int choices_read(const char *path, const Tokenizer *tokenizer, size_t V, Choices *out, Error *e)
{
    Builder b = {0};
    char *data;
    size_t size;
    *out = (Choices){0};
    if (files_read_all(path, FILE_MOST, &data, &size, e) != 0)
        return -1;
    const bool binary = size >= HEADER_BYTES && bytes_int32(data) == MAGIC;
    int status = binary ? read_binary(&b, path, (const unsigned char *)data, size, e)
                        : read_json(&b, path, tokenizer, data, size, e);
    free(data);
    if (status == 0)
        status = check(&b.c, path, V, e);
    if (status != 0)
        choices_free(&b.c);
    *out = b.c;
    return status;
}

void choices_free(Choices *c)
{
    free(c->items);
    free(c->rows);
    free(c->tokens);
    *c = (Choices){0};
}
