/* Checkpoints through files: what is written, what is read back, and what is refused. */
#include "dev/tests/check.h"
#include "dev/tests/ranks.h"
#include "files/files.h"
#include "files/safetensors.h"
#include "train/checkpoint.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_MOST = 512, TENSORS_MOST = 64 };

static const GptConfig tiny = {.T = 8, .V = 11, .L = 2, .NH = 2, .C = 4};

static char root[] = "/tmp/test_checkpoint.XXXXXX";

/* <root>/<a>/<b>; in one of a few buffers, reused in turn. */
static const char *at(const char *a, const char *b)
{
    static char paths[4][PATH_MOST];
    static size_t next;
    char *path = paths[next++ % 4];
    snprintf(path, PATH_MOST, "%s/%s%s%s", root, a, b[0] != '\0' ? "/" : "", b);
    return path;
}

static void must(int status, const Error *e)
{
    if (status != 0) {
        printf("%s\n", e->text);
        exit(1);
    }
}

static void refused(int status, const Error *e, const char *word, const char *what)
{
    if (check(status == -1, "%s was accepted", what))
        check(strstr(e->text, word) != NULL, "%s: '%s' does not say '%s'", what, e->text, word);
}

static bool exists(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}

static char *read_text(const char *path)
{
    Error e;
    char *text;
    size_t size;
    must(files_read_all(path, 1 << 20, &text, &size, &e), &e);
    return text;
}

static void write_text(const char *path, const char *text)
{
    Error e;
    must(files_write_atomic(path, text, strlen(text), &e), &e);
}

/* A model whose parameters are all different multiples of 1/8 that F16 and BF16 hold exactly, and its AdamW with state
 * of the same kind. */
typedef struct Fixture {
    Gpt *gpt;
    Optim *optim;
} Fixture;

static float exact_value(size_t i) { return ((float)(i % 61) - 30.0f) / 8.0f; }

static Fixture fixture_make(bool filled)
{
    static const OptimConfig adamw = {.rule = "adamw"};
    Fixture f;
    Error e;
    must(gpt_create(&tiny, &(GptSetup){.B = 1, .T = tiny.T, .mode = GPT_TRAINING}, &f.gpt, &e), &e);
    const GptTable *table = gpt_table(f.gpt);
    const Arenas arenas = gpt_arenas(f.gpt);
    must(optim_create(&adamw, table->tensors, table->count, &arenas, &f.optim, &e), &e);
    for (size_t i = 0; filled && i < table->arena_size; i++)
        gpt_arenas(f.gpt).params[i] = exact_value(i);
    for (size_t k = 0; filled && k < optim_state_count(f.optim); k++) {
        const OptimState *s = optim_state(f.optim, k);
        for (size_t i = 0; i < s->rows * s->cols; i++)
            s->data[i] = (float)(k + 1) / (float)(i + 3);
    }
    return f;
}

static void fixture_free(Fixture f)
{
    optim_free(f.optim);
    gpt_free(f.gpt);
}

static const char data[] = "{\"train\": [], \"val\": []}";

/* Writes a checkpoint that `state` describes and removes all but `keep`. */
static void save_state(const char *run, const Fixture *f, CheckpointState *state, size_t keep)
{
    Error e;
    optim_set_scalars(f->optim, (OptimScalars){.steps_done = (double)state->step, .tail_began = NAN});
    must(files_make_dirs(at(run, ""), &e), &e);
    must(checkpoint_write(at(run, ""), f->gpt, f->optim, NULL, state, data, &e), &e);
    must(checkpoint_prune(at(run, ""), state, keep, &e), &e);
}

static void save(const char *run, const Fixture *f, size_t step, size_t keep)
{
    CheckpointState state = {.step = step, .val_loss = (double)NAN, .best_loss = (double)NAN};
    save_state(run, f, &state, keep);
}

/* The checkpoint that a run is resumed from, of which nothing is damaged. */
static void find(const char *run, char dir[PATH_MOST])
{
    Error damage, e;
    must(checkpoint_find(at(run, ""), dir, PATH_MOST, &damage, &e), &e);
    check(damage.text[0] == '\0', "%s: %s", run, damage.text);
}

/* Every tensor's elements; the padding between tensors is nobody's. */
static void check_same_params(const Gpt *got, const Gpt *want)
{
    const GptTable *table = gpt_table(want);
    for (size_t i = 0; i < table->count; i++) {
        const Tensor *t = &table->tensors[i];
        float *g = malloc(2 * tensor_size(t) * sizeof *g), *w = g + tensor_size(t);
        gpt_read(got, GPT_PARAMS, t, g);
        gpt_read(want, GPT_PARAMS, t, w);
        check_same_bits(g, w, tensor_size(t) * sizeof *g, t->name);
        free(g);
    }
}

/* --- what is written, and back --- */

