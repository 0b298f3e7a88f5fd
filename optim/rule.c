#include "optim/rule.h"

static const OptimRule *const rules[] = {
#define ROW(name) &optim_##name,
    OPTIM_RULES(ROW)
#undef ROW
};

enum { RULE_COUNT = sizeof rules / sizeof *rules };

const OptimRule *optim_rule(size_t i) { return i < RULE_COUNT ? rules[i] : NULL; }
const char *optim_rule_name(size_t i) { return i < RULE_COUNT ? rules[i]->name : NULL; }
const char *optim_rule_summary(size_t i) { return i < RULE_COUNT ? rules[i]->summary : NULL; }

bool optim_aux_uses(HyperId id)
{
    if (id == HYPER_SPLIT_QKV || id == HYPER_SPLIT_HEADS) /* hidden matrices alone have blocks */
        return false;
    for (size_t i = 0; i < RULE_COUNT; i++)
        if (!rules[i]->matrices_only && rules[i]->defaults.at[id].set)
            return true;
    return false;
}

Decay decay_of(const OptimHyper *h)
{
    const float keep = (float)(1 - hyper(h, HYPER_LR) * hyper(h, HYPER_WEIGHT_DECAY));
    const bool cautious = h->at[HYPER_CAUTIOUS].set && hyper(h, HYPER_CAUTIOUS) != 0;
    return (Decay){keep, cautious ? 1.0f : keep};
}

#define SHAPE(name, r, c)                                                  \
    OptimShape shape_##name(const OptimHyper *h, size_t rows, size_t cols) \
    {                                                                      \
        (void)h, (void)rows, (void)cols;                                   \
        return (OptimShape){(r), (c)};                                     \
    }
SHAPE(whole, rows, cols)
SHAPE(momentum, hyper(h, HYPER_MOMENTUM) != 0 ? rows : 0, cols)
SHAPE(left, rows, rows)
SHAPE(right, cols, cols)
SHAPE(rows, 1, rows)
SHAPE(cols, 1, cols)
SHAPE(lines, rows >= cols ? rows : 1, rows >= cols ? 1 : cols)
SHAPE(scalar, 1, 1)

OptimShape shape_basis(const OptimHyper *h, size_t rows, size_t cols)
{
    const size_t asked = (size_t)hyper(h, HYPER_RANK), most = rows < cols ? rows : cols;
    return (OptimShape){most, asked > 0 && asked < most ? asked : most};
}
