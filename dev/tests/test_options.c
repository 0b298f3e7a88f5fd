/* The command line: what is parsed, what is refused and how it is said, and the record of a run. */
#include "dev/tests/check.h"
#include "train/manual.h"
#include "train/options.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARGS_MOST = 32, LINE_MOST = 512 };

/* Arguments cut at spaces; `words` must outlive the options. */
typedef struct Line {
    char words[LINE_MOST];
    char *argv[ARGS_MOST];
    int argc;
} Line;

static void cut(Line *line, const char *text)
{
    static char program[] = "train_gpt";
    snprintf(line->words, sizeof line->words, "%s", text);
    line->argv[0] = program;
    line->argc = 1;
    for (char *word = strtok(line->words, " "); word != NULL && line->argc < ARGS_MOST; word = strtok(NULL, " "))
        line->argv[line->argc++] = word;
}

static int parse(Options *o, Line *line, const char *text, Error *e)
{
    cut(line, text);
    return options_parse(o, line->argc, line->argv, e);
}

static void must_parse(Options *o, Line *line, const char *text)
{
    Error e;
    if (parse(o, line, text, &e) != 0) {
        printf("%s: %s\n", text, e.text);
        exit(1);
    }
}

static void check_refused(int status, const Error *e, const char *word, const char *what)
{
    if (check(status == -1, "'%s' was accepted", what))
        check(strstr(e->text, word) != NULL, "'%s': '%s' does not say '%s'", what, e->text, word);
}

static bool hyper_is(const OptimHyper *h, HyperId id, double value)
{
    return h->at[id].set && h->at[id].value == value;
}

static void test_defaults(void)
{
    Options o;
    Line line;
    must_parse(&o, &line, "");
    check(strcmp(o.model, "nano") == 0 && strcmp(o.optim.rule, "muon") == 0 && o.optim.aux_rule == NULL, "model, rule");
    check(!o.overrides.set[GPT_FIELD_L] && !o.overrides.set[GPT_FIELD_V] && o.total_batch == 0 && o.batch_size == 8,
          "sizes");
    check(o.schedule.steps == 500 && o.schedule.warmup == 20 && o.schedule.kind == SCHEDULE_WSD, "schedule");
    check(o.clip == 1 && isnan(o.target_loss) && o.keep == 2 && o.seed == 1 && o.threads == 0, "the rest");
    check(o.train == NULL && o.text == NULL && o.out == NULL && !o.resume && !o.help, "texts and flags");
    for (size_t id = 0; id < HYPER_COUNT; id++)
        check(!o.optim.hyper.at[id].set && !o.optim.aux_hyper.at[id].set, "hyperparameter %zu is set", id);
    options_free(&o);
}

static void test_values(void)
{
    Options o;
    Line line;
    must_parse(&o, &line,
               "--layers 3 --lr 0.25 --aux-lr=0.5 --embed-lr=0.125 --aux-beta2 0.5 --ns polar-express --out=a=b "
               "--schedule=cosine --steps 7 --steps 9 --clip 0 --target-loss 1.5 --resume --no-nesterov --split-qkv");
    check(o.overrides.set[GPT_FIELD_L] && o.overrides.values.L == 3 && o.schedule.steps == 9 &&
              o.schedule.kind == SCHEDULE_COSINE,
          "sizes and a choice");
    check(hyper_is(&o.optim.hyper, HYPER_LR, 0.25) && hyper_is(&o.optim.aux_hyper, HYPER_LR, 0.5) &&
              hyper_is(&o.optim.embed_hyper, HYPER_LR, 0.125) && hyper_is(&o.optim.aux_hyper, HYPER_BETA2, 0.5),
          "rates");
    check(!o.optim.head_hyper.at[HYPER_LR].set && !o.optim.hyper.at[HYPER_BETA2].set, "a value has strayed");
    check(hyper_is(&o.optim.hyper, HYPER_NESTEROV, 0) && hyper_is(&o.optim.hyper, HYPER_SPLIT_QKV, 1), "switches");
    check(o.clip == 0 && o.target_loss == 1.5 && o.resume, "reals and a flag");
    check(strcmp(o.out, "a=b") == 0, "--out is %s", o.out);
    options_free(&o);
}

