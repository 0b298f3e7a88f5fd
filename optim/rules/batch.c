#include "optim/rules/batch.h"

/* Slots from `first` on that share its shape, at most one batch. */
static size_t count_at(const OptimGroup *group, size_t first)
{
    const OptimSlot *a = &group->slots[first];
    const size_t fit = verb_batch_floats() / (a->rows * a->cols), most = fit > 0 ? fit : 1;
    size_t n = 1;
    while (n < most && first + n < group->count && group->slots[first + n].rows == a->rows &&
           group->slots[first + n].cols == a->cols &&
           (!group->rule->by_part || group->slots[first + n].tensor->part == a->tensor->part))
        n++;
    return n;
}

void batch_step(const OptimGroup *group, const OptimStep *step)
{
    for (size_t i = 0; i < group->count;) {
        const OptimSlot *slots = &group->slots[i];
        const Batch batch = {.on = group->on,
                             .hyper = &step->hyper,
                             .grad_scale = step->grad_scale,
                             .t = step->t,
                             .steps = step->steps,
                             .slots = slots,
                             .count = count_at(group, i),
                             .rows = slots->rows,
                             .cols = slots->cols,
                             .workspace = group->workspace};
        group->rule->step(&batch);
        i += batch.count;
    }
}

size_t batch_workspace(const OptimGroup *group)
{
    size_t most = 0;
    for (size_t i = 0; i < group->count && group->rule->workspace != NULL; i += count_at(group, i)) {
        const OptimSlot *slot = &group->slots[i];
        const size_t n = group->rule->workspace(&group->hyper, slot->rows, slot->cols, count_at(group, i));
        most = n > most ? n : most;
    }
    return most;
}

Mats batch_state(const Batch *batch, size_t k, size_t rows, size_t cols)
{
    return (Mats){batch->slots->state[k], rows, cols, batch->count};
}

Batch batch_at_rate(const Batch *batch, double lr, OptimHyper *hyper)
{
    Batch at = *batch;
    *hyper = *batch->hyper;
    hyper_set(hyper, HYPER_LR, lr);
    at.hyper = hyper;
    return at;
}

size_t batch_step_floats(const OptimHyper *h, size_t rows, size_t cols, size_t count)
{
    (void)h;
    return count * rows * cols;
}

size_t batch_run(const Batch *batch, size_t first)
{
    const size_t n = batch->rows * batch->cols;
    const OptimSlot *slot = &batch->slots[first];
    size_t run = 1;
    while (first + run < batch->count && slot[run].param == slot->param + run * n &&
           slot[run].grad == slot->grad + run * n)
        run++;
    return run;
}

Mats batch_params(const Batch *batch, size_t first, size_t run)
{
    return (Mats){batch->slots[first].param, batch->rows, batch->cols, run};
}

void batch_gradients(const Batch *batch, Mats g)
{
    const size_t n = batch->rows * batch->cols;
    for (size_t i = 0, run; i < batch->count; i += run) {
        run = batch_run(batch, i);
        verb_scale(batch->on, run * n, g.data + i * n, batch->slots[i].grad, batch->grad_scale);
    }
}

void batch_add_gradients(const Batch *batch, Mats g)
{
    const size_t n = batch->rows * batch->cols;
    for (size_t i = 0, run; i < batch->count; i += run) {
        run = batch_run(batch, i);
        verb_add(batch->on, run * n, g.data + i * n, batch->slots[i].grad, 1, batch->grad_scale);
    }
}

static void update(const Batch *batch, Mats u, Decay decay, double step)
{
    const size_t n = batch->rows * batch->cols;
    for (size_t i = 0, run; i < batch->count; i += run) {
        run = batch_run(batch, i);
        verb_update(batch->on, run * n, batch->slots[i].param, u.data + i * n, decay, step);
    }
}

void batch_update(const Batch *batch, Mats u, double scale)
{
    update(batch, u, decay_of(batch->hyper), batch_hyper(batch, HYPER_LR) * scale);
}

void batch_subtract(const Batch *batch, Mats u, double scale)
{
    update(batch, u, (Decay){1, 1}, batch_hyper(batch, HYPER_LR) * scale);
}

void batch_decay(const Batch *batch, Mats u) { update(batch, u, decay_of(batch->hyper), 0); }

void batch_update_bf16(const Batch *batch, Bf16s u, double scale)
{
    const size_t n = batch->rows * batch->cols;
    for (size_t i = 0, run; i < batch->count; i += run) {
        run = batch_run(batch, i);
        verb_update_bf16(batch->on, run * n, batch->slots[i].param, u, i * n, decay_of(batch->hyper),
                         batch_hyper(batch, HYPER_LR) * scale);
    }
}

/* verb_precondition divides by roots that move towards its gradients' magnitudes: here the lines' root mean squares. */
void batch_line_divisors(const Batch *batch, size_t n, float *squares, float *v, double correction, float *inverse)
{
    verb_power(batch->on, n, squares, squares, 0, 0.5);
    verb_fill(batch->on, n, inverse, 1);
    verb_precondition(batch->on, n, inverse, v, squares, batch_hyper(batch, HYPER_BETA2), correction,
                      batch_hyper(batch, HYPER_EPS), 1);
}

void batch_rotate(const Batch *batch, Mats u)
{
    for (size_t i = 0, run; i < batch->count; i += run) {
        run = batch_run(batch, i);
        verb_rotate(batch->on, batch_params(batch, i, run), mats_part(u, i, run), batch_hyper(batch, HYPER_LR), 1e-10);
    }
}
