#define _GNU_SOURCE /* renameat2 */
#include "train/checkpoint.h"

#include "base/hash.h"
#include "base/memory.h"
#include "files/files.h"
#include "files/json_file.h"
#include "files/safetensors.h"
#include "train/families.h"
#include "train/weights.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_MOST = 4096, JSON_LIMIT = 1 << 24 };

/* A status like -1, but of what an older checkpoint would not mend. */
enum { CANNOT_BE_JUDGED = -2 };

/* The files whose checksums state.json has. */
enum { CONFIG, MODEL, OPTIMIZER, PARTS };
static const char *const part_names[PARTS] = {"config.json", "model.safetensors", "optimizer.safetensors"};

static int join(char *path, const char *dir, const char *name, Error *e)
{
    if (snprintf(path, PATH_MOST, "%s/%s", dir, name) >= PATH_MOST)
        return error_set(e, "%s/%s: the path is too long", dir, name);
    return 0;
}

int checkpoint_read_config(const char *dir, GptConfig *config, Error *e)
{
    char path[PATH_MOST];
    return join(path, dir, part_names[CONFIG], e) != 0 ? -1 : family_read_config(path, config, e);
}

static int write_model(const char *dir, const Gpt *gpt, uint64_t hashes[PARTS], Error *e)
{
    char path[PATH_MOST];
    if (join(path, dir, part_names[CONFIG], e) != 0 ||
        family_write_config(path, gpt_config(gpt), &hashes[CONFIG], e) != 0)
        return -1;
    return join(path, dir, part_names[MODEL], e) != 0 ? -1 : weights_write(path, gpt, &hashes[MODEL], e);
}

int checkpoint_write_model(const char *dir, const Gpt *gpt, Error *e)
{
    uint64_t hashes[PARTS];
    return files_make_dirs(dir, e) != 0 || write_model(dir, gpt, hashes, e) != 0 ? -1 : 0;
}

static bool has(const char *dir, const char *name)
{
    char path[PATH_MOST];
    Error ignored;
    return join(path, dir, name, &ignored) == 0 && access(path, F_OK) == 0;
}

/* Of the weights' file, or of the index of several; Hugging Face's libraries too look for one file first. */
int checkpoint_read_model(const char *dir, Gpt *gpt, Error *e)
{
    static const char index[] = "model.safetensors.index.json";
    static const char *const pickled[] = {"pytorch_model.bin", "pytorch_model.bin.index.json"};
    const bool sharded = !has(dir, part_names[MODEL]) && has(dir, index);
    char path[PATH_MOST];
    for (size_t i = 0; i < 2 && !sharded && !has(dir, part_names[MODEL]); i++)
        if (has(dir, pickled[i]))
            return error_set(e,
                             "%s/%s: these weights are pickled, which only Python reads; it converts them by: from "
                             "transformers import AutoModelForCausalLM; "
                             "AutoModelForCausalLM.from_pretrained(\"%s\").save_pretrained(\"%s-converted\")",
                             dir, pickled[i], dir, dir);
    return join(path, dir, sharded ? index : part_names[MODEL], e) != 0 ? -1 : weights_read(path, gpt, e);
}

/* --------------------------------------------------------------------------------------------------------------
 * optimizer.safetensors and state.json
 */

/* In floats, at least one. */
static size_t largest_state(const Optim *optim)
{
    size_t most = 1;
    for (size_t i = 0; i < optim_state_count(optim); i++) {
        const OptimState *s = optim_state(optim, i);
        most = s->rows * s->cols > most ? s->rows * s->cols : most;
    }
    return most;
}

static int begin_optim(const char *path, const Optim *optim, SafetensorsWriter **writer, Error *e)
{
    const size_t n = optim_state_count(optim);
    const OptimScalars scalars = optim_scalars(optim);
    char values[OPTIM_SCALARS][32];
    const char *metadata[OPTIM_SCALARS][2];
    for (size_t i = 0; i < OPTIM_SCALARS; i++) {
        snprintf(values[i], sizeof values[i], "%.17g", ((const double *)&scalars)[i]);
        metadata[i][0] = optim_scalar_names[i];
        metadata[i][1] = values[i];
    }
    SafetensorsSpec *specs = malloc((n + 1) * sizeof *specs);
    if (specs == NULL)
        return error_set(e, "%s: out of memory", path);
    for (size_t i = 0; i < n; i++) {
        const OptimState *s = optim_state(optim, i);
        specs[i] = (SafetensorsSpec){.name = s->name, .dtype = DTYPE_F32, .rank = 2, .shape = {s->rows, s->cols}};
    }
    const int status = safetensors_create(path, specs, n, (const char *const(*)[2])metadata, OPTIM_SCALARS, writer, e);
    free(specs);
    return status;
}

