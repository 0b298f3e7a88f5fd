#include "base/hash.h"
#include "base/text.h"
#include "data/tokenizer_private.h"
#include "files/files.h"
#include "files/json_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MOST = 64 << 20 /* bytes; GPT-2's have one million */ };

static const char endoftext[] = TOKENIZER_ENDOFTEXT;

static int refuse_memory(const char *path, Error *e) { return error_set(e, "%s: out of memory", path); }

/* --- tokens by their bytes --- */

/* Ids in a table of a power of two, at most half full; -1: free. <|endoftext|> is not among them. */
typedef struct Index {
    const Tokenizer *t;
    int32_t *ids;
    size_t mask;
} Index;

static int index_create(const Tokenizer *t, const char *path, Index *index, Error *e)
{
    size_t slots = 1024;
    while (slots < 2 * t->V)
        slots *= 2;
    *index = (Index){.t = t, .ids = malloc(slots * sizeof *index->ids), .mask = slots - 1};
    if (index->ids == NULL)
        return refuse_memory(path, e);
    for (size_t i = 0; i < slots; i++)
        index->ids[i] = -1;
    return 0;
}

/* The slot of the token with these bytes, or a free one. */
static int32_t *index_find(const Index *index, const char *bytes, size_t size)
{
    size_t i = (size_t)hash_bytes(bytes, size) & index->mask;
    for (; index->ids[i] >= 0; i = (i + 1) & index->mask) {
        const Token *token = &index->t->tokens[index->ids[i]];
        if (token->size == size && memcmp(index->t->bytes + token->begin, bytes, size) == 0)
            break;
    }
    return &index->ids[i];
}

/* Makes the index of all tokens but <|endoftext|> and finds those of single bytes. Errors: two tokens with the same
 * bytes, a byte without a token. */
static int index_all(Tokenizer *t, const char *path, Index *index, Error *e)
{
    if (index_create(t, path, index, e) != 0)
        return -1;
    memset(t->byte_ids, -1, sizeof t->byte_ids);
    for (int32_t id = 0; (size_t)id < t->V; id++) {
        const Token *token = &t->tokens[id];
        const char *bytes = t->bytes + token->begin;
        if (id == t->endoftext)
            continue;
        int32_t *slot = index_find(index, bytes, token->size);
        if (*slot >= 0)
            return error_set(e, "%s: tokens %d and %d have the same bytes", path, *slot, id);
        *slot = id;
        if (token->size == 1)
            t->byte_ids[(unsigned char)*bytes] = id;
    }
    for (size_t byte = 0; byte < 256; byte++)
        if (t->byte_ids[byte] < 0)
            return error_set(e, "%s: has no token for the byte 0x%02zx", path, byte);
    return 0;
}

/* Room for V tokens of `bytes` bytes in all. */
static int make_room(Tokenizer *t, size_t V, size_t bytes, const char *path, Error *e)
{
    if (V > BPE_IDS)
        return error_set(e, "%s: has %zu tokens; ids of 16 bits are enough for %d", path, V, BPE_IDS);
    t->V = V;
    t->tokens = calloc(V, sizeof *t->tokens);
    t->bytes = malloc(bytes + sizeof endoftext);
    return t->tokens != NULL && t->bytes != NULL ? 0 : refuse_memory(path, e);
}

/* --- a vocabulary in JSON and a list of merges --- */

/* The byte that a character of those files stands for; -1: none. Bytes that print stand for themselves, the others are
 * numbered from U+0100 on (bytes_to_unicode of openai/gpt-2, src/encoder.py). */
static int byte_of(uint32_t code)
{
    if ((code >= 0x21 && code <= 0x7e) || (code >= 0xa1 && code <= 0xff && code != 0xad))
        return (int)code;
    if (code >= 0x100 && code <= 0x120)
        return (int)(code - 0x100);
    if (code >= 0x121 && code <= 0x142)
        return (int)(code - 0x121 + 0x7f);
    return code == 0x143 ? 0xad : -1;
}

