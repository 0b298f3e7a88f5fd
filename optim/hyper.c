#include "optim/hyper.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const momentum_forms[] = {"sum", "ema", NULL};
static const char *const nesterov_forms[] = {"look-ahead", "shifted", NULL};
static const char *const eps_modes[] = {"outside", "uncorrected", "inside", NULL};
static const char *const mars_forms[] = {"approximate", "exact", NULL};
static const char *const sides[] = {"two", "one", NULL};
static const char *const grafts[] = {"none", "adam", NULL};
static const char *const ns_norms[] = {"frobenius", "schatten4", NULL};
static const char *const normuon_forms[] = {"modded", "li", NULL};
static const char *const floors[] = {"matrix", "row", NULL};
static const char *const gates[] = {"none", "attention-out", "all", NULL};
static const char *const ns_dtypes[] = {"auto", "fp32", "bf16", NULL};
const char *const ns_names[NS_COUNT + 1] = {"jordan", "cubic", "modula",   "varied", "polar-express",
                                            "track3", "muown", "nanochat", "exact",  NULL};
const char *const muon_scale_names[MUON_SCALE_COUNT + 1] = {"none", "original", "moonshot", "bernstein", "early",
                                                            "rms",  "gradient", "nuclear",  NULL};

const HyperInfo hyper_info[HYPER_COUNT] = {
    [HYPER_LR] = {"lr", "learning rate", HYPER_REAL, 0, 1e6, false, NULL},
    [HYPER_WEIGHT_DECAY] = {"weight-decay",
                            "weight decay, decoupled; coupled L2 in sgd, adam, adagrad, rmsprop, adadelta", HYPER_REAL,
                            0, 1e6, false, NULL},
    [HYPER_MOMENTUM] = {"momentum", "momentum", HYPER_REAL, 0, 1, true, NULL},
    [HYPER_DAMPENING] = {"dampening", "sgd's dampening of the gradient", HYPER_REAL, 0, 1, false, NULL},
    [HYPER_NESTEROV] = {"nesterov", "Nesterov's form of momentum", HYPER_SWITCH, 0, 1, false, NULL},
    [HYPER_MOMENTUM_FORM] = {"momentum-form", "sgd's momentum: a decaying sum of gradients (PyTorch) or their average",
                             HYPER_CHOICE, 0, 1, false, momentum_forms},
    [HYPER_NESTEROV_FORM] = {"nesterov-form", "nesterov: look ahead for the gradient, or keep the parameters shifted",
                             HYPER_CHOICE, 0, 1, false, nesterov_forms},
    [HYPER_MOMENTUM_WARMUP] = {"momentum-warmup", "steps over which momentum rises to its value; 0: none", HYPER_WHOLE,
                               0, 1e9, false, NULL},
    [HYPER_MOMENTUM_COOLDOWN] = {"momentum-cooldown", "last steps, over which momentum falls again; 0: none",
                                 HYPER_WHOLE, 0, 1e9, false, NULL},
    [HYPER_MOMENTUM_START] = {"momentum-start", "momentum before its warmup and after its cooldown", HYPER_REAL, 0, 1,
                              true, NULL},
    [HYPER_BETA1] = {"beta1", "decay of the first moment", HYPER_REAL, 0, 1, true, NULL},
    [HYPER_BETA2] = {"beta2", "decay of the second moment, or of the factors", HYPER_REAL, 0, 1, true, NULL},
    [HYPER_BETA3] = {"beta3", "ademamix: decay of the slow average", HYPER_REAL, 0, 1, true, NULL},
    [HYPER_BETA3_WARMUP] = {"beta3-warmup", "ademamix: steps over which beta3 rises from beta1; 0: none", HYPER_WHOLE,
                            0, 1e9, false, NULL},
    [HYPER_ALPHA] = {"alpha", "ademamix: weight of the slow average beside the fast one", HYPER_REAL, 0, 1e6, false,
                     NULL},
    [HYPER_ALPHA_WARMUP] = {"alpha-warmup", "ademamix: steps over which alpha rises from 0; 0: none", HYPER_WHOLE, 0,
                            1e9, false, NULL},
    [HYPER_EPS] = {"eps",
                   "avoids division by zero; added to the root of the second moment unless the rule says otherwise",
                   HYPER_REAL, 0, 1e6, false, NULL},
    [HYPER_EPS_MODE] = {"eps-mode",
                        "where eps is added: to the corrected root, to the uncorrected root, or under the root",
                        HYPER_CHOICE, 0, 2, false, eps_modes},
    [HYPER_EPS_MAX] = {"eps-max", "eps grows to this during the run; 0: eps is constant", HYPER_REAL, 0, 1e6, false,
                       NULL},
    [HYPER_EPS_RATE] = {"eps-rate", "growth rate of eps, per step; 0: linear growth", HYPER_REAL, 0, 1e6, false, NULL},
    [HYPER_EPS_START] = {"eps-start", "fraction of the run at which eps starts to grow", HYPER_REAL, 0, 1, true, NULL},
    [HYPER_EPS_END] = {"eps-end", "fraction of the run at which eps reaches its maximum", HYPER_REAL, 0, 1, false,
                       NULL},
    [HYPER_BIAS_CORRECTION] = {"bias-correction", "divide moments by 1 - beta^t", HYPER_SWITCH, 0, 1, false, NULL},
    [HYPER_ZERO_INIT_MOMENTS] = {"zero-init-moments", "start moments at zero, not at the first gradient", HYPER_SWITCH,
                                 0, 1, false, NULL},
    [HYPER_CAUTIOUS] = {"cautious", "decay only weights that the step shrinks", HYPER_SWITCH, 0, 1, false, NULL},
    [HYPER_RATE_WARMUP] = {"rate-warmup", "schedule-free: steps over which its rate rises", HYPER_WHOLE, 0, 1e9, false,
                           NULL},
    [HYPER_RHO] = {"rho", "sophia: factor of the Hessian; the larger, the fewer elements are clipped", HYPER_REAL, 0,
                   1e6, false, NULL},
    [HYPER_D0] = {"d0", "prodigy: first estimate of the distance to a solution", HYPER_REAL, 1e-30, 1e6, false, NULL},
    [HYPER_D_COEF] = {"d-coef", "prodigy: factor of the estimates", HYPER_REAL, 0, 1e6, false, NULL},
    [HYPER_AVERAGE_DECAY] = {"average-decay", "splus: decay of the average of weights that is shown", HYPER_REAL, 0, 1,
                             true, NULL},
    [HYPER_CPR_WARMUP] = {"cpr-warmup", "adam-cpr: steps after which mean squares are held fixed", HYPER_WHOLE, 1, 1e9,
                          false, NULL},
    [HYPER_MARS_GAMMA] = {"mars-gamma",
                          "mars, mars-lion, mars-shampoo: how much of the gradient's change is added to it", HYPER_REAL,
                          0, 1e6, false, NULL},
    [HYPER_MARS_FORM] = {"mars-form",
                         "that change is from the last step's gradient, or from this step's at the last parameters, "
                         "which takes another pass",
                         HYPER_CHOICE, 0, 1, false, mars_forms},
    [HYPER_RANK] = {"rank", "dion, galore: rank of the update; 0: full", HYPER_WHOLE, 0, 1e6, false, NULL},
    [HYPER_POWER_START] = {"power-start", "dynmuon: power of the singular values that the step keeps, at first",
                           HYPER_REAL, -1, 1, false, NULL},
    [HYPER_POWER_END] = {"power-end", "dynmuon: the power at the end of the run", HYPER_REAL, -1, 1, false, NULL},
    [HYPER_POWER_MIDDLE] = {"power-middle", "dynmuon: fraction of the run at which the power is half-way", HYPER_REAL,
                            0, 1, false, NULL},
    [HYPER_POWER_WIDTH] = {"power-width", "dynmuon: fraction of the run within which the power changes e-fold",
                           HYPER_REAL, 1e-6, 1e6, false, NULL},
    [HYPER_WHITENING] = {"whitening", "pmuon: power of both covariances that the momentum is divided by", HYPER_REAL, 0,
                         1, false, NULL},
    [HYPER_TARGET_NORM] = {"target-norm", "muown: norm that the directions of rows have at the end of the run",
                           HYPER_REAL, 1e-3, 1e6, false, NULL},
    [HYPER_FACTOR_LR] = {"factor-lr", "psgdh, kron: learning rate of the preconditioner's factors", HYPER_REAL, 0, 2,
                         false, NULL},
    [HYPER_FRACTION] = {"fraction", "dion2, nordion2: share of the rows or columns that a step takes", HYPER_REAL, 0, 1,
                        false, NULL},
    [HYPER_SIDES] = {"sides", "shampoo: power -1/4 on both sides, or -1/2 on the smaller one", HYPER_CHOICE, 0, 1,
                     false, sides},
    [HYPER_REFRESH] = {"refresh", "steps between updates of roots, of bases or, by sophia, of the Hessian", HYPER_WHOLE,
                       1, 1e9, false, NULL},
    [HYPER_GRAFT] = {"graft", "shampoo: take the norm of the step from another rule", HYPER_CHOICE, 0, 1, false,
                     grafts},
    [HYPER_NS] = {"ns", "how muon orthogonalises", HYPER_CHOICE, 0, NS_COUNT - 1, false, ns_names},
    [HYPER_NS_STEPS] = {"ns-steps", "Newton-Schulz iterations; 0: the flavour's own number", HYPER_WHOLE, 0, 99, false,
                        NULL},
    [HYPER_NS_DTYPE] = {"ns-dtype", "precision of Newton-Schulz's products; auto: bf16 on a GPU, fp32 on the CPU",
                        HYPER_CHOICE, 0, NS_DTYPE_COUNT - 1, false, ns_dtypes},
    [HYPER_MUON_SCALE] = {"muon-scale", "shape-dependent scale of muon's step", HYPER_CHOICE, 0, MUON_SCALE_COUNT - 1,
                          false, muon_scale_names},
    [HYPER_NS_NORM] = {"ns-norm", "what divides the matrix before Newton-Schulz; soap-muon: also which norm is kept",
                       HYPER_CHOICE, 0, 1, false, ns_norms},
    [HYPER_EQUAL_ROWS] = {"equal-rows",
                          "give the rows of the matrix equal lengths before it is orthogonalised (MuonEq)",
                          HYPER_SWITCH, 0, 1, false, NULL},
    [HYPER_CONTRA] = {"contra", "share of the momentum over its spectral norm that is taken off the step; 0: none",
                      HYPER_REAL, 0, 1, false, NULL},
    [HYPER_NORMUON_FORM] = {"normuon-form",
                            "second moments of lines of the longer side (modded) or of rows (li, the paper)",
                            HYPER_CHOICE, 0, 1, false, normuon_forms},
    [HYPER_RADIAL_BRAKE] = {"radial-brake", "share taken off the step's part along the matrix where that lengthens it",
                            HYPER_REAL, 0, 1, false, NULL},
    [HYPER_STEP_FLOOR] = {"step-floor", "least length of the step over the matrix's, before the rate; 0: none",
                          HYPER_REAL, 0, 1e6, false, NULL},
    [HYPER_FLOOR_BY] = {"floor-by", "step-floor holds for whole matrices or for each row", HYPER_CHOICE, 0, 1, false,
                        floors},
    [HYPER_PIN_RADIUS] = {"pin-radius", "give the matrix the norm that the step's part along it leads to", HYPER_SWITCH,
                          0, 1, false, NULL},
    [HYPER_GATE] = {"gate", "soap-muon: matrices where its direction counts as far as it agrees with Muon's",
                    HYPER_CHOICE, 0, 2, false, gates},
    [HYPER_GATE_LEAST] = {"gate-least",
                          "least weight of soap-muon's direction until gate-start; falls to 0 at gate-end", HYPER_REAL,
                          0, 1, false, NULL},
    [HYPER_GATE_MOST] = {"gate-most", "its largest weight until gate-end", HYPER_REAL, 0, 1, false, NULL},
    [HYPER_GATE_START] = {"gate-start", "fraction of the run from which gate-least falls", HYPER_REAL, 0, 1, false,
                          NULL},
    [HYPER_GATE_END] = {"gate-end", "fraction of the run at which gate-least is 0 and gate-most is over", HYPER_REAL, 0,
                        1, false, NULL},
    [HYPER_RADIUS] = {"radius", "scion: radius of the ball that the weights are held in", HYPER_REAL, 0, 1e6, false,
                      NULL},
    [HYPER_SPLIT_QKV] = {"split-qkv", "treat a fused QKV as three matrices", HYPER_SWITCH, 0, 1, false, NULL},
    [HYPER_SPLIT_HEADS] = {"split-heads", "treat each head's rows of those as a matrix of its own", HYPER_SWITCH, 0, 1,
                           false, NULL},
};