/* Collective: what comes from the other ranks is taken even where there is nothing to write it to. */
static int append_optim(const char *path, const Optim *optim, SafetensorsWriter *writer, Error *e)
{
    float *host;
    int status = memory_floats(largest_state(optim), path, &host, e);
    if (comm_agree(optim_comm(optim), status, e) != 0) {
        memory_free(host);
        return -1;
    }
    for (size_t i = 0; i < optim_state_count(optim); i++) {
        const OptimState *s = optim_state(optim, i);
        optim_state_read(optim, i, host);
        if (writer != NULL && status == 0)
            status = safetensors_append(writer, host, s->rows * s->cols * sizeof *host, e);
    }
    memory_free(host);
    return comm_lost(optim_comm(optim), e) ? -1 : status; /* what a lost rank had is missing */
}

/* Collective: `dir` NULL, or an earlier failure in `status`: nothing is written. */
static int write_optim(const char *dir, const Optim *optim, int status, uint64_t *hash, Error *e)
{
    char path[PATH_MOST] = "the optimizer's state";
    SafetensorsWriter *writer = NULL;
    Error fault;
    if (dir != NULL && status == 0 &&
        (join(path, dir, part_names[OPTIMIZER], e) != 0 || begin_optim(path, optim, &writer, e) != 0))
        status = -1;
    const int appended = append_optim(path, optim, writer, &fault);
    if (status == 0 && appended != 0) {
        *e = fault;
        status = -1;
    }
    if (writer == NULL)
        return status;
    if (status == 0)
        return safetensors_finish(writer, hash, e);
    safetensors_abandon(writer);
    return -1;
}

/* Numbers missing from the metadata are NaN. */
static int read_scalars(const char *path, const Safetensors *file, OptimScalars *scalars, Error *e)
{
    for (size_t i = 0; i < OPTIM_SCALARS; i++) {
        const char *name = optim_scalar_names[i], *text = safetensors_metadata(file, name);
        char *end = NULL;
        const double value = text != NULL ? strtod(text, &end) : (double)NAN;
        const bool fits = i < OPTIM_COUNTS ? value >= 0 && value < 0x1p53 : isfinite(value);
        if (text != NULL && (end == text || *end != '\0' || !fits))
            return error_set(e, "%s: the metadata has no number %s", path, name);
        ((double *)scalars)[i] = value;
    }
    return isnan(scalars->steps_done) ? error_set(e, "%s: the metadata has no number steps_done", path) : 0;
}

/* `host` has room for the largest state. */
static int read_optim_tensors(const char *path, Safetensors *file, Optim *optim, float *host, Error *e)
{
    OptimScalars scalars;
    if (read_scalars(path, file, &scalars, e) != 0)
        return -1;
    if (safetensors_count(file) != optim_state_count(optim))
        return error_set(e, "%s: holds %zu tensors; the optimizer has %zu", path, safetensors_count(file),
                         optim_state_count(optim));
    for (size_t i = 0; i < optim_state_count(optim); i++) {
        const OptimState *s = optim_state(optim, i);
        const SafetensorsEntry *entry = safetensors_find(file, s->name);
        if (entry == NULL)
            return error_set(e, "%s: tensor %s is missing", path, s->name);
        if (entry->rank != 2 || entry->shape[0] != s->rows || entry->shape[1] != s->cols)
            return error_set(e, "%s: tensor %s must have shape [%zu, %zu]", path, s->name, s->rows, s->cols);
        if (safetensors_read_f32(file, entry, host, e) != 0)
            return -1;
        optim_state_write(optim, i, host);
    }
    optim_set_scalars(optim, scalars);
    return 0;
}

/* Of state.json. Readers accept older versions, whose missing keys get defaults, and refuse newer ones. */
enum { STATE_VERSION = 3 };

