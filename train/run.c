#include "train/run.h"

#include "base/clock.h"
#include "base/threads.h"
#include "data/loader.h"
#include "files/files.h"
#include "train/checkpoint.h"
#include "train/corpus.h"
#include "train/diagnose.h"
#include "train/metrics.h"
#include "train/peak.h"
#include "train/sample.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

enum { PATH_MOST = 4096, RECORD_LIMIT = 1 << 20, BYTE_VOCAB = 256 };

typedef struct Run {
    Options *o;
    GptConfig config;
    size_t B, T, micro_batches;
    GptDtype dtype;
    Corpus corpus;
    Gpt *gpt;
    Optim *optim;
    Diagnosis *diagnosis; /* or NULL */
    Loader *loader;
    int32_t *inputs, *targets; /* (B,T) */
    char out[PATH_MOST];
    int lock;                        /* on it */
    size_t memory_present;           /* on the device, before anything was made; 0: unknown */
    char checkpoint[PATH_MOST + 64]; /* that a resumed run goes on from */
    MetricsLog log;
    Progress progress;
    CheckpointState state;
    size_t first_step;          /* of this process */
    double start;               /* wall clock */
    bool target_reached, saved; /* the last step is in a checkpoint */
} Run;

static volatile sig_atomic_t stop_signal;

static void on_signal(int number) { stop_signal = number; }

/* The first signal ends the run after its step, a second one at once. */
static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART | (int)SA_RESETHAND};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* --------------------------------------------------------------------------------------------------------------
 * Before the first step
 */

static int check_device(const Options *o, Error *e)
{
    if (strcmp(o->device, "auto") != 0 && strcmp(o->device, "cpu") != 0 && strcmp(o->device, "cuda") != 0)
        return error_set(e, "--device knows no '%s'; it is one of auto, cpu, cuda", o->device);
    if (strcmp(o->device, "cuda") == 0 && gpt_kind() == GPT_ON_CPU)
        return error_set(e, "--device cuda: this is the CPU program; train_gpt_cuda was not built");
    if (strcmp(o->device, "cpu") == 0 && gpt_kind() == GPT_ON_GPU)
        return error_set(e, "--device cpu: this is the GPU's program; run ./train_gpt_cpu");
    return 0;
}

static int check_recompute(const Options *o, Error *e)
{
    return o->recompute == GPT_RECOMPUTE_NOTHING || gpt_kind() == GPT_ON_GPU
               ? 0
               : error_set(e, "--recompute %s needs a GPU; the CPU has --recompute nothing",
                           gpt_recompute_names[o->recompute]);
}

/* Of a device that has been probed, unless the option names one. */
static int resolve_dtype(Run *r, Error *e)
{
    const char *name = r->o->dtype;
    size_t i = 0;
    if (strcmp(name, "auto") == 0) {
        r->dtype = gpt_default_dtype(&r->config);
        return 0;
    }
    while (i < GPT_DTYPES && strcmp(name, gpt_dtype_names[i]) != 0)
        i++;
    if (i == GPT_DTYPES)
        return error_set(e, "--dtype knows no '%s'; it is one of auto, fp32, tf32, bf16", name);
    r->dtype = (GptDtype)i;
    return r->dtype != GPT_FP32 && gpt_kind() == GPT_ON_CPU
               ? error_set(e, "--dtype %s needs a GPU; the CPU has --dtype fp32", name)
               : 0;
}

/* Takes over what the record in the run's directory says, and finds its latest checkpoint. */
static int read_record(Run *r, Error *e)
{
    char path[PATH_MOST + 16], *text;
    size_t size;
    Json *json;
    Error fault;
    if (r->o->out == NULL)
        return error_set(e, "--resume needs --out DIR, the run to go on with");
    snprintf(path, sizeof path, "%s/run.json", r->o->out);
    if (files_read_all(path, RECORD_LIMIT, &text, &size, e) != 0)
        return -1;
    int status = json_parse(text, size, &json, &fault);
    free(text);
    if (status != 0)
        return error_set(e, "%s: %s", path, fault.text);
    const Json *options = json_get(json, "options");
    status = options == NULL ? error_set(e, "%s: has no options", path) : options_resume(r->o, options, e);
    json_free(json);
    return status == 0 ? checkpoint_latest(r->o->out, r->checkpoint, sizeof r->checkpoint, e) : -1;
}

static void override(size_t *size, size_t option)
{
    if (option != 0)
        *size = option;
}

