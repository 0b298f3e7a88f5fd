#ifndef OPTIM_AVERAGES_H
#define OPTIM_AVERAGES_H

#include <stddef.h>

/*
 * Three wrappers around all rules (modded-nanogpt track 3); zeros turn them off.
 *
 *   EMA-Nesterov   D = d D + (1 - d) (change of the parameters in a step, the shift included); before each gradient the
 *                  parameters are shifted by strength x factor x D, and the rule steps from there. The factor is that
 *                  of the schedule of all but the hidden matrices in the step before, as in entries 39 to 46
 *   tail EMA       a second set of parameters averages the last steps, A = (1 - 1/N) A + W/N; validation, samples and
 *                  checkpoints use (1 - share) W + share A, but W of a token embedding that is not also the head, as in
 *                  entries 45 and 46 (where none is both)
 *   MuLoCo         every H steps, with P the weights after such a step before, D = P - W; U = m U + a D;
 *                  W = P - m U - a D: Nesterov's momentum on what H steps have done (Therien et al. 2025; entry 13).
 *                  Rates and momenta of the rules know nothing of it, nor do rules that keep norms, which change with
 *                  it as in entry 13; steps after the last multiple of H stay as they are
 */
typedef struct OptimAveraging {
    double nesterov;                      /* strength; 0: off */
    double nesterov_decay;                /* d */
    size_t nesterov_from, nesterov_until; /* the steps that are shifted, counting from 0; until = 0: to the end */
    size_t tail;                          /* N; 0: off */
    size_t tail_from;                     /* A starts as W after this many steps; 0: 2 N before the end */
    double tail_share;
    size_t muloco;                       /* H; 0: off */
    double muloco_rate, muloco_momentum; /* a, m */
} OptimAveraging;

#endif
