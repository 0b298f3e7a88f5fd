#ifndef TRAIN_QK_CLIP_H
#define TRAIN_QK_CLIP_H

#include "gpt/gpt.h"
#include "optim/optim.h"

/*
 * QK-clip (Kimi K2's report, arXiv 2507.20534, section 2.1): no score of attention is to grow beyond a threshold X.
 * Where the largest of a head's scores in a step's forward passes is S > X, the step ends by multiplying the weights and
 * biases of its queries, and of its keys, by sqrt(X / S): the same inputs would then give scores of at most X, but for
 * what the update itself changed. Values stay, and so do momenta.
 *
 * Heads of queries that share keys are clipped together, by the largest of their scores, as in NVIDIA's Megatron-LM.
 */
typedef struct QkClip QkClip;

/* Refuses a model on whose scores the size of these weights has no effect: with --qk-norm. */
int qk_clip_check(const GptConfig *config, Error *e);

/* The model has GptSetup.scores; all are borrowed. */
int qk_clip_create(Gpt *gpt, Optim *optim, double threshold, QkClip **out, Error *e);
void qk_clip_free(QkClip *clip);

typedef struct QkClipStep {
    double largest; /* score of any head; NaN if one was not a number */
    size_t heads;   /* of queries that are clipped */
} QkClipStep;

/* qk_clip_begin comes before a step's forward passes. qk_clip_end, collective, comes after them and before optim_step,
 * which it has clip. */
void qk_clip_begin(const QkClip *clip);
QkClipStep qk_clip_end(QkClip *clip);

/* Of all steps so far: how often a head was clipped, and how many heads were at least once. */
typedef struct QkClipSum {
    size_t times, heads;
} QkClipSum;
QkClipSum qk_clip_sum(const QkClip *clip);

#endif