/* Writes the bytes that n bytes of characters stand for, no more than n. Returns how many; 0 if one stands for none. */
static size_t to_bytes(const char *text, size_t n, char *out)
{
    const char *end = text + n;
    size_t size = 0;
    while (text < end) {
        uint32_t code;
        const size_t length = text_decode(text, end, &code);
        const int byte = length > 0 ? byte_of(code) : -1;
        if (byte < 0)
            return 0;
        out[size++] = (char)byte;
        text += length;
    }
    return size;
}

/* Token `id` of the vocabulary, whose bytes go to t->bytes from *used on. */
static int add_member(Tokenizer *t, const char *path, const Json *member, size_t *used, Error *e)
{
    size_t id, size = strlen(member->key);
    char *bytes = t->bytes + *used;
    if (!json_size(member, &id) || id >= t->V)
        return error_set(e, "%s: \"%s\" must have one of the ids 0 to %zu, as there are %zu tokens", path, member->key,
                         t->V - 1, t->V);
    if (t->tokens[id].size > 0)
        return error_set(e, "%s: \"%s\" is the second token with the id %zu", path, member->key, id);
    if (strcmp(member->key, endoftext) == 0) {
        t->endoftext = (int32_t)id;
        memcpy(bytes, member->key, size);
    } else if ((size = to_bytes(member->key, size, bytes)) == 0)
        return error_set(e, "%s: \"%s\" has a character that stands for no byte", path, member->key);
    t->tokens[id] = (Token){.begin = (uint32_t)*used, .size = (uint32_t)size};
    *used += size;
    return 0;
}

static int read_vocabulary(Tokenizer *t, const char *path, Error *e)
{
    Json *json;
    size_t bytes = 0, used = 0;
    if (json_file_read(path, FILE_MOST, &json, e) != 0)
        return -1;
    int status = 0;
    if (json->type != JSON_OBJECT || json->count == 0)
        status = error_set(e, "%s: is no object of tokens and their ids", path);
    for (const Json *member = json->first; status == 0 && member != NULL; member = member->next)
        bytes += member->key != NULL ? strlen(member->key) : 0;
    if (status == 0)
        status = make_room(t, json->count, bytes, path, e);
    t->endoftext = -1;
    for (const Json *member = json->first; status == 0 && member != NULL; member = member->next)
        status = add_member(t, path, member, &used, e);
    if (status == 0 && t->endoftext < 0)
        status = error_set(e, "%s: has no token %s", path, endoftext);
    json_free(json);
    return status;
}

/* A merges file while it is read. */
typedef struct Merges {
    Tokenizer *t;
    const char *path, *vocabulary;
    Index index;
    char *bytes; /* room for a line's */
    bool *made;  /* (V), by a merge */
    size_t line;
} Merges;

/* The id of n bytes of characters; what it stands for goes to m->bytes from `at` on, its size is added to *size. */
static int find_part(const Merges *m, const char *text, size_t n, size_t *size, int32_t *id, Error *e)
{
    const size_t added = to_bytes(text, n, m->bytes + *size);
    if (added == 0)
        return error_set(e, "%s: line %zu: \"%.*s\" has a character that stands for no byte", m->path, m->line, (int)n,
                         text);
    *id = *index_find(&m->index, m->bytes + *size, added);
    *size += added;
    return *id >= 0 ? 0
                    : error_set(e, "%s: line %zu: \"%.*s\" is no token of %s", m->path, m->line, (int)n, text,
                                m->vocabulary);
}

static int add_merge(Merges *m, const char *line, size_t n, Error *e)
{
    const char *space = memchr(line, ' ', n);
    int32_t left, right;
    if (space == NULL || memchr(space + 1, ' ', n - (size_t)(space + 1 - line)) != NULL || space == line ||
        space + 1 == line + n)
        return error_set(e, "%s: line %zu: is not two tokens with a space between", m->path, m->line);
    const size_t first = (size_t)(space - line);
    size_t size = 0;
    if (find_part(m, line, first, &size, &left, e) != 0 ||
        find_part(m, space + 1, n - first - 1, &size, &right, e) != 0)
        return -1;
    const int32_t merged = *index_find(&m->index, m->bytes, size);
    if (merged < 0)
        return error_set(e, "%s: line %zu: makes \"%.*s%.*s\", which is no token of %s", m->path, m->line, (int)first,
                         line, (int)(n - first - 1), space + 1, m->vocabulary);
    if (bpe_add(m->t->bpe, left, right, merged) != 0)
        return error_set(e, "%s: line %zu: repeats an earlier merge", m->path, m->line);
    m->made[merged] = true;
    return 0;
}

