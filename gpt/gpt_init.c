#include "gpt/gpt.h"

#include <math.h>

/*
 * Where a matrix's standard deviation is `std` / sqrt(fan-in), times a factor by its place; 1/sqrt(3) and uniform is
 * PyTorch's own. record-N are those of modded-nanogpt's speedrun, track3 of the entries of its optimizer benchmark:
 * most (the Gaussian one), p (PyTorch's), h and hg (for rules that keep a matrix's norm), 46 (below).
 */
typedef struct Scheme {
    TensorDraw draw;
    double std, embedding, attproj, fc, fcproj, head; /* embedding: its own standard deviation; 0: as a matrix's */
    bool biases; /* of queries, keys, values and the MLP's first matrix: as its weights; otherwise 0 */
} Scheme;

#define PYTORCH 0.57735026918962576 /* 1/sqrt(3) */
#define TRACK3 0.57445626465380284  /* sqrt(0.33) */

static const Scheme schemes[GPT_INIT_COUNT] = {
    [GPT_INIT_RECORD_2] = {DRAW_UNIFORM, PYTORCH, 0, 1, 1, 1, 1, false},
    [GPT_INIT_RECORD_5] = {DRAW_UNIFORM, PYTORCH, 0, 0, 1, 0, 1, false},
    [GPT_INIT_TRACK3] = {DRAW_NORMAL, TRACK3, 1, 0, 1, 0, 0, false},
    [GPT_INIT_TRACK3_P] = {DRAW_UNIFORM, PYTORCH, 1, 0, 1, 0, 0, true},
    [GPT_INIT_TRACK3_46] = {DRAW_UNIFORM, PYTORCH, 1, 0, 1, 0, 0, true},
    [GPT_INIT_TRACK3_H] = {DRAW_UNIFORM, PYTORCH, 1, 1.25, 1.5, 3, 0, true},
    [GPT_INIT_TRACK3_HG] = {DRAW_NORMAL, TRACK3, 1, 1.25, 1.5, 3, 1, false},
};

/* N(0, 0.02^2), as most Hugging Face models; of gpt2 the projections added to the residual stream are smaller (Radford
 * et al. 2019, section 2.3). */
static TensorInit small_normal(const GptConfig *c, GptParameter k)
{
    const bool residual = c->init == GPT_INIT_GPT2 && (k == GPT_attprojw || k == GPT_fcprojw);
    return (TensorInit){.std = residual ? 0.02 / sqrt(2.0 * (double)c->L) : 0.02};
}

/*
 * Of modula's hello-gpt (modula-systems/modula f5b027b, examples/hello-gpt.ipynb), whose linear layers keep root mean
 * squares. What it multiplies activations by is folded into the matrices: 1/3 after attention, the share 1/(2L) of each
 * half of a layer, 1/1.1289 after GELU. Queries and keys are a third of its own like the values, so its attention_scale
 * of 1/HS is 9/HS here; with the share goes a residual_scale of 1 - 1/(2L).
 */
static TensorInit modula(const GptConfig *c, GptParameter k)
{
    const double share = 1 / (2 * (double)c->L);
    switch (k) {
    case GPT_wte:
    case GPT_wpe:
        return (TensorInit){.std = 1, .draw = DRAW_EQUAL_ROWS};
    case GPT_qkvw:
    case GPT_qw:
    case GPT_kvw:
        return (TensorInit){.std = 1.0 / 3, .draw = DRAW_ORTHOGONAL};
    case GPT_attprojw:
        return (TensorInit){.std = share, .draw = DRAW_ORTHOGONAL};
    case GPT_fcprojw:
        return (TensorInit){.std = share / 1.1289, .draw = DRAW_ORTHOGONAL};
    default:
        return (TensorInit){.std = 1, .draw = DRAW_ORTHOGONAL};
    }
}

/*
 * Of the track's 46th entry: the MLP's first matrix falls from 1 in the first layer to 0.7 in the last, and the gains
 * of a layer's norms are 1 - 0.125 s and 1 + 0.125 s with random signs s. There the signs of a layer from the sixth on
 * also balance those of the next; here they are independent.
 */
static const double FC_FALL = 0.3, GAIN_SPREAD = 0.125;

static TensorInit entry_46(const GptConfig *c, GptParameter k, size_t layer, TensorInit otherwise)
{
    if (k == GPT_ln1w || k == GPT_ln2w)
        return (TensorInit){.mean = 1, .std = k == GPT_ln1w ? -GAIN_SPREAD : GAIN_SPREAD, .draw = DRAW_SIGNS};
    if (k == GPT_fcw && c->L > 1)
        otherwise.std *= 1 - FC_FALL * (double)layer / (double)(c->L - 1);
    return otherwise;
}

static TensorInit same_in_each_layer(const GptConfig *c, GptParameter k)
{
    static const TensorRole roles[] = {
#define ROLE(member, name, role, ...) role,
        GPT_PARAMETERS(ROLE)
#undef ROLE
    };
    const Scheme *s = &schemes[c->init];
    const double usual = s->std / sqrt((double)c->C);
    const bool drawn = k == GPT_qkvb || k == GPT_fcb;
    if (roles[k] == ROLE_GAIN)
        return (TensorInit){.mean = 1};
    if (roles[k] == ROLE_BIAS)
        return (TensorInit){.std = s->biases && drawn ? usual : 0, .draw = s->draw};
    if (c->init == GPT_INIT_GPT2 || c->init == GPT_INIT_NORMAL)
        return small_normal(c, k);
    if (c->init == GPT_INIT_MODULA)
        return modula(c, k);
    switch (k) {
    case GPT_wte:
    case GPT_wpe:
        return s->embedding > 0 ? (TensorInit){.std = s->embedding} : (TensorInit){.std = usual, .draw = s->draw};
    case GPT_attprojw:
        return (TensorInit){.std = s->attproj * usual, .draw = s->draw};
    case GPT_fcw:
        return (TensorInit){.std = s->fc * usual, .draw = s->draw};
    case GPT_fcprojw:
        return (TensorInit){.std = s->fcproj * s->std / sqrt((double)c->F), .draw = s->draw};
    case GPT_headw:
        return (TensorInit){.std = s->head * usual, .draw = s->draw};
    default:
        return (TensorInit){.std = usual, .draw = s->draw};
    }
}

TensorInit gpt_init_of(const GptConfig *c, GptParameter k, size_t layer)
{
    const TensorInit init = same_in_each_layer(c, k);
    return c->init == GPT_INIT_TRACK3_46 ? entry_46(c, k, layer, init) : init;
}