static void test_refusals(void)
{
    static const struct {
        const char *line, *word;
    } bad[] = {
        {"--optimizr muon", "did you mean --optimizer"},
        {"--weight-decai 1", "did you mean --weight-decay"},
        {"--aux-beta4 1", "did you mean --aux-beta1"},
        {"--no-lr", "no option --no-lr"},
        {"--no-aux-momentum", "no option --no-aux-momentum"},
        {"--somethingelse", "--help lists them all"},
        {"--=5", "no option --;"},
        {"steps", "'steps' is not an option"},
        {"-s 5", "'-s' is not an option"},
        {"--", "'--' is not an option"},
        {"--steps", "--steps needs a value: --steps N"},
        {"--resume=1", "--resume takes no value"},
        {"--no-nesterov=1", "--no-nesterov takes no value"},
        {"--steps -1", "--steps needs a whole number of at least 0, not '-1'"},
        {"--steps +1", "'+1'"},
        {"--steps 1.0", "'1.0'"},
        {"--steps 0x10", "'0x10'"},
        {"--steps 9007199254740993", "too large"},
        {"--steps 99999999999999999999999", "too large"},
        {"--steps=", "not ''"},
        {"--layers 0", "--layers is 0; it must be at least 1"},
        {"--total-batch 0", "--total-batch is 0"},
        {"--batch-size 0", "--batch-size is 0"},
        {"--threads 1025", "--threads is 1025; it must be at most"},
        {"--clip nan", "--clip is nan"},
        {"--clip -1", "--clip is -1"},
        {"--clip 1e31", "--clip is 1e31"},
        {"--cooldown 1.01", "--cooldown is 1.01"},
        {"--temperature warm", "--temperature needs a number, not 'warm'"},
        {"--lr nan", "--lr is nan"},
        {"--lr -0.1", "--lr is -0.1"},
        {"--lr 0.1x", "not '0.1x'"},
        {"--aux-lr inf", "--aux-lr is inf"},
        {"--aux-beta1 1", "--aux-beta1 is 1; it must be a number from 0 to below 1"},
        {"--ns-steps 2.5", "--ns-steps is 2.5; it must be a whole number"},
        {"--ns newton", "--ns knows no 'newton'; it is one of jordan, cubic"},
        {"--schedule cos", "--schedule knows no 'cos'; it is one of constant, cosine"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        Options o;
        Line line;
        Error e;
        check_refused(parse(&o, &line, bad[i].line, &e), &e, bad[i].word, bad[i].line);
        options_free(&o);
    }
}

/* A name so long that a careless buffer would overflow. */
static void test_long_names(void)
{
    static char name[5000], program[] = "train_gpt";
    char *argv[] = {program, name};
    Options o;
    Error e;
    memset(name, 'x', sizeof name - 1);
    name[0] = name[1] = '-';
    check_refused(options_parse(&o, 2, argv, &e), &e, "no option --xxx", "a long name");
    name[100] = '=';
    check_refused(options_parse(&o, 2, argv, &e), &e, "no option --xxx", "a long name with a value");
    options_free(&o);
}

/* --- the record of a run --- */

static Notes notes;

static Json *record_of(const Options *o)
{
    char *text = NULL;
    size_t size = 0;
    Json *json = NULL;
    Error e;
    FILE *to = open_memstream(&text, &size);
    options_write(o, to);
    fclose(to);
    if (json_parse(text, size, &json, &e) != 0)
        check(false, "options_write wrote no JSON: %s in %s", e.text, text);
    free(text);
    return json;
}

static void test_record(void)
{
    Options o;
    Line line;
    must_parse(&o, &line,
               "--layers 3 --lr 0.1 --no-nesterov --ns cubic --schedule linear --out a\"b\\c --resume --help");
    Json *record = record_of(&o);
    static const char *const have[][2] = {{"layers", "3"}, {"lr", "0.1"},          {"nesterov", "off"},
                                          {"ns", "cubic"}, {"schedule", "linear"}, {"out", "a\"b\\c"},
                                          {"steps", "500"}};
    for (size_t i = 0; i < sizeof have / sizeof *have; i++) {
        const char *got = json_string(json_get(record, have[i][0]));
        check(got != NULL && strcmp(got, have[i][1]) == 0, "%s is %s", have[i][0], got != NULL ? got : "missing");
    }
    static const char *const have_not[] = {"heads",  "total-batch", "target-loss", "train",
                                           "aux-lr", "momentum",    "resume",      "help"};
    for (size_t i = 0; i < sizeof have_not / sizeof *have_not; i++)
        check(json_get(record, have_not[i]) == NULL, "%s has a value", have_not[i]);
    json_free(record);
    options_free(&o);
}

static const char everything[] =
    "--train t*.bin --val v*.bin --model gpt2 --layers 3 --heads 5 --width 35 --vocab 77 --seq-len 9 --batch-size 2 "
    "--total-batch 36 --optimizer muon --aux-optimizer adamw --lr 0.1 --momentum 0.3 --no-nesterov --ns track3 ";
static const char the_rest[] =
    "--aux-lr 0.7 --embed-lr 0.3333333333333333 --clip 0.1 --steps 12 --schedule cosine --warmup 3 --cooldown 0.2 "
    "--final-lr 0.05 --val-tokens 99 --seed 5 --temperature 0.3 --target-loss 2.5";

/* The options that a run's command lines gave, also those before it was resumed. */
static void test_command(void)
{
    Options first, second;
    Line line, more;
    Error e;
    must_parse(&first, &line, "--mlp-bias off --no-nesterov --lr 0.01 --steps 5 --resume --prompt --x --ranks 1");
    Json *record = record_of(&first);
    for (size_t i = 0; i < 2; i++) {
        char *text = NULL;
        size_t size = 0;
        Json *command;
        FILE *to = open_memstream(&text, &size);
        options_write_command(i == 0 ? &first : &second, to);
        fclose(to);
        check(strcmp(text,
                     i == 0 ? "[\"--mlp-bias=off\", \"--lr=0.01\", \"--no-nesterov\", \"--steps=5\", \"--prompt=--x\"]"
                            : "[\"--mlp-bias=off\", \"--lr=0.01\", \"--no-nesterov\", \"--steps=9\", \"--prompt=--x\", "
                              "\"--keep=3\"]") == 0,
              "command %zu is %s", i, text);
        check(json_parse(text, size, &command, &e) == 0, "%s", e.text);
        if (i == 0) {
            must_parse(&second, &more, "--steps 9 --keep 3 --resume");
            check(options_resume(&second, record, command, &notes, &e) == 0, "%s", e.text);
        }
        json_free(command);
        free(text);
    }
    options_free(&second);
    options_free(&first);
    json_free(record);
}

/* Options -> record -> options gives the same record. */
static void test_round_trip(void)
{
    Options first, second;
    Line line, bare, other;
    must_parse(&first, &line, everything);
    Error e;
    Json *record = record_of(&first);
    must_parse(&second, &bare, "--resume --out x");
    check(options_resume(&second, record, NULL, &notes, &e) == 0, "resume: %s", e.text);
    json_free(record);
    check(second.overrides.set[GPT_FIELD_L] && second.overrides.values.L == 3 && second.total_batch == 36 &&
              strcmp(second.train, "t*.bin") == 0,
          "values did not come back");
    check(hyper_is(&second.optim.hyper, HYPER_LR, 0.1) && hyper_is(&second.optim.hyper, HYPER_NESTEROV, 0),
          "nor rates");
    check(strcmp(second.out, "x") == 0 && second.resume, "what was given is gone");
    options_free(&second);
    options_free(&first);
    must_parse(&first, &line, the_rest);
    record = record_of(&first);
    must_parse(&second, &other, "--resume --steps 20");
    check(options_resume(&second, record, NULL, &notes, &e) == 0, "resume: %s", e.text);
    check(second.schedule.steps == 20, "--steps was not heeded");
    check(second.schedule.kind == SCHEDULE_COSINE && second.schedule.warmup == 3 && second.schedule.cooldown == 0.2 &&
              second.schedule.final == 0.05 && second.clip == 0.1 && second.target_loss == 2.5,
          "the schedule did not come back");
    check(second.optim.embed_hyper.at[HYPER_LR].value == 0.3333333333333333, "a rate lost digits");
    json_free(record);
    options_free(&second);
    options_free(&first);
}

static void test_contradictions(void)
{
    static const struct {
        const char *begun, *resumed, *word; /* word NULL: they agree, or it may change */
    } cases[] = {
        {"--lr 0.1", "--lr 0.10", NULL},
        {"--lr 0.1", "--lr 0.2", "--lr 0.2"},
        {"--lr 0.1", "--lr 0.2", "begun with 0.1"},
        {"", "--lr 0.2", "the default"},
        {"--layers 3", "--layers 3", NULL},
        {"--layers 3", "--layers 4", "--layers 4 contradicts the run, which was begun with 3"},
        {"", "--layers 4", "the default"},
        {"--nesterov", "--no-nesterov", "on"},
        {"--ns cubic", "--ns jordan", "cubic"},
        {"--schedule linear", "--schedule wsd", "linear"},
        {"", "--schedule wsd", NULL},
        {"--seed 3", "--seed 4", "3"},
        {"--text a", "--text b", NULL},
        {"--optimizer adamw", "--aux-optimizer adam", "the default"},
        {"--warmup 3", "--warmup 4", "3"},
        {"--total-batch 64", "--total-batch 32", "64"},
        {"--steps 3 --threads 1 --batch-size 2 --val-every 1 --keep 1 --checkpoint-every 1 --device cpu --dtype fp32",
         "--steps 4 --threads 2 --batch-size 1 --val-every 2 --keep 2 --checkpoint-every 2 --device auto --dtype bf16",
         NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Options begun, resumed;
        Line first, second;
        Error e;
        must_parse(&begun, &first, cases[i].begun);
        must_parse(&resumed, &second, cases[i].resumed);
        Json *record = record_of(&begun);
        const int status = options_resume(&resumed, record, NULL, &notes, &e);
        if (cases[i].word != NULL)
            check_refused(status, &e, cases[i].word, cases[i].resumed);
        else
            check(status == 0, "'%s' then '%s': %s", cases[i].begun, cases[i].resumed, e.text);
        json_free(record);
        options_free(&resumed);
        options_free(&begun);
    }
}

/* A record that was edited by hand is checked like a command line. */
static void test_bad_records(void)
{
    static const struct {
        const char *text, *word;
    } bad[] = {
        {"{\"layers\": \"0\"}", "--layers is 0"},
        {"{\"lr\": \"nan\"}", "--lr is nan"},
        {"{\"schedule\": \"zigzag\"}", "zigzag"},
        {"{\"nesterov\": \"maybe\"}", "maybe"},
        {"{\"layars\": \"2\"}", "option 'layars'"},
        {"{\"no-nesterov\": \"on\"}", "option 'no-nesterov'"},
        {"{\"resume\": \"on\"}", "option 'resume'"},
        {"{\"steps\": 12}", "--steps is not a text"},
        {"{\"text\": {\"hex\": \"6\"}}", "--text is not a text"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        Options o;
        Line line;
        Json *record;
        Error e;
        must_parse(&o, &line, "--resume");
        if (check(json_parse(bad[i].text, strlen(bad[i].text), &record, &e) == 0, "%s", e.text)) {
            check_refused(options_resume(&o, record, NULL, &notes, &e), &e, bad[i].word, bad[i].text);
            json_free(record);
        }
        options_free(&o);
    }
}

static void test_help(void)
{
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);
    manual_help(to);
    fclose(to);
    static const char *const words[] = {
        "--train GLOB", "--nesterov, --no-nesterov", "--aux-lr X", "polar-express", "--resume ", "muon", "3 diverged"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        check(strstr(text, words[i]) != NULL, "--help does not say %s", words[i]);
    free(text);
}

int main(void)
{
    check_run("defaults", test_defaults);
    check_run("values", test_values);
    check_run("refusals", test_refusals);
    check_run("long names", test_long_names);
    check_run("the record of a run", test_record);
    check_run("there and back", test_round_trip);
    check_run("the command of a run", test_command);
    check_run("contradictions", test_contradictions);
    check_run("records edited by hand", test_bad_records);
    check_run("help", test_help);
    return check_summary();
}
