#include "train/tasks.h"

#include "base/clock.h"
#include "base/hash.h"
#include "data/choices.h"
#include "data/loader.h"
#include "train/stop.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Where data/get puts it. */
static const char hellaswag_file[] = "data/hellaswag/hellaswag_val.jsonl";

enum { TASKS_MOST = 16, PAD = 64 /* a batch's rows are as long as a multiple of it */ };

typedef struct Task {
    char *name;         /* as given */
    const char *source; /* the file or glob in it, or the default */
    Tokens *tokens;     /* shards, */
    Choices choices;    /* or items */
} Task;

struct Tasks {
    const Tokenizer *tokenizer;
    size_t count;
    Task tasks[TASKS_MOST];
};

/* Numbers of a task. */
typedef struct Report {
    size_t step;
    const char *task;
    FILE *csv;
} Report;

/* The task as a cell: in quotes, if a glob needs them. */
static void report(const Report *r, const char *measure, double value)
{
    if (r->csv == NULL)
        return;
    const bool quoted = strpbrk(r->task, "\"\n\r") != NULL;
    fprintf(r->csv, quoted ? "%zu,\"" : "%zu,", r->step);
    for (const char *c = r->task; *c != '\0'; c++)
        fprintf(r->csv, *c == '"' ? "\"\"" : "%c", *c);
    fprintf(r->csv, quoted ? "\",%s,%.9g\n" : ",%s,%.9g\n", measure, value);
}

/* --------------------------------------------------------------------------------------------------------------
 * How far it is
 */

typedef struct Pace {
    FILE *to;
    const char *task;
    bool terminal, shown;
    double begin, last;
} Pace;

static Pace pace_begin(FILE *to, const char *task)
{
    const double now = clock_seconds();
    return (Pace){.to = to, .task = task, .terminal = isatty(fileno(to)) == 1, .begin = now, .last = now};
}

/* Once a second, over what was shown before. */
static void pace_show(Pace *p, double share)
{
    const double now = clock_seconds();
    char left[32];
    if (!p->terminal || now - p->last < 1 || share <= 0)
        return;
    clock_format_left(left, sizeof left, (now - p->begin) * (1 - share) / share);
    fprintf(p->to, "\r%-9.9s %3.0f%% | %-14s", p->task, 100 * share, left);
    fflush(p->to);
    p->last = now;
    p->shown = true;
}

static void pace_end(const Pace *p)
{
    if (p->shown)
        fprintf(p->to, "\r%32s\r", "");
}

/* --------------------------------------------------------------------------------------------------------------
 * The list
 */

static const char hellaswag_name[] = "hellaswag", shards_name[] = "shards";

/* Whether `name`, of `length` characters, is a task "kind" or "kind=..". */
static bool is_kind(const char *name, size_t length, const char *kind)
{
    const size_t n = strlen(kind);
    return length >= n && strncmp(name, kind, n) == 0 && (length == n || name[n] == '=');
}

/* Calls `each` for every task of the list, with its length, until it fails. */
static int each_task(const char *list, int (*each)(void *context, const char *name, size_t length, Error *e),
                     void *context, Error *e)
{
    for (const char *name = list, *end; name != NULL; name = *end == ',' ? end + 1 : NULL) {
        end = name + strcspn(name, ",");
        if (each(context, name, (size_t)(end - name), e) != 0)
            return -1;
    }
    return 0;
}

/* What has been seen of a list. */
typedef struct Seen {
    const char *list;
    size_t count, shards;
} Seen;

static int check_task(void *context, const char *name, size_t length, Error *e)
{
    Seen *seen = context;
    const bool hellaswag = is_kind(name, length, hellaswag_name), shards = is_kind(name, length, shards_name);
    const char *value = memchr(name, '=', length);
    if (!hellaswag && !shards)
        return error_set(e, "--eval: there is no task '%.*s', but hellaswag, hellaswag=FILE and shards=GLOB",
                         (int)length, name);
    if ((value == NULL && shards) || (value != NULL && value + 1 == name + length))
        return error_set(e, "--eval: %.*s names no %s", (int)length, name, shards ? "shards: shards=GLOB" : "file");
    for (const char *other = seen->list; other < name; other += strcspn(other, ",") + 1)
        if (strcspn(other, ",") == length && strncmp(other, name, length) == 0)
            return error_set(e, "--eval: %.*s twice", (int)length, name);
    seen->shards += shards;
    if (++seen->count > TASKS_MOST)
        return error_set(e, "--eval: more than %d tasks", TASKS_MOST);
    return 0;
}

int tasks_check(const char *list, bool tables, Error *e)
{
    Seen seen = {.list = list};
    if (each_task(list, check_task, &seen, e) != 0)
        return -1;
    return !tables || seen.shards == 1 ? 0 : error_set(e, "--loss-tables needs --eval shards=GLOB, once");
}