static int resolve_model(Run *r, Error *e)
{
    const Options *o = r->o;
    GptConfig *c = &r->config;
    if (gpt_preset(o->model, c) == 0) {
        override(&c->V, corpus_vocab(o));
        override(&c->T, o->seq_len);
        override(&c->L, o->layers);
        override(&c->NH, o->heads);
        override(&c->C, o->width);
        override(&c->V, o->vocab);
    } else if (o->resume) { /* the checkpoint that the run began from may be gone by now */
        if (checkpoint_read_config(r->checkpoint, c, e) != 0)
            return -1;
    } else {
        struct stat info;
        if (stat(o->model, &info) != 0 || !S_ISDIR(info.st_mode))
            return error_set(
                e, "--model %s: neither a preset (nano, gpt2, gpt2-medium, gpt2-large, gpt2-xl) nor a directory",
                o->model);
        if (o->layers + o->heads + o->width + o->vocab != 0)
            return error_set(e, "--model %s is a checkpoint: --layers, --heads, --width and --vocab cannot change it",
                             o->model);
        if (checkpoint_read_config(o->model, c, e) != 0)
            return -1;
    }
    r->T = o->seq_len != 0 ? o->seq_len : c->T;
    if (gpt_config_check(c, e) != 0)
        return -1;
    if (r->T > c->T)
        return error_set(e, "--seq-len %zu: the model in %s has only %zu positions", r->T, o->model, c->T);
    return 0;
}

static GptSetup setup_of(const Run *r)
{
    return (GptSetup){.B = r->B,
                      .T = r->T,
                      .mode = r->o->schedule.steps > 0 ? GPT_TRAINING : GPT_INFERENCE,
                      .dtype = r->dtype,
                      .recompute = r->o->recompute};
}

static int check_auto_batch(const Run *r, Error *e)
{
    const size_t total = r->o->total_batch;
    if (total == 0)
        return error_set(e, "--batch-size auto needs --total-batch: a step must not depend on the machine's memory");
    if (total % r->T != 0)
        return error_set(e, "--total-batch %zu is no multiple of a sequence of %zu tokens", total, r->T);
    return 0;
}

/* The largest power of two of sequences that divides a step and fits into memory. */
static int choose_batch(Run *r, size_t optim_bytes, Error *e)
{
    const size_t sequences = r->o->total_batch / r->T, present = gpt_memory_present();
    const double room = 0.92 * (double)present; /* libraries and fragments take a little */
    if (present == 0)
        return error_set(e, "--batch-size auto: this machine does not say how much memory it has; give a number");
    r->B = 0;
    for (size_t B = 1; sequences % B == 0; B *= 2) {
        GptSetup setup = setup_of(r);
        setup.B = B;
        if ((double)gpt_memory_needed(&r->config, &setup) + (double)optim_bytes > room)
            break;
        r->B = B;
    }
    if (r->B == 0)
        return error_set(e,
                         "out of memory: not even one sequence of %zu tokens fits into %.1f GiB; lower --seq-len or "
                         "the model, or give --recompute layers",
                         r->T, (double)present / 0x1p30);
    r->o->batch_size = r->B;
    return 0;
}

static int resolve_batch(Run *r, Error *e)
{
    Options *o = r->o;
    r->B = o->batch_size;
    if (r->B > SIZE_MAX / 64 / r->T / (4 * r->config.C) / r->config.L)
        return error_set(e, "--batch-size %zu is too large", r->B);
    const size_t micro = r->B * r->T, total = o->total_batch != 0 ? o->total_batch : micro;
    if (total % micro != 0)
        return error_set(e, "--total-batch %zu is no multiple of a micro-batch: --batch-size %zu x %zu tokens = %zu",
                         total, r->B, r->T, micro);
    r->micro_batches = total / micro;
    o->total_batch = total; /* recorded: a resumed run keeps it, whatever its --batch-size */
    return 0;
}

static int check_samples(const Run *r, Error *e)
{
    const Options *o = r->o;
    if (r->config.V == BYTE_VOCAB)
        return 0;
    if ((o->sample_every != SAMPLE_AT_END && o->sample_every > 0) || o->prompt[0] != '\0')
        return error_set(e,
                         "--sample-every and --prompt need a byte model (--vocab 256) for now; this one has %zu tokens",
                         r->config.V);
    return 0;
}

/* Resolves the groups without memory: to check the optimizer's options, to list them, to know what they need. */
static int plan_optim(const Run *r, bool list, size_t *bytes, Error *e)
{
    GptTable table;
    Optim *plan;
    if (gpt_table_make(&r->config, &table, e) != 0)
        return -1;
    const int status = optim_create(&r->o->optim, table.tensors, table.count, NULL, NULL, &plan, e);
    if (status == 0 && list)
        optim_list_groups(plan, stdout);
    if (status == 0)
        *bytes = optim_memory(plan);
    optim_free(plan);
    gpt_table_free(&table);
    return status;
}