static void test_round_trip(void)
{
    const Fixture from = fixture_make(true), to = fixture_make(false);
    CheckpointState state = {.step = 12,
                             .loader_position = 1ull << 60,
                             .tokens = (1ull << 62) + 1,
                             .seconds = 0.1,
                             .val_loss = 1.0 / 3,
                             .val_step = 10,
                             .val_seconds = 1e-9,
                             .best_loss = 0.3,
                             .best_step = 8};
    CheckpointState got = {0};
    char dir[PATH_MOST];
    Error e;
    optim_set_scalars(from.optim, (OptimScalars){.steps_done = (double)(12), .tail_began = NAN});
    must(files_make_dirs(at("round", ""), &e), &e);
    must(checkpoint_write(at("round", ""), from.gpt, from.optim, NULL, &state, data, &e), &e);
    find("round", dir);
    check(strcmp(dir, at("round", "step_000012")) == 0, "latest is %s", dir);
    must(checkpoint_read_model(dir, to.gpt, &e), &e);
    must(checkpoint_read_state(dir, to.optim, &got, &e), &e);
    check_same_params(to.gpt, from.gpt);
    for (size_t k = 0; k < optim_state_count(from.optim); k++) {
        const OptimState *s = optim_state(from.optim, k);
        check_same_bits(optim_state(to.optim, k)->data, s->data, s->rows * s->cols * sizeof *s->data, s->name);
    }
    check(optim_steps_done(to.optim) == 12, "steps done: %zu", optim_steps_done(to.optim));
    check(got.step == 12 && got.loader_position == state.loader_position && got.tokens == state.tokens &&
              got.val_step == 10 && got.best_step == 8,
          "whole numbers differ");
    check_same_bits(&got.best_loss, &state.best_loss, sizeof got.best_loss, "best_loss");
    check_same_bits(&got.seconds, &state.seconds, sizeof got.seconds, "seconds");
    check_same_bits(&got.val_loss, &state.val_loss, sizeof got.val_loss, "val_loss");
    check_same_bits(&got.val_seconds, &state.val_seconds, sizeof got.val_seconds, "val_seconds");
    fixture_free(from);
    fixture_free(to);
}

static void test_no_validation_yet(void)
{
    const Fixture f = fixture_make(true);
    CheckpointState got = {.val_loss = 0};
    Error e;
    save("blind", &f, 1, 0);
    must(checkpoint_read_state(at("blind", "step_000001"), f.optim, &got, &e), &e);
    check(isnan(got.val_loss), "val_loss is %g", got.val_loss);
    fixture_free(f);
}

/* Conv1D keeps its weights (in, out): w[o][i] in memory stands at i * out + o in the file. */
static void test_layout(void)
{
    const Fixture f = fixture_make(true);
    const GptTable *table = gpt_table(f.gpt);
    const size_t C = tiny.C;
    float file[4 * 4 * 4];
    Safetensors *s;
    Error e;
    save("layout", &f, 1, 0);
    must(safetensors_open(at("layout", "step_000001/model.safetensors"), &s, &e), &e);
    check(safetensors_count(s) == table->count, "%zu tensors instead of %zu", safetensors_count(s), table->count);
    check(safetensors_find(s, "lm_head.weight") == NULL, "the tied head was written twice");
    check(safetensors_metadata(s, "format") != NULL && strcmp(safetensors_metadata(s, "format"), "pt") == 0,
          "the metadata does not say format: pt");
    const SafetensorsEntry *fc = safetensors_find(s, "transformer.h.1.mlp.c_fc.weight");
    const Tensor *t = gpt_table_find(table, "h.1.mlp.c_fc.weight");
    if (check(fc != NULL && fc->rank == 2 && fc->shape[0] == C && fc->shape[1] == 4 * C, "c_fc is not (C, 4C)")) {
        must(safetensors_read_f32(s, fc, file, &e), &e);
        const float *memory = gpt_arenas(f.gpt).params + t->offset; /* (4C, C) */
        check(memory[7 * C + 2] != memory[2 * C + 7], "the fixture cannot tell");
        check_same_bits(&file[2 * 4 * C + 7], &memory[7 * C + 2], sizeof *file, "output 7 from input 2");
    }
    const SafetensorsEntry *wpe = safetensors_find(s, "transformer.wpe.weight");
    const Tensor *p = gpt_table_find(table, "wpe.weight");
    if (check(wpe != NULL && wpe->rank == 2 && wpe->shape[0] == tiny.T && wpe->shape[1] == C, "wpe is not (T, C)")) {
        must(safetensors_read_f32(s, wpe, file, &e), &e);
        check_same_bits(file, gpt_arenas(f.gpt).params + p->offset, tiny.T * C * sizeof *file,
                        "wpe is stored as it is");
    }
    const SafetensorsEntry *bias = safetensors_find(s, "transformer.h.0.attn.c_attn.bias");
    check(bias != NULL && bias->rank == 1 && bias->shape[0] == 3 * C, "c_attn.bias is not (3C)");
    safetensors_close(s);
    fixture_free(f);
}

