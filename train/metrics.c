#include "train/metrics.h"

#include "files/files.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The columns; step and tokens are integers. */
static const struct {
    const char *name;
    size_t offset;
    const char *tag; /* in TensorBoard, which has the step with each event */
} columns[] = {
    {"step", offsetof(Metrics, step)},
    {"tokens", offsetof(Metrics, tokens), "progress/tokens"},
    {"seconds", offsetof(Metrics, seconds), "progress/seconds"},
    {"train_loss", offsetof(Metrics, train_loss), "train/loss"},
    {"val_loss", offsetof(Metrics, val_loss), "val/loss"},
    {"lr", offsetof(Metrics, lr), "lr"},
    {"grad_norm", offsetof(Metrics, grad_norm), "grad_norm"},
    {"tokens_per_second", offsetof(Metrics, tokens_per_second), "tokens_per_second"},
    {"data_ms", offsetof(Metrics, data_ms), "time/data_ms"},
    {"forward_ms", offsetof(Metrics, forward_ms), "time/forward_ms"},
    {"backward_ms", offsetof(Metrics, backward_ms), "time/backward_ms"},
    {"optimizer_ms", offsetof(Metrics, optimizer_ms), "time/optimizer_ms"},
    {"mfu", offsetof(Metrics, mfu), "mfu"},
    {"wait_ms", offsetof(Metrics, wait_ms), "time/wait_ms"},
    {"largest_score", offsetof(Metrics, largest_score), "attention/largest_score"},
    {"clipped_heads", offsetof(Metrics, clipped_heads), "attention/clipped_heads"},
};
enum { COLUMNS = sizeof columns / sizeof *columns, INTEGERS = 2, STEP = 0, VAL_LOSS = 4, LINE_MOST = 512 };

static const char *header(void)
{
    static char line[LINE_MOST];
    size_t n = 0;
    for (size_t i = 0; i < COLUMNS; i++)
        n += (size_t)snprintf(line + n, sizeof line - n, "%s%c", columns[i].name, i + 1 < COLUMNS ? ',' : '\n');
    return line;
}

/* --- a log that is continued --- */

/* The step of a complete line, -1 if it is damaged. */
static long long step_of(const char *line, size_t length, const char *prefix)
{
    const size_t skip = strlen(prefix);
    char *end;
    if (length == 0 || line[length - 1] != '\n' || strncmp(line, prefix, skip) != 0 || line[skip] < '0' ||
        line[skip] > '9')
        return -1;
    const long long step = strtoll(line + skip, &end, 10);
    return *end == ',' ? step : -1;
}

/* What a crash leaves of the first line: all, a part, or zeros. */
static bool is_first_line(const char *line, size_t length, const char *first_line, bool *whole)
{
    const size_t wanted = strlen(first_line);
    *whole = length == wanted && memcmp(line, first_line, wanted) == 0;
    return *whole || length == 0 || line[0] == '\0' || (length < wanted && memcmp(line, first_line, length) == 0);
}

int metrics_drop_later(const char *path, const char *first_line, const char *prefix, size_t last_step, long long *kept,
                       Error *e)
{
    int fd;
    size_t size, room = 0, bytes = 0;
    char *line = NULL;
    bool whole = true;
    *kept = -1;
    if (files_open(path, &fd, &size, e) != 0)
        return -1;
    FILE *file = fdopen(fd, "rb");
    if (file == NULL) {
        close(fd);
        return error_set(e, "%s: out of memory while reading it", path);
    }
    int status = 0;
    if (first_line[0] != '\0') {
        const ssize_t n = getline(&line, &room, file);
        if (!is_first_line(line, n > 0 ? (size_t)n : 0, first_line, &whole))
            status = error_set(e, "%s: not a log of this program: its first line differs", path);
        bytes = whole ? strlen(first_line) : 0;
    }
    for (ssize_t n; status == 0 && whole && (n = getline(&line, &room, file)) > 0; bytes += (size_t)n) {
        const long long step = step_of(line, (size_t)n, prefix);
        if (step < 0 || step > (long long)last_step)
            break;
        *kept = step;
    }
    if (status == 0 && ferror(file))
        status = error_set(e, "%s: cannot be read: %s", path, strerror(errno));
    free(line);
    fclose(file);
    if (status == 0 && truncate(path, (off_t)bytes) != 0)
        status = error_set(e, "%s: cannot be truncated to the steps of the checkpoint: %s", path, strerror(errno));
    return status;
}

/* Where the last line of a file begins, after the header. */
static long last_row(FILE *file)
{
    long at = 0, last = -1;
    rewind(file);
    for (int c = fgetc(file), before = '\n', lines = 0; c != EOF; before = c, c = fgetc(file), at++)
        if (before == '\n' && lines++ > 0)
            last = at;
    return last;
}

/* What an older program logged: the same without the last columns. */
typedef struct OlderLog {
    const char *rows; /* after its first line */
    size_t missing;   /* columns */
} OlderLog;

static void print_with_columns(FILE *to, const void *older)
{
    const OlderLog *log = older;
    fputs(header(), to);
    for (const char *at = log->rows; *at != '\0'; at++) {
        for (size_t i = 0; *at == '\n' && i < log->missing; i++)
            fputc(',', to);
        fputc(*at, to);
    }
}

/* Gives an older log the columns that it lacks, empty. */
static int add_columns(const char *path, Error *e)
{
    char *text;
    size_t size;
    if (files_read_all(path, (size_t)1 << 40, &text, &size, e) != 0)
        return -1;
    const size_t length = strcspn(text, "\n");
    OlderLog older = {.rows = text + length + (text[length] == '\n')};
    int status = 0;
    if (text[length] == '\n' && strncmp(text, header(), length) == 0 && header()[length] == ',') {
        for (const char *c = header() + length; *c != '\0'; c++)
            older.missing += *c == ',';
        status = files_print_atomic(path, print_with_columns, &older, e);
    }
    free(text);
    return status;
}

