#ifndef TRAIN_RUN_PRIVATE_H
#define TRAIN_RUN_PRIVATE_H

#include "data/loader.h"
#include "train/checkpoint.h"
#include "train/corpus.h"
#include "train/diagnose.h"
#include "train/metrics.h"
#include "train/plan.h"
#include "train/run.h"

/* A run in progress: run.c is its loop, record.c its records, evaluate.c validation and samples. */
typedef struct Run {
    const Plan *plan;
    Corpus corpus;
    Gpt *gpt;
    Optim *optim;         /* NULL: it does not train */
    Diagnosis *diagnosis; /* or NULL */
    Loader *loader;
    int32_t *inputs, *targets; /* (B,T) */
    int lock;                  /* on the run's directory */
    MetricsLog log;
    Progress progress;
    CheckpointState state;
    size_t first_step; /* of this process */
    double start;      /* wall clock */
    bool target_reached;
    bool saved; /* the last step is in a checkpoint */
} Run;

/* --- record.c --- */

/* Writes run.json: every resolved option, the version, the machine, the groups. */
int record_write(const Run *r, Error *e);

/* What is printed before and after the steps. */
void record_banner(const Run *r);
void record_summary(const Run *r);

/* --- evaluate.c --- */

bool can_validate(const Run *r);

/* Mean cross-entropy over the validation targets, in nats, of the parameters as they stand. */
int evaluate(Run *r, double *loss, Error *e);

/* The same of the weights that optim_show puts in their place. */
int evaluate_shown(Run *r, double *loss, Error *e);

/* Notes a validation loss; at the first crossing of --target-loss reports where, interpolating between validations. */
void note_validation(Run *r, double loss);

/* Byte models print a sample at the end unless told otherwise. */
bool sample_due(const Run *r, bool last);
int print_sample(Run *r, Error *e);

#endif
