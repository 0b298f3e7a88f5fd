#include "train/sample.h"

#include "base/random.h"
#include "base/text.h"
#include "train/stop.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What a sample is made of and with. */
typedef struct Sampler {
    Gpt *gpt;
    const SampleConfig *config;
    size_t n, size;         /* tokens so far; ids that can be drawn */
    int32_t *ids;           /* (n + config->tokens) */
    float *logits, *sorted; /* (V), (size) */
    double *weights;        /* (size) */
    Random random;
} Sampler;

static int by_falling(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* Zeroes the weights of all but the k likeliest; of equal ones the first stay. */
static void keep_likeliest(Sampler *s, size_t k)
{
    memcpy(s->sorted, s->logits, s->size * sizeof *s->sorted);
    qsort(s->sorted, s->size, sizeof *s->sorted, by_falling);
    const float least = s->sorted[k - 1];
    size_t equal = 0; /* that stay */
    while (equal < k && s->sorted[k - 1 - equal] == least)
        equal++;
    for (size_t i = 0; i < s->size; i++) {
        const bool kept = s->logits[i] > least || (s->logits[i] == least && equal > 0);
        equal -= kept && s->logits[i] == least;
        if (!kept)
            s->weights[i] = 0;
    }
}

static int32_t draw(Sampler *s)
{
    const double temperature = s->config->temperature;
    double sum = 0;
    size_t best = 0;
    for (size_t i = 1; i < s->size; i++)
        best = s->logits[i] > s->logits[best] ? i : best;
    if (temperature == 0)
        return (int32_t)best;
    for (size_t i = 0; i < s->size; i++)
        s->weights[i] = exp(((double)s->logits[i] - (double)s->logits[best]) / temperature);
    if (s->config->top_k > 0 && s->config->top_k < s->size)
        keep_likeliest(s, s->config->top_k);
    for (size_t i = 0; i < s->size; i++)
        sum += s->weights[i];
    double at = random_uniform(&s->random) * sum;
    size_t last = best;
    for (size_t i = 0; i < s->size; i++) {
        if (s->weights[i] > 0) {
            last = i;
            at -= s->weights[i];
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

/* The text of n ids, as one: a character may be spread over several. */
static int print_ids(FILE *to, const Tokenizer *tokenizer, const int32_t *ids, size_t n, Error *e)
{
    char *text = NULL;
    size_t length = 0;
    FILE *whole = open_memstream(&text, &length);
    int status = whole == NULL ? error_set(e, "out of memory for a sample") : 0;
    for (size_t i = 0; i < n && status == 0; i++) {
        const char *bytes;
        size_t size;
        status = tokenizer_token(tokenizer, ids[i], &bytes, &size, e);
        if (status == 0)
            fwrite(bytes, 1, size, whole);
    }
    if (whole != NULL && fclose(whole) != 0 && status == 0)
        status = error_set(e, "out of memory for a sample");
    if (status == 0)
        print_bytes(to, text, length);
    free(text);
    return status;
}

/* Feeds the model `n` tokens from position 0 on; the logits are those after the last. */
static void prefill(Sampler *s, size_t start, size_t n)
{
    gpt_forward(s->gpt, s->ids + start, 1, n);
    gpt_logits(s->gpt, n - 1, s->logits);
}

/* Appends config->tokens ids, of a model with T positions. */
static void generate(Sampler *s, size_t T)
{
    const size_t total = s->n + s->config->tokens;
    size_t start = s->n > T ? s->n - T : 0; /* token at position 0 of the context */
    prefill(s, start, s->n - start);
    while (s->n < total && stop_signal() == 0) {
        s->ids[s->n] = draw(s);
        if (++s->n == total)
            break;
        if (s->n - 1 - start < T) {
            gpt_decode(s->gpt, s->ids[s->n - 1], s->n - 1 - start, s->logits);
        } else { /* the context is full: keep its later half */
            start = s->n - (T + 1) / 2;
            prefill(s, start, s->n - start);
        }
    }
}

/* The ids of the prompt. */
static int encode_prompt(const SampleConfig *config, TokenList *list, Error *e)
{
    const bool empty = config->prompt[0] == '\0', bytes = tokenizer_is_bytes(config->tokenizer);
    const char *text = !empty ? config->prompt : bytes ? "\n" : TOKENIZER_ENDOFTEXT;
    Encoder *encoder;
    if (encoder_create(config->tokenizer, &encoder, e) != 0)
        return -1;
    const int status = encoder_encode(encoder, text, strlen(text), empty && !bytes, list, e);
    encoder_free(encoder);
    return status;
}

static int make_room(Sampler *s, const TokenList *prompt, Error *e)
{
    const size_t total = prompt->count + s->config->tokens;
    s->ids = malloc(total * sizeof *s->ids);
    s->logits = malloc(gpt_config(s->gpt)->V * sizeof *s->logits);
    s->sorted = malloc(s->size * sizeof *s->sorted);
    s->weights = malloc(s->size * sizeof *s->weights);
    if (s->ids == NULL || s->logits == NULL || s->sorted == NULL || s->weights == NULL)
        return error_set(e, "out of memory for a sample of %zu tokens", s->config->tokens);
    for (size_t i = 0; i < prompt->count; i++)
        s->ids[i] = prompt->ids[i];
    s->n = prompt->count;
    return 0;
}

int sample_print(Gpt *gpt, size_t T, const SampleConfig *config, FILE *to, Error *e)
{
    Sampler s = {.gpt = gpt,
                 .config = config,
                 .size = tokenizer_size(config->tokenizer),
                 .random = random_make(config->seed, config->stream)};
    TokenList prompt = {0};
    int status = encode_prompt(config, &prompt, e);
    if (status == 0)
        status = make_room(&s, &prompt, e);
    if (status == 0) {
        const size_t shown_from = config->prompt[0] != '\0' ? 0 : prompt.count;
        generate(&s, T);
        status = print_ids(to, config->tokenizer, s.ids + shown_from, s.n - shown_from, e);
        fputs("\n", to);
    }
    free(prompt.ids);
    free(s.ids);
    free(s.logits);
    free(s.sorted);
    free(s.weights);
    return status;
}
