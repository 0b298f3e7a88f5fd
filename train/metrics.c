#include "train/metrics.h"

#include "files/files.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char header[] = "step,tokens,seconds,train_loss,val_loss,lr,grad_norm,tokens_per_second,"
                             "data_ms,forward_ms,backward_ms,optimizer_ms\n";

/* Whether a line is complete and its step at most last_step; a crash may have cut a line short. */
static bool is_kept(const char *line, size_t length, const char *prefix, size_t last_step)
{
    char *end;
    if (length == 0 || line[length - 1] != '\n' || strncmp(line, prefix, strlen(prefix)) != 0)
        return false;
    const unsigned long long step = strtoull(line + strlen(prefix), &end, 10);
    return *end == ',' && step <= last_step;
}

int metrics_drop_later(const char *path, const char *first_line, const char *prefix, size_t last_step, Error *e)
{
    char *line = NULL;
    size_t room = 0, kept = strlen(first_line);
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return error_set(e, "%s: cannot be opened", path);
    int status = 0;
    if (kept > 0 && (getline(&line, &room, file) < 0 || strcmp(line, first_line) != 0))
        status = error_set(e, "%s: not a log of this program: its first line differs", path);
    for (ssize_t n;
         status == 0 && (n = getline(&line, &room, file)) > 0 && is_kept(line, (size_t)n, prefix, last_step);)
        kept += (size_t)n;
    free(line);
    fclose(file);
    if (status == 0 && truncate(path, (off_t)kept) != 0)
        status = error_set(e, "%s: cannot be truncated to the steps of the checkpoint", path);
    return status;
}

int metrics_open(MetricsLog *log, const char *path, bool resume, size_t last_step, Error *e)
{
    *log = (MetricsLog){0};
    if (resume && metrics_drop_later(path, header, "", last_step, e) != 0)
        return -1;
    log->path = strdup(path);
    log->file = fopen(path, resume ? "a" : "wx");
    if (log->path == NULL || log->file == NULL) {
        metrics_close(log, e);
        return error_set(e, "%s: cannot be opened for writing", path);
    }
    if (!resume && (fputs(header, log->file) < 0 || fflush(log->file) != 0))
        return error_set(e, "%s: cannot be written", path);
    return 0;
}

static void cell(FILE *file, double value)
{
    if (isnan(value))
        fputs(",", file);
    else
        fprintf(file, ",%.9g", value);
}

int metrics_write(MetricsLog *log, const Metrics *m, Error *e)
{
    fprintf(log->file, "%zu,%llu", m->step, (unsigned long long)m->tokens);
    cell(log->file, m->seconds);
    cell(log->file, m->train_loss);
    cell(log->file, m->val_loss);
    cell(log->file, m->lr);
    cell(log->file, m->grad_norm);
    cell(log->file, m->tokens_per_second);
    cell(log->file, m->data_ms);
    cell(log->file, m->forward_ms);
    cell(log->file, m->backward_ms);
    cell(log->file, m->optimizer_ms);
    fputs("\n", log->file);
    if (fflush(log->file) != 0 || ferror(log->file))
        return error_set(e, "%s: cannot be written (is the disk full?)", log->path);
    return 0;
}

int metrics_close(MetricsLog *log, Error *e)
{
    int status = 0;
    if (log->file != NULL && fclose(log->file) != 0)
        status = error_set(e, "%s: cannot be written", log->path);
    free(log->path);
    *log = (MetricsLog){0};
    return status;
}

Progress progress_make(FILE *to, size_t steps, double flops_per_token, double peak_flops)
{
    return (Progress){.to = to,
                      .terminal = isatty(fileno(to)),
                      .steps = steps,
                      .flops_per_token = flops_per_token,
                      .peak_flops = peak_flops};
}

static void format_time(char *text, size_t size, double seconds)
{
    const long long s = (long long)ceil(seconds);
    if (s < 60)
        snprintf(text, size, "%llds", s);
    else if (s < 3600)
        snprintf(text, size, "%lldm%02llds", s / 60, s % 60);
    else
        snprintf(text, size, "%lldh%02lldm", s / 3600, s / 60 % 60);
}

static void format_rate(char *text, size_t size, double rate)
{
    if (rate >= 99950)
        snprintf(text, size, "%.0fk", rate / 1000);
    else if (rate >= 1000)
        snprintf(text, size, "%.1fk", rate / 1000);
    else
        snprintf(text, size, "%.0f", rate);
}

static void format_work(char *text, size_t size, double flops, double peak)
{
    if (peak > 0)
        snprintf(text, size, "%.1f%% MFU", 100 * flops / peak);
    else if (flops >= 9.995e12)
        snprintf(text, size, "%.0f TFLOP/s", flops * 1e-12);
    else
        snprintf(text, size, "%.0f GFLOP/s", flops * 1e-9);
}

void progress_step(Progress *p, const Metrics *m, double seconds_left)
{
    char left[32], rate[32], work[32], val[32] = "          ";
    format_time(left, sizeof left, seconds_left);
    format_rate(rate, sizeof rate, m->tokens_per_second);
    format_work(work, sizeof work, m->tokens_per_second * p->flops_per_token, p->peak_flops);
    if (!isnan(m->val_loss))
        snprintf(val, sizeof val, "val %.4f", m->val_loss);
    if (p->terminal)
        fprintf(p->to, "\r\033[K");
    fprintf(p->to, "step %*zu/%zu | ", (int)snprintf(NULL, 0, "%zu", p->steps), m->step, p->steps);
    if (isnan(m->train_loss))
        fprintf(p->to, "%11s | %s", "", val);
    else
        fprintf(p->to, "loss %.4f | %s | lr %.2e | norm %.3f | %s tok/s | %s | %s left", m->train_loss, val, m->lr,
                m->grad_norm, rate, work, left);
    p->open_line = true;
    if (!p->terminal || !isnan(m->val_loss) || m->step == p->steps)
        progress_break(p);
    fflush(p->to);
}

void progress_break(Progress *p)
{
    if (p->open_line)
        fprintf(p->to, "\n");
    p->open_line = false;
    fflush(p->to);
}
