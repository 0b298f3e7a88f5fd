#include "train/options.h"

#include "base/nearest.h"
#include "base/text.h"
#include "base/threads.h"
#include "files/files.h"
#include "train/presets.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef enum { TEXT, SIZE, REAL, FLAG, SWITCH, CHOICE, HYPER, FIELDS, HYPERS } Kind;

/*
 * One option. FLAG and SWITCH are a bool and take no value: a SWITCH is recorded with the run, and --no-<switch> turns
 * it off; a FLAG is of one command alone. CHOICE is an int-sized enum; HYPER is a hyperparameter of the OptimHyper at
 * the offset. Two rows stand for many: FIELDS for the fields of a model's configuration, HYPERS for all hyperparameters
 * that no other row of its prefix names (with the prefix "aux-", those of rules that take any tensor).
 */
typedef struct Option {
    const char *section; /* of --help, where a new one begins */
    const char *name, *argument, *help;
    Kind kind;
    size_t offset;
    const char *const *choices;    /* CHOICE; TEXT, which may be one of these */
    const char *(*word)(size_t i); /* TEXT, which may be one of these: for i = 0, 1, ..; NULL after the last */
    HyperId hyper;
    const char *prefix; /* HYPER: "", "aux-", "embed-", "head-", "vector-" */
    double least, most; /* REAL; SIZE, where most 0 is no limit */
    bool may_change;    /* in a resumed run */
    bool of_command;    /* alone: neither recorded nor part of a preset, as a FLAG is not */
    size_t set;         /* offset of the flag that notes it; 0: none */
    const char *zero;   /* SIZE: the word for 0; TEXT: one more choice */
    const char *older;  /* what runs did whose record lacks the option; NULL: the default */
} Option;

#define AT(field) offsetof(Options, field)
#define HYPER_ROW(id, pre, field, note)                                              \
    {                                                                                \
        .help = note, .kind = HYPER, .offset = AT(field), .hyper = id, .prefix = pre \
    }

const char *const options_devices[] = {"auto", "cpu", "cuda", NULL};

