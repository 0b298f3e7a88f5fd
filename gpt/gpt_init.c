#include "gpt/gpt.h"

#include <math.h>

/*
 * Where a matrix's standard deviation is `std` / sqrt(fan-in), times a factor by its place; 1/sqrt(3) and uniform is
 * PyTorch's own. record-N are those of modded-nanogpt's speedrun, track3 of the entries of its optimizer benchmark: most
 * (the Gaussian one), p (PyTorch's), h and hg (for rules that keep a matrix's norm).
 */
typedef struct Scheme {
    bool uniform;
    double std, embedding, attproj, fc, fcproj, head; /* embedding: its own standard deviation; 0: as a matrix's */
    bool biases; /* of queries, keys, values and the MLP's first matrix: as its weights; otherwise 0 */
} Scheme;

#define PYTORCH 0.57735026918962576 /* 1/sqrt(3) */
#define TRACK3 0.57445626465380284  /* sqrt(0.33) */

static const Scheme schemes[GPT_INIT_COUNT] = {
    [GPT_INIT_RECORD_2] = {true, PYTORCH, 0, 1, 1, 1, 1, false},
    [GPT_INIT_RECORD_5] = {true, PYTORCH, 0, 0, 1, 0, 1, false},
    [GPT_INIT_TRACK3] = {false, TRACK3, 1, 0, 1, 0, 0, false},
    [GPT_INIT_TRACK3_P] = {true, PYTORCH, 1, 0, 1, 0, 0, true},
    [GPT_INIT_TRACK3_H] = {true, PYTORCH, 1, 1.25, 1.5, 3, 0, true},
    [GPT_INIT_TRACK3_HG] = {false, TRACK3, 1, 1.25, 1.5, 3, 1, false},
};

/* N(0, 0.02^2), as most Hugging Face models; of gpt2 the projections added to the residual stream are smaller (Radford et
 * al. 2019, section 2.3). */
static TensorInit small_normal(const GptConfig *c, GptParameter k)
{
    const bool residual = c->init == GPT_INIT_GPT2 && (k == GPT_attprojw || k == GPT_fcprojw);
    return (TensorInit){.std = residual ? 0.02 / sqrt(2.0 * (double)c->L) : 0.02};
}

TensorInit gpt_init_of(const GptConfig *c, GptParameter k)
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
        return (TensorInit){.std = s->biases && drawn ? usual : 0, .uniform = s->uniform};
    if (c->init == GPT_INIT_GPT2 || c->init == GPT_INIT_NORMAL)
        return small_normal(c, k);
    switch (k) {
    case GPT_wte:
    case GPT_wpe:
        return (TensorInit){.std = s->embedding > 0 ? s->embedding : usual, .uniform = s->uniform && s->embedding == 0};
    case GPT_attprojw:
        return (TensorInit){.std = s->attproj * usual, .uniform = s->uniform};
    case GPT_fcw:
        return (TensorInit){.std = s->fc * usual, .uniform = s->uniform};
    case GPT_fcprojw:
        return (TensorInit){.std = s->fcproj * s->std / sqrt((double)c->F), .uniform = s->uniform};
    case GPT_headw:
        return (TensorInit){.std = s->head * usual, .uniform = s->uniform};
    default:
        return (TensorInit){.std = usual, .uniform = s->uniform};
    }
}
