#include "train/run_private.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/random.h"
#include "files/files.h"
#include "train/peak.h"
#include "train/stop.h"
#include "train/version.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --------------------------------------------------------------------------------------------------------------
 * Before the first step
 */

/* Room for so many inputs and targets. */
static int make_batch(Run *r, size_t tokens, Error *e)
{
    free(r->inputs);
    free(r->targets);
    r->inputs = malloc(tokens * sizeof *r->inputs);
    r->targets = malloc(tokens * sizeof *r->targets);
    return r->inputs != NULL && r->targets != NULL ? 0
                                                   : error_set(e, "out of memory for a batch of %zu tokens", tokens);
}

static int make_model(Run *r, Error *e)
{
    const Plan *p = r->plan;
    if (gpt_create(&p->config, &p->setup, &r->gpt, e) != 0 || make_batch(r, p->setup.B * p->setup.T, e) != 0)
        return -1;
    if (p->weights != NULL)
        return checkpoint_read_model(p->weights, r->gpt, e);
    return gpt_init(r->gpt, p->options.seed, e);
}

/* Refuses a state that counts other steps than the plan's, and one with nothing left to do. */
static int check_state(const Run *r, Error *e)
{
    const Plan *p = r->plan;
    const CheckpointState *s = &r->state;
    const double target = p->options.target_loss;
    if (s->step > SIZE_MAX / p->tokens_per_step || s->tokens != plan_tokens_before(p, s->step) ||
        s->tokens % p->setup.T != 0 || s->loader_position != s->tokens / p->setup.T)
        return error_set(e, "%s: step %zu, %llu tokens and data position %llu do not fit steps of %zu tokens",
                         p->checkpoint, s->step, (unsigned long long)s->tokens, (unsigned long long)s->loader_position,
                         p->tokens_per_step);
    if (s->step > p->options.schedule.steps ||
        (s->step == p->options.schedule.steps && !validation_due(r) && !tasks_due(r, true)))
        return error_set(e, "the run in %s is at step %zu of %zu: nothing is left to do (raise --steps to continue)",
                         r->out, s->step, p->options.schedule.steps);
    if (s->val_loss <= target)
        return error_set(
            e,
            "the run in %s has reached its target: %.4f in step %zu; nothing is left to do (to continue, lower "
            "--target-loss)",
            r->out, s->val_loss, s->val_step);
    return 0;
}

/* Rules that have a schedule of their own. */
static void note_own_schedules(Run *r)
{
    for (size_t i = 0; i < optim_group_count(r->optim); i++) {
        const OptimGroupInfo group = optim_group_info(r->optim, i);
        if (group.own_schedule) {
            notes_add(&r->notes,
                      "%s has a learning rate of its own: --schedule, --warmup and --cooldown do not change it",
                      group.rule);
            return;
        }
    }
}

/* Rules that want more than the step's gradient. */
static void note_passes(Run *r)
{
    size_t every = 1;
    while (optim_wants_drawn(r->optim, 0) && !optim_wants_drawn(r->optim, every))
        every++;
    if (optim_wants_drawn(r->optim, 0))
        notes_add(&r->notes,
                  "every %zu steps the optimizer takes the gradient of labels that the model draws: as long as a step, "
                  "so that %zu take as long as %zu",
                  every, every, every + 1);
    if (optim_wants_previous(r->optim, 0))
        notes_add(&r->notes, "in every step the optimizer takes the gradient at the last parameters, too: it takes "
                             "about twice as long");
}

/* More or fewer steps than before move the schedule. */
static void note_schedule(Run *r)
{
    const Schedule *now = &r->plan->options.schedule;
    Schedule before = *now;
    before.steps = r->plan->steps_before;
    if (r->state.step == 0 || r->state.step >= now->steps ||
        schedule_factor(&before, r->state.step) == schedule_factor(now, r->state.step))
        return;
    const OptimGroupInfo hidden = optim_group_info(r->optim, 0);
    const double lr = hyper(&hidden.hyper, HYPER_LR) * hidden.sensitivity;
    if (hidden.own_schedule)
        return;
    notes_add(&r->notes, "--steps was %zu and is %zu: the learning rate, %.3g in step %zu, goes on at %.3g",
              before.steps, now->steps, lr * schedule_factor(&before, r->state.step - 1), r->state.step,
              lr * schedule_factor(now, r->state.step));
}

/* Refuses to go on with other data than before. */
static int check_data(Run *r, Error *e)
{
    Json *state;
    if (checkpoint_read_json(r->plan->checkpoint, &state, e) != 0)
        return -1;
    const Json *identity = json_get(state, "data");
    int status = 0;
    if (identity != NULL)
        status = corpus_compare(r->data, identity, &r->notes, e);
    else
        notes_add(&r->notes, "an older checkpoint: that the data are the same as before could not be checked");
    json_free(state);
    return status;
}

