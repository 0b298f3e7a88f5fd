#include "train/manual.h"

#include "train/options.h"
#include "train/version.h"

#include <string.h>

static const char summary[] = "Trains a small GPT-2 and compares optimizers.";

static const struct {
    const char *arguments, *what;
} examples[] = {
    {"", "Muon on the built-in stories"},
    {" --optimizer adamw --lr 3e-3", "the same with AdamW"},
    {" --train 'train_*.bin' --val 'val_*.bin' --model gpt2", "on shards"},
    {" --resume --out runs/x", "continue a stopped run"},
    {" --model runs/x/step_000500 --steps 0 --prompt 'Once'", "sample"},
    {" --ranks 4 --total-batch 8192", "on 4 ranks; or by mpirun, srun, torchrun"},
};
enum { EXAMPLES = sizeof examples / sizeof *examples };

static const char rates[] = "--list-groups shows their default rates";
static const char statuses[] = "0 done, 1 failed, 2 wrong command, 3 diverged, 128 + N on signal N.";

/* The help of option i with the choices that belong to it. */
static void whole_help(const OptionInfo *o, char *text, size_t size)
{
    size_t n = (size_t)snprintf(text, size, "%s%s", o->help, o->choices != NULL ? ":" : "");
    for (const char *const *choice = o->choices; choice != NULL && *choice != NULL && n < size; choice++)
        n += (size_t)snprintf(text + n, size - n, " %s", *choice);
}

enum { HELP_MOST = 512 }; /* no help is longer */

/* --- for the terminal --- */

/* Prints `left` and, in columns 30 to 80 of as many lines as it takes, the help. */
static void help_row(FILE *to, const char *left, const char *help)
{
    char text[HELP_MOST];
    int column = 28;
    snprintf(text, sizeof text, "%s", help);
    fprintf(to, strlen(left) <= 26 ? "  %-26s%s" : "  %s\n%28s", left, "");
    for (char *word = strtok(text, " "); word != NULL; word = strtok(NULL, " ")) {
        column += (int)strlen(word) + 1;
        fprintf(to, column > 80 ? "\n%29s%s" : "%s %s", "", word);
        column = column > 80 ? 29 + (int)strlen(word) : column;
    }
    fprintf(to, "\n");
}

void manual_help(FILE *to)
{
    fprintf(to, "%s\n\n", summary);
    for (size_t i = 0; i < EXAMPLES; i++)
        fprintf(to, "  ./train_gpt%-33s    %s\n", examples[i].arguments, examples[i].what);
    for (size_t i = 0; i < options_count(); i++) {
        const OptionInfo o = options_info(i);
        char left[160], help[HELP_MOST];
        if (o.section != NULL)
            fprintf(to, "\n%s:\n", o.section);
        if (o.is_switch)
            snprintf(left, sizeof left, "--%s, --no-%s", o.name, o.name);
        else
            snprintf(left, sizeof left, "--%s%s%s", o.name, o.argument != NULL ? " " : "",
                     o.argument != NULL ? o.argument : "");
        whole_help(&o, help, sizeof help);
        help_row(to, left, help);
    }
    fprintf(to, "\nOptimizers (%s):\n", rates);
    for (size_t i = 0; optim_rule_name(i) != NULL; i++)
        help_row(to, optim_rule_name(i), optim_rule_summary(i));
    fprintf(to, "\nExit status: %s\n", statuses);
}

/* --- for man --- */

/* Prints text as roff does: hyphens to be copied as such, and no line that begins with a control character. */
static void roff(FILE *to, const char *text)
{
    if (*text == '.' || *text == '\'')
        fprintf(to, "\\&");
    for (; *text != '\0'; text++) {
        if (*text == '-')
            fprintf(to, "\\-");
        else if (*text == '\\')
            fprintf(to, "\\e");
        else if (*text == '\'')
            fprintf(to, "\\(aq");
        else
            fputc(*text, to);
    }
}

static void roff_line(FILE *to, const char *macro, const char *text)
{
    fprintf(to, "%s", macro);
    roff(to, text);
    fprintf(to, "\n");
}

static void roff_option(FILE *to, const OptionInfo *o)
{
    char help[HELP_MOST];
    whole_help(o, help, sizeof help);
    fprintf(to, ".TP\n\\fB");
    roff(to, "--");
    roff(to, o->name);
    if (o->is_switch) {
        fprintf(to, "\\fR, \\fB");
        roff(to, "--no-");
        roff(to, o->name);
    } else if (o->argument != NULL) {
        fprintf(to, " \\fI");
        roff(to, o->argument);
    }
    fprintf(to, "\\fR\n");
    roff_line(to, "", help);
}

void manual_page(FILE *to)
{
    fprintf(to, ".TH TRAIN_GPT 1 \"\" \"train_gpt %s\"\n.nh\n.SH NAME\n", TRAIN_GPT_VERSION);
    roff_line(to, "", "train_gpt - train a small GPT-2 and compare optimizers");
    fprintf(to, ".SH SYNOPSIS\n.B train_gpt\n[\\fIoption\\fR ...]\n.SH DESCRIPTION\n");
    roff_line(to, "", summary);
    fprintf(to, ".SH OPTIONS\n");
    for (size_t i = 0; i < options_count(); i++) {
        const OptionInfo o = options_info(i);
        if (o.section != NULL)
            roff_line(to, ".SS ", o.section);
        roff_option(to, &o);
    }
    roff_line(to, ".SH OPTIMIZERS\n", rates);
    for (size_t i = 0; optim_rule_name(i) != NULL; i++) {
        roff_line(to, ".TP\n.B ", optim_rule_name(i));
        roff_line(to, "", optim_rule_summary(i));
    }
    roff_line(to, ".SH EXIT STATUS\n", statuses);
    fprintf(to, ".SH EXAMPLES\n");
    for (size_t i = 0; i < EXAMPLES; i++) {
        fprintf(to, ".TP\n\\fB");
        roff_line(to, "train_gpt", examples[i].arguments);
        roff_line(to, "\\fR", examples[i].what);
    }
}