static void test_config(void)
{
    static const char *const lines[] = {"\"architectures\": [\"GPT2LMHeadModel\"]",
                                        "\"model_type\": \"gpt2\"",
                                        "\"vocab_size\": 11",
                                        "\"n_positions\": 8",
                                        "\"n_embd\": 4",
                                        "\"n_layer\": 2",
                                        "\"n_head\": 2",
                                        "\"activation_function\": \"gelu_new\"",
                                        "\"layer_norm_epsilon\": 1e-05",
                                        "\"tie_word_embeddings\": true"};
    const Fixture f = fixture_make(true);
    GptConfig got;
    Error e;
    save("config", &f, 1, 0);
    must(checkpoint_read_config(at("config", "step_000001"), &got, &e), &e);
    check(got.T == 8 && got.V == 11 && got.L == 2 && got.NH == 2 && got.C == 4, "another configuration came back");
    char *text = read_text(at("config", "step_000001/config.json"));
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        check(strstr(text, lines[i]) != NULL, "config.json has no %s", lines[i]);
    free(text);
    fixture_free(f);
}

/* --- files that others wrote --- */

/* How a file departs from what checkpoint_write writes. */
typedef struct Foreign {
    bool bare;                                         /* names without "transformer." */
    Dtype dtype;                                       /* DTYPE_F32 is not 0: set it */
    const char *missing, *doubled, *flipped, *renamed; /* of these tensors: left out, there under both names, with rows
                                                          and cols swapped, as "stranger" */
    bool extras, other_head;                           /* masks and an lm_head, which is the embedding or is not */
} Foreign;

static uint16_t f16_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (x == 0)
        return (uint16_t)(bits >> 16 & 0x8000);
    return (uint16_t)((bits >> 16 & 0x8000) | ((bits >> 23 & 0xff) - 127 + 15) << 10 | (bits >> 13 & 0x3ff));
}

/* One element in the file's dtype. Returns its bytes. */
static size_t encode(unsigned char *to, Dtype dtype, float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint16_t half = dtype == DTYPE_F16 ? f16_of(x) : (uint16_t)(bits >> 16);
    if (dtype == DTYPE_F32)
        memcpy(to, &bits, sizeof bits);
    else
        memcpy(to, &half, sizeof half);
    return dtype == DTYPE_F32 ? sizeof bits : sizeof half;
}

/* The bytes of a tensor as Hugging Face keeps it. Returns how many. */
static size_t encode_tensor(unsigned char *to, const Gpt *gpt, const Tensor *t, Dtype dtype)
{
    float *values = malloc(tensor_size(t) * sizeof *values);
    size_t size = 0;
    gpt_read(gpt, GPT_PARAMS, t, values);
    const size_t file_rows = t->transposed ? t->cols : t->rows, file_cols = t->transposed ? t->rows : t->cols;
    for (size_t i = 0; i < file_rows; i++)
        for (size_t j = 0; j < file_cols; j++)
            size += encode(to + size, dtype, values[t->transposed ? j * t->cols + i : i * t->cols + j]);
    free(values);
    return size;
}

static bool is(const char *name, const char *wanted) { return wanted != NULL && strcmp(name, wanted) == 0; }

/* Writes <root>/<folder>/model.safetensors. */
static void write_foreign(const char *folder, const Gpt *gpt, Foreign how)
{
    const GptTable *table = gpt_table(gpt);
    static char names[TENSORS_MOST][96];
    SafetensorsSpec specs[TENSORS_MOST];
    enum { MASKS = 64 + 4 };
    unsigned char *bytes = calloc(4 * table->parameters + 4096, 1);
    size_t n = 0, size = 0;
    Error e;
    for (size_t i = 0; i < table->count; i++) {
        const Tensor *t = &table->tensors[i];
        const size_t rows = t->transposed ? t->cols : t->rows, cols = t->transposed ? t->rows : t->cols;
        const bool vector = t->role == ROLE_BIAS || t->role == ROLE_GAIN, flip = is(t->name, how.flipped);
        for (int copy = 0; copy < (is(t->name, how.doubled) ? 2 : is(t->name, how.missing) ? 0 : 1); copy++) {
            snprintf(names[n], sizeof names[n], "%s%s", how.bare != (copy == 1) ? "" : "transformer.",
                     is(t->name, how.renamed) ? "stranger" : t->name);
            specs[n] = (SafetensorsSpec){.name = names[n], .dtype = how.dtype, .rank = vector ? 1 : 2};
            specs[n].shape[0] = vector ? cols : flip ? cols : rows;
            specs[n].shape[1] = vector ? 0 : flip ? rows : cols;
            size += encode_tensor(bytes + size, gpt, t, how.dtype);
            n++;
        }
    }
    if (how.extras) {
        specs[n++] = (SafetensorsSpec){
            .name = "transformer.h.0.attn.bias", .dtype = DTYPE_BOOL, .rank = 4, .shape = {1, 1, 8, 8}};
        specs[n++] = (SafetensorsSpec){.name = "transformer.h.1.attn.masked_bias", .dtype = DTYPE_F32, .rank = 0};
        specs[n++] = (SafetensorsSpec){.name = "lm_head.weight", .dtype = DTYPE_F32, .rank = 2, .shape = {11, 4}};
        size += MASKS;
        size += encode_tensor(bytes + size, gpt, gpt_table_find(table, "wte.weight"), DTYPE_F32);
        bytes[size - 1] ^= how.other_head ? 0x80 : 0; /* the sign of its last element */
    }
    SafetensorsWriter *writer;
    must(files_make_dirs(at(folder, ""), &e), &e);
    must(safetensors_create(at(folder, "model.safetensors"), specs, n, NULL, 0, &writer, &e), &e);
    must(safetensors_append(writer, bytes, size, &e), &e);
    must(safetensors_finish(writer, NULL, &e), &e);
    free(bytes);
}

