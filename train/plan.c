#include "train/plan.h"

#include "base/threads.h"
#include "files/json_file.h"
#include "train/checkpoint.h"
#include "train/corpus.h"
#include "train/gradients.h"
#include "train/qk_clip.h"
#include "train/run.h"
#include "train/tasks.h"
#include "train/version.h"
#include "train/vocabulary.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { RECORD_LIMIT = 1 << 20 };

static int check_device_name(const Options *o, Error *e)
{
    for (const char *const *name = options_devices; *name != NULL; name++)
        if (strcmp(o->device, *name) == 0)
            return 0;
    return error_set(e, "--device must be auto, cpu or cuda, not '%s'", o->device);
}

/* What the command line asks for; a resumed run may continue on another device. */
static int check_device(const Options *o, Error *e)
{
    if (check_device_name(o, e) != 0)
        return -1;
    if (strcmp(o->device, "cuda") == 0 && gpt_kind() == GPT_ON_CPU)
        return error_set(e, "--device cuda: this is the CPU program; train_gpt_cuda was not built");
    if (strcmp(o->device, "cpu") == 0 && gpt_kind() == GPT_ON_GPU)
        return error_set(e, "--device cpu: this is the GPU program; run ./train_gpt_cpu");
    return 0;
}

static int check_recompute(const Options *o, Error *e)
{
    return o->recompute == GPT_RECOMPUTE_NOTHING || gpt_kind() == GPT_ON_GPU
               ? 0
               : error_set(e, "--recompute %s needs a GPU; the CPU supports only --recompute nothing",
                           gpt_recompute_names[o->recompute]);
}

/* The default of the device, which has been probed, unless the option names one. */
static int resolve_dtype(Plan *p, Error *e)
{
    const char *name = p->options.dtype;
    size_t i = 0;
    if (strcmp(name, "auto") == 0) {
        p->setup.dtype = gpt_default_dtype(&p->config);
        return 0;
    }
    while (i < GPT_DTYPES && strcmp(name, gpt_dtype_names[i]) != 0)
        i++;
    if (i == GPT_DTYPES)
        return error_set(e, "--dtype must be auto, fp32, tf32 or bf16, not '%s'", name);
    p->setup.dtype = (GptDtype)i;
    return p->setup.dtype != GPT_FP32 && gpt_kind() == GPT_ON_CPU
               ? error_set(e, "--dtype %s needs a GPU; the CPU supports only --dtype fp32", name)
               : 0;
}

static void compare_sources(const Json *record, Notes *notes)
{
    const char *version = json_string(json_get(record, "version")), *source = json_string(json_get(record, "source"));
    if (version != NULL && source != NULL &&
        (strcmp(version, TRAIN_GPT_VERSION) != 0 || strcmp(source, train_gpt_source) != 0))
        notes_add(notes, "begun by train_gpt %s (%s), continued by %s (%s)", version, source, TRAIN_GPT_VERSION,
                  train_gpt_source);
}

/* Adopts the options of a run's record. */
static int adopt_record(Plan *p, const char *path, const Json *record, Notes *notes, Error *e)
{
    Error fault;
    const Json *options = json_get(record, "options");
    const char *steps = json_string(json_get(options, "steps"));
    if (options == NULL || options->type != JSON_OBJECT)
        return error_set(e, "%s: has no options", path);
    if (options_resume(&p->options, options, json_get(record, "command"), notes, &fault) != 0 ||
        check_device_name(&p->options, &fault) != 0)
        return error_set(e, "%s: %s", path, fault.text);
    p->steps_before = steps != NULL ? strtoull(steps, NULL, 10) : p->options.schedule.steps;
    if (json_string(json_get(record, "dtype")) != NULL)
        snprintf(p->dtype_before, sizeof p->dtype_before, "%s", json_string(json_get(record, "dtype")));
    compare_sources(record, notes);
    return 0;
}

