#include "data/stories_tell.h"

#include "data/stories_words.h"

#include <stdio.h>
#include <string.h>

/* --- slots --- */

static Slot *slot_at(Scribe *s, char letter)
{
    const int i = letter - SLOT_FIRST;
    return i >= 0 && i < SLOT_COUNT ? &s->slots[i] : NULL;
}

static void bind(Scribe *s, char letter, const char *text, size_t length, const char *other)
{
    Slot *slot = slot_at(s, letter);
    if (slot == NULL || length >= sizeof slot->text) {
        scribe_fault(s, "no such slot, or too long for one", text);
        return;
    }
    slot->bound = true;
    slot->other = other;
    slot->number = 0;
    memcpy(slot->text, text, length);
    slot->text[length] = '\0';
}

void slot_bind(Scribe *s, char letter, const char *text) { bind(s, letter, text, strlen(text), NULL); }

void slot_bind_number(Scribe *s, char letter, size_t number)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%zu", number);
    slot_bind(s, letter, digits);
    s->slots[letter - SLOT_FIRST].number = number;
}

void slot_copy(Scribe *s, char to, char from) { s->slots[to - SLOT_FIRST] = s->slots[from - SLOT_FIRST]; }

size_t slot_number(const Scribe *s, char letter) { return s->slots[letter - SLOT_FIRST].number; }

/* --- forms --- */

static bool same(const char *text, size_t length, const char *word)
{
    return strlen(word) == length && memcmp(text, word, length) == 0;
}

static void put(Scribe *s, const char *text) { option_put(s, text, strlen(text)); }

/* The form of "he" or "she" that corresponds to `form` of "he", or NULL. */
static const char *pronoun(const char *other, const char *form, size_t length)
{
    static const char *const forms[][2] = {
        {"he", "she"}, {"him", "her"}, {"his", "her"}, {"He", "She"}, {"His", "Her"},
    };
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        if (same(form, length, forms[i][0]))
            return forms[i][other[0] == 's'];
    return NULL;
}

/* Puts a word in a form into the open option. */
static void put_form(Scribe *s, const char *text, const char *other, const char *form, size_t length)
{
    if (length == 0) {
        put(s, text);
    } else if (same(form, length, "a")) {
        put(s, strchr("aeiou", text[0]) != NULL ? "an " : "a "); /* spelling suffices for the grammar's words */
        put(s, text);
    } else if (other == NULL) {
        scribe_fault(s, "this word has no such form", form);
    } else if (same(form, length, "at")) {
        put(s, other);
        put(s, " the ");
        put(s, text);
    } else {
        const char *word = same(form, length, "one") ? other : pronoun(other, form, length);
        if (word != NULL)
            put(s, word);
        else
            scribe_fault(s, "unknown form", form);
    }
}

/* --- the shape of a pattern --- */

static bool is_draw(const char *p) { return p[0] == '{' && p[2] == '='; }

static const char *find(const char *p, const char *end, char stop)
{
    const char *found = memchr(p, stop, (size_t)(end - p));
    return found != NULL ? found : end;
}

/* Where the alternative that starts at p ends: at its '|', at the ']' of its bracket, or at end. */
static const char *alternative_end(const char *p, const char *end)
{
    size_t depth = 0;
    for (; p < end; p++) {
        if (*p == '{')
            p = find(p, end - 1, '}'); /* may contain bars, but no brackets */
        else if (*p == '[')
            depth++;
        else if (*p == '|' && depth == 0)
            return p;
        else if (*p == ']' && depth-- == 0)
            return p;
    }
    return end;
}

/* Puts text and slots' content into the open option up to the next choice, and returns where that is. */
static const char *put_head(Scribe *s, const char *p, const char *end)
{
    while (p < end && *p != '[' && !is_draw(p)) {
        if (*p == '{') {
            const char *close = find(p, end, '}');
            const Slot *slot = slot_at(s, p[1]);
            const char *form = p[2] == ' ' ? p + 3 : p + 2;
            if (slot == NULL || !slot->bound) {
                scribe_fault(s, "nothing in this slot", p);
                return end;
            }
            put_form(s, slot->text, slot->other, form, (size_t)(close - form));
            p = close + 1;
        } else {
            const char *start = p;
            while (p < end && *p != '[' && *p != '{')
                p++;
            option_put(s, start, (size_t)(p - start));
        }
    }
    return p;
}

/* Reads the "3*" before an alternative; moves *p past it. */
static uint64_t take_weight(const char **p)
{
    const char *q = *p;
    uint64_t weight = 0;
    while (*q >= '0' && *q <= '9')
        weight = 10 * weight + (uint64_t)(*q++ - '0');
    if (q == *p || *q != '*')
        return 1;
    *p = q + 1;
    return weight;
}

static size_t tell_range(Scribe *s, const char *p, const char *end);