static void test_foreign_files(void)
{
    static const Foreign ways[] = {
        {.dtype = DTYPE_F32},
        {.dtype = DTYPE_F32, .bare = true},
        {.dtype = DTYPE_F32, .extras = true},
        {.dtype = DTYPE_F16},
        {.dtype = DTYPE_BF16, .bare = true, .extras = true},
    };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        const Fixture from = fixture_make(true), to = fixture_make(false);
        Error e;
        write_foreign("foreign", from.gpt, ways[i]);
        if (check(checkpoint_read_model(at("foreign", ""), to.gpt, &e) == 0, "way %zu: %s", i, e.text))
            check_same_params(to.gpt, from.gpt);
        fixture_free(from);
        fixture_free(to);
    }
}

/* Values that no file holds, to see what was loaded. */
static void fill_untouched(const Fixture *f)
{
    for (size_t i = 0; i < gpt_table(f->gpt)->arena_size; i++)
        gpt_arenas(f->gpt).params[i] = 1e6f;
}

static void check_untouched(const Fixture *f, const char *what)
{
    size_t touched = 0;
    for (size_t i = 0; i < gpt_table(f->gpt)->arena_size; i++)
        touched += gpt_arenas(f->gpt).params[i] != 1e6f;
    check(touched == 0, "%s: %zu parameters were loaded", what, touched);
}

static void test_refused_models(void)
{
    static const struct {
        const char *what, *word;
        Foreign how;
    } faults[] = {
        {"a missing tensor", "ln_f.bias is missing", {.dtype = DTYPE_F32, .missing = "ln_f.bias"}},
        {"a missing token embedding",
         "wte.weight is missing",
         {.dtype = DTYPE_F32, .missing = "wte.weight", .extras = true}},
        {"a tensor under both names", "twice", {.dtype = DTYPE_F32, .doubled = "h.1.ln_1.bias"}},
        {"an unknown tensor", "stranger", {.dtype = DTYPE_F32, .renamed = "ln_f.bias"}},
        {"a matrix that is not transposed", "[4, 12]", {.dtype = DTYPE_F32, .flipped = "h.0.attn.c_attn.weight"}},
        {"a transposed embedding", "[11, 4]", {.dtype = DTYPE_F32, .flipped = "wte.weight"}},
        {"a tied head that is not the embedding",
         "lm_head.weight differs from wte.weight",
         {.dtype = DTYPE_BF16, .extras = true, .other_head = true}},
    };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        const Fixture f = fixture_make(true);
        Error e;
        write_foreign("refused", f.gpt, faults[i].how);
        fill_untouched(&f);
        refused(checkpoint_read_model(at("refused", ""), f.gpt, &e), &e, faults[i].word, faults[i].what);
        refused(checkpoint_read_model(at("refused", ""), f.gpt, &e), &e, "model.safetensors", faults[i].what);
        check_untouched(&f, faults[i].what);
        fixture_free(f);
    }
}

/* text with the first `from` replaced; the caller frees it. */
static char *replaced(const char *text, const char *from, const char *to)
{
    const char *found = strstr(text, from);
    const size_t size = strlen(text) + strlen(to) + 1;
    char *result = malloc(size);
    if (found == NULL) {
        printf("there is no %s to replace\n", from);
        exit(1);
    }
    snprintf(result, size, "%.*s%s%s", (int)(found - text), text, to, found + strlen(from));
    return result;
}

typedef struct Edit {
    const char *from, *to, *word;
} Edit;

/* --- several files and an index --- */

enum { SHARDS = 3 };

static void name_shard(size_t i, char name[64])
{
    snprintf(name, 64, "model-%05zu-of-%05d.safetensors", i + 1, SHARDS);
}

/* Writes the tensors i, i + 3, i + 6 .. of a file to a file of their own. */
static void write_shard(const char *folder, const Safetensors *whole, const char *bytes, size_t i)
{
    SafetensorsSpec specs[TENSORS_MOST];
    SafetensorsWriter *writer;
    char name[64];
    size_t n = 0;
    Error e;
    name_shard(i, name);
    for (size_t k = i; k < safetensors_count(whole); k += SHARDS) {
        const SafetensorsEntry *entry = safetensors_entry(whole, k);
        specs[n] = (SafetensorsSpec){.name = entry->name, .dtype = entry->dtype, .rank = entry->rank};
        memcpy(specs[n++].shape, entry->shape, sizeof entry->shape);
    }
    must(safetensors_create(at(folder, name), specs, n, NULL, 0, &writer, &e), &e);
    for (size_t k = i; k < safetensors_count(whole); k += SHARDS) {
        const SafetensorsEntry *entry = safetensors_entry(whole, k);
        must(safetensors_append(writer, bytes + entry->begin, entry->end - entry->begin, &e), &e);
    }
    must(safetensors_finish(writer, NULL, &e), &e);
}