/* Reads the record in the run's directory and finds its newest checkpoint that is intact. */
static int read_record(Plan *p, Notes *notes, Error *e)
{
    char path[PATH_MOST + 16];
    Json *record;
    Error damage;
    if (p->options.out == NULL)
        return error_set(e, "--resume needs --out DIR, the run to continue");
    snprintf(path, sizeof path, "%s/run.json", p->options.out);
    if (json_file_read_sealed(path, RECORD_LIMIT, &record, e) != 0)
        return -1;
    const int status = adopt_record(p, path, record, notes, e);
    json_free(record);
    if (status != 0 || checkpoint_find(p->options.out, p->checkpoint, sizeof p->checkpoint, &damage, e) != 0)
        return -1;
    if (damage.text[0] != '\0')
        notes_add(notes, "%s; continuing from %s", damage.text, p->checkpoint);
    return 0;
}

static bool is_directory(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static int check_vocabulary(const Plan *p, Error *e)
{
    const size_t V = p->config.V, size = p->tokenizer != NULL ? tokenizer_size(p->tokenizer) : 0;
    if (size <= V)
        return 0;
    if (tokenizer_is_bytes(p->tokenizer))
        return error_set(e, "bytes need a vocabulary of at least %zu; the model has %zu (--vocab)", size, V);
    return error_set(e, "the tokenizer has %zu tokens and the model %zu (--vocab): it is another model's", size, V);
}

/* A preset, overridden; or a checkpoint's configuration, which the options must not contradict. That of a resumed
 * run has been read already. A name that is both is refused: its user may expect other weights. */
static int resolve_model(Plan *p, Notes *notes, Error *e)
{
    static const char prefix[] = "preset:";
    const Options *o = &p->options;
    GptConfig *c = &p->config, preset;
    const bool prefixed = strncmp(o->model, prefix, sizeof prefix - 1) == 0;
    const bool is_preset = gpt_preset(o->model + (prefixed ? sizeof prefix - 1 : 0), &preset) == 0;
    if (is_preset && !prefixed && !o->resume && options_gave(o, "model") && is_directory(o->model))
        return error_set(
            e,
            "--model %s is a preset, and there is a directory of that name: write ./%s for its weights, or "
            "preset:%s to train from scratch",
            o->model, o->model, o->model);
    p->weights = o->resume ? p->checkpoint : is_preset ? NULL : o->model;
    if (p->weights == NULL) {
        *c = preset;
        gpt_override(c, &o->overrides);
        if (vocabulary_open(o, NULL, c->V, &p->tokenizer, notes, e) != 0)
            return -1;
        if (p->tokenizer != NULL && !o->overrides.set[GPT_FIELD_V])
            c->V = tokenizer_size(p->tokenizer);
    } else {
        if (!o->resume && !is_directory(o->model))
            return error_set(
                e, "--model %s: neither a preset (nano, gpt2, gpt2-medium, gpt2-large, gpt2-xl) nor a directory%s",
                o->model, strncmp(o->model, "data/", 5) == 0 ? "; data/get brings what it lists" : "");
        if (!o->resume && (checkpoint_check_model(o->model, e) != 0 || checkpoint_read_config(o->model, c, e) != 0))
            return -1;
        if (gpt_agrees(c, &o->overrides, p->weights, e) != 0 ||
            vocabulary_open(o, p->weights, c->V, &p->tokenizer, notes, e) != 0)
            return -1;
    }
    p->setup.T = o->overrides.set[GPT_FIELD_T] ? o->overrides.values.T : c->T;
    if (gpt_config_check(c, e) != 0)
        return -1;
    *c = gpt_resolve(c);
    return check_vocabulary(p, e);
}

static int check_auto_batch(const Plan *p, Error *e)
{
    const size_t total = p->options.total_batch;
    if (p->options.first_batch > 0)
        return error_set(e, "--batch-size auto excludes --first-batch: give a number that divides it");
    if (total == 0)
        return error_set(e, "--batch-size auto needs --total-batch: a step must not depend on the machine's memory");
    if (total % p->setup.T != 0)
        return error_set(e, "--total-batch %zu is not a multiple of a sequence of %zu tokens", total, p->setup.T);
    return 0;
}

size_t plan_batches_of(const Plan *p, size_t step)
{
    return plan_tokens_of(p, step) / (p->setup.B * p->setup.T) / p->ranks.world;
}

size_t plan_blocks_of(const Plan *p, size_t step)
{
    return gradients_blocks(plan_batches_of(p, step), p->options.same_bits, p->ranks.world);
}

size_t plan_most_blocks(const Plan *p)
{
    size_t most = 1;
    for (size_t step = 0; step <= p->options.batch_growth; step++) {
        const size_t blocks = plan_blocks_of(p, step);
        most = blocks > most ? blocks : most;
    }
    return most;
}

/* Bytes on the device that this rank needs. */
static size_t rank_memory_needed(const Plan *p)
{
    const size_t model = gpt_memory_needed(&p->config, &p->setup);
    const size_t own =
        p->optim_bytes + (p->trains ? gradients_levels(plan_most_blocks(p)) * p->arena * sizeof(float) : 0);
    return model < SIZE_MAX - own ? model + own : model;
}

/* What there is of it for this rank: those on one machine share its CPUs' memory. */
static size_t rank_memory_present(const Plan *p)
{
    return gpt_memory_present() / (gpt_kind() == GPT_ON_CPU ? comm_neighbours(p->options.optim.comm).count : 1);
}

/* Bytes of the GPU's memory that other processes hold, if that is more than this one's context and a desktop's; else
 * 0. */
static double held_by_others(const Plan *p)
{
    const double total = (double)comm_device_memory(), taken = total - (double)rank_memory_present(p);
    return taken > 1.5 * 0x1p30 + total / 16 ? taken : 0;
}

/* What errors say of it. */
static const char *say_held(const Plan *p, char text[80])
{
    const double held = held_by_others(p);
    text[0] = '\0';
    if (held > 0)
        snprintf(text, 80, " (other processes hold %.1f of the GPU's %.1f GiB)", held / 0x1p30,
                 (double)comm_device_memory() / 0x1p30);
    return text;
}

/* The largest power-of-two number of sequences that divides a rank's part of a step and fits in every rank's memory. */
static int choose_batch(Plan *p, Error *e)
{
    const size_t sequences = p->options.total_batch / p->setup.T / p->ranks.world, present = rank_memory_present(p);
    const double room = 0.92 * (double)present; /* libraries and fragmentation take a little */
    char held[80];
    size_t fits = 0;
    p->tokens_per_step = p->options.total_batch;
    for (p->setup.B = 1; sequences % p->setup.B == 0 && present > 0; p->setup.B *= 2) {
        if ((double)rank_memory_needed(p) > room)
            break;
        fits = p->setup.B;
    }
    p->batch_by_memory = true;
    p->options.batch_size = SIZE_MAX - comm_most(p->options.optim.comm, SIZE_MAX - fits); /* the least of all ranks' */
    if (present == 0)
        return error_set(e, "--batch-size auto: this machine does not report its memory; give a number");
    if (p->options.batch_size == 0)
        return error_set(e,
                         "out of memory: not even one sequence of %zu tokens fits in %.1f GiB%s; lower --seq-len, "
                         "choose a smaller model or use --recompute layers",
                         p->setup.T, (double)present / 0x1p30, say_held(p, held));
    return 0;
}

static void note_neighbours(const Plan *p, Notes *notes)
{
    char held[80];
    if (p->batch_by_memory && held_by_others(p) > 0)
        notes_add(notes, "--batch-size auto took %zu sequences, by what is left of the memory%s", p->setup.B,
                  say_held(p, held));
}

/* The ranks share the micro-batches of a step, each as many. */
static int check_ranks(const Plan *p, const char *option, size_t tokens, Error *e)
{
    const size_t batches = tokens / (p->setup.B * p->setup.T);
    if (batches % p->ranks.world == 0)
        return 0;
    return error_set(
        e,
        "%zu ranks cannot share a step of %zu micro-batches, %s %zu / (--batch-size %zu x %zu tokens): make "
        "it a multiple of %zu tokens, or choose another --batch-size",
        p->ranks.world, batches, option, tokens, p->setup.B, p->setup.T, p->setup.B * p->setup.T * p->ranks.world);
}

/* A batch that grows: from first to last a multiple of the first, which is one of micro-batches. */
static int check_growth(const Plan *p, Error *e)
{
    const Options *o = &p->options;
    const size_t micro = p->setup.B * p->setup.T;
    if ((o->first_batch == 0) != (o->batch_growth == 0))
        return error_set(e, "--first-batch and --batch-growth need each other");
    if (o->first_batch > 0 && o->first_batch % micro != 0)
        return error_set(e, "--first-batch %zu is not a multiple of a micro-batch: --batch-size %zu x %zu tokens = %zu",
                         o->first_batch, p->setup.B, p->setup.T, micro);
    if (o->first_batch > 0 && p->tokens_per_step % o->first_batch != 0)
        return error_set(e, "--total-batch %zu is not a multiple of --first-batch %zu", p->tokens_per_step,
                         o->first_batch);
    return o->first_batch > 0 ? check_ranks(p, "--first-batch", o->first_batch, e) : 0;
}

size_t plan_tokens_of(const Plan *p, size_t step)
{
    const size_t first = p->options.first_batch, growth = p->options.batch_growth, all = p->tokens_per_step;
    if (first == 0 || step >= growth)
        return all;
    return first * (1 + (all / first - 1) * step / growth);
}

uint64_t plan_tokens_before(const Plan *p, size_t step)
{
    const size_t growth = p->options.batch_growth < step ? p->options.batch_growth : step;
    uint64_t tokens = (uint64_t)(step - growth) * p->tokens_per_step;
    for (size_t i = 0; i < growth; i++)
        tokens += plan_tokens_of(p, i);
    return tokens;
}

static int resolve_batch(Plan *p, Error *e)
{
    Options *o = &p->options;
    GptSetup *s = &p->setup;
    s->B = o->batch_size;
    if (s->B > SIZE_MAX / 64 / s->T / (4 * p->config.C) / p->config.L)
        return error_set(e, "--batch-size %zu is too large", s->B);
    const size_t micro = s->B * s->T, total = o->total_batch != 0 ? o->total_batch : micro * p->ranks.world;
    if (total % micro != 0)
        return error_set(e, "--total-batch %zu is not a multiple of a micro-batch: --batch-size %zu x %zu tokens = %zu",
                         total, s->B, s->T, micro);
    if (p->trains && check_ranks(p, "--total-batch", total, e) != 0)
        return -1;
    p->micro_batches = total / micro / p->ranks.world;
    p->tokens_per_step = total;
    o->total_batch = total; /* recorded: a resumed run keeps it, whatever its --batch-size */
    return check_growth(p, e);
}

/* How often to validate, if no one says: every 50 steps, or multiples of that, so that validation takes no more than a
 * twentieth of the time (a forward pass is a third of a step), but five times in a run. Of a text a tenth is held
 * out. */
static void resolve_validation(Plan *p, bool validates, Notes *notes)
{
    enum { SELDOM = 50, TIMES = 5 };
    Options *o = &p->options;
    struct stat text;
    double tokens = (double)o->val_tokens;
    if (o->val_every != VAL_EVERY_AUTO)
        return;
    if (o->text != NULL && stat(o->text, &text) == 0)
        tokens = fmin(tokens, (double)text.st_size / 10);
    const double passes = tokens / 3 / (double)o->total_batch; /* in steps */
    const size_t most = o->schedule.steps / TIMES / SELDOM * SELDOM;
    o->val_every = SELDOM;
    if (!p->trains || !validates || most <= SELDOM || 20 * passes <= SELDOM)
        return;
    o->val_every = (size_t)fmin((double)most, ceil(20 * passes / SELDOM) * SELDOM);
    notes_add(notes, "validation every %zu steps, about %.0f%% of the time (--val-every)", o->val_every,
              100 * passes / (passes + (double)o->val_every));
}

/* Refuses what the command line asks of a schedule that has no use for it. */
/* Settings of a wrapper that is off. */
static int check_wrappers(const Options *o, Error *e)
{
    const OptimAveraging *a = &o->optim.averaging;
    const struct {
        const char *option, *needs;
        bool on;
    } settings[] = {{"ema-nesterov-decay", "ema-nesterov", a->nesterov != 0},
                    {"tail-ema-share", "tail-ema", a->tail > 0},
                    {"muloco-rate", "muloco", a->muloco > 0},
                    {"muloco-momentum", "muloco", a->muloco > 0}};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (options_gave(o, settings[i].option) && !settings[i].on)
            return error_set(e, "--%s does nothing without --%s", settings[i].option, settings[i].needs);
    return 0;
}

static int check_schedule(const Options *o, Error *e)
{
    static const struct {
        const char *option;
        bool in_linear; /* and in cosine */
    } shapes[] = {{"cooldown", false},        {"cooldown-power", false},     {"final-lr", true},
                  {"aux-cooldown", false},    {"aux-cooldown-power", false}, {"planned-steps", true},
                  {"aux-planned-steps", true}};
    const ScheduleKind kind = o->schedule.kind;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const bool used = kind == SCHEDULE_WSD || (shapes[i].in_linear && kind != SCHEDULE_CONSTANT);
        if (!used && options_gave(o, shapes[i].option))
            return error_set(e, "--%s does nothing in --schedule %s", shapes[i].option, schedule_names[kind]);
    }
    return check_wrappers(o, e);
}

