#include "train/checkpoint.h"

#include "files/files.h"
#include "files/json.h"
#include "files/safetensors.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_MOST = 4096, JSON_LIMIT = 1 << 24 };

static int join(char *path, const char *dir, const char *name, Error *e)
{
    if (snprintf(path, PATH_MOST, "%s/%s", dir, name) >= PATH_MOST)
        return error_set(e, "%s/%s: the path is too long", dir, name);
    return 0;
}

/* to (cols,rows) = from (rows,cols) transposed */
static void transpose(float *to, const float *from, size_t rows, size_t cols)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++)
            to[j * rows + i] = from[i * cols + j];
}

static size_t largest_tensor(const GptTable *table)
{
    size_t most = 0;
    for (size_t i = 0; i < table->count; i++)
        most = tensor_size(&table->tensors[i]) > most ? tensor_size(&table->tensors[i]) : most;
    return most;
}

/* --------------------------------------------------------------------------------------------------------------
 * config.json
 */

/* The fields of the configuration, then what all models of this program share. */
static int write_config(const char *dir, const GptConfig *c, Error *e)
{
    char path[PATH_MOST], text[2048];
    int n =
        snprintf(text, sizeof text, "{\n  \"architectures\": [\"GPT2LMHeadModel\"],\n  \"model_type\": \"gpt2\",\n");
    for (const GptField *f = gpt_fields; f < gpt_fields + GPT_FIELDS; f++) {
        const char *quote = f->choices != NULL ? "\"" : "";
        char value[64];
        gpt_field_format(f, c, true, value, sizeof value);
        n += snprintf(text + n, sizeof text - (size_t)n, "  \"%s\": %s%s%s,\n", f->key, quote, value, quote);
    }
    n += snprintf(text + n, sizeof text - (size_t)n,
                  "  \"n_ctx\": %zu,\n  \"n_inner\": null,\n  \"layer_norm_epsilon\": 1e-05,\n"
                  "  \"initializer_range\": 0.02,\n  \"attn_pdrop\": 0.0,\n  \"embd_pdrop\": 0.0,\n"
                  "  \"resid_pdrop\": 0.0,\n  \"tie_word_embeddings\": true,\n  \"torch_dtype\": \"float32\"\n}\n",
                  c->T);
    if (join(path, dir, "config.json", e) != 0)
        return -1;
    return files_write_atomic(path, text, (size_t)n, e);
}

static int read_json(const char *path, Json **json, Error *e)
{
    char *text;
    size_t size;
    if (files_read_all(path, JSON_LIMIT, &text, &size, e) != 0)
        return -1;
    Error fault;
    const int status = json_parse(text, size, json, &fault);
    free(text);
    return status == 0 ? 0 : error_set(e, "%s: %s", path, fault.text);
}

/* A value as shown in messages. */
static const char *shown(const Json *value)
{
    if (value->type == JSON_BOOL)
        return value->boolean ? "true" : "false";
    return value->text != NULL ? value->text : "a list or object";
}

/* What must hold, unless absent or null, for the weights to mean what train_gpt computes. */
static int check_classic(const char *path, const Json *json, size_t C, Error *e)
{
    char inner[24];
    const char *const classic[][2] = {{"model_type", "gpt2"},
                                      {"layer_norm_epsilon", "1e-05"},
                                      {"n_inner", inner},
                                      {"tie_word_embeddings", "true"},
                                      {"scale_attn_weights", "true"},
                                      {"scale_attn_by_inverse_layer_idx", "false"},
                                      {"reorder_and_upcast_attn", "false"},
                                      {"add_cross_attention", "false"}};
    snprintf(inner, sizeof inner, "%zu", 4 * C);
    for (size_t i = 0; i < sizeof classic / sizeof *classic; i++) {
        const Json *value = json_get(json, classic[i][0]);
        const double want = strtod(classic[i][1], NULL);
        double got;
        const bool same = json_number(value, &got)
                              ? fabs(got - want) <= 1e-9 * want
                              : value == NULL || value->type == JSON_NULL || strcmp(shown(value), classic[i][1]) == 0;
        if (!same)
            return error_set(e, "%s: %s is %s; only %s is supported", path, classic[i][0], shown(value), classic[i][1]);
    }
    return 0;
}

