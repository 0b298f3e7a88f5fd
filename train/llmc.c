#include "train/llmc.h"

#include "files/files.h"
#include "optim/verbs/verbs_math.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MODEL_MAGIC = 20240326, VOCAB_PADDING = 128, CHUNK = 8192 /* elements converted at a time */ };

/* What header[2..] of a model says. */
enum { AT_T = 2, AT_V, AT_L, AT_NH, AT_C, AT_PADDED };

static const GptParameter order[] = {GPT_wte,      GPT_wpe,      GPT_ln1w, GPT_ln1b, GPT_qkvw, GPT_qkvb,
                                     GPT_attprojw, GPT_attprojb, GPT_ln2w, GPT_ln2b, GPT_fcw,  GPT_fcb,
                                     GPT_fcprojw,  GPT_fcprojb,  GPT_lnfw, GPT_lnfb};
enum { KINDS = sizeof order / sizeof *order };

static size_t width_of(LlmcVersion version) { return version == LLMC_BF16 ? sizeof(uint16_t) : sizeof(float); }

/* --------------------------------------------------------------------------------------------------------------
 * The values
 */

/* Elements of a parameter in all layers, without padding. */
static size_t size_of(const GptConfig *c, GptParameter k)
{
#define SIZE(member, name, role, rows, cols, blocks, each_layer, transposed) \
    [GPT_##member] = (rows) * (cols) * ((each_layer) ? c->L : 1),
    const size_t sizes[GPT_PARAMETER_COUNT] = {GPT_PARAMETERS(SIZE)};
#undef SIZE
    return sizes[k];
}

/* Whether a tensor is this parameter of some layer: those of all layers lie together in the arena. */
static bool is(const GptConfig *c, const GptTable *table, GptParameter k, const Tensor *t)
{
    const size_t first = table->places[k].offset;
    return t->offset >= first && t->offset < first + size_of(c, k);
}

/* Elements before those of a tensor. */
static size_t elements_before(const LlmcValues *v, const GptTable *table, const Tensor *t)
{
    size_t n = 0, i = 0;
    for (; !is(v->config, table, order[i], t); i++)
        n += order[i] == GPT_wte ? v->padded_vocab * v->config->C : size_of(v->config, order[i]);
    return n + (t->offset - table->places[order[i]].offset);
}

size_t llmc_bytes(const LlmcValues *v)
{
    size_t n = v->padded_vocab * v->config->C;
    for (size_t i = 1; i < KINDS; i++)
        n += size_of(v->config, order[i]);
    return n * width_of(v->version);
}

int llmc_read_tensor(const LlmcValues *v, const GptTable *table, const Tensor *t, float *to, Error *e)
{
    const LlmcFile *file = v->file;
    const size_t n = tensor_size(t), width = width_of(v->version);
    const size_t at = v->start + elements_before(v, table, t) * width;
    uint16_t halves[CHUNK];
    if (v->version == LLMC_FP32)
        return files_read_at(file->fd, file->path, at, to, n * width, e);
    for (size_t done = 0, some; done < n; done += some) {
        some = n - done < CHUNK ? n - done : CHUNK;
        if (files_read_at(file->fd, file->path, at + done * width, halves, some * width, e) != 0)
            return -1;
        for (size_t i = 0; i < some; i++) {
            const uint32_t bits = (uint32_t)halves[i] << 16;
            memcpy(&to[done + i], &bits, sizeof bits);
        }
    }
    return 0;
}

/* --------------------------------------------------------------------------------------------------------------
 * Reading
 */

int llmc_open(const char *path, int32_t magic, const char *what, LlmcFile *file, Error *e)
{
    *file = (LlmcFile){.path = path, .fd = -1};
    if (files_open(path, &file->fd, &file->size, e) != 0) {
        file->fd = -1;
        return -1;
    }
    if (file->size < sizeof file->header)
        return error_set(e, "%s: has %zu bytes; the header alone of %s of llm.c has %zu", path, file->size, what,
                         sizeof file->header);
    if (files_read_at(file->fd, path, 0, file->header, sizeof file->header, e) != 0)
        return -1;
    if (file->header[0] != magic)
        return error_set(e, "%s: begins with %d; %s of llm.c begins with %d", path, (int)file->header[0], what,
                         (int)magic);
    return 0;
}

void llmc_close(LlmcFile *file)
{
    if (file->fd >= 0)
        close(file->fd);
    file->fd = -1;
}

static int read_config(LlmcModel *m, Error *e)
{
    static const struct {
        int at;
        GptFieldId field;
    } sizes[] = {
        {AT_T, GPT_FIELD_T}, {AT_V, GPT_FIELD_V}, {AT_L, GPT_FIELD_L}, {AT_NH, GPT_FIELD_NH}, {AT_C, GPT_FIELD_C}};
    const int32_t *header = m->file.header;
    Error fault;
    if (header[1] != LLMC_FP32 && header[1] != LLMC_BF16)
        return error_set(e, "%s: is of version %d; 3 (fp32) and 5 (bf16) are known", m->file.path, (int)header[1]);
    m->values.version = (LlmcVersion)header[1];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char number[16];
        snprintf(number, sizeof number, "%d", (int)header[sizes[i].at]);
        if (gpt_field_restore(&gpt_fields[sizes[i].field], number, &m->config) != 0)
            return error_set(e, "%s: %s is %s", m->file.path, gpt_fields[sizes[i].field].key, number);
    }
    if (gpt_config_check(&m->config, &fault) != 0)
        return error_set(e, "%s: %s", m->file.path, fault.text);
    if (header[AT_PADDED] < header[AT_V])
        return error_set(e, "%s: the padded vocabulary, %d, is smaller than the vocabulary, %d", m->file.path,
                         (int)header[AT_PADDED], (int)header[AT_V]);
    m->values.padded_vocab = (size_t)header[AT_PADDED];
    m->config = gpt_resolve(&m->config);
    return 0;
}