/* The schedule of all but the hidden matrices is theirs but for what its own options say. */
static int resolve_schedules(Plan *p, Error *e)
{
    const Options *o = &p->options;
    Schedule *aux = &p->aux_schedule;
    if (check_schedule(o, e) != 0)
        return -1;
    *aux = o->schedule;
    if (o->aux_warmup != STEPS_SAME)
        aux->warmup = o->aux_warmup;
    if (o->aux_planned != STEPS_SAME)
        aux->planned = o->aux_planned;
    if (!isnan(o->aux_cooldown))
        aux->cooldown = o->aux_cooldown;
    if (!isnan(o->aux_power))
        aux->power = o->aux_power;
    if (o->schedule.planned > 0 && o->schedule.planned < o->schedule.steps)
        return error_set(e, "--planned-steps %zu are fewer than --steps %zu", o->schedule.planned, o->schedule.steps);
    if (aux->planned > 0 && aux->planned < aux->steps)
        return error_set(e, "--aux-planned-steps %zu are fewer than --steps %zu", aux->planned, aux->steps);
    return 0;
}

/* What the steps are too few for, and what a run without training leaves out. */
static void note_unfinished(const Plan *p, Notes *notes)
{
    const Options *o = &p->options;
    const size_t steps = o->schedule.steps, warmup = o->schedule.warmup, aux = p->aux_schedule.warmup;
    const char *unused = o->dropout > 0       ? "--dropout"
                         : o->first_batch > 0 ? "--first-batch"
                         : o->qk_clip > 0     ? "--qk-clip"
                                              : NULL;
    if (!p->trains && unused != NULL)
        notes_add(notes, "--steps 0 trains nothing: %s is not used", unused);
    if (!p->trains && o->eval_every > 0)
        notes_add(notes, "--steps 0 evaluates once: --eval-every is not used");
    if (!p->trains || o->list_groups)
        return;
    if (warmup >= steps && warmup > 0)
        notes_add(notes, "all of the %zu steps are warmup (--warmup %zu): the run ends at its highest learning rate",
                  steps, warmup);
    if (aux >= steps && aux > 0 && aux != warmup)
        notes_add(notes, "all of the %zu steps are warmup of all but the hidden matrices (--aux-warmup %zu)", steps,
                  aux);
    if (o->first_batch > 0 && o->batch_growth >= steps)
        notes_add(notes,
                  "the batch grows over %zu steps (--batch-growth) and the run has %zu: it never reaches %zu tokens",
                  o->batch_growth, steps, p->tokens_per_step);
}