static int check_memory(Run *r, size_t needed, Error *e)
{
    const size_t present = r->memory_present = gpt_memory_present();
    if (present == 0 || needed <= present)
        return 0;
    return error_set(e,
                     "out of memory: this run needs %.1f GiB and there are %.1f; lower --batch-size (now %zu), "
                     "--seq-len or the model",
                     (double)needed / 0x1p30, (double)present / 0x1p30, r->B);
}

static int make_model(Run *r, Error *e)
{
    const Options *o = r->o;
    GptConfig preset;
    const GptSetup setup = setup_of(r);
    if (gpt_create(&r->config, &setup, &r->gpt, e) != 0)
        return -1;
    r->inputs = malloc(r->B * r->T * sizeof *r->inputs);
    r->targets = malloc(r->B * r->T * sizeof *r->targets);
    if (r->inputs == NULL || r->targets == NULL)
        return error_set(e, "out of memory for a batch of %zu x %zu tokens", r->B, r->T);
    if (o->resume)
        return checkpoint_read_model(r->checkpoint, r->gpt, e);
    if (gpt_preset(o->model, &preset) != 0)
        return checkpoint_read_model(o->model, r->gpt, e);
    gpt_init(r->gpt, o->seed);
    return 0;
}

static int make_training(Run *r, Error *e)
{
    const Options *o = r->o;
    const GptTable *table = gpt_table(r->gpt);
    if (optim_create(&o->optim, table->tensors, table->count, gpt_params(r->gpt), gpt_grads(r->gpt), &r->optim, e) != 0)
        return -1;
    r->state = (CheckpointState){.val_loss = (double)NAN};
    if (o->resume && checkpoint_read_state(r->checkpoint, r->optim, &r->state, e) != 0)
        return -1;
    if (o->resume)
        optim_hide(r->optim); /* the checkpoint's model is what was shown */
    if (optim_check_parameters(r->optim, e) != 0)
        return -1;
    if (r->state.step >= o->schedule.steps)
        return error_set(e, "the run in %s is at step %zu of %zu: nothing is left to do (raise --steps to go on)",
                         o->out, r->state.step, o->schedule.steps);
    if (o->diagnose > 0 && diagnose_create(r->optim, table->tensors, table->count, gpt_params(r->gpt),
                                           gpt_grads(r->gpt), &r->diagnosis, e) != 0)
        return -1;
    r->first_step = r->state.step;
    r->saved = o->resume;
    const LoaderConfig config = {.T = r->T, .seed = o->seed, .rank = 0, .world = 1};
    return loader_create(r->corpus.train, &config, r->state.loader_position, r->B, &r->loader, e);
}

static int write_record(const Run *r, Error *e)
{
    char path[PATH_MOST + 16], *text = NULL;
    size_t size = 0;
    struct utsname machine;
    FILE *to = open_memstream(&text, &size);
    if (to == NULL)
        return error_set(e, "out of memory");
    fprintf(to, "{\n  \"version\": \"%s\",\n  \"device\": ", TRAIN_GPT_VERSION);
    json_write_string(to, gpt_device());
    fprintf(to, ", \"dtype\": \"%s\"", gpt_dtype_names[r->dtype]);
    if (uname(&machine) == 0) {
        fprintf(to, ",\n  \"machine\": ");
        json_write_string(to, machine.machine);
        fprintf(to, ",\n  \"system\": ");
        json_write_string(to, machine.sysname);
    }
    fprintf(to,
            ",\n  \"parameters\": %zu,\n  \"layers\": %zu, \"heads\": %zu, \"width\": %zu, \"vocab\": %zu, "
            "\"positions\": %zu",
            gpt_table(r->gpt)->parameters, r->config.L, r->config.NH, r->config.C, r->config.V, r->config.T);
    fprintf(to, ",\n  \"tokens_per_step\": %zu", r->micro_batches * r->B * r->T);
    if (r->corpus.has_floor)
        fprintf(to, ",\n  \"floor\": %.9g, \"floor_standard_error\": %.3g", r->corpus.floor, r->corpus.floor_error);
    fprintf(to, ",\n  \"groups\": [");
    for (size_t i = 0; i < optim_group_count(r->optim); i++) {
        const OptimGroupInfo info = optim_group_info(r->optim, i);
        fprintf(to, "%s\n    {\"name\": \"%s\", \"rule\": \"%s\"", i == 0 ? "" : ",", info.name, info.rule);
        for (size_t id = 0; id < HYPER_COUNT; id++) {
            char value[64];
            if (!info.hyper.at[id].set)
                continue;
            hyper_format((HyperId)id, info.hyper.at[id].value, value, sizeof value);
            fprintf(to, ", \"%s\": \"%s\"", hyper_info[id].name, value);
        }
        fprintf(to, "}");
    }
    fprintf(to, "\n  ],\n  \"options\": ");
    options_write(r->o, to);
    fprintf(to, "\n}\n");
    int status = fclose(to) != 0 || text == NULL ? error_set(e, "out of memory") : 0;
    snprintf(path, sizeof path, "%s/run.json", r->out);
    if (status == 0)
        status = files_write_atomic(path, text, size, e);
    free(text);
    return status;
}

