#include "train/run_private.h"

#include "files/files.h"
#include "train/sample.h"
#include "train/stop.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool can_validate(const Run *r) { return r->corpus.val != NULL && r->plan->options.val_tokens > 0; }

/* Losses of batches of windows: this rank's every world-th, 0 for the others'. 1: a signal came first. */
static int sum_windows(Run *r, size_t targets, double *sums, size_t batches, Error *e)
{
    const size_t B = r->plan->setup.B, T = r->plan->setup.T;
    for (size_t i = r->plan->ranks.rank; i < batches; i += r->plan->ranks.world) {
        if (stop_signal() != 0)
            return 1;
        if (windows_read(r->corpus.val, T, targets, i * B, B, r->inputs, r->targets, e) != 0)
            return -1;
        gpt_forward(r->gpt, r->inputs, B, T);
        sums[i] = gpt_loss(r->gpt, r->targets);
    }
    return 0;
}

int evaluate(Run *r, double *loss, Error *e)
{
    const size_t all = tokens_targets(r->corpus.val), wanted = r->plan->options.val_tokens,
                 targets = wanted < all ? wanted : all, B = r->plan->setup.B;
    const size_t batches = (windows_count(r->corpus.val, r->plan->setup.T, targets) + B - 1) / B;
    double *sums = calloc(batches + 1, sizeof *sums), sum = 0;
    int status = sums != NULL ? sum_windows(r, targets, sums, batches, e) : error_set(e, "out of memory");
    *loss = (double)NAN;
    status = comm_agree(r->comm, status, e);
    if (status == 0)
        comm_sum(r->comm, sums, batches);
    for (size_t i = 0; i < batches && status == 0; i++)
        sum += sums[i]; /* in their order, whoever had them */
    free(sums);
    agree_on_signal(r);
    if (comm_lost(r->comm, e) || status < 0)
        return -1;
    if (status > 0)
        return 0;
    *loss = sum / (double)targets;
    if (r->corpus.has_floor && *loss < r->corpus.floor - 3 * r->corpus.floor_error)
        return error_set(
            e,
            "the validation loss %.4f is more than three standard errors below the floor %.4f +- %.4f, which no "
            "model can beat: the targets have leaked into the inputs or the training text",
            *loss, r->corpus.floor, r->corpus.floor_error);
    return 0;
}

int evaluate_shown(Run *r, double *loss, Error *e)
{
    optim_show(r->optim);
    const int status = evaluate(r, loss, e);
    optim_hide(r->optim);
    return status;
}

bool validation_due(const Run *r)
{
    const Options *o = &r->plan->options;
    const CheckpointState *s = &r->state;
    return can_validate(r) && o->val_every > 0 && (s->step % o->val_every == 0 || s->step == o->schedule.steps) &&
           (isnan(s->val_loss) || s->val_step != s->step);
}

void note_validation(Run *r, double loss)
{
    CheckpointState *s = &r->state;
    const double target = r->plan->options.target_loss;
    if (!isnan(target) && loss <= target) {
        double at = (double)s->step, seconds = s->seconds;
        if (!isnan(s->val_loss) && s->val_loss > target) {
            const double share = (s->val_loss - target) / (s->val_loss - loss);
            at = (double)s->val_step + share * ((double)s->step - (double)s->val_step);
            seconds = s->val_seconds + share * (s->seconds - s->val_seconds);
        }
        progress_break(&r->progress);
        const double whole = floor(at), tokens = (double)plan_tokens_before(r->plan, (size_t)whole) +
                                                 (at - whole) * (double)plan_tokens_of(r->plan, (size_t)whole);
        printf("target    %.4f reached at step %.1f (interpolated), %.0f tokens, %.2f s of training\n", target, at,
               tokens, seconds);
        r->target_reached = true;
    }
    s->val_loss = loss;
    s->val_step = s->step;
    s->val_seconds = s->seconds;
}

bool tasks_due(const Run *r, bool last)
{
    const size_t every = r->plan->options.eval_every;
    return tasks_count(r->tasks) > 0 && r->state.evaluated != r->state.step + 1 &&
           (last || (every > 0 && r->state.step % every == 0));
}

static int run_tasks_into(Run *r, FILE *rows, LossTables *tables, Error *e)
{
    if (r->optim != NULL)
        optim_show(r->optim);
    int status = tasks_run(r->tasks, r->gpt, &r->plan->setup, r->comm, r->state.step, stdout, rows, tables, e);
    if (r->optim != NULL)
        optim_hide(r->optim);
    fflush(stdout);
    agree_on_signal(r);
    if (status == 0 && tables != NULL && r->signal == 0 && writes(r))
        status = loss_tables_write(tables, r->plan->options.loss_tables, r->corpus.train, e);
    return status;
}

/* Appends the rows of one step to the run's file, at once. */
static int append_rows(const Run *r, const char *rows, size_t size, Error *e)
{
    char path[PATH_MOST + 16];
    snprintf(path, sizeof path, "%s/%s", r->out, EVALS_FILE);
    FILE *to = files_open_log(path, e);
    if (to == NULL)
        return -1;
    if (ftell(to) == 0)
        fputs(EVALS_HEADER, to);
    fwrite(rows, 1, size, to);
    return files_close_log(to, path, e);
}

int run_tasks(Run *r, bool last, Error *e)
{
    LossTables *tables = NULL;
    char *rows = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&rows, &size);
    int status = to == NULL ? error_set(e, "out of memory") : 0;
    progress_break(&r->progress);
    if (status == 0 && last && r->plan->options.loss_tables != NULL && writes(r))
        status = loss_tables_create(r->plan->setup.T, r->plan->config.V, &tables, e);
    status = comm_agree(r->comm, status, e);
    if (status == 0)
        status = run_tasks_into(r, to, tables, e);
    if (to != NULL && fclose(to) != 0 && status == 0)
        status = error_set(e, "out of memory");
    if (status == 0 && r->signal == 0) {
        if (r->plan->trains && writes(r))
            status = append_rows(r, rows, size, e);
        r->state.evaluated = r->state.step + 1;
    }
    loss_tables_free(tables);
    free(rows);
    return comm_agree(r->comm, status, e);
}

int print_sample(Run *r, Error *e)
{
    const Options *o = &r->plan->options;
    const SampleConfig config = {.tokenizer = r->plan->tokenizer,
                                 .prompt = o->prompt,
                                 .tokens = o->sample_tokens,
                                 .temperature = o->temperature,
                                 .top_k = o->top_k,
                                 .seed = o->seed,
                                 .stream = r->state.step};
    progress_break(&r->progress);
    printf("--- sample at step %zu\n", r->state.step);
    if (r->optim != NULL)
        optim_show(r->optim);
    comm_set_patience(r->comm, PATIENCE);
    const int status = writes(r) ? sample_print(r->gpt, r->plan->setup.T, &config, stdout, e) : 0;
    if (r->optim != NULL)
        optim_hide(r->optim);
    printf("---\n");
    fflush(stdout);
    const int agreed = comm_agree(r->comm, status, e);
    comm_set_patience(r->comm, 1);
    return agreed;
}

bool sample_due(const Run *r, bool last)
{
    const size_t every = r->plan->options.sample_every;
    if (every == SAMPLE_AT_END)
        return last && r->plan->tokenizer != NULL;
    return every > 0 && (last || r->state.step % every == 0);
}