/* Refuses a list of tasks that is none, and tables of losses that will have no place. */
static int check_evaluation(const Options *o, Error *e)
{
    char folder[PATH_MOST];
    if (o->eval == NULL && (o->eval_every > 0 || o->loss_tables != NULL))
        return error_set(e, "--%s needs --eval", o->eval_every > 0 ? "eval-every" : "loss-tables");
    if (o->eval == NULL)
        return 0;
    if (tasks_check(o->eval, o->loss_tables != NULL, e) != 0)
        return -1;
    if (o->loss_tables == NULL || comm_ranks(o->optim.comm).rank > 0) /* rank 0 writes them */
        return 0;
    const char *slash = strrchr(o->loss_tables, '/');
    snprintf(folder, sizeof folder, "%.*s", slash != NULL ? (int)(slash - o->loss_tables) + 1 : 1,
             slash != NULL ? o->loss_tables : ".");
    return access(folder, W_OK) == 0
               ? 0
               : error_set(e, "--loss-tables %s: %s: %s", o->loss_tables, folder, strerror(errno));
}

static int check_samples(const Plan *p, Error *e)
{
    const Options *o = &p->options;
    if (p->tokenizer == NULL && ((o->sample_every != SAMPLE_AT_END && o->sample_every > 0) || o->prompt[0] != '\0'))
        return error_set(e, "--sample-every and --prompt: the model's tokenizer is not known: give --tokenizer");
    return 0;
}