/* The run's directory: a new one, or the resumed one. */
static int resolve_out(Run *r, Error *e)
{
    struct stat info;
    if (r->o->out != NULL) {
        if (strlen(r->o->out) >= PATH_MOST)
            return error_set(e, "--out: the path is too long");
        strcpy(r->out, r->o->out);
    } else {
        char stamp[32];
        const time_t t = time(NULL);
        struct tm local;
        strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", localtime_r(&t, &local));
        snprintf(r->out, sizeof r->out, "runs/%s-%s", stamp, r->o->optim.rule);
    }
    if (!r->o->resume && lstat(r->out, &info) == 0)
        return error_set(e, "--out %s exists; choose another directory, or --resume to go on with its run", r->out);
    return 0;
}

static int open_out(Run *r, Error *e)
{
    char path[PATH_MOST + 16];
    struct stat info;
    snprintf(path, sizeof path, "%s/diagnose.jsonl", r->out);
    if (r->o->resume && stat(path, &info) == 0 && metrics_drop_later(path, "", "{\"step\": ", r->state.step, e) != 0)
        return -1;
    snprintf(path, sizeof path, "%s/metrics.csv", r->out);
    if (metrics_open(&r->log, path, r->o->resume, r->state.step, e) != 0)
        return -1;
    return write_record(r, e);
}

static void print_banner(const Run *r, size_t memory_needed)
{
    const GptConfig *c = &r->config;
    printf("train_gpt %s on %s, %s\n", TRAIN_GPT_VERSION, gpt_device(), gpt_dtype_names[r->dtype]);
    printf("model     %s: L=%zu NH=%zu C=%zu V=%zu T=%zu, %zu parameters\n", r->o->model, c->L, c->NH, c->C, c->V, r->T,
           gpt_table(r->gpt)->parameters);
    printf("data      %s: %zu tokens to train on, %zu to validate on\n", r->corpus.name,
           r->corpus.train != NULL ? tokens_total(r->corpus.train) : 0,
           r->corpus.val != NULL ? tokens_total(r->corpus.val) : 0);
    if (r->corpus.has_floor)
        printf("floor     %.4f +- %.4f nats a token: no model of these stories can do better\n", r->corpus.floor,
               r->corpus.floor_error);
    for (size_t i = 0; r->optim != NULL && i < optim_group_count(r->optim); i++) {
        const OptimGroupInfo info = optim_group_info(r->optim, i);
        printf("%-9s %-7s %-8s lr %-8.3g ", i == 0 ? "groups" : "", info.name, info.rule, hyper(&info.hyper, HYPER_LR));
        if (info.hyper.at[HYPER_WEIGHT_DECAY].set)
            printf("wd %-6.3g", hyper(&info.hyper, HYPER_WEIGHT_DECAY));
        else
            printf("%-9s", "no wd");
        printf(" %10zu parameters in %zu tensors\n", info.parameters, info.tensors);
    }
    if (r->optim != NULL)
        printf("step      %zu tokens: %zu x %zu sequences of %zu\n", r->micro_batches * r->B * r->T, r->micro_batches,
               r->B, r->T);
    const double peak = peak_flops(gpt_device_name(), r->dtype);
    if (peak > 0)
        printf("peak      %.0f TFLOP/s in %s\n", peak * 1e-12, gpt_dtype_names[r->dtype]);
    else if (gpt_device_name() != NULL)
        printf("peak      unknown: no MFU is shown\n");
    printf("memory    %.2f GiB needed, %.1f present\n", (double)memory_needed / 0x1p30,
           (double)r->memory_present / 0x1p30);
    if (r->optim != NULL)
        printf("run       %s%s\n", r->out, r->o->resume ? " (resumed)" : "");
    printf("\n");
    fflush(stdout);
}

