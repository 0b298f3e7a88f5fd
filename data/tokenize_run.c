#define _DEFAULT_SOURCE /* TIOCGWINSZ */
#include "data/tokenize_run.h"

#include "base/clock.h"
#include "base/threads.h"
#include "data/tokenize_encode.h"
#include "data/tokenize_journal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const double JOURNAL_SECONDS = 5, SHOWN_SECONDS = 0.2;

/* Two batches: while the parts of one are tokenized, one thread reads the next. */
typedef struct Pipeline {
    TokenizeRun *run;
    Reader *reader;
    Batch batches[2];
    size_t current;
    Worker *workers; /* (threads) */
    size_t threads;
    Encoded *encoded; /* (capacity), of the current batch's parts */
    size_t *takers;   /* and the threads that took them */
    size_t capacity;
    Error *errors;                      /* (threads), of the first part that each could not tokenize, */
    size_t *failed;                     /* (threads), which was this one; SIZE_MAX: none */
    double begun, noted, noting, shown; /* clock; seconds that writing the journal took */
    size_t raw_begun, bytes_begun;      /* of the files, and of text */
    bool is_terminal, drawn;            /* drawn: the screen's last line is progress */
} Pipeline;

static void pipeline_free(Pipeline *p)
{
    reader_close(p->reader);
    for (size_t i = 0; i < 2; i++)
        batch_free(&p->batches[i]);
    for (size_t i = 0; p->workers != NULL && i < p->threads; i++)
        worker_close(&p->workers[i]);
    free(p->workers);
    free(p->encoded);
    free(p->takers);
    free(p->errors);
    free(p->failed);
}

static int pipeline_make(Pipeline *p, TokenizeRun *run, Error *e)
{
    const size_t n = threads_count();
    const double now = clock_seconds();
    *p = (Pipeline){.run = run,
                    .workers = calloc(n, sizeof *p->workers),
                    .threads = n,
                    .errors = calloc(n, sizeof *p->errors),
                    .failed = calloc(n, sizeof *p->failed),
                    .begun = now,
                    .noted = now,
                    .shown = now,
                    .bytes_begun = run->bytes,
                    .is_terminal = isatty(STDOUT_FILENO)};
    if (p->workers == NULL || p->errors == NULL || p->failed == NULL)
        return error_set(e, "out of memory for %zu threads", n);
    for (size_t i = 0; i < n; i++)
        if (worker_open(&p->workers[i], run->tokenizer, e) != 0)
            return -1;
    return reader_open(&run->sources, &run->split, &run->at, &p->reader, e);
}

/* --- a batch --- */

static int make_room(Pipeline *p, Error *e)
{
    const size_t count = p->batches[p->current].count;
    if (count <= p->capacity)
        return 0;
    Encoded *encoded = realloc(p->encoded, count * sizeof *encoded);
    if (encoded != NULL)
        p->encoded = encoded;
    size_t *takers = realloc(p->takers, count * sizeof *takers);
    if (takers != NULL)
        p->takers = takers;
    if (encoded == NULL || takers == NULL)
        return error_set(e, "out of memory for %zu documents", count);
    p->capacity = count;
    return 0;
}

/* Tokenizes the current batch and meanwhile reads the next. The first error in the order of the parts counts, and
 * only then one of reading. */
static int work(Pipeline *p, Error *e)
{
    const TokenizeRun *run = p->run;
    const Batch *batch = &p->batches[p->current];
    Error reading;
    int status = 0;
    if (make_room(p, e) != 0)
        return -1;
    for (size_t i = 0; i < p->threads; i++) {
        p->workers[i].tokens.count = 0;
        p->failed[i] = SIZE_MAX;
    }
#pragma omp parallel for schedule(dynamic)
    for (size_t i = 0; i <= batch->count; i++) {
        const size_t thread = threads_index();
        if (i == 0)
            status = reader_next(p->reader, &p->batches[1 - p->current], &reading);
        else if (p->failed[thread] == SIZE_MAX) {
            p->takers[i - 1] = thread;
            if (encode_part(&p->workers[thread], batch, i - 1, &run->sources, &run->split, run->options->field,
                            &p->encoded[i - 1], &p->errors[thread]) != 0)
                p->failed[thread] = i - 1;
        }
    }
    size_t first = 0;
    for (size_t i = 1; i < p->threads; i++)
        first = p->failed[i] < p->failed[first] ? i : first;
    if (p->failed[first] != SIZE_MAX)
        return error_set(e, "%s", p->errors[first].text);
    return status == 0 ? 0 : error_set(e, "%s", reading.text);
}

static int write_part(Pipeline *p, size_t i, Error *e)
{
    TokenizeRun *run = p->run;
    const Encoded *part = &p->encoded[i];
    const uint16_t *ids = p->workers[p->takers[i]].tokens.ids + part->begin;
    if (part->count == 0) {
        run->empty += part->empty;
        return 0;
    }
    run->documents += part->documents;
    run->empty += part->empty;
    run->bytes += part->bytes;
    run->replaced += part->replaced;
    if (shards_append(&run->sets[TRAIN], ids, part->train, e) != 0)
        return -1;
    return shards_append(&run->sets[HELD_OUT], ids + part->train, part->count - part->train, e);
}

/* Notes where a later run goes on, if it must be now, when shards are complete or it has been a while. */
static int note(Pipeline *p, bool now, Error *e)
{
    TokenizeRun *run = p->run;
    for (size_t i = 0; i < SETS; i++)
        now |= run->sets[i].complete > run->sets[i].published;
    const double begin = clock_seconds(), wait = fmax(JOURNAL_SECONDS, 20 * p->noting);
    if (!now && begin - p->noted < wait)
        return 0;
    for (size_t i = 0; i < SETS; i++)
        if (shards_flush(&run->sets[i], e) != 0)
            return -1;
    if (journal_write(run, e) != 0)
        return -1;
    for (size_t i = 0; i < SETS; i++)
        if (shards_publish(&run->sets[i], e) != 0)
            return -1;
    p->noted = clock_seconds();
    p->noting = p->noted - begin;
    return 0;
}

