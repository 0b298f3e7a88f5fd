#include "train/qk_clip.h"

#include <math.h>
#include <stdlib.h>

enum { PARTS = 4 }; /* of a head that are scaled: weights and biases, of its queries and of its keys */

struct QkClip {
    Gpt *gpt;
    Optim *optim;
    double threshold;
    float *scores;         /* (ranks,L,NH); then (L,NH), of all ranks */
    float *own;            /* (L,NH) */
    OptimScaling *scaling; /* (L,KVH,PARTS) at most */
    size_t *times;         /* (L,KVH) that it was clipped */
};

int qk_clip_check(const GptConfig *config, Error *e)
{
    if (config->qk_norm == GPT_QK_NORM_OFF)
        return 0;
    return error_set(e, "--qk-clip scales the weights of queries and keys, and with --qk-norm scores do not depend on "
                        "their size");
}

int qk_clip_create(Gpt *gpt, Optim *optim, double threshold, QkClip **out, Error *e)
{
    const GptConfig *c = gpt_config(gpt);
    const size_t heads = c->L * c->NH, world = comm_ranks(optim_comm(optim)).world;
    QkClip *clip = calloc(1, sizeof *clip);
    *out = clip;
    if (clip == NULL)
        return error_set(e, "out of memory");
    *clip = (QkClip){.gpt = gpt,
                     .optim = optim,
                     .threshold = threshold,
                     .scores = calloc(world * heads, sizeof *clip->scores),
                     .own = calloc(heads, sizeof *clip->own),
                     .scaling = calloc(PARTS * c->L * c->KVH, sizeof *clip->scaling),
                     .times = calloc(c->L * c->KVH, sizeof *clip->times)};
    if (clip->scores == NULL || clip->own == NULL || clip->scaling == NULL || clip->times == NULL)
        return error_set(e, "out of memory for the scores of %zu heads", heads);
    return 0;
}

void qk_clip_free(QkClip *clip)
{
    if (clip == NULL)
        return;
    free(clip->scores);
    free(clip->own);
    free(clip->scaling);
    free(clip->times);
    free(clip);
}

void qk_clip_begin(const QkClip *clip) { gpt_scores_begin(clip->gpt); }

/* The larger of two numbers; NaN if one is. */
static float larger(float a, float b) { return b > a || isnan(b) ? b : a; }

/* The first (L,NH) of clip->scores become those of all ranks. */
static void find_scores(const QkClip *clip)
{
    const GptConfig *c = gpt_config(clip->gpt);
    const size_t heads = c->L * c->NH, world = comm_ranks(optim_comm(clip->optim)).world;
    gpt_scores(clip->gpt, clip->own);
    comm_exchange(optim_comm(clip->optim), clip->own, heads * sizeof *clip->own, clip->scores);
    for (size_t i = heads; i < world * heads; i++)
        clip->scores[i % heads] = larger(clip->scores[i % heads], clip->scores[i]);
}

/* `heads` heads of a parameter, of `width` floats each, from head `first` on; returns how many stretches that is. */
static size_t add_part(const GptPlace *place, size_t layer, size_t first, size_t heads, size_t width, double factor,
                       OptimScaling *to)
{
    *to = (OptimScaling){place->offset + layer * place->stride + first * width, heads * width, factor};
    return place->present;
}

/* All parts of a head of keys and of the queries that read it. */
static size_t add_head(const QkClip *clip, size_t layer, size_t head, double factor, OptimScaling *to)
{
    const GptConfig *c = gpt_config(clip->gpt);
    const GptPlace *places = gpt_table(clip->gpt)->places, *qkv = &places[GPT_qkvw], *bias = &places[GPT_qkvb];
    const size_t HS = gpt_head_size(c), share = c->NH / c->KVH;
    size_t n = 0;
    n += add_part(qkv->present ? qkv : &places[GPT_qw], layer, head * share, share, HS * c->C, factor, to + n);
    n += qkv->present ? add_part(qkv, layer, c->NH + head, 1, HS * c->C, factor, to + n)
                      : add_part(&places[GPT_kvw], layer, head, 1, HS * c->C, factor, to + n);
    n += add_part(bias, layer, head * share, share, HS, factor, to + n);
    n += add_part(bias, layer, c->NH + head, 1, HS, factor, to + n);
    return n;
}

QkClipStep qk_clip_end(QkClip *clip)
{
    const GptConfig *c = gpt_config(clip->gpt);
    const size_t share = c->NH / c->KVH;
    float all = -INFINITY;
    size_t count = 0, heads = 0;
    find_scores(clip);
    for (size_t i = 0; i < c->L * c->KVH; i++) {
        float largest = -INFINITY;
        for (size_t h = i * share; h < (i + 1) * share; h++)
            largest = larger(largest, clip->scores[h]);
        all = larger(all, largest);
        if (!((double)largest > clip->threshold))
            continue;
        count += add_head(clip, i / c->KVH, i % c->KVH, sqrt(clip->threshold / (double)largest), clip->scaling + count);
        clip->times[i]++;
        heads += share;
    }
    optim_scale(clip->optim, clip->scaling, count);
    return (QkClipStep){(double)all, heads};
}

QkClipSum qk_clip_sum(const QkClip *clip)
{
    const GptConfig *c = gpt_config(clip->gpt);
    QkClipSum sum = {0};
    for (size_t i = 0; i < c->L * c->KVH; i++) {
        sum.times += clip->times[i] * (c->NH / c->KVH);
        sum.heads += clip->times[i] > 0 ? c->NH / c->KVH : 0;
    }
    return sum;
}
