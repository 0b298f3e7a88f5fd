#include "data/stories_scribe.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- faults and errors --- */

void scribe_fault(Scribe *s, const char *what, const char *where)
{
    if (s->status != GOING)
        return;
    s->status = FAILED;
    error_set(s->e, "story grammar: %s at \"%.60s\" (byte %zu of the text)", what, where, s->cursor);
}

/* Appends up to `length` bytes to a C string of `capacity` bytes, in quotes, with '?' for unprintable ones. */
static void quote(char *to, size_t capacity, const unsigned char *bytes, size_t length)
{
    const size_t used = strlen(to);
    char clean[32];
    size_t n = 0;
    for (; n < length && n + 1 < sizeof clean; n++)
        clean[n] = (char)(bytes[n] >= ' ' && bytes[n] <= '~' ? bytes[n] : bytes[n] == '\n' ? '/' : '?');
    clean[n] = '\0';
    snprintf(to + used, capacity - used, "%s\"%s\"", used > 0 ? " or " : "", clean);
}

/* The text leaves the language at the cursor, `agreed` bytes into options[active[0 .. count-1]]. */
static void refuse(Scribe *s, const size_t *active, size_t count, size_t agreed)
{
    enum { SHOWN = 4 };
    char expected[256] = "", found[40] = "";
    for (size_t i = 0; i < count && i < SHOWN; i++) {
        const Option *o = &s->choice.options[active[i]];
        const char *rest = s->choice.bytes + o->start + agreed;
        quote(expected, sizeof expected, (const unsigned char *)rest, o->length - agreed);
    }
    const size_t left = s->size - s->cursor;
    quote(found, sizeof found, s->text + s->cursor, left < 12 ? left : 12);
    s->status = FAILED;
    error_set(s->e, "byte %zu: expected %s%s, found %s", s->cursor, expected, count > SHOWN ? " or others" : "", found);
}

/* --- choices --- */

void choice_open(Scribe *s)
{
    s->choice.count = 0;
    s->choice.size = 0;
}

void option_open(Scribe *s, uint64_t weight)
{
    Choice *c = &s->choice;
    if (weight == 0 || c->count == OPTIONS_MAX)
        scribe_fault(s, weight == 0 ? "an option of weight 0" : "too many options", c->bytes);
    else
        c->options[c->count++] = (Option){c->size, 0, weight};
}

void option_put(Scribe *s, const char *text, size_t length)
{
    Choice *c = &s->choice;
    if (s->status != GOING)
        return;
    if (length > OPTION_BYTES_MAX - c->size) {
        scribe_fault(s, "options too long", text);
        return;
    }
    memcpy(c->bytes + c->size, text, length);
    c->size += length;
    c->options[c->count - 1].length += length;
}

int scribe_reserve(Scribe *s, size_t more)
{
    if (s->capacity > 0 && more <= s->capacity - s->size)
        return 0;
    const size_t bytes_each = 1 + sizeof *s->nats;
    size_t capacity = s->capacity > 0 ? s->capacity : 4096;
    while (more > capacity - s->size) {
        if (capacity > SIZE_MAX / bytes_each / 2)
            return -1;
        capacity *= 2;
    }
    unsigned char *text = realloc(s->text, capacity);
    if (text != NULL)
        s->text = text;
    float *nats = realloc(s->nats, capacity * sizeof *nats);
    if (nats != NULL)
        s->nats = nats;
    if (text == NULL || nats == NULL)
        return -1;
    s->capacity = capacity;
    return 0;
}

static uint64_t mass_of(const Choice *c)
{
    uint64_t mass = 0;
    for (size_t i = 0; i < c->count; i++)
        mass += c->options[i].weight;
    return mass;
}

/* Draws an option and appends its text. */
static void write_option(Scribe *s)
{
    const Choice *c = &s->choice;
    uint64_t draw = c->count > 1 ? random_below(&s->random, mass_of(c)) : 0;
    size_t drawn = 0;
    while (draw >= c->options[drawn].weight)
        draw -= c->options[drawn++].weight;
    const Option *o = &c->options[drawn];
    if (scribe_reserve(s, o->length) != 0) {
        s->status = FAILED;
        error_set(s->e, "out of memory for a story corpus of more than %zu bytes", s->size);
        return;
    }
    memcpy(s->text + s->size, c->bytes + o->start, o->length);
    s->size += o->length;
}

/* Lists the active options whose byte `at` is `byte`; returns their number and mass. */
static size_t narrow(const Choice *c, const size_t *active, size_t count, size_t at, unsigned char byte,
                     size_t *agreeing, uint64_t *mass)
{
    size_t kept = 0;
    *mass = 0;
    for (size_t i = 0; i < count; i++) {
        const Option *o = &c->options[active[i]];
        if ((unsigned char)c->bytes[o->start + at] != byte)
            continue;
        *mass += o->weight;
        agreeing[kept++] = active[i];
    }
    return kept;
}

/* Whether an active option ends after `at` bytes, which makes it a prefix of the others. */
static bool any_ends(const Choice *c, const size_t *active, size_t count, size_t at)
{
    for (size_t i = 0; i < count; i++)
        if (c->options[active[i]].length == at)
            return true;
    return false;
}

/* Reads the only remaining option from byte `at` on: these bytes cost nothing. */
static void read_rest(Scribe *s, size_t only, size_t at)
{
    const Option *o = &s->choice.options[only];
    const unsigned char *want = (const unsigned char *)s->choice.bytes + o->start + at, *have = s->text + s->cursor;
    const size_t wanted = o->length - at, left = s->size - s->cursor, n = wanted < left ? wanted : left;
    size_t agreed = memcmp(have, want, n) == 0 ? n : 0;
    while (agreed < n && have[agreed] == want[agreed])
        agreed++;
    memset(s->nats + s->cursor, 0, agreed * sizeof *s->nats); /* all bits 0: 0.0f */
    s->cursor += agreed;
    if (agreed < n)
        refuse(s, &only, 1, at + agreed);
    else if (n < wanted)
        s->status = CUT_OFF;
}

/* Reads the option at the cursor byte by byte and records each one's nats. */
static size_t read_option(Scribe *s)
{
    const Choice *c = &s->choice;
    size_t active[OPTIONS_MAX] = {0}, agreeing[OPTIONS_MAX], count = c->count, at = 0;
    uint64_t mass = mass_of(c), rest;
    for (size_t i = 0; i < count; i++)
        active[i] = i;
    for (; count > 1; at++) {
        if (any_ends(c, active, count, at)) {
            scribe_fault(s, "options are not prefix-free", c->bytes + c->options[active[0]].start);
            return 0;
        }
        if (s->cursor == s->size) {
            s->status = CUT_OFF;
            return 0;
        }
        const size_t kept = narrow(c, active, count, at, s->text[s->cursor], agreeing, &rest);
        if (kept == 0) {
            refuse(s, active, count, at);
            return 0;
        }
        s->nats[s->cursor++] = rest < mass ? (float)log((double)mass / (double)rest) : 0.0f;
        memcpy(active, agreeing, kept * sizeof *active);
        count = kept;
        mass = rest;
    }
    read_rest(s, active[0], at);
    return active[0];
}

size_t choice_make(Scribe *s)
{
    if (s->status == GOING && s->choice.count == 0)
        scribe_fault(s, "no options", "");
    if (s->status == GOING && !s->parsing)
        write_option(s);
    if (s->status != GOING)
        return 0;
    const size_t offset = s->cursor, chosen = read_option(s);
    if (s->status != GOING)
        return 0;
    if (s->observe != NULL)
        s->observe(s->context, &s->choice, chosen, offset);
    return chosen;
}