/* --------------------------------------------------------------------------------------------------------------
 * Opening
 */

typedef struct Opening {
    Tasks *t;
    size_t V;
} Opening;

/* The published file, or the command that brings it. */
static int check_default(Error *e)
{
    return access(hellaswag_file, F_OK) == 0
               ? 0
               : error_set(e, "--eval hellaswag: there is no %s; data/get hellaswag brings it, or give hellaswag=FILE",
                           hellaswag_file);
}

static int open_task(void *context, const char *name, size_t length, Error *e)
{
    Tasks *t = ((const Opening *)context)->t;
    const size_t V = ((const Opening *)context)->V, known = t->tokenizer != NULL ? tokenizer_size(t->tokenizer) : V;
    Task *task = &t->tasks[t->count++];
    task->name = strndup(name, length);
    if (task->name == NULL)
        return error_set(e, "out of memory");
    const char *value = strchr(task->name, '=');
    task->source = value != NULL ? value + 1 : hellaswag_file;
    if (value == NULL && check_default(e) != 0)
        return -1;
    if (is_kind(name, length, hellaswag_name))
        return choices_read(task->source, t->tokenizer, V, &task->choices, e);
    if (tokens_open(task->source, known < V ? known : V, &task->tokens, e) != 0)
        return -1;
    return tokens_targets(task->tokens) > 0 ? 0 : error_set(e, "%s: no shard has a target", task->source);
}

int tasks_open(const char *list, const Tokenizer *tokenizer, size_t V, Tasks **out, Error *e)
{
    Tasks *t = calloc(1, sizeof *t);
    *out = t;
    if (t == NULL)
        return error_set(e, "out of memory");
    t->tokenizer = tokenizer;
    if (list == NULL || each_task(list, open_task, &(Opening){t, V}, e) == 0)
        return 0;
    tasks_close(t);
    *out = NULL;
    return -1;
}

void tasks_close(Tasks *t)
{
    for (size_t i = 0; t != NULL && i < t->count; i++) {
        free(t->tasks[i].name);
        tokens_close(t->tasks[i].tokens);
        choices_free(&t->tasks[i].choices);
    }
    free(t);
}

size_t tasks_count(const Tasks *t) { return t->count; }

int tasks_hash(const Tasks *t, uint64_t *hash, Error *e)
{
    Hash all = hash_begin();
    for (const Task *task = t->tasks; task < t->tasks + t->count; task++) {
        const Choices *c = &task->choices;
        for (size_t s = 0; task->tokens != NULL && s < tokens_shards(task->tokens); s++) {
            uint64_t shard;
            if (tokens_shard_hash(task->tokens, s, &shard, e) != 0)
                return -1;
            hash_add(&all, &shard, sizeof shard);
        }
        hash_add(&all, c->items, c->count * sizeof *c->items);
        for (const ChoiceRow *row = c->rows; row < c->rows + c->row_count; row++)
            hash_add(&all, c->tokens + row->begin, row->length * sizeof *c->tokens);
    }
    *hash = hash_end(&all);
    return 0;
}

/* --------------------------------------------------------------------------------------------------------------
 * Batches
 */

/* Room for the tokens of a batch, their targets and the cross-entropy of each. */
typedef struct Room {
    int32_t *tokens, *targets;
    double *losses;
} Room;

static int make_room(const GptSetup *s, Room *room, Error *e)
{
    const size_t n = s->B * s->T;
    *room = (Room){malloc(n * sizeof(int32_t)), malloc(n * sizeof(int32_t)), malloc(n * sizeof(double))};
    return room->tokens != NULL && room->targets != NULL && room->losses != NULL
               ? 0
               : error_set(e, "out of memory for a batch of %zu x %zu tokens", s->B, s->T);
}

static void free_room(Room *room)
{
    free(room->tokens);
    free(room->targets);
    free(room->losses);
}

/* The cross-entropy of B x T targets. */
static void measure(Gpt *gpt, Room *room, size_t B, size_t T)
{
    gpt_forward(gpt, room->tokens, B, T);
    gpt_loss(gpt, room->targets);
    gpt_losses(gpt, room->losses);
}

/* --------------------------------------------------------------------------------------------------------------
 * Multiple choice
 */

/* Tokens of a row that the model reads: all but the last, and of those the last T. */
static size_t inputs_of(const ChoiceRow *row, size_t T) { return row->length - 1 < T ? row->length - 1 : T; }

