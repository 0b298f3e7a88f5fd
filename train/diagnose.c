#include "train/diagnose.h"

#include "base/eigh.h"
#include "base/memory.h"
#include "base/threads.h"
#include "optim/verbs/verbs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct Diagnosis {
    const Optim *optim;
    Verbs *on;
    const float *params;
    size_t count;
    MatrixReport *reports;
    size_t *places;             /* offset of each matrix in what follows */
    float *before;              /* the weights before the step, matrix by matrix, on the parameters' device */
    float *gradients, *momenta; /* likewise, on the host */
    float *host;                /* for each thread: weight, update */
    double *values, *scratch;
    size_t largest, scratch_size;
};

enum { HOST_MATRICES = 2, SPECTRA = 4 };

/* --------------------------------------------------------------------------------------------------------------
 * Creation
 */

/* Doubles of scratch for a matrix: itself, its Gram matrix, eigenvalues, and what eigh needs. */
static size_t scratch_for(size_t rows, size_t cols)
{
    const size_t k = rows < cols ? rows : cols;
    return rows * cols + k * k + k + eigh_work(k);
}

static void list_matrices(Diagnosis *d, const Tensor *tensors, size_t tensor_count)
{
    for (const Tensor *t = tensors; t < tensors + tensor_count; t++) {
        for (size_t b = 0; b < t->blocks && t->role == ROLE_HIDDEN_MATRIX; b++) {
            MatrixReport *report = &d->reports[d->count];
            *report = (MatrixReport){.tensor = t, .block = b, .rows = t->rows / t->blocks, .cols = t->cols};
            d->places[d->count] = d->count == 0 ? 0 : d->places[d->count - 1] + report[-1].rows * report[-1].cols;
            d->count++;
        }
    }
}

/* Offset of the matrix in the arenas. */
static size_t offset_of(const MatrixReport *r) { return r->tensor->offset + r->block * r->rows * r->cols; }

static void place_values(Diagnosis *d)
{
    double *values = d->values;
    for (MatrixReport *r = d->reports; r < d->reports + d->count; r++) {
        const size_t k = r->rows < r->cols ? r->rows : r->cols;
        Spectrum *const spectra[SPECTRA] = {&r->weight, &r->gradient, &r->momentum, &r->update};
        for (size_t i = 0; i < SPECTRA; i++) {
            *spectra[i] = (Spectrum){.k = k, .s = values};
            values += k;
        }
        if (optim_momentum(d->optim, r->tensor) == optim_state_count(d->optim))
            r->momentum.k = 0;
    }
}

int diagnose_create(const Optim *optim, const Tensor *tensors, size_t tensor_count, const Arenas *arenas,
                    Diagnosis **out, Error *e)
{
    size_t matrices = 0, floats = 0, values = 0;
    *out = NULL;
    for (const Tensor *t = tensors; t < tensors + tensor_count; t++)
        matrices += t->role == ROLE_HIDDEN_MATRIX ? t->blocks : 0;
    Diagnosis *d = calloc(1, sizeof *d);
    if (d == NULL)
        return error_set(e, "out of memory");
    *d = (Diagnosis){.optim = optim, .on = optim_verbs(optim), .params = arenas->params};
    d->reports = calloc(matrices + 1, sizeof *d->reports);
    d->places = calloc(matrices + 1, sizeof *d->places);
    if (d->reports != NULL && d->places != NULL)
        list_matrices(d, tensors, tensor_count);
    for (const MatrixReport *r = d->reports; r != NULL && r < d->reports + d->count; r++) {
        const size_t n = r->rows * r->cols, scratch = scratch_for(r->rows, r->cols);
        floats += n;
        values += SPECTRA * (r->rows < r->cols ? r->rows : r->cols);
        d->largest = n > d->largest ? n : d->largest;
        d->scratch_size = scratch > d->scratch_size ? scratch : d->scratch_size;
    }
    d->values = calloc(values + 1, sizeof *d->values);
    d->scratch = calloc(threads_count() * d->scratch_size + 1, sizeof *d->scratch);
    if (d->reports == NULL || d->places == NULL || d->values == NULL || d->scratch == NULL ||
        verb_alloc(d->on, floats, "the weights before a step", &d->before, e) != 0 ||
        memory_floats(floats, "--diagnose", &d->gradients, e) != 0 ||
        memory_floats(floats, "--diagnose", &d->momenta, e) != 0 ||
        memory_floats(threads_count() * HOST_MATRICES * d->largest, "--diagnose", &d->host, e) != 0) {
        diagnose_free(d);
        return error_set(e, "out of memory for --diagnose");
    }
    place_values(d);
    *out = d;
    return 0;
}

