/* Turns text into shards of tokens: tokenize --help. */
#include "base/threads.h"
#include "data/tokenize_journal.h"
#include "files/files.h"

#include <stdlib.h>
#include <string.h>

/* The folder of the shards is made if need be. */
static int make_parent(const char *prefix, Error *e)
{
    const char *slash = strrchr(prefix, '/');
    if (slash == NULL || slash == prefix)
        return 0;
    char *parent = strndup(prefix, (size_t)(slash - prefix));
    const int status = parent != NULL ? files_make_dirs(parent, e) : error_set(e, "%s: out of memory", prefix);
    free(parent);
    return status;
}

static int tokenize(const TokenizeOptions *options, Error *e)
{
    Tokenizer *tokenizer = NULL;
    TokenizeRun run = {.options = options, .split = {options->fraction, options->tail}};
    bool resumed = false;
    run.sets[TRAIN] = shards_make(options->out, "train", options->shard_tokens);
    run.sets[HELD_OUT] = shards_make(options->out, "val", options->shard_tokens);
    int status = tokenizer_open(options->tokenizer, &tokenizer, e);
    run.tokenizer = tokenizer;
    if (status == 0)
        status = sources_find(&run.sources, options->paths, options->count, e);
    if (status == 0)
        status = make_parent(options->out, e);
    if (status == 0)
        status = journal_read(&run, &resumed, e);
    if (status == 0 && resumed)
        printf("%-10s%s_journal.json: %zu tokens of %zu documents are there\n", "resumes", options->out,
               run.sets[TRAIN].total + run.sets[HELD_OUT].total, run.documents);
    if (status == 0)
        status = tokenize_run(&run, e);
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
        threads_choose();
        if (options.threads > 0)
            threads_set(options.threads);
        status = tokenize(&options, &e) == 0 ? 0 : 1;
    }
    if (status == 0 && fflush(stdout) != 0)
        status = 1, error_set(&e, "standard output: cannot be written");
    if (status != 0)
        fprintf(stderr, "tokenize: %s\n", e.text);
    free(options.paths);
    return status;
}
