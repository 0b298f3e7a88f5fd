#include "dev/lab/run.h"

#include "train/schedule.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void run_free(Run *run)
{
    if (run != NULL)
        optim_free(run->optim);
    free(run);
}

int run_make(const Options *o, const Problem *p, Run **out, Error *e)
{
    Run *run = *out = calloc(1, sizeof *run);
    if (run == NULL)
        return error_set(e, "out of memory for a run");
    *run = (Run){.o = o, .p = p, .batches = random_make(o->seed, STREAM_BATCHES), .next = N};
    Random random = random_make(o->seed, STREAM_INIT);
    for (size_t i = 0; i < D * C && o->init == INIT_NORMAL; i++)
        run->w[i / C][i % C] = (float)random_normal(&random);
    for (size_t n = 0; n < N; n++)
        run->order[n] = n;
    run->tensor = (Tensor){.name = "w", .role = ROLE_HIDDEN_MATRIX, .rows = D, .cols = C, .blocks = 1};
    const OptimConfig config = {.rule = o->rule, .hyper = o->hyper, .steps = o->steps};
    if (optim_create(&config, &run->tensor, 1, &(Arenas){.params = &run->w[0][0], .grads = &run->g[0][0]}, &run->optim,
                     e) != 0)
        return -1;
    return optim_check_parameters(run->optim, e);
}

const size_t *run_next_rows(Run *run)
{
    if (run->next + run->o->batch > N) {
        for (size_t i = N - 1; i > 0; i--) {
            const size_t j = (size_t)random_below(&run->batches, i + 1), row = run->order[i];
            run->order[i] = run->order[j];
            run->order[j] = row;
        }
        run->next = 0;
    }
    run->next += run->o->batch;
    return run->order + run->next - run->o->batch;
}

Matrix run_weights(const Run *run)
{
    Matrix w;
    for (size_t i = 0; i < D * C; i++)
        w.at[i / C][i % C] = (double)run->w[i / C][i % C];
    return w;
}

Matrix run_gap(const Run *run)
{
    const Matrix w = run_weights(run);
    return matrix_difference(&w, &run->p->ols);
}

static void fill_gradient(Run *run)
{
    const Matrix w = run_weights(run), gap = run_gap(run);
    const size_t batch = run->o->batch;
    if (batch == N)
        problem_full_gradient(run->p, &gap, &run->gradient);
    else
        problem_batch_gradient(run->p, run_next_rows(run), batch, &w, &run->gradient);
    matrix_scale(&run->gradient, problem_unit(run->o, batch));
    for (size_t i = 0; i < D * C; i++)
        run->g[i / C][i % C] = (float)run->gradient.at[i / C][i % C];
}

void run_step(Run *run, size_t step)
{
    const Schedule schedule = {.kind = (ScheduleKind)run->o->schedule, .steps = run->o->steps, .cooldown = 0.4};
    const double factor = schedule_factor(&schedule, step);
    const OptimGroupInfo group = optim_group_info(run->optim, 0);
    const Matrix before = run_weights(run);
    run->gap = run_gap(run);
    optim_begin(run->optim, factor, factor);
    fill_gradient(run);
    optim_step(run->optim, 1);
    const Matrix after = run_weights(run);
    run->update = matrix_difference(&before, &after);
    matrix_scale(&run->update, 1 / (factor * hyper(&group.hyper, HYPER_LR)));
}

/* The optimizer's momentum; false when it has none. */
static bool momentum_of(const Run *run, Matrix *m)
{
    for (size_t s = 0; s < optim_state_count(run->optim); s++) {
        const OptimState *state = optim_state(run->optim, s);
        const bool named = strcmp(state->name, "w.momentum") == 0 || strcmp(state->name, "w.m") == 0;
        for (size_t i = 0; named && i < D * C; i++)
            m->at[i / C][i % C] = (double)state->data[i];
        if (named)
            return true;
    }
    return false;
}

/* What a row with spectra has more: numbers, and spectra of D numbers each. */
enum { MEASURES = 7, SPECTRA = 4 };

static void print_spectrum(const double s[D])
{
    for (size_t i = 0; i < D; i++)
        printf(",%.6g", s[i]);
}

/* Of the step just made: its gradient, its update, the gap before it, and the momentum it left. */
static void print_spectra(Run *run)
{
    double g[D], u[D], gap[D], m[D];
    Matrix momentum;
    singular_values(&run->gradient, g);
    singular_values(&run->update, u);
    singular_values(&run->gap, gap);
    const double inner = matrix_dot(&run->gradient, &run->update);
    printf(",%.6g,%.6g,%.6g,%.6g,%.6g,%.6g,%.6g", g[0] / g[D - 1], stable_rank(g), stable_rank(u),
           norm_of_spectrum(g, 1),
           over(inner, sqrt(matrix_dot(&run->gradient, &run->gradient) * matrix_dot(&run->update, &run->update))),
           over(inner, norm_of_spectrum(g, 1) * u[0]), unorthogonality(u));
    print_spectrum(g);
    print_spectrum(u);
    print_spectrum(gap);
    if (momentum_of(run, &momentum)) {
        singular_values(&momentum, m);
        print_spectrum(m);
    } else {
        for (size_t i = 0; i < D; i++)
            printf(",");
    }
}

void run_print_header(const Options *o, const Problem *p)
{
    const double curvature = 2 * problem_unit(o, N);
    printf("# floor=%.9g condition=%.9g curvature_least=%.9g curvature_most=%.9g spectral_curvature=%.9g\n",
           p->floor * problem_unit(o, N), p->values[C - 1] / p->values[0], curvature * p->values[0],
           curvature * p->values[C - 1], problem_spectral_curvature(p) * problem_unit(o, N));
    printf("step,loss,excess,distance");
    if (o->spectra_every > 0) {
        printf(",grad_condition,grad_stable_rank,update_stable_rank,grad_nuclear,cosine,attained");
        printf(",unorthogonality");
        for (size_t kind = 0; kind < SPECTRA; kind++)
            for (size_t i = 1; i <= D; i++)
                printf(",%c%zu", "guem"[kind], i);
    }
    printf("\n");
}

/* Writes the row of a step that is about to be made, or of the end. Returns the excess loss. */
static double print_losses(const Run *run, size_t step)
{
    const Matrix gap = run_gap(run);
    const double excess = problem_unit(run->o, N) * problem_excess_squares(run->p, &gap);
    printf("%zu,%.9g,%.9g,%.9g", step, problem_unit(run->o, N) * run->p->floor + excess, excess,
           sqrt(matrix_dot(&gap, &gap)));
    return excess;
}

void run_all(Run *run, bool *diverged)
{
    const Options *o = run->o;
    double first = 0;
    *diverged = false;
    for (size_t step = 0; step <= o->steps && !*diverged; step++) {
        const bool last = step == o->steps, spectra = !last && o->spectra_every > 0 && step % o->spectra_every == 0;
        const bool row = last || spectra || step % o->log_every == 0;
        if (row) {
            const double excess = print_losses(run, step);
            first = step == 0 ? excess : first;
            *diverged = !(excess <= DIVERGED * first);
        }
        if (!last && !*diverged)
            run_step(run, step);
        if (spectra && !*diverged)
            print_spectra(run);
        else
            for (size_t i = 0; row && o->spectra_every > 0 && i < MEASURES + SPECTRA * D; i++)
                printf(",");
        if (row)
            printf("\n");
    }
}