static int resume_training(Run *r, Error *e)
{
    int status = check_data(r, e);
    if (status == 0)
        status = checkpoint_read_state(r->plan->checkpoint, r->optim, &r->state, e);
    if (comm_agree(r->comm, status, e) != 0)
        return -1;
    optim_hide(r->optim); /* the checkpoint has the weights that were shown */
    note_schedule(r);
    return check_state(r, e);
}

/* A line of a text: what it says without its indentation and the comma. */
typedef struct Line {
    const char *text;
    int length; /* -1: there is none */
} Line;

static Line line_at(const char *text)
{
    text += strspn(text, " \n");
    const int length = (int)strcspn(text, "\n");
    return (Line){text, *text == '\0' ? -1 : length > 0 && text[length - 1] == ',' ? length - 1 : length};
}

static const char *next_line(Line line) { return line.text + strcspn(line.text, "\n"); }

/* The line of a text that begins with the same key: all up to a colon or, of an object, all. */
static Line line_like(const char *text, Line line)
{
    const char *colon = line.text[0] != '{' ? memchr(line.text, ':', (size_t)line.length) : NULL;
    const size_t key = colon != NULL ? (size_t)(colon - line.text) : (size_t)line.length;
    Line like = line_at(text);
    while (like.length >= 0 && strncmp(like.text, line.text, key) != 0)
        like = line_at(next_line(like));
    return like;
}

static bool same_line(Line a, Line b) { return a.length == b.length && strncmp(a.text, b.text, (size_t)a.length) == 0; }

/* The first line of rank i's text that rank 0 has otherwise, or the other way round. */
static int compare_texts(const char *first, const char *other, size_t i, Error *e)
{
    for (Line b = line_at(other); b.length >= 0; b = line_at(next_line(b))) {
        const Line a = line_like(first, b);
        if (a.length < 0)
            return error_set(e, "the ranks must do the same: rank %zu has %.*s, which rank 0 has not", i, b.length,
                             b.text);
        if (!same_line(a, b))
            return error_set(e, "the ranks must do the same: rank %zu has %.*s where rank 0 has %.*s", i, b.length,
                             b.text, a.length, a.text);
    }
    for (Line a = line_at(first); a.length >= 0; a = line_at(next_line(a)))
        if (line_like(other, a).length < 0)
            return error_set(e, "the ranks must do the same: rank %zu lacks %.*s, which rank 0 has", i, a.length,
                             a.text);
    if (strcmp(first, other) != 0)
        return error_set(e, "the ranks must do the same: rank %zu has the data of rank 0 in another order", i);
    return 0;
}

/* Collective: refuses ranks that have another text than rank 0, naming the first line that differs. */
static int check_same(Comm *comm, const char *mine, Error *e)
{
    const Ranks ranks = comm_ranks(comm);
    if (ranks.world == 1)
        return 0;
    const size_t most = comm_most(comm, strlen(mine) + 1);
    char *all = calloc(ranks.world, most), *padded = calloc(1, most);
    int status = comm_agree(comm, all != NULL && padded != NULL ? 0 : error_set(e, "out of memory"), e);
    if (status == 0) {
        strcpy(padded, mine);
        comm_exchange(comm, padded, most, all);
        for (size_t i = 1; i < ranks.world && status == 0; i++)
            status = compare_texts(all, all + i * most, i, e);
        status = comm_agree(comm, status, e);
    }
    free(all);
    free(padded);
    return status;
}

/* Collective, once the model and the data are there: refuses ranks that have others than rank 0. */
static int check_same_model(const Run *r, Error *e)
{
    const GptTable *table = gpt_table(r->gpt);
    const Tokenizer *tokenizer = r->plan->tokenizer;
    char text[PATH_MOST + 512], parameters[HASH_TEXT], tables[HASH_TEXT], tokens[HASH_TEXT];
    uint64_t evaluation = 0;
    Hash hash = hash_begin();
    if (r->plan->ranks.world == 1)
        return 0;
    float *host = malloc(gpt_table_largest(table) * sizeof *host);
    int status = host != NULL ? tasks_hash(r->tasks, &evaluation, e) : error_set(e, "out of memory");
    status = comm_agree(r->comm, status, e);
    for (const Tensor *t = table->tensors; t < table->tensors + table->count && status == 0; t++) {
        gpt_read(r->gpt, GPT_PARAMS, t, host);
        hash_add(&hash, host, tensor_size(t) * sizeof *host);
    }
    free(host);
    hash_format(hash_end(&hash), parameters);
    hash_format(tokenizer != NULL ? tokenizer_hash(tokenizer) : 0, tables);
    hash_format(evaluation, tokens);
    snprintf(text, sizeof text, "checkpoint: %s\nparameters: %s\ntokenizer: %s\nevaluation: %s\n", r->plan->checkpoint,
             parameters, tables, tokens);
    return status != 0 ? -1 : check_same(r->comm, text, e);
}

