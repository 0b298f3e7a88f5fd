#include "data/stories.h"

#include "data/stories_grammar.h"
#include "data/stories_observe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- stories --- */

/* Records the start of a story in the array, which has room for *capacity. */
static void note_start(Scribe *s, Stories *out, size_t *capacity)
{
    if (out->story_count == *capacity) {
        const size_t wanted = *capacity > 0 ? 2 * *capacity : 256;
        const bool fits = wanted <= SIZE_MAX / sizeof(size_t);
        size_t *starts = fits ? realloc(out->story_start, wanted * sizeof *starts) : NULL;
        if (starts == NULL) {
            s->status = FAILED;
            error_set(s->e, "out of memory for the starts of %zu stories", wanted);
            return;
        }
        out->story_start = starts;
        *capacity = wanted;
    }
    out->story_start[out->story_count++] = s->cursor;
}

/* Tells stories while the cursor is before byte `end`. */
static void tell_stories(Scribe *s, size_t end, Stories *out)
{
    size_t capacity = 0;
    while (s->status == GOING && s->cursor < end) {
        note_start(s, out, &capacity);
        memset(s->slots, 0, sizeof s->slots);
        memset(s->used, 0, sizeof s->used);
        grammar_story(s);
    }
}

/* Moves text and nats to *out, which is empty after a failure. */
static int finish(Scribe *s, Stories *out)
{
    const int result = s->status == FAILED ? -1 : 0;
    out->size = s->size;
    out->text = s->text;
    out->nats = s->nats;
    if (result != 0)
        stories_free(out);
    free(s);
    return result;
}

static Scribe *start(ChoiceObserver observe, void *context, Stories *out, Error *e)
{
    *out = (Stories){0};
    Scribe *s = calloc(1, sizeof *s);
    if (s == NULL) {
        error_set(e, "out of memory for the story scribe");
        return NULL;
    }
    s->observe = observe;
    s->context = context;
    s->e = e;
    return s;
}

int stories_generate_observed(uint64_t seed, size_t bytes, ChoiceObserver observe, void *context, Stories *out,
                              Error *e)
{
    Scribe *s = start(observe, context, out, e);
    if (s == NULL)
        return -1;
    s->random = random_make(seed, 0);
    if (bytes == 0) {
        s->status = FAILED;
        error_set(e, "a story corpus of 0 bytes was asked for");
    }
    tell_stories(s, bytes, out);
    return finish(s, out);
}

int stories_generate(uint64_t seed, size_t bytes, Stories *out, Error *e)
{
    return stories_generate_observed(seed, bytes, NULL, NULL, out, e);
}

int stories_parse_observed(const unsigned char *text, size_t size, ChoiceObserver observe, void *context, Stories *out,
                           Error *e)
{
    Scribe *s = start(observe, context, out, e);
    if (s == NULL)
        return -1;
    s->parsing = true;
    if (size == 0) {
        s->status = FAILED;
        error_set(e, "byte 0: expected a story, found an empty text");
    } else if (scribe_reserve(s, size) != 0) {
        s->status = FAILED;
        error_set(e, "out of memory to parse a text of %zu bytes", size);
    } else {
        memcpy(s->text, text, size);
        s->size = size;
    }
    tell_stories(s, size, out);
    return finish(s, out);
}

int stories_parse(const unsigned char *text, size_t size, Stories *out, Error *e)
{
    return stories_parse_observed(text, size, NULL, NULL, out, e);
}

void stories_free(Stories *s)
{
    free(s->text);
    free(s->nats);
    free(s->story_start);
    *s = (Stories){0};
}

/* --- the floor --- */

typedef struct Part {
    double nats, bytes;
} Part;

/* The part of story i that lies in begin .. end-1. */
static Part story_part(const Stories *s, size_t i, size_t begin, size_t end)
{
    const size_t stop = i + 1 < s->story_count ? s->story_start[i + 1] : s->size;
    const size_t from = s->story_start[i] > begin ? s->story_start[i] : begin;
    const size_t to = stop < end ? stop : end;
    Part part = {0, 0};
    for (size_t j = from; j < to; j++)
        part.nats += (double)s->nats[j];
    if (from < to)
        part.bytes = (double)(to - from);
    return part;
}

void stories_floor(const Stories *s, size_t begin, size_t end, double *mean, double *standard_error)
{
    Part total = {0, 0};
    for (size_t i = 0; i < s->story_count; i++) {
        const Part part = story_part(s, i, begin, end);
        total.nats += part.nats;
        total.bytes += part.bytes;
    }
    *mean = total.bytes > 0 ? total.nats / total.bytes : (double)NAN;

    double squares = 0, stories = 0;
    for (size_t i = 0; i < s->story_count; i++) {
        const Part part = story_part(s, i, begin, end);
        const double residual = part.nats - *mean * part.bytes;
        if (part.bytes > 0) {
            squares += residual * residual;
            stories += 1;
        }
    }
    if (total.bytes > 0)
        *standard_error = stories > 1 ? sqrt(squares * stories / (stories - 1)) / total.bytes : (double)INFINITY;
    else
        *standard_error = (double)NAN;
}