int llmc_open_model(const char *path, LlmcModel *m, Error *e)
{
    *m = (LlmcModel){.values = {.file = &m->file, .config = &m->config, .start = sizeof m->file.header}};
    if (llmc_open(path, MODEL_MAGIC, "a model", &m->file, e) != 0 || read_config(m, e) != 0)
        return -1;
    const size_t want = m->values.start + llmc_bytes(&m->values); /* gpt_config_check's bounds let nothing overflow */
    return m->file.size == want
               ? 0
               : error_set(e, "%s: has %zu bytes; a model of its sizes has %zu", path, m->file.size, want);
}

int llmc_read_model(const LlmcModel *m, Gpt *gpt, Error *e)
{
    const GptTable *table = gpt_table(gpt);
    float *x = malloc(gpt_table_largest(table) * sizeof *x);
    int status = x == NULL ? error_set(e, "%s: out of memory", m->file.path) : 0;
    for (const Tensor *t = table->tensors; t < table->tensors + table->count && status == 0; t++) {
        status = llmc_read_tensor(&m->values, table, t, x, e);
        for (size_t i = 0; i < tensor_size(t) && status == 0; i++)
            if (!isfinite(x[i]))
                status = error_set(e, "%s: tensor %s holds %g: these weights are of no use", m->file.path, t->name,
                                   (double)x[i]);
        if (status == 0)
            gpt_write(gpt, GPT_PARAMS, t, x);
    }
    free(x);
    return status;
}

/* --------------------------------------------------------------------------------------------------------------
 * Writing
 */

/* What parameters were drawn from is nothing to a trained model. */
static int check_classic(const char *path, const GptConfig *config, Error *e)
{
    const GptConfig sizes = {.L = config->L, .NH = config->NH, .C = config->C, .V = config->V, .T = config->T};
    const GptConfig classic = gpt_resolve(&sizes), c = gpt_resolve(config);
    for (size_t i = 0; i < GPT_FIELDS; i++) {
        char value[64], usual[64];
        gpt_field_format(&gpt_fields[i], &c, true, value, sizeof value);
        gpt_field_format(&gpt_fields[i], &classic, true, usual, sizeof usual);
        if (i != GPT_FIELD_init && strcmp(value, usual) != 0)
            return error_set(e, "%s: llm.c has no models whose %s is %s; only %s", path, gpt_fields[i].key, value,
                             usual);
    }
    return 0;
}

/* n elements at x as the file has them, in pieces. */
static int append(FilesWriter *w, LlmcVersion version, const Tensor *t, const float *x, size_t n, Error *e)
{
    uint16_t halves[CHUNK];
    if (version == LLMC_FP32)
        return files_writer_append(w, x, n * sizeof *x, e);
    for (size_t done = 0, some; done < n; done += some) {
        some = n - done < CHUNK ? n - done : CHUNK;
        for (size_t i = 0; i < some; i++) {
            const float rounded = bf16_element(x[done + i]);
            uint32_t bits;
            if (!isfinite(rounded))
                return error_set(e, "%s: tensor %s holds %g, which bf16 cannot hold", w->path, t->name,
                                 (double)x[done + i]);
            memcpy(&bits, &rounded, sizeof bits);
            halves[i] = (uint16_t)(bits >> 16);
        }
        if (files_writer_append(w, halves, some * sizeof *halves, e) != 0)
            return -1;
    }
    return 0;
}

/* `x` has room for the largest tensor and for the embedding's padding. */
static int append_all(FilesWriter *w, const Gpt *gpt, LlmcVersion version, size_t padding, float *x, Error *e)
{
    const GptTable *table = gpt_table(gpt);
    for (size_t i = 0; i < KINDS; i++) {
        for (const Tensor *t = table->tensors; t < table->tensors + table->count; t++) {
            if (!is(gpt_config(gpt), table, order[i], t))
                continue;
            const size_t n = tensor_size(t), more = order[i] == GPT_wte ? padding : 0;
            gpt_read(gpt, GPT_PARAMS, t, x);
            memset(x + n, 0, more * sizeof *x);
            if (append(w, version, t, x, n + more, e) != 0)
                return -1;
        }
    }
    return 0;
}

int llmc_write_model(const char *path, const Gpt *gpt, LlmcVersion version, Error *e)
{
    const GptConfig *c = gpt_config(gpt);
    const size_t padded = (c->V + VOCAB_PADDING - 1) / VOCAB_PADDING * VOCAB_PADDING, padding = (padded - c->V) * c->C;
    const int32_t header[LLMC_HEADER] = {MODEL_MAGIC,   (int32_t)version, (int32_t)c->T, (int32_t)c->V,
                                         (int32_t)c->L, (int32_t)c->NH,   (int32_t)c->C, (int32_t)padded};
    FilesWriter w = {0};
    if (check_classic(path, c, e) != 0)
        return -1;
    float *x = malloc((gpt_table_largest(gpt_table(gpt)) + padding) * sizeof *x);
    int status = x == NULL ? error_set(e, "%s: out of memory", path) : files_writer_open(&w, path, e);
    if (status == 0)
        status = files_writer_append(&w, header, sizeof header, e);
    if (status == 0)
        status = append_all(&w, gpt, version, padding, x, e);
    if (status == 0)
        status = files_writer_commit(&w, e);
    else
        files_writer_abandon(&w);
    free(x);
    return status;
}
