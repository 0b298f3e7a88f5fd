#include "data/tokenize_options.h"

#include "base/nearest.h"
#include "base/threads.h"

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const size_t SHARD_TOKENS = 100000000, SHARD_MOST = INT32_MAX; /* what a shard's header can count */
static const double FRACTION = 0.01;

static const char help[] = "Turns text into shards of tokens to train on, with GPT-2's tokenizer.\n"
                           "\n"
                           "  data/get tokenizer                       GPT-2's tables, once\n"
                           "  data/tokenize book.txt --out shards/book --val-tail 0.1\n"
                           "  data/tokenize books/ --out shards/books --val-tail 0.1\n"
                           "  data/tokenize a.jsonl.zst b.jsonl.gz --out shards/web\n"
                           "  ./train_gpt --train 'shards/web_train_*.bin' --val 'shards/web_val_*.bin' \\\n"
                           "              --model gpt2\n"
                           "\n"
                           "What it reads:\n"
                           "  FILE                     a text, which is one document; by its name also\n"
                           "                           *.jsonl or *.ndjson, a document in each line;\n"
                           "                           and any of them compressed: *.gz, *.zst\n"
                           "  DIR                      all *.txt, *.text, *.md, *.jsonl and *.ndjson in it\n"
                           "                           and below, also with .gz or .zst, in the order of\n"
                           "                           their names; not what begins with a dot\n"
                           "  --field NAME             of the JSON object in a line, the document [text]\n"
                           "  --tokenizer PATH         gpt2, or a folder with encoder.json and vocab.bpe,\n"
                           "                           or vocab.json and merges.txt, or a *.tiktoken file;\n"
                           "                           or one of these files [gpt2]\n"
                           "\n"
                           "What it writes:\n"
                           "  --out PREFIX             PREFIX_train_000000.bin and so on, PREFIX_val_*.bin,\n"
                           "                           and PREFIX_manifest.json: what they were made of\n"
                           "  --shard-tokens N         in each shard but the last [100000000]\n"
                           "  --val-fraction F         share of documents that are held out, chosen by the\n"
                           "                           hash of their first MiB: the same ones in any order\n"
                           "                           and company [0.01]\n"
                           "  --val-tail F             instead, the last F of each document's characters:\n"
                           "                           for few documents, of which F may hold out none\n"
                           "  --threads N              0: all [0]; the shards do not depend on it\n"
                           "  --help                   print this and exit\n"
                           "\n"
                           "<|endoftext|> stands before each document, and before the part of one that is\n"
                           "held out. In a text it is text like any other. Empty documents are left out. A\n"
                           "text is taken byte by byte, whether UTF-8 or not.\n"
                           "\n"
                           "If it is stopped, whatever by, the same command goes on where it stopped.\n"
                           "Shards have their names once they are complete. Nothing is overwritten.\n"
                           "Exit status: 0 done, also if it was before; 1 failed; 2 wrong command;\n"
                           "128 + N stopped by signal N.\n"
                           "Bytes as tokens need no shards: ./train_gpt --text FILE reads them.\n";

void tokenize_options_help(FILE *to) { fputs(help, to); }

static int take_size(const char *name, const char *text, size_t least, size_t most, size_t *value, Error *e)
{
    char *end = NULL;
    errno = 0;
    const unsigned long long number = *text >= '0' && *text <= '9' ? strtoull(text, &end, 10) : 0;
    if (end == NULL || *end != '\0' || errno != 0 || number < least || number > most)
        return error_set(e, "%s needs a whole number from %zu to %zu, not '%s'", name, least, most, text);
    *value = (size_t)number;
    return 0;
}

static int take_fraction(const char *name, const char *text, double *value, Error *e)
{
    char *end;
    const double number = strtod(text, &end);
    if (end == text || *end != '\0' || !(number >= 0 && number < 1))
        return error_set(e, "%s needs a number from 0 to below 1, not '%s'", name, text);
    *value = number;
    return 0;
}

/* The options that take a value. */
static const char *const known[] = {"--tokenizer",    "--out",      "--field",  "--shard-tokens",
                                    "--val-fraction", "--val-tail", "--threads"};
enum { KNOWN = sizeof known / sizeof *known, TEXTS = 3, SHARD = 3, TAIL = 5, THREADS = 6 };

static int refuse_unknown(const char *name, Error *e)
{
    Nearest nearest = nearest_to(name);
    for (size_t i = 0; i < KNOWN; i++)
        nearest_try(&nearest, known[i]);
    nearest_try(&nearest, "--help");
    if (*nearest.best != '\0')
        return error_set(e, "unknown option '%s'; did you mean %s?", name, nearest.best);
    return error_set(e, "unknown option '%s' (see --help)", name);
}

/* The option `name` with its value, which may be NULL. */
static int take_option(TokenizeOptions *o, const char *name, const char *value, bool *has_split, Error *e)
{
    const char **const texts[TEXTS] = {&o->tokenizer, &o->out, &o->field};
    size_t i = 0;
    while (i < KNOWN && strcmp(name, known[i]) != 0)
        i++;
    if (i == KNOWN)
        return refuse_unknown(name, e);
    if (value == NULL)
        return error_set(e, "%s needs a value", name);
    if (i < TEXTS) {
        *texts[i] = value;
        return *value != '\0' ? 0 : error_set(e, "%s needs a value, not ''", name);
    }
    if (i == SHARD)
        return take_size(name, value, 1, SHARD_MOST, &o->shard_tokens, e);
    if (i == THREADS)
        return take_size(name, value, 0, THREADS_MOST, &o->threads, e);
    if (*has_split)
        return error_set(e, "--val-fraction and --val-tail: only one of them, once");
    *has_split = true;
    o->tail = i == TAIL;
    return take_fraction(name, value, &o->fraction, e);
}

static int check_whole(const TokenizeOptions *o, Error *e)
{
    if (o->count == 0)
        return error_set(e, "no files to tokenize (see --help)");
    if (o->out == NULL)
        return error_set(e, "--out PREFIX is missing: the beginning of the shards' names");
    if (o->out[strlen(o->out) - 1] == '/')
        return error_set(e, "--out %s: names a folder; add the beginning of the shards' names", o->out);
    if (strcmp(o->tokenizer, "bytes") == 0)
        return error_set(e, "--tokenizer bytes: bytes need no shards, and have no token between documents; "
                            "./train_gpt --text FILE trains on them");
    return 0;
}

int tokenize_options_parse(TokenizeOptions *o, int argc, char **argv, Error *e)
{
    bool has_split = false, only_paths = false;
    *o = (TokenizeOptions){.tokenizer = "gpt2", .field = "text", .shard_tokens = SHARD_TOKENS, .fraction = FRACTION};
    o->paths = malloc((size_t)argc * sizeof *o->paths);
    if (o->paths == NULL)
        return error_set(e, "out of memory");
    for (int i = 1; i < argc; i++) {
        if (!only_paths && strcmp(argv[i], "--") == 0)
            only_paths = true;
        else if (only_paths || argv[i][0] != '-')
            o->paths[o->count++] = argv[i];
        else if (strcmp(argv[i], "--help") == 0) {
            o->help = true;
            return 0;
        } else {
            if (take_option(o, argv[i], argv[i + 1], &has_split, e) != 0)
                return -1;
            i++;
        }
    }
    return check_whole(o, e);
}