/* The same program with the same options. */
static int check_same_command(const Options *o, Error *e)
{
    char *text = NULL;
    size_t size = 0;
    if (comm_ranks(o->optim.comm).world == 1)
        return 0;
    FILE *to = open_memstream(&text, &size);
    int status = 0;
    if (to != NULL) {
        fprintf(to, "train_gpt %s (%s)\n%s\n", TRAIN_GPT_VERSION, train_gpt_source,
                gpt_kind() == GPT_ON_CPU ? "a CPU" : "a GPU");
        options_write(o, to);
    }
    if (to == NULL || fclose(to) != 0 || text == NULL)
        status = error_set(e, "out of memory");
    status = comm_agree(o->optim.comm, status, e);
    if (status == 0)
        status = check_same(o->optim.comm, text, e);
    free(text);
    return status;
}

static size_t sequences_of(const void *plan, size_t step)
{
    return plan_tokens_of(plan, step) / ((const Plan *)plan)->setup.T;
}

static int make_optim(Run *r, Error *e)
{
    const Options *o = &r->plan->options;
    const GptTable *table = gpt_table(r->gpt);
    const Arenas arenas = gpt_arenas(r->gpt);
    if (optim_create(&r->plan->options.optim, table->tensors, table->count, &arenas, &r->optim, e) != 0 ||
        gradients_create(r->gpt, r->optim, r->comm, plan_most_blocks(r->plan), &r->gradients, e) != 0 ||
        corpus_identity(&r->corpus, &r->data, e) != 0)
        return -1;
    r->scratch = malloc(gpt_table_largest(table) * sizeof *r->scratch);
    if (r->scratch == NULL)
        return error_set(e, "out of memory for a copy of a tensor");
    r->twice = optim_wants_drawn(r->optim, 0) || optim_wants_previous(r->optim, 0);
    if (r->twice && make_batch(r, r->plan->tokens_per_step / r->plan->ranks.world, e) != 0)
        return -1;
    if (r->plan->trains) {
        note_own_schedules(r);
        note_passes(r);
    }
    if (o->qk_clip > 0 && qk_clip_create(r->gpt, r->optim, o->qk_clip, &r->qk_clip, e) != 0)
        return -1;
    return o->diagnose > 0 ? diagnose_create(r->optim, table->tensors, table->count, &arenas, &r->diagnosis, e) : 0;
}

static int make_loader(Run *r, Error *e)
{
    const Plan *p = r->plan;
    const LoaderConfig config = {.T = p->setup.T,
                                 .seed = p->options.seed,
                                 .rank = p->ranks.rank,
                                 .world = p->ranks.world,
                                 .sequences = sequences_of,
                                 .of = p,
                                 .step = r->state.step};
    return loader_create(r->corpus.train, &config, r->state.loader_position, p->setup.B, &r->loader, e);
}

/* Collective. */
static int make_training(Run *r, Error *e)
{
    const Options *o = &r->plan->options;
    if (comm_agree(r->comm, make_optim(r, e), e) != 0 || check_same(r->comm, r->data, e) != 0)
        return -1;
    r->state = (CheckpointState){.val_loss = (double)NAN, .best_loss = (double)NAN};
    int status = o->resume ? resume_training(r, e) : 0;
    if (status == 0)
        status = optim_check_parameters(r->optim, e);
    r->saved = o->resume;
    if (status == 0)
        status = make_loader(r, e);
    return comm_agree(r->comm, status, e);
}

/* Makes the directory of a new run and locks it. One chosen by us gets a number if another run has just taken the
 * name. */
static int make_out(Run *r, Error *e)
{
    const Plan *p = r->plan;
    char parent[PATH_MOST];
    snprintf(parent, sizeof parent, "%.*s", (int)(strrchr(p->out, '/') != NULL ? strrchr(p->out, '/') - p->out : 0),
             p->out);
    if (parent[0] != '\0' && files_make_dirs(parent, e) != 0)
        return -1;
    for (int number = 2; mkdir(r->out, 0777) != 0; number++) {
        if (errno != EEXIST || p->options.out != NULL || number > 1000)
            return error_set(e, "%s: cannot be created: %s", r->out, strerror(errno));
        if ((size_t)snprintf(r->out, sizeof r->out, "%s-%d", p->out, number) >= sizeof r->out)
            return error_set(e, "%s: the path is too long", p->out);
    }
    return files_sync_dir(parent[0] != '\0' ? parent : ".", e) != 0 || files_lock_dir(r->out, &r->lock, e) != 0 ? -1
                                                                                                                : 0;
}

/* Says which lines of a log a crash has taken. */
static void note_gap(Run *r, const char *path, long long kept, size_t every)
{
    const long long expected = (long long)(r->state.step / every * every);
    if (kept < expected && expected > 0)
        notes_add(&r->notes, "%s: the rows after step %lld, up to %lld, are lost", path, kept > 0 ? kept : 0, expected);
}