/* A missing choice is the classic one. */
static int read_field(const char *path, const Json *json, const GptField *f, GptConfig *c, Error *e)
{
    const Json *value = json_get(json, f->key);
    const bool is_size = f->choices == NULL, absent = value == NULL || value->type == JSON_NULL;
    if (absent && is_size)
        return error_set(e, "%s: \"%s\" is missing", path, f->key);
    if (absent || (value->type == (is_size ? JSON_NUMBER : JSON_STRING) && gpt_field_restore(f, value->text, c) == 0))
        return 0;
    return error_set(e, "%s: %s is %s, which is %s", path, f->key, shown(value),
                     is_size ? "not a whole number" : "not supported");
}

int checkpoint_read_config(const char *dir, GptConfig *c, Error *e)
{
    char path[PATH_MOST];
    Json *json;
    if (join(path, dir, "config.json", e) != 0 || read_json(path, &json, e) != 0)
        return -1;
    *c = (GptConfig){0};
    int status = 0;
    for (const GptField *f = gpt_fields; f < gpt_fields + GPT_FIELDS && status == 0; f++)
        status = read_field(path, json, f, c, e);
    Error fault;
    if (status == 0 && gpt_config_check(c, &fault) != 0)
        status = error_set(e, "%s: %s", path, fault.text);
    if (status == 0)
        status = check_classic(path, json, c->C, e);
    json_free(json);
    return status;
}

/* --------------------------------------------------------------------------------------------------------------
 * model.safetensors
 */

static SafetensorsSpec model_spec(const Tensor *t, const char *name)
{
    const bool vector = t->rows == 1 && t->role != ROLE_HIDDEN_MATRIX && t->role != ROLE_TOKEN_EMBEDDING &&
                        t->role != ROLE_POSITION_EMBEDDING && t->role != ROLE_HEAD;
    if (vector)
        return (SafetensorsSpec){.name = name, .dtype = DTYPE_F32, .rank = 1, .shape = {t->cols}};
    return (SafetensorsSpec){.name = name,
                             .dtype = DTYPE_F32,
                             .rank = 2,
                             .shape = {t->transposed ? t->cols : t->rows, t->transposed ? t->rows : t->cols}};
}

/* Streams every tensor in file layout; scratch holds two of the largest. */
static int append_model(SafetensorsWriter *writer, const Gpt *gpt, float *scratch, size_t most, Error *e)
{
    const GptTable *table = gpt_table(gpt);
    for (size_t i = 0; i < table->count; i++) {
        const Tensor *t = &table->tensors[i];
        float *file = scratch;
        gpt_read(gpt, GPT_PARAMS, t, scratch);
        if (t->transposed) {
            file = scratch + most;
            transpose(file, scratch, t->rows, t->cols);
        }
        if (safetensors_append(writer, file, tensor_size(t) * sizeof *file, e) != 0)
            return -1;
    }
    return 0;
}

static int write_model(const char *dir, const Gpt *gpt, Error *e)
{
    static const char *const metadata[][2] = {{"format", "pt"}}; /* transformers insists on it */
    enum { NAME_MOST = 64 };
    const GptTable *table = gpt_table(gpt);
    const size_t most = largest_tensor(table);
    char path[PATH_MOST];
    SafetensorsSpec *specs = malloc(table->count * sizeof *specs);
    char(*names)[NAME_MOST] = malloc(table->count * sizeof *names);
    float *scratch = malloc(2 * most * sizeof *scratch);
    SafetensorsWriter *writer = NULL;
    int status = join(path, dir, "model.safetensors", e);
    if (status == 0 && (specs == NULL || names == NULL || scratch == NULL))
        status = error_set(e, "%s: out of memory", path);
    for (size_t i = 0; i < table->count && status == 0; i++) {
        snprintf(names[i], sizeof names[i], "transformer.%s", table->tensors[i].name);
        specs[i] = model_spec(&table->tensors[i], names[i]);
    }
    if (status == 0)
        status = safetensors_create(path, specs, table->count, metadata, 1, &writer, e);
    if (status == 0 && append_model(writer, gpt, scratch, most, e) != 0) {
        safetensors_abandon(writer);
        status = -1;
    } else if (status == 0) {
        status = safetensors_finish(writer, NULL, e);
    }
    free(specs);
    free(names);
    free(scratch);
    return status;
}

