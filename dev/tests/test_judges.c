/* Every update rule, step by step, against its judge: dev/tests/judges.safetensors, made in fp64 by
 * dev/reference/judges.py, which says what is in it. A case is a rule with settings. Each step begins with the judge's
 * own parameter and state, so that an error is the error of one step.
 *
 * Tolerances. A step in fp32 gives what exact arithmetic would from inputs and terms that are off by a few roundings,
 * 2^-24 of their scale each: 16 of them are allowed (products of up to 11 terms, averages, constants, the judge's own
 * rounding). How far that carries is the condition of the step. It is part of the mathematics, not of this program, so
 * the judge measures it:
 *
 *   elementwise rules    about 1, or 2 for a square; besides, never more than 1e-6 of the scale
 *   Newton-Schulz        below the iteration's slope at 0 (jordan 485, cubic 1.5^15, modula 1137, varied 493, polar
 *                        express 970, track3 2^12), as no singular value is near 0: the most is 500
 *   factors, roots, QR   about the quotient of the eigenvalues
 *
 * The judge refuses conditions above 1000, so that no bound is above 1e-3 of what it bounds. */
#include "base/threads.h"
#include "dev/tests/check.h"
#include "dev/tests/fixtures.h"
#include "files/safetensors.h"
#include "optim/rule.h"
#include "optim/rules/newton_schulz.h"
#include "optim/verbs/verbs.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDINGS = 16, STEPS = 20, ARRAYS_MOST = 12 };
static const double U = 0x1p-24;

static const char path[] = "dev/tests/judges.safetensors";
static Safetensors *file;
static size_t current; /* the case of the running test */

typedef struct Case {
    const char *text; /* as in the file */
    const char *conditions, *begins;
    char rule[32];
    OptimConfig config;
} Case;

/* The parameter or a state. */
typedef struct Array {
    char name[32];
    size_t rows, cols;
    float *where;  /* the optimizer's, maybe on a GPU; NULL: a number beside its state */
    float *ours;   /* a copy */
    float *judged; /* (STEPS + 1, rows, cols) */
    double condition;
} Array;

/* A case in one shape. */
typedef struct Bench {
    const Case *c;
    char shape[16];
    Params params; /* its table alone */
    float *values, *grads;
    Optim *optim;
    float *gradients; /* (STEPS, rows, cols) */
    Array arrays[ARRAYS_MOST];
    size_t count;
} Bench;

/* --------------------------------------------------------------------------------------------------------------
 * The file's texts
 */

/* Reads the next "name=value" of a text and moves past it; false at its end. */
static bool next_setting(const char **text, char name[32], char value[32])
{
    int length = 0;
    if (sscanf(*text, " %31[^= ]=%31[^ ]%n", name, value, &length) != 2)
        return false;
    *text += length;
    return true;
}

/* The number that a text gives a name; NULL is an empty text. */
static double number_of(const char *text, const char *name, double otherwise)
{
    char found[32], value[32];
    while (text != NULL && next_setting(&text, found, value))
        if (strcmp(found, name) == 0)
            return strtod(value, NULL);
    return otherwise;
}

static const char *metadata_of(const char *what, size_t number)
{
    char key[32];
    snprintf(key, sizeof key, "%s.%02zu", what, number);
    return safetensors_metadata(file, key);
}

/* The hyperparameter of that name, or HYPER_COUNT. */
static HyperId hyper_named(const char *name)
{
    HyperId id = 0;
    while (id < HYPER_COUNT && strcmp(hyper_info[id].name, name) != 0)
        id++;
    return id;
}

static bool uses(const char *rule, HyperId id)
{
    for (size_t i = 0; optim_rule(i) != NULL; i++)
        if (strcmp(optim_rule(i)->name, rule) == 0)
            return optim_rule(i)->defaults.at[id].set;
    return false;
}

/* Reads a case; false, after a failed check, when the program does not know a name in it. */
static bool read_case(size_t number, Case *c)
{
    *c = (Case){.text = metadata_of("case", number), .config.steps = STEPS};
    if (!check(c->text != NULL && sscanf(c->text, "%31s", c->rule) == 1, "%s: there is no case %02zu", path, number))
        return false;
    c->conditions = metadata_of("condition", number);
    c->begins = metadata_of("from", number);
    c->config.rule = c->rule;
    const char *settings = c->text + strlen(c->rule);
    char name[32], text[32];
    while (next_setting(&settings, name, text)) {
        const HyperId id = hyper_named(name);
        double value;
        Error e;
        if (!check(id < HYPER_COUNT, "no hyperparameter is called %s", name) ||
            !check(hyper_parse(id, text, "", &value, &e) == 0, "%s", e.text))
            return false;
        hyper_set(&c->config.hyper, id, value);
    }
    if (uses(c->rule, HYPER_NS_DTYPE)) /* bf16's roundings are not the judge's */
        hyper_set(&c->config.hyper, HYPER_NS_DTYPE, NS_FP32);
    return true;
}

