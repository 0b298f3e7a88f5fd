#include "train/sample.h"

#include "base/random.h"
#include "train/stop.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BYTES = 256 };

/* Zeroes the weights of all but the k likeliest; of equal ones the first stay. */
static void keep_likeliest(double *weights, size_t k)
{
    double left[BYTES] = {0};
    for (size_t i = 0; i < k; i++) {
        size_t best = 0;
        for (size_t j = 1; j < BYTES; j++)
            best = weights[j] > weights[best] ? j : best;
        left[best] = weights[best];
        weights[best] = 0;
    }
    memcpy(weights, left, sizeof left);
}

static int32_t draw(const float *logits, const SampleConfig *config, Random *random)
{
    double weights[BYTES], sum = 0;
    size_t best = 0;
    for (size_t i = 1; i < BYTES; i++)
        best = logits[i] > logits[best] ? i : best;
    if (config->temperature == 0)
        return (int32_t)best;
    for (size_t i = 0; i < BYTES; i++)
        weights[i] = exp(((double)logits[i] - (double)logits[best]) / config->temperature);
    if (config->top_k > 0 && config->top_k < BYTES)
        keep_likeliest(weights, config->top_k);
    for (size_t i = 0; i < BYTES; i++)
        sum += weights[i];
    double at = random_uniform(random) * sum;
    size_t last = best;
    for (size_t i = 0; i < BYTES; i++) {
        if (weights[i] > 0) {
            last = i;
            at -= weights[i];
            if (at < 0)
                break;
        }
    }
    return (int32_t)last;
}

/* Length in bytes of the UTF-8 character at token i, or 0 if none begins there. */
static size_t character_length(const int32_t *tokens, size_t i, size_t n)
{
    const int32_t lead = tokens[i];
    const size_t length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
    for (size_t k = 1; k < length; k++)
        if (i + k >= n || tokens[i + k] < 0x80 || tokens[i + k] > 0xbf)
            return 0;
    return length;
}

/* Control characters and invalid UTF-8 could garble a terminal, so they are shown as '?'. */
static void print_bytes(FILE *to, const int32_t *tokens, size_t n)
{
    for (size_t i = 0; i < n;) {
        const size_t length = character_length(tokens, i, n);
        const bool control =
            length == 1 && (tokens[i] < 32 || tokens[i] == 127) && tokens[i] != '\n' && tokens[i] != '\t';
        if (length == 0 || control)
            fputc('?', to);
        for (size_t k = 0; k < length && !control; k++)
            fputc(tokens[i + k], to);
        i += length > 0 ? length : 1;
    }
}

/* Feeds the model `n` tokens from position 0 on; the logits are those after the last. */
static void prefill(Gpt *gpt, const int32_t *tokens, size_t n, float *logits)
{
    gpt_forward(gpt, tokens, 1, n);
    gpt_logits(gpt, n - 1, logits);
}

int sample_print(Gpt *gpt, size_t T, const SampleConfig *config, FILE *to, Error *e)
{
    const char *prompt = config->prompt[0] != '\0' ? config->prompt : "\n";
    const size_t length = strlen(prompt), total = length + config->tokens;
    int32_t *tokens = malloc(total * sizeof *tokens);
    float *logits = malloc(gpt_config(gpt)->V * sizeof *logits);
    if (tokens == NULL || logits == NULL) {
        free(tokens);
        free(logits);
        return error_set(e, "out of memory for a sample of %zu tokens", config->tokens);
    }
    Random random = random_make(config->seed, config->stream);
    for (size_t i = 0; i < length; i++)
        tokens[i] = (unsigned char)prompt[i];
    size_t start = length > T ? length - T : 0; /* token at position 0 of the context */
    prefill(gpt, tokens + start, length - start, logits);
    size_t n = length;
    while (n < total && stop_signal() == 0) {
        tokens[n] = draw(logits, config, &random);
        if (++n == total)
            break;
        if (n - 1 - start < T) {
            gpt_decode(gpt, tokens[n - 1], n - 1 - start, logits);
        } else { /* the context is full: keep its later half */
            start = n - (T + 1) / 2;
            prefill(gpt, tokens + start, n - start, logits);
        }
    }
    const size_t shown_from = config->prompt[0] != '\0' ? 0 : length;
    print_bytes(to, tokens + shown_from, n - shown_from);
    fputs("\n", to);
    free(tokens);
    free(logits);
    return 0;
}
