#define _DEFAULT_SOURCE /* TIOCGWINSZ */
#include "train/progress.h"

#include "base/clock.h"

#include <math.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const double WINDOW = 30, QUIET = 10; /* seconds */

size_t progress_columns(FILE *to)
{
    struct winsize size;
    return isatty(fileno(to)) && ioctl(fileno(to), TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

Progress progress_make(FILE *to, size_t steps, double flops_per_token, double peak_flops)
{
    const double now = clock_seconds();
    return (Progress){.to = to,
                      .terminal = progress_columns(to) > 0, /* mpirun makes terminals that say 0 */
                      .steps = steps,
                      .flops_per_token = flops_per_token,
                      .peak_flops = peak_flops,
                      .last_step = now,
                      .last_line = now - QUIET};
}

double progress_mfu(const Progress *p, double tokens_per_second)
{
    return p->peak_flops > 0 ? tokens_per_second * p->flops_per_token / p->peak_flops : (double)NAN;
}

/* --- cells --- */

/* In the order of the line. */
enum { STEP, LOSS, VAL, LR, NORM, RATE, WORK, LEFT, CELLS };
enum { CELL_MOST = 48 };

/* What is left out first where the line is too narrow. */
static const int least_first[] = {WORK, NORM, LR, RATE, LEFT, VAL, LOSS};

static void format_rate(char *text, size_t size, double rate)
{
    if (rate >= 99950)
        snprintf(text, size, "%.0fk tok/s", rate / 1000);
    else if (rate >= 1000)
        snprintf(text, size, "%.1fk tok/s", rate / 1000);
    else
        snprintf(text, size, "%.0f tok/s", rate);
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

/* Of the coming steps, at the pace of the last. */
static double seconds_left(Progress *p, size_t step)
{
    const double now = clock_seconds(), seconds = now - p->last_step, fade = exp(-seconds / WINDOW);
    p->last_step = now;
    p->window_steps = p->window_steps * fade + 1;
    p->window_seconds = p->window_seconds * fade + seconds;
    return p->window_seconds / p->window_steps * (double)(p->steps - step);
}

static void format_cells(Progress *p, const Metrics *m, char cells[CELLS][CELL_MOST])
{
    memset(cells, 0, CELLS * CELL_MOST);
    snprintf(cells[STEP], CELL_MOST, "step %*zu/%zu", snprintf(NULL, 0, "%zu", p->steps), m->step, p->steps);
    if (!p->terminal) { /* lines that stay are aligned */
        snprintf(cells[LOSS], CELL_MOST, "%11s", "");
        snprintf(cells[VAL], CELL_MOST, "%10s", "");
    }
    if (!isnan(m->val_loss))
        snprintf(cells[VAL], CELL_MOST, "val %.4f", m->val_loss);
    if (isnan(m->train_loss)) { /* no step */
        p->last_step = clock_seconds();
        return;
    }
    snprintf(cells[LOSS], CELL_MOST, "loss %.4f", m->train_loss);
    snprintf(cells[LR], CELL_MOST, "lr %.2e", m->lr);
    snprintf(cells[NORM], CELL_MOST, "norm %.3f", m->grad_norm);
    format_rate(cells[RATE], CELL_MOST, m->tokens_per_second);
    format_work(cells[WORK], CELL_MOST, m->tokens_per_second * p->flops_per_token, p->peak_flops);
    clock_format_left(cells[LEFT], CELL_MOST, seconds_left(p, m->step));
}

static size_t line_length(char cells[CELLS][CELL_MOST])
{
    size_t length = 0;
    for (size_t i = 0; i < CELLS; i++)
        length += cells[i][0] != '\0' ? strlen(cells[i]) + (i > 0 ? 3 : 0) : 0;
    return length;
}

/* --- the line --- */

void progress_step(Progress *p, const Metrics *m)
{
    char cells[CELLS][CELL_MOST];
    format_cells(p, m, cells);
    const bool stays = !isnan(m->val_loss) || m->step == p->steps;
    if (!p->terminal && !stays && clock_seconds() - p->last_line < QUIET)
        return;
    const size_t columns = progress_columns(p->to);
    for (size_t i = 0; i < sizeof least_first / sizeof *least_first && columns > 0; i++)
        if (line_length(cells) >= columns)
            cells[least_first[i]][0] = '\0';
    if (p->terminal)
        fprintf(p->to, "\r\033[K");
    for (size_t i = 0; i < CELLS; i++)
        if (cells[i][0] != '\0')
            fprintf(p->to, "%s%s", i > 0 ? " | " : "", cells[i]);
    p->last_line = clock_seconds();
    p->open_line = true;
    if (!p->terminal || stays)
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
