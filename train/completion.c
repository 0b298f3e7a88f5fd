#include "train/completion.h"

#include "train/options.h"

#include <string.h>

const char *const completion_shells[COMPLETION_SHELLS + 1] = {"bash", "zsh", "fish", NULL};

static const char programs[] = "train_gpt train_gpt_cpu train_gpt_cuda";

/* Where the value may be one. */
static bool takes_file(const OptionInfo *o)
{
    return o->argument != NULL && (strstr(o->argument, "FILE") != NULL || strstr(o->argument, "GLOB") != NULL);
}

static bool takes_folder(const OptionInfo *o) { return o->argument != NULL && strstr(o->argument, "DIR") != NULL; }

/* The words that the value of option i may be, with blanks between them. */
static void print_words(size_t i, FILE *to)
{
    for (size_t k = 0; options_word(i, k) != NULL; k++)
        fprintf(to, "%s%s", k > 0 ? " " : "", options_word(i, k));
}

/* Prints `text` within single quotes, `escape` before each of the `special` characters. A quote leaves the quotes. */
static void print_quoted(const char *text, const char *special, const char *escape, FILE *to)
{
    for (; *text != '\0'; text++) {
        if (strchr(special, *text) != NULL)
            fprintf(to, "%s", escape);
        fprintf(to, *text == '\'' ? "'\\''" : "%c", *text);
    }
}

/* --- bash --- */

/* The case of an option's value: its words or, if none of them fits, a file or a folder. */
static void print_bash_case(size_t i, FILE *to)
{
    const OptionInfo o = options_info(i);
    if (o.argument == NULL)
        return;
    fprintf(to, "    --%s) words='", o.name);
    print_words(i, to);
    fprintf(to, "'");
    if (takes_file(&o) || takes_folder(&o))
        fprintf(to, "; compopt -o %s 2> /dev/null", takes_file(&o) ? "default" : "dirnames");
    fprintf(to, " ;;\n");
}

/* bash cuts --name=value into three words. */
static void print_bash(FILE *to)
{
    fprintf(to, "# bash completion of train_gpt, as printed by train_gpt --completion bash\n"
                "_train_gpt()\n"
                "{\n"
                "    local words word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}\n"
                "    if [[ $word == = ]]; then\n"
                "        word=\n"
                "    elif [[ $before == = ]]; then\n"
                "        before=${COMP_WORDS[COMP_CWORD - 2]}\n"
                "    fi\n"
                "    case $before in\n");
    for (size_t i = 0; i < options_count(); i++)
        print_bash_case(i, to);
    fprintf(to, "    *) words='");
    for (size_t i = 0; i < options_count(); i++) {
        const OptionInfo o = options_info(i);
        fprintf(to, o.is_switch ? "%s--%s --no-%s" : "%s--%s", i > 0 ? " " : "", o.name, o.name);
    }
    fprintf(to,
            "' ;;\n"
            "    esac\n"
            "    COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
            "}\n"
            "complete -F _train_gpt %s\n",
            programs);
}

/* --- zsh --- */

/* What _arguments calls the action: how a value is completed. */
static void print_zsh_action(size_t i, const OptionInfo *o, FILE *to)
{
    const char *paths = takes_file(o) ? "_files" : takes_folder(o) ? "_files -/" : "";
    if (options_word(i, 0) == NULL) {
        fprintf(to, "%s", paths);
        return;
    }
    fprintf(to, *paths != '\0' ? "{compadd -- " : "(");
    print_words(i, to);
    fprintf(to, *paths != '\0' ? "; %s}" : ")", paths);
}

static void print_zsh_option(size_t i, const char *before, FILE *to)
{
    const OptionInfo o = options_info(i);
    fprintf(to, " \\\n        '--%s%s%s[", before, o.name, o.argument != NULL ? "=" : "");
    print_quoted(o.help, "[]:\\", "\\", to);
    fprintf(to, "]");
    if (o.argument != NULL) {
        fprintf(to, ":%s:", o.argument);
        print_zsh_action(i, &o, to);
    }
    fprintf(to, "'");
}

/* As an autoloaded function it is called by its first line; sourced, it defines itself. */
static void print_zsh(FILE *to)
{
    fprintf(to,
            "#compdef %s\n"
            "# zsh completion of train_gpt, as printed by train_gpt --completion zsh\n"
            "_train_gpt()\n"
            "{\n"
            "    _arguments",
            programs);
    for (size_t i = 0; i < options_count(); i++) {
        print_zsh_option(i, "", to);
        if (options_info(i).is_switch)
            print_zsh_option(i, "no-", to);
    }
    fprintf(to,
            "\n"
            "}\n"
            "if [[ $funcstack[1] == _train_gpt ]]; then\n"
            "    _train_gpt \"$@\"\n"
            "else\n"
            "    compdef _train_gpt %s\n"
            "fi\n",
            programs);
}

/* --- fish --- */

static void print_fish_option(size_t i, const char *before, FILE *to)
{
    const OptionInfo o = options_info(i);
    fprintf(to, "complete -c train_gpt -l %s%s", before, o.name);
    if (o.argument != NULL)
        fprintf(to, takes_file(&o) ? " -rF" : " -x");
    if (options_word(i, 0) != NULL || (takes_folder(&o) && !takes_file(&o))) {
        fprintf(to, " -a '");
        print_words(i, to);
        fprintf(to, takes_folder(&o) ? " (__fish_complete_directories)'" : "'");
    }
    fprintf(to, " -d '");
    print_quoted(o.help, "\\", "\\", to);
    fprintf(to, "'\n");
}

static void print_fish(FILE *to)
{
    fprintf(to, "# fish completion of train_gpt, as printed by train_gpt --completion fish\n"
                "complete -c train_gpt -f\n");
    for (size_t i = 0; i < options_count(); i++) {
        print_fish_option(i, "", to);
        if (options_info(i).is_switch)
            print_fish_option(i, "no-", to);
    }
    fprintf(to, "complete -c train_gpt_cpu -w train_gpt\n"
                "complete -c train_gpt_cuda -w train_gpt\n");
}

void completion_print(CompletionShell shell, FILE *to)
{
    static void (*const print[COMPLETION_SHELLS])(FILE *) = {
        [COMPLETION_BASH] = print_bash, [COMPLETION_ZSH] = print_zsh, [COMPLETION_FISH] = print_fish};
    print[shell](to);
}