static const Option rows[] = {
    {"Preset", "preset", "NAME|FILE",
     "options of a published run, from a list or a file; the command line overrides them, another --optimizer also "
     "their rates for the hidden matrices",
     TEXT, AT(preset), .word = preset_name},
    {NULL, "list-presets", NULL, "print the presets' names, and exit", FLAG, AT(list_presets)},

    {"Data", "train", "GLOB", "token shards to train on, or stories: the built-in ones, as without data options", TEXT,
     AT(train), .may_change = true},
    {NULL, "val", "GLOB", "token shards to validate on", TEXT, AT(val), .may_change = true},
    {NULL, "text", "FILE", "text to train on; last tenth is held out", TEXT, AT(text), .may_change = true},
    {NULL, "tokenizer", "NAME",
     "what text is split into: bytes, gpt2 (from data/get tokenizer) or a file or directory of such tables [the "
     "checkpoint's; otherwise bytes]",
     TEXT, AT(tokenizer), .may_change = true},

    {"Model", "model", "NAME|DIR", "nano, gpt2, gpt2-medium, gpt2-large, gpt2-xl or a checkpoint's directory [nano]",
     TEXT, AT(model), .word = gpt_preset_name},
    {.kind = FIELDS, .offset = AT(overrides.values)},
    {NULL, "dropout", "P",
     "share of embeddings, attention probabilities and what layers add that training leaves out [0]", REAL, AT(dropout),
     .least = 0, .most = 0.99},

    {"Batch", "batch-size", "B", "sequences per micro-batch; auto: as many as fit in memory [8]", SIZE, AT(batch_size),
     .least = 1, .may_change = true, .zero = "auto"},
    {NULL, "total-batch", "TOKENS", "tokens per step, by gradient accumulation [B x T]", SIZE, AT(total_batch),
     .least = 1},
    {NULL, "first-batch", "TOKENS", "tokens in the first step, which grow to --total-batch [--total-batch]", SIZE,
     AT(first_batch), .least = 1},
    {NULL, "batch-growth", "N", "steps over which they grow", SIZE, AT(batch_growth), .least = 1, .most = 1 << 24},
    {NULL, "same-bits", "N",
     "sum gradients so that any power of two of ranks up to N computes the same bits; takes log2(N) copies of the "
     "gradients, less where a step has fewer micro-batches [8]",
     SIZE, AT(same_bits), .least = 1, .most = RANKS_MOST, .older = "1"},
    {NULL, "recompute", "WHAT",
     "recompute nothing, cheap (norms, nonlinearities) or layers, to save GPU memory [nothing]", CHOICE, AT(recompute),
     gpt_recompute_names, .may_change = true},

    {"Optimizer", "optimizer", "NAME", "rule for the hidden matrices [muon]", TEXT, AT(optim.rule),
     .word = optim_rule_name},
    {NULL, "aux-optimizer", "NAME", "rule for all other tensors [the same, or adamw if that takes only matrices]", TEXT,
     AT(optim.aux_rule), .word = optim_rule_name},
    {NULL, "embed-optimizer", "NAME", "rule for the embeddings [--aux-optimizer]", TEXT, AT(optim.embed_rule),
     .word = optim_rule_name},
    {NULL, "head-optimizer", "NAME", "rule for an untied head [--aux-optimizer]", TEXT, AT(optim.head_rule),
     .word = optim_rule_name},
    HYPER_ROW(HYPER_LR, "", optim.hyper, NULL),
    HYPER_ROW(HYPER_WEIGHT_DECAY, "", optim.hyper, NULL),
    HYPER_ROW(HYPER_CAUTIOUS, "", optim.hyper, NULL),
    HYPER_ROW(HYPER_MOMENTUM, "", optim.hyper, NULL),
    HYPER_ROW(HYPER_NESTEROV, "", optim.hyper, NULL),
    HYPER_ROW(HYPER_BETA1, "", optim.hyper, NULL),
    HYPER_ROW(HYPER_BETA2, "", optim.hyper, NULL),
    HYPER_ROW(HYPER_EPS, "", optim.hyper, NULL),
    HYPER_ROW(HYPER_LR, "aux-", optim.aux_hyper, "learning rate of all but the hidden matrices"),
    HYPER_ROW(HYPER_WEIGHT_DECAY, "aux-", optim.aux_hyper, "weight decay of embeddings and head"),
    HYPER_ROW(HYPER_LR, "embed-", optim.embed_hyper, "learning rate of the embeddings [--aux-lr]"),
    HYPER_ROW(HYPER_WEIGHT_DECAY, "embed-", optim.embed_hyper, "weight decay of the embeddings [--aux-weight-decay]"),
    HYPER_ROW(HYPER_LR, "head-", optim.head_hyper, "learning rate of an untied head"),
    HYPER_ROW(HYPER_WEIGHT_DECAY, "head-", optim.head_hyper, "weight decay of an untied head"),
    HYPER_ROW(HYPER_LR, "vector-", optim.vector_hyper, "learning rate of gains and biases [--aux-lr]"),
    HYPER_ROW(HYPER_WEIGHT_DECAY, "vector-", optim.vector_hyper, "weight decay of gains and biases [0]"),
    HYPER_ROW(HYPER_BETA2, "vector-", optim.vector_hyper, "decay of the second moment of gains and biases"),
    HYPER_ROW(HYPER_BIAS_CORRECTION, "vector-", optim.vector_hyper, "divide moments of gains and biases by 1 - beta^t"),
    {NULL, "sensitivity", "LIST", "NAME=X,...: divide the learning rate of tensors whose name contains NAME by X", TEXT,
     AT(optim.sensitivity)},
    {NULL, "clip", "X", "clip the gradient norm to X; 0: off [1]", REAL, AT(clip), .least = 0, .most = 1e30},
    {NULL, "list-groups", NULL, "print which tensor gets which rule, and exit", FLAG, AT(list_groups)},

    {.section = "Specific to some optimizers (--list-groups shows what a rule uses)",
     .kind = HYPERS,
     .offset = AT(optim.hyper),
     .prefix = ""},
    {.section = "For all but the hidden matrices, if their rule uses it",
     .kind = HYPERS,
     .offset = AT(optim.aux_hyper),
     .prefix = "aux-"},

    {"With any optimizer", "ema-nesterov", "X", "look ahead by X times the average change of the weights; 0: off [0]",
     REAL, AT(optim.averaging.nesterov), .least = 0, .most = 1e6},
    {NULL, "ema-nesterov-decay", "X", "decay of that average [0.99]", REAL, AT(optim.averaging.nesterov_decay),
     .least = 0, .most = 1},
    {NULL, "ema-nesterov-from", "N", "first step that looks ahead [0]", SIZE, AT(optim.averaging.nesterov_from)},
    {NULL, "ema-nesterov-until", "N", "first step that no longer does; 0: none [0]", SIZE,
     AT(optim.averaging.nesterov_until)},
    {NULL, "muloco", "N", "Nesterov's momentum over every N steps: MuLoCo; 0: off [0]", SIZE,
     AT(optim.averaging.muloco)},
    {NULL, "muloco-rate", "X", "its rate [0.7]", REAL, AT(optim.averaging.muloco_rate), .least = 0, .most = 1e6},
    {NULL, "muloco-momentum", "X", "its momentum [0.5]", REAL, AT(optim.averaging.muloco_momentum), .least = 0,
     .most = 1},
    {NULL, "tail-ema", "N", "validate and export weights averaged over about the last N steps; 0: off [0]", SIZE,
     AT(optim.averaging.tail)},
    {NULL, "tail-ema-from", "N", "step after which that average begins [2 N before the end]", SIZE,
     AT(optim.averaging.tail_from)},
    {NULL, "tail-ema-share", "X", "share of the average in those weights [0.6]", REAL, AT(optim.averaging.tail_share),
     .least = 0, .most = 1},
    {NULL, "qk-clip", "X",
     "scale weights of queries and keys where a score of attention exceeded X in the step: QK-clip; 0: off [0]", REAL,
     AT(qk_clip), .least = 0, .most = 1e30},

    {"Schedule", "steps", "N", "training steps; 0: only evaluate and sample [500]", SIZE, AT(schedule.steps),
     .may_change = true},
    {NULL, "schedule", "NAME", "of the learning rate: constant, cosine, linear or wsd (warmup, stable, decay) [wsd]",
     CHOICE, AT(schedule.kind), schedule_names},
    {NULL, "warmup", "N", "steps of linear warmup [20]", SIZE, AT(schedule.warmup)},
    {NULL, "cooldown", "FRAC", "wsd: fraction of the steps in the final decay [0.4]", REAL, AT(schedule.cooldown),
     .least = 0, .most = 1},
    {NULL, "cooldown-power", "X", "wsd: the rate falls as that power of the share that is left [1]", REAL,
     AT(schedule.power), .least = 1e-3, .most = 100},
    {NULL, "final-lr", "FRAC", "fraction of the learning rate left at the end [0]", REAL, AT(schedule.final),
     .least = 0, .most = 1},
    {NULL, "planned-steps", "N",
     "steps that schedules, of momentum and rules too, are made for, if the run is to stop earlier [--steps]", SIZE,
     AT(schedule.planned)},
    {NULL, "aux-warmup", "N", "of all but the hidden matrices [--warmup]", SIZE, AT(aux_warmup)},
    {NULL, "aux-cooldown", "FRAC", "of all but the hidden matrices [--cooldown]", REAL, AT(aux_cooldown), .least = 0,
     .most = 1},
    {NULL, "aux-cooldown-power", "X", "of all but the hidden matrices [--cooldown-power]", REAL, AT(aux_power),
     .least = 1e-3, .most = 100},
    {NULL, "aux-planned-steps", "N", "of all but the hidden matrices [--planned-steps]", SIZE, AT(aux_planned)},

    {"Validation and samples", "val-every", "N",
     "validate every N steps and at the end; 0: never [50, or more if that takes above a twentieth of the time]", SIZE,
     AT(val_every), .may_change = true},
    {NULL, "val-tokens", "N", "tokens to validate on, always the same [32768]", SIZE, AT(val_tokens)},
    {NULL, "target-loss", "X", "stop at a validation loss of at most X nats", REAL, AT(target_loss), .least = 0,
     .most = 1e30, .may_change = true},
    {NULL, "sample-every", "N", "print a sample every N steps; 0: never [at the end, if the tokenizer is known]", SIZE,
     AT(sample_every), .may_change = true},
    {NULL, "sample-tokens", "N", "tokens per sample [256]", SIZE, AT(sample_tokens), .may_change = true},
    {NULL, "prompt", "TEXT", "text that samples begin with", TEXT, AT(prompt), .may_change = true},
    {NULL, "temperature", "X", "of sampling; 0: always the likeliest token [0.8]", REAL, AT(temperature), .least = 0,
     .most = 1e6, .may_change = true},
    {NULL, "top-k", "N", "sample from the N likeliest tokens; 0: from all [0]", SIZE, AT(top_k), .may_change = true},

    {"Evaluation", "eval", "LIST",
     "hellaswag[=FILE] (from data/get hellaswag, or llm.c's .bin), shards=GLOB (nats a token, perplexity, bits a "
     "byte), "
     "or several with commas; at the end, into evals.csv too",
     TEXT, AT(eval), .may_change = true},
    {NULL, "eval-every", "N", "evaluate every N steps, too [0]", SIZE, AT(eval_every), .may_change = true},
    {NULL, "loss-tables", "PREFIX",
     "of --eval's shards at the end, the loss by position and by how often a token occurs in the first 134M tokens of "
     "the training data (without any, in those shards): PREFIX_position.csv, PREFIX_frequency.csv",
     TEXT, AT(loss_tables), .may_change = true},

    {"Run", "out", "DIR", "directory of the run [runs/<time>-<optimizer>]", TEXT, AT(out), .may_change = true},
    {NULL, "checkpoint-every", "N", "steps between checkpoints; 0: by time alone [0]", SIZE, AT(checkpoint_every),
     .may_change = true},
    {NULL, "checkpoint-minutes", "X", "minutes between checkpoints, in any case; 0: off [10]", REAL,
     AT(checkpoint_minutes), .least = 0, .most = 1e6, .may_change = true},
    {NULL, "keep", "N", "newest checkpoints to keep, beside the best of those that a validation met; 0: all [2]", SIZE,
     AT(keep), .may_change = true},
    {NULL, "diagnose", "N",
     "write spectra of weights, gradients and updates to diagnose.jsonl every N steps; 0: never [0]", SIZE,
     AT(diagnose), .may_change = true},
    {NULL, "tensorboard", NULL, "write what metrics.csv has also as TensorBoard's event files, into --out [off]",
     SWITCH, AT(tensorboard), .may_change = true},
    {NULL, "resume", NULL, "continue the run in --out from its last checkpoint", FLAG, AT(resume)},
    {NULL, "seed", "N", "of initialisation, data order and samples [1]", SIZE, AT(seed)},
    {NULL, "threads", "N", "CPU threads, at most 128; 0: as many as help [0]", SIZE, AT(threads), .most = THREADS_MOST,
     .may_change = true},
    {NULL, "ranks", "N", "processes of this machine that train together, without a launcher, at most 256 [1]", SIZE,
     AT(start_ranks), .least = 1, .most = 256, .of_command = true},
    {NULL, "comm-timeout", "SECONDS", "of several ranks, how long one may be silent before the others give up [300]",
     REAL, AT(comm_timeout), .least = 0.1, .most = 1e6, .may_change = true},
    {NULL, "device", "D", "auto, cpu or cuda [auto]", TEXT, AT(device), options_devices, .may_change = true},
    {NULL, "dtype", "NAME", "of products: fp32, tf32 or bf16; the CPU has only fp32 [auto: bf16 if the GPU has it]",
     TEXT, AT(dtype), gpt_dtype_names, .may_change = true, .zero = "auto"},
    {NULL, "completion", "SHELL", "print a script that lets a shell complete options, and exit", CHOICE, AT(completion),
     completion_shells, .set = offsetof(Options, completes)},
    {NULL, "man", NULL, "print the manual page for man, and exit", FLAG, AT(man)},
    {NULL, "help", NULL, "print this and exit", FLAG, AT(help)},
    {NULL, "version", NULL, "print the version and exit", FLAG, AT(version)},
};