/* Resolves the groups without allocating: to check the optimizer's options, list the groups and size their memory. */
static int plan_optim(Plan *p, Error *e)
{
    GptTable table;
    Optim *plan;
    if (gpt_table_make(&p->config, &table, e) != 0)
        return -1;
    const int status = optim_create(&p->options.optim, table.tensors, table.count, NULL, &plan, e);
    if (status == 0 && p->options.list_groups)
        optim_list_groups(plan, stdout);
    if (status == 0) {
        const CommPiece *pieces;
        const size_t count = optim_pieces(plan, &pieces);
        p->arena = table.arena_size;
        p->optim_bytes =
            p->trains ? optim_memory(plan) + comm_scratch(p->options.optim.comm, pieces, count) * sizeof(float) : 0;
    }
    optim_free(plan);
    gpt_table_free(&table);
    return status;
}

static int check_memory(Plan *p, Error *e)
{
    const size_t needed = p->memory_needed = rank_memory_needed(p),
                 present = p->memory_present = rank_memory_present(p);
    char held[80];
    if (present == 0 || needed <= present)
        return 0;
    return error_set(e,
                     "out of memory: this run needs %.1f GiB and only %.1f are available%s; lower --batch-size (now "
                     "%zu), --same-bits (%zu) or --seq-len, or choose a smaller model",
                     (double)needed / 0x1p30, (double)present / 0x1p30, say_held(p, held), p->setup.B,
                     p->options.same_bits);
}