/* --------------------------------------------------------------------------------------------------------------
 * A step
 */

/* The first parameter tensor that holds a NaN or Inf, or NULL. */
static const Tensor *bad_parameter(const Gpt *gpt)
{
    const GptTable *table = gpt_table(gpt);
    for (size_t i = 0; i < table->count; i++) {
        const Tensor *t = &table->tensors[i];
        float *values = malloc(tensor_size(t) * sizeof *values);
        bool finite = true;
        if (values == NULL)
            return NULL;
        gpt_read(gpt, GPT_PARAMS, t, values);
        for (size_t j = 0; j < tensor_size(t); j++)
            finite = finite && isfinite(values[j]);
        free(values);
        if (!finite)
            return t;
    }
    return NULL;
}

/* Sets the sentence of a run that diverged in `step`: the parameter at fault, or else the gradient. */
static int diverged(const Run *r, size_t step, const char *what, double value, Error *e)
{
    const Tensor *gradient = NULL, *parameter = bad_parameter(r->gpt);
    if (parameter == NULL)
        optim_grad_norm(r->optim, &gradient);
    const Tensor *culprit = parameter != NULL ? parameter : gradient;
    const char *kind = parameter != NULL ? "the parameter " : gradient != NULL ? "the gradient of " : "none";
    error_set(e,
              "diverged: in step %zu the %s is %g; the first tensor that is not finite is %s%s. Lower the learning "
              "rate. Checkpoints in %s are untouched",
              step, what, value, kind, culprit != NULL ? culprit->name : "", r->out);
    return RUN_DIVERGED;
}

static bool due(size_t every, size_t step) { return every > 0 && step % every == 0; }

/* Appends what the step that was just done did to each hidden matrix. */
static int write_diagnosis(const Run *r, double lr_factor, Error *e)
{
    char path[PATH_MOST + 16];
    snprintf(path, sizeof path, "%s/diagnose.jsonl", r->out);
    FILE *to = fopen(path, "a");
    if (to == NULL)
        return error_set(e, "%s: cannot be opened for writing", path);
    diagnose_after(r->diagnosis);
    diagnose_write(r->diagnosis, r->state.step, lr_factor, to);
    const bool failed = ferror(to) != 0;
    return fclose(to) != 0 || failed ? error_set(e, "%s: cannot be written (is the disk full?)", path) : 0;
}

/* Whether something else than the next step follows, which must not be charged with what a GPU still has to do. */
static bool pauses_after(const Run *r, size_t step)
{
    const Options *o = r->o;
    return step == o->schedule.steps || due(o->val_every, step) || due(o->sample_every, step) ||
           due(o->checkpoint_every, step) || due(o->diagnose, step);
}

/* One update. Returns RUN_DONE, RUN_FAILED or RUN_DIVERGED. */
static int train_step(Run *r, Metrics *m, Error *e)
{
    const size_t step = r->state.step, micro = r->B * r->T, total = r->micro_batches * micro;
    const bool diagnose = due(r->o->diagnose, step + 1);
    if (diagnose)
        diagnose_before(r->diagnosis);
    const double begin = clock_seconds(), factor = schedule_factor(&r->o->schedule, step);
    double data = 0;
    optim_begin(r->optim, factor);
    gpt_params_changed(r->gpt);
    for (size_t i = 0; i < r->micro_batches; i++) {
        const double t0 = clock_seconds();
        if (loader_next(r->loader, r->B, r->inputs, r->targets, e) != 0)
            return RUN_FAILED;
        data += clock_seconds() - t0;
        gpt_forward(r->gpt, r->inputs, r->B, r->T);
        gpt_backward(r->gpt, r->targets, 1.0 / (double)total, i == 0);
    }
    const double update = clock_seconds(), norm = optim_grad_norm(r->optim, NULL);
    const double loss = gpt_loss_sum(r->gpt) / (double)total;
    const GptTimes times = gpt_times(r->gpt);
    if (!isfinite(loss))
        return diverged(r, step + 1, "loss", loss, e);
    if (!isfinite(norm))
        return diverged(r, step + 1, "gradient's norm", norm, e);
    optim_step(r->optim, factor, r->o->clip > 0 && norm > r->o->clip ? r->o->clip / norm : 1);
    if (pauses_after(r, step + 1))
        gpt_wait(r->gpt);
    const double end = clock_seconds();
    r->state.step++;
    r->state.tokens += total;
    r->state.seconds += end - begin;
    r->state.loader_position = loader_position(r->loader);
    const OptimGroupInfo hidden = optim_group_info(r->optim, 0);
    *m = (Metrics){.step = r->state.step,
                   .tokens = r->state.tokens,
                   .seconds = r->state.seconds,
                   .train_loss = loss,
                   .val_loss = (double)NAN,
                   .grad_norm = norm,
                   .lr = hyper(&hidden.hyper, HYPER_LR) * hidden.sensitivity * factor,
                   .tokens_per_second = (double)total / (end - begin),
                   .data_ms = 1e3 * data,
                   .forward_ms = 1e3 * times.forward,
                   .backward_ms = 1e3 * times.backward,
                   .optimizer_ms = 1e3 * (gpt_kind() == GPT_ON_CPU ? end - update : times.before)};
    return diagnose && write_diagnosis(r, factor, e) != 0 ? RUN_FAILED : RUN_DONE;
}