void diagnose_free(Diagnosis *d)
{
    if (d == NULL)
        return;
    free(d->reports);
    free(d->places);
    free(d->values);
    free(d->scratch);
    verb_free(d->on, d->before);
    memory_free(d->gradients);
    memory_free(d->momenta);
    memory_free(d->host);
    free(d);
}

/* --------------------------------------------------------------------------------------------------------------
 * Measuring
 */

void diagnose_before(Diagnosis *d)
{
    float *to = d->before;
    for (const MatrixReport *r = d->reports; r < d->reports + d->count; r++) {
        verb_scale(d->on, r->rows * r->cols, to, d->params + offset_of(r), 1);
        to += r->rows * r->cols;
    }
}

static double inner(const double *x, const double *y, size_t n)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++)
        sum += x[i] * y[i];
    return sum;
}

/* The singular values of x; NaN if x is not finite. */
static void measure(Spectrum *spectrum, const float *x, size_t rows, size_t cols, double *scratch)
{
    const size_t k = spectrum->k, m = rows < cols ? cols : rows;
    double *wide = scratch, *gram = wide + rows * cols, *values = gram + k * k, *work = values + k, squares = 0;
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++)
            wide[rows <= cols ? i * m + j : j * m + i] = (double)x[i * cols + j];
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j <= i; j++)
            gram[i * k + j] = gram[j * k + i] = inner(wide + i * m, wide + j * m, m);
    for (size_t i = 0; i < k; i++)
        squares += gram[i * k + i];
    const bool known = isfinite(squares) && eigh(gram, values, k, work) == 0;
    for (size_t i = 0; i < k; i++) {
        const double value = known ? values[k - 1 - i] : (double)NAN;
        spectrum->s[i] = value < 0 ? 0 : sqrt(value);
    }
    spectrum->norm = sqrt(squares);
    spectrum->stable_rank = squares > 0 ? squares / (spectrum->s[0] * spectrum->s[0]) : 0;
}

/* The cosine of the angle between x and y; 0 if either is zero. */
static double cosine(const float *x, const float *y, size_t n)
{
    double xy = 0, xx = 0, yy = 0;
    for (size_t i = 0; i < n; i++) {
        xy += (double)x[i] * (double)y[i];
        xx += (double)x[i] * (double)x[i];
        yy += (double)y[i] * (double)y[i];
    }
    return xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : 0;
}

/* From the singular values, scaled to a mean square of 1. */
static double deviation(const Spectrum *update)
{
    double sum = 0;
    const double scale = (double)update->k / (update->norm * update->norm);
    for (size_t i = 0; i < update->k; i++) {
        const double off = update->s[i] * update->s[i] * scale - 1;
        sum += off * off;
    }
    return update->norm > 0 ? sqrt(sum / (double)update->k) : 0;
}