#undef HYPER_ROW
#undef AT

/* The rows, with those that stand for many expanded. */
static Option table[OPTIONS_MOST];
static size_t option_count;

static bool is_named(HyperId id, const char *prefix)
{
    for (const Option *row = rows; row < rows + sizeof rows / sizeof *rows; row++)
        if (row->kind == HYPER && row->hyper == id && strcmp(row->prefix, prefix) == 0)
            return true;
    return false;
}

static void add_option(const Option *option)
{
    assert(option_count < OPTIONS_MOST);
    table[option_count++] = *option;
}

static void add_fields(const Option *row)
{
    static const Kind kinds[] = {[GPT_SIZE] = SIZE, [GPT_CHOICE] = CHOICE, [GPT_NUMBER] = REAL};
    static const char *const arguments[] = {[GPT_SIZE] = NULL, [GPT_CHOICE] = "NAME", [GPT_NUMBER] = "X"};
    for (size_t i = 0; i < GPT_FIELDS; i++) {
        const GptField *f = &gpt_fields[i];
        add_option(&(Option){.name = f->option,
                             .argument = arguments[f->kind] != NULL ? arguments[f->kind] : f->symbol,
                             .help = f->help,
                             .kind = kinds[f->kind],
                             .offset = row->offset + f->offset,
                             .choices = f->choices,
                             .least = f->kind == GPT_SIZE ? 1 : f->least,
                             .most = f->kind == GPT_SIZE ? 0 : f->most,
                             .set = offsetof(Options, overrides.set) + i * sizeof(bool)});
    }
}

