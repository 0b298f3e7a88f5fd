#include "train/run_private.h"

#include "base/clock.h"
#include "files/files.h"
#include "train/peak.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static volatile sig_atomic_t stop_signal;

static void on_signal(int number) { stop_signal = number; }

/* The first signal ends the run after the current step, a second one at once. */
static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART | (int)SA_RESETHAND};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* --------------------------------------------------------------------------------------------------------------
 * Before the first step
 */

static int make_model(Run *r, Error *e)
{
    const Plan *p = r->plan;
    const size_t B = p->setup.B, T = p->setup.T;
    if (gpt_create(&p->config, &p->setup, &r->gpt, e) != 0)
        return -1;
    r->inputs = malloc(B * T * sizeof *r->inputs);
    r->targets = malloc(B * T * sizeof *r->targets);
    if (r->inputs == NULL || r->targets == NULL)
        return error_set(e, "out of memory for a batch of %zu x %zu tokens", B, T);
    if (p->weights != NULL)
        return checkpoint_read_model(p->weights, r->gpt, e);
    gpt_init(r->gpt, p->options.seed);
    return 0;
}

static int make_training(Run *r, Error *e)
{
    const Plan *p = r->plan;
    const Options *o = &p->options;
    const GptTable *table = gpt_table(r->gpt);
    const Arenas arenas = gpt_arenas(r->gpt);
    if (optim_create(&o->optim, table->tensors, table->count, &arenas, &r->optim, e) != 0)
        return -1;
    r->state = (CheckpointState){.val_loss = (double)NAN};
    if (o->resume && checkpoint_read_state(p->checkpoint, r->optim, &r->state, e) != 0)
        return -1;
    if (o->resume)
        optim_hide(r->optim); /* the checkpoint has the weights that were shown */
    if (optim_check_parameters(r->optim, e) != 0)
        return -1;
    if (r->state.step >= o->schedule.steps)
        return error_set(e, "the run in %s is at step %zu of %zu: nothing is left to do (raise --steps to continue)",
                         o->out, r->state.step, o->schedule.steps);
    if (o->diagnose > 0 && diagnose_create(r->optim, table->tensors, table->count, &arenas, &r->diagnosis, e) != 0)
        return -1;
    r->first_step = r->state.step;
    r->saved = o->resume;
    const LoaderConfig config = {.T = p->setup.T, .seed = o->seed, .rank = p->ranks.rank, .world = p->ranks.world};
    return loader_create(r->corpus.train, &config, r->state.loader_position, p->setup.B, &r->loader, e);
}

static int open_out(Run *r, Error *e)
{
    char path[PATH_MOST + 16];
    struct stat info;
    snprintf(path, sizeof path, "%s/diagnose.jsonl", r->plan->out);
    if (r->plan->options.resume && stat(path, &info) == 0 &&
        metrics_drop_later(path, "", "{\"step\": ", r->state.step, e) != 0)
        return -1;
    snprintf(path, sizeof path, "%s/metrics.csv", r->plan->out);
    if (metrics_open(&r->log, path, r->plan->options.resume, r->state.step, e) != 0)
        return -1;
    return record_write(r, e);
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

/* Sets the message of a run that diverged in `step`, naming the parameter at fault or else the gradient. */
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
              step, what, value, kind, culprit != NULL ? culprit->name : "", r->plan->out);
    return RUN_DIVERGED;
}

static bool due(size_t every, size_t step) { return every > 0 && step % every == 0; }

/* Appends what the last step did to each hidden matrix. */
static int write_diagnosis(const Run *r, Error *e)
{
    char path[PATH_MOST + 16];
    snprintf(path, sizeof path, "%s/diagnose.jsonl", r->plan->out);
    FILE *to = fopen(path, "a");
    if (to == NULL)
        return error_set(e, "%s: cannot be opened for writing", path);
    diagnose_after(r->diagnosis);
    diagnose_write(r->diagnosis, r->state.step, to);
    const bool failed = ferror(to) != 0;
    return fclose(to) != 0 || failed ? error_set(e, "%s: cannot be written (is the disk full?)", path) : 0;
}

/* Whether something other than the next step follows, whose time must not include pending GPU work. */
static bool pauses_after(const Run *r, size_t step)
{
    const Options *o = &r->plan->options;
    return step == o->schedule.steps || due(o->val_every, step) || due(o->sample_every, step) ||
           due(o->checkpoint_every, step) || due(o->diagnose, step);
}