/* --- writing --- */

static int fail_to_write(const MetricsLog *log, Error *e)
{
    return error_set(e, "%s: cannot be written: %s", log->path, strerror(errno));
}

int metrics_open(MetricsLog *log, const char *path, bool resume, size_t last_step, long long *kept, Error *e)
{
    *log = (MetricsLog){.last = -1};
    const bool goes_on = resume && access(path, F_OK) == 0;
    *kept = -1;
    if (goes_on && (add_columns(path, e) != 0 || metrics_drop_later(path, header(), "", last_step, kept, e) != 0))
        return -1;
    log->path = strdup(path);
    log->file = fopen(path, goes_on ? "a+" : "w+x");
    if (log->path == NULL || log->file == NULL) {
        error_set(e, "%s: cannot be opened for writing: %s", path, strerror(errno));
        Error ignored;
        metrics_close(log, &ignored);
        return -1;
    }
    if (*kept == (long long)last_step)
        log->last = last_row(log->file);
    if (fseek(log->file, 0, SEEK_END) == 0 && ftell(log->file) == 0 &&
        (fputs(header(), log->file) < 0 || fflush(log->file) != 0))
        return fail_to_write(log, e);
    return 0;
}

int metrics_open_events(MetricsLog *log, const char *dir, bool resume, size_t last_step, Error *e)
{
    if (tfevents_open(&log->events, dir, e) != 0)
        return -1;
    return resume ? tfevents_restart(&log->events, last_step + 1, e) : 0;
}

Metrics metrics_none(uint64_t step, uint64_t tokens, double seconds)
{
    const double none = (double)NAN;
    Metrics m;
    for (size_t i = INTEGERS; i < COLUMNS; i++)
        memcpy((char *)&m + columns[i].offset, &none, sizeof none);
    m.step = step;
    m.tokens = tokens;
    m.seconds = seconds;
    return m;
}

static double column_value(const Metrics *m, size_t column)
{
    uint64_t integer;
    double real;
    memcpy(&integer, (const char *)m + columns[column].offset, sizeof integer);
    memcpy(&real, (const char *)m + columns[column].offset, sizeof real);
    return column < INTEGERS ? (double)integer : real;
}

static void write_row(FILE *file, const Metrics *m)
{
    for (size_t i = 0; i < COLUMNS; i++) {
        const double value = column_value(m, i);
        if (i < INTEGERS)
            fprintf(file, "%.0f", value); /* below 2^53 */
        else if (!isnan(value))
            fprintf(file, "%.9g", value);
        fputc(i + 1 < COLUMNS ? ',' : '\n', file);
    }
}

static int append_row(MetricsLog *log, const Metrics *m, Error *e)
{
    write_row(log->file, m);
    return fflush(log->file) != 0 || ferror(log->file) ? fail_to_write(log, e) : 0;
}

/* An event of the columns from `first` on, `count` of them, that were measured. */
static int write_event(MetricsLog *log, const Metrics *m, size_t first, size_t count, Error *e)
{
    TfScalar scalars[COLUMNS];
    size_t n = 0;
    for (size_t i = first; i < first + count; i++) {
        const double value = column_value(m, i);
        if (!isnan(value))
            scalars[n++] = (TfScalar){columns[i].tag, value};
    }
    return tfevents_write(&log->events, m->step, scalars, n, e);
}

int metrics_write(MetricsLog *log, const Metrics *m, Error *e)
{
    return append_row(log, m, e) != 0 ? -1 : write_event(log, m, STEP + 1, COLUMNS - STEP - 1, e);
}

/* A row as write_row wrote it: its numbers come back to the last digit written. */
static void read_row(const char *line, Metrics *m)
{
    for (size_t i = 0; i < COLUMNS; i++) {
        char *end;
        const uint64_t integer = strtoull(line, &end, 10);
        const double real = *line == ',' || *line == '\n' ? (double)NAN : strtod(line, &end);
        memcpy((char *)m + columns[i].offset, i < INTEGERS ? (const void *)&integer : (const void *)&real,
               sizeof integer);
        line += strcspn(line, ",\n");
        line += *line == ',';
    }
}

int metrics_amend(MetricsLog *log, double val_loss, Error *e)
{
    char line[LINE_MOST];
    Metrics m;
    if (fseek(log->file, log->last, SEEK_SET) != 0 || fgets(line, sizeof line, log->file) == NULL)
        return error_set(e, "%s: its last row cannot be read", log->path);
    read_row(line, &m);
    m.val_loss = val_loss;
    if (fflush(log->file) != 0 || ftruncate(fileno(log->file), log->last) != 0 || fseek(log->file, 0, SEEK_END) != 0)
        return fail_to_write(log, e);
    return append_row(log, &m, e) != 0 ? -1 : write_event(log, &m, VAL_LOSS, 1, e);
}

int metrics_sync(MetricsLog *log, Error *e)
{
    return fflush(log->file) != 0 || ferror(log->file) || fsync(fileno(log->file)) != 0
               ? fail_to_write(log, e)
               : tfevents_sync(&log->events, e);
}

int metrics_close(MetricsLog *log, Error *e)
{
    int status = tfevents_close(&log->events, e);
    const bool failed = log->file != NULL && ferror(log->file);
    if ((log->file != NULL && fclose(log->file) != 0) || failed)
        status = fail_to_write(log, e);
    free(log->path);
    *log = (MetricsLog){.last = -1};
    return status;
}