static int open_out(Run *r, Error *e)
{
    const Options *o = &r->plan->options;
    char path[PATH_MOST + 16];
    struct stat info;
    long long kept;
    snprintf(path, sizeof path, "%s/diagnose.jsonl", r->out);
    if (o->resume && stat(path, &info) == 0) {
        if (metrics_drop_later(path, "", "{\"step\": ", r->state.step, &kept, e) != 0)
            return -1;
        if (o->diagnose > 0 && !options_gave(o, "diagnose"))
            note_gap(r, path, kept, o->diagnose);
    }
    snprintf(path, sizeof path, "%s/%s", r->out, EVALS_FILE);
    if (o->resume && stat(path, &info) == 0 && metrics_drop_later(path, EVALS_HEADER, "", r->state.step, &kept, e) != 0)
        return -1;
    snprintf(path, sizeof path, "%s/metrics.csv", r->out);
    if (metrics_open(&r->log, path, o->resume, r->state.step, &kept, e) != 0)
        return -1;
    if (o->resume)
        note_gap(r, path, kept, 1);
    if (o->tensorboard && metrics_open_events(&r->log, r->out, o->resume, r->state.step, e) != 0)
        return -1;
    return record_write(r, e);
}

/* --------------------------------------------------------------------------------------------------------------
 * A step
 */

/* The first parameter tensor that holds a NaN or Inf, or NULL. */
static const Tensor *bad_parameter(const Run *r)
{
    const GptTable *table = gpt_table(r->gpt);
    for (size_t i = 0; i < table->count; i++) {
        const Tensor *t = &table->tensors[i];
        bool finite = true;
        gpt_read(r->gpt, GPT_PARAMS, t, r->scratch);
        for (size_t j = 0; j < tensor_size(t); j++)
            finite = finite && isfinite(r->scratch[j]);
        if (!finite)
            return t;
    }
    return NULL;
}

