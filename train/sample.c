#include "train/sample.h"

#include "base/random.h"
#include "base/text.h"
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

/* What could garble a terminal is shown as '?', but line feeds and tabs as they are. */
static void print_bytes(FILE *to, const char *bytes, size_t n)
{
    const char *end = bytes + n;
    while (bytes < end) {
        const size_t length = text_printable(bytes, end);
        if (length > 0)
            fwrite(bytes, 1, length, to);
        else
            fputc(*bytes == '\n' || *bytes == '\t' ? *bytes : '?', to);
        bytes += length > 0 ? length : 1;
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
    char *bytes = (char *)tokens; /* byte i takes the place of token i / 4, which has been read */
    for (size_t i = shown_from; i < n; i++)
        bytes[i - shown_from] = (char)tokens[i];
    print_bytes(to, bytes, n - shown_from);
    fputs("\n", to);
    free(tokens);
    free(logits);
    return 0;
}
