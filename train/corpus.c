#include "train/corpus.h"

#include "data/stories.h"

#include <math.h>
#include <string.h>

/* The built-in corpus: nine tenths of its stories to train on, the rest held out. */
enum { STORIES_BYTES = 10000000, STORIES_SEED = 1 };

static bool has_shards(const Options *o) { return o->train != NULL || o->val != NULL; }

size_t corpus_vocab(const Options *o) { return has_shards(o) ? 0 : BYTE_VOCAB; }

/* The floor is that of the validation targets: all bytes of the held-out text but the first. */
static int open_stories(const Options *o, Corpus *corpus, Error *e)
{
    Stories stories;
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

static int open_shards(const Options *o, size_t V, Corpus *corpus, Error *e)
{
    corpus->name = o->train != NULL ? o->train : o->val;
    if (o->train != NULL && tokens_open(o->train, V, &corpus->train, e) != 0)
        return -1;
    return o->val != NULL ? tokens_open(o->val, V, &corpus->val, e) : 0;
}

int corpus_open(const Options *o, size_t V, Corpus *corpus, Error *e)
{
    int status;
    *corpus = (Corpus){.vocab = corpus_vocab(o)};
    if (!has_shards(o) && V < BYTE_VOCAB)
        return error_set(e, "bytes need a vocabulary of at least %d; the model has %zu (--vocab)", (int)BYTE_VOCAB, V);
    if (has_shards(o)) {
        status = open_shards(o, V, corpus, e);
    } else if (o->text != NULL) {
        corpus->name = o->text;
        status = tokens_from_text(o->text, &corpus->train, &corpus->val, e);
    } else {
        corpus->name = "the built-in stories";
        status = open_stories(o, corpus, e);
    }
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