static void add_hypers(const Option *row)
{
    const char *section = row->section;
    for (HyperId id = 0; id < HYPER_COUNT; id++) {
        if (is_named(id, row->prefix) || (row->prefix[0] != '\0' && !optim_aux_uses(id)))
            continue;
        Option option = *row;
        option.kind = HYPER;
        option.hyper = id;
        option.section = section;
        add_option(&option);
        section = NULL;
    }
}

static void list_options(void)
{
    option_count = 0;
    for (const Option *row = rows; row < rows + sizeof rows / sizeof *rows; row++) {
        if (row->kind == FIELDS)
            add_fields(row);
        else if (row->kind == HYPERS)
            add_hypers(row);
        else
            add_option(row);
    }
}

static void set_defaults(Options *o)
{
    list_options();
    *o = (Options){
        .model = "nano",
        .batch_size = 8,
        .optim = {.rule = "muon",
                  .averaging = {.nesterov_decay = 0.99, .tail_share = 0.6, .muloco_rate = 0.7, .muloco_momentum = 0.5}},
        .clip = 1,
        .schedule = {.kind = SCHEDULE_WSD, .steps = 500, .warmup = 20, .cooldown = 0.4, .final = 0, .power = 1},
        .aux_warmup = STEPS_SAME,
        .aux_planned = STEPS_SAME,
        .aux_cooldown = (double)NAN,
        .aux_power = (double)NAN,
        .val_every = VAL_EVERY_AUTO,
        .val_tokens = 32768,
        .target_loss = (double)NAN,
        .sample_every = SAMPLE_AT_END,
        .sample_tokens = 256,
        .prompt = "",
        .temperature = 0.8,
        .checkpoint_minutes = 10,
        .comm_timeout = 300,
        .same_bits = 8,
        .keep = 2,
        .seed = 1,
        .device = "auto",
        .dtype = "auto",
    };
}

/* --------------------------------------------------------------------------------------------------------------
 * Names and values
 */

static const char *option_name(const Option *option, char *buffer, size_t size)
{
    if (option->kind != HYPER)
        return option->name;
    snprintf(buffer, size, "%s%s", option->prefix, hyper_info[option->hyper].name);
    return buffer;
}

/* A switch takes no argument: --nesterov and --no-nesterov. */
static bool is_switch(const Option *option)
{
    return option->kind == SWITCH || (option->kind == HYPER && hyper_info[option->hyper].kind == HYPER_SWITCH);
}

