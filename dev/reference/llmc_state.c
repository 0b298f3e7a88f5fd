#include "dev/reference/llmc_state.h"

#include "files/files.h"

enum { STATE_MAGIC = 20240327, STATE_VERSION = 2, AT_B = 2, AT_T = 3, BATCH_MOST = 1 << 20 };

/* Where the arrays begin, in bytes: one after the other. */
static size_t tokens_at(const LlmcState *s) { return sizeof s->file.header; }
static size_t targets_at(const LlmcState *s) { return tokens_at(s) + s->B * s->T * sizeof(int32_t); }
static size_t logits_at(const LlmcState *s) { return targets_at(s) + s->B * s->T * sizeof(int32_t); }
static size_t loss_at(const LlmcState *s) { return logits_at(s) + s->B * s->T * s->V * sizeof(float); }
static size_t gradients_at(const LlmcState *s) { return loss_at(s) + sizeof(float); }

int llmc_state_open(const char *path, const LlmcModel *model, LlmcState *s, Error *e)
{
    const int32_t *header = s->file.header;
    if (llmc_open(path, STATE_MAGIC, "a debug state", &s->file, e) != 0)
        return -1;
    if (header[1] != STATE_VERSION)
        return error_set(e, "%s: is of version %d; only %d is known", path, (int)header[1], STATE_VERSION);
    if (header[AT_B] < 1 || header[AT_B] > BATCH_MOST || header[AT_T] < 1 || (size_t)header[AT_T] > model->config.T)
        return error_set(e, "%s: B = %d sequences of T = %d tokens do not suit a model of %zu positions", path,
                         (int)header[AT_B], (int)header[AT_T], model->config.T);
    s->B = (size_t)header[AT_B];
    s->T = (size_t)header[AT_T];
    s->V = model->config.V;
    if (s->B * s->T > INT32_MAX)
        return error_set(e, "%s: %zu x %zu tokens are too many", path, s->B, s->T);
    s->gradients = (LlmcValues){&s->file, &model->config, gradients_at(s), LLMC_FP32, model->values.padded_vocab};
    const size_t want = s->gradients.start + llmc_bytes(&s->gradients);
    return s->file.size == want
               ? 0
               : error_set(e, "%s: has %zu bytes; the state of %zu x %zu tokens of the model in %s has %zu", path,
                           s->file.size, s->B, s->T, model->file.path, want);
}

static int read_at(const LlmcState *s, size_t at, size_t n, void *to, Error *e)
{
    return files_read_at(s->file.fd, s->file.path, at, to, n * 4, e);
}

int llmc_state_tokens(const LlmcState *s, int32_t *to, Error *e)
{
    return read_at(s, tokens_at(s), s->B * s->T, to, e);
}

int llmc_state_targets(const LlmcState *s, int32_t *to, Error *e)
{
    return read_at(s, targets_at(s), s->B * s->T, to, e);
}

int llmc_state_logits(const LlmcState *s, float *to, Error *e)
{
    return read_at(s, logits_at(s), s->B * s->T * s->V, to, e);
}

int llmc_state_loss(const LlmcState *s, float *to, Error *e) { return read_at(s, loss_at(s), 1, to, e); }
