#ifndef OPTIM_RULES_ELEMENTS_H
#define OPTIM_RULES_ELEMENTS_H

#include "optim/rule.h"
#include "optim/rules/adagrad_math.h"
#include "optim/rules/adamw_math.h"
#include "optim/rules/ademamix_math.h"
#include "optim/rules/adopt_math.h"
#include "optim/rules/lion_math.h"
#include "optim/rules/nadamw_math.h"
#include "optim/rules/nesterov_math.h"
#include "optim/rules/prodigy_math.h"
#include "optim/rules/schedule_free_math.h"
#include "optim/rules/sgd_math.h"
#include "optim/rules/signum_math.h"
#include "optim/rules/sophia_math.h"

/*
 * Every element function. Each row generates a CPU loop (elements_cpu.c) and a CUDA kernel (elements_cuda.cu), to which
 * rules refer as <name>_elements.
 *
 *   name                 states   constants        function(&p, g, states .., &constants); AHEAD: (&p, state, ..)
 */
/* clang-format off */
#define OPTIM_ELEMENTS(E) \
    E(sgd,                0,      SgdScalars,      sgd_element) \
    E(sgd_momentum,       1,      SgdScalars,      sgd_momentum_element) \
    E(nesterov,           1,      NesterovScalars, nesterov_element) \
    E(nesterov_ahead,     AHEAD,  NesterovScalars, nesterov_ahead) \
    E(adagrad,            1,      AdagradScalars,  adagrad_element) \
    E(rmsprop_momentum,   2,      AdagradScalars,  rmsprop_momentum_element) \
    E(adadelta,           2,      AdagradScalars,  adadelta_element) \
    E(adamw,              2,      AdamwScalars,    adamw_element) \
    E(nested_adam,        2,      AdamwScalars,    nested_adam_element) \
    E(schedule_free,      2,      ScheduleFreeScalars, schedule_free_element) \
    E(ademamix,           3,      AdemamixScalars, ademamix_element) \
    E(nadamw,             2,      NadamwScalars,   nadamw_element) \
    E(prodigy,            4,      ProdigyScalars,  prodigy_element) \
    E(adopt,              2,      AdoptScalars,    adopt_element) \
    E(signsgd,            0,      SignumScalars,   signsgd_element) \
    E(signum,             1,      SignumScalars,   signum_element) \
    E(sophia,             2,      SophiaScalars,   sophia_element) \
    E(sophia_drawn,       2,      SophiaScalars,   sophia_drawn) \
    E(lion,               1,      LionScalars,     lion_element)

/* What rules measure, from their first two states:
 *
 *   name                         constants        function(p, g, state, state, &constants, &sum ..) */
#define OPTIM_MEASURES(M) \
    M(prodigy,                    ProdigyScalars,  prodigy_terms)
/* clang-format on */

#ifdef __cplusplus
extern "C" {
#endif

typedef struct OptimElements OptimElements;

#define DECLARE(name, ...) extern const OptimElements name##_elements;
OPTIM_ELEMENTS(DECLARE)
#undef DECLARE

typedef struct OptimMeasure OptimMeasure;

#define DECLARE(name, ...) extern const OptimMeasure name##_measure;
OPTIM_MEASURES(DECLARE)
#undef DECLARE

/* Collects the states that a slot has, at most OPTIM_ELEMENT_STATES; returns how many. */
size_t elements_states(const OptimSlot *slot, float *states[OPTIM_ELEMENT_STATES]);

/* Updates every element of `count` slots and their states, with the constants k. How the work is divided does not
 * affect the result. */
void elements_run(Verbs *on, const OptimElements *elements, const OptimSlot *slots, size_t count, const float *k);

/* sums (count): what each of `count` slots adds, on the host. */
void elements_measure(Verbs *on, const OptimMeasure *measure, const OptimSlot *slots, size_t count, const float *k,
                      double (*sums)[OPTIM_SUMS]);

/* Updates a group by its elementwise rule; if `ahead`, moves its parameters to where the gradient is evaluated. */
void elements_step(const OptimGroup *group, const OptimStep *step, bool ahead);

#ifdef __cplusplus
}
#endif

#endif
