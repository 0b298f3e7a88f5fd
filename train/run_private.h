#ifndef TRAIN_RUN_PRIVATE_H
#define TRAIN_RUN_PRIVATE_H

#include "data/loader.h"
#include "train/checkpoint.h"
#include "train/corpus.h"
#include "train/diagnose.h"
#include "train/gradients.h"
#include "train/metrics.h"
#include "train/plan.h"
#include "train/progress.h"
#include "train/qk_clip.h"
#include "train/run.h"
#include "train/tasks.h"

/*
 * A run in progress: run.c is its loop, record.c its records, evaluate.c validation and samples. Of several ranks each
 * has one. They take every decision alike: what one learns by itself (a signal, an error, the time) goes through
 * comm/comm.h first. Rank 0 alone writes files; what others print goes nowhere.
 */
typedef struct Run {
    const Plan *plan;
    Comm *comm; /* NULL: one rank */
    int signal; /* that has come to any rank, as of the last agreement */
    Notes notes;
    char out[PATH_MOST]; /* its directory */
    Corpus corpus;
    Tasks *tasks; /* --eval */
    char *data;   /* the identity of the corpus, as JSON */
    Gpt *gpt;
    Optim *optim; /* NULL: it does not train */
    Gradients *gradients;
    Diagnosis *diagnosis; /* or NULL */
    QkClip *qk_clip;      /* or NULL */
    Loader *loader;
    int32_t *inputs, *targets; /* (B,T); of all this rank's micro-batches of a step, if it passes over them twice */
    bool twice;
    int lock; /* on the run's directory */
    MetricsLog log;
    Progress progress;
    CheckpointState state;
    float *scratch;         /* the largest tensor */
    double last_save;       /* wall clock */
    double stepped, waited; /* seconds in this process's steps, and of these for other ranks */
    uint64_t sent;          /* bytes to them in the last step */
    bool target_reached;
    bool saved; /* the last step is in a checkpoint, or could not be written to one */
} Run;

/* How many times --comm-timeout the others wait while rank 0 writes a checkpoint or a sample. */
enum { PATIENCE = 20 };

/* Whether this rank writes the run's files. */
static inline bool writes(const Run *r) { return r->plan->ranks.rank == 0; }

/* --- run.c --- */

/* Collective: notes a signal that has come to any rank. */
void agree_on_signal(Run *r);

/* --- record.c --- */

/* Writes run.json: every resolved option, the version, the machine, the groups. */
int record_write(const Run *r, Error *e);

/* What is printed before and after the steps; notes made later are printed by record_notes. */
void record_banner(Run *r);
void record_notes(Run *r);
void record_summary(const Run *r);

/* --- evaluate.c --- */

#define EVALS_FILE "evals.csv" /* in the run's directory */
#define EVALS_HEADER "step,task,measure,value\n"

bool can_validate(const Run *r);

/* Collective, as are those below: mean cross-entropy over the validation targets, in nats, of the parameters as they
 * stand; NAN if a signal came first. */
int evaluate(Run *r, double *loss, Error *e);

/* The same of the weights that optim_show puts in their place. */
int evaluate_shown(Run *r, double *loss, Error *e);

/* Whether a validation is due after the last step done, and has not been made. */
bool validation_due(const Run *r);

/* Notes a validation loss; at the first crossing of --target-loss reports where, interpolating between validations. */
void note_validation(Run *r, double loss);

/* --eval: whether its tasks are due after the last step done, and have not been run; running them on the weights that
 * optim_show puts in their place. last: the run ends, with the tables of losses. A signal leaves them due. Errors: the
 * log cannot be written, those of tasks_run. */
bool tasks_due(const Run *r, bool last);
int run_tasks(Run *r, bool last, Error *e);

/* Models whose tokenizer is known print a sample at the end unless told otherwise. */
bool sample_due(const Run *r, bool last);
int print_sample(Run *r, Error *e);

#endif