/* Divides <root>/<folder>/model.safetensors, as transformers does, and removes it. Returns the index, which the caller
 * frees. */
static char *divide(const char *folder)
{
    char *bytes, *index, name[64];
    size_t size;
    Safetensors *whole;
    Error e;
    must(files_read_all(at(folder, "model.safetensors"), 1 << 20, &bytes, &size, &e), &e);
    must(safetensors_open(at(folder, "model.safetensors"), &whole, &e), &e);
    for (size_t i = 0; i < SHARDS; i++)
        write_shard(folder, whole, bytes, i);
    FILE *to = open_memstream(&index, &size);
    fprintf(to, "{\"metadata\": {\"total_size\": 99}, \"weight_map\": {");
    for (size_t k = 0; k < safetensors_count(whole); k++) {
        name_shard(k % SHARDS, name);
        fprintf(to, "%s\n\"%s\": \"%s\"", k > 0 ? "," : "", safetensors_entry(whole, k)->name, name);
    }
    fprintf(to, "}}\n");
    fclose(to);
    safetensors_close(whole);
    free(bytes);
    must(remove(at(folder, "model.safetensors")), &(Error){"model.safetensors cannot be removed"});
    write_text(at(folder, "model.safetensors.index.json"), index);
    return index;
}

static void test_shards(void)
{
    static const Foreign ways[] = {{.dtype = DTYPE_F32}, {.dtype = DTYPE_BF16, .bare = true, .extras = true}};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        const Fixture from = fixture_make(true), to = fixture_make(false);
        Error e;
        write_foreign("shards", from.gpt, ways[i]);
        free(divide("shards"));
        if (check(checkpoint_read_model(at("shards", ""), to.gpt, &e) == 0, "way %zu: %s", i, e.text))
            check_same_params(to.gpt, from.gpt);
        fixture_free(from);
        fixture_free(to);
    }
}

static void test_refused_indexes(void)
{
#define FIRST "\"transformer.wte.weight\": "
#define FILE_1 "\"model-00001-of-00003.safetensors\""
    static const Edit edits[] = {
        {FIRST FILE_1, FIRST "\"model-00009-of-00003.safetensors\"",
         "model-00009-of-00003.safetensors: cannot be opened"},
        {FIRST FILE_1, FIRST "\"model-00002-of-00003.safetensors\"", "model-00001-of-00003.safetensors: holds tensor"},
        {FIRST FILE_1, FIRST "\"../model-00001-of-00003.safetensors\"",
         "index.json: tensor \"transformer.wte.weight\""},
        {FIRST FILE_1, FIRST "\"/etc/passwd\"", "no file of the same folder"},
        {FIRST FILE_1, FIRST "\"..\"", "no file of the same folder"},
        {FIRST FILE_1, FIRST "\"\"", "placed in no file"},
        {FIRST FILE_1, FIRST "7", "placed in no file"},
        {FIRST FILE_1 ",", "", "model-00001-of-00003.safetensors: holds tensor \"transformer.wte.weight\", which"},
        {FIRST, "\"stranger\": " FILE_1 ", " FIRST, "00001-of-00003.safetensors: tensor \"stranger\" is missing"},
        {FIRST, FIRST FILE_1 ", " FIRST, "index.json"},
        {"weight_map", "weights", "index.json: has no object \"weight_map\""},
        {"{\"metadata\"", "[\"metadata\"", "index.json"},
        {"}}", "}", "index.json"},
    };
#undef FIRST
#undef FILE_1
    const Fixture f = fixture_make(true);
    write_foreign("index", f.gpt, (Foreign){.dtype = DTYPE_F32});
    char *index = divide("index");
    fill_untouched(&f);
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        char *edited = replaced(index, edits[i].from, edits[i].to);
        Error e;
        write_text(at("index", "model.safetensors.index.json"), edited);
        refused(checkpoint_read_model(at("index", ""), f.gpt, &e), &e, edits[i].word, edits[i].to);
        check_untouched(&f, edits[i].to);
        free(edited);
    }
    free(index);
    fixture_free(f);
}

