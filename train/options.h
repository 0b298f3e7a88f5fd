#ifndef TRAIN_OPTIONS_H
#define TRAIN_OPTIONS_H

#include "files/json.h"
#include "gpt/gpt.h"
#include "optim/optim.h"
#include "train/completion.h"
#include "train/notes.h"
#include "train/schedule.h"

#include <stdint.h>
#include <stdio.h>

enum { OPTIONS_MOST = 256 };

#define SAMPLE_AT_END SIZE_MAX
#define VAL_EVERY_AUTO SIZE_MAX
#define STEPS_SAME SIZE_MAX

/* The command line, from one table (options.c) that also records a run, checks a resumed one, and is
 * what --help, the manual page (manual.h) and the completion of shells (completion.h) are printed from. */
typedef struct Options {
    const char *preset; /* a name or a path; NULL: none */
    const char *train, *val, *text, *tokenizer;
    const char *model;
    GptOverrides overrides; /* of the preset */
    double dropout;
    size_t batch_size;   /* 0: what fits */
    size_t total_batch;  /* tokens per step; 0: one micro-batch */
    size_t first_batch;  /* tokens in the first step; 0: total_batch */
    size_t batch_growth; /* steps over which they grow to it */
    size_t same_bits;    /* ranks, see train/gradients.h */
    GptRecompute recompute;
    OptimConfig optim;
    double clip, qk_clip;
    Schedule schedule;
    size_t aux_warmup, aux_planned; /* STEPS_SAME: as in `schedule` */
    double aux_cooldown, aux_power; /* NAN: likewise */
    size_t val_every;               /* VAL_EVERY_AUTO: see plan.c */
    size_t val_tokens;
    double target_loss;  /* NAN: none */
    size_t sample_every; /* SAMPLE_AT_END: at the end, if the tokenizer is known */
    size_t sample_tokens, top_k;
    const char *prompt;
    double temperature;
    const char *eval, *loss_tables; /* NULL: none */
    size_t eval_every;              /* 0: at the end */
    const char *out;
    size_t checkpoint_every, keep, diagnose;
    double checkpoint_minutes, comm_timeout; /* seconds */
    bool tensorboard;
    size_t seed, threads; /* threads 0: all */
    size_t start_ranks; /* 0: none are started */
    const char *device, *dtype;
    bool resume, list_groups, list_presets, man, help, version;
    CompletionShell completion;
    bool completes; /* --completion was given */

    bool given[OPTIONS_MOST];  /* by index in the table */
    bool before[OPTIONS_MOST]; /* likewise, by earlier commands of a resumed run */
    char *owned[OPTIONS_MOST]; /* strings that options_free frees */
} Options;

/* Defaults, overridden by the preset's options (train/presets.h), and these by the arguments argv[1] .. argv[argc-1].
 * Errors name the option or value, and for an unknown option the nearest known one. The strings of argv are
 * borrowed. */
int options_parse(Options *o, int argc, char *const *argv, Error *e);
void options_free(Options *o);

/* Whether the command line named the option. */
bool options_gave(const Options *o, const char *name);

/* The names of --device, NULL after the last. */
extern const char *const options_devices[];

/* What the table says of an option. All strings but the name have static storage. */
typedef struct OptionInfo {
    const char *section; /* where a new one begins, else NULL */
    char name[64];
    const char *argument; /* a word for the value: "N", "FILE", "NAME|DIR", "GLOB"; NULL: it takes none */
    const char *help;
    const char *const *choices; /* where `help` leaves them out, else NULL; NULL after the last */
    bool is_switch;             /* there is --no-<name> too */
} OptionInfo;

/* Options 0 .. options_count() - 1, in the order of --help. */
size_t options_count(void);
OptionInfo options_info(size_t i);

/* Word k = 0, 1, .. that the value of option i may be, whatever else it may be; NULL after the last. */
const char *options_word(size_t i, size_t k);

/* Writes {"name": value, ...} for every option with a value; one left to its rule or preset has none. */
void options_write(const Options *o, FILE *to);

/* Writes ["--name=value", ...]: the options that command lines of the run gave, as a command that makes it again. */
void options_write_command(const Options *o, FILE *to);

/* Takes from the record of a run (by options_write) every option that the command line did not give, and notes which
 * the record lacks. Those that were given and that may not change in a resumed run must agree with the record; the
 * error names both values. A record of an unknown option is refused. command: by options_write_command; NULL in older
 * records. */
int options_resume(Options *o, const Json *record, const Json *command, Notes *notes, Error *e);

#endif