/* Sets the message of a run that diverged in `step`, naming the parameter at fault or else the gradient. */
static int diverged(const Run *r, size_t step, const char *what, double value, Error *e)
{
    const Tensor *gradient = NULL, *parameter = bad_parameter(r);
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

/* Appends what the last step did to each hidden matrix. */
static int write_diagnosis(const Run *r, Error *e)
{
    char path[PATH_MOST + 16];
    snprintf(path, sizeof path, "%s/diagnose.jsonl", r->out);
    FILE *to = files_open_log(path, e);
    if (to == NULL)
        return -1;
    diagnose_write(r->diagnosis, r->state.step, to);
    return files_close_log(to, path, e);
}

/* Whether something other than the next step follows, whose time must not include pending GPU work. */
static bool pauses_after(const Run *r, size_t step)
{
    const Options *o = &r->plan->options;
    return step == o->schedule.steps || due(o->val_every, step) || due(o->sample_every, step) ||
           due(o->checkpoint_every, step) || due(o->eval_every, step) || due(o->diagnose, step);
}

/* Collective: whether a checkpoint is due after the last step, by its number or by rank 0's clock. */
static bool checkpoint_due(const Run *r)
{
    const Options *o = &r->plan->options;
    bool late = o->checkpoint_minutes > 0 && clock_seconds() - r->last_save >= 60 * o->checkpoint_minutes;
    comm_broadcast(r->comm, &late, sizeof late);
    return r->state.step > 0 && (due(o->checkpoint_every, r->state.step) || late);
}

void agree_on_signal(Run *r) { r->signal = (int)comm_most(r->comm, (size_t)stop_signal()); }

/* Of the labels that the model draws after a step. */
static uint64_t draw_key(uint64_t seed, size_t step) { return random_mix(random_mix(seed + 0x6c61626c) + step); }

/* Of the masks in a step. */
static uint64_t dropout_key(uint64_t seed, size_t step) { return random_mix(random_mix(seed + 0x64726f70) + step); }

/* What keeps a rank from its next micro-batch. */
enum { GOES_ON, HAS_SIGNAL, LACKS_DATA };

/* Where micro-batch i of a step begins in the inputs and targets. */
static size_t place_of(const Run *r, size_t i) { return r->twice ? i * r->plan->setup.B * r->plan->setup.T : 0; }

/* Reads the next micro-batch to `at` of the inputs and targets, unless it is there. Before the last of a step all ranks
 * agree that each has what it needs: from then on none may leave before the gradients are summed. */
static int next_batch(Run *r, size_t at, bool there, bool last, double *data_seconds, Error *e)
{
    const double begin = clock_seconds();
    int status = stop_signal() != 0 ? HAS_SIGNAL : GOES_ON;
    if (status == GOES_ON && !there &&
        loader_next(r->loader, r->plan->setup.B, r->inputs + at, r->targets + at, e) != 0)
        status = LACKS_DATA;
    *data_seconds += clock_seconds() - begin;
    return last || status != GOES_ON ? comm_agree(r->comm, status, e) : GOES_ON;
}

/* The gradient and the loss of the step's micro-batches, which are read, or `there` already. Returns GOES_ON, HAS_SIGNAL
 * or LACKS_DATA. */
static int accumulate(Run *r, bool there, double *loss, double *data_seconds, Error *e)
{
    const Options *o = &r->plan->options;
    const size_t B = r->plan->setup.B, T = r->plan->setup.T, step = r->state.step;
    const size_t batches = plan_batches_of(r->plan, step), first = r->plan->ranks.rank * batches;
    gradients_begin(r->gradients, batches, plan_blocks_of(r->plan, step));
    for (size_t i = 0; i < batches; i++) {
        const size_t at = place_of(r, i);
        const int status = next_batch(r, at, there, i + 1 == batches, data_seconds, e);
        if (status != GOES_ON)
            return status;
        gpt_dropout(r->gpt, (GptDropout){o->dropout, dropout_key(o->seed, step), (first + i) * B});
        gradients_add(r->gradients, r->inputs + at, r->targets + at, B, T, 1.0 / (double)plan_tokens_of(r->plan, step));
    }
    gpt_dropout(r->gpt, (GptDropout){0}); /* neither validation nor samples have any */
    *loss = gradients_finish(r->gradients) / (double)plan_tokens_of(r->plan, step);
    return GOES_ON;
}

/* The factor that clips gradients of this norm. */
static double clipping(const Run *r, double norm)
{
    const double clip = r->plan->options.clip;
    return clip > 0 && norm > clip ? clip / norm : 1;
}

/* Collective: reads the step's micro-batches and gives the optimizer their gradient where the last step's was taken,
 * clipped by its own norm, which becomes *norm. Returns what accumulate returns. */
static int give_previous(Run *r, double *norm, double *data_seconds, Error *e)
{
    double loss;
    optim_swap_previous(r->optim);
    const int status = accumulate(r, false, &loss, data_seconds, e);
    if (status == GOES_ON) {
        *norm = optim_grad_norm(r->optim, NULL);
        optim_take_previous(r->optim, clipping(r, *norm));
    }
    optim_swap_previous(r->optim);
    return status;
}

/* Collective, after step number `step` (from 0): gives the optimizer the gradient of labels that the model draws, with
 * the step's inputs and without dropout. Returns the seconds that it took. */
static double give_drawn(Run *r, size_t step)
{
    const Options *o = &r->plan->options;
    const size_t B = r->plan->setup.B, T = r->plan->setup.T, labels = plan_tokens_of(r->plan, step);
    const size_t batches = plan_batches_of(r->plan, step), first = r->plan->ranks.rank * batches;
    const double begin = clock_seconds();
    gradients_begin(r->gradients, batches, plan_blocks_of(r->plan, step));
    for (size_t i = 0; i < batches; i++)
        gradients_add_drawn(r->gradients, r->inputs + place_of(r, i), r->targets, B, T, 1.0 / (double)labels,
                            draw_key(o->seed, step), (first + i) * B * T);
    gradients_finish(r->gradients);
    optim_take_drawn(r->optim, clipping(r, optim_grad_norm(r->optim, NULL)), labels);
    gpt_times(r->gpt); /* these passes are not the next step's */
    return clock_seconds() - begin;
}

/* One update or, if a signal comes before all micro-batches are done, none. Returns RUN_DONE, RUN_FAILED or
 * RUN_DIVERGED; the parameters are then those of the last whole step. */
static int train_step(Run *r, Metrics *m, Error *e)
{
    const size_t step = r->state.step, total = plan_tokens_of(r->plan, step);
    const bool diagnose = due(r->plan->options.diagnose, step + 1);
    if (diagnose) {
        optim_gather(r->optim);
        diagnose_before(r->diagnosis);
    }
    const double begin = clock_seconds(), factor = schedule_factor(&r->plan->options.schedule, step);
    const bool again = optim_wants_previous(r->optim, step + 1);
    double data = 0, loss = 0, previous = 0;
    comm_cost(r->comm); /* from here on */
    optim_begin(r->optim, factor, schedule_factor(&r->plan->aux_schedule, step));
    int status = again ? give_previous(r, &previous, &data, e) : GOES_ON;
    if (status == GOES_ON && !isfinite(previous) && !comm_lost(r->comm, e))
        return diverged(r, step + 1, "gradient norm at the last parameters", previous, e);
    if (r->qk_clip != NULL)
        qk_clip_begin(r->qk_clip);
    if (status == GOES_ON)
        status = accumulate(r, again, &loss, &data, e);
    if (comm_lost(r->comm, e))
        return RUN_FAILED;
    if (status != GOES_ON) {
        gpt_dropout(r->gpt, (GptDropout){0});
        optim_abandon(r->optim);
        agree_on_signal(r);
        return status == HAS_SIGNAL ? RUN_DONE : RUN_FAILED;
    }
    const double update = clock_seconds(), norm = optim_grad_norm(r->optim, NULL);
    const GptTimes times = gpt_times(r->gpt);
    const QkClipStep clipped = r->qk_clip != NULL ? qk_clip_end(r->qk_clip) : (QkClipStep){0};
    if (comm_lost(r->comm, e))
        return RUN_FAILED;
    if (!isfinite(loss))
        return diverged(r, step + 1, "loss", loss, e);
    if (!isfinite(norm))
        return diverged(r, step + 1, "gradient norm", norm, e);
    if (isnan(clipped.largest))
        return diverged(r, step + 1, "largest score of attention", clipped.largest, e);
    optim_step(r->optim, clipping(r, norm));
    if (pauses_after(r, step + 1))
        gpt_wait(r->gpt);
    if (comm_lost(r->comm, e))
        return RUN_FAILED;
    const double end = clock_seconds();
    const CommCost cost = comm_cost(r->comm);
    r->state.step++;
    r->state.tokens += total;
    r->state.seconds += end - begin;
    r->state.loader_position = loader_position(r->loader);
    r->stepped += end - begin;
    r->waited += cost.seconds;
    r->sent = cost.sent;
    const OptimGroupInfo hidden = optim_group_info(r->optim, 0);
    *m = (Metrics){.step = r->state.step,
                   .tokens = r->state.tokens,
                   .seconds = r->state.seconds,
                   .train_loss = loss,
                   .val_loss = (double)NAN,
                   .grad_norm = norm,
                   .lr = hyper(&hidden.hyper, HYPER_LR) * hidden.sensitivity * (hidden.own_schedule ? 1 : factor),
                   .tokens_per_second = (double)total / (end - begin),
                   .data_ms = 1e3 * data,
                   .forward_ms = 1e3 * times.forward,
                   .backward_ms = 1e3 * times.backward,
                   .optimizer_ms = 1e3 * (gpt_kind() == GPT_ON_CPU ? end - update : times.before),
                   .mfu = progress_mfu(&r->progress, (double)total / (end - begin)),
                   .wait_ms = r->comm != NULL ? 1e3 * cost.seconds : (double)NAN,
                   .largest_score = r->qk_clip != NULL ? clipped.largest : (double)NAN,
                   .clipped_heads = r->qk_clip != NULL ? (double)clipped.heads : (double)NAN};
    if (diagnose) {
        optim_gather(r->optim);
        diagnose_after(r->diagnosis);
    }
    if (optim_wants_drawn(r->optim, r->state.step)) {
        const double seconds = give_drawn(r, step);
        r->stepped += seconds;
        r->state.seconds += seconds;
        m->seconds = r->state.seconds;
    }
    return comm_lost(r->comm, e) ? RUN_FAILED : RUN_DONE;
}

/* Collective. */
static int save(Run *r, Error *e)
{
    r->saved = true;
    r->last_save = clock_seconds();
    optim_gather(r->optim);
    const Tensor *bad = bad_parameter(r);
    if (bad != NULL) {
        error_set(e,
                  "diverged: after step %zu the parameter %s is not finite; it was not saved. Checkpoints in %s are "
                  "untouched",
                  r->state.step, bad->name, r->out);
        return RUN_DIVERGED;
    }
    Error fault;
    const int synced = writes(r) ? metrics_sync(&r->log, &fault) : 0; /* its rows before what counts on them */
    optim_show(r->optim);
    optim_gather(r->optim);
    comm_set_patience(r->comm, PATIENCE);
    const int status =
        checkpoint_write(writes(r) ? r->out : NULL, r->gpt, r->optim, r->plan->tokenizer, &r->state, r->data, e);
    comm_set_patience(r->comm, 1);
    optim_hide(r->optim);
    if (synced != 0)
        notes_add(&r->notes, "%s", fault.text); /* the next row ends the run */
    if (status == 0 && writes(r) && checkpoint_prune(r->out, &r->state, r->plan->options.keep, &fault) != 0)
        notes_add(&r->notes, "%s; the run goes on", fault.text);
    record_notes(r);
    return status == 0 ? RUN_DONE : RUN_FAILED;
}

/* --------------------------------------------------------------------------------------------------------------
 * The run
 */

/* Validates if that is due. Returns RUN_DONE, RUN_FAILED or RUN_DIVERGED; *loss stays as it is without a validation. */
static int validate(Run *r, double *loss, Error *e)
{
    double measured;
    if (!validation_due(r))
        return RUN_DONE;
    if (evaluate_shown(r, &measured, e) != 0)
        return RUN_FAILED;
    if (!isfinite(measured))
        return r->signal != 0 ? RUN_DONE : diverged(r, r->state.step, "validation loss", measured, e);
    *loss = measured;
    note_validation(r, measured);
    return RUN_DONE;
}

/* Logs a step: as a new row, or as the validation that a row lacked. */
static int log_step(Run *r, const Metrics *m, bool has_row, Error *e)
{
    if (has_row)
        return metrics_amend(&r->log, m->val_loss, e);
    if (metrics_write(&r->log, m, e) != 0)
        return -1;
    const bool measured = due(r->plan->options.diagnose, m->step) && !isnan(m->train_loss);
    return measured ? write_diagnosis(r, e) : 0;
}

/* Everything that follows an update: validation, log, checkpoint, sample. has_row: it is in the log already. */
static int after_step(Run *r, Metrics *m, bool has_row, Error *e)
{
    const bool last = r->state.step == r->plan->options.schedule.steps;
    Error fault;
    r->saved = false;
    int status = validate(r, &m->val_loss, e), logged = 0;
    const bool happened = !isnan(m->val_loss) || !isnan(m->train_loss); /* no: a signal cut the validation it was for */
    if (happened && writes(r)) {
        progress_step(&r->progress, m);
        logged = log_step(r, m, has_row, &fault);
    }
    if (comm_agree(r->comm, logged, &fault) != 0 && status == RUN_DONE) {
        *e = fault;
        status = RUN_FAILED;
    }
    const bool ends = last || r->target_reached;
    agree_on_signal(r);
    if (status == RUN_DONE && r->signal == 0 && tasks_due(r, ends) && run_tasks(r, ends, e) != 0)
        status = RUN_FAILED;
    const bool stop = ends || r->signal != 0;
    if (status == RUN_DONE && (checkpoint_due(r) || stop))
        status = save(r, e);
    if (status == RUN_DONE && r->signal == 0 && r->state.step > 0 && sample_due(r, stop) && print_sample(r, e) != 0)
        status = RUN_FAILED;
    return comm_lost(r->comm, e) ? RUN_FAILED : status;
}

/* The validation and evaluation before the first step, or those that a resumed run owes. */
static int validate_start(Run *r, Error *e)
{
    Metrics m = metrics_none(r->state.step, r->state.tokens, r->state.seconds);
    const bool owed = validation_due(r) || tasks_due(r, r->state.step == r->plan->options.schedule.steps);
    return owed ? after_step(r, &m, r->log.last >= 0, e) : RUN_DONE;
}

static bool is_over(const Run *r)
{
    const bool last = r->state.step == r->plan->options.schedule.steps;
    return (r->target_reached || (last && !validation_due(r))) && !tasks_due(r, true);
}

/* Steps until the run is over, a signal comes or something fails. */
static int train_steps(Run *r, Error *e)
{
    int status = validate_start(r, e);
    while (status == RUN_DONE && !is_over(r) && r->signal == 0) {
        const size_t before = r->state.step;
        Metrics m;
        status = train_step(r, &m, e);
        if (status == RUN_DONE && r->state.step > before)
            status = after_step(r, &m, false, e);
    }
    progress_break(&r->progress);
    return status;
}

/* Saves what a run that ends has not yet saved; a run that failed keeps its error, with what became of the weights. */
static int save_last(Run *r, int status, Error *e)
{
    Error fault;
    if (comm_lost(r->comm, &fault)) {
        char latest[PATH_MOST + 16];
        snprintf(latest, sizeof latest, "%s/latest", r->out);
        if (access(latest, F_OK) == 0)
            error_set(e, "%s. To continue, ./train_gpt --resume --out %s", fault.text, r->out);
        else
            *e = fault;
        return RUN_FAILED;
    }
    if (r->saved || status == RUN_DIVERGED)
        return status;
    if (status == RUN_DONE)
        return save(r, e);
    const int saved = save(r, &fault);
    const Error cause = *e;
    if (saved == RUN_DONE)
        error_set(e, "%s. Step %zu is saved; to continue, ./train_gpt --resume --out %s", cause.text, r->state.step,
                  r->out);
    else
        error_set(e, "%s. Nor could step %zu be saved: %s", cause.text, r->state.step, fault.text);
    return status;
}

static int train(Run *r, Error *e)
{
    const size_t steps = r->plan->options.schedule.steps;
    r->progress = progress_make(stdout, steps, gpt_flops_per_token(&r->plan->config, r->plan->setup.T),
                                (double)r->plan->ranks.world * peak_flops(gpt_device_name(), r->plan->setup.dtype));
    r->last_save = clock_seconds();
    const int status = save_last(r, train_steps(r, e), e);
    if (status != RUN_DONE)
        return status;
    if (is_over(r)) {
        record_summary(r);
        return RUN_DONE;
    }
    printf("\nstopped by signal %d after step %zu of %zu; resume with\n  ./train_gpt --resume --out %s\n", r->signal,
           r->state.step, steps, r->out);
    return 128 + r->signal;
}

/* The built-in stories say nothing of a model that was trained on another text. */
static void drop_foreign_stories(Run *r, const Json *state)
{
    const Json *identity = json_get(state, "data");
    Error ignored;
    if (identity != NULL && corpus_compare(r->data, identity, NULL, &ignored) == 0)
        return;
    notes_add(&r->notes, "not validated: %s the built-in stories that %s was trained on; give --text or --val",
              identity != NULL ? "it was not" : "nothing says that it was", r->plan->weights);
    tokens_close(r->corpus.val);
    r->corpus.val = NULL;
    r->corpus.has_floor = false;
}

/* What a checkpoint knows of itself, for validation and samples without training. */
static int meet_checkpoint(Run *r, Error *e)
{
    const Options *o = &r->plan->options;
    const bool on_stories = r->plan->weights != NULL && o->text == NULL && o->train == NULL && o->val == NULL;
    Json *state = NULL;
    Error none;
    if ((o->resume || on_stories) && corpus_identity(&r->corpus, &r->data, e) != 0)
        return -1;
    if (o->resume && check_data(r, e) != 0)
        return -1;
    if (r->plan->weights != NULL && checkpoint_read_json(r->plan->weights, &state, &none) == 0)
        json_size(json_get(state, "step"), &r->state.step);
    if (on_stories && r->corpus.val != NULL)
        drop_foreign_stories(r, state);
    json_free(state);
    return 0;
}

/* --steps 0 */
static int evaluate_and_sample(Run *r, Error *e)
{
    if (can_validate(r)) {
        double loss;
        if (evaluate(r, &loss, e) != 0)
            return RUN_FAILED;
        if (!isfinite(loss)) {
            error_set(e, "the validation loss is %g", loss);
            return RUN_FAILED;
        }
        printf("val loss  %.6f", loss);
        if (r->corpus.has_floor)
            printf(", %.4f above the floor", loss - r->corpus.floor);
        printf("\n");
    }
    r->progress = progress_make(stdout, 0, 0, 0);
    if (tasks_due(r, true) && run_tasks(r, true, e) != 0)
        return RUN_FAILED;
    return sample_due(r, true) && print_sample(r, e) != 0 ? RUN_FAILED : RUN_DONE;
}

/* Everything that a rank needs before it trains or evaluates. */
static int open_all(Run *r, Error *e)
{
    const Plan *p = r->plan;
    if (corpus_open(&p->options, p->tokenizer, p->config.V, p->trains, &r->corpus, e) != 0) {
        if (p->options.resume) {
            const Error cause = *e;
            error_set(e, "%s (where the data were moved, give their new place with --text, or --train and --val)",
                      cause.text);
        }
        return -1;
    }
    return tasks_open(p->options.eval, p->tokenizer, p->config.V, &r->tasks, e) != 0 || make_model(r, e) != 0 ? -1 : 0;
}

/* Collective; rank 0 alone has anything to do. */
static int make_files(Run *r, Error *e)
{
    int status = 0;
    if (writes(r) && ((!r->plan->options.resume && make_out(r, e) != 0) || open_out(r, e) != 0))
        status = -1;
    comm_broadcast(r->comm, r->out, sizeof r->out); /* which may have got a number */
    return comm_agree(r->comm, status, e);
}

static int run_inside(Run *r, Error *e)
{
    const Plan *p = r->plan;
    if (comm_agree(r->comm, open_all(r, e), e) != 0 || check_same_model(r, e) != 0)
        return RUN_FAILED;
    if (!p->trains) {
        if (comm_agree(r->comm, meet_checkpoint(r, e), e) != 0)
            return RUN_FAILED;
        record_banner(r);
        return evaluate_and_sample(r, e);
    }
    if (make_training(r, e) != 0)
        return RUN_FAILED;
    stop_catch(); /* from here on there is something to save */
    if (make_files(r, e) != 0)
        return RUN_FAILED;
    record_banner(r);
    return train(r, e);
}

/* Collective: rank 0 locks the directory of a run that it is to continue. */
static int lock_resumed(Run *r, const Options *o, Error *e)
{
    int status = 0;
    if (o->resume && o->out != NULL && comm_ranks(r->comm).rank == 0 && access(o->out, F_OK) == 0)
        status = files_lock_dir(o->out, &r->lock, e);
    return comm_agree(r->comm, status, e);
}

static void run_free(Run *r)
{
    files_unlock_dir(&r->lock);
    loader_free(r->loader);
    diagnose_free(r->diagnosis);
    qk_clip_free(r->qk_clip);
    gradients_free(r->gradients);
    optim_free(r->optim);
    gpt_free(r->gpt);
    corpus_close(&r->corpus);
    tasks_close(r->tasks);
    free(r->data);
    free(r->scratch);
    free(r->inputs);
    free(r->targets);
    free(r);
}

int run_main(const Options *o, Error *e)
{
    Plan plan;
    Run *r = calloc(1, sizeof *r);
    Error fault;
    if (r == NULL) {
        error_set(e, "out of memory");
        return RUN_FAILED;
    }
    r->plan = &plan;
    r->comm = o->optim.comm;
    r->lock = -1;
    if (check_same_command(o, e) != 0) {
        free(r);
        return comm_lost(o->optim.comm, NULL) ? RUN_FAILED : RUN_WRONG_COMMAND;
    }
    if (lock_resumed(r, o, e) != 0) {
        free(r);
        return RUN_FAILED;
    }
    int status = plan_make(o, &plan, &r->notes, e);
    strcpy(r->out, plan.out);
    if (status == RUN_DONE && !o->list_groups)
        status = run_inside(r, e);
    if (metrics_close(&r->log, &fault) != 0 && status == RUN_DONE) {
        *e = fault;
        status = RUN_FAILED;
    }
    run_free(r);
    plan_free(&plan);
    return status;
}
