#ifndef OPTIM_HYPER_H
#define OPTIM_HYPER_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * Hyperparameters of the update rules: one enum, one table. The table drives the command-line options, their help,
 * range checks, --list-groups and the record of a run.
 */
typedef enum {
    HYPER_LR,
    HYPER_WEIGHT_DECAY,
    HYPER_MOMENTUM,
    HYPER_DAMPENING,
    HYPER_NESTEROV,
    HYPER_MOMENTUM_FORM,
    HYPER_NESTEROV_FORM,
    HYPER_MOMENTUM_WARMUP,
    HYPER_MOMENTUM_COOLDOWN,
    HYPER_MOMENTUM_START,
    HYPER_BETA1,
    HYPER_BETA2,
    HYPER_BETA3,
    HYPER_BETA3_WARMUP,
    HYPER_ALPHA,
    HYPER_ALPHA_WARMUP,
    HYPER_EPS,
    HYPER_EPS_MODE,
    HYPER_EPS_MAX,
    HYPER_EPS_RATE,
    HYPER_EPS_START,
    HYPER_EPS_END,
    HYPER_BIAS_CORRECTION,
    HYPER_ZERO_INIT_MOMENTS,
    HYPER_CAUTIOUS,
    HYPER_RATE_WARMUP,
    HYPER_AVERAGE_DECAY,
    HYPER_RHO,
    HYPER_D0,
    HYPER_D_COEF,
    HYPER_CPR_WARMUP,
    HYPER_MARS_GAMMA,
    HYPER_MARS_FORM,
    HYPER_RANK,
    HYPER_POWER_START,
    HYPER_POWER_END,
    HYPER_POWER_MIDDLE,
    HYPER_POWER_WIDTH,
    HYPER_WHITENING,
    HYPER_TARGET_NORM,
    HYPER_FACTOR_LR,
    HYPER_FRACTION,
    HYPER_SIDES,
    HYPER_REFRESH,
    HYPER_GRAFT,
    HYPER_NS,
    HYPER_NS_STEPS,
    HYPER_NS_DTYPE,
    HYPER_NS_NORM,
    HYPER_MUON_SCALE,
    HYPER_EQUAL_ROWS,
    HYPER_CONTRA,
    HYPER_NORMUON_FORM,
    HYPER_RADIAL_BRAKE,
    HYPER_STEP_FLOOR,
    HYPER_FLOOR_BY,
    HYPER_PIN_RADIUS,
    HYPER_GATE,
    HYPER_GATE_LEAST,
    HYPER_GATE_MOST,
    HYPER_GATE_START,
    HYPER_GATE_END,
    HYPER_RADIUS,
    HYPER_SPLIT_QKV,
    HYPER_SPLIT_HEADS,
    HYPER_COUNT
} HyperId;

/* Values of the choices; the lists of their names end with NULL. */
typedef enum { MOMENTUM_SUM, MOMENTUM_EMA } MomentumForm;
typedef enum { NESTEROV_LOOK_AHEAD, NESTEROV_SHIFTED } NesterovForm;
typedef enum { EPS_OUTSIDE, EPS_UNCORRECTED, EPS_INSIDE } EpsMode;
typedef enum { MARS_APPROXIMATE, MARS_EXACT } MarsForm;
typedef enum { SIDES_TWO, SIDES_ONE } Sides;
typedef enum { GRAFT_NONE, GRAFT_ADAM } Graft;

/* How matrices are orthogonalised; see rules/newton_schulz.h. */
typedef enum {
    NS_JORDAN,
    NS_CUBIC,
    NS_MODULA,
    NS_VARIED,
    NS_POLAR_EXPRESS,
    NS_TRACK3,
    NS_MUOWN,
    NS_NANOCHAT,
    NS_EXACT,
    NS_COUNT
} NsFlavour;
extern const char *const ns_names[NS_COUNT + 1];

/* Precision of its products; auto is resolved together with the groups. */
typedef enum { NS_AUTO, NS_FP32, NS_BF16, NS_DTYPE_COUNT } NsDtype;

