#include "dev/reference/verdict.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

void row_record(Row *row, const char *name, double error, double bound)
{
    const double ratio = error == 0 ? 0 : error / bound;
    if (row->compared++ == 0 || !(ratio <= row->ratio)) { /* also when ratio is NaN */
        snprintf(row->worst, sizeof row->worst, "%s", name);
        row->error = error;
        row->bound = bound;
        row->ratio = isnan(ratio) ? HUGE_VAL : ratio;
    }
}

void row_record_error(Row *row, const char *name, double error, double scale, double bound)
{
    row_record(row, name, error == 0 ? 0 : error / scale, bound);
}

double max_abs(const float *x, size_t n)
{
    double max = 0;
    for (size_t i = 0; i < n; i++)
        max = fmax(max, fabs((double)x[i]));
    return max;
}

double max_error(const float *got, const float *want, size_t n)
{
    double max = 0;
    for (size_t i = 0; i < n; i++) {
        const double error = fabs((double)got[i] - (double)want[i]);
        if (!(error <= max))
            max = isnan(error) ? HUGE_VAL : error;
    }
    return max;
}

double relative_difference(double got, double want) { return fabs(got - want) / fabs(want); }

/* The matrices, or their biases, that a tensor consists of: their elements and names. */
typedef struct Parts {
    size_t count, sizes[3];
    const char *names[3];
    bool has_void_key; /* the second is a key bias that adds the same to all scores of a query, which softmax ignores */
} Parts;

static Parts parts_of(const GptConfig *c, const Tensor *t)
{
    const size_t n = tensor_size(t), keys = n / gpt_qkv_width(c) * gpt_key_width(c);
    if (strstr(t->name, ".attn.c_attn.") != NULL)
        return (Parts){3,
                       {n - 2 * keys, keys, keys},
                       {" (q)", " (k)", " (v)"},
                       t->role == ROLE_BIAS && c->qk_norm == GPT_QK_NORM_OFF && !gpt_is_rotary(c)};
    if (strstr(t->name, ".attn.c_kv.") != NULL)
        return (Parts){2, {n / 2, n / 2}, {" (k)", " (v)"}, false};
    if (strstr(t->name, ".mlp.c_fc.") != NULL && gpt_is_gated(c))
        return (Parts){2, {n / 2, n / 2}, {" (gate)", " (up)"}, false};
    return (Parts){1, {n}, {""}, false};
}

void row_compare_tensor(Row *row, const GptConfig *c, const Tensor *t, const float *got, const float *want, Bound bound)
{
    const Parts parts = parts_of(c, t);
    size_t at = 0;
    for (size_t i = 0; i < parts.count; at += parts.sizes[i++]) {
        char name[sizeof row->worst];
        snprintf(name, sizeof name, "%s%s", t->name, parts.names[i]);
        double scale =
            parts.has_void_key && i == 1 ? max_abs(want, parts.sizes[0]) : max_abs(want + at, parts.sizes[i]);
        if (scale == 0)
            scale = max_abs(want, tensor_size(t));
        row_record_error(row, name, max_error(got + at, want + at, parts.sizes[i]), scale,
                         bound.of_scale + bound.absolute / scale);
    }
}

double distance(const float *got, const float *want, size_t n, size_t out, size_t in)
{
    double difference = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        if (i >= out && i < in)
            continue;
        const double d = (double)got[i] - (double)want[i];
        difference += d * d;
        norm += (double)want[i] * (double)want[i];
    }
    return sqrt(difference / norm);
}

double tensor_distance(const GptConfig *c, const Tensor *t, const float *got, const float *want)
{
    const Parts parts = parts_of(c, t);
    const size_t n = tensor_size(t), key = parts.sizes[0];
    return distance(got, want, n, parts.has_void_key ? key : n, parts.has_void_key ? key + parts.sizes[1] : n);
}

void verdict_head(void) { printf("%-30s %-32s %9s %9s\n", "quantity", "worst", "error", "bound"); }

void verdict_skip(const char *title, const char *reason, Tally *tally)
{
    printf("%-30s %s  skip\n", title, reason);
    tally->skipped++;
}

void verdict_row(const char *title, const Row *row, Tally *tally)
{
    const bool ok = row->compared > 0 && row->ratio <= 1;
    printf("%-30s %-32s %9.2e %9.2e  %s\n", title, row->worst, row->error, row->bound, ok ? "ok" : "FAIL");
    *(ok ? &tally->passed : &tally->failed) += 1;
}

void verdict_error(const char *title, const Error *e, Tally *tally)
{
    printf("%-30s %s  FAIL\n", title, e->text);
    tally->failed++;
}

int verdict_summary(const Tally *tally)
{
    printf("%zu passed, %zu failed, %zu skipped\n", tally->passed, tally->failed, tally->skipped);
    return tally->failed > 0 || tally->passed == 0;
}