void hyper_set(OptimHyper *h, HyperId id, double value)
{
    h->at[id].set = true;
    h->at[id].value = value;
}

double hyper(const OptimHyper *h, HyperId id)
{
    assert(h->at[id].set);
    return h->at[id].value;
}

int hyper_check(HyperId id, double value, const char *prefix, Error *e)
{
    const HyperInfo *info = &hyper_info[id];
    const bool whole = info->kind == HYPER_REAL || value == floor(value);
    if (whole && value >= info->least && value <= info->most && !(info->below_one && value >= 1))
        return 0;
    return error_set(e, "--%s%s is %g; it must be a %s from %g %s %g", prefix, info->name, value,
                     info->kind == HYPER_REAL ? "number" : "whole number", info->least,
                     info->below_one ? "to below" : "to", info->most);
}

int hyper_choice(const char *const *choices, const char *text, const char *prefix, const char *name, size_t *index,
                 Error *e)
{
    char names[256] = "";
    for (size_t i = 0; choices[i] != NULL; i++) {
        if (strcmp(choices[i], text) == 0) {
            *index = i;
            return 0;
        }
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i == 0 ? "" : ", ", choices[i]);
    }
    return error_set(e, "--%s%s knows no '%s'; it is one of %s", prefix, name, text, names);
}