/* A model is one file, or several, or pickled; the first of these that is there counts. */
static void test_forms(void)
{
    const Fixture from = fixture_make(true), to = fixture_make(false);
    Error e;
    write_foreign("forms", from.gpt, (Foreign){.dtype = DTYPE_F32});
    write_text(at("forms", "model.safetensors.index.json"), "no index");
    write_text(at("forms", "pytorch_model.bin"), "no weights");
    must(checkpoint_read_model(at("forms", ""), to.gpt, &e), &e);
    check_same_params(to.gpt, from.gpt);
    must(remove(at("forms", "model.safetensors")), &(Error){"model.safetensors cannot be removed"});
    refused(checkpoint_read_model(at("forms", ""), to.gpt, &e), &e, "index.json", "a broken index");
    must(remove(at("forms", "model.safetensors.index.json")), &(Error){"the index cannot be removed"});
    refused(checkpoint_read_model(at("forms", ""), to.gpt, &e), &e, "pytorch_model.bin", "pickled weights");
    refused(checkpoint_read_model(at("forms", ""), to.gpt, &e), &e, ".save_pretrained(", "pickled weights");
    must(rename(at("forms", "pytorch_model.bin"), at("forms", "pytorch_model.bin.index.json")), &(Error){"rename"});
    refused(checkpoint_read_model(at("forms", ""), to.gpt, &e), &e, ".save_pretrained(", "several pickled files");
    must(remove(at("forms", "pytorch_model.bin.index.json")), &(Error){"it cannot be removed"});
    refused(checkpoint_read_model(at("forms", ""), to.gpt, &e), &e, "model.safetensors: cannot be opened", "nothing");
    fixture_free(from);
    fixture_free(to);
}

/* --- the directory --- */

static void test_keep(void)
{
    const Fixture f = fixture_make(true);
    for (size_t step = 1; step <= 5; step++)
        save("keep", &f, step, 2);
    check(!exists(at("keep", "step_000003")), "step 3 was kept");
    check(exists(at("keep", "step_000004")) && exists(at("keep", "step_000005")), "the two newest were not kept");
    save("keep", &f, 4, 1); /* gone back to 3, say: 5 belongs to a future that was given up */
    check(exists(at("keep", "step_000004")), "the newest was removed");
    save("keep", &f, 6, 0);
    check(exists(at("keep", "step_000004")), "keep 0 removed something");
    save("keep", &f, 1000000, 1);
    check(exists(at("keep", "step_1000000")) && !exists(at("keep", "step_000006")), "seven digits");
    fixture_free(f);
}

static void test_unfinished(void)
{
    const Fixture f = fixture_make(true);
    char dir[PATH_MOST];
    Error e;
    save("torn", &f, 1, 0);
    must(files_make_dirs(at("torn", "step_000002.tmp"), &e), &e);
    write_text(at("torn", "step_000002.tmp/model.safetensors"), "half");
    find("torn", dir);
    check(strcmp(dir, at("torn", "step_000001")) == 0, "latest is %s", dir);
    save("torn", &f, 2, 1);
    check(!exists(at("torn", "step_000002.tmp")), "the unfinished one is still there");
    check(exists(at("torn", "step_000002/state.json")) && !exists(at("torn", "step_000001")),
          "the new one is not in place");
    save("torn", &f, 2, 1); /* the same step again */
    check(exists(at("torn", "step_000002/state.json")), "it was not replaced");
    fixture_free(f);
}

/* The name that the new checkpoint needs is taken by a file. */
static void test_write_fails(void)
{
    const Fixture f = fixture_make(true);
    CheckpointState state = {.step = 2, .val_loss = 1, .best_loss = (double)NAN};
    char dir[PATH_MOST];
    Error e;
    save("stuck", &f, 1, 1);
    write_text(at("stuck", "step_000002"), "in the way");
    refused(checkpoint_write(at("stuck", ""), f.gpt, f.optim, NULL, &state, data, &e), &e, "step_000002",
            "a file in the way");
    check(isnan(state.best_loss) && !exists(at("stuck", "step_000002.tmp")), "something of it is left");
    Error damage;
    must(checkpoint_find(at("stuck", ""), dir, sizeof dir, &damage, &e), &e);
    check(strcmp(dir, at("stuck", "step_000001")) == 0, "found %s", dir);
    must(checkpoint_read_model(dir, f.gpt, &e), &e);
    fixture_free(f);
}

/* The best by validation loss stays beside the newest. */
static void test_best(void)
{
    static const double losses[] = {5, 3, 4, NAN, 3, 6};
    const Fixture f = fixture_make(true);
    CheckpointState state = {.best_loss = (double)NAN};
    for (size_t i = 0; i < sizeof losses / sizeof *losses; i++) {
        state.step = i + 1;
        state.val_loss = losses[i];
        state.val_step = i + 1;
        save_state("best", &f, &state, 1);
    }
    check(state.best_step == 2 && state.best_loss == 3, "the best is step %zu with %g", state.best_step,
          state.best_loss);
    for (size_t step = 1; step <= 6; step++) {
        char name[32];
        snprintf(name, sizeof name, "step_%06zu", step);
        check(exists(at("best", name)) == (step == 2 || step == 6), "%s", name);
    }
    state.step = 7;
    state.val_loss = 1; /* of an earlier step */
    save_state("best", &f, &state, 1);
    check(state.best_step == 2, "step 7 was not validated");
    state.val_step = 7;
    state.val_loss = 2;
    save_state("best", &f, &state, 1);
    check(!exists(at("best", "step_000002")) && exists(at("best", "step_000007")), "a new best is not the newest");
    fixture_free(f);
}

