/* Turns text into shards of tokens: tokenize --help. */
#include "base/text.h"
#include "base/threads.h"
#include "data/tokenize_journal.h"
#include "files/files.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* The folder of the shards is made if need be. */
static int make_parent(const char *prefix, Error *e)
{
    const size_t folder = text_folder(prefix);
    if (folder <= 1)
        return 0;
    char *parent = strndup(prefix, folder - 1);
    const int status = parent != NULL ? files_make_dirs(parent, e) : error_set(e, "%s: out of memory", prefix);
    free(parent);
    return status;
}

static volatile sig_atomic_t received;

static void on_signal(int number) { received = number; }

/* The second signal of a kind kills. One that the parent ignores, as nohup does with SIGHUP, stays ignored. */
static void catch_signals(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction before, action = {.sa_handler = on_signal, .sa_flags = SA_RESTART | (int)SA_RESETHAND};
        if (sigaction(signals[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(signals[i], &action, NULL);
    }
}

static int tokenize(const TokenizeOptions *options, Error *e)
{
    Tokenizer *tokenizer = NULL;
    TokenizeRun run = {.options = options, .split = {options->fraction, options->tail}};
    JournalState state = NOTHING;
    int lock = -1;
    run.sets[TRAIN] = shards_make(options->out, "train", options->shard_tokens);
    run.sets[HELD_OUT] = shards_make(options->out, "val", options->shard_tokens);
    int status = tokenizer_open(options->tokenizer, &tokenizer, e);
    run.tokenizer = tokenizer;
    if (status == 0)
        status = sources_find(&run.sources, options->paths, options->count, e);
    if (status == 0)
        status = make_parent(options->out, e);
    if (status == 0)
        status = journal_lock(&run, &lock, e);
    if (status == 0)
        status = journal_read(&run, &state, e);
    const size_t tokens = run.sets[TRAIN].total + run.sets[HELD_OUT].total;
    if (status == 0 && state == UNFINISHED)
        printf("%-10s%s_journal.json: %zu tokens of %zu documents are there\n", "resumes", options->out, tokens,
               run.documents);
    if (status == 0 && state == FINISHED)
        printf("%s_manifest.json: is finished, %zu tokens of %zu documents\n", options->out, tokens, run.documents);
    if (status == 0 && state != FINISHED)
        status = tokenize_run(&run, &received, e);
    journal_unlock(&run, &lock);
    for (size_t i = 0; i < SETS; i++)
        shards_end(&run.sets[i]);
    sources_free(&run.sources);
    tokenizer_close(tokenizer);
    return status;
}

int main(int argc, char **argv)
{
    TokenizeOptions options;
    Error e;
    int status = 0;
    if (tokenize_options_parse(&options, argc, argv, &e) != 0)
        status = 2;
    else if (options.help)
        tokenize_options_help(stdout);
    else {
        catch_signals();
        threads_choose(1);
        if (options.threads > 0)
            threads_set(options.threads);
        status = tokenize(&options, &e) == 0 ? 0 : received != 0 ? 128 + received : 1;
    }
    if (status == 0 && fflush(stdout) != 0)
        status = 1, error_set(&e, "standard output: cannot be written");
    if (status != 0)
        fprintf(stderr, "tokenize: %s\n", e.text);
    free(options.paths);
    return status;
}