/* --------------------------------------------------------------------------------------------------------------
 * A case in one shape
 */

/* Reads the tensor of `records` matrices rows x cols; NULL after a failed check. */
static float *read_records(const char *name, size_t records, size_t rows, size_t cols)
{
    const SafetensorsEntry *entry = safetensors_find(file, name);
    if (!check(entry != NULL, "the judge has no %s", name) ||
        !check(entry->rank == 3 && entry->shape[0] == records && entry->shape[1] == rows && entry->shape[2] == cols,
               "%s is not %zu x %zu x %zu", name, records, rows, cols))
        return NULL;
    Error e;
    float *x = make_floats(entry->count);
    if (check(safetensors_read_f32(file, entry, x, &e) == 0, "%s", e.text))
        return x;
    free(x);
    return NULL;
}

/* Puts an array of the optimizer beside the judge's. */
static bool add_array(Bench *b, const char *name, size_t rows, size_t cols, float *where)
{
    if (!check(b->count < ARRAYS_MOST, "more than %d arrays", ARRAYS_MOST))
        return false;
    Array *a = &b->arrays[b->count];
    *a = (Array){.rows = rows, .cols = cols, .where = where, .condition = number_of(b->c->conditions, name, 1)};
    snprintf(a->name, sizeof a->name, "%s", name);
    char full[64];
    snprintf(full, sizeof full, "%02zu.%s.%s", current, b->shape, name);
    a->judged = read_records(full, STEPS + 1, rows, cols);
    a->ours = make_floats(rows * cols);
    b->count += a->judged != NULL;
    return a->judged != NULL;
}

/* Puts the numbers beside the state next to the judge's, if it has them. */
static bool add_numbers(Bench *b)
{
    bool ok = true;
    for (size_t i = OPTIM_COUNTS; ok && i < OPTIM_SCALARS; i++) {
        char full[64];
        snprintf(full, sizeof full, "%02zu.%s.%s", current, b->shape, optim_scalar_names[i]);
        if (safetensors_find(file, full) != NULL)
            ok = add_array(b, optim_scalar_names[i], 1, 1, NULL);
    }
    return ok;
}

/* The number of that name; NULL for the parameter and states. */
static double *number_in(OptimScalars *scalars, const Array *a)
{
    for (size_t i = OPTIM_COUNTS; i < OPTIM_SCALARS && a->where == NULL; i++)
        if (strcmp(a->name, optim_scalar_names[i]) == 0)
            return (double *)scalars + i;
    return NULL;
}

/* How many arrays the judge has of this case and shape. */
static size_t judged_arrays(const Bench *b)
{
    char prefix[32];
    snprintf(prefix, sizeof prefix, "%02zu.%s.", current, b->shape);
    size_t count = 0;
    for (size_t i = 0; i < safetensors_count(file); i++)
        count += strncmp(safetensors_entry(file, i)->name, prefix, strlen(prefix)) == 0;
    return count;
}

/* Makes the optimizer of one matrix "w" and reads all arrays. The bench is freed with bench_free also on failure. */
static bool bench_make(Bench *b, const Case *c, const char *shape)
{
    size_t rows, cols;
    Error e;
    *b = (Bench){.c = c};
    snprintf(b->shape, sizeof b->shape, "%s", shape);
    if (!check(sscanf(shape, "%zux%zu", &rows, &cols) == 2, "%s is no shape", shape))
        return false;
    params_add(&b->params, "w", ROLE_HIDDEN_MATRIX, rows, cols, 1);
    if (!check(verb_alloc(here(), rows * cols, "the parameter", &b->values, &e) == 0 &&
                   verb_alloc(here(), rows * cols, "the gradient", &b->grads, &e) == 0 &&
                   optim_create(&c->config, b->params.tensors, 1, &(Arenas){.params = b->values, .grads = b->grads},
                                &b->optim, &e) == 0,
               "%s", e.text)) {
        b->optim = NULL;
        return false;
    }
    char name[32];
    snprintf(name, sizeof name, "g.%s", shape);
    b->gradients = read_records(name, STEPS, rows, cols);
    bool ok = b->gradients != NULL && add_array(b, "p", rows, cols, b->values);
    for (size_t i = 0; ok && i < optim_state_count(b->optim); i++) {
        const OptimState *state = optim_state(b->optim, i);
        if (strcmp(state->name, "w.point") == 0) /* only while something else is shown */
            continue;
        ok = add_array(b, strchr(state->name, '.') + 1, state->rows, state->cols, state->data);
    }
    ok = ok && add_numbers(b);
    return ok && check(b->count == judged_arrays(b), "%s: the judge has %zu arrays, the optimizer %zu", shape,
                       judged_arrays(b), b->count);
}

