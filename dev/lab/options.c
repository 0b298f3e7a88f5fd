#include "dev/lab/options.h"

#include "dev/lab/problem.h"
#include "train/schedule.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const inputs_names[] = {"white", "ill", "rotated", NULL};
static const char *const init_names[] = {"zero", "normal", NULL};
static const char *const loss_names[] = {"mean", "sum", NULL};

typedef enum { TEXT, SIZE, REAL, CHOICE, HYPER_RATE, HYPER_ANY, FLAG } Kind;

typedef struct Option {
    const char *name, *argument, *help;
    Kind kind;
    size_t offset;
    double least, most;
    const char *const *choices;
} Option;

#define AT(field) offsetof(Options, field)
static const Option table[] = {
    {"rule", "NAME", "any optimizer of train_gpt that takes matrices [muon]", TEXT, AT(rule), 0, 0, NULL},
    {"lr", "X", "learning rate [the rule's own]", HYPER_RATE, AT(hyper), 0, 0, NULL},
    {"set", "NAME=X", "any other hyperparameter of the rule, for instance weight-decay=0", HYPER_ANY, AT(hyper), 0, 0,
     NULL},
    {"schedule", "NAME", "constant, cosine, linear or wsd, of the learning rate [constant]", CHOICE, AT(schedule), 0, 0,
     schedule_names},
    {"batch", "B", "rows of data a step, 4096 being all [4096]", SIZE, AT(batch), 1, N, NULL},
    {"steps", "N", "[300]", SIZE, AT(steps), 0, 1e7, NULL},
    {"seed", "N", "of data, first weights and batches [1]", SIZE, AT(seed), 0, 1e15, NULL},
    {"inputs", "NAME", "white: Z is N(0,1); ill: its columns are scaled; rotated: and it is rotated [white]", CHOICE,
     AT(inputs), 0, 0, inputs_names},
    {"condition", "X", "ill and rotated: condition number of Z's covariance [1000]", REAL, AT(condition), 1, 1e8, NULL},
    {"init", "NAME", "first weights: zero, or normal for N(0,1) [zero]", CHOICE, AT(init), 0, 0, init_names},
    {"loss", "NAME", "sum: of squares, as in |Y - X W^T|_F^2; mean: over rows and outputs [mean]", CHOICE, AT(loss), 0,
     0, loss_names},
    {"log-every", "N", "steps between rows; the last step always has one [1]", SIZE, AT(log_every), 1, 1e7, NULL},
    {"spectra-every", "N", "steps between rows with singular values; 0: none [0]", SIZE, AT(spectra_every), 0, 1e7,
     NULL},
    {"self-check", NULL, "check the mathematics of this program, and leave", FLAG, AT(self_check), 0, 0, NULL},
    {"help", NULL, "print this and leave", FLAG, AT(help), 0, 0, NULL},
};
#undef AT
enum { OPTION_COUNT = sizeof table / sizeof *table };

void print_help(void)
{
    printf("usage: lab [OPTIONS]\n\n");
    printf("Trains a linear regression of %d rows, %d inputs, %d outputs; writes a CSV to stdout.\n\n", N, C, D);
    for (size_t i = 0; i < OPTION_COUNT; i++)
        printf("  --%-13s %-7s %s\n", table[i].name, table[i].argument != NULL ? table[i].argument : "", table[i].help);
    printf("\nExit status: 0 done, 1 failure, 2 an option is wrong, 3 the run diverged.\n");
}

static int parse_number(const Option *option, const char *text, double *value, Error *e)
{
    char *end;
    *value = strtod(text, &end);
    const bool whole = option->kind == REAL || *value == floor(*value);
    if (end == text || *end != '\0' || !whole || !(*value >= option->least && *value <= option->most))
        return error_set(e, "--%s needs a %s from %g to %g, not '%s'", option->name,
                         option->kind == REAL ? "number" : "whole number", option->least, option->most, text);
    return 0;
}

/* "name=value" of any hyperparameter. */
static int parse_setting(OptimHyper *h, const char *text, Error *e)
{
    const size_t length = strcspn(text, "=");
    if (text[length] == '\0')
        return error_set(e, "--set needs NAME=X, not '%s'", text);
    for (HyperId id = 0; id < HYPER_COUNT; id++) {
        double value;
        if (strlen(hyper_info[id].name) != length || strncmp(hyper_info[id].name, text, length) != 0)
            continue;
        if (hyper_parse(id, text + length + 1, "set ", &value, e) != 0)
            return -1;
        hyper_set(h, id, value);
        return 0;
    }
    return error_set(e, "--set knows no hyperparameter '%.*s'", (int)length, text);
}

static int parse_value(const Option *option, const char *text, Options *o, Error *e)
{
    void *place = (char *)o + option->offset;
    double value = 0;
    switch (option->kind) {
    case TEXT:
        *(const char **)place = text;
        return 0;
    case SIZE:
    case REAL:
        if (parse_number(option, text, &value, e) != 0)
            return -1;
        if (option->kind == SIZE)
            *(size_t *)place = (size_t)value;
        else
            *(double *)place = value;
        return 0;
    case CHOICE:
        return hyper_choice(option->choices, text, "", option->name, place, e);
    case HYPER_RATE:
        if (hyper_parse(HYPER_LR, text, "", &value, e) != 0)
            return -1;
        hyper_set(place, HYPER_LR, value);
        return 0;
    case HYPER_ANY:
        return parse_setting(place, text, e);
    default: /* FLAG */
        *(bool *)place = true;
        return 0;
    }
}

int parse_options(int argc, char **argv, Options *o, Error *e)
{
    *o = (Options){.rule = "muon", .batch = N, .steps = 300, .seed = 1, .condition = 1000, .log_every = 1};
    for (int i = 1; i < argc; i++) {
        const Option *option = table;
        while (option < table + OPTION_COUNT &&
               (strncmp(argv[i], "--", 2) != 0 || strcmp(argv[i] + 2, option->name) != 0))
            option++;
        if (option == table + OPTION_COUNT)
            return error_set(e, "there is no option '%s'; --help lists them", argv[i]);
        if (option->kind != FLAG && ++i == argc)
            return error_set(e, "--%s needs a value: %s", option->name, option->argument);
        if (parse_value(option, argv[i], o, e) != 0)
            return -1;
    }
    return 0;
}