/* Rows first .. first+n-1 as a batch; returns its T. Only endings have targets. */
static size_t fill_batch(const Choices *c, size_t first, size_t n, size_t most, Room *room)
{
    size_t T = 1;
    for (size_t i = 0; i < n; i++) {
        const size_t inputs = inputs_of(&c->rows[first + i], most);
        T = inputs > T ? inputs : T;
    }
    T = (T + PAD - 1) / PAD * PAD;
    T = T < most ? T : most;
    for (size_t i = 0; i < n; i++) {
        const ChoiceRow *row = &c->rows[first + i];
        const size_t inputs = inputs_of(row, most), begin = row->length - 1 - inputs;
        const uint16_t *tokens = c->tokens + row->begin + begin;
        for (size_t k = 0; k < T; k++) {
            const bool is_target = k < inputs && begin + k + 1 >= row->context;
            room->tokens[i * T + k] = k < inputs ? tokens[k] : 0;
            room->targets[i * T + k] = is_target ? tokens[k + 1] : -1;
        }
    }
    return T;
}

/* Sums (rows) of the endings' cross-entropies: of the batches that are this rank's, 0 of the others'. 1: a signal. */
static int score_own(const Choices *c, Gpt *gpt, const GptSetup *setup, Ranks ranks, Room *room, double *sums,
                     Pace *pace)
{
    for (size_t batch = 0, first = 0, n; first < c->row_count; first += n, batch++) {
        n = c->row_count - first < setup->B ? c->row_count - first : setup->B;
        if (batch % ranks.world != ranks.rank)
            continue;
        const size_t T = fill_batch(c, first, n, setup->T, room);
        if (stop_signal() != 0)
            return 1;
        measure(gpt, room, n, T);
        pace_show(pace, (double)(first + n) / (double)c->row_count);
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < T; k++)
                sums[first + i] += room->losses[i * T + k];
    }
    return 0;
}

/* Targets of a row's ending. */
static size_t targets_of(const ChoiceRow *row, size_t T)
{
    const size_t ending = row->length - row->context;
    return ending < T ? ending : T;
}

typedef struct Score {
    size_t right, right_normalised, cut; /* items; rows longer than the model's context */
} Score;

static Score judge(const Choices *c, const double *sums, size_t T)
{
    Score score = {0};
    for (const ChoiceItem *item = c->items; item < c->items + c->count; item++) {
        size_t best = 0, best_mean = 0;
        const double *s = sums + item->first;
        const ChoiceRow *rows = c->rows + item->first;
        for (size_t k = 1; k < item->count; k++) {
            const double mean = s[k] / (double)targets_of(&rows[k], T);
            best = s[k] < s[best] ? k : best;
            best_mean = mean < s[best_mean] / (double)targets_of(&rows[best_mean], T) ? k : best_mean;
        }
        score.right += best == item->label;
        score.right_normalised += best_mean == item->label;
    }
    for (size_t i = 0; i < c->row_count; i++)
        score.cut += c->rows[i].length - 1 > T;
    return score;
}

static int run_choices(const Task *task, Gpt *gpt, const GptSetup *setup, Comm *comm, const Report *r, Room *room,
                       FILE *to, Error *e)
{
    const Choices *c = &task->choices;
    double *sums = calloc(c->row_count, sizeof *sums), check = 0;
    Pace pace = pace_begin(to, r->task);
    int status = sums != NULL ? score_own(c, gpt, setup, comm_ranks(comm), room, sums, &pace)
                              : error_set(e, "out of memory for %zu endings", c->row_count);
    pace_end(&pace);
    status = comm_agree(comm, status, e);
    if (status == 0)
        comm_sum(comm, sums, c->row_count);
    if (status != 0 || comm_lost(comm, e)) {
        free(sums);
        return status > 0 && !comm_lost(comm, e) ? 0 : -1;
    }
    for (size_t i = 0; i < c->row_count; i++)
        check += sums[i];
    const Score score = judge(c, sums, setup->T);
    free(sums);
    if (!isfinite(check))
        return error_set(e, "--eval %s: the loss of an ending is %g", r->task, check);
    const double items = (double)c->count, plain = (double)score.right / items,
                 normalised = (double)score.right_normalised / items;
    fprintf(to, "%-9s %.4f accuracy, %.4f normalised by length, %zu items\n", hellaswag_name, plain, normalised,
            c->count);
    if (score.cut > 0)
        fprintf(to, "%10s%zu endings with their context are longer than %zu tokens: cut in front\n", "", score.cut,
                setup->T);
    report(r, "accuracy", plain);
    report(r, "accuracy_normalised", normalised);
    return 0;
}

/* --------------------------------------------------------------------------------------------------------------
 * Shards
 */

/* Of all targets so far. */
typedef struct Count {
    double sum;
    size_t bytes; /* that they stand for */
    LossTables *tables;
} Count;