/* Whatever `latest` holds, the run goes on from the newest checkpoint that is intact, and says so. */
static void test_latest(void)
{
    static const char *const bad[] = {"",         "\n", "step_\n", "step_x\n", "step_000001.tmp\n", "../step_000001\n",
                                      "step_-1\n"};
    const Fixture f = fixture_make(true);
    char dir[PATH_MOST], shorter[8];
    Error damage, e;
    must(files_make_dirs(at("latest", ""), &e), &e);
    refused(checkpoint_find(at("latest", ""), dir, sizeof dir, &damage, &e), &e, "holds no checkpoint",
            "no checkpoint");
    save("latest", &f, 7, 0);
    save("latest", &f, 9, 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_text(at("latest", "latest"), bad[i]);
        must(checkpoint_find(at("latest", ""), dir, sizeof dir, &damage, &e), &e);
        check(strstr(damage.text, "not the name of a checkpoint") != NULL, "%s: %s", bad[i], damage.text);
        check(strcmp(dir, at("latest", "step_000009")) == 0, "%s: %s", bad[i], dir);
    }
    char *long_text = calloc(1, 1000);
    memset(long_text, '1', 999);
    write_text(at("latest", "latest"), long_text);
    must(checkpoint_find(at("latest", ""), dir, sizeof dir, &damage, &e), &e);
    check(strstr(damage.text, "latest") != NULL, "a long file: %s", damage.text);
    free(long_text);
    write_text(at("latest", "latest"), "step_000007"); /* a last line without its end */
    find("latest", dir);
    check(strcmp(dir, at("latest", "step_000007")) == 0, "latest is %s", dir);
    refused(checkpoint_find(at("latest", ""), shorter, sizeof shorter, &damage, &e), &e, "too long", "a small buffer");
    fixture_free(f);
}

/* Flips one bit of a file. */
static void flip(const char *path, long at_byte, int bit)
{
    FILE *file = fopen(path, "r+b");
    int byte;
    if (file == NULL || fseek(file, at_byte, SEEK_SET) != 0 || (byte = fgetc(file)) == EOF ||
        fseek(file, at_byte, SEEK_SET) != 0 || fputc(byte ^ 1 << bit, file) == EOF || fclose(file) != 0) {
        printf("%s: byte %ld cannot be flipped\n", path, at_byte);
        exit(1);
    }
}

/* Every flipped bit of every file of a checkpoint is noticed, and the one before it is used. */
static void test_flips(void)
{
    static const char *const files[] = {"config.json", "model.safetensors", "optimizer.safetensors", "state.json"};
    const Fixture f = fixture_make(true);
    char dir[PATH_MOST], path[PATH_MOST];
    Error damage, e;
    save("flips", &f, 1, 0);
    save("flips", &f, 2, 0);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", at("flips", "step_000002"), files[i]);
        char *text = NULL;
        size_t size;
        must(files_read_all(path, 1 << 24, &text, &size, &e), &e);
        free(text);
        const long every = size > 2000 ? 37 : 1;
        for (long byte = 0; byte < (long)size; byte += every) {
            const int bit = (int)(byte / every % 8);
            flip(path, byte, bit);
            const int status = checkpoint_find(at("flips", ""), dir, sizeof dir, &damage, &e);
            if (!check(status == 0 && strcmp(dir, at("flips", "step_000001")) == 0, "%s, byte %ld, bit %d: %s",
                       files[i], byte, bit, dir))
                return;
            check(strstr(damage.text, files[i]) != NULL, "%s: %s", files[i], damage.text);
            flip(path, byte, bit);
        }
    }
    find("flips", dir);
    check(strcmp(dir, at("flips", "step_000002")) == 0, "all is mended, but %s", dir);
    fixture_free(f);
}

/* A directory to start from: without state.json nothing is checked, with it the model's files are. */
static void test_model_checked(void)
{
    const Fixture f = fixture_make(true);
    Error e;
    save("model", &f, 1, 0);
    must(checkpoint_check_model(at("model", "step_000001"), &e), &e);
    flip(at("model", "step_000001/model.safetensors"), 900, 0);
    refused(checkpoint_check_model(at("model", "step_000001"), &e), &e, "model.safetensors: does not match",
            "a flipped bit");
    if (remove(at("model", "step_000001/state.json")) != 0)
        check(false, "state.json cannot be removed");
    must(checkpoint_check_model(at("model", "step_000001"), &e), &e);
    fixture_free(f);
}

/* A state.json without its checksum; the caller frees it. */
static char *unsealed(const char *run)
{
    char *text = read_text(at(run, "step_000001/state.json")), *whole = replaced(text, ",\n  \"checksum\"", "}\n\n");
    free(text);
    strstr(whole, "}\n\n: ")[1] = '\0';
    return whole;
}