static void bench_free(Bench *b)
{
    for (size_t i = 0; i < b->count; i++) {
        free(b->arrays[i].judged);
        free(b->arrays[i].ours);
    }
    free(b->gradients);
    optim_free(b->optim);
    verb_free(here(), b->values);
    verb_free(here(), b->grads);
}

static double largest(const float *x, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)x[i]));
    return most;
}

static double largest_difference(const float *x, const float *y, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)x[i] - (double)y[i]));
    return most;
}

static bool is_elementwise(const char *rule)
{
    for (size_t i = 0; optim_rule(i) != NULL; i++)
        if (strcmp(optim_rule(i)->name, rule) == 0)
            return optim_rule(i)->scalars != NULL;
    return false;
}

/* How far array a may be off after step k by its condition. */
static double bound_by_condition(const Bench *b, const Array *a, size_t k)
{
    const size_t n = a->rows * a->cols;
    const float *before = a->judged + k * n, *after = before + n;
    const double scale = fmax(largest(before, n), largest(after, n));
    if (strcmp(a->name, "p") == 0)
        return ROUNDINGS * U * (scale + a->condition * largest_difference(after, before, n));
    if (strcmp(a->name, "lambda") != 0)
        return ROUNDINGS * U * a->condition * scale;
    double kappa = 0; /* lambda is a difference of mean squares of this size */
    for (size_t i = 0; i < b->count; i++)
        if (strcmp(b->arrays[i].name, "kappa") == 0)
            kappa = (double)b->arrays[i].judged[k + 1];
    return ROUNDINGS * U * a->condition * fmax(scale, kappa);
}

/* How far array a may be off after step k: see the head of this file. */
static double bound_of(const Bench *b, const Array *a, size_t k)
{
    const size_t n = a->rows * a->cols;
    const double scale = fmax(largest(a->judged + k * n, n), largest(a->judged + (k + 1) * n, n));
    const double bound = bound_by_condition(b, a, k);
    return is_elementwise(b->c->config.rule) ? fmin(bound, 1e-6 * scale) : bound;
}

/* Whether a rule computes its bases anew, not from those before. */
static bool takes_eigenvectors(const char *rule) { return strcmp(rule, "splus") == 0; }

/* Eigenvectors have no sign of their own: gives each column of a the one that it has in `like`. */
static void align_signs(const Array *a, const float *like)
{
    for (size_t j = 0; j < a->cols; j++) {
        double dot = 0;
        for (size_t i = 0; i < a->rows; i++)
            dot += (double)a->ours[i * a->cols + j] * (double)like[i * a->cols + j];
        for (size_t i = 0; i < a->rows && dot < 0; i++)
            a->ours[i * a->cols + j] *= -1;
    }
}

/* Nesterov's look-ahead form has its gradient taken at p - lr b m; the judge is given gradients and does not say. */
static void check_look_ahead(const Bench *b, size_t k)
{
    const OptimHyper *h = &b->c->config.hyper;
    if (!h->at[HYPER_NESTEROV_FORM].set || hyper(h, HYPER_NESTEROV_FORM) != NESTEROV_LOOK_AHEAD)
        return;
    const double far = hyper(h, HYPER_LR) * hyper(h, HYPER_MOMENTUM);
    const Array *p = &b->arrays[0], *m = &b->arrays[1];
    const size_t n = b->params.floats;
    verb_read(here(), n, p->ours, p->where);
    for (size_t i = k * n; i < (k + 1) * n; i++) {
        const double lead = far * (double)m->judged[i], want = (double)p->judged[i] - lead;
        check_close((double)p->ours[i - k * n], want, U * (fabs(want) + 4 * fabs(lead)), "where the gradient is taken");
    }
}