/* n targets of sequences of T, and their losses; windows past the last have none. */
static int add_targets(const Tasks *t, const double *losses, const int32_t *targets, size_t n, size_t T, Count *count,
                       Error *e)
{
    for (size_t i = 0; i < n; i++) {
        const char *text;
        size_t size = 0;
        if (targets[i] < 0)
            continue;
        count->sum += losses[i];
        if (count->tables != NULL)
            loss_tables_add(count->tables, i % T, targets[i], losses[i]);
        if (t->tokenizer != NULL && tokenizer_token(t->tokenizer, targets[i], &text, &size, e) != 0)
            return -1;
        count->bytes += t->tokenizer == NULL || targets[i] == tokenizer_endoftext(t->tokenizer) ? 0 : size;
    }
    return 0;
}

/* What all ranks have measured in a round, (world, B x T). */
typedef struct Round {
    double *losses;
    int32_t *targets;
} Round;

/* A round of batches, one a rank: measures this rank's, unless it is past the last window, and adds all of them in
 * order. 1: a signal. */
static int run_round(const Tasks *t, const Task *task, Gpt *gpt, const GptSetup *setup, Comm *comm, size_t first,
                     Room *room, const Round *all, Count *count, Error *e)
{
    const Ranks ranks = comm_ranks(comm);
    const size_t targets = tokens_targets(task->tokens), B = setup->B, T = setup->T, n = B * T;
    const size_t windows = windows_count(task->tokens, T, targets), own = first + ranks.rank * B;
    int status = stop_signal() != 0;
    if (status == 0)
        status = windows_read(task->tokens, T, targets, own, B, room->tokens, room->targets, e);
    if (status == 0 && own < windows)
        measure(gpt, room, B, T);
    status = comm_agree(comm, status, e);
    if (status != 0)
        return status;
    comm_exchange(comm, room->losses, n * sizeof *all->losses, all->losses);
    comm_exchange(comm, room->targets, n * sizeof *all->targets, all->targets);
    for (size_t k = 0; k < ranks.world && status == 0; k++)
        status = add_targets(t, all->losses + k * n, all->targets + k * n, n, T, count, e);
    return comm_agree(comm, status, e);
}

static int run_shards(const Tasks *t, const Task *task, Gpt *gpt, const GptSetup *setup, Comm *comm, const Report *r,
                      Room *room, LossTables *tables, FILE *to, Error *e)
{
    const size_t targets = tokens_targets(task->tokens), B = setup->B, T = setup->T, world = comm_ranks(comm).world;
    const size_t windows = windows_count(task->tokens, T, targets);
    Count count = {.tables = tables};
    const Round all = {calloc(world * B * T, sizeof(double)), calloc(world * B * T, sizeof(int32_t))};
    const bool fits = all.losses != NULL && all.targets != NULL;
    int status = comm_agree(comm, fits ? 0 : error_set(e, "out of memory"), e);
    Pace pace = pace_begin(to, r->task);
    for (size_t first = 0; first < windows && status == 0; first += world * B) {
        status = run_round(t, task, gpt, setup, comm, first, room, &all, &count, e);
        pace_show(&pace, (double)(first + B) / (double)(windows + B));
    }
    pace_end(&pace);
    free(all.losses);
    free(all.targets);
    if (comm_lost(comm, e) || status < 0)
        return -1;
    if (status > 0)
        return 0;
    const double loss = count.sum / (double)targets, bits = count.sum / log(2) / (double)count.bytes;
    if (!isfinite(loss))
        return error_set(e, "--eval %s: the loss is %g", r->task, loss);
    fprintf(to, "%-9s %.6f nats a token, perplexity %.4g", shards_name, loss, exp(loss));
    if (count.bytes > 0)
        fprintf(to, ", %.6f bits a byte", bits);
    fprintf(to, "\n%10sof %zu tokens, %s\n", "", targets, task->source);
    report(r, "loss", loss);
    report(r, "perplexity", exp(loss));
    if (count.bytes > 0)
        report(r, "bits_a_byte", bits);
    return 0;
}

/* -------------------------------------------------------------------------------------------------------------- */

int tasks_run(const Tasks *t, Gpt *gpt, const GptSetup *setup, Comm *comm, size_t step, FILE *to, FILE *csv,
              LossTables *tables, Error *e)
{
    Room room;
    int status = comm_agree(comm, make_room(setup, &room, e), e);
    for (const Task *task = t->tasks; task < t->tasks + t->count && status == 0; task++) {
        const Report r = {step, task->name, csv};
        if (comm_most(comm, (size_t)stop_signal()) != 0)
            break;
        status = task->tokens != NULL ? run_shards(t, task, gpt, setup, comm, &r, &room, tables, to, e)
                                      : run_choices(task, gpt, setup, comm, &r, &room, to, e);
    }
    free_room(&room);
    return status;
}