/* Names in a GPT-2 file that are not parameters: attention masks, and the tied head, which duplicates wte. */
static bool is_ignorable(const char *name)
{
    const char *const ends[] = {".attn.bias", ".attn.masked_bias"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (strlen(name) > strlen(ends[i]) && strcmp(name + strlen(name) - strlen(ends[i]), ends[i]) == 0)
            return true;
    return strcmp(name, "lm_head.weight") == 0;
}

static int read_tensor(const char *path, Safetensors *file, const SafetensorsEntry *entry, const Tensor *t, Gpt *gpt,
                       float *scratch, size_t most, Error *e)
{
    const SafetensorsSpec want = model_spec(t, t->name);
    bool same = entry->rank == want.rank;
    for (size_t i = 0; i < want.rank && same; i++)
        same = entry->shape[i] == want.shape[i];
    if (!same && want.rank == 1)
        return error_set(e, "%s: tensor %s must have shape [%zu]", path, entry->name, want.shape[0]);
    if (!same)
        return error_set(e, "%s: tensor %s must have shape [%zu, %zu]", path, entry->name, want.shape[0],
                         want.shape[1]);
    if (safetensors_read_f32(file, entry, scratch, e) != 0)
        return -1;
    float *memory = scratch;
    if (t->transposed) {
        memory = scratch + most;
        transpose(memory, scratch, t->cols, t->rows);
    }
    gpt_write(gpt, GPT_PARAMS, t, memory);
    return 0;
}

/* Every tensor of the file goes to its row; every row must be filled once. */
static int read_all(const char *path, Safetensors *file, Gpt *gpt, bool *met, float *scratch, size_t most, Error *e)
{
    const GptTable *table = gpt_table(gpt);
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const SafetensorsEntry *entry = safetensors_entry(file, i);
        const Tensor *t = gpt_table_find(table, entry->name);
        if (t == NULL && is_ignorable(entry->name))
            continue;
        if (t == NULL)
            return error_set(e, "%s: this model has no tensor %s", path, entry->name);
        if (met[t - table->tensors])
            return error_set(e, "%s: tensor %s appears twice, with and without \"transformer.\"", path, t->name);
        met[t - table->tensors] = true;
        if (read_tensor(path, file, entry, t, gpt, scratch, most, e) != 0)
            return -1;
    }
    for (size_t i = 0; i < table->count; i++)
        if (!met[i])
            return error_set(e, "%s: tensor %s is missing", path, table->tensors[i].name);
    return 0;
}