/* Step k, from where the judge was before it. */
static void bench_step(const Bench *b, size_t k)
{
    const size_t parameters = b->params.floats;
    OptimScalars scalars = {.steps_done = (double)k, .tail_began = NAN};
    for (size_t i = 0; i < b->count; i++) {
        const Array *a = &b->arrays[i];
        const size_t n = a->rows * a->cols;
        if (a->where == NULL)
            *number_in(&scalars, a) = (double)a->judged[k];
        else
            verb_write(here(), n, a->where, a->judged + k * n);
    }
    optim_set_scalars(b->optim, scalars);
    optim_begin(b->optim, 1, 1);
    check_look_ahead(b, k);
    const float *gradient = b->gradients + k * parameters, *second = b->gradients + (STEPS - 1 - k) * parameters;
    if (optim_wants_previous(b->optim, k + 1)) {
        verb_write(here(), parameters, b->grads, second);
        optim_take_previous(b->optim, 1);
    }
    verb_write(here(), parameters, b->grads, gradient);
    optim_step(b->optim, 1);
    if (optim_wants_drawn(b->optim, k + 1)) {
        verb_write(here(), parameters, b->grads, second);
        optim_take_drawn(b->optim, 1, 100);
    }
    scalars = optim_scalars(b->optim);
    for (size_t i = 0; i < b->count; i++) {
        const Array *a = &b->arrays[i];
        const size_t n = a->rows * a->cols;
        const float *want = a->judged + (k + 1) * n;
        if (a->where == NULL)
            a->ours[0] = (float)*number_in(&scalars, a);
        else
            verb_read(here(), n, a->ours, a->where);
        char what[64];
        snprintf(what, sizeof what, "%s, %s after step %zu", b->shape, a->name, k + 1);
        if ((k == 0 || takes_eigenvectors(b->c->config.rule)) && strstr(a->name, "_basis") != NULL)
            align_signs(a, want);
        check_all_close(a->ours, want, n, bound_of(b, a, k), what);
    }
}

/* The shape in the name of a case's parameter, "NN.RxC.p"; false for other tensors. */
static bool shape_in(const char *tensor, char shape[16])
{
    char prefix[32], rest[8];
    snprintf(prefix, sizeof prefix, "%02zu.", current);
    const size_t length = strlen(prefix);
    return strncmp(tensor, prefix, length) == 0 && sscanf(tensor + length, "%15[0-9x].%7s", shape, rest) == 2 &&
           strcmp(rest, "p") == 0;
}

static void test_case(void)
{
    Case c;
    if (!read_case(current, &c))
        return;
    size_t shapes = 0;
    for (size_t i = 0; i < safetensors_count(file); i++) {
        char shape[16];
        if (!shape_in(safetensors_entry(file, i)->name, shape))
            continue;
        shapes++;
        Bench b;
        if (bench_make(&b, &c, shape))
            for (size_t k = (size_t)number_of(c.begins, shape, 0); k < STEPS; k++)
                bench_step(&b, k);
        bench_free(&b);
    }
    check(shapes > 0, "no tensor of the case");
}

/* --------------------------------------------------------------------------------------------------------------
 * What is judged
 */

static size_t case_count(void)
{
    const char *count = safetensors_metadata(file, "cases");
    return count == NULL ? 0 : (size_t)strtod(count, NULL);
}

/* Does a case name the rule and, unless these are NULL, set the option, and to this value? */
static bool occurs(const char *rule, const char *option, const char *value)
{
    for (size_t i = 0; i < case_count(); i++) {
        const char *text = metadata_of("case", i);
        char name[32], found[32], set[32];
        if (text == NULL || sscanf(text, "%31s", name) != 1 || (rule != NULL && strcmp(name, rule) != 0))
            continue;
        if (option == NULL)
            return true;
        text += strlen(name);
        while (next_setting(&text, found, set))
            if (strcmp(found, option) == 0 && (value == NULL || strcmp(set, value) == 0))
                return true;
    }
    return false;
}

/* A rule, an option or a choice without a case. What is by default is there without being named. */
static void test_coverage(void)
{
    for (size_t i = 0; optim_rule_name(i) != NULL; i++)
        check(occurs(optim_rule_name(i), NULL, NULL), "no case has the rule %s", optim_rule_name(i));
    for (HyperId id = 0; id < HYPER_COUNT; id++) {
        const HyperInfo *info = &hyper_info[id];
        if (id == HYPER_SPLIT_QKV || id == HYPER_SPLIT_HEADS || id == HYPER_NS_DTYPE)
            continue; /* test_muon.c; test_optim_groups.c; test_newton_schulz.c */
        check(occurs(NULL, info->name, NULL), "no case sets %s", info->name);
        for (size_t i = 1; info->choices != NULL && info->choices[i] != NULL; i++)
            check(occurs(NULL, info->name, info->choices[i]), "no case has %s=%s", info->name, info->choices[i]);
    }
}

int main(void)
{
    Error e;
    threads_set(1); /* so small, others would only wait */
    if (safetensors_open(path, &file, &e) != 0) {
        fprintf(stderr, "test: %s\n", e.text);
        return 1;
    }
    check_run("every rule, option and choice is judged", test_coverage);
    for (current = 0; current < case_count(); current++) {
        const char *text = metadata_of("case", current);
        check_run(text == NULL ? "a case without its text" : text, test_case);
    }
    safetensors_close(file);
    return check_summary();
}