static void report_matrix(const Diagnosis *d, size_t i)
{
    MatrixReport *r = &d->reports[i];
    const size_t n = r->rows * r->cols;
    double *scratch = d->scratch + threads_index() * d->scratch_size;
    float *weight = d->host + threads_index() * HOST_MATRICES * d->largest, *update = weight + n;
    const float *gradient = d->gradients + d->places[i];
    verb_read(d->on, n, weight, d->before + d->places[i]);
    verb_read(d->on, n, update, d->params + offset_of(r));
    for (size_t k = 0; k < n; k++)
        update[k] = weight[k] - update[k];
    measure(&r->weight, weight, r->rows, r->cols, scratch);
    measure(&r->gradient, gradient, r->rows, r->cols, scratch);
    measure(&r->update, update, r->rows, r->cols, scratch);
    if (r->momentum.k > 0)
        measure(&r->momentum, d->momenta + d->places[i], r->rows, r->cols, scratch);
    r->update_rms = r->update.norm / sqrt((double)n);
    r->update_ratio = r->update.norm / r->weight.norm;
    r->cosine = cosine(gradient, update, n);
    r->deviation = deviation(&r->update);
}

void diagnose_after(Diagnosis *d)
{
    for (size_t i = 0; i < d->count; i += d->reports[i].tensor->blocks) {
        const MatrixReport *r = &d->reports[i];
        optim_gradient_read(d->optim, r->tensor, d->gradients + d->places[i]);
        if (r->momentum.k > 0)
            optim_state_read(d->optim, optim_momentum(d->optim, r->tensor), d->momenta + d->places[i]);
    }
    if (comm_ranks(optim_comm(d->optim)).rank > 0)
        return;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < d->count; i++)
        report_matrix(d, i);
}

/* --------------------------------------------------------------------------------------------------------------
 * Access
 */

size_t diagnose_count(const Diagnosis *d) { return d->count; }
const MatrixReport *diagnose_report(const Diagnosis *d, size_t i) { return &d->reports[i]; }

/* JSON has no NaN. */
static void write_number(double x, FILE *to)
{
    if (isfinite(x))
        fprintf(to, "%.6g", x);
    else
        fprintf(to, "null");
}

static void write_field(const char *name, double x, FILE *to)
{
    fprintf(to, ", \"%s\": ", name);
    write_number(x, to);
}

static void write_spectrum(const char *name, const Spectrum *spectrum, FILE *to)
{
    fprintf(to, ", \"%s\": ", name);
    if (spectrum->k == 0) {
        fprintf(to, "null");
        return;
    }
    fprintf(to, "{\"norm\": ");
    write_number(spectrum->norm, to);
    write_field("spectral_norm", spectrum->s[0], to);
    write_field("stable_rank", spectrum->stable_rank, to);
    fprintf(to, ", \"singular_values\": [");
    for (size_t i = 0; i < spectrum->k; i++) {
        fprintf(to, i == 0 ? "" : ", ");
        write_number(spectrum->s[i], to);
    }
    fprintf(to, "]}");
}

void diagnose_write(const Diagnosis *d, size_t step, FILE *to)
{
    double seconds = 0;
    const char *rule = "";
    for (size_t i = 0; i < optim_group_count(d->optim); i++) {
        const OptimGroupInfo info = optim_group_info(d->optim, i);
        if (strncmp(info.name, "hidden", 6) != 0)
            continue;
        rule = info.rule;
        seconds += info.seconds;
    }
    for (const MatrixReport *r = d->reports; r < d->reports + d->count; r++) {
        fprintf(to, "{\"step\": %zu, \"rule\": \"%s\"", step, rule);
        write_field("lr", optim_rate_of(d->optim, r->tensor), to);
        write_field("rule_ms", 1e3 * seconds, to);
        fprintf(to, ", \"tensor\": \"%s\", \"block\": %zu, \"rows\": %zu, \"cols\": %zu", r->tensor->name, r->block,
                r->rows, r->cols);
        write_field("update_rms", r->update_rms, to);
        write_field("update_ratio", r->update_ratio, to);
        write_field("cosine", r->cosine, to);
        write_field("deviation", r->deviation, to);
        write_spectrum("weight", &r->weight, to);
        write_spectrum("gradient", &r->gradient, to);
        write_spectrum("momentum", &r->momentum, to);
        write_spectrum("update", &r->update, to);
        fprintf(to, "}\n");
    }
}