int checkpoint_read_model(const char *dir, Gpt *gpt, Error *e)
{
    const size_t most = largest_tensor(gpt_table(gpt));
    char path[PATH_MOST];
    Safetensors *file;
    if (join(path, dir, "model.safetensors", e) != 0 || safetensors_open(path, &file, e) != 0)
        return -1;
    bool *met = calloc(gpt_table(gpt)->count, sizeof *met);
    float *scratch = malloc(2 * most * sizeof *scratch);
    const int status = met == NULL || scratch == NULL ? error_set(e, "%s: out of memory", path)
                                                      : read_all(path, file, gpt, met, scratch, most, e);
    free(met);
    free(scratch);
    safetensors_close(file);
    return status;
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

static int write_optim(const char *dir, const Optim *optim, Error *e)
{
    const size_t n = optim_state_count(optim);
    const OptimScalars scalars = optim_scalars(optim);
    char path[PATH_MOST], values[OPTIM_SCALARS][32];
    const char *metadata[OPTIM_SCALARS][2];
    SafetensorsWriter *writer;
    for (size_t i = 0; i < OPTIM_SCALARS; i++) {
        snprintf(values[i], sizeof values[i], "%.17g", ((const double *)&scalars)[i]);
        metadata[i][0] = optim_scalar_names[i];
        metadata[i][1] = values[i];
    }
    if (join(path, dir, "optimizer.safetensors", e) != 0)
        return -1;
    SafetensorsSpec *specs = malloc((n + 1) * sizeof *specs);
    if (specs == NULL)
        return error_set(e, "%s: out of memory", path);
    for (size_t i = 0; i < n; i++) {
        const OptimState *s = optim_state(optim, i);
        specs[i] = (SafetensorsSpec){.name = s->name, .dtype = DTYPE_F32, .rank = 2, .shape = {s->rows, s->cols}};
    }
    int status = safetensors_create(path, specs, n, (const char *const(*)[2])metadata, OPTIM_SCALARS, &writer, e);
    free(specs);
    if (status != 0)
        return -1;
    float *host = malloc(largest_state(optim) * sizeof *host);
    if (host == NULL)
        status = error_set(e, "%s: out of memory", path);
    for (size_t i = 0; i < n && status == 0; i++) {
        const OptimState *s = optim_state(optim, i);
        optim_state_read(optim, i, host);
        status = safetensors_append(writer, host, s->rows * s->cols * sizeof *host, e);
    }
    free(host);
    if (status != 0) {
        safetensors_abandon(writer);
        return -1;
    }
    return safetensors_finish(writer, NULL, e);
}

/* Numbers missing from the metadata are NaN. */
static int read_scalars(const char *path, const Safetensors *file, OptimScalars *scalars, Error *e)
{
    for (size_t i = 0; i < OPTIM_SCALARS; i++) {
        const char *name = optim_scalar_names[i], *text = safetensors_metadata(file, name);
        char *end = NULL;
        const double value = text != NULL ? strtod(text, &end) : (double)NAN;
        if (text != NULL && (end == text || *end != '\0' || !(value >= 0 && value < 0x1p53)))
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
enum { STATE_VERSION = 1 };

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
    {"val_loss", offsetof(CheckpointState, val_loss), true, 0, NAN},
    {"val_step", offsetof(CheckpointState, val_step), false, 0, 0},
    {"val_seconds", offsetof(CheckpointState, val_seconds), true, 0, 0},
};

enum { STATE_KEYS = sizeof state_keys / sizeof *state_keys };
_Static_assert(sizeof(size_t) == sizeof(uint64_t), "both kinds of integers are read and written alike");

static int write_state(const char *dir, const CheckpointState *s, Error *e)
{
    char path[PATH_MOST], text[1024];
    int n = snprintf(text, sizeof text, "{\"version\": %d", STATE_VERSION);
    for (const struct StateKey *k = state_keys; k < state_keys + STATE_KEYS; k++) {
        char value[32] = "null";
        uint64_t integer;
        double real;
        memcpy(&integer, (const char *)s + k->offset, sizeof integer);
        memcpy(&real, (const char *)s + k->offset, sizeof real);
        if (!k->real)
            snprintf(value, sizeof value, "%llu", (unsigned long long)integer);
        else if (!isnan(real))
            snprintf(value, sizeof value, "%.17g", real);
        n += snprintf(text + n, sizeof text - (size_t)n, ", \"%s\": %s", k->key, value);
    }
    n += snprintf(text + n, sizeof text - (size_t)n, "}\n");
    if (join(path, dir, "state.json", e) != 0)
        return -1;
    return files_write_atomic(path, text, (size_t)n, e);
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

static int read_state(const char *dir, CheckpointState *s, Error *e)
{
    char path[PATH_MOST];
    Json *json;
    double version = 0; /* files from before versioning */
    if (join(path, dir, "state.json", e) != 0 || read_json(path, &json, e) != 0)
        return -1;
    json_number(json_get(json, "version"), &version);
    int status = version <= STATE_VERSION
                     ? 0
                     : error_set(e, "%s: version %g was written by a newer program; this one reads up to %d", path,
                                 version, STATE_VERSION);
    for (size_t i = 0; i < STATE_KEYS && status == 0; i++)
        status = read_key(path, json, version, &state_keys[i], s, e);
    json_free(json);
    return status;
}

int checkpoint_read_state(const char *dir, Optim *optim, CheckpointState *state, Error *e)
{
    char path[PATH_MOST];
    Safetensors *file;
    if (join(path, dir, "optimizer.safetensors", e) != 0 || safetensors_open(path, &file, e) != 0)
        return -1;
    float *host = malloc(largest_state(optim) * sizeof *host);
    const int status =
        host != NULL ? read_optim_tensors(path, file, optim, host, e) : error_set(e, "%s: out of memory", path);
    free(host);
    safetensors_close(file);
    return status == 0 ? read_state(dir, state, e) : -1;
}

/* --------------------------------------------------------------------------------------------------------------
 * The directory
 */

/* The step of a name "step_NNNNNN", or -1. */
static long long step_of_name(const char *name)
{
    char *end;
    if (strncmp(name, "step_", 5) != 0 || name[5] < '0' || name[5] > '9')
        return -1;
    const long long step = strtoll(name + 5, &end, 10);
    return *end == '\0' ? step : -1;
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

/* Removes unfinished checkpoints and all but the `keep` newest of those up to `newest`; later ones, from an abandoned
 * continuation, do not count. */
static int remove_old(const char *run, size_t newest, size_t keep, Error *e)
{
    enum { STEPS_MOST = 4096 };
    long long steps[STEPS_MOST];
    size_t n = 0;
    int status = 0;
    DIR *dir = opendir(run);
    if (dir == NULL)
        return error_set(e, "%s: cannot list the directory", run);
    for (const struct dirent *entry; status == 0 && (entry = readdir(dir)) != NULL && n < STEPS_MOST;) {
        const long long step = step_of_name(entry->d_name);
        if (step >= 0 && step <= (long long)newest)
            steps[n++] = step;
        if (is_unfinished(entry->d_name))
            status = remove_named(run, entry->d_name, e);
    }
    closedir(dir);
    qsort(steps, n, sizeof *steps, compare_steps);
    for (size_t i = 0; i + keep < n && status == 0; i++) {
        char name[64];
        snprintf(name, sizeof name, "step_%06lld", steps[i]);
        status = remove_named(run, name, e);
    }
    return status;
}

static int write_parts(const char *dir, const Gpt *gpt, const Optim *optim, const CheckpointState *state, Error *e)
{
    if (files_make_dirs(dir, e) != 0 || write_config(dir, gpt_config(gpt), e) != 0 || write_model(dir, gpt, e) != 0 ||
        write_optim(dir, optim, e) != 0 || write_state(dir, state, e) != 0)
        return -1;
    return files_sync_dir(dir, e);
}

int checkpoint_write(const char *run, const Gpt *gpt, const Optim *optim, const CheckpointState *state, size_t keep,
                     Error *e)
{
    char name[64], unfinished[80], from[PATH_MOST], to[PATH_MOST], latest[PATH_MOST];
    snprintf(name, sizeof name, "step_%06zu", state->step);
    snprintf(unfinished, sizeof unfinished, "%s.tmp", name);
    if (join(from, run, unfinished, e) != 0 || join(to, run, name, e) != 0 || join(latest, run, "latest", e) != 0 ||
        files_remove_tree(from, e) != 0)
        return -1;
    if (write_parts(from, gpt, optim, state, e) != 0) {
        Error ignored;
        files_remove_tree(from, &ignored); /* a half-written one is useless, and the disk may be full */
        return -1;
    }
    if (files_remove_tree(to, e) != 0)
        return -1;
    if (rename(from, to) != 0)
        return error_set(e, "%s: cannot be renamed to %s", from, to);
    strcat(name, "\n");
    if (files_sync_dir(run, e) != 0 || files_write_atomic(latest, name, strlen(name), e) != 0)
        return -1;
    return keep > 0 ? remove_old(run, state->step, keep, e) : 0;
}

int checkpoint_latest(const char *run, char *path, size_t size, Error *e)
{
    char file[PATH_MOST], *text;
    size_t length;
    if (join(file, run, "latest", e) != 0)
        return -1;
    if (access(file, F_OK) != 0)
        return error_set(e, "%s is not there: the run stopped before its first checkpoint; start it again", file);
    if (files_read_all(file, 256, &text, &length, e) != 0)
        return -1;
    text[strcspn(text, "\n")] = '\0';
    int status = 0;
    if (step_of_name(text) < 0)
        status = error_set(e, "%s: holds '%s', not the name of a checkpoint", file, text);
    else if ((size_t)snprintf(path, size, "%s/%s", run, text) >= size)
        status = error_set(e, "%s: the path is too long", file);
    free(text);
    return status;
}