static void test_refused_states(void)
{
    static const Edit edits[] = {
        {"\"step\": 1", "\"step\": -1", "state.json"},
        {"\"step\": 1", "\"step\": 1.5", "state.json"},
        {"\"tokens\"", "\"token\"", "state.json"},
        {"\"version\": 3", "\"version\": 4", "newer"},
        {"\"seconds\": 0", "\"seconds\": null", "seconds"},
        {"\"seconds\": 0", "\"seconds\": \"0\"", "state.json"},
        {"\"loader_position\": 0", "\"loader_position\": 18446744073709551616", "state.json"},
        {"\"step\": 1", "\"step\": 2", "counts 1 steps, but state.json 2"},
        {"}", "", "state.json"},
    };
    const Fixture f = fixture_make(true);
    save("states", &f, 1, 0);
    char *text = unsealed("states");
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        char *edited = replaced(text, edits[i].from, edits[i].to);
        CheckpointState state;
        Error e;
        write_text(at("states", "step_000001/state.json"), edited);
        refused(checkpoint_read_state(at("states", "step_000001"), f.optim, &state, &e), &e, edits[i].word,
                edits[i].to);
        free(edited);
    }
    free(text);
    fixture_free(f);
}

/* What was written before state.json had a version and the optimizer's file more than one number. */
static void test_old_state(void)
{
    const Fixture f = fixture_make(true);
    CheckpointState state;
    Error e;
    save("old", &f, 1, 0);
    char *text = unsealed("old"), *edited = replaced(text, "\"version\": 3, ", "");
    write_text(at("old", "step_000001/state.json"), edited);
    check(checkpoint_read_state(at("old", "step_000001"), f.optim, &state, &e) == 0 && state.step == 1, "%s", e.text);
    free(edited);
    free(text);
    fixture_free(f);
}

/* The state of one rule is none of another's. */
static void test_other_optimizer(void)
{
    static const OptimConfig muon = {.rule = "muon"};
    const Fixture f = fixture_make(true);
    const GptTable *table = gpt_table(f.gpt);
    CheckpointState state;
    Optim *optim;
    Error e;
    save("other", &f, 1, 0);
    const Arenas arenas = gpt_arenas(f.gpt);
    must(optim_create(&muon, table->tensors, table->count, &arenas, &optim, &e), &e);
    refused(checkpoint_read_state(at("other", "step_000001"), optim, &state, &e), &e, "optimizer.safetensors",
            "AdamW's state");
    optim_free(optim);
    fixture_free(f);
}

/* Of two ranks the second ends when both have begun to collect the optimizer's state: what is missing must not become a
 * checkpoint. `run` is a directory. */
static void part_lost(Comm *comm, const char *run)
{
    char path[PATH_MOST];
    Gpt *gpt;
    Optim *optim;
    Error e = {""};
    CheckpointState state = {.step = 3, .val_loss = NAN};
    must(gpt_create(&tiny, &(GptSetup){.B = 1, .T = tiny.T, .mode = GPT_TRAINING}, &gpt, &e), &e);
    const GptTable *table = gpt_table(gpt);
    const Arenas arenas = gpt_arenas(gpt);
    must(optim_create(&(OptimConfig){.rule = "muon", .comm = comm}, table->tensors, table->count, &arenas, &optim, &e),
         &e);
    if (comm_ranks(comm).rank == 1) {
        comm_agree(comm, 0, &e); /* on the destination */
        comm_agree(comm, 0, &e); /* on memory for the state */
        _exit(0);
    }
    refused(checkpoint_write(run, gpt, optim, NULL, &state, data, &e), &e, "rank 1 is lost", "a state in part");
    snprintf(path, sizeof path, "%s/latest", run);
    check(!exists(path), "%s names a checkpoint", path);
    snprintf(path, sizeof path, "%s/step_000003", run);
    check(!exists(path), "%s is there", path);
    optim_free(optim);
    gpt_free(gpt);
}

static void test_lost_rank(void)
{
    char run[PATH_MOST];
    Error e;
    snprintf(run, sizeof run, "%s", at("lost", ""));
    must(files_make_dirs(run, &e), &e);
    RanksRun ranks = ranks_make("lost", run, 2);
    ranks.loses = true;
    ranks.passing = 1;
    ranks_start(&ranks, 0, 2);
    ranks_end(&ranks, 30);
}

int main(int argc, char **argv)
{
    Error e;
    ranks_main(argc, argv, (const RankPart[]){{"lost", part_lost}, {NULL, NULL}});
    if (mkdtemp(root) == NULL) {
        printf("%s cannot be made\n", root);
        return 1;
    }
    check_run("written and read back", test_round_trip);
    check_run("a rank is lost meanwhile", test_lost_rank);
    check_run("no validation yet", test_no_validation_yet);
    check_run("Hugging Face's names and layouts", test_layout);
    check_run("config.json", test_config);
    check_run("files of others: names, masks, F16, BF16", test_foreign_files);
    check_run("refused tensors", test_refused_models);
    check_run("several files and an index", test_shards);
    check_run("refused indexes", test_refused_indexes);
    check_run("one file, several, pickled ones", test_forms);
    check_run("keep", test_keep);
    check_run("the best", test_best);
    check_run("unfinished checkpoints", test_unfinished);
    check_run("a checkpoint that cannot be written", test_write_fails);
    check_run("latest", test_latest);
    check_run("flipped bits", test_flips);
    check_run("a model's checksums", test_model_checked);
    check_run("refused states", test_refused_states);
    check_run("an old state", test_old_state);
    check_run("another optimizer's state", test_other_optimizer);
    must(files_remove_tree(root, &e), &e);
    return check_summary();
}