/* The run's directory: a new one, or the resumed one. */
static int resolve_out(Plan *p, Error *e)
{
    struct stat info;
    if (p->options.out != NULL) {
        if (strlen(p->options.out) >= PATH_MOST)
            return error_set(e, "--out: the path is too long");
        strcpy(p->out, p->options.out);
        for (size_t n = strlen(p->out); n > 1 && p->out[n - 1] == '/'; n--)
            p->out[n - 1] = '\0';
    } else {
        char stamp[32];
        const time_t t = time(NULL);
        struct tm local;
        strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", localtime_r(&t, &local));
        snprintf(p->out, sizeof p->out, "runs/%s-%s", stamp, p->options.optim.rule);
    }
    if (!p->options.resume && p->options.out != NULL && p->ranks.rank == 0 && lstat(p->out, &info) == 0)
        return error_set(e, "--out %s exists; choose another directory, or continue its run with --resume", p->out);
    return 0;
}

/* Everything that does not depend on the device; a failure here is a wrong command. */
static int resolve(Plan *p, Notes *notes, Error *e)
{
    Options *o = &p->options;
    if (check_recompute(o, e) != 0)
        return -1;
    if (o->threads > 0)
        threads_set(o->threads);
    p->trains = o->schedule.steps > 0;
    p->setup.mode = p->trains ? GPT_TRAINING : GPT_INFERENCE;
    p->setup.recompute = o->recompute;
    p->setup.dropout = o->dropout > 0 && p->trains;
    p->setup.scores = o->qk_clip > 0 && p->trains;
    o->optim.steps = p->trains ? o->schedule.steps : SIZE_MAX / 2; /* without training any length will do */
    o->optim.planned = o->schedule.planned;
    if (resolve_model(p, notes, e) != 0 || (o->batch_size > 0 ? resolve_batch(p, e) : check_auto_batch(p, e)) != 0 ||
        check_samples(p, e) != 0 || plan_optim(p, e) != 0)
        return -1;
    if (o->qk_clip > 0 && qk_clip_check(&p->config, e) != 0)
        return -1;
    const bool training = p->trains && !o->list_groups;
    if (resolve_schedules(p, e) != 0)
        return -1;
    const bool validates = o->val_every > 0 && o->val_tokens > 0 && (o->train == NULL || o->val != NULL);
    resolve_validation(p, validates, notes);
    if (o->text != NULL && (o->train != NULL || o->val != NULL))
        return error_set(e, "--text excludes --train and --val: it holds out its own last tenth");
    if (check_evaluation(o, e) != 0)
        return -1;
    if (training && o->train == NULL && o->val != NULL)
        return error_set(e, "--val without --train: give shards to train on, or --steps 0 to evaluate only");
    if (training && !isnan(o->target_loss) && !validates)
        return error_set(e, "--target-loss needs validation: --val, and --val-every and --val-tokens above 0");
    if (training && o->train != NULL && o->val == NULL)
        notes_add(notes, "without --val there is no validation loss");
    note_unfinished(p, notes);
    return training ? resolve_out(p, e) : 0;
}