static int parse_size(const Option *option, const char *text, size_t *value, Error *e)
{
    const char *name = option->name;
    char *end;
    errno = 0;
    if (option->zero != NULL && strcmp(text, option->zero) == 0) {
        *value = 0;
        return 0;
    }
    const unsigned long long n = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0') {
        char guess[64] = "";
        const double real = strtod(text, &end); /* 1e3, 500.0 */
        if (end != text && *end == '\0' && real >= option->least && real < 0x1p53 && floor(real) == real)
            snprintf(guess, sizeof guess, "; did you mean %.0f?", real);
        return error_set(e, "--%s needs a whole number of at least %g%s%s, not '%s'%s", name, option->least,
                         option->zero != NULL ? ", or " : "", option->zero != NULL ? option->zero : "", text, guess);
    }
    if (errno == ERANGE || n > (1ull << 53))
        return error_set(e, "--%s %s is too large", name, text);
    if ((double)n < option->least || (option->most > 0 && (double)n > option->most))
        return error_set(e, "--%s is %s; it must be at %s %g", name, text, (double)n < option->least ? "least" : "most",
                         (double)n < option->least ? option->least : option->most);
    *value = (size_t)n;
    return 0;
}

static int parse_real(const Option *option, const char *text, double *value, Error *e)
{
    if (!hyper_read_number(text, value))
        return error_set(e, "--%s needs a number, not '%s'", option->name, text);
    if (!(*value >= option->least && *value <= option->most))
        return error_set(e, "--%s is %s; it must be a number from %g to %g", option->name, text, option->least,
                         option->most);
    return 0;
}

static int parse_choice(const Option *option, const char *text, void *place, Error *e)
{
    size_t index;
    if (hyper_choice(option->choices, text, "", option->name, &index, e) != 0)
        return -1;
    const int value = (int)index;
    memcpy(place, &value, sizeof value);
    return 0;
}

static int parse_switch(const Option *option, const char *text, bool *value, Error *e)
{
    *value = strcmp(text, "on") == 0;
    return *value || strcmp(text, "off") == 0 ? 0 : error_set(e, "--%s is on or off, not '%s'", option->name, text);
}

/* Reads one value into o. `text` must outlive o. */
static int set_value(Options *o, const Option *option, const char *text, Error *e)
{
    void *place = (char *)o + option->offset;
    double value;
    if (option->set != 0)
        *(bool *)((char *)o + option->set) = true;
    switch (option->kind) {
    case TEXT:
        *(const char **)place = text;
        return 0;
    case SIZE:
        return parse_size(option, text, place, e);
    case REAL:
        return parse_real(option, text, place, e);
    case CHOICE:
        return parse_choice(option, text, place, e);
    case FLAG:
        *(bool *)place = true;
        return 0;
    case SWITCH:
        return parse_switch(option, text, place, e);
    case HYPER:
        if (hyper_parse(option->hyper, text, option->prefix, &value, e) != 0)
            return -1;
        hyper_set(place, option->hyper, value);
        return 0;
    case FIELDS:
    case HYPERS:
        break;
    }
    return 0;
}

static bool is_of_command(const Option *option) { return option->kind == FLAG || option->of_command; }

static bool is_set(const Options *o, const Option *option)
{
    return option->set == 0 || *(const bool *)((const char *)o + option->set);
}

/* The placeholder of the value in --help and messages; NULL: it takes none. */
static const char *argument_of(const Option *option)
{
    static const char *const of_hypers[] = {
        [HYPER_REAL] = "X", [HYPER_WHOLE] = "N", [HYPER_SWITCH] = NULL, [HYPER_CHOICE] = "NAME"};
    return option->kind == HYPER ? of_hypers[hyper_info[option->hyper].kind] : option->argument;
}

/* A value as set_value reads it, a text itself or another in `buffer`; NULL: it has none. */
static const char *format_value(const Options *o, const Option *option, char *buffer, size_t size)
{
    const void *place = (const char *)o + option->offset;
    bool chosen = is_set(o, option);
    switch (option->kind) {
    case TEXT:
        return *(const char *const *)place;
    case SIZE:
        snprintf(buffer, size, "%zu", *(const size_t *)place);
        /* 0 where at least 1 is needed: not chosen */
        chosen = chosen && (double)*(const size_t *)place >= option->least && *(const size_t *)place != SAMPLE_AT_END;
        break;
    case REAL:
        hyper_format_number(*(const double *)place, buffer, size);
        chosen = chosen && !isnan(*(const double *)place);
        break;
    case SWITCH:
        snprintf(buffer, size, "%s", *(const bool *)place ? "on" : "off");
        break;
    case CHOICE:
        snprintf(buffer, size, "%s", option->choices[*(const int *)place]);
        break;
    case HYPER: {
        const OptimHyper *h = place;
        chosen = h->at[option->hyper].set;
        if (chosen)
            hyper_format(option->hyper, h->at[option->hyper].value, buffer, size);
        break;
    }
    case FLAG:
    case FIELDS:
    case HYPERS:
        chosen = false;
    }
    return chosen ? buffer : NULL;
}

/* --------------------------------------------------------------------------------------------------------------
 * The command line
 */

