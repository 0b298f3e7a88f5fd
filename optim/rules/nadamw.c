/* NAdamW: Adam with Nesterov momentum (Dozat 2016) and decoupled weight decay, as torch.optim.NAdam has it. */
#include "optim/rules/elements.h"

#include <string.h>

/* Dozat 2016: the momentum of step t is mu_t = beta1 (1 - 0.5 0.96^(0.004 t)) */
static double decay_rate(void) { return 0.004 * log(0.96); }
static double momentum_at(double beta1, double t) { return beta1 * (1 - 0.5 * exp(decay_rate() * t)); }

/*
 * ln (mu_1 .. mu_t), in closed form: with q = 0.96^0.004,
 *   sum of ln(1 - q^i / 2) for i = 1 .. t  =  - sum of 2^-k / k  q^k (1 - q^(k t)) / (1 - q^k) for k = 1, 2, ..
 * 64 terms leave out less than 2^-64 of it.
 */
static double log_product(double beta1, double t)
{
    double sum = t * log(beta1);
    for (int k = 64; k > 0; k--) {
        const double rate = k * decay_rate();
        sum -= ldexp(1. / k, -k) * exp(rate) * expm1(rate * t) / expm1(rate);
    }
    return sum;
}

static void nadamw_scalars(const OptimStep *step, float *k)
{
    const OptimHyper *h = &step->hyper;
    const double t = (double)step->t, beta1 = hyper(h, HYPER_BETA1), beta2 = hyper(h, HYPER_BETA2);
    const NadamwScalars s = {
        .grad_scale = (float)step->grad_scale,
        .lr = (float)hyper(h, HYPER_LR),
        .beta1 = (float)beta1,
        .one_minus_beta1 = (float)(1 - beta1),
        .beta2 = (float)beta2,
        .one_minus_beta2 = (float)(1 - beta2),
        .correction2 = (float)(1 / (1 - pow(beta2, t))),
        .eps = (float)hyper(h, HYPER_EPS),
        .gradient_share = (float)((1 - momentum_at(beta1, t)) / -expm1(log_product(beta1, t))),
        .momentum_share = (float)(momentum_at(beta1, t + 1) / -expm1(log_product(beta1, t + 1))),
        .decay = decay_of(h),
    };
    memcpy(k, &s, sizeof s);
}

/* PyTorch's defaults, but for the decay, which is AdamW's here. */
const OptimRule optim_nadamw = {
    .name = "nadamw",
    .summary = "AdamW with Nesterov momentum",
    .source = "Dozat 2016; torch.optim.NAdam",
    .defaults.at = {HYPER_AT(LR, 2e-3), HYPER_AT(WEIGHT_DECAY, 0.1), HYPER_AT(BETA1, 0.9), HYPER_AT(BETA2, 0.999),
                    HYPER_AT(EPS, 1e-8), HYPER_AT(CAUTIOUS, 0)},
    .states = {{"m", shape_whole, .is_momentum = true}, {"v", shape_whole}},
    .scalars = nadamw_scalars,
    .elements = {[2] = &nadamw_elements},
};