/* --- the screen --- */

/* A line over the last one: how much of the sources has been read, and at what pace. */
static void show(Pipeline *p)
{
    const double now = clock_seconds(), total = (double)p->run->sources.bytes;
    const double read = (double)p->batches[p->current].raw_read, seconds = now - p->begun;
    struct winsize window;
    if (!p->is_terminal || now - p->shown < SHOWN_SECONDS || read <= (double)p->raw_begun)
        return;
    const double rate = (double)(p->run->bytes - p->bytes_begun) / seconds;
    const double raw_rate = (read - (double)p->raw_begun) / seconds; /* compressed files are read at their own */
    const size_t tokens = p->run->sets[TRAIN].total + p->run->sets[HELD_OUT].total;
    char line[128], left[32];
    clock_format_left(left, sizeof left, (total - read) / raw_rate);
    snprintf(line, sizeof line, "%3.0f%% | %.1fM tokens | %.0f MB/s | %s", 100 * read / total, 1e-6 * (double)tokens,
             1e-6 * rate, left);
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0 && window.ws_col < sizeof line)
        line[window.ws_col - 1] = '\0';
    printf("\r\033[K%s", line);
    fflush(stdout);
    p->shown = now;
    p->drawn = true;
}

static void report_set(const Shards *s, const char *name, const char *how)
{
    char *first = shards_path(s, 0, ""), *last = shards_path(s, s->complete - 1, "");
    printf("%-10s%zu tokens%s: %s", name, s->total, how, first != NULL ? first : "");
    if (s->complete > 1)
        printf(" to %s", last != NULL ? last : "");
    printf("\n");
    free(first);
    free(last);
}

static void report_held_out(const TokenizeRun *run)
{
    const Shards *s = &run->sets[HELD_OUT];
    char how[64];
    snprintf(how, sizeof how, run->split.tail ? " (the last %g of each document)" : " (%g of the documents)",
             run->split.fraction);
    if (s->total > 0)
        report_set(s, "val", how);
    else if (run->split.fraction > 0)
        printf(
            "%-10sno tokens: --val-%s %g holds out nothing here; to hold out the last tenth of each document, delete "
            "%s_* and give --val-tail 0.1\n",
            "val", run->split.tail ? "tail" : "fraction", run->split.fraction, run->options->out);
    else
        printf("%-10sno tokens%s\n", "val", how);
}

static void report(const Pipeline *p)
{
    const TokenizeRun *run = p->run;
    const size_t tokens = run->sets[TRAIN].total + run->sets[HELD_OUT].total;
    const double seconds = clock_seconds() - p->begun;
    if (p->drawn)
        printf("\r\033[K");
    printf("%-10s%zu documents, %zu bytes, %.2f bytes a token", "text", run->documents, run->bytes,
           tokens > 0 ? (double)run->bytes / (double)tokens : 0);
    if (run->empty > 0)
        printf("; %zu empty documents left out", run->empty);
    if (run->replaced > 0)
        printf("; %zu escapes of no character (\\u0000, half a surrogate pair) became U+FFFD", run->replaced);
    if (run->sources.others > 0)
        printf("; %zu other files in the folders", run->sources.others);
    printf("\n");
    if (run->sets[TRAIN].total > 0)
        report_set(&run->sets[TRAIN], "train", "");
    else
        printf("%-10sno tokens: all documents are held out\n", "train");
    report_held_out(run);
    printf("%-10s%s_manifest.json\n", "manifest", run->options->out);
    printf("%-10s%.1f s, %.0f MB/s of text, %zu threads\n", "time", seconds,
           1e-6 * (double)(run->bytes - p->bytes_begun) / seconds, p->threads);
}

/* --- all of it --- */

static int run_batches(Pipeline *p, const volatile sig_atomic_t *stop, Error *e)
{
    TokenizeRun *run = p->run;
    if (reader_next(p->reader, &p->batches[0], e) != 0)
        return -1;
    while (run->at.source < run->sources.count) {
        const Batch *batch = &p->batches[p->current];
        if (work(p, e) != 0)
            return -1;
        for (size_t i = 0; i < batch->count; i++)
            if (write_part(p, i, e) != 0)
                return -1;
        run->empty += batch->empty;
        run->at = batch->end;
        const bool stopped = *stop != 0;
        if (note(p, stopped, e) != 0)
            return -1;
        if (stopped)
            return error_set(e, "stopped; the same command goes on from there");
        show(p);
        p->current = 1 - p->current;
    }
    for (size_t i = 0; i < SETS; i++)
        if (shards_finish(&run->sets[i], e) != 0)
            return -1;
    if (run->sets[TRAIN].total + run->sets[HELD_OUT].total == 0)
        return error_set(e, "%s: there is no text to tokenize: all %zu documents are empty", run->options->paths[0],
                         run->empty);
    return note(p, true, e) == 0 ? journal_finish(run, e) : -1;
}

int tokenize_run(TokenizeRun *run, const volatile sig_atomic_t *stop, Error *e)
{
    Pipeline p;
    int status = pipeline_make(&p, run, e);
    for (size_t i = 0; i < run->at.source; i++)
        p.raw_begun += run->sources.list[i].bytes;
    if (status == 0)
        status = run_batches(&p, stop, e);
    if (status == 0)
        report(&p);
    else if (p.drawn)
        printf("\n");
    pipeline_free(&p);
    return status;
}