bool hyper_read_number(const char *text, double *value)
{
    char *end;
    if (strspn(text, "-.0123456789") == 0 && strcmp(text, "nan") != 0 && strcmp(text, "inf") != 0)
        return false;
    errno = 0;
    *value = strtod(text, &end);
    return *end == '\0' && strpbrk(text, "xX") == NULL && !(errno == ERANGE && fabs(*value) > 1);
}

int hyper_parse(HyperId id, const char *text, const char *prefix, double *value, Error *e)
{
    const HyperInfo *info = &hyper_info[id];
    if (info->kind == HYPER_CHOICE) {
        size_t index;
        const int status = hyper_choice(info->choices, text, prefix, info->name, &index, e);
        if (status == 0)
            *value = (double)index;
        return status;
    }
    if (info->kind == HYPER_SWITCH && (strcmp(text, "on") == 0 || strcmp(text, "off") == 0)) {
        *value = strcmp(text, "on") == 0;
        return 0;
    }
    if (!hyper_read_number(text, value))
        return error_set(e, "--%s%s needs a number, not '%s'", prefix, info->name, text);
    return hyper_check(id, *value, prefix, e);
}

void hyper_format_number(double value, char *to, size_t size)
{
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(to, size, "%.*g", digits, value);
        if (strtod(to, NULL) == value)
            break;
    }
}

void hyper_format(HyperId id, double value, char *to, size_t size)
{
    const HyperInfo *info = &hyper_info[id];
    if (info->kind == HYPER_CHOICE)
        snprintf(to, size, "%s", info->choices[(size_t)value]);
    else if (info->kind == HYPER_SWITCH)
        snprintf(to, size, "%s", value != 0 ? "on" : "off");
    else
        hyper_format_number(value, to, size);
}