static void note_devices(const Plan *p, Notes *notes)
{
    const size_t devices = comm_devices(), used = comm_neighbours(p->options.optim.comm).count;
    if (devices > used)
        notes_add(notes, "this machine has %zu GPUs, of which %zu compute%s: start a rank for each (--ranks %zu)",
                  devices, used, used == 1 ? "s" : "", devices);
}

/* What the command line and the files that it names say. */
static int plan_alone(const Options *asked, Plan *p, Notes *notes, Error *e)
{
    if (check_device(asked, e) != 0 || (asked->resume && read_record(p, notes, e) != 0))
        return RUN_WRONG_COMMAND;
    if (asked->resume && checkpoint_read_config(p->checkpoint, &p->config, e) != 0)
        return RUN_FAILED;
    if (resolve(p, notes, e) != 0)
        return RUN_WRONG_COMMAND;
    if (p->options.list_groups)
        return RUN_DONE;
    comm_choose_device(p->options.optim.comm);
    if (gpt_probe(e) != 0)
        return RUN_FAILED;
    note_devices(p, notes);
    if (resolve_dtype(p, e) != 0)
        return RUN_WRONG_COMMAND;
    p->options.optim.rounds = p->setup.dtype == GPT_BF16;
    return plan_optim(p, e) != 0 ? RUN_FAILED : RUN_DONE; /* again: its memory depends on that */
}

int plan_make(const Options *asked, Plan *p, Notes *notes, Error *e)
{
    Comm *comm = asked->optim.comm;
    *p = (Plan){.options = *asked, .ranks = comm_ranks(comm)};
    memset(p->options.owned, 0, sizeof p->options.owned); /* they stay the caller's */
    int status = comm_agree(comm, plan_alone(asked, p, notes, e), e);
    if (status != RUN_DONE || p->options.list_groups)
        return status;
    comm_set_timeout(comm, p->options.comm_timeout);
    if (comm_agree(comm, comm_join_device(comm, e), e) != 0)
        return RUN_FAILED;
    comm_broadcast(comm, p->out, sizeof p->out); /* a default has the time in it */
    if (p->options.batch_size == 0 && (choose_batch(p, e) != 0 || resolve_batch(p, e) != 0))
        status = RUN_FAILED;
    if (status == RUN_DONE)
        note_neighbours(p, notes);
    if (p->dtype_before[0] != '\0' && strcmp(p->dtype_before, gpt_dtype_names[p->setup.dtype]) != 0)
        notes_add(notes, "begun in %s, continued in %s", p->dtype_before, gpt_dtype_names[p->setup.dtype]);
    if (p->options.threads == 0)
        threads_suit(gpt_flops_per_token(&p->config, p->setup.T) * (double)(p->setup.B * p->setup.T));
    if (status == RUN_DONE && check_memory(p, e) != 0)
        status = RUN_FAILED;
    return comm_agree(comm, status, e);
}

void plan_free(Plan *p)
{
    tokenizer_close(p->tokenizer);
    options_free(&p->options);
}