/* The numbers in state.json: integers, or reals if `real`; `since`: the version that introduced them. */
static const struct StateKey {
    const char *key;
    size_t offset;
    bool real;
    int since;
    double otherwise; /* in older files */
} state_keys[] = {
    {"step", offsetof(CheckpointState, step), false, 0, 0},
    {"loader_position", offsetof(CheckpointState, loader_position), false, 0, 0},
    {"tokens", offsetof(CheckpointState, tokens), false, 0, 0},
    {"seconds", offsetof(CheckpointState, seconds), true, 0, 0},
    {"val_loss", offsetof(CheckpointState, val_loss), true, 0, (double)NAN},
    {"val_step", offsetof(CheckpointState, val_step), false, 0, 0},
    {"val_seconds", offsetof(CheckpointState, val_seconds), true, 0, 0},
    {"best_loss", offsetof(CheckpointState, best_loss), true, 2, (double)NAN},
    {"best_step", offsetof(CheckpointState, best_step), false, 2, 0},
    {"evaluated", offsetof(CheckpointState, evaluated), false, 3, 0},
};

enum { STATE_KEYS = sizeof state_keys / sizeof *state_keys };
_Static_assert(sizeof(size_t) == sizeof(uint64_t), "both kinds of integers are read and written alike");

static void write_keys(FILE *to, const CheckpointState *s)
{
    fprintf(to, "{\"version\": %d", STATE_VERSION);
    for (const struct StateKey *k = state_keys; k < state_keys + STATE_KEYS; k++) {
        uint64_t integer;
        double real;
        memcpy(&integer, (const char *)s + k->offset, sizeof integer);
        memcpy(&real, (const char *)s + k->offset, sizeof real);
        fprintf(to, ", \"%s\": ", k->key);
        if (k->real)
            json_write_number(to, real);
        else
            fprintf(to, "%llu", (unsigned long long)integer);
    }
}

/* `tokenizer`: NULL if the checkpoint has no tables. */
static int write_state(const char *dir, const CheckpointState *s, const Tokenizer *tokenizer, const char *data,
                       const uint64_t hashes[PARTS], Error *e)
{
    char path[PATH_MOST], hash[HASH_TEXT], *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);
    if (to == NULL)
        return error_set(e, "out of memory");
    write_keys(to, s);
    for (size_t i = 0; i < PARTS; i++) {
        hash_format(hashes[i], hash);
        fprintf(to, "%s\"%s\": \"%s\"", i == 0 ? ",\n  \"files\": {" : ", ", part_names[i], hash);
    }
    fprintf(to, "}");
    if (tokenizer != NULL) {
        hash_format(tokenizer_hash(tokenizer), hash);
        fprintf(to, ",\n  \"tokenizer\": \"%s\"", hash);
    }
    fprintf(to, ",\n  \"data\": %s}", data);
    int status = fclose(to) != 0 || text == NULL ? error_set(e, "out of memory") : join(path, dir, "state.json", e);
    if (status == 0)
        status = json_file_write_sealed(path, text, size, e);
    free(text);
    return status;
}

/* Null is NaN where that is the default; a key newer than the file gets its default. */
static int read_key(const char *path, const Json *json, double version, const struct StateKey *k, CheckpointState *s,
                    Error *e)
{
    const Json *value = json_get(json, k->key);
    const bool is_null = value != NULL && value->type == JSON_NULL && isnan(k->otherwise);
    uint64_t integer = k->real ? 0 : (uint64_t)k->otherwise;
    double real = k->otherwise;
    const bool read = k->real ? json_number(value, &real) : json_u64(value, &integer);
    if (!read && !is_null && (value != NULL || version >= k->since))
        return error_set(e, "%s: \"%s\" is missing or not a number", path, k->key);
    memcpy((char *)s + k->offset, k->real ? (const void *)&real : (const void *)&integer, sizeof integer);
    return 0;
}

/* 0: a file from before versioning. */
static double version_of(const Json *state)
{
    double version = 0;
    json_number(json_get(state, "version"), &version);
    return version;
}

int checkpoint_read_json(const char *dir, Json **state, Error *e)
{
    char path[PATH_MOST];
    if (join(path, dir, "state.json", e) != 0 || json_file_read_sealed(path, JSON_LIMIT, state, e) != 0)
        return -1;
    const double version = version_of(*state);
    if (version <= STATE_VERSION)
        return 0;
    json_free(*state);
    *state = NULL;
    error_set(e, "%s: version %g was written by a newer program; this one reads up to %d", path, version,
              STATE_VERSION);
    return CANNOT_BE_JUDGED;
}