/* Tells one of the alternatives at *p and moves *p past the bracket. */
static size_t tell_choice(Scribe *s, const char **p, const char *end)
{
    const char *rest[OPTIONS_MAX] = {NULL}, *stop[OPTIONS_MAX] = {NULL}, *q = *p;
    choice_open(s);
    for (size_t i = 0; s->status == GOING; i++) {
        option_open(s, take_weight(&q));
        if (s->status != GOING)
            break;
        stop[i] = alternative_end(q, end);
        rest[i] = put_head(s, q, stop[i]);
        *p = stop[i] < end ? stop[i] + 1 : end;
        if (stop[i] == end || *stop[i] == ']')
            break;
        q = *p;
    }
    const size_t chosen = choice_make(s);
    if (s->status == GOING)
        tell_range(s, rest[chosen], stop[chosen]);
    return chosen;
}

/* --- draws --- */

static void draw_inline(Scribe *s, char letter, const char *p, const char *end)
{
    choice_open(s);
    for (;;) {
        const char *stop = find(p, end, '|');
        option_open(s, 1);
        option_put(s, p, (size_t)(stop - p));
        if (stop == end)
            break;
        p = stop + 1;
    }
    const Option drawn = s->choice.options[choice_make(s)];
    bind(s, letter, s->choice.bytes + drawn.start, drawn.length, NULL);
}

static size_t take_bound(Scribe *s, const char **p)
{
    size_t bound = 0;
    if (**p < '0' || **p > '9')
        return slot_number(s, *(*p)++);
    while (**p >= '0' && **p <= '9')
        bound = 10 * bound + (size_t)(*(*p)++ - '0');
    return bound;
}

static void draw_number(Scribe *s, char letter, const char *p, const char *end)
{
    const size_t low = take_bound(s, &p);
    p += strlen("..");
    const size_t high = take_bound(s, &p);
    choice_open(s);
    for (size_t number = low; number <= high && s->status == GOING; number++) {
        char digits[24];
        const int length = snprintf(digits, sizeof digits, "%zu", number);
        option_open(s, 1);
        option_put(s, digits, (size_t)length);
        option_put(s, p, (size_t)(end - p));
    }
    slot_bind_number(s, letter, low + choice_make(s));
}

/* Draws an unused word of the list, and says it in the form (of that length), followed by `after`. */
static const Word *draw_word(Scribe *s, const WordList *list, const char *form, size_t length, const char *after)
{
    size_t index[OPTIONS_MAX] = {0}, count = 0;
    uint64_t *used = &s->used[list->used_index];
    choice_open(s);
    for (size_t i = 0; i < list->count; i++) {
        const Word *word = &list->words[i];
        if ((*used >> i & 1) != 0 || (list->only != NULL && strcmp(word->other, list->only) != 0))
            continue;
        index[count++] = i;
        option_open(s, 1);
        put_form(s, word->text, word->other, form, length);
        put(s, after);
    }
    const size_t drawn = index[choice_make(s)];
    *used |= (uint64_t)1 << drawn;
    return &list->words[drawn];
}

static void draw_item(Scribe *s, char letter, const char *form, size_t length)
{
    const Word *adjective = draw_word(s, words_find("adjective", 9), form, length, " ");
    const Word *noun = draw_word(s, words_find("noun", 4), "", 0, "");
    char text[sizeof s->slots[0].text];
    const int n = snprintf(text, sizeof text, "%s %s", adjective->text, noun->text);
    bind(s, letter, text, (size_t)n, noun->text);
}

/* p .. end-1 is what follows "{x=". */
static void tell_draw(Scribe *s, char letter, const char *p, const char *end)
{
    if (*p >= '0' && *p <= '9') {
        draw_number(s, letter, p, end);
        return;
    }
    if (memchr(p, '|', (size_t)(end - p)) != NULL) {
        draw_inline(s, letter, p, end);
        return;
    }
    const char *space = memchr(p, ' ', (size_t)(end - p));
    const char *name = space != NULL ? space + 1 : p;
    const size_t form_length = space != NULL ? (size_t)(space - p) : 0;
    const WordList *list = words_find(name, (size_t)(end - name));
    if (same(name, (size_t)(end - name), "item")) {
        draw_item(s, letter, p, form_length);
    } else if (list == NULL) {
        scribe_fault(s, "no such word list", name);
    } else {
        const Word *word = draw_word(s, list, p, form_length, "");
        bind(s, letter, word->text, strlen(word->text), word->other);
    }
}

static size_t tell_range(Scribe *s, const char *p, const char *end)
{
    size_t chosen = 0;
    while (p < end && s->status == GOING) {
        if (*p == '[') {
            p++;
            chosen = tell_choice(s, &p, end);
        } else if (is_draw(p)) {
            const char *close = find(p, end, '}');
            tell_draw(s, p[1], p + 3, close);
            p = close + 1;
        } else {
            choice_open(s);
            option_open(s, 1);
            p = put_head(s, p, end);
            choice_make(s);
        }
    }
    return chosen;
}

size_t tell(Scribe *s, const char *pattern) { return tell_range(s, pattern, pattern + strlen(pattern)); }