/* --------------------------------------------------------------------------------------------------------------
 * Validation, samples, checkpoints
 */

static bool can_validate(const Run *r) { return r->corpus.val != NULL && r->o->val_tokens > 0; }

/* Mean cross-entropy over the validation targets, of the parameters as they stand. */
static int evaluate(Run *r, double *loss, Error *e)
{
    const size_t all = tokens_targets(r->corpus.val), wanted = r->o->val_tokens, targets = wanted < all ? wanted : all;
    const size_t windows = windows_count(r->corpus.val, r->T, targets);
    double sum = 0;
    gpt_params_changed(r->gpt);
    if (targets == 0)
        return error_set(e, "%s: has no shard of two tokens or more, an input and its target", r->o->val);
    for (size_t first = 0; first < windows; first += r->B) {
        if (windows_read(r->corpus.val, r->T, targets, first, r->B, r->inputs, r->targets, e) != 0)
            return -1;
        gpt_forward(r->gpt, r->inputs, r->B, r->T);
        sum += gpt_loss(r->gpt, r->targets);
    }
    *loss = sum / (double)targets;
    if (r->corpus.has_floor && *loss < r->corpus.floor - 3 * r->corpus.floor_error)
        return error_set(
            e,
            "the validation loss %.4f is more than three standard errors below the floor %.4f +- %.4f, which no "
            "model can reach: the targets have leaked into the inputs or the training text",
            *loss, r->corpus.floor, r->corpus.floor_error);
    return 0;
}

/* The same of what the optimizer shows for them. */
static int evaluate_shown(Run *r, double *loss, Error *e)
{
    optim_show(r->optim);
    const int status = evaluate(r, loss, e);
    optim_hide(r->optim);
    return status;
}

/* Notes a validation loss; at the first crossing of --target-loss reports where, by the line between two validations.
 */
static void note_validation(Run *r, double loss)
{
    CheckpointState *s = &r->state;
    const double target = r->o->target_loss;
    if (!isnan(target) && loss <= target) {
        const double tokens_per_step = s->step > 0 ? (double)s->tokens / (double)s->step : 0;
        double at = (double)s->step, seconds = s->seconds;
        if (!isnan(s->val_loss) && s->val_loss > target) {
            const double share = (s->val_loss - target) / (s->val_loss - loss);
            at = (double)s->val_step + share * ((double)s->step - (double)s->val_step);
            seconds = s->val_seconds + share * (s->seconds - s->val_seconds);
        }
        progress_break(&r->progress);
        printf("target    %.4f reached at step %.1f (interpolated), %.0f tokens, %.2f s of training\n", target, at,
               at * tokens_per_step, seconds);
        r->target_reached = true;
    }
    s->val_loss = loss;
    s->val_step = s->step;
    s->val_seconds = s->seconds;
}

static int print_sample(Run *r, Error *e)
{
    const Options *o = r->o;
    const SampleConfig config = {.prompt = o->prompt,
                                 .tokens = o->sample_tokens,
                                 .temperature = o->temperature,
                                 .top_k = o->top_k,
                                 .seed = o->seed,
                                 .stream = r->state.step};
    progress_break(&r->progress);
    printf("--- sample at step %zu\n", r->state.step);
    if (r->optim != NULL)
        optim_show(r->optim);
    gpt_params_changed(r->gpt);
    const int status = sample_print(r->gpt, r->T, &config, stdout, e);
    if (r->optim != NULL)
        optim_hide(r->optim);
    printf("---\n");
    fflush(stdout);
    return status;
}

/* Byte models print a sample at the end unless told otherwise. */
static bool sample_due(const Run *r, bool last)
{
    const size_t every = r->o->sample_every;
    if (every == SAMPLE_AT_END)
        return last && r->config.V == BYTE_VOCAB;
    return every > 0 && (last || r->state.step % every == 0);
}