/* One update. Returns RUN_DONE, RUN_FAILED or RUN_DIVERGED. */
static int train_step(Run *r, Metrics *m, Error *e)
{
    const size_t step = r->state.step, B = r->plan->setup.B, total = r->plan->tokens_per_step;
    const bool diagnose = due(r->plan->options.diagnose, step + 1);
    if (diagnose)
        diagnose_before(r->diagnosis);
    const double begin = clock_seconds(), factor = schedule_factor(&r->plan->options.schedule, step);
    double data = 0;
    optim_begin(r->optim, factor);
    for (size_t i = 0; i < r->plan->micro_batches; i++) {
        const double t0 = clock_seconds();
        if (loader_next(r->loader, B, r->inputs, r->targets, e) != 0)
            return RUN_FAILED;
        data += clock_seconds() - t0;
        gpt_forward(r->gpt, r->inputs, B, r->plan->setup.T);
        gpt_backward(r->gpt, r->targets, 1.0 / (double)total, i == 0);
    }
    const double clip = r->plan->options.clip;
    const double update = clock_seconds(), norm = optim_grad_norm(r->optim, NULL);
    const double loss = gpt_loss_sum(r->gpt) / (double)total;
    const GptTimes times = gpt_times(r->gpt);
    if (!isfinite(loss))
        return diverged(r, step + 1, "loss", loss, e);
    if (!isfinite(norm))
        return diverged(r, step + 1, "gradient norm", norm, e);
    optim_step(r->optim, clip > 0 && norm > clip ? clip / norm : 1);
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
    return diagnose && write_diagnosis(r, e) != 0 ? RUN_FAILED : RUN_DONE;
}

static int save(Run *r, Error *e)
{
    const Tensor *bad = bad_parameter(r->gpt);
    if (bad != NULL) {
        error_set(e,
                  "diverged: after step %zu the parameter %s is not finite; it was not saved. Checkpoints in %s are "
                  "untouched",
                  r->state.step, bad->name, r->plan->out);
        return RUN_DIVERGED;
    }
    optim_show(r->optim);
    r->saved = checkpoint_write(r->plan->out, r->gpt, r->optim, &r->state, r->plan->options.keep, e) == 0;
    optim_hide(r->optim);
    return r->saved ? RUN_DONE : RUN_FAILED;
}

/* --------------------------------------------------------------------------------------------------------------
 * The run
 */

/* Estimated seconds for the remaining steps, from those of this process. */
static double seconds_left(const Run *r)
{
    const size_t done = r->state.step - r->first_step, left = r->plan->options.schedule.steps - r->state.step;
    return done > 0 ? (clock_seconds() - r->start) / (double)done * (double)left : 0;
}

/* Everything that follows an update: validation, log, checkpoint, sample. */
static int after_step(Run *r, Metrics *m, Error *e)
{
    const Options *o = &r->plan->options;
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
    const double none = (double)NAN;
    Metrics m = {0, 0, 0, none, none, none, none, none, none, none, none, none};
    if (!can_validate(r) || r->plan->options.val_every == 0)
        return 0;
    if (evaluate_shown(r, &m.val_loss, e) != 0)
        return -1;
    note_validation(r, m.val_loss);
    progress_step(&r->progress, &m, 0);
    return metrics_write(&r->log, &m, e);
}

static int train(Run *r, Error *e)
{
    const size_t steps = r->plan->options.schedule.steps;
    catch_signals();
    r->progress = progress_make(stdout, steps, gpt_flops_per_token(&r->plan->config, r->plan->setup.T),
                                peak_flops(gpt_device_name(), r->plan->setup.dtype));
    r->start = clock_seconds();
    if (!r->plan->options.resume && validate_start(r, e) != 0)
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
        record_summary(r);
        return RUN_DONE;
    }
    printf("\nstopped by signal %d after step %zu of %zu; resume with\n  ./train_gpt --resume --out %s\n",
           (int)stop_signal, r->state.step, steps, r->plan->out);
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

static int run_inside(Run *r, Error *e)
{
    const Plan *p = r->plan;
    if (corpus_open(&p->options, p->config.V, &r->corpus, e) != 0 || make_model(r, e) != 0)
        return RUN_FAILED;
    if (!p->trains) {
        record_banner(r);
        return evaluate_and_sample(r, e);
    }
    if (make_training(r, e) != 0 || files_make_dirs(p->out, e) != 0 ||
        (!p->options.resume && files_lock_dir(p->out, &r->lock, e) != 0) || open_out(r, e) != 0)
        return RUN_FAILED;
    record_banner(r);
    return train(r, e);
}

int run_main(const Options *o, Error *e)
{
    Plan plan;
    Run r = {.plan = &plan, .lock = -1};
    Error fault;
    if (o->resume && o->out != NULL && access(o->out, F_OK) == 0 && files_lock_dir(o->out, &r.lock, e) != 0)
        return RUN_FAILED;
    int status = plan_make(o, &plan, e);
    if (status == RUN_DONE && !o->list_groups)
        status = run_inside(&r, e);
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
    plan_free(&plan);
    return status;
}