static int read_state(const char *dir, CheckpointState *s, Error *e)
{
    char path[PATH_MOST];
    Json *json;
    if (join(path, dir, "state.json", e) != 0 || checkpoint_read_json(dir, &json, e) != 0)
        return -1;
    int status = 0;
    for (size_t i = 0; i < STATE_KEYS && status == 0; i++)
        status = read_key(path, json, version_of(json), &state_keys[i], s, e);
    json_free(json);
    return status;
}

int checkpoint_read_state(const char *dir, Optim *optim, CheckpointState *state, Error *e)
{
    char path[PATH_MOST];
    Safetensors *file;
    if (join(path, dir, part_names[OPTIMIZER], e) != 0 || safetensors_open(path, &file, e) != 0)
        return -1;
    float *host = malloc(largest_state(optim) * sizeof *host);
    const int status =
        host != NULL ? read_optim_tensors(path, file, optim, host, e) : error_set(e, "%s: out of memory", path);
    free(host);
    safetensors_close(file);
    if (status != 0 || read_state(dir, state, e) != 0)
        return -1;
    if (optim_steps_done(optim) != state->step)
        return error_set(e, "%s: counts %zu steps, but state.json %zu", path, optim_steps_done(optim), state->step);
    return 0;
}

/* The first `count` files against the checksums in state.json; older ones have none. */
static int check_files(const char *dir, const Json *state, size_t count, Error *e)
{
    for (size_t i = 0; i < count && version_of(state) >= 2; i++) {
        char path[PATH_MOST], text[HASH_TEXT];
        uint64_t hash;
        const char *wanted = json_string(json_get(json_get(state, "files"), part_names[i]));
        if (join(path, dir, part_names[i], e) != 0 || files_hash(path, &hash, e) != 0)
            return -1;
        hash_format(hash, text);
        if (wanted == NULL || strcmp(text, wanted) != 0)
            return error_set(e, "%s: does not match its checksum in state.json: it was damaged or replaced", path);
    }
    return 0;
}

/* The tables, where state.json names a tokenizer. */
static int check_tokenizer(const char *dir, const Json *state, Error *e)
{
    const char *wanted = json_string(json_get(state, "tokenizer"));
    char text[HASH_TEXT];
    Tokenizer *tokenizer;
    if (wanted == NULL)
        return 0;
    if (tokenizer_open(dir, &tokenizer, e) != 0)
        return -1;
    hash_format(tokenizer_hash(tokenizer), text);
    tokenizer_close(tokenizer);
    if (strcmp(text, wanted) != 0)
        return error_set(e, "%s: its tokenizer does not match its checksum in state.json: it was damaged or replaced",
                         dir);
    return 0;
}

int checkpoint_check_model(const char *dir, Error *e)
{
    char path[PATH_MOST];
    Json *state;
    if (join(path, dir, "state.json", e) != 0)
        return -1;
    if (access(path, F_OK) != 0)
        return 0;
    if (checkpoint_read_json(dir, &state, e) != 0)
        return -1;
    const int status = check_files(dir, state, MODEL + 1, e) != 0 || check_tokenizer(dir, state, e) != 0 ? -1 : 0;
    json_free(state);
    return status;
}

/* --------------------------------------------------------------------------------------------------------------
 * The directory
 */

enum { STEP_NAME = 64 };

static void name_step(long long step, char name[STEP_NAME]) { snprintf(name, STEP_NAME, "step_%06lld", step); }

/* The step of a name "step_NNNNNN", or -1. */
static long long step_of_name(const char *name)
{
    char same[STEP_NAME];
    if (strncmp(name, "step_", 5) != 0 || name[5] < '0' || name[5] > '9')
        return -1;
    const long long step = strtoll(name + 5, NULL, 10);
    name_step(step, same);
    return strcmp(name, same) == 0 ? step : -1; /* not a copy as step_20 */
}

static int compare_steps(const void *a, const void *b)
{
    const long long x = *(const long long *)a, y = *(const long long *)b;
    return (x > y) - (x < y);
}

/* A checkpoint that was never finished. */
static bool is_unfinished(const char *name)
{
    const size_t length = strlen(name);
    return strncmp(name, "step_", 5) == 0 && length > 4 && strcmp(name + length - 4, ".tmp") == 0;
}

static int remove_named(const char *run, const char *name, Error *e)
{
    char path[PATH_MOST];
    return join(path, run, name, e) != 0 || files_remove_tree(path, e) != 0 ? -1 : 0;
}