/* The option named by `length` characters of name, or NULL. *negated: it was named by --no-<switch>. */
static const Option *find_option(const char *name, size_t length, bool *negated)
{
    char buffer[64];
    *negated = false;
    for (size_t i = 0; i < option_count; i++) {
        const char *known = option_name(&table[i], buffer, sizeof buffer);
        if (strlen(known) == length && strncmp(known, name, length) == 0)
            return &table[i];
    }
    for (size_t i = 0; i < option_count; i++) {
        const char *known = option_name(&table[i], buffer, sizeof buffer);
        if (is_switch(&table[i]) && length == strlen(known) + 3 && strncmp(name, "no-", 3) == 0 &&
            strncmp(known, name + 3, length - 3) == 0) {
            *negated = true;
            return &table[i];
        }
    }
    return NULL;
}

static int unknown_option(const char *name, Error *e)
{
    Nearest nearest = nearest_to(name);
    char buffer[64];
    for (size_t i = 0; i < option_count; i++)
        nearest_try(&nearest, option_name(&table[i], buffer, sizeof buffer));
    if (nearest.best[0] != '\0')
        return error_set(e, "there is no option --%s; did you mean --%s? (--help lists them all)", name, nearest.best);
    return error_set(e, "there is no option --%s; --help lists them all", name);
}

enum { PRESET_INDEX = 0 }; /* of --preset in the table */

/* Takes the option at argv[*i], with its value, and moves *i past it. */
static int take_option(Options *o, int argc, char *const *argv, int *i, Error *e)
{
    const char *argument = strcmp(argv[*i], "-h") == 0 ? "--help" : argv[*i];
    ++*i;
    if (strncmp(argument, "--", 2) != 0 || argument[2] == '\0')
        return error_set(e, "'%s' is not an option; options begin with --, and --help lists them", argument);
    const char *name = argument + 2, *equals = strchr(name, '=');
    const size_t length = equals != NULL ? (size_t)(equals - name) : strlen(name);
    bool negated;
    const Option *option = find_option(name, length, &negated);
    if (option == NULL) {
        char shown[64];
        snprintf(shown, sizeof shown, "%.*s", (int)(length < 60 ? length : 60), name);
        return unknown_option(shown, e);
    }
    const char *value = equals != NULL ? equals + 1 : NULL;
    if (is_switch(option) || option->kind == FLAG) {
        if (value != NULL)
            return error_set(e, "--%.*s takes no value", (int)length, name);
        value = negated ? "off" : "on";
    } else if (value == NULL) {
        if (*i >= argc)
            return error_set(e, "--%.*s needs a value: --%.*s %s", (int)length, name, (int)length, name,
                             argument_of(option));
        value = argv[(*i)++];
    }
    if (option == &table[PRESET_INDEX] && o->given[PRESET_INDEX])
        return error_set(e, "--preset twice: of two presets, write a file with a line for each, preset NAME");
    o->given[option - table] = true;
    return set_value(o, option, value, e);
}

static int take_options(Options *o, int argc, char *const *argv, Error *e)
{
    for (int i = 1; i < argc;)
        if (take_option(o, argc, argv, &i, e) != 0)
            return -1;
    return 0;
}

/* --------------------------------------------------------------------------------------------------------------
 * Presets
 */

enum { PRESET_LIMIT = 1 << 16, PRESETS_DEEP = 8 };

/* The text of a preset by name, or of a file; the caller frees it. */
static int read_preset(const char *name, char **text, Error *e)
{
    size_t size;
    Nearest nearest = nearest_to(name);
    if (preset_text(name) != NULL) {
        *text = strdup(preset_text(name));
        return *text != NULL ? 0 : error_set(e, "out of memory");
    }
    if (strchr(name, '/') != NULL || access(name, F_OK) == 0) {
        if (files_read_all(name, PRESET_LIMIT, text, &size, e) != 0)
            return -1;
        if (strlen(*text) == size)
            return 0;
        free(*text);
        return error_set(e, "%s: not a preset: it holds a NUL byte", name);
    }
    for (size_t i = 0; preset_name(i) != NULL; i++)
        nearest_try(&nearest, preset_name(i));
    return error_set(e, "--preset %s: neither a preset (--list-presets) nor a file%s%s%s", name,
                     nearest.best[0] != '\0' ? "; did you mean " : "", nearest.best,
                     nearest.best[0] != '\0' ? "?" : "");
}

static int take_preset(Options *o, const char *name, int depth, Error *e);

/* Keeps a copy of a preset's text as the option's value. */
static int own_text(Options *o, const Option *option, const char *value, Error *e)
{
    char **place = &o->owned[option - table];
    free(*place);
    *place = strdup(value);
    return *place == NULL ? error_set(e, "out of memory") : set_value(o, option, *place, e);
}

/* Another optimizer than a preset's leaves out what the preset sets for its own. */
static void forget_rates(Options *o, const char *rule)
{
    if (strcmp(rule, o->optim.rule) != 0)
        o->optim.hyper = (OptimHyper){0};
}

/* Other data than a preset's take the place of all of its data. */
static void forget_data(Options *o) { o->train = o->val = o->text = NULL; }

/* The built-in stories are what no data option names. */
static int resolve_stories(Options *o, Error *e)
{
    if (o->train == NULL || strcmp(o->train, "stories") != 0)
        return 0;
    if (o->val != NULL)
        return error_set(e, "--train stories excludes --val: they hold out their own last tenth");
    if (o->text != NULL)
        return error_set(e, "--train stories excludes --text: they are a text of their own");
    o->train = NULL;
    return 0;
}