static int save(Run *r, Error *e)
{
    const Tensor *bad = bad_parameter(r->gpt);
    if (bad != NULL) {
        error_set(e,
                  "diverged: after step %zu the parameter %s is not finite; it was not saved. Checkpoints in %s are "
                  "untouched",
                  r->state.step, bad->name, r->out);
        return RUN_DIVERGED;
    }
    optim_show(r->optim);
    r->saved = checkpoint_write(r->out, r->gpt, r->optim, &r->state, r->o->keep, e) == 0;
    optim_hide(r->optim);
    return r->saved ? RUN_DONE : RUN_FAILED;
}

/* --------------------------------------------------------------------------------------------------------------
 * The run
 */

/* The seconds that the steps left will take, by those of this process. */
static double seconds_left(const Run *r)
{
    const size_t done = r->state.step - r->first_step, left = r->o->schedule.steps - r->state.step;
    return done > 0 ? (clock_seconds() - r->start) / (double)done * (double)left : 0;
}

/* Everything that follows an update: validation, log, checkpoint, sample. */
static int after_step(Run *r, Metrics *m, Error *e)
{
    const Options *o = r->o;
    const bool last = r->state.step == o->schedule.steps;
    r->saved = false;
    if (can_validate(r) && o->val_every > 0 && (last || due(o->val_every, r->state.step))) {
        if (evaluate_shown(r, &m->val_loss, e) != 0)
            return RUN_FAILED;
        if (!isfinite(m->val_loss))
            return diverged(r, r->state.step, "validation loss", m->val_loss, e);
        note_validation(r, m->val_loss);
    }
    progress_step(&r->progress, m, seconds_left(r));
    if (metrics_write(&r->log, m, e) != 0)
        return RUN_FAILED;
    const bool stop = last || stop_signal != 0 || r->target_reached;
    if (stop || due(o->checkpoint_every, r->state.step)) {
        const int status = save(r, e);
        if (status != RUN_DONE)
            return status;
    }
    if (stop_signal == 0 && sample_due(r, stop) && print_sample(r, e) != 0)
        return RUN_FAILED;
    return RUN_DONE;
}

static int validate_start(Run *r, Error *e)
{
    Metrics m = {.train_loss = (double)NAN,
                 .lr = (double)NAN,
                 .grad_norm = (double)NAN,
                 .tokens_per_second = (double)NAN,
                 .data_ms = (double)NAN,
                 .forward_ms = (double)NAN,
                 .backward_ms = (double)NAN,
                 .optimizer_ms = (double)NAN};
    if (!can_validate(r) || r->o->val_every == 0)
        return 0;
    if (evaluate_shown(r, &m.val_loss, e) != 0)
        return -1;
    note_validation(r, m.val_loss);
    progress_step(&r->progress, &m, 0);
    return metrics_write(&r->log, &m, e);
}

static void print_summary(const Run *r)
{
    const CheckpointState *s = &r->state;
    printf("\ndone      %zu steps, %llu tokens, %.1f s of training\n", s->step, (unsigned long long)s->tokens,
           s->seconds);
    if (!isnan(s->val_loss))
        printf("val loss  %.4f", s->val_loss);
    if (!isnan(s->val_loss) && r->corpus.has_floor)
        printf(", %.4f above the floor %.4f +- %.4f", s->val_loss - r->corpus.floor, r->corpus.floor,
               r->corpus.floor_error);
    printf("%ssaved     %s/step_%06zu\n", isnan(s->val_loss) ? "" : "\n", r->out, s->step);
}

static int train(Run *r, Error *e)
{
    const size_t steps = r->o->schedule.steps;
    catch_signals();
    r->progress =
        progress_make(stdout, steps, gpt_flops_per_token(&r->config, r->T), peak_flops(gpt_device_name(), r->dtype));
    r->start = clock_seconds();
    if (!r->o->resume && validate_start(r, e) != 0)
        return RUN_FAILED;
    r->start = clock_seconds();
    while (r->state.step < steps && !r->target_reached && stop_signal == 0) {
        Metrics m;
        int status = train_step(r, &m, e);
        if (status == RUN_DONE)
            status = after_step(r, &m, e);
        if (status != RUN_DONE) {
            progress_break(&r->progress);
            return status;
        }
    }
    progress_break(&r->progress);
    if (!r->saved) { /* a signal came before the first step, or while a sample was printed */
        const int status = save(r, e);
        if (status != RUN_DONE)
            return status;
    }
    if (r->state.step == steps || r->target_reached) {
        print_summary(r);
        return RUN_DONE;
    }
    printf("\nstopped by signal %d after step %zu of %zu; go on with\n  ./train_gpt --resume --out %s\n",
           (int)stop_signal, r->state.step, steps, r->out);
    return 128 + (int)stop_signal;
}