/* The steps of a run's checkpoints, ascending; removes unfinished ones if `tidy`. The caller frees *steps. */
static int list_steps(const char *run, bool tidy, long long **steps, size_t *count, Error *e)
{
    size_t room = 0;
    int status = 0;
    DIR *dir = opendir(run);
    *steps = NULL;
    *count = 0;
    if (dir == NULL)
        return error_set(e, "%s: cannot list the directory: %s", run, strerror(errno));
    for (const struct dirent *entry; status == 0 && (entry = readdir(dir)) != NULL;) {
        const long long step = step_of_name(entry->d_name);
        if (tidy && is_unfinished(entry->d_name))
            status = remove_named(run, entry->d_name, e);
        if (step < 0)
            continue;
        if (*count == room) {
            room = 2 * room + 16;
            long long *more = realloc(*steps, room * sizeof *more);
            if (more == NULL) {
                status = error_set(e, "out of memory for a list of checkpoints");
                break;
            }
            *steps = more;
        }
        (*steps)[(*count)++] = step;
    }
    closedir(dir);
    if (*count > 0)
        qsort(*steps, *count, sizeof **steps, compare_steps);
    return status;
}

/* Those after the newest, of an abandoned continuation, do not count. */
int checkpoint_prune(const char *run, const CheckpointState *state, size_t keep, Error *e)
{
    long long *steps;
    size_t n;
    int status = list_steps(run, true, &steps, &n, e);
    while (n > 0 && steps[n - 1] > (long long)state->step)
        n--;
    for (size_t i = 0; keep > 0 && i + keep < n && status == 0; i++) {
        char name[STEP_NAME];
        name_step(steps[i], name);
        if (isnan(state->best_loss) || steps[i] != (long long)state->best_step)
            status = remove_named(run, name, e);
    }
    free(steps);
    return status;
}

/* Collective, as checkpoint_write; `dir` NULL: on a rank that does not write. */
static int write_parts(const char *dir, const Gpt *gpt, const Optim *optim, const Tokenizer *tokenizer,
                       const CheckpointState *state, const char *data, Error *e)
{
    uint64_t hashes[PARTS];
    const Tokenizer *tables = tokenizer != NULL && !tokenizer_is_bytes(tokenizer) ? tokenizer : NULL;
    int status = 0;
    if (dir != NULL && (files_make_dirs(dir, e) != 0 || (tables != NULL && tokenizer_write(tables, dir, e) != 0) ||
                        write_model(dir, gpt, hashes, e) != 0))
        status = -1;
    /* what came from a rank that was lost meanwhile is no state */
    status = comm_agree(optim_comm(optim), write_optim(dir, optim, status, &hashes[OPTIMIZER], e), e);
    if (dir == NULL || status != 0)
        return status;
    return write_state(dir, state, tables, data, hashes, e) != 0 ? -1 : files_sync_dir(dir, e);
}

/* Gives a finished checkpoint its name, which an older one of the same step may have. */
static int put_in_place(const char *from, const char *to, Error *e)
{
#ifdef RENAME_EXCHANGE
    struct stat found;
    if (lstat(to, &found) == 0 && S_ISDIR(found.st_mode) &&
        renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE) == 0) /* there is one at every moment */
        return files_remove_tree(from, e);
#endif
    if (files_remove_tree(to, e) != 0)
        return -1;
    return rename(from, to) == 0 ? 0 : error_set(e, "%s: cannot be renamed to %s: %s", from, to, strerror(errno));
}

/* Where a checkpoint is written, and where it goes. */
typedef struct Destination {
    char from[PATH_MOST], to[PATH_MOST], latest[PATH_MOST], name[STEP_NAME + 1];
} Destination;

static int find_destination(const char *run, size_t step, Destination *d, Error *e)
{
    char unfinished[STEP_NAME + 8];
    name_step((long long)step, d->name);
    snprintf(unfinished, sizeof unfinished, "%s.tmp", d->name);
    return join(d->from, run, unfinished, e) != 0 || join(d->to, run, d->name, e) != 0 ||
                   join(d->latest, run, "latest", e) != 0 || files_remove_tree(d->from, e) != 0
               ? -1
               : 0;
}

static int put_destination(const char *run, Destination *d, Error *e)
{
    if (put_in_place(d->from, d->to, e) != 0) {
        Error ignored;
        files_remove_tree(d->from, &ignored); /* a half-written one is useless, and the disk may be full */
        return -1;
    }
    strcat(d->name, "\n");
    return files_sync_dir(run, e) != 0 ? -1 : files_write_atomic(d->latest, d->name, strlen(d->name), e);
}