static const char blanks[] = " \t\r";

static void cut_blanks(char *text)
{
    for (size_t n = strlen(text); n > 0 && strchr(blanks, text[n - 1]) != NULL; n--)
        text[n - 1] = '\0';
}

/* Takes one line of a preset, which it cuts into words in place. A comment may follow a value, unless that is a
 * text. */
static int take_line(Options *o, char *line, int depth, Error *e)
{
    bool negated;
    char *name = line + strspn(line, blanks), *value = name + strcspn(name, blanks);
    if (*name == '\0' || *name == '#')
        return 0;
    if (*value != '\0')
        *value++ = '\0';
    value += strspn(value, blanks);
    const Option *option = find_option(name, strlen(name), &negated);
    if (option == NULL)
        return unknown_option(name, e);
    if (option->kind != TEXT)
        value[strcspn(value, "#")] = '\0';
    cut_blanks(value);
    if (is_of_command(option))
        return error_set(e, "--%s does not belong in a preset", name);
    if (is_switch(option) != (*value == '\0'))
        return error_set(e, is_switch(option) ? "--%s takes no value" : "--%s needs a value", name);
    if (option == &table[PRESET_INDEX])
        return take_preset(o, value, depth + 1, e);
    if (option->kind == TEXT && strcmp(option->name, "optimizer") == 0)
        forget_rates(o, value);
    if (option->kind == TEXT && (strcmp(option->name, "train") == 0 || strcmp(option->name, "text") == 0))
        forget_data(o);
    if (option->kind == TEXT)
        return own_text(o, option, value, e);
    return set_value(o, option, is_switch(option) ? (negated ? "off" : "on") : value, e);
}

/* Takes the options of a preset; a later line wins over an earlier one and over the presets that it names. */
static int take_preset(Options *o, const char *name, int depth, Error *e)
{
    char *text;
    Error fault;
    int status = 0;
    if (depth > PRESETS_DEEP)
        return error_set(e, "--preset %s: presets name each other more than %d deep", name, PRESETS_DEEP);
    if (read_preset(name, &text, e) != 0)
        return -1;
    size_t number = 1;
    for (char *line = text, *next; line != NULL && status == 0; line = next, number++) {
        next = strchr(line, '\n');
        if (next != NULL)
            *next++ = '\0';
        if (take_line(o, line, depth, &fault) != 0)
            status = error_set(e, "%s:%zu: %s", name, number, fault.text);
    }
    free(text);
    return status;
}

int options_parse(Options *o, int argc, char *const *argv, Error *e)
{
    set_defaults(o);
    if (take_options(o, argc, argv, e) != 0)
        return -1;
    if (o->preset == NULL)
        return resolve_stories(o, e);
    const char *preset = o->preset, *rule = options_gave(o, "optimizer") ? o->optim.rule : NULL;
    const bool has_data = options_gave(o, "train") || options_gave(o, "text");
    set_defaults(o);
    if (take_preset(o, preset, 0, e) != 0)
        return -1;
    if (rule != NULL)
        forget_rates(o, rule);
    if (has_data)
        forget_data(o);
    return take_options(o, argc, argv, e) != 0 ? -1 : resolve_stories(o, e);
}

bool options_gave(const Options *o, const char *name)
{
    bool negated;
    const Option *option = find_option(name, strlen(name), &negated);
    return option != NULL && o->given[option - table];
}

void options_free(Options *o)
{
    for (size_t i = 0; i < OPTIONS_MOST; i++)
        free(o->owned[i]);
    *o = (Options){0};
}

/* --------------------------------------------------------------------------------------------------------------
 * The table, for those who print it
 */

size_t options_count(void)
{
    if (option_count == 0)
        list_options();
    return option_count;
}

/* The names of its choices, or NULL. */
static const char *const *choices_of(const Option *option)
{
    return option->kind == HYPER ? hyper_info[option->hyper].choices : option->choices;
}

OptionInfo options_info(size_t i)
{
    const Option *option = &table[i];
    const bool tells = option->kind != HYPER && option->set == 0; /* the help has the choices in its own words */
    OptionInfo info = {.section = option->section,
                       .argument = argument_of(option),
                       .help = option->help != NULL ? option->help : hyper_info[option->hyper].help,
                       .choices = tells ? NULL : choices_of(option),
                       .is_switch = is_switch(option)};
    char buffer[sizeof info.name];
    snprintf(info.name, sizeof info.name, "%s", option_name(option, buffer, sizeof buffer));
    return info;
}

const char *options_word(size_t i, size_t k)
{
    const Option *option = &table[i];
    const char *const *choices = choices_of(option);
    if (option->zero != NULL && k-- == 0)
        return option->zero;
    if (option->word != NULL)
        return option->word(k);
    while (choices != NULL && *choices != NULL && k > 0)
        choices++, k--;
    return choices != NULL ? *choices : NULL;
}

/* --------------------------------------------------------------------------------------------------------------
 * The record of a run
 */

enum { VALUE_MOST = 64 }; /* of values other than texts */

/* A JSON string or, where the bytes are no UTF-8 as in some file names, {"hex": "..."}. */
static void write_value(FILE *to, const char *value)
{
    if (text_is_utf8(value)) {
        json_write_string(to, value);
        return;
    }
    fprintf(to, "{\"hex\": \"");
    for (; *value != '\0'; value++)
        fprintf(to, "%02x", (unsigned)(unsigned char)*value);
    fprintf(to, "\"}");
}

