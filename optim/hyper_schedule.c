#include "optim/hyper_schedule.h"

#include <math.h>

static double momentum_at(const OptimHyper *h, double s, double steps)
{
    const double full = hyper(h, HYPER_MOMENTUM), start = hyper(h, HYPER_MOMENTUM_START);
    const double warmup = hyper(h, HYPER_MOMENTUM_WARMUP), cooldown = hyper(h, HYPER_MOMENTUM_COOLDOWN);
    double share = 1;
    if (s < warmup)
        share = s / warmup;
    if (cooldown > 0 && steps - s < cooldown && (steps - s) / cooldown < share)
        share = (steps - s) / cooldown;
    return start + (full - start) * share;
}

/* Growth so far, from 0 to 1: (e^{k x} - 1) / (e^{k n} - 1) after x of n steps, without overflow. */
static double grown(double k, double x, double n)
{
    if (k * n < 1e-12)
        return x / n;
    if (k * n < 700)
        return expm1(k * x) / expm1(k * n);
    return exp(k * (x - n));
}

static double eps_at(const OptimHyper *h, double s, double steps)
{
    const double least = hyper(h, HYPER_EPS), most = hyper(h, HYPER_EPS_MAX);
    const double begin = hyper(h, HYPER_EPS_START) * steps, end = hyper(h, HYPER_EPS_END) * steps;
    if (s < begin)
        return least;
    if (s >= end)
        return most;
    return least + (most - least) * grown(hyper(h, HYPER_EPS_RATE), s - begin, end - begin);
}

void hyper_schedule(OptimHyper *h, size_t s, size_t steps)
{
    if (h->at[HYPER_MOMENTUM_WARMUP].set)
        hyper_set(h, HYPER_MOMENTUM, momentum_at(h, (double)s, (double)steps));
    if (h->at[HYPER_EPS_MAX].set && hyper(h, HYPER_EPS_MAX) > 0)
        hyper_set(h, HYPER_EPS, eps_at(h, (double)s, (double)steps));
}
