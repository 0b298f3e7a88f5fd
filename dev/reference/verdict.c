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

static bool is_fused_qkv(const Tensor *t) { return strstr(t->name, ".attn.c_attn.") != NULL; }

void row_compare_tensor(Row *row, const Tensor *t, const float *got, const float *want, Bound bound)
{
    const size_t parts = is_fused_qkv(t) ? 3 : 1, n = tensor_size(t) / parts;
    for (size_t i = 0; i < parts; i++) {
        char name[sizeof row->worst];
        snprintf(name, sizeof name, parts == 3 ? "%s (%c)" : "%s", t->name, "qkv"[i]);
        const bool key_bias = parts == 3 && i == 1 && t->role == ROLE_BIAS;
        double scale = max_abs(want + (key_bias ? 0 : i * n), n);
        if (scale == 0)
            scale = max_abs(want, parts * n);
        row_record_error(row, name, max_error(got + i * n, want + i * n, n), scale,
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

double tensor_distance(const Tensor *t, const float *got, const float *want)
{
    const size_t n = tensor_size(t), third = n / 3;
    const bool has_key_bias = is_fused_qkv(t) && t->role == ROLE_BIAS;
    return distance(got, want, n, has_key_bias ? third : n, has_key_bias ? 2 * third : n);
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