/* A copy of a recorded value, which the caller frees; NULL if it is none. */
static char *read_value(const Json *value)
{
    const char *text = json_string(value), *hex = json_string(json_get(value, "hex"));
    if (hex == NULL || strlen(hex) % 2 != 0)
        return text != NULL ? strdup(text) : NULL;
    char *bytes = calloc(strlen(hex) / 2 + 1, 1);
    for (size_t i = 0; bytes != NULL && hex[2 * i] != '\0'; i++) {
        const char digits[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
        bytes[i] = (char)strtol(digits, NULL, 16);
    }
    return bytes;
}

void options_write(const Options *o, FILE *to)
{
    bool first = true;
    fprintf(to, "{");
    for (size_t i = 0; i < option_count; i++) {
        char name[64], buffer[VALUE_MOST];
        const char *value = format_value(o, &table[i], buffer, sizeof buffer);
        if (value == NULL || is_of_command(&table[i]))
            continue;
        fprintf(to, "%s\n    ", first ? "" : ",");
        json_write_string(to, option_name(&table[i], name, sizeof name));
        fprintf(to, ": ");
        write_value(to, value);
        first = false;
    }
    fprintf(to, "\n  }");
}

void options_write_command(const Options *o, FILE *to)
{
    const char *between = "[";
    for (size_t i = 0; i < option_count; i++) {
        char space[64], buffer[VALUE_MOST], *word = NULL;
        const char *name = option_name(&table[i], space, sizeof space);
        size_t size = 0;
        const char *value = format_value(o, &table[i], buffer, sizeof buffer);
        if (value == NULL || is_of_command(&table[i]) || (!o->given[i] && !o->before[i]))
            continue;
        FILE *as = open_memstream(&word, &size);
        if (as == NULL)
            continue;
        if (is_switch(&table[i]))
            fprintf(as, "--%s%s", strcmp(value, "on") == 0 ? "" : "no-", name);
        else
            fprintf(as, "--%s=%s", name, value);
        if (fclose(as) == 0) {
            fputs(between, to);
            write_value(to, word);
            between = ", ";
        }
        free(word);
    }
    fputs(*between == '[' ? "[]" : "]", to);
}

/* Adopts a recorded value, or checks the given one against it. */
static int resume_option(Options *o, size_t i, const Json *recorded, Notes *notes, Error *e)
{
    const Option *option = &table[i];
    char buffer[64], own[VALUE_MOST], *value = read_value(recorded);
    const char *name = option_name(option, buffer, sizeof buffer), *given = format_value(o, option, own, sizeof own);
    int status = 0;
    if (recorded == NULL && option->older != NULL && !o->given[i])
        return set_value(o, option, option->older, e);
    if (recorded != NULL && value == NULL)
        status = error_set(e, "the recorded value of --%s is not a text", name);
    else if (o->given[i] && !option->may_change && (value == NULL || given == NULL || strcmp(given, value) != 0))
        status = error_set(e, "--%s %s contradicts the run, which was begun with %s", name, given,
                           value != NULL ? value : "the default");
    else if (value == NULL && !o->given[i] && given != NULL)
        notes_add(notes, "the run's record has no --%s: its default, %s, is used", name, given);
    if (status != 0 || value == NULL || o->given[i]) {
        free(value);
        return status;
    }
    free(o->owned[i]);
    o->owned[i] = value;
    return set_value(o, option, value, e);
}

/* The option of a recorded name. */
static const Option *recorded_option(const char *name, size_t length, bool may_negate, Error *e)
{
    bool negated = false;
    const Option *option = find_option(name, length, &negated);
    if (option != NULL && !is_of_command(option) && (may_negate || !negated))
        return option;
    error_set(e, "the record has an option '%.*s', which this program does not know", (int)length, name);
    return NULL;
}

/* Notes which options earlier commands gave. */
static int resume_command(Options *o, const Json *words, Error *e)
{
    for (const Json *word = words != NULL ? words->first : NULL; word != NULL; word = word->next) {
        char *text = read_value(word);
        if (text == NULL || strncmp(text, "--", 2) != 0) {
            free(text);
            return error_set(e, "the recorded command has a word that is no option");
        }
        const Option *option = recorded_option(text + 2, strcspn(text + 2, "="), true, e);
        free(text);
        if (option == NULL)
            return -1;
        o->before[option - table] = true;
    }
    return 0;
}

int options_resume(Options *o, const Json *record, const Json *command, Notes *notes, Error *e)
{
    for (const Json *member = record->first; member != NULL; member = member->next) {
        const char *name = member->key != NULL ? member->key : "";
        if (recorded_option(name, strlen(name), false, e) == NULL)
            return -1;
    }
    if (resume_command(o, command, e) != 0)
        return -1;
    for (size_t i = 0; i < option_count; i++) {
        char name[64];
        if (is_of_command(&table[i]))
            continue;
        if (resume_option(o, i, json_get(record, option_name(&table[i], name, sizeof name)), notes, e) != 0)
            return -1;
    }
    return 0;
}