/* --steps 0 */
static int evaluate_and_sample(Run *r, Error *e)
{
    if (can_validate(r)) {
        double loss;
        if (evaluate(r, &loss, e) != 0)
            return RUN_FAILED;
        printf("val loss  %.6f", loss);
        if (r->corpus.has_floor)
            printf(", %.4f above the floor", loss - r->corpus.floor);
        printf("\n");
    }
    r->progress = progress_make(stdout, 0, 0, 0);
    return sample_due(r, true) && print_sample(r, e) != 0 ? RUN_FAILED : RUN_DONE;
}

/* Resolves all that the command asks for before anything is made; what fails here is a wrong command. */
static int resolve(Run *r, size_t *optim_bytes, Error *e)
{
    Options *o = r->o;
    if (check_device(o, e) != 0 || (o->resume && read_record(r, e) != 0) || check_recompute(o, e) != 0)
        return -1;
    if (o->threads > 0)
        threads_set(o->threads);
    o->optim.steps = o->schedule.steps > 0 ? o->schedule.steps : SIZE_MAX / 2; /* without training any length will do */
    if (resolve_model(r, e) != 0 || (o->batch_size > 0 ? resolve_batch(r, e) : check_auto_batch(r, e)) != 0 ||
        check_samples(r, e) != 0 || plan_optim(r, o->list_groups, optim_bytes, e) != 0)
        return -1;
    const bool training = o->schedule.steps > 0 && !o->list_groups;
    const bool validates = o->val_every > 0 && o->val_tokens > 0 && (o->train == NULL || o->val != NULL);
    if (o->text != NULL && (o->train != NULL || o->val != NULL))
        return error_set(e, "--text goes without --train and --val: it holds out its own last tenth");
    if (training && o->train == NULL && o->val != NULL)
        return error_set(e, "--val without --train: give shards to train on, or --steps 0 to evaluate only");
    if (training && !isnan(o->target_loss) && !validates)
        return error_set(e, "--target-loss needs a validation: --val, and --val-every and --val-tokens above 0");
    return training ? resolve_out(r, e) : 0;
}

static int run_inside(Run *r, Error *e)
{
    Options *o = r->o;
    size_t optim_bytes = 0;
    if (o->resume && o->out != NULL && access(o->out, F_OK) == 0 && files_lock_dir(o->out, &r->lock, e) != 0)
        return RUN_FAILED;
    if (resolve(r, &optim_bytes, e) != 0)
        return RUN_WRONG_COMMAND;
    if (o->list_groups)
        return RUN_DONE;
    if (gpt_probe(e) != 0)
        return RUN_FAILED;
    const bool training = o->schedule.steps > 0;
    if (resolve_dtype(r, e) != 0)
        return RUN_WRONG_COMMAND;
    if (o->batch_size == 0 && (choose_batch(r, training ? optim_bytes : 0, e) != 0 || resolve_batch(r, e) != 0))
        return RUN_FAILED;
    const GptSetup setup = setup_of(r);
    const size_t model_bytes = gpt_memory_needed(&r->config, &setup);
    const size_t needed = training && model_bytes < SIZE_MAX - optim_bytes ? model_bytes + optim_bytes : model_bytes;
    if (check_memory(r, needed, e) != 0 || corpus_open(o, r->config.V, &r->corpus, e) != 0 || make_model(r, e) != 0)
        return RUN_FAILED;
    if (!training) {
        print_banner(r, needed);
        return evaluate_and_sample(r, e);
    }
    if (make_training(r, e) != 0 || files_make_dirs(r->out, e) != 0 ||
        (!o->resume && files_lock_dir(r->out, &r->lock, e) != 0) || open_out(r, e) != 0)
        return RUN_FAILED;
    print_banner(r, needed);
    return train(r, e);
}

int run_main(Options *o, Error *e)
{
    Run r = {.o = o, .lock = -1};
    int status = run_inside(&r, e);
    Error fault;
    if (metrics_close(&r.log, &fault) != 0 && status == RUN_DONE) {
        *e = fault;
        status = RUN_FAILED;
    }
    files_unlock_dir(&r.lock);
    loader_free(r.loader);
    diagnose_free(r.diagnosis);
    optim_free(r.optim);
    gpt_free(r.gpt);
    corpus_close(&r.corpus);
    free(r.inputs);
    free(r.targets);
    return status;
}