/* What a matrix is divided by before the iteration, an upper bound of its largest singular value: |U|_F, or the tighter
 * |U U^T|_F^(1/2), its Schatten-4 norm. */
typedef enum { NS_FROBENIUS, NS_SCHATTEN4 } NsNorm;

/* NorMuon's second moments: of modded-nanogpt, or of its paper (Li et al. 2025); see rules/muon_step.c. */
typedef enum { NORMUON_MODDED, NORMUON_LI } NormuonForm;

/* Whether a least length of the step holds for whole matrices or for each row. */
typedef enum { FLOOR_MATRIX, FLOOR_ROW } FloorBy;

/* Where SOAP-Muon mixes its direction with Muon's. */
typedef enum { GATE_NONE, GATE_ATTENTION_OUT, GATE_ALL } Gate;

/* Scale of Muon's step for a matrix of r = fan-out rows and c = fan-in columns. */
typedef enum {
    MUON_SCALE_NONE,      /* 1 */
    MUON_SCALE_ORIGINAL,  /* sqrt(max(1, r/c)): KellerJordan/Muon, torch.optim.Muon */
    MUON_SCALE_MOONSHOT,  /* 0.2 sqrt(max(r, c)): Liu et al. 2025; the update's RMS is 0.2 */
    MUON_SCALE_BERNSTEIN, /* sqrt(r/c): RMS-to-RMS operator norm 1 */
    MUON_SCALE_EARLY,     /* sqrt(max(r, c)): modded-nanogpt, October 2024; RMS 1 */
    MUON_SCALE_RMS,       /* 0.2 sqrt(r c) / |O|_F: the update's RMS is exactly 0.2 (Li et al. 2025) */
    MUON_SCALE_GRADIENT,  /* |gradient|_F / |O|_F: keeps the gradient's magnitude */
    MUON_SCALE_NUCLEAR,   /* <u, O>, the dual norm: steepest descent in the spectral norm (Bernstein, Newhouse 2024) */
    MUON_SCALE_COUNT
} MuonScale;
extern const char *const muon_scale_names[MUON_SCALE_COUNT + 1];

typedef enum { HYPER_REAL, HYPER_WHOLE, HYPER_SWITCH, HYPER_CHOICE } HyperKind;

typedef struct HyperInfo {
    const char *name; /* of the option: "weight-decay" */
    const char *help;
    HyperKind kind;
    double least, most; /* inclusive, unless below_one */
    bool below_one;
    const char *const *choices; /* HYPER_CHOICE: names of the values 0, 1, ..; NULL-terminated */
} HyperInfo;

extern const HyperInfo hyper_info[HYPER_COUNT];

/* Hyperparameters, some of them set; all zeros: none. */
typedef struct OptimHyper {
    struct {
        bool set;
        double value;
    } at[HYPER_COUNT];
} OptimHyper;

/* For initialisers: {.at = {HYPER_AT(LR, 0.1), HYPER_AT(BETA1, 0.9)}} */
/* clang-format off */
#define HYPER_AT(id, x) [HYPER_##id] = {true, (x)}
/* clang-format on */

void hyper_set(OptimHyper *h, HyperId id, double value);

/* The value; it must be set. */
double hyper(const OptimHyper *h, HyperId id);

/* Checks a value's range (NaN is never in range). The error names --<prefix><name>. */
int hyper_check(HyperId id, double value, const char *prefix, Error *e);

/* Reads a decimal number, nan or inf, without the blanks, signs and hexadecimals that strtod accepts before them. */
bool hyper_read_number(const char *text, double *value);

/* Reads a value from text: a number, a choice by name, or on/off for a switch. */
int hyper_parse(HyperId id, const char *text, const char *prefix, double *value, Error *e);

/* The index of `text` in the NULL-terminated `choices`; the error names --<prefix><name> and every choice. */
int hyper_choice(const char *const *choices, const char *text, const char *prefix, const char *name, size_t *index,
                 Error *e);

/* Writes a number with the fewest digits that read back as the same value. */
void hyper_format_number(double value, char *to, size_t size);

/* Writes a value as hyper_parse reads it. */
void hyper_format(HyperId id, double value, char *to, size_t size);

#endif
