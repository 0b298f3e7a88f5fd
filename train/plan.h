#ifndef TRAIN_PLAN_H
#define TRAIN_PLAN_H

#include "data/tokenizer.h"
#include "train/notes.h"
#include "train/options.h"

enum { PATH_MOST = 4096 };

/*
 * What a run will do: the command line, completed from the record of a resumed run, with every "auto", preset and
 * default resolved. It is made first and never changes afterwards.
 */
typedef struct Plan {
    Options options;
    GptConfig config;
    Tokenizer *tokenizer;   /* of text; NULL: not known (train/vocabulary.h) */
    Schedule aux_schedule;  /* of all but the hidden matrices */
    GptSetup setup;         /* B sequences of T tokens at once */
    size_t micro_batches;   /* of B x T tokens, per step of this rank, once the batch has grown */
    size_t tokens_per_step; /* of all ranks, likewise */
    size_t arena;           /* floats of the parameters, and of the gradients */
    size_t optim_bytes;     /* of this rank's optimizer and of what it receives of others */
    Ranks ranks;
    bool batch_by_memory;                 /* --batch-size auto */
    bool trains;                          /* otherwise it evaluates and samples */
    const char *weights;                  /* the directory they come from, or NULL: drawn from the seed */
    char checkpoint[PATH_MOST + 64];      /* that a resumed run continues from */
    size_t steps_before;                  /* --steps of a resumed run until now */
    char dtype_before[8];                 /* likewise what it computed in */
    char out[PATH_MOST];                  /* the run's directory, if it trains; run.c may add a number to a default */
    size_t memory_needed, memory_present; /* bytes on the device; present 0: unknown */
} Plan;

/* Tokens of step 0, 1, .., and of all steps before it. */
size_t plan_tokens_of(const Plan *plan, size_t step);
uint64_t plan_tokens_before(const Plan *plan, size_t step);

/* Micro-batches of this rank in a step, and the blocks that they are summed in (gradients.h). */
size_t plan_batches_of(const Plan *plan, size_t step);
size_t plan_blocks_of(const Plan *plan, size_t step);

/* The most blocks of any step. */
size_t plan_most_blocks(const Plan *plan);

/* Collective. Returns RUN_DONE, RUN_WRONG_COMMAND or RUN_FAILED (run.h). With --list-groups it prints them and leaves
 * the rest of the plan unmade. The strings of `asked` are borrowed; plan_free frees the plan's own. */
int plan_make(const Options *asked, Plan *plan, Notes *notes, Error *e);
void plan_free(Plan *plan);

#endif