/* Lines of a text; a last one without a newline counts. */
static size_t count_lines(const char *text, size_t size)
{
    size_t lines = size > 0 && text[size - 1] != '\n';
    for (size_t i = 0; i < size; i++)
        lines += text[i] == '\n';
    return lines;
}

/* The next line, without its end; *at moves behind it. */
static const char *next_line(const char **at, const char *end, size_t *n)
{
    const char *line = *at, *newline = memchr(line, '\n', (size_t)(end - line));
    *at = newline != NULL ? newline + 1 : end;
    *n = (size_t)((newline != NULL ? newline : end) - line);
    *n -= *n > 0 && line[*n - 1] == '\r';
    return line;
}

static int check_made(const Merges *m, Error *e)
{
    for (size_t id = 0; id < m->t->V; id++)
        if (!m->made[id] && m->t->tokens[id].size > 1 && (int32_t)id != m->t->endoftext)
            return error_set(e, "%s: has %zu merges, none of which makes token %zu of %s", m->path,
                             bpe_count(m->t->bpe), id, m->vocabulary);
    return 0;
}

static int add_merges(Merges *m, const char *text, size_t size, Error *e)
{
    const char *at = text, *end = text + size;
    const size_t lines = count_lines(text, size);
    if (lines > BPE_MERGES)
        return error_set(e, "%s: has %zu merges, more than %d", m->path, lines, BPE_MERGES);
    m->bytes = malloc(size + 1);
    m->made = calloc(m->t->V, sizeof *m->made);
    if (m->bytes == NULL || m->made == NULL)
        return refuse_memory(m->path, e);
    if (bpe_create(lines, &m->t->bpe, e) != 0)
        return -1;
    for (m->line = 1; at < end; m->line++) {
        size_t n;
        const char *line = next_line(&at, end, &n);
        if (m->line == 1 && n >= 9 && memcmp(line, "#version:", 9) == 0)
            continue;
        if (add_merge(m, line, n, e) != 0)
            return -1;
    }
    return check_made(m, e);
}

int tokenizer_read_pair(Tokenizer *t, const char *vocabulary, const char *merges, Error *e)
{
    Merges m = {.t = t, .path = merges, .vocabulary = vocabulary};
    char *text = NULL;
    size_t size;
    int status = read_vocabulary(t, vocabulary, e);
    if (status == 0)
        status = index_all(t, vocabulary, &m.index, e);
    if (status == 0)
        status = files_read_all(merges, FILE_MOST, &text, &size, e);
    if (status == 0)
        status = add_merges(&m, text, size, e);
    free(text);
    free(m.index.ids);
    free(m.bytes);
    free(m.made);
    return status;
}

/* --- tokens in base64 and their ranks --- */

static int sextet(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *hit = c != '\0' ? strchr(digits, c) : NULL;
    return hit != NULL ? (int)(hit - digits) : -1;
}

/* Decodes base64 with its padding (RFC 4648). Returns the number of bytes; 0 if it is none. */
static size_t from_base64(const char *text, size_t n, char *out)
{
    size_t size = 0;
    const size_t padding = n >= 4 ? (text[n - 1] == '=') + (size_t)(text[n - 1] == '=' && text[n - 2] == '=') : 0;
    if (n == 0 || n % 4 != 0)
        return 0;
    for (size_t i = 0; i < n; i += 4) {
        uint32_t bits = 0;
        const size_t missing = i + 4 == n ? padding : 0;
        for (size_t j = 0; j < 4; j++) {
            const int value = j < 4 - missing ? sextet(text[i + j]) : 0;
            if (value < 0)
                return 0;
            bits = bits << 6 | (uint32_t)value;
        }
        for (size_t j = 0; j < 3 - missing; j++)
            out[size++] = (char)(bits >> (16 - 8 * j));
    }
    return size;
}