int checkpoint_write(const char *run, const Gpt *gpt, const Optim *optim, const Tokenizer *tokenizer,
                     CheckpointState *state, const char *data, Error *e)
{
    Destination d;
    Error ignored;
    CheckpointState next = *state;
    if (!isnan(next.val_loss) && next.val_step == next.step && !(next.val_loss >= next.best_loss)) {
        next.best_loss = next.val_loss;
        next.best_step = next.step;
    }
    int status = run != NULL ? find_destination(run, state->step, &d, e) : 0;
    if (comm_agree(optim_comm(optim), status, e) != 0)
        return -1;
    status = write_parts(run != NULL ? d.from : NULL, gpt, optim, tokenizer, &next, data, e);
    if (run != NULL && status != 0)
        files_remove_tree(d.from, &ignored);
    if (run != NULL && status == 0)
        status = put_destination(run, &d, e);
    if (comm_agree(optim_comm(optim), status, e) != 0)
        return -1;
    *state = next;
    return 0;
}

/* The step that <run>/latest names. */
static int read_latest(const char *run, long long *step, Error *e)
{
    char file[PATH_MOST], *text;
    size_t length;
    if (join(file, run, "latest", e) != 0 || files_read_all(file, 256, &text, &length, e) != 0)
        return -1;
    text[strcspn(text, "\n")] = '\0';
    *step = step_of_name(text);
    const int status = *step >= 0 ? 0 : error_set(e, "%s: holds '%s', not the name of a checkpoint", file, text);
    free(text);
    return status;
}

/* False where a file is there and cannot be opened: a reason to stop, not to go back to an older checkpoint. */
static bool can_be_judged(const char *dir, Error *e)
{
    for (size_t i = 0; i <= PARTS; i++) {
        char path[PATH_MOST];
        if (join(path, dir, i < PARTS ? part_names[i] : "state.json", e) != 0)
            return false;
        if (access(path, R_OK) != 0 && errno != ENOENT) {
            error_set(e, "%s: cannot be read: %s", path, strerror(errno));
            return false;
        }
    }
    return true;
}

/* Whether everything in a checkpoint is what was written: 0, -1 if it is damaged, or CANNOT_BE_JUDGED. Puts its path
 * into `dir`. */
static int check_whole(const char *run, long long step, char *dir, Error *e)
{
    char name[STEP_NAME];
    Json *state;
    uint64_t recorded = 0;
    name_step(step, name);
    if (join(dir, run, name, e) != 0 || !can_be_judged(dir, e))
        return CANNOT_BE_JUDGED;
    int status = checkpoint_read_json(dir, &state, e);
    if (status != 0)
        return status;
    status = check_files(dir, state, PARTS, e);
    if (status == 0)
        status = check_tokenizer(dir, state, e);
    if (status == 0 && (!json_u64(json_get(state, "step"), &recorded) || recorded != (uint64_t)step))
        status = error_set(e, "%s/state.json: is that of step %llu", dir, (unsigned long long)recorded);
    json_free(state);
    return status;
}

int checkpoint_find(const char *run, char *path, size_t size, Error *damage, Error *e)
{
    long long *steps, latest = LLONG_MAX;
    size_t n;
    char dir[PATH_MOST];
    int status = -1;
    damage->text[0] = '\0';
    if (list_steps(run, false, &steps, &n, e) != 0)
        return -1;
    if (n == 0) {
        free(steps);
        return error_set(e, "%s: holds no checkpoint: the run stopped before its first; remove it and start again",
                         run);
    }
    if (read_latest(run, &latest, damage) != 0)
        latest = LLONG_MAX;
    else if (bsearch(&latest, steps, n, sizeof *steps, compare_steps) == NULL)
        error_set(damage, "%s/latest: names step_%06lld, which is not there", run, latest);
    for (; n > 0 && status != 0; n--) {
        Error fault;
        if (steps[n - 1] > latest)
            continue;
        status = check_whole(run, steps[n - 1], dir, &fault);
        if (status == CANNOT_BE_JUDGED) {
            *e = fault;
            break;
        }
        if (status != 0 && damage->text[0] == '\0')
            *damage = fault;
    }
    free(steps);
    if (status == CANNOT_BE_JUDGED)
        return -1;
    if (status != 0)
        return error_set(e, "%s: no checkpoint is intact: %s", run, damage->text);
    return (size_t)snprintf(path, size, "%s", dir) < size ? 0 : error_set(e, "%s: the path is too long", dir);
}