/* A number of at most 7 digits and nothing else. */
static bool to_rank(const char *text, size_t n, size_t *rank)
{
    *rank = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        *rank = 10 * *rank + (size_t)(text[i] - '0');
    }
    return n > 0 && n <= 7;
}

static int add_rank(Tokenizer *t, const char *path, uint32_t number, const char *line, size_t n, size_t *used, Error *e)
{
    const char *space = memchr(line, ' ', n);
    const size_t first = space != NULL ? (size_t)(space - line) : 0;
    const size_t size = from_base64(line, first, t->bytes + *used);
    size_t rank;
    if (size == 0 || !to_rank(line + first + 1, n - first - 1, &rank))
        return error_set(e, "%s: line %u: is not a token in base64, a space and its rank", path, number);
    if (rank >= t->V)
        return error_set(e, "%s: line %u: the rank %zu is too high for a file of %zu tokens", path, number, rank,
                         t->V - 1);
    if (t->tokens[rank].size > 0)
        return error_set(e, "%s: line %u: has the rank %zu, as line %u has", path, number, rank, t->tokens[rank].line);
    t->tokens[rank] = (Token){.begin = (uint32_t)*used, .size = (uint32_t)size, .line = number};
    *used += size;
    return 0;
}

/* As many tokens as lines, and <|endoftext|>, whose id is the one that they leave free. */
static int read_rank_lines(Tokenizer *t, const char *path, const char *text, size_t size, Error *e)
{
    const char *at = text, *end = text + size;
    size_t used = 0;
    if (make_room(t, count_lines(text, size) + 1, size, path, e) != 0)
        return -1;
    for (uint32_t number = 1; at < end; number++) {
        size_t n;
        const char *line = next_line(&at, end, &n);
        if (add_rank(t, path, number, line, n, &used, e) != 0)
            return -1;
    }
    for (size_t id = 0; id < t->V; id++)
        if (t->tokens[id].size == 0)
            t->endoftext = (int32_t)id;
    memcpy(t->bytes + used, endoftext, sizeof endoftext - 1);
    t->tokens[t->endoftext] = (Token){.begin = (uint32_t)used, .size = sizeof endoftext - 1};
    return 0;
}

/* A token's merge is of the two that its bytes become by all merges before. */
static int derive_merge(Tokenizer *t, const char *path, int32_t id, int32_t *ids, BpeSpace *space, Error *e)
{
    const Token *token = &t->tokens[id];
    size_t left;
    for (size_t i = 0; i < token->size; i++)
        ids[i] = t->byte_ids[(unsigned char)t->bytes[token->begin + i]];
    if (bpe_apply(t->bpe, space, ids, token->size, &left, e) != 0)
        return -1;
    if (left != 2)
        return error_set(e, "%s: line %u: the token is not made of two tokens of lower rank, but of %zu", path,
                         token->line, left);
    return bpe_add(t->bpe, ids[0], ids[1], id); /* is new: it would have been applied */
}

static int derive_merges(Tokenizer *t, const char *path, Error *e)
{
    size_t longest = 0;
    for (size_t id = 0; id < t->V; id++)
        longest = t->tokens[id].size > longest ? t->tokens[id].size : longest;
    int32_t *ids = malloc(longest * sizeof *ids);
    BpeSpace space = {0};
    int status = ids != NULL ? bpe_create(t->V, &t->bpe, e) : refuse_memory(path, e);
    for (int32_t id = 0; status == 0 && (size_t)id < t->V; id++)
        if (t->tokens[id].size > 1 && id != t->endoftext)
            status = derive_merge(t, path, id, ids, &space, e);
    bpe_space_free(&space);
    free(ids);
    return status;
}

int tokenizer_read_ranks(Tokenizer *t, const char *path, Error *e)
{
    Index index = {0};
    char *text = NULL;
    size_t size;
    int status = files_read_all(path, FILE_MOST, &text, &size, e);
    if (status == 0)
        status = read_rank_lines(t, path, text, size, e);
    if (status == 0)
        status = index_all(t, path, &index, e);
    if (status == 0)
        status = derive_merges(t, path, e);
    free(text);
    free(index.ids);
    return status;
}
